/* SPDX-License-Identifier: MIT */
/* Entry point and the few functions that a compiler expects to find. */
#include "litebox_ta.h"

/*
 * Where the TEE core enters: optee_os lib/libutee/arch/arm/user_ta_entry.c. It never returns; the
 * result leaves by a system call. The stack pointer is `params`, at the top of the stack.
 */
TA_EXPORT __attribute__((noreturn)) void __ta_entry(ta_word func, ta_word session, struct ta_params *params,
                                                    ta_word command);

__attribute__((noreturn)) void __ta_entry(ta_word func, ta_word session, struct ta_params *params, ta_word command)
{
    ta_result result;

    (void)session;
    switch (func) {
    case TA_OPEN_SESSION:
        result = ta_open(params);
        break;
    case TA_CLOSE_SESSION:
        result = TA_SUCCESS;
        break;
    case TA_INVOKE_COMMAND:
        result = ta_invoke((uint32_t)command, params);
        break;
    default:
        result = TA_ERROR_NOT_SUPPORTED;
        break;
    }
    ta_syscall4(SYS_RETURN, result, 0, 0, 0);
    __builtin_trap();
}

void ta_panic(uint32_t code)
{
    ta_syscall4(SYS_PANIC, code, 0, 0, 0);
    __builtin_trap();
}

void ta_log(const char *text, size_t size)
{
    ta_syscall4(SYS_LOG, (ta_word)text, size, 0, 0);
}

void *memcpy(void *to, const void *from, size_t size)
{
    uint8_t *t = to;
    const uint8_t *f = from;

    while (size--)
        *t++ = *f++;
    return to;
}

void *memset(void *to, int byte, size_t size)
{
    uint8_t *t = to;

    while (size--)
        *t++ = (uint8_t)byte;
    return to;
}

#if defined(__arm__) && !defined(TA_HAS_UNWINDER)
/* Named by every unwind table entry (Exception Handling ABI for the Arm Architecture, section 7.3); never called. */
void __aeabi_unwind_cpp_pr0(void);
void __aeabi_unwind_cpp_pr1(void);

void __aeabi_unwind_cpp_pr0(void)
{
}

void __aeabi_unwind_cpp_pr1(void)
{
}
#endif
