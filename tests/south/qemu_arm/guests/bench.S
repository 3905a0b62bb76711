// COUNT calls; tells the counter's ticks that they took, and its frequency, as call FAST + 1.
#include "guest.h"

main:   CALL    FUNCTION// warm up
        mov     x21, #COUNT
        isb
        mrs     x22, cntvct_el0
1:      ldr     x0, =FUNCTION
        smc     #0
        subs    x21, x21, #1
        b.ne    1b
        isb
        mrs     x1, cntvct_el0
        sub     x1, x1, x22
        mrs     x2, cntfrq_el0
        mov     x3, #COUNT
        TELL    1
        OFF
        END
