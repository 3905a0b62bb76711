"""Finding images in folders that others can write to."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from ta_loader import store as store_module
from ta_loader.container import Container, ProcessVersions, open_container
from ta_loader.container.sign import sign
from ta_loader.errors import ImageRefused
from ta_loader.store import TaStore
from tee.abi import results
from tee.errors import TeeError
from tests.threads import together

from .container_kit import ELF, ENC_KEY, UUID_A, UUID_B, enc_key, private_pem, store_of

if TYPE_CHECKING:
    from pathlib import Path


def put(folder: Path, version: int = 1, **options: object) -> Path:
    path = folder / f"{UUID_A}.ta"
    path.write_bytes(sign(ELF, private_pem("root"), UUID_A, version, **options))  # type: ignore[arg-type]
    return path


def count_openings(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    seen: list[object] = []

    def counting(*arguments: object, **options: object) -> Container:
        seen.append(arguments)
        return open_container(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(store_module, "open_container", counting)
    return seen


def test_first_folder_wins(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
    put(second, 2)
    store = TaStore([str(tmp_path / "missing"), str(first), str(second)], store_of("root"))
    assert store.find(UUID_A).version == 2
    put(first, 5)
    assert store.find(UUID_A).version == 5


def test_nobody_has_it(tmp_path: Path) -> None:
    for dirs in ([], [str(tmp_path)]):
        with pytest.raises(TeeError) as error:
            TaStore(dirs, store_of("root")).find(UUID_A)
        assert error.value.result == results.ITEM_NOT_FOUND
    with pytest.raises(FileNotFoundError):
        TaStore([], store_of("root")).load_path(str(tmp_path / "x.ta"))


def test_refusal_names_the_file_and_ends_the_search(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
        put(folder)
    data = bytearray((first / f"{UUID_A}.ta").read_bytes())
    data[-1] ^= 1
    (first / f"{UUID_A}.ta").write_bytes(data)
    with pytest.raises(ImageRefused) as refusal:
        TaStore([str(first), str(second)], store_of("root")).find(UUID_A)
    assert refusal.value.path == str(first / f"{UUID_A}.ta")
    assert str(first) in str(refusal.value)
    assert refusal.value.result == results.SECURITY


def test_name_must_match_the_image(tmp_path: Path) -> None:
    put(tmp_path).rename(tmp_path / f"{UUID_B}.ta")
    store = TaStore([str(tmp_path)], store_of("root"))
    path = str(tmp_path / f"{UUID_B}.ta")
    for _ in range(2):
        with pytest.raises(ImageRefused, match="uuid"):
            store.find(UUID_B)
        assert store.load_path(path).uuid == UUID_A  # named by path, the image says who it is


def test_second_open_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(tmp_path)
    openings = count_openings(monkeypatch)
    store = TaStore([str(tmp_path)], store_of("root"))
    assert store.find(UUID_A) is store.find(UUID_A)
    assert len(openings) == 1
    status = path.stat()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # a changed file that claims to be the old one
    with pytest.raises(ImageRefused):
        store.find(UUID_A)
    assert len(openings) == 2


def test_cached_image_is_subject_to_rollback(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    for version, folder in enumerate((old, new), 1):
        folder.mkdir()
        put(folder, version)
    versions = ProcessVersions()
    store = TaStore([str(old)], store_of("root"), versions=versions)
    assert store.find(UUID_A).version == 1
    assert store.load_path(str(new / f"{UUID_A}.ta")).version == 2
    with pytest.raises(ImageRefused) as refusal:
        store.find(UUID_A)
    assert refusal.value.result == results.ACCESS_CONFLICT
    assert refusal.value.path.startswith(str(old))


def test_cache_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = []
    for number in range(4):
        paths.append(tmp_path / f"{number}.ta")
        put(tmp_path).rename(paths[-1])
    monkeypatch.setattr(store_module, "CACHE_SIZE", paths[0].stat().st_size * 2)
    openings = count_openings(monkeypatch)
    store = TaStore([], store_of("root"))
    for path in (*paths, paths[3], paths[2], paths[0]):
        store.load_path(str(path))
    assert len(openings) == 5


def test_plain_image_belongs_to_no_first_caller(tmp_path: Path) -> None:
    path = put(tmp_path, 0, plain=True)
    store = TaStore([str(tmp_path)], store_of("root"))
    assert store.find(UUID_A).uuid == UUID_A
    assert store.load_path(str(path), expected_uuid=UUID_B).uuid == UUID_B


def test_only_regular_files_of_a_sane_size(tmp_path: Path) -> None:
    path = tmp_path / f"{UUID_A}.ta"
    store = TaStore([str(tmp_path)], store_of("root"), max_size=1 << 20)
    path.mkdir()
    with pytest.raises(ImageRefused, match="regular"):
        store.find(UUID_A)
    path.rmdir()
    os.mkfifo(path)  # with nobody writing: a read would wait for ever
    with pytest.raises(ImageRefused, match="regular"):
        store.find(UUID_A)
    path.unlink()
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ImageRefused, match="limit"):
        store.find(UUID_A)
    path.write_bytes(b"")
    with pytest.raises(ImageRefused, match="size"):
        store.find(UUID_A)
    path.unlink()
    path.symlink_to(path)
    with pytest.raises(ImageRefused, match="cannot be read"):
        store.find(UUID_A)


def test_unsigned_files_only_when_allowed(tmp_path: Path) -> None:
    (tmp_path / f"{UUID_A}.stripped.elf").write_bytes(ELF)
    with pytest.raises(TeeError) as error:
        TaStore([str(tmp_path)], store_of("root")).find(UUID_A)
    assert error.value.result == results.ITEM_NOT_FOUND
    assert TaStore([str(tmp_path)], store_of("root", allow_unsigned=True)).find(UUID_A).uuid == UUID_A
    put(tmp_path)
    assert TaStore([str(tmp_path)], store_of("root", allow_unsigned=True)).find(UUID_A).key is not None


def test_encrypted(tmp_path: Path) -> None:
    put(tmp_path, enc_key=ENC_KEY)
    store = TaStore([str(tmp_path)], store_of("root"), enc_key=enc_key)
    assert store.find(UUID_A).elf == store.find(UUID_A).elf == ELF


def test_many_threads(tmp_path: Path) -> None:
    put(tmp_path)
    store = TaStore([str(tmp_path)], store_of("root"))
    found: list[Container] = []
    together(lambda _: found.append(store.find(UUID_A)), range(8))
    assert len(found) == 8
    assert all(container.elf == ELF for container in found)
