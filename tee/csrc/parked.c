/* SPDX-License-Identifier: MIT */
#include "parked.h"

#include <openssl/crypto.h>
#include <string.h>

#include "native.h"
#include "task.h"

struct tee_parked *tee_parked_find(struct tee_task *t, uint64_t handle)
{
    for (uint32_t i = 0; handle && i < TEE_PARKED; i++)
        if (t->parked[i].handle == handle)
            return &t->parked[i];
    return NULL;
}

void tee_parked_wipe(struct tee_task *t)
{
    OPENSSL_cleanse(t->parked, sizeof(t->parked));
}

uint32_t tee_task_park(struct tee_task *t, uint64_t handle, const uint32_t info[7], uint64_t room,
                       struct tee_span secret)
{
    struct tee_parked *p = tee_parked_find(t, handle);

    for (uint32_t i = 0; !p && i < TEE_PARKED; i++)
        if (!t->parked[i].handle)
            p = &t->parked[i];
    if (!handle || secret.size > TEE_POINT_MAX || secret.size > room)
        return TEE_ERROR_BAD_PARAMETERS;
    if (!p || !t->max_states) /* full, or closed */
        return TEE_ERROR_OUT_OF_MEMORY;
    OPENSSL_cleanse(p, sizeof(*p));
    p->handle = handle;
    p->room = room;
    p->size = secret.size;
    memcpy(&p->info, info, sizeof(p->info));
    if (secret.size)
        memcpy(p->secret, secret.data, secret.size);
    return TEE_SUCCESS;
}

uint32_t tee_task_unpark(struct tee_task *t, uint64_t handle, uint32_t info[7], uint8_t *secret, uint64_t *size)
{
    struct tee_parked *p = tee_parked_find(t, handle);

    *size = 0;
    if (!p)
        return TEE_ERROR_BAD_STATE;
    memcpy(info, &p->info, sizeof(p->info));
    memcpy(secret, p->secret, p->size);
    *size = p->size;
    OPENSSL_cleanse(p, sizeof(*p));
    return TEE_SUCCESS;
}
