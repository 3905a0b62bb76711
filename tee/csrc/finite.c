/* SPDX-License-Identifier: MIT */
/*
 * DSA and Diffie-Hellman over prime fields. Domain parameters are the TA's, and OP-TEE takes any:
 * key pairs and shared secrets are powers, as core/lib/libtomcrypt/{dsa,dh}.c make them, because
 * libcrypto's own key generation accepts approved groups and sizes only.
 */
#include <openssl/core_names.h>
#include <openssl/rand.h>
#include <stdlib.h>

#include "asym.h"

static EVP_PKEY *dsa_key(const struct tee_dsa_key *k, bool private)
{
    struct tee_params params;

    tee_params_begin(&params);
    tee_params_number(&params, OSSL_PKEY_PARAM_FFC_P, k->p);
    tee_params_number(&params, OSSL_PKEY_PARAM_FFC_Q, k->q);
    tee_params_number(&params, OSSL_PKEY_PARAM_FFC_G, k->g);
    tee_params_number(&params, OSSL_PKEY_PARAM_PUB_KEY, k->y);
    if (private)
        tee_params_number(&params, OSSL_PKEY_PARAM_PRIV_KEY, k->x);
    return tee_params_key(&params, "DSA", private ? EVP_PKEY_KEYPAIR : EVP_PKEY_PUBLIC_KEY);
}

static uint32_t dsa_sign(const struct tee_dsa_key *k, struct tee_span digest, uint8_t *sig, size_t half)
{
    EVP_PKEY *pkey = dsa_key(k, true);
    uint32_t rc = pkey ? tee_sign_raw(pkey, digest.data, digest.size, sig, half) : TEE_ERROR_GENERIC;

    EVP_PKEY_free(pkey);
    return rc;
}

uint32_t tee_dsa_sign(const struct tee_dsa_key *key, struct tee_span digest, uint8_t *sig, uint64_t half)
{
    TEE_QUIETLY(dsa_sign(key, digest, sig, half));
}

static uint32_t dsa_verify(const struct tee_dsa_key *k, struct tee_span digest, struct tee_span sig)
{
    EVP_PKEY *pkey = dsa_key(k, false);
    uint32_t rc = TEE_ERROR_GENERIC;

    if (pkey)
        rc = tee_verify_raw(pkey, digest.data, digest.size, sig.data, sig.size / 2);
    EVP_PKEY_free(pkey);
    return rc;
}

uint32_t tee_dsa_verify(const struct tee_dsa_key *key, struct tee_span digest, struct tee_span sig)
{
    TEE_QUIETLY(dsa_verify(key, digest, sig));
}

/* y = g^x mod p, each of x and y into `slot` octets. */
static uint32_t put_pair(const BIGNUM *p, const BIGNUM *g, const BIGNUM *x, BN_CTX *ctx, uint8_t *out, size_t slot)
{
    BIGNUM *y = tee_power(g, x, p, ctx);
    bool ok = y && BN_bn2binpad(x, out, (int)slot) >= 0 && BN_bn2binpad(y, out + slot, (int)slot) >= 0;

    BN_free(y);
    return ok ? TEE_SUCCESS : TEE_ERROR_BAD_PARAMETERS;
}

/* 1 <= x < q (FIPS 186-4 appendix B.1.2) */
static bool dsa_secret(BIGNUM *x, const BIGNUM *q, BN_CTX *ctx)
{
    if (BN_num_bits(q) < 2)
        return false;
    do {
        if (BN_priv_rand_range_ex(x, q, 0, ctx) != 1)
            return false;
    } while (BN_is_zero(x));
    return true;
}

/* `size` random octets modulo `mod`: dh_make_key() of OP-TEE's libtomcrypt. */
static bool dh_secret(BIGNUM *x, size_t size, const BIGNUM *mod, BN_CTX *ctx)
{
    uint8_t raw[TEE_NUMBER_MAX];
    bool ok = size && size <= sizeof(raw) && !BN_is_zero(mod) && RAND_priv_bytes_ex(tee_libctx(), raw, size, 0) == 1 &&
              BN_bin2bn(raw, (int)size, x) && BN_nnmod(x, x, mod, ctx) == 1;

    OPENSSL_cleanse(raw, sizeof(raw));
    return ok;
}

static uint32_t generate(struct tee_span p_in, struct tee_span g_in, struct tee_span q_in, size_t dh_size,
                         uint8_t *out, size_t slot)
{
    BIGNUM *p = tee_number(p_in), *g = tee_number(g_in), *q = tee_number(q_in), *x = BN_new();
    BN_CTX *ctx = BN_CTX_new_ex(tee_libctx());
    uint32_t rc = TEE_ERROR_BAD_PARAMETERS;

    if (!p || !g || !q || !x || !ctx)
        rc = TEE_ERROR_OUT_OF_MEMORY;
    else if (dh_size ? dh_secret(x, dh_size, q_in.size && BN_num_bytes(q) < BN_num_bytes(p) ? q : p, ctx)
                     : dsa_secret(x, q, ctx))
        rc = put_pair(p, g, x, ctx, out, slot);
    BN_free(p);
    BN_free(g);
    BN_free(q);
    BN_clear_free(x);
    BN_CTX_free(ctx);
    return rc;
}

uint32_t tee_dsa_generate(const struct tee_dsa_key *key, uint8_t *out, uint64_t slot)
{
    if (slot > TEE_NUMBER_MAX || !tee_crypto_ready())
        return TEE_ERROR_BAD_PARAMETERS;
    TEE_QUIETLY(generate(key->p, key->g, key->q, 0, out, slot));
}

uint32_t tee_dh_generate(struct tee_span p, struct tee_span g, struct tee_span q, uint64_t size, uint8_t *out,
                         uint64_t slot)
{
    if (!size || slot > TEE_NUMBER_MAX || !tee_crypto_ready())
        return TEE_ERROR_BAD_PARAMETERS;
    TEE_QUIETLY(generate(p, g, q, size, out, slot));
}

static uint32_t dh_derive(struct tee_span p_in, struct tee_span x_in, struct tee_span peer_in, uint8_t *out,
                          size_t slot)
{
    BIGNUM *p = tee_number(p_in), *x = tee_number(x_in), *peer = tee_number(peer_in), *secret = NULL;
    BN_CTX *ctx = BN_CTX_secure_new_ex(tee_libctx());
    uint32_t rc = TEE_ERROR_BAD_PARAMETERS;

    if (!p || !x || !peer || !ctx)
        rc = TEE_ERROR_OUT_OF_MEMORY;
    else
        secret = tee_power(peer, x, p, ctx);
    if (secret && BN_bn2binpad(secret, out, (int)slot) >= 0)
        rc = TEE_SUCCESS;
    BN_free(p);
    BN_free(peer);
    BN_clear_free(x);
    BN_clear_free(secret);
    BN_CTX_free(ctx);
    return rc;
}

uint32_t tee_dh_derive(struct tee_span p, struct tee_span x, struct tee_span peer, uint8_t *out, uint64_t slot)
{
    if (slot > TEE_NUMBER_MAX || !tee_crypto_ready())
        return TEE_ERROR_BAD_PARAMETERS;
    TEE_QUIETLY(dh_derive(p, x, peer, out, slot));
}
