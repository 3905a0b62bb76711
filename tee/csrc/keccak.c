/* SPDX-License-Identifier: MIT */
#include "keccak.h"

#include <endian.h>
#include <string.h>

#define ROUNDS 24u
#define LANE 8u
#define UNROLLED _Pragma("GCC unroll 25") /* with constant indices lanes stay in registers: three times as fast */
#define SHAKE_SUFFIX 0x1F /* 1111, then the first bit of the padding */
#define LAST_BIT 0x80     /* the last one of the padding, in the last byte of the rate */

static inline uint64_t rotate(uint64_t lane, unsigned by)
{
    return lane << by | lane >> (64 - by);
}

/* Rounds of theta, rho and pi, chi, iota. */
static void permute(uint64_t lanes[TEE_KECCAK_LANES])
{
    static const uint64_t constants[ROUNDS] = {
        0x0000000000000001, 0x0000000000008082, 0x800000000000808A, 0x8000000080008000, 0x000000000000808B,
        0x0000000080000001, 0x8000000080008081, 0x8000000000008009, 0x000000000000008A, 0x0000000000000088,
        0x0000000080008009, 0x000000008000000A, 0x000000008000808B, 0x800000000000008B, 0x8000000000008089,
        0x8000000000008003, 0x8000000000008002, 0x8000000000000080, 0x000000000000800A, 0x800000008000000A,
        0x8000000080008081, 0x8000000000008080, 0x0000000080000001, 0x8000000080008008,
    };
    /* pi moves the lanes in one circle; it begins at lane 1, rho turns each on its way */
    static const uint8_t to[24] = {10, 7, 11, 17, 18, 3, 5, 16, 8, 21, 24, 4, 15, 23, 19, 13, 12, 2, 20, 14, 22, 9, 6, 1};
    static const uint8_t turn[24] = {1,  3,  6,  10, 15, 21, 28, 36, 45, 55, 2,  14,
                                     27, 41, 56, 8,  25, 43, 62, 18, 39, 61, 20, 44};
    uint64_t a[TEE_KECCAK_LANES], column[5], moved, next;

    memcpy(a, lanes, sizeof(a));
    for (unsigned round = 0; round < ROUNDS; round++) {
        UNROLLED
        for (unsigned x = 0; x < 5; x++)
            column[x] = a[x] ^ a[x + 5] ^ a[x + 10] ^ a[x + 15] ^ a[x + 20];
        UNROLLED
        for (unsigned x = 0; x < 5; x++) {
            next = column[(x + 4) % 5] ^ rotate(column[(x + 1) % 5], 1);
            UNROLLED
            for (unsigned y = 0; y < 25; y += 5)
                a[x + y] ^= next;
        }
        moved = a[1];
        UNROLLED
        for (unsigned i = 0; i < 24; i++) {
            next = a[to[i]];
            a[to[i]] = rotate(moved, turn[i]);
            moved = next;
        }
        UNROLLED
        for (unsigned y = 0; y < 25; y += 5) {
            memcpy(column, a + y, sizeof(column));
            UNROLLED
            for (unsigned x = 0; x < 5; x++)
                a[x + y] = column[x] ^ (~column[(x + 1) % 5] & column[(x + 2) % 5]);
        }
        a[0] ^= constants[round];
    }
    memcpy(lanes, a, sizeof(a));
}

static void xor_byte(struct tee_keccak *k, uint32_t at, uint8_t byte)
{
    k->lanes[at / LANE] ^= (uint64_t)byte << 8 * (at % LANE);
}

void tee_keccak_init(struct tee_keccak *k, uint32_t rate)
{
    *k = (struct tee_keccak){.rate = rate};
}

void tee_keccak_absorb(struct tee_keccak *k, const uint8_t *data, size_t size)
{
    while (size) {
        uint64_t lane;

        if (k->at % LANE || size < LANE) {
            xor_byte(k, k->at++, *data++);
            size--;
        } else {
            memcpy(&lane, data, LANE);
            k->lanes[k->at / LANE] ^= le64toh(lane);
            k->at += LANE;
            data += LANE;
            size -= LANE;
        }
        if (k->at == k->rate) {
            permute(k->lanes);
            k->at = 0;
        }
    }
}

void tee_keccak_pad(struct tee_keccak *k)
{
    xor_byte(k, k->at, SHAKE_SUFFIX);
    xor_byte(k, k->rate - 1, LAST_BIT);
    permute(k->lanes);
    k->at = 0;
}

void tee_keccak_squeeze(struct tee_keccak *k, uint8_t *out, size_t size)
{
    while (size) {
        uint64_t lane;

        if (k->at == k->rate) {
            permute(k->lanes);
            k->at = 0;
        }
        if (k->at % LANE || size < LANE) {
            *out++ = (uint8_t)(k->lanes[k->at / LANE] >> 8 * (k->at % LANE));
            k->at++;
            size--;
        } else {
            lane = htole64(k->lanes[k->at / LANE]);
            memcpy(out, &lane, LANE);
            k->at += LANE;
            out += LANE;
            size -= LANE;
        }
    }
}
