"""The targets and their seeds. Whatever the bytes, each ends in a defined error, soon; anything else raises."""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import struct
import tempfile
import zlib
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from normal_world.agent import lines, messages
from normal_world.agent.stream import Stream
from normal_world.protocol import FRAME_MAX
from normal_world.supplicant.rpmb import EmulatedRpmb
from north.elf.kernel import ExecError, read_executable
from south.errors import UsageError
from south.platform import Arch
from ta_loader import samples
from ta_loader.cli.params import parse_params
from ta_loader.cli.script import read_script
from ta_loader.container.describe import describe
from ta_loader.container.sign import sign, sign_subkey
from ta_loader.container.verify import open_container
from ta_loader.elf.describe import describe_elf
from ta_loader.elf.object import ElfObject
from ta_loader.image import TaImage
from ta_loader.machines import TA_ARCHES
from ta_loader.symbolise import backtrace, symbolise_log
from ta_loader.symbolise.cfi import frame_tables
from ta_loader.symbolise.ehabi import CannotUnwind, VirtualRegisters, find_entry, instructions
from ta_loader.symbolise.elffile import parse
from ta_loader.trust import TrustStore
from tee.abi.results import BAD_PARAMETERS, CORRUPT_OBJECT, GENERIC, ITEM_NOT_FOUND, SECURITY, Result
from tee.abi.rpmb import FRAME_SIZE, RpmbType
from tee.abi.ta_head import TA_HEAD
from tee.errors import TeeError
from tee.limits import Limits
from tee.ports import Module
from tee.storage.rpmb_frames import Frame, signed
from tests.hostile.kit import DIED, SCRATCH, UNANSWERED, Driver, RawCall, make_world
from tests.hostile.mutate import elf_of
from tests.normal_world import frames
from tests.normal_world.frames import Mutator
from tests.normal_world.kit import in_thread
from tests.north.elf.kit import ask_everything, program
from tests.ta_loader.container_kit import ENC_KEY
from tests.ta_loader.elf_kit import make_space
from tests.tas import cryptdrv
from tests.tee.storage import kit as storage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from normal_world.daemon.server import Server


class Target(NamedTuple):
    """fuzz_one: raises for a defect alone. seeds: inputs to start from."""

    fuzz_one: Callable[[bytes], None]
    seeds: Callable[[], Sequence[bytes]]


@functools.cache
def folder() -> Path:
    """A temporary folder of this process."""
    made = tempfile.TemporaryDirectory(prefix="litebox-fuzz-")
    atexit.register(made.cleanup)
    return Path(made.name)


@functools.cache
def elves() -> tuple[bytes, ...]:
    return tuple(elf_of(path.read_bytes()) for arch in TA_ARCHES for path in (samples.hello(arch), cryptdrv.path(arch)))


# --- containers


@functools.cache
def _trusts() -> tuple[TrustStore, TrustStore]:
    key = [str(samples.public_key())]
    return TrustStore(key), TrustStore(key, allow_unsigned=True)


def fuzz_container(data: bytes) -> None:
    for trust in _trusts():
        try:
            open_container(data, trust, enc_key=lambda _: ENC_KEY)
        except TeeError:
            pass
    try:
        describe(data)
    except TeeError:
        pass


def container_seeds() -> list[bytes]:
    key, uuid = samples.private_key().read_bytes(), samples.HELLO[Arch.AARCH64]
    elf = elves()[0][:600]
    subkey = sign_subkey(key, key, uuid, name_size=0)
    return [
        sign(elf, key, uuid, plain=True),
        sign(elf, key, uuid, version=3),
        sign(elf, key, uuid, enc_key=ENC_KEY),
        sign(elf, key, uuid, subkey=subkey),
        elf,
    ]


# --- ELF files


def fuzz_elf(data: bytes) -> None:
    def find(uuid: UUID) -> ElfObject:
        raise TeeError(ITEM_NOT_FOUND)

    for step in (lambda: describe_elf(data), lambda: ElfObject(data, main=False)):
        try:
            step()
        except TeeError:
            pass
    try:
        obj = ElfObject(data, main=True)
        uuid = UUID(bytes_le=TA_HEAD.unpack(obj.head)[0])
        program = TaImage(uuid, obj, find, version=0, digest=b"").link(make_space(obj.arch, 1 << 20))
    except TeeError:
        return
    program.backtrace({"pc": program.entry, "sp": program.modules[0].base})


def fuzz_headers(data: bytes) -> None:
    ask_everything(data)
    try:
        read_executable(data)
    except ExecError:
        pass


# --- the command line


def fuzz_params(data: bytes) -> None:
    """Files are left alone: what `@` reads is the user's own choice."""
    try:
        parse_params(data.replace(b"@", b"%").decode("utf-8", "surrogateescape").split("\n"))
    except UsageError:
        pass


PARAMS = (
    b"value:1,2\nin:hex:00ff\nout:4k\ninout:str:a,64",
    b"none\nnull\nout:null\nvalue-out",
    b"inout:zero:16\nvalue-in:-1",
)


def fuzz_script(data: bytes) -> None:
    path = folder() / "script.toml"
    path.write_bytes(data.replace(b"@", b"%"))
    try:
        read_script(str(path))
    except UsageError:
        pass


SCRIPT = b"""
trust = ["a.pem"]
ta_dirs = ["."]
timeout = 2.5
memory = "16M"
[[step]]
open = "a.ta"
session = "one"
login = "public"
params = ["value:1,2", "none", "in:hex:00"]
[[step]]
session = "one"
invoke = 3
params = ["inout:str:abc,20"]
result = "TEE_SUCCESS"
origin = "TRUSTED_APP"
outputs = ["hex:00", "any"]
repeat = 2
save = { 1 = "out.bin" }
[[step]]
invoke = 0x10
panic = 0xdead
[[step]]
close = true
"""


# --- system calls


@functools.cache
def _driver(arch: Arch) -> Driver:
    world = make_world(folder(), limits=Limits(memory=8 << 20, call_seconds=0.5, log_rate=10, sessions=16))
    return Driver(world, arch)


_CALL = struct.Struct("<HHBB8Q")
_WAIT = 12


def fuzz_calls(data: bytes) -> None:
    """First byte: the architecture; then calls (number, two masks, eight words); the rest fills the scratch memory."""
    driver = _driver(TA_ARCHES[data[0] & 1 if data else 0])
    calls: list[RawCall] = []
    at = 1
    while at + _CALL.size <= len(data) and len(calls) < 16:
        number, small, scratch, _, *words = _CALL.unpack_from(data, at)
        at += _CALL.size
        chosen = tuple(
            w % SCRATCH if scratch >> i & 1 else w % 64 if small >> i & 1 else w for i, w in enumerate(words)
        )
        if number == _WAIT:
            chosen = (chosen[0] % 3, *chosen[1:])
        calls.append(RawCall(number, chosen, frozenset(i for i in range(8) if scratch >> i & 1)))
    rest = data[at : at + SCRATCH]
    driver.put(0, rest.ljust(SCRATCH, b"\0"))
    if not calls:
        return
    outcome, found = driver.batch(calls)
    for call, result in zip(calls, found, strict=True):
        if result != UNANSWERED and Result(result).name.startswith("0x"):
            raise AssertionError(f"{call} answered {result:#x}")
    if outcome == DIED or len(driver.instance.sessions) > 12:
        driver.reopen()


def call_seeds() -> list[bytes]:
    seeds = []
    for arch in range(2):
        for number in range(71):
            calls = [_CALL.pack(n, 0x11, 0xAA, 0, 1, 16 * n, 3, 64, 5, 128, 8, 256) for n in (15, 27, number, number)]
            seeds.append(bytes([arch]) + b"".join(calls) + bytes(range(256)) * 4)
    return seeds


# --- logs and backtraces


def fuzz_log(data: bytes) -> None:
    lines = data.decode("utf-8", "replace").splitlines(keepends=True)
    found = list(symbolise_log(lines, lambda uuid: elves()[uuid.int % 4], elves()[0]))
    if len(found) != len(lines):
        raise AssertionError(f"{len(lines)} lines became {len(found)}")


LOG = b"""E/TC:? 0 TA panicked with code 0xffff0006
E/LD:  Status of TA 7371bc6b-0888-4252-9d3b-42ddcbca70fd
E/LD:   arch: aarch64
E/LD:  region  0: va 0x40004000 pa 0x0e300000 size 0x001000 flags rw-s (ldelf)
E/LD:  region  1: va 0x40005000 pa 0x0e301000 size 0x008000 flags r-xs [0]
E/LD:  region  2: va 0x4000d000 pa 0x0e309000 size 0x001000 flags rw-s [0]
E/LD:   [0] 7371bc6b-0888-4252-9d3b-42ddcbca70fd @ 0x40005000
E/LD:  Call stack:
E/LD:   0x40005400
E/LD:   0x40005a10
I/TC: something else
E/TC:0 0 TEE load address @ 0xe100000
E/TC:0 0 Call stack:
E/TC:0 0  0xe100200
"""


def fuzz_unwind(data: bytes) -> None:
    """Call frame information and exception index tables, and a walk of a stack made of the file itself."""
    elf = parse(data)
    if elf is None:
        return
    uuid, base = UUID(int=1), 0x10000
    for address in (*range(0, 0x2000, 0x94), 0xFFFFFFFC, (1 << 64) - 1):
        for table in frame_tables(elf):
            table.find(address)
        if elf.arch is Arch.ARM:
            try:
                entry = find_entry(elf, address)
                if entry is not None and not entry.cannot_unwind:
                    VirtualRegisters({13: base}, lambda at: at).run(instructions(elf, entry))
            except CannotUnwind:
                pass
    size = max(len(data), 1)

    def read(at: int, count: int) -> bytes | None:
        at -= base
        return data[at : at + count] if at >= 0 and at + count <= len(data) else None

    words = struct.unpack_from("<16I", data.ljust(64, b"\0"), max(0, len(data) // 2 - 64))
    for word in words:
        pc = base + word % size
        registers = {
            "pc": pc,
            "lr": pc ^ 64,
            "sp": base + word % size & -16,
            "r13": base,
            "r14": pc,
            "r15": pc,
            "x29": base,
        }
        backtrace(elf.arch, [Module(uuid, base, size)], registers, read, lambda _: data)


# --- the daemon's frames


@functools.cache
def _daemon() -> tuple[Mutator, Server]:
    made = contextlib.ExitStack()
    place = folder() / "daemon"
    place.mkdir()
    world = make_world(folder(), limits=Limits(memory=8 << 20, call_seconds=0.2, log_rate=10))
    path, server = made.enter_context(in_thread(world, place))
    atexit.register(made.close)
    return Mutator(path, Random(0)), server


def fuzz_frames(data: bytes) -> None:
    mutator, server = _daemon()
    mutator.send(data[: FRAME_MAX + 1])
    if server.bugs:
        raise AssertionError("an internal error of the daemon")


# --- RPMB data frames


_RPMB_KEY = bytes(range(32))


@functools.cache
def _rpmb() -> EmulatedRpmb:
    device = EmulatedRpmb(folder() / "rpmb", reliable_sectors=2)
    atexit.register(device.close)
    device.request(0, Frame(RpmbType.PROGRAM_KEY, key_mac=_RPMB_KEY).pack(), 1)
    return device


def fuzz_rpmb(data: bytes) -> None:
    """First byte: how many response frames. Only a write whose MAC is right may move the counter, and by one."""
    device = _rpmb()
    count = data[0] if data else 0
    before = device.state.counter
    try:
        answer = device.request(0, data[1:], count)
    except TeeError as error:
        if error.result not in (BAD_PARAMETERS, GENERIC):
            raise
    else:
        if len(answer) != count * FRAME_SIZE:
            raise AssertionError(f"{len(answer)} bytes for {count} frames")
    if device.state.counter - before not in (0, 1):
        raise AssertionError("the write counter jumped")


def rpmb_seeds() -> list[bytes]:
    frames = [[Frame(kind, address=3, nonce=bytes(range(16)))] for kind in RpmbType]
    frames += [[Frame(RpmbType.WRITE, 0, n, 5, 0, data=bytes([n]) * 256)] * n for n in (1, 2, 4, 5)]
    return [bytes([count]) + signed(_RPMB_KEY, given) for given in frames for count in (1, 2)]


# --- the files of trusted storage


_STORED = {b"a": bytes(range(256)) * 40, b"b": b"short"}


@functools.cache
def _store() -> dict[str, bytes]:
    files = storage.MemoryFiles()
    system = storage.store(files)
    for name, data in _STORED.items():
        system.create(storage.key(name), data, overwrite=False)
    return storage.used(files.survivors())


def fuzz_storage(data: bytes) -> None:
    """First byte: which file has the rest as its contents. What is not refused is a state that was committed once.

    Each file holds its last version and the one before. A smaller counter in the newer header makes the older one
    count: a rollback, which this format detects with an anchor alone (tests/tee/storage/test_anchor.py).
    """
    names = sorted(_store())
    try:
        found = storage.contents({**_store(), names[data[0] % len(names) if data else 0]: data[1:]}, *_STORED)
    except TeeError as error:
        if error.result not in (CORRUPT_OBJECT, SECURITY):
            raise
        return
    if found not in ({**dict.fromkeys(_STORED), **dict(list(_STORED.items())[:count])} for count in range(3)):
        raise AssertionError("changed data was read")


def storage_seeds() -> list[bytes]:
    return [bytes([index]) + data for index, (_, data) in enumerate(sorted(_store().items()))]


# --- what a board's line says


_TOKEN = lines.seed("fuzz")


def fuzz_agent(data: bytes) -> None:
    """First byte: even, lines as they come; odd, lines whose checksums are right whatever is in them."""
    waiting = (0, 100, 4, 1 << 20)
    stream, assembler = Stream(lambda _: None), messages.Assembler()
    stream.put(bytes(5000))
    right = bool(data) and data[0] & 1
    for now, text in enumerate(data[1:].split(b"\n")):
        if right:
            text = lines.FROM_AGENT + text
            text += b":%08x" % zlib.crc32(text, _TOKEN)
        try:
            line = lines.parse_line(text, _TOKEN)
            if line is None:
                continue
            for _, _, body in assembler.feed(stream.take(line, float(now))):
                messages.read_answer(body, waiting)
        except lines.DamagedLine:
            stream.damaged()
        except messages.BadMessage:
            return
        stream.work(float(now))


def agent_seeds() -> list[bytes]:
    answer = messages.ANSWER.pack(0, 4, 7, 2)
    answer += b"".join(messages.ANSWERED.pack(n, 2, n) + b"x" * n for n in (0, 60, 4, 300)) + b"ok"
    stream = messages.HEADER.pack(len(answer), 1, 0x83) + answer
    out = [b"[ 1.0] usb 1-1 < new\n\n# "]
    for cut in (24, 100, 720):
        given = [lines.Line("D", at, stream[at : at + cut]) for at in range(0, len(stream), cut)]
        given += [lines.Line("A", 2048), lines.Line("N", 100, round=1), lines.Line("P", 5)]
        whole = [lines.format_line(line, _TOKEN, lines.FROM_AGENT) for line in given]
        out += [b"\0" + b"".join(whole), b"\1" + b"\n".join(line[1:].rpartition(b":")[0] for line in whole)]
    return out


TARGETS: dict[str, Target] = {
    "container": Target(fuzz_container, container_seeds),
    "elf": Target(fuzz_elf, elves),
    "headers": Target(fuzz_headers, lambda: [*elves(), program()]),
    "params": Target(fuzz_params, lambda: PARAMS),
    "script": Target(fuzz_script, lambda: [SCRIPT]),
    "calls": Target(fuzz_calls, call_seeds),
    "log": Target(fuzz_log, lambda: [LOG]),
    "unwind": Target(fuzz_unwind, elves),
    "frames": Target(fuzz_frames, frames.seeds),
    "rpmb": Target(fuzz_rpmb, rpmb_seeds),
    "storage": Target(fuzz_storage, storage_seeds),
    "agent": Target(fuzz_agent, agent_seeds),
}


def save(name: str, data: bytes) -> str:
    """Keep an input that failed; its path."""
    import hashlib

    path = os.path.join(
        os.environ.get("LITEBOX_FUZZ_OUT", "."), f"fuzz-{name}-{hashlib.sha256(data).hexdigest()[:12]}.bin"
    )
    with open(path, "wb") as file:
        file.write(data)
    return path
