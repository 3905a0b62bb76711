"""docs/gp-functions.md is what libutee of Debian's kit and the system-call table make it."""

from __future__ import annotations

import shutil

import pytest

from tee.syscalls.table import TABLE
from tests.real import debian
from tools import gp_functions_doc

pytestmark = pytest.mark.real


def test_the_page_is_up_to_date() -> None:
    kit = debian.kit()
    if kit is None:
        pytest.skip(debian.why_not())
    if shutil.which(gp_functions_doc.OBJDUMP) is None:
        pytest.skip(f"{gp_functions_doc.OBJDUMP} is not installed (Debian: gcc-aarch64-linux-gnu)")
    page = gp_functions_doc.render(gp_functions_doc.disassembled(kit / "lib" / "libutee.a"))
    assert gp_functions_doc.PAGE.read_text() == page
    assert "| TEE_GetSystemTime | get_time | yes |" in page


def test_what_is_not_served_stands_there_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    row = next(call for call in TABLE.values() if call.name == "get_time")
    table = {row.number: row._replace(handler="", native="", reason="there is no clock")}
    monkeypatch.setattr(gp_functions_doc, "TABLE", table)
    listing = "0 <TEE_GetSystemTime>:\n 4:\tbl\t0 <_utee_get_time>\n"
    assert "| TEE_GetSystemTime | get_time | get_time: there is no clock |" in gp_functions_doc.render(listing)
