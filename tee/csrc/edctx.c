/* SPDX-License-Identifier: MIT */
/* Ed25519ctx and Ed25519ph, RFC 8032 section 5.1, which libcrypto has from 3.2 on only. */
#include <string.h>

#include "wei.h"

#define SHA512_BYTES 64u
#define DOMAIN "SigEd25519 no Ed25519 collisions"

static bool sha512(const struct tee_span *pieces, size_t count, uint8_t out[SHA512_BYTES])
{
    return tee_hash_spans("SHA2-512", pieces, count, out);
}

/* SHA-512 of dom2(F, C), `a`, `b` and the message as a number modulo the order. */
static BIGNUM *scalar(const struct tee_wei *w, const struct tee_eddsa *v, struct tee_span a, struct tee_span b,
                      struct tee_span message)
{
    const uint8_t octets[2] = {v->prehash != 0, (uint8_t)v->context.size};
    const struct tee_span pieces[] = {
        {(const uint8_t *)DOMAIN, sizeof(DOMAIN) - 1}, {octets, 2}, v->context, a, b, message};
    uint8_t hash[SHA512_BYTES];
    BIGNUM *out = sha512(pieces, 6, hash) ? BN_lebin2bn(hash, sizeof(hash), NULL) : NULL;

    if (out && BN_nnmod(out, out, w->order, w->ctx) != 1) {
        BN_clear_free(out);
        out = NULL;
    }
    OPENSSL_cleanse(hash, sizeof(hash));
    return out;
}

static bool multiple(const struct tee_wei *w, const BIGNUM *k, uint8_t out[TEE_ED_BYTES])
{
    EC_POINT *point = EC_POINT_new(w->group);
    bool ok = point && EC_POINT_mul(w->group, point, k, NULL, NULL, w->ctx) == 1 && tee_wei_encode(w, point, out);

    EC_POINT_clear_free(point);
    return ok;
}

static uint32_t sign(struct tee_span seed, const struct tee_eddsa *v, struct tee_span message, uint8_t *sig)
{
    uint8_t h[SHA512_BYTES], public[TEE_ED_BYTES];
    const struct tee_span prefix = {h + TEE_ED_BYTES, TEE_ED_BYTES}, none = {h, 0};
    const struct tee_span first = {sig, TEE_ED_BYTES}, key = {public, TEE_ED_BYTES};
    BIGNUM *s = NULL, *r = NULL, *k = NULL;
    struct tee_wei w;
    bool ok = tee_wei_open(&w) && seed.size == TEE_ED_BYTES && sha512(&seed, 1, h);

    if (ok) {
        h[0] &= 0xF8; /* RFC 8032 section 5.1.5, step 2 */
        h[TEE_ED_BYTES - 1] = (uint8_t)((h[TEE_ED_BYTES - 1] & 0x7F) | 0x40);
        s = BN_lebin2bn(h, TEE_ED_BYTES, NULL);
        ok = s && BN_nnmod(s, s, w.order, w.ctx) == 1 && multiple(&w, s, public);
        r = ok ? scalar(&w, v, prefix, none, message) : NULL;
        ok = r && multiple(&w, r, sig);
        k = ok ? scalar(&w, v, first, key, message) : NULL;
        ok = k && BN_mod_mul(k, k, s, w.order, w.ctx) == 1 && BN_mod_add(k, k, r, w.order, w.ctx) == 1 &&
             BN_bn2lebinpad(k, sig + TEE_ED_BYTES, TEE_ED_BYTES) >= 0;
    }
    OPENSSL_cleanse(h, sizeof(h));
    BN_clear_free(s);
    BN_clear_free(r);
    BN_clear_free(k);
    tee_wei_close(&w);
    return ok ? TEE_SUCCESS : TEE_ERROR_BAD_PARAMETERS;
}

/* [S]B - [k]A has to have the encoding R. */
static uint32_t verify(struct tee_span public, const struct tee_eddsa *v, struct tee_span message,
                       struct tee_span sig)
{
    const struct tee_span first = {sig.data, TEE_ED_BYTES};
    BIGNUM *k = NULL, *s = NULL;
    EC_POINT *a = NULL;
    struct tee_wei w;
    uint8_t r[TEE_ED_BYTES];
    uint32_t rc = TEE_ERROR_SIGNATURE_INVALID;
    bool ok = tee_wei_open(&w) && public.size == TEE_ED_BYTES;

    if (ok) {
        a = tee_wei_decode(&w, public.data);
        s = BN_lebin2bn(sig.data + TEE_ED_BYTES, TEE_ED_BYTES, NULL);
        k = a && s && BN_cmp(s, w.order) < 0 ? scalar(&w, v, first, public, message) : NULL;
        if (k && BN_sub(k, w.order, k) == 1 && EC_POINT_mul(w.group, a, s, a, k, w.ctx) == 1 &&
            tee_wei_encode(&w, a, r) && memcmp(r, sig.data, TEE_ED_BYTES) == 0)
            rc = TEE_SUCCESS;
    }
    BN_free(k);
    BN_free(s);
    EC_POINT_free(a);
    tee_wei_close(&w);
    return ok ? rc : TEE_ERROR_BAD_PARAMETERS;
}

/* PH of section 5.1: SHA-512, or the message itself. */
static bool prepare(const struct tee_eddsa *v, struct tee_span *message, uint8_t hash[SHA512_BYTES])
{
    if (v->context.size > UINT8_MAX)
        return false;
    if (!v->prehash)
        return true;
    if (!sha512(message, 1, hash))
        return false;
    *message = (struct tee_span){hash, SHA512_BYTES};
    return true;
}

uint32_t tee_ed25519ctx_sign(struct tee_span secret, const struct tee_eddsa *variant, struct tee_span message,
                             uint8_t *sig)
{
    uint8_t hash[SHA512_BYTES];

    if (!prepare(variant, &message, hash))
        return TEE_ERROR_BAD_PARAMETERS;
    TEE_QUIETLY(sign(secret, variant, message, sig));
}

uint32_t tee_ed25519ctx_verify(struct tee_span public, const struct tee_eddsa *variant, struct tee_span message,
                               struct tee_span sig)
{
    uint8_t hash[SHA512_BYTES];

    if (sig.size != 2 * TEE_ED_BYTES || !prepare(variant, &message, hash))
        return TEE_ERROR_BAD_PARAMETERS;
    TEE_QUIETLY(verify(public, variant, message, sig));
}
