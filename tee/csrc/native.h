/* SPDX-License-Identifier: MIT */
/*
 * What tee/crypto/ calls. build_native.py gives the part between the two marks to cffi, so it
 * holds plain declarations only; python -m tools.native_stub makes their Python types of it.
 * Every uint32_t answer is a TEE_Result unless said otherwise.
 */
#ifndef TEE_NATIVE_H
#define TEE_NATIVE_H

#include <stddef.h>
#include <stdint.h>

/* cffi: begin */
struct tee_task;
struct tee_key;
struct tee_digest;

uint32_t tee_native_ready(void);
/* Fills (number, lb_handler address) pairs; returns how many. */
uint32_t tee_native_handlers(uint32_t *numbers, uintptr_t *addresses, uint32_t *args, uint32_t room);

struct tee_task *tee_task_new(uint32_t max_states, uint32_t log_room, uint32_t log_rate, uint32_t log_burst);
void tee_task_free(struct tee_task *t);
/* Free every state and take no more; what other threads may still call goes on working. */
void tee_task_close(struct tee_task *t);
/* guest: address of the `struct lb_guest` whose calls it answers. */
void tee_task_serve(struct tee_task *t, uintptr_t guest);
void tee_task_cancel(struct tee_task *t, int on);
void tee_task_begin(struct tee_task *t);
int tee_task_cancelled(const struct tee_task *t);
void tee_task_mask(struct tee_task *t, int on);
int tee_task_masked(const struct tee_task *t);
void tee_task_set_deadline(struct tee_task *t, uint64_t ns);
void tee_task_set_clock(struct tee_task *t, int on, int64_t origin_ns);
int tee_task_log_waits(struct tee_task *t);
uint64_t tee_task_log_size(struct tee_task *t);
uint64_t tee_task_log_take(struct tee_task *t, uint8_t *out, uint64_t room, uint64_t *dropped);

uint32_t tee_task_state_count(const struct tee_task *t);
uint32_t tee_task_alloc(struct tee_task *t, uint32_t algo, uint32_t mode, uint32_t *handle);
uint32_t tee_task_drop(struct tee_task *t, uint64_t handle);
/* out: algo, mode, digest size, tag size, whether initialised */
uint32_t tee_task_info(const struct tee_task *t, uint64_t handle, uint32_t out[5]);
uint32_t tee_task_copy(struct tee_task *t, uint64_t dst, uint64_t src);
uint32_t tee_task_reset(struct tee_task *t, uint64_t handle);
uint32_t tee_task_hash_init(struct tee_task *t, uint64_t handle, const uint8_t *key, uint64_t size);
uint32_t tee_task_hash_update(struct tee_task *t, uint64_t handle, const uint8_t *data, uint64_t size);
uint32_t tee_task_hash_final(struct tee_task *t, uint64_t handle, const uint8_t *data, uint64_t size, uint8_t *out,
                             uint64_t *out_size);
uint32_t tee_task_cipher_init(struct tee_task *t, uint64_t handle, const uint8_t *key1, uint64_t size1,
                              const uint8_t *key2, uint64_t size2, const uint8_t *iv, uint64_t iv_size);
uint32_t tee_task_cipher_update(struct tee_task *t, uint64_t handle, int last, const uint8_t *src, uint64_t size,
                                uint8_t *dst);
uint32_t tee_task_ae_init(struct tee_task *t, uint64_t handle, const uint8_t *key, uint64_t key_size,
                          const uint8_t *nonce, uint64_t nonce_size, uint64_t tag_size, uint64_t aad_size,
                          uint64_t payload_size);
uint32_t tee_task_ae_aad(struct tee_task *t, uint64_t handle, const uint8_t *data, uint64_t size);
uint32_t tee_task_ae_update(struct tee_task *t, uint64_t handle, const uint8_t *src, uint64_t size, uint8_t *dst);
uint32_t tee_task_ae_enc_final(struct tee_task *t, uint64_t handle, const uint8_t *src, uint64_t size, uint8_t *dst,
                               uint8_t *tag, uint64_t *tag_size);
uint32_t tee_task_ae_dec_final(struct tee_task *t, uint64_t handle, const uint8_t *src, uint64_t size, uint8_t *dst,
                               const uint8_t *tag, uint64_t tag_size);

/* NULL: not a key. kind: 1 RSA, 2 EC. number: 0 modulus, 1 exponent; bytes written, 0 if none. */
struct tee_key *tee_key_from_pem(const uint8_t *pem, uint64_t size);
struct tee_key *tee_key_from_rsa(const uint8_t *n, uint64_t n_size, const uint8_t *e, uint64_t e_size);
void tee_key_free(struct tee_key *key);
int tee_key_kind(const struct tee_key *key);
int tee_key_bits(const struct tee_key *key);
int tee_key_number(const struct tee_key *key, int which, uint8_t *out, uint64_t room);
/* 1: right. 0: wrong, or not a signature of this key and algorithm at all. */
int tee_key_verify(const struct tee_key *key, uint32_t algo, const uint8_t *digest, uint64_t size,
                   const uint8_t *sig, uint64_t sig_size);

/* TEE_ALG_* of a digest by name, 0 if none; size 0 for SHAKE. */
uint32_t tee_digest_find(const char *name);
uint32_t tee_digest_size(uint32_t algo);
struct tee_digest *tee_digest_new(uint32_t algo);
void tee_digest_free(struct tee_digest *d);
uint32_t tee_digest_update(struct tee_digest *d, const uint8_t *data, uint64_t size);
uint32_t tee_digest_final(struct tee_digest *d, uint8_t *out, uint64_t size);

uint32_t tee_hmac_sha256(const uint8_t *key, uint64_t key_size, const uint8_t *data, uint64_t size, uint8_t out[32]);
uint32_t tee_gcm_decrypt(const uint8_t *key, uint64_t key_size, const uint8_t *iv, uint64_t iv_size,
                         const uint8_t *aad, uint64_t aad_size, const uint8_t *src, uint64_t size, uint8_t *dst,
                         const uint8_t *tag, uint64_t tag_size);
/* AES-GCM; fills the tag. dst may be src. */
uint32_t tee_gcm_encrypt(const uint8_t *key, uint64_t key_size, const uint8_t *iv, uint64_t iv_size,
                         const uint8_t *aad, uint64_t aad_size, const uint8_t *src, uint64_t size, uint8_t *dst,
                         uint8_t *tag, uint64_t tag_size);
/* A whole message of blocks under a TEE_ALG_* of a cipher; encrypt: 1, 0. */
uint32_t tee_cipher_oneshot(uint32_t algo, int encrypt, const uint8_t *key, uint64_t key_size, const uint8_t *iv,
                            uint64_t iv_size, const uint8_t *src, uint64_t size, uint8_t *dst);
uint32_t tee_random(uint8_t *out, uint64_t size);

/*
 * Asymmetric keys by their numbers, big-endian. Absent numbers have size 0. The room of every output
 * is said where it is not a parameter.
 */
struct tee_span {
    const uint8_t *data;
    uint64_t size;
};

/* key: n, e, d, p, q, d mod p-1, d mod q-1, 1/q mod p. Outputs take the octets of n. */
struct tee_rsa_scheme {
    int padding;   /* RSA_*_PADDING of openssl/rsa.h */
    uint32_t hash; /* TEE_ALG_* of a digest; 0: none */
    uint32_t mgf;  /* of MGF1 in OAEP */
    int salt;      /* PSS, octets */
};
/* Looks now and then whether the guest of `t` (NULL: none) is to stop, and then answers CANCEL; so does PBKDF2. */
/* out: n, d, p, q, d mod p-1, d mod q-1, 1/q mod p, `slot` octets each */
uint32_t tee_rsa_generate(const struct tee_task *t, uint32_t bits, struct tee_span e, uint8_t *out, uint64_t slot);
uint32_t tee_rsa_crypt(const struct tee_span key[8], const struct tee_rsa_scheme *scheme, struct tee_span label,
                       struct tee_span src, int decrypt, uint8_t *out, uint64_t *size);
uint32_t tee_rsa_sign(const struct tee_span key[8], const struct tee_rsa_scheme *scheme, struct tee_span digest,
                      uint8_t *sig, uint64_t *size);
uint32_t tee_rsa_verify(const struct tee_span key[8], const struct tee_rsa_scheme *scheme, struct tee_span digest,
                        struct tee_span sig);

/* How far a derivation is: all zero before it begins. */
struct tee_pbkdf2 {
    uint64_t done;  /* iterations of the block */
    uint32_t block; /* blocks done */
    uint8_t u[64];  /* of the last iteration */
};
/* hash: TEE_ALG_* of a digest. After CANCEL, the same call again goes on where it was. */
uint32_t tee_pbkdf2(const struct tee_task *t, uint32_t hash, struct tee_span password, struct tee_span salt,
                    uint32_t iterations, struct tee_pbkdf2 *at, uint8_t *out, uint64_t size);

struct tee_dsa_key {
    struct tee_span p, q, g, x, y;
};
/* out: x, y, `slot` octets each; sig: r || s, `half` octets each */
uint32_t tee_dsa_generate(const struct tee_dsa_key *key, uint8_t *out, uint64_t slot);
uint32_t tee_dsa_sign(const struct tee_dsa_key *key, struct tee_span digest, uint8_t *sig, uint64_t half);
uint32_t tee_dsa_verify(const struct tee_dsa_key *key, struct tee_span digest, struct tee_span sig);

/* size: octets of the random number that becomes x; out: x, y, `slot` octets each */
uint32_t tee_dh_generate(struct tee_span p, struct tee_span g, struct tee_span q, uint64_t size, uint8_t *out,
                         uint64_t slot);
uint32_t tee_dh_derive(struct tee_span p, struct tee_span x, struct tee_span peer, uint8_t *out, uint64_t slot);

/* curve: TEE_ECC_CURVE_*. out: d, x, y; sig: r || s; secret: x; each the octets of a coordinate */
uint32_t tee_ec_generate(uint32_t curve, uint8_t *out);
uint32_t tee_ec_sign(uint32_t curve, struct tee_span d, struct tee_span digest, uint8_t *sig);
uint32_t tee_ec_verify(uint32_t curve, struct tee_span x, struct tee_span y, struct tee_span digest,
                       struct tee_span sig);
uint32_t tee_ec_derive(uint32_t curve, struct tee_span d, struct tee_span x, struct tee_span y, uint8_t *out);

/* main: TEE_MAIN_ALGO_* of Ed25519, X25519, X448. out: private, public; the shared secret */
uint32_t tee_raw_generate(uint32_t main, uint8_t *out);
uint32_t tee_raw_derive(uint32_t main, struct tee_span secret, struct tee_span peer, uint8_t *out);
/* sig: 64 octets */
uint32_t tee_ed25519_sign(struct tee_span secret, struct tee_span message, uint8_t *sig);
uint32_t tee_ed25519_verify(struct tee_span public_key, struct tee_span message, struct tee_span sig);

struct tee_eddsa {
    struct tee_span context;
    int prehash;
};
uint32_t tee_ed25519ctx_sign(struct tee_span secret, const struct tee_eddsa *variant, struct tee_span message,
                             uint8_t *sig);
uint32_t tee_ed25519ctx_verify(struct tee_span public_key, const struct tee_eddsa *variant, struct tee_span message,
                               struct tee_span sig);

/* out: 97 octets more, or fewer, than the message */
uint32_t tee_sm2_encrypt(struct tee_span x, struct tee_span y, struct tee_span src, uint8_t *out);
uint32_t tee_sm2_decrypt(struct tee_span d, struct tee_span src, uint8_t *out);

struct tee_sm2_kep {
    struct tee_span d, x, y, ephemeral_d, ephemeral_x, ephemeral_y;
    struct tee_span peer_x, peer_y, peer_ephemeral_x, peer_ephemeral_y;
    struct tee_span initiator_id, responder_id;
    struct tee_span confirmation; /* the peer's, empty: not checked */
    int initiator;
};
uint32_t tee_sm2_exchange(const struct tee_sm2_kep *k, uint8_t *out, uint64_t size, uint8_t confirm[32]);

/*
 * A key made ready for the operation of a handle, in place of the one it had; from then on system calls use it
 * without Python. use: 0 sign, 1 verify, 2 agree. It goes with the operation, and must be forgotten when the key's
 * attributes change. Without it: BAD_STATE.
 */
uint32_t tee_task_ready_rsa(struct tee_task *t, uint64_t handle, int use, const struct tee_span key[8],
                            const struct tee_rsa_scheme *scheme);
uint32_t tee_task_ready_ec(struct tee_task *t, uint64_t handle, int use, uint32_t curve, struct tee_span d,
                           struct tee_span x, struct tee_span y);
/* -1: none */
int tee_task_ready_use(const struct tee_task *t, uint64_t handle);
void tee_task_forget(struct tee_task *t, uint64_t handle);
uint32_t tee_task_sign(struct tee_task *t, uint64_t handle, struct tee_span digest, int salt, uint8_t *sig,
                       uint64_t *size);
uint32_t tee_task_verify(struct tee_task *t, uint64_t handle, struct tee_span digest, int salt, struct tee_span sig);
uint32_t tee_task_agree(struct tee_task *t, uint64_t handle, struct tee_span x, struct tee_span y, uint8_t *out,
                        uint64_t *size);

/*
 * A transient object into C (parked.h), and back. info: struct utee_object_info; room: octets its type takes;
 * secret: at most 66 octets, of an object without one none. OUT_OF_MEMORY: as many are parked as can be.
 */
uint32_t tee_task_park(struct tee_task *t, uint64_t handle, const uint32_t info[7], uint64_t room,
                       struct tee_span secret);
/* BAD_STATE: it is not there. */
uint32_t tee_task_unpark(struct tee_task *t, uint64_t handle, uint32_t info[7], uint8_t *secret, uint64_t *size);
/* cffi: end */

#endif
