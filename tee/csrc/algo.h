/* SPDX-License-Identifier: MIT */
/*
 * Which algorithm is made of what: TEE_ALG_* -> kind, libcrypto names, sizes.
 *
 * libcrypto is used through a library context of our own (default + legacy providers), so that
 * neither openssl.cnf nor other users of libcrypto in this process change what a TA sees.
 */
#ifndef TEE_ALGO_H
#define TEE_ALGO_H

#include <openssl/evp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "abi.h"

#define TEE_BLOCK_MAX 16u

enum tee_kind {
    TEE_KIND_OPAQUE = 0, /* asymmetric and derivation: a handle, no C operation */
    TEE_KIND_DIGEST,
    TEE_KIND_XOF,
    TEE_KIND_HMAC,
    TEE_KIND_CMAC,
    TEE_KIND_CBC_MAC,
    TEE_KIND_PLAIN, /* ECB, CBC, CTR: libcrypto streams them as they are */
    TEE_KIND_CTS,
    TEE_KIND_XTS,
    TEE_KIND_GCM,
    TEE_KIND_CCM,
};

enum tee_chain { TEE_ECB, TEE_CBC, TEE_CTR, TEE_GCM, TEE_CHAINS };

enum tee_family { TEE_NO_CIPHER, TEE_AES, TEE_DES, TEE_DES3, TEE_SM4 };

struct tee_algo {
    uint32_t id;
    uint8_t kind;        /* enum tee_kind */
    uint8_t family;      /* enum tee_family */
    uint8_t chain;       /* enum tee_chain, of TEE_KIND_PLAIN */
    uint8_t block;       /* cipher block, bytes; rate of a XOF */
    uint8_t digest_size; /* digest or MAC, bytes; 0: XOF or none */
    bool pkcs5;          /* CBC-MAC with padding */
    const char *digest;  /* libcrypto's name of the hash */
};

/* Sets up the library context once; false if libcrypto or its default provider is missing. */
bool tee_crypto_ready(void);

OSSL_LIB_CTX *tee_libctx(void);

/* TEE_OPERATION_* class (utee_defines.h, TEE_ALG_GET_CLASS). */
uint32_t tee_algo_class(uint32_t id);

/* NULL: not an algorithm we know. */
const struct tee_algo *tee_algo_find(uint32_t id);

/* Digest algorithm by a common name in lower case, 0 if none. */
uint32_t tee_algo_digest_named(const char *name);

/* Fetched once and kept; NULL if libcrypto lacks it. */
EVP_MD *tee_fetch_md(const char *name);
EVP_MAC *tee_fetch_mac(bool cmac);

/* NULL: no such key length (the caller's error) or libcrypto lacks it. DES3 takes 16 or 24 bytes. */
EVP_CIPHER *tee_fetch_cipher(enum tee_family family, enum tee_chain chain, size_t key_size);
bool tee_family_present(enum tee_family family);

#endif
