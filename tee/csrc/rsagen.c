/* SPDX-License-Identifier: MIT */
/* RSA keys: libcrypto's from 512 bits up; below, which it refuses, from two of its primes. */
#include <openssl/core_names.h>
#include <openssl/rsa.h>

#include "asym.h"
#include "task.h"

#define EVP_RSA_MIN 512u /* RSA_MIN_MODULUS_BITS of crypto/rsa/rsa_local.h */

enum { N, D, P, Q, DP, DQ, QINV, NUMBERS };

static const char *const names[NUMBERS] = {
    OSSL_PKEY_PARAM_RSA_N,         OSSL_PKEY_PARAM_RSA_D,         OSSL_PKEY_PARAM_RSA_FACTOR1,
    OSSL_PKEY_PARAM_RSA_FACTOR2,   OSSL_PKEY_PARAM_RSA_EXPONENT1, OSSL_PKEY_PARAM_RSA_EXPONENT2,
    OSSL_PKEY_PARAM_RSA_COEFFICIENT1};

struct watch {
    const struct tee_task *task;
    bool stopped;
};

/* libcrypto asks with every candidate for a prime, and gives up at 0. */
static int go_on(struct watch *w)
{
    w->stopped = w->stopped || tee_task_stopped(w->task);
    return !w->stopped;
}

static int evp_asks(EVP_PKEY_CTX *ctx)
{
    return go_on(EVP_PKEY_CTX_get_app_data(ctx));
}

static int bn_asks(int what, int count, BN_GENCB *callback)
{
    (void)what;
    (void)count;
    return go_on(BN_GENCB_get_arg(callback));
}

static bool from_evp(struct watch *w, uint32_t bits, BIGNUM *e, BIGNUM *number[NUMBERS])
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(tee_libctx(), "RSA", NULL);
    EVP_PKEY *pkey = NULL;
    bool ok = ctx && EVP_PKEY_keygen_init(ctx) == 1 && EVP_PKEY_CTX_set_rsa_keygen_bits(ctx, (int)bits) == 1 &&
              EVP_PKEY_CTX_set1_rsa_keygen_pubexp(ctx, e) == 1;

    if (ok) {
        EVP_PKEY_CTX_set_app_data(ctx, w);
        EVP_PKEY_CTX_set_cb(ctx, evp_asks);
        ok = EVP_PKEY_generate(ctx, &pkey) == 1;
    }
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
static bool prime(BIGNUM *p, BIGNUM *less, int bits, const BIGNUM *e, BN_CTX *ctx, BN_GENCB *callback)
{
    BIGNUM *gcd = BN_CTX_get(ctx);

    do {
        if (!gcd || BN_generate_prime_ex2(p, bits, 0, NULL, NULL, callback, ctx) != 1 || !BN_copy(less, p) ||
            BN_sub_word(less, 1) != 1 || BN_gcd(gcd, less, e, ctx) != 1)
            return false;
    } while (!BN_is_one(gcd));
    return true;
}

static bool from_primes(uint32_t bits, const BIGNUM *e, BIGNUM *number[NUMBERS], BN_CTX *ctx, BN_GENCB *callback)
{
    BIGNUM *p1 = BN_CTX_get(ctx), *q1 = BN_CTX_get(ctx), *product = BN_CTX_get(ctx), *gcd = BN_CTX_get(ctx);
    BIGNUM *lcm = BN_CTX_get(ctx);

    if (!lcm || !prime(number[P], p1, (int)(bits / 2), e, ctx, callback))
        return false;
    do {
        if (!prime(number[Q], q1, (int)(bits / 2), e, ctx, callback))
            return false;
    } while (BN_cmp(number[P], number[Q]) == 0);
    return BN_mul(number[N], number[P], number[Q], ctx) == 1 && BN_mul(product, p1, q1, ctx) == 1 &&
           BN_gcd(gcd, p1, q1, ctx) == 1 && BN_div(lcm, NULL, product, gcd, ctx) == 1 &&
           BN_mod_inverse(number[D], e, lcm, ctx) && BN_mod(number[DP], number[D], p1, ctx) == 1 &&
           BN_mod(number[DQ], number[D], q1, ctx) == 1 && BN_mod_inverse(number[QINV], number[Q], number[P], ctx);
}

static bool make(struct watch *w, uint32_t bits, BIGNUM *e, BIGNUM *number[NUMBERS], BN_CTX *ctx)
{
    BN_GENCB *callback;
    bool ok;

    if (bits >= EVP_RSA_MIN)
        return from_evp(w, bits, e, number);
    callback = BN_GENCB_new();
    if (!callback)
        return false;
    BN_GENCB_set(callback, bn_asks, w);
    BN_CTX_start(ctx);
    ok = from_primes(bits, e, number, ctx, callback);
    BN_CTX_end(ctx);
    BN_GENCB_free(callback);
    return ok;
}

static uint32_t generate(const struct tee_task *t, uint32_t bits, struct tee_span exponent, uint8_t *out, size_t slot)
{
    BIGNUM *number[NUMBERS] = {NULL}, *e = tee_number(exponent);
    BN_CTX *ctx = BN_CTX_secure_new_ex(tee_libctx());
    struct watch w = {t, false};
    bool ok = e && ctx && tee_crypto_ready();

    for (int i = N; ok && i < NUMBERS; i++) {
        number[i] = BN_new();
        ok = number[i] != NULL;
    }
    ok = ok && make(&w, bits, e, number, ctx) && (uint32_t)BN_num_bits(number[N]) == bits;
    for (int i = N; ok && i < NUMBERS; i++)
        ok = BN_bn2binpad(number[i], out + (size_t)i * slot, (int)slot) >= 0;
    for (int i = N; i < NUMBERS; i++)
        BN_clear_free(number[i]);
    BN_CTX_free(ctx);
    BN_free(e);
    if (ok)
        return TEE_SUCCESS;
    return w.stopped ? TEE_ERROR_CANCEL : TEE_ERROR_BAD_PARAMETERS;
}

uint32_t tee_rsa_generate(const struct tee_task *t, uint32_t bits, struct tee_span e, uint8_t *out, uint64_t slot)
{
    if (bits < 256 || bits % 16 || slot > TEE_NUMBER_MAX || slot * 8 < bits)
        return TEE_ERROR_BAD_PARAMETERS; /* 16: two primes of whole octets, as OP-TEE makes them */
    if (!e.size || !(e.data[e.size - 1] & 1))
        return TEE_ERROR_BAD_PARAMETERS; /* p - 1 is even: a search for primes would never end */
    TEE_QUIETLY(generate(t, bits, e, out, slot));
}
