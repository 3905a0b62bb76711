// Resets the machine for as long as the host wants it to.
#include "guest.h"

main:   CALL    FAST + 1
        cbz     x0, 1f
        ldr     x0, =SYSTEM_RESET
        smc     #0
1:      OFF
        END
