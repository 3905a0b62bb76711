/* SPDX-License-Identifier: MIT */
/* A TA's log: bounded, rate limited by a token bucket, drained by Python. */
#include <string.h>

#include "native.h"
#include "task.h"

#define NS UINT64_C(1000000000)

static bool take_token(struct tee_log *log)
{
    uint64_t now = tee_now_ns();
    uint64_t passed = now - log->filled_ns;
    uint64_t more;

    if (passed > 3600 * NS)
        passed = 3600 * NS;
    more = passed * log->rate / NS;
    if (more) {
        log->tokens = log->tokens + more < log->burst ? log->tokens + more : log->burst;
        log->filled_ns = now;
    }
    if (!log->tokens)
        return false;
    log->tokens--;
    return true;
}

/* trace_ext_puts() prints up to the first NUL. FULL: nothing happened. */
enum tee_log_verdict tee_log_put(struct tee_log *log, const uint8_t *text, size_t size)
{
    enum tee_log_verdict verdict = TEE_LOG_KEPT;
    size_t n = strnlen((const char *)text, size < TEE_LOG_TEXT ? size : TEE_LOG_TEXT);

    pthread_mutex_lock(&log->lock);
    if (n > log->room - log->size) {
        verdict = TEE_LOG_FULL;
    } else if (!take_token(log)) {
        verdict = TEE_LOG_DROPPED;
        log->dropped++;
    } else {
        memcpy(log->text + log->size, text, n);
        log->size += n;
    }
    pthread_mutex_unlock(&log->lock);
    return verdict;
}

/* Whether there is anything to drain: text, or messages to tell the loss of. */
int tee_task_log_waits(struct tee_task *t)
{
    bool waits;

    pthread_mutex_lock(&t->log.lock);
    waits = t->log.size || t->log.dropped;
    pthread_mutex_unlock(&t->log.lock);
    return waits;
}

uint64_t tee_task_log_size(struct tee_task *t)
{
    uint64_t size;

    pthread_mutex_lock(&t->log.lock);
    size = t->log.size;
    pthread_mutex_unlock(&t->log.lock);
    return size;
}

uint64_t tee_task_log_take(struct tee_task *t, uint8_t *out, uint64_t room, uint64_t *dropped)
{
    size_t n;

    pthread_mutex_lock(&t->log.lock);
    n = t->log.size < room ? t->log.size : room;
    memcpy(out, t->log.text, n);
    memmove(t->log.text, t->log.text + n, t->log.size - n);
    t->log.size -= n;
    *dropped = t->log.dropped;
    t->log.dropped = 0;
    pthread_mutex_unlock(&t->log.lock);
    return n;
}
