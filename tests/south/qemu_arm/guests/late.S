// Two long calls, one with the interrupt controller set up.
#include "guest.h"
#include "interrupts.h"

main:   CALL    YIELDING + 1            // a boot loader: no interrupts, so the CPU spins
        bl      set_up_interrupts
        CALL    YIELDING + 2            // the CPU sleeps
        mov     x1, x0
        TELL    3
        OFF
        END
