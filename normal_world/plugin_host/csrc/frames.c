#include "frames.h"

#include <errno.h>
#include <sys/socket.h>

int lb_send(int fd, const struct lb_frame *frame)
{
	ssize_t done;

	do {
		done = send(fd, frame, sizeof(*frame), MSG_NOSIGNAL);
	} while (done < 0 && errno == EINTR);
	return done == (ssize_t)sizeof(*frame);
}

int lb_receive(int fd, struct lb_frame *frame)
{
	ssize_t done;

	do {
		/* MSG_TRUNC: the packet's own length, also when it is longer than a frame. */
		done = recv(fd, frame, sizeof(*frame), MSG_TRUNC);
	} while (done < 0 && errno == EINTR);
	if (done == 0 || (done < 0 && errno == ECONNRESET))
		return 0;
	if (done != (ssize_t)sizeof(*frame) || frame->version != LB_VERSION)
		return -1;
	frame->text[LB_TEXT - 1] = '\0';
	return 1;
}
