/* SPDX-License-Identifier: MIT */
/* CBC-MAC (ISO/IEC 9797-1 MAC algorithm 1): the last block of a CBC encryption with zero IV. */
#include <openssl/crypto.h>
#include <string.h>

#include "parts.h"

static bool through(struct tee_state *s, EVP_CIPHER_CTX *ctx, const uint8_t *data, size_t size)
{
    uint8_t out[TEE_PIECE];
    size_t block = s->algo->block;

    while (size) {
        size_t n = size < sizeof(out) ? size : sizeof(out);

        if (!tee_run(ctx, data, n, out))
            return false;
        memcpy(s->mac_now, out + n - block, block);
        s->computed = true;
        data += n;
        size -= n;
    }
    return true;
}

uint32_t tee_cbc_mac_feed(struct tee_state *s, EVP_CIPHER_CTX *ctx, const uint8_t *data, size_t size)
{
    size_t block = s->algo->block;
    size_t whole;

    if (s->fill) {
        size_t n = block - s->fill < size ? block - s->fill : size;

        memcpy(s->block + s->fill, data, n);
        s->fill += n;
        data += n;
        size -= n;
        if (s->fill < block)
            return TEE_SUCCESS;
        s->fill = 0;
        if (!through(s, ctx, s->block, block))
            return TEE_ERROR_BAD_STATE;
    }
    whole = size - size % block;
    if (!through(s, ctx, data, whole))
        return TEE_ERROR_BAD_STATE;
    memcpy(s->block, data + whole, size - whole);
    s->fill = size - whole;
    return TEE_SUCCESS;
}

uint32_t tee_cbc_mac_init(struct tee_state *s, const uint8_t *key, size_t size)
{
    static const uint8_t zero[TEE_BLOCK_MAX];

    s->fill = 0;
    s->computed = false;
    return tee_rekey(&s->data, s->algo, TEE_CBC, key, size, zero, 1);
}

uint32_t tee_cbc_mac_final(struct tee_state *s, uint8_t *out)
{
    size_t block = s->algo->block;

    if (s->algo->pkcs5) {
        memset(s->block + s->fill, (int)(block - s->fill), block - s->fill);
        s->fill = 0;
        if (!through(s, s->data, s->block, block))
            return TEE_ERROR_BAD_STATE;
    }
    if (!s->computed || s->fill)
        return TEE_ERROR_BAD_STATE;
    memcpy(out, s->mac_now, block);
    return TEE_SUCCESS;
}
