/* SPDX-License-Identifier: MIT */
/*
 * What the compiler's C++ library asks of a C library: memory, locks for one thread, its modules, and thread-local
 * storage. As libutee makes them: optee_os lib/libutee/tcb.c and lib/libutee/user_ta_entry.c.
 */
#define _GNU_SOURCE /* struct dl_phdr_info */
#include <dlfcn.h>
#include <elf.h>
#include <link.h>

#include "litebox_ta.h"

#ifdef __aarch64__
#define TCB_HEAD 16u /* before the program's variables: Addenda to, and Errata in, the ABI for the Arm Architecture */
#else
#define TCB_HEAD 8u
#endif
#define PANIC_ABORT 0xab027u
#define HEAP (32u * 1024)

/* optee_os lib/libutee/include/user_ta_header.h; the loader fills it. */
struct phdr_info {
    uint32_t reserved;
    uint16_t count;
    uint8_t reserved2;
    char zero;
    struct dl_phdr_info *dlpi;
};
TA_EXPORT struct phdr_info __elf_phdr_info;

static struct {
    union {
        void *dtv;
        uint8_t head[TCB_HEAD];
    };
    uint8_t room[512];
} tcb __attribute__((aligned(64)));
static uint8_t *variables; /* of this program, within tcb */

static uint8_t heap[HEAP] __attribute__((aligned(16)));
static size_t used;

void support_ready(void);
void *__tls_get_addr(size_t *index);
void *malloc(size_t size);
void *calloc(size_t count, size_t size);
void free(void *at);
_Noreturn void abort(void);

void support_ready(void)
{
    if (variables)
        return;
    for (unsigned m = 0; m < __elf_phdr_info.count; m++) {
        const struct dl_phdr_info *module = &__elf_phdr_info.dlpi[m];
        for (unsigned i = 0; i < module->dlpi_phnum; i++) {
            const ElfW(Phdr) *ph = &module->dlpi_phdr[i];
            size_t head = (TCB_HEAD + ph->p_align - 1) & ~(size_t)(ph->p_align - 1);
            if (ph->p_type != PT_TLS || head + ph->p_memsz > sizeof tcb)
                continue;
            variables = (uint8_t *)&tcb + head;
            memcpy(variables, (void *)(module->dlpi_addr + ph->p_vaddr), ph->p_filesz);
        }
    }
#ifdef __aarch64__
    __asm__ volatile("msr tpidr_el0, %0" : : "r"(&tcb));
#endif
}

/* index: module and offset. There is one module. */
void *__tls_get_addr(size_t *index)
{
    return variables + index[1];
}

int dl_iterate_phdr(int (*callback)(struct dl_phdr_info *, size_t, void *), void *data)
{
    int stop = 0;
    for (unsigned i = 0; i < __elf_phdr_info.count && !stop; i++)
        stop = callback(&__elf_phdr_info.dlpi[i], sizeof(struct dl_phdr_info), data);
    return stop;
}

#ifdef __aarch64__
/* How newer unwinders ask for the module of `pc`. There is one, and it holds all code. */
int _dl_find_object(void *pc, struct dl_find_object *out)
{
    const struct dl_phdr_info *module = &__elf_phdr_info.dlpi[0];

    for (unsigned i = 0; i < module->dlpi_phnum; i++)
        if (module->dlpi_phdr[i].p_type == PT_GNU_EH_FRAME) {
            *out = (struct dl_find_object){.dlfo_map_start = pc, .dlfo_map_end = pc};
            out->dlfo_eh_frame = (void *)(module->dlpi_addr + module->dlpi_phdr[i].p_vaddr);
            return 0;
        }
    return -1;
}

unsigned long __getauxval(unsigned long type);
unsigned long __getauxval(unsigned long type)
{
    (void)type;
    return 0;
}
#endif

char *strchr(const char *text, int byte)
{
    for (; *text != (char)byte; text++)
        if (!*text)
            return NULL;
    return (char *)text;
}

/* Never given back but for the last block: exceptions are thrown one at a time. */
void *malloc(size_t size)
{
    size_t *block = (size_t *)(heap + used);
    size = (size + 31) & ~(size_t)15;
    if (size > HEAP - used)
        return NULL;
    used += size;
    *block = size;
    return (uint8_t *)block + 16;
}

void *calloc(size_t count, size_t size)
{
    void *at = size && count > HEAP / size ? NULL : malloc(count * size);
    return at ? memset(at, 0, count * size) : NULL;
}

void free(void *at)
{
    size_t *block = at ? (size_t *)((uint8_t *)at - 16) : NULL;
    if (block && (uint8_t *)block + *block == heap + used)
        used -= *block;
}

void abort(void)
{
    ta_panic(PANIC_ABORT);
    for (;;)
        ;
}

#ifdef __arm__
/* The division by zero of the compiler's library. */
int raise(int number);
int raise(int number)
{
    ta_panic(PANIC_ABORT + (unsigned)number);
    return 0;
}
#endif

int memcmp(const void *a, const void *b, size_t size)
{
    const uint8_t *x = a, *y = b;
    for (; size; size--, x++, y++)
        if (*x != *y)
            return *x - *y;
    return 0;
}

void *memmove(void *to, const void *from, size_t size)
{
    uint8_t *t = to;
    const uint8_t *f = from;
    if (t <= f)
        return memcpy(to, from, size);
    while (size--)
        t[size] = f[size];
    return to;
}

size_t strlen(const char *text)
{
    size_t n = 0;
    while (text[n])
        n++;
    return n;
}

int strcmp(const char *a, const char *b)
{
    for (; *a && *a == *b; a++, b++)
        ;
    return (uint8_t)*a - (uint8_t)*b;
}

/* One thread: locks are free, a key has one value, and what is done once is done at once. */
#define NOTHING(name)                                                                                              \
    int name(void);                                                                                                \
    int name(void)                                                                                                 \
    {                                                                                                              \
        return 0;                                                                                                  \
    }
NOTHING(pthread_mutex_lock)
NOTHING(pthread_mutex_unlock)
NOTHING(pthread_rwlock_rdlock)
NOTHING(pthread_rwlock_wrlock)
NOTHING(pthread_rwlock_unlock)
NOTHING(pthread_key_create)

static const void *value;
void *pthread_getspecific(unsigned key);
int pthread_setspecific(unsigned key, const void *to);
int pthread_once(int *done, void (*make)(void));

void *pthread_getspecific(unsigned key)
{
    (void)key;
    return (void *)(uintptr_t)value;
}

int pthread_setspecific(unsigned key, const void *to)
{
    (void)key;
    value = to;
    return 0;
}

int pthread_once(int *done, void (*make)(void))
{
    if (!*done) {
        *done = 1;
        make();
    }
    return 0;
}
