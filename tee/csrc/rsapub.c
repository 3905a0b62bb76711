/* SPDX-License-Identifier: MIT */
/*
 * What libcrypto does not do with a public key of RSA, and OP-TEE does: exponents of more than 64 bits under a modulus
 * of more than 3,072 (libcrypto fears for its time; here a TA's call takes it), exponents not below the modulus, and
 * RSASSA-PKCS1-v1_5 without a hash over no octets, which libcrypto signs and does not verify.
 *
 * The power is computed here. For the padding libcrypto is given a key with the exponent 1, whose power of the padded
 * message is that message. Source: RFC 8017 sections 5.2.2 and 8.2; openssl/rsa.h for the limits.
 */
#include <openssl/rsa.h>
#include <string.h>

#include "ready.h"

bool tee_rsa_own_power(struct tee_span n, struct tee_span e)
{
    BIGNUM *modulus = tee_number(n), *exponent = tee_number(e);
    bool own = modulus && exponent &&
               (BN_ucmp(exponent, modulus) >= 0 || (BN_num_bits(modulus) > OPENSSL_RSA_SMALL_MODULUS_BITS &&
                                                    BN_num_bits(exponent) > OPENSSL_RSA_MAX_PUBEXP_BITS));

    BN_free(modulus);
    BN_free(exponent);
    return own;
}

bool tee_rsa_power(const BIGNUM *n, const BIGNUM *e, const uint8_t *src, size_t size, uint8_t *out)
{
    BIGNUM *number = BN_bin2bn(src, (int)size, NULL), *power = BN_new();
    BN_CTX *ctx = BN_CTX_new_ex(tee_libctx());
    bool ok = number && power && ctx && BN_cmp(number, n) < 0 && BN_mod_exp(power, number, e, n, ctx) == 1 &&
              BN_bn2binpad(power, out, (int)size) == (int)size;

    BN_CTX_free(ctx);
    BN_free(power);
    BN_clear_free(number);
    return ok;
}

bool tee_rsa_is_empty(const uint8_t *padded, size_t size)
{
    size_t at = 2;

    if (size < 11 || padded[0] != 0 || padded[1] != 1)
        return false;
    while (at < size - 1 && padded[at] == 0xFF)
        at++;
    return at == size - 1 && padded[at] == 0;
}
