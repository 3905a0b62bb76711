// What the guests share: the header of an arm64 Image, and calls. Linked to run at KERNEL_BASE.
#include "layout.h"

#define SYSTEM_OFF      0x84000008      // PSCI 5.1.9
#define SYSTEM_RESET    0x84000009

        .macro  MOVI reg, value
        ldr     \reg, =\value
        .endm

        .macro  CALL f, a=0, b=0, c=0, d=0, e=0, g=0, h=0
        MOVI    x0, \f
        MOVI    x1, \a
        MOVI    x2, \b
        MOVI    x3, \c
        MOVI    x4, \d
        MOVI    x5, \e
        MOVI    x6, \g
        MOVI    x7, \h
        smc     #0
        .endm

        .macro  OFF
        MOVI    x0, SYSTEM_OFF
        smc     #0
        .endm

        .macro  END
8:      b       8b
        .ltorg
        .balign 16
        .globl  _end
_end:
        .endm

        .text
        .globl  _start
_start: b       main
        .word   0
        .quad   0, 0x10000, 0xa, 0, 0, 0
        .ascii  "ARM\x64"
        .word   0
main:
