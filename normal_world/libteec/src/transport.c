#define _GNU_SOURCE
#include "transport.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* More than one descriptor in a frame is an error of the peer; room for these, to close them. */
#define LB_DESCRIPTORS_MAX 8

/* Looks at the socket between two looks at the clock. */
#define LB_LOOKS 4

/* Receipts without polling between two tries, at most. */
#define LB_PAUSE_MAX 64u

union control {
	struct cmsghdr align;
	char bytes[CMSG_SPACE(LB_DESCRIPTORS_MAX * sizeof(int))];
};

int lb_connect(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	size_t length = strlen(path);
	int fd = -1;

	if (length == 0 || length >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	memcpy(address.sun_path, path, length);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	/* An interrupted connect on AF_UNIX has done nothing yet: it may simply be called again. */
	while (connect(fd, (const struct sockaddr *)&address, sizeof(address))) {
		int error = errno;

		if (error == EINTR)
			continue;
		close(fd);
		return -error;
	}
	return fd;
}

int lb_send(int fd, const void *frame, size_t size, int pass_fd)
{
	struct iovec part = { .iov_base = (void *)(uintptr_t)frame, .iov_len = size };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
	union control control;
	ssize_t sent = 0;

	if (pass_fd >= 0) {
		struct cmsghdr *header = NULL;

		memset(&control, 0, sizeof(control));
		message.msg_control = control.bytes;
		message.msg_controllen = CMSG_SPACE(sizeof(int));
		header = CMSG_FIRSTHDR(&message);
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(header), &pass_fd, sizeof(int));
	}
	do
		sent = sendmsg(fd, &message, MSG_NOSIGNAL);
	while (sent < 0 && errno == EINTR);
	if (sent < 0)
		return -errno;
	return (size_t)sent == size ? 0 : -EIO;
}

/* The first descriptor goes to *passed_fd if somebody wants it; all others are closed. */
static void take_descriptors(struct msghdr *message, int *passed_fd)
{
	for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header; header = CMSG_NXTHDR(message, header)) {
		size_t count = 0;

		if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS ||
		    header->cmsg_len < CMSG_LEN(0))
			continue;
		count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t n = 0; n < count; n++) {
			int fd = -1;

			memcpy(&fd, CMSG_DATA(header) + n * sizeof(int), sizeof(int));
			if (passed_fd && *passed_fd < 0)
				*passed_fd = fd;
			else
				close(fd);
		}
	}
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static ssize_t receive_once(int fd, struct msghdr *message, union control *control, int flags)
{
	/* The kernel writes both back. */
	message->msg_control = control->bytes;
	message->msg_controllen = sizeof(control->bytes);
	message->msg_flags = 0;
	return recvmsg(fd, message, flags | MSG_CMSG_CLOEXEC);
}

/* Polls; size of the frame, or -1 with errno EAGAIN when there is none in time. */
static ssize_t receive_spinning(int fd, struct msghdr *message, union control *control, unsigned spin_us)
{
	uint64_t until = now_ns() + (uint64_t)spin_us * 1000u;

	do {
		for (int look = 0; look < LB_LOOKS; look++) {
			ssize_t size = receive_once(fd, message, control, MSG_DONTWAIT);

			if (size >= 0 || (errno != EAGAIN && errno != EINTR))
				return size;
		}
	} while (now_ns() < until);
	errno = EAGAIN;
	return -1;
}

/*
 * Polling pays while the other end has a processor of its own. On a busy machine both may share one, and then who
 * polls keeps the other from answering. So a thread that polled in vain does not for its next 1 receipts, then 2, 4,
 * ..., until it once polls and finds a frame.
 */
static _Thread_local unsigned pause_left, pause_next = 1;

static bool worth_polling(void)
{
	if (!pause_left)
		return true;
	pause_left--;
	return false;
}

static void note_polling(bool found)
{
	pause_left = found ? 0 : pause_next;
	pause_next = found ? 1 : pause_next < LB_PAUSE_MAX ? 2 * pause_next : LB_PAUSE_MAX;
}

ssize_t lb_receive(int fd, void *frame, size_t room, int *passed_fd, unsigned spin_us)
{
	struct iovec part = { .iov_base = frame, .iov_len = room };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
	union control control;
	ssize_t size = -1;

	if (passed_fd)
		*passed_fd = -1;
	errno = EAGAIN;
	if (spin_us && worth_polling()) {
		size = receive_spinning(fd, &message, &control, spin_us);
		note_polling(size >= 0 || errno != EAGAIN);
	}
	while (size < 0 && (errno == EAGAIN || errno == EINTR)) {
		size = receive_once(fd, &message, &control, 0);
		/* A socket that somebody set to O_NONBLOCK, or that has a time limit, does not block: say so. */
		if (size < 0 && errno == EAGAIN)
			return -EAGAIN;
	}
	if (size < 0)
		return -errno;
	take_descriptors(&message, passed_fd);
	if (message.msg_flags & MSG_TRUNC) {
		if (passed_fd && *passed_fd >= 0) {
			close(*passed_fd);
			*passed_fd = -1;
		}
		return -EMSGSIZE;
	}
	return size;
}
