/* SPDX-License-Identifier: MIT */
/*
 * Breakpoints, single steps and watchpoints: the guest stops between two instructions, with LB_TRAP_DEBUG.
 *
 * A breakpoint is a hook of Unicorn's at one address: only that instruction calls it, so one that is not reached costs
 * nothing. Steps and watchpoints need a hook at every instruction (4 to 20 times the cost of a loop), which is there from the
 * first of them until lb_debug_off; it then looks at breakpoints, too, so that one place decides. A watchpoint does not
 * stop inside an access, which would be repeated: the access is noted, and the next instruction stops.
 *
 * Unicorn does not leave within an IT block of T32 code, nor would it know the rest of the block again: a stop asked for
 * there comes at the first instruction behind the block that looks.
 *
 * An entry stops at a breakpoint where it begins; going on from a stop passes the one it stopped at.
 */
#include "cpu.h"

#include <stdlib.h>
#include <string.h>

/* What is on for a CPU; made when first needed. */
struct lb_debug {
    struct lb_break {
        uint64_t va;
        uc_hook hook;
    } *breaks;
    size_t count, room;
    uc_hook every;     /* at all instructions; 0: none */
    bool passing;      /* the breakpoint at `at` is not hit before its instruction ran */
    bool stepping;     /* stop at the second instruction from now on */
    bool began;        /* the first has begun */
    unsigned why;      /* LB_DEBUG_* of a stop that was asked for */
    bool hit;          /* a watched access happened: `access` */
    struct lb_fault access;
    uint64_t at;       /* where it last stopped */
};

static struct lb_debug *made(struct lb_cpu *cpu)
{
    if (!cpu->debug)
        cpu->debug = calloc(1, sizeof *cpu->debug);
    return cpu->debug;
}

static size_t find(const struct lb_debug *d, uint64_t va)
{
    size_t i = 0;
    while (i < d->count && d->breaks[i].va != va)
        i++;
    return i;
}

static void stop(struct lb_cpu *cpu, unsigned why, uint64_t pc)
{
    struct lb_debug *d = cpu->debug;
    if (!d->why)
        cpu->fault = why == LB_DEBUG_WATCH ? d->access : (struct lb_fault){.address = pc};
    cpu->fault.pc = pc;
    cpu->fault.exception = why;
    cpu->trap = LB_TRAP_DEBUG;
    d->at = pc;
    d->hit = d->stepping = d->passing = false;
    d->why = why;
    lb_uc.emu_stop(cpu->uc);
}

static void on_instruction(uc_engine *uc, uint64_t pc, uint32_t size, void *data)
{
    struct lb_cpu *cpu = data;
    struct lb_debug *d = cpu->debug;
    (void)uc;
    (void)size;
    bool passed = d->passing && d->at == pc;
    d->passing = false;
    if (d->why) /* an IT block went on: its instructions look for no stop */
        stop(cpu, d->why, pc);
    else if (d->hit)
        stop(cpu, LB_DEBUG_WATCH, pc);
    else if (d->stepping && d->began)
        stop(cpu, LB_DEBUG_STEP, pc);
    else if (!passed && find(d, pc) < d->count)
        stop(cpu, LB_DEBUG_BREAK, pc);
    d->began = true;
}

static void on_break(uc_engine *uc, uint64_t pc, uint32_t size, void *data)
{
    struct lb_cpu *cpu = data;
    if (!cpu->debug->every) /* else it is looked at there, once */
        on_instruction(uc, pc, size, data);
}

static uc_err add_every(struct lb_cpu *cpu)
{
    return lb_uc.hook_add(cpu->uc, &cpu->debug->every, UC_HOOK_CODE, (void *)on_instruction, cpu, 1, 0);
}

static uc_err every(struct lb_cpu *cpu)
{
    struct lb_debug *d = made(cpu);
    if (!d)
        return UC_ERR_NOMEM;
    return d->every ? UC_ERR_OK : lb_hook_changed(cpu, add_every);
}

static uc_err add_last(struct lb_cpu *cpu)
{
    struct lb_break *b = &cpu->debug->breaks[cpu->debug->count];
    return lb_uc.hook_add(cpu->uc, &b->hook, UC_HOOK_CODE, (void *)on_break, cpu, b->va, b->va);
}

#define IT_REACH 16u /* bytes: four instructions of four */

/* Whether va may lie in an IT block (Arm ARM F5.1.56: 1011 1111 cccc mmmm, mmmm not 0): a halfword before looks like one. */
static bool may_be_conditional(struct lb_cpu *cpu, uint64_t va)
{
    uint16_t halves[IT_REACH / 2];
    if (!cpu->arch->restored)
        return false;
    if (lb_read(cpu->space, va - IT_REACH, halves, sizeof halves, LB_EXEC))
        return true;
    for (size_t i = 0; i < IT_REACH / 2; i++)
        if ((halves[i] & 0xff00) == 0xbf00 && halves[i] & 0xf)
            return true;
    return false;
}

/* Stop before the instruction at va; nothing happens if it is a breakpoint already. */
int lb_debug_break(struct lb_cpu *cpu, uint64_t va)
{
    struct lb_debug *d = made(cpu);
    if (!d)
        return UC_ERR_NOMEM;
    if (find(d, va) < d->count)
        return 0;
    if (d->count == d->room) {
        size_t room = d->room ? d->room * 2 : 8;
        void *grown = realloc(d->breaks, room * sizeof *d->breaks);
        if (!grown)
            return UC_ERR_NOMEM;
        d->breaks = grown;
        d->room = room;
    }
    d->breaks[d->count] = (struct lb_break){.va = va};
    uc_err e = lb_hook_changed(cpu, add_last);
    d->count += !e;
    if (!e && may_be_conditional(cpu, va)) /* something behind the block must look */
        e = every(cpu);
    return e;
}

/* Swapped to the end by the caller. */
static uc_err remove_last(struct lb_cpu *cpu)
{
    return lb_uc.hook_del(cpu->uc, cpu->debug->breaks[cpu->debug->count].hook);
}

int lb_debug_unbreak(struct lb_cpu *cpu, uint64_t va)
{
    struct lb_debug *d = cpu->debug;
    size_t at = d ? find(d, va) : 0;
    if (!d || at == d->count)
        return UC_ERR_ARG;
    struct lb_break gone = d->breaks[at];
    d->breaks[at] = d->breaks[--d->count];
    d->breaks[d->count] = gone;
    return lb_hook_changed(cpu, remove_last);
}

/* Before the CPU is entered or goes on for one instruction. */
int lb_debug_step(struct lb_cpu *cpu)
{
    uc_err e = every(cpu);
    if (!e)
        cpu->debug->stepping = true;
    return e;
}

/* Stop after accesses of `types` (LB_READ | LB_WRITE) that touch [begin, end), as watch number `watch` of hooks.c. */
int lb_debug_watch(struct lb_cpu *cpu, unsigned watch, uint64_t begin, uint64_t end, uint32_t types)
{
    uc_err e = types ? every(cpu) : UC_ERR_OK;
    int error = e ? (int)e : lb_hook_access(cpu, watch, begin, end);
    if (!error)
        cpu->watches[watch].stops = types;
    return error;
}

/* A watched access happens: once for each, though several watches see it. */
void lb_debug_accessed(struct lb_cpu *cpu, uint32_t type, uint64_t va)
{
    if (!cpu->debug || cpu->debug->hit)
        return;
    cpu->debug->hit = true;
    cpu->debug->access = (struct lb_fault){.address = va, .access = type};
}

/* Before the guest runs. going_on: from where it stopped. */
void lb_debug_begin(struct lb_cpu *cpu, bool going_on)
{
    struct lb_debug *d = cpu->debug;
    d->began = false;
    d->why = 0;
    if (!going_on)
        d->hit = d->passing = false;
    else if (cpu->trap == LB_TRAP_DEBUG)
        d->passing = true; /* until an instruction runs, whatever else stops the guest before */
}

/* After it ran: a step that ended by another trap is over. */
void lb_debug_end(struct lb_cpu *cpu)
{
    cpu->debug->stepping = false;
    if (cpu->trap == LB_TRAP_DEBUG)
        cpu->debug->at = cpu->fault.pc = lb_reg(cpu, cpu->arch->pc);
}

static uc_err remove_all(struct lb_cpu *cpu)
{
    struct lb_debug *d = cpu->debug;
    if (d->every)
        lb_uc.hook_del(cpu->uc, d->every);
    d->every = 0;
    while (d->count)
        lb_uc.hook_del(cpu->uc, d->breaks[--d->count].hook);
    return UC_ERR_OK;
}

/* No breakpoints, steps and watchpoints any more, and no cost of any. */
int lb_debug_off(struct lb_cpu *cpu)
{
    if (!cpu->debug)
        return 0;
    for (unsigned i = 0; i < LB_WATCHES; i++)
        if (cpu->watches[i].stops)
            lb_debug_watch(cpu, i, 0, 0, 0);
    uc_err e = lb_hook_changed(cpu, remove_all);
    lb_debug_free(cpu);
    return e;
}

void lb_debug_free(struct lb_cpu *cpu)
{
    if (cpu->debug)
        free(cpu->debug->breaks);
    free(cpu->debug);
    cpu->debug = NULL;
}
