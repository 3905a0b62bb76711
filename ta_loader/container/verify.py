"""Open a `.ta` file: check everything that OP-TEE's core checks, in its order, and hand out the ELF.

Source: ree_fs_ta_open() and ree_fs_ta_read(), optee_os core/kernel/ree_fs_ta.c; core/crypto/signed_hdr.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from north.elf.abi import ELFMAG
from ta_loader.container.layout import (
    ALGORITHMS,
    NO_DEPTH_LIMIT,
    SHDR_ENC_KEY_TYPE_MASK,
    TA_ENC_KEY_SIZE,
    TEE_ALG_AES_GCM,
    Algorithm,
    ImageType,
    algorithm_name,
)
from ta_loader.container.namespace import next_uuid
from ta_loader.container.parse import Encryption, Header, Subkey, read_header, read_payload, read_subkey, subkey_body
from ta_loader.container.rsa_key import RsaPublicKey, Verifier
from ta_loader.container.versions import SUBKEY_VERSIONS, TA_VERSIONS
from ta_loader.errors import ImageRefused
from tee.abi.results import ACCESS_CONFLICT, NOT_IMPLEMENTED
from tee.crypto import oneshot

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from ta_loader.container.versions import VersionDatabase
    from ta_loader.trust import TrustStore


class SubkeyLevel(NamedTuple):
    """A verified subkey. name: of the next level, '' for an identity subkey; depth: levels it allows below itself."""

    uuid: UUID
    name: str
    depth: int
    version: int
    fingerprint: str


class Container(NamedTuple):
    """A TA image that passed every check.

    kinds: one a header, outermost first; empty for a bare ELF. uuid: None when neither a header nor the caller gave
    one. algorithm: TEE_ALG_RSASSA_* of the TA's own signature, 0 for a bare ELF. key: the trust anchor; None when
    nobody vouches for the image (`TrustStore.allow_unsigned`). digest: SHA-256 over what the signature covers.
    """

    kinds: tuple[ImageType, ...]
    uuid: UUID | None
    version: int
    algorithm: int
    key: Verifier | None
    subkeys: tuple[SubkeyLevel, ...]
    elf: memoryview
    digest: bytes

    @property
    def encrypted(self) -> bool:
        return ImageType.ENCRYPTED_TA in self.kinds

    @property
    def versioned(self) -> bool:
        """Whether a header carries a TA version, so that rollback protection applies."""
        return bool(self.kinds) and self.kinds[-1] != ImageType.TA


def open_container(
    data: bytes | bytearray | memoryview,
    trust: TrustStore,
    *,
    expected_uuid: UUID | None = None,
    enc_key: Callable[[int], bytes] | None = None,
    versions: VersionDatabase | None = None,
) -> Container:
    """Verify a TA image. ImageRefused says which check failed.

    data: copied once unless it is `bytes`, so that nobody changes it between check and use.
    expected_uuid: what the caller asked for; None accepts any.
    enc_key: key type (SHDR_ENC_KEY_*) -> 32-byte key of encrypted TAs; its TeeError passes through.
    versions: rollback protection; not consulted for images that nobody vouches for.
    """
    image = data if type(data) is bytes else bytes(data)
    if image.startswith(ELFMAG):
        return _bare_elf(image, trust, expected_uuid)
    return _Opening(image, trust, expected_uuid, enc_key, versions).run()


def check_versions(container: Container, versions: VersionDatabase) -> None:
    """Apply rollback protection to a container that was verified earlier; ImageRefused as when it was opened."""
    if container.key is None:
        return
    for level in container.subkeys:
        _check_subkey_version(versions, level.uuid, level.version)
    if container.versioned and container.uuid is not None:
        _check_ta_version(versions, container.uuid, container.version)


def _check_subkey_version(versions: VersionDatabase, uuid: UUID, version: int) -> None:
    floor = versions.check_update(SUBKEY_VERSIONS, uuid, version)
    if floor > version:
        raise ImageRefused("version", f"subkey {uuid} is of version {version}, version {floor} was seen before")


def _check_ta_version(versions: VersionDatabase, uuid: UUID, version: int) -> None:
    floor = versions.check_update(TA_VERSIONS, uuid, version)
    if floor > version:
        reason = f"TA {uuid} is of version {version}, version {floor} was seen before"
        raise ImageRefused("version", reason, result=ACCESS_CONFLICT)


def _bare_elf(image: bytes, trust: TrustStore, uuid: UUID | None) -> Container:
    if not trust.allow_unsigned:
        raise ImageRefused("signature", "a bare ELF file has no signature, and unsigned images are not allowed")
    return Container((), uuid, 0, 0, None, (), memoryview(image), oneshot.digest("sha256", image))


class _Opening:
    """One walk down the headers of one image."""

    def __init__(
        self,
        image: bytes,
        trust: TrustStore,
        expected_uuid: UUID | None,
        enc_key: Callable[[int], bytes] | None,
        versions: VersionDatabase | None,
    ) -> None:
        self.image = image
        self.trust = trust
        self.expected_uuid = expected_uuid
        self.enc_key = enc_key
        self.versions = versions
        self.root: Verifier | None = None
        self.signer: Verifier | None = None
        self.kinds: list[ImageType] = []
        self.levels: list[SubkeyLevel] = []

    def run(self) -> Container:
        header = read_header(self.image, 0)
        algorithm = _algorithm(header)
        self._verify_root(header)
        max_depth = NO_DEPTH_LIMIT
        uuid: UUID | None = None
        while header.img_type == ImageType.SUBKEY:
            subkey = self._subkey(header, algorithm, uuid, max_depth)
            max_depth = subkey.max_depth
            uuid = next_uuid(subkey.uuid, subkey.name)
            header = read_header(self.image, subkey.end)
            algorithm = _algorithm(header)
            self._verify_below(header)
        return self._finish(header, algorithm, uuid)

    def _verify_root(self, header: Header) -> None:
        self.root = self.signer = self.trust.signer(header.algo, header.hash, header.signature)
        if self.root is not None or self.trust.allow_unsigned:
            return
        if not self.trust.keys:
            raise ImageRefused("signature", "no key is trusted: name a PEM file or a TA development kit")
        made_by = f"{algorithm_name(header.algo)} signature of {len(header.signature) * 8} bits"
        raise ImageRefused("signature", f"no trusted key made the {made_by}", tried=[str(k) for k in self.trust.keys])

    def _verify_below(self, header: Header) -> None:
        signer = self.signer
        if signer is None or not signer.verify(header.algo, header.hash, header.signature):
            reason = f"the header at offset {header.offset} is not signed by the subkey above it"
            raise ImageRefused("signature", reason, key=str(signer))

    def _check_hash(self, header: Header, algorithm: Algorithm, *covered: bytes | memoryview) -> None:
        if oneshot.digest(algorithm.hash, header.raw, *covered) != header.hash:
            reason = f"{algorithm.hash} of the image differs from the hash in the header at offset {header.offset}"
            raise ImageRefused("hash", reason, key=self._key_name())

    def _key_name(self) -> str:
        return str(self.signer) if self.signer else "none trusted"

    def _subkey(self, header: Header, algorithm: Algorithm, uuid: UUID | None, max_depth: int) -> Subkey:
        body = subkey_body(self.image, header)
        self._check_hash(header, algorithm, body)
        subkey = read_subkey(self.image, header, body)
        if subkey.max_depth >= max_depth:
            reason = f"subkey {subkey.uuid} allows {subkey.max_depth} levels below it, fewer than {max_depth} may be"
            raise ImageRefused("depth", reason, key=self._key_name())
        if uuid is not None and subkey.uuid != uuid:
            reason = f"subkey {subkey.uuid} is outside the namespace of the subkey above, which gives {uuid}"
            raise ImageRefused("uuid", reason, key=self._key_name())
        numbers = RsaPublicKey(subkey.modulus, subkey.exponent)
        if numbers.bits < self.trust.min_rsa_bits:
            raise ImageRefused("key", f"subkey {subkey.uuid} has an RSA key of {numbers.bits} bits only")
        try:
            signer = Verifier(numbers, f"subkey {subkey.uuid}")
        except ValueError as problem:
            raise ImageRefused("key", str(problem)) from None
        if self.versions is not None and self.root is not None:
            _check_subkey_version(self.versions, subkey.uuid, subkey.version)
        self.signer = signer
        self.kinds.append(ImageType.SUBKEY)
        name = subkey.name.partition(b"\0")[0].decode("utf-8", "backslashreplace")
        self.levels.append(SubkeyLevel(subkey.uuid, name, subkey.max_depth, subkey.version, signer.fingerprint))
        return subkey

    def _finish(self, header: Header, algorithm: Algorithm, namespace_uuid: UUID | None) -> Container:
        payload = read_payload(self.image, header)
        uuid = self._agreed_uuid(payload.uuid, namespace_uuid)
        view = memoryview(self.image)
        elf = view[payload.image :]
        if payload.encryption is not None:
            elf = memoryview(self._decrypt(payload.encryption, elf))
        covered = (view[payload.start : payload.image], elf)
        self._check_hash(header, algorithm, *covered)
        if self.versions is not None and self.root is not None and payload.uuid is not None:
            _check_ta_version(self.versions, payload.uuid, payload.version)
        digest = header.hash if algorithm.hash == "sha256" else oneshot.digest("sha256", header.raw, *covered)
        self.kinds.append(ImageType(header.img_type))
        return Container(
            tuple(self.kinds), uuid, payload.version, algorithm.number, self.root, tuple(self.levels), elf, digest
        )

    def _agreed_uuid(self, stated: UUID | None, namespace: UUID | None) -> UUID | None:
        """The one UUID that header, subkey namespace and caller mean, whichever of them say one."""
        if namespace is not None and stated is not None and namespace != stated:
            reason = f"TA {stated} is outside the namespace of its subkey, which gives {namespace}"
            raise ImageRefused("uuid", reason, key=self._key_name())
        uuid = stated if stated is not None else namespace
        if self.expected_uuid is None:
            return uuid
        if uuid is not None and uuid != self.expected_uuid:
            raise ImageRefused("uuid", f"the image is TA {uuid}, not {self.expected_uuid}", key=self._key_name())
        return self.expected_uuid

    def _decrypt(self, encryption: Encryption, ciphertext: memoryview) -> bytes:
        if encryption.algo != TEE_ALG_AES_GCM:
            reason = f"encryption algorithm 0x{encryption.algo:08x} is not AES-GCM"
            raise ImageRefused("encryption", reason, result=NOT_IMPLEMENTED)
        check_gcm_sizes(encryption)
        if self.enc_key is None:
            raise ImageRefused("encryption", "the image is encrypted, and there is no TA encryption key")
        key = self.enc_key(encryption.flags & SHDR_ENC_KEY_TYPE_MASK)
        if len(key) != TA_ENC_KEY_SIZE:
            raise ImageRefused("encryption", f"the TA encryption key has {len(key)} bytes, not {TA_ENC_KEY_SIZE}")
        plaintext = oneshot.gcm_decrypt(key, encryption.iv, b"", ciphertext, encryption.tag)
        if plaintext is None:
            raise ImageRefused("encryption", "the AES-GCM tag does not match: another key, or a changed image")
        return plaintext


def check_gcm_sizes(encryption: Encryption) -> None:
    """Sizes that AES-GCM is safe with: NIST SP 800-38D §5.2.1.1 and §5.2.1.2; the IV's limit is libcrypto's."""
    if not 1 <= len(encryption.iv) <= 128 or not 12 <= len(encryption.tag) <= 16:
        reason = f"IV of {len(encryption.iv)} bytes or tag of {len(encryption.tag)} bytes is unfit for AES-GCM"
        raise ImageRefused("encryption", reason)


def _algorithm(header: Header) -> Algorithm:
    algorithm = ALGORITHMS.get(header.algo)
    if algorithm is None:
        raise ImageRefused("algorithm", f"{algorithm_name(header.algo)} is no signature algorithm for TAs")
    if len(header.hash) != algorithm.hash_size:
        reason = f"hash of {len(header.hash)} bytes where {algorithm.name} has {algorithm.hash_size}"
        raise ImageRefused("size", reason)
    return algorithm
