/* SPDX-License-Identifier: MIT */
/*
 * SM2 key exchange, GM/T 0003.3 section 6.1, with the names of its steps: A is the initiator. libcrypto
 * has the curve and SM3, not the protocol. Results as core/lib/libtomcrypt/sm2-kep.c gives them.
 */
#include <string.h>

#include "asym.h"

#define HALF (TEE_SM2_BYTES / 2)

/* Z = SM3(ENTL || ID || a || b || xG || yG || x || y) of a user with that public key. */
static bool user_hash(const EC_GROUP *group, struct tee_span id, const uint8_t xy[2 * TEE_SM2_BYTES],
                      uint8_t out[TEE_SM3_BYTES], BN_CTX *ctx)
{
    const uint8_t bits[2] = {(uint8_t)(id.size * 8 >> 8), (uint8_t)(id.size * 8)};
    uint8_t ab[2 * TEE_SM2_BYTES], g[2 * TEE_SM2_BYTES];
    const struct tee_span pieces[] = {
        {bits, sizeof(bits)}, id, {ab, sizeof(ab)}, {g, sizeof(g)}, {xy, 2 * TEE_SM2_BYTES}};
    BIGNUM *a = BN_new(), *b = BN_new();
    bool ok = a && b && EC_GROUP_get_curve(group, NULL, a, b, ctx) == 1 && BN_bn2binpad(a, ab, TEE_SM2_BYTES) > 0 &&
              BN_bn2binpad(b, ab + TEE_SM2_BYTES, TEE_SM2_BYTES) > 0 &&
              tee_sm2_octets(group, EC_GROUP_get0_generator(group), g, ctx) && tee_sm3(pieces, 5, out);

    BN_free(a);
    BN_free(b);
    return ok;
}

/* xbar = 2^w + (x mod 2^w), w = 127: of the lower half of x, with its highest bit set. */
static BIGNUM *bar(const uint8_t x[TEE_SM2_BYTES])
{
    uint8_t low[HALF];

    memcpy(low, x + HALF, HALF);
    low[0] |= 0x80;
    return BN_bin2bn(low, HALF, NULL);
}

struct exchange {
    EC_GROUP *group;
    BN_CTX *ctx;
    uint8_t own[2 * TEE_SM2_BYTES], own_ephemeral[2 * TEE_SM2_BYTES]; /* x || y */
    uint8_t peer[2 * TEE_SM2_BYTES], peer_ephemeral[2 * TEE_SM2_BYTES];
    uint8_t shared[2 * TEE_SM2_BYTES + 2 * TEE_SM3_BYTES]; /* xU || yU || ZA || ZB */
};

/* x || y of a public key; that it is a point is checked. */
static EC_POINT *read_point(struct exchange *e, struct tee_span x, struct tee_span y, uint8_t xy[2 * TEE_SM2_BYTES])
{
    EC_POINT *point = tee_sm2_point(e->group, x, y, e->ctx);

    if (point && tee_sm2_octets(e->group, point, xy, e->ctx))
        return point;
    EC_POINT_free(point);
    return NULL;
}

/* U = [h * tA](PB + [x2bar]RB), tA = dA + x1bar * rA mod n; h is 1. */
static bool agree(struct exchange *e, const struct tee_sm2_kep *k, const EC_POINT *peer, const EC_POINT *ephemeral)
{
    const BIGNUM *n = EC_GROUP_get0_order(e->group);
    BIGNUM *d = tee_number(k->d), *r = tee_number(k->ephemeral_d), *t = BN_new();
    BIGNUM *x1bar = bar(e->own_ephemeral), *x2bar = bar(e->peer_ephemeral);
    EC_POINT *u = EC_POINT_new(e->group);
    bool ok = d && r && t && x1bar && x2bar && u && BN_mod_mul(t, x1bar, r, n, e->ctx) == 1 &&
              BN_mod_add(t, t, d, n, e->ctx) == 1 &&
              EC_POINT_mul(e->group, u, NULL, ephemeral, x2bar, e->ctx) == 1 &&
              EC_POINT_add(e->group, u, u, peer, e->ctx) == 1 &&
              EC_POINT_mul(e->group, u, NULL, u, t, e->ctx) == 1 &&
              EC_POINT_is_at_infinity(e->group, u) == 0 && tee_sm2_octets(e->group, u, e->shared, e->ctx);

    BN_clear_free(d);
    BN_clear_free(r);
    BN_clear_free(t);
    BN_free(x1bar);
    BN_free(x2bar);
    EC_POINT_clear_free(u);
    return ok;
}

/* S = SM3(flag || yU || SM3(xU || ZA || ZB || x1 || y1 || x2 || y2)) */
static bool confirmation(const struct exchange *e, bool initiator, uint8_t flag, uint8_t out[TEE_SM3_BYTES])
{
    const uint8_t *x1y1 = initiator ? e->own_ephemeral : e->peer_ephemeral;
    const uint8_t *x2y2 = initiator ? e->peer_ephemeral : e->own_ephemeral;
    uint8_t inner[TEE_SM3_BYTES];
    const struct tee_span first[] = {{e->shared, TEE_SM2_BYTES},
                                     {e->shared + 2 * TEE_SM2_BYTES, 2 * TEE_SM3_BYTES},
                                     {x1y1, 2 * TEE_SM2_BYTES},
                                     {x2y2, 2 * TEE_SM2_BYTES}};
    const struct tee_span second[] = {
        {&flag, 1}, {e->shared + TEE_SM2_BYTES, TEE_SM2_BYTES}, {inner, sizeof(inner)}};

    return tee_sm3(first, 4, inner) && tee_sm3(second, 3, out);
}

static uint32_t exchange(struct exchange *e, const struct tee_sm2_kep *k, uint8_t *out, size_t size, uint8_t *confirm)
{
    EC_POINT *own = read_point(e, k->x, k->y, e->own);
    EC_POINT *own_ephemeral = read_point(e, k->ephemeral_x, k->ephemeral_y, e->own_ephemeral);
    EC_POINT *peer = read_point(e, k->peer_x, k->peer_y, e->peer);
    EC_POINT *ephemeral = read_point(e, k->peer_ephemeral_x, k->peer_ephemeral_y, e->peer_ephemeral);
    bool initiator = k->initiator != 0;
    uint8_t s1[TEE_SM3_BYTES];
    uint8_t *za = e->shared + 2 * TEE_SM2_BYTES, *zb = za + TEE_SM3_BYTES;
    uint32_t rc = TEE_ERROR_BAD_STATE;

    if (own && own_ephemeral && peer && ephemeral && agree(e, k, peer, ephemeral) &&
        user_hash(e->group, k->initiator_id, initiator ? e->own : e->peer, za, e->ctx) &&
        user_hash(e->group, k->responder_id, initiator ? e->peer : e->own, zb, e->ctx) &&
        tee_sm2_kdf(e->shared, sizeof(e->shared), out, size) && confirmation(e, initiator, initiator ? 2 : 3, s1) &&
        confirmation(e, initiator, initiator ? 3 : 2, confirm))
        rc = TEE_SUCCESS;
    if (!rc && k->confirmation.size) {
        if (k->confirmation.size < sizeof(s1))
            rc = TEE_ERROR_BAD_PARAMETERS;
        else if (CRYPTO_memcmp(s1, k->confirmation.data, sizeof(s1)) != 0)
            rc = TEE_ERROR_BAD_STATE;
    }
    if (rc)
        OPENSSL_cleanse(out, size);
    EC_POINT_free(own);
    EC_POINT_free(own_ephemeral);
    EC_POINT_free(peer);
    EC_POINT_free(ephemeral);
    return rc;
}

static uint32_t derive(const struct tee_sm2_kep *k, uint8_t *out, size_t size, uint8_t *confirm)
{
    struct exchange e = {.group = tee_sm2_group()};
    uint32_t rc = TEE_ERROR_OUT_OF_MEMORY;

    e.ctx = e.group ? BN_CTX_secure_new_ex(tee_libctx()) : NULL;
    if (e.ctx)
        rc = exchange(&e, k, out, size, confirm);
    BN_CTX_free(e.ctx);
    EC_GROUP_free(e.group);
    OPENSSL_cleanse(&e, sizeof(e));
    return rc;
}

uint32_t tee_sm2_exchange(const struct tee_sm2_kep *k, uint8_t *out, uint64_t size, uint8_t confirm[32])
{
    TEE_QUIETLY(derive(k, out, size, confirm));
}
