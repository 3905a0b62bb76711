/* SPDX-License-Identifier: MIT */
/*
 * edwards25519 is birationally equivalent to the short Weierstrass curve "Wei25519" (RFC 7748 section 4.1;
 * draft-ietf-lwig-curve-representations appendix E.2), whose multiples libcrypto computes as those of any
 * curve, in constant time for one secret scalar.
 */
#include "wei.h"

#include <string.h>

#define MONTGOMERY_A 486662u

void tee_wei_close(struct tee_wei *w)
{
    EC_GROUP_free(w->group);
    BN_free(w->p);
    BN_free(w->order);
    BN_free(w->third);
    BN_free(w->c);
    BN_free(w->d);
    BN_CTX_free(w->ctx);
}

/* out = top / bottom mod p; out may be either. False for a bottom of zero. */
static bool divide(const struct tee_wei *w, BIGNUM *out, const BIGNUM *top, const BIGNUM *bottom)
{
    BIGNUM *inverse = BN_mod_inverse(NULL, bottom, w->p, w->ctx);
    bool ok = inverse && BN_mod_mul(out, top, inverse, w->p, w->ctx) == 1;

    BN_clear_free(inverse);
    return ok;
}

/* (x, y) on the Edwards curve to a point: u = (1 + y)/(1 - y), v = c u/x, X = u + A/3, Y = v. */
static EC_POINT *to_wei(const struct tee_wei *w, const BIGNUM *x, const BIGNUM *y)
{
    BIGNUM *u = BN_dup(BN_value_one()), *v = BN_dup(BN_value_one());
    EC_POINT *point = EC_POINT_new(w->group);
    bool ok = u && v && point && BN_mod_add(u, u, y, w->p, w->ctx) == 1 && BN_mod_sub(v, v, y, w->p, w->ctx) == 1 &&
              divide(w, u, u, v) && BN_mod_mul(v, w->c, u, w->p, w->ctx) == 1 && divide(w, v, v, x) &&
              BN_mod_add(u, u, w->third, w->p, w->ctx) == 1 &&
              EC_POINT_set_affine_coordinates(w->group, point, u, v, w->ctx) == 1;

    BN_clear_free(u);
    BN_clear_free(v);
    if (!ok) {
        EC_POINT_free(point);
        point = NULL;
    }
    return point;
}

/* The encoding of a point: x = c u/v, y = (u - 1)/(u + 1); y in little-endian order, and x's lowest bit. */
bool tee_wei_encode(const struct tee_wei *w, const EC_POINT *point, uint8_t out[TEE_ED_BYTES])
{
    BIGNUM *u = BN_new(), *v = BN_new(), *x = BN_new(), *y = BN_new();
    bool ok = u && v && x && y && EC_POINT_get_affine_coordinates(w->group, point, u, v, w->ctx) == 1 &&
              BN_mod_sub(u, u, w->third, w->p, w->ctx) == 1 && BN_mod_mul(x, w->c, u, w->p, w->ctx) == 1 &&
              divide(w, x, x, v) && BN_mod_sub(y, u, BN_value_one(), w->p, w->ctx) == 1 &&
              BN_mod_add(u, u, BN_value_one(), w->p, w->ctx) == 1 && divide(w, y, y, u) &&
              BN_bn2lebinpad(y, out, TEE_ED_BYTES) >= 0;

    if (ok && BN_is_odd(x))
        out[TEE_ED_BYTES - 1] |= 0x80;
    BN_clear_free(u);
    BN_clear_free(v);
    BN_clear_free(x);
    BN_clear_free(y);
    return ok;
}

/* x of a point by its y and sign: x^2 = (y^2 - 1)/(d y^2 + 1). RFC 8032 section 5.1.3. */
static bool recover_x(const struct tee_wei *w, BIGNUM *x, const BIGNUM *y, bool odd)
{
    BIGNUM *top = BN_new(), *bottom = BN_new();
    bool ok = top && bottom && BN_mod_sqr(top, y, w->p, w->ctx) == 1 &&
              BN_mod_mul(bottom, top, w->d, w->p, w->ctx) == 1 &&
              BN_mod_sub(top, top, BN_value_one(), w->p, w->ctx) == 1 &&
              BN_mod_add(bottom, bottom, BN_value_one(), w->p, w->ctx) == 1 && divide(w, top, top, bottom) &&
              BN_mod_sqrt(x, top, w->p, w->ctx) && !BN_is_zero(x) &&
              (BN_is_odd(x) == odd || BN_sub(x, w->p, x) == 1);

    BN_free(top);
    BN_free(bottom);
    return ok;
}

EC_POINT *tee_wei_decode(const struct tee_wei *w, const uint8_t in[TEE_ED_BYTES])
{
    uint8_t octets[TEE_ED_BYTES];
    BIGNUM *x = BN_new(), *y = NULL;
    EC_POINT *point = NULL;

    memcpy(octets, in, TEE_ED_BYTES);
    octets[TEE_ED_BYTES - 1] &= 0x7F;
    y = BN_lebin2bn(octets, TEE_ED_BYTES, NULL);
    if (x && y && BN_cmp(y, w->p) < 0 && recover_x(w, x, y, in[TEE_ED_BYTES - 1] >> 7))
        point = to_wei(w, x, y);
    BN_free(x);
    BN_free(y);
    return point;
}

static bool word(BIGNUM **out, const struct tee_wei *w, BN_ULONG value)
{
    *out = BN_new();
    return *out && BN_set_word(*out, value) == 1 && BN_nnmod(*out, *out, w->p, w->ctx) == 1;
}

/* a = 1 - A^2/3, b = (2 A^3 - 9 A)/27 = 2 third^3 - third of the curve Y^2 = X^3 + a X + b */
static bool set_curve(struct tee_wei *w)
{
    BIGNUM *a = BN_new(), *b = BN_new(), *t = BN_new();
    bool ok = a && b && t && BN_mod_sqr(t, w->third, w->p, w->ctx) == 1 && /* A^2/9 */
              BN_mod_mul(b, t, w->third, w->p, w->ctx) == 1 && BN_mod_lshift1(b, b, w->p, w->ctx) == 1 &&
              BN_mod_sub(b, b, w->third, w->p, w->ctx) == 1 && BN_mul_word(t, 3) == 1 &&
              BN_mod_sub(a, BN_value_one(), t, w->p, w->ctx) == 1;

    if (ok)
        w->group = EC_GROUP_new_curve_GFp(w->p, a, b, w->ctx);
    BN_free(a);
    BN_free(b);
    BN_free(t);
    return w->group != NULL;
}

/* The base point: y = 4/5, x even. */
static bool set_base(struct tee_wei *w)
{
    BIGNUM *x = BN_new(), *y = NULL, *five = NULL, *cofactor = NULL;
    EC_POINT *base = NULL;
    bool ok = x && word(&y, w, 4) && word(&five, w, 5) && word(&cofactor, w, 8) && divide(w, y, y, five) &&
              recover_x(w, x, y, false);

    if (ok)
        base = to_wei(w, x, y);
    ok = base && EC_GROUP_set_generator(w->group, base, w->order, cofactor) == 1;
    EC_POINT_free(base);
    BN_free(x);
    BN_free(y);
    BN_free(five);
    BN_free(cofactor);
    return ok;
}

bool tee_wei_open(struct tee_wei *w)
{
    static const char order[] = "1000000000000000000000000000000014def9dea2f79cd65812631a5cf5d3ed";
    BIGNUM *t = NULL;
    bool ok;

    *w = (struct tee_wei){.p = BN_new()};
    w->ctx = tee_crypto_ready() ? BN_CTX_secure_new_ex(tee_libctx()) : NULL;
    ok = w->ctx && w->p && BN_set_bit(w->p, 255) == 1 && BN_sub_word(w->p, 19) == 1 &&
         BN_hex2bn(&w->order, order) > 0 && word(&w->third, w, MONTGOMERY_A) && word(&t, w, 3) &&
         divide(w, w->third, w->third, t) && word(&w->c, w, MONTGOMERY_A + 2) && BN_sub(w->c, w->p, w->c) == 1 &&
         BN_mod_sqrt(w->c, w->c, w->p, w->ctx) && word(&w->d, w, 121665) && BN_set_word(t, 121666) == 1 &&
         divide(w, w->d, w->d, t) && BN_sub(w->d, w->p, w->d) == 1 && set_curve(w) && set_base(w);
    BN_free(t);
    return ok;
}

