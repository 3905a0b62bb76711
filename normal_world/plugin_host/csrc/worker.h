#ifndef LB_PLUGIN_WORKER_H
#define LB_PLUGIN_WORKER_H

#include <sys/types.h>

/* The life of the process that has the plugin loaded: serves calls from `fd`, never returns. */
void lb_worker(const char *plugin, int fd, int memory, pid_t keeper) __attribute__((noreturn));

#endif
