/* SPDX-License-Identifier: MIT */
/*
 * Host memory as Unicorn knows it: each piece has a "physical" address, the same in every CPU of a space.
 *
 * The space's list is what there is; each CPU has a list of what its Unicorn knows. They are the same at once where the
 * caller may touch that Unicorn (lb_direct), and before the CPU next runs elsewhere (lb_backings_settle).
 */
#include "cpu.h"

#include <stdlib.h>
#include <string.h>

struct lb_backing *lb_backing_of(struct lb_space *space, const uint8_t *host, uint64_t size)
{
    for (size_t i = 0; i < space->backing_count; i++) {
        struct lb_backing *b = &space->backings[i];
        if (host >= b->host && (uint64_t)(host - b->host) < b->size && size <= b->size - (uint64_t)(host - b->host))
            return b;
    }
    return NULL;
}

/* The backing that an extent is built of. Several may hold the same host memory, so only `pa` says which. */
struct lb_backing *lb_backing_at(struct lb_space *space, uint64_t pa)
{
    struct lb_backing *b = space->backings;
    while (pa - b->pa >= b->size)
        b++;
    return b;
}

/* --- one CPU ------------------------------------------------------------------------------ */

static uc_err let_know(struct lb_cpu *cpu, const struct lb_backing *b)
{
    struct lb_library_call call;
    if (cpu->broken)
        return (uc_err)LB_ERR_BROKEN;
    if (cpu->known_count == cpu->known_room) {
        size_t room = cpu->known_room ? cpu->known_room * 2 : 8;
        void *grown = realloc(cpu->known, room * sizeof *cpu->known);
        if (!grown)
            return UC_ERR_NOMEM;
        cpu->known = grown;
        cpu->known_room = room;
    }
    if (!LB_INSIDE(call))
        return lb_broke(cpu);
    uc_err error = lb_uc.mem_map_ptr(cpu->uc, b->pa, b->size, UC_PROT_ALL, b->host);
    lb_leave_library(&call);
    if (!error)
        cpu->known[cpu->known_count++] = (struct lb_known){.pa = b->pa, .size = b->size, .serial = b->serial};
    return error;
}

static void let_forget(struct lb_cpu *cpu, size_t at)
{
    struct lb_library_call call;
    struct lb_known gone = cpu->known[at];
    if (cpu->broken)
        return;
    cpu->known[at] = cpu->known[--cpu->known_count];
    if (!LB_INSIDE(call)) {
        lb_broke(cpu);
        return;
    }
    lb_uc.mem_unmap(cpu->uc, gone.pa, gone.size);
    lb_leave_library(&call);
}

/* Where `b` is among what the CPU knows; known_count: nowhere. */
static size_t known_at(const struct lb_cpu *cpu, const struct lb_backing *b)
{
    size_t at = 0;
    while (at < cpu->known_count && (cpu->known[at].pa != b->pa || cpu->known[at].serial != b->serial))
        at++;
    return at;
}

static bool is_there(const struct lb_space *space, const struct lb_known *k)
{
    for (size_t i = 0; i < space->backing_count; i++)
        if (space->backings[i].pa == k->pa)
            return space->backings[i].serial == k->serial;
    return false;
}

/* Let the CPU know what the space has, and nothing else. */
uc_err lb_backings_settle(struct lb_cpu *cpu)
{
    struct lb_space *space = cpu->space;
    uc_err error = UC_ERR_OK;
    for (size_t at = cpu->known_count; at--;) /* first: addresses are used again */
        if (!is_there(space, &cpu->known[at]))
            let_forget(cpu, at);
    for (size_t i = 0; i < space->backing_count && !error; i++)
        if (known_at(cpu, &space->backings[i]) == cpu->known_count)
            error = let_know(cpu, &space->backings[i]);
    return error;
}

/* --- all CPUs of a space ------------------------------------------------------------------ */

static void remove_memory(struct lb_space *space, const struct lb_backing *b)
{
    for (struct lb_cpu *cpu = space->cpus; cpu; cpu = cpu->sibling) {
        size_t at = known_at(cpu, b);
        if (!lb_direct(cpu))
            atomic_fetch_or(&cpu->hold, LB_HOLD_BACKINGS);
        else if (at < cpu->known_count)
            let_forget(cpu, at);
    }
}

static uc_err add_memory(struct lb_space *space, const struct lb_backing *b)
{
    for (struct lb_cpu *cpu = space->cpus; cpu; cpu = cpu->sibling) {
        uc_err error = UC_ERR_OK;
        if (lb_direct(cpu))
            error = let_know(cpu, b);
        else
            atomic_fetch_or(&cpu->hold, LB_HOLD_BACKINGS);
        if (error) {
            remove_memory(space, b);
            return error;
        }
    }
    return UC_ERR_OK;
}

int lb_backing_add(struct lb_space *space, uint8_t *host, uint64_t size, bool keep)
{
    struct lb_backing *known = lb_backing_of(space, host, size);
    if (known) {
        known->keep = known->keep || keep;
        return 0;
    }
    if (space->backing_count == space->backing_room) {
        size_t room = space->backing_room ? space->backing_room * 2 : 8;
        void *grown = realloc(space->backings, room * sizeof *space->backings);
        if (!grown)
            return UC_ERR_NOMEM;
        space->backings = grown;
        space->backing_room = room;
    }
    /* First gap that fits: backings are sorted by pa. */
    uint64_t pa = 0;
    size_t at = 0;
    for (; at < space->backing_count && space->backings[at].pa - pa < size; at++)
        pa = space->backings[at].pa + space->backings[at].size;
    if (size > space->arch->fault_window - pa)
        return UC_ERR_NOMEM;
    struct lb_backing b = {.host = host, .size = size, .pa = pa, .keep = keep, .serial = ++space->backing_serial};
    uc_err error = add_memory(space, &b);
    if (error)
        return error;
    memmove(&space->backings[at + 1], &space->backings[at], (space->backing_count - at) * sizeof *space->backings);
    space->backings[at] = b;
    space->backing_count++;
    return 0;
}

static void drop(struct lb_space *space, struct lb_backing *b)
{
    lb_unparked(space);
    struct lb_backing gone = *b;
    size_t at = (size_t)(b - space->backings);
    memmove(b, b + 1, (space->backing_count - at - 1) * sizeof *b);
    space->backing_count--;
    remove_memory(space, &gone);
}

void lb_backing_release(struct lb_space *space, uint64_t pa)
{
    struct lb_backing *b = lb_backing_at(space, pa);
    if (!--b->users && !b->keep)
        drop(space, b);
}

/* Let the engine know memory that will be mapped again and again: each map is then one table entry. */
int lb_back(struct lb_space *space, uint8_t *host, uint64_t size, bool keep)
{
    bool locked = lb_change_begin(space);
    int error = lb_backing_add(space, host, size, keep);
    lb_change_end(space, locked);
    return error;
}

static int unback(struct lb_space *space, const uint8_t *host, uint64_t size)
{
    struct lb_backing *b = space->backings, *end = b + space->backing_count;
    while (b < end && (b->host != host || b->size != size || !b->keep))
        b++;
    if (b == end)
        return UC_ERR_ARG;
    b->keep = false;
    if (!b->users)
        drop(space, b);
    return 0;
}

/* Undo a lb_back that kept. */
int lb_unback(struct lb_space *space, uint8_t *host, uint64_t size)
{
    bool locked = lb_change_begin(space);
    int error = unback(space, host, size);
    lb_change_end(space, locked);
    return error;
}
