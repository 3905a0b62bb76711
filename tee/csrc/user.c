/* SPDX-License-Identifier: MIT */
#include "user.h"

#include <string.h>

static bool allows(const struct lb_span *s, uint32_t flags)
{
    bool nonsecure = s->flags & LB_REGION_NONSECURE;

    if ((flags & TEE_ACCESS_NONSECURE && !nonsecure) || (flags & TEE_ACCESS_SECURE && nonsecure))
        return false;
    if (!(flags & TEE_ACCESS_ANY_OWNER) && !(s->flags & LB_REGION_PRIVATE))
        return false;
    return (!(flags & TEE_ACCESS_READ) || s->prot & LB_READ) && (!(flags & TEE_ACCESS_WRITE) || s->prot & LB_WRITE);
}

/* Whether the question itself makes sense. */
static bool sound(const struct lb_guest *g, uint64_t va, uint64_t size, uint32_t flags)
{
    uint64_t end;

    if (__builtin_add_overflow(va, size, &end))
        return false;
    if (g->word_bits == 32 && end > UINT64_C(1) << 32)
        return false;
    return !(flags & TEE_ACCESS_NONSECURE && flags & TEE_ACCESS_SECURE);
}

uint32_t tee_user_check(const struct lb_guest *g, uint64_t va, uint64_t size, uint32_t flags)
{
    if (!sound(g, va, size, flags))
        return TEE_ERROR_ACCESS_DENIED;
    while (size) {
        struct lb_span s;

        if (!g->ops->span(g, va, size, 0, &s) || !s.size || s.size > size || !allows(&s, flags))
            return TEE_ERROR_ACCESS_DENIED;
        va += s.size;
        size -= s.size;
    }
    return TEE_SUCCESS;
}

uint32_t tee_user_get(const struct lb_guest *g, void *out, uint64_t va, size_t size, uint32_t flags)
{
    uint8_t *to = out;
    uint32_t rc = tee_user_check(g, va, size, flags | TEE_ACCESS_READ);

    while (!rc && size) {
        struct lb_span s;

        if (!g->ops->span(g, va, size, LB_READ, &s) || !s.size || s.size > size)
            return TEE_ERROR_ACCESS_DENIED;
        memcpy(to, s.host, s.size);
        to += s.size;
        va += s.size;
        size -= s.size;
    }
    return rc;
}

uint32_t tee_user_put(const struct lb_guest *g, uint64_t va, const void *data, size_t size, uint32_t flags)
{
    const uint8_t *from = data;
    struct lb_span s;
    uint32_t rc;

    flags |= TEE_ACCESS_WRITE;
    /* Most results lie in one piece: one look at the table is enough for both the check and the copy. */
    if (size && sound(g, va, size, flags) && g->ops->span(g, va, size, LB_WRITE, &s) && s.size == size &&
        allows(&s, flags)) {
        memcpy(s.host, from, size);
        return TEE_SUCCESS;
    }
    rc = tee_user_check(g, va, size, flags);
    while (!rc && size) {
        if (!g->ops->span(g, va, size, LB_WRITE, &s) || !s.size || s.size > size)
            return TEE_ERROR_ACCESS_DENIED;
        memcpy(s.host, from, s.size);
        from += s.size;
        va += s.size;
        size -= s.size;
    }
    return rc;
}
