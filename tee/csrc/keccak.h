/* SPDX-License-Identifier: MIT */
/*
 * The sponge of SHAKE128 and SHAKE256, streamed: any number of bytes in, then any number out, in a fixed state.
 *
 * libcrypto gives a XOF's output once and in one piece before 3.3, so that a TA that extracts again would have to be
 * given all of it to keep. Source: FIPS 202 sections 3.2 (the permutation), 4 (the sponge), 6.2 (padding).
 */
#ifndef TEE_KECCAK_H
#define TEE_KECCAK_H

#include <stddef.h>
#include <stdint.h>

#define TEE_KECCAK_LANES 25u

struct tee_keccak {
    uint64_t lanes[TEE_KECCAK_LANES]; /* lane x + 5y */
    uint32_t rate; /* bytes that go in or come out between two permutations, a multiple of 8 */
    uint32_t at;   /* bytes of them that are used */
};

/* rate: 168 for SHAKE128, 136 for SHAKE256. */
void tee_keccak_init(struct tee_keccak *k, uint32_t rate);
void tee_keccak_absorb(struct tee_keccak *k, const uint8_t *data, size_t size);
/* No more input: SHAKE's suffix and the padding. */
void tee_keccak_pad(struct tee_keccak *k);
void tee_keccak_squeeze(struct tee_keccak *k, uint8_t *out, size_t size);

#endif
