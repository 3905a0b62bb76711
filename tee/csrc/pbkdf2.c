/* SPDX-License-Identifier: MIT */
/*
 * PBKDF2 (RFC 8018 section 5.2) that can be stopped and taken up again. libcrypto's own runs to its
 * end whatever happens, and millions of iterations take seconds.
 *
 * An HMAC is made of two copies of contexts that have taken the padded key already (RFC 2104).
 */
#include <openssl/crypto.h>
#include <string.h>

#include "asym.h"
#include "task.h"

#define LOOK 1024u      /* HMACs between two looks at whether to stop: 0.2 to 0.7 ms */
#define BLOCK_MAX 144u  /* octets of input that a hash takes at once: SHA3-224 */

struct hmac {
    EVP_MD_CTX *inner, *outer, *now;
    size_t size; /* octets of the hash */
};

static bool padded(EVP_MD_CTX *ctx, EVP_MD *md, const uint8_t key[BLOCK_MAX], size_t block, uint8_t pad)
{
    uint8_t text[BLOCK_MAX];
    bool ok;

    for (size_t i = 0; i < block; i++)
        text[i] = key[i] ^ pad;
    ok = ctx && EVP_DigestInit_ex2(ctx, md, NULL) == 1 && EVP_DigestUpdate(ctx, text, block) == 1;
    OPENSSL_cleanse(text, sizeof(text));
    return ok;
}

/* A long key is hashed first. */
static bool hmac_begin(struct hmac *h, EVP_MD *md, struct tee_span key)
{
    uint8_t text[BLOCK_MAX] = {0};
    size_t block = (size_t)EVP_MD_get_block_size(md);
    bool ok = block <= sizeof(text);

    h->size = (size_t)EVP_MD_get_size(md);
    h->inner = EVP_MD_CTX_new();
    h->outer = EVP_MD_CTX_new();
    h->now = EVP_MD_CTX_new();
    if (ok && key.size > block)
        ok = EVP_Digest(key.data, key.size, text, NULL, md, NULL) == 1;
    else if (ok && key.size)
        memcpy(text, key.data, key.size);
    ok = ok && h->now && padded(h->inner, md, text, block, 0x36) && padded(h->outer, md, text, block, 0x5C);
    OPENSSL_cleanse(text, sizeof(text));
    return ok;
}

static void hmac_end(struct hmac *h)
{
    EVP_MD_CTX_free(h->inner);
    EVP_MD_CTX_free(h->outer);
    EVP_MD_CTX_free(h->now);
}

/* Of `text` and, unless it is NULL, four octets more. `out` may be `text`. */
static bool hmac(struct hmac *h, const uint8_t *text, size_t size, const uint8_t more[4], uint8_t *out)
{
    return EVP_MD_CTX_copy_ex(h->now, h->inner) == 1 && EVP_DigestUpdate(h->now, text, size) == 1 &&
           (!more || EVP_DigestUpdate(h->now, more, 4) == 1) && EVP_DigestFinal_ex(h->now, out, NULL) == 1 &&
           EVP_MD_CTX_copy_ex(h->now, h->outer) == 1 && EVP_DigestUpdate(h->now, out, h->size) == 1 &&
           EVP_DigestFinal_ex(h->now, out, NULL) == 1;
}

/* Iterations [from, to) of one block, whose number counts from 1. */
static bool iterate(struct hmac *h, struct tee_span salt, uint32_t block, uint64_t from, uint64_t to, uint8_t *u,
                    uint8_t *out, size_t size)
{
    uint8_t number[4] = {(uint8_t)(block >> 24), (uint8_t)(block >> 16), (uint8_t)(block >> 8), (uint8_t)block};

    if (!from) {
        if (!hmac(h, salt.data, salt.size, number, u))
            return false;
        memcpy(out, u, size);
        from++;
    }
    while (from++ < to) {
        if (!hmac(h, u, h->size, NULL, u))
            return false;
        for (size_t i = 0; i < size; i++)
            out[i] ^= u[i];
    }
    return true;
}

static uint32_t run(const struct tee_task *t, struct hmac *h, struct tee_span salt, uint64_t iterations,
                    struct tee_pbkdf2 *at, uint8_t *out, size_t size)
{
    while (at->block * h->size < size) {
        size_t start = at->block * h->size, part = size - start < h->size ? size - start : h->size;
        uint64_t to = iterations - at->done < LOOK ? iterations : at->done + LOOK;

        if (tee_task_stopped(t))
            return TEE_ERROR_CANCEL;
        if (!iterate(h, salt, at->block + 1, at->done, to, at->u, out + start, part))
            return TEE_ERROR_OUT_OF_MEMORY;
        at->done = to;
        if (to == iterations) {
            at->block++;
            at->done = 0;
        }
    }
    return TEE_SUCCESS;
}

static uint32_t derive(const struct tee_task *t, EVP_MD *md, struct tee_span password, struct tee_span salt,
                       uint64_t iterations, struct tee_pbkdf2 *at, uint8_t *out, size_t size)
{
    struct hmac h = {0};
    uint32_t rc = TEE_ERROR_OUT_OF_MEMORY;

    if (hmac_begin(&h, md, password))
        rc = run(t, &h, salt, iterations, at, out, size);
    if (rc != TEE_ERROR_CANCEL)
        OPENSSL_cleanse(at, sizeof(*at));
    hmac_end(&h);
    return rc;
}

uint32_t tee_pbkdf2(const struct tee_task *t, uint32_t hash, struct tee_span password, struct tee_span salt,
                    uint32_t iterations, struct tee_pbkdf2 *at, uint8_t *out, uint64_t size)
{
    const struct tee_algo *algo = tee_algo_find(hash);
    EVP_MD *md = algo && algo->kind == TEE_KIND_DIGEST ? tee_fetch_md(algo->digest) : NULL;

    if (!md)
        return TEE_ERROR_NOT_SUPPORTED;
    if (!iterations || size > UINT32_MAX)
        return TEE_ERROR_BAD_PARAMETERS;
    TEE_QUIETLY(derive(t, md, password, salt, iterations, at, out, size));
}
