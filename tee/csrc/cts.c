/* SPDX-License-Identifier: MIT */
/*
 * The end of AES-CTS, which GP defines as CBC-CS3 (NIST SP 800-38A addendum): the last two blocks
 * are swapped, always, also when the last one is whole. libcrypto's CTS takes one update only.
 */
#include <openssl/crypto.h>
#include <string.h>

#include "parts.h"

#define BLOCK 16u

/* tail: the last `n` bytes (1..16) after a whole block; both given, both answered. */
static bool encrypt_pair(struct tee_state *s, const uint8_t pair[2 * BLOCK], size_t n, uint8_t *dst)
{
    uint8_t padded[BLOCK] = {0}, first[BLOCK], second[BLOCK];

    memcpy(padded, pair + BLOCK, n);
    if (!tee_run(s->data, pair, BLOCK, first) || !tee_run(s->data, padded, BLOCK, second))
        return false;
    memcpy(dst, second, BLOCK);
    memcpy(dst + BLOCK, first, n);
    return true;
}

static bool decrypt_pair(struct tee_state *s, const uint8_t pair[2 * BLOCK], size_t n, uint8_t *dst)
{
    uint8_t stolen[BLOCK], first[BLOCK], second[BLOCK];

    if (!tee_run(s->extra, pair, BLOCK, stolen)) /* the padding's cipher text hides in it */
        return false;
    memcpy(stolen, pair + BLOCK, n);
    if (!tee_run(s->data, stolen, BLOCK, first) || !tee_run(s->data, pair, BLOCK, second))
        return false;
    memcpy(dst, first, BLOCK);
    memcpy(dst + BLOCK, second, n);
    return true;
}

uint32_t tee_cts_last(struct tee_state *s, const uint8_t *src, size_t size, uint8_t *dst)
{
    size_t blocks = (size - 1) / BLOCK + 1;
    size_t head, n;
    uint8_t pair[2 * BLOCK];
    bool ok;

    if (blocks < 2)
        return TEE_ERROR_BAD_STATE;
    head = (blocks - 2) * BLOCK;
    n = size - head - BLOCK;
    memcpy(pair, src + head, BLOCK + n); /* before the head is written: dst may be src */
    ok = tee_run(s->data, src, head, dst) && (s->mode == TEE_MODE_ENCRYPT ? encrypt_pair(s, pair, n, dst + head)
                                                                         : decrypt_pair(s, pair, n, dst + head));
    OPENSSL_cleanse(pair, sizeof(pair));
    return ok ? TEE_SUCCESS : TEE_ERROR_BAD_STATE;
}
