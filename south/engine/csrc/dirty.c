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

static size_t arena_pages(const struct lb_space *space)
{
    return space->arena_size / LB_PAGE;
}

void lb_dirty_mark(struct lb_space *space, const uint8_t *host, uint64_t size)
{
    uint64_t from = (uint64_t)(host - space->arena);
    if (host < space->arena || from >= space->arena_size || !size)
        return;
    for (size_t page = from / LB_PAGE; page <= (from + size - 1) / LB_PAGE && page < arena_pages(space); page++)
        if (!atomic_load_explicit(&space->dirty[page], memory_order_relaxed) && !atomic_exchange(&space->dirty[page], 1))
            space->dirty_list[atomic_fetch_add(&space->dirty_count, 1)] = (uint32_t)page; /* CPUs may mark at once */
}

/* Permissions that the TLB may have of the page at `host`. store: the guest is about to write it. */
uint32_t lb_dirty_fill(struct lb_space *space, const uint8_t *host, uint32_t prot, bool store)
{
    if (!(prot & LB_WRITE) || host < space->arena || (uint64_t)(host - space->arena) >= space->arena_size)
        return prot;
    if (store)
        lb_dirty_mark(space, host, 1);
    return space->dirty[(uint64_t)(host - space->arena) / LB_PAGE] ? prot : prot & ~LB_WRITE;
}

static void no_marks(struct lb_space *space)
{
    for (size_t i = 0; i < space->dirty_count; i++)
        space->dirty[space->dirty_list[i]] = 0;
    space->dirty_count = 0;
    lb_flush(space); /* the TLBs may hold the right to write */
}

static void *room(size_t size)
{
    void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return at == MAP_FAILED ? NULL : at;
}

/* Bytes of the marks: a byte and a place in the list a page. */
static size_t marks_size(const struct lb_space *space)
{
    return arena_pages(space) * (1 + sizeof(uint32_t));
}

static uint8_t *snapshot(struct lb_space *space)
{
    if (!space->dirty) {
        space->dirty_list = room(marks_size(space));
        if (!space->dirty_list)
            return NULL;
        space->dirty = (_Atomic uint8_t *)(space->dirty_list + arena_pages(space));
    }
    uint8_t *copy = room(space->arena_size);
    if (!copy)
        return NULL;
    for (uint64_t at = 0; at < space->arena_size; at += LB_PAGE)
        if (memcmp(space->arena + at, zeros, LB_PAGE))
            memcpy(copy + at, space->arena + at, LB_PAGE);
    space->base = copy;
    no_marks(space);
    return copy;
}

/* A copy of the arena as it is, to go back to; NULL: no memory. */
uint8_t *lb_snapshot(struct lb_space *space)
{
    bool locked = lb_change_begin(space);
    uint8_t *copy = snapshot(space);
    lb_change_end(space, locked);
    return copy;
}

static void back(struct lb_space *space, const uint8_t *copy, size_t page)
{
    memcpy(space->arena + page * LB_PAGE, copy + page * LB_PAGE, LB_PAGE);
}

static uint64_t go_back(struct lb_space *space, const uint8_t *copy, const uint8_t *exposed)
{
    uint64_t copied = 0;
    if (copy != space->base) { /* not the one that is tracked: all pages are looked at, and it is tracked from now on */
        for (size_t page = 0; page < arena_pages(space); page++)
            if (memcmp(space->arena + page * LB_PAGE, copy + page * LB_PAGE, LB_PAGE)) {
                back(space, copy, page);
                copied++;
            }
        space->base = copy;
        no_marks(space);
        return copied;
    }
    for (size_t i = 0; i < space->dirty_count; i++)
        back(space, copy, space->dirty_list[i]);
    copied = space->dirty_count;
    const uint8_t *end = exposed ? exposed + arena_pages(space) : NULL;
    for (const uint8_t *at = exposed; at && (at = memchr(at, 1, (size_t)(end - at))); at++) {
        size_t page = (size_t)(at - exposed);
        if (space->dirty[page])
            continue;
        back(space, copy, page);
        copied++;
    }
    if (space->dirty_count > STICKY_MAX)
        no_marks(space);
    return copied;
}

/* exposed: a byte for each page of the arena that Python may have written by a view, or NULL. Returns pages copied. */
uint64_t lb_go_back(struct lb_space *space, const uint8_t *copy, const uint8_t *exposed)
{
    bool locked = lb_change_begin(space);
    uint64_t copied = go_back(space, copy, exposed);
    lb_change_end(space, locked);
    return copied;
}

/* space: NULL when it has gone. */
void lb_snapshot_free(struct lb_space *space, uint8_t *copy, uint64_t size)
{
    if (space) {
        bool locked = lb_change_begin(space);
        if (space->base == copy)
            space->base = NULL;
        lb_change_end(space, locked);
    }
    munmap(copy, size);
}

void lb_dirty_free(struct lb_space *space)
{
    if (space->dirty_list)
        munmap(space->dirty_list, marks_size(space));
}
