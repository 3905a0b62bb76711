/* SPDX-License-Identifier: MIT */
/*
 * SM2 public-key encryption, GM/T 0003.4 sections 6.1 and 7.1, as C1 || C2 || C3: an uncompressed
 * point, the masked message, a SM3 digest. Results as core/lib/libtomcrypt/sm2-pke.c gives them.
 */
#include <stdlib.h>
#include <string.h>

#include "asym.h"

#define C1_BYTES (1 + 2 * TEE_SM2_BYTES)
#define UNCOMPRESSED 4u

static bool is_zero(const uint8_t *data, size_t size)
{
    uint8_t any = 0;

    while (size--)
        any |= *data++;
    return !any;
}

/* out = in XOR KDF(x2 || y2); CIPHERTEXT_INVALID if the mask is zero, hence for no message at all. */
static uint32_t mask(const uint8_t x2y2[2 * TEE_SM2_BYTES], const uint8_t *in, size_t size, uint8_t *out)
{
    uint8_t *t = malloc(size ? size : 1);
    uint32_t rc = TEE_ERROR_CIPHERTEXT_INVALID;

    if (!t || !tee_sm2_kdf(x2y2, 2 * TEE_SM2_BYTES, t, size)) {
        rc = TEE_ERROR_OUT_OF_MEMORY;
    } else if (!is_zero(t, size)) {
        for (size_t i = 0; i < size; i++)
            out[i] = in[i] ^ t[i];
        rc = TEE_SUCCESS;
    }
    if (t)
        OPENSSL_cleanse(t, size);
    free(t);
    return rc;
}

static bool check_value(const uint8_t x2y2[2 * TEE_SM2_BYTES], const uint8_t *message, size_t size,
                        uint8_t out[TEE_SM3_BYTES])
{
    const struct tee_span pieces[] = {
        {x2y2, TEE_SM2_BYTES}, {message, size}, {x2y2 + TEE_SM2_BYTES, TEE_SM2_BYTES}};

    return tee_sm3(pieces, 3, out);
}

/* C1 = [k]G and x2 || y2 of [k]P for a fresh k. */
static bool agree(const EC_GROUP *group, const EC_POINT *public, uint8_t *c1, uint8_t *x2y2, BN_CTX *ctx)
{
    const BIGNUM *order = EC_GROUP_get0_order(group);
    EC_POINT *point = EC_POINT_new(group);
    BIGNUM *k = BN_new();
    bool ok = point && k;

    do {
        ok = ok && BN_priv_rand_range_ex(k, order, 0, ctx) == 1;
    } while (ok && BN_is_zero(k));
    c1[0] = UNCOMPRESSED;
    ok = ok && EC_POINT_mul(group, point, k, NULL, NULL, ctx) == 1 && tee_sm2_octets(group, point, c1 + 1, ctx) &&
         EC_POINT_mul(group, point, NULL, public, k, ctx) == 1 && tee_sm2_octets(group, point, x2y2, ctx);
    BN_clear_free(k);
    EC_POINT_clear_free(point);
    return ok;
}

static uint32_t encrypt(struct tee_span x, struct tee_span y, struct tee_span src, uint8_t *out)
{
    EC_GROUP *group = tee_sm2_group();
    BN_CTX *ctx = BN_CTX_secure_new_ex(tee_libctx());
    EC_POINT *public = group && ctx ? tee_sm2_point(group, x, y, ctx) : NULL;
    uint8_t x2y2[2 * TEE_SM2_BYTES];
    uint32_t rc = TEE_ERROR_BAD_STATE;

    if (public && agree(group, public, out, x2y2, ctx)) {
        rc = mask(x2y2, src.data, src.size, out + C1_BYTES);
        if (!rc && !check_value(x2y2, src.data, src.size, out + C1_BYTES + src.size))
            rc = TEE_ERROR_OUT_OF_MEMORY;
    }
    OPENSSL_cleanse(x2y2, sizeof(x2y2));
    EC_POINT_free(public);
    BN_CTX_free(ctx);
    EC_GROUP_free(group);
    return rc;
}

uint32_t tee_sm2_encrypt(struct tee_span x, struct tee_span y, struct tee_span src, uint8_t *out)
{
    TEE_QUIETLY(encrypt(x, y, src, out));
}

/* x2 || y2 of [d]C1; BAD_PARAMETERS if C1 is no point, NOT_SUPPORTED if it is in another form. */
static uint32_t recover(struct tee_span d_in, struct tee_span src, uint8_t x2y2[2 * TEE_SM2_BYTES])
{
    struct tee_span x = {src.data + 1, TEE_SM2_BYTES}, y = {src.data + 1 + TEE_SM2_BYTES, TEE_SM2_BYTES};
    EC_GROUP *group = tee_sm2_group();
    BN_CTX *ctx = BN_CTX_secure_new_ex(tee_libctx());
    EC_POINT *c1 = group && ctx ? tee_sm2_point(group, x, y, ctx) : NULL;
    BIGNUM *d = tee_number(d_in);
    uint32_t rc = TEE_ERROR_BAD_PARAMETERS;

    if (c1 && d) {
        rc = TEE_ERROR_BAD_STATE;
        if (EC_POINT_mul(group, c1, NULL, c1, d, ctx) == 1 && tee_sm2_octets(group, c1, x2y2, ctx))
            rc = TEE_SUCCESS;
    }
    BN_clear_free(d);
    EC_POINT_clear_free(c1);
    BN_CTX_free(ctx);
    EC_GROUP_free(group);
    return rc;
}

static uint32_t form(struct tee_span src)
{
    if (!src.size)
        return TEE_ERROR_BAD_PARAMETERS;
    switch (src.data[0]) {
    case 0x02: /* compressed */
    case 0x03:
    case 0x06: /* hybrid */
    case 0x07:
        return TEE_ERROR_NOT_SUPPORTED;
    case UNCOMPRESSED:
        return src.size <= C1_BYTES + TEE_SM3_BYTES ? TEE_ERROR_BAD_PARAMETERS : TEE_SUCCESS;
    default:
        return TEE_ERROR_BAD_PARAMETERS;
    }
}

static uint32_t decrypt(struct tee_span d, struct tee_span src, uint8_t *out)
{
    uint8_t x2y2[2 * TEE_SM2_BYTES], u[TEE_SM3_BYTES];
    size_t size;
    uint32_t rc = form(src);

    if (rc)
        return rc;
    size = src.size - C1_BYTES - TEE_SM3_BYTES;
    rc = recover(d, src, x2y2);
    if (!rc)
        rc = mask(x2y2, src.data + C1_BYTES, size, out);
    if (!rc && !check_value(x2y2, out, size, u))
        rc = TEE_ERROR_OUT_OF_MEMORY;
    if (!rc && CRYPTO_memcmp(u, src.data + C1_BYTES + size, sizeof(u)) != 0)
        rc = TEE_ERROR_CIPHERTEXT_INVALID;
    if (rc)
        OPENSSL_cleanse(out, size);
    OPENSSL_cleanse(x2y2, sizeof(x2y2));
    return rc;
}

uint32_t tee_sm2_decrypt(struct tee_span d, struct tee_span src, uint8_t *out)
{
    TEE_QUIETLY(decrypt(d, src, out));
}
