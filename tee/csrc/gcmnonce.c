/* SPDX-License-Identifier: MIT */
/*
 * AES-GCM nonces of lengths that libcrypto does not take: none, and more than 128 octets. OP-TEE takes any.
 *
 * GCM turns every nonce that has not 96 bits into a first counter block J0 = GHASH(nonce, its length). GHASH is a
 * polynomial over GF(2^128) whose coefficients are the blocks, so that a nonce of one block can be solved for which has
 * the same J0; libcrypto is given that one. Source: NIST SP 800-38D sections 6.3 (product), 6.4 (GHASH), 7.1 (J0).
 */
#include <endian.h>
#include <openssl/crypto.h>
#include <string.h>

#include "parts.h"

#define BITS 8u

/* Bit 0, the coefficient of 1, is the highest of `high`. */
struct element {
    uint64_t high, low;
};

static struct element sum(struct element a, struct element b)
{
    return (struct element){a.high ^ b.high, a.low ^ b.low};
}

/* In the same time for every value: one of them is the hash key. */
static struct element product(struct element a, struct element b)
{
    struct element out = {0, 0};

    for (unsigned i = 0; i < 128; i++) {
        uint64_t set = -((i < 64 ? a.high >> (63 - i) : a.low >> (127 - i)) & 1);
        uint64_t carry = -(b.low & 1);

        out.high ^= b.high & set;
        out.low ^= b.low & set;
        b.low = b.low >> 1 | b.high << 63;
        b.high = b.high >> 1 ^ (carry & UINT64_C(0xE100000000000000)); /* x^128 = x^7 + x^2 + x + 1 */
    }
    return out;
}

/* a^(2^128 - 2); 0 of 0 */
static struct element inverse(struct element a)
{
    struct element power = product(a, a), out = power;

    for (unsigned i = 2; i < 128; i++) {
        power = product(power, power);
        out = product(out, power);
    }
    return out;
}

static struct element load(const uint8_t block[16])
{
    struct element e;

    memcpy(&e, block, sizeof(e));
    return (struct element){be64toh(e.high), be64toh(e.low)};
}

static struct element length(uint64_t octets)
{
    return (struct element){0, octets * BITS};
}

static struct element first_counter(struct element h, const uint8_t *nonce, size_t size)
{
    struct element hash = {0, 0};
    uint64_t whole = size;

    for (; size; nonce += 16, size -= 16) {
        uint8_t block[16] = {0};

        memcpy(block, nonce, size < sizeof(block) ? size : sizeof(block));
        hash = product(sum(hash, load(block)), h);
        if (size <= sizeof(block))
            break;
    }
    return product(sum(hash, length(whole)), h);
}

uint32_t tee_gcm_one_block_nonce(const uint8_t *key, size_t key_size, const uint8_t *nonce, size_t size,
                                 uint8_t out[16])
{
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    uint8_t block[16] = {0};
    struct element h, back, found;
    int done = 0;
    bool ok = ctx && EVP_CipherInit_ex2(ctx, tee_fetch_cipher(TEE_AES, TEE_ECB, key_size), key, NULL, 1, NULL) == 1 &&
              EVP_CIPHER_CTX_set_padding(ctx, 0) == 1 && EVP_CipherUpdate(ctx, block, &done, block, 16) == 1;

    EVP_CIPHER_CTX_free(ctx);
    if (!ok)
        return ctx ? TEE_ERROR_BAD_STATE : TEE_ERROR_OUT_OF_MEMORY;
    h = load(block);
    back = inverse(h);
    if (!(h.high | h.low)) /* one key in 2^128 hashes everything to 0 */
        return TEE_ERROR_GENERIC;
    found = product(sum(product(first_counter(h, nonce, size), back), length(16)), back);
    found = (struct element){htobe64(found.high), htobe64(found.low)};
    memcpy(out, &found, sizeof(found));
    OPENSSL_cleanse(block, sizeof(block));
    OPENSSL_cleanse(&h, sizeof(h));
    OPENSSL_cleanse(&back, sizeof(back));
    return TEE_SUCCESS;
}
