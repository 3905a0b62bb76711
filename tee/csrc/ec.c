/* SPDX-License-Identifier: MIT */
/* Keys on the NIST curves and SM2: ECDSA, ECDH, SM2 signatures of ready digests. */
#include <openssl/core_names.h>
#include <string.h>

#include "ready.h"

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

EVP_PKEY *tee_ec_key(uint32_t curve, const struct tee_span *d, const struct tee_span *x, const struct tee_span *y)
{
    const struct curve *c = find(curve);
    struct tee_params params;

    if (!c || !tee_crypto_ready())
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

size_t tee_ec_size(uint32_t curve)
{
    const struct curve *c = find(curve);

    return c ? c->size : 0;
}

int tee_ec_nid(uint32_t curve)
{
    const struct curve *c = find(curve);

    return c ? OBJ_sn2nid(c->group) : NID_undef;
}

static uint32_t sign(uint32_t curve, struct tee_span d, struct tee_span digest, uint8_t *sig)
{
    struct tee_ready *r;
    uint32_t rc = tee_ready_ec(curve, TEE_USE_SIGN, d, d, d, &r);

    if (!rc)
        rc = tee_ready_sign(r, digest, 0, sig);
    tee_ready_free(r);
    return rc;
}

uint32_t tee_ec_sign(uint32_t curve, struct tee_span d, struct tee_span digest, uint8_t *sig)
{
    TEE_QUIETLY(sign(curve, d, digest, sig));
}

/* A key that is no point of the curve has signed nothing. */
static uint32_t verify(uint32_t curve, struct tee_span x, struct tee_span y, struct tee_span digest,
                       struct tee_span sig)
{
    struct tee_ready *r;
    uint32_t rc = tee_ready_ec(curve, TEE_USE_VERIFY, x, x, y, &r);

    if (!rc)
        rc = tee_ready_verify(r, digest, 0, sig);
    tee_ready_free(r);
    return rc;
}

uint32_t tee_ec_verify(uint32_t curve, struct tee_span x, struct tee_span y, struct tee_span digest,
                       struct tee_span sig)
{
    TEE_QUIETLY(verify(curve, x, y, digest, sig));
}

static uint32_t derive(uint32_t curve, struct tee_span d, struct tee_span x, struct tee_span y, uint8_t *out)
{
    struct tee_ready *r;
    uint32_t rc = tee_ready_ec(curve, TEE_USE_AGREE, d, x, y, &r);

    if (!rc)
        rc = tee_ready_agree(r, x, y, out);
    tee_ready_free(r);
    return rc;
}

uint32_t tee_ec_derive(uint32_t curve, struct tee_span d, struct tee_span x, struct tee_span y, uint8_t *out)
{
    TEE_QUIETLY(derive(curve, d, x, y, out));
}
