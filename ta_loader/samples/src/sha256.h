/* SPDX-License-Identifier: MIT */
#ifndef SAMPLE_SHA256_H
#define SAMPLE_SHA256_H

#include <stddef.h>
#include <stdint.h>

#define SAMPLE_SHA256_SIZE 32

/* SHA-256 (FIPS 180-4) of `size` bytes at `data`. */
void sample_sha256(const uint8_t *data, size_t size, uint8_t digest[SAMPLE_SHA256_SIZE]);

#endif
