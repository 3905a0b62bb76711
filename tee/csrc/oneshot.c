/* SPDX-License-Identifier: MIT */
/* Digests, HMAC, AES and random bytes outside of any TA. */
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>

#include "asym.h"
#include "parts.h"

struct tee_digest {
    EVP_MD_CTX *ctx;
    const struct tee_algo *algo;
};

uint32_t tee_digest_find(const char *name)
{
    return tee_algo_digest_named(name);
}

uint32_t tee_digest_size(uint32_t algo)
{
    const struct tee_algo *a = tee_algo_find(algo);

    return a ? a->digest_size : 0;
}

struct tee_digest *tee_digest_new(uint32_t algo)
{
    const struct tee_algo *a = tee_algo_find(algo);
    EVP_MD *md = a && a->kind <= TEE_KIND_XOF ? tee_fetch_md(a->digest) : NULL;
    struct tee_digest *d = md ? calloc(1, sizeof(*d)) : NULL;

    if (!d)
        return NULL;
    d->algo = a;
    d->ctx = EVP_MD_CTX_new();
    if (!d->ctx || EVP_DigestInit_ex2(d->ctx, md, NULL) != 1) {
        tee_digest_free(d);
        return NULL;
    }
    return d;
}

void tee_digest_free(struct tee_digest *d)
{
    if (!d)
        return;
    EVP_MD_CTX_free(d->ctx);
    free(d);
}

uint32_t tee_digest_update(struct tee_digest *d, const uint8_t *data, uint64_t size)
{
    return EVP_DigestUpdate(d->ctx, data, size) == 1 ? TEE_SUCCESS : TEE_ERROR_GENERIC;
}

uint32_t tee_digest_final(struct tee_digest *d, uint8_t *out, uint64_t size)
{
    int ok;

    if (d->algo->kind == TEE_KIND_XOF)
        ok = !size || EVP_DigestFinalXOF(d->ctx, out, size) == 1;
    else
        ok = size == d->algo->digest_size && EVP_DigestFinal_ex(d->ctx, out, NULL) == 1;
    return ok ? TEE_SUCCESS : TEE_ERROR_GENERIC;
}

bool tee_hash_spans(const char *name, const struct tee_span *pieces, size_t count, uint8_t *out)
{
    EVP_MD *md = tee_fetch_md(name);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok = md && ctx && EVP_DigestInit_ex2(ctx, md, NULL) == 1;

    for (size_t i = 0; ok && i < count; i++)
        ok = !pieces[i].size || EVP_DigestUpdate(ctx, pieces[i].data, pieces[i].size) == 1;
    ok = ok && EVP_DigestFinal_ex(ctx, out, NULL) == 1;
    EVP_MD_CTX_free(ctx);
    return ok;
}

uint32_t tee_hmac_sha256(const uint8_t *key, uint64_t key_size, const uint8_t *data, uint64_t size, uint8_t out[32])
{
    struct tee_state *s = NULL;
    uint64_t room = 32;
    uint8_t zero = 0;
    uint32_t rc = tee_state_new(0x30000000u | (TEE_ALG_SHA256 & 0xFF), 0, &s);

    /* An empty key and one zero byte are the same HMAC key (RFC 2104: padded with zeros). */
    if (!rc)
        rc = key_size ? tee_hash_init(s, key, key_size) : tee_hash_init(s, &zero, 1);
    if (!rc)
        rc = tee_hash_final(s, data, size, out, &room);
    tee_state_free(s);
    return rc;
}

uint32_t tee_gcm_decrypt(const uint8_t *key, uint64_t key_size, const uint8_t *iv, uint64_t iv_size,
                         const uint8_t *aad, uint64_t aad_size, const uint8_t *src, uint64_t size, uint8_t *dst,
                         const uint8_t *tag, uint64_t tag_size)
{
    struct tee_state *s = NULL;
    uint32_t rc = tee_state_new(0x40000810, TEE_MODE_DECRYPT, &s);

    if (!rc)
        rc = tee_ae_init(s, key, key_size, iv, iv_size, tag_size, aad_size, size);
    if (rc == TEE_ERROR_BAD_STATE)
        rc = TEE_ERROR_BAD_PARAMETERS; /* a key of impossible size */
    if (!rc)
        rc = tee_ae_aad(s, aad, aad_size);
    if (!rc)
        rc = tee_ae_dec_final(s, src, size, dst, tag, tag_size);
    if (rc && size)
        OPENSSL_cleanse(dst, size);
    tee_state_free(s);
    return rc;
}

uint32_t tee_gcm_encrypt(const uint8_t *key, uint64_t key_size, const uint8_t *iv, uint64_t iv_size,
                         const uint8_t *aad, uint64_t aad_size, const uint8_t *src, uint64_t size, uint8_t *dst,
                         uint8_t *tag, uint64_t tag_size)
{
    struct tee_state *s = NULL;
    uint64_t room = tag_size;
    uint32_t rc = tee_state_new(0x40000810, TEE_MODE_ENCRYPT, &s);

    if (!rc)
        rc = tee_ae_init(s, key, key_size, iv, iv_size, tag_size, aad_size, size);
    if (rc == TEE_ERROR_BAD_STATE)
        rc = TEE_ERROR_BAD_PARAMETERS;
    if (!rc)
        rc = tee_ae_aad(s, aad, aad_size);
    if (!rc)
        rc = tee_ae_enc_final(s, src, size, dst, tag, &room);
    tee_state_free(s);
    return rc;
}

uint32_t tee_cipher_oneshot(uint32_t algo, int encrypt, const uint8_t *key, uint64_t key_size, const uint8_t *iv,
                            uint64_t iv_size, const uint8_t *src, uint64_t size, uint8_t *dst)
{
    struct tee_state *s = NULL;
    uint32_t rc = tee_state_new(algo, encrypt ? TEE_MODE_ENCRYPT : TEE_MODE_DECRYPT, &s);

    if (!rc)
        rc = tee_cipher_init(s, key, key_size, NULL, 0, iv, iv_size);
    if (rc == TEE_ERROR_BAD_STATE)
        rc = TEE_ERROR_BAD_PARAMETERS;
    if (!rc)
        rc = tee_cipher_update(s, true, src, size, dst);
    tee_state_free(s);
    return rc;
}

uint32_t tee_random(uint8_t *out, uint64_t size)
{
    if (!tee_crypto_ready())
        return TEE_ERROR_GENERIC;
    while (size) { /* the generator gives 2^16 bytes a request */
        size_t n = size < 1u << 16 ? size : 1u << 16;

        if (RAND_bytes_ex(tee_libctx(), out, n, 0) != 1)
            return TEE_ERROR_GENERIC;
        out += n;
        size -= n;
    }
    return TEE_SUCCESS;
}
