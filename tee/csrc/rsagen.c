/* SPDX-License-Identifier: MIT */
/* RSA keys: libcrypto's from 512 bits up; below, which it refuses, from two of its primes. */
#include <openssl/core_names.h>
#include <openssl/rsa.h>

#include "asym.h"

#define EVP_RSA_MIN 512u /* RSA_MIN_MODULUS_BITS of crypto/rsa/rsa_local.h */

enum { N, D, P, Q, DP, DQ, QINV, NUMBERS };

static const char *const names[NUMBERS] = {
    OSSL_PKEY_PARAM_RSA_N,         OSSL_PKEY_PARAM_RSA_D,         OSSL_PKEY_PARAM_RSA_FACTOR1,
    OSSL_PKEY_PARAM_RSA_FACTOR2,   OSSL_PKEY_PARAM_RSA_EXPONENT1, OSSL_PKEY_PARAM_RSA_EXPONENT2,
    OSSL_PKEY_PARAM_RSA_COEFFICIENT1};

static bool from_evp(uint32_t bits, BIGNUM *e, BIGNUM *number[NUMBERS])
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(tee_libctx(), "RSA", NULL);
    EVP_PKEY *pkey = NULL;
    bool ok = ctx && EVP_PKEY_keygen_init(ctx) == 1 && EVP_PKEY_CTX_set_rsa_keygen_bits(ctx, (int)bits) == 1 &&
              EVP_PKEY_CTX_set1_rsa_keygen_pubexp(ctx, e) == 1 && EVP_PKEY_generate(ctx, &pkey) == 1;

    for (int i = N; ok && i < NUMBERS; i++) {
        BN_clear_free(number[i]);
        number[i] = NULL;
        ok = EVP_PKEY_get_bn_param(pkey, names[i], &number[i]) == 1;
    }
    EVP_PKEY_free(pkey);
    EVP_PKEY_CTX_free(ctx);
    return ok;
}

/* A prime of that many bits, its two highest set, with no factor of e in its predecessor. */
static bool prime(BIGNUM *p, BIGNUM *less, int bits, const BIGNUM *e, BN_CTX *ctx)
{
    BIGNUM *gcd = BN_CTX_get(ctx);

    do {
        if (!gcd || BN_generate_prime_ex2(p, bits, 0, NULL, NULL, NULL, ctx) != 1 || !BN_copy(less, p) ||
            BN_sub_word(less, 1) != 1 || BN_gcd(gcd, less, e, ctx) != 1)
            return false;
    } while (!BN_is_one(gcd));
    return true;
}

static bool from_primes(uint32_t bits, const BIGNUM *e, BIGNUM *number[NUMBERS], BN_CTX *ctx)
{
    BIGNUM *p1 = BN_CTX_get(ctx), *q1 = BN_CTX_get(ctx), *product = BN_CTX_get(ctx), *gcd = BN_CTX_get(ctx);
    BIGNUM *lcm = BN_CTX_get(ctx);

    if (!lcm || !prime(number[P], p1, (int)(bits / 2), e, ctx))
        return false;
    do {
        if (!prime(number[Q], q1, (int)(bits / 2), e, ctx))
            return false;
    } while (BN_cmp(number[P], number[Q]) == 0);
    return BN_mul(number[N], number[P], number[Q], ctx) == 1 && BN_mul(product, p1, q1, ctx) == 1 &&
           BN_gcd(gcd, p1, q1, ctx) == 1 && BN_div(lcm, NULL, product, gcd, ctx) == 1 &&
           BN_mod_inverse(number[D], e, lcm, ctx) && BN_mod(number[DP], number[D], p1, ctx) == 1 &&
           BN_mod(number[DQ], number[D], q1, ctx) == 1 && BN_mod_inverse(number[QINV], number[Q], number[P], ctx);
}

static uint32_t generate(uint32_t bits, struct tee_span exponent, uint8_t *out, size_t slot)
{
    BIGNUM *number[NUMBERS] = {NULL}, *e = tee_number(exponent);
    BN_CTX *ctx = BN_CTX_secure_new_ex(tee_libctx());
    bool ok = e && ctx && tee_crypto_ready();

    for (int i = N; ok && i < NUMBERS; i++) {
        number[i] = BN_new();
        ok = number[i] != NULL;
    }
    if (ok) {
        BN_CTX_start(ctx);
        ok = bits < EVP_RSA_MIN ? from_primes(bits, e, number, ctx) : from_evp(bits, e, number);
        BN_CTX_end(ctx);
    }
    ok = ok && (uint32_t)BN_num_bits(number[N]) == bits;
    for (int i = N; ok && i < NUMBERS; i++)
        ok = BN_bn2binpad(number[i], out + (size_t)i * slot, (int)slot) >= 0;
    for (int i = N; i < NUMBERS; i++)
        BN_clear_free(number[i]);
    BN_CTX_free(ctx);
    BN_free(e);
    return ok ? TEE_SUCCESS : TEE_ERROR_BAD_PARAMETERS;
}

uint32_t tee_rsa_generate(uint32_t bits, struct tee_span e, uint8_t *out, uint64_t slot)
{
    if (bits < 256 || bits % 16 || slot > TEE_NUMBER_MAX || slot * 8 < bits)
        return TEE_ERROR_BAD_PARAMETERS; /* 16: two primes of whole octets, as OP-TEE makes them */
    if (!e.size || !(e.data[e.size - 1] & 1))
        return TEE_ERROR_BAD_PARAMETERS; /* p - 1 is even: a search for primes would never end */
    TEE_QUIETLY(generate(bits, e, out, slot));
}
