/* SPDX-License-Identifier: MIT */
/*
 * What one TA instance owns in C. `struct tee_task` is the owner that its system-call handlers are
 * bound with; it is made and freed by tee.crypto.task.Task alone.
 */
#ifndef TEE_TASK_H
#define TEE_TASK_H

#include <pthread.h>
#include <stdatomic.h>

#include "dispatch.h"
#include "parked.h"
#include "state.h"

#define TEE_POOL 1024u      /* random bytes fetched at once */
#define TEE_POOL_SERVES 64u /* larger requests go to libcrypto directly */
#define TEE_LOG_TEXT 1024u  /* longest message kept, bytes */

struct tee_log {
    pthread_mutex_t lock; /* drained by other threads than the guest's */
    char *text;
    size_t room, size;
    uint64_t dropped;
    uint64_t tokens, burst, rate; /* messages; messages a second */
    uint64_t filled_ns;           /* when tokens were last added */
};

struct tee_slot {
    struct tee_state *state; /* NULL: free */
    uint32_t round;          /* counts the slot's users, so that handles do not come back soon */
};

struct tee_task {
    struct tee_task *next_task, **link; /* all there are (task.c) */
    const struct lb_guest *guest; /* the engine's; NULL before there is one, and after */
    struct tee_slot *slots;
    uint32_t max_states, states, next;
    atomic_bool cancelled; /* set by any thread */
    atomic_bool masked;
    _Atomic uint64_t deadline_ns; /* monotonic; 0: none */
    bool clock;                   /* system time is served here */
    int64_t clock_origin_ns;      /* monotonic time at which system time is 0 */
    uint64_t clock_ms, clock_ticks; /* the last answer, and the counter just before it */
    uint8_t pool[TEE_POOL];
    uint32_t pool_left;
    uint64_t pool_fork; /* value of tee_forks() when it was filled */
    struct tee_log log;
    struct tee_parked parked[TEE_PARKED];
};

uint64_t tee_now_ns(void);

/* System time in milliseconds. */
uint64_t tee_task_system_ms(struct tee_task *t);

struct tee_task *tee_task_new(uint32_t max_states, uint32_t log_room, uint32_t log_rate, uint32_t log_burst);
void tee_task_free(struct tee_task *t);

/* NULL: no such state. */
struct tee_state *tee_task_find(const struct tee_task *t, uint64_t handle);

/* The flag as the TA sees it: false while masked (tee_ta_session_is_cancelled()). */
bool tee_task_is_cancelled(const struct tee_task *t);

/*
 * Whether what is computed for the guest is to stop, and whether it may be given up: enum lb_stop. By the
 * thread that answers the call. t: NULL, or a task.
 */
bool tee_task_stopped(const struct tee_task *t);
bool tee_task_ended(const struct tee_task *t);

bool tee_task_random(struct tee_task *t, uint8_t *out, size_t size);

enum tee_log_verdict { TEE_LOG_KEPT, TEE_LOG_DROPPED, TEE_LOG_FULL };
enum tee_log_verdict tee_log_put(struct tee_log *log, const uint8_t *text, size_t size);

#endif
