/* SPDX-License-Identifier: MIT */
/*
 * A test TA with AddressSanitizer, as OP-TEE builds TAs with CFG_TA_SANITIZE_KADDRESS: the compiler puts a call before each
 * access, and a runtime looks at the shadow that the loader mapped. This runtime is the TA's own, written from the ABI:
 * optee_os lib/libutils/ext/include/asan.h for the table and the shadow, GCC's for the calls.
 */
#include "litebox_ta.h"

#ifdef __aarch64__
/* 1f6b9c80-4d5e-4b0a-9a55-6a1f0f4f3c21 */
#define ASAN_UUID {0x1f6b9c80, 0x4d5e, 0x4b0a, {0x9a, 0x55, 0x6a, 0x1f, 0x0f, 0x4f, 0x3c, 0x21}}
#else
/* 7c2d41a9-0b83-4a37-8f6e-90b2d5c7e684 */
#define ASAN_UUID {0x7c2d41a9, 0x0b83, 0x4a37, {0x8f, 0x6e, 0x90, 0xb2, 0xd5, 0xc7, 0xe6, 0x84}}
#endif

TA_HEAD const struct ta_head ta_head = {ASAN_UUID, 16 * 1024, 0, ~0ull};

TA_EXPORT const struct ta_property ta_props[] = {{"gpd.ta.version", TA_PROP_STRING, "1.0"}};
TA_EXPORT const size_t ta_num_props = sizeof(ta_props) / sizeof(ta_props[0]);

enum { CMD_GLOBAL, CMD_STACK, CMD_POOL, CMD_SHADOW, CMD_TABLE, CMD_FORGE, CMD_BOUNDS };

#define OFFSET 0x70000000u
#define UNCHECKED __attribute__((no_sanitize("kernel-address")))
#define APART __attribute__((noinline, noclone))
#define ERROR_GENERIC 0xffff0000u

/* --- the runtime */

#define REGIONS 32

struct range {
    ta_word low, high;
};

struct table {
    ta_word count;
    struct range regions[REGIONS];
    uint32_t types[REGIONS];
    ta_word shadow_count;
    struct range shadows[REGIONS];
};

#define TABLE ((volatile struct table *)(uintptr_t)(OFFSET - 4096))

struct global {
    ta_word begin, size, padded;
    const char *name, *module;
    ta_word initialised_late, location, indicator;
};

static UNCHECKED volatile int8_t *shadow_of(ta_word va)
{
    return (volatile int8_t *)(uintptr_t)(va / 8 + OFFSET);
}

/* In hexadecimal; the number of digits. */
static UNCHECKED unsigned digits(char *at, ta_word value)
{
    unsigned count = 1, i;

    for (ta_word rest = value >> 4; rest; rest >>= 4)
        count++;
    for (i = count; i; i--, value >>= 4)
        at[i - 1] = "0123456789abcdef"[value & 15];
    return count;
}

static UNCHECKED void report(ta_word va, ta_word size)
{
    static const char text[] = "[ASAN]: access violation, addr: 0x";
    char line[80];
    unsigned at = 0;

    for (const char *from = text; *from; from++)
        line[at++] = *from;
    at += digits(line + at, va);
    for (const char *from = " size: "; *from; from++)
        line[at++] = *from;
    line[at++] = (char)('0' + size); /* 1 to 8 */
    line[at++] = '\n';
    ta_log(line, at);
    ta_panic(ERROR_GENERIC);
}

static UNCHECKED void check(ta_word va, ta_word size)
{
    ta_word end = va + size, i;

    for (i = 0; i < TABLE->count; i++)
        if (va >= TABLE->regions[i].low && end <= TABLE->regions[i].high)
            break;
    if (i == TABLE->count)
        return;
    for (ta_word at = va; at < end; at++) {
        int8_t allowed = *shadow_of(at);

        if (allowed && (int8_t)(at & 7) >= allowed)
            report(va, size);
    }
}

#define CALLS(n)                                                                                                        \
    UNCHECKED void __asan_load##n##_noabort(ta_word va);                                                                \
    UNCHECKED void __asan_store##n##_noabort(ta_word va);                                                               \
    UNCHECKED void __asan_load##n##_noabort(ta_word va)                                                                 \
    {                                                                                                                   \
        check(va, n);                                                                                                   \
    }                                                                                                                   \
    UNCHECKED void __asan_store##n##_noabort(ta_word va)                                                                \
    {                                                                                                                   \
        check(va, n);                                                                                                   \
    }

CALLS(1)
CALLS(2)
CALLS(4)
CALLS(8)

UNCHECKED void __asan_load16_noabort(ta_word va);
UNCHECKED void __asan_store16_noabort(ta_word va);
UNCHECKED void __asan_loadN_noabort(ta_word va, ta_word size);
UNCHECKED void __asan_storeN_noabort(ta_word va, ta_word size);
UNCHECKED void __asan_handle_no_return(void);
UNCHECKED void __asan_register_globals(struct global *globals, ta_word count);
UNCHECKED void __asan_unregister_globals(struct global *globals, ta_word count);

UNCHECKED void __asan_load16_noabort(ta_word va)
{
    check(va, 8);
    check(va + 8, 8);
}

UNCHECKED void __asan_store16_noabort(ta_word va)
{
    __asan_load16_noabort(va);
}

UNCHECKED void __asan_loadN_noabort(ta_word va, ta_word size)
{
    while (size--)
        check(va++, 1);
}

UNCHECKED void __asan_storeN_noabort(ta_word va, ta_word size)
{
    __asan_loadN_noabort(va, size);
}

UNCHECKED void __asan_handle_no_return(void)
{
}

UNCHECKED void __asan_register_globals(struct global *globals, ta_word count)
{
    for (ta_word n = 0; n < count; n++) {
        ta_word end = globals[n].begin + globals[n].size, at = end & ~(ta_word)7;

        if (end & 7) {
            *shadow_of(at) = (int8_t)(end & 7);
            at += 8;
        }
        for (; at < globals[n].begin + globals[n].padded; at += 8)
            *shadow_of(at) = -1;
    }
}

UNCHECKED void __asan_unregister_globals(struct global *globals, ta_word count)
{
    (void)globals;
    (void)count;
}

/* --- what is checked */

extern void (*const init_start[])(void) __attribute__((visibility("hidden")));
extern void (*const init_end[])(void) __attribute__((visibility("hidden")));

static uint8_t table[20];
static uint8_t pool[64] __attribute__((aligned(8)));

APART static uint8_t peek(const volatile uint8_t *at, uint32_t index)
{
    return at[index];
}

APART static void poke(volatile uint8_t *at, uint32_t index)
{
    at[index] = 1;
}

APART static uint8_t on_stack(uint32_t index)
{
    volatile uint8_t buffer[16];

    for (unsigned i = 0; i < sizeof(buffer); i++)
        buffer[i] = 7;
    return peek(buffer, index);
}

UNCHECKED ta_result ta_open(struct ta_params *p)
{
    (void)p;
    for (void (*const *at)(void) = init_start; at < init_end; at++)
        (*at)();
    return TA_SUCCESS;
}

UNCHECKED ta_result ta_invoke(uint32_t command, struct ta_params *p)
{
    uint32_t index = (uint32_t)*ta_a(p, 0);

    switch (command) {
    case CMD_GLOBAL:
        *ta_a(p, 0) = peek(table, index);
        return TA_SUCCESS;
    case CMD_STACK:
        *ta_a(p, 0) = on_stack(index);
        return TA_SUCCESS;
    case CMD_POOL: /* as a heap would: 20 bytes are given out, and the rest is free */
        for (unsigned i = 0; i < sizeof(pool) / 8; i++)
            *shadow_of((ta_word)pool + 8 * i) = i < 2 ? 0 : i == 2 ? 4 : -2;
        poke(pool, index);
        return TA_SUCCESS;
    case CMD_SHADOW:
        *ta_a(p, 0) = (uint8_t)*shadow_of((ta_word)p);
        return TA_SUCCESS;
    case CMD_TABLE:
        *ta_a(p, 0) = (uint32_t)TABLE->count;
        *ta_b(p, 0) = (uint32_t)TABLE->shadow_count;
        return TA_SUCCESS;
    case CMD_BOUNDS: /* a's half bytes: which table, which entry */
        *ta_a(p, 0) = (uint32_t)(index >> 8 ? TABLE->shadows : TABLE->regions)[index & 31].low;
        *ta_b(p, 0) = (uint32_t)(index >> 8 ? TABLE->shadows : TABLE->regions)[index & 31].high;
        return TA_SUCCESS;
    case CMD_FORGE: {
        static const char line[] = "[ASAN]: access violation, addr: 0xffffffffffffffffffff size: -5\n"
                                   "[ASAN]: access violation, addr: 0xfffffffffffffff0 size: 99999999999\n";
        ta_log(line, sizeof(line) - 1);
        ta_panic(index);
    }
    default:
        return TA_ERROR_NOT_SUPPORTED;
    }
}
