/* SPDX-License-Identifier: MIT */
/* One guest CPU on Unicorn: its memory, its traps, and what interrupts it. */
#ifndef LB_CPU_H
#define LB_CPU_H

#include <pthread.h>
#include <stdatomic.h>

#include "contain.h"
#include "dispatch.h"
#include "uc_api.h"

/* Why the guest stopped; south.platform.TrapKind. */
enum lb_trap {
    LB_TRAP_NONE = 0,
    LB_TRAP_CALL = 1,
    LB_TRAP_FAULT = 2,
    LB_TRAP_EXCEPTION = 3,
    LB_TRAP_INTERRUPTED = 4,
    LB_TRAP_ERROR = 5,
    LB_TRAP_DEBUG = 6,
};

/* What LB_TRAP_DEBUG stopped at, in fault.exception; south.platform.StopKind. */
#define LB_DEBUG_BREAK 1u
#define LB_DEBUG_STEP 2u
#define LB_DEBUG_WATCH 3u /* fault.address and access: of the first byte that was accessed */

/* Why it was interrupted, a set; south.platform.Interrupt. */
#define LB_WHY_DEADLINE 1u
#define LB_WHY_CANCEL 2u
#define LB_WHY_SIGNAL 4u
#define LB_WHY_KILL 8u
#define LB_WHY_BUDGET 16u
#define LB_WHY_FATAL (LB_WHY_DEADLINE | LB_WHY_KILL | LB_WHY_BUDGET) /* the guest does not go on */

#define LB_PAGE 4096u
#define LB_PARKED 4u /* parameters of a call */

/* A run of guest pages whose host memory is contiguous. */
struct lb_extent {
    uint64_t va, size;
    uint8_t *host;
    uint64_t pa;
    uint32_t prot;  /* LB_READ | ...; W and X together with LB_REGION_RWX alone */
    uint32_t flags; /* LB_REGION_* */
};

/* Host memory that Unicorn knows under a physical address. */
struct lb_backing {
    uint8_t *host;
    uint64_t size, pa;
    uint64_t users; /* extents built of it */
    bool keep;      /* the arena, or memory that will be mapped again */
    uint64_t serial; /* of all that were ever made for the space */
};

/* A backing as one CPU's Unicorn knows it. */
struct lb_known {
    uint64_t pa, size, serial;
};

struct lb_binding {
    lb_handler handler;
    void *owner;
    unsigned args; /* argument words the handler looks at: reading a register takes 5-8 ns */
};

struct lb_fault {
    uint64_t address, pc;
    uint32_t access;    /* UC_MEM_READ, WRITE, FETCH; 0: none */
    uint32_t exception; /* of LB_TRAP_EXCEPTION: the engine's number */
    int32_t error;      /* uc_err when the engine failed */
};

struct lb_cpu;

/* A processor that guests may be given. id: Unicorn's. */
struct lb_model {
    const char *name;
    int id;
};

#define LB_REG_THREAD (-1) /* among `saved`: what `thread` reads, where Unicorn has no number for it */

/* Floating-point and vector registers that have consecutive numbers; a count of 0 ends them. */
struct lb_vectors {
    int first, count;
    uint32_t stride; /* bytes that each has in a context, at least what Unicorn reads and writes; the rest is zero */
};

/* What differs between guest architectures: a row for each, in arch_*.c; nothing else asks which one it is. */
struct lb_arch {
    const char *name; /* south.platform.Arch's */
    int word_bits;
    uint64_t address_mask; /* of what Unicorn holds in a register, or gives as an address */
    uint64_t limit;        /* of the addresses that can be mapped */
    const struct lb_model *models; /* the default first; a name of NULL ends them */
    uint64_t fault_window; /* physical addresses [w, 2w) mean "denied at va" */
    int svc_exception;  /* what a system call is to Unicorn; -1: it has a hook of its own */
    uint32_t call_size; /* bytes from pc to where a call goes on, as long as its hook runs */
    uint32_t undefined; /* the exception of an undefined instruction that Unicorn reports as an error */
    uint32_t code_unit; /* bytes of code for one byte of coverage */
    const int *saved;      /* registers shown to people, in the order of names */
    const char *const *names;
    int saved_count;
    int context_count; /* `saved` and `names` go on beyond what people see: what else a context has */
    const struct lb_vectors *vectors;
    uint32_t vectors_size; /* bytes of all */
    int flags;             /* the register of the processor's state: user mode chooses some bits, others are fixed */
    uint64_t flags_user, flags_fixed;
    int pc, sp, ret;
    int args[8]; /* argument registers; -1: none */
    uc_err (*open)(struct lb_cpu *cpu, int model);
    uint64_t (*number)(struct lb_cpu *cpu); /* may fill call.arg[0..ahead) too, or sets ahead to 0 */
    /* Fill call.arg[from..to); false: stack arguments that cannot be read. */
    bool (*arguments)(struct lb_cpu *cpu, unsigned from, unsigned to);
    /* The register that user mode may write and an entry keeps: the thread's pointer to its TLS. */
    uint64_t (*thread)(struct lb_cpu *cpu);
    void (*set_thread)(struct lb_cpu *cpu, uint64_t value);
    /* Where to go on, as emu_start wants it. NULL: at pc. */
    uint64_t (*resume)(struct lb_cpu *cpu);
    /* Instructions of a block that is about to run. */
    uint64_t (*instructions)(struct lb_cpu *cpu, uint64_t pc, uint32_t size);
    /* From a hook in the middle of a block: undo what Unicorn's restoring of the CPU's state left behind. NULL: nothing. */
    void (*restored)(uc_engine *uc);
};

/* CPUs that share a writable page run in turns; see turns.c. */
struct lb_turn {
    struct lb_cpu *holder, *last;
    unsigned waiting, cpus; /* cpus: those under it, waiting or not */
    uint64_t taken_ns;
    bool given_up; /* its owner has */
};

/* Program counter sampling; see sample.c. */
struct lb_samples {
    uint64_t va, slots;      /* the histogram in the guest: 16-bit counters */
    uint64_t offset, scale;  /* pc -> slot: (pc - offset) / 2 * scale / 65536 */
    uint64_t taken;
    atomic_ullong ran_ns, seen_ns;
    atomic_bool on, due;
};

/* What the block hook is for, a set. */
#define LB_BLOCK_STOPS 1u
#define LB_BLOCK_BUDGET 2u
#define LB_BLOCK_COVER 4u
#define LB_BLOCK_CALLBACK 8u
#define LB_BLOCK_SAMPLE 16u
#define LB_BLOCK_POSITION 32u
#define LB_BLOCK_EDGES 64u

/* Edges between blocks, counted as AFL does (docs/technical_details.txt of AFL, "Coverage measurements"). */
struct lb_edges {
    uint8_t *map;   /* of mask + 1 counters, a power of two */
    uint64_t mask;
    uint64_t base;  /* addresses count from here, so that runs elsewhere give the same */
    uint64_t before;
};

/* Executed code of [va, va + size), for each `code_unit` of it: a byte, 1 once executed, or how often a block began there. */
struct lb_cover {
    uint64_t va, size;
    uint8_t *map;
    uint32_t *counts; /* NULL: only whether */
    struct lb_cover *next;
};

#define LB_WATCHES 16u

struct lb_watch {
    uint64_t begin, end;
    uint32_t stops; /* LB_READ | LB_WRITE: the guest stops after those (debug.c), and nobody is called */
};

/* A page that several extents show, and the address it was last used by. */
struct lb_alias {
    uint64_t pa, va;
};

/* Why a CPU may not run on at once, a set; see space.c. */
#define LB_HOLD_CHANGE 1u   /* somebody changes the regions */
#define LB_HOLD_TLB 2u      /* its TLB knows too much */
#define LB_HOLD_CODE 4u     /* it has translations of code that may have changed */
#define LB_HOLD_BACKINGS 8u /* it does not know the backings that there are */
#define LB_HOLD_STOPS 16u   /* it does not yet look at each block whether it should stop */

/* One guest's memory, and the CPUs in it; space.c says who may touch what when. */
struct lb_space {
    const struct lb_arch *arch;
    struct lb_extent *extents; /* sorted by va */
    size_t extent_count, extent_room;
    struct lb_extent parked[LB_PARKED]; /* unmapped, but the TLB may still know them; never while the guest runs */
    size_t parked_count;
    struct lb_backing *backings; /* sorted by pa */
    size_t backing_count, backing_room;
    uint64_t backing_serial;

    struct lb_cpu *cpus;
    unsigned users;     /* its owner and its CPUs */
    atomic_bool shared; /* it has, or had, several CPUs */
    bool changing;      /* somebody changes it, or waits until no CPU runs */

    uint8_t *arena;
    uint64_t arena_size;
    const uint8_t *base; /* the snapshot since which writes are marked; NULL: none are (dirty.c) */
    _Atomic uint8_t *dirty; /* one byte a page of the arena, behind the list */
    uint32_t *dirty_list;
    atomic_size_t dirty_count;
};

struct lb_cpu {
    uc_engine *uc;
    const struct lb_arch *arch;
    struct lb_guest guest;
    struct lb_space *space;
    size_t extent_last; /* that it found */
    struct lb_known *known;
    size_t known_count, known_room;
    struct lb_call call;
    void *call_words[1 + LB_CALL_ARGS]; /* addresses of its number and arguments, for fetching in one go */
    struct lb_fault fault;
    int trap;
    bool mid_instruction; /* the last interruption came from outside: going on may repeat an access */
    unsigned ahead; /* argument words read along with the number: as many as the last call answered in C had */
    bool ask_always;      /* stop at every call, for tracing; lb_cpu_serve then asks the C handler */
    bool broken;          /* the library ended inside: neither it nor its memory is used again (contain.c) */
    const char *broken_how;
    bool call_unreadable; /* the last call's stack arguments were not the guest's to read */
    uc_context *clean;

    atomic_uint why;          /* pending LB_WHY_* */
    atomic_bool yield;        /* its time slice is over */
    atomic_bool running;      /* inside uc_emu_start */
    atomic_bool inside;       /* inside run(): it may also wait for its turn */
    _Atomic(pthread_t) thread; /* which is or was */
    atomic_bool exact;        /* asks for a stop come through the block hook, at exact places */
    atomic_llong deadline_ns; /* CLOCK_MONOTONIC; 0: none */
    _Atomic(struct lb_turn *) turn;
    struct lb_cpu *next; /* the watchdog's list */
    struct lb_cpu *sibling; /* the space's */
    atomic_uint hold;       /* LB_HOLD_* */
    bool paused;            /* a callback of its waits for another's change of the space */

    uc_hook intr_hook, fill_hook, unmapped_hook, block_hook, generated_hook, access_hook;
    struct lb_samples samples;
    void *hook_owner;     /* Python's handle for callbacks */
    unsigned block_uses;  /* LB_BLOCK_* */
    bool stopped_exactly; /* the last stop was asked for at the beginning of a block */
    uint32_t blocks_noted; /* blocks that Unicorn remembers for the block hook */
    uint64_t budget;      /* instructions left, counted by block */
    uint64_t blocks;      /* begun since the position was asked for */
    struct lb_edges edges;
    struct lb_cover *covers;
    struct lb_debug *debug; /* NULL: nothing of debug.c is on */
    struct lb_watch watches[LB_WATCHES];
    struct lb_alias *aliases;
    size_t alias_count;

    struct lb_binding table[LB_CALL_MAX];
};

/* What unicorn.py calls. build_unicorn.py gives it to cffi, so it holds plain declarations only. */
/* cffi: begin */
extern const struct lb_arch lb_arch_aarch64, lb_arch_arm, lb_arch_x86_64;

/* cpu.c */
const struct lb_arch *lb_arch_named(const char *name);
struct lb_cpu *lb_cpu_new(struct lb_space *space, int model, int *error);
void lb_cpu_free(struct lb_cpu *cpu);
int lb_cpu_enter(struct lb_cpu *cpu, uint64_t pc, uint64_t sp, uint64_t a0, uint64_t a1, uint64_t a2, uint64_t a3);
int lb_cpu_resume(struct lb_cpu *cpu, uint64_t result);
int lb_cpu_start(struct lb_cpu *cpu, uint64_t pc, uint64_t sp, uint64_t a0, uint64_t a1, uint64_t a2, uint64_t a3);
int lb_cpu_answer(struct lb_cpu *cpu, uint64_t result);
int lb_cpu_proceed(struct lb_cpu *cpu);
int lb_cpu_bind(struct lb_cpu *cpu, uint64_t number, uintptr_t handler, uintptr_t owner, unsigned args);
bool lb_cpu_serve(struct lb_cpu *cpu);
void lb_cpu_registers(struct lb_cpu *cpu, uint64_t *out);
uint64_t lb_cpu_pc(struct lb_cpu *cpu);
int lb_cpu_set_register(struct lb_cpu *cpu, int index, uint64_t value);
uc_context *lb_cpu_save(struct lb_cpu *cpu);
int lb_cpu_load(struct lb_cpu *cpu, uc_context *context);

/* context.c: words: context_count of them; vectors: vectors_size bytes */
int lb_cpu_context(struct lb_cpu *cpu, uint64_t *words, uint8_t *vectors);
int lb_cpu_set_context(struct lb_cpu *cpu, const uint64_t *words, const uint8_t *vectors);

/* space.c */
struct lb_space *lb_space_new(const struct lb_arch *arch, uint8_t *arena, uint64_t arena_size, int *error);
void lb_space_free(struct lb_space *space);

/* regions.c */
int lb_map(struct lb_space *space, uint64_t va, uint64_t size, uint32_t prot, uint32_t flags, uint8_t *host);
int lb_unmap(struct lb_space *space, uint64_t va, uint64_t size);
int lb_protect(struct lb_space *space, uint64_t va, uint64_t size, uint32_t prot);
int lb_read(struct lb_space *space, uint64_t va, void *out, uint64_t size, uint32_t need);
int lb_write(struct lb_space *space, uint64_t va, const void *data, uint64_t size, uint32_t need);
int lb_check(struct lb_space *space, uint64_t va, uint64_t size, uint32_t need);
void lb_invalidate(struct lb_space *space, uint64_t va, uint64_t size);

/* backings.c */
int lb_back(struct lb_space *space, uint8_t *host, uint64_t size, bool keep);
int lb_unback(struct lb_space *space, uint8_t *host, uint64_t size);

/* watchdog.c */
void lb_interrupt(struct lb_cpu *cpu, unsigned why);
void lb_set_deadline(struct lb_cpu *cpu, int64_t ns_from_now);
void lb_watch_signals(int fd);

/* turns.c */
struct lb_turn *lb_turn_new(void);
void lb_turn_free(struct lb_turn *turn);
void lb_turn_join(struct lb_cpu *cpu, struct lb_turn *turn);

/* hooks.c */
int lb_hook_block(struct lb_cpu *cpu, bool on);
int lb_hook_access(struct lb_cpu *cpu, unsigned watch, uint64_t begin, uint64_t end);
int lb_hook_cover(struct lb_cpu *cpu, uint64_t va, uint64_t size, uint8_t *map, uint32_t *counts);
int lb_hook_uncover(struct lb_cpu *cpu, const uint8_t *map);
int lb_hook_edges(struct lb_cpu *cpu, uint64_t base, uint8_t *map, uint64_t size);
int lb_hook_position(struct lb_cpu *cpu, bool on);
int lb_hook_budget(struct lb_cpu *cpu, uint64_t instructions);
extern void (*lb_block_callback)(void *owner, uint64_t pc, uint32_t size);
extern void (*lb_access_callback)(void *owner, uint32_t watch, uint32_t type, uint64_t address, uint32_t size,
                                  uint64_t value);

/* debug.c */
int lb_debug_break(struct lb_cpu *cpu, uint64_t va);
int lb_debug_unbreak(struct lb_cpu *cpu, uint64_t va);
int lb_debug_step(struct lb_cpu *cpu);
int lb_debug_watch(struct lb_cpu *cpu, unsigned watch, uint64_t begin, uint64_t end, uint32_t types);
int lb_debug_off(struct lb_cpu *cpu);

/* sample.c */
int lb_sample_start(struct lb_cpu *cpu, uint64_t va, uint64_t slots, uint64_t offset, uint64_t scale);
void lb_sample_stop(struct lb_cpu *cpu, uint64_t *taken, uint64_t *ran_ns);

/* dirty.c */
uint8_t *lb_snapshot(struct lb_space *space);
uint64_t lb_go_back(struct lb_space *space, const uint8_t *copy, const uint8_t *exposed);
void lb_snapshot_free(struct lb_space *space, uint8_t *copy, uint64_t size);
/* cffi: end */

/* cpu.c */
uc_err lb_cpu_settings(struct lb_cpu *cpu, int model);
uint64_t lb_reg(struct lb_cpu *cpu, int id);
uc_err lb_broke(struct lb_cpu *cpu);
void lb_on_call(struct lb_cpu *cpu);
void lb_on_exception(struct lb_cpu *cpu, uint32_t number);

/* context.c */
uint64_t lb_user_value(const struct lb_arch *arch, int id, uint64_t value);

/* space.c */
bool lb_direct(const struct lb_cpu *cpu);
bool lb_look_begin(struct lb_space *space);
void lb_look_end(bool locked);
bool lb_change_begin(struct lb_space *space);
void lb_change_end(struct lb_space *space, bool locked);
void lb_space_left(void);
int lb_space_settle(struct lb_cpu *cpu);
void lb_space_enter(struct lb_cpu *cpu);
void lb_space_leave(struct lb_cpu *cpu);
uc_err lb_space_join(struct lb_cpu *cpu, struct lb_space *space);
void lb_space_part(struct lb_cpu *cpu);
void lb_space_before_fork(void);
void lb_space_after_fork(void);
void lb_space_forked(struct lb_cpu *cpu);
void lb_space_restart(void);

/* backings.c */
struct lb_backing *lb_backing_of(struct lb_space *space, const uint8_t *host, uint64_t size);
struct lb_backing *lb_backing_at(struct lb_space *space, uint64_t pa);
int lb_backing_add(struct lb_space *space, uint8_t *host, uint64_t size, bool keep);
void lb_backing_release(struct lb_space *space, uint64_t pa);
uc_err lb_backings_settle(struct lb_cpu *cpu);

/* regions.c */
void lb_flush(struct lb_space *space);
void lb_unparked(struct lb_space *space);
int lb_cpu_read(struct lb_cpu *cpu, uint64_t va, void *out, uint64_t size, uint32_t need);
int lb_cpu_write(struct lb_cpu *cpu, uint64_t va, const void *data, uint64_t size, uint32_t need);
bool lb_span_of(const struct lb_guest *guest, uint64_t va, uint64_t size, uint32_t need, struct lb_span *out);
bool lb_on_fill(uc_engine *uc, uint64_t va, uc_mem_type type, uc_tlb_entry *entry, void *data);
bool lb_on_unmapped(uc_engine *uc, uc_mem_type type, uint64_t address, int size, int64_t value, void *data);

/* watchdog.c */
void lb_watch(struct lb_cpu *cpu);
void lb_unwatch(struct lb_cpu *cpu);
void lb_entering(struct lb_cpu *cpu);
void lb_left(struct lb_cpu *cpu);
void lb_watch_forks(void);
enum lb_stop lb_stop_of(const struct lb_guest *guest);
uint64_t lb_now_ns(void);
unsigned lb_watchdog_period_us(void);

/* turns.c */
bool lb_turn_take(struct lb_cpu *cpu);
void lb_turn_give(struct lb_cpu *cpu);
void lb_turn_tick(struct lb_cpu *cpu, uint64_t now_ns);
void lb_turn_before_fork(void);
void lb_turn_after_fork(void);
void lb_turn_forked(struct lb_cpu *cpu);
void lb_turn_restart(void);

/* sample.c */
void lb_sample_tick(struct lb_cpu *cpu, uint64_t now_ns);
void lb_sample_take(struct lb_cpu *cpu, uint64_t pc);

/* hooks.c */
uc_err lb_hook_stops(struct lb_cpu *cpu);
uc_err lb_hook_use(struct lb_cpu *cpu, unsigned use, bool on);
uc_err lb_hook_renew(struct lb_cpu *cpu);
void lb_hook_filled(struct lb_cpu *cpu, uint64_t va, uint64_t pa);
void lb_hooks_free(struct lb_cpu *cpu);
uc_err lb_hook_changed(struct lb_cpu *cpu, uc_err (*change)(struct lb_cpu *cpu));

/* debug.c */
void lb_debug_accessed(struct lb_cpu *cpu, uint32_t type, uint64_t va);
void lb_debug_begin(struct lb_cpu *cpu, bool going_on);
void lb_debug_end(struct lb_cpu *cpu);
void lb_debug_free(struct lb_cpu *cpu);

/* dirty.c */
void lb_dirty_mark(struct lb_space *space, const uint8_t *host, uint64_t size);
uint32_t lb_dirty_fill(struct lb_space *space, const uint8_t *host, uint32_t prot, bool store);
void lb_dirty_free(struct lb_space *space);

#endif
