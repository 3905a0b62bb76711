/* SPDX-License-Identifier: MIT */
/*
 * Turns: a guest's atomic instructions are not atomic between two Unicorns, so CPUs that share a
 * writable page never run guest code at the same moment. They take turns by time slice, first come
 * first served, because one may spin on what the other does. A CPU outside guest code (in a system
 * call that Python answers) holds no turn. CPUs that share nothing pay one load an entry.
 */
#include "cpu.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SLICE_NS 2000000ull
#define LEAVE_NS 100000000ull /* how long a CPU that is joined while it runs may take to leave by itself */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

struct lb_turn *lb_turn_new(void)
{
    return calloc(1, sizeof(struct lb_turn));
}

/* With the lock. A turn lives until its owner has given it up and no CPU is under it or waits for it. */
static void drop(struct lb_turn *turn)
{
    if (turn && turn->given_up && !turn->cpus && !turn->waiting)
        free(turn);
}

void lb_turn_free(struct lb_turn *turn)
{
    pthread_mutex_lock(&lock);
    turn->given_up = true;
    drop(turn);
    pthread_mutex_unlock(&lock);
}

/* Marks the CPU running. false: try again, its turn was changed. */
bool lb_turn_take(struct lb_cpu *cpu)
{
    atomic_store(&cpu->running, true);
    struct lb_turn *turn = atomic_load(&cpu->turn);
    if (!turn)
        return true;
    atomic_store(&cpu->running, false);
    if (!atomic_load(&cpu->exact) && lb_hook_stops(cpu))
        return false;
    pthread_mutex_lock(&lock);
    turn = atomic_load(&cpu->turn);
    if (turn) {
        turn->waiting++;
        /* Whoever had it last lets the others go first. */
        while (atomic_load(&cpu->turn) == turn && (turn->holder || (turn->last == cpu && turn->waiting > 1)))
            pthread_cond_wait(&changed, &lock);
        turn->waiting--;
        if (atomic_load(&cpu->turn) != turn) { /* moved while waiting: start over */
            drop(turn);
            pthread_cond_broadcast(&changed); /* who had the last slice looks at how many wait */
            pthread_mutex_unlock(&lock);
            return false;
        }
        turn->holder = turn->last = cpu;
        turn->taken_ns = lb_now_ns();
    }
    atomic_store(&cpu->yield, false);
    atomic_store(&cpu->running, true);
    pthread_mutex_unlock(&lock);
    return true;
}

void lb_turn_give(struct lb_cpu *cpu)
{
    atomic_store(&cpu->running, false);
    if (!atomic_load(&cpu->turn) && !atomic_load(&cpu->yield))
        return;
    pthread_mutex_lock(&lock);
    struct lb_turn *turn = atomic_load(&cpu->turn);
    if (turn && turn->holder == cpu)
        turn->holder = NULL;
    atomic_store(&cpu->yield, false);
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

/* From the watchdog: end the slice when somebody waits. */
void lb_turn_tick(struct lb_cpu *cpu, uint64_t now_ns)
{
    if (!atomic_load(&cpu->turn))
        return;
    pthread_mutex_lock(&lock);
    struct lb_turn *turn = atomic_load(&cpu->turn);
    if (turn && turn->holder == cpu && turn->waiting && now_ns - turn->taken_ns >= SLICE_NS)
        atomic_store(&cpu->yield, true);
    pthread_mutex_unlock(&lock);
}

/*
 * Put a CPU under `turn`, or out of any (NULL). One that runs guest code right now must leave it
 * first, so that nobody under the turn runs beside it. It does so by itself at its next system call
 * for Python, or, once it ever had a turn, at its next basic block. Only a CPU that does neither,
 * and was never under a turn before, is stopped from outside, which is not exact (watchdog.c).
 */
void lb_turn_join(struct lb_cpu *cpu, struct lb_turn *turn)
{
    pthread_mutex_lock(&lock);
    struct lb_turn *old = atomic_load(&cpu->turn);
    if (old && old != turn && old->holder == cpu)
        old->holder = NULL;
    atomic_store(&cpu->turn, turn);
    if (turn)
        turn->cpus++;
    if (old) {
        old->cpus--;
        drop(old);
    }
    if (turn && old != turn && atomic_load(&cpu->running)) {
        uint64_t since = lb_now_ns();
        atomic_store(&cpu->yield, true);
        while (atomic_load(&cpu->running) && atomic_load(&cpu->yield)) {
            if (!atomic_load(&cpu->exact) && lb_now_ns() - since > LEAVE_NS)
                lb_uc.emu_stop(cpu->uc);
            pthread_mutex_unlock(&lock);
            struct timespec pause = {.tv_nsec = 50000};
            nanosleep(&pause, NULL);
            pthread_mutex_lock(&lock);
        }
    }
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

/* --- fork: see watchdog.c --- */

void lb_turn_before_fork(void)
{
    pthread_mutex_lock(&lock);
}

void lb_turn_after_fork(void)
{
    pthread_mutex_unlock(&lock);
}

/* In the child: nobody waits, and only a CPU that the forking thread is inside of can hold a turn. */
void lb_turn_forked(struct lb_cpu *cpu)
{
    struct lb_turn *turn = atomic_load(&cpu->turn);
    if (!turn)
        return;
    turn->waiting = 0;
    turn->last = NULL;
    if (turn->holder == cpu && !atomic_load(&cpu->inside))
        turn->holder = NULL;
    atomic_store(&cpu->yield, false);
}

void lb_turn_restart(void)
{
    static const pthread_mutex_t fresh_lock = PTHREAD_MUTEX_INITIALIZER;
    static const pthread_cond_t fresh_condition = PTHREAD_COND_INITIALIZER;
    memcpy(&lock, &fresh_lock, sizeof lock);
    memcpy(&changed, &fresh_condition, sizeof changed);
}
