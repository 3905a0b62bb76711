/* SPDX-License-Identifier: MIT */
/*
 * One cryptographic operation (`struct tee_cryp_state` of OP-TEE), streaming and copyable.
 *
 * Every function answers a TEE_Result. A state belongs to its task and is used by one thread at a
 * time. Source and destination may be the same buffer; they may also be memory that a hostile
 * normal world changes meanwhile, so nothing read from them decides about memory.
 */
#ifndef TEE_STATE_H
#define TEE_STATE_H

#include "algo.h"
#include "keccak.h"

enum tee_phase {
    TEE_PHASE_NEW = 0, /* not initialised */
    TEE_PHASE_ACTIVE,
    TEE_PHASE_EXTRACT, /* a XOF that has given output: takes no more input */
    TEE_PHASE_FINAL,
};

struct tee_ready; /* ready.h */
struct tee_task;  /* task.h */

/* Bytes between two looks at whether the guest is to end: 1 to 40 ms. */
#define TEE_LOOK (1u << 20)

struct tee_state {
    const struct tee_algo *algo; /* NULL when opaque */
    const struct tee_task *task; /* whose it is; NULL: nobody's */
    uint32_t id;
    uint32_t mode;
    uint8_t phase;
    EVP_MD_CTX *md;
    EVP_MAC_CTX *mac;
    EVP_CIPHER_CTX *data;  /* the cipher that data goes through */
    EVP_CIPHER_CTX *extra; /* CBC-MAC of CCM; the ECB twin of CTS */
    uint8_t block[TEE_BLOCK_MAX]; /* CBC-MAC, CCM: input not yet MACed; XTS: next tweak */
    uint8_t mac_now[TEE_BLOCK_MAX]; /* CBC-MAC, CCM: last cipher block */
    uint8_t mask[TEE_BLOCK_MAX]; /* CCM: what hides the tag */
    size_t fill;           /* bytes in block */
    bool computed;         /* CBC-MAC: at least one block done */
    size_t tag_size;
    uint64_t aad_size, aad_done, payload_size, payload_done; /* declared (CCM), seen */
    struct tee_keccak sponge; /* XOF */
    struct tee_ready *ready; /* the key of an asymmetric operation, once it was used */
};

uint32_t tee_state_new(uint32_t algo, uint32_t mode, struct tee_state **out);
void tee_state_free(struct tee_state *s);
void tee_state_reset(struct tee_state *s);
uint32_t tee_state_copy(struct tee_state *dst, const struct tee_state *src);

/* Digests and MACs. final: *out_size is the room, then what was written or is needed. */
uint32_t tee_hash_init(struct tee_state *s, const uint8_t *key, size_t size);
uint32_t tee_hash_update(struct tee_state *s, const uint8_t *data, size_t size);
uint32_t tee_hash_final(struct tee_state *s, const uint8_t *data, size_t size, uint8_t *out, uint64_t *out_size);

/* Ciphers: as many bytes come out as go in. */
uint32_t tee_cipher_init(struct tee_state *s, const uint8_t *key1, size_t size1, const uint8_t *key2, size_t size2,
                         const uint8_t *iv, size_t iv_size);
uint32_t tee_cipher_update(struct tee_state *s, bool last, const uint8_t *src, size_t size, uint8_t *dst);

/* Authenticated encryption. */
uint32_t tee_ae_init(struct tee_state *s, const uint8_t *key, size_t key_size, const uint8_t *nonce,
                     size_t nonce_size, size_t tag_size, uint64_t aad_size, uint64_t payload_size);
uint32_t tee_ae_aad(struct tee_state *s, const uint8_t *data, size_t size);
uint32_t tee_ae_update(struct tee_state *s, const uint8_t *src, size_t size, uint8_t *dst);
uint32_t tee_ae_enc_final(struct tee_state *s, const uint8_t *src, size_t size, uint8_t *dst, uint8_t *tag,
                          uint64_t *tag_size);
uint32_t tee_ae_dec_final(struct tee_state *s, const uint8_t *src, size_t size, uint8_t *dst, const uint8_t *tag,
                          size_t tag_size);

#endif
