/* SPDX-License-Identifier: MIT */
#include "uc_api.h"

#include "cpu.h"

#include <dlfcn.h>
#include <stdio.h>

struct lb_uc_api lb_uc;
static char load_error[256];
static void *library;

const char *lb_load_error(void)
{
    return load_error;
}

static int resolve(void *into, const char *name)
{
    void *address = dlsym(library, name);
    if (!address) {
        snprintf(load_error, sizeof load_error, "the Unicorn library has no function %s", name);
        return -1;
    }
    *(void **)into = address;
    return 0;
}

#undef uc_ctl
#define RESOLVE(field) resolve(&lb_uc.field, "uc_" #field)

static int load(const char *path)
{
    if (library)
        return 0;
    library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        snprintf(load_error, sizeof load_error, "%s", dlerror());
        return -1;
    }
    if (RESOLVE(version) || RESOLVE(open) || RESOLVE(close) || RESOLVE(ctl) || RESOLVE(strerror) ||
        RESOLVE(reg_read) || RESOLVE(reg_write) || RESOLVE(reg_read_batch) || RESOLVE(reg_write_batch) ||
        RESOLVE(emu_start) || RESOLVE(emu_stop) || RESOLVE(hook_add) || RESOLVE(hook_del) ||
        RESOLVE(mem_map_ptr) || RESOLVE(mem_unmap) || RESOLVE(context_alloc) || RESOLVE(context_save) ||
        RESOLVE(context_restore) || RESOLVE(context_free)) {
        dlclose(library);
        library = NULL;
        return -1;
    }
    unsigned int major = 0, minor = 0;
    lb_uc.version(&major, &minor);
    if (major != UC_API_MAJOR) {
        snprintf(load_error, sizeof load_error, "Unicorn %u.%u found, %u.x needed", major, minor, UC_API_MAJOR);
        dlclose(library);
        library = NULL;
        return -1;
    }
    lb_contain_library(library);
    return 0;
}

static pthread_mutex_t load_lock = PTHREAD_MUTEX_INITIALIZER;

/* In parent, and in parent and child. */
void lb_load_before_fork(void)
{
    pthread_mutex_lock(&load_lock);
}

void lb_load_after_fork(void)
{
    pthread_mutex_unlock(&load_lock);
}

int lb_load_unicorn(const char *path)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, lb_watch_forks);
    pthread_mutex_lock(&load_lock);
    int failed = load(path);
    pthread_mutex_unlock(&load_lock);
    return failed;
}
