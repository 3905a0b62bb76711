/* SPDX-License-Identifier: MIT */
/* Keys that are ready, by the operation's handle, for Python. */
#include "ready.h"
#include "task.h"

static uint32_t keep(struct tee_task *t, uint64_t handle, uint32_t rc, struct tee_ready *r)
{
    struct tee_state *s = tee_task_find(t, handle);

    if (!s) {
        tee_ready_free(r);
        return TEE_ERROR_BAD_PARAMETERS;
    }
    tee_ready_free(s->ready);
    s->ready = r;
    return rc;
}

static uint32_t ready_rsa(struct tee_task *t, uint64_t handle, int use, const struct tee_span key[8],
                          const struct tee_rsa_scheme *scheme)
{
    struct tee_ready *r;
    uint32_t rc = tee_ready_rsa(key, scheme, (enum tee_use)use, &r);

    return keep(t, handle, rc, r);
}

uint32_t tee_task_ready_rsa(struct tee_task *t, uint64_t handle, int use, const struct tee_span key[8],
                            const struct tee_rsa_scheme *scheme)
{
    if (use != TEE_USE_SIGN && use != TEE_USE_VERIFY)
        return TEE_ERROR_BAD_PARAMETERS;
    TEE_QUIETLY(ready_rsa(t, handle, use, key, scheme));
}

static uint32_t ready_ec(struct tee_task *t, uint64_t handle, int use, uint32_t curve, struct tee_span d,
                         struct tee_span x, struct tee_span y)
{
    struct tee_ready *r;
    uint32_t rc = tee_ready_ec(curve, (enum tee_use)use, d, x, y, &r);

    return keep(t, handle, rc, r);
}

uint32_t tee_task_ready_ec(struct tee_task *t, uint64_t handle, int use, uint32_t curve, struct tee_span d,
                           struct tee_span x, struct tee_span y)
{
    if (use < TEE_USE_SIGN || use > TEE_USE_AGREE)
        return TEE_ERROR_BAD_PARAMETERS;
    TEE_QUIETLY(ready_ec(t, handle, use, curve, d, x, y));
}

struct tee_ready *tee_ready_of(const struct tee_task *t, uint64_t handle, enum tee_use use)
{
    struct tee_state *s = tee_task_find(t, handle);

    return s && s->ready && s->ready->use == use ? s->ready : NULL;
}

int tee_task_ready_use(const struct tee_task *t, uint64_t handle)
{
    struct tee_state *s = tee_task_find(t, handle);

    return s && s->ready ? s->ready->use : -1;
}

void tee_task_forget(struct tee_task *t, uint64_t handle)
{
    struct tee_state *s = tee_task_find(t, handle);

    if (!s)
        return;
    tee_ready_free(s->ready);
    s->ready = NULL;
}

uint32_t tee_task_sign(struct tee_task *t, uint64_t handle, struct tee_span digest, int salt, uint8_t *sig,
                       uint64_t *size)
{
    struct tee_ready *r = tee_ready_of(t, handle, TEE_USE_SIGN);
    uint64_t room = *size;

    *size = 0;
    if (!r)
        return TEE_ERROR_BAD_STATE;
    if (room < tee_ready_length(r))
        return TEE_ERROR_BAD_PARAMETERS;
    *size = tee_ready_length(r);
    return tee_ready_sign(r, digest, salt, sig);
}

uint32_t tee_task_verify(struct tee_task *t, uint64_t handle, struct tee_span digest, int salt, struct tee_span sig)
{
    struct tee_ready *r = tee_ready_of(t, handle, TEE_USE_VERIFY);

    return r ? tee_ready_verify(r, digest, salt, sig) : TEE_ERROR_BAD_STATE;
}

uint32_t tee_task_agree(struct tee_task *t, uint64_t handle, struct tee_span x, struct tee_span y, uint8_t *out,
                        uint64_t *size)
{
    struct tee_ready *r = tee_ready_of(t, handle, TEE_USE_AGREE);

    if (!r)
        return TEE_ERROR_BAD_STATE;
    if (*size < r->size)
        return TEE_ERROR_BAD_PARAMETERS;
    *size = r->size;
    return tee_ready_agree(r, x, y, out);
}
