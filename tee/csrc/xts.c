/* SPDX-License-Identifier: MIT */
/*
 * XTS (IEEE 1619) over ECB with the tweak kept across calls. libcrypto's own XTS restarts the
 * tweak at each call, refuses equal key halves and has no 192-bit keys; OP-TEE does neither.
 */
#include <openssl/crypto.h>
#include <string.h>

#include "parts.h"

#define BLOCK 16u

/* Multiply by x in GF(2^128), little-endian. */
static void next_tweak(uint8_t t[BLOCK])
{
    uint64_t lo, hi, carry;

    memcpy(&lo, t, 8);
    memcpy(&hi, t + 8, 8);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    lo = __builtin_bswap64(lo);
    hi = __builtin_bswap64(hi);
#endif
    carry = hi >> 63;
    hi = hi << 1 | lo >> 63;
    lo = lo << 1 ^ carry * 0x87;
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    lo = __builtin_bswap64(lo);
    hi = __builtin_bswap64(hi);
#endif
    memcpy(t, &lo, 8);
    memcpy(t + 8, &hi, 8);
}

uint32_t tee_xts_init(struct tee_state *s, const uint8_t *key1, size_t size1, const uint8_t *key2, size_t size2,
                      const uint8_t *iv)
{
    uint32_t rc;

    if (size1 != size2)
        return s->algo->family == TEE_SM4 ? TEE_ERROR_BAD_STATE : TEE_ERROR_BAD_PARAMETERS;
    rc = tee_rekey(&s->data, s->algo, TEE_ECB, key1, size1, NULL, s->mode == TEE_MODE_ENCRYPT);
    if (!rc)
        rc = tee_rekey(&s->extra, s->algo, TEE_ECB, key2, size2, NULL, 1);
    if (!rc && !tee_run(s->extra, iv, BLOCK, s->block))
        rc = TEE_ERROR_BAD_STATE;
    return rc;
}

static bool whole_blocks(struct tee_state *s, const uint8_t *src, size_t size, uint8_t *dst)
{
    uint8_t tweaks[TEE_PIECE], work[TEE_PIECE];
    bool ok = true;

    while (size && ok) {
        size_t n = size < TEE_PIECE ? size : TEE_PIECE;

        for (size_t at = 0; at < n; at += BLOCK) {
            memcpy(tweaks + at, s->block, BLOCK);
            next_tweak(s->block);
        }
        memcpy(work, src, n);
        tee_xor(work, tweaks, n);
        ok = tee_run(s->data, work, n, work);
        tee_xor(work, tweaks, n);
        memcpy(dst, work, n);
        src += n;
        dst += n;
        size -= n;
    }
    OPENSSL_cleanse(work, sizeof(work));
    return ok;
}

static bool one_block(struct tee_state *s, const uint8_t *tweak, uint8_t block[BLOCK])
{
    tee_xor(block, tweak, BLOCK);
    if (!tee_run(s->data, block, BLOCK, block))
        return false;
    tee_xor(block, tweak, BLOCK);
    return true;
}

/* The last whole block and `rest` (1..15) bytes after it: cipher text stealing. */
static bool stealing(struct tee_state *s, const uint8_t *src, size_t rest, uint8_t *dst)
{
    bool encrypt = s->mode == TEE_MODE_ENCRYPT;
    uint8_t now[BLOCK], then[BLOCK], whole[BLOCK], tail[BLOCK];

    memcpy(now, s->block, BLOCK);
    next_tweak(s->block);
    memcpy(then, s->block, BLOCK);
    next_tweak(s->block);
    memcpy(whole, src, BLOCK);
    memcpy(tail, src + BLOCK, rest);
    if (!one_block(s, encrypt ? now : then, whole))
        return false;
    memcpy(tail + rest, whole + rest, BLOCK - rest);
    if (!one_block(s, encrypt ? then : now, tail))
        return false;
    memcpy(dst, tail, BLOCK);
    memcpy(dst + BLOCK, whole, rest);
    return true;
}

uint32_t tee_xts_update(struct tee_state *s, const uint8_t *src, size_t size, uint8_t *dst)
{
    size_t rest = size % BLOCK;
    size_t whole = size - rest;

    if (!whole)
        return TEE_ERROR_BAD_STATE;
    if (rest)
        whole -= BLOCK;
    if (!whole_blocks(s, src, whole, dst))
        return TEE_ERROR_BAD_STATE;
    if (rest && !stealing(s, src + whole, rest, dst + whole))
        return TEE_ERROR_BAD_STATE;
    return TEE_SUCCESS;
}
