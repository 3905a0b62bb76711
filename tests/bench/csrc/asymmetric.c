/* SPDX-License-Identifier: MIT */
/*
 * The floor of the asymmetric figures: the loops of `openssl speed` on the libcrypto in use. A key and a context are
 * made once, and each operation is the one call that matters.
 */
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <string.h>

#define RSA_SIGN 0
#define EC_SIGN 1
#define EC_DERIVE 2

struct work {
    EVP_PKEY_CTX *ctx;
    int kind;
};
static struct work works[3];

/* 1: ready. */
int open_work(int kind)
{
    EVP_PKEY *key = kind == RSA_SIGN ? EVP_RSA_gen(2048) : EVP_EC_gen("P-256"), *peer = EVP_EC_gen("P-256");
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL);

    works[kind] = (struct work){ctx, kind};
    if (kind == EC_DERIVE)
        return EVP_PKEY_derive_init(ctx) == 1 && EVP_PKEY_derive_set_peer(ctx, peer) == 1;
    if (EVP_PKEY_sign_init(ctx) != 1)
        return 0;
    return kind == EC_SIGN || (EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PADDING) == 1 &&
                               EVP_PKEY_CTX_set_signature_md(ctx, EVP_sha256()) == 1);
}

/* 1: done. */
int run_work(int kind, int count)
{
    unsigned char digest[32], out[512];
    int ok = 1;

    memset(digest, 0x5A, sizeof(digest));
    while (count-- && ok == 1) {
        size_t size = sizeof(out);

        ok = kind == EC_DERIVE ? EVP_PKEY_derive(works[kind].ctx, out, &size)
                               : EVP_PKEY_sign(works[kind].ctx, out, &size, digest, sizeof(digest));
    }
    return ok == 1;
}
