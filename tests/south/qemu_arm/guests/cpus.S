// The second CPU is turned on; both call, COUNT times each, long calls among them.
#include "guest.h"

main:   adr     x2, second
        ldr     x0, =CPU_ON
        mov     x1, #1
        mov     x3, #0x77
        smc     #0
        mov     x1, x0
        ldr     x0, =CPU_ON             // a CPU that is not there
        mov     x4, x1
        mov     x1, #0x100
        smc     #0
        mov     x2, x0
        mov     x1, x4
        TELL    1
        mov     x20, #0
        bl      calls
        ldr     x4, =0x40380000
1:      ldr     w0, [x4]                // the other is done
        cbz     w0, 1b
        OFF

second: mov     x1, x0                  // the context
        TELL    2
        mov     x20, #1
        bl      calls
        ldr     x4, =0x40380000
        mov     w0, #1
        str     w0, [x4]
        ldr     x0, =CPU_OFF
        smc     #0
        b       .

calls:  mov     x21, #0
1:      ldr     x0, =(YIELDING + 0x10)
        mov     x1, x20
        mov     x2, x21
        smc     #0
        add     x4, x21, #1000          // the answer is x2 + 1000 in x1
        cmp     x1, x4
        b.ne    2f
        ldr     x0, =(FAST + 0x11)
        mov     x1, x20
        mov     x2, x21
        smc     #0
        add     x21, x21, #1
        cmp     x21, #COUNT
        b.ne    1b
        ret
2:      mov     x2, x1
        mov     x1, x20
        TELL    0xbad
        OFF
        END
