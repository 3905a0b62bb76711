"""protocol.py and libteec's protocol.h are the same: sizes, offsets and numbers, as the C compiler has them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from normal_world import libteec, protocol
from normal_world.libteec import BuildError, compiler
from normal_world.protocol import Op

STRUCTS = {
    "lb_header": (protocol.HEADER, "version op length"),
    "lb_param": (protocol.PARAM, "kind shm a b"),
    "lb_hello": (protocol.HELLO, "header token"),
    "lb_open_session": (protocol.OPEN_SESSION, "header call uuid login login_data params"),
    "lb_invoke": (protocol.INVOKE, "header call session command params"),
    "lb_handle": (protocol.HANDLE, "header id zero"),
    "lb_cancel": (protocol.CANCEL, "header call"),
    "lb_register_shm": (protocol.REGISTER_SHM, "header size"),
    "lb_reply": (protocol.REPLY, "header result origin id zero size token params"),
}
NUMBERS = {
    "LB_PROTOCOL_VERSION": protocol.VERSION,
    "LB_FRAME_MAX": protocol.FRAME_MAX,
    "LB_TOKEN_SIZE": protocol.TOKEN_SIZE,
    "LB_PARAMS": protocol.PARAMS,
    "LB_NO_SHM": protocol.NO_SHM,
    "LB_HAS_DEATHS": protocol.HAS_DEATHS,
    **{f"LB_OP_{op.name}": int(op) for op in Op},
}


@pytest.mark.parametrize("machine", [None, "aarch64", "arm"])
def test_c_and_python_agree(tmp_path: Path, machine: str | None) -> None:
    """Compiling is the test: nothing needs to run."""
    try:
        cc = compiler(machine)
    except BuildError as error:
        pytest.skip(str(error))
    lines = ['#include "protocol.h"', "#include <stddef.h>", "#define IS(a, b) _Static_assert((a) == (b), #a)"]
    lines += [f"IS({name}, {number}u);" for name, number in NUMBERS.items()]
    for name, (layout, members) in STRUCTS.items():
        lines.append(f"IS(sizeof(struct {name}), {layout.size});")
        # No padding anywhere: a member begins where the one before it ends.
        end = "0"
        for member in members.split():
            lines.append(f"IS(offsetof(struct {name}, {member}), {end});")
            end = f"offsetof(struct {name}, {member}) + sizeof(((struct {name} *)0)->{member})"
        lines.append(f"IS(sizeof(struct {name}), {end});")
    source = tmp_path / "layouts.c"
    source.write_text("\n".join(lines) + "\n")
    command = [cc, "-std=gnu11", "-Wall", "-Werror", "-c", f"-I{libteec.HERE / 'src'}", str(source)]
    subprocess.run([*command, "-o", str(tmp_path / "layouts.o")], check=True, timeout=60)
    assert max(layout.size for layout, _ in STRUCTS.values()) <= protocol.FRAME_MAX
