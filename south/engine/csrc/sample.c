/* SPDX-License-Identifier: MIT */
/*
 * Program counter sampling, for profiles of guests: how often each piece of code is found running.
 *
 * The watchdog says at each tick that a sample is due, and the guest takes it at its next basic block,
 * where pc is exact; it counts in a histogram in the guest's own memory, as profil(3) and OP-TEE do
 * (optee_os core/kernel/tee_ta_manager.c, tee_ta_gprof_sample_pc). Costs nothing until switched on.
 */
#include "cpu.h"

#define LONGEST_NS 100000000ull /* more between two ticks is the watchdog's sleep, and no guest ran */

void lb_sample_take(struct lb_cpu *cpu, uint64_t pc)
{
    struct lb_samples *s = &cpu->samples;
    if (!atomic_load_explicit(&s->due, memory_order_relaxed) || !atomic_exchange(&s->due, false))
        return;
    s->taken++;
    if (pc < s->offset)
        return;
    unsigned __int128 at = (unsigned __int128)((pc - s->offset) / 2) * s->scale / 65536;
    if (at >= s->slots)
        return;
    /* The histogram may be unmapped, or unaligned, by now: it is the guest's. */
    uint16_t count;
    uint64_t va = s->va + 2 * (uint64_t)at;
    if (lb_cpu_read(cpu, va, &count, sizeof count, LB_READ | LB_WRITE))
        return;
    count++;
    lb_cpu_write(cpu, va, &count, sizeof count, LB_READ | LB_WRITE);
}

int lb_sample_start(struct lb_cpu *cpu, uint64_t va, uint64_t slots, uint64_t offset, uint64_t scale)
{
    struct lb_samples *s = &cpu->samples;
    uc_err e = lb_hook_use(cpu, LB_BLOCK_SAMPLE, true);
    if (e)
        return e;
    s->va = va;
    s->slots = slots;
    s->offset = offset;
    s->scale = scale;
    s->taken = 0;
    atomic_store(&s->due, false);
    atomic_store(&s->ran_ns, 0);
    atomic_store(&s->seen_ns, lb_now_ns());
    atomic_store(&s->on, true);
    return UC_ERR_OK;
}

void lb_sample_stop(struct lb_cpu *cpu, uint64_t *taken, uint64_t *ran_ns)
{
    struct lb_samples *s = &cpu->samples;
    atomic_store(&s->on, false);
    lb_hook_use(cpu, LB_BLOCK_SAMPLE, false);
    *taken = s->taken;
    *ran_ns = atomic_load(&s->ran_ns);
}

/* From the watchdog. The time that the guest ran is what the ticks say that found it running. */
void lb_sample_tick(struct lb_cpu *cpu, uint64_t now_ns)
{
    struct lb_samples *s = &cpu->samples;
    if (!atomic_load_explicit(&s->on, memory_order_relaxed))
        return;
    uint64_t before = atomic_exchange(&s->seen_ns, now_ns);
    if (!atomic_load(&cpu->running) || now_ns <= before)
        return;
    if (now_ns - before < LONGEST_NS)
        atomic_fetch_add(&s->ran_ns, now_ns - before);
    atomic_store(&s->due, true);
}
