/* SPDX-License-Identifier: MIT */
/* AArch64 guests at EL0. Calling convention of OP-TEE's libutee: optee_os utee_syscalls_a64.S. */
#include "cpu.h"

#define CNTKCTL_COUNTERS 3u /* CNTPCT and CNTVCT untrapped at EL0; D13.8.15, and optee_os thread_init_per_cpu() */
#define PSTATE_USER 0xf1001c00u /* NZCV, DIT, SSBS, BTYPE: what SPSR_EL1 holds of EL0; Arm ARM C5.2.18 */
#define CPACR_FPEN (3u << 20) /* FP and SIMD untrapped at EL0 and EL1; Arm ARM D13.2.30 */

static const int saved[] = {
    UC_ARM64_REG_X0,  UC_ARM64_REG_X1,  UC_ARM64_REG_X2,  UC_ARM64_REG_X3,  UC_ARM64_REG_X4,  UC_ARM64_REG_X5,
    UC_ARM64_REG_X6,  UC_ARM64_REG_X7,  UC_ARM64_REG_X8,  UC_ARM64_REG_X9,  UC_ARM64_REG_X10, UC_ARM64_REG_X11,
    UC_ARM64_REG_X12, UC_ARM64_REG_X13, UC_ARM64_REG_X14, UC_ARM64_REG_X15, UC_ARM64_REG_X16, UC_ARM64_REG_X17,
    UC_ARM64_REG_X18, UC_ARM64_REG_X19, UC_ARM64_REG_X20, UC_ARM64_REG_X21, UC_ARM64_REG_X22, UC_ARM64_REG_X23,
    UC_ARM64_REG_X24, UC_ARM64_REG_X25, UC_ARM64_REG_X26, UC_ARM64_REG_X27, UC_ARM64_REG_X28, UC_ARM64_REG_X29,
    UC_ARM64_REG_X30, UC_ARM64_REG_SP,  UC_ARM64_REG_PC,  UC_ARM64_REG_PSTATE, UC_ARM64_REG_TPIDR_EL0,
    UC_ARM64_REG_FPCR, UC_ARM64_REG_FPSR, /* not shown */
};
#define NOT_SHOWN 2
static const char *const names[] = {
    "x0",  "x1",  "x2",  "x3",  "x4",  "x5",  "x6",  "x7",  "x8",  "x9",  "x10", "x11",
    "x12", "x13", "x14", "x15", "x16", "x17", "x18", "x19", "x20", "x21", "x22", "x23",
    "x24", "x25", "x26", "x27", "x28", "x29", "x30", "sp",  "pc",  "pstate", "tpidr_el0", "fpcr", "fpsr",
};
static const struct lb_vectors vectors[] = {{UC_ARM64_REG_V0, 32, 16}, {0}};

/* One of EL1's registers: op0 3, op1 0. */
static uc_err set_system(struct lb_cpu *cpu, uint32_t crn, uint32_t crm, uint32_t op2, uint64_t value)
{
    uc_arm64_cp_reg reg = {.crn = crn, .crm = crm, .op0 = 3, .op1 = 0, .op2 = op2, .val = value};
    return lb_uc.reg_write(cpu->uc, UC_ARM64_REG_CP_REG, &reg);
}

/*
 * The default is a processor of the boards that OP-TEE runs on, and has Armv8.0-A with the cryptographic extension. Not
 * "max": it has half-precision SIMD, of which 314 encodings abort in Unicorn's translator; but also LSE atomics.
 */
static const struct lb_model models[] = {
    {"cortex-a72", UC_CPU_ARM64_A72},
    {"cortex-a57", UC_CPU_ARM64_A57},
    {"cortex-a53", UC_CPU_ARM64_A53},
    {"max", UC_CPU_ARM64_MAX},
    {NULL, 0},
};

static uc_err open_cpu(struct lb_cpu *cpu, int model)
{
    uc_err e = lb_uc.open(UC_ARCH_ARM64, UC_MODE_ARM, &cpu->uc);
    if (!e)
        e = lb_cpu_settings(cpu, model);
    if (!e)
        e = uc_ctl_set_page_size(cpu->uc, LB_PAGE); /* Arm's default is 1 KiB */
    if (e)
        return e;
    /* EL0 first; only the write of CPACR_EL1 rebuilds the flags Unicorn caches of both. */
    uint64_t pstate = 0;
    e = lb_uc.reg_write(cpu->uc, UC_ARM64_REG_PSTATE, &pstate);
    if (!e)
        e = set_system(cpu, 14, 1, 0, CNTKCTL_COUNTERS);
    return e ? e : set_system(cpu, 1, 0, 2, CPACR_FPEN);
}

static uint64_t thread(struct lb_cpu *cpu)
{
    return lb_reg(cpu, UC_ARM64_REG_TPIDR_EL0);
}

static void set_thread(struct lb_cpu *cpu, uint64_t value)
{
    lb_uc.reg_write(cpu->uc, UC_ARM64_REG_TPIDR_EL0, &value);
}

/* What makes a call, in the order of struct lb_call. Fetched in batches: a fetch costs more than a register in it. */
static int call_registers[1 + LB_CALL_ARGS] = {
    UC_ARM64_REG_X8, UC_ARM64_REG_X0, UC_ARM64_REG_X1, UC_ARM64_REG_X2, UC_ARM64_REG_X3,
    UC_ARM64_REG_X4, UC_ARM64_REG_X5, UC_ARM64_REG_X6, UC_ARM64_REG_X7,
};

static uint64_t number(struct lb_cpu *cpu)
{
    lb_uc.reg_read_batch(cpu->uc, call_registers, cpu->call_words, 1 + (int)cpu->ahead);
    return cpu->call.number;
}

static bool arguments(struct lb_cpu *cpu, unsigned from, unsigned to)
{
    if (from < to)
        lb_uc.reg_read_batch(cpu->uc, call_registers + 1 + from, cpu->call_words + 1 + from, (int)(to - from));
    return true;
}

static uint64_t instructions(struct lb_cpu *cpu, uint64_t pc, uint32_t size)
{
    (void)cpu;
    (void)pc;
    return size / 4;
}

#define FAULT_WINDOW ((uint64_t)1 << 46)

const struct lb_arch lb_arch_aarch64 = {
    .name = "aarch64",
    .word_bits = 64,
    .address_mask = UINT64_MAX,
    .limit = FAULT_WINDOW,
    .models = models,
    .fault_window = FAULT_WINDOW,
    .svc_exception = 2, /* QEMU's EXCP_SWI */
    .undefined = 1,     /* QEMU's EXCP_UDEF */
    .code_unit = 4,
    .saved = saved,
    .names = names,
    .saved_count = sizeof saved / sizeof *saved - NOT_SHOWN,
    .context_count = sizeof saved / sizeof *saved,
    .vectors = vectors,
    .vectors_size = 32 * 16,
    .flags = UC_ARM64_REG_PSTATE,
    .flags_user = PSTATE_USER,
    .flags_fixed = 0,
    .pc = UC_ARM64_REG_PC,
    .sp = UC_ARM64_REG_SP,
    .ret = UC_ARM64_REG_X0,
    .args = {UC_ARM64_REG_X0, UC_ARM64_REG_X1, UC_ARM64_REG_X2, UC_ARM64_REG_X3, UC_ARM64_REG_X4, UC_ARM64_REG_X5,
             UC_ARM64_REG_X6, UC_ARM64_REG_X7},
    .open = open_cpu,
    .number = number,
    .arguments = arguments,
    .thread = thread,
    .set_thread = set_thread,
    .instructions = instructions,
};
