// The EL2 shim: hands the guest kernel's calls to the trusted OS over to a process on the host.
//
// QEMU starts it as its "kernel", in EL2; it sets EL2 up, enters the real kernel in EL1 and from then on runs only when
// that one executes HVC or SMC. Calls of SMCCC owners 50 to 63 go to the host: registers into the CPU's slot in RAM, a byte
// into the PL011, whose other end the host holds. Everything else goes on to QEMU's PSCI.
//
// The shim protects nothing: there is no stage 2 translation, and the kernel can write to these pages if it wants to. The
// host therefore believes nothing it reads here.
//
// Data is accessed with the MMU off, that is as Device-nGnRnE, where the architecture does not promise exclusives; QEMU, the
// only machine this is for, does them.
//
// Sources: [ARM] Arm ARM DDI 0487; [GIC] IHI 0069; [SMCCC] DEN0028; [PSCI] DEN0022; [PL011] TRM DDI 0183;
// [BOOT] Linux Documentation/arch/arm64/booting.rst. layout.h is made from layout.py.

#include "layout.h"

#define UART_DR         0x00            // [PL011] 3.3.1: a byte out, a byte in
#define UART_FR         0x18            // 3.3.3
#define   FR_RXFE_BIT   4               //   nothing to read
#define UART_LCRH       0x2c            // 3.3.7
#define   LCRH_8N1_FIFO 0x70            //   WLEN = 8 bits, FEN
#define UART_CR         0x30            // 3.3.8
#define   CR_ON         0x301           //   RXE, TXE, UARTEN
#define UART_IMSC       0x38            // 3.3.10
#define   IMSC_RX       0x10            //   RXIM

#define GICD_CTLR       0x0000          // [GIC] 12.9
#define   CTLR_GROUP1   1               //   bit of EnableGrp1, with one security state
#define GICD_ISENABLER  0x0100
#define GICD_ISPENDR    0x0200
#define GICD_IROUTER    0x6000
#define INTID_WORD      ((UART_INTID / 32) * 4)
#define INTID_BIT       (1 << (UART_INTID % 32))

#define ICC_SRE_EL2     S3_4_C12_C9_5   // names that an assembler for ARMv8.0 does not know
#define ICC_IGRPEN1_EL1 S3_0_C12_C12_7
#define ICH_HCR_EL2     S3_4_C12_C11_0
#define ZCR_EL2         S3_4_C1_C2_0
#define SMCR_EL2        S3_4_C1_C2_6
#define HCRX_EL2        S3_4_C1_C2_2
#define HFGRTR_EL2      S3_4_C1_C1_4
#define HFGWTR_EL2      S3_4_C1_C1_5
#define HFGITR_EL2      S3_4_C1_C1_6
#define ID_AA64SMFR0    S3_0_C0_C4_5

#define EC_HVC64        0x16            // [ARM] ESR_ELx.EC
#define EC_SMC64        0x17

#define CPU_ON          0x84000003      // [PSCI] 5.1.4, SMC32; SMC64 has bit 30 set
#define INVALID_PARAMS  -2              // 5.2.2

// How often a waiting CPU looks for its answer before it sleeps; in QEMU on a PC around 100 us.
#define SPIN            20000

#define FRAME           160             // x0 to x17, x29, x30

        .text
        .globl  _start
_start:                                 // [BOOT] 4: header of an arm64 Image, which makes QEMU start us by that protocol
        b       boot
        .word   0
        .quad   TEXT_OFFSET
        .quad   _end - _start           // image_size
        .quad   0xa                     // little-endian, 4 KiB pages, anywhere in memory
        .quad   0, 0, 0
        .ascii  "ARM\x64"
        .word   0

// ---- starting

boot:                                   // the boot CPU, at power-on and after each reset; x0 = device tree
        mov     x20, x0
        bl      set_up_el2
        ldr     x16, =UART_BASE
        str     wzr, [x16, #UART_IMSC]  // an older QEMU does not reset the PL011 with the machine
        mov     w1, #LCRH_8N1_FIFO
        str     w1, [x16, #UART_LCRH]
        mov     w1, #CR_ON
        str     w1, [x16, #UART_CR]
        ldr     x12, =CONFIG_BASE
        str     wzr, [x12, #CONFIG_READY]
        dmb     sy
        mov     w1, #RING_BOOT
        str     w1, [x16, #UART_DR]
1:      ldr     w1, [x12, #CONFIG_READY]        // the host forgets the life before, then clears configuration and slots
        cbz     w1, 1b
        dmb     sy
        bl      name_slot               // again: the host has cleared it
        bl      drain                   // what was meant for the life before
        ldr     x1, =KERNEL_BASE
        mov     x0, x20
        b       enter

boot_secondary:                         // after PSCI CPU_ON; x0 = slot
        mov     x20, x0
        bl      set_up_el2
        ldp     x1, x0, [x20, #SLOT_ON]
enter:                                  // [BOOT] 5: x0 = device tree, x1 to x3 = 0
        msr     elr_el2, x1
        mov     x1, #0
        mov     x2, #0
        mov     x3, #0
        eret

name_slot:                              // our slot: its address in x2 and TPIDR_EL2, the CPU's number in x1
        mrs     x1, mpidr_el1
        and     x1, x1, #(MAX_CPUS - 1) // Aff0 is enough on this board
        ldr     x2, =SLOTS_BASE
        add     x2, x2, x1, lsl #8
        str     w1, [x2, #SLOT_CPU]
        msr     tpidr_el2, x2
        ret

// What [BOOT] 5 asks of whoever enters a kernel in EL1 while there is an EL2. Changes x1 to x4.
set_up_el2:
        mov     x4, x30
        bl      name_slot
        ldr     x2, =STACKS_BASE + STACK_SIZE
        add     x2, x2, x1, lsl #9
        mov     sp, x2
        adr     x1, vectors
        msr     vbar_el2, x1
        mrs     x1, mpidr_el1           // what EL1 reads as its own identity
        msr     vmpidr_el2, x1
        mrs     x1, midr_el1
        msr     vpidr_el2, x1
        ldr     x1, =0x30d00800         // [ARM] SCTLR_EL1: RES1 bits only, so MMU and caches off
        msr     sctlr_el1, x1
        mov     x1, #0x22ff             // [ARM] CPTR_EL2: RES1 without TZ and TSM: no traps of FP, SVE, SME
        msr     cptr_el2, x1
        isb
        mrs     x1, id_aa64pfr0_el1
        ubfx    x1, x1, #32, #4         // SVE
        cbz     x1, 1f
        mov     x1, #15                 // LEN: the longest vectors
        msr     ZCR_EL2, x1
1:      mrs     x1, id_aa64pfr1_el1
        ubfx    x1, x1, #24, #4         // SME
        cbz     x1, 2f
        mov     x2, #15                 // LEN
        mrs     x3, ID_AA64SMFR0
        lsr     x3, x3, #63             // FA64: all of A64 in streaming mode
        orr     x2, x2, x3, lsl #31
        cmp     x1, #2
        b.lo    1f
        orr     x2, x2, #(1 << 30)      // EZT0, from SME2 on
1:      msr     SMCR_EL2, x2
2:      mrs     x1, id_aa64mmfr0_el1
        ubfx    x1, x1, #56, #4         // FGT: its newer bits trap unless they are set
        cbz     x1, 3f
        mov     x1, #0xfff4000000000000 // bits 50 and up but 51 (RES0) and reserved ones: no such trap
        msr     HFGRTR_EL2, x1
        msr     HFGWTR_EL2, x1
        mov     x1, #(7 << 57)          // nGCSEPP, nGCSSTR_EL1, nGCSPUSHM_EL1: no trap of FEAT_GCS
        msr     HFGITR_EL2, x1
3:      mrs     x1, id_aa64mmfr1_el1
        ubfx    x1, x1, #40, #4         // HCX
        cbz     x1, 4f
        ldr     x1, =(1 << 11 | 3 << 14 | 3 << 22)      // MSCEn, TCR2En, SCTLR2En, GCSEn, EnFPM: EL1 may use FEAT_MOPS,
        msr     HCRX_EL2, x1                            //   TCR2_EL1, SCTLR2_EL1, FEAT_GCS, FPMR
4:      msr     hstr_el2, xzr
        msr     vttbr_el2, xzr
        mov     x1, #3                  // [ARM] CNTHCTL_EL2: EL1 may use the physical counter and timer
        msr     cnthctl_el2, x1
        msr     cntvoff_el2, xzr
        mov     x1, #0xf                // [GIC] ICC_SRE_EL2: system registers, and EL1 may have them
        msr     ICC_SRE_EL2, x1
        isb
        msr     ICH_HCR_EL2, xzr        // no virtual interrupts
        ldr     x1, =(1 << 31 | 1 << 19 | 3 << 40 | 1 << 56)    // [ARM] HCR_EL2: RW (EL1 is AArch64), TSC (trap SMC),
        msr     hcr_el2, x1             //   API and APK (no trap of pointer authentication), ATA (nor of tags)
        mov     x1, #0x3c5              // [ARM] SPSR: EL1h, interrupts masked
        msr     spsr_el2, x1
        isb
        ret     x4

// ---- a call from EL1

call:   // [SMCCC] 2.6: x4 to x17 survive the call, x18 and up are not touched here but for x29 and x30
        sub     sp, sp, #FRAME
        stp     x0, x1, [sp, #0]
        stp     x2, x3, [sp, #16]
        stp     x4, x5, [sp, #32]
        stp     x6, x7, [sp, #48]
        stp     x8, x9, [sp, #64]
        stp     x10, x11, [sp, #80]
        stp     x12, x13, [sp, #96]
        stp     x14, x15, [sp, #112]
        stp     x16, x17, [sp, #128]
        stp     x29, x30, [sp, #144]
        mrs     x9, esr_el2
        lsr     x10, x9, #26
        cmp     x10, #EC_HVC64          // [ARM] the return address is behind an HVC
        b.eq    1f
        cmp     x10, #EC_SMC64          // but at an SMC that was trapped
        b.ne    fatal
        mrs     x10, elr_el2
        add     x10, x10, #4
        msr     elr_el2, x10
1:      ubfx    w10, w0, #24, #6        // [SMCCC] 2.5: owner
        cmp     w10, #FIRST_OWNER
        b.hs    trusted_os
        bic     w11, w0, #(1 << 30)
        ldr     w12, =CPU_ON
        cmp     w11, w12
        b.eq    cpu_on
        smc     #0                      // from EL2 this is QEMU's PSCI, which says -1 to what it does not know
        stp     x0, x1, [sp, #0]
        stp     x2, x3, [sp, #16]
restore:
        ldp     x0, x1, [sp, #0]
        ldp     x2, x3, [sp, #16]
        ldp     x4, x5, [sp, #32]
        ldp     x6, x7, [sp, #48]
        ldp     x8, x9, [sp, #64]
        ldp     x10, x11, [sp, #80]
        ldp     x12, x13, [sp, #96]
        ldp     x14, x15, [sp, #112]
        ldp     x16, x17, [sp, #128]
        ldp     x29, x30, [sp, #144]
        add     sp, sp, #FRAME
        eret

cpu_on: // x1 = MPIDR of the CPU, x2 = entry, x3 = context. QEMU starts it in EL2, so it must start with us.
        tst     x1, #~(MAX_CPUS - 1)
        b.ne    1f
        ldr     x11, =SLOTS_BASE
        add     x11, x11, x1, lsl #8
        stp     x2, x3, [x11, #SLOT_ON]
        dmb     sy
        adr     x2, boot_secondary
        mov     x3, x11
        smc     #0
        str     x0, [sp, #0]
        b       restore
1:      mov     x0, #INVALID_PARAMS
        str     x0, [sp, #0]
        b       restore

// ---- a call for the host
//
// Registers throughout:
//   w9  function       w10 flags           x11 slot            x12 configuration
//   w13 spins left     w14 request number  x16 UART            x17 distributor
//   x0 to x5: at hand

#define ASKED   0                       // bit of w10: the host knows that an interrupt pends
#define SLEPT   1                       // bit of w10: the answer took long

trusted_os:
        mrs     x11, tpidr_el2
        stp     x0, x1, [x11, #SLOT_IN]
        stp     x2, x3, [x11, #SLOT_IN + 16]
        stp     x4, x5, [x11, #SLOT_IN + 32]
        stp     x6, x7, [x11, #SLOT_IN + 48]
        mov     w9, w0
        mov     w10, #0
        ldr     x12, =CONFIG_BASE
        ldr     x16, =UART_BASE
        ldr     x17, =GICD_BASE

        // The kernel's handler asks what the doorbell's interrupt was for: take what rang, so that the line falls. While
        // a CPU sleeps, the bytes are for it (it has the interrupt as well) and it raises the notification again.
        ldr     w0, =NOTIFICATION_VALUE
        cmp     w9, w0
        b.ne    1f
        bl      try_sleeper
        cbnz    w0, 1f
        bl      drain
        bl      release_sleeper

1:      ldr     w14, [x11, #SLOT_SEQUENCE]
        add     w14, w14, #1
        dmb     sy                      // registers before the number, the number before the bell
        str     w14, [x11, #SLOT_SEQUENCE]
        dmb     sy
        ldr     w0, [x11, #SLOT_CPU]
        add     w0, w0, #RING_CALL
        str     w0, [x16, #UART_DR]

        mov     w13, #SPIN
        ldr     w0, [x11, #SLOT_LONG]   // goes on with what took long: the next answer will as well
        cbz     w0, wait
        mov     w13, #1

wait:   // Look at RAM only: each access to a device takes QEMU's big lock, and starves the thread that has our answer.
        ldr     w0, [x11, #SLOT_DONE]
        cmp     w0, w14
        b.eq    answered
        tbnz    w9, #31, wait           // [SMCCC] a fast call. It may come from a handler of the very interrupt that
                                        // would wake us, which is masked then; and it is answered soon
        subs    w13, w13, #1
        b.ne    wait
        mov     w13, #SPIN
        tbnz    w10, #ASKED, wait
        mrs     x0, isr_el1             // [ARM] what pends for EL1
        cbz     x0, sleep
        orr     w10, w10, #(1 << ASKED | 1 << SLEPT)
        ldr     w0, [x11, #SLOT_CPU]    // the host ends this exchange for now; the kernel comes back for the answer
        add     w0, w0, #RING_INTERRUPTED
        str     w0, [x16, #UART_DR]
        b       wait

sleep:  // Where nobody has set up interrupts (a boot loader), nothing would wake us.
        orr     w10, w10, #(1 << SLEPT)
        mrs     x0, ICC_IGRPEN1_EL1
        cbz     x0, wait
        ldr     w0, [x17, #GICD_CTLR]
        tbz     w0, #CTLR_GROUP1, wait
        bl      try_sleeper             // the interrupt wakes one CPU; a second one that waits long keeps spinning
        cbnz    w0, wait
        // Writes to the distributor are slow in QEMU: only where something differs.
        ldr     x2, =GICD_IROUTER + UART_INTID * 8
        add     x2, x2, x17
        mrs     x0, mpidr_el1           // [GIC] GICD_IROUTER takes the affinities where MPIDR has them
        and     x0, x0, #0xffffff
        ldr     x1, [x2]
        cmp     x0, x1
        b.eq    1f
        str     x0, [x2]
1:      mov     w1, #INTID_BIT
        ldr     w0, [x17, #GICD_ISENABLER + INTID_WORD]
        tst     w0, w1
        b.ne    2f
        str     w1, [x17, #GICD_ISENABLER + INTID_WORD]
2:      mov     w1, #IMSC_RX
        bl      set_mask
        mov     w0, #1
        str     w0, [x11, #SLOT_SLEEP]
        dmb     sy                      // we say that we sleep, then look; the host answers, then looks whether we sleep
        ldr     w0, [x11, #SLOT_DONE]
        cmp     w0, w14
        b.eq    3f
        wfi                             // [ARM] D1.6: an interrupt that pends ends it, masked as it is
3:      str     wzr, [x11, #SLOT_SLEEP]
        bl      drain
        cbz     w1, 4f
        mov     w1, #INTID_BIT          // a notification rang: raise its interrupt again, for the kernel
        str     w1, [x17, #GICD_ISPENDR + INTID_WORD]
4:      bl      kernel_mask
        bl      release_sleeper
        mov     w13, #1                 // look for the answer, then for interrupts, and sleep again
        b       wait

answered:
        dmb     sy                      // the number, then the answer
        ubfx    w0, w10, #SLEPT, #1
        str     w0, [x11, #SLOT_LONG]
        ldp     x0, x1, [x11, #SLOT_OUT]
        stp     x0, x1, [sp, #0]
        ldp     x0, x1, [x11, #SLOT_OUT + 16]
        stp     x0, x1, [sp, #16]
        ldr     w0, [x12, #CONFIG_NOTIFY]       // has this call changed whether the kernel takes the interrupt?
        ldr     w1, [x12, #CONFIG_MASK]
        cmp     w0, #0
        cset    w0, ne
        lsl     w0, w0, #4              // IMSC_RX or nothing
        cmp     w0, w1
        b.eq    restore
        bl      try_sleeper             // a CPU that sleeps does it when it wakes
        cbnz    w0, restore
        bl      kernel_mask
        bl      release_sleeper
        b       restore

// ---- helpers, with the registers above

drain:  // Read all bytes. w1: nonzero if one of them was a notification. Changes x0.
        mov     w1, #0
1:      ldr     w0, [x16, #UART_FR]
        tbnz    w0, #FR_RXFE_BIT, 2f
        ldr     w0, [x16, #UART_DR]
        and     w0, w0, #0xff
        cmp     w0, #RING_NOTIFY
        b.ne    1b
        mov     w1, #1
        b       1b
2:      ret

kernel_mask:    // The interrupt as the kernel wants it. By whoever has the sleeper's lock. Changes x0, x1.
        ldr     w0, [x12, #CONFIG_NOTIFY]
        cmp     w0, #0
        cset    w1, ne
        lsl     w1, w1, #4              // an interrupt that nobody claims would storm: nothing if it does not want it
set_mask:       // w1: IMSC_RX or nothing. Changes x0.
        ldr     w0, [x12, #CONFIG_MASK]
        cmp     w0, w1
        b.eq    1f
        str     w1, [x16, #UART_IMSC]
        str     w1, [x12, #CONFIG_MASK]
1:      ret

try_sleeper:    // w0: zero if the lock is now ours. Changes x1, x2.
        add     x2, x12, #CONFIG_SLEEPER
        mov     w1, #1
1:      ldaxr   w0, [x2]
        cbnz    w0, 2f
        stxr    w0, w1, [x2]
        cbnz    w0, 1b
        ret
2:      clrex
        ret

release_sleeper:        // Changes x2.
        add     x2, x12, #CONFIG_SLEEPER
        stlr    wzr, [x2]
        ret

fatal:  // An exception that should not be: tell the host what it was, and stop.
        mrs     x11, tpidr_el2
        mrs     x0, esr_el2
        mrs     x1, elr_el2
        stp     x0, x1, [x11, #SLOT_IN]
        mrs     x0, far_el2
        mrs     x1, spsr_el2
        stp     x0, x1, [x11, #SLOT_IN + 16]
        dmb     sy
        ldr     x16, =UART_BASE
        mov     w0, #RING_FATAL
        str     w0, [x16, #UART_DR]
1:      wfi
        b       1b

        .balign 2048                    // [ARM] VBAR_EL2
vectors:
        .rept   8                       // from EL2 itself
        b       fatal
        .balign 128
        .endr
        b       call                    // from EL1 or EL0 in AArch64: synchronous
        .balign 128
        .rept   7
        b       fatal
        .balign 128
        .endr
        .ltorg
_end:
