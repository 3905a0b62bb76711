/* SPDX-License-Identifier: MIT */
/*
 * The region table, and how Unicorn sees it.
 *
 * Unicorn's own page tables know only "physical" backings: whole pieces of host memory, mapped
 * once, readable, writable and executable. What the guest may do is decided by our extents, through
 * the TLB-fill hook. Mapping a client's buffer is then one table entry, and because no page is ever
 * writable and executable at once, stores keep QEMU's fast path (12-16 times faster).
 *
 * A denied load or store is answered with a physical address in a window that nothing backs; the
 * unmapped-memory hook bound to that window alone then learns the exact faulting byte.
 *
 * A call's parameters are unmapped after it and mapped again, mostly the same, before the next one.
 * So what is unmapped leaves the table at once, but the TLB is flushed only before the guest runs
 * again (lb_settle), and not at all if the very same mapping is back by then.
 */
#include <stdlib.h>
#include <string.h>

#include "cpu.h"

/* Index of the first extent that ends after va. */
static size_t lower(const struct lb_space *space, uint64_t va)
{
    size_t low = 0, high = space->extent_count;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (space->extents[mid].va + (space->extents[mid].size - 1) < va)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/* last: where the caller found something before. */
static struct lb_extent *find(struct lb_space *space, uint64_t va, size_t *last)
{
    size_t i = *last;
    if (i < space->extent_count && va - space->extents[i].va < space->extents[i].size)
        return &space->extents[i];
    i = lower(space, va);
    if (i == space->extent_count || va - space->extents[i].va >= space->extents[i].size)
        return NULL;
    *last = i;
    return &space->extents[i];
}

bool lb_on_fill(uc_engine *uc, uint64_t va, uc_mem_type type, uc_tlb_entry *entry, void *data)
{
    struct lb_cpu *cpu = data;
    va &= cpu->arch->address_mask;
    if (cpu->arch->restored && type != UC_MEM_FETCH) /* a fetch is between blocks: there the state is the guest's own */
        cpu->arch->restored(uc);
    uint32_t need = type == UC_MEM_READ ? LB_READ : type == UC_MEM_WRITE ? LB_WRITE : LB_EXEC;
    const struct lb_extent *e = find(cpu->space, va, &cpu->extent_last);
    if (e && (e->prot & need)) {
        entry->paddr = e->pa + (va - e->va);
        entry->perms = e->prot;
        if (cpu->space->base)
            entry->perms = lb_dirty_fill(cpu->space, e->host + (va - e->va), e->prot, type == UC_MEM_WRITE);
        if (cpu->access_hook)
            lb_hook_filled(cpu, va, entry->paddr);
        return true;
    }
    cpu->fault.access = type;
    cpu->fault.address = va;
    if (type == UC_MEM_FETCH) {
        cpu->fault.pc = lb_reg(cpu, cpu->arch->pc);
        if (cpu->fault.pc > va) /* only the page is told; an instruction may also begin in the page before */
            cpu->fault.address = cpu->fault.pc;
        return false;
    }
    if (va & ~(cpu->arch->fault_window - 1)) /* beyond what the window can name: the page must do */
        return false;
    entry->paddr = va | cpu->arch->fault_window;
    entry->perms = UC_PROT_ALL;
    return true;
}

bool lb_on_unmapped(uc_engine *uc, uc_mem_type type, uint64_t address, int size, int64_t value, void *data)
{
    struct lb_cpu *cpu = data;
    (void)uc;
    (void)size;
    (void)value;
    cpu->trap = LB_TRAP_FAULT;
    cpu->fault.address = address & (cpu->arch->fault_window - 1);
    cpu->fault.access = type == UC_MEM_WRITE_UNMAPPED ? UC_MEM_WRITE : UC_MEM_READ;
    cpu->fault.pc = lb_reg(cpu, cpu->arch->pc);
    return false;
}

static bool range_ok(const struct lb_space *space, uint64_t va, uint64_t size)
{
    uint64_t limit = space->arch->limit;
    return size && !(va % LB_PAGE) && !(size % LB_PAGE) && va < limit && size <= limit - va;
}

static bool prot_ok(uint32_t prot, uint32_t flags)
{
    const uint32_t both = LB_WRITE | LB_EXEC;
    return (prot & both) != both || flags & LB_REGION_RWX;
}

/* --- what the CPUs still know ------------------------------------------------------------- */

/* The TLBs know no more than the table. */
void lb_flush(struct lb_space *space)
{
    for (struct lb_cpu *cpu = space->cpus; cpu; cpu = cpu->sibling) {
        if (!lb_direct(cpu))
            atomic_fetch_or(&cpu->hold, LB_HOLD_TLB);
        else if (!cpu->broken)
            uc_ctl_flush_tlb(cpu->uc);
    }
    if (space->parked_count) /* of spaces that are not shared: CPUs that run look at it */
        space->parked_count = 0;
}

/* Before the guest runs, or a backing goes: the TLB knows no more than the table. */
void lb_unparked(struct lb_space *space)
{
    if (space->parked_count)
        lb_flush(space);
}

static bool any_runs(const struct lb_space *space)
{
    for (const struct lb_cpu *cpu = space->cpus; cpu; cpu = cpu->sibling)
        if (atomic_load(&cpu->running))
            return true;
    return false;
}

/* Put off the flush that the end of `e` needs; false: it must be done now. */
static bool park(struct lb_space *space, const struct lb_extent *e)
{
    if (space->parked_count == LB_PARKED || (e->prot & LB_EXEC) || atomic_load(&space->shared) || any_runs(space))
        return false;
    space->parked[space->parked_count++] = *e;
    return true;
}

/* `e` enters the table: take it back if it is parked, unchanged; anything else in its place is flushed. */
static void unpark(struct lb_space *space, const struct lb_extent *e)
{
    for (size_t i = 0; i < space->parked_count; i++) {
        const struct lb_extent *p = &space->parked[i];
        if (p->va == e->va && p->size == e->size && p->pa == e->pa && p->host == e->host && p->prot == e->prot) {
            space->parked[i] = space->parked[--space->parked_count];
            return;
        }
        if (p->va < e->va + e->size && e->va < p->va + p->size) {
            lb_flush(space);
            return;
        }
    }
}

static void forget_code(struct lb_space *space, const struct lb_extent *e)
{
    for (struct lb_cpu *cpu = space->cpus; cpu; cpu = cpu->sibling) {
        if (!lb_direct(cpu))
            atomic_fetch_or(&cpu->hold, LB_HOLD_CODE);
        else if (!cpu->broken)
            uc_ctl_remove_cache(cpu->uc, e->va, e->va + e->size);
    }
}

/* Drop what was translated of code in the range; the table must still have it. */
static void forget_range(struct lb_space *space, uint64_t va, uint64_t size)
{
    uint64_t end = va + size;
    for (size_t i = lower(space, va); i < space->extent_count && space->extents[i].va < end; i++)
        if (space->extents[i].prot & LB_EXEC)
            forget_code(space, &space->extents[i]);
}

void lb_invalidate(struct lb_space *space, uint64_t va, uint64_t size)
{
    bool locked = lb_change_begin(space);
    forget_range(space, va, size);
    lb_change_end(space, locked);
}

/* --- extents ------------------------------------------------------------------------------ */

static int make_room(struct lb_space *space)
{
    if (space->extent_count + 2 <= space->extent_room)
        return 0;
    size_t room = space->extent_room ? space->extent_room * 2 : 32;
    void *grown = realloc(space->extents, room * sizeof *space->extents);
    if (!grown)
        return UC_ERR_NOMEM;
    space->extents = grown;
    space->extent_room = room;
    return 0;
}

static int map(struct lb_space *space, uint64_t va, uint64_t size, uint32_t prot, uint32_t flags, uint8_t *host)
{
    if (!range_ok(space, va, size) || !prot_ok(prot, flags))
        return UC_ERR_ARG;
    size_t at = lower(space, va);
    if (at < space->extent_count && space->extents[at].va < va + size)
        return UC_ERR_MAP;
    int error = make_room(space);
    if (!error)
        error = lb_backing_add(space, host, size, false);
    if (error)
        return error;
    struct lb_backing *b = lb_backing_of(space, host, size);
    b->users++;
    memmove(&space->extents[at + 1], &space->extents[at], (space->extent_count - at) * sizeof *space->extents);
    space->extents[at] = (struct lb_extent){
        .va = va, .size = size, .host = host, .pa = b->pa + (uint64_t)(host - b->host), .prot = prot, .flags = flags};
    space->extent_count++;
    unpark(space, &space->extents[at]);
    return 0;
}

int lb_map(struct lb_space *space, uint64_t va, uint64_t size, uint32_t prot, uint32_t flags, uint8_t *host)
{
    bool locked = lb_change_begin(space);
    int error = map(space, va, size, prot, flags, host);
    lb_change_end(space, locked);
    return error;
}

/* Make `va` a border between extents. */
static int split(struct lb_space *space, uint64_t va)
{
    size_t at = lower(space, va);
    if (at == space->extent_count || space->extents[at].va >= va)
        return 0;
    int error = make_room(space);
    if (error)
        return error;
    struct lb_extent *e = &space->extents[at];
    memmove(e + 1, e, (space->extent_count - at) * sizeof *e);
    space->extent_count++;
    uint64_t head = va - e->va;
    e[0].size = head;
    e[1].va += head;
    e[1].size -= head;
    e[1].host += head;
    e[1].pa += head;
    lb_backing_at(space, e->pa)->users++;
    return 0;
}

/* Make the range whole extents, which then may change: what was translated of them is dropped. */
static int carve(struct lb_space *space, uint64_t va, uint64_t size)
{
    if (!range_ok(space, va, size))
        return UC_ERR_ARG;
    int error = split(space, va);
    if (!error)
        error = split(space, va + size);
    if (!error)
        forget_range(space, va, size);
    return error;
}

static int unmap(struct lb_space *space, uint64_t va, uint64_t size)
{
    int error = carve(space, va, size);
    if (error)
        return error;
    size_t from = lower(space, va), to = from;
    while (to < space->extent_count && space->extents[to].va < va + size)
        to++;
    if (from == to)
        return 0;
    if (to - from > 1 || !park(space, &space->extents[from]))
        lb_flush(space);
    for (size_t i = from; i < to; i++)
        lb_backing_release(space, space->extents[i].pa);
    memmove(&space->extents[from], &space->extents[to], (space->extent_count - to) * sizeof *space->extents);
    space->extent_count -= to - from;
    return 0;
}

int lb_unmap(struct lb_space *space, uint64_t va, uint64_t size)
{
    bool locked = lb_change_begin(space);
    int error = unmap(space, va, size);
    lb_change_end(space, locked);
    return error;
}

static int protect(struct lb_space *space, uint64_t va, uint64_t size, uint32_t prot)
{
    if (!range_ok(space, va, size))
        return UC_ERR_ARG;
    uint32_t flags = 0;
    for (size_t i = lower(space, va); i < space->extent_count && space->extents[i].va < va + size; i++) {
        flags = space->extents[i].flags;
        if (!prot_ok(prot, flags))
            return UC_ERR_ARG;
    }
    if (!prot_ok(prot, flags))
        return UC_ERR_ARG;
    int error = carve(space, va, size);
    if (error)
        return error;
    for (size_t i = lower(space, va); i < space->extent_count && space->extents[i].va < va + size; i++)
        space->extents[i].prot = prot;
    lb_flush(space);
    return 0;
}

int lb_protect(struct lb_space *space, uint64_t va, uint64_t size, uint32_t prot)
{
    bool locked = lb_change_begin(space);
    int error = protect(space, va, size, prot);
    lb_change_end(space, locked);
    return error;
}

/* --- access from the host ----------------------------------------------------------------- */

static bool span(struct lb_space *space, size_t *last, uint64_t va, uint64_t size, uint32_t need, struct lb_span *out)
{
    const struct lb_extent *e = size ? find(space, va, last) : NULL;
    if (!e || (e->prot & need) != need)
        return false;
    uint64_t from = va - e->va;
    out->host = e->host + from;
    out->size = size < e->size - from ? size : e->size - from;
    out->flags = e->flags;
    out->prot = e->prot;
    if (space->base && need & LB_WRITE)
        lb_dirty_mark(space, out->host, out->size);
    return true;
}

static int check(struct lb_space *space, size_t *last, uint64_t va, uint64_t size, uint32_t need)
{
    struct lb_span s;
    for (; size; va += s.size, size -= s.size)
        if (!span(space, last, va, size, need, &s))
            return UC_ERR_READ_PROT;
    return 0;
}

static int copy_out(struct lb_space *space, size_t *last, uint64_t va, void *out, uint64_t size, uint32_t need)
{
    if (check(space, last, va, size, need))
        return UC_ERR_READ_PROT;
    struct lb_span s;
    for (uint8_t *to = out; size; to += s.size, va += s.size, size -= s.size) {
        span(space, last, va, size, need, &s);
        memcpy(to, s.host, s.size);
    }
    return 0;
}

static int copy_in(struct lb_space *space, size_t *last, uint64_t va, const void *data, uint64_t size, uint32_t need)
{
    if (check(space, last, va, size, need))
        return UC_ERR_WRITE_PROT;
    struct lb_span s;
    for (const uint8_t *from = data; size; from += s.size, va += s.size, size -= s.size) {
        span(space, last, va, size, need, &s);
        if (space->base)
            lb_dirty_mark(space, s.host, s.size);
        memcpy(s.host, from, s.size);
    }
    return 0;
}

/* From the thread that runs the CPU, in a hook of it. */
bool lb_span_of(const struct lb_guest *guest, uint64_t va, uint64_t size, uint32_t need, struct lb_span *out)
{
    struct lb_cpu *cpu = guest->cpu;
    return span(cpu->space, &cpu->extent_last, va, size, need, out);
}

int lb_cpu_read(struct lb_cpu *cpu, uint64_t va, void *out, uint64_t size, uint32_t need)
{
    return copy_out(cpu->space, &cpu->extent_last, va, out, size, need);
}

int lb_cpu_write(struct lb_cpu *cpu, uint64_t va, const void *data, uint64_t size, uint32_t need)
{
    return copy_in(cpu->space, &cpu->extent_last, va, data, size, need);
}

/* From any thread that space.c allows. */

int lb_check(struct lb_space *space, uint64_t va, uint64_t size, uint32_t need)
{
    size_t last = 0;
    bool locked = lb_look_begin(space);
    int error = check(space, &last, va, size, need);
    lb_look_end(locked);
    return error;
}

int lb_read(struct lb_space *space, uint64_t va, void *out, uint64_t size, uint32_t need)
{
    size_t last = 0;
    bool locked = lb_look_begin(space);
    int error = copy_out(space, &last, va, out, size, need);
    lb_look_end(locked);
    return error;
}

int lb_write(struct lb_space *space, uint64_t va, const void *data, uint64_t size, uint32_t need)
{
    size_t last = 0;
    bool locked = lb_look_begin(space);
    int error = copy_in(space, &last, va, data, size, need);
    lb_look_end(locked);
    return error;
}
