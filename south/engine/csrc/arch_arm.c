/* SPDX-License-Identifier: MIT */
/* AArch32 guests in User mode. Calling convention of OP-TEE's libutee: optee_os utee_syscalls_a32.S. */
#include "cpu.h"

#define CPSR_USR 0x10u            /* Arm ARM G1.9 */
#define CPSR_IT 0x0600fc00u       /* IT[1:0] and IT[7:2] */
#define CPSR_T (1u << 5)          /* T32 state */
#define CPSR_USER 0xfe0ffe20u     /* NZCVQ, IT, GE, E, T: what user mode chooses; Arm ARM G1.9 */
#define CNTKCTL_COUNTERS 3u       /* CNTPCT and CNTVCT untrapped at PL0; G8.7.11, and optee_os thread_init_per_cpu() */
#define CPACR_CP10_CP11 (0xfu << 20) /* VFP and NEON untrapped; Arm ARM G8.2.33 */
#define FPEXC_EN (1u << 30)

static const int saved[] = {
    UC_ARM_REG_R0, UC_ARM_REG_R1, UC_ARM_REG_R2,  UC_ARM_REG_R3,  UC_ARM_REG_R4,  UC_ARM_REG_R5,
    UC_ARM_REG_R6, UC_ARM_REG_R7, UC_ARM_REG_R8,  UC_ARM_REG_R9,  UC_ARM_REG_R10, UC_ARM_REG_R11,
    UC_ARM_REG_R12, UC_ARM_REG_SP, UC_ARM_REG_LR, UC_ARM_REG_PC, UC_ARM_REG_CPSR,
    UC_ARM_REG_FPSCR, LB_REG_THREAD, /* not shown */
};
#define NOT_SHOWN 2
static const char *const names[] = {
    "r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11", "r12", "sp", "lr", "pc", "cpsr",
    "fpscr", "tpidrurw",
};
static const struct lb_vectors vectors[] = {{UC_ARM_REG_D0, 32, 8}, {0}};

/* "max" is a Cortex-A15 with what Armv8-A adds to AArch32, which 32-bit TAs for 64-bit boards use. */
static const struct lb_model models[] = {
    {"max", UC_CPU_ARM_MAX},
    {"cortex-a15", UC_CPU_ARM_CORTEX_A15},
    {"cortex-a7", UC_CPU_ARM_CORTEX_A7},
    {NULL, 0},
};

static uc_err open_cpu(struct lb_cpu *cpu, int model)
{
    uc_err e = lb_uc.open(UC_ARCH_ARM, UC_MODE_ARM, &cpu->uc);
    if (!e)
        e = lb_cpu_settings(cpu, model);
    if (!e)
        e = uc_ctl_set_page_size(cpu->uc, LB_PAGE); /* Arm's default is 1 KiB */
    if (e)
        return e;
    uint32_t fpexc = FPEXC_EN, cpsr = CPSR_USR;
    uc_arm_cp_reg cpacr = {.cp = 15, .is64 = 0, .sec = 0, .crn = 1, .crm = 0, .opc1 = 0, .opc2 = 2, .val = CPACR_CP10_CP11};
    uc_arm_cp_reg cntkctl = {.cp = 15, .crn = 14, .crm = 1, .opc1 = 0, .opc2 = 0, .val = CNTKCTL_COUNTERS};
    e = lb_uc.reg_write(cpu->uc, UC_ARM_REG_CP_REG, &cpacr);
    if (!e)
        e = lb_uc.reg_write(cpu->uc, UC_ARM_REG_CP_REG, &cntkctl);
    if (!e)
        e = lb_uc.reg_write(cpu->uc, UC_ARM_REG_FPEXC, &fpexc);
    if (!e)
        e = lb_uc.reg_write(cpu->uc, UC_ARM_REG_CPSR, &cpsr);
    return e ? e : lb_uc.reg_write(cpu->uc, UC_ARM_REG_CP_REG, &cpacr);
}

#define TPIDRURW                                                                                        \
    {                                                                                                   \
        .cp = 15, .crn = 13, .crm = 0, .opc1 = 0, .opc2 = 2                                             \
    }

static uint64_t thread(struct lb_cpu *cpu)
{
    uc_arm_cp_reg reg = TPIDRURW;
    lb_uc.reg_read(cpu->uc, UC_ARM_REG_CP_REG, &reg);
    return reg.val & UINT32_MAX;
}

static void set_thread(struct lb_cpu *cpu, uint64_t value)
{
    uc_arm_cp_reg reg = TPIDRURW;
    reg.val = value;
    lb_uc.reg_write(cpu->uc, UC_ARM_REG_CP_REG, &reg);
}

/*
 * Translated code keeps the IT state of CPSR to itself: the CPU's own copy is zero within a block, and is written at its
 * end where it is not (QEMU, target/arm/translate.c, "condexec"). Unicorn restores the state of the instruction before
 * each TLB fill and each hook of an access, IT state included, and goes on: left so, the next block begins inside an IT
 * block that has ended, and instructions are skipped. PC is written at the end of every block; nothing else is restored.
 */
static void restored(uc_engine *uc)
{
    uint32_t cpsr = 0;
    lb_uc.reg_read(uc, UC_ARM_REG_CPSR, &cpsr);
    if (cpsr & CPSR_IT) {
        cpsr &= ~CPSR_IT;
        lb_uc.reg_write(uc, UC_ARM_REG_CPSR, &cpsr);
    }
}

#define IN_REGISTERS 4u

static uint64_t number(struct lb_cpu *cpu)
{
    cpu->ahead = 0; /* each register is a fetch of its own here: none is worth guessing */
    return lb_reg(cpu, UC_ARM_REG_R7);
}

static bool arguments(struct lb_cpu *cpu, unsigned from, unsigned to)
{
    struct lb_call *c = &cpu->call;
    for (unsigned i = from; i < to; i++)
        c->arg[i] = i < IN_REGISTERS ? lb_reg(cpu, UC_ARM_REG_R0 + (int)i) : 0;
    uint64_t more = to > IN_REGISTERS ? lb_reg(cpu, UC_ARM_REG_R6) : 0;
    if (!more)
        return true;
    uint32_t words[LB_CALL_ARGS - IN_REGISTERS];
    if (more > LB_CALL_ARGS - IN_REGISTERS || lb_cpu_read(cpu, lb_reg(cpu, UC_ARM_REG_R5), words, more * 4, LB_READ))
        return false;
    for (uint64_t i = 0; i < more; i++)
        c->arg[IN_REGISTERS + i] = words[i];
    return true;
}

/* Bit 0 set in T32 state. */
static uint64_t resume(struct lb_cpu *cpu)
{
    return lb_reg(cpu, UC_ARM_REG_PC) | (lb_reg(cpu, UC_ARM_REG_CPSR) & CPSR_T ? 1 : 0);
}

/* In T32 those of two halfwords begin with 0b11101, 0b11110 or 0b11111 (Arm ARM F3.1). */
static uint64_t instructions(struct lb_cpu *cpu, uint64_t pc, uint32_t size)
{
    if (!(lb_reg(cpu, UC_ARM_REG_CPSR) & CPSR_T))
        return size / 4;
    uint64_t count = 0;
    for (uint32_t at = 0; at < size; count++) {
        const uint8_t *code = lb_pin(&cpu->guest, pc + at, 2, LB_EXEC);
        at += code && code[1] >= 0xe8 ? 4 : 2;
    }
    return count;
}

const struct lb_arch lb_arch_arm = {
    .name = "arm",
    .word_bits = 32,
    .address_mask = UINT32_MAX,
    .limit = (uint64_t)1 << 32,
    .models = models,
    .fault_window = (uint64_t)1 << 38,
    .svc_exception = 2, /* QEMU's EXCP_SWI */
    .undefined = 1,     /* QEMU's EXCP_UDEF */
    .code_unit = 4,
    .saved = saved,
    .names = names,
    .saved_count = sizeof saved / sizeof *saved - NOT_SHOWN,
    .context_count = sizeof saved / sizeof *saved,
    .vectors = vectors,
    .vectors_size = 32 * 8,
    .flags = UC_ARM_REG_CPSR,
    .flags_user = CPSR_USER,
    .flags_fixed = CPSR_USR,
    .pc = UC_ARM_REG_PC,
    .sp = UC_ARM_REG_SP,
    .ret = UC_ARM_REG_R0,
    .args = {UC_ARM_REG_R0, UC_ARM_REG_R1, UC_ARM_REG_R2, UC_ARM_REG_R3, -1, -1, -1, -1},
    .open = open_cpu,
    .number = number,
    .arguments = arguments,
    .thread = thread,
    .set_thread = set_thread,
    .resume = resume,
    .instructions = instructions,
    .restored = restored,
};
