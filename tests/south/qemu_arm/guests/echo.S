// Two calls with known arguments, then off.
#include "guest.h"
        CALL    0xb2001234, 1, 2, 3, 4, 5, 6, 7
        CALL    0x32000001, 8, 9, 10, 11, 12, 13, 14
        OFF
        END
