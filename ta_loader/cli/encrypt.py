"""`litebox-ta encrypt`: sign a TA and encrypt its ELF with AES-256-GCM."""

from __future__ import annotations

from typing import TYPE_CHECKING

from south.errors import UsageError
from ta_loader.cli.options import Command, Option
from ta_loader.cli.sign import SIGN_OPTIONS, write_image
from ta_loader.cli.world_options import read_enc_key
from ta_loader.container.layout import SHDR_ENC_KEY_CLASS_WIDE, SHDR_ENC_KEY_DEV_SPECIFIC

if TYPE_CHECKING:
    from ta_loader.cli.options import Arguments


def run(arguments: Arguments) -> int:
    enc_key = read_enc_key(arguments)
    if enc_key is None:
        raise UsageError("name the encryption key: --enc-key, 64 hexadecimal digits")
    kind = SHDR_ENC_KEY_CLASS_WIDE if arguments.switch("--class-wide") else SHDR_ENC_KEY_DEV_SPECIFIC
    return write_image(arguments, enc_key=enc_key, enc_key_type=kind)


COMMAND = Command(
    name="encrypt",
    summary="Sign a TA's ELF file and encrypt it: a .ta file that OP-TEE accepts.",
    words=("ELF",),
    options=(
        *SIGN_OPTIONS,
        Option("--enc-key", "HEX", "AES-256 key, 64 hexadecimal digits"),
        Option("--class-wide", "", "say in the header that the key is one for a class of devices"),
    ),
    run=run,
    epilog="""\
examples:
  litebox-ta encrypt --key default_ta.pem --enc-key $(cat key.hex) my.stripped.elf
  litebox-ta run my.ta --trust default_ta.pem --enc-key $(cat key.hex)""",
)
