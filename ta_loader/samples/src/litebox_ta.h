/* SPDX-License-Identifier: MIT */
/*
 * A tiny runtime for trusted applications: system calls by number, parameters, and the TA's head.
 * It talks to the TEE core directly and needs no other library.
 *
 * ABI: optee_os lib/libutee/include/{tee_syscall_numbers,utee_types,user_ta_header,tee_api_defines}.h
 */
#ifndef LITEBOX_TA_H
#define LITEBOX_TA_H

#include <stddef.h>
#include <stdint.h>

typedef uint32_t ta_result;
typedef unsigned long ta_word;

/* GP TEE Internal Core API v1.3.1 section 3.3.1 */
#define TA_SUCCESS 0x00000000u
#define TA_ERROR_BAD_PARAMETERS 0xFFFF0006u
#define TA_ERROR_NOT_SUPPORTED 0xFFFF000Au
#define TA_ERROR_SHORT_BUFFER 0xFFFF0010u

/* tee_syscall_numbers.h */
enum ta_syscall_number {
    SYS_RETURN = 0,
    SYS_LOG = 1,
    SYS_PANIC = 2,
    SYS_GET_TIME = 13,
    SYS_STATE_ALLOC = 15,
    SYS_STATE_COPY = 16,
    SYS_STATE_FREE = 17,
    SYS_HASH_INIT = 18,
    SYS_HASH_UPDATE = 19,
    SYS_HASH_FINAL = 20,
    SYS_CIPHER_INIT = 21,
    SYS_CIPHER_UPDATE = 22,
    SYS_CIPHER_FINAL = 23,
    SYS_OBJ_GET_INFO = 24,
    SYS_OBJ_RESTRICT_USAGE = 25,
    SYS_OBJ_GET_ATTR = 26,
    SYS_OBJ_ALLOC = 27,
    SYS_OBJ_CLOSE = 28,
    SYS_OBJ_RESET = 29,
    SYS_OBJ_POPULATE = 30,
    SYS_OBJ_COPY = 31,
    SYS_DERIVE_KEY = 32,
    SYS_RANDOM = 33,
    SYS_AUTHENC_INIT = 34,
    SYS_AUTHENC_UPDATE_AAD = 35,
    SYS_AUTHENC_UPDATE_PAYLOAD = 36,
    SYS_AUTHENC_ENC_FINAL = 37,
    SYS_AUTHENC_DEC_FINAL = 38,
    SYS_ASYMM_OPERATE = 39,
    SYS_ASYMM_VERIFY = 40,
    SYS_GENERATE_KEY = 54,
};

/* enum utee_time_category */
#define TA_TIME_SYSTEM 0
#define TA_TIME_REE 2

struct ta_time {
    uint32_t seconds;
    uint32_t millis;
};

/* enum utee_entry_func */
#define TA_OPEN_SESSION 0
#define TA_CLOSE_SESSION 1
#define TA_INVOKE_COMMAND 2

/* TEE_PARAM_TYPE_*: four bits a parameter */
#define P_NONE 0u
#define P_VALUE_IN 1u
#define P_VALUE_OUT 2u
#define P_VALUE_INOUT 3u
#define P_MEM_IN 5u
#define P_MEM_OUT 6u
#define P_MEM_INOUT 7u
#define TYPES(p0, p1, p2, p3) ((p0) | (p1) << 4 | (p2) << 8 | (p3) << 12)

/* struct utee_params: vals[2n] is value.a or the address, vals[2n + 1] value.b or the size */
struct ta_params {
    uint64_t types;
    uint64_t vals[8];
};

static inline uint64_t *ta_a(struct ta_params *p, unsigned n)
{
    return &p->vals[2 * n];
}

static inline uint64_t *ta_b(struct ta_params *p, unsigned n)
{
    return &p->vals[2 * n + 1];
}

static inline uint8_t *ta_mem(struct ta_params *p, unsigned n)
{
    return (uint8_t *)(uintptr_t)p->vals[2 * n];
}

static inline size_t ta_size(struct ta_params *p, unsigned n)
{
    return (size_t)p->vals[2 * n + 1];
}

/* struct utee_attribute */
struct ta_attribute {
    uint64_t a;
    uint64_t b;
    uint32_t id;
};

/* TEE_UUID and struct ta_head */
struct ta_uuid {
    uint32_t time_low;
    uint16_t time_mid;
    uint16_t time_hi_and_version;
    uint8_t clock_seq_and_node[8];
};

struct ta_head {
    struct ta_uuid uuid;
    uint32_t stack_size;
    uint32_t flags;
    uint64_t depr_entry; /* all ones: the ELF header holds the entry */
};

#define TA_FLAG_SINGLE_INSTANCE (1u << 2)
#define TA_FLAG_MULTI_SESSION (1u << 3)

/* struct user_ta_property */
enum ta_property_type { TA_PROP_BOOL = 0, TA_PROP_U32 = 1, TA_PROP_STRING = 4 };

struct ta_property {
    const char *name;
    enum ta_property_type type;
    const void *value;
};

#define TA_EXPORT __attribute__((visibility("default"), used))
#define TA_HEAD TA_EXPORT __attribute__((section(".ta_head")))

/* What a TA that uses this runtime defines. */
extern const struct ta_head ta_head;
ta_result ta_open(struct ta_params *params);
ta_result ta_invoke(uint32_t command, struct ta_params *params);

/*
 * A system call of up to eight words. aarch64: number in x8, words in x0-x7. arm: number in r7,
 * words in r0-r3 and the rest in memory that r5 points to, their count in r6.
 */
#ifdef __aarch64__
static inline ta_word ta_syscall8(ta_word number, ta_word a, ta_word b, ta_word c, ta_word d, ta_word e, ta_word f,
                                  ta_word g, ta_word h)
{
    register ta_word x8 __asm__("x8") = number;
    register ta_word x0 __asm__("x0") = a;
    register ta_word x1 __asm__("x1") = b;
    register ta_word x2 __asm__("x2") = c;
    register ta_word x3 __asm__("x3") = d;
    register ta_word x4 __asm__("x4") = e;
    register ta_word x5 __asm__("x5") = f;
    register ta_word x6 __asm__("x6") = g;
    register ta_word x7 __asm__("x7") = h;

    __asm__ volatile("svc #0"
                     : "+r"(x0), "+r"(x1), "+r"(x2), "+r"(x3), "+r"(x4), "+r"(x5), "+r"(x6), "+r"(x7), "+r"(x8)
                     :
                     : "x9", "x10", "x11", "x12", "x13", "x14", "x15", "x16", "x17", "cc", "memory");
    return x0;
}
#else
static inline ta_word ta_syscall_regs(ta_word number, ta_word a, ta_word b, ta_word c, ta_word d, const ta_word *stack,
                                      ta_word count)
{
    register ta_word r7 __asm__("r7") = number;
    register ta_word r0 __asm__("r0") = a;
    register ta_word r1 __asm__("r1") = b;
    register ta_word r2 __asm__("r2") = c;
    register ta_word r3 __asm__("r3") = d;
    register const ta_word *r5 __asm__("r5") = stack;
    register ta_word r6 __asm__("r6") = count;

    __asm__ volatile("svc #0"
                     : "+r"(r0), "+r"(r1), "+r"(r2), "+r"(r3)
                     : "r"(r5), "r"(r6), "r"(r7)
                     : "r12", "lr", "cc", "memory");
    return r0;
}

static inline ta_word ta_syscall8(ta_word number, ta_word a, ta_word b, ta_word c, ta_word d, ta_word e, ta_word f,
                                  ta_word g, ta_word h)
{
    const ta_word stack[4] = {e, f, g, h};

    return ta_syscall_regs(number, a, b, c, d, stack, 4);
}
#endif

/* The same for up to four words: the smallest trap there is. */
static inline ta_word ta_syscall4(ta_word number, ta_word a, ta_word b, ta_word c, ta_word d)
{
#ifdef __aarch64__
    return ta_syscall8(number, a, b, c, d, 0, 0, 0, 0);
#else
    return ta_syscall_regs(number, a, b, c, d, NULL, 0);
#endif
}

__attribute__((noreturn)) void ta_panic(uint32_t code);
void ta_log(const char *text, size_t size);
void *memcpy(void *to, const void *from, size_t size);
void *memset(void *to, int byte, size_t size);

#endif
