// The GICv3 of QEMU's virt board, and a handler for the timer and the doorbell.
#define GICR_BASE       0x080a0000      // VIRT_GIC_REDIST; 128 KiB a CPU
#define TIMER_INTID     27              // the virtual timer

set_up_interrupts:      // of CPU 0. Changes x0 to x3.
        ldr     x0, =GICD_BASE
        mov     w1, #0x12               // GICD_CTLR: ARE, EnableGrp1
        str     w1, [x0]
        mov     w1, #-1
        str     w1, [x0, #0x84]         // GICD_IGROUPR1: SPIs in group 1
        ldr     x0, =GICR_BASE
        str     wzr, [x0, #0x14]        // GICR_WAKER: awake
1:      ldr     w1, [x0, #0x14]
        tbnz    w1, #2, 1b
        ldr     x0, =GICR_BASE + 0x10000
        mov     w1, #-1
        str     w1, [x0, #0x80]         // GICR_IGROUPR0
        mov     w1, #(1 << TIMER_INTID)
        str     w1, [x0, #0x100]        // GICR_ISENABLER0
        mov     x1, #7
        msr     S3_0_C12_C12_5, x1      // ICC_SRE_EL1
        isb
        mov     x1, #0xff
        msr     S3_0_C4_C6_0, x1        // ICC_PMR_EL1
        mov     x1, #1
        msr     S3_0_C12_C12_7, x1      // ICC_IGRPEN1_EL1
        adr     x1, vectors
        msr     vbar_el1, x1
        ldr     x1, =0x40300000
        mov     sp, x1
        isb
        ret

        .macro  TIMER ms
        mrs     x1, cntfrq_el0
        mov     x2, #1000
        udiv    x1, x1, x2
        mov     x2, #\ms
        mul     x1, x1, x2
        msr     cntv_tval_el0, x1
        mov     x1, #1
        msr     cntv_ctl_el0, x1
        .endm

// x19 counts the timer's interrupts, x20 the doorbell's. x0 to x7 are kept.
handler:
        stp     x0, x1, [sp, #-64]!
        stp     x2, x3, [sp, #16]
        stp     x4, x5, [sp, #32]
        stp     x6, x7, [sp, #48]
        mrs     x4, S3_0_C12_C12_0      // ICC_IAR1_EL1
        cmp     x4, #TIMER_INTID
        b.ne    1f
        msr     cntv_ctl_el0, xzr
        add     x19, x19, #1
1:      cmp     x4, #UART_INTID
        b.ne    2f
        add     x20, x20, #1
        CALL    NOTIFICATION_VALUE
2:      msr     S3_0_C12_C12_1, x4      // ICC_EOIR1_EL1
        ldp     x2, x3, [sp, #16]
        ldp     x4, x5, [sp, #32]
        ldp     x6, x7, [sp, #48]
        ldp     x0, x1, [sp], #64
        eret

        .balign 2048
vectors:
        .rept   5
        b       .
        .balign 128
        .endr
        b       handler                 // IRQ, from EL1 with its own stack
        .balign 128
        .rept   10
        b       .
        .balign 128
        .endr
