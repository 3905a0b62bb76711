/* SPDX-License-Identifier: MIT */
/*
 * System calls of a TA served without Python. Each handler follows its namesake in optee_os 4.5
 * core/tee/tee_svc.c or tee_svc_cryp.c, in the order of its checks. Memory that is not contiguous
 * on the host is walked where only reading or only writing is needed, else left to Python.
 */
#include <string.h>

#include "native.h"
#include "task.h"
#include "user.h"

#define READ (TEE_ACCESS_READ | TEE_ACCESS_ANY_OWNER)
#define READ_WRITE (TEE_ACCESS_READ | TEE_ACCESS_WRITE | TEE_ACCESS_ANY_OWNER)
#define MS_PER_S 1000u

static enum lb_verdict done(struct lb_call *call, uint32_t result)
{
    call->result = result;
    return LB_DONE;
}

/* void syscall_log(const void *buf, size_t len) */
static enum lb_verdict call_log(const struct lb_guest *g, struct lb_call *call, void *owner)
{
    struct tee_task *t = owner;
    uint8_t text[TEE_LOG_TEXT];
    uint64_t va = call->arg[0], size = call->arg[1];
    size_t n = size < sizeof(text) ? size : sizeof(text);

    if (!size || tee_user_check(g, va, size, READ) || tee_user_get(g, text, va, n, TEE_ACCESS_ANY_OWNER))
        return done(call, 0);
    if (tee_log_put(&t->log, text, n) == TEE_LOG_FULL)
        return LB_ASK;
    return done(call, 0);
}

/* check_access_rights(unsigned long flags, const void *buf, size_t len) */
static enum lb_verdict call_check_access(const struct lb_guest *g, struct lb_call *call, void *owner)
{
    (void)owner;
    return done(call, tee_user_check(g, call->arg[1], call->arg[2], (uint32_t)call->arg[0]));
}

static enum lb_verdict put_word(const struct lb_guest *g, struct lb_call *call, uint32_t value)
{
    return done(call, tee_user_put(g, call->arg[0], &value, sizeof(value), TEE_ACCESS_ANY_OWNER));
}

/* get_cancellation_flag(uint32_t *cancel) */
static enum lb_verdict call_get_cancel(const struct lb_guest *g, struct lb_call *call, void *owner)
{
    return put_word(g, call, tee_task_is_cancelled(owner));
}

/* {un,}mask_cancellation(uint32_t *old_mask); the mask changes even if the answer cannot be written */
static enum lb_verdict set_mask(const struct lb_guest *g, struct lb_call *call, struct tee_task *t, bool on)
{
    return put_word(g, call, atomic_exchange(&t->masked, on));
}

static enum lb_verdict call_unmask(const struct lb_guest *g, struct lb_call *call, void *owner)
{
    return set_mask(g, call, owner, false);
}

static enum lb_verdict call_mask(const struct lb_guest *g, struct lb_call *call, void *owner)
{
    return set_mask(g, call, owner, true);
}

/* get_time(unsigned long cat, TEE_Time *time): the TA's private memory only */
static enum lb_verdict call_get_time(const struct lb_guest *g, struct lb_call *call, void *owner)
{
    struct tee_task *t = owner;
    uint32_t now[2]; /* seconds, millis */
    uint64_t ms;

    if (!t->clock || call->arg[0] != UTEE_TIME_CAT_SYSTEM)
        return LB_ASK;
    ms = tee_task_system_ms(t);
    now[0] = (uint32_t)(ms / MS_PER_S);
    now[1] = (uint32_t)(ms % MS_PER_S);
    return done(call, tee_user_put(g, call->arg[1], now, sizeof(now), 0));
}

/* cryp_random_number_generate(void *buf, size_t blen) */
static enum lb_verdict call_random(const struct lb_guest *g, struct lb_call *call, void *owner)
{
    uint64_t va = call->arg[0], size = call->arg[1];
    struct lb_span s;

    if (tee_user_check(g, va, size, TEE_ACCESS_WRITE | TEE_ACCESS_ANY_OWNER))
        return done(call, TEE_ERROR_ACCESS_DENIED);
    for (; size; va += s.size, size -= s.size) {
        if (!g->ops->span(g, va, size, LB_WRITE, &s) || !s.size || s.size > size)
            return done(call, TEE_ERROR_ACCESS_DENIED);
        if (!tee_task_random(owner, s.host, s.size))
            return done(call, TEE_ERROR_GENERIC);
    }
    return done(call, TEE_SUCCESS);
}

typedef uint32_t (*feed_fn)(struct tee_state *s, const uint8_t *data, size_t size);

/* [va, va+size) is readable: feed it to `s`, run by run. */
static uint32_t feed(const struct lb_guest *g, struct tee_state *s, uint64_t va, uint64_t size, feed_fn fn)
{
    struct lb_span span;
    uint32_t rc = TEE_SUCCESS;

    for (; size && !rc; va += span.size, size -= span.size) {
        if (!g->ops->span(g, va, size, LB_READ, &span) || !span.size || span.size > size)
            return TEE_ERROR_ACCESS_DENIED;
        rc = fn(s, span.host, span.size);
    }
    return rc;
}

/* hash_update(unsigned long state, const void *chunk, size_t chunk_size) */
static enum lb_verdict call_hash_update(const struct lb_guest *g, struct lb_call *call, void *owner)
{
    uint64_t va = call->arg[1], size = call->arg[2];
    struct tee_state *s;

    if (!va && size)
        return done(call, TEE_ERROR_BAD_PARAMETERS);
    if (!size)
        return done(call, TEE_SUCCESS);
    if (tee_user_check(g, va, size, READ))
        return done(call, TEE_ERROR_ACCESS_DENIED);
    s = tee_task_find(owner, call->arg[0]);
    if (!s)
        return done(call, TEE_ERROR_BAD_PARAMETERS);
    return done(call, feed(g, s, va, size, tee_hash_update));
}

/* authenc_update_aad(unsigned long state, const void *aad_data, size_t aad_data_len) */
static enum lb_verdict call_ae_aad(const struct lb_guest *g, struct lb_call *call, void *owner)
{
    uint64_t va = call->arg[1], size = call->arg[2];
    struct tee_state *s;

    if (tee_user_check(g, va, size, READ))
        return done(call, TEE_ERROR_ACCESS_DENIED);
    s = tee_task_find(owner, call->arg[0]);
    if (!s)
        return done(call, TEE_ERROR_BAD_PARAMETERS);
    if (!size)
        return done(call, tee_ae_aad(s, NULL, 0));
    return done(call, feed(g, s, va, size, tee_ae_aad));
}

struct transfer {
    uint64_t src_va, src_size, dst_va, size_va;
    uint64_t room;
    uint8_t *src, *dst;
};

/*
 * The common walk of cipher_update and authenc_update_payload:
 * (unsigned long state, const void *src, size_t src_len, void *dst, uint64_t *dst_len).
 * SUCCESS with src NULL: the memory is allowed but not contiguous.
 */
static uint32_t check_transfer(const struct lb_guest *g, const struct lb_call *call, bool may_lack_size,
                               struct transfer *x)
{
    uint32_t rc;

    *x = (struct transfer){.src_va = call->arg[1], .src_size = call->arg[2], .dst_va = call->arg[3],
                           .size_va = call->arg[4]};
    rc = tee_user_check(g, x->src_va, x->src_size, READ);
    if (rc)
        return rc;
    if (x->size_va || !may_lack_size) {
        rc = tee_user_get(g, &x->room, x->size_va, sizeof(x->room), TEE_ACCESS_ANY_OWNER);
        if (!rc)
            rc = tee_user_check(g, x->dst_va, x->room, READ_WRITE);
        if (rc)
            return rc;
    }
    if (x->room < x->src_size)
        return TEE_ERROR_SHORT_BUFFER;
    if (x->src_size) {
        x->dst = lb_pin(g, x->dst_va, x->src_size, LB_READ | LB_WRITE);
        x->src = x->dst ? lb_pin(g, x->src_va, x->src_size, LB_READ) : NULL;
    }
    return TEE_SUCCESS;
}

static enum lb_verdict end_transfer(const struct lb_guest *g, struct lb_call *call, const struct transfer *x,
                                    uint32_t rc)
{
    uint32_t rc2 = TEE_SUCCESS;

    if ((!rc || rc == TEE_ERROR_SHORT_BUFFER) && x->size_va)
        rc2 = tee_user_put(g, x->size_va, &x->src_size, sizeof(x->src_size), TEE_ACCESS_ANY_OWNER);
    return done(call, rc2 ? rc2 : rc);
}

static enum lb_verdict call_cipher_update(const struct lb_guest *g, struct lb_call *call, void *owner)
{
    struct tee_state *s = tee_task_find(owner, call->arg[0]);
    struct transfer x;
    uint32_t rc;

    if (!s)
        return done(call, TEE_ERROR_BAD_PARAMETERS);
    if (s->phase != TEE_PHASE_ACTIVE)
        return done(call, TEE_ERROR_BAD_STATE);
    rc = check_transfer(g, call, true, &x);
    if (!rc && x.src_size && !x.src)
        return LB_ASK;
    if (!rc)
        rc = tee_cipher_update(s, false, x.src, x.src_size, x.dst);
    return end_transfer(g, call, &x, rc);
}

static enum lb_verdict call_ae_update(const struct lb_guest *g, struct lb_call *call, void *owner)
{
    struct tee_state *s = tee_task_find(owner, call->arg[0]);
    struct transfer x;
    uint32_t rc;

    if (!s)
        return done(call, TEE_ERROR_BAD_PARAMETERS);
    if (s->phase != TEE_PHASE_ACTIVE || tee_algo_class(s->id) != TEE_CLASS_AE)
        return done(call, TEE_ERROR_BAD_STATE);
    rc = check_transfer(g, call, false, &x);
    if (!rc && x.src_size && !x.src)
        return LB_ASK;
    if (!rc)
        rc = tee_ae_update(s, x.src, x.src_size, x.dst);
    return end_transfer(g, call, &x, rc);
}

static const struct {
    uint32_t number;
    lb_handler handler;
    uint32_t args; /* argument words it looks at */
} handlers[] = {
    {TEE_SCN_LOG, call_log, 2},
    {TEE_SCN_CHECK_ACCESS_RIGHTS, call_check_access, 3},
    {TEE_SCN_GET_CANCELLATION_FLAG, call_get_cancel, 1},
    {TEE_SCN_UNMASK_CANCELLATION, call_unmask, 1},
    {TEE_SCN_MASK_CANCELLATION, call_mask, 1},
    {TEE_SCN_GET_TIME, call_get_time, 2},
    {TEE_SCN_HASH_UPDATE, call_hash_update, 3},
    {TEE_SCN_CIPHER_UPDATE, call_cipher_update, 5},
    {TEE_SCN_CRYP_RANDOM_NUMBER_GENERATE, call_random, 2},
    {TEE_SCN_AUTHENC_UPDATE_AAD, call_ae_aad, 3},
    {TEE_SCN_AUTHENC_UPDATE_PAYLOAD, call_ae_update, 5},
};
#define HANDLERS (sizeof(handlers) / sizeof(handlers[0]))

uint32_t tee_native_handlers(uint32_t *numbers, uintptr_t *addresses, uint32_t *args, uint32_t room)
{
    uint32_t n = 0;

    for (; n < HANDLERS && n < room; n++) {
        numbers[n] = handlers[n].number;
        addresses[n] = (uintptr_t)handlers[n].handler;
        args[n] = handlers[n].args;
    }
    return n;
}
