"""A TA on OP-TEE's own libutee, which clients of a daemon open and close all at once."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest

from normal_world import Context, TeeError, Value
from tee.abi.ta_head import TA_FLAG_MULTI_SESSION, TA_FLAG_SINGLE_INSTANCE
from tests.normal_world.kit import in_process
from tests.real import kit_ta
from tests.threads import together

pytestmark = pytest.mark.real

COUNTS = UUID("0d6cdd58-5f3a-4b57-9b35-8b06f8f2c1de")
REFUSE = 0x1234


def test_no_session_is_served_after_ta_destroyentrypoint(tmp_path: Path, debian_kit: Path) -> None:
    source = Path(__file__).parent / "csrc" / "lifecycle.c"
    kit_ta.build(debian_kit, source, COUNTS, TA_FLAG_SINGLE_INSTANCE | TA_FLAG_MULTI_SESSION, tmp_path)
    seen: set[tuple[int, int]] = set()
    with in_process(tmp_path, "--ta-dir", str(tmp_path), "--trust", str(debian_kit)) as daemon:

        def work(index: int) -> None:
            with Context.daemon(daemon.path) as tee:
                for turn in range(60):
                    if (turn + index) % 5 == 0:
                        with pytest.raises(TeeError):
                            tee.open_session(COUNTS, Value.input(REFUSE))
                    with tee.open_session(COUNTS) as session:
                        counted = Value.output()
                        session.invoke(0, counted)
                        seen.add((counted.a, counted.b))

        together(work, range(4), 120)
    assert seen == {(1, 0)}
