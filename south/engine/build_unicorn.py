"""Builds `south.engine._unicorn`, the CPU engine's C part (cffi API mode); setup.py names it.

Only Unicorn's header is used, from the installed `unicorn` wheel; the library is loaded at run time.
"""

from __future__ import annotations

import os
import sys
import sysconfig

from cffi import FFI

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCES = [
    "uc_api.c",
    "cpu.c",
    "context.c",
    "regions.c",
    "arch_aarch64.c",
    "arch_arm.c",
    "arch_x86_64.c",
    "watchdog.c",
    "turns.c",
    "hooks.c",
    "contain.c",
    "sample.c",
    "dirty.c",
    "space.c",
    "backings.c",
    "debug.c",
]

STRUCTS = """
typedef struct uc_context uc_context;
struct lb_call { uint64_t number; uint64_t arg[8]; uint64_t result; uint64_t pc; };
struct lb_fault { uint64_t address, pc; uint32_t access, exception; int32_t error; };
struct lb_model { const char *name; ...; };
struct lb_arch { int word_bits; uint32_t code_unit; int saved_count, context_count; uint32_t vectors_size;
    const char *const *names;
    const struct lb_model *models; ...; };
struct lb_cpu { struct lb_call call; struct lb_fault fault; int trap;
    bool mid_instruction, ask_always, call_unreadable, broken; const char *broken_how;
    void *hook_owner; uint64_t budget, blocks; ...; };
struct lb_turn { ...; };
struct lb_space { ...; };
"""
"""What Python looks at of them; the compiler adds the rest."""

GLUED = """
const char *lb_error_text(int error);
const char *lb_how_it_ended(void);
void lb_context_free(uc_context *context);
unsigned lb_why(struct lb_cpu *cpu);
uintptr_t lb_guest_at(struct lb_cpu *cpu);
void lb_acknowledge(struct lb_cpu *cpu, unsigned why);
extern "Python" void lb_python_block(void *owner, uint64_t pc, uint32_t size);
extern "Python" void lb_python_access(void *owner, uint32_t watch, uint32_t type, uint64_t address, uint32_t size,
                                      uint64_t value);
"""

GLUE = """
#include "cpu.h"
static const char *lb_error_text(int error)
{
    if (error == LB_ERR_BUSY)
        return "the space's CPU runs";
    return error == LB_ERR_BROKEN ? "Unicorn failed inside" : lb_uc.strerror((uc_err)error);
}
static void lb_context_free(uc_context *context) { lb_uc.context_free(context); }
static unsigned lb_why(struct lb_cpu *cpu) { return atomic_load(&cpu->why); }
static uintptr_t lb_guest_at(struct lb_cpu *cpu) { return (uintptr_t)&cpu->guest; }
static void lb_acknowledge(struct lb_cpu *cpu, unsigned why) { atomic_fetch_and(&cpu->why, ~why); }
"""


def declarations(header: str) -> str:
    """The part of a header that Python sees."""
    with open(os.path.join(HERE, "csrc", header)) as file:
        return file.read().split("/* cffi: begin */")[1].split("/* cffi: end */")[0]


def unicorn_headers() -> str:
    """Folder of `unicorn/unicorn.h`, without importing the package (it loads the engine)."""
    for base in [*sys.path, sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]:
        folder = os.path.join(base, "unicorn", "include")
        if os.path.exists(os.path.join(folder, "unicorn", "unicorn.h")):
            return folder
    raise SystemExit("unicorn's headers were not found; install it first: pip install 'unicorn>=2.1.4'")


ffibuilder = FFI()
ffibuilder.cdef(STRUCTS + declarations("uc_api.h") + declarations("cpu.h") + GLUED)
ffibuilder.set_source(
    "south.engine._unicorn",
    GLUE,
    sources=[os.path.relpath(os.path.join(HERE, "csrc", name)) for name in SOURCES],
    include_dirs=[os.path.relpath(os.path.join(HERE, "csrc")), unicorn_headers()],
    extra_compile_args=[
        "-std=gnu11",
        "-O2",
        "-Wall",
        "-Wextra",
        "-fvisibility=hidden",
        # cffi's generated file only:
        "-Wno-unused-parameter",
        "-Wno-missing-field-initializers",
    ],
    libraries=["dl", "pthread"],
)
