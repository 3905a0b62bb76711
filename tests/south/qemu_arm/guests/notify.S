// Asynchronous notifications: while the kernel idles, during a long call, and not once they are off.
#include "guest.h"
#include "interrupts.h"

main:   bl      set_up_interrupts
        mov     x19, #0
        mov     x20, #0
        ldr     x0, =GICD_BASE
        mov     w1, #(1 << (UART_INTID % 32))
        str     w1, [x0, #0x104]        // GICD_ISENABLER1
        CALL    FAST + 1                // the host turns them on, then rings
        msr     daifclr, #2
1:      cbz     x20, 1b
        CALL    YIELDING + 2            // the host rings while this waits
        ldr     w4, =INTERRUPTED
2:      cmp     w0, w4
        b.ne    3f
        mov     x1, x20
        ldr     x0, =RETURN
        smc     #0
        b       2b
3:      mov     x1, x20
        CALL    FAST + 3                // off
        TIMER   30
4:      cbz     x19, 4b
        mov     x1, x20
        TELL    4
        OFF
        END
