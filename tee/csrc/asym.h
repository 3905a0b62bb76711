/* SPDX-License-Identifier: MIT */
/*
 * What the files of asymmetric cryptography share: numbers of a TA, libcrypto keys made of them.
 *
 * Keys live in Python as the attributes a TA populated (tee/objects.py); a key of libcrypto is made
 * for each operation and freed with it, or kept with the operation's state (ready.h). Results are those of optee_os 4.5 core/lib/libtomcrypt/.
 */
#ifndef TEE_ASYM_H
#define TEE_ASYM_H

#include <openssl/bn.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <stdbool.h>

#include "abi.h"
#include "algo.h"
#include "native.h"

#define TEE_NUMBER_MAX 1024u /* octets a TA may give for a number: BIGNUM_MAX_BYTES of tee/objects.py */
#define TEE_POINT_MAX 66u    /* octets of a coordinate: P-521 */
#define TEE_SM2_BYTES 32u
#define TEE_SM3_BYTES 32u

/* Leave libcrypto's error queue as it was: others in this process look at it. */
#define TEE_QUIETLY(call)     \
    do {                      \
        uint32_t rc_;         \
        ERR_set_mark();       \
        rc_ = (call);         \
        ERR_pop_to_mark();    \
        return rc_;           \
    } while (0)

/* A number, big-endian; NULL if there is no memory or it is too long. The caller's: BN_clear_free. */
BIGNUM *tee_number(struct tee_span s);

/* Parameters of a key, gathered for EVP_PKEY_fromdata() in memory of the caller. */
#define TEE_PARAMS_MAX 8u
struct tee_params {
    OSSL_PARAM list[TEE_PARAMS_MAX + 1];
    uint8_t bytes[TEE_PARAMS_MAX * TEE_NUMBER_MAX];
    size_t count, used;
    bool full;
};
void tee_params_begin(struct tee_params *p);
void tee_params_number(struct tee_params *p, const char *name, struct tee_span number);
void tee_params_text(struct tee_params *p, const char *name, const char *text);
/* An uncompressed point of coordinates of `size` octets. */
void tee_params_point(struct tee_params *p, struct tee_span x, struct tee_span y, size_t size);
/* 4 || x || y, 1 + 2 * size octets; false if a coordinate is longer. */
bool tee_point_octets(uint8_t *out, struct tee_span x, struct tee_span y, size_t size);
/* The key, NULL if libcrypto refuses it; the parameters are wiped. type: "RSA"; selection: EVP_PKEY_*. */
EVP_PKEY *tee_params_key(struct tee_params *p, const char *type, int selection);

/* Keys of RSA, and of a TEE_ECC_CURVE_* (x NULL: private alone; d NULL: public alone); NULL: refused. */
EVP_PKEY *tee_rsa_key(const struct tee_span key[8], bool private);
EVP_PKEY *tee_ec_key(uint32_t curve, const struct tee_span *d, const struct tee_span *x, const struct tee_span *y);
/* Octets of a coordinate, and libcrypto's number of the curve; 0: none we know. */
size_t tee_ec_size(uint32_t curve);
int tee_ec_nid(uint32_t curve);
/* rsapub.c: whether libcrypto leaves the power of a public key to us; a key for it has the exponent 1 then. */
bool tee_rsa_own_power(struct tee_span n, struct tee_span e);
/* src^e mod n, both of `size` octets; false: src is not below n. */
bool tee_rsa_power(const BIGNUM *n, const BIGNUM *e, const uint8_t *src, size_t size, uint8_t *out);
/* Whether no octets were padded for a signature (EMSA-PKCS1-v1_5 without the ASN.1 of a hash). */
bool tee_rsa_is_empty(const uint8_t *padded, size_t size);
/* Sets up a context of an RSA signature or its verification. */
bool tee_rsa_signature(EVP_PKEY_CTX *ctx, const struct tee_rsa_scheme *s);

/* r || s, `half` octets each, to and from the DER of ECDSA_SIG, which DSA and SM2 use as well. */
int tee_to_der(const uint8_t *sig, size_t half, unsigned char **der);
bool tee_from_der(const unsigned char *der, size_t size, uint8_t *sig, size_t half);

/* Sign or check a ready digest with `key`, whose signatures are DER. */
uint32_t tee_sign_raw(EVP_PKEY *key, const uint8_t *digest, size_t size, uint8_t *sig, size_t half);
uint32_t tee_verify_raw(EVP_PKEY *key, const uint8_t *digest, size_t size, const uint8_t *sig, size_t half);

/* libcrypto's hash `name` over the concatenation of `count` pieces; out: as large as its digest. */
bool tee_hash_spans(const char *name, const struct tee_span *pieces, size_t count, uint8_t *out);

/* base^exponent mod modulus without a branch on the exponent; NULL: the modulus is even or zero. */
BIGNUM *tee_power(const BIGNUM *base, const BIGNUM *exponent, const BIGNUM *modulus, BN_CTX *ctx);

/* The group of SM2, and a point on it from coordinates; NULL if it is none. The caller's to free. */
EC_GROUP *tee_sm2_group(void);
EC_POINT *tee_sm2_point(const EC_GROUP *group, struct tee_span x, struct tee_span y, BN_CTX *ctx);
/* x || y, 32 octets each. */
bool tee_sm2_octets(const EC_GROUP *group, const EC_POINT *point, uint8_t out[2 * TEE_SM2_BYTES], BN_CTX *ctx);
/* A digest of any length as the 32 octets that libcrypto insists on: the signature scheme takes it modulo the order. */
bool tee_sm2_digest(struct tee_span digest, uint8_t out[TEE_SM2_BYTES]);
/* SM3 over the concatenation of `count` pieces. */
bool tee_sm3(const struct tee_span *pieces, size_t count, uint8_t out[TEE_SM3_BYTES]);
/* GM/T 0003.3 section 5.4.3: the key derivation function on SM3. */
bool tee_sm2_kdf(const uint8_t *z, size_t z_size, uint8_t *out, size_t size);

#endif
