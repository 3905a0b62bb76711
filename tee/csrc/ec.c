/* SPDX-License-Identifier: MIT */
/* Keys on the NIST curves and SM2: ECDSA, ECDH, SM2 signatures of ready digests. */
#include <openssl/core_names.h>
#include <string.h>

#include "asym.h"

struct curve {
    const char *type; /* libcrypto's key type and group */
    const char *group;
    uint32_t id;
    uint32_t size; /* octets of a coordinate */
};

/* TEE_ECC_CURVE_*, GP TEE Internal Core API v1.3.1 table 6-14 */
static const struct curve curves[] = {
    {"EC", "prime192v1", 1, 24}, {"EC", "secp224r1", 2, 28}, {"EC", "prime256v1", 3, 32},
    {"EC", "secp384r1", 4, 48},  {"EC", "secp521r1", 5, 66}, {"SM2", "SM2", 0x400, 32},
};

static const struct curve *find(uint32_t id)
{
    for (size_t i = 0; i < sizeof(curves) / sizeof(curves[0]); i++)
        if (curves[i].id == id)
            return &curves[i];
    return NULL;
}

/* x NULL: private alone; d NULL: public alone. */
static EVP_PKEY *make(const struct curve *c, const struct tee_span *d, const struct tee_span *x,
                      const struct tee_span *y)
{
    struct tee_params params;

    if (!tee_crypto_ready())
        return NULL;
    tee_params_begin(&params);
    tee_params_text(&params, OSSL_PKEY_PARAM_GROUP_NAME, c->group);
    if (x)
        tee_params_point(&params, *x, *y, c->size);
    if (d)
        tee_params_number(&params, OSSL_PKEY_PARAM_PRIV_KEY, *d);
    return tee_params_key(&params, c->type, d ? EVP_PKEY_KEYPAIR : EVP_PKEY_PUBLIC_KEY);
}

static bool put(EVP_PKEY *pkey, const char *name, uint8_t *out, size_t size)
{
    BIGNUM *number = NULL;
    bool ok = EVP_PKEY_get_bn_param(pkey, name, &number) == 1 && BN_bn2binpad(number, out, (int)size) >= 0;

    BN_clear_free(number);
    return ok;
}

static uint32_t generate(uint32_t id, uint8_t *out)
{
    const struct curve *c = find(id);
    EVP_PKEY_CTX *ctx = NULL;
    EVP_PKEY *pkey = NULL;
    uint32_t rc = TEE_ERROR_BAD_PARAMETERS;

    if (!c || !tee_crypto_ready())
        return TEE_ERROR_NOT_SUPPORTED;
    ctx = EVP_PKEY_CTX_new_from_name(tee_libctx(), c->type, NULL);
    if (ctx && EVP_PKEY_keygen_init(ctx) == 1 && EVP_PKEY_CTX_set_group_name(ctx, c->group) == 1 &&
        EVP_PKEY_generate(ctx, &pkey) == 1 && put(pkey, OSSL_PKEY_PARAM_PRIV_KEY, out, c->size) &&
        put(pkey, OSSL_PKEY_PARAM_EC_PUB_X, out + c->size, c->size) &&
        put(pkey, OSSL_PKEY_PARAM_EC_PUB_Y, out + 2 * c->size, c->size))
        rc = TEE_SUCCESS;
    EVP_PKEY_free(pkey);
    EVP_PKEY_CTX_free(ctx);
    return rc;
}

uint32_t tee_ec_generate(uint32_t curve, uint8_t *out)
{
    TEE_QUIETLY(generate(curve, out));
}

static uint32_t sign(uint32_t id, struct tee_span d, struct tee_span digest, uint8_t *sig)
{
    const struct curve *c = find(id);
    EVP_PKEY *pkey = c ? make(c, &d, NULL, NULL) : NULL;
    uint32_t rc = pkey ? tee_sign_raw(pkey, digest.data, digest.size, sig, c->size) : TEE_ERROR_GENERIC;

    EVP_PKEY_free(pkey);
    return rc;
}

uint32_t tee_ec_sign(uint32_t curve, struct tee_span d, struct tee_span digest, uint8_t *sig)
{
    TEE_QUIETLY(sign(curve, d, digest, sig));
}

/* A key that is no point of the curve has signed nothing. */
static uint32_t verify(uint32_t id, struct tee_span x, struct tee_span y, struct tee_span digest, struct tee_span sig)
{
    const struct curve *c = find(id);
    EVP_PKEY *pkey = c ? make(c, NULL, &x, &y) : NULL;
    uint32_t rc = TEE_ERROR_SIGNATURE_INVALID;

    if (pkey && sig.size == 2 * c->size)
        rc = tee_verify_raw(pkey, digest.data, digest.size, sig.data, c->size);
    EVP_PKEY_free(pkey);
    return rc;
}

uint32_t tee_ec_verify(uint32_t curve, struct tee_span x, struct tee_span y, struct tee_span digest,
                       struct tee_span sig)
{
    TEE_QUIETLY(verify(curve, x, y, digest, sig));
}

static uint32_t derive(uint32_t id, struct tee_span d, struct tee_span x, struct tee_span y, uint8_t *out)
{
    const struct curve *c = find(id);
    EVP_PKEY *own = c ? make(c, &d, NULL, NULL) : NULL;
    EVP_PKEY *peer = c ? make(c, NULL, &x, &y) : NULL; /* NULL: not on the curve */
    EVP_PKEY_CTX *ctx = own && peer ? EVP_PKEY_CTX_new_from_pkey(tee_libctx(), own, NULL) : NULL;
    size_t size = c ? c->size : 0;
    bool ok = ctx && EVP_PKEY_derive_init(ctx) == 1 && EVP_PKEY_derive_set_peer(ctx, peer) == 1 &&
              EVP_PKEY_derive(ctx, out, &size) == 1 && size == c->size;

    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(own);
    EVP_PKEY_free(peer);
    return ok ? TEE_SUCCESS : TEE_ERROR_BAD_PARAMETERS;
}

uint32_t tee_ec_derive(uint32_t curve, struct tee_span d, struct tee_span x, struct tee_span y, uint8_t *out)
{
    TEE_QUIETLY(derive(curve, d, x, y, out));
}
