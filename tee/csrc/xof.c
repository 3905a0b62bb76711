/* SPDX-License-Identifier: MIT */
/*
 * SHAKE with repeated extraction.
 *
 * EVP_DigestFinalXOF may be called once: a second call returns wrong bytes with a return code of 1
 * (libcrypto < 3.3 has no squeeze). So the absorbing context is kept as it is; output comes of a
 * copy of it, squeezed from the start each time, with twice as much as was asked so that a long
 * run of small extractions costs a constant factor.
 */
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "parts.h"

#define XOF_MAX (UINT64_C(64) << 20) /* output of one state, bytes; it is all held while squeezing */
#define XOF_AHEAD 512u

static bool squeeze(const EVP_MD_CTX *absorbed, uint8_t *out, size_t size)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok = ctx && EVP_MD_CTX_copy_ex(ctx, absorbed) == 1 && EVP_DigestFinalXOF(ctx, out, size) == 1;

    EVP_MD_CTX_free(ctx);
    return ok;
}

void tee_xof_drop(struct tee_state *s)
{
    if (s->ahead)
        OPENSSL_cleanse(s->ahead, s->ahead_size);
    free(s->ahead);
    s->ahead = NULL;
    s->ahead_size = s->ahead_at = 0;
}

/* Make ahead[ahead_at...] start at byte `extracted` of the output and hold `size` bytes of it. */
static uint32_t refill(struct tee_state *s, size_t size)
{
    size_t whole = (s->extracted + size) * 2 + XOF_AHEAD;
    uint8_t *all = malloc(whole);

    if (!all)
        return TEE_ERROR_OUT_OF_MEMORY;
    tee_xof_drop(s);
    s->ahead = all;
    s->ahead_size = whole;
    s->ahead_at = s->extracted;
    if (squeeze(s->md, all, whole))
        return TEE_SUCCESS;
    tee_xof_drop(s);
    return TEE_ERROR_BAD_STATE;
}

uint32_t tee_xof_final(struct tee_state *s, uint8_t *out, size_t size)
{
    uint32_t rc;

    if (!size)
        return TEE_SUCCESS;
    if (size > XOF_MAX || s->extracted + size > XOF_MAX)
        return TEE_ERROR_OUT_OF_MEMORY;
    if (!s->extracted) { /* the usual single extraction needs no buffer */
        if (!squeeze(s->md, out, size))
            return TEE_ERROR_BAD_STATE;
        s->extracted = size;
        return TEE_SUCCESS;
    }
    if (s->ahead_size - s->ahead_at < size) {
        rc = refill(s, size);
        if (rc)
            return rc;
    }
    memcpy(out, s->ahead + s->ahead_at, size);
    s->ahead_at += size;
    s->extracted += size;
    return TEE_SUCCESS;
}
