/* SPDX-License-Identifier: MIT */
/*
 * Entering, trapping and resuming a guest.
 *
 * A system call that Python answers stops the engine, returns to Python, and resumes: exceptions
 * propagate, a call may block, and nested TA-to-TA calls nest no C stacks.
 */
#include "cpu.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define ROOM (40u << 20) /* bytes of addresses that a CPU takes at most while it is made and first runs */
#define TCG_BUFFER (8u << 20) /* bytes of translations; Unicorn's default reserves 1 GiB a CPU */

const struct lb_arch *lb_arch_named(const char *name)
{
    static const struct lb_arch *const known[] = {&lb_arch_aarch64, &lb_arch_arm, &lb_arch_x86_64};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(known[i]->name, name))
            return known[i];
    return NULL;
}

uint64_t lb_reg(struct lb_cpu *cpu, int id)
{
    uint64_t value = 0;
    lb_uc.reg_read(cpu->uc, id, &value);
    return value & cpu->arch->address_mask;
}

static void set_reg(struct lb_cpu *cpu, int id, uint64_t value)
{
    lb_uc.reg_write(cpu->uc, id, &value);
}

static void stop(struct lb_cpu *cpu, enum lb_trap trap)
{
    cpu->trap = trap;
    lb_uc.emu_stop(cpu->uc);
}

/* Let the handler of `b`, if there is one, answer the current call; true: call.result is set. */
static inline bool serve(struct lb_cpu *cpu, const struct lb_binding *b)
{
    if (cpu->call_unreadable || !b->handler)
        return false;
    struct lb_library_call *call = lb_step_out();
    bool done = b->handler(&cpu->guest, &cpu->call, b->owner) == LB_DONE;
    lb_step_in(call);
    return done;
}

/* The guest made a system call. */
void lb_on_call(struct lb_cpu *cpu)
{
    struct lb_call *call = &cpu->call;
    call->number = cpu->arch->number(cpu);
    unsigned known = cpu->ahead;
    if (call->number < LB_CALL_MAX && cpu->table[call->number].handler && !cpu->ask_always) {
        const struct lb_binding *b = &cpu->table[call->number];
        unsigned args = b->args;
        cpu->call_unreadable = known < args && !cpu->arch->arguments(cpu, known, args);
        cpu->ahead = args;
        if (known < args)
            known = args;
        if (serve(cpu, b)) {
            set_reg(cpu, cpu->arch->ret, call->result);
            return;
        }
    }
    cpu->call_unreadable = !cpu->arch->arguments(cpu, known, LB_CALL_ARGS);
    call->pc = lb_reg(cpu, cpu->arch->pc) + cpu->arch->call_size;
    stop(cpu, LB_TRAP_CALL);
}

void lb_on_exception(struct lb_cpu *cpu, uint32_t number)
{
    cpu->fault = (struct lb_fault){.exception = number};
    cpu->fault.pc = cpu->fault.address = lb_reg(cpu, cpu->arch->pc);
    stop(cpu, LB_TRAP_EXCEPTION);
}

static void on_interrupt(uc_engine *uc, uint32_t number, void *data)
{
    struct lb_cpu *cpu = data;
    (void)uc;
    if ((int)number == cpu->arch->svc_exception)
        lb_on_call(cpu);
    else
        lb_on_exception(cpu, number);
}

bool lb_cpu_serve(struct lb_cpu *cpu)
{
    if (cpu->call.number >= LB_CALL_MAX)
        return false;
    lb_space_enter(cpu);
    bool done = serve(cpu, &cpu->table[cpu->call.number]);
    lb_space_leave(cpu);
    return done;
}

/* Where to go on, as emu_start wants it. */
static uint64_t current_pc(struct lb_cpu *cpu)
{
    return cpu->arch->resume ? cpu->arch->resume(cpu) : lb_reg(cpu, cpu->arch->pc);
}

/* The library ended inside a call for this CPU. */
uc_err lb_broke(struct lb_cpu *cpu)
{
    cpu->broken = true;
    cpu->broken_how = lb_how_it_ended();
    return (uc_err)LB_ERR_BROKEN;
}

static uc_err start(struct lb_cpu *cpu, uint64_t pc)
{
    struct lb_library_call call;
    if (!LB_INSIDE(call))
        return lb_broke(cpu);
    uc_err error = lb_uc.emu_start(cpu->uc, pc, 0, 0, 0);
    lb_leave_library(&call);
    return error;
}

/* What every entry of a broken CPU ends with. */
static int still_broken(struct lb_cpu *cpu)
{
    cpu->fault = (struct lb_fault){.error = LB_ERR_BROKEN};
    return cpu->trap = LB_TRAP_ERROR;
}

/* Run from pc until something happens. */
static int run(struct lb_cpu *cpu, uint64_t pc, bool going_on)
{
    bool entered = false;
    if (cpu->debug)
        lb_debug_begin(cpu, going_on);
    lb_entering(cpu);
    for (;;) {
        if (atomic_load(&cpu->why)) {
            set_reg(cpu, cpu->arch->pc, pc); /* keeps T32 state in bit 0 */
            cpu->trap = LB_TRAP_INTERRUPTED;
            cpu->mid_instruction = entered && !cpu->stopped_exactly;
            break;
        }
        cpu->trap = LB_TRAP_NONE;
        cpu->fault = (struct lb_fault){0};
        lb_unparked(cpu->space);
        int unsettled = atomic_load_explicit(&cpu->hold, memory_order_relaxed) ? lb_space_settle(cpu) : 0;
        if (unsettled) {
            cpu->fault.error = unsettled;
            cpu->trap = LB_TRAP_ERROR;
            break;
        }
        if (!lb_turn_take(cpu)) {
            if (!cpu->broken)
                continue;
            still_broken(cpu);
            break;
        }
        if (atomic_load(&cpu->hold)) { /* since then the space changed, or is about to */
            lb_turn_give(cpu);
            lb_space_left();
            continue;
        }
        entered = true;
        cpu->stopped_exactly = false;
        uc_err error = start(cpu, pc);
        lb_turn_give(cpu);
        if (atomic_load(&cpu->hold))
            lb_space_left();
        if (cpu->broken) {
            still_broken(cpu);
            cpu->fault.pc = cpu->fault.address = lb_reg(cpu, cpu->arch->pc);
            break;
        }
        if (cpu->trap == LB_TRAP_EXCEPTION && lb_reg(cpu, cpu->arch->pc) != cpu->fault.pc)
            set_reg(cpu, cpu->arch->pc, cpu->fault.pc); /* its hook ran before Unicorn stepped over the instruction */
        if (cpu->trap == LB_TRAP_CALL || cpu->trap == LB_TRAP_EXCEPTION || cpu->trap == LB_TRAP_DEBUG)
            break;
        if (cpu->trap == LB_TRAP_FAULT || error) {
            if (cpu->fault.access) { /* a denied fetch ends with an error and no trap */
                cpu->trap = LB_TRAP_FAULT;
            } else if (error == UC_ERR_INSN_INVALID) { /* how some architectures report an undefined instruction */
                cpu->trap = LB_TRAP_EXCEPTION;
                cpu->fault.exception = cpu->arch->undefined;
                cpu->fault.pc = cpu->fault.address = lb_reg(cpu, cpu->arch->pc);
            } else {
                cpu->trap = LB_TRAP_ERROR;
                cpu->fault.error = (int32_t)error;
                cpu->fault.pc = cpu->fault.address = lb_reg(cpu, cpu->arch->pc);
            }
            uc_ctl_flush_tlb(cpu->uc); /* forget the entry that led into the fault window */
            break;
        }
        /* Stopped for an interruption or a time slice, or at `wfi`: pc is exact. */
        pc = current_pc(cpu);
        lb_hook_renew(cpu);
    }
    lb_left(cpu);
    if (cpu->debug)
        lb_debug_end(cpu);
    return cpu->trap;
}

int lb_cpu_enter(struct lb_cpu *cpu, uint64_t pc, uint64_t sp, uint64_t a0, uint64_t a1, uint64_t a2, uint64_t a3)
{
    if (cpu->broken)
        return still_broken(cpu);
    uint64_t thread = cpu->arch->thread(cpu);
    lb_uc.context_restore(cpu->uc, cpu->clean);
    if (thread)
        cpu->arch->set_thread(cpu, thread);
    set_reg(cpu, cpu->arch->args[0], a0);
    set_reg(cpu, cpu->arch->args[1], a1);
    set_reg(cpu, cpu->arch->args[2], a2);
    set_reg(cpu, cpu->arch->args[3], a3);
    set_reg(cpu, cpu->arch->sp, sp);
    return run(cpu, pc, false);
}

int lb_cpu_resume(struct lb_cpu *cpu, uint64_t result)
{
    if (cpu->broken)
        return still_broken(cpu);
    set_reg(cpu, cpu->arch->ret, result);
    return run(cpu, current_pc(cpu), true);
}

/* A call is told by its number, if that is one a system call can have; anything else as -trap. */
static int told(const struct lb_cpu *cpu, int trap)
{
    return trap == LB_TRAP_CALL && cpu->call.number < LB_CALL_MAX ? (int)cpu->call.number : -trap;
}

int lb_cpu_start(struct lb_cpu *cpu, uint64_t pc, uint64_t sp, uint64_t a0, uint64_t a1, uint64_t a2, uint64_t a3)
{
    return told(cpu, lb_cpu_enter(cpu, pc, sp, a0, a1, a2, a3));
}

int lb_cpu_answer(struct lb_cpu *cpu, uint64_t result)
{
    return told(cpu, lb_cpu_resume(cpu, result));
}

int lb_cpu_proceed(struct lb_cpu *cpu)
{
    if (cpu->broken)
        return still_broken(cpu);
    return run(cpu, current_pc(cpu), true);
}

int lb_cpu_bind(struct lb_cpu *cpu, uint64_t number, uintptr_t handler, uintptr_t owner, unsigned args)
{
    if (number >= LB_CALL_MAX || args > LB_CALL_ARGS)
        return UC_ERR_ARG;
    lb_handler function;
    memcpy(&function, &handler, sizeof function);
    cpu->table[number] = (struct lb_binding){.handler = function, .owner = (void *)owner, .args = args};
    return 0;
}

void lb_cpu_registers(struct lb_cpu *cpu, uint64_t *out)
{
    for (int i = 0; i < cpu->arch->saved_count; i++)
        out[i] = lb_reg(cpu, cpu->arch->saved[i]);
}

uint64_t lb_cpu_pc(struct lb_cpu *cpu)
{
    return lb_reg(cpu, cpu->arch->pc);
}

int lb_cpu_set_register(struct lb_cpu *cpu, int index, uint64_t value)
{
    if (index < 0 || index >= cpu->arch->saved_count)
        return UC_ERR_ARG;
    set_reg(cpu, cpu->arch->saved[index], lb_user_value(cpu->arch, cpu->arch->saved[index], value));
    return 0;
}

uc_context *lb_cpu_save(struct lb_cpu *cpu)
{
    uc_context *context = NULL;
    if (cpu->broken || lb_uc.context_alloc(cpu->uc, &context))
        return NULL;
    if (lb_uc.context_save(cpu->uc, context)) {
        lb_uc.context_free(context);
        return NULL;
    }
    return context;
}

int lb_cpu_load(struct lb_cpu *cpu, uc_context *context)
{
    if (cpu->broken)
        return LB_ERR_BROKEN;
    uc_ctl_flush_tlb(cpu->uc);
    return lb_uc.context_restore(cpu->uc, context);
}

static const struct lb_guest_ops guest_ops = {.span = lb_span_of, .stop = lb_stop_of};

/* What needs the library to make a CPU. */
static uc_err furnish(struct lb_cpu *cpu, int model)
{
    struct lb_library_call call;
    if (!LB_INSIDE(call))
        return lb_broke(cpu);
    uc_err e = cpu->arch->open(cpu, model);
    if (!e)
        e = uc_ctl_tlb_mode(cpu->uc, UC_TLB_VIRTUAL);
    if (!e)
        e = lb_uc.hook_add(cpu->uc, &cpu->intr_hook, UC_HOOK_INTR, (void *)on_interrupt, cpu, 1, 0);
    if (!e)
        e = lb_uc.hook_add(cpu->uc, &cpu->fill_hook, UC_HOOK_TLB_FILL, (void *)lb_on_fill, cpu, 1, 0);
    if (!e)
        e = lb_uc.hook_add(cpu->uc, &cpu->unmapped_hook, UC_HOOK_MEM_UNMAPPED, (void *)lb_on_unmapped, cpu,
                           cpu->arch->fault_window, 2 * cpu->arch->fault_window - 1);
    if (!e && !(cpu->clean = lb_cpu_save(cpu)))
        e = UC_ERR_NOMEM;
    lb_leave_library(&call);
    return e;
}

static void unmake(struct lb_cpu *cpu)
{
    if (cpu->clean)
        lb_uc.context_free(cpu->clean); /* free(), and nothing of the engine */
    if (cpu->uc && !cpu->broken)
        lb_uc.close(cpu->uc);
    lb_hooks_free(cpu);
    lb_debug_free(cpu);
    free(cpu->known);
    free(cpu);
}

/* The library ends the process, or a CPU half made, where it gets no memory: look before it asks. */
static bool has_room(void)
{
    void *probe = mmap(NULL, ROOM, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return probe != MAP_FAILED && munmap(probe, ROOM) == 0;
}

/* model: an index of the models of the space's architecture. */
struct lb_cpu *lb_cpu_new(struct lb_space *space, int model, int *error)
{
    const struct lb_arch *arch = space->arch;
    struct lb_cpu *cpu = has_room() ? calloc(1, sizeof *cpu) : NULL;
    if (!cpu) {
        *error = UC_ERR_NOMEM;
        return NULL;
    }
    cpu->arch = arch;
    cpu->space = space;
    cpu->call_words[0] = &cpu->call.number;
    for (unsigned i = 0; i < LB_CALL_ARGS; i++)
        cpu->call_words[1 + i] = &cpu->call.arg[i];
    cpu->guest = (struct lb_guest){.ops = &guest_ops, .cpu = cpu, .word_bits = (uint32_t)arch->word_bits};
    lb_contain_signals();
    uc_err e = furnish(cpu, arch->models[model].id);
    if (!e)
        e = lb_space_join(cpu, space);
    if (e) {
        *error = (int)e;
        unmake(cpu);
        return NULL;
    }
    lb_watch(cpu);
    return cpu;
}

void lb_cpu_free(struct lb_cpu *cpu)
{
    if (!cpu)
        return;
    lb_unwatch(cpu);
    lb_turn_join(cpu, NULL);
    lb_space_part(cpu);
    unmake(cpu);
}

/* Settings every guest shares; called by arch->open before the first use of a new uc. */

uc_err lb_cpu_settings(struct lb_cpu *cpu, int model)
{
    uc_err e = uc_ctl_set_cpu_model(cpu->uc, model);
    if (!e)
        e = uc_ctl_set_tcg_buffer_size(cpu->uc, TCG_BUFFER);
    if (!e)
        e = uc_ctl_exits_enable(cpu->uc); /* with no exits: `until` is not fetched */
    return e;
}
