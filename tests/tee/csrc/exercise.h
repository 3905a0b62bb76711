/* SPDX-License-Identifier: MIT */
/* What the files of the exercise share. */
#ifndef EXERCISE_H
#define EXERCISE_H

#include <stddef.h>
#include <stdint.h>

/* A reproducible random number below n. */
uint32_t dice(uint32_t n);

/* A heap block of exactly `size` random bytes, so that a byte too far is seen. */
uint8_t *block(size_t size);

void asymmetric(uint32_t rounds);
void lasting(uint32_t rounds);

#endif
