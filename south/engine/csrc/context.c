/* SPDX-License-Identifier: MIT */
/*
 * A CPU's registers as words and bytes of ours, which outlive it and go into any other CPU of the architecture: for
 * signal frames, new threads, and copies of processes. Unicorn's own contexts (lb_cpu_save) are quicker, and opaque.
 */
#include "cpu.h"

#include <string.h>

/* Those that user mode may choose; a word may come from a guest's memory. */
uint64_t lb_user_value(const struct lb_arch *arch, int id, uint64_t value)
{
    return id == arch->flags ? (value & arch->flags_user) | arch->flags_fixed : value;
}

static uint64_t get(struct lb_cpu *cpu, int id)
{
    return id == LB_REG_THREAD ? cpu->arch->thread(cpu) : lb_reg(cpu, id);
}

static void set(struct lb_cpu *cpu, int id, uint64_t value)
{
    value = lb_user_value(cpu->arch, id, value);
    if (id == LB_REG_THREAD)
        cpu->arch->set_thread(cpu, value);
    else
        lb_uc.reg_write(cpu->uc, id, &value);
}

int lb_cpu_context(struct lb_cpu *cpu, uint64_t *words, uint8_t *vectors)
{
    const struct lb_arch *arch = cpu->arch;
    if (cpu->broken)
        return LB_ERR_BROKEN;
    for (int i = 0; i < arch->context_count; i++)
        words[i] = get(cpu, arch->saved[i]);
    for (const struct lb_vectors *v = arch->vectors; v->count; v++)
        for (int i = 0; i < v->count; i++, vectors += v->stride) {
            memset(vectors, 0, v->stride);
            lb_uc.reg_read(cpu->uc, v->first + i, vectors);
        }
    return 0;
}

/* The words first: where the x87's registers lie depends on one. */
int lb_cpu_set_context(struct lb_cpu *cpu, const uint64_t *words, const uint8_t *vectors)
{
    const struct lb_arch *arch = cpu->arch;
    if (cpu->broken)
        return LB_ERR_BROKEN;
    lb_uc.context_restore(cpu->uc, cpu->clean); /* what no word holds, as the exclusive monitor */
    for (int i = 0; i < arch->context_count; i++)
        set(cpu, arch->saved[i], words[i]);
    for (const struct lb_vectors *v = arch->vectors; v->count; v++)
        for (int i = 0; i < v->count; i++, vectors += v->stride)
            lb_uc.reg_write(cpu->uc, v->first + i, vectors);
    return 0;
}
