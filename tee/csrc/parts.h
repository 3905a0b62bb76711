/* SPDX-License-Identifier: MIT */
/* What the files behind state.h share. */
#ifndef TEE_PARTS_H
#define TEE_PARTS_H

#include <string.h>

#include "state.h"

/* Pieces that composed modes work through: small enough for the stack and the cache. */
#define TEE_PIECE 4096u

/* EVP takes int lengths. A multiple of every block size. */
#define TEE_EVP_MAX (1u << 30)

/* (Re)key *ctx, made on first use. encrypt: 1, 0. BAD_STATE for a key length that fits no cipher. */
uint32_t tee_rekey(EVP_CIPHER_CTX **ctx, const struct tee_algo *algo, enum tee_chain chain, const uint8_t *key,
                   size_t key_size, const uint8_t *iv, int encrypt);

/* Run `size` bytes (any; whole blocks for block modes) through ctx. dst NULL: AAD of GCM. */
bool tee_run(EVP_CIPHER_CTX *ctx, const uint8_t *src, size_t size, uint8_t *dst);

static inline void tee_xor(uint8_t *dst, const uint8_t *src, size_t size)
{
    uint64_t a, b;

    for (; size >= 8; size -= 8, dst += 8, src += 8) {
        memcpy(&a, dst, 8);
        memcpy(&b, src, 8);
        a ^= b;
        memcpy(dst, &a, 8);
    }
    while (size--)
        *dst++ ^= *src++;
}

/* CBC-MAC over a stream; `ctx` is a CBC encryption with zero IV (or CCM's state so far). */
uint32_t tee_cbc_mac_feed(struct tee_state *s, EVP_CIPHER_CTX *ctx, const uint8_t *data, size_t size);
uint32_t tee_cbc_mac_init(struct tee_state *s, const uint8_t *key, size_t size);
uint32_t tee_cbc_mac_final(struct tee_state *s, uint8_t *out);

uint32_t tee_xts_init(struct tee_state *s, const uint8_t *key1, size_t size1, const uint8_t *key2, size_t size2,
                      const uint8_t *iv);
uint32_t tee_xts_update(struct tee_state *s, const uint8_t *src, size_t size, uint8_t *dst);
uint32_t tee_cts_last(struct tee_state *s, const uint8_t *src, size_t size, uint8_t *dst);

/* AES-GCM: a nonce of 16 octets that means the same as `nonce`, of any size. */
uint32_t tee_gcm_one_block_nonce(const uint8_t *key, size_t key_size, const uint8_t *nonce, size_t size,
                                 uint8_t out[16]);

uint32_t tee_ccm_init(struct tee_state *s, const uint8_t *key, size_t key_size, const uint8_t *nonce,
                      size_t nonce_size);
uint32_t tee_ccm_aad(struct tee_state *s, const uint8_t *data, size_t size);
uint32_t tee_ccm_update(struct tee_state *s, const uint8_t *src, size_t size, uint8_t *dst);
uint32_t tee_ccm_tag(struct tee_state *s, uint8_t tag[TEE_BLOCK_MAX]);

#endif
