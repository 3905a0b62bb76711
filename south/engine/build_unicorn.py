"""Builds `south.engine._unicorn`, the CPU engine's C part (cffi API mode); setup.py names it.

Only Unicorn's header is used, from the installed `unicorn` wheel; the library is loaded at run time.
"""

from __future__ import annotations

import os
import sys
import sysconfig

from cffi import FFI

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCES = ["uc_api.c", "cpu.c", "regions.c", "arch_aarch64.c", "arch_arm.c", "watchdog.c", "turns.c", "hooks.c"]

DECLARATIONS = """
struct lb_call { uint64_t number; uint64_t arg[8]; uint64_t result; uint64_t pc; };
struct lb_fault { uint64_t address, pc; uint32_t access, exception; int32_t error; };
struct lb_arch { int saved_count; const char *const *names; ...; };
struct lb_cpu { struct lb_call call; struct lb_fault fault; int trap;
    bool mid_instruction, ask_always, call_unreadable; void *hook_owner; uint64_t budget; ...; };
struct lb_turn { ...; };

extern const struct lb_arch lb_arch_aarch64, lb_arch_arm;

int lb_load_unicorn(const char *path);
const char *lb_load_error(void);
const char *lb_error_text(int error);

struct lb_cpu *lb_cpu_new(const struct lb_arch *arch, uint8_t *arena, uint64_t arena_size, int *error);
void lb_cpu_free(struct lb_cpu *cpu);
int lb_cpu_enter(struct lb_cpu *cpu, uint64_t pc, uint64_t sp, uint64_t a0, uint64_t a1, uint64_t a2, uint64_t a3);
int lb_cpu_resume(struct lb_cpu *cpu, uint64_t result);
int lb_cpu_start(struct lb_cpu *cpu, uint64_t pc, uint64_t sp, uint64_t a0, uint64_t a1, uint64_t a2, uint64_t a3);
int lb_cpu_answer(struct lb_cpu *cpu, uint64_t result);
int lb_cpu_proceed(struct lb_cpu *cpu);
int lb_cpu_bind(struct lb_cpu *cpu, uint64_t number, uintptr_t handler, uintptr_t owner, unsigned args);
bool lb_cpu_serve(struct lb_cpu *cpu);
void lb_cpu_registers(struct lb_cpu *cpu, uint64_t *out);
int lb_cpu_set_register(struct lb_cpu *cpu, int index, uint64_t value);
void *lb_context_save(struct lb_cpu *cpu);
int lb_context_load(struct lb_cpu *cpu, void *context);
void lb_context_free(void *context);
unsigned lb_why(struct lb_cpu *cpu);
void lb_acknowledge(struct lb_cpu *cpu, unsigned why);

int lb_map(struct lb_cpu *cpu, uint64_t va, uint64_t size, uint32_t prot, uint32_t flags, uint8_t *host);
int lb_unmap(struct lb_cpu *cpu, uint64_t va, uint64_t size);
int lb_protect(struct lb_cpu *cpu, uint64_t va, uint64_t size, uint32_t prot);
int lb_read(struct lb_cpu *cpu, uint64_t va, void *out, uint64_t size, uint32_t need);
int lb_write(struct lb_cpu *cpu, uint64_t va, const char *data, uint64_t size, uint32_t need);
int lb_check(struct lb_cpu *cpu, uint64_t va, uint64_t size, uint32_t need);
int lb_back(struct lb_cpu *cpu, uint8_t *host, uint64_t size, bool keep);
int lb_unback(struct lb_cpu *cpu, uint8_t *host, uint64_t size);
void lb_invalidate(struct lb_cpu *cpu, uint64_t va, uint64_t size);

void lb_interrupt(struct lb_cpu *cpu, unsigned why);
void lb_set_deadline(struct lb_cpu *cpu, int64_t ns_from_now);
void lb_watch_signals(int fd);

struct lb_turn *lb_turn_new(void);
void lb_turn_free(struct lb_turn *turn);
void lb_turn_join(struct lb_cpu *cpu, struct lb_turn *turn);

int lb_hook_block(struct lb_cpu *cpu, bool on);
int lb_hook_access(struct lb_cpu *cpu, uint64_t begin, uint64_t end, bool on);
int lb_hook_cover(struct lb_cpu *cpu, uint64_t va, uint64_t size, uint8_t *map);
int lb_hook_budget(struct lb_cpu *cpu, uint64_t instructions);
extern void (*lb_block_callback)(void *owner, uint64_t pc, uint32_t size);
extern void (*lb_access_callback)(void *owner, uint32_t type, uint64_t address, uint32_t size, uint64_t value);
extern "Python" void lb_python_block(void *owner, uint64_t pc, uint32_t size);
extern "Python" void lb_python_access(void *owner, uint32_t type, uint64_t address, uint32_t size, uint64_t value);
"""

GLUE = """
#include "cpu.h"
extern void (*lb_block_callback)(void *owner, uint64_t pc, uint32_t size);
extern void (*lb_access_callback)(void *owner, uint32_t type, uint64_t address, uint32_t size, uint64_t value);
static const char *lb_error_text(int error) { return lb_uc.strerror((uc_err)error); }
static void *lb_context_save(struct lb_cpu *cpu) { return lb_cpu_save(cpu); }
static int lb_context_load(struct lb_cpu *cpu, void *context) { return lb_cpu_load(cpu, context); }
static void lb_context_free(void *context) { lb_uc.context_free(context); }
static unsigned lb_why(struct lb_cpu *cpu) { return atomic_load(&cpu->why); }
static void lb_acknowledge(struct lb_cpu *cpu, unsigned why) { atomic_fetch_and(&cpu->why, ~why); }
"""


def unicorn_headers() -> str:
    """Folder of `unicorn/unicorn.h`, without importing the package (it loads the engine)."""
    for base in [*sys.path, sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]:
        folder = os.path.join(base, "unicorn", "include")
        if os.path.exists(os.path.join(folder, "unicorn", "unicorn.h")):
            return folder
    raise SystemExit("unicorn's headers were not found; install it first: pip install 'unicorn>=2.1.4'")


ffibuilder = FFI()
ffibuilder.cdef(DECLARATIONS)
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
        "-Werror",
        "-fvisibility=hidden",
        # cffi's generated file only:
        "-Wno-unused-parameter",
        "-Wno-missing-field-initializers",
    ],
    libraries=["dl", "pthread"],
)
