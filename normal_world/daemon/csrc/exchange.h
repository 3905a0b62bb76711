/*
 * What the daemon does with a connection besides plain sending and receiving.
 */
#ifndef LITEBOX_EXCHANGE_H
#define LITEBOX_EXCHANGE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* cffi: begin */
/*
 * Send `size` bytes of `frame` (0: nothing to send yet), then receive the next request into the same
 * `frame`. Spins up to `spin_us` before it blocks, if a processor is free for that.
 * Returns the request's size, 0 at hang-up, or -errno. passed_fd: as lb_receive has it, or NULL.
 */
ssize_t lb_exchange(int fd, void *frame, size_t size, int pass_fd, size_t room, int *passed_fd, unsigned spin_us);

/* The connection's thread is in no exchange any more and will never be again. */
void lb_exchange_leave(void);

/* Processors that waiting threads may spin on while fewer threads than that have work. */
void lb_exchange_processors(int count);

/* Supplementary groups of the peer when it connected: their number, or -errno (-ERANGE: more than `room`). */
int lb_peer_groups(int fd, uint32_t *groups, int room);

/* Maps `size` bytes of the file, shared, to read and write; NULL with errno. The descriptor may be closed then. */
void *lb_map(int fd, size_t size);
void lb_unmap(void *address, size_t size);
/* cffi: end */

#endif
