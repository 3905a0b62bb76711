/* SPDX-License-Identifier: MIT */
/* Public keys that check signatures of TAs: core/crypto/signed_hdr.c and what it calls. */
#include <openssl/core_names.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <stdlib.h>
#include <string.h>

#include "asym.h"

#define RSA_BYTES_MAX 2048u /* OPENSSL_RSA_MAX_MODULUS_BITS */
#define PEM_MAX (1u << 20)
#define KIND_RSA 1
#define KIND_EC 2

struct tee_key {
    EVP_PKEY *pkey;
    int kind;
};

static struct tee_key *own(EVP_PKEY *pkey)
{
    int kind = !pkey ? 0 : EVP_PKEY_is_a(pkey, "RSA") ? KIND_RSA : EVP_PKEY_is_a(pkey, "EC") ? KIND_EC : 0;
    struct tee_key *key = kind ? malloc(sizeof(*key)) : NULL;

    if (!key) {
        EVP_PKEY_free(pkey);
        return NULL;
    }
    key->pkey = pkey;
    key->kind = kind;
    return key;
}

/* An encrypted key is refused; without this libcrypto would ask on the terminal. */
static int no_password(char *buf, int size, int rwflag, void *arg)
{
    (void)buf, (void)size, (void)rwflag, (void)arg;
    return -1;
}

struct tee_key *tee_key_from_pem(const uint8_t *pem, uint64_t size)
{
    EVP_PKEY *pkey = NULL;
    BIO *bio;

    if (!size || size > PEM_MAX || !tee_crypto_ready())
        return NULL;
    bio = BIO_new_mem_buf(pem, (int)size);
    if (!bio)
        return NULL;
    ERR_set_mark(); /* others in this process look at libcrypto's error queue */
    pkey = PEM_read_bio_PUBKEY_ex(bio, NULL, no_password, NULL, tee_libctx(), NULL);
    if (!pkey && BIO_reset(bio) == 1)
        pkey = PEM_read_bio_PrivateKey_ex(bio, NULL, no_password, NULL, tee_libctx(), NULL);
    BIO_free(bio);
    ERR_pop_to_mark();
    return own(pkey);
}

static EVP_PKEY *rsa_from(const BIGNUM *n, const BIGNUM *e)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(tee_libctx(), "RSA", NULL);
    OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
    OSSL_PARAM *params = NULL;
    EVP_PKEY *pkey = NULL;

    if (ctx && bld && OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_N, n) == 1 &&
        OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_E, e) == 1)
        params = OSSL_PARAM_BLD_to_param(bld);
    if (params && EVP_PKEY_fromdata_init(ctx) == 1 &&
        EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_PUBLIC_KEY, params) != 1)
        pkey = NULL;
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(bld);
    EVP_PKEY_CTX_free(ctx);
    return pkey;
}

struct tee_key *tee_key_from_rsa(const uint8_t *n, uint64_t n_size, const uint8_t *e, uint64_t e_size)
{
    struct tee_key *key = NULL;
    BIGNUM *bn, *be;

    if (!n_size || n_size > RSA_BYTES_MAX || !e_size || e_size > RSA_BYTES_MAX || !tee_crypto_ready())
        return NULL;
    ERR_set_mark();
    bn = BN_bin2bn(n, (int)n_size, NULL);
    be = BN_bin2bn(e, (int)e_size, NULL);
    if (bn && be && BN_is_odd(bn) && BN_is_odd(be) && !BN_is_one(be) && BN_cmp(bn, be) > 0)
        key = own(rsa_from(bn, be));
    ERR_pop_to_mark();
    BN_free(bn);
    BN_free(be);
    return key;
}

void tee_key_free(struct tee_key *key)
{
    if (!key)
        return;
    EVP_PKEY_free(key->pkey);
    free(key);
}

int tee_key_kind(const struct tee_key *key)
{
    return key->kind;
}

int tee_key_bits(const struct tee_key *key)
{
    return EVP_PKEY_get_bits(key->pkey);
}

int tee_key_number(const struct tee_key *key, int which, uint8_t *out, uint64_t room)
{
    BIGNUM *bn = NULL;
    int size = 0;

    if (key->kind != KIND_RSA ||
        EVP_PKEY_get_bn_param(key->pkey, which ? OSSL_PKEY_PARAM_RSA_E : OSSL_PKEY_PARAM_RSA_N, &bn) != 1)
        return 0;
    if ((uint64_t)BN_num_bytes(bn) <= room)
        size = BN_bn2bin(bn, out);
    BN_free(bn);
    return size;
}

/* TEE_DIGEST_HASH_TO_ALGO(): bits 15..12. 7 would be SM3, with which no RSA algorithm is defined. */
static const struct tee_algo *hash_of(uint32_t algo)
{
    uint32_t hash = algo >> 12 & 0xF;

    return hash == 7 ? NULL : tee_algo_find(TEE_CLASS_DIGEST << 28 | hash);
}

/* RSASSA-PKCS1-v1_5 ends in 0x830, PSS in 0x930; the one without ASN.1 prefix is not for TAs. */
static int rsa_padding(uint32_t algo)
{
    if (tee_algo_class(algo) != TEE_CLASS_ASYMMETRIC_SIGNATURE || algo == TEE_ALG_RSASSA_PKCS1_V1_5)
        return 0;
    switch (algo & 0xFFF) {
    case 0x830:
        return RSA_PKCS1_PADDING;
    case 0x930:
        return RSA_PKCS1_PSS_PADDING;
    default:
        return 0;
    }
}

static int verify_rsa(const struct tee_key *key, uint32_t algo, const uint8_t *digest, size_t size,
                      const uint8_t *sig, size_t sig_size)
{
    int padding = rsa_padding(algo);
    const struct tee_algo *hash = hash_of(algo);
    EVP_MD *md = hash ? tee_fetch_md(hash->digest) : NULL;
    EVP_PKEY_CTX *ctx;
    int ok;

    if (!padding || !md || size != hash->digest_size || sig_size != (size_t)EVP_PKEY_get_size(key->pkey))
        return 0;
    ctx = EVP_PKEY_CTX_new_from_pkey(tee_libctx(), key->pkey, NULL);
    ok = ctx && EVP_PKEY_verify_init(ctx) == 1 && EVP_PKEY_CTX_set_rsa_padding(ctx, padding) == 1 &&
         EVP_PKEY_CTX_set_signature_md(ctx, md) == 1;
    if (ok && padding == RSA_PKCS1_PSS_PADDING)
        ok = EVP_PKEY_CTX_set_rsa_mgf1_md(ctx, md) == 1 && EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, (int)size) == 1;
    ok = ok && EVP_PKEY_verify(ctx, sig, sig_size, digest, size) == 1;
    EVP_PKEY_CTX_free(ctx);
    return ok;
}

/* TEE_ALG_ECDSA_SHA* end in 0x042, the older per-curve identifiers in 0x041. */
static bool is_ecdsa(uint32_t algo)
{
    return algo >> 16 == 0x7000 && ((algo & 0xFFF) == 0x042 || (algo & 0xFFF) == 0x041);
}

static int verify_ec(const struct tee_key *key, uint32_t algo, const uint8_t *digest, size_t size,
                     const uint8_t *sig, size_t sig_size)
{
    size_t half = ((size_t)EVP_PKEY_get_bits(key->pkey) + 7) / 8;
    unsigned char *der = NULL;
    EVP_PKEY_CTX *ctx;
    int der_size, ok;

    if (!is_ecdsa(algo) || !size || size > EVP_MAX_MD_SIZE || sig_size != 2 * half)
        return 0;
    der_size = tee_to_der(sig, half, &der);
    ctx = EVP_PKEY_CTX_new_from_pkey(tee_libctx(), key->pkey, NULL);
    ok = der_size > 0 && ctx && EVP_PKEY_verify_init(ctx) == 1 &&
         EVP_PKEY_verify(ctx, der, (size_t)der_size, digest, size) == 1;
    EVP_PKEY_CTX_free(ctx);
    OPENSSL_free(der);
    return ok;
}

int tee_key_verify(const struct tee_key *key, uint32_t algo, const uint8_t *digest, uint64_t size,
                   const uint8_t *sig, uint64_t sig_size)
{
    int ok;

    ERR_set_mark();
    ok = key->kind == KIND_RSA ? verify_rsa(key, algo, digest, size, sig, sig_size)
                               : verify_ec(key, algo, digest, size, sig, sig_size);
    ERR_pop_to_mark();
    return ok;
}
