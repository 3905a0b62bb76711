/* The transport between threads: connections of echoing servers, frames of any size, descriptors, hang-ups. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "exchange.h"
#include "transport.h"

enum { PAIRS = 6, FRAMES = 300, ROOM = 512 };

#define CHECK(condition) \
	do { \
		if (!(condition)) { \
			fprintf(stderr, "%d: %s\n", __LINE__, #condition); \
			exit(1); \
		} \
	} while (0)

static int pairs[PAIRS][2];

/* Sends back every frame, and what a descriptor that came with it holds as its last byte. */
static void *serve(void *number)
{
	int fd = pairs[(size_t)number][0];
	unsigned char frame[ROOM];
	size_t size = 0;
	ssize_t got = 0;
	int passed = -1, reply = -1;

	while ((got = lb_exchange(fd, frame, size, reply, sizeof(frame), &passed, 50)) > 0) {
		size = (size_t)got;
		if (reply >= 0)
			close(reply);
		reply = passed;
		if (passed >= 0) {
			uint8_t *memory = lb_map(passed, 4096);

			CHECK(memory);
			frame[size - 1] = memory[0];
			lb_unmap(memory, 4096);
		}
	}
	CHECK(got == 0);
	if (reply >= 0)
		close(reply);
	lb_exchange_leave();
	return NULL;
}

static void *ask(void *number)
{
	int fd = pairs[(size_t)number][1];
	unsigned char frame[ROOM], answer[ROOM];
	unsigned seed = (unsigned)(size_t)number;

	for (int n = 0; n < FRAMES; n++) {
		size_t size = 1 + (size_t)rand_r(&seed) % ROOM;
		int file = n % 8 ? -1 : memfd_create("frame", MFD_CLOEXEC), back = -1;

		memset(frame, n, size);
		CHECK(file < 0 || (!ftruncate(file, 4096) && pwrite(file, "!", 1, 0) == 1));
		CHECK(!lb_send(fd, frame, size, file));
		CHECK(lb_receive(fd, answer, sizeof(answer), n % 16 ? &back : NULL, n % 3 ? 20 : 0) == (ssize_t)size);
		CHECK(!memcmp(frame, answer, size - 1) && answer[size - 1] == (file < 0 ? frame[size - 1] : '!'));
		CHECK((file >= 0 && n % 16) == (back >= 0));
		if (file >= 0)
			close(file);
		if (back >= 0)
			close(back);
	}
	CHECK(!lb_send(fd, frame, 1, -1) && lb_receive(fd, answer, 1, NULL, 0) == 1);
	shutdown(fd, SHUT_RDWR);
	return NULL;
}

int main(void)
{
	pthread_t servers[PAIRS], clients[PAIRS];

	lb_exchange_processors(2);
	for (size_t n = 0; n < PAIRS; n++) {
		CHECK(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pairs[n]));
		CHECK(!pthread_create(&servers[n], NULL, serve, (void *)n));
		CHECK(!pthread_create(&clients[n], NULL, ask, (void *)n));
	}
	for (size_t n = 0; n < PAIRS; n++) {
		pthread_join(clients[n], NULL);
		pthread_join(servers[n], NULL);
		close(pairs[n][0]);
		close(pairs[n][1]);
	}
	CHECK(open("/dev/null", O_RDONLY | O_CLOEXEC) == 3); /* nothing is left open */
	puts("done");
	return 0;
}
