/* SPDX-License-Identifier: MIT */
/*
 * A test TA with what OP-TEE's CFG_TA_STACK_PROTECTOR and CFG_TA_SANITIZE_UNDEFINED make of one: a guard below each return
 * address, random for every instance, and checks for undefined behaviour, whose handlers log and panic. The runtime of both
 * is the TA's own, written from GCC's ABI.
 */
#include "litebox_ta.h"

#ifdef __aarch64__
/* 63f1d6b2-2d0a-4c57-9a0f-07c1b8e4a5d3 */
#define CHECKS_UUID {0x63f1d6b2, 0x2d0a, 0x4c57, {0x9a, 0x0f, 0x07, 0xc1, 0xb8, 0xe4, 0xa5, 0xd3}}
#else
/* b0e8a7c4-5f39-4e12-8d66-3c9f2a71e0b8 */
#define CHECKS_UUID {0xb0e8a7c4, 0x5f39, 0x4e12, {0x8d, 0x66, 0x3c, 0x9f, 0x2a, 0x71, 0xe0, 0xb8}}
#endif

TA_HEAD const struct ta_head ta_head = {CHECKS_UUID, 16 * 1024, 0, ~0ull};

TA_EXPORT const struct ta_property ta_props[] = {{"gpd.ta.version", TA_PROP_STRING, "1.0"}};
TA_EXPORT const size_t ta_num_props = sizeof(ta_props) / sizeof(ta_props[0]);

enum { CMD_ADD, CMD_SHIFT, CMD_INDEX, CMD_SMASH, CMD_GUARD, CMD_ALIGN };

#define APART __attribute__((noinline, noclone))
#define UNGUARDED __attribute__((no_stack_protector))
#define PANIC_STACK 0x57acu
#define PANIC_UNDEFINED 0xdefu

/* --- the stack protector */

uintptr_t __stack_chk_guard = 1; /* of the first entry, until ta_open draws another */

__attribute__((noreturn)) void __stack_chk_fail(void);

void __stack_chk_fail(void)
{
    ta_panic(PANIC_STACK);
}

/* --- undefined behaviour */

struct place {
    const char *file;
    uint32_t line, column;
};

static void say(const char *what, size_t size)
{
    ta_log(what, size);
    ta_panic(PANIC_UNDEFINED);
}

/* All that GCC's handlers are called with begins with the place; more arguments follow. */
#define HANDLER(name)                                                                                                    \
    void __ubsan_handle_##name(struct place *place);                                                                     \
    void __ubsan_handle_##name(struct place *place)                                                                      \
    {                                                                                                                    \
        static const char text[] = "Undefined behavior " #name "\n";                                                     \
                                                                                                                         \
        if (place->line)                                                                                                 \
            say(text, sizeof(text) - 1);                                                                                 \
    }

HANDLER(add_overflow)
HANDLER(sub_overflow)
HANDLER(mul_overflow)
HANDLER(negate_overflow)
HANDLER(divrem_overflow)
HANDLER(shift_out_of_bounds)
HANDLER(out_of_bounds)
HANDLER(type_mismatch_v1)
HANDLER(pointer_overflow)
HANDLER(load_invalid_value)
HANDLER(builtin_unreachable)
HANDLER(nonnull_arg)

/* --- what is checked */

static int table[4];

APART static int add(int a, int b)
{
    return a + b;
}

APART static int shift(int a, uint32_t by)
{
    return a << by;
}

APART static int entry(uint32_t index)
{
    return table[index];
}

APART static int word(const int *at)
{
    return *at;
}

/* The write goes through a pointer, so that the guard alone sees it. */
APART static void fill(volatile uint8_t *at, uint32_t size)
{
    while (size--)
        *at++ = 'A';
}

APART static uint8_t smash(uint32_t size)
{
    uint8_t buffer[16];

    fill(buffer, size);
    return ((volatile uint8_t *)buffer)[0];
}

UNGUARDED ta_result ta_open(struct ta_params *p)
{
    (void)p;
    return (ta_result)ta_syscall4(SYS_RANDOM, (ta_word)&__stack_chk_guard, sizeof(__stack_chk_guard), 0, 0);
}

ta_result ta_invoke(uint32_t command, struct ta_params *p)
{
    uint32_t a = (uint32_t)*ta_a(p, 0);

    switch (command) {
    case CMD_ADD:
        *ta_a(p, 0) = (uint32_t)add(0x7fffffff, (int)a);
        return TA_SUCCESS;
    case CMD_SHIFT:
        *ta_a(p, 0) = (uint32_t)shift(1, a);
        return TA_SUCCESS;
    case CMD_INDEX:
        *ta_a(p, 0) = (uint32_t)entry(a);
        return TA_SUCCESS;
    case CMD_SMASH:
        *ta_a(p, 0) = smash(a);
        return TA_SUCCESS;
    case CMD_GUARD:
        *ta_a(p, 0) = (uint32_t)__stack_chk_guard;
        return TA_SUCCESS;
    case CMD_ALIGN:
        *ta_a(p, 0) = (uint32_t)word((const int *)((uintptr_t)table + a));
        return TA_SUCCESS;
    default:
        return TA_ERROR_NOT_SUPPORTED;
    }
}
