/* SPDX-License-Identifier: MIT */
/* RSA encryption and signatures: RFC 8017, results as core/lib/libtomcrypt/rsa.c gives them. */
#include <openssl/core_names.h>
#include <openssl/rsa.h>
#include <stdlib.h>
#include <string.h>

#include "ready.h"

enum { N, E, D, P, Q, DP, DQ, QINV }; /* the order of the attributes of a key pair */

EVP_PKEY *tee_rsa_key(const struct tee_span key[8], bool private)
{
    static const char *const names[] = {
        OSSL_PKEY_PARAM_RSA_N,         OSSL_PKEY_PARAM_RSA_E,         OSSL_PKEY_PARAM_RSA_D,
        OSSL_PKEY_PARAM_RSA_FACTOR1,   OSSL_PKEY_PARAM_RSA_FACTOR2,   OSSL_PKEY_PARAM_RSA_EXPONENT1,
        OSSL_PKEY_PARAM_RSA_EXPONENT2, OSSL_PKEY_PARAM_RSA_COEFFICIENT1};
    static const uint8_t one[] = {1};
    struct tee_params params;
    int last = E;

    if (!key[N].size || !key[E].size)
        return NULL;
    if (private)
        last = key[P].size && key[Q].size && key[DP].size && key[DQ].size && key[QINV].size ? QINV : D;
    tee_params_begin(&params);
    for (int i = N; i <= last; i++)
        tee_params_number(&params, names[i],
                          i == E && !private && tee_rsa_own_power(key[N], key[E]) ? (struct tee_span){one, sizeof(one)}
                                                                                  : key[i]);
    return tee_params_key(&params, "RSA", private ? EVP_PKEY_KEYPAIR : EVP_PKEY_PUBLIC_KEY);
}

static EVP_MD *hash_of(uint32_t algo)
{
    const struct tee_algo *a = tee_algo_find(algo);

    return a && a->kind == TEE_KIND_DIGEST ? tee_fetch_md(a->digest) : NULL;
}

static bool set_label(EVP_PKEY_CTX *ctx, struct tee_span label)
{
    void *own;

    if (!label.size)
        return true;
    own = OPENSSL_memdup(label.data, label.size);
    if (own && EVP_PKEY_CTX_set0_rsa_oaep_label(ctx, own, (int)label.size) == 1)
        return true;
    OPENSSL_free(own);
    return false;
}

/*
 * A wrong padding is one error, BAD_PARAMETERS, as in OP-TEE: not the made-up plaintext that libcrypto
 * from 3.2 on gives instead. An older one does not know the parameter.
 */
static bool reject_openly(EVP_PKEY_CTX *ctx)
{
    unsigned int off = 0;
    const OSSL_PARAM params[] = {OSSL_PARAM_construct_uint("implicit-rejection", &off), OSSL_PARAM_construct_end()};

    return EVP_PKEY_CTX_set_params(ctx, params) == 1;
}

static bool set_cipher(EVP_PKEY_CTX *ctx, const struct tee_rsa_scheme *s, struct tee_span label)
{
    if (EVP_PKEY_CTX_set_rsa_padding(ctx, s->padding) != 1)
        return false;
    if (s->padding != RSA_PKCS1_OAEP_PADDING)
        return true;
    return EVP_PKEY_CTX_set_rsa_oaep_md(ctx, hash_of(s->hash)) == 1 &&
           EVP_PKEY_CTX_set_rsa_mgf1_md(ctx, hash_of(s->mgf)) == 1 && set_label(ctx, label);
}

static bool has_hashes(const struct tee_rsa_scheme *s)
{
    return s->padding != RSA_PKCS1_OAEP_PADDING || (hash_of(s->hash) && hash_of(s->mgf));
}

/* What libcrypto padded is encrypted, unless libcrypto did it. */
static bool finish_encryption(const struct tee_span key[8], uint8_t *out, size_t size)
{
    BIGNUM *n, *e;
    bool ok;

    if (!tee_rsa_own_power(key[N], key[E]))
        return true;
    n = tee_number(key[N]);
    e = tee_number(key[E]);
    ok = n && e && tee_rsa_power(n, e, out, size, out);
    BN_free(n);
    BN_free(e);
    return ok;
}

static uint32_t crypt(const struct tee_span key[8], const struct tee_rsa_scheme *s, struct tee_span label,
                      struct tee_span src, bool decrypt, uint8_t *out, uint64_t *size)
{
    EVP_PKEY *pkey;
    EVP_PKEY_CTX *ctx;
    size_t n = *size;
    uint32_t rc = TEE_ERROR_GENERIC;

    if (!has_hashes(s) || label.size > INT32_MAX)
        return TEE_ERROR_BAD_PARAMETERS;
    pkey = tee_rsa_key(key, decrypt);
    ctx = pkey ? EVP_PKEY_CTX_new_from_pkey(tee_libctx(), pkey, NULL) : NULL;
    if (ctx && n >= (size_t)EVP_PKEY_get_size(pkey) &&
        (decrypt ? EVP_PKEY_decrypt_init(ctx) : EVP_PKEY_encrypt_init(ctx)) == 1 && set_cipher(ctx, s, label)) {
        int ok;

        if (decrypt && s->padding == RSA_PKCS1_PADDING)
            (void)reject_openly(ctx);
        ok = decrypt ? EVP_PKEY_decrypt(ctx, out, &n, src.data, src.size)
                     : EVP_PKEY_encrypt(ctx, out, &n, src.data, src.size);
        if (ok == 1 && !decrypt)
            ok = finish_encryption(key, out, n);
        rc = ok == 1 ? TEE_SUCCESS : TEE_ERROR_BAD_PARAMETERS;
    }
    *size = rc ? 0 : n;
    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(pkey);
    return rc;
}

uint32_t tee_rsa_crypt(const struct tee_span key[8], const struct tee_rsa_scheme *scheme, struct tee_span label,
                       struct tee_span src, int decrypt, uint8_t *out, uint64_t *size)
{
    TEE_QUIETLY(crypt(key, scheme, label, src, decrypt != 0, out, size));
}

bool tee_rsa_signature(EVP_PKEY_CTX *ctx, const struct tee_rsa_scheme *s)
{
    EVP_MD *md = s->hash ? hash_of(s->hash) : NULL;

    if (EVP_PKEY_CTX_set_rsa_padding(ctx, s->padding) != 1)
        return false;
    if (!s->hash) /* RSASSA-PKCS1-v1_5 without the ASN.1 of a hash */
        return s->padding == RSA_PKCS1_PADDING;
    if (!md || EVP_PKEY_CTX_set_signature_md(ctx, md) != 1)
        return false;
    return s->padding != RSA_PKCS1_PSS_PADDING || (EVP_PKEY_CTX_set_rsa_mgf1_md(ctx, md) == 1 &&
                                                   EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, s->salt) == 1);
}

static uint32_t sign(const struct tee_span key[8], const struct tee_rsa_scheme *s, struct tee_span digest,
                     uint8_t *sig, uint64_t *size)
{
    struct tee_ready *r;
    uint32_t rc = tee_ready_rsa(key, s, TEE_USE_SIGN, &r);

    if (!rc)
        rc = *size < r->size ? TEE_ERROR_BAD_PARAMETERS : tee_ready_sign(r, digest, s->salt, sig);
    *size = rc ? 0 : r->size;
    tee_ready_free(r);
    return rc;
}

uint32_t tee_rsa_sign(const struct tee_span key[8], const struct tee_rsa_scheme *scheme, struct tee_span digest,
                      uint8_t *sig, uint64_t *size)
{
    TEE_QUIETLY(sign(key, scheme, digest, sig, size));
}

static uint32_t verify(const struct tee_span key[8], const struct tee_rsa_scheme *s, struct tee_span digest,
                       struct tee_span sig)
{
    struct tee_ready *r;
    uint32_t rc = tee_ready_rsa(key, s, TEE_USE_VERIFY, &r);

    if (!rc)
        rc = tee_ready_verify(r, digest, s->salt, sig);
    tee_ready_free(r);
    return rc;
}

uint32_t tee_rsa_verify(const struct tee_span key[8], const struct tee_rsa_scheme *scheme, struct tee_span digest,
                        struct tee_span sig)
{
    TEE_QUIETLY(verify(key, scheme, digest, sig));
}
