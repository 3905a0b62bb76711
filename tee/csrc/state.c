/* SPDX-License-Identifier: MIT */
/* Life of a state, and the digests and MACs. */
#include "state.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "parts.h"
#include "ready.h"

/* What tee_svc_cryp.c answers for an algorithm of that class that it does not have. */
static uint32_t unknown(uint32_t id)
{
    switch (tee_algo_class(id)) {
    case TEE_CLASS_CIPHER:
    case TEE_CLASS_AE:
    case TEE_CLASS_DIGEST:
        return TEE_ERROR_NOT_IMPLEMENTED;
    case TEE_CLASS_ASYMMETRIC_CIPHER:
    case TEE_CLASS_ASYMMETRIC_SIGNATURE:
    case TEE_CLASS_KEY_DERIVATION:
        return TEE_SUCCESS;
    default:
        return TEE_ERROR_NOT_SUPPORTED;
    }
}

static bool present(const struct tee_algo *a)
{
    switch (a->kind) {
    case TEE_KIND_DIGEST:
        return tee_fetch_md(a->digest) != NULL;
    case TEE_KIND_XOF:
        return true;
    case TEE_KIND_HMAC:
        return tee_fetch_md(a->digest) && tee_fetch_mac(false);
    case TEE_KIND_CMAC:
        return tee_family_present(a->family) && tee_fetch_mac(true);
    default:
        return tee_family_present(a->family);
    }
}

uint32_t tee_state_new(uint32_t algo, uint32_t mode, struct tee_state **out)
{
    const struct tee_algo *a = algo == TEE_ALG_MD5SHA1 ? NULL : tee_algo_find(algo);
    struct tee_state *s;
    uint32_t rc = a ? TEE_SUCCESS : unknown(algo);

    *out = NULL;
    if (rc)
        return rc;
    if (a && !present(a))
        return TEE_ERROR_NOT_IMPLEMENTED;
    s = calloc(1, sizeof(*s));
    if (!s)
        return TEE_ERROR_OUT_OF_MEMORY;
    s->algo = a;
    s->id = algo;
    s->mode = mode;
    *out = s;
    return TEE_SUCCESS;
}

void tee_state_reset(struct tee_state *s)
{
    const struct tee_algo *a = s->algo;
    const struct tee_task *task = s->task;
    uint32_t id = s->id, mode = s->mode;

    EVP_MD_CTX_free(s->md);
    EVP_MAC_CTX_free(s->mac);
    EVP_CIPHER_CTX_free(s->data);
    EVP_CIPHER_CTX_free(s->extra);
    tee_ready_free(s->ready);
    OPENSSL_cleanse(s, sizeof(*s));
    s->algo = a;
    s->task = task;
    s->id = id;
    s->mode = mode;
}

void tee_state_free(struct tee_state *s)
{
    if (!s)
        return;
    tee_state_reset(s);
    free(s);
}

static bool copy_cipher(EVP_CIPHER_CTX **dst, const EVP_CIPHER_CTX *src)
{
    if (!src)
        return true;
    *dst = EVP_CIPHER_CTX_new();
    return *dst && EVP_CIPHER_CTX_copy(*dst, src) == 1;
}

static bool copy_contexts(struct tee_state *dst, const struct tee_state *src)
{
    if (src->md) {
        dst->md = EVP_MD_CTX_new();
        if (!dst->md || EVP_MD_CTX_copy_ex(dst->md, src->md) != 1)
            return false;
    }
    if (src->mac) {
        dst->mac = EVP_MAC_CTX_dup(src->mac);
        if (!dst->mac)
            return false;
    }
    return copy_cipher(&dst->data, src->data) && copy_cipher(&dst->extra, src->extra);
}

uint32_t tee_state_copy(struct tee_state *dst, const struct tee_state *src)
{
    struct tee_state fresh;

    if (dst->id != src->id || dst->mode != src->mode)
        return TEE_ERROR_BAD_PARAMETERS;
    if (!src->algo)
        return TEE_ERROR_BAD_STATE;
    if (dst == src)
        return TEE_SUCCESS;
    fresh = *src;
    fresh.md = NULL;
    fresh.mac = NULL;
    fresh.data = fresh.extra = NULL;
    if (src->phase != TEE_PHASE_FINAL && !copy_contexts(&fresh, src)) {
        tee_state_reset(&fresh);
        return TEE_ERROR_OUT_OF_MEMORY;
    }
    tee_state_reset(dst);
    *dst = fresh;
    OPENSSL_cleanse(&fresh, sizeof(fresh));
    return TEE_SUCCESS;
}

static uint32_t digest_init(struct tee_state *s)
{
    if (!s->md)
        s->md = EVP_MD_CTX_new();
    if (!s->md)
        return TEE_ERROR_OUT_OF_MEMORY;
    if (EVP_DigestInit_ex2(s->md, tee_fetch_md(s->algo->digest), NULL) != 1)
        return TEE_ERROR_BAD_STATE;
    return TEE_SUCCESS;
}

static uint32_t evp_mac_init(struct tee_state *s, const uint8_t *key, size_t size)
{
    bool cmac = s->algo->kind == TEE_KIND_CMAC;
    uint8_t long_key[24];
    const char *name;
    OSSL_PARAM params[2];
    EVP_CIPHER *cipher;
    uint32_t rc = TEE_ERROR_BAD_STATE;

    if (!size)
        return TEE_ERROR_BAD_STATE;
    if (cmac) {
        cipher = tee_fetch_cipher(s->algo->family, TEE_CBC, size);
        if (!cipher)
            return TEE_ERROR_BAD_STATE;
        if (s->algo->family == TEE_DES3 && size == 16) { /* EDE with K3 = K1 */
            memcpy(long_key, key, 16);
            memcpy(long_key + 16, key, 8);
            key = long_key;
            size = sizeof(long_key);
        }
        name = EVP_CIPHER_get0_name(cipher);
    } else {
        name = s->algo->digest;
    }
    params[0] = OSSL_PARAM_construct_utf8_string(cmac ? OSSL_MAC_PARAM_CIPHER : OSSL_MAC_PARAM_DIGEST,
                                                 (char *)(uintptr_t)name, 0);
    params[1] = OSSL_PARAM_construct_end();
    EVP_MAC_CTX_free(s->mac); /* a new one: the key's size, hence the cipher, may differ */
    s->mac = EVP_MAC_CTX_new(tee_fetch_mac(cmac));
    if (s->mac && EVP_MAC_init(s->mac, key, size, params) == 1)
        rc = TEE_SUCCESS;
    OPENSSL_cleanse(long_key, sizeof(long_key));
    return rc;
}

uint32_t tee_hash_init(struct tee_state *s, const uint8_t *key, size_t size)
{
    uint32_t rc;

    if (!s->algo)
        return TEE_ERROR_BAD_PARAMETERS;
    s->phase = TEE_PHASE_NEW;
    switch (s->algo->kind) {
    case TEE_KIND_DIGEST:
        rc = digest_init(s);
        break;
    case TEE_KIND_XOF:
        tee_keccak_init(&s->sponge, s->algo->block);
        rc = TEE_SUCCESS;
        break;
    case TEE_KIND_HMAC:
    case TEE_KIND_CMAC:
        rc = evp_mac_init(s, key, size);
        break;
    case TEE_KIND_CBC_MAC:
        rc = tee_cbc_mac_init(s, key, size);
        break;
    default:
        return TEE_ERROR_BAD_PARAMETERS;
    }
    if (!rc)
        s->phase = TEE_PHASE_ACTIVE;
    return rc;
}

static bool is_hash(const struct tee_state *s)
{
    return s->algo && s->algo->kind >= TEE_KIND_DIGEST && s->algo->kind <= TEE_KIND_CBC_MAC;
}

uint32_t tee_hash_update(struct tee_state *s, const uint8_t *data, size_t size)
{
    if (s->phase != TEE_PHASE_ACTIVE)
        return TEE_ERROR_BAD_STATE;
    if (!is_hash(s))
        return TEE_ERROR_BAD_PARAMETERS;
    if (!size)
        return TEE_SUCCESS;
    if (s->algo->kind == TEE_KIND_CBC_MAC)
        return tee_cbc_mac_feed(s, s->data, data, size);
    if (s->algo->kind == TEE_KIND_XOF) {
        tee_keccak_absorb(&s->sponge, data, size);
        return TEE_SUCCESS;
    }
    if (s->mac)
        return EVP_MAC_update(s->mac, data, size) == 1 ? TEE_SUCCESS : TEE_ERROR_BAD_STATE;
    return EVP_DigestUpdate(s->md, data, size) == 1 ? TEE_SUCCESS : TEE_ERROR_BAD_STATE;
}

static uint32_t finish(struct tee_state *s, uint8_t *out)
{
    size_t done = 0;

    switch (s->algo->kind) {
    case TEE_KIND_CBC_MAC:
        return tee_cbc_mac_final(s, out);
    case TEE_KIND_DIGEST:
        return EVP_DigestFinal_ex(s->md, out, NULL) == 1 ? TEE_SUCCESS : TEE_ERROR_BAD_STATE;
    default:
        return EVP_MAC_final(s->mac, out, &done, s->algo->digest_size) == 1 ? TEE_SUCCESS : TEE_ERROR_BAD_STATE;
    }
}

uint32_t tee_hash_final(struct tee_state *s, const uint8_t *data, size_t size, uint8_t *out, uint64_t *out_size)
{
    uint32_t rc;

    if (s->phase == TEE_PHASE_EXTRACT && !size) {
        tee_keccak_squeeze(&s->sponge, out, *out_size);
        return TEE_SUCCESS;
    }
    if (s->phase != TEE_PHASE_ACTIVE)
        return TEE_ERROR_BAD_STATE;
    if (!is_hash(s))
        return TEE_ERROR_BAD_PARAMETERS;
    if (s->algo->kind != TEE_KIND_XOF && *out_size < s->algo->digest_size) {
        *out_size = s->algo->digest_size;
        return TEE_ERROR_SHORT_BUFFER;
    }
    rc = tee_hash_update(s, data, size);
    if (rc)
        return rc;
    if (s->algo->kind == TEE_KIND_XOF) {
        s->phase = TEE_PHASE_EXTRACT;
        tee_keccak_pad(&s->sponge);
        tee_keccak_squeeze(&s->sponge, out, *out_size);
        return TEE_SUCCESS;
    }
    rc = finish(s, out);
    if (rc)
        return rc;
    *out_size = s->algo->digest_size;
    s->phase = TEE_PHASE_FINAL;
    return TEE_SUCCESS;
}
