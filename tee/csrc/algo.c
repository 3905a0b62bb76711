/* SPDX-License-Identifier: MIT */
#include "algo.h"

#include <openssl/provider.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <strings.h>

#define DIGEST(n, size, name) {.id = 0x50000000u | (n), .kind = TEE_KIND_DIGEST, .digest_size = (size), .digest = (name)}
#define HMAC(n, size, name) {.id = 0x30000000u | (n), .kind = TEE_KIND_HMAC, .digest_size = (size), .digest = (name)}
#define XOF(n, name, rate) {.id = 0x50000000u | (n), .kind = TEE_KIND_XOF, .digest = (name), .block = (rate)}
#define CMAC(n, f, b) {.id = (n), .kind = TEE_KIND_CMAC, .family = (f), .chain = TEE_CBC, .block = (b), .digest_size = (b)}
#define CBC_MAC(n, f, b, pad)                                                                       \
    {.id = 0x30000000u | (n), .kind = TEE_KIND_CBC_MAC, .family = (f), .chain = TEE_CBC, .block = (b), \
     .digest_size = (b), .pkcs5 = (pad)}
#define CIPHER(n, k, f, c, b) {.id = (n), .kind = (k), .family = (f), .chain = (c), .block = (b)}

/* optee_os 4.5: crypto_{hash,mac,cipher,authenc}_alloc_ctx() of core/crypto/crypto.c */
static const struct tee_algo algos[] = {
    DIGEST(0x01, 16, "MD5"),
    DIGEST(0x02, 20, "SHA1"),
    DIGEST(0x03, 28, "SHA2-224"),
    DIGEST(0x04, 32, "SHA2-256"),
    DIGEST(0x05, 48, "SHA2-384"),
    DIGEST(0x06, 64, "SHA2-512"),
    DIGEST(0x07, 32, "SM3"),
    DIGEST(0x08, 28, "SHA3-224"),
    DIGEST(0x09, 32, "SHA3-256"),
    DIGEST(0x0A, 48, "SHA3-384"),
    DIGEST(0x0B, 64, "SHA3-512"),
    DIGEST(0x0F, 36, "MD5-SHA1"),
    XOF(0x101, "SHAKE-128", 168),
    XOF(0x102, "SHAKE-256", 136),
    HMAC(0x01, 16, "MD5"),
    HMAC(0x02, 20, "SHA1"),
    HMAC(0x03, 28, "SHA2-224"),
    HMAC(0x04, 32, "SHA2-256"),
    HMAC(0x05, 48, "SHA2-384"),
    HMAC(0x06, 64, "SHA2-512"),
    HMAC(0x07, 32, "SM3"),
    HMAC(0x08, 28, "SHA3-224"),
    HMAC(0x09, 32, "SHA3-256"),
    HMAC(0x0A, 48, "SHA3-384"),
    HMAC(0x0B, 64, "SHA3-512"),
    CMAC(0x30000610, TEE_AES, 16),
    CMAC(TEE_ALG_DES3_CMAC, TEE_DES3, 8),
    CBC_MAC(0x110, TEE_AES, 16, false),
    CBC_MAC(0x510, TEE_AES, 16, true),
    CBC_MAC(0x111, TEE_DES, 8, false),
    CBC_MAC(0x511, TEE_DES, 8, true),
    CBC_MAC(0x113, TEE_DES3, 8, false),
    CBC_MAC(0x513, TEE_DES3, 8, true),
    CIPHER(0x10000010, TEE_KIND_PLAIN, TEE_AES, TEE_ECB, 16),
    CIPHER(0x10000110, TEE_KIND_PLAIN, TEE_AES, TEE_CBC, 16),
    CIPHER(TEE_ALG_AES_CTR, TEE_KIND_PLAIN, TEE_AES, TEE_CTR, 16),
    CIPHER(0x10000310, TEE_KIND_CTS, TEE_AES, TEE_CBC, 16),
    CIPHER(0x10000410, TEE_KIND_XTS, TEE_AES, TEE_ECB, 16),
    CIPHER(0x10000011, TEE_KIND_PLAIN, TEE_DES, TEE_ECB, 8),
    CIPHER(0x10000111, TEE_KIND_PLAIN, TEE_DES, TEE_CBC, 8),
    CIPHER(0x10000013, TEE_KIND_PLAIN, TEE_DES3, TEE_ECB, 8),
    CIPHER(0x10000113, TEE_KIND_PLAIN, TEE_DES3, TEE_CBC, 8),
    CIPHER(0x10000014, TEE_KIND_PLAIN, TEE_SM4, TEE_ECB, 16),
    CIPHER(0x10000114, TEE_KIND_PLAIN, TEE_SM4, TEE_CBC, 16),
    CIPHER(TEE_ALG_SM4_CTR, TEE_KIND_PLAIN, TEE_SM4, TEE_CTR, 16),
    CIPHER(TEE_ALG_SM4_XTS, TEE_KIND_XTS, TEE_SM4, TEE_ECB, 16),
    CIPHER(0x40000710, TEE_KIND_CCM, TEE_AES, TEE_CTR, 16),
    CIPHER(0x40000810, TEE_KIND_GCM, TEE_AES, TEE_GCM, 16),
};
#define ALGOS (sizeof(algos) / sizeof(algos[0]))

/* One row a cipher and key length; names are libcrypto's, "" where it has none. */
static const struct {
    uint8_t family;
    uint8_t key_size;
    const char *name[TEE_CHAINS];
} ciphers[] = {
    {TEE_AES, 16, {"AES-128-ECB", "AES-128-CBC", "AES-128-CTR", "AES-128-GCM"}},
    {TEE_AES, 24, {"AES-192-ECB", "AES-192-CBC", "AES-192-CTR", "AES-192-GCM"}},
    {TEE_AES, 32, {"AES-256-ECB", "AES-256-CBC", "AES-256-CTR", "AES-256-GCM"}},
    {TEE_DES, 8, {"DES-ECB", "DES-CBC", "", ""}},
    {TEE_DES3, 16, {"DES-EDE3-ECB", "DES-EDE3-CBC", "", ""}},
    {TEE_DES3, 24, {"DES-EDE3-ECB", "DES-EDE3-CBC", "", ""}},
    {TEE_SM4, 16, {"SM4-ECB", "SM4-CBC", "SM4-CTR", ""}},
};
#define CIPHERS (sizeof(ciphers) / sizeof(ciphers[0]))

static const struct {
    const char *name;
    uint32_t id;
} digest_names[] = {
    {"md5", 0x50000001},      {"sha1", 0x50000002},     {"sha224", 0x50000003},   {"sha256", 0x50000004},
    {"sha384", 0x50000005},   {"sha512", 0x50000006},   {"sm3", 0x50000007},      {"sha3-224", 0x50000008},
    {"sha3-256", 0x50000009}, {"sha3-384", 0x5000000A}, {"sha3-512", 0x5000000B}, {"md5sha1", 0x5000000F},
    {"shake128", 0x50000101}, {"shake256", 0x50000102},
};
#define DIGEST_NAMES (sizeof(digest_names) / sizeof(digest_names[0]))

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_once_t legacy_once = PTHREAD_ONCE_INIT;
static OSSL_LIB_CTX *libctx;
static bool ready;

static void set_up(void)
{
    libctx = OSSL_LIB_CTX_new();
    ready = libctx && OSSL_PROVIDER_load(libctx, "default");
}

/* Only single DES needs it; a libcrypto without it still serves everything else. */
static void set_up_legacy(void)
{
    (void)OSSL_PROVIDER_load(libctx, "legacy");
}

bool tee_crypto_ready(void)
{
    pthread_once(&once, set_up);
    return ready;
}

OSSL_LIB_CTX *tee_libctx(void)
{
    return libctx;
}

uint32_t tee_algo_class(uint32_t id)
{
    switch (id) {
    case TEE_ALG_SM2_PKE:
    case TEE_ALG_RSAES_PKCS1_OAEP_MGF1_MD5:
        return TEE_CLASS_ASYMMETRIC_CIPHER;
    case TEE_ALG_SM2_KEP:
        return TEE_CLASS_KEY_DERIVATION;
    case TEE_ALG_RSASSA_PKCS1_V1_5:
    case TEE_ALG_RSASSA_PKCS1_PSS_MGF1_MD5:
        return TEE_CLASS_ASYMMETRIC_SIGNATURE;
    case TEE_ALG_DES3_CMAC:
        return TEE_CLASS_MAC;
    case TEE_ALG_SM4_XTS:
        return TEE_CLASS_CIPHER;
    default:
        return id >> 28;
    }
}

const struct tee_algo *tee_algo_find(uint32_t id)
{
    for (size_t i = 0; i < ALGOS; i++)
        if (algos[i].id == id)
            return &algos[i];
    return NULL;
}

uint32_t tee_algo_digest_named(const char *name)
{
    for (size_t i = 0; i < DIGEST_NAMES; i++)
        if (strcasecmp(digest_names[i].name, name) == 0)
            return digest_names[i].id;
    return 0;
}

/* Keep the first of two racing fetches; EVP objects are shared by threads and never freed. */
EVP_MD *tee_fetch_md(const char *name)
{
    static _Atomic(EVP_MD *) kept[ALGOS];
    size_t i = 0;
    EVP_MD *md, *none = NULL;

    while (i < ALGOS && !(algos[i].digest && strcmp(algos[i].digest, name) == 0))
        i++;
    if (i == ALGOS || !tee_crypto_ready())
        return NULL;
    md = atomic_load(&kept[i]);
    if (md)
        return md;
    md = EVP_MD_fetch(libctx, name, NULL);
    if (md && !atomic_compare_exchange_strong(&kept[i], &none, md)) {
        EVP_MD_free(md);
        md = none;
    }
    return md;
}

EVP_MAC *tee_fetch_mac(bool cmac)
{
    static _Atomic(EVP_MAC *) kept[2];
    EVP_MAC *mac, *none = NULL;

    if (!tee_crypto_ready())
        return NULL;
    mac = atomic_load(&kept[cmac]);
    if (mac)
        return mac;
    mac = EVP_MAC_fetch(libctx, cmac ? "CMAC" : "HMAC", NULL);
    if (mac && !atomic_compare_exchange_strong(&kept[cmac], &none, mac)) {
        EVP_MAC_free(mac);
        mac = none;
    }
    return mac;
}

static EVP_CIPHER *fetch_row(size_t row, enum tee_chain chain)
{
    static _Atomic(EVP_CIPHER *) kept[CIPHERS][TEE_CHAINS];
    EVP_CIPHER *cipher, *none = NULL;

    if (!tee_crypto_ready() || !*ciphers[row].name[chain])
        return NULL;
    cipher = atomic_load(&kept[row][chain]);
    if (cipher)
        return cipher;
    if (ciphers[row].family == TEE_DES)
        pthread_once(&legacy_once, set_up_legacy);
    cipher = EVP_CIPHER_fetch(libctx, ciphers[row].name[chain], NULL);
    if (cipher && !atomic_compare_exchange_strong(&kept[row][chain], &none, cipher)) {
        EVP_CIPHER_free(cipher);
        cipher = none;
    }
    return cipher;
}

EVP_CIPHER *tee_fetch_cipher(enum tee_family family, enum tee_chain chain, size_t key_size)
{
    for (size_t i = 0; i < CIPHERS; i++)
        if (ciphers[i].family == family && ciphers[i].key_size == key_size)
            return fetch_row(i, chain);
    return NULL;
}

bool tee_family_present(enum tee_family family)
{
    for (size_t i = 0; i < CIPHERS; i++)
        if (ciphers[i].family == family)
            return fetch_row(i, TEE_ECB) != NULL;
    return false;
}
