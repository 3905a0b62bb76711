/* SPDX-License-Identifier: MIT */
/* Authenticated encryption: the common part, and AES-GCM on libcrypto's own. CCM is in ccm.c. */
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <string.h>

#include "parts.h"
#include "task.h"

#define CCM_NONCE_MAX 13u
#define GCM_NONCE_MAX 128u /* libcrypto's limit */

static uint32_t gcm_init(struct tee_state *s, const uint8_t *key, size_t key_size, const uint8_t *nonce,
                         size_t nonce_size)
{
    EVP_CIPHER *cipher = tee_fetch_cipher(TEE_AES, TEE_GCM, key_size);
    int encrypt = s->mode == TEE_MODE_ENCRYPT;
    uint8_t same[TEE_BLOCK_MAX];

    if (!cipher)
        return TEE_ERROR_BAD_STATE;
    if (s->tag_size > TEE_BLOCK_MAX || !s->tag_size)
        return TEE_ERROR_BAD_PARAMETERS;
    if (!nonce_size || nonce_size > GCM_NONCE_MAX) {
        uint32_t rc = tee_gcm_one_block_nonce(key, key_size, nonce, nonce_size, same);

        if (rc)
            return rc;
        nonce = same;
        nonce_size = sizeof(same);
    }
    if (!s->data)
        s->data = EVP_CIPHER_CTX_new();
    if (!s->data)
        return TEE_ERROR_OUT_OF_MEMORY;
    if (EVP_CIPHER_CTX_reset(s->data) != 1 || EVP_CipherInit_ex2(s->data, cipher, NULL, NULL, encrypt, NULL) != 1 ||
        EVP_CIPHER_CTX_ctrl(s->data, EVP_CTRL_AEAD_SET_IVLEN, (int)nonce_size, NULL) != 1 ||
        EVP_CipherInit_ex2(s->data, NULL, key, nonce, encrypt, NULL) != 1)
        return TEE_ERROR_BAD_STATE;
    return TEE_SUCCESS;
}

static uint32_t ccm_check(size_t nonce_size, size_t tag_size, uint64_t aad_size, uint64_t payload_size)
{
    if (nonce_size > CCM_NONCE_MAX || payload_size > INT32_MAX || aad_size > INT32_MAX)
        return TEE_ERROR_BAD_PARAMETERS;
    if (tag_size < 4 || tag_size > 16 || tag_size % 2)
        return TEE_ERROR_NOT_SUPPORTED;
    return TEE_SUCCESS;
}

uint32_t tee_ae_init(struct tee_state *s, const uint8_t *key, size_t key_size, const uint8_t *nonce,
                     size_t nonce_size, size_t tag_size, uint64_t aad_size, uint64_t payload_size)
{
    uint32_t rc;

    if (!s->algo || (s->algo->kind != TEE_KIND_GCM && s->algo->kind != TEE_KIND_CCM))
        return TEE_ERROR_BAD_STATE;
    if (s->mode != TEE_MODE_ENCRYPT && s->mode != TEE_MODE_DECRYPT)
        return TEE_ERROR_BAD_PARAMETERS;
    s->phase = TEE_PHASE_NEW;
    s->tag_size = tag_size;
    s->aad_size = aad_size;
    s->payload_size = payload_size;
    s->aad_done = s->payload_done = 0;
    if (s->algo->kind == TEE_KIND_GCM) {
        rc = gcm_init(s, key, key_size, nonce, nonce_size);
    } else {
        rc = ccm_check(nonce_size, tag_size, aad_size, payload_size);
        if (!rc)
            rc = tee_ccm_init(s, key, key_size, nonce, nonce_size);
    }
    if (!rc)
        s->phase = TEE_PHASE_ACTIVE;
    return rc;
}

static bool active(const struct tee_state *s)
{
    return s->phase == TEE_PHASE_ACTIVE && s->algo && s->algo->kind >= TEE_KIND_GCM;
}

uint32_t tee_ae_aad(struct tee_state *s, const uint8_t *data, size_t size)
{
    if (!active(s))
        return TEE_ERROR_BAD_STATE;
    if (s->algo->kind == TEE_KIND_CCM)
        return tee_ccm_aad(s, data, size);
    if (s->payload_done)
        return TEE_ERROR_BAD_PARAMETERS;
    if (!tee_run(s->data, data, size, NULL))
        return TEE_ERROR_BAD_STATE;
    s->aad_done += size;
    return TEE_SUCCESS;
}

uint32_t tee_ae_update(struct tee_state *s, const uint8_t *src, size_t size, uint8_t *dst)
{
    size_t whole = size;

    if (!active(s))
        return TEE_ERROR_BAD_STATE;
    if (s->algo->kind == TEE_KIND_CCM)
        return tee_ccm_update(s, src, size, dst);
    for (; size >= 2 * TEE_LOOK; src += TEE_LOOK, dst += TEE_LOOK, size -= TEE_LOOK) {
        if (tee_task_ended(s->task))
            return TEE_ERROR_CANCEL;
        if (!tee_run(s->data, src, TEE_LOOK, dst))
            return TEE_ERROR_BAD_STATE;
    }
    if (!tee_run(s->data, src, size, dst))
        return TEE_ERROR_BAD_STATE;
    s->payload_done += whole;
    return TEE_SUCCESS;
}

uint32_t tee_ae_enc_final(struct tee_state *s, const uint8_t *src, size_t size, uint8_t *dst, uint8_t *tag,
                          uint64_t *tag_size)
{
    uint8_t full[TEE_BLOCK_MAX];
    uint32_t rc;
    int none = 0;

    if (s->phase != TEE_PHASE_ACTIVE)
        return TEE_ERROR_BAD_STATE;
    if (s->mode != TEE_MODE_ENCRYPT)
        return TEE_ERROR_BAD_PARAMETERS;
    if (!active(s))
        return TEE_ERROR_BAD_STATE;
    if (*tag_size < s->tag_size) {
        *tag_size = s->tag_size;
        return TEE_ERROR_SHORT_BUFFER;
    }
    rc = tee_ae_update(s, src, size, dst);
    if (rc)
        return rc;
    if (s->algo->kind == TEE_KIND_CCM)
        rc = tee_ccm_tag(s, full);
    else if (EVP_CipherFinal_ex(s->data, full, &none) != 1 ||
             EVP_CIPHER_CTX_ctrl(s->data, EVP_CTRL_AEAD_GET_TAG, (int)s->tag_size, full) != 1)
        rc = TEE_ERROR_BAD_STATE;
    if (rc)
        return rc;
    memcpy(tag, full, s->tag_size);
    *tag_size = s->tag_size;
    s->phase = TEE_PHASE_FINAL;
    return TEE_SUCCESS;
}

static uint32_t gcm_check(struct tee_state *s, const uint8_t *tag)
{
    uint8_t copy[TEE_BLOCK_MAX];
    int none = 0;
    uint32_t rc = TEE_ERROR_BAD_STATE;

    memcpy(copy, tag, s->tag_size);
    ERR_set_mark();
    if (EVP_CIPHER_CTX_ctrl(s->data, EVP_CTRL_AEAD_SET_TAG, (int)s->tag_size, copy) == 1)
        rc = EVP_CipherFinal_ex(s->data, copy, &none) == 1 ? TEE_SUCCESS : TEE_ERROR_MAC_INVALID;
    ERR_pop_to_mark();
    return rc;
}

uint32_t tee_ae_dec_final(struct tee_state *s, const uint8_t *src, size_t size, uint8_t *dst, const uint8_t *tag,
                          size_t tag_size)
{
    bool ccm = s->algo && s->algo->kind == TEE_KIND_CCM;
    uint8_t right[TEE_BLOCK_MAX];
    uint32_t rc;

    if (s->phase != TEE_PHASE_ACTIVE)
        return TEE_ERROR_BAD_STATE;
    if (s->mode != TEE_MODE_DECRYPT)
        return TEE_ERROR_BAD_PARAMETERS;
    if (!active(s))
        return TEE_ERROR_BAD_STATE;
    if (ccm && !tag_size)
        return TEE_ERROR_SHORT_BUFFER;
    if (ccm && tag_size > TEE_BLOCK_MAX)
        return TEE_ERROR_BAD_STATE;
    if (tag_size != s->tag_size)
        return TEE_ERROR_MAC_INVALID;
    rc = tee_ae_update(s, src, size, dst);
    if (!rc && ccm)
        rc = tee_ccm_tag(s, right);
    if (rc)
        return rc;
    s->phase = TEE_PHASE_FINAL;
    if (!ccm)
        return gcm_check(s, tag);
    return CRYPTO_memcmp(right, tag, tag_size) == 0 ? TEE_SUCCESS : TEE_ERROR_MAC_INVALID;
}
