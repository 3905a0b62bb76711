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
static size_t lower(const struct lb_cpu *cpu, uint64_t va)
{
    size_t low = 0, high = cpu->extent_count;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (cpu->extents[mid].va + (cpu->extents[mid].size - 1) < va)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

struct lb_extent *lb_find(struct lb_cpu *cpu, uint64_t va)
{
    size_t i = cpu->extent_last;
    if (i < cpu->extent_count && va - cpu->extents[i].va < cpu->extents[i].size)
        return &cpu->extents[i];
    i = lower(cpu, va);
    if (i == cpu->extent_count || va - cpu->extents[i].va >= cpu->extents[i].size)
        return NULL;
    cpu->extent_last = i;
    return &cpu->extents[i];
}

bool lb_on_fill(uc_engine *uc, uint64_t va, uc_mem_type type, uc_tlb_entry *entry, void *data)
{
    struct lb_cpu *cpu = data;
    va &= cpu->arch->address_mask;
    if (cpu->arch->restored && type != UC_MEM_FETCH) /* a fetch is between blocks: there the state is the guest's own */
        cpu->arch->restored(uc);
    uint32_t need = type == UC_MEM_READ ? LB_READ : type == UC_MEM_WRITE ? LB_WRITE : LB_EXEC;
    const struct lb_extent *e = lb_find(cpu, va);
    if (e && (e->prot & need)) {
        entry->paddr = e->pa + (va - e->va);
        entry->perms = e->prot;
        if (cpu->base)
            entry->perms = lb_dirty_fill(cpu, e->host + (va - e->va), e->prot, type == UC_MEM_WRITE);
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

static bool range_ok(const struct lb_cpu *cpu, uint64_t va, uint64_t size)
{
    uint64_t limit = cpu->arch->limit;
    return size && !(va % LB_PAGE) && !(size % LB_PAGE) && va < limit && size <= limit - va;
}

/* --- parked mappings ---------------------------------------------------------------------- */

static void flush(struct lb_cpu *cpu)
{
    if (!cpu->broken)
        uc_ctl_flush_tlb(cpu->uc);
    cpu->parked_count = 0;
}

/* Before the guest runs, or a backing goes: the TLB knows no more than the table. */
void lb_settle(struct lb_cpu *cpu)
{
    if (cpu->parked_count)
        flush(cpu);
}

/* Put off the flush that the end of `e` needs; false: it must be done now. */
static bool park(struct lb_cpu *cpu, const struct lb_extent *e)
{
    if (cpu->parked_count == LB_PARKED || (e->prot & LB_EXEC) || atomic_load(&cpu->running))
        return false;
    cpu->parked[cpu->parked_count++] = *e;
    return true;
}

/* `e` enters the table: take it back if it is parked, unchanged; anything else in its place is flushed. */
static void unpark(struct lb_cpu *cpu, const struct lb_extent *e)
{
    for (size_t i = 0; i < cpu->parked_count; i++) {
        const struct lb_extent *p = &cpu->parked[i];
        if (p->va == e->va && p->size == e->size && p->pa == e->pa && p->host == e->host && p->prot == e->prot) {
            cpu->parked[i] = cpu->parked[--cpu->parked_count];
            return;
        }
        if (p->va < e->va + e->size && e->va < p->va + p->size) {
            flush(cpu);
            return;
        }
    }
}

/* --- backings ----------------------------------------------------------------------------- */

static struct lb_backing *backing_of(struct lb_cpu *cpu, const uint8_t *host, uint64_t size)
{
    for (size_t i = 0; i < cpu->backing_count; i++) {
        struct lb_backing *b = &cpu->backings[i];
        if (host >= b->host && (uint64_t)(host - b->host) < b->size && size <= b->size - (uint64_t)(host - b->host))
            return b;
    }
    return NULL;
}

/* The backing that an extent is built of. Several may hold the same host memory, so only `pa` tells which. */
static struct lb_backing *backing_at(struct lb_cpu *cpu, uint64_t pa)
{
    struct lb_backing *b = cpu->backings;
    while (pa - b->pa >= b->size)
        b++;
    return b;
}

static uc_err add_memory(struct lb_cpu *cpu, uint64_t pa, uint64_t size, uint8_t *host)
{
    struct lb_library_call call;
    if (cpu->broken)
        return (uc_err)LB_ERR_BROKEN;
    if (!LB_INSIDE(call))
        return lb_broke(cpu);
    uc_err error = lb_uc.mem_map_ptr(cpu->uc, pa, size, UC_PROT_ALL, host);
    lb_leave_library(&call);
    return error;
}

static void remove_memory(struct lb_cpu *cpu, uint64_t pa, uint64_t size)
{
    struct lb_library_call call;
    if (cpu->broken)
        return;
    if (!LB_INSIDE(call)) {
        lb_broke(cpu);
        return;
    }
    lb_uc.mem_unmap(cpu->uc, pa, size);
    lb_leave_library(&call);
}

int lb_back(struct lb_cpu *cpu, uint8_t *host, uint64_t size, bool keep)
{
    struct lb_backing *known = backing_of(cpu, host, size);
    if (known) {
        known->keep = known->keep || keep;
        return 0;
    }
    if (cpu->backing_count == cpu->backing_room) {
        size_t room = cpu->backing_room ? cpu->backing_room * 2 : 8;
        void *grown = realloc(cpu->backings, room * sizeof *cpu->backings);
        if (!grown)
            return UC_ERR_NOMEM;
        cpu->backings = grown;
        cpu->backing_room = room;
    }
    /* First gap that fits: backings are sorted by pa. */
    uint64_t pa = 0;
    size_t at = 0;
    for (; at < cpu->backing_count && cpu->backings[at].pa - pa < size; at++)
        pa = cpu->backings[at].pa + cpu->backings[at].size;
    if (size > cpu->arch->fault_window - pa)
        return UC_ERR_NOMEM;
    uc_err error = add_memory(cpu, pa, size, host);
    if (error)
        return error;
    memmove(&cpu->backings[at + 1], &cpu->backings[at], (cpu->backing_count - at) * sizeof *cpu->backings);
    cpu->backings[at] = (struct lb_backing){.host = host, .size = size, .pa = pa, .keep = keep};
    cpu->backing_count++;
    return 0;
}

static void drop_backing(struct lb_cpu *cpu, struct lb_backing *b)
{
    lb_settle(cpu);
    remove_memory(cpu, b->pa, b->size);
    size_t at = (size_t)(b - cpu->backings);
    memmove(b, b + 1, (cpu->backing_count - at - 1) * sizeof *b);
    cpu->backing_count--;
}

int lb_unback(struct lb_cpu *cpu, uint8_t *host, uint64_t size)
{
    struct lb_backing *b = cpu->backings, *end = b + cpu->backing_count;
    while (b < end && (b->host != host || b->size != size || !b->keep))
        b++;
    if (b == end)
        return UC_ERR_ARG;
    b->keep = false;
    if (!b->users)
        drop_backing(cpu, b);
    return 0;
}

static void release(struct lb_cpu *cpu, const struct lb_extent *e)
{
    struct lb_backing *b = backing_at(cpu, e->pa);
    if (!--b->users && !b->keep)
        drop_backing(cpu, b);
}

/* --- extents ------------------------------------------------------------------------------ */

static int make_room(struct lb_cpu *cpu)
{
    if (cpu->extent_count + 2 <= cpu->extent_room)
        return 0;
    size_t room = cpu->extent_room ? cpu->extent_room * 2 : 32;
    void *grown = realloc(cpu->extents, room * sizeof *cpu->extents);
    if (!grown)
        return UC_ERR_NOMEM;
    cpu->extents = grown;
    cpu->extent_room = room;
    return 0;
}

int lb_map(struct lb_cpu *cpu, uint64_t va, uint64_t size, uint32_t prot, uint32_t flags, uint8_t *host)
{
    if (!range_ok(cpu, va, size) || (prot & (LB_WRITE | LB_EXEC)) == (LB_WRITE | LB_EXEC))
        return UC_ERR_ARG;
    size_t at = lower(cpu, va);
    if (at < cpu->extent_count && cpu->extents[at].va < va + size)
        return UC_ERR_MAP;
    int error = make_room(cpu);
    if (!error)
        error = lb_back(cpu, host, size, false);
    if (error)
        return error;
    struct lb_backing *b = backing_of(cpu, host, size);
    b->users++;
    memmove(&cpu->extents[at + 1], &cpu->extents[at], (cpu->extent_count - at) * sizeof *cpu->extents);
    cpu->extents[at] = (struct lb_extent){
        .va = va, .size = size, .host = host, .pa = b->pa + (uint64_t)(host - b->host), .prot = prot, .flags = flags};
    cpu->extent_count++;
    unpark(cpu, &cpu->extents[at]);
    return 0;
}

/* Make `va` a border between extents. */
static int split(struct lb_cpu *cpu, uint64_t va)
{
    size_t at = lower(cpu, va);
    if (at == cpu->extent_count || cpu->extents[at].va >= va)
        return 0;
    int error = make_room(cpu);
    if (error)
        return error;
    struct lb_extent *e = &cpu->extents[at];
    memmove(e + 1, e, (cpu->extent_count - at) * sizeof *e);
    cpu->extent_count++;
    uint64_t head = va - e->va;
    e[0].size = head;
    e[1].va += head;
    e[1].size -= head;
    e[1].host += head;
    e[1].pa += head;
    backing_at(cpu, e->pa)->users++;
    return 0;
}

void lb_invalidate(struct lb_cpu *cpu, uint64_t va, uint64_t size)
{
    uint64_t end = va + size;
    for (size_t i = lower(cpu, va); i < cpu->extent_count && cpu->extents[i].va < end; i++) {
        const struct lb_extent *e = &cpu->extents[i];
        if (e->prot & LB_EXEC && !cpu->broken)
            uc_ctl_remove_cache(cpu->uc, e->va, e->va + e->size);
    }
}

/* Make the range whole extents, which then may change: what was translated of them is dropped. */
static int carve(struct lb_cpu *cpu, uint64_t va, uint64_t size)
{
    if (!range_ok(cpu, va, size))
        return UC_ERR_ARG;
    int error = split(cpu, va);
    if (!error)
        error = split(cpu, va + size);
    if (!error)
        lb_invalidate(cpu, va, size);
    return error;
}

int lb_unmap(struct lb_cpu *cpu, uint64_t va, uint64_t size)
{
    int error = carve(cpu, va, size);
    if (error)
        return error;
    size_t from = lower(cpu, va), to = from;
    while (to < cpu->extent_count && cpu->extents[to].va < va + size)
        to++;
    if (from == to)
        return 0;
    if (to - from > 1 || !park(cpu, &cpu->extents[from]))
        flush(cpu);
    for (size_t i = from; i < to; i++)
        release(cpu, &cpu->extents[i]);
    memmove(&cpu->extents[from], &cpu->extents[to], (cpu->extent_count - to) * sizeof *cpu->extents);
    cpu->extent_count -= to - from;
    return 0;
}

int lb_protect(struct lb_cpu *cpu, uint64_t va, uint64_t size, uint32_t prot)
{
    if ((prot & (LB_WRITE | LB_EXEC)) == (LB_WRITE | LB_EXEC))
        return UC_ERR_ARG;
    int error = carve(cpu, va, size);
    if (error)
        return error;
    for (size_t i = lower(cpu, va); i < cpu->extent_count && cpu->extents[i].va < va + size; i++)
        cpu->extents[i].prot = prot;
    flush(cpu);
    return 0;
}

/* --- access from the host ----------------------------------------------------------------- */

bool lb_span_of(const struct lb_guest *guest, uint64_t va, uint64_t size, uint32_t need, struct lb_span *out)
{
    struct lb_cpu *cpu = guest->cpu;
    const struct lb_extent *e = size ? lb_find(cpu, va) : NULL;
    if (!e || (e->prot & need) != need)
        return false;
    uint64_t from = va - e->va;
    out->host = e->host + from;
    out->size = size < e->size - from ? size : e->size - from;
    out->flags = e->flags;
    out->prot = e->prot;
    if (cpu->base && need & LB_WRITE)
        lb_dirty_mark(cpu, out->host, out->size);
    return true;
}

int lb_check(struct lb_cpu *cpu, uint64_t va, uint64_t size, uint32_t need)
{
    struct lb_span s;
    for (; size; va += s.size, size -= s.size)
        if (!lb_span_of(&cpu->guest, va, size, need, &s))
            return UC_ERR_READ_PROT;
    return 0;
}

int lb_read(struct lb_cpu *cpu, uint64_t va, void *out, uint64_t size, uint32_t need)
{
    if (lb_check(cpu, va, size, need))
        return UC_ERR_READ_PROT;
    struct lb_span s;
    for (uint8_t *to = out; size; to += s.size, va += s.size, size -= s.size) {
        lb_span_of(&cpu->guest, va, size, need, &s);
        memcpy(to, s.host, s.size);
    }
    return 0;
}

int lb_write(struct lb_cpu *cpu, uint64_t va, const void *data, uint64_t size, uint32_t need)
{
    if (lb_check(cpu, va, size, need))
        return UC_ERR_WRITE_PROT;
    struct lb_span s;
    for (const uint8_t *from = data; size; from += s.size, va += s.size, size -= s.size) {
        lb_span_of(&cpu->guest, va, size, need, &s);
        if (cpu->base)
            lb_dirty_mark(cpu, s.host, s.size);
        memcpy(s.host, from, s.size);
    }
    return 0;
}
