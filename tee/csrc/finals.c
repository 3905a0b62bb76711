/* SPDX-License-Identifier: MIT */
/*
 * The calls that end an operation, as far as nothing is unusual about them: whatever would be refused is left to
 * Python, which knows what to answer. Also what every call that turns a source into as many bytes has in common.
 * Source: optee_os 4.5 core/tee/tee_svc_cryp.c, syscall_hash_final, syscall_authenc_enc_final.
 */
#include "calls.h"

uint32_t tee_check_transfer(const struct lb_guest *g, const struct lb_call *call, bool may_lack_size,
                            struct tee_transfer *x)
{
    uint32_t rc;

    *x = (struct tee_transfer){.src_va = call->arg[1], .src_size = call->arg[2], .dst_va = call->arg[3],
                               .size_va = call->arg[4]};
    rc = tee_user_check(g, x->src_va, x->src_size, TEE_READ);
    if (rc)
        return rc;
    if (x->size_va || !may_lack_size) {
        rc = tee_user_get(g, &x->room, x->size_va, sizeof(x->room), TEE_ACCESS_ANY_OWNER);
        if (!rc)
            rc = tee_user_check(g, x->dst_va, x->room, TEE_READ_WRITE);
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

enum lb_verdict tee_end_transfer(const struct lb_guest *g, struct lb_call *call, const struct tee_transfer *x,
                                 uint32_t rc)
{
    uint32_t rc2 = TEE_SUCCESS;

    if ((!rc || rc == TEE_ERROR_SHORT_BUFFER) && x->size_va)
        rc2 = tee_user_put(g, x->size_va, &x->src_size, sizeof(x->src_size), TEE_ACCESS_ANY_OWNER);
    return tee_done(call, rc2 ? rc2 : rc);
}

bool tee_output(const struct lb_guest *g, uint64_t va, uint64_t size_va, uint64_t *room)
{
    return !tee_user_get(g, room, size_va, sizeof(*room), TEE_ACCESS_ANY_OWNER) &&
           !tee_user_check(g, va, *room, TEE_READ_WRITE);
}

uint32_t tee_deliver(const struct lb_guest *g, uint64_t va, uint64_t size_va, const uint8_t *data, uint64_t size)
{
    uint32_t rc = tee_user_put(g, va, data, size, TEE_ACCESS_ANY_OWNER);

    return rc ? rc : tee_user_put(g, size_va, &size, sizeof(size), TEE_ACCESS_ANY_OWNER);
}

/* hash_final(unsigned long state, const void *chunk, size_t chunk_size, void *hash, uint64_t *hash_len) */
enum lb_verdict tee_call_hash_final(const struct lb_guest *g, struct lb_call *call, void *owner)
{
    struct tee_state *s = tee_task_find(owner, call->arg[0]);
    uint64_t va = call->arg[1], size = call->arg[2], hash = call->arg[3], size_va = call->arg[4], room = 0;
    uint8_t out[EVP_MAX_MD_SIZE];
    uint32_t rc;

    if (!s || s->phase != TEE_PHASE_ACTIVE || !s->algo || s->algo->kind == TEE_KIND_XOF ||
        s->algo->kind < TEE_KIND_DIGEST || s->algo->kind > TEE_KIND_CBC_MAC || (!va && size))
        return LB_ASK;
    if (tee_user_check(g, va, size, TEE_READ) || !tee_output(g, hash, size_va, &room) || room < s->algo->digest_size)
        return LB_ASK;
    room = sizeof(out);
    rc = tee_feed(g, s, va, size, tee_hash_update);
    if (!rc)
        rc = tee_hash_final(s, NULL, 0, out, &room);
    if (!rc)
        rc = tee_deliver(g, hash, size_va, out, room);
    return tee_done(call, rc);
}

/*
 * authenc_enc_final(unsigned long state, const void *src, size_t src_len, void *dst, uint64_t *dst_len, void *tag,
 *                   uint64_t *tag_len)
 */
enum lb_verdict tee_call_ae_enc_final(const struct lb_guest *g, struct lb_call *call, void *owner)
{
    struct tee_state *s = tee_task_find(owner, call->arg[0]);
    uint64_t tag_va = call->arg[5], size_va = call->arg[6], room = 0;
    uint8_t tag[TEE_BLOCK_MAX];
    struct tee_transfer x;
    uint32_t rc;

    if (!s || s->phase != TEE_PHASE_ACTIVE || s->mode != TEE_MODE_ENCRYPT || tee_algo_class(s->id) != TEE_CLASS_AE)
        return LB_ASK;
    if (tee_check_transfer(g, call, true, &x) || (x.src_size && !x.src) || !tee_output(g, tag_va, size_va, &room) ||
        room < s->tag_size)
        return LB_ASK;
    room = sizeof(tag);
    rc = tee_ae_enc_final(s, x.src, x.src_size, x.dst, tag, &room);
    if (!rc)
        rc = tee_deliver(g, tag_va, size_va, tag, room);
    return tee_end_transfer(g, call, &x, rc);
}
