/* SPDX-License-Identifier: MIT */
/*
 * A test TA that profiles itself, as libutee does for TAs built with CFG_TA_GPROF_SUPPORT and CFG_FTRACE_SUPPORT: every
 * function calls mcount (-pg), which counts arcs for gprof and writes records into the buffer that __ftrace_info names.
 *
 * ABI: optee_os lib/libutee/include/{pta_gprof,user_ta_header}.h; gmon_out(5). README.md has the commands.
 */
#include "litebox_ta.h"

#ifdef __aarch64__
/* 4d1b6c52-6f0e-4c43-8a4e-b3a0f7c6c9d1 */
#define PROF_UUID {0x4d1b6c52, 0x6f0e, 0x4c43, {0x8a, 0x4e, 0xb3, 0xa0, 0xf7, 0xc6, 0xc9, 0xd1}}
#else
/* 9a6f0b1e-2f5d-4f0a-b7a5-51d34d0c8e27 */
#define PROF_UUID {0x9a6f0b1e, 0x2f5d, 0x4f0a, {0xb7, 0xa5, 0x51, 0xd3, 0x4d, 0x0c, 0x8e, 0x27}}
#endif

TA_HEAD const struct ta_head ta_head = {PROF_UUID, 16 * 1024, 0, ~0ull};

TA_EXPORT const struct ta_property ta_props[] = {{"gpd.ta.version", TA_PROP_STRING, "1.0"}};
TA_EXPORT const size_t ta_num_props = sizeof(ta_props) / sizeof(ta_props[0]);

#define PLAIN __attribute__((no_instrument_function))
#define APART __attribute__((noinline, noclone))

enum { CMD_WORK, CMD_PANIC, CMD_GPROF, CMD_START, CMD_STOP, CMD_SEND, CMD_CALLS, CMD_WILD, CMD_INDEX };

#define SYS_OPEN_TA_SESSION 5
#define SYS_INVOKE_TA_COMMAND 7
#define PTA_GPROF {0x2f6e0d48, 0xc574, 0x426d, {0x82, 0x4e, 0x40, 0x19, 0x8c, 0xde, 0x5c, 0xac}}
enum { GPROF_SEND, GPROF_START, GPROF_STOP };

/* --- function tracing */

#define DEPTH 50
#define TRACE_BYTES 4096

struct ftrace_info {
    uint64_t start, end, returns;
};

struct ftrace_buf {
    uint64_t ret_func_ptr, ret_stack[DEPTH];
    uint32_t ret_idx, lr_idx;
    uint64_t begin_time[DEPTH], suspend_time;
    uint32_t curr_idx, max_size, head_off, buf_off, dump_id;
    uint8_t syscall_trace_enabled, syscall_trace_suspended, overflow;
};

static union {
    struct ftrace_buf head;
    uint8_t bytes[TRACE_BYTES];
} trace __attribute__((aligned(8)));

void prof_returns(void);

#ifdef __aarch64__
TA_EXPORT struct ftrace_info __ftrace_info = {(uint64_t)&trace, (uint64_t)(&trace + 1), (uint64_t)prof_returns};
#else
/* Pointers of 32 bits, each before a word of zeros. */
TA_EXPORT struct {
    void *start, *pad0, *end, *pad1;
    void (*returns)(void);
    void *pad2;
} __ftrace_info = {&trace, 0, &trace + 1, 0, prof_returns, 0};
#endif

static inline PLAIN uint64_t ticks(void)
{
    uint64_t now;
#ifdef __aarch64__
    __asm__ volatile("isb; mrs %0, cntpct_el0" : "=r"(now));
#else
    __asm__ volatile("isb; mrrc p15, 0, %Q0, %R0, c14" : "=r"(now));
#endif
    return now;
}

static PLAIN void record(uint64_t depth, uint64_t value)
{
    struct ftrace_buf *t = &trace.head;
    uint64_t *slots = (uint64_t *)(trace.bytes + t->buf_off);

    slots[t->curr_idx] = depth << 56 | value;
    if ((t->curr_idx + 2) * 8 > t->max_size) {
        t->curr_idx = 0;
        t->overflow = 1;
    } else {
        t->curr_idx++;
    }
}

/* --- call graph */

#define ARCS 64
#define SPAN 0x2000u /* code is counted up to here, from ta_head on; four bytes a counter */

static struct {
    ta_word from, to;
    uint32_t count;
} arcs[ARCS];
static uint16_t counters[SPAN / 4];

/* pc: in the function that begins; link: where its return address is kept. */
PLAIN void prof_enter(ta_word pc, ta_word *link)
{
    struct ftrace_buf *t = &trace.head;
    ta_word base = (ta_word)&ta_head, from = *link - base - 4, to = pc - base - 4;
    unsigned i = 0;

    while (i < ARCS && arcs[i].count && (arcs[i].from != from || arcs[i].to != to))
        i++;
    if (i < ARCS) {
        arcs[i].from = from;
        arcs[i].to = to;
        arcs[i].count++;
    }
    if (!t->buf_off || t->ret_idx >= DEPTH)
        return;
    record(t->ret_idx + 1, pc - 4);
    t->ret_stack[t->ret_idx] = *link;
    t->begin_time[t->ret_idx++] = ticks();
    *link = (ta_word)prof_returns;
}

PLAIN ta_word prof_leave(void)
{
    struct ftrace_buf *t = &trace.head;
    uint64_t now = ticks();

    t->ret_idx--;
    record(0, now - t->begin_time[t->ret_idx]); /* in ticks: 32-bit code has no division */
    return (ta_word)t->ret_stack[t->ret_idx];
}

#ifdef __aarch64__
/* The caller's frame record is where x29 points. */
__asm__(".text; .global _mcount; .hidden _mcount; .type _mcount, %function\n"
        "_mcount: stp x29, x30, [sp, #-16]!; mov x0, x30; add x1, x29, #8; mov x29, sp\n"
        "bl prof_enter; ldp x29, x30, [sp], #16; ret\n"
        ".global prof_returns; .hidden prof_returns; .type prof_returns, %function\n"
        "prof_returns: stp x0, x1, [sp, #-16]!; bl prof_leave; mov x30, x0; ldp x0, x1, [sp], #16; ret\n");
#else
/* Called with the link register pushed, which goes from the stack. An APCS frame has a copy of it below the pc. */
__asm__(".text; .arm; .global __gnu_mcount_nc; .hidden __gnu_mcount_nc; .type __gnu_mcount_nc, %function\n"
        "__gnu_mcount_nc: push {r0-r3, lr}; mov r0, lr; sub r1, fp, #4; bl prof_enter; pop {r0-r3, ip, lr}; bx ip\n"
        ".global prof_returns; .hidden prof_returns; .type prof_returns, %function\n"
        "prof_returns: push {r0-r3}; bl prof_leave; mov lr, r0; pop {r0-r3}; bx lr\n");
#endif

/* --- what is profiled */

static volatile uint32_t sink;

APART static uint32_t hot(uint32_t n)
{
    uint32_t x = sink + 1;

    while (n--)
        x = x * 1664525u + 1013904223u;
    return x;
}

APART static uint32_t cold(uint32_t n)
{
    sink = hot(n / 16);
    return sink + 1;
}

APART static uint32_t work(uint32_t n)
{
    uint32_t x = 0;

    for (unsigned i = 0; i < 3; i++)
        x += cold(n);
    return x + hot(n);
}

APART static void fail(uint32_t code)
{
    sink = code;
    ta_panic(code);
}

APART static void deeper(uint32_t code)
{
    fail(code);
    sink = 0;
}

/* --- the gprof pseudo TA */

static uint32_t session, file;

static PLAIN ta_result ask(uint32_t command, uint64_t types, uint64_t *v0, uint64_t *v1, uint64_t *v2, uint64_t *v3)
{
    static const struct ta_uuid gprof = PTA_GPROF;
    struct ta_params none = {0, {0}}, p = {types, {*v0, *v1, *v2, *v3}};
    uint32_t origin;
    ta_result r;

    if (!session) {
        r = (ta_result)ta_syscall8(SYS_OPEN_TA_SESSION, (ta_word)&gprof, 0xffffffffu, (ta_word)&none, (ta_word)&session,
                                   (ta_word)&origin, 0, 0, 0);
        if (r)
            return r;
    }
    r = (ta_result)ta_syscall8(SYS_INVOKE_TA_COMMAND, session, 0xffffffffu, command, (ta_word)&p, (ta_word)&origin, 0, 0,
                               0);
    *v0 = p.vals[0];
    return r;
}

static PLAIN ta_result send(const void *data, size_t size)
{
    uint64_t id = file, zero = 0, at = (uintptr_t)data, length = size;
    ta_result r = ask(GPROF_SEND, TYPES(P_VALUE_INOUT, P_MEM_IN, P_NONE, P_NONE), &id, &zero, &at, &length);

    file = (uint32_t)id;
    return r;
}

static PLAIN ta_result start(void)
{
    uint64_t at = (uintptr_t)counters, size = sizeof(counters), offset = (uint32_t)(uintptr_t)&ta_head, scale = 0x8000;

    return ask(GPROF_START, TYPES(P_MEM_INOUT, P_VALUE_IN, P_NONE, P_NONE), &at, &size, &offset, &scale);
}

static PLAIN ta_result stop(uint32_t *rate)
{
    uint64_t a = 0, zero = 0;
    ta_result r = ask(GPROF_STOP, TYPES(P_VALUE_OUT, P_NONE, P_NONE, P_NONE), &a, &zero, &zero, &zero);

    *rate = (uint32_t)a;
    return r;
}

struct __attribute__((packed)) head {
    char cookie[4];
    uint32_t version;
    char spare[12];
    uint8_t tag;
    ta_word low, high;
    uint32_t slots, rate;
    char dimension[15], abbreviation;
};

struct __attribute__((packed)) arc {
    uint8_t tag;
    ta_word from, to;
    uint32_t count;
};

/* A file as gmon_out(5) has it, in pieces. */
static PLAIN ta_result gmon(uint32_t rate)
{
    struct head head = {"gmon", 1, {0}, 0, 0, SPAN, SPAN / 4, rate, "seconds", 's'};
    ta_result r;

    file = 0;
    r = send(&head, sizeof(head));
    if (!r)
        r = send(counters, sizeof(counters));
    for (unsigned i = 0; !r && i < ARCS && arcs[i].count; i++) {
        struct arc arc = {1, arcs[i].from, arcs[i].to, arcs[i].count};

        r = send(&arc, sizeof(arc));
    }
    return r;
}

PLAIN ta_result ta_open(struct ta_params *p)
{
    (void)p;
    trace.head.ret_idx = 0;
    return TA_SUCCESS;
}

PLAIN ta_result ta_invoke(uint32_t command, struct ta_params *p)
{
    uint32_t rate = 0;
    ta_result r;

    trace.head.ret_idx = 0;
    switch (command) {
    case CMD_WORK:
        *ta_a(p, 0) = work((uint32_t)*ta_a(p, 0));
        return TA_SUCCESS;
    case CMD_PANIC:
        deeper((uint32_t)*ta_a(p, 0));
        return TA_SUCCESS;
    case CMD_GPROF:
        r = start();
        if (!r)
            work((uint32_t)*ta_a(p, 0));
        if (!r)
            r = stop(&rate);
        *ta_b(p, 0) = rate;
        return r ? r : gmon(rate);
    case CMD_START:
        return start();
    case CMD_STOP:
        r = stop(&rate);
        *ta_a(p, 0) = rate;
        return r;
    case CMD_SEND:
        file = (uint32_t)*ta_a(p, 1);
        r = send(ta_mem(p, 0), ta_size(p, 0));
        *ta_a(p, 1) = file;
        return r;
    case CMD_CALLS:
        for (uint32_t i = (uint32_t)*ta_a(p, 0); i; i--)
            hot(1);
        return TA_SUCCESS;
    case CMD_WILD:
        for (volatile uint8_t *at = trace.bytes; at < trace.bytes + sizeof(trace.head); at++)
            *at = (uint8_t)*ta_a(p, 0);
        trace.head.buf_off = 0;
        return TA_SUCCESS;
    case CMD_INDEX:
        trace.head.curr_idx = (uint32_t)*ta_a(p, 0);
        trace.head.overflow = (uint8_t)*ta_b(p, 0);
        return TA_SUCCESS;
    default:
        return TA_ERROR_NOT_SUPPORTED;
    }
}
