/* SPDX-License-Identifier: MIT */
/*
 * A driver TA for tests: the command number is the number of a cryptographic system call, the
 * parameters are its arguments, and the call's result is the command's. Parameter layouts stand in
 * tests/tas/cryptdrv/README.md.
 *
 * CMD_RAW makes any system call with any words, for hostile tests.
 */
#include "litebox_ta.h"

#ifdef __aarch64__
/* 8fcc1459-4fd8-4d67-8c41-8ae056ff9a56 */
#define DRIVER_UUID {0x8fcc1459, 0x4fd8, 0x4d67, {0x8c, 0x41, 0x8a, 0xe0, 0x56, 0xff, 0x9a, 0x56}}
#else
/* 9462b8e7-56bd-480a-bf70-59473cf4ae87 */
#define DRIVER_UUID {0x9462b8e7, 0x56bd, 0x480a, {0xbf, 0x70, 0x59, 0x47, 0x3c, 0xf4, 0xae, 0x87}}
#endif

TA_HEAD const struct ta_head ta_head = {DRIVER_UUID, 32 * 1024, 0, ~0ull};

TA_EXPORT const struct ta_property ta_props[] = {{"gpd.ta.version", TA_PROP_STRING, "1.0"}};
TA_EXPORT const size_t ta_num_props = sizeof(ta_props) / sizeof(ta_props[0]);

#define CMD_RAW 0x1000u
#define RAW_POKE 0xFFFFFFFFu /* not a system call: store args[1] as 8 bytes at args[0] */
#define RAW_PEEK 0xFFFFFFFEu /* not a system call: args[1] = the 8 bytes at args[0] */

#define ATTRIBUTES_MAX 12
#define ATTR_FLAG_VALUE (1u << 29) /* TEE_ATTR_FLAG_VALUE */

/* Attribute list in a memref: headers {id, size}, each followed by `size` bytes padded to 4; value attributes
 * (ATTR_FLAG_VALUE) have size 8, two words a and b. */
static ta_result attributes(struct ta_params *p, unsigned n, struct ta_attribute *out, ta_word *count)
{
    uint8_t *at = ta_mem(p, n);
    size_t left = ta_size(p, n);

    *count = 0;
    while (left) {
        uint32_t head[2];

        if (left < sizeof(head) || *count == ATTRIBUTES_MAX)
            return TA_ERROR_BAD_PARAMETERS;
        memcpy(head, at, sizeof(head));
        at += sizeof(head);
        left -= sizeof(head);
        if (head[1] > left)
            return TA_ERROR_BAD_PARAMETERS;
        out->id = head[0];
        if (head[0] & ATTR_FLAG_VALUE) {
            uint32_t value[2];

            if (head[1] != sizeof(value))
                return TA_ERROR_BAD_PARAMETERS;
            memcpy(value, at, sizeof(value));
            out->a = value[0];
            out->b = value[1];
        } else {
            out->a = (uintptr_t)at;
            out->b = head[1];
        }
        {
            size_t step = ((size_t)head[1] + 3) & ~(size_t)3;

            step = step < left ? step : left;
            at += step;
            left -= step;
        }
        out++;
        (*count)++;
    }
    return TA_SUCCESS;
}

/* value.a, value.b, address and size of parameter n as system-call words */
#define A(n) ((ta_word)*ta_a(p, n))
#define B(n) ((ta_word)*ta_b(p, n))
#define MEM(n) ((ta_word)(uintptr_t)ta_mem(p, n))
#define SIZE(n) ((ta_word)ta_size(p, n))
#define CALL(...) ((ta_result)ta_syscall8(number, __VA_ARGS__))
#define LENGTH(n) ((ta_word)(uintptr_t)ta_b(p, n)) /* the 64-bit length in place: what the call reports */

static ta_result with_value_out(uint32_t number, struct ta_params *p)
{
    uint32_t out = 0;
    ta_result result;

    if (number == SYS_OBJ_ALLOC)
        result = CALL(A(0), B(0), (ta_word)&out, 0, 0, 0, 0, 0);
    else
        result = CALL(A(0), B(0), A(1), B(1), (ta_word)&out, 0, 0, 0);
    *ta_a(p, number == SYS_OBJ_ALLOC ? 1 : 2) = out;
    return result;
}

static ta_result with_attributes(uint32_t number, struct ta_params *p)
{
    struct ta_attribute list[ATTRIBUTES_MAX];
    ta_word count;
    ta_word at = (ta_word)(uintptr_t)list;
    ta_result result = attributes(p, 1, list, &count);

    if (result)
        return result;
    switch (number) {
    case SYS_OBJ_POPULATE:
        return CALL(A(0), at, count, 0, 0, 0, 0, 0);
    case SYS_GENERATE_KEY:
        return CALL(A(0), B(0), at, count, 0, 0, 0, 0);
    case SYS_DERIVE_KEY:
        return CALL(A(0), at, count, B(0), 0, 0, 0, 0);
    case SYS_ASYMM_OPERATE:
        return CALL(A(0), at, count, MEM(2), SIZE(2), MEM(3), LENGTH(3), 0);
    default: /* SYS_ASYMM_VERIFY */
        return CALL(A(0), at, count, MEM(2), SIZE(2), MEM(3), SIZE(3), 0);
    }
}

static const struct {
    uint16_t number;
    uint16_t types;
} layouts[] = {
    {SYS_STATE_ALLOC, TYPES(P_VALUE_IN, P_VALUE_IN, P_VALUE_OUT, P_NONE)},
    {SYS_STATE_COPY, TYPES(P_VALUE_IN, P_NONE, P_NONE, P_NONE)},
    {SYS_STATE_FREE, TYPES(P_VALUE_IN, P_NONE, P_NONE, P_NONE)},
    {SYS_HASH_INIT, TYPES(P_VALUE_IN, P_MEM_IN, P_NONE, P_NONE)},
    {SYS_HASH_UPDATE, TYPES(P_VALUE_IN, P_MEM_IN, P_NONE, P_NONE)},
    {SYS_HASH_FINAL, TYPES(P_VALUE_IN, P_MEM_IN, P_MEM_OUT, P_NONE)},
    {SYS_CIPHER_INIT, TYPES(P_VALUE_IN, P_MEM_IN, P_NONE, P_NONE)},
    {SYS_CIPHER_UPDATE, TYPES(P_VALUE_IN, P_MEM_IN, P_MEM_OUT, P_NONE)},
    {SYS_CIPHER_FINAL, TYPES(P_VALUE_IN, P_MEM_IN, P_MEM_OUT, P_NONE)},
    {SYS_OBJ_GET_INFO, TYPES(P_VALUE_IN, P_MEM_OUT, P_NONE, P_NONE)},
    {SYS_OBJ_RESTRICT_USAGE, TYPES(P_VALUE_IN, P_NONE, P_NONE, P_NONE)},
    {SYS_OBJ_GET_ATTR, TYPES(P_VALUE_IN, P_MEM_OUT, P_NONE, P_NONE)},
    {SYS_OBJ_ALLOC, TYPES(P_VALUE_IN, P_VALUE_OUT, P_NONE, P_NONE)},
    {SYS_OBJ_CLOSE, TYPES(P_VALUE_IN, P_NONE, P_NONE, P_NONE)},
    {SYS_OBJ_RESET, TYPES(P_VALUE_IN, P_NONE, P_NONE, P_NONE)},
    {SYS_OBJ_POPULATE, TYPES(P_VALUE_IN, P_MEM_IN, P_NONE, P_NONE)},
    {SYS_OBJ_COPY, TYPES(P_VALUE_IN, P_NONE, P_NONE, P_NONE)},
    {SYS_DERIVE_KEY, TYPES(P_VALUE_IN, P_MEM_IN, P_NONE, P_NONE)},
    {SYS_RANDOM, TYPES(P_MEM_OUT, P_NONE, P_NONE, P_NONE)},
    {SYS_AUTHENC_INIT, TYPES(P_VALUE_IN, P_MEM_IN, P_VALUE_IN, P_NONE)},
    {SYS_AUTHENC_UPDATE_AAD, TYPES(P_VALUE_IN, P_MEM_IN, P_NONE, P_NONE)},
    {SYS_AUTHENC_UPDATE_PAYLOAD, TYPES(P_VALUE_IN, P_MEM_IN, P_MEM_OUT, P_NONE)},
    {SYS_AUTHENC_ENC_FINAL, TYPES(P_VALUE_IN, P_MEM_IN, P_MEM_OUT, P_MEM_OUT)},
    {SYS_AUTHENC_DEC_FINAL, TYPES(P_VALUE_IN, P_MEM_IN, P_MEM_OUT, P_MEM_IN)},
    {SYS_ASYMM_OPERATE, TYPES(P_VALUE_IN, P_MEM_IN, P_MEM_IN, P_MEM_OUT)},
    {SYS_ASYMM_VERIFY, TYPES(P_VALUE_IN, P_MEM_IN, P_MEM_IN, P_MEM_IN)},
    {SYS_GENERATE_KEY, TYPES(P_VALUE_IN, P_MEM_IN, P_NONE, P_NONE)},
};

static int layout_fits(uint32_t number, const struct ta_params *p)
{
    for (size_t i = 0; i < sizeof(layouts) / sizeof(layouts[0]); i++)
        if (layouts[i].number == number)
            return layouts[i].types == p->types;
    return 0;
}

static ta_result drive(uint32_t number, struct ta_params *p)
{
    if (!layout_fits(number, p))
        return TA_ERROR_BAD_PARAMETERS;
    switch (number) {
    case SYS_STATE_ALLOC:
    case SYS_OBJ_ALLOC:
        return with_value_out(number, p);
    case SYS_STATE_FREE:
    case SYS_OBJ_CLOSE:
    case SYS_OBJ_RESET:
        return CALL(A(0), 0, 0, 0, 0, 0, 0, 0);
    case SYS_STATE_COPY:
    case SYS_OBJ_COPY:
    case SYS_OBJ_RESTRICT_USAGE:
        return CALL(A(0), B(0), 0, 0, 0, 0, 0, 0);
    case SYS_HASH_INIT:
    case SYS_HASH_UPDATE:
    case SYS_CIPHER_INIT:
    case SYS_AUTHENC_UPDATE_AAD:
        return CALL(A(0), MEM(1), SIZE(1), 0, 0, 0, 0, 0);
    case SYS_HASH_FINAL:
    case SYS_CIPHER_UPDATE:
    case SYS_CIPHER_FINAL:
    case SYS_AUTHENC_UPDATE_PAYLOAD:
        return CALL(A(0), MEM(1), SIZE(1), MEM(2), LENGTH(2), 0, 0, 0);
    case SYS_OBJ_GET_INFO:
        if (SIZE(1) < 7 * sizeof(uint32_t)) /* struct utee_object_info */
            return TA_ERROR_SHORT_BUFFER;
        return CALL(A(0), MEM(1), 0, 0, 0, 0, 0, 0);
    case SYS_OBJ_GET_ATTR:
        return CALL(A(0), B(0), MEM(1), LENGTH(1), 0, 0, 0, 0);
    case SYS_RANDOM:
        return CALL(MEM(0), SIZE(0), 0, 0, 0, 0, 0, 0);
    case SYS_AUTHENC_INIT:
        return CALL(A(0), MEM(1), SIZE(1), B(0), A(2), B(2), 0, 0);
    case SYS_AUTHENC_ENC_FINAL:
        return CALL(A(0), MEM(1), SIZE(1), MEM(2), LENGTH(2), MEM(3), LENGTH(3), 0);
    case SYS_AUTHENC_DEC_FINAL:
        return CALL(A(0), MEM(1), SIZE(1), MEM(2), LENGTH(2), MEM(3), SIZE(3), 0);
    default:
        return with_attributes(number, p);
    }
}

/* One record of CMD_RAW. Bit i of `relocate`: args[i] is an offset into the second parameter's memory. */
struct raw {
    uint64_t number;
    uint64_t args[8];
    uint32_t relocate;
    uint32_t result;
};

static void raw_one(struct raw *r, uintptr_t base)
{
    ta_word w[8];

    for (unsigned i = 0; i < 8; i++)
        w[i] = (ta_word)r->args[i] + (r->relocate >> i & 1 ? (ta_word)base : 0);
    if (r->number == RAW_POKE) {
        uint64_t word = r->relocate & 2 ? w[1] : r->args[1];

        memcpy((void *)(uintptr_t)w[0], &word, sizeof(word));
    } else if (r->number == RAW_PEEK) {
        memcpy(&r->args[1], (const void *)(uintptr_t)w[0], sizeof(r->args[1]));
    } else {
        r->result = (uint32_t)ta_syscall8((ta_word)r->number, w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7]);
    }
}

static ta_result raw(struct ta_params *p)
{
    struct raw record;

    if (p->types != TYPES(P_MEM_INOUT, P_MEM_INOUT, P_NONE, P_NONE) || ta_size(p, 0) % sizeof(record))
        return TA_ERROR_BAD_PARAMETERS;
    for (size_t at = 0; at < ta_size(p, 0); at += sizeof(record)) {
        memcpy(&record, ta_mem(p, 0) + at, sizeof(record));
        raw_one(&record, (uintptr_t)ta_mem(p, 1));
        memcpy(ta_mem(p, 0) + at, &record, sizeof(record));
    }
    return TA_SUCCESS;
}

ta_result ta_open(struct ta_params *p)
{
    (void)p;
    return TA_SUCCESS;
}

ta_result ta_invoke(uint32_t command, struct ta_params *p)
{
    return command == CMD_RAW ? raw(p) : drive(command, p);
}
