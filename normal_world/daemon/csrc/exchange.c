#include "exchange.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "transport.h"

#ifndef SO_PEERGROUPS
#define SO_PEERGROUPS 59 /* asm-generic/socket.h, Linux 4.13 */
#endif

static atomic_int processors = 1;
static atomic_int working;  /* connection threads between a request and its reply */
static atomic_int spinning; /* threads that poll for a request */

static _Thread_local int at_work;

static void set_work(int now)
{
	if (now != at_work) {
		atomic_fetch_add_explicit(&working, now ? 1 : -1, memory_order_relaxed);
		at_work = now;
	}
}

ssize_t lb_exchange(int fd, void *frame, size_t size, int pass_fd, size_t room, int *passed_fd, unsigned spin_us)
{
	ssize_t got;
	int sent = 0;

	if (size)
		sent = lb_send(fd, frame, size, pass_fd);
	set_work(0);
	if (sent)
		return sent;
	if (spin_us && atomic_fetch_add(&spinning, 1) + atomic_load(&working) >= atomic_load(&processors)) {
		/* A spinner would take the processor from somebody's call. */
		atomic_fetch_sub(&spinning, 1);
		spin_us = 0;
	}
	got = lb_receive(fd, frame, room, passed_fd, spin_us);
	if (spin_us)
		atomic_fetch_sub(&spinning, 1);
	if (got > 0)
		set_work(1);
	return got;
}

void lb_exchange_leave(void)
{
	set_work(0);
}

void lb_exchange_processors(int count)
{
	atomic_store(&processors, count > 1 ? count : 0);
}

int lb_peer_groups(int fd, uint32_t *groups, int room)
{
	socklen_t length = (socklen_t)((size_t)room * sizeof(*groups));

	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &length))
		return -errno;
	return (int)(length / sizeof(*groups));
}

void *lb_map(int fd, size_t size)
{
	void *address = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	return address == MAP_FAILED ? NULL : address;
}

void lb_unmap(void *address, size_t size)
{
	munmap(address, size);
}
