/* SPDX-License-Identifier: MIT */
/*
 * Transient objects that are parked in C: the targets of derivations, which a TA derives into, reads and resets over
 * and over. While one is parked it is C's alone; Python takes it back before it looks at it (tee/crypto/parked.py).
 */
#ifndef TEE_PARKED_H
#define TEE_PARKED_H

#include "asym.h"

#define TEE_PARKED 4u /* objects at once */

struct tee_parked {
    uint64_t handle; /* 0: free */
    struct tee_object_info info;
    uint64_t room; /* octets that a secret of this type may have */
    uint64_t size;
    uint8_t secret[TEE_POINT_MAX];
};

struct tee_task;

/* NULL: not parked. */
struct tee_parked *tee_parked_find(struct tee_task *t, uint64_t handle);
void tee_parked_wipe(struct tee_task *t);

#endif
