/* SPDX-License-Identifier: MIT */
/* What encryption and key exchange on SM2 are made of (GM/T 0003.1 section 4.2, GM/T 0003.3 section 5.4). */
#include <openssl/obj_mac.h>
#include <string.h>

#include "asym.h"

EC_GROUP *tee_sm2_group(void)
{
    return tee_crypto_ready() ? EC_GROUP_new_by_curve_name_ex(tee_libctx(), NULL, NID_sm2) : NULL;
}

EC_POINT *tee_sm2_point(const EC_GROUP *group, struct tee_span x, struct tee_span y, BN_CTX *ctx)
{
    BIGNUM *bx = tee_number(x), *by = tee_number(y);
    EC_POINT *point = EC_POINT_new(group);

    /* libcrypto refuses what is not on the curve; of cofactor 1, so every point is of full order */
    if (!bx || !by || !point || EC_POINT_set_affine_coordinates(group, point, bx, by, ctx) != 1) {
        EC_POINT_free(point);
        point = NULL;
    }
    BN_free(bx);
    BN_free(by);
    return point;
}

bool tee_sm2_octets(const EC_GROUP *group, const EC_POINT *point, uint8_t out[2 * TEE_SM2_BYTES], BN_CTX *ctx)
{
    BIGNUM *x = BN_new(), *y = BN_new();
    bool ok = x && y && EC_POINT_get_affine_coordinates(group, point, x, y, ctx) == 1 &&
              BN_bn2binpad(x, out, TEE_SM2_BYTES) > 0 &&
              BN_bn2binpad(y, out + TEE_SM2_BYTES, TEE_SM2_BYTES) > 0;

    BN_clear_free(x);
    BN_clear_free(y);
    return ok;
}

bool tee_sm2_digest(struct tee_span digest, uint8_t out[TEE_SM2_BYTES])
{
    EC_GROUP *group = tee_sm2_group();
    BN_CTX *ctx = BN_CTX_new_ex(tee_libctx());
    BIGNUM *number = digest.size <= INT32_MAX ? BN_bin2bn(digest.data, (int)digest.size, NULL) : NULL;
    bool ok = group && ctx && number && BN_nnmod(number, number, EC_GROUP_get0_order(group), ctx) == 1 &&
              BN_bn2binpad(number, out, TEE_SM2_BYTES) == TEE_SM2_BYTES;

    BN_free(number);
    BN_CTX_free(ctx);
    EC_GROUP_free(group);
    return ok;
}

bool tee_sm3(const struct tee_span *pieces, size_t count, uint8_t out[TEE_SM3_BYTES])
{
    return tee_hash_spans("SM3", pieces, count, out);
}

bool tee_sm2_kdf(const uint8_t *z, size_t z_size, uint8_t *out, size_t size)
{
    uint8_t block[TEE_SM3_BYTES];
    bool ok = true;

    for (uint32_t count = 1; ok && size; count++) {
        const uint8_t number[4] = {(uint8_t)(count >> 24), (uint8_t)(count >> 16), (uint8_t)(count >> 8),
                                   (uint8_t)count};
        const struct tee_span pieces[] = {{z, z_size}, {number, sizeof(number)}};
        size_t n = size < sizeof(block) ? size : sizeof(block);

        ok = tee_sm3(pieces, 2, block);
        if (ok)
            memcpy(out, block, n);
        out += n;
        size -= n;
    }
    OPENSSL_cleanse(block, sizeof(block));
    return ok;
}
