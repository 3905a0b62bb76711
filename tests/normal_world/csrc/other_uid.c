/* Linked with --wrap=getsockopt: peers have the uid that FAKE_UID names, as far as a program that asks can see. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/socket.h>

int __real_getsockopt(int fd, int level, int name, void *value, socklen_t *size);
int __wrap_getsockopt(int fd, int level, int name, void *value, socklen_t *size);

int __wrap_getsockopt(int fd, int level, int name, void *value, socklen_t *size)
{
	const char *uid = getenv("FAKE_UID");
	int result = __real_getsockopt(fd, level, name, value, size);

	if (!result && level == SOL_SOCKET && name == SO_PEERCRED && uid)
		((struct ucred *)value)->uid = (uid_t)strtoul(uid, NULL, 10);
	return result;
}
