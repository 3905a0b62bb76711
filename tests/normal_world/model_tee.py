"""The model of Linux's TEE driver (csrc/model_tee.c) as an `ioctl` for `normal_world.client.device.Device`."""

from __future__ import annotations

import ctypes
import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from normal_world import libteec

SOURCE = Path(__file__).parent / "csrc" / "model_tee.c"


class ModelDriver:
    """library: the compiled model. It speaks to the daemon that $LITEBOX_SOCKET names."""

    def __init__(self, library: Path) -> None:
        self._library = ctypes.CDLL(str(library))
        self._library.model_ioctl.argtypes = [ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p]

    def ioctl(self, fd: int, request: int, data: bytearray) -> int:
        answer: int = self._library.model_ioctl(fd, request, ctypes.byref(ctypes.c_char.from_buffer(data)))
        if answer < 0:
            raise OSError(-answer, os.strerror(-answer))
        return answer

    def closed(self, fd: int) -> None:
        """What the driver does when a file is released."""
        self._library.model_closed(fd)

    def say(self, *, caps: int, implementation: int = 1) -> None:
        ctypes.c_uint32.in_dll(self._library, "model_caps").value = caps
        ctypes.c_uint32.in_dll(self._library, "model_implementation").value = implementation


def build_model(folder: Path) -> ModelDriver:
    """A model of its own: a copy in `folder`, which the loader takes for another library."""
    if shutil.which("cc") is None or not Path("/usr/include/linux/tee.h").exists():
        pytest.skip("no C compiler with the kernel's headers (linux/tee.h)")
    library = folder / "model_tee.so"
    library.write_bytes(_compiled())
    return ModelDriver(library)


@functools.cache
def _compiled() -> bytes:
    """Once a process."""
    teec = libteec.ensure()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "model_tee.so")
        command = ["cc", "-std=gnu11", "-D_FILE_OFFSET_BITS=64", "-g", "-pthread", "-Wall", "-Wextra", "-Werror"]
        command += ["-shared", "-fPIC", f"-I{libteec.INCLUDE}", "-o", str(out), str(SOURCE), str(teec)]
        subprocess.run([*command, f"-Wl,-rpath,{teec.parent}"], check=True, timeout=60)
        return out.read_bytes()
