"""The Linux TEE subsystem's ioctls and layouts alone. Source: Linux include/uapi/linux/tee.h."""

from __future__ import annotations

import struct

VERSION = struct.Struct("=III")
"""struct tee_ioctl_version_data: impl_id, impl_caps, gen_caps"""
SHM_ALLOC = struct.Struct("=QIi")
"""struct tee_ioctl_shm_alloc_data: size, flags, id; the ioctl's return value is a descriptor"""
SHM_REGISTER = struct.Struct("=QQIi")
"""struct tee_ioctl_shm_register_data: addr, length, flags, id; returns a descriptor"""
BUFFER = struct.Struct("=QQ")
"""struct tee_ioctl_buf_data: buf_ptr, buf_len"""
OPEN_SESSION = struct.Struct("=16s16sIIIIII")
"""struct tee_ioctl_open_session_arg: uuid, clnt_uuid, clnt_login, cancel_id, session, ret, ret_origin, num_params"""
INVOKE = struct.Struct("=IIIIII")
"""struct tee_ioctl_invoke_arg: func, session, cancel_id, ret, ret_origin, num_params"""
PARAM = struct.Struct("=QQQQ")
"""struct tee_ioctl_param: attr, a, b, c. Values: a, b, c. Memrefs: offset, size, object"""
CANCEL = struct.Struct("=II")
"""struct tee_ioctl_cancel_arg: cancel_id, session"""
CLOSE_SESSION = struct.Struct("=I")
"""struct tee_ioctl_close_session_arg: session"""

IMPL_ID_OPTEE = 1
GEN_CAP_GP = 1 << 0
GEN_CAP_REG_MEM = 1 << 2
GEN_CAP_MEMREF_NULL = 1 << 3
MEMREF_NULL = (1 << 64) - 1
"""Instead of an object's number, where GEN_CAP_MEMREF_NULL is."""
PARAMS = 4

_MAGIC = 0xA4
_WRITE, _READ = 1, 2


def _request(direction: int, number: int, layout: struct.Struct) -> int:
    """_IOC() of include/uapi/asm-generic/ioctl.h, as x86, arm and RISC-V have it."""
    return direction << 30 | layout.size << 16 | _MAGIC << 8 | number


IOC_VERSION = _request(_READ, 0, VERSION)
IOC_SHM_ALLOC = _request(_READ | _WRITE, 1, SHM_ALLOC)
IOC_OPEN_SESSION = _request(_READ, 2, BUFFER)
IOC_INVOKE = _request(_READ, 3, BUFFER)
IOC_CANCEL = _request(_READ, 4, CANCEL)
IOC_CLOSE_SESSION = _request(_READ, 5, CLOSE_SESSION)
IOC_SHM_REGISTER = _request(_READ | _WRITE, 9, SHM_REGISTER)
