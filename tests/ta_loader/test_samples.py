"""The prebuilt TAs: signed as they say, loadable as OP-TEE wants, and the same as what the sources give."""

from __future__ import annotations

import ctypes
import hashlib
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa, utils
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection
from hypothesis import given
from hypothesis import strategies as st

from south.platform import Arch
from ta_loader import samples
from ta_loader.machines import TA_ARCHES
from ta_loader.samples import build
from tests.tas import cryptdrv
from tests.tas.asan import build as asan_build
from tests.tas.checks import build as checks_build
from tests.tas.cryptdrv import build as cryptdrv_build
from tests.tas.cxx import build as cxx_build
from tests.tas.prof import build as prof_build

HEADER = 20 + 32 + 256 + 20
"""shdr, digest, RSA-2048 signature, shdr_bootstrap_ta."""

MAKERS = (build.hello_recipe, *(m.recipe for m in (cryptdrv_build, cxx_build, prof_build, asan_build, checks_build)))
RECIPES = [recipe(arch) for recipe in MAKERS for arch in TA_ARCHES]
IDS = [f"{r.sources[0].stem}-{r.arch.value}" for r in RECIPES]
every_recipe = pytest.mark.parametrize("recipe", RECIPES, ids=IDS)


def elf_of(recipe: build.Recipe, folder: Path) -> ELFFile:
    path = folder / "ta.elf"
    path.write_bytes(recipe.image.read_bytes()[HEADER:])
    return ELFFile(path.open("rb"))


def symbol_table(elf: ELFFile, name: str) -> SymbolTableSection:
    section = elf.get_section_by_name(name)
    assert isinstance(section, SymbolTableSection)
    return section


@every_recipe
def test_signature_holds_by_pyca(recipe: build.Recipe) -> None:
    image = recipe.image.read_bytes()
    magic, kind, size, algorithm, digest_size, signature_size = struct.unpack_from("<IIIIHH", image)
    assert (magic, kind, algorithm) == (0x4F545348, 1, 0x70004830)
    assert (digest_size, signature_size, size) == (32, 256, len(image) - HEADER)
    digest, signature = image[20:52], image[52:308]
    bootstrap, elf = image[308:HEADER], image[HEADER:]
    assert bootstrap[:16] == recipe.uuid.bytes
    assert digest == hashlib.sha256(image[:20] + bootstrap + elf).digest()
    key = serialization.load_pem_public_key(samples.public_key().read_bytes())
    assert isinstance(key, rsa.RSAPublicKey)
    key.verify(signature, digest, padding.PKCS1v15(), utils.Prehashed(hashes.SHA256()))


@every_recipe
def test_elf_is_what_a_loader_expects(recipe: build.Recipe, tmp_path: Path) -> None:
    elf = elf_of(recipe, tmp_path)
    assert elf.header.e_type == "ET_DYN"
    assert elf.header.e_machine == {Arch.AARCH64: "EM_AARCH64", Arch.ARM: "EM_ARM"}[recipe.arch]
    loads = [s.header for s in elf.iter_segments() if s.header.p_type == "PT_LOAD"]
    assert [h.p_flags for h in loads] == [5, 6]  # read and execute, read and write
    assert all(h.p_vaddr % 4096 == h.p_offset % 4096 == 0 for h in loads)
    assert loads[1].p_vaddr >= loads[0].p_vaddr + loads[0].p_memsz

    symbols = symbol_table(elf, ".dynsym")
    heads = symbols.get_symbol_by_name("ta_head")
    assert heads is not None
    assert len(heads) == 1
    at = loads[0].p_offset + heads[0].entry.st_value
    raw = recipe.image.read_bytes()[HEADER:][at : at + 32]
    stack_size, _flags, entry = struct.unpack_from("<IIQ", raw, 16)
    assert raw[:16] == recipe.uuid.bytes_le
    assert stack_size % 4096 == 0
    assert entry == (1 << 64) - 1
    assert {s.name for s in symbols.iter_symbols()} >= {"ta_head", "ta_props", "ta_num_props"}
    undefined = [s for s in symbols.iter_symbols() if s.name and s.entry.st_shndx == "SHN_UNDEF"]
    assert all(s.entry.st_info.bind == "STB_WEAK" for s in undefined), undefined  # the C++ library asks for some


@every_recipe
def test_function_names_are_kept_and_debug_information_is_not(recipe: build.Recipe, tmp_path: Path) -> None:
    elf = elf_of(recipe, tmp_path)
    assert not elf.has_dwarf_info() or elf.get_section_by_name(".debug_info") is None
    assert symbol_table(elf, ".symtab").get_symbol_by_name("ta_invoke")


def test_arm_images_cover_both_instruction_sets(tmp_path: Path) -> None:
    hello = elf_of(build.hello_recipe(Arch.ARM), tmp_path).header.e_entry
    driver = elf_of(cryptdrv_build.recipe(Arch.ARM), tmp_path).header.e_entry
    assert (hello & 1, driver & 1) == (1, 0)


@every_recipe
def test_checksums_of_the_provenance_list(recipe: build.Recipe) -> None:
    text = (Path(__file__).parents[1] / "data" / "README.md").read_text()
    found = re.search(rf"^([0-9a-f]{{64}})  \S*{recipe.image.name}$", text, re.MULTILINE)
    assert found is not None
    assert found[1] == hashlib.sha256(recipe.image.read_bytes()).hexdigest()


@every_recipe
def test_rebuild_is_the_same_bit_for_bit(recipe: build.Recipe) -> None:
    if absent := build.missing(recipe):
        pytest.skip(f"{absent} is not installed")
    if build.compiler_version(recipe.arch) != build.MADE_WITH:
        pytest.skip(f"{build.COMPILER[recipe.arch]} is not version {build.MADE_WITH}")
    assert build.build(recipe) == recipe.image.read_bytes()


def test_samples_are_found_by_architecture() -> None:
    assert {samples.hello(arch).stem for arch in TA_ARCHES} == {str(uuid) for uuid in samples.HELLO.values()}
    assert all(samples.hello(arch).is_file() and cryptdrv.path(arch).is_file() for arch in TA_ARCHES)


@pytest.fixture(scope="session")
def native_sha256(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    library = tmp_path_factory.mktemp("native") / "sha256.so"
    source = build.SOURCES / "sha256.c"
    command = [compiler, "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared", str(source)]
    subprocess.run([*command, "-o", str(library)], check=True, stdin=subprocess.DEVNULL)
    return ctypes.CDLL(str(library))


@given(data=st.binary(max_size=300))
def test_own_sha256_equals_hashlib(native_sha256: ctypes.CDLL, data: bytes) -> None:
    digest = ctypes.create_string_buffer(32)
    native_sha256.sample_sha256(data, ctypes.c_size_t(len(data)), digest)
    assert digest.raw == hashlib.sha256(data).digest()


@every_recipe
def test_optee_own_script_verifies(recipe: build.Recipe, debian_kit: Path) -> None:
    """OP-TEE's signing script accepts the container."""
    script = debian_kit / "scripts" / "sign_encrypt.py"
    command = [sys.executable, str(script), "verify", "--uuid", str(recipe.uuid), "--in", str(recipe.image)]
    command += ["--key", str(samples.public_key())]
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
