"""`litebox-ta sign` and what it shares with `encrypt`: files that OP-TEE's own tools accept."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from south.errors import UsageError
from south.replacing import replace_file
from ta_loader.cli import exits
from ta_loader.cli.options import Command, Option, integer
from ta_loader.cli.signing_key import KEY_OPTIONS, read_signing_key
from ta_loader.container.layout import ALGORITHMS, RSASSA_PKCS1_PSS_MGF1_SHA256, SHDR_ENC_KEY_DEV_SPECIFIC
from ta_loader.inputs import read_input
from ta_loader.outputs import refuse_same, require_file
from tee.abi.uuids import parse_uuid

if TYPE_CHECKING:
    from uuid import UUID

    from ta_loader.cli.options import Arguments

_U32 = (1 << 32) - 1
_NAMES = {algorithm.name.lower(): algorithm.number for algorithm in ALGORITHMS.values()}
SIGN_OPTIONS = (
    *KEY_OPTIONS,
    Option("--uuid", "UUID", "the TA's (default: the one in the ELF file)"),
    Option("--version", "N", "the TA's version, for rollback protection (default 0)"),
    Option("--algo", "NAME", f"one of {', '.join(_NAMES)} (default: ..._pss_mgf1_sha256)"),
    Option("--subkey", "FILE", "subkey file that the key belongs to; it becomes part of the image"),
    Option("--name", "NAME", "the TA's name below the subkey"),
    Option("--out", "FILE", "where the image goes (default: UUID.ta in the working folder)", out=True),
    Option("--json", "", "print a JSON object instead of the file's name"),
)


class Request(NamedTuple):
    """What both commands read of their command lines."""

    elf: bytes
    key: bytes
    uuid: UUID
    version: int
    algo: int
    subkey: bytes | None
    name: str
    out: str


def _read_request(arguments: Arguments) -> Request:
    path = arguments.words[0]
    elf = read_input(path, "ELF")
    subkey = arguments.one("--subkey")
    key = read_signing_key(arguments, below_subkey=subkey is not None)
    chain = None if subkey is None else read_input(subkey, "--subkey")
    name = arguments.one("--name") or ""
    uuid = _uuid(arguments.one("--uuid"), elf, path, chain, name)
    algo = arguments.one("--algo")
    if algo is not None and algo.lower() not in _NAMES:
        raise UsageError(f"--algo {algo}: there are {', '.join(_NAMES)}")
    return Request(
        elf,
        key,
        uuid,
        integer(arguments.one("--version") or "0", "--version", 0, _U32),
        RSASSA_PKCS1_PSS_MGF1_SHA256 if algo is None else _NAMES[algo.lower()],
        chain,
        name,
        _out(arguments, f"{uuid}.ta"),
    )


def _out(arguments: Arguments, default: str) -> str:
    """Where the image goes: nowhere over what it is made of. UsageError."""
    out = arguments.one("--out") or default
    require_file(out, "--out")
    given = (arguments.one(name) for name in ("--key", "--subkey", "--passphrase"))
    refuse_same(out, "--out", (*arguments.words, *filter(None, given)))
    return out


def _uuid(text: str | None, elf: bytes, path: str, chain: bytes | None, name: str) -> UUID:
    if text is not None:
        uuid = parse_uuid(text)
        if uuid is None:
            raise UsageError(f"--uuid {text}: not a UUID")
        return uuid
    if chain is not None:
        from ta_loader.container.sign import subkey_uuid

        return subkey_uuid(chain, name)
    from ta_loader.elf.describe import describe_elf
    from tee.errors import TeeError

    try:
        found = describe_elf(elf).uuid
    except TeeError as problem:
        raise UsageError(f"{path}: not a TA's ELF file: {problem.detail}") from None
    found = found or parse_uuid(os.path.basename(path).partition(".")[0])
    if found is None:
        raise UsageError(f"{path}: a library's ELF file holds no UUID; give it with --uuid")
    return found


def write_image(
    arguments: Arguments,
    *,
    plain: bool = False,
    enc_key: bytes | None = None,
    enc_key_type: int = SHDR_ENC_KEY_DEV_SPECIFIC,
) -> int:
    """Sign what the command line asks for, and print where it went; see `ta_loader.container.sign.sign`."""
    from ta_loader.container.sign import sign

    request = _read_request(arguments)
    image = sign(
        request.elf,
        request.key,
        request.uuid,
        request.version,
        request.algo,
        subkey=request.subkey,
        name=request.name,
        enc_key=enc_key,
        enc_key_type=enc_key_type,
        plain=plain,
    )
    replace_file(request.out, image)
    if arguments.switch("--json"):
        from ta_loader.cli.output import print_json

        algorithm = ALGORITHMS[request.algo].name
        print_json(
            {
                "file": request.out,
                "uuid": str(request.uuid),
                "version": None if plain else request.version,
                "algorithm": algorithm,
                "encrypted": enc_key is not None,
                "size": len(image),
            }
        )
    else:
        print(request.out)
    return exits.OK


def run(arguments: Arguments) -> int:
    return write_image(arguments, plain=arguments.switch("--plain"))


COMMAND = Command(
    name="sign",
    summary="Sign a TA's or library's ELF file: a .ta file that OP-TEE accepts.",
    words=("ELF",),
    options=(*SIGN_OPTIONS, Option("--plain", "", "the oldest format, which holds neither UUID nor version")),
    run=run,
    epilog="""\
examples:
  litebox-ta sign --key default_ta.pem 7371bc6b-0888-4252-9d3b-42ddcbca70fd.stripped.elf
  litebox-ta sign --key mid.pem --subkey mid.bin --name my-ta --version 3 --out my.ta my.elf""",
)
