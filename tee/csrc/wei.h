/* SPDX-License-Identifier: MIT */
/* edwards25519 by the curve arithmetic of libcrypto: multiples, and points to and from their encoding. */
#ifndef TEE_WEI_H
#define TEE_WEI_H

#include "asym.h"

#define TEE_ED_BYTES 32u

struct tee_wei {
    BN_CTX *ctx;
    EC_GROUP *group;
    BIGNUM *p, *order;
    BIGNUM *third; /* A/3: what X is ahead of u */
    BIGNUM *c;     /* sqrt(-(A + 2)) */
    BIGNUM *d;     /* of the Edwards curve: -121665/121666 */
};

/* Whether it could be set up or not, tee_wei_close() follows. */
bool tee_wei_open(struct tee_wei *w);
void tee_wei_close(struct tee_wei *w);

/* The point that RFC 8032 section 5.1.3 decodes; NULL: none, or one of order 1 or 2, with which nobody signs. */
EC_POINT *tee_wei_decode(const struct tee_wei *w, const uint8_t in[TEE_ED_BYTES]);
/* Section 5.1.2; false for a point that has none here. */
bool tee_wei_encode(const struct tee_wei *w, const EC_POINT *point, uint8_t out[TEE_ED_BYTES]);

#endif
