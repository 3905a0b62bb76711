/* SPDX-License-Identifier: MIT */
/*
 * What ends inside Unicorn's library (abort, exit, a fault) ends one CPU, not the process: contain.c.
 *
 * A caller of the library writes
 *
 *     struct lb_library_call call;
 *     if (!LB_INSIDE(call))
 *         return LB_ERR_BROKEN;
 *     ... calls of the library ...
 *     lb_leave_library(&call);
 *
 * Code of ours that the library calls back, and that may take locks or call Python, steps out meanwhile.
 */
#ifndef LB_CONTAIN_H
#define LB_CONTAIN_H

#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>

#define LB_ERR_BROKEN 1000 /* beside Unicorn's uc_err */
#define LB_ERR_BUSY 1001

/* One level of the library's callers on this thread. */
struct lb_library_call {
    sigjmp_buf at;
    struct lb_library_call *outer;
};

extern __thread struct lb_library_call *lb_inside __attribute__((tls_model("initial-exec")));

/* false: the library ended inside, and control is back. True at first. */
#define LB_INSIDE(call) ((call).outer = lb_inside, !sigsetjmp((call).at, 0) && (lb_inside = &(call), true))

static inline void lb_leave_library(struct lb_library_call *call)
{
    lb_inside = call->outer;
}

/* For callbacks: what ends in between is no failure of the library. */
static inline struct lb_library_call *lb_step_out(void)
{
    struct lb_library_call *call = lb_inside;
    lb_inside = NULL;
    return call;
}

static inline void lb_step_in(struct lb_library_call *call)
{
    lb_inside = call;
}

/* Once, when the library is loaded. handle: dlopen's. */
void lb_contain_library(void *handle);
/* Before a CPU is made: others may have replaced our handlers since. */
void lb_contain_signals(void);
void lb_contain_before_fork(void);
void lb_contain_after_fork(void);
/* How the library last ended inside on this thread. */
const char *lb_how_it_ended(void);

#endif
