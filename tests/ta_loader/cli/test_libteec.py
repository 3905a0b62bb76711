"""`litebox-ta libteec`: its flags compile and link a client, with and without pkg-config, and the client runs."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from normal_world import libteec
from south.errors import UsageError
from ta_loader import samples
from ta_loader.cli.libteec import COMMAND
from tests.normal_world.kit import LITEBOX_TA
from tests.threads import PATIENCE

if TYPE_CHECKING:
    from pathlib import Path

CLIENT = """
#include <stdio.h>
#include <tee_client_api.h>

int main(void)
{
    TEEC_UUID uuid = {0x7371bc6b, 0x0888, 0x4252, {0x9d, 0x3b, 0x42, 0xdd, 0xcb, 0xca, 0x70, 0xfd}};
    TEEC_Operation operation = {.paramTypes = TEEC_PARAM_TYPES(TEEC_VALUE_INOUT, 0, 0, 0), .params[0].value.a = 41};
    TEEC_Context context;
    TEEC_Session session;

    if (TEEC_InitializeContext(NULL, &context) ||
        TEEC_OpenSession(&context, &session, &uuid, TEEC_LOGIN_PUBLIC, NULL, NULL, NULL) ||
        TEEC_InvokeCommand(&session, 0, &operation, NULL))
        return 1;
    printf("%u\\n", operation.params[0].value.a);
    TEEC_CloseSession(&session);
    TEEC_FinalizeContext(&context);
    return 0;
}
"""


def flags(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    assert COMMAND.main(words) == 0
    return shlex.split(capsys.readouterr().out)


def works(folder: Path, given: list[str]) -> None:
    source = folder / "client.c"
    source.write_text(CLIENT)
    subprocess.run(["cc", "-Wall", "-Werror", str(source), *given, "-o", str(folder / "client")], check=True)
    tas = ["--ta-dir", samples.FOLDER, "--trust", samples.public_key_file()]
    command = [*LITEBOX_TA, "with", *tas, "--", str(folder / "client")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.stdout == "42\n", done.stderr


def test_flags(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    given = flags(capsys, "--cflags", "--libs")
    assert given == flags(capsys, "--cflags") + flags(capsys, "--libs")
    works(tmp_path, given)


def test_pkg_config(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    if shutil.which("pkg-config") is None:
        pytest.skip("pkg-config is not installed")
    (folder,) = flags(capsys, "--pkg-config")
    command = ["pkg-config", "--cflags", "--libs", "libteec"]
    environment = {"PKG_CONFIG_PATH": folder, "PATH": "/usr/bin:/bin:/usr/local/bin"}
    given = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    works(tmp_path, shlex.split(given))


@pytest.mark.parametrize("beside", [True, False])
def test_where_the_headers_are(tmp_path: Path, beside: bool) -> None:
    """Relative where the folder moves with them, as in a wheel; absolute from the user's cache."""
    out = tmp_path / ("libteec/lib/x" if beside else "cache")
    out.mkdir(parents=True)
    libteec.describe(out)
    text = (out / "pkgconfig/libteec.pc").read_text()
    assert ("includedir=${pcfiledir}/../../../include\n" in text) is beside
    assert (f"includedir={libteec.INCLUDE}\n" in text) is not beside


@pytest.mark.parametrize("words", [["--machine", "riscv"], ["--pkg-config", "--libs"]])
def test_mistakes(words: list[str]) -> None:
    with pytest.raises(UsageError):
        COMMAND.main(words)
