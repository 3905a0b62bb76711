// Every register through a call and back; what passes to PSCI; the owners. CONDUIT is smc or hvc.
#include "guest.h"

main:   ldr     x0, =0x40300000
        mov     sp, x0
        // x4 to x30 hold their own numbers.
        .irp    n, 4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30
        mov     x\n, #\n
        .endr
        ldr     x0, =(YIELDING + 0x100)
        mov     x1, #1
        mov     x2, #2
        ldr     x3, =0xfedcba9876543210
        CONDUIT #0
        // What has changed: a bit a register, in x3 of the next call, after the answer's x1 and x2.
        str     x3, [sp, #-16]!
        mov     x3, #0
        .irp    n, 4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30
        cmp     x\n, #\n
        b.eq    1f
        orr     x3, x3, #(1 << \n)
1:
        .endr
        TELL    1
        ldr     x2, [sp], #16
        mov     x1, x0
        TELL    2                       // x0 of the answer to TELL 1, x3 of the first answer

        CALL    PSCI_VERSION
        mov     x4, x0
        CALL    0x82000000              // owner 2: the platform's SiP
        mov     x5, x0
        CALL    0xb1000000              // owner 49: the last that is not the trusted OS's
        mov     x3, x0
        mov     x2, x5
        mov     x1, x4
        TELL    3
        CALL    0xbf00ff01              // owner 63: the call for the UID
        OFF
        END
