/* SPDX-License-Identifier: MIT */
/* Operations by handle, for Python. */
#include "native.h"

#include "task.h"

/* Bind `s` to the state of `handle` or answer as tee_svc_cryp_get_state() does. */
#define STATE(s)                                            \
    struct tee_state *s = tee_task_find(t, handle);         \
    if (!s)                                                 \
        return TEE_ERROR_BAD_PARAMETERS

uint32_t tee_native_ready(void)
{
    return tee_crypto_ready() ? TEE_SUCCESS : TEE_ERROR_NOT_SUPPORTED;
}

uint32_t tee_task_info(const struct tee_task *t, uint64_t handle, uint32_t out[5])
{
    STATE(s);
    out[0] = s->id;
    out[1] = s->mode;
    out[2] = s->algo ? s->algo->digest_size : 0;
    out[3] = (uint32_t)s->tag_size;
    out[4] = s->phase == TEE_PHASE_ACTIVE || s->phase == TEE_PHASE_EXTRACT;
    return TEE_SUCCESS;
}

uint32_t tee_task_copy(struct tee_task *t, uint64_t dst, uint64_t src)
{
    struct tee_state *to = tee_task_find(t, dst), *from = tee_task_find(t, src);

    if (!to || !from)
        return TEE_ERROR_BAD_PARAMETERS;
    return tee_state_copy(to, from);
}

uint32_t tee_task_reset(struct tee_task *t, uint64_t handle)
{
    STATE(s);
    tee_state_reset(s);
    return TEE_SUCCESS;
}

uint32_t tee_task_hash_init(struct tee_task *t, uint64_t handle, const uint8_t *key, uint64_t size)
{
    STATE(s);
    return tee_hash_init(s, key, size);
}

uint32_t tee_task_hash_update(struct tee_task *t, uint64_t handle, const uint8_t *data, uint64_t size)
{
    STATE(s);
    return tee_hash_update(s, data, size);
}

uint32_t tee_task_hash_final(struct tee_task *t, uint64_t handle, const uint8_t *data, uint64_t size, uint8_t *out,
                             uint64_t *out_size)
{
    STATE(s);
    return tee_hash_final(s, data, size, out, out_size);
}

uint32_t tee_task_cipher_init(struct tee_task *t, uint64_t handle, const uint8_t *key1, uint64_t size1,
                              const uint8_t *key2, uint64_t size2, const uint8_t *iv, uint64_t iv_size)
{
    STATE(s);
    return tee_cipher_init(s, key1, size1, key2, size2, iv, iv_size);
}

uint32_t tee_task_cipher_update(struct tee_task *t, uint64_t handle, int last, const uint8_t *src, uint64_t size,
                                uint8_t *dst)
{
    STATE(s);
    return tee_cipher_update(s, last != 0, src, size, dst);
}

uint32_t tee_task_ae_init(struct tee_task *t, uint64_t handle, const uint8_t *key, uint64_t key_size,
                          const uint8_t *nonce, uint64_t nonce_size, uint64_t tag_size, uint64_t aad_size,
                          uint64_t payload_size)
{
    STATE(s);
    return tee_ae_init(s, key, key_size, nonce, nonce_size, tag_size, aad_size, payload_size);
}

uint32_t tee_task_ae_aad(struct tee_task *t, uint64_t handle, const uint8_t *data, uint64_t size)
{
    STATE(s);
    return tee_ae_aad(s, data, size);
}

uint32_t tee_task_ae_update(struct tee_task *t, uint64_t handle, const uint8_t *src, uint64_t size, uint8_t *dst)
{
    STATE(s);
    return tee_ae_update(s, src, size, dst);
}

uint32_t tee_task_ae_enc_final(struct tee_task *t, uint64_t handle, const uint8_t *src, uint64_t size, uint8_t *dst,
                               uint8_t *tag, uint64_t *tag_size)
{
    STATE(s);
    return tee_ae_enc_final(s, src, size, dst, tag, tag_size);
}

uint32_t tee_task_ae_dec_final(struct tee_task *t, uint64_t handle, const uint8_t *src, uint64_t size, uint8_t *dst,
                               const uint8_t *tag, uint64_t tag_size)
{
    STATE(s);
    return tee_ae_dec_final(s, src, size, dst, tag, tag_size);
}
