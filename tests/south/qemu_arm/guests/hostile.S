// Rubbish in the slots and on the doorbell, from a kernel that takes them for its own. Then a proper call.
#include "guest.h"

main:   ldr     x16, =UART_BASE
        ldr     x17, =CONFIG_BASE
        ldr     x18, =COUNT
        ldr     x19, =0x123456789abcdef1
1:      // xorshift64 (Marsaglia, 2003)
        eor     x19, x19, x19, lsl #13
        eor     x19, x19, x19, lsr #7
        eor     x19, x19, x19, lsl #17
        ubfx    x1, x19, #20, #12
        add     x2, x17, #0x1000
        str     x19, [x2, x1, lsl #3]   // over slots (and stacks, unused here) of all CPUs
        ubfx    x1, x19, #8, #2
        str     w19, [x17, x1, lsl #2]  // over the configuration
        lsr     x1, x19, #40
        str     w1, [x16]
        subs    x18, x18, #1
        b.ne    1b
        ldr     x0, =SYSTEM_RESET       // as a kernel that has broken its shim would end
        smc     #0
        b       .
        END
