/* SPDX-License-Identifier: MIT */
/*
 * Drives tee/csrc under AddressSanitizer or valgrind: every algorithm in random pieces with copies
 * and early ends, handlers with random arguments on scattered memory, keys and tags of garbage, and
 * asymmetric keys that are right, nearly right, and wrong.
 * Results are checked by the Python tests; here memory errors, undefined behaviour and leaks are.
 *
 * exercise SEED ROUNDS      exercise bench
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "exercise.h"
#include "native.h"
#include "state.h"
#include "task.h"
#include "user.h"

#define RUN 256u /* bytes of a run of guest memory */
#define RUNS 4u
#define BASE 0x1000u

static const uint32_t algos[] = {
    0x50000001, 0x50000002, 0x50000003, 0x50000004, 0x50000005, 0x50000006, 0x50000007, 0x50000008, 0x50000009,
    0x5000000A, 0x5000000B, 0x50000101, 0x50000102, 0x30000001, 0x30000002, 0x30000003, 0x30000004, 0x30000005,
    0x30000006, 0x30000007, 0x30000008, 0x3000000B, 0x30000610, 0xF0000613, 0x30000110, 0x30000510, 0x30000111,
    0x30000511, 0x30000113, 0x30000513, 0x10000010, 0x10000110, 0x10000210, 0x10000310, 0x10000410, 0x10000011,
    0x10000111, 0x10000013, 0x10000113, 0x10000014, 0x10000114, 0x10000214, 0xF0000414, 0x40000710, 0x40000810,
    0x70414930, 0x99999999,
};
#define ALGOS (sizeof(algos) / sizeof(algos[0]))

static uint64_t seed = 1;

uint32_t dice(uint32_t n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33) % n;
}

uint8_t *block(size_t size)
{
    uint8_t *p = malloc(size ? size : 1);

    if (!p)
        abort();
    for (size_t i = 0; i < size; i++)
        p[i] = (uint8_t)dice(256);
    return p;
}

static void hash_step(struct tee_task *t, uint64_t h)
{
    size_t n = dice(200), room = dice(100);
    uint8_t *data = block(n), *out = block(room);
    uint64_t size = room;

    tee_task_hash_update(t, h, data, n);
    if (!dice(4))
        tee_task_hash_final(t, h, data, n, out, &size);
    free(data);
    free(out);
}

static void cipher_step(struct tee_task *t, uint64_t h)
{
    size_t n = dice(2) ? dice(20) * 16 : dice(200);
    uint8_t *src = block(n), *dst = dice(3) ? block(n) : src;

    tee_task_cipher_update(t, h, !dice(4), src, n, dst);
    if (dst != src)
        free(dst);
    free(src);
}

static void ae_step(struct tee_task *t, uint64_t h)
{
    size_t n = dice(70), room = dice(18);
    uint8_t *src = block(n), *dst = block(n), *tag = block(room);
    uint64_t size = room;

    if (dice(2))
        tee_task_ae_aad(t, h, src, n);
    tee_task_ae_update(t, h, src, n, dst);
    if (!dice(4))
        tee_task_ae_enc_final(t, h, src, n, dst, tag, &size);
    if (!dice(4))
        tee_task_ae_dec_final(t, h, src, n, dst, tag, room);
    free(src);
    free(dst);
    free(tag);
}

static void init(struct tee_task *t, uint64_t h)
{
    static const size_t sizes[] = {8, 16, 16, 16, 24, 32, 0, 5};
    size_t n = sizes[dice(8)], m = dice(8) ? n : dice(40), iv = dice(8) ? (dice(3) ? 16 : 8) : dice(20);
    uint8_t *key1 = block(n), *key2 = block(m), *nonce = block(iv);

    tee_task_hash_init(t, h, key1, n);
    tee_task_cipher_init(t, h, key1, n, key2, m, nonce, iv);
    tee_task_ae_init(t, h, key1, n, nonce, dice(14) < iv ? 12 % (iv + 1) : iv, dice(18), dice(70), dice(200));
    free(key1);
    free(key2);
    free(nonce);
}

static void states(struct tee_task *t, uint32_t rounds)
{
    uint32_t handle[8] = {0};
    uint32_t info[5];

    while (rounds--) {
        uint32_t i = dice(8);
        uint64_t h = dice(20) ? handle[i] : dice(100);

        switch (dice(9)) {
        case 0:
            tee_task_drop(t, h);
            break;
        case 1:
            tee_task_drop(t, handle[i]);
            tee_task_alloc(t, algos[dice(ALGOS)], dice(6) ? dice(2) : dice(7), &handle[i]);
            init(t, handle[i]);
            break;
        case 2:
            if (tee_task_info(t, h, info))
                break;
            tee_task_drop(t, handle[(i + 1) % 8]);
            if (!tee_task_alloc(t, info[0], info[1], &handle[(i + 1) % 8]))
                tee_task_copy(t, handle[(i + 1) % 8], h);
            break;
        case 3:
            if (dice(4))
                init(t, h);
            else
                tee_task_reset(t, h);
            break;
        case 4:
        case 5:
            hash_step(t, h);
            break;
        case 6:
            cipher_step(t, h);
            break;
        default:
            ae_step(t, h);
        }
    }
}

/* The key sizes that fit, by the low byte of an algorithm (TEE_MAIN_ALGO_*). */
static size_t key_size(uint32_t algo)
{
    switch (algo & 0xFF) {
    case 0x11:
        return 8;
    case 0x13:
        return 16 + 8 * dice(2);
    case 0x14:
        return 16;
    default:
        return 16 + 8 * dice(3);
    }
}

static size_t next_piece(size_t left, bool whole)
{
    size_t n = dice((uint32_t)left + 1);

    return whole ? n - n % 16 : n;
}

/* One right message through a state, moved to a copy at each step, maybe given up half way. */
static void message(uint32_t algo, uint32_t mode)
{
    bool ccm = algo == 0x40000710, ae = ccm || algo == 0x40000810, cipher = tee_algo_class(algo) == TEE_CLASS_CIPHER;
    size_t size = key_size(algo), aad = ae ? dice(100) : 0, left = dice(10) ? 16 * dice(20) + dice(2) * dice(16) : 9000;
    size_t iv = ae ? 7 + dice(7) : (algo & 0xFF) == 0x11 || (algo & 0xFF) == 0x13 ? 8 : 16;
    uint8_t *key = block(size), *nonce = block(iv), *data = block(left), tag[64] = {0};
    uint8_t *at = data, *extra = block(aad);
    struct tee_state *s = NULL, *other;
    uint64_t room = sizeof(tag);

    if (tee_state_new(algo, mode, &s))
        goto out;
    tee_hash_init(s, key, size);
    tee_cipher_init(s, key, size, key, size, nonce, iv);
    tee_ae_init(s, key, size, nonce, iv, 8, aad, left);
    tee_ae_aad(s, extra, aad / 3);
    tee_ae_aad(s, extra + aad / 3, aad - aad / 3);
    for (int i = 0; i < 5; i++) {
        size_t n = next_piece(left, cipher);

        if (tee_state_new(algo, mode, &other))
            break;
        tee_state_copy(other, s);
        tee_state_free(s);
        s = other;
        tee_hash_update(s, at, n);
        if (cipher)
            tee_cipher_update(s, false, at, n, at);
        tee_ae_update(s, at, n, at);
        at += n;
        left -= n;
    }
    if (!dice(5))
        goto out;
    if (cipher)
        tee_cipher_update(s, true, at, left, at);
    else if (ae && mode == TEE_MODE_ENCRYPT)
        tee_ae_enc_final(s, at, left, at, tag, &room);
    else if (ae)
        tee_ae_dec_final(s, at, left, at, tag, 8);
    else
        tee_hash_final(s, at, left, tag, &room);
    room = dice(sizeof(tag));
    tee_hash_final(s, NULL, 0, tag, &room); /* more of SHAKE */
    tee_hash_final(s, NULL, 0, tag, &room);
out:
    tee_state_free(s);
    free(key);
    free(nonce);
    free(data);
    free(extra);
}

/* Guest memory: RUNS heap blocks that are neighbours for the guest alone. */
static uint8_t *runs[RUNS];

static bool find(const struct lb_guest *g, uint64_t va, uint64_t size, uint32_t need, struct lb_span *out)
{
    uint64_t at = va - BASE;

    (void)g;
    if (!size || at >= RUN * RUNS || need & LB_EXEC || (need & LB_WRITE && at / RUN == RUNS - 1))
        return false;
    out->host = runs[at / RUN] + at % RUN;
    out->size = size < RUN - at % RUN ? size : RUN - at % RUN;
    out->flags = at / RUN == 1 ? LB_REGION_NONSECURE : LB_REGION_PRIVATE;
    out->prot = at / RUN == RUNS - 1 ? LB_READ : LB_READ | LB_WRITE;
    return true;
}

static uint64_t argument(void)
{
    switch (dice(5)) {
    case 0:
        return dice(12);
    case 1:
        return (uint64_t)dice(1u << 31) << dice(33);
    default:
        return BASE - 8 + dice(RUN * RUNS + 16);
    }
}

static void lay(uint64_t va, const void *data, size_t size)
{
    for (size_t i = 0; i < size; i++)
        runs[(va - BASE + i) / RUN][(va - BASE + i) % RUN] = ((const uint8_t *)data)[i];
}

/* An agreement with the point (x, y), or nearly: its list of attributes lies across two runs. */
static void agreement(struct lb_call *call, uint64_t state, const uint8_t *point)
{
    uint64_t list = BASE + RUN - 20, numbers = BASE + 100;
    struct tee_attribute attrs[2] = {{numbers, 32, TEE_ATTR_ECC_PUBLIC_VALUE_X, 0},
                                     {numbers + 32, dice(9) ? 32 : dice(70), TEE_ATTR_ECC_PUBLIC_VALUE_Y, 0}};

    lay(list, attrs, sizeof(attrs));
    lay(numbers, point, 64);
    call->arg[0] = state;
    call->arg[1] = list;
    call->arg[2] = dice(9) ? 2 : dice(4);
    call->arg[3] = 1 + dice(6);
}

static void park(struct tee_task *t)
{
    uint32_t info[7] = {TEE_ATTR_SECRET_VALUE, 0, 256, TEE_USAGE_DEFAULT, 0, 0, dice(2) ? TEE_HANDLE_FLAG_INITIALIZED : 0};
    uint64_t size = dice(9) ? 32 : dice(80);
    uint8_t *secret = block(size ? size : 1), out[TEE_POINT_MAX];

    if (dice(3))
        tee_task_park(t, dice(7), info, dice(9) ? 66 : dice(80), (struct tee_span){secret, size});
    else
        tee_task_unpark(t, dice(7), info, out, &size);
    free(secret);
}

static void calls(uint32_t rounds)
{
    struct tee_task *t = tee_task_new(8, 400, 1000000, 1000000);
    static const struct lb_guest_ops ops = {.span = find};
    struct lb_guest g = {&ops, NULL, 64};
    uint32_t numbers[32];
    uintptr_t addresses[32];
    uint32_t args[32];
    uint32_t n = tee_native_handlers(numbers, addresses, args, 32);
    uint64_t dropped;
    uint8_t text[300], key[16] = {0}, *pair = block(96);
    struct tee_span d = {pair, 32}, x = {pair + 32, 32}, y = {pair + 64, 32};
    uint32_t h;

    if (!t || tee_task_alloc(t, 0x50000004, 5, &h) || tee_task_hash_init(t, h, NULL, 0) ||
        tee_task_alloc(t, 0x10000210, 0, &h) || tee_task_cipher_init(t, h, key, 16, NULL, 0, key, 16) ||
        tee_task_alloc(t, 0x40000810, 0, &h) || tee_task_ae_init(t, h, key, 16, key, 12, 16, 0, 0) ||
        tee_task_alloc(t, 0x70003042, 2, &h) || tee_ec_generate(3, pair) || tee_task_ready_ec(t, h, 0, 3, d, x, y) ||
        tee_task_alloc(t, 0x70003042, 3, &h) || tee_task_ready_ec(t, h, 1, 3, d, x, y) ||
        tee_task_alloc(t, 0x80000042, 8, &h) || tee_task_ready_ec(t, h, 2, 3, d, x, y))
        abort();
    for (uint32_t i = 0; i < RUNS; i++)
        runs[i] = block(RUN);
    while (rounds--) {
        struct lb_call call = {.number = 0};
        uint32_t which = dice(n);
        uint64_t room = dice(RUN);

        for (int i = 0; i < LB_CALL_ARGS; i++)
            call.arg[i] = argument();
        call.arg[0] = dice(2) ? call.arg[0] : 1 + dice(6);
        if (dice(2)) { /* sizes that fit, else most calls end at the first check */
            call.arg[2] = dice(RUN);
            call.arg[4] = BASE;
            memcpy(runs[0], &room, sizeof(room));
        }
        if (numbers[which] == TEE_SCN_CRYP_DERIVE_KEY && dice(4))
            agreement(&call, h, pair + 32);
        if (!dice(4))
            park(t);
        ((lb_handler)addresses[which])(&g, &call, t);
        if (!dice(50))
            tee_task_log_take(t, text, tee_task_log_size(t) % sizeof(text), &dropped);
    }
    for (uint32_t i = 0; i < RUNS; i++)
        free(runs[i]);
    free(pair);
    tee_task_free(t);
}

static void keys(uint32_t rounds)
{
    static const char pem[] = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE\n-----END PUBLIC KEY-----\n";

    while (rounds--) {
        size_t n = dice(300), e = dice(5);
        uint8_t *a = block(n), *b = block(e), out[64];
        struct tee_key *key = tee_key_from_rsa(a, n, b, e);

        if (key) {
            tee_key_verify(key, 0x70414930, out, 32, a, (uint64_t)(tee_key_bits(key) + 7) / 8);
            tee_key_verify(key, 0x70004830, out, 32, a, n);
            tee_key_number(key, (int)dice(2), out, sizeof(out));
        }
        tee_key_free(key);
        tee_key_free(tee_key_from_pem(dice(2) ? (const uint8_t *)pem : a, dice(2) ? dice(sizeof(pem)) % (n + 1) : n < sizeof(pem) ? n : 0));
        tee_hmac_sha256(a, n, b, e, out);
        tee_gcm_decrypt(a, n < 32 ? n : 16 % (n + 1), b, e, a, n, a, n < 64 ? n : 64, out, b, e);
        free(a);
        free(b);
    }
}

static double now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* Best of many: tee_ae_update() against EVP_EncryptUpdate() over 1 MiB, interleaved. */
static int bench(void)
{
    static uint8_t data[1 << 20], out[1 << 20];
    uint8_t key[16] = {1}, nonce[12] = {2};
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    struct tee_state *s;
    double ours = 1, theirs = 1;
    int n;

    if (!tee_crypto_ready() || tee_state_new(0x40000810, 0, &s) || tee_ae_init(s, key, 16, nonce, 12, 16, 0, 0))
        return 1;
    EVP_EncryptInit_ex2(ctx, tee_fetch_cipher(TEE_AES, TEE_GCM, 16), key, nonce, NULL);
    for (int i = 0; i < 60; i++) {
        double a = now(), b, c;

        tee_ae_update(s, data, sizeof(data), out);
        b = now();
        EVP_EncryptUpdate(ctx, out, &n, data, sizeof(data));
        c = now();
        ours = b - a < ours ? b - a : ours;
        theirs = c - b < theirs ? c - b : theirs;
    }
    printf("%.3f\n", theirs / ours);
    EVP_CIPHER_CTX_free(ctx);
    tee_state_free(s);
    return 0;
}

int main(int argc, char **argv)
{
    uint32_t rounds = argc > 2 ? (uint32_t)atoi(argv[2]) : 1000;
    struct tee_task *t;

    if (argc > 1 && strcmp(argv[1], "bench") == 0)
        return bench();
    seed = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    if (tee_native_ready())
        return 1;
    t = tee_task_new(6, 400, 1000000, 1000000);
    if (!t)
        return 1;
    for (uint32_t i = 0; i < rounds / 2; i++)
        message(algos[i % ALGOS], dice(2));
    states(t, rounds);
    for (int i = 0; i < 20; i++) {
        states(t, rounds / 40);
        calls(rounds / 20);
    }
    keys(rounds / 20);
    asymmetric(rounds);
    lasting(rounds / 20);
    tee_task_close(t);
    states(t, rounds / 40);
    tee_task_free(t);
    tee_task_free(NULL);
    puts("done");
    return 0;
}
