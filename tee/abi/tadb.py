"""The database of TAs installed in trusted storage.

Source: optee_os 4.5 core/tee/tadb.c (`struct tadb_entry`), core/include/tee/tadb.h.
"""

from __future__ import annotations

import struct

OBJECT_ID = b"ta.db\0"
IV_SIZE = 16
TAG_SIZE = 16
KEY_SIZE = 32

ENTRY = struct.Struct(f"<16sIIII{IV_SIZE}s{TAG_SIZE}s{KEY_SIZE}s")
"""UUID (as in memory), version, bytes of custom properties, bytes of the image, file number; IV, tag and key of the
file `<number>.ta`, which holds properties and image under AES-256-GCM. A null UUID is a free entry."""
