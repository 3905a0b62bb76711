/* SPDX-License-Identifier: MIT */
/*
 * Containment of Unicorn's library.
 *
 * QEMU's translator asserts, aborts and exits where it meets what its authors held impossible, and a guest can choose the
 * instructions that lead there. So calls of `abort`, `exit` and `raise` from the library are ours: its slots in the table of
 * imported functions are rewritten when it is loaded. A fault while the library or code it translated runs is caught by
 * signal. Either way control jumps back to where the library was called, and the CPU is never entered or freed again: its
 * state is unknown, its locks are none (a Unicorn has none), its memory stays.
 *
 * Not contained: a fault inside another library that Unicorn calls (malloc may hold its lock), faults of our own code, and
 * a heap that the library corrupted without faulting.
 */
#define _GNU_SOURCE
#include "contain.h"

#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

__thread struct lb_library_call *lb_inside __attribute__((tls_model("initial-exec")));
static __thread const char *how __attribute__((tls_model("initial-exec"))) = "";

const char *lb_how_it_ended(void)
{
    return how;
}

static _Noreturn void jump_out(const char *reason)
{
    struct lb_library_call *call = lb_inside;
    lb_inside = call->outer;
    how = reason;
    siglongjmp(call->at, 1);
}

/* --- abort, exit and raise ---------------------------------------------------------------- */

static _Noreturn void contained_abort(void)
{
    if (lb_inside)
        jump_out("it aborted");
    abort();
}

static _Noreturn void contained_exit(int status)
{
    if (lb_inside)
        jump_out("it asked to end the process");
    exit(status);
}

static int contained_raise(int number)
{
    if (lb_inside)
        jump_out("it raised a signal");
    return raise(number);
}

static const struct {
    const char *name;
    void *ours;
} replaced[] = {
    {"abort", (void *)contained_abort},
    {"exit", (void *)contained_exit},
    {"_exit", (void *)contained_exit},
    {"raise", (void *)contained_raise},
};

struct imports {
    const ElfW(Sym) *symbols;
    const char *names;
    const void *plt, *rest; /* relocations of functions, and all others */
    size_t plt_size, rest_size;
    bool addends; /* they have some: Elf_Rela */
};

/* Loaders of some systems leave the addresses of a dynamic section relative. */
static const void *absolute(const struct link_map *map, ElfW(Addr) value)
{
    return (const void *)(value < map->l_addr ? value + map->l_addr : value);
}

static struct imports imports_of(const struct link_map *map)
{
    struct imports out = {.addends = true};
    for (const ElfW(Dyn) *d = map->l_ld; d->d_tag != DT_NULL; d++)
        switch (d->d_tag) {
        case DT_SYMTAB: out.symbols = absolute(map, d->d_un.d_ptr); break;
        case DT_STRTAB: out.names = absolute(map, d->d_un.d_ptr); break;
        case DT_JMPREL: out.plt = absolute(map, d->d_un.d_ptr); break;
        case DT_PLTRELSZ: out.plt_size = d->d_un.d_val; break;
        case DT_REL:
        case DT_RELA: out.rest = absolute(map, d->d_un.d_ptr); break;
        case DT_RELSZ:
        case DT_RELASZ: out.rest_size = d->d_un.d_val; break;
        case DT_PLTREL: out.addends = d->d_un.d_val == DT_RELA; break;
        default: break;
        }
    return out;
}

static void rewrite(void **slot, void *ours)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), at = (uintptr_t)slot & ~(page - 1);
    /* The table may have become read-only after it was filled; it stays writable then, as tables filled late are. */
    if (!mprotect((void *)at, page, PROT_READ | PROT_WRITE))
        *slot = ours;
}

static void replace_in(const struct link_map *map, const struct imports *in, const void *table, size_t size)
{
    size_t step = in->addends ? sizeof(ElfW(Rela)) : sizeof(ElfW(Rel));
    for (size_t at = 0; table && in->symbols && in->names && at + step <= size; at += step) {
        ElfW(Rel) r; /* a Rela begins as one */
        memcpy(&r, (const uint8_t *)table + at, sizeof r);
#if __ELF_NATIVE_CLASS == 64
        size_t symbol = ELF64_R_SYM(r.r_info);
#else
        size_t symbol = ELF32_R_SYM(r.r_info);
#endif
        if (!symbol || in->symbols[symbol].st_shndx != SHN_UNDEF)
            continue;
        for (size_t i = 0; i < sizeof replaced / sizeof *replaced; i++)
            if (!strcmp(in->names + in->symbols[symbol].st_name, replaced[i].name))
                rewrite((void **)(map->l_addr + r.r_offset), replaced[i].ours);
    }
}

/* --- faults --------------------------------------------------------------------------------- */

#define OBJECTS 512

/* Code of all libraries there were when Unicorn was loaded. Translated code is in none. */
static struct {
    uintptr_t from, to;
} others[OBJECTS];
static size_t other_count;
static uintptr_t library_base;

static int note(struct dl_phdr_info *info, size_t size, void *data)
{
    (void)size;
    (void)data;
    for (int i = 0; i < info->dlpi_phnum && info->dlpi_addr != library_base; i++) {
        const ElfW(Phdr) *ph = &info->dlpi_phdr[i];
        if (ph->p_type == PT_LOAD && ph->p_flags & PF_X && other_count < OBJECTS) {
            others[other_count].from = info->dlpi_addr + ph->p_vaddr;
            others[other_count++].to = info->dlpi_addr + ph->p_vaddr + ph->p_memsz;
        }
    }
    return 0;
}

static bool in_another_library(uintptr_t pc)
{
    for (size_t i = 0; i < other_count; i++)
        if (pc >= others[i].from && pc < others[i].to)
            return true;
    return false;
}

static uintptr_t pc_of(const void *context)
{
#if defined(__x86_64__)
    return (uintptr_t)((const ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
#elif defined(__aarch64__)
    return (uintptr_t)((const ucontext_t *)context)->uc_mcontext.pc;
#else
    (void)context;
    return 0;
#endif
}

static const int caught[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE};
static const char *const reasons[] = {
    "it accessed memory that is not there (SIGSEGV)",
    "it accessed memory that is not there (SIGBUS)",
    "it ran an instruction that this machine lacks (SIGILL)",
    "it made an arithmetic error (SIGFPE)",
};
#define CAUGHT (sizeof caught / sizeof *caught)
static struct sigaction before[CAUGHT];

static void on_fault(int number, siginfo_t *info, void *context)
{
    size_t i = 0;
    while (caught[i] != number)
        i++;
    if (lb_inside && info->si_code > 0 && !in_another_library(pc_of(context)))
        jump_out(reasons[i]);
    const struct sigaction *old = &before[i];
    if (old->sa_flags & SA_SIGINFO)
        old->sa_sigaction(number, info, context);
    else if (old->sa_handler != SIG_DFL && old->sa_handler != SIG_IGN)
        old->sa_handler(number);
    else {
        sigaction(number, old, NULL); /* the instruction runs again, and ends the process as it would have */
        if (info->si_code <= 0)
            raise(number);
    }
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

void lb_contain_before_fork(void)
{
    pthread_mutex_lock(&lock);
}

/* In parent and child. */
void lb_contain_after_fork(void)
{
    pthread_mutex_unlock(&lock);
}

void lb_contain_signals(void)
{
    struct sigaction ours = {.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER}, now;
    sigemptyset(&ours.sa_mask);
    ours.sa_sigaction = on_fault;
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < CAUGHT; i++)
        if (!sigaction(caught[i], NULL, &now) && !(now.sa_flags & SA_SIGINFO && now.sa_sigaction == on_fault)) {
            before[i] = now;
            sigaction(caught[i], &ours, NULL);
        }
    pthread_mutex_unlock(&lock);
}

void lb_contain_library(void *handle)
{
    struct link_map *map = NULL;
    if (dlinfo(handle, RTLD_DI_LINKMAP, &map) || !map)
        return;
    struct imports in = imports_of(map);
    replace_in(map, &in, in.plt, in.plt_size);
    replace_in(map, &in, in.rest, in.rest_size);
    library_base = map->l_addr;
    dl_iterate_phdr(note, NULL);
}
