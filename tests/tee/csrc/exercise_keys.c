/* SPDX-License-Identifier: MIT */
/* The asymmetric part of exercise.c: keys that are right, nearly right, and wrong. */
#include <stdlib.h>
#include <string.h>

#include "exercise.h"
#include "native.h"

static struct tee_span span(const uint8_t *data, size_t size)
{
    return (struct tee_span){data, size};
}

/* A key of RSA from libcrypto and one of garbage, through every scheme. */
static void rsa(uint32_t rounds)
{
    static const uint32_t hashes[] = {0, 0x50000001, 0x50000002, 0x50000004, 0x50000006, 0x5000000F, 0x50000101, 7};
    static const int paddings[] = {1, 3, 4, 6, 0};
    uint32_t bits = 256 + 16 * dice(40);
    size_t slot = (bits + 7) / 8;
    uint8_t *good = block(7 * slot), *e = block(3);

    memcpy(e, "\1\0\1", 3);
    if (tee_rsa_generate(NULL, bits, span(e, 3), good, slot))
        abort();
    tee_rsa_generate(NULL, dice(600), span(good, dice(40)), good + slot, slot - dice(2)); /* refused, or a number less */
    if (tee_rsa_generate(NULL, bits, span(e, 3), good, slot))
        abort();
    while (rounds--) {
        size_t n = dice(3) ? dice(64) : slot, room = dice(4) ? slot : dice((uint32_t)slot), label = dice(40);
        uint8_t *data = block(n), *out = block(room), *text = block(label);
        struct tee_rsa_scheme scheme = {paddings[dice(5)], hashes[dice(8)], hashes[dice(8)], (int)dice(70) - 3};
        struct tee_span key[8] = {span(good, slot), span(e, 3)};
        uint64_t size = room;

        for (int i = 1; dice(4) && i < 7; i++)
            key[i + 1] = span(good + (size_t)i * slot, slot);
        if (!dice(4))
            key[dice(8)] = span(data, n);
        if (!tee_rsa_crypt(key, &scheme, span(text, label), span(data, n), 0, out, &size) && dice(2)) {
            uint8_t *plain = block(slot);
            uint64_t plain_size = slot;

            tee_rsa_crypt(key, &scheme, span(text, label), span(out, size), 1, plain, &plain_size);
            free(plain);
        }
        size = room;
        tee_rsa_crypt(key, &scheme, span(text, label), span(data, n), 1, out, &size);
        size = room;
        if (!tee_rsa_sign(key, &scheme, span(data, n), out, &size))
            tee_rsa_verify(key, &scheme, span(data, n), span(out, size));
        tee_rsa_verify(key, &scheme, span(data, n), span(text, label));
        free(data);
        free(out);
        free(text);
    }
    free(good);
    free(e);
}

static void finite_fields(uint32_t rounds)
{
    while (rounds--) {
        size_t p = dice(80), q = dice(2) ? 20 : dice(40), slot = p > q ? p : q, n = dice(40);
        uint8_t *prime = block(p), *sub = block(q), *base = block(p), *out = block(2 * slot), *data = block(n);
        struct tee_dsa_key key = {span(prime, p), span(sub, q), span(base, p), span(sub, q), span(base, p)};

        if (p && dice(4))
            prime[p - 1] |= 1;
        tee_dsa_generate(&key, out, slot);
        tee_dh_generate(key.p, key.g, dice(2) ? key.q : span(sub, 0), dice(2) ? p : dice(90), out, slot);
        tee_dh_derive(key.p, key.q, key.g, out, slot);
        tee_dsa_sign(&key, span(data, n), out, q < slot ? q : slot);
        tee_dsa_verify(&key, span(data, n), span(out, dice(2) ? 2 * slot : dice((uint32_t)(2 * slot + 1))));
        free(prime);
        free(sub);
        free(base);
        free(out);
        free(data);
    }
}

static void curves(uint32_t rounds)
{
    static const uint32_t ids[] = {1, 2, 3, 4, 5, 0x400};
    static const size_t sizes[] = {24, 28, 32, 48, 66, 32};

    while (rounds--) {
        uint32_t which = dice(6);
        size_t size = sizes[which], n = dice(100);
        uint8_t *key = block(3 * size), *data = block(n), *sig = block(2 * size), *secret = block(size);
        struct tee_span d, x, y;

        if (tee_ec_generate(ids[which], key))
            abort();
        tee_ec_generate(0x300, key);
        d = span(key, size);
        x = span(key + size, size);
        y = dice(6) ? span(key + 2 * size, size) : span(data, n);
        if (!dice(6))
            d = dice(2) ? span(data, n) : span(key, 0);
        tee_ec_sign(ids[which], d, span(data, n), sig);
        tee_ec_verify(ids[which], x, y, span(data, n), span(sig, dice(6) ? 2 * size : dice((uint32_t)(2 * size))));
        if (ids[which] != 0x400)
            tee_ec_derive(ids[which], d, x, y, secret);
        free(key);
        free(data);
        free(sig);
        free(secret);
    }
}

static void sm2(uint32_t rounds)
{
    while (rounds--) {
        size_t n = dice(120), extra = dice(3) ? n + 97 : dice(200), room = dice(64);
        uint8_t *mine = block(96), *short_lived = block(96), *theirs = block(96), *ephemeral = block(96);
        uint8_t *data = block(n), *sealed = block(n + 97), *other = block(extra), *out = block(room), confirm[32];
        uint8_t *opened = block(n), *fuzzed = block(extra > 97 ? extra - 97 : 0);
        struct tee_sm2_kep k;

        if (tee_ec_generate(0x400, mine) || tee_ec_generate(0x400, short_lived) || tee_ec_generate(0x400, theirs) ||
            tee_ec_generate(0x400, ephemeral))
            abort();
        if (!tee_sm2_encrypt(span(mine + 32, 32), span(mine + 64, 32), span(data, n), sealed))
            tee_sm2_decrypt(span(mine, 32), span(sealed, n + 97), opened);
        tee_sm2_encrypt(span(mine, 32), span(data, n), span(data, n), sealed);
        if (extra)
            other[0] = (uint8_t)dice(9);
        memcpy(other + (extra ? 1 : 0), mine + 32, extra > 65 ? 64 : 0);
        tee_sm2_decrypt(span(mine, 32), span(other, extra), fuzzed);
        k = (struct tee_sm2_kep){
            .d = span(mine, 32), .x = span(mine + 32, 32), .y = span(mine + 64, 32),
            .ephemeral_d = span(short_lived, 32), .ephemeral_x = span(short_lived + 32, 32),
            .ephemeral_y = span(short_lived + 64, 32), .peer_x = span(theirs + 32, 32),
            .peer_y = dice(8) ? span(theirs + 64, 32) : span(data, n), .peer_ephemeral_x = span(ephemeral + 32, 32),
            .peer_ephemeral_y = dice(8) ? span(ephemeral + 64, 32) : span(data, n), .initiator_id = span(data, n),
            .responder_id = span(data, n / 2), .confirmation = span(data, dice(2) ? n : 0), .initiator = (int)dice(2)};
        tee_sm2_exchange(&k, out, room, confirm);
        free(mine);
        free(short_lived);
        free(theirs);
        free(ephemeral);
        free(data);
        free(sealed);
        free(other);
        free(out);
        free(opened);
        free(fuzzed);
    }
}

static void edwards(uint32_t rounds)
{
    static const uint32_t mains[] = {0x43, 0x44, 0x49, 0x45};
    static const size_t sizes[] = {32, 32, 56, 32};

    while (rounds--) {
        uint32_t which = dice(4);
        size_t size = sizes[which], n = dice(200);
        uint8_t *key = block(2 * size), *data = block(n), *sig = block(64), *secret = block(size);
        struct tee_eddsa variant = {span(data, dice((uint32_t)n + 1)), (int)dice(2)};
        struct tee_span public = span(key + size, size);

        tee_raw_generate(mains[which], key);
        tee_raw_derive(mains[which], span(key, size), dice(4) ? public : span(data, n), secret);
        tee_ed25519_sign(span(key, size), span(data, n), sig);
        tee_ed25519_verify(public, span(data, n), span(sig, dice(4) ? 64 : dice(64)));
        if (!tee_ed25519ctx_sign(span(key, size), &variant, span(data, n), sig) && !which && dice(2) &&
            tee_ed25519ctx_verify(public, &variant, span(data, n), span(sig, 64)))
            abort();
        sig[dice(64)] ^= (uint8_t)(1 + dice(255));
        tee_ed25519ctx_verify(dice(2) ? public : span(data, n), &variant, span(data, n), span(sig, 64));
        free(key);
        free(data);
        free(sig);
        free(secret);
    }
}

/* Keys that stay with their operations, replaced, used for what they are not, and forgotten or not. */
static void ready(uint32_t rounds)
{
    struct tee_task *t = tee_task_new(4, 400, 1, 1);
    uint32_t h, other;

    if (!t || tee_task_alloc(t, 0x70003042, 2, &h) || tee_task_alloc(t, 0x70414930, 2, &other))
        abort();
    while (rounds--) {
        uint8_t *key = block(96), *data = block(32), *sig = block(64), *out = block(32), *rsa = block(7 * 64);
        struct tee_span d = span(key, 32), x = span(key + 32, 32), y = span(key + 64, 32), e = span(data, 3);
        struct tee_span numbers[8] = {{0}};
        struct tee_rsa_scheme scheme = {dice(2) ? 6 : 1, dice(2) ? 0x50000004 : 0x50000002, 0, (int)dice(40)};
        uint64_t size = 64, half = 32;
        int use = (int)dice(5) - 1;

        if (tee_ec_generate(3, key))
            abort();
        if (!dice(9))
            tee_task_ready_ec(t, h + 1, use, dice(9), d, x, y);
        if (tee_task_ready_ec(t, h, use, 3, d, x, y))
            use = -1;
        if (!tee_task_sign(t, h, span(data, 32), 0, sig, &size) && !use &&
            tee_ec_verify(3, x, y, span(data, 32), span(sig, 64)))
            abort();
        tee_task_verify(t, h, span(data, 32), 0, span(sig, dice(9) ? 64 : dice(64)));
        tee_task_agree(t, h, dice(9) ? x : d, y, out, &half);
        data[0] = 3;
        data[1] = data[2] = 1;
        if (!tee_rsa_generate(NULL, 512, e, rsa, 64)) {
            numbers[0] = span(rsa, 64);
            numbers[1] = e;
            for (int i = 1; i < 7; i++)
                numbers[i + 1] = span(rsa + 64 * i, 64);
        }
        tee_task_ready_rsa(t, other, (int)dice(4) - 1, numbers, &scheme);
        size = dice(9) ? 64 : dice(64);
        tee_task_sign(t, other, span(data, dice(2) ? 32 : 20), (int)dice(80) - 5, sig, &size);
        tee_task_verify(t, other, span(data, 32), (int)dice(80) - 5, span(sig, 64));
        if (!dice(4))
            tee_task_forget(t, dice(2) ? h : other);
        free(key);
        free(data);
        free(sig);
        free(out);
        free(rsa);
    }
    tee_task_free(t);
}

void asymmetric(uint32_t rounds)
{
    ready(rounds / 60);
    for (uint32_t i = 0; i < 1 + rounds / 2000; i++)
        rsa(rounds / 20);
    finite_fields(rounds / 20);
    curves(rounds / 60);
    sm2(rounds / 100);
    edwards(rounds / 60);
}
