"""Every image that Debian ships: verified with the kit's key, linked, and a session opened and closed."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from ta_loader.container import ImageType
from tee.abi import results
from tee.abi.login import Login
from tee.abi.results import Origin, Result
from tee.world import PUBLIC, Client
from tests.real import tas
from tests.real.host import Host, value

if TYPE_CHECKING:
    from uuid import UUID

    from tee.params import Param

KEY = Path("keys", "default_ta.pem")
KEPT_ALIVE = {tas.SIMS_KEEP_ALIVE, tas.PKCS11, tas.REMOTEPROC}
"""TA_FLAG_INSTANCE_KEEP_ALIVE: their instance stays when its last session goes, also one that never opened."""
BOOTSTRAP = (ImageType.BOOTSTRAP_TA,)
FROM_TA = Origin.TRUSTED_APP


class Row(NamedTuple):
    """An image, and how opening a session ends. params: value parameters."""

    name: str
    uuid: UUID
    result: Result
    origin: Origin
    why: str
    login: Login = Login.PUBLIC
    values: int = 0
    subkeys: int = 0


def opens(name: str, uuid: UUID, why: str = "nothing is asked of the client", subkeys: int = 0) -> Row:
    return Row(name, uuid, results.SUCCESS, FROM_TA, why, subkeys=subkeys)


ROWS = [
    opens("concurrent", tas.CONCURRENT),
    opens("concurrent_large", tas.CONCURRENT_LARGE, "its 2 MiB heap fits the instance's memory"),
    Row("create_fail_test", tas.CREATE_FAIL, results.GENERIC, FROM_TA, "TA_CreateEntryPoint fails by design"),
    opens("crypt", tas.CRYPT),
    opens("crypto_perf", tas.CRYPTO_PERF),
    opens("large", tas.LARGE, "a 1.1 MB image"),
    opens("miss", tas.MISS),
    opens("os_test", tas.OS_TEST, "links os_test_lib, whose constructors run first"),
    Row("os_test_lib", tas.OS_TEST_LIB, results.BAD_FORMAT, Origin.TEE, "a library has no TA header"),
    Row("os_test_lib_dl", tas.OS_TEST_LIB_DL, results.BAD_FORMAT, Origin.TEE, "a library has no TA header"),
    opens("rpc_test", tas.RPC),
    opens("sims", tas.SIMS),
    opens("sims_keepalive", tas.SIMS_KEEP_ALIVE),
    opens("socket", tas.SOCKET),
    opens("storage", tas.STORAGE),
    opens("storage2", tas.STORAGE2),
    opens("storage_benchmark", tas.STORAGE_BENCHMARK),
    opens("subkey1", tas.SUBKEY1, "signed by a subkey of a subkey", subkeys=2),
    opens("subkey2", tas.SUBKEY2, "signed by an identity subkey", subkeys=1),
    Row("supp_plugin", tas.SUPP_PLUGIN, results.COMMUNICATION, FROM_TA, "pings a plugin, and no supplicant answers"),
    opens("avb", tas.AVB),
    Row("pkcs11", tas.PKCS11, results.SECURITY, FROM_TA, "no token without trusted storage (pkcs11_token.c)"),
    Row("remoteproc", tas.REMOTEPROC, results.BAD_PARAMETERS, FROM_TA, "demands a value: the processor's number"),
    Row("remoteproc", tas.REMOTEPROC, results.ITEM_NOT_FOUND, FROM_TA, "its pseudo TA is a board's", values=1),
    Row("trusted_keys", tas.TRUSTED_KEYS, results.ACCESS_DENIED, FROM_TA, "serves the kernel alone"),
    opens("trusted_keys", tas.TRUSTED_KEYS, "a kernel's login")._replace(login=Login.REE_KERNEL),
]


def fingerprint(pem: Path) -> str:
    """SHA-256 of a private key's public half, as SubjectPublicKeyInfo."""
    key = load_pem_private_key(pem.read_bytes(), None).public_key()
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def test_the_table_has_every_image(debian_tas: Path, debian_kit: Path) -> None:
    files = [*debian_tas.glob("*.ta"), *(debian_kit / "ta").glob("*.ta")]
    assert {str(row.uuid) for row in ROWS} == {path.stem for path in files}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.name}: {row.why}")
def test_open_and_close(host: Host, debian_kit: Path, row: Row) -> None:
    container = host.store.find(row.uuid)
    assert container.key is not None
    assert container.key.fingerprint == fingerprint(debian_kit / KEY)
    assert container.uuid == row.uuid
    assert len(container.subkeys) == row.subkeys
    assert container.kinds == ((ImageType.SUBKEY,) * row.subkeys) + BOOTSTRAP

    client = PUBLIC if row.login is Login.PUBLIC else Client(row.login)
    params: list[Param] = [value(i) for i in range(row.values)]
    opened = host.world.open_session(row.uuid, params, client=client)
    assert (opened.result, opened.origin) == (row.result, row.origin), host.console.text
    assert bool(opened.session) == (row.result == results.SUCCESS)
    if opened.session:
        host.close_session(opened.session)
    assert not host.watch.crashes
    assert host.world.instances == (row.uuid in KEPT_ALIVE)


def test_nobody_vouches_for_them_without_the_key(debian_tas: Path, debian_kit: Path, tmp_path: Path) -> None:
    host = Host(tmp_path, [debian_tas, debian_kit / "ta"])
    for row in ROWS:
        opened = host.world.open_session(row.uuid)
        assert (opened.session, opened.result, opened.origin) == (0, results.SECURITY, Origin.TEE)
    host.close()


@pytest.mark.parametrize("offset", [0, 4, 8, 12, 16, 18, 20, 20 + 32, 3000, 8000])
def test_corrupt_image(host: Host, debian_tas: Path, debian_kit: Path, tmp_path: Path, offset: int) -> None:
    """One bit of magic, type, size, algorithm, hash and signature sizes, hash, signature, image (xtest 1008)."""
    data = bytearray((debian_tas / f"{tas.CRYPT}.ta").read_bytes())
    data[offset] ^= 1
    (tmp_path / f"{tas.CRYPT}.ta").write_bytes(data)
    broken = Host(tmp_path / "state", [tmp_path], [debian_kit])
    opened = broken.world.open_session(tas.CRYPT)
    assert (opened.session, opened.result, opened.origin) == (0, results.SECURITY, Origin.TEE)
    broken.close()
