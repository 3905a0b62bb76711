/* SPDX-License-Identifier: MIT */
/*
 * Hook points for debuggers, coverage, budgets and fuzzing, and the exact stops of turns. They cost nothing until switched on.
 *
 * All that happens at basic blocks shares one hook of Unicorn's (on_block), so one purpose never ends another. Switching
 * the first one on or the last one off drops all translations.
 *
 * Unicorn notes each block that a hook saw, about 80 bytes, for as long as the hook lives. A hook on the generation of
 * blocks counts them, and when there were many the block hook is removed and made again (lb_hook_renew): a guest cannot
 * make the host remember code for ever.
 */
#include "cpu.h"

#include <stdlib.h>
#include <string.h>

#define BLOCKS_MAX 16384u /* that Unicorn notes before the hook is made again: 1.3 MB */

/* Set by the Python side of the extension. */
void (*lb_block_callback)(void *owner, uint64_t pc, uint32_t size);
void (*lb_access_callback)(void *owner, uint32_t watch, uint32_t type, uint64_t address, uint32_t size, uint64_t value);

/* --- blocks ------------------------------------------------------------------------------- */

static void stop_here(struct lb_cpu *cpu)
{
    cpu->stopped_exactly = true;
    lb_uc.emu_stop(cpu->uc);
}

static void cover(struct lb_cpu *cpu, uint64_t pc, uint32_t size)
{
    const uint64_t unit = cpu->arch->code_unit;
    for (const struct lb_cover *c = cpu->covers; c; c = c->next) {
        uint64_t from = pc > c->va ? pc - c->va : 0, to = pc + size > c->va ? pc + size - c->va : 0;
        if (to > c->size)
            to = c->size;
        if (from < to && c->counts && pc >= c->va)
            c->counts[from / unit] += c->counts[from / unit] != UINT32_MAX;
        if (from < to && c->map) /* a block may begin before the area */
            memset(c->map + from / unit, 1, (to - from / unit * unit + unit - 1) / unit);
    }
}

static void edge(struct lb_edges *e, uint64_t pc)
{
    uint64_t here = (pc - e->base) >> 1;
    here ^= here >> 16; /* blocks far apart use the whole map, too */
    uint8_t *count = &e->map[(here ^ e->before) & e->mask];
    *count += *count != UINT8_MAX; /* 0 would mean never */
    e->before = here >> 1;
}

static bool within_budget(struct lb_cpu *cpu, uint64_t pc, uint32_t size)
{
    uint64_t count = cpu->arch->instructions(cpu, pc, size);
    count = count ? count : 1;
    if (cpu->budget < count) {
        atomic_fetch_or(&cpu->why, LB_WHY_BUDGET);
        stop_here(cpu);
        return false;
    }
    cpu->budget -= count;
    return true;
}

static void on_block(uc_engine *uc, uint64_t pc, uint32_t size, void *data)
{
    (void)uc;
    struct lb_cpu *cpu = data;
    if (atomic_load_explicit(&cpu->yield, memory_order_relaxed) ||
        atomic_load_explicit(&cpu->why, memory_order_relaxed)) {
        stop_here(cpu);
        return; /* the block comes again */
    }
    if (cpu->block_uses == LB_BLOCK_STOPS)
        return;
    if (cpu->block_uses & LB_BLOCK_BUDGET && !within_budget(cpu, pc, size))
        return;
    if (cpu->block_uses & LB_BLOCK_SAMPLE)
        lb_sample_take(cpu, pc);
    if (cpu->block_uses & LB_BLOCK_COVER)
        cover(cpu, pc, size);
    if (cpu->block_uses & LB_BLOCK_EDGES)
        edge(&cpu->edges, pc);
    if (cpu->block_uses & LB_BLOCK_POSITION)
        cpu->blocks++;
    if (cpu->block_uses & LB_BLOCK_CALLBACK && lb_block_callback) {
        struct lb_library_call *call = lb_step_out();
        lb_block_callback(cpu->hook_owner, pc, size);
        lb_step_in(call);
    }
}

static void on_generated(uc_engine *uc, uc_tb *block, uc_tb *before, void *data)
{
    (void)uc;
    (void)block;
    (void)before;
    struct lb_cpu *cpu = data;
    if (++cpu->blocks_noted > BLOCKS_MAX)
        atomic_store(&cpu->yield, true); /* out at the next block, for lb_hook_renew */
}

static uc_err install(struct lb_cpu *cpu)
{
    cpu->blocks_noted = 0;
    uc_err e = lb_uc.hook_add(cpu->uc, &cpu->block_hook, UC_HOOK_BLOCK, (void *)on_block, cpu, 1, 0);
    if (!e)
        e = lb_uc.hook_add(cpu->uc, &cpu->generated_hook, UC_HOOK_EDGE_GENERATED, (void *)on_generated, cpu, 1, 0);
    return e;
}

static uc_err uninstall(struct lb_cpu *cpu)
{
    if (cpu->block_hook)
        lb_uc.hook_del(cpu->uc, cpu->block_hook);
    if (cpu->generated_hook)
        lb_uc.hook_del(cpu->uc, cpu->generated_hook);
    cpu->block_hook = cpu->generated_hook = 0;
    return UC_ERR_OK;
}

/* Change hooks by `change`, and drop all translations: they have calls of the hooks in them. */
uc_err lb_hook_changed(struct lb_cpu *cpu, uc_err (*change)(struct lb_cpu *cpu))
{
    struct lb_library_call call;
    if (cpu->broken)
        return (uc_err)LB_ERR_BROKEN;
    if (!LB_INSIDE(call))
        return lb_broke(cpu);
    uc_err e = change(cpu);
    uc_ctl_flush_tb(cpu->uc);
    uc_ctl_flush_tlb(cpu->uc);
    lb_leave_library(&call);
    return e;
}

static uc_err switch_blocks(struct lb_cpu *cpu, unsigned uses)
{
    uc_err e = UC_ERR_OK;
    if (cpu->broken)
        return (uc_err)LB_ERR_BROKEN;
    if (!uses != !cpu->block_uses)
        e = lb_hook_changed(cpu, uses ? install : uninstall);
    cpu->block_uses = e ? 0 : uses;
    atomic_store(&cpu->exact, cpu->block_uses != 0);
    return e;
}

uc_err lb_hook_use(struct lb_cpu *cpu, unsigned use, bool on)
{
    return switch_blocks(cpu, on ? cpu->block_uses | use : cpu->block_uses & ~use);
}

/* Between runs: forget the blocks that Unicorn noted, if they were many. */
uc_err lb_hook_renew(struct lb_cpu *cpu)
{
    unsigned uses = cpu->block_uses;
    if (cpu->blocks_noted <= BLOCKS_MAX || !uses)
        return UC_ERR_OK;
    uc_err e = switch_blocks(cpu, 0);
    return e ? e : switch_blocks(cpu, uses);
}

/*
 * From now on this CPU looks at every basic block whether it should stop (1.3-1.45 times the cost of
 * a tight loop). It stays so for the CPU's life: switching drops all translations.
 */
uc_err lb_hook_stops(struct lb_cpu *cpu)
{
    return lb_hook_use(cpu, LB_BLOCK_STOPS, true);
}

int lb_hook_block(struct lb_cpu *cpu, bool on)
{
    return lb_hook_use(cpu, LB_BLOCK_CALLBACK, on);
}

int lb_hook_budget(struct lb_cpu *cpu, uint64_t count)
{
    cpu->budget = count;
    return lb_hook_use(cpu, LB_BLOCK_BUDGET, count != 0);
}

/* map, counts: one of them, for each `code_unit` of [va, va + size); it outlives the cover. */
int lb_hook_cover(struct lb_cpu *cpu, uint64_t va, uint64_t size, uint8_t *map, uint32_t *counts)
{
    struct lb_cover *c = malloc(sizeof *c);
    if (!c)
        return UC_ERR_NOMEM;
    *c = (struct lb_cover){.va = va, .size = size, .map = map, .counts = counts, .next = cpu->covers};
    uc_err e = lb_hook_use(cpu, LB_BLOCK_COVER, true);
    if (e)
        free(c);
    else
        cpu->covers = c;
    return e;
}

/* map: of the cover that ends, or its counts; NULL: all. */
int lb_hook_uncover(struct lb_cpu *cpu, const uint8_t *map)
{
    for (struct lb_cover **at = &cpu->covers; *at;) {
        struct lb_cover *c = *at;
        if (map && c->map != map && (const uint8_t *)c->counts != map) {
            at = &c->next;
            continue;
        }
        *at = c->next;
        free(c);
    }
    return cpu->covers || cpu->broken ? 0 : (int)lb_hook_use(cpu, LB_BLOCK_COVER, false);
}

/* Count edges in `size` bytes, a power of two, at `map`; NULL: no more. */
int lb_hook_edges(struct lb_cpu *cpu, uint64_t base, uint8_t *map, uint64_t size)
{
    if (map && (!size || size & (size - 1)))
        return UC_ERR_ARG;
    cpu->edges = (struct lb_edges){.map = map, .mask = size - 1, .base = base};
    return lb_hook_use(cpu, LB_BLOCK_EDGES, map != NULL);
}

/* Count blocks from now on: with pc, where a run is. */
int lb_hook_position(struct lb_cpu *cpu, bool on)
{
    cpu->blocks = 0;
    return lb_hook_use(cpu, LB_BLOCK_POSITION, on);
}

/* --- accesses ------------------------------------------------------------------------------- */

/*
 * Unicorn's hook knows physical addresses alone. Most are of one extent. Where several show the same page, the address
 * is the one that the TLB was last filled for: a fill for another forgets the first (lb_hook_filled).
 */
static bool virtual_of(struct lb_cpu *cpu, uint64_t pa, uint64_t *va)
{
    const struct lb_extent *found = NULL;
    unsigned count = 0;
    for (size_t i = 0; i < cpu->space->extent_count; i++) {
        const struct lb_extent *e = &cpu->space->extents[i];
        if (pa - e->pa >= e->size)
            continue;
        found = e;
        count++;
    }
    if (!count)
        return false;
    *va = found->va + (pa - found->pa);
    for (size_t i = 0; count > 1 && i < cpu->alias_count; i++)
        if (cpu->aliases[i].pa == pa / LB_PAGE * LB_PAGE)
            *va = cpu->aliases[i].va + pa % LB_PAGE;
    return true;
}

static unsigned extents_of(const struct lb_cpu *cpu, uint64_t pa)
{
    unsigned count = 0;
    for (size_t i = 0; i < cpu->space->extent_count; i++)
        count += pa - cpu->space->extents[i].pa < cpu->space->extents[i].size;
    return count;
}

void lb_hook_filled(struct lb_cpu *cpu, uint64_t va, uint64_t pa)
{
    if (!cpu->access_hook || extents_of(cpu, pa) < 2)
        return;
    size_t i = 0;
    while (i < cpu->alias_count && cpu->aliases[i].pa != pa)
        i++;
    if (i == cpu->alias_count) {
        struct lb_alias *grown = realloc(cpu->aliases, (i + 1) * sizeof *grown);
        if (!grown)
            return;
        cpu->aliases = grown;
        cpu->alias_count++;
    } else if (cpu->aliases[i].va != va) {
        uc_ctl_flush_tlb(cpu->uc);
    }
    cpu->aliases[i] = (struct lb_alias){.pa = pa, .va = va};
}

static void on_access(uc_engine *uc, uc_mem_type type, uint64_t pa, int size, int64_t value, void *data)
{
    struct lb_cpu *cpu = data;
    uint64_t va;
    if (cpu->arch->restored)
        cpu->arch->restored(uc);
    if (!virtual_of(cpu, pa, &va))
        return;
    for (unsigned i = 0; i < LB_WATCHES; i++) {
        const struct lb_watch *w = &cpu->watches[i];
        if (w->begin >= w->end || va >= w->end || va + (uint64_t)size <= w->begin)
            continue;
        if (w->stops & (type == UC_MEM_WRITE ? LB_WRITE : LB_READ))
            lb_debug_accessed(cpu, type, va);
        if (w->stops || !lb_access_callback)
            continue;
        struct lb_library_call *call = lb_step_out();
        lb_access_callback(cpu->hook_owner, i, type, va, (uint32_t)size, (uint64_t)value);
        lb_step_in(call);
    }
}

/* Not in the window of faults: those accesses are not made. */
static uc_err install_access(struct lb_cpu *cpu)
{
    return lb_uc.hook_add(cpu->uc, &cpu->access_hook, UC_HOOK_MEM_READ | UC_HOOK_MEM_WRITE, (void *)on_access, cpu, 0,
                          cpu->arch->fault_window - 1);
}

static uc_err uninstall_access(struct lb_cpu *cpu)
{
    lb_uc.hook_del(cpu->uc, cpu->access_hook);
    cpu->access_hook = 0;
    cpu->alias_count = 0;
    return UC_ERR_OK;
}

/* Watch data accesses that touch [begin, end), as number `watch`; begin == end: no more. */
int lb_hook_access(struct lb_cpu *cpu, unsigned watch, uint64_t begin, uint64_t end)
{
    if (cpu->broken)
        return LB_ERR_BROKEN;
    if (watch >= LB_WATCHES || begin > end)
        return UC_ERR_ARG;
    cpu->watches[watch] = (struct lb_watch){.begin = begin, .end = end};
    bool any = false;
    for (unsigned i = 0; i < LB_WATCHES; i++)
        any = any || cpu->watches[i].begin < cpu->watches[i].end;
    return any == (cpu->access_hook != 0) ? 0 : (int)lb_hook_changed(cpu, any ? install_access : uninstall_access);
}

void lb_hooks_free(struct lb_cpu *cpu)
{
    while (cpu->covers) {
        struct lb_cover *c = cpu->covers;
        cpu->covers = c->next;
        free(c);
    }
    free(cpu->aliases);
}
