/* SPDX-License-Identifier: MIT */
/* The part of exercise.c that takes long: told to stop at any moment, taken up again or given up. */
#include <stdlib.h>
#include <string.h>

#include "exercise.h"
#include "native.h"
#include "task.h"

static enum lb_stop stops(const struct lb_guest *g)
{
    (void)g;
    return dice(4) ? LB_STOP_NOT : dice(2) ? LB_STOP_PAUSE : LB_STOP_END;
}

/* The same key whether it is stopped on the way or not, unless it is given up. */
static void pbkdf2(const struct tee_task *t)
{
    static const uint32_t hashes[] = {0x50000001, 0x50000002, 0x50000004, 0x50000006, 0x50000007, 0x50000008, 0x5000000B,
                                      0x50000101, 0x10000010, 7};
    size_t key_size = dice(200), salt_size = dice(100), size = dice(150);
    uint8_t *key = block(key_size), *salt = block(salt_size), *out = block(size), *again = block(size);
    struct tee_span password = {key, key_size}, salted = {salt, salt_size};
    struct tee_pbkdf2 at = {0}, whole = {0};
    uint32_t hash = hashes[dice(10)], iterations = dice(5) ? dice(30) : 1024 * dice(5) + dice(3), rc;

    do
        rc = tee_pbkdf2(t, hash, password, salted, iterations, &at, out, size);
    while (rc == TEE_ERROR_CANCEL && dice(50));
    if (!rc && (tee_pbkdf2(NULL, hash, password, salted, iterations, &whole, again, size) || memcmp(out, again, size)))
        abort();
    free(key);
    free(salt);
    free(out);
    free(again);
}

static void rsa(const struct tee_task *t)
{
    uint32_t bits = 256 + 16 * dice(30);
    size_t slot = (bits + 7) / 8;
    uint8_t *out = block(7 * slot), *e = block(3);

    memcpy(e, "\1\0\1", 3);
    tee_rsa_generate(t, bits, (struct tee_span){e, 3}, out, slot);
    free(out);
    free(e);
}

/* More than goes through at once, in place, given up or not. */
static void much(struct tee_task *t)
{
    static const uint32_t algos[] = {0x10000210, 0x10000110, 0x10000310, 0x10000410, 0x40000810, 0x40000710};
    size_t size = 2 * TEE_LOOK + 16 * dice(100), key_size = 16;
    uint8_t *data = block(size), *key = block(key_size), *iv = block(16);
    uint32_t h;

    if (tee_task_alloc(t, algos[dice(6)], 0, &h))
        abort();
    tee_task_cipher_init(t, h, key, key_size, key, key_size, iv, 16);
    tee_task_ae_init(t, h, key, key_size, iv, 12, 16, 0, size);
    tee_task_ae_update(t, h, data, size, data);
    tee_task_cipher_update(t, h, (int)dice(2), data, size, data);
    tee_task_drop(t, h);
    free(data);
    free(key);
    free(iv);
}

void lasting(uint32_t rounds)
{
    static const struct lb_guest_ops ops = {.stop = stops}, deaf = {.stop = NULL};
    struct lb_guest g = {&ops, NULL, 64}, other = {&deaf, NULL, 64};
    struct tee_task *t = tee_task_new(1, 100, 1, 1);

    if (!t)
        abort();
    while (rounds--) {
        tee_task_serve(t, (uintptr_t)(dice(8) ? &g : &other));
        pbkdf2(t);
        if (!dice(4))
            rsa(t);
        if (!dice(16))
            much(t);
    }
    tee_task_close(t);
    pbkdf2(t);
    tee_task_free(t);
}
