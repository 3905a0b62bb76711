/* SPDX-License-Identifier: MIT */
#include "task.h"

#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "native.h"

#define HANDLE_MAX INT32_MAX
#define NS 1000000000u
#define NS_PER_MS 1000000u

/*
 * Reading the clock costs as much as the whole rest of a system call, and TAs that wait for something
 * read it in a loop. The answer is in milliseconds: one that is that many ticks of the processor's
 * counter old (20 us at 1 GHz, and such counters are faster) is as good as a new one.
 */
#define FRESH_TICKS 20000u

uint64_t tee_now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * NS + (uint64_t)ts.tv_nsec;
}

/* Of a counter at a constant rate; 0 where there is none. */
static inline uint64_t ticks(void)
{
#if defined(__x86_64__)
    return __builtin_ia32_rdtsc();
#else
    return 0;
#endif
}

uint64_t tee_task_system_ms(struct tee_task *t)
{
    uint64_t now = ticks();
    int64_t ns;

    if (now && t->clock_ticks && now - t->clock_ticks < FRESH_TICKS)
        return t->clock_ms;
    ns = (int64_t)tee_now_ns() - t->clock_origin_ns;
    t->clock_ticks = now;
    t->clock_ms = ns > 0 ? (uint64_t)ns / NS_PER_MS : 0;
    return t->clock_ms;
}

/* All tasks, for fork: each log has a lock, and another thread may hold it then. */
static pthread_mutex_t tasks_lock = PTHREAD_MUTEX_INITIALIZER;
static struct tee_task *tasks;
static _Atomic uint64_t forks; /* forked children must not hand out the random numbers of their parent */
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;

static void before_fork(void)
{
    pthread_mutex_lock(&tasks_lock);
    for (struct tee_task *t = tasks; t; t = t->next_task)
        pthread_mutex_lock(&t->log.lock);
}

static void after_fork(void)
{
    for (struct tee_task *t = tasks; t; t = t->next_task)
        pthread_mutex_unlock(&t->log.lock);
    pthread_mutex_unlock(&tasks_lock);
}

static void after_fork_in_child(void)
{
    after_fork();
    atomic_fetch_add(&forks, 1);
}

static void watch_forks(void)
{
    pthread_atfork(before_fork, after_fork, after_fork_in_child);
}

static void enlist(struct tee_task *t)
{
    pthread_once(&fork_once, watch_forks);
    pthread_mutex_lock(&tasks_lock);
    t->next_task = tasks;
    t->link = &tasks;
    if (tasks)
        tasks->link = &t->next_task;
    tasks = t;
    pthread_mutex_unlock(&tasks_lock);
}

static void delist(struct tee_task *t)
{
    pthread_mutex_lock(&tasks_lock);
    *t->link = t->next_task;
    if (t->next_task)
        t->next_task->link = t->link;
    pthread_mutex_unlock(&tasks_lock);
}

struct tee_task *tee_task_new(uint32_t max_states, uint32_t log_room, uint32_t log_rate, uint32_t log_burst)
{
    struct tee_task *t = calloc(1, sizeof(*t));

    if (!t)
        return NULL;
    t->max_states = max_states < 1u << 20 ? max_states : 1u << 20;
    t->slots = calloc(t->max_states ? t->max_states : 1, sizeof(*t->slots));
    t->log.text = malloc(log_room ? log_room : 1);
    if (!t->slots || !t->log.text || pthread_mutex_init(&t->log.lock, NULL)) {
        free(t->slots);
        free(t->log.text);
        free(t);
        return NULL;
    }
    t->log.room = log_room;
    t->log.rate = log_rate;
    t->log.burst = t->log.tokens = log_burst;
    t->log.filled_ns = tee_now_ns();
    t->clock = true;
    atomic_store(&t->masked, true); /* a new session: user_ta.c, tee_ta_manager.c */
    enlist(t);
    return t;
}

void tee_task_close(struct tee_task *t)
{
    for (uint32_t i = 0; i < t->max_states; i++)
        tee_state_free(t->slots[i].state);
    tee_parked_wipe(t);
    t->max_states = t->states = 0;
    t->guest = NULL;
}

void tee_task_serve(struct tee_task *t, uintptr_t guest)
{
    t->guest = (const struct lb_guest *)guest;
}

bool tee_task_stopped(const struct tee_task *t)
{
    return t && t->guest && t->guest->ops->stop && t->guest->ops->stop(t->guest) != LB_STOP_NOT;
}

bool tee_task_ended(const struct tee_task *t)
{
    return t && t->guest && lb_ended(t->guest);
}

void tee_task_free(struct tee_task *t)
{
    if (!t)
        return;
    tee_task_close(t);
    delist(t);
    pthread_mutex_destroy(&t->log.lock);
    free(t->slots);
    free(t->log.text);
    OPENSSL_cleanse(t, sizeof(*t));
    free(t);
}

/* handle = round * max_states + slot + 1 */
static uint32_t handle_of(const struct tee_task *t, uint32_t slot)
{
    return t->slots[slot].round * t->max_states + slot + 1;
}

struct tee_state *tee_task_find(const struct tee_task *t, uint64_t handle)
{
    uint32_t slot;

    if (!handle || handle > HANDLE_MAX || !t->max_states)
        return NULL;
    slot = (uint32_t)(handle - 1) % t->max_states;
    return handle_of(t, slot) == handle ? t->slots[slot].state : NULL;
}

/* Slots are taken in turn: a stale handle stays invalid for as long as can be. */
static struct tee_slot *free_slot(struct tee_task *t)
{
    if (t->states == t->max_states)
        return NULL;
    while (t->slots[t->next].state)
        t->next = (t->next + 1) % t->max_states;
    return &t->slots[t->next];
}

uint32_t tee_task_alloc(struct tee_task *t, uint32_t algo, uint32_t mode, uint32_t *handle)
{
    struct tee_slot *slot = free_slot(t);
    struct tee_state *s;
    uint32_t rc;

    if (!slot)
        return TEE_ERROR_OUT_OF_MEMORY;
    rc = tee_state_new(algo, mode, &s);
    if (rc)
        return rc;
    s->task = t;
    slot->state = s;
    *handle = handle_of(t, t->next);
    t->states++;
    t->next = (t->next + 1) % t->max_states;
    return TEE_SUCCESS;
}

uint32_t tee_task_drop(struct tee_task *t, uint64_t handle)
{
    struct tee_slot *slot;

    if (!tee_task_find(t, handle))
        return TEE_ERROR_BAD_PARAMETERS;
    slot = &t->slots[(uint32_t)(handle - 1) % t->max_states];
    tee_state_free(slot->state);
    slot->state = NULL;
    slot->round = (slot->round + 1) % (HANDLE_MAX / t->max_states - 1);
    t->states--;
    return TEE_SUCCESS;
}

uint32_t tee_task_state_count(const struct tee_task *t)
{
    return t->states;
}

void tee_task_cancel(struct tee_task *t, int on)
{
    atomic_store(&t->cancelled, on != 0);
}

/* A call begins: not cancelled, and masked. */
void tee_task_begin(struct tee_task *t)
{
    atomic_store(&t->cancelled, false);
    atomic_store(&t->masked, true);
}

int tee_task_cancelled(const struct tee_task *t)
{
    return atomic_load(&t->cancelled);
}

void tee_task_mask(struct tee_task *t, int on)
{
    atomic_store(&t->masked, on != 0);
}

int tee_task_masked(const struct tee_task *t)
{
    return atomic_load(&t->masked);
}

void tee_task_set_deadline(struct tee_task *t, uint64_t ns)
{
    atomic_store(&t->deadline_ns, ns);
}

void tee_task_set_clock(struct tee_task *t, int on, int64_t origin_ns)
{
    t->clock = on != 0;
    t->clock_origin_ns = origin_ns;
    t->clock_ticks = 0;
}

bool tee_task_is_cancelled(const struct tee_task *t)
{
    uint64_t deadline = atomic_load(&t->deadline_ns);

    if (atomic_load(&t->masked))
        return false;
    return atomic_load(&t->cancelled) || (deadline && tee_now_ns() >= deadline);
}

/* TAs ask for random numbers a few bytes at a time, tens of thousands of times: fetch in bulk. */
bool tee_task_random(struct tee_task *t, uint8_t *out, size_t size)
{
    uint8_t *from;

    if (size > TEE_POOL_SERVES)
        return tee_random(out, size) == TEE_SUCCESS;
    if (t->pool_left < size || t->pool_fork != atomic_load(&forks)) {
        t->pool_left = 0;
        t->pool_fork = atomic_load(&forks);
        if (tee_random(t->pool, sizeof(t->pool)))
            return false;
        t->pool_left = sizeof(t->pool);
    }
    t->pool_left -= (uint32_t)size;
    from = t->pool + t->pool_left;
    memcpy(out, from, size);
    OPENSSL_cleanse(from, size);
    return true;
}
