/* SPDX-License-Identifier: MIT */
/* Ciphers: ECB, CBC and CTR straight through libcrypto; CTS, XTS in files of their own. */
#include <openssl/crypto.h>
#include <string.h>

#include "parts.h"
#include "task.h"

uint32_t tee_rekey(EVP_CIPHER_CTX **ctx, const struct tee_algo *algo, enum tee_chain chain, const uint8_t *key,
                   size_t key_size, const uint8_t *iv, int encrypt)
{
    EVP_CIPHER *cipher = tee_fetch_cipher(algo->family, chain, key_size);
    uint8_t long_key[24];
    bool ok;

    if (!cipher)
        return TEE_ERROR_BAD_STATE; /* LibTomCrypt's CRYPT_INVALID_KEYSIZE */
    if (!*ctx)
        *ctx = EVP_CIPHER_CTX_new();
    if (!*ctx)
        return TEE_ERROR_OUT_OF_MEMORY;
    if (algo->family == TEE_DES3 && key_size == 16) { /* EDE with K3 = K1, as get_des2_key() */
        memcpy(long_key, key, 16);
        memcpy(long_key + 16, key, 8);
        key = long_key;
    }
    ok = EVP_CIPHER_CTX_reset(*ctx) == 1 && EVP_CipherInit_ex2(*ctx, cipher, key, iv, encrypt, NULL) == 1 &&
         EVP_CIPHER_CTX_set_padding(*ctx, 0) == 1;
    OPENSSL_cleanse(long_key, sizeof(long_key));
    return ok ? TEE_SUCCESS : TEE_ERROR_BAD_STATE;
}

bool tee_run(EVP_CIPHER_CTX *ctx, const uint8_t *src, size_t size, uint8_t *dst)
{
    while (size) {
        int n = (int)(size < TEE_EVP_MAX ? size : TEE_EVP_MAX);
        int done = 0;

        if (EVP_CipherUpdate(ctx, dst, &done, src, n) != 1 || done != n)
            return false;
        src += n;
        if (dst)
            dst += n;
        size -= (size_t)n;
    }
    return true;
}

uint32_t tee_cipher_init(struct tee_state *s, const uint8_t *key1, size_t size1, const uint8_t *key2, size_t size2,
                         const uint8_t *iv, size_t iv_size)
{
    int encrypt = s->mode == TEE_MODE_ENCRYPT;
    const struct tee_algo *a = s->algo;
    uint32_t rc;

    if (!a || (a->kind != TEE_KIND_PLAIN && a->kind != TEE_KIND_CTS && a->kind != TEE_KIND_XTS))
        return TEE_ERROR_BAD_STATE;
    if (s->mode != TEE_MODE_ENCRYPT && s->mode != TEE_MODE_DECRYPT)
        return TEE_ERROR_BAD_PARAMETERS;
    s->phase = TEE_PHASE_NEW;
    if (a->kind == TEE_KIND_PLAIN && a->chain == TEE_ECB)
        iv = NULL;
    else if (iv_size != a->block || !iv)
        return TEE_ERROR_BAD_PARAMETERS;
    if (a->kind == TEE_KIND_XTS)
        rc = tee_xts_init(s, key1, size1, key2, size2, iv);
    else
        rc = tee_rekey(&s->data, a, a->chain, key1, size1, iv, encrypt);
    if (!rc && a->kind == TEE_KIND_CTS)
        rc = tee_rekey(&s->extra, a, TEE_ECB, key1, size1, NULL, encrypt);
    if (!rc)
        s->phase = TEE_PHASE_ACTIVE;
    return rc;
}

/* tee_do_cipher_update(): which lengths a call may have. */
static uint32_t check_size(const struct tee_algo *a, bool last, size_t size)
{
    if (size % a->block == 0 || a->id == TEE_ALG_AES_CTR)
        return TEE_SUCCESS;
    if (!last)
        return TEE_ERROR_BAD_PARAMETERS;
    if (a->id == TEE_ALG_SM4_CTR)
        return TEE_ERROR_NOT_SUPPORTED;
    return a->kind == TEE_KIND_PLAIN ? TEE_ERROR_BAD_PARAMETERS : TEE_SUCCESS;
}

static uint32_t piece(struct tee_state *s, bool last, const uint8_t *src, size_t size, uint8_t *dst)
{
    if (s->algo->kind == TEE_KIND_XTS)
        return tee_xts_update(s, src, size, dst);
    if (s->algo->kind == TEE_KIND_CTS && last)
        return tee_cts_last(s, src, size, dst);
    return tee_run(s->data, src, size, dst) ? TEE_SUCCESS : TEE_ERROR_BAD_STATE;
}

/* What is long goes in pieces, and the last of them is long enough for every kind of end. */
static uint32_t update(struct tee_state *s, bool last, const uint8_t *src, size_t size, uint8_t *dst)
{
    uint32_t rc = check_size(s->algo, last, size);

    for (; !rc && size >= 2 * TEE_LOOK; src += TEE_LOOK, dst += TEE_LOOK, size -= TEE_LOOK)
        rc = tee_task_ended(s->task) ? TEE_ERROR_CANCEL : piece(s, false, src, TEE_LOOK, dst);
    return rc ? rc : piece(s, last, src, size, dst);
}

uint32_t tee_cipher_update(struct tee_state *s, bool last, const uint8_t *src, size_t size, uint8_t *dst)
{
    uint32_t rc = TEE_SUCCESS;

    if (s->phase != TEE_PHASE_ACTIVE)
        return TEE_ERROR_BAD_STATE;
    if (!s->algo || s->algo->kind < TEE_KIND_PLAIN || s->algo->kind > TEE_KIND_XTS)
        return TEE_ERROR_BAD_PARAMETERS;
    if (size)
        rc = update(s, last, src, size, dst);
    if (last)
        s->phase = TEE_PHASE_FINAL;
    return rc;
}
