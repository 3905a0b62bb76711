/* SPDX-License-Identifier: MIT */
/*
 * Going back to a snapshot costs what was written since.
 *
 * While there is a snapshot, the fill hook gives pages of the arena without the right to write until the first store to each:
 * that store misses the TLB, marks the page, and gets the right. Writes of the host come through lb_span_of and lb_write,
 * which mark as well; those through a view of Python's are the arena's to know (`exposed`, one byte a page). A page
 * that was marked stays so when it was copied back: the guest most likely writes it again, and keeps its fast stores.
 */
#include "cpu.h"

#include <string.h>
#include <sys/mman.h>

#define STICKY_MAX 512u /* marked pages that may be copied back for nothing; beyond, the marks start over */

static const uint8_t zeros[LB_PAGE];

static size_t arena_pages(const struct lb_cpu *cpu)
{
    return cpu->arena_size / LB_PAGE;
}

void lb_dirty_mark(struct lb_cpu *cpu, const uint8_t *host, uint64_t size)
{
    uint64_t from = (uint64_t)(host - cpu->arena);
    if (host < cpu->arena || from >= cpu->arena_size || !size)
        return;
    for (size_t page = from / LB_PAGE; page <= (from + size - 1) / LB_PAGE && page < arena_pages(cpu); page++)
        if (!cpu->dirty[page]) {
            cpu->dirty[page] = 1;
            cpu->dirty_list[cpu->dirty_count++] = (uint32_t)page;
        }
}

/* Permissions that the TLB may have of the page at `host`. store: the guest is about to write it. */
uint32_t lb_dirty_fill(struct lb_cpu *cpu, const uint8_t *host, uint32_t prot, bool store)
{
    if (!(prot & LB_WRITE) || host < cpu->arena || (uint64_t)(host - cpu->arena) >= cpu->arena_size)
        return prot;
    if (store)
        lb_dirty_mark(cpu, host, 1);
    return cpu->dirty[(uint64_t)(host - cpu->arena) / LB_PAGE] ? prot : prot & ~LB_WRITE;
}

static void no_marks(struct lb_cpu *cpu)
{
    for (size_t i = 0; i < cpu->dirty_count; i++)
        cpu->dirty[cpu->dirty_list[i]] = 0;
    cpu->dirty_count = 0;
    if (!cpu->broken)
        uc_ctl_flush_tlb(cpu->uc); /* which may hold the right to write */
}

static void *room(size_t size)
{
    void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return at == MAP_FAILED ? NULL : at;
}

/* Bytes of the marks: a byte and a place in the list a page. */
static size_t marks_size(const struct lb_cpu *cpu)
{
    return arena_pages(cpu) * (1 + sizeof(uint32_t));
}

/* A copy of the arena as it is, to go back to; NULL: no memory. */
uint8_t *lb_snapshot(struct lb_cpu *cpu)
{
    if (!cpu->dirty) {
        cpu->dirty_list = room(marks_size(cpu));
        if (!cpu->dirty_list)
            return NULL;
        cpu->dirty = (uint8_t *)(cpu->dirty_list + arena_pages(cpu));
    }
    uint8_t *copy = room(cpu->arena_size);
    if (!copy)
        return NULL;
    for (uint64_t at = 0; at < cpu->arena_size; at += LB_PAGE)
        if (memcmp(cpu->arena + at, zeros, LB_PAGE))
            memcpy(copy + at, cpu->arena + at, LB_PAGE);
    cpu->base = copy;
    no_marks(cpu);
    return copy;
}

static void back(struct lb_cpu *cpu, const uint8_t *copy, size_t page)
{
    memcpy(cpu->arena + page * LB_PAGE, copy + page * LB_PAGE, LB_PAGE);
}

/* exposed: a byte for each page of the arena that Python may have written by a view, or NULL. Returns pages copied. */
uint64_t lb_go_back(struct lb_cpu *cpu, uint8_t *copy, const uint8_t *exposed)
{
    uint64_t copied = 0;
    if (copy != cpu->base) { /* not the one that is tracked: all pages are looked at, and it is tracked from now on */
        for (size_t page = 0; page < arena_pages(cpu); page++)
            if (memcmp(cpu->arena + page * LB_PAGE, copy + page * LB_PAGE, LB_PAGE)) {
                back(cpu, copy, page);
                copied++;
            }
        cpu->base = copy;
        no_marks(cpu);
        return copied;
    }
    for (size_t i = 0; i < cpu->dirty_count; i++)
        back(cpu, copy, cpu->dirty_list[i]);
    copied = cpu->dirty_count;
    const uint8_t *end = exposed ? exposed + arena_pages(cpu) : NULL;
    for (const uint8_t *at = exposed; at && (at = memchr(at, 1, (size_t)(end - at))); at++) {
        size_t page = (size_t)(at - exposed);
        if (cpu->dirty[page])
            continue;
        back(cpu, copy, page);
        copied++;
    }
    if (cpu->dirty_count > STICKY_MAX)
        no_marks(cpu);
    return copied;
}

/* cpu: NULL when it has gone. */
void lb_snapshot_free(struct lb_cpu *cpu, uint8_t *copy, uint64_t size)
{
    if (cpu && cpu->base == copy)
        cpu->base = NULL;
    munmap(copy, size);
}

void lb_dirty_free(struct lb_cpu *cpu)
{
    if (cpu->dirty_list)
        munmap(cpu->dirty_list, marks_size(cpu));
}
