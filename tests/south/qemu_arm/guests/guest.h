// What the guests share: the header of an arm64 Image and macros for calls. Linked to run at KERNEL_BASE.
#include "layout.h"

#define PSCI_VERSION    0x84000000      // PSCI (DEN0022) §5.1
#define CPU_OFF         0x84000002
#define CPU_ON          0xc4000003
#define SYSTEM_OFF      0x84000008
#define SYSTEM_RESET    0x84000009

#define FAST            0xb2000000      // calls of the trusted OS: fast, yielding
#define YIELDING        0x32000000
#define RETURN          0x32000003      // OPTEE_SMC_CALL_RETURN_FROM_RPC
#define INTERRUPTED     0xffff0004      // OPTEE_SMC_RETURN_RPC_FOREIGN_INTR

        .macro  CALL f, a=0, b=0, c=0
        ldr     x0, =\f
        ldr     x1, =\a
        ldr     x2, =\b
        ldr     x3, =\c
        smc     #0
        .endm

        // Report x1 to x3 as they are, as call FAST + n.
        .macro  TELL n
        ldr     x0, =(FAST + \n)
        smc     #0
        .endm

        .macro  OFF
        ldr     x0, =SYSTEM_OFF
        smc     #0
        b       .
        .endm

        .macro  END
        .ltorg
        .balign 16
        .globl  _end
_end:
        .endm

        .text
        .globl  _start
_start: b       main
        .word   0
        .quad   0, 0x10000, 0xa, 0, 0, 0        // text_offset, image_size, flags
        .ascii  "ARM\x64"
        .word   0
