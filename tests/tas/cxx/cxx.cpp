/* SPDX-License-Identifier: MIT */
/*
 * A TA in C++: thread-local variables and exceptions, in every entry. Commands: README.md here.
 *
 * Exceptions keep their state in thread-local storage (__cxa_get_globals), and find their tables through
 * dl_iterate_phdr: support.c makes both of what the loader left in __elf_phdr_info.
 */
#include <exception>

extern "C" {
#include "litebox_ta.h"
void support_ready(void);
}

#ifdef __aarch64__
/* 2b5c1e0a-77d4-4c0e-9d3a-5a7b7d2f7f64 */
#define CXX_UUID {0x2b5c1e0a, 0x77d4, 0x4c0e, {0x9d, 0x3a, 0x5a, 0x7b, 0x7d, 0x2f, 0x7f, 0x64}}
#else
/* d8c9f6f2-0c9b-4b6e-8f0d-3f1e6c1b3a32 */
#define CXX_UUID {0xd8c9f6f2, 0x0c9b, 0x4b6e, {0x8f, 0x0d, 0x3f, 0x1e, 0x6c, 0x1b, 0x3a, 0x32}}
#endif

extern "C" {
extern TA_HEAD const struct ta_head ta_head = {CXX_UUID, 64 * 1024, 0, ~0ull};
extern TA_EXPORT const struct ta_property ta_props[] = {{"gpd.ta.version", TA_PROP_STRING, "1.0"}};
extern TA_EXPORT const size_t ta_num_props = 1;
}

#define PANIC_TERMINATE 0x7e27u

enum { COUNT = 0, THROW = 1, UNCAUGHT = 2, CONDITIONAL = 3, ZEROED = 4, HALF = 5 };

/* Instead of the library's, which writes names to stderr. */
namespace __gnu_cxx
{
void __verbose_terminate_handler()
{
    ta_panic(PANIC_TERMINATE);
    __builtin_trap();
}
}

static thread_local uint32_t counter = 5;
static thread_local uint32_t zeroed;
static thread_local uint64_t aligned __attribute__((aligned(32))) = 0x1122334455667788;

struct Thrown {
    uint32_t depth;
};

struct Undone { /* counts what is destroyed on the way out */
    uint32_t *count;
    ~Undone() { ++*count; }
};

__attribute__((noinline)) static uint32_t descend(uint32_t depth, uint32_t *undone)
{
    Undone one{undone};
    if (!depth)
        throw Thrown{counter};
    return descend(depth - 1, undone) + 1;
}

/* Throws at `depth`, catches it, throws again from the handler. a: what was thrown; b: destructors that ran. */
static void thrown(uint32_t depth, uint32_t *a, uint32_t *b)
{
    uint32_t undone = 0;
    try {
        try {
            descend(depth, &undone);
        } catch (const Thrown &) {
            Undone handler{&undone};
            throw;
        }
    } catch (const Thrown &seen) {
        *a = seen.depth;
        *b = undone | (uint32_t)std::uncaught_exceptions() << 16;
    }
}

#ifdef __thumb__
static uint32_t far_away[4][2048]; /* pages that nothing else touches */
extern "C" uint32_t probe(uint32_t a, uint32_t *p);
/* A conditional load that misses the TLB within an IT block; the three instructions after the return must all run. */
__asm__(".text\n.syntax unified\n.type probe, %function\n.thumb_func\nprobe:\n push {r4, lr}\n bl 1f\n movs r2, #1\n"
        " movs r3, #2\n movs r4, #3\n adds r0, r2, r3\n adds r0, r4\n pop {r4, pc}\n1: movs r2, #0\n movs r3, #0\n"
        " movs r4, #0\n cmp r0, #2\n ittte ne\n ldrne r2, [r1]\n movne r3, #0\n movne r2, #0\n moveq r4, #0\n bx lr\n");
#endif

extern "C" ta_result ta_open(struct ta_params *p)
{
    (void)p;
    support_ready();
    counter++;
    return TA_SUCCESS;
}

extern "C" ta_result ta_invoke(uint32_t command, struct ta_params *p)
{
    uint32_t a = (uint32_t)*ta_a(p, 0), b = 0;

    switch (command) {
    case COUNT:
        a = ++counter;
        b = aligned == 0x1122334455667788 && !((uintptr_t)&aligned & 31);
        break;
    case THROW:
        thrown(a, &a, &b);
        break;
    case UNCAUGHT:
        descend(a, &b);
        break;
    case ZEROED:
        a = zeroed++;
        break;
#ifdef __thumb__
    case CONDITIONAL:
        a = probe(1, far_away[1]);
        b = probe(1, far_away[1]);
        break;
#endif
#ifdef __aarch64__
    case HALF:
        __asm__ volatile(".inst 0x0ec62c8c"); /* of half-precision SIMD's place, and not allocated */
        break;
#endif
    default:
        return TA_ERROR_NOT_SUPPORTED;
    }
    *ta_a(p, 0) = a;
    *ta_b(p, 0) = b;
    return TA_SUCCESS;
}
