/* SPDX-License-Identifier: MIT */
/*
 * A key made ready for one use: what libcrypto sets up once, for any number of operations with it.
 *
 * Its owner is the operation whose key it was made of (`struct tee_state`); a lone operation of Python makes one
 * and frees it. One thread at a time. Answers are those of optee_os 4.5 core/lib/libtomcrypt/{rsa,ecc}.c.
 */
#ifndef TEE_READY_H
#define TEE_READY_H

#include "asym.h"

#define TEE_DIGEST_MAX 64u /* octets that are signed; TEE_MAX_HASH_SIZE */

enum tee_use { TEE_USE_SIGN, TEE_USE_VERIFY, TEE_USE_AGREE };

struct tee_task;

struct tee_ready {
    EVP_PKEY_CTX *ctx; /* of signatures; it holds the key */
    uint8_t use;       /* enum tee_use */
    bool rsa;
    bool pss;
    bool sm2;
    int salt;      /* PSS, octets: what ctx is set to */
    bool own;          /* verification: powers are computed with n and e, ctx has the exponent 1 */
    BIGNUM *n, *e;     /* of a verification that libcrypto does not do all of, NULL: it does */
    size_t digest; /* octets that must be signed; 0: any number */
    size_t size;   /* octets of an RSA signature, or of a coordinate: a curve's signatures have two such halves */
    EC_GROUP *group; /* of agreements, as the rest */
    BIGNUM *d;
    EC_POINT *peer;
    BN_CTX *scratch;
};

/* A TEE_Result; *out is NULL unless it is SUCCESS, else the caller's: tee_ready_free, which wipes it. */
uint32_t tee_ready_rsa(const struct tee_span key[8], const struct tee_rsa_scheme *scheme, enum tee_use use,
                       struct tee_ready **out);
uint32_t tee_ready_ec(uint32_t curve, enum tee_use use, struct tee_span d, struct tee_span x, struct tee_span y,
                      struct tee_ready **out);
void tee_ready_free(struct tee_ready *r);

/* Octets of a signature. */
size_t tee_ready_length(const struct tee_ready *r);

/* salt: of PSS, octets. sig: tee_ready_length(). Whatever is wrong is BAD_PARAMETERS for RSA, GENERIC for curves. */
uint32_t tee_ready_sign(struct tee_ready *r, struct tee_span digest, int salt, uint8_t *sig);
/* SIGNATURE_INVALID, whatever is wrong. */
uint32_t tee_ready_verify(struct tee_ready *r, struct tee_span digest, int salt, struct tee_span sig);
/* out: a coordinate. BAD_PARAMETERS: no point of the curve. */
uint32_t tee_ready_agree(struct tee_ready *r, struct tee_span x, struct tee_span y, uint8_t *out);

/* readytask.c: the key of an operation. NULL: none, or one for another use. */
struct tee_ready *tee_ready_of(const struct tee_task *t, uint64_t handle, enum tee_use use);

#endif
