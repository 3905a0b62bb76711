/* SPDX-License-Identifier: MIT */
/*
 * Unicorn's functions, resolved at run time.
 *
 * The library is GPLv2 and comes with the installed `unicorn` wheel; nothing of it is linked in or
 * shipped. Only its C header (types and the uc_ctl_* macros) is used when this extension is built.
 */
#ifndef LB_UC_API_H
#define LB_UC_API_H

#include <unicorn/unicorn.h>

struct lb_uc_api {
    __typeof__(&uc_version) version;
    __typeof__(&uc_open) open;
    __typeof__(&uc_close) close;
    __typeof__(&uc_ctl) ctl;
    __typeof__(&uc_strerror) strerror;
    __typeof__(&uc_reg_read) reg_read;
    __typeof__(&uc_reg_write) reg_write;
    __typeof__(&uc_reg_read_batch) reg_read_batch;
    __typeof__(&uc_reg_write_batch) reg_write_batch;
    __typeof__(&uc_emu_start) emu_start;
    __typeof__(&uc_emu_stop) emu_stop;
    __typeof__(&uc_hook_add) hook_add;
    __typeof__(&uc_hook_del) hook_del;
    __typeof__(&uc_mem_map_ptr) mem_map_ptr;
    __typeof__(&uc_mem_unmap) mem_unmap;
    __typeof__(&uc_context_alloc) context_alloc;
    __typeof__(&uc_context_save) context_save;
    __typeof__(&uc_context_restore) context_restore;
    __typeof__(&uc_context_free) context_free;
};

extern struct lb_uc_api lb_uc;

/* The uc_ctl_* macros of the header call uc_ctl(). */
#define uc_ctl lb_uc.ctl

/* cffi: begin */
/* Load the library once; 0, or -1 with a reason in lb_load_error(). */
int lb_load_unicorn(const char *path);
const char *lb_load_error(void);
/* cffi: end */

void lb_load_before_fork(void);
void lb_load_after_fork(void);

#endif
