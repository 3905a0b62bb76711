/* SPDX-License-Identifier: MIT */
/*
 * x86-64 guests in ring 3. Calling convention of Linux: "System V ABI, AMD64 Architecture Processor Supplement", A.2.1.
 *
 * Unicorn starts in ring 0 with descriptor tables of 64 KiB at address 0, which is the guest's memory: segments loaded
 * from there could lead anywhere. So the tables are made empty, and the CPU leaves ring 0 by SYSRET as a kernel would.
 */
#include "cpu.h"

#define EFER 0xc0000080u /* Intel SDM vol. 4, table 2-2; AMD APM vol. 2, A.6 */
#define EFER_SCE 1u      /* SYSCALL and SYSRET are there */
#define STAR 0xc0000081u
#define STAR_USER ((uint64_t)0x23 << 48) /* gives CS 0x33 and SS 0x2b, Linux's (arch/x86/include/asm/segment.h) */
#define CR0_MP_NE 0x22u                  /* errors of the x87 are exceptions */
#define CR4_OSFXSR (1u << 9)             /* SSE is there */
#define CR4_OSXMMEXCPT (1u << 10)        /* so are those of SSE */
#define CR4_FSGSBASE (1u << 16)          /* RDFSBASE and the like in ring 3, as Linux has it since 5.9 */
#define RFLAGS_FIXED 0x202u              /* bit 1 is always set; IF */
#define RFLAGS_USER 0x244dd5u            /* CF, PF, AF, ZF, SF, TF, DF, OF, NT, AC, ID */
#define EXCEPTION_UNDEFINED 6u           /* #UD */
#define EXCEPTION_PROTECTION 13u         /* #GP */
#define SYSCALL_SIZE 2u                  /* bytes of the instruction, and of SYSENTER */

static const int saved[] = {
    UC_X86_REG_RAX, UC_X86_REG_RBX, UC_X86_REG_RCX, UC_X86_REG_RDX, UC_X86_REG_RSI,     UC_X86_REG_RDI,     UC_X86_REG_RBP,
    UC_X86_REG_RSP, UC_X86_REG_R8,  UC_X86_REG_R9,  UC_X86_REG_R10, UC_X86_REG_R11,     UC_X86_REG_R12,     UC_X86_REG_R13,
    UC_X86_REG_R14, UC_X86_REG_R15, UC_X86_REG_RIP, UC_X86_REG_RFLAGS, UC_X86_REG_FS_BASE, UC_X86_REG_GS_BASE,
    UC_X86_REG_MXCSR, UC_X86_REG_FPCW, UC_X86_REG_FPSW, UC_X86_REG_FPTAG, /* not shown */
};
#define NOT_SHOWN 4
static const char *const names[] = {
    "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "sp", "r8",     "r9",      "r10",
    "r11", "r12", "r13", "r14", "r15", "pc",  "rflags", "fs_base", "gs_base",
    "mxcsr", "fpcw", "fpsw", "fptag",
};
/* As FXSAVE has them: each in 16 bytes, though those of the x87 have ten. */
static const struct lb_vectors vectors[] = {{UC_X86_REG_XMM0, 16, 16}, {UC_X86_REG_ST0, 8, 16}, {0}};

/*
 * The default is x86-64-v1 with SSE4.1, and not v2, which has SSE4.2: PCMPESTRI and PCMPESTRM with a length of INT32_MIN
 * read far beyond Unicorn's registers, and fault (`pcmp_elen` in its ops_sse.h). The others are v2; they have no AVX
 * either, as Unicorn has none.
 */
static const struct lb_model models[] = {
    {"penryn", UC_CPU_X86_PENRYN},
    {"skylake-client", UC_CPU_X86_SKYLAKE_CLIENT},
    {"epyc-rome", UC_CPU_X86_EPYC_ROME},
    {NULL, 0},
};

static uc_err set_msr(struct lb_cpu *cpu, uint32_t number, uint64_t value)
{
    uc_x86_msr msr = {.rid = number, .value = value};
    return lb_uc.reg_write(cpu->uc, UC_X86_REG_MSR, &msr);
}

/* Empty: every selector but the null one is beyond their ends. */
static uc_err empty_tables(struct lb_cpu *cpu)
{
    static const int tables[] = {UC_X86_REG_GDTR, UC_X86_REG_LDTR, UC_X86_REG_IDTR, UC_X86_REG_TR};
    uc_x86_mmr none = {0};
    uc_err e = UC_ERR_OK;
    for (size_t i = 0; !e && i < sizeof tables / sizeof *tables; i++)
        e = lb_uc.reg_write(cpu->uc, tables[i], &none);
    return e;
}

static uc_err add_to(struct lb_cpu *cpu, int reg, uint64_t bits)
{
    uint64_t value = lb_reg(cpu, reg) | bits;
    return lb_uc.reg_write(cpu->uc, reg, &value);
}

/* Run the one instruction that leaves ring 0. It goes to the address after itself, where it ends. */
static uc_err leave_ring_0(struct lb_cpu *cpu)
{
    static const uint8_t code[LB_PAGE] __attribute__((aligned(LB_PAGE))) = {0x48, 0x0f, 0x07}; /* sysretq */
    uint64_t end = 3, flags = RFLAGS_FIXED;
    uc_err e = set_msr(cpu, EFER, EFER_SCE);
    if (!e)
        e = set_msr(cpu, STAR, STAR_USER);
    if (!e)
        e = lb_uc.mem_map_ptr(cpu->uc, 0, LB_PAGE, UC_PROT_READ | UC_PROT_EXEC, (void *)code);
    if (!e)
        e = lb_uc.reg_write(cpu->uc, UC_X86_REG_RCX, &end);
    if (!e)
        e = lb_uc.reg_write(cpu->uc, UC_X86_REG_R11, &flags);
    if (!e)
        e = uc_ctl_set_exits(cpu->uc, &end, 1);
    if (!e)
        e = lb_uc.emu_start(cpu->uc, 0, 0, 0, 0);
    if (!e)
        e = uc_ctl_set_exits(cpu->uc, &end, 0);
    if (!e)
        e = lb_uc.mem_unmap(cpu->uc, 0, LB_PAGE);
    if (!e)
        e = uc_ctl_flush_tb(cpu->uc); /* the end is part of what was translated */
    return e;
}

/* The registers but CS, SS and what was just set are zero. */
static uc_err clean_registers(struct lb_cpu *cpu)
{
    uint64_t zero = 0;
    uc_err e = lb_uc.reg_write(cpu->uc, UC_X86_REG_RCX, &zero);
    if (!e)
        e = lb_uc.reg_write(cpu->uc, UC_X86_REG_R11, &zero);
    return e ? e : lb_uc.reg_write(cpu->uc, UC_X86_REG_RIP, &zero);
}

static void on_syscall(uc_engine *uc, void *data)
{
    (void)uc;
    lb_on_call(data);
}

/* In long mode AMD's processors have no SYSENTER, and Unicorn takes it for nothing. */
static void on_sysenter(uc_engine *uc, void *data)
{
    (void)uc;
    lb_on_exception(data, EXCEPTION_UNDEFINED);
}

static uint32_t on_in(uc_engine *uc, uint32_t port, int size, void *data)
{
    (void)uc;
    (void)port;
    (void)size;
    lb_on_exception(data, EXCEPTION_PROTECTION);
    return 0;
}

static void on_out(uc_engine *uc, uint32_t port, int size, uint32_t value, void *data)
{
    (void)uc;
    (void)port;
    (void)size;
    (void)value;
    lb_on_exception(data, EXCEPTION_PROTECTION);
}

/* Instructions that Unicorn asks us about. It forgets that ring 3 has no ports. */
static const struct {
    int instruction;
    void *hook;
} asked[] = {
    {UC_X86_INS_SYSCALL, (void *)on_syscall},
    {UC_X86_INS_SYSENTER, (void *)on_sysenter},
    {UC_X86_INS_IN, (void *)on_in},
    {UC_X86_INS_OUT, (void *)on_out},
};

static uc_err open_cpu(struct lb_cpu *cpu, int model)
{
    uc_hook hook;
    uc_err e = lb_uc.open(UC_ARCH_X86, UC_MODE_64, &cpu->uc);
    if (!e)
        e = lb_cpu_settings(cpu, model);
    if (!e)
        e = empty_tables(cpu);
    if (!e)
        e = add_to(cpu, UC_X86_REG_CR0, CR0_MP_NE);
    if (!e)
        e = add_to(cpu, UC_X86_REG_CR4, CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_FSGSBASE);
    if (!e)
        e = leave_ring_0(cpu);
    if (!e)
        e = clean_registers(cpu);
    for (size_t i = 0; !e && i < sizeof asked / sizeof *asked; i++)
        e = lb_uc.hook_add(cpu->uc, &hook, UC_HOOK_INSN, asked[i].hook, cpu, 1, 0, asked[i].instruction);
    return e;
}

static uint64_t thread(struct lb_cpu *cpu)
{
    return lb_reg(cpu, UC_X86_REG_FS_BASE);
}

static void set_thread(struct lb_cpu *cpu, uint64_t value)
{
    lb_uc.reg_write(cpu->uc, UC_X86_REG_FS_BASE, &value);
}

/* What makes a call, in the order of struct lb_call; x86-64 has six arguments. */
#define IN_REGISTERS 6u
static int call_registers[1 + IN_REGISTERS] = {
    UC_X86_REG_RAX, UC_X86_REG_RDI, UC_X86_REG_RSI, UC_X86_REG_RDX, UC_X86_REG_R10, UC_X86_REG_R8, UC_X86_REG_R9,
};

/* SYSCALL itself leaves where to go on in RCX, and the flags in R11. */
static uint64_t number(struct lb_cpu *cpu)
{
    static int from[] = {UC_X86_REG_RAX, UC_X86_REG_RIP, UC_X86_REG_RFLAGS}, to[] = {UC_X86_REG_RCX, UC_X86_REG_R11};
    uint64_t pc = 0, flags = 0;
    void *values[] = {&cpu->call.number, &pc, &flags};
    cpu->ahead = 0;
    lb_uc.reg_read_batch(cpu->uc, from, values, 3);
    pc += SYSCALL_SIZE;
    lb_uc.reg_write_batch(cpu->uc, to, values + 1, 2);
    return cpu->call.number;
}

static bool arguments(struct lb_cpu *cpu, unsigned from, unsigned to)
{
    for (unsigned i = from > IN_REGISTERS ? from : IN_REGISTERS; i < to; i++)
        cpu->call.arg[i] = 0;
    unsigned end = to < IN_REGISTERS ? to : IN_REGISTERS;
    if (from < end)
        lb_uc.reg_read_batch(cpu->uc, call_registers + 1 + from, cpu->call_words + 1 + from, (int)(end - from));
    return true;
}

/* uc_ctl_request_cache; the macro of Unicorn's header shifts a signed number out of its range. */
#define REQUEST_CACHE (uc_control_type)(UC_CTL_TB_REQUEST_CACHE | 2u << 26 | (uint32_t)UC_CTL_IO_READ_WRITE << 30)

/* Their lengths differ: Unicorn's translator has counted them. */
static uint64_t instructions(struct lb_cpu *cpu, uint64_t pc, uint32_t size)
{
    uc_tb block = {0};
    (void)size;
    return lb_uc.ctl(cpu->uc, REQUEST_CACHE, pc, &block) ? 1 : block.icount;
}

#define LIMIT ((uint64_t)1 << 47) /* of the lower canonical half, which is user mode's */

const struct lb_arch lb_arch_x86_64 = {
    .name = "x86_64",
    .word_bits = 64,
    .address_mask = UINT64_MAX,
    .limit = LIMIT,
    .models = models,
    .fault_window = LIMIT,
    .svc_exception = -1, /* SYSCALL is no exception: on_syscall */
    .call_size = SYSCALL_SIZE,
    .undefined = EXCEPTION_UNDEFINED,
    .code_unit = 1,
    .saved = saved,
    .names = names,
    .saved_count = sizeof saved / sizeof *saved - NOT_SHOWN,
    .context_count = sizeof saved / sizeof *saved,
    .vectors = vectors,
    .vectors_size = (16 + 8) * 16,
    .flags = UC_X86_REG_RFLAGS,
    .flags_user = RFLAGS_USER,
    .flags_fixed = RFLAGS_FIXED,
    .pc = UC_X86_REG_RIP,
    .sp = UC_X86_REG_RSP,
    .ret = UC_X86_REG_RAX,
    .args = {UC_X86_REG_RDI, UC_X86_REG_RSI, UC_X86_REG_RDX, UC_X86_REG_RCX, UC_X86_REG_R8, UC_X86_REG_R9, -1, -1},
    .open = open_cpu,
    .number = number,
    .arguments = arguments,
    .thread = thread,
    .set_thread = set_thread,
    .instructions = instructions,
};
