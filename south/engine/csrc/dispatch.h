/* SPDX-License-Identifier: MIT */
/*
 * The seam between a CPU engine and whoever serves system calls.
 *
 * An engine traps a guest's system call, fills one struct lb_call and looks the number up in the
 * CPU's table. A C handler answers at once (30-50 ns); a call without one, or one whose handler
 * says LB_ASK, stops the engine and is answered by Python. The engine knows no TEE and no Linux.
 *
 * Extensions never link against each other: function addresses and owners travel through Python
 * as integers, and this header is all they share. It needs no library but libc.
 */
#ifndef LB_DISPATCH_H
#define LB_DISPATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LB_CALL_ARGS 8
#define LB_CALL_MAX 512 /* system-call numbers [0, LB_CALL_MAX) can have a C handler */

/* Page permissions and user access; the values are Unicorn's UC_PROT_*. */
#define LB_READ 1u
#define LB_WRITE 2u
#define LB_EXEC 4u

/* Region attributes, as north.memory.Region declares them. */
#define LB_REGION_NONSECURE 1u /* normal-world memory: the client sees and changes it */
#define LB_REGION_RWX 4u       /* may be writable and executable at once, where a personality lets programs ask for it */
#define LB_REGION_PRIVATE 2u   /* the instance's own memory (image, stack, heap), not a parameter */

/* One trapped call. 32-bit guests: every field zero-extended. */
struct lb_call {
    uint64_t number;
    uint64_t arg[LB_CALL_ARGS];
    uint64_t result; /* what the guest finds in x0 or r0 */
    uint64_t pc;     /* address after the trapping instruction */
};

/* What one contiguous run of guest memory looks like from the host. */
struct lb_span {
    uint8_t *host;   /* first byte */
    uint64_t size;   /* bytes that are contiguous on the host from there, at most what was asked */
    uint32_t flags;  /* LB_REGION_* of the region it lies in */
    uint32_t prot;   /* LB_READ | ... of the region it lies in */
};

enum lb_stop {
    LB_STOP_NOT = 0,
    LB_STOP_PAUSE, /* a signal: for a call that Python answers to return to it, and be taken up again or not */
    LB_STOP_END,   /* a deadline or a kill: whatever the answer is, the guest never sees it */
};

/* A guest as a handler sees it. `ops` belongs to the engine. */
struct lb_guest;
struct lb_guest_ops {
    /*
     * Find guest memory at `va`. On true `*out` describes a run of 1..size bytes in which every
     * access of `need` (LB_READ | LB_WRITE) is allowed to the guest itself. Pointers stay valid
     * until the handler returns. size 0 is false.
     */
    bool (*span)(const struct lb_guest *guest, uint64_t va, uint64_t size, uint32_t need,
                 struct lb_span *out);
    /*
     * For who computes for long on the guest's behalf: whether it is to stop, for any of the reasons
     * that stop one that runs. From the thread that answers the call; 1 us, so look once a millisecond.
     * The reason stays pending: the guest does not run on before it was acknowledged. NULL: never.
     */
    enum lb_stop (*stop)(const struct lb_guest *guest);
};
struct lb_guest {
    const struct lb_guest_ops *ops;
    void *cpu;            /* the engine's */
    uint32_t word_bits;   /* 32 or 64: size of a guest's size_t and pointer */
};

enum lb_verdict {
    LB_DONE = 0, /* call->result is set: go on in the guest */
    LB_ASK = 1,  /* nothing was changed: stop, and let Python answer */
};

/* A C handler. `owner` was given when it was bound. It must not block and must not call Python. */
typedef enum lb_verdict (*lb_handler)(const struct lb_guest *guest, struct lb_call *call, void *owner);

/* Whether what is computed for the guest may be given up, since it will not run again. */
static inline bool lb_ended(const struct lb_guest *guest)
{
    return guest->ops->stop && guest->ops->stop(guest) == LB_STOP_END;
}

/* [va, va+size) as one host pointer, or NULL when it is not wholly allowed or not contiguous. */
static inline uint8_t *lb_pin(const struct lb_guest *guest, uint64_t va, uint64_t size, uint32_t need)
{
    struct lb_span s;
    if (!guest->ops->span(guest, va, size, need, &s) || s.size < size)
        return NULL;
    return s.host;
}

#endif
