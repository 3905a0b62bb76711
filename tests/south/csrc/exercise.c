/* SPDX-License-Identifier: MIT */
/*
 * Drives south/engine/csrc under AddressSanitizer, ThreadSanitizer or valgrind: random mapping,
 * splitting, protection and access from the host beside a model of it, guests of each architecture that call, fault, spin
 * and are interrupted, and CPUs that take turns on one page.
 *
 * exercise LIBUNICORN SEED ROUNDS [calm]
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cpu.h"

#define CHECK(what)                                                        \
    do {                                                                   \
        if (!(what)) {                                                     \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #what);     \
            abort();                                                       \
        }                                                                  \
    } while (0)

#define ARENA (64u * LB_PAGE)
#define BASE 0x100000u
#define PAGES 48u /* of addresses that the model covers */
#define CODE 0x400000u
#define DATA 0x800000u

static uint64_t seed = 1;

static uint32_t dice(uint32_t n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33) % n;
}

static uint8_t *pages(size_t size)
{
    uint8_t *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(p != MAP_FAILED);
    return p;
}

/* Programs in words: what each does stands in tests/south/guest.py. */
static const uint32_t a64[] = {0xD28000E8, 0xD4000001, 0x91000400, 0xD4000001, 0xD4000001};
static const uint32_t a64_atomic[] = {0xD28000E8, 0x885FFC23, 0x11000463, 0x8804FC23, 0x35FFFFA4, 0xF1000442,
                                      0x54FFFF61, 0xD4000001};
static const uint32_t a32[] = {0xE3A07007, 0xE3A06000, 0xEF000000, 0xE2800001, 0xEF000000, 0xEF000000};
static const uint32_t a32_atomic[] = {0xE3A07007, 0xE3A06000, 0xE1913F9F, 0xE2833001, 0xE1814F93, 0xE3540000,
                                      0x1AFFFFFA, 0xE2522001, 0x1AFFFFF8, 0xEF000000};
/* mov eax, 7; syscall; lea rdi, [rax + 1]; mov eax, 7; syscall; mov rdi, rax; mov eax, 7; syscall */
static const uint32_t x86[] = {0x000007B8, 0x48050F00, 0xB801788D, 0x00000007, 0x8948050F, 0x0007B8C7, 0x050F0000};
static const uint32_t x86_atomic[] = {0x4806FFF0, 0xF875CAFF, 0x000007B8, 0x90050F00};

/* again: goes to the word before. plain: does nothing that is seen. */
static const struct isa {
    const struct lb_arch *arch;
    uint64_t high; /* an address that cannot be mapped, or hardly */
    const uint32_t *program, *atomic;
    size_t program_size, atomic_size;
    uint32_t spin, load, store, undefined, call, again, plain;
} isas[] = {
    {&lb_arch_aarch64, UINT64_C(0xFFFF800000000000), a64, a64_atomic, sizeof a64, sizeof a64_atomic, 0x14000000,
     0xF9400020, 0xF9000020, 0, 0xD4000001, 0x17FFFFFF, 0xD28000E8},
    {&lb_arch_arm, 0xF0000000, a32, a32_atomic, sizeof a32, sizeof a32_atomic, 0xEAFFFFFE, 0xE5910000, 0xE5810000,
     0xE7F000F0, 0xEF000000, 0xEAFFFFFD, 0xE3A07007},
    {&lb_arch_x86_64, UINT64_C(0xFFFF800000000000), x86, x86_atomic, sizeof x86, sizeof x86_atomic, 0x9090FEEB,
     0x007E8B48, 0x007E8948, 0x90900B0F, 0x9090050F, 0x9090FAEB, 0x00401F0F},
};
#define ISAS (sizeof isas / sizeof *isas)

struct guest {
    struct lb_space *space;
    struct lb_cpu *cpu;
    uint8_t *arena;
};

static struct guest make(const struct isa *isa)
{
    struct guest g = {.arena = pages(ARENA)};
    int error = 0;
    g.space = lb_space_new(isa->arch, g.arena, ARENA, &error);
    CHECK(g.space && !error);
    g.cpu = lb_cpu_new(g.space, 0, &error);
    CHECK(g.cpu && !error);
    return g;
}

static void unmake(struct guest *g)
{
    lb_cpu_free(g->cpu);
    lb_space_free(g->space);
    munmap(g->arena, ARENA);
}

static void load(struct guest *g, const uint32_t *code, size_t size)
{
    memcpy(g->arena, code, size);
    CHECK(!lb_map(g->space, CODE, LB_PAGE, LB_READ | LB_EXEC, LB_REGION_PRIVATE, g->arena));
    CHECK(!lb_map(g->space, DATA, 2 * LB_PAGE, LB_READ | LB_WRITE, LB_REGION_PRIVATE, g->arena + 4 * LB_PAGE));
}

static int enter(struct guest *g, uint64_t a0, uint64_t a1, uint64_t a2)
{
    return lb_cpu_enter(g->cpu, CODE, DATA + LB_PAGE, a0, a1, a2, 0);
}

/* --- the region table beside a model: one byte of permission and one host page for each guest page ---- */

struct model {
    uint8_t *host[PAGES];
    uint32_t prot[PAGES];
};

static bool allowed(const struct model *m, uint64_t va, uint64_t size, uint32_t need)
{
    for (uint64_t at = va; at < va + size; at++) {
        uint64_t page = (at - BASE) / LB_PAGE;
        if (at < BASE || page >= PAGES || !m->host[page] || (m->prot[page] & need) != need)
            return false;
    }
    return true;
}

static void touch(struct guest *g, struct model *m)
{
    uint8_t in[3 * LB_PAGE], out[3 * LB_PAGE];
    uint64_t va = BASE - 8 + dice(PAGES * LB_PAGE + 16), size = dice(4) ? dice(64) : dice(sizeof in);
    uint32_t need = dice(4);
    bool ok = allowed(m, va, size, need);

    CHECK(!lb_check(g->space, va, size, need) == ok);
    CHECK(!lb_read(g->space, va, in, size, need) == ok);
    for (uint64_t i = 0; ok && i < size; i++)
        CHECK(in[i] == m->host[(va + i - BASE) / LB_PAGE][(va + i) % LB_PAGE]);
    memset(out, (int)dice(256), sizeof out);
    CHECK(!lb_write(g->space, va, (void *)out, size, need) == ok);
    if (ok && size)
        CHECK(m->host[(va - BASE) / LB_PAGE][va % LB_PAGE] == out[0]);
    /* Nothing wraps: sizes and addresses up to the last. */
    CHECK(lb_check(g->space, va, UINT64_MAX - dice(100), need));
    CHECK(lb_check(g->space, UINT64_MAX - dice(100), 1 + dice(200), need));
}

static void regions(const struct isa *isa, uint32_t rounds)
{
    static const uint32_t prots[] = {0, LB_READ, LB_READ | LB_WRITE, LB_READ | LB_EXEC, LB_WRITE | LB_EXEC};
    struct guest g = make(isa);
    struct model m = {0};
    uint8_t *foreign = pages(PAGES * LB_PAGE);

    CHECK(!lb_back(g.space, foreign, 8 * LB_PAGE, true));
    while (rounds--) {
        uint32_t first = dice(PAGES), count = 1 + dice(6), prot = prots[dice(5)], from = dice(PAGES - 6);
        uint64_t va = BASE + first * LB_PAGE, size = count * LB_PAGE;
        bool wx = prot == (LB_WRITE | LB_EXEC), fits = first + count <= PAGES, free_of_all = true;
        uint8_t *host = (dice(2) ? g.arena : foreign) + from * LB_PAGE;

        for (uint32_t i = first; i < first + count && i < PAGES; i++)
            free_of_all = free_of_all && !m.host[i];
        switch (dice(6)) {
        case 0:
        case 1:
            if (!fits)
                break;
            CHECK(!lb_map(g.space, va, size, prot, dice(4), host) == (free_of_all && !wx));
            for (uint32_t i = 0; free_of_all && !wx && i < count; i++) {
                m.host[first + i] = host + i * LB_PAGE;
                m.prot[first + i] = prot;
            }
            break;
        case 2:
            CHECK(!lb_unmap(g.space, va, size));
            for (uint32_t i = first; i < first + count && i < PAGES; i++)
                m.host[i] = NULL;
            break;
        case 3:
            CHECK(!lb_protect(g.space, va, size, prot) == !wx);
            for (uint32_t i = first; !wx && i < first + count && i < PAGES; i++)
                m.prot[i] = prot;
            break;
        case 4:
            lb_invalidate(g.space, va, size);
            CHECK(lb_map(g.space, va + 1 + dice(LB_PAGE - 1), size, LB_READ, 0, host));
            CHECK(lb_map(g.space, UINT64_MAX - LB_PAGE + 1, LB_PAGE, LB_READ, 0, host));
            CHECK(lb_unmap(g.space, va, 0));
            CHECK(lb_unback(g.space, host + 1, LB_PAGE));
            break;
        default:
            touch(&g, &m);
        }
    }
    CHECK(!lb_unmap(g.space, BASE, PAGES * LB_PAGE));
    CHECK(!lb_unback(g.space, foreign, 8 * LB_PAGE));
    CHECK(!g.space->extent_count);
    unmake(&g);
    munmap(foreign, PAGES * LB_PAGE);
}

/* --- guests --------------------------------------------------------------------------------- */

static enum lb_verdict handler(const struct lb_guest *guest, struct lb_call *call, void *owner)
{
    uint32_t *asked = owner;
    struct lb_span span;

    (void)guest->ops->span(guest, DATA, 16, LB_READ, &span);
    CHECK(lb_pin(guest, DATA, LB_PAGE, LB_READ | LB_WRITE));
    CHECK(!lb_pin(guest, CODE, 4, LB_WRITE));
    if (++*asked % 2)
        return LB_ASK;
    call->result = call->arg[0] + 5;
    return LB_DONE;
}

static void calls(const struct isa *isa)
{
    struct guest g = make(isa);
    uint32_t asked = 0;
    uint64_t registers[64];
    uc_context *saved;

    load(&g, isa->program, isa->program_size);
    CHECK(enter(&g, 41, 0, 0) == LB_TRAP_CALL);
    CHECK(g.cpu->call.number == 7 && g.cpu->call.arg[0] == 41);
    saved = lb_cpu_save(g.cpu);
    CHECK(saved);
    CHECK(lb_cpu_resume(g.cpu, 100) == LB_TRAP_CALL && g.cpu->call.arg[0] == 101);
    CHECK(!lb_cpu_load(g.cpu, saved));
    CHECK(lb_cpu_resume(g.cpu, 200) == LB_TRAP_CALL && g.cpu->call.arg[0] == 201);
    lb_uc.context_free(saved);
    CHECK(!lb_cpu_bind(g.cpu, 7, (uintptr_t)handler, (uintptr_t)&asked, LB_CALL_ARGS));
    CHECK(lb_cpu_bind(g.cpu, LB_CALL_MAX, (uintptr_t)handler, 0, 0));
    CHECK(enter(&g, 41, 0, 0) == LB_TRAP_CALL && asked == 1);        /* first: asks */
    CHECK(lb_cpu_resume(g.cpu, 0) == LB_TRAP_CALL && asked == 3);    /* second: done, third: asks */
    CHECK(g.cpu->call.arg[0] == 6);
    g.cpu->ask_always = true;
    CHECK(enter(&g, 1, 0, 0) == LB_TRAP_CALL && asked == 3);
    CHECK(lb_cpu_serve(g.cpu) && g.cpu->call.result == 6);
    lb_cpu_registers(g.cpu, registers);
    CHECK(!lb_cpu_set_register(g.cpu, 0, 9));
    CHECK(lb_cpu_set_register(g.cpu, -1, 0) && lb_cpu_set_register(g.cpu, 1000, 0));
    unmake(&g);
}

/* Random words and bytes: what comes back out is what a second setting gives again. */
static void contexts(const struct isa *isa, uint32_t rounds)
{
    struct guest g = make(isa);
    uint64_t words[64], again[64];
    uint8_t vectors[1024], same[1024];
    size_t count = (size_t)isa->arch->context_count, size = isa->arch->vectors_size;

    CHECK(count < 64 && size <= sizeof vectors);
    while (rounds--) {
        for (size_t i = 0; i < count; i++)
            words[i] = (uint64_t)dice(UINT32_MAX) << 32 | dice(UINT32_MAX);
        for (size_t i = 0; i < size; i++)
            vectors[i] = (uint8_t)dice(256);
        CHECK(!lb_cpu_set_context(g.cpu, words, vectors) && !lb_cpu_context(g.cpu, words, vectors));
        CHECK(!lb_cpu_set_context(g.cpu, words, vectors) && !lb_cpu_context(g.cpu, again, same));
        CHECK(!memcmp(words, again, count * sizeof *words) && !memcmp(vectors, same, size));
        (void)lb_cpu_proceed(g.cpu);
    }
    unmake(&g);
}

static void faults(const struct isa *isa)
{
    struct guest g = make(isa);
    const uint64_t high = isa->high;

    load(&g, &isa->load, 4);
    CHECK(enter(&g, 0, 0x10, 0) == LB_TRAP_FAULT && g.cpu->fault.address == 0x10);
    CHECK(enter(&g, 0, DATA + 2 * LB_PAGE - 1, 0) == LB_TRAP_FAULT);
    CHECK(enter(&g, 0, high, 0) == LB_TRAP_FAULT && g.cpu->fault.access == UC_MEM_READ);
    CHECK(enter(&g, 0, UINT64_MAX, 0) == LB_TRAP_FAULT);
    memcpy(g.arena, &isa->store, 4);
    lb_invalidate(g.space, CODE, LB_PAGE);
    CHECK(enter(&g, 0, CODE, 0) == LB_TRAP_FAULT && g.cpu->fault.access == UC_MEM_WRITE);
    memcpy(g.arena, &isa->undefined, 4);
    lb_invalidate(g.space, CODE, LB_PAGE);
    CHECK(enter(&g, 0, 0, 0) == LB_TRAP_EXCEPTION);
    CHECK(lb_cpu_enter(g.cpu, DATA, DATA, 0, 0, 0, 0) == LB_TRAP_FAULT && g.cpu->fault.access == UC_MEM_FETCH);
    CHECK(lb_cpu_enter(g.cpu, high, DATA, 0, 0, 0, 0) == LB_TRAP_FAULT);
    CHECK(!lb_unmap(g.space, CODE, LB_PAGE));
    CHECK(enter(&g, 0, 0, 0) == LB_TRAP_FAULT && g.cpu->fault.address == CODE);
    unmake(&g);
}

static void *interrupt(void *cpu)
{
    usleep(3000);
    lb_interrupt(cpu, LB_WHY_CANCEL);
    return NULL;
}

/* As who answers a call of its for long: no guest runs, and the watchdog may sleep. */
static void standing(struct guest *g, int signal_end)
{
    const struct lb_guest *guest = &g->cpu->guest;
    pthread_t thread;
    uint8_t byte = SIGTERM;

    CHECK(guest->ops->stop(guest) == LB_STOP_NOT);
    lb_set_deadline(g->cpu, 3000000);
    while (guest->ops->stop(guest) != LB_STOP_END)
        usleep(200);
    CHECK(atomic_exchange(&g->cpu->why, 0) == LB_WHY_DEADLINE);
    CHECK(!pthread_create(&thread, NULL, interrupt, g->cpu));
    while (guest->ops->stop(guest) != LB_STOP_PAUSE)
        usleep(200);
    CHECK(atomic_exchange(&g->cpu->why, 0) == LB_WHY_CANCEL);
    pthread_join(thread, NULL);
    CHECK(write(signal_end, &byte, 1) == 1);
    CHECK(guest->ops->stop(guest) == LB_STOP_PAUSE && atomic_load(&g->cpu->why) == LB_WHY_SIGNAL);
    CHECK(enter(g, 0, 0, 0) == LB_TRAP_INTERRUPTED); /* it still pends */
    atomic_store(&g->cpu->why, 0);
}

static void watchdog(const struct isa *isa)
{
    struct guest g = make(isa);
    pthread_t thread;
    uint8_t byte = SIGINT;
    int pipe_ends[2];

    load(&g, &isa->spin, 4);
    for (int i = 0; i < 3; i++) {
        lb_set_deadline(g.cpu, 2000000);
        CHECK(enter(&g, 0, 0, 0) == LB_TRAP_INTERRUPTED && atomic_load(&g.cpu->why) == LB_WHY_DEADLINE);
        atomic_store(&g.cpu->why, 0);
        CHECK(!pthread_create(&thread, NULL, interrupt, g.cpu));
        CHECK(lb_cpu_proceed(g.cpu) == LB_TRAP_INTERRUPTED && atomic_load(&g.cpu->why) == LB_WHY_CANCEL);
        pthread_join(thread, NULL);
        atomic_store(&g.cpu->why, 0);
    }
    CHECK(!pipe2(pipe_ends, O_NONBLOCK));
    lb_watch_signals(pipe_ends[0]);
    CHECK(write(pipe_ends[1], &byte, 1) == 1);
    CHECK(enter(&g, 0, 0, 0) == LB_TRAP_INTERRUPTED && atomic_load(&g.cpu->why) == LB_WHY_SIGNAL);
    atomic_store(&g.cpu->why, 0);
    standing(&g, pipe_ends[1]);
    lb_watch_signals(-1);
    usleep(5000); /* the watchdog may be about to read */
    close(pipe_ends[1]);
    close(pipe_ends[0]);
    CHECK(!lb_hook_budget(g.cpu, 1000));
    CHECK(enter(&g, 0, 0, 0) == LB_TRAP_INTERRUPTED && atomic_load(&g.cpu->why) == LB_WHY_BUDGET);
    unmake(&g);
}

static void hooks(const struct isa *isa)
{
    struct guest g = make(isa);
    uint8_t cover[LB_PAGE] = {0};

    load(&g, isa->program, isa->program_size);
    CHECK(!lb_hook_cover(g.cpu, CODE, LB_PAGE, cover, NULL));
    CHECK(enter(&g, 0, 0, 0) == LB_TRAP_CALL && cover[0] == 1 && !cover[LB_PAGE / isa->arch->code_unit - 1]);
    CHECK(!lb_hook_cover(g.cpu, CODE, 4, cover, NULL)); /* less than a block */
    CHECK(enter(&g, 0, 0, 0) == LB_TRAP_CALL);
    CHECK(!lb_hook_uncover(g.cpu, cover));
    CHECK(!lb_hook_block(g.cpu, true) && !lb_hook_access(g.cpu, 0, DATA, DATA + 16));
    CHECK(!lb_hook_access(g.cpu, LB_WATCHES - 1, DATA, DATA + 1) && lb_hook_access(g.cpu, LB_WATCHES, 0, 1));
    CHECK(enter(&g, 0, 0, 0) == LB_TRAP_CALL);
    CHECK(!lb_hook_block(g.cpu, false) && !lb_hook_access(g.cpu, 0, 0, 0));
    CHECK(!lb_hook_cover(g.cpu, CODE, LB_PAGE, cover, NULL)); /* ends with the CPU */
    unmake(&g);
}

static void debugging(const struct isa *isa)
{
    struct guest g = make(isa);
    uint32_t counts[LB_PAGE] = {0}, code[3] = {isa->store, isa->plain, isa->call};
    uint8_t edges[64] = {0};

    load(&g, code, sizeof code);
    CHECK(!lb_hook_cover(g.cpu, CODE, LB_PAGE, NULL, counts) && !lb_hook_edges(g.cpu, CODE, edges, sizeof edges));
    CHECK(lb_hook_edges(g.cpu, CODE, edges, 63) && !lb_hook_position(g.cpu, true));
    for (uint32_t i = 0; i < 40; i++)
        CHECK(!lb_debug_break(g.cpu, CODE + 4 * i) && !lb_debug_break(g.cpu, CODE + 4 * i));
    for (uint32_t i = 2; i < 40; i++)
        CHECK(!lb_debug_unbreak(g.cpu, CODE + 4 * i) && lb_debug_unbreak(g.cpu, CODE + 4 * i));
    CHECK(enter(&g, 7, DATA, 0) == LB_TRAP_DEBUG && g.cpu->fault.exception == LB_DEBUG_BREAK);
    CHECK(!lb_debug_watch(g.cpu, 3, DATA, DATA + 1, LB_WRITE) && lb_debug_watch(g.cpu, LB_WATCHES, 0, 1, LB_WRITE));
    CHECK(lb_cpu_proceed(g.cpu) == LB_TRAP_DEBUG && g.cpu->fault.exception == LB_DEBUG_WATCH);
    CHECK(!lb_debug_step(g.cpu) && lb_cpu_proceed(g.cpu) == LB_TRAP_DEBUG && g.cpu->fault.exception == LB_DEBUG_STEP);
    CHECK(!lb_debug_off(g.cpu) && !lb_debug_off(g.cpu));
    CHECK(!lb_debug_break(g.cpu, CODE)); /* ends with the CPU */
    unmake(&g);
}

/* Random writes of guest and host, and going back to either of two snapshots. */
static void snapshots(const struct isa *isa, uint32_t rounds)
{
    struct guest g = make(isa);
    uint8_t exposed[ARENA / LB_PAGE] = {0}, *copy[2], *model[2];
    uint32_t code[2] = {isa->store, isa->call};

    load(&g, code, sizeof code);
    for (int i = 0; i < 2; i++) {
        g.arena[5 * LB_PAGE] = (uint8_t)(i + 1);
        CHECK((copy[i] = lb_snapshot(g.space)));
        memcpy(model[i] = pages(ARENA), g.arena, ARENA);
    }
    exposed[5] = exposed[40] = 1;
    while (rounds--) {
        uint64_t va = DATA + dice(2 * LB_PAGE / 8) * 8;
        uint8_t bytes[100];
        memset(bytes, (int)dice(256), sizeof bytes);
        switch (dice(4)) {
        case 0: CHECK(enter(&g, dice(1000), va, 0) == LB_TRAP_CALL); break;
        case 1: (void)!lb_write(g.space, va, bytes, sizeof bytes, dice(2) ? LB_WRITE : 0); break;
        case 2: g.arena[dice(2) ? 5 * LB_PAGE + 9 : 40 * LB_PAGE] = bytes[0]; break;
        default: {
            int which = dice(8) ? 1 : 0;
            lb_go_back(g.space, copy[which], exposed);
            CHECK(!memcmp(g.arena, model[which], ARENA));
        }
        }
    }
    lb_snapshot_free(g.space, copy[0], ARENA);
    unmake(&g);
    lb_snapshot_free(NULL, copy[1], ARENA);
    munmap(model[0], ARENA);
    munmap(model[1], ARENA);
}

/* --- containment ------------------------------------------------------------------------------ */

/* A fault inside ends one CPU: the guest's memory has gone from the host's address space under it. */
static void contained(const struct isa *isa)
{
    static uc_engine *left[ISAS]; /* a broken CPU's engine is never freed: reachable, so no leak */
    struct guest g = make(isa), other = make(isa);
    uint8_t *gone = pages(LB_PAGE);
    uint64_t registers[64];

    load(&g, &isa->load, 4);
    load(&other, isa->program, isa->program_size);
    CHECK(!lb_map(g.space, DATA + 2 * LB_PAGE, LB_PAGE, LB_READ | LB_WRITE, LB_REGION_NONSECURE, gone));
    munmap(gone, LB_PAGE);
    left[isa - isas] = g.cpu->uc;
    CHECK(enter(&g, 0, DATA + 2 * LB_PAGE, 0) == LB_TRAP_ERROR && g.cpu->fault.error == LB_ERR_BROKEN);
    CHECK(g.cpu->broken && *g.cpu->broken_how && left[isa - isas]);
    CHECK(enter(&other, 41, 0, 0) == LB_TRAP_CALL && other.cpu->call.arg[0] == 41);
    CHECK(enter(&g, 0, 0, 0) == LB_TRAP_ERROR && lb_cpu_resume(g.cpu, 0) == LB_TRAP_ERROR);
    CHECK(lb_cpu_proceed(g.cpu) == LB_TRAP_ERROR && !lb_cpu_save(g.cpu));
    CHECK(lb_hook_block(g.cpu, true) == LB_ERR_BROKEN && lb_hook_budget(g.cpu, 9) == LB_ERR_BROKEN);
    CHECK(lb_cpu_context(g.cpu, registers, NULL) == LB_ERR_BROKEN);
    CHECK(lb_cpu_set_context(g.cpu, registers, NULL) == LB_ERR_BROKEN);
    CHECK(lb_sample_start(g.cpu, DATA, 1, 0, 1) == LB_ERR_BROKEN);
    lb_sample_stop(g.cpu, &registers[0], &registers[1]);
    lb_cpu_registers(g.cpu, registers);
    lb_invalidate(g.space, CODE, LB_PAGE);
    CHECK(!lb_protect(g.space, CODE, LB_PAGE, LB_READ));
    CHECK(!lb_unmap(g.space, DATA, 3 * LB_PAGE));
    CHECK(lb_map(g.space, DATA, LB_PAGE, LB_READ, 0, pages(LB_PAGE)) == LB_ERR_BROKEN);
    unmake(&g);
    CHECK(lb_cpu_resume(other.cpu, 100) == LB_TRAP_CALL && other.cpu->call.arg[0] == 101);
    unmake(&other);
}

/* Samples of a loop: counted where there is a counter that the guest may write, and nowhere else. */
static void samples(const struct isa *isa)
{
    static const struct {
        uint64_t va, slots, offset, scale;
        bool counted;
    } ways[] = {
        {DATA + 2, 4, CODE, 65536, true},
        {DATA + 1, 4, CODE, 65536, true},
        {DATA + 2, 0, CODE, 65536, false},
        {DATA + 2, 4, CODE + 4, 65536, false},
        {DATA + 2, 4, 0, UINT64_MAX, false},
        {CODE, 4, CODE, 65536, false},
        {UINT64_MAX - 1, UINT64_MAX, 0, 65536, false},
    };
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        struct guest g = make(isa);
        uint64_t taken, ran;
        uint8_t before[16] = {0}, after[16];

        load(&g, &isa->spin, 4);
        CHECK(!lb_write(g.space, DATA, before, sizeof before, 0));
        CHECK(!lb_sample_start(g.cpu, ways[i].va, ways[i].slots, ways[i].offset, ways[i].scale));
        lb_set_deadline(g.cpu, 20000000);
        CHECK(enter(&g, 0, 0, 0) == LB_TRAP_INTERRUPTED);
        lb_sample_stop(g.cpu, &taken, &ran);
        CHECK(!lb_read(g.space, DATA, after, sizeof after, 0));
        CHECK((memcmp(before, after, sizeof after) != 0) == (ways[i].counted && taken));
        unmake(&g);
    }
}

/* --- turns ----------------------------------------------------------------------------------- */

#define TAKERS 3

static bool may_fork; /* not under valgrind and TSan */

struct taker {
    struct guest g;
    uint32_t times;
};

static void *take(void *data)
{
    struct taker *t = data;
    CHECK(enter(&t->g, 0, DATA + 2 * LB_PAGE, t->times) == LB_TRAP_CALL);
    return NULL;
}

/* Guests that add to one word, each a number of times, joined before or while they run. */
static void turns(uint32_t times, bool late)
{
    struct taker takers[TAKERS];
    pthread_t threads[TAKERS];
    struct lb_turn *turn = lb_turn_new();
    uint8_t *shared = pages(LB_PAGE);
    uint32_t sum;

    CHECK(turn);
    for (uint32_t i = 0; i < TAKERS; i++) {
        const struct isa *isa = &isas[i % ISAS];
        takers[i] = (struct taker){make(isa), times};
        load(&takers[i].g, isa->atomic, isa->atomic_size);
        CHECK(!lb_map(takers[i].g.space, DATA + 2 * LB_PAGE, LB_PAGE, LB_READ | LB_WRITE, LB_REGION_NONSECURE, shared));
        if (!late)
            lb_turn_join(takers[i].g.cpu, turn);
    }
    for (uint32_t i = 0; i < TAKERS; i++)
        CHECK(!pthread_create(&threads[i], NULL, take, &takers[i]));
    for (uint32_t i = 0; late && i < TAKERS; i++)
        lb_turn_join(takers[i].g.cpu, turn);
    for (uint32_t i = 0; i < TAKERS; i++)
        pthread_join(threads[i], NULL);
    memcpy(&sum, shared, sizeof sum);
    CHECK(late ? sum <= TAKERS * times : sum == TAKERS * times);
    if (late) { /* a turn outlives its owner as long as a CPU is under it: a fork looks at it */
        lb_turn_free(turn);
        turn = NULL;
        if (may_fork) {
            pid_t child = fork();
            int status = 1;
            if (!child)
                _exit(0);
            CHECK(waitpid(child, &status, 0) == child && !status);
        }
    }
    for (uint32_t i = 0; i < TAKERS; i++)
        unmake(&takers[i].g);
    if (turn)
        lb_turn_free(turn);
    munmap(shared, LB_PAGE);
}

/* --- several CPUs of one space ---------------------------------------------------------------- */

#define SHARERS 3

struct sharer {
    struct lb_cpu *cpu;
    uint64_t va; /* what it reads until it is gone, or where its callback maps a page */
};

static void *read_until_gone(void *data)
{
    struct sharer *s = data;
    CHECK(lb_cpu_enter(s->cpu, CODE, DATA + LB_PAGE, 0, s->va, 0, 0) == LB_TRAP_FAULT);
    CHECK(s->cpu->fault.address == s->va && s->cpu->fault.access == UC_MEM_READ);
    return NULL;
}

/* The table changes while CPUs read: what was unmapped is gone from the host, too, at once. */
static void change_while_they_read(struct guest *g, struct sharer *sharers)
{
    pthread_t threads[SHARERS];
    uint8_t *own[SHARERS], byte = 1;

    for (uint32_t i = 0; i < SHARERS; i++) {
        own[i] = pages(LB_PAGE);
        sharers[i].va = DATA + (4 + i) * LB_PAGE + 8 * i;
        CHECK(!lb_map(g->space, DATA + (4 + i) * LB_PAGE, LB_PAGE, LB_READ, LB_REGION_NONSECURE, own[i]));
        CHECK(!pthread_create(&threads[i], NULL, read_until_gone, &sharers[i]));
    }
    for (uint32_t i = 0; i < 10; i++) {
        uint8_t *foreign = pages(LB_PAGE);
        CHECK(!lb_map(g->space, BASE, LB_PAGE, LB_READ | LB_WRITE, 0, dice(2) ? foreign : g->arena + 20 * LB_PAGE));
        CHECK(!lb_write(g->space, BASE + 5, &byte, 1, LB_WRITE) && !lb_read(g->space, BASE + 5, &byte, 1, LB_READ));
        CHECK(byte == 1 && !lb_protect(g->space, BASE, LB_PAGE, LB_READ));
        CHECK(lb_check(g->space, BASE, 1, LB_WRITE) && !lb_unmap(g->space, BASE, LB_PAGE));
        munmap(foreign, LB_PAGE);
    }
    for (uint32_t i = 0; i < SHARERS; i++) {
        CHECK(!lb_unmap(g->space, DATA + (4 + i) * LB_PAGE, LB_PAGE));
        munmap(own[i], LB_PAGE);
    }
    for (uint32_t i = 0; i < SHARERS; i++)
        pthread_join(threads[i], NULL);
}

static void change_from_callback(void *owner, uint64_t pc, uint32_t size)
{
    struct sharer *s = owner;
    uint8_t byte;
    (void)pc;
    (void)size;
    CHECK(!lb_map(s->cpu->space, s->va, LB_PAGE, LB_READ, 0, s->cpu->space->arena + 30 * LB_PAGE));
    CHECK(!lb_read(s->cpu->space, s->va, &byte, 1, LB_READ));
    CHECK(!lb_unmap(s->cpu->space, s->va, LB_PAGE));
}

static void *run_out(void *data)
{
    struct sharer *s = data;
    CHECK(lb_cpu_enter(s->cpu, CODE, DATA + LB_PAGE, 0, DATA, 0, 0) == LB_TRAP_INTERRUPTED);
    CHECK(atomic_exchange(&s->cpu->why, 0) == LB_WHY_BUDGET);
    return NULL;
}

/* Callbacks of CPUs that run change the table at once: each waits for the other. */
static void change_from_callbacks(struct sharer *sharers, uint32_t blocks)
{
    pthread_t threads[SHARERS];

    lb_block_callback = change_from_callback;
    for (uint32_t i = 0; i < SHARERS; i++) {
        sharers[i].va = BASE + i * LB_PAGE;
        sharers[i].cpu->hook_owner = &sharers[i];
        CHECK(!lb_hook_block(sharers[i].cpu, true) && !lb_hook_budget(sharers[i].cpu, 2 * blocks));
    }
    for (uint32_t i = 0; i < SHARERS; i++)
        CHECK(!pthread_create(&threads[i], NULL, run_out, &sharers[i]));
    for (uint32_t i = 0; i < SHARERS; i++)
        pthread_join(threads[i], NULL);
    for (uint32_t i = 0; i < SHARERS; i++)
        CHECK(!lb_hook_block(sharers[i].cpu, false) && !lb_hook_budget(sharers[i].cpu, 0));
    lb_block_callback = NULL;
}

static void sharing(const struct isa *isa, uint32_t rounds)
{
    struct guest g = make(isa);
    struct sharer sharers[SHARERS] = {{.cpu = g.cpu}};
    uint32_t code[2] = {isa->load, isa->again};
    int error;

    load(&g, code, sizeof code);
    for (uint32_t i = 1; i < SHARERS; i++)
        CHECK((sharers[i].cpu = lb_cpu_new(g.space, 0, &error)));
    for (uint32_t i = 0; i < rounds; i++)
        change_while_they_read(&g, sharers);
    change_from_callbacks(sharers, 20 * rounds);
    lb_cpu_free(sharers[1].cpu);
    CHECK(lb_cpu_enter(sharers[2].cpu, CODE, DATA, 0, 0, 0, 0) == LB_TRAP_FAULT);
    lb_space_free(g.space); /* it lives until its last CPU has gone */
    lb_cpu_free(sharers[2].cpu);
    CHECK(enter(&g, 0, 0, 0) == LB_TRAP_FAULT);
    lb_cpu_free(g.cpu);
    munmap(g.arena, ARENA);
}

int main(int argc, char **argv)
{
    uint32_t rounds;

    if (argc < 4 || lb_load_unicorn(argv[1])) {
        fprintf(stderr, "%s\n", argc < 4 ? "exercise LIBUNICORN SEED ROUNDS" : lb_load_error());
        return 1;
    }
    seed = strtoull(argv[2], NULL, 10);
    rounds = (uint32_t)atoi(argv[3]);
    for (const struct isa *isa = isas; isa < isas + ISAS; isa++) {
        regions(isa, rounds);
        calls(isa);
        contexts(isa, rounds / 10);
        faults(isa);
        watchdog(isa);
        hooks(isa);
        debugging(isa);
        snapshots(isa, rounds);
        if (argc < 5) /* valgrind reports the fault itself, and TSan loses its way in the jump */
            contained(isa);
        samples(isa);
        sharing(isa, 1 + rounds / 300);
    }
    may_fork = argc < 5;
    turns(rounds * 20, false);
    turns(rounds * 20, true);
    puts("done");
    return 0;
}
