"""`litebox-ta kit` with roots of the user's own; tests/real fetches Debian's."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from boards.debian import KIT, LIB_DIR, TA_DIR
from south.errors import UsageError
from ta_loader.cli.kit import COMMAND


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Unpacked packages, and a cache of the test's own."""
    optee, client = tmp_path / "optee", tmp_path / "client"
    for path in (optee / TA_DIR / "a.ta", optee / KIT / "mk/ta_dev_kit.mk", client / LIB_DIR / "libc.so.6"):
        path.parent.mkdir(parents=True)
        path.touch()
    monkeypatch.setenv("LITEBOX_DEBIAN_ROOT", str(optee))
    monkeypatch.setenv("LITEBOX_DEBIAN_CLIENT_ROOT", str(client))
    (tmp_path / "pkcs11").mkdir()
    monkeypatch.setenv("LITEBOX_DEBIAN_PKCS11_ROOT", str(tmp_path / "pkcs11"))
    monkeypatch.setenv("LITEBOX_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("TA_DEV_KIT_DIR", raising=False)
    return tmp_path


def out(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert COMMAND.main(words) == 0
    return capsys.readouterr().out


def test_one_part(packages: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert out(capsys, "kit") == f"{packages / 'optee' / KIT}\n"
    assert out(capsys, "tas") == f"{packages / 'optee' / TA_DIR}\n"
    assert out(capsys, "python") == f"{sys.executable}\n"
    root = Path(out(capsys, "root").strip())
    assert (root / "lib/aarch64-linux-gnu/libc.so.6").exists()
    assert (root / "lib/optee_armtz/a.ta").exists()


def test_all_parts(packages: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(out(capsys, "--json"))
    assert set(found) == {"kit", "tas", "root", "python"}
    text = out(capsys)
    assert all(path in text for path in found.values())


def test_the_root_follows_its_packages(packages: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = Path(out(capsys, "root").strip())
    before = root.stat().st_ino
    assert out(capsys, "root") == f"{root}\n"
    assert root.stat().st_ino == before
    (packages / "client").rename(packages / "moved")
    os.environ["LITEBOX_DEBIAN_CLIENT_ROOT"] = str(packages / "moved")
    assert out(capsys, "root") == f"{root}\n"
    assert (root / "lib/aarch64-linux-gnu/libc.so.6").exists()


def test_links(packages: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = packages / "links"
    for _ in range(2):
        out(capsys, "--link", str(folder))
        assert {path.name for path in folder.iterdir()} == {"kit", "tas", "root"}
        assert (folder / "tas/a.ta").exists()
    (folder / "tas").unlink()
    (folder / "tas").mkdir()
    with pytest.raises(UsageError, match="is no link"):
        COMMAND.main(["--link", str(folder)])
    assert (folder / "tas").is_dir()


def test_a_kit_of_the_users_own(
    packages: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TA_DEV_KIT_DIR", str(packages / "optee" / KIT))
    monkeypatch.setenv("LITEBOX_DEBIAN_ROOT", str(packages / "nowhere"))
    assert out(capsys, "kit") == f"{packages / 'optee' / KIT}\n"
    monkeypatch.setenv("TA_DEV_KIT_DIR", str(packages))
    with pytest.raises(UsageError, match=r"holds no mk/ta_dev_kit\.mk"):
        COMMAND.main(["kit"])


@pytest.mark.parametrize("words", [["tax"], ["kit", "--json"], ["tas", "--link", "x"]])
def test_mistakes(packages: Path, words: list[str]) -> None:
    with pytest.raises(UsageError):
        COMMAND.main(words)
    assert not (packages / "x").exists()
