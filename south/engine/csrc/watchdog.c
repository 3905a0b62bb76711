/* SPDX-License-Identifier: MIT */
/*
 * One watchdog thread for every CPU of the process.
 *
 * Unicorn looks for a stop at the start of a basic block and after every load and store, and there
 * the instruction has half happened: running it again is wrong for `stxr`, for LSE atomics and for
 * `ldr x1, [x1]`. So a stop from outside is for guests that will not go on (deadline, kill). Guests
 * that will, because their time slice is over, look for it themselves at basic blocks (hooks.c).
 *
 * It ticks only while a guest runs, and looks at deadlines, pending interruptions, time slices and
 * the signal pipe. A stop that reaches Unicorn before it starts is lost, so a pending reason is sent
 * again at every tick until the guest is out. Guests pay two atomic additions an entry.
 */
#include "cpu.h"

#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define TICK_NS 1000000ull
#define IDLE_TICKS 50 /* keep ticking that long after the last guest left: entries come in bursts */

static pthread_mutex_t list_lock = PTHREAD_MUTEX_INITIALIZER;
static struct lb_cpu *list;
static pthread_mutex_t sleep_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wake = PTHREAD_COND_INITIALIZER;
static atomic_int active;
static atomic_bool asleep = true; /* or there is none yet */
static int signal_fd = -1; /* guarded by list_lock */
static bool started; /* guarded by sleep_lock */

uint64_t lb_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

unsigned lb_watchdog_period_us(void)
{
    return TICK_NS / 1000;
}

/* Python writes the numbers of signals it received; only those that ask the process to end stop a guest. */
static unsigned signals(void)
{
    unsigned char bytes[64];
    ssize_t got = signal_fd >= 0 ? read(signal_fd, bytes, sizeof bytes) : 0;
    for (ssize_t i = 0; i < got; i++)
        if (bytes[i] == SIGINT || bytes[i] == SIGTERM || bytes[i] == SIGHUP)
            return LB_WHY_SIGNAL;
    return 0;
}

/* A deadline that has passed is a reason. */
static void due(struct lb_cpu *cpu, uint64_t now)
{
    long long deadline = atomic_load(&cpu->deadline_ns);
    if (deadline && now >= (uint64_t)deadline) {
        atomic_store(&cpu->deadline_ns, 0);
        atomic_fetch_or(&cpu->why, LB_WHY_DEADLINE);
    }
}

static void look(struct lb_cpu *cpu, uint64_t now, unsigned why)
{
    /* Also one that is not running: it may be on its way in, and nobody will tell it a second time. */
    if (why)
        atomic_fetch_or(&cpu->why, why);
    lb_sample_tick(cpu, now);
    if (!atomic_load(&cpu->running))
        return;
    due(cpu, now);
    lb_turn_tick(cpu, now);
    if (atomic_load(&cpu->why) && !atomic_load(&cpu->exact))
        lb_uc.emu_stop(cpu->uc);
}

static void tick(void)
{
    pthread_mutex_lock(&list_lock);
    unsigned why = signals();
    uint64_t now = lb_now_ns();
    for (struct lb_cpu *cpu = list; cpu; cpu = cpu->next)
        look(cpu, now, why);
    pthread_mutex_unlock(&list_lock);
}

/*
 * The thread may sleep while no guest runs, and passes over those that do not: a tick of the caller's
 * own. A guest that stands in a C handler runs: it is told to leave before the handler is.
 */
enum lb_stop lb_stop_of(const struct lb_guest *guest)
{
    struct lb_cpu *cpu = guest->cpu;
    due(cpu, lb_now_ns());
    tick();
    unsigned why = atomic_load(&cpu->why);
    if (why && atomic_load(&cpu->running) && !atomic_load(&cpu->exact))
        lb_uc.emu_stop(cpu->uc);
    return why & LB_WHY_FATAL ? LB_STOP_END : why ? LB_STOP_PAUSE : LB_STOP_NOT;
}

static void *loop(void *unused)
{
    (void)unused;
    for (unsigned idle = 0;;) {
        idle = atomic_load(&active) ? 0 : idle + 1;
        if (idle > IDLE_TICKS) {
            pthread_mutex_lock(&sleep_lock);
            atomic_store(&asleep, true);
            while (!atomic_load(&active))
                pthread_cond_wait(&wake, &sleep_lock);
            atomic_store(&asleep, false);
            pthread_mutex_unlock(&sleep_lock);
            idle = 0;
        }
        struct timespec period = {.tv_nsec = TICK_NS};
        nanosleep(&period, NULL);
        tick();
    }
    return NULL;
}

/* With sleep_lock. A thread that cannot be made is tried again when the next guest enters an idle process. */
static void start(void)
{
    pthread_t thread;
    if (!started && !pthread_create(&thread, NULL, loop, NULL)) {
        pthread_detach(thread);
        started = true;
        atomic_store(&asleep, false);
    }
}

/*
 * fork: every lock of this library is taken in the order in which it is taken elsewhere, so that what they guard is whole in
 * the child.
 *
 * The child has one thread. Its locks and condition variables begin again, since a condition variable remembers who waits.
 * It has no watchdog until a guest enters: children that never run one get no thread. A CPU that another thread was
 * inside of is broken: its engine stands in the middle of a run that nobody will end.
 */
static void before_fork(void)
{
    lb_load_before_fork();
    pthread_mutex_lock(&list_lock);
    pthread_mutex_lock(&sleep_lock);
    lb_turn_before_fork();
    lb_space_before_fork();
    lb_contain_before_fork();
}

static void after_fork_in_parent(void)
{
    lb_contain_after_fork();
    lb_space_after_fork();
    lb_turn_after_fork();
    pthread_mutex_unlock(&sleep_lock);
    pthread_mutex_unlock(&list_lock);
    lb_load_after_fork();
}

static void after_fork_in_child(void)
{
    static const pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static const pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
    int inside = 0;
    for (struct lb_cpu *cpu = list; cpu; cpu = cpu->next) {
        bool own = atomic_load(&cpu->inside) && pthread_equal(atomic_load(&cpu->thread), pthread_self());
        inside += own;
        if (atomic_load(&cpu->inside) && !own) {
            cpu->broken = true;
            cpu->broken_how = "another thread ran it when the process forked";
            atomic_store(&cpu->running, false);
            atomic_store(&cpu->inside, false);
        }
        lb_turn_forked(cpu);
        lb_space_forked(cpu);
    }
    lb_contain_after_fork();
    lb_turn_restart();
    lb_space_restart();
    lb_load_after_fork();
    started = false;
    atomic_store(&active, inside);
    atomic_store(&asleep, true);
    memcpy(&sleep_lock, &lock, sizeof lock);
    memcpy(&list_lock, &lock, sizeof lock);
    memcpy(&wake, &condition, sizeof condition);
}

void lb_watch_forks(void)
{
    pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

void lb_watch(struct lb_cpu *cpu)
{
    pthread_mutex_lock(&list_lock);
    cpu->next = list;
    list = cpu;
    pthread_mutex_unlock(&list_lock);
}

void lb_unwatch(struct lb_cpu *cpu)
{
    pthread_mutex_lock(&list_lock);
    for (struct lb_cpu **at = &list; *at; at = &(*at)->next)
        if (*at == cpu) {
            *at = cpu->next;
            break;
        }
    pthread_mutex_unlock(&list_lock);
}

void lb_entering(struct lb_cpu *cpu)
{
    atomic_store_explicit(&cpu->thread, pthread_self(), memory_order_relaxed);
    atomic_store_explicit(&cpu->inside, true, memory_order_relaxed);
    if (atomic_fetch_add(&active, 1) == 0 && atomic_load(&asleep)) {
        pthread_mutex_lock(&sleep_lock);
        start();
        pthread_cond_signal(&wake);
        pthread_mutex_unlock(&sleep_lock);
    }
}

void lb_left(struct lb_cpu *cpu)
{
    atomic_store_explicit(&cpu->inside, false, memory_order_relaxed);
    atomic_fetch_sub(&active, 1);
}

void lb_interrupt(struct lb_cpu *cpu, unsigned why)
{
    atomic_fetch_or(&cpu->why, why);
    if (atomic_load(&cpu->running) && !atomic_load(&cpu->exact))
        lb_uc.emu_stop(cpu->uc);
}

void lb_set_deadline(struct lb_cpu *cpu, int64_t ns_from_now)
{
    atomic_store(&cpu->deadline_ns, ns_from_now < 0 ? 0 : (long long)lb_now_ns() + ns_from_now + 1);
    atomic_fetch_and(&cpu->why, ~LB_WHY_DEADLINE); /* the last one's, told when the guest had just left */
}

void lb_watch_signals(int fd)
{
    pthread_mutex_lock(&list_lock); /* afterwards nobody reads the descriptor given before: it may be closed */
    signal_fd = fd;
    pthread_mutex_unlock(&list_lock);
}
