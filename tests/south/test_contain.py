"""What ends inside Unicorn ends one CPU; the processors that guests may be given, and what they have."""

from __future__ import annotations

import os
import resource
import struct
from typing import TYPE_CHECKING

import pytest

from south.engine.unicorn import UnicornCpu, UnicornEngine, models
from south.linux_host.memory import HostPages
from south.platform import PAGE, Arch, EngineError, Prot, RegionFlag, TrapKind
from tests.hostile.kit import DIED, Bystander, Crashes, make_world, open_ta
from tests.south.guest import A32, A64, CODE, DATA, SP, Guest
from tests.tas import cxx

if TYPE_CHECKING:
    from pathlib import Path

ABORTS = 0x0EC62C8C
"""Not allocated, in the place of half-precision SIMD: `disas_simd_three_reg_same_fp16` of "max" asserts."""

A64_OF_ALL = {"aese": 0x4E284820, "sha256h": 0x5E024020, "pmull": 0x0EE2E020, "crc32x": 0x9AC24C20, "ldar": 0xC8DFFC20}
A64_HINTS = {"paciasp": 0xD503233F, "bti c": 0xD503245F}
A64_OF_MAX = {"ldadd": 0xF8200022, "casal": 0xC8E0FC22, "fadd .8h": 0x4E421420, "sqrdmlah": 0x6E828420}
A32_OF_V7VE = {"sdiv": 0xE710F211, "vfma": 0xEEA10B02}
A32_OF_MAX = {
    "aese": 0xF3B00302,
    "sha256h": 0xF3020C44,
    "crc32w": 0xE1410042,
    "lda": 0xE1910C9F,
    "stl": 0xE181FC90,
    "vsel": 0xFE210B02,
    "vrinta": 0xFEB80B41,
}


def _cpu(arch: Arch, model: str, *words: int) -> UnicornCpu:
    arena = HostPages().arena(8 * PAGE)
    arena.view(0, 4 * len(words))[:] = struct.pack(f"<{len(words)}I", *words)
    cpu = UnicornEngine(model).space(arch, arena).cpu()
    cpu.space.map(CODE, PAGE, Prot.RX, RegionFlag.PRIVATE, arena, 0)
    cpu.space.map(DATA, 2 * PAGE, Prot.RW, RegionFlag.PRIVATE, arena, 2 * PAGE)
    return cpu


def _runs(arch: Arch, model: str, word: int) -> bool:
    cpu = _cpu(arch, model, word, A64["svc"] if arch is Arch.AARCH64 else A32["svc"])
    trap = cpu.enter(CODE, SP, (0, DATA, 0, 0))
    assert trap in (TrapKind.CALL, TrapKind.EXCEPTION)
    cpu.close()
    return trap is TrapKind.CALL


# --- processors


def test_the_defaults_are_the_ones_of_the_documentation() -> None:
    assert models(Arch.AARCH64) == ["cortex-a72", "cortex-a57", "cortex-a53", "max"]
    assert models(Arch.ARM) == ["max", "cortex-a15", "cortex-a7"]
    assert models(Arch.X86_64) == ["penryn", "skylake-client", "epyc-rome"]


@pytest.mark.parametrize("model", ["", "cortex-a57", "cortex-a53"])
def test_aarch64_has_the_cryptographic_extension_but_no_lse(model: str) -> None:
    assert all(_runs(Arch.AARCH64, model, word) for word in (*A64_OF_ALL.values(), *A64_HINTS.values()))
    assert not any(_runs(Arch.AARCH64, model, word) for word in A64_OF_MAX.values())


def test_aarch64_max_has_what_is_newer() -> None:
    words = (*A64_OF_ALL.values(), *A64_HINTS.values(), *A64_OF_MAX.values())
    assert all(_runs(Arch.AARCH64, "max", word) for word in words)


def test_arm_has_what_armv8_added() -> None:
    assert all(_runs(Arch.ARM, "", word) for word in (*A32_OF_V7VE.values(), *A32_OF_MAX.values()))
    assert all(_runs(Arch.ARM, "cortex-a15", word) for word in A32_OF_V7VE.values())
    assert not any(_runs(Arch.ARM, "cortex-a15", word) for word in A32_OF_MAX.values())


def test_a_processor_is_chosen_by_the_environment_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITEBOX_CPU", "max")
    assert _runs(Arch.AARCH64, "", A64_OF_MAX["ldadd"])
    monkeypatch.setenv("LITEBOX_CPU", "cortex-a7")  # arm alone has it
    assert not _runs(Arch.AARCH64, "", A64_OF_MAX["ldadd"])
    assert not _runs(Arch.ARM, "", A32_OF_MAX["lda"])
    monkeypatch.setenv("LITEBOX_CPU", "cortex-m4")
    with pytest.raises(EngineError, match=r"there is no processor 'cortex-m4'; there are .*cortex-a72"):
        UnicornEngine()


def _runs_x86(model: str, instruction: bytes) -> TrapKind:
    padded = instruction + b"\x0f\x05" + bytes(-(len(instruction) + 2) % 4)
    cpu = _cpu(Arch.X86_64, model, *struct.unpack(f"<{len(padded) // 4}I", padded))
    trap = cpu.enter(CODE, SP, (0, DATA, 0, 0))
    cpu.close()
    return trap


X86_64_V1 = {"sse2": "660fefc0", "sse3": "f20fd0c0", "ssse3": "660f3800c0", "sse4.1": "660f3810c0", "x87": "d9e8"}
X86_64_V2 = {"popcnt": "f30fb8c0", "crc32": "f20f38f0c0", "pcmpistri": "660f3a63c000"}
CPUID_SSE42, CPUID_AVX = 1 << 20, 1 << 28  # leaf 1, ecx (Intel SDM vol. 2A, table 3-10)


@pytest.mark.parametrize("model", models(Arch.X86_64))
def test_x86_64_v2_is_a_choice_and_v3_is_not_there(model: str) -> None:
    assert all(_runs_x86(model, bytes.fromhex(code)) is TrapKind.CALL for code in X86_64_V1.values())
    second = [_runs_x86(model, bytes.fromhex(code)) is TrapKind.CALL for code in X86_64_V2.values()]
    assert second == [model != models(Arch.X86_64)[0]] * len(second)
    cpu = _cpu(Arch.X86_64, model, *struct.unpack("<3I", bytes.fromhex("b801000000 0fa2 89cf 0f05 90")))  # edi = ecx
    assert cpu.enter(CODE, SP, (0, 0, 0, 0)) is TrapKind.CALL
    assert cpu.first & (CPUID_SSE42 | CPUID_AVX) == (CPUID_SSE42 if second[0] else 0)


# --- what ends inside


@pytest.mark.parametrize("model", [name for name in models(Arch.AARCH64) if name != "max"])
def test_what_aborts_in_max_is_an_undefined_instruction(model: str) -> None:
    assert not _runs(Arch.AARCH64, model, ABORTS)


def test_an_abort_ends_one_cpu_and_no_other() -> None:
    other = Guest(Arch.AARCH64, "number", "svc", "inc", "svc")
    assert other.cpu.enter(CODE, SP, (1, 2, 3, 4)) is TrapKind.CALL
    cpu = _cpu(Arch.AARCH64, "max", 0x910004C6, ABORTS)  # add x6, x6, #1
    assert cpu.enter(CODE, SP, (0, 0, 0, 0)) is TrapKind.ERROR
    assert cpu.error_text() == "Unicorn failed inside: it aborted"
    assert cpu.fault().pc == CODE
    assert cpu.registers()["sp"] == SP  # for the report
    for _ in range(2):
        assert cpu.enter(CODE, SP, (0, 0, 0, 0)) is TrapKind.ERROR
        assert cpu.proceed() is TrapKind.ERROR
    with pytest.raises(EngineError, match="Unicorn failed inside"):
        cpu.on_block(lambda *_: None)
    cpu.space.unmap(CODE, PAGE)
    cpu.close()
    assert other.cpu.resume(41) is TrapKind.CALL
    assert other.cpu.first == 42


@pytest.mark.parametrize("model", models(Arch.X86_64))
@pytest.mark.parametrize("code", ["f00fabec", "f00fbaf801", "f00fb3ec", "f00fa3ec"])  # LOCK before BTS, BTC, BTR, BT
def test_a_locked_bit_test_of_a_register_ends_its_cpu(model: str, code: str) -> None:
    """Undefined to a processor; Unicorn's translator aborts."""
    assert _runs_x86(model, bytes.fromhex(code)) is TrapKind.ERROR
    assert _runs_x86(model, b"\x90") is TrapKind.CALL


def test_a_string_comparison_of_no_length_that_can_be_faults_in_v2_alone() -> None:
    code = bytes.fromhex("b800000080 ba00000080 660f3a600600")  # mov eax, INT32_MIN; mov edx, eax; pcmpestrm [rsi]
    assert _runs_x86("penryn", code) is TrapKind.EXCEPTION
    assert _runs_x86("skylake-client", code) is TrapKind.ERROR


def test_an_abort_in_one_thread_leaves_the_others_running() -> None:
    from tests.threads import together

    def one(number: int) -> None:
        for _ in range(20):
            if number % 2:
                assert _cpu(Arch.AARCH64, "max", ABORTS).enter(CODE, SP, (0, 0, 0, 0)) is TrapKind.ERROR
            else:
                assert _runs(Arch.AARCH64, "max", A64_OF_MAX["casal"])

    together(one, range(4))


@pytest.mark.parametrize(
    ("model", "why"), [("", "undefined instruction"), ("max", "Unicorn failed inside: it aborted")]
)
def test_a_ta_with_such_an_instruction_dies_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, why: str
) -> None:
    monkeypatch.setenv("LITEBOX_CPU", model)
    crashes = Crashes()
    world = make_world(tmp_path, folders=[cxx.HERE], observer=crashes)
    with Bystander(world, Arch.AARCH64), Bystander(world, Arch.ARM):
        for _ in range(3):
            session = open_ta(world, cxx.UUIDS[Arch.AARCH64])
            assert world.invoke(session, cxx.HALF, []) == DIED
            assert crashes.last().kind == "exception"
            assert why in crashes.last().detail
            assert "pc" in crashes.last().registers
            world.close_session(session)


def _addresses() -> int:
    """Bytes of address space that this process has."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * PAGE


@pytest.mark.parametrize("mebibytes", [1, 4, 7, 9, 12, 20, 33])
def test_too_little_address_space_for_a_cpu_is_an_error(mebibytes: int) -> None:
    """Unicorn ends the process when it cannot map its buffer for translations."""
    Guest(Arch.AARCH64, "svc")  # the library and the watchdog are there
    child = os.fork()
    if not child:
        kept, refused = [], 0
        try:
            resource.setrlimit(resource.RLIMIT_AS, (_addresses() + (mebibytes << 20),) * 2)
            arena = HostPages().arena(PAGE)
            for _ in range(8):
                try:
                    kept.append(UnicornEngine().space(Arch.AARCH64, arena).cpu())
                except EngineError:
                    refused += 1
            os._exit(0 if refused and len(kept) + refused == 8 else 3)
        except BaseException:
            os._exit(4)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
