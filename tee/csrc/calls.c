/* SPDX-License-Identifier: MIT */
/*
 * System calls of a TA served without Python. Each handler follows its namesake in optee_os 4.5
 * core/tee/tee_svc.c or tee_svc_cryp.c, in the order of its checks. Memory that is not contiguous
 * on the host is walked where only reading or only writing is needed, else left to Python.
 */
#include <string.h>

#include "calls.h"
#include "native.h"

#define MS_PER_S 1000u

/* void syscall_log(const void *buf, size_t len) */
static enum lb_verdict call_log(const struct lb_guest *g, struct lb_call *call, void *owner)
{
    struct tee_task *t = owner;
    uint8_t text[TEE_LOG_TEXT];
    uint64_t va = call->arg[0], size = call->arg[1];
    size_t n = size < sizeof(text) ? size : sizeof(text);

    if (!size || tee_user_check(g, va, size, TEE_READ) || tee_user_get(g, text, va, n, TEE_ACCESS_ANY_OWNER))
        return tee_done(call, 0);
    if (tee_log_put(&t->log, text, n) == TEE_LOG_FULL)
        return LB_ASK;
    return tee_done(call, 0);
}

/* check_access_rights(unsigned long flags, const void *buf, size_t len) */
static enum lb_verdict call_check_access(const struct lb_guest *g, struct lb_call *call, void *owner)
{
    (void)owner;
    return tee_done(call, tee_user_check(g, call->arg[1], call->arg[2], (uint32_t)call->arg[0]));
}

static enum lb_verdict put_word(const struct lb_guest *g, struct lb_call *call, uint32_t value)
{
    return tee_done(call, tee_user_put(g, call->arg[0], &value, sizeof(value), TEE_ACCESS_ANY_OWNER));
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
    return tee_done(call, tee_user_put(g, call->arg[1], now, sizeof(now), 0));
}

/* cryp_random_number_generate(void *buf, size_t blen) */
static enum lb_verdict call_random(const struct lb_guest *g, struct lb_call *call, void *owner)
{
    uint64_t va = call->arg[0], size = call->arg[1];
    struct lb_span s;

    if (tee_user_check(g, va, size, TEE_ACCESS_WRITE | TEE_ACCESS_ANY_OWNER))
        return tee_done(call, TEE_ERROR_ACCESS_DENIED);
    for (; size; va += s.size, size -= s.size) {
        if (!g->ops->span(g, va, size, LB_WRITE, &s) || !s.size || s.size > size)
            return tee_done(call, TEE_ERROR_ACCESS_DENIED);
        if (s.size > TEE_LOOK) {
            if (lb_ended(g))
                return tee_done(call, TEE_ERROR_CANCEL);
            s.size = TEE_LOOK;
        }
        if (!tee_task_random(owner, s.host, s.size))
            return tee_done(call, TEE_ERROR_GENERIC);
    }
    return tee_done(call, TEE_SUCCESS);
}

uint32_t tee_feed(const struct lb_guest *g, struct tee_state *s, uint64_t va, uint64_t size, tee_feed_fn fn)
{
    struct lb_span span;
    uint32_t rc = TEE_SUCCESS;

    for (; size && !rc; va += span.size, size -= span.size) {
        if (!g->ops->span(g, va, size, LB_READ, &span) || !span.size || span.size > size)
            return TEE_ERROR_ACCESS_DENIED;
        if (span.size > TEE_LOOK) {
            if (lb_ended(g))
                return TEE_ERROR_CANCEL;
            span.size = TEE_LOOK;
        }
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
        return tee_done(call, TEE_ERROR_BAD_PARAMETERS);
    if (!size)
        return tee_done(call, TEE_SUCCESS);
    if (tee_user_check(g, va, size, TEE_READ))
        return tee_done(call, TEE_ERROR_ACCESS_DENIED);
    s = tee_task_find(owner, call->arg[0]);
    if (!s)
        return tee_done(call, TEE_ERROR_BAD_PARAMETERS);
    return tee_done(call, tee_feed(g, s, va, size, tee_hash_update));
}

/* authenc_update_aad(unsigned long state, const void *aad_data, size_t aad_data_len) */
static enum lb_verdict call_ae_aad(const struct lb_guest *g, struct lb_call *call, void *owner)
{
    uint64_t va = call->arg[1], size = call->arg[2];
    struct tee_state *s;

    if (tee_user_check(g, va, size, TEE_READ))
        return tee_done(call, TEE_ERROR_ACCESS_DENIED);
    s = tee_task_find(owner, call->arg[0]);
    if (!s)
        return tee_done(call, TEE_ERROR_BAD_PARAMETERS);
    if (!size)
        return tee_done(call, tee_ae_aad(s, NULL, 0));
    return tee_done(call, tee_feed(g, s, va, size, tee_ae_aad));
}

static enum lb_verdict cipher(const struct lb_guest *g, struct lb_call *call, void *owner, bool last)
{
    struct tee_state *s = tee_task_find(owner, call->arg[0]);
    struct tee_transfer x;
    uint32_t rc;

    if (!s)
        return tee_done(call, TEE_ERROR_BAD_PARAMETERS);
    if (s->phase != TEE_PHASE_ACTIVE)
        return tee_done(call, TEE_ERROR_BAD_STATE);
    rc = tee_check_transfer(g, call, true, &x);
    if (!rc && x.src_size && !x.src)
        return LB_ASK;
    if (!rc)
        rc = tee_cipher_update(s, last, x.src, x.src_size, x.dst);
    return tee_end_transfer(g, call, &x, rc);
}

static enum lb_verdict call_cipher_update(const struct lb_guest *g, struct lb_call *call, void *owner)
{
    return cipher(g, call, owner, false);
}

static enum lb_verdict call_cipher_final(const struct lb_guest *g, struct lb_call *call, void *owner)
{
    return cipher(g, call, owner, true);
}

static enum lb_verdict call_ae_update(const struct lb_guest *g, struct lb_call *call, void *owner)
{
    struct tee_state *s = tee_task_find(owner, call->arg[0]);
    struct tee_transfer x;
    uint32_t rc;

    if (!s)
        return tee_done(call, TEE_ERROR_BAD_PARAMETERS);
    if (s->phase != TEE_PHASE_ACTIVE || tee_algo_class(s->id) != TEE_CLASS_AE)
        return tee_done(call, TEE_ERROR_BAD_STATE);
    rc = tee_check_transfer(g, call, false, &x);
    if (!rc && x.src_size && !x.src)
        return LB_ASK;
    if (!rc)
        rc = tee_ae_update(s, x.src, x.src_size, x.dst);
    return tee_end_transfer(g, call, &x, rc);
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
    {TEE_SCN_HASH_FINAL, tee_call_hash_final, 5},
    {TEE_SCN_CIPHER_UPDATE, call_cipher_update, 5},
    {TEE_SCN_CIPHER_FINAL, call_cipher_final, 5},
    {TEE_SCN_CRYP_OBJ_GET_INFO, tee_call_obj_get_info, 2},
    {TEE_SCN_CRYP_OBJ_GET_ATTR, tee_call_obj_get_attr, 4},
    {TEE_SCN_CRYP_OBJ_RESET, tee_call_obj_reset, 1},
    {TEE_SCN_CRYP_DERIVE_KEY, tee_call_derive_key, 4},
    {TEE_SCN_CRYP_RANDOM_NUMBER_GENERATE, call_random, 2},
    {TEE_SCN_AUTHENC_UPDATE_AAD, call_ae_aad, 3},
    {TEE_SCN_AUTHENC_UPDATE_PAYLOAD, call_ae_update, 5},
    {TEE_SCN_AUTHENC_ENC_FINAL, tee_call_ae_enc_final, 7},
    {TEE_SCN_ASYMM_OPERATE, tee_call_asymm_operate, 7},
    {TEE_SCN_ASYMM_VERIFY, tee_call_asymm_verify, 7},
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
