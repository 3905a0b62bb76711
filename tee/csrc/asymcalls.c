/* SPDX-License-Identifier: MIT */
/*
 * Signatures by an operation whose key is ready, and their verification. Python answers the first call of each
 * operation, which makes the key ready, and every call about which anything is unusual: nothing was changed then.
 * Source: optee_os 4.5 core/tee/tee_svc_cryp.c, syscall_asymm_operate, syscall_asymm_verify, pkcs1_get_salt_len.
 */
#include <string.h>

#include "calls.h"
#include "ready.h"

#define ATTRIBUTES_MAX 4u

/* Parameters of the operation: values alone, of which only the length of a PSS salt means anything. */
static bool get_salt(const struct lb_guest *g, const struct lb_call *call, const struct tee_ready *r, int *salt)
{
    struct tee_attribute list[ATTRIBUTES_MAX];
    uint64_t count = call->arg[2];

    *salt = (int)r->digest;
    if (count > ATTRIBUTES_MAX || (count && !r->rsa))
        return false;
    if (count && tee_user_get(g, list, call->arg[1], count * sizeof(*list), TEE_ACCESS_ANY_OWNER))
        return false;
    for (uint64_t i = count; i--;) { /* backwards: the first one counts */
        if (!(list[i].id & TEE_ATTR_FLAG_VALUE))
            return false;
        if (list[i].id == TEE_ATTR_RSA_PSS_SALT_LENGTH)
            *salt = (uint32_t)list[i].a < INT32_MAX ? (int)(uint32_t)list[i].a : (int)r->digest;
    }
    return true;
}

static bool get_digest(const struct lb_guest *g, const struct lb_call *call, const struct tee_ready *r,
                       uint8_t digest[TEE_DIGEST_MAX], struct tee_span *span)
{
    *span = (struct tee_span){digest, call->arg[4]};
    return span->size && span->size <= TEE_DIGEST_MAX && (!r->digest || span->size == r->digest) &&
           !tee_user_get(g, digest, call->arg[3], span->size, TEE_ACCESS_ANY_OWNER);
}

/*
 * asymm_operate(unsigned long state, const struct utee_attribute *params, unsigned long num_params,
 *               const void *src_data, size_t src_len, void *dst_data, uint64_t *dst_len)
 */
enum lb_verdict tee_call_asymm_operate(const struct lb_guest *g, struct lb_call *call, void *owner)
{
    struct tee_ready *r = tee_ready_of(owner, call->arg[0], TEE_USE_SIGN);
    uint8_t digest[TEE_DIGEST_MAX], sig[TEE_NUMBER_MAX];
    struct tee_span span;
    uint64_t room = 0;
    int salt;

    if (!r || tee_ready_length(r) > sizeof(sig) || !get_salt(g, call, r, &salt) || !get_digest(g, call, r, digest, &span))
        return LB_ASK;
    if (!tee_output(g, call->arg[5], call->arg[6], &room) || room < tee_ready_length(r))
        return LB_ASK;
    if (tee_ready_sign(r, span, salt, sig))
        return LB_ASK;
    return tee_done(call, tee_deliver(g, call->arg[5], call->arg[6], sig, tee_ready_length(r)));
}

/*
 * asymm_verify(unsigned long state, const struct utee_attribute *params, unsigned long num_params,
 *              const void *data, size_t data_len, const void *sig, size_t sig_len)
 */
enum lb_verdict tee_call_asymm_verify(const struct lb_guest *g, struct lb_call *call, void *owner)
{
    struct tee_ready *r = tee_ready_of(owner, call->arg[0], TEE_USE_VERIFY);
    uint8_t digest[TEE_DIGEST_MAX], sig[TEE_NUMBER_MAX];
    struct tee_span span, signature = {sig, call->arg[6]};
    int salt;

    if (!r || signature.size > sizeof(sig) || signature.size != tee_ready_length(r) || !get_salt(g, call, r, &salt) ||
        !get_digest(g, call, r, digest, &span))
        return LB_ASK;
    if (tee_user_get(g, sig, call->arg[5], signature.size, TEE_ACCESS_ANY_OWNER))
        return LB_ASK;
    return tee_done(call, tee_ready_verify(r, span, salt, signature));
}
