/* SPDX-License-Identifier: MIT */
#include "ready.h"

#include <openssl/obj_mac.h>
#include <openssl/rsa.h>
#include <stdlib.h>
#include <string.h>

/* Room for the DER of two numbers of TEE_POINT_MAX octets, and what libcrypto asks for beforehand. */
#define DER_MAX (2 * TEE_POINT_MAX + 32)

void tee_ready_free(struct tee_ready *r)
{
    if (!r)
        return;
    EVP_PKEY_CTX_free(r->ctx);
    EC_POINT_free(r->peer);
    EC_GROUP_free(r->group);
    BN_clear_free(r->d);
    BN_free(r->n);
    BN_free(r->e);
    BN_CTX_free(r->scratch); /* wipes its numbers */
    OPENSSL_cleanse(r, sizeof(*r));
    free(r);
}

/* Takes `key` over. NULL: no key, or not for this. */
static struct tee_ready *signer(EVP_PKEY *key, enum tee_use use)
{
    struct tee_ready *r = key ? calloc(1, sizeof(*r)) : NULL;

    if (r) {
        r->use = (uint8_t)use;
        r->ctx = EVP_PKEY_CTX_new_from_pkey(tee_libctx(), key, NULL);
    }
    EVP_PKEY_free(key); /* the context has its own reference */
    if (r && r->ctx && (use == TEE_USE_SIGN ? EVP_PKEY_sign_init(r->ctx) : EVP_PKEY_verify_init(r->ctx)) == 1)
        return r;
    tee_ready_free(r);
    return NULL;
}

uint32_t tee_ready_rsa(const struct tee_span key[8], const struct tee_rsa_scheme *scheme, enum tee_use use,
                       struct tee_ready **out)
{
    const struct tee_algo *hash = scheme->hash ? tee_algo_find(scheme->hash) : NULL;
    EVP_PKEY *pkey = tee_rsa_key(key, use == TEE_USE_SIGN);
    struct tee_ready *r;

    *out = NULL;
    if (!pkey)
        return use == TEE_USE_SIGN ? TEE_ERROR_BAD_PARAMETERS : TEE_ERROR_GENERIC;
    r = signer(pkey, use);
    if (!r || scheme->salt < 0 || !tee_rsa_signature(r->ctx, scheme)) {
        tee_ready_free(r);
        return use == TEE_USE_SIGN ? TEE_ERROR_BAD_PARAMETERS : TEE_ERROR_SIGNATURE_INVALID;
    }
    r->rsa = true;
    r->pss = scheme->padding == RSA_PKCS1_PSS_PADDING;
    r->salt = scheme->salt;
    r->digest = hash ? hash->digest_size : 0;
    r->own = use == TEE_USE_VERIFY && tee_rsa_own_power(key[0], key[1]);
    if (r->own || (use == TEE_USE_VERIFY && !r->digest)) {
        r->n = tee_number(key[0]);
        r->e = tee_number(key[1]);
        if (!r->n || !r->e) {
            tee_ready_free(r);
            return TEE_ERROR_OUT_OF_MEMORY;
        }
    }
    r->size = (size_t)EVP_PKEY_get_size(EVP_PKEY_CTX_get0_pkey(r->ctx));
    *out = r;
    return TEE_SUCCESS;
}

/* What ECDH needs for each peer. The shared point is computed as EVP_PKEY_derive() does, which wants a key of
 * libcrypto made of each peer's point first: that takes as long as the agreement. */
static struct tee_ready *agreement(uint32_t curve, struct tee_span d)
{
    EVP_PKEY *key = tee_ec_key(curve, &d, NULL, NULL); /* for its checks */
    struct tee_ready *r = key ? calloc(1, sizeof(*r)) : NULL;

    EVP_PKEY_free(key);
    if (!r)
        return NULL;
    r->use = TEE_USE_AGREE;
    r->group = EC_GROUP_new_by_curve_name_ex(tee_libctx(), NULL, tee_ec_nid(curve));
    r->scratch = BN_CTX_secure_new_ex(tee_libctx());
    r->d = tee_number(d);
    r->peer = r->group ? EC_POINT_new(r->group) : NULL;
    if (r->peer && r->scratch && r->d) {
        BN_set_flags(r->d, BN_FLG_CONSTTIME);
        return r;
    }
    tee_ready_free(r);
    return NULL;
}

uint32_t tee_ready_ec(uint32_t curve, enum tee_use use, struct tee_span d, struct tee_span x, struct tee_span y,
                      struct tee_ready **out)
{
    static const uint32_t refused[] = {TEE_ERROR_GENERIC, TEE_ERROR_SIGNATURE_INVALID, TEE_ERROR_BAD_PARAMETERS};
    struct tee_ready *r;

    if (use == TEE_USE_AGREE)
        r = agreement(curve, d);
    else
        r = signer(use == TEE_USE_SIGN ? tee_ec_key(curve, &d, NULL, NULL) : tee_ec_key(curve, NULL, &x, &y), use);
    *out = r;
    if (!r)
        return refused[use];
    r->size = tee_ec_size(curve);
    r->sm2 = tee_ec_nid(curve) == NID_sm2;
    return TEE_SUCCESS;
}

size_t tee_ready_length(const struct tee_ready *r)
{
    return r->rsa ? r->size : 2 * r->size;
}

static bool set_salt(struct tee_ready *r, int salt)
{
    if (!r->pss || salt == r->salt)
        return true;
    if (salt < 0 || EVP_PKEY_CTX_set_rsa_pss_saltlen(r->ctx, salt) != 1)
        return false;
    r->salt = salt;
    return true;
}

/* The INTEGER at *at into `half` octets; libcrypto made it, so it is positive and as short as can be. */
static bool integer(const uint8_t **at, const uint8_t *end, uint8_t *out, size_t half)
{
    const uint8_t *p = *at;
    size_t size;

    if (end - p < 2 || p[0] != 2 || p[1] > end - p - 2)
        return false;
    size = p[1];
    p += 2;
    *at = p + size;
    if (size && !*p) {
        p++;
        size--;
    }
    if (size > half)
        return false;
    memset(out, 0, half - size);
    memcpy(out + half - size, p, size);
    return true;
}

/* As tee_from_der(), which takes a microsecond. */
static bool halves(const uint8_t *der, size_t size, uint8_t *sig, size_t half)
{
    const uint8_t *at = der, *end = der + size;

    if (size < 3 || at[0] != 0x30)
        return false;
    at += at[1] == 0x81 ? 3 : 2; /* lengths from 128 octets on have an octet more */
    return integer(&at, end, sig, half) && integer(&at, end, sig + half, half) && at == end;
}

/* SM2's digest may have any length: `reduced` has room for what libcrypto takes in its place. */
static bool sm2_digest(const struct tee_ready *r, struct tee_span *digest, uint8_t reduced[TEE_SM2_BYTES])
{
    if (!r->sm2 || digest->size == TEE_SM2_BYTES)
        return true;
    if (!tee_sm2_digest(*digest, reduced))
        return false;
    *digest = (struct tee_span){reduced, TEE_SM2_BYTES};
    return true;
}

static uint32_t sign(struct tee_ready *r, struct tee_span digest, int salt, uint8_t *sig)
{
    uint8_t der[DER_MAX], reduced[TEE_SM2_BYTES];
    size_t size = r->rsa ? r->size : sizeof(der);

    if (r->rsa)
        return set_salt(r, salt) && EVP_PKEY_sign(r->ctx, sig, &size, digest.data, digest.size) == 1 &&
                       size == r->size
                   ? TEE_SUCCESS
                   : TEE_ERROR_BAD_PARAMETERS;
    if (!sm2_digest(r, &digest, reduced))
        return TEE_ERROR_GENERIC;
    if (EVP_PKEY_sign(r->ctx, der, &size, digest.data, digest.size) == 1 && halves(der, size, sig, r->size))
        return TEE_SUCCESS;
    return TEE_ERROR_GENERIC;
}

uint32_t tee_ready_sign(struct tee_ready *r, struct tee_span digest, int salt, uint8_t *sig)
{
    TEE_QUIETLY(sign(r, digest, salt, sig));
}

static bool verify_rsa(struct tee_ready *r, struct tee_span digest, int salt, struct tee_span sig)
{
    bool empty = !r->digest && !digest.size;
    uint8_t *padded = NULL;
    bool ok = set_salt(r, salt);

    if (ok && (r->own || empty)) {
        padded = OPENSSL_malloc(sig.size);
        ok = padded && tee_rsa_power(r->n, r->e, sig.data, sig.size, padded);
        if (r->own)
            sig.data = padded;
    }
    if (ok && empty)
        ok = tee_rsa_is_empty(padded, sig.size);
    else if (ok)
        ok = EVP_PKEY_verify(r->ctx, sig.data, sig.size, digest.data, digest.size) == 1;
    OPENSSL_free(padded);
    return ok;
}

static uint32_t verify(struct tee_ready *r, struct tee_span digest, int salt, struct tee_span sig)
{
    uint8_t reduced[TEE_SM2_BYTES];
    unsigned char *der = NULL;
    bool ok = sig.size == tee_ready_length(r);

    if (ok && r->rsa) {
        ok = verify_rsa(r, digest, salt, sig);
    } else if (ok) {
        int size = tee_to_der(sig.data, r->size, &der);

        ok = size > 0 && sm2_digest(r, &digest, reduced) && EVP_PKEY_verify(r->ctx, der, (size_t)size, digest.data, digest.size) == 1;
        OPENSSL_free(der);
    }
    return ok ? TEE_SUCCESS : TEE_ERROR_SIGNATURE_INVALID;
}

uint32_t tee_ready_verify(struct tee_ready *r, struct tee_span digest, int salt, struct tee_span sig)
{
    TEE_QUIETLY(verify(r, digest, salt, sig));
}

/*
 * The cofactor of these curves is 1: a point of the curve that is not at infinity, which an uncompressed encoding
 * cannot say, is one of the group (NIST SP 800-56A r3 section 5.6.2.3.4).
 */
static uint32_t agree(struct tee_ready *r, struct tee_span x, struct tee_span y, uint8_t *out)
{
    uint8_t octets[1 + 2 * TEE_POINT_MAX];
    EC_POINT *shared = EC_POINT_new(r->group);
    BIGNUM *number;
    bool ok = shared && tee_point_octets(octets, x, y, r->size) &&
              EC_POINT_oct2point(r->group, r->peer, octets, 1 + 2 * r->size, r->scratch) == 1 &&
              EC_POINT_mul(r->group, shared, NULL, r->peer, r->d, r->scratch) == 1;

    BN_CTX_start(r->scratch);
    number = BN_CTX_get(r->scratch);
    ok = ok && number && EC_POINT_get_affine_coordinates(r->group, shared, number, NULL, r->scratch) == 1 &&
         BN_bn2binpad(number, out, (int)r->size) >= 0;
    if (number)
        BN_clear(number);
    BN_CTX_end(r->scratch);
    EC_POINT_clear_free(shared);
    return ok ? TEE_SUCCESS : TEE_ERROR_BAD_PARAMETERS;
}

uint32_t tee_ready_agree(struct tee_ready *r, struct tee_span x, struct tee_span y, uint8_t *out)
{
    TEE_QUIETLY(agree(r, x, y, out));
}
