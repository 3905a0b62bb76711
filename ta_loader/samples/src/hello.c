/* SPDX-License-Identifier: MIT */
/*
 * The sample TA. Each command shows, measures or breaks one thing; README.md lists parameters.
 */
#include "litebox_ta.h"
#include "sha256.h"

#ifdef __aarch64__
/* 7371bc6b-0888-4252-9d3b-42ddcbca70fd */
#define HELLO_UUID {0x7371bc6b, 0x0888, 0x4252, {0x9d, 0x3b, 0x42, 0xdd, 0xcb, 0xca, 0x70, 0xfd}}
#else
/* 3df06738-c272-4b3a-bc84-861332374c42 */
#define HELLO_UUID {0x3df06738, 0xc272, 0x4b3a, {0xbc, 0x84, 0x86, 0x13, 0x32, 0x37, 0x4c, 0x42}}
#endif

#define HELLO_STACK (16 * 1024)

TA_HEAD const struct ta_head ta_head = {HELLO_UUID, HELLO_STACK, 0, ~0ull};

static const uint32_t stack_size = HELLO_STACK;
static const uint32_t no = 0;

TA_EXPORT const struct ta_property ta_props[] = {
    {"gpd.ta.singleInstance", TA_PROP_BOOL, &no},
    {"gpd.ta.multiSession", TA_PROP_BOOL, &no},
    {"gpd.ta.instanceKeepAlive", TA_PROP_BOOL, &no},
    {"gpd.ta.stackSize", TA_PROP_U32, &stack_size},
    {"gpd.ta.version", TA_PROP_STRING, "1.0"},
    {"gpd.ta.description", TA_PROP_STRING, "LiteBox sample: increments, hashes, panics"},
};
TA_EXPORT const size_t ta_num_props = sizeof(ta_props) / sizeof(ta_props[0]);

enum {
    CMD_INCREMENT = 0,
    CMD_HASH = 1,
    CMD_PANIC = 2,
    CMD_OWN_SHA256 = 3,
    CMD_RANDOM = 4,
    CMD_LOG = 5,
    CMD_SPIN = 6,
    CMD_EMPTY = 7,
    CMD_CALLS_SYSTEM_TIME = 8,
    CMD_CALLS_REE_TIME = 9,
    CMD_WRITE_BYTE = 10,
    CMD_RECURSE = 11,
    CMD_EXECUTE_DATA = 12,
    CMD_TOUCH = 13,
    CMD_EXHAUST_HANDLES = 14,
    CMD_BARE_LOOP = 15,
    CMD_READ_BYTE = 16,
    CMD_FLOAT = 17,
    CMD_SLOW_COUNT = 18,
};

#define ALG_SHA256 0x50000004u /* TEE_ALG_SHA256 */
#define MODE_DIGEST 5u         /* TEE_MODE_DIGEST */

static ta_result increment(struct ta_params *p)
{
    if (p->types != TYPES(P_VALUE_INOUT, P_NONE, P_NONE, P_NONE))
        return TA_ERROR_BAD_PARAMETERS;
    *ta_a(p, 0) = (uint32_t)(*ta_a(p, 0) + 1);
    return TA_SUCCESS;
}

/* Both hash commands: room for a digest, and its size reported either way. */
static ta_result digest_room(struct ta_params *p)
{
    size_t offered;

    if (p->types != TYPES(P_MEM_IN, P_MEM_OUT, P_NONE, P_NONE))
        return TA_ERROR_BAD_PARAMETERS;
    offered = ta_size(p, 1);
    *ta_b(p, 1) = SAMPLE_SHA256_SIZE;
    return offered < SAMPLE_SHA256_SIZE ? TA_ERROR_SHORT_BUFFER : TA_SUCCESS;
}

static ta_result hash(struct ta_params *p)
{
    uint32_t state = 0;
    uint64_t size = SAMPLE_SHA256_SIZE;
    ta_result result = digest_room(p);

    if (result)
        return result;
    result = (ta_result)ta_syscall8(SYS_STATE_ALLOC, ALG_SHA256, MODE_DIGEST, 0, 0, (ta_word)&state, 0, 0, 0);
    if (result)
        return result;
    result = (ta_result)ta_syscall4(SYS_HASH_INIT, state, 0, 0, 0);
    if (!result)
        result = (ta_result)ta_syscall4(SYS_HASH_UPDATE, state, (ta_word)ta_mem(p, 0), ta_size(p, 0), 0);
    if (!result)
        result = (ta_result)ta_syscall8(SYS_HASH_FINAL, state, 0, 0, (ta_word)ta_mem(p, 1), (ta_word)&size, 0, 0, 0);
    ta_syscall4(SYS_STATE_FREE, state, 0, 0, 0);
    return result;
}

static ta_result own_sha256(struct ta_params *p)
{
    ta_result result = digest_room(p);

    if (!result)
        sample_sha256(ta_mem(p, 0), ta_size(p, 0), ta_mem(p, 1));
    return result;
}

static ta_result random_bytes(struct ta_params *p)
{
    if (p->types != TYPES(P_MEM_OUT, P_NONE, P_NONE, P_NONE))
        return TA_ERROR_BAD_PARAMETERS;
    return (ta_result)ta_syscall4(SYS_RANDOM, (ta_word)ta_mem(p, 0), ta_size(p, 0), 0, 0);
}

static ta_result log_line(struct ta_params *p)
{
    char line[256];
    size_t size;

    if (p->types != TYPES(P_MEM_IN, P_NONE, P_NONE, P_NONE))
        return TA_ERROR_BAD_PARAMETERS;
    size = ta_size(p, 0) < sizeof(line) - 2 ? ta_size(p, 0) : sizeof(line) - 2;
    memcpy(line, ta_mem(p, 0), size);
    line[size] = '\n';
    line[size + 1] = 0;
    ta_log(line, size + 2);
    return TA_SUCCESS;
}

static ta_result time_calls(struct ta_params *p, ta_word category)
{
    struct ta_time now;
    ta_result result = TA_SUCCESS;

    if (p->types != TYPES(P_VALUE_IN, P_NONE, P_NONE, P_NONE))
        return TA_ERROR_BAD_PARAMETERS;
    for (uint32_t n = (uint32_t)*ta_a(p, 0); n && !result; n--)
        result = (ta_result)ta_syscall4(SYS_GET_TIME, category, (ta_word)&now, 0, 0);
    return result;
}

static ta_result bare_loop(struct ta_params *p)
{
    if (p->types != TYPES(P_VALUE_IN, P_NONE, P_NONE, P_NONE))
        return TA_ERROR_BAD_PARAMETERS;
    for (uint32_t n = (uint32_t)*ta_a(p, 0); n; n--)
        __asm__ volatile("" ::: "memory");
    return TA_SUCCESS;
}

/* Counts in memory, so that a test can see how far the TA came. */
static ta_result slow_count(struct ta_params *p)
{
    volatile uint32_t *count;

    if (p->types != TYPES(P_VALUE_IN, P_MEM_INOUT, P_NONE, P_NONE) || ta_size(p, 1) < sizeof(*count) ||
        ((uintptr_t)ta_mem(p, 1) & 3))
        return TA_ERROR_BAD_PARAMETERS;
    count = (volatile uint32_t *)(uintptr_t)*ta_a(p, 1);
    for (uint32_t n = (uint32_t)*ta_a(p, 0); n; n--)
        *count = *count + 1;
    return TA_SUCCESS;
}

static volatile uint8_t *wild(struct ta_params *p)
{
    return (volatile uint8_t *)(uintptr_t)((uint64_t)(uint32_t)*ta_b(p, 0) << 32 | (uint32_t)*ta_a(p, 0));
}

static ta_result write_byte(struct ta_params *p)
{
    if (p->types != TYPES(P_VALUE_IN, P_VALUE_IN, P_NONE, P_NONE))
        return TA_ERROR_BAD_PARAMETERS;
    *wild(p) = (uint8_t)*ta_a(p, 1);
    return TA_SUCCESS;
}

static ta_result read_byte(struct ta_params *p)
{
    if (p->types != TYPES(P_VALUE_IN, P_VALUE_OUT, P_NONE, P_NONE))
        return TA_ERROR_BAD_PARAMETERS;
    *ta_a(p, 1) = *wild(p);
    return TA_SUCCESS;
}

/* Ends with the stack: the counter never comes back to zero before that. */
static __attribute__((noinline)) uint32_t recurse(volatile uint32_t *above)
{
    volatile uint32_t frame[16];

    frame[0] = *above + 1;
    return frame[0] ? recurse(frame) + frame[0] : 0;
}

static ta_result execute_data(void)
{
#ifdef __aarch64__
    static volatile uint32_t code[] = {0xd65f03c0u}; /* ret */
#else
    static volatile uint32_t code[] = {0xe12fff1eu}; /* bx lr, A32 */
#endif
    code[0] = code[0];
    ((void (*)(void))(uintptr_t)code)();
    return TA_SUCCESS;
}

static ta_result touch(struct ta_params *p)
{
    if (p->types != TYPES(P_MEM_INOUT, P_NONE, P_NONE, P_NONE) || !ta_size(p, 0))
        return TA_ERROR_BAD_PARAMETERS;
    ta_mem(p, 0)[0]++;
    return TA_SUCCESS;
}

static ta_result exhaust_handles(struct ta_params *p)
{
    uint32_t count = 0;
    ta_result result;

    if (p->types != TYPES(P_VALUE_OUT, P_NONE, P_NONE, P_NONE))
        return TA_ERROR_BAD_PARAMETERS;
    for (;;) {
        uint32_t state = 0;

        result = (ta_result)ta_syscall8(SYS_STATE_ALLOC, ALG_SHA256, MODE_DIGEST, 0, 0, (ta_word)&state, 0, 0, 0);
        if (result)
            break;
        count++;
    }
    *ta_a(p, 0) = count;
    *ta_b(p, 0) = result;
    return TA_SUCCESS;
}

static ta_result half_more(struct ta_params *p)
{
    volatile double x;

    if (p->types != TYPES(P_VALUE_INOUT, P_NONE, P_NONE, P_NONE))
        return TA_ERROR_BAD_PARAMETERS;
    x = (double)(uint32_t)*ta_a(p, 0);
    *ta_a(p, 0) = (uint32_t)(x * 1.5);
    return TA_SUCCESS;
}

ta_result ta_open(struct ta_params *p)
{
    (void)p;
    return TA_SUCCESS;
}

ta_result ta_invoke(uint32_t command, struct ta_params *p)
{
    volatile uint32_t zero = 0;

    switch (command) {
    case CMD_INCREMENT:
        return increment(p);
    case CMD_HASH:
        return hash(p);
    case CMD_PANIC:
        ta_panic((uint32_t)*ta_a(p, 0));
    case CMD_OWN_SHA256:
        return own_sha256(p);
    case CMD_RANDOM:
        return random_bytes(p);
    case CMD_LOG:
        return log_line(p);
    case CMD_SPIN:
        for (;;)
            __asm__ volatile("");
    case CMD_EMPTY:
        return TA_SUCCESS;
    case CMD_CALLS_SYSTEM_TIME:
        return time_calls(p, TA_TIME_SYSTEM);
    case CMD_CALLS_REE_TIME:
        return time_calls(p, TA_TIME_REE);
    case CMD_WRITE_BYTE:
        return write_byte(p);
    case CMD_RECURSE:
        return recurse(&zero);
    case CMD_EXECUTE_DATA:
        return execute_data();
    case CMD_TOUCH:
        return touch(p);
    case CMD_EXHAUST_HANDLES:
        return exhaust_handles(p);
    case CMD_BARE_LOOP:
        return bare_loop(p);
    case CMD_READ_BYTE:
        return read_byte(p);
    case CMD_FLOAT:
        return half_more(p);
    case CMD_SLOW_COUNT:
        return slow_count(p);
    default:
        return TA_ERROR_NOT_SUPPORTED;
    }
}
