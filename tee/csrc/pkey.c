/* SPDX-License-Identifier: MIT */
/* Numbers of a TA into keys of libcrypto, and signatures with them. */
#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <string.h>

#include "asym.h"

BIGNUM *tee_number(struct tee_span s)
{
    return s.size <= TEE_NUMBER_MAX ? BN_bin2bn(s.data, (int)s.size, NULL) : NULL;
}

void tee_params_begin(struct tee_params *p)
{
    p->count = p->used = 0;
    p->full = false;
}

static bool take(struct tee_params *p, size_t size)
{
    if (p->count >= TEE_PARAMS_MAX || size > sizeof(p->bytes) - p->used)
        p->full = true;
    return !p->full;
}

void tee_params_number(struct tee_params *p, const char *name, struct tee_span number)
{
    uint8_t *at = p->bytes + p->used;
    size_t size = number.size ? number.size : 1; /* zero needs an octet as well */

    if (!take(p, size))
        return;
    at[0] = 0;
    for (size_t i = 0; i < number.size; i++) /* OSSL_PARAM numbers are in the host's order */
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
        at[i] = number.data[number.size - 1 - i];
#else
        at[i] = number.data[i];
#endif
    p->list[p->count++] = OSSL_PARAM_construct_BN(name, at, size);
    p->used += size;
}

void tee_params_text(struct tee_params *p, const char *name, const char *text)
{
    if (take(p, 0))
        p->list[p->count++] = OSSL_PARAM_construct_utf8_string(name, (char *)(uintptr_t)text, 0);
}

/* False if the number has more than `size` octets. */
static bool pad(uint8_t *out, struct tee_span number, size_t size)
{
    while (number.size && !*number.data) {
        number.data++;
        number.size--;
    }
    if (number.size > size)
        return false;
    memset(out, 0, size);
    if (number.size)
        memcpy(out + size - number.size, number.data, number.size);
    return true;
}

bool tee_point_octets(uint8_t *out, struct tee_span x, struct tee_span y, size_t size)
{
    out[0] = 4; /* uncompressed, SEC 1 section 2.3.3 */
    return pad(out + 1, x, size) && pad(out + 1 + size, y, size);
}

void tee_params_point(struct tee_params *p, struct tee_span x, struct tee_span y, size_t size)
{
    uint8_t *at = p->bytes + p->used;

    if (!take(p, 1 + 2 * size))
        return;
    if (!tee_point_octets(at, x, y, size)) {
        p->full = true;
        return;
    }
    p->list[p->count++] = OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, at, 1 + 2 * size);
    p->used += 1 + 2 * size;
}

EVP_PKEY *tee_params_key(struct tee_params *p, const char *type, int selection)
{
    EVP_PKEY_CTX *ctx = p->full ? NULL : EVP_PKEY_CTX_new_from_name(tee_libctx(), type, NULL);
    EVP_PKEY *key = NULL;

    p->list[p->count] = OSSL_PARAM_construct_end();
    if (ctx && EVP_PKEY_fromdata_init(ctx) == 1 && EVP_PKEY_fromdata(ctx, &key, selection, p->list) != 1)
        key = NULL;
    EVP_PKEY_CTX_free(ctx);
    OPENSSL_cleanse(p->bytes, p->used);
    return key;
}

int tee_to_der(const uint8_t *sig, size_t half, unsigned char **der)
{
    ECDSA_SIG *pair = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(sig, (int)half, NULL);
    BIGNUM *s = BN_bin2bn(sig + half, (int)half, NULL);
    int size = 0;

    if (pair && r && s && ECDSA_SIG_set0(pair, r, s) == 1) {
        r = s = NULL;
        size = i2d_ECDSA_SIG(pair, der);
    }
    BN_free(r);
    BN_free(s);
    ECDSA_SIG_free(pair);
    return size;
}

bool tee_from_der(const unsigned char *der, size_t size, uint8_t *sig, size_t half)
{
    ECDSA_SIG *pair = d2i_ECDSA_SIG(NULL, &der, (long)size);
    bool ok = pair && BN_bn2binpad(ECDSA_SIG_get0_r(pair), sig, (int)half) > 0 &&
              BN_bn2binpad(ECDSA_SIG_get0_s(pair), sig + half, (int)half) > 0;

    ECDSA_SIG_free(pair);
    return ok;
}

uint32_t tee_sign_raw(EVP_PKEY *key, const uint8_t *digest, size_t size, uint8_t *sig, size_t half)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(tee_libctx(), key, NULL);
    unsigned char der[2 * TEE_NUMBER_MAX + 16];
    size_t der_size = sizeof(der);
    uint32_t rc = TEE_ERROR_GENERIC;

    if (ctx && half && half <= TEE_NUMBER_MAX && EVP_PKEY_sign_init(ctx) == 1 &&
        EVP_PKEY_sign(ctx, der, &der_size, digest, size) == 1 && tee_from_der(der, der_size, sig, half))
        rc = TEE_SUCCESS;
    EVP_PKEY_CTX_free(ctx);
    return rc;
}

uint32_t tee_verify_raw(EVP_PKEY *key, const uint8_t *digest, size_t size, const uint8_t *sig, size_t half)
{
    unsigned char *der = NULL;
    int der_size = half <= TEE_NUMBER_MAX ? tee_to_der(sig, half, &der) : 0;
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(tee_libctx(), key, NULL);
    uint32_t rc = TEE_ERROR_SIGNATURE_INVALID;

    if (!ctx)
        rc = TEE_ERROR_OUT_OF_MEMORY;
    else if (der_size > 0 && EVP_PKEY_verify_init(ctx) == 1 &&
             EVP_PKEY_verify(ctx, der, (size_t)der_size, digest, size) == 1)
        rc = TEE_SUCCESS;
    EVP_PKEY_CTX_free(ctx);
    OPENSSL_free(der);
    return rc;
}

BIGNUM *tee_power(const BIGNUM *base, const BIGNUM *exponent, const BIGNUM *modulus, BN_CTX *ctx)
{
    BIGNUM *out = BN_new(), *reduced = BN_new();

    if (!out || !reduced || BN_is_zero(modulus) || !BN_is_odd(modulus) || BN_nnmod(reduced, base, modulus, ctx) != 1 ||
        BN_mod_exp_mont_consttime(out, reduced, exponent, modulus, ctx, NULL) != 1) {
        BN_clear_free(out);
        out = NULL;
    }
    BN_clear_free(reduced);
    return out;
}
