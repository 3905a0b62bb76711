/* SPDX-License-Identifier: MIT */
/*
 * A TA's memory as its system calls see it: vm_check_access_rights() and copy_{to,from}_user() of
 * optee_os core/mm/vm.c and core/kernel/user_access.c, over the spans of dispatch.h.
 */
#ifndef TEE_USER_H
#define TEE_USER_H

#include "abi.h"
#include "dispatch.h"

/* flags: TEE_MEMORY_ACCESS_*. SUCCESS or ACCESS_DENIED; an empty range is always fine. */
uint32_t tee_user_check(const struct lb_guest *g, uint64_t va, uint64_t size, uint32_t flags);

/* flags beside READ or WRITE: TEE_ACCESS_ANY_OWNER, or 0 for the TA's private memory only. */
uint32_t tee_user_get(const struct lb_guest *g, void *out, uint64_t va, size_t size, uint32_t flags);
uint32_t tee_user_put(const struct lb_guest *g, uint64_t va, const void *data, size_t size, uint32_t flags);

#endif
