// A timer goes off during a long call: the kernel gets its interrupt, then goes on with the call.
#include "guest.h"
#include "interrupts.h"

main:   bl      set_up_interrupts
        mov     x19, #0
        msr     daifclr, #2
        TIMER   20
        CALL    YIELDING + 1
        ldr     w4, =INTERRUPTED
1:      cmp     w0, w4
        b.ne    2f
        mov     x1, x19                 // by now the interrupt was taken
        mov     x2, x0
        ldr     x0, =RETURN
        smc     #0
        b       1b
2:      mov     x1, x0
        mov     x2, x19
        TELL    2
        OFF
        END
