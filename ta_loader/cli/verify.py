"""`litebox-ta verify`: every check that is made before a TA runs, and none of the running."""

from __future__ import annotations

from typing import TYPE_CHECKING

from normal_world.host.store import encryption_key
from south.errors import UsageError
from south.linux_host import linux_host
from ta_loader import samples
from ta_loader.cli import exits
from ta_loader.cli.options import Command, Option
from ta_loader.cli.world_options import STATE_OPTION, TRUST_OPTIONS, read_enc_key, read_state
from ta_loader.container.layout import algorithm_name
from ta_loader.container.verify import open_container
from ta_loader.elf.describe import describe_elf
from ta_loader.errors import ImageRefused
from ta_loader.inputs import read_input
from ta_loader.trust import TrustStore, read_config
from tee.abi.uuids import parse_uuid
from tee.errors import TeeError

if TYPE_CHECKING:
    from uuid import UUID

    from ta_loader.cli.options import Arguments
    from ta_loader.container.verify import Container


def run(arguments: Arguments) -> int:
    trust = _trust(arguments)
    given, platform = read_enc_key(arguments), linux_host(read_state(arguments))
    expected = _uuid(arguments)
    code = exits.OK
    rows: list[dict[str, object]] = []
    for path in arguments.words:
        data = read_input(samples.file_of(path), "TA")
        # The samples' private key is public: it is believed for them alone.
        believed = TrustStore([samples.public_key_file()]) if path in samples.NAMES else trust
        try:
            container = open_container(
                data, believed, expected_uuid=expected, enc_key=encryption_key(given, believed, platform)
            )
            _check_elf(container)
        except TeeError as problem:
            code = exits.REFUSED
            rows.append(_refusal(path, problem))
        else:
            rows.append(_good(path, container))
    if arguments.switch("--json"):
        from ta_loader.cli.output import print_json

        print_json(rows)
        return code
    for row in rows:
        if not row["good"] or not arguments.switch("--quiet"):
            print(f"{row['file']}: {row['verdict']}")
    return code


def _trust(arguments: Arguments) -> TrustStore:
    sources = (*arguments.many("--trust"), *read_config().trust)
    return TrustStore(sources, allow_unsigned=arguments.switch("--allow-unsigned"))


def _refusal(path: str, problem: TeeError) -> dict[str, object]:
    from ta_loader.cli.calls import explain

    check = problem.check if isinstance(problem, ImageRefused) else None
    return {"file": path, "good": False, "check": check, "verdict": f"refused: {explain(problem)}"}


def _good(path: str, container: Container) -> dict[str, object]:
    return {
        "file": path,
        "good": True,
        "uuid": None if container.uuid is None else str(container.uuid),
        "version": container.version if container.versioned else None,
        "algorithm": None if container.key is None else algorithm_name(container.algorithm),
        "key": None if container.key is None else {"name": container.key.name, "sha256": container.key.fingerprint},
        "subkeys": [str(level.uuid) for level in container.subkeys],
        "encrypted": container.encrypted,
        "verdict": _verdict(container),
    }


def _uuid(arguments: Arguments) -> UUID | None:
    text = arguments.one("--uuid")
    uuid = parse_uuid(text) if text is not None else None
    if text is not None and uuid is None:
        raise UsageError(f"--uuid {text}: not a UUID")
    return uuid


def _check_elf(container: Container) -> None:
    """The image must be one that can be loaded, and be the TA that its header names."""
    info = describe_elf(container.elf)
    if info.uuid is not None and container.uuid is not None and info.uuid != container.uuid:
        raise ImageRefused("uuid", f"the ELF is TA {info.uuid}, its header says {container.uuid}")


def _verdict(container: Container) -> str:
    if container.key is None:
        return "not signed by a trusted key, allowed by --allow-unsigned"
    version = f" version {container.version}" if container.versioned else ""
    chain = "".join(f" > subkey {level.uuid}" for level in container.subkeys)
    encrypted = ", decrypted" if container.encrypted else ""
    return (
        f"good: TA {container.uuid or 'without a UUID of its own'}{version}, "
        f"{algorithm_name(container.algorithm)} by {container.key}{chain}{encrypted}"
    )


COMMAND = Command(
    name="verify",
    summary="Check signatures, hashes and structure of TA images against trusted keys.",
    words=("FILE...",),
    options=(
        *TRUST_OPTIONS,
        Option("--uuid", "UUID", "the TA that the image must be"),
        STATE_OPTION,
        Option("-q, --quiet", "", "print refusals only"),
        Option("--json", "", "print a JSON list, an object for each image, instead of text"),
    ),
    run=run,
    epilog="""\
examples:
  litebox-ta verify --trust vendor.pem some.ta
  litebox-ta verify --trust export-ta_arm64/ tas/*.ta
  litebox-ta verify --json hello

exit codes: 0 every image is good, 2 usage, 4 an image was refused""",
)
