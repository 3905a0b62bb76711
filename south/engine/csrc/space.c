/* SPDX-License-Identifier: MIT */
/*
 * One guest's memory, and the CPUs that share it.
 *
 * A space with one CPU belongs to one host thread at a time, and takes no lock. From its second CPU on it is shared, for
 * good, and any thread may look at its memory or change its regions while others run guests in its CPUs:
 *
 * - One host thread is inside a CPU at a time. Nobody else touches that CPU's Unicorn.
 * - The table of regions is read without a lock by CPUs that run guest code (fills of the TLB, handlers in C), and under
 *   `lock` by everyone else.
 * - A change takes `lock`, marks every CPU with LB_HOLD_CHANGE, asks those that run to leave, and waits until none runs:
 *   at most for a basic block, or for the handler in C that answers a call. A CPU that is marked does not start.
 *   Then the table is changed. What other CPUs' Unicorns still know of it (entries of their TLBs, translated code,
 *   backings) is noted in their `hold`, and dropped by the thread that next runs them, before they do.
 * - So once a change has returned, no CPU can reach what was unmapped or protected, and all see what was mapped.
 * - A hook's callback may change regions, too: while it waits for another's change, its CPU counts as one that left.
 *
 * CPUs of shared spaces look at every basic block whether they should leave: a stop from anywhere else is not exact
 * (watchdog.c). A guest's atomic instructions are not atomic between two CPUs: those that share writable memory and rely on
 * them run in turns (turns.c), which is for the caller to decide.
 */
#include "cpu.h"

#include <stdlib.h>
#include <string.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

/* The calling thread is inside the CPU: it was called by a hook of it. */
static bool here(const struct lb_cpu *cpu)
{
    return atomic_load(&cpu->inside) && pthread_equal(atomic_load(&cpu->thread), pthread_self());
}

/* Whether the thread that changes the table may touch this CPU's Unicorn, too. */
bool lb_direct(const struct lb_cpu *cpu)
{
    return !atomic_load(&cpu->space->shared) || here(cpu);
}

/* --- looks and changes -------------------------------------------------------------------- */

/* Before a look at the table from outside of guest code. Returns what lb_look_end needs. */
bool lb_look_begin(struct lb_space *space)
{
    if (!atomic_load(&space->shared))
        return false;
    pthread_mutex_lock(&lock);
    for (const struct lb_cpu *cpu = space->cpus; cpu; cpu = cpu->sibling)
        if (here(cpu)) { /* a callback of a CPU that runs: changes wait for it */
            pthread_mutex_unlock(&lock);
            return false;
        }
    while (space->changing)
        pthread_cond_wait(&changed, &lock);
    return true;
}

void lb_look_end(bool locked)
{
    if (locked)
        pthread_mutex_unlock(&lock);
}

/* With the lock: wait for another's change, if there is one. */
static void after_others(struct lb_space *space)
{
    if (!space->changing)
        return;
    for (struct lb_cpu *cpu = space->cpus; cpu; cpu = cpu->sibling)
        if (here(cpu))
            cpu->paused = true;
    pthread_cond_broadcast(&changed);
    while (space->changing)
        pthread_cond_wait(&changed, &lock);
    for (struct lb_cpu *cpu = space->cpus; cpu; cpu = cpu->sibling)
        if (here(cpu)) {
            cpu->paused = false;
            atomic_store(&cpu->yield, true); /* at its next block it leaves, and drops what changed */
            if (!cpu->broken && !(atomic_load(&cpu->hold) & LB_HOLD_BACKINGS && lb_backings_settle(cpu)))
                uc_ctl_flush_tlb(cpu->uc); /* the rest of this block */
        }
}

/* With the lock: ask CPUs that run to leave; whether there are any. */
static bool others_run(struct lb_space *space)
{
    bool any = false;
    for (struct lb_cpu *cpu = space->cpus; cpu; cpu = cpu->sibling) {
        if (!atomic_load(&cpu->running) || cpu->paused || here(cpu))
            continue;
        atomic_store(&cpu->yield, true);
        any = true;
    }
    return any;
}

/* Before a change of the table. Returns what lb_change_end needs. */
bool lb_change_begin(struct lb_space *space)
{
    if (!atomic_load(&space->shared))
        return false;
    pthread_mutex_lock(&lock);
    after_others(space);
    space->changing = true;
    for (struct lb_cpu *cpu = space->cpus; cpu; cpu = cpu->sibling)
        atomic_fetch_or(&cpu->hold, LB_HOLD_CHANGE);
    while (others_run(space))
        pthread_cond_wait(&changed, &lock);
    return true;
}

void lb_change_end(struct lb_space *space, bool locked)
{
    if (!locked)
        return;
    for (struct lb_cpu *cpu = space->cpus; cpu; cpu = cpu->sibling)
        atomic_fetch_and(&cpu->hold, ~LB_HOLD_CHANGE);
    space->changing = false;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

/* --- a CPU's side ------------------------------------------------------------------------- */

/* A CPU that is held has stopped running. */
void lb_space_left(void)
{
    pthread_mutex_lock(&lock);
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

/* With the lock. */
static uc_err drop_stale(struct lb_cpu *cpu, unsigned hold)
{
    struct lb_library_call call;
    uc_err error = hold & LB_HOLD_STOPS ? lb_hook_stops(cpu) : UC_ERR_OK;
    if (!error && hold & LB_HOLD_BACKINGS)
        error = lb_backings_settle(cpu);
    if (error || cpu->broken || !(hold & (LB_HOLD_TLB | LB_HOLD_CODE | LB_HOLD_BACKINGS)))
        return error;
    if (!LB_INSIDE(call))
        return lb_broke(cpu);
    if (hold & LB_HOLD_CODE)
        uc_ctl_flush_tb(cpu->uc);
    uc_ctl_flush_tlb(cpu->uc);
    lb_leave_library(&call);
    return UC_ERR_OK;
}

/* Before a CPU that is held runs: wait for the change, and drop what it knows too much. */
int lb_space_settle(struct lb_cpu *cpu)
{
    pthread_mutex_lock(&lock);
    while (cpu->space->changing)
        pthread_cond_wait(&changed, &lock);
    unsigned hold = atomic_exchange(&cpu->hold, 0);
    uc_err error = drop_stale(cpu, hold);
    if (error)
        atomic_fetch_or(&cpu->hold, hold);
    pthread_mutex_unlock(&lock);
    return (int)error;
}

/* A handler in C is about to look at the guest's memory while the CPU does not run. */
void lb_space_enter(struct lb_cpu *cpu)
{
    if (!atomic_load(&cpu->space->shared))
        return;
    pthread_mutex_lock(&lock);
    while (cpu->space->changing)
        pthread_cond_wait(&changed, &lock);
    atomic_store(&cpu->running, true);
    pthread_mutex_unlock(&lock);
}

void lb_space_leave(struct lb_cpu *cpu)
{
    if (!atomic_load(&cpu->space->shared))
        return;
    atomic_store(&cpu->running, false);
    if (atomic_load(&cpu->hold))
        lb_space_left();
}

/* --- life --------------------------------------------------------------------------------- */

struct lb_space *lb_space_new(const struct lb_arch *arch, uint8_t *arena, uint64_t arena_size, int *error)
{
    struct lb_space *space = calloc(1, sizeof *space);
    *error = UC_ERR_NOMEM;
    if (!space)
        return NULL;
    space->arch = arch;
    space->arena = arena;
    space->arena_size = arena_size;
    space->users = 1;
    *error = lb_backing_add(space, arena, arena_size, true);
    if (*error) {
        lb_space_free(space);
        return NULL;
    }
    return space;
}

static void drop(struct lb_space *space)
{
    pthread_mutex_lock(&lock);
    bool last = !--space->users;
    pthread_mutex_unlock(&lock);
    if (!last)
        return;
    lb_dirty_free(space);
    free(space->extents);
    free(space->backings);
    free(space);
}

/* Its owner gives it up. It lives until its last CPU has gone. */
void lb_space_free(struct lb_space *space)
{
    if (space)
        drop(space);
}

/* A new CPU enters the space. LB_ERR_BUSY: the one there runs, and was not made to leave at a block. */
uc_err lb_space_join(struct lb_cpu *cpu, struct lb_space *space)
{
    uc_err error = UC_ERR_OK;
    pthread_mutex_lock(&lock);
    while (space->changing)
        pthread_cond_wait(&changed, &lock);
    if (space->cpus) {
        lb_unparked(space);
        atomic_store(&space->shared, true);
        atomic_fetch_or(&cpu->hold, LB_HOLD_STOPS);
    }
    for (struct lb_cpu *other = space->cpus; other; other = other->sibling) {
        if (atomic_load(&other->exact))
            continue;
        atomic_fetch_or(&other->hold, LB_HOLD_STOPS);
        if (atomic_load(&other->running))
            error = (uc_err)LB_ERR_BUSY;
    }
    if (!error)
        error = lb_backings_settle(cpu);
    if (!error) {
        cpu->sibling = space->cpus;
        space->cpus = cpu;
        space->users++;
    }
    pthread_mutex_unlock(&lock);
    return error;
}

void lb_space_part(struct lb_cpu *cpu)
{
    struct lb_space *space = cpu->space;
    pthread_mutex_lock(&lock);
    while (space->changing)
        pthread_cond_wait(&changed, &lock);
    for (struct lb_cpu **at = &space->cpus; *at; at = &(*at)->sibling)
        if (*at == cpu) {
            *at = cpu->sibling;
            break;
        }
    pthread_mutex_unlock(&lock);
    drop(space);
}

/* --- fork: see watchdog.c --- */

void lb_space_before_fork(void)
{
    pthread_mutex_lock(&lock);
}

void lb_space_after_fork(void)
{
    pthread_mutex_unlock(&lock);
}

/* In the child: who changed something had not begun, and is not here; nor are those who waited for it. */
void lb_space_forked(struct lb_cpu *cpu)
{
    cpu->space->changing = false;
    cpu->paused = false;
    atomic_fetch_and(&cpu->hold, ~LB_HOLD_CHANGE);
}

void lb_space_restart(void)
{
    static const pthread_mutex_t fresh_lock = PTHREAD_MUTEX_INITIALIZER;
    static const pthread_cond_t fresh_condition = PTHREAD_COND_INITIALIZER;
    memcpy(&lock, &fresh_lock, sizeof lock);
    memcpy(&changed, &fresh_condition, sizeof changed);
}
