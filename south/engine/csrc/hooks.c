/* SPDX-License-Identifier: MIT */
/*
 * Hook points for debuggers, coverage and fuzzing. They cost nothing until switched on; switching
 * the first one on or the last one off drops all translations.
 */
#include "cpu.h"

#include <string.h>

/* Set by the Python side of the extension. */
void (*lb_block_callback)(void *owner, uint64_t pc, uint32_t size);
void (*lb_access_callback)(void *owner, uint32_t type, uint64_t address, uint32_t size, uint64_t value);

static void on_block(uc_engine *uc, uint64_t pc, uint32_t size, void *data)
{
    (void)uc;
    struct lb_cpu *cpu = data;
    struct lb_library_call *call = lb_step_out();
    if (lb_block_callback)
        lb_block_callback(cpu->hook_owner, pc, size);
    lb_step_in(call);
}

static void on_cover(uc_engine *uc, uint64_t pc, uint32_t size, void *data)
{
    (void)uc;
    struct lb_cpu *cpu = data;
    uint64_t from = pc - cpu->cover_va;
    if (from >= cpu->cover_size)
        return;
    uint64_t bytes = size < cpu->cover_size - from ? size : cpu->cover_size - from;
    memset(cpu->cover + from / 4, 1, (bytes + 3) / 4);
}

static void on_budget(uc_engine *uc, uint64_t pc, uint32_t size, void *data)
{
    (void)pc;
    struct lb_cpu *cpu = data;
    uint64_t instructions = size / 4 ? size / 4 : 1;
    if (cpu->budget < instructions) {
        atomic_fetch_or(&cpu->why, LB_WHY_BUDGET);
        lb_uc.emu_stop(uc);
        return;
    }
    cpu->budget -= instructions;
}

static void on_stop(uc_engine *uc, uint64_t pc, uint32_t size, void *data)
{
    (void)pc;
    (void)size;
    struct lb_cpu *cpu = data;
    if (atomic_load_explicit(&cpu->yield, memory_order_relaxed) || atomic_load_explicit(&cpu->why, memory_order_relaxed))
        lb_uc.emu_stop(uc);
}

/*
 * From now on this CPU looks at every basic block whether it should stop (1.3-1.45 times the cost of
 * a tight loop). It stays so for the CPU's life: switching drops all translations.
 */
uc_err lb_hook_stops(struct lb_cpu *cpu)
{
    uc_err e = lb_uc.hook_add(cpu->uc, &cpu->stop_hook, UC_HOOK_BLOCK, (void *)on_stop, cpu, 1, 0);
    if (!e) {
        uc_ctl_flush_tb(cpu->uc);
        atomic_store(&cpu->exact, true);
    }
    return e;
}

static void on_access(uc_engine *uc, uc_mem_type type, uint64_t address, int size, int64_t value, void *data)
{
    struct lb_cpu *cpu = data;
    if (cpu->arch->restored)
        cpu->arch->restored(uc);
    struct lb_library_call *call = lb_step_out();
    if (lb_access_callback)
        lb_access_callback(cpu->hook_owner, type, address, (uint32_t)size, (uint64_t)value);
    lb_step_in(call);
}

static int switch_hook(struct lb_cpu *cpu, uc_hook *hook, int type, void *function, uint64_t begin, uint64_t end, bool on)
{
    if (cpu->broken)
        return LB_ERR_BROKEN;
    if (*hook) {
        lb_uc.hook_del(cpu->uc, *hook);
        *hook = 0;
    }
    uc_err e = on ? lb_uc.hook_add(cpu->uc, hook, type, function, cpu, begin, end) : UC_ERR_OK;
    uc_ctl_flush_tb(cpu->uc);
    uc_ctl_flush_tlb(cpu->uc);
    return e;
}

int lb_hook_block(struct lb_cpu *cpu, bool on)
{
    return switch_hook(cpu, &cpu->block_hook, UC_HOOK_BLOCK, (void *)on_block, 1, 0, on);
}

int lb_hook_access(struct lb_cpu *cpu, uint64_t begin, uint64_t end, bool on)
{
    return switch_hook(cpu, &cpu->access_hook, UC_HOOK_MEM_READ | UC_HOOK_MEM_WRITE, (void *)on_access, begin,
                       end - 1, on);
}

int lb_hook_cover(struct lb_cpu *cpu, uint64_t va, uint64_t size, uint8_t *map)
{
    cpu->cover = map;
    cpu->cover_va = va;
    cpu->cover_size = map ? size : 0;
    return switch_hook(cpu, &cpu->block_hook, UC_HOOK_BLOCK, (void *)on_cover, 1, 0, map != NULL);
}

int lb_hook_budget(struct lb_cpu *cpu, uint64_t instructions)
{
    cpu->budget = instructions;
    return switch_hook(cpu, &cpu->budget_hook, UC_HOOK_BLOCK, (void *)on_budget, 1, 0, instructions != 0);
}
