/* SPDX-License-Identifier: MIT */
/*
 * AES-CCM (NIST SP 800-38C) of CTR and CBC-MAC, streaming over split AAD and payload. libcrypto's
 * CCM takes one payload update, and answers a different tag, silently, for split AAD.
 */
#include <openssl/crypto.h>
#include <string.h>

#include "parts.h"
#include "task.h"

#define BLOCK 16u
#define AAD_SHORT 0xFF00u /* from here on the length takes six bytes */

/* Bytes of the length field q: enough for the payload, at least 2, filled up by a short nonce. */
static size_t length_bytes(uint64_t payload, size_t nonce_size)
{
    size_t q = 0;

    for (; payload; payload >>= 8)
        q++;
    if (q < 2)
        q = 2;
    return 15 - nonce_size > q ? 15 - nonce_size : q;
}

static uint32_t feed(struct tee_state *s, const uint8_t *data, size_t size)
{
    return tee_cbc_mac_feed(s, s->extra, data, size);
}

static uint32_t feed_aad_size(struct tee_state *s)
{
    uint32_t n = (uint32_t)s->aad_size;
    uint8_t head[6] = {0xFF, 0xFE, (uint8_t)(n >> 24), (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n};

    if (!n)
        return TEE_SUCCESS;
    return n < AAD_SHORT ? feed(s, head + 4, 2) : feed(s, head, sizeof(head));
}

/* Zeros up to the end of a block. */
static uint32_t pad(struct tee_state *s)
{
    static const uint8_t zero[BLOCK];

    return s->fill ? feed(s, zero, BLOCK - s->fill) : TEE_SUCCESS;
}

/*
 * A nonce too long for the payload's length is cut, as LibTomCrypt's ccm_add_nonce() does; SP
 * 800-38C would refuse it.
 */
uint32_t tee_ccm_init(struct tee_state *s, const uint8_t *key, size_t key_size, const uint8_t *nonce,
                      size_t nonce_size)
{
    size_t q = length_bytes(s->payload_size, nonce_size);
    uint8_t first[BLOCK] = {0}, counter[BLOCK] = {0}, zero[BLOCK] = {0};
    uint32_t rc;

    if (q > 8)
        return TEE_ERROR_BAD_STATE;
    first[0] = (uint8_t)((s->aad_size ? 0x40 : 0) | (s->tag_size - 2) / 2 << 3 | (q - 1));
    memcpy(first + 1, nonce, 15 - q);
    for (size_t i = 0; i < q && i < 8; i++)
        first[15 - i] = (uint8_t)(s->payload_size >> 8 * i);
    counter[0] = (uint8_t)(q - 1);
    memcpy(counter + 1, nonce, 15 - q);

    s->fill = 0;
    rc = tee_rekey(&s->data, s->algo, TEE_CTR, key, key_size, counter, 1);
    if (!rc)
        rc = tee_rekey(&s->extra, s->algo, TEE_CBC, key, key_size, zero, 1);
    if (!rc && !tee_run(s->data, zero, BLOCK, s->mask)) /* counter 0 hides the tag, 1... the payload */
        rc = TEE_ERROR_BAD_STATE;
    if (!rc)
        rc = feed(s, first, BLOCK);
    if (!rc)
        rc = feed_aad_size(s);
    return rc;
}

uint32_t tee_ccm_aad(struct tee_state *s, const uint8_t *data, size_t size)
{
    uint32_t rc;

    if (size > s->aad_size - s->aad_done)
        return TEE_ERROR_BAD_STATE;
    if (!size)
        return TEE_SUCCESS;
    s->aad_done += size;
    rc = feed(s, data, size);
    if (!rc && s->aad_done == s->aad_size)
        rc = pad(s);
    return rc;
}

uint32_t tee_ccm_update(struct tee_state *s, const uint8_t *src, size_t size, uint8_t *dst)
{
    bool encrypt = s->mode == TEE_MODE_ENCRYPT;
    uint8_t work[TEE_PIECE];
    uint32_t rc = TEE_SUCCESS;

    if (s->aad_done != s->aad_size || size > s->payload_size - s->payload_done)
        return TEE_ERROR_BAD_STATE;
    s->payload_done += size;
    while (size && !rc) { /* through a copy: what is MACed is what is encrypted or handed out */
        size_t n = size < sizeof(work) ? size : sizeof(work);

        if (n == sizeof(work) && size / n % (TEE_LOOK / n) == 0 && tee_task_ended(s->task)) {
            rc = TEE_ERROR_CANCEL;
            break;
        }
        memcpy(work, src, n);
        if (encrypt)
            rc = feed(s, work, n);
        if (!rc && !tee_run(s->data, work, n, work))
            rc = TEE_ERROR_BAD_STATE;
        if (!rc && !encrypt)
            rc = feed(s, work, n);
        memcpy(dst, work, n);
        src += n;
        dst += n;
        size -= n;
    }
    OPENSSL_cleanse(work, sizeof(work));
    return rc;
}

uint32_t tee_ccm_tag(struct tee_state *s, uint8_t tag[TEE_BLOCK_MAX])
{
    uint32_t rc;

    if (s->aad_done != s->aad_size || s->payload_done != s->payload_size)
        return TEE_ERROR_BAD_STATE;
    rc = pad(s);
    if (rc)
        return rc;
    memcpy(tag, s->mac_now, BLOCK);
    tee_xor(tag, s->mask, BLOCK);
    return TEE_SUCCESS;
}
