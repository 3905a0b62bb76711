/* SPDX-License-Identifier: MIT */
/*
 * Agreements of keys into a parked object, and the calls that TEE_DeriveKey() and its callers make around them. Python
 * answers whatever is unusual, after it took the object back: nothing was changed then.
 * Source: optee_os 4.5 core/tee/tee_svc_cryp.c, syscall_cryp_derive_key, syscall_cryp_obj_{get_info,get_attr,reset}.
 */
#include <openssl/crypto.h>
#include <string.h>

#include "calls.h"
#include "parked.h"
#include "ready.h"

/* A coordinate of the peer's point, which attribute `a` refers to. */
static bool get_number(const struct lb_guest *g, const struct tee_attribute *a, uint32_t id, uint8_t out[TEE_POINT_MAX],
                       struct tee_span *span)
{
    *span = (struct tee_span){out, a->b};
    return a->id == id && a->b && a->b <= TEE_POINT_MAX && !tee_user_get(g, out, a->a, a->b, TEE_ACCESS_ANY_OWNER);
}

/* cryp_derive_key(unsigned long state, const struct utee_attribute *params, unsigned long count, unsigned long obj) */
enum lb_verdict tee_call_derive_key(const struct lb_guest *g, struct lb_call *call, void *owner)
{
    struct tee_ready *r = tee_ready_of(owner, call->arg[0], TEE_USE_AGREE);
    struct tee_parked *p = tee_parked_find(owner, call->arg[3]);
    uint8_t x[TEE_POINT_MAX], y[TEE_POINT_MAX], secret[TEE_POINT_MAX];
    struct tee_attribute list[2];
    struct tee_span sx, sy;

    if (!r || !p || call->arg[2] != 2 || r->size > p->room ||
        tee_user_get(g, list, call->arg[1], sizeof(list), TEE_ACCESS_ANY_OWNER) ||
        !get_number(g, &list[0], TEE_ATTR_ECC_PUBLIC_VALUE_X, x, &sx) ||
        !get_number(g, &list[1], TEE_ATTR_ECC_PUBLIC_VALUE_Y, y, &sy) || tee_ready_agree(r, sx, sy, secret))
        return LB_ASK;
    memcpy(p->secret, secret, r->size);
    OPENSSL_cleanse(secret, sizeof(secret));
    p->size = r->size;
    p->info.flags |= TEE_HANDLE_FLAG_INITIALIZED;
    return tee_done(call, TEE_SUCCESS);
}

/* cryp_obj_get_info(unsigned long obj, struct utee_object_info *info) */
enum lb_verdict tee_call_obj_get_info(const struct lb_guest *g, struct lb_call *call, void *owner)
{
    struct tee_parked *p = tee_parked_find(owner, call->arg[0]);

    if (!p || tee_user_put(g, call->arg[1], &p->info, sizeof(p->info), TEE_ACCESS_ANY_OWNER))
        return LB_ASK;
    return tee_done(call, TEE_SUCCESS);
}

/* cryp_obj_get_attr(unsigned long obj, unsigned long attr_id, void *buffer, uint64_t *size) */
enum lb_verdict tee_call_obj_get_attr(const struct lb_guest *g, struct lb_call *call, void *owner)
{
    struct tee_parked *p = tee_parked_find(owner, call->arg[0]);
    uint64_t room = 0;

    if (!p || (uint32_t)call->arg[1] != TEE_ATTR_SECRET_VALUE || !(p->info.flags & TEE_HANDLE_FLAG_INITIALIZED) ||
        !(p->info.usage & TEE_USAGE_EXTRACTABLE) || !call->arg[2] ||
        !tee_output(g, call->arg[2], call->arg[3], &room) || room < p->size)
        return LB_ASK;
    return tee_done(call, tee_deliver(g, call->arg[2], call->arg[3], p->secret, p->size));
}

/* cryp_obj_reset(unsigned long obj) */
enum lb_verdict tee_call_obj_reset(const struct lb_guest *g, struct lb_call *call, void *owner)
{
    struct tee_parked *p = tee_parked_find(owner, call->arg[0]);

    (void)g;
    if (!p)
        return LB_ASK;
    OPENSSL_cleanse(p->secret, sizeof(p->secret));
    p->size = 0;
    p->info.size = 0;
    p->info.usage = TEE_USAGE_DEFAULT;
    p->info.flags &= ~TEE_HANDLE_FLAG_INITIALIZED;
    return tee_done(call, TEE_SUCCESS);
}
