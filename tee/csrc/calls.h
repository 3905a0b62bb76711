/* SPDX-License-Identifier: MIT */
/* What the files that serve system calls share. */
#ifndef TEE_CALLS_H
#define TEE_CALLS_H

#include "task.h"
#include "user.h"

#define TEE_READ (TEE_ACCESS_READ | TEE_ACCESS_ANY_OWNER)
#define TEE_READ_WRITE (TEE_ACCESS_READ | TEE_ACCESS_WRITE | TEE_ACCESS_ANY_OWNER)

static inline enum lb_verdict tee_done(struct lb_call *call, uint32_t result)
{
    call->result = result;
    return LB_DONE;
}

typedef uint32_t (*tee_feed_fn)(struct tee_state *s, const uint8_t *data, size_t size);

/* [va, va+size) is readable: feed it to `s`, run by run. */
uint32_t tee_feed(const struct lb_guest *g, struct tee_state *s, uint64_t va, uint64_t size, tee_feed_fn fn);

struct tee_transfer {
    uint64_t src_va, src_size, dst_va, size_va;
    uint64_t room;
    uint8_t *src, *dst;
};

/*
 * The common walk of calls that turn a source into as many bytes:
 * (unsigned long state, const void *src, size_t src_len, void *dst, uint64_t *dst_len, ...).
 * SUCCESS with src NULL: the memory is allowed but not contiguous.
 */
uint32_t tee_check_transfer(const struct lb_guest *g, const struct lb_call *call, bool may_lack_size,
                            struct tee_transfer *x);
enum lb_verdict tee_end_transfer(const struct lb_guest *g, struct lb_call *call, const struct tee_transfer *x,
                                 uint32_t rc);

/* finals.c: [va, va+*room) may be written, and its size is at size_va. */
bool tee_output(const struct lb_guest *g, uint64_t va, uint64_t size_va, uint64_t *room);
uint32_t tee_deliver(const struct lb_guest *g, uint64_t va, uint64_t size_va, const uint8_t *data, uint64_t size);

enum lb_verdict tee_call_hash_final(const struct lb_guest *g, struct lb_call *call, void *owner);
enum lb_verdict tee_call_ae_enc_final(const struct lb_guest *g, struct lb_call *call, void *owner);

/* asymcalls.c */
enum lb_verdict tee_call_asymm_operate(const struct lb_guest *g, struct lb_call *call, void *owner);
enum lb_verdict tee_call_asymm_verify(const struct lb_guest *g, struct lb_call *call, void *owner);

/* objcalls.c */
enum lb_verdict tee_call_derive_key(const struct lb_guest *g, struct lb_call *call, void *owner);
enum lb_verdict tee_call_obj_get_info(const struct lb_guest *g, struct lb_call *call, void *owner);
enum lb_verdict tee_call_obj_get_attr(const struct lb_guest *g, struct lb_call *call, void *owner);
enum lb_verdict tee_call_obj_reset(const struct lb_guest *g, struct lb_call *call, void *owner);

#endif
