/* SPDX-License-Identifier: MIT */
/* The part of exercise.c that takes long: told to stop at any moment, taken up again or given up. */
#include <stdlib.h>
#include <string.h>

#include "exercise.h"
#include "native.h"
#include "task.h"

static bool stops(const struct lb_guest *g)
{
    (void)g;
    return !dice(4);
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

void lasting(uint32_t rounds)
{
    static const struct lb_guest_ops ops = {.stopped = stops}, deaf = {.stopped = NULL};
    struct lb_guest g = {&ops, NULL, 64}, other = {&deaf, NULL, 64};
    struct tee_task *t = tee_task_new(1, 100, 1, 1);

    if (!t)
        abort();
    while (rounds--) {
        tee_task_serve(t, (uintptr_t)(dice(8) ? &g : &other));
        pbkdf2(t);
        if (!dice(4))
            rsa(t);
    }
    tee_task_close(t);
    pbkdf2(t);
    tee_task_free(t);
}
