/* SPDX-License-Identifier: MIT */
/* Keys that are octet strings: X25519, X448 (RFC 7748) and Ed25519 (RFC 8032). */
#include <string.h>

#include "asym.h"

#define SIGNATURE 64u /* octets of Ed25519's */
#define X448_BYTES 56u

/* TEE_MAIN_ALGO_*, and the size of its keys. */
static const char *name_of(uint32_t main, size_t *size)
{
    switch (main) {
    case 0x43:
        *size = 32;
        return "ED25519";
    case 0x44:
        *size = 32;
        return "X25519";
    case 0x49:
        *size = X448_BYTES;
        return "X448";
    default:
        return NULL;
    }
}

static uint32_t generate(uint32_t main, uint8_t *out)
{
    size_t size = 0, private_size, public_size;
    const char *name = tee_crypto_ready() ? name_of(main, &size) : NULL;
    EVP_PKEY *pkey = name ? EVP_PKEY_Q_keygen(tee_libctx(), NULL, name) : NULL;
    uint32_t rc = TEE_ERROR_NOT_SUPPORTED;

    private_size = public_size = size;
    if (pkey && EVP_PKEY_get_raw_private_key(pkey, out, &private_size) == 1 && private_size == size &&
        EVP_PKEY_get_raw_public_key(pkey, out + size, &public_size) == 1 && public_size == size)
        rc = TEE_SUCCESS;
    EVP_PKEY_free(pkey);
    return rc;
}

uint32_t tee_raw_generate(uint32_t main, uint8_t *out)
{
    TEE_QUIETLY(generate(main, out));
}

/* A point of small order makes zeros: RFC 7748 section 6.1, SECURITY in OP-TEE. */
static uint32_t derive(uint32_t main, struct tee_span secret, struct tee_span peer, uint8_t *out)
{
    size_t size = 0, got;
    const char *name = tee_crypto_ready() ? name_of(main, &size) : NULL;
    EVP_PKEY *own, *other;
    EVP_PKEY_CTX *ctx = NULL;
    uint32_t rc = TEE_ERROR_BAD_PARAMETERS;

    if (!name || secret.size != size || peer.size != size)
        return TEE_ERROR_BAD_PARAMETERS;
    got = size;
    own = EVP_PKEY_new_raw_private_key_ex(tee_libctx(), name, NULL, secret.data, size);
    other = EVP_PKEY_new_raw_public_key_ex(tee_libctx(), name, NULL, peer.data, size);
    if (own && other)
        ctx = EVP_PKEY_CTX_new_from_pkey(tee_libctx(), own, NULL);
    if (ctx && EVP_PKEY_derive_init(ctx) == 1 && EVP_PKEY_derive_set_peer(ctx, other) == 1)
        rc = EVP_PKEY_derive(ctx, out, &got) == 1 && got == size ? TEE_SUCCESS : TEE_ERROR_SECURITY;
    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(own);
    EVP_PKEY_free(other);
    return rc;
}

uint32_t tee_raw_derive(uint32_t main, struct tee_span secret, struct tee_span peer, uint8_t *out)
{
    TEE_QUIETLY(derive(main, secret, peer, out));
}

static uint32_t sign(struct tee_span secret, struct tee_span message, uint8_t *sig)
{
    EVP_PKEY *key = NULL;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    size_t size = SIGNATURE;
    bool ok;

    if (tee_crypto_ready())
        key = EVP_PKEY_new_raw_private_key_ex(tee_libctx(), "ED25519", NULL, secret.data, secret.size);
    ok = key && ctx && EVP_DigestSignInit_ex(ctx, NULL, NULL, tee_libctx(), NULL, key, NULL) == 1 &&
         EVP_DigestSign(ctx, sig, &size, message.data, message.size) == 1 && size == SIGNATURE;
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(key);
    return ok ? TEE_SUCCESS : TEE_ERROR_BAD_PARAMETERS;
}

uint32_t tee_ed25519_sign(struct tee_span secret, struct tee_span message, uint8_t *sig)
{
    TEE_QUIETLY(sign(secret, message, sig));
}

static uint32_t verify(struct tee_span public, struct tee_span message, struct tee_span sig)
{
    EVP_PKEY *key = NULL;
    EVP_MD_CTX *ctx;
    uint32_t rc = TEE_ERROR_SIGNATURE_INVALID;

    if (sig.size != SIGNATURE)
        return TEE_ERROR_BAD_PARAMETERS;
    ctx = EVP_MD_CTX_new();
    if (tee_crypto_ready())
        key = EVP_PKEY_new_raw_public_key_ex(tee_libctx(), "ED25519", NULL, public.data, public.size);
    if (!ctx || !key)
        rc = TEE_ERROR_BAD_PARAMETERS;
    else if (EVP_DigestVerifyInit_ex(ctx, NULL, NULL, tee_libctx(), NULL, key, NULL) == 1 &&
             EVP_DigestVerify(ctx, sig.data, sig.size, message.data, message.size) == 1)
        rc = TEE_SUCCESS;
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(key);
    return rc;
}

uint32_t tee_ed25519_verify(struct tee_span public, struct tee_span message, struct tee_span sig)
{
    TEE_QUIETLY(verify(public, message, sig));
}
