/*
 * Frames over a Unix socket of sequenced packets: the same for the client library and the daemon.
 * What a frame means is in protocol.h.
 */
#ifndef LITEBOX_TRANSPORT_H
#define LITEBOX_TRANSPORT_H

#include <stddef.h>
#include <sys/types.h>

/*
 * Connects to the daemon that listens at `path`. Returns a descriptor (close-on-exec), or -errno:
 * -ENAMETOOLONG for a path that no socket can have.
 */
int lb_connect(const char *path);

/*
 * Sends one frame of `size` bytes, with descriptor `pass_fd` unless that is -1. Never raises
 * SIGPIPE. Returns 0 or -errno.
 */
int lb_send(int fd, const void *frame, size_t size, int pass_fd);

/*
 * Receives one frame of at most `room` bytes: polls for up to `spin_us` microseconds, then blocks.
 * Where polling was in vain lately it blocks at once.
 * Returns its size, 0 at hang-up, or -errno; -EMSGSIZE for a frame longer than `room`.
 * *passed_fd becomes a descriptor that came along (close-on-exec, now the caller's) or -1; any
 * further ones are closed. With `passed_fd` NULL all are closed.
 */
ssize_t lb_receive(int fd, void *frame, size_t room, int *passed_fd, unsigned spin_us);

#endif
