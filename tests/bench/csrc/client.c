/* SPDX-License-Identifier: MIT */
/*
 * What a C program pays for the daemon: client calls ROUNDS CALLS, client open ROUNDS, client many CLIENTS CALLS LOOPS.
 * Prints one number a line, in nanoseconds; daemon.py says what they are. Built together with libteec's transport.c,
 * so that the bare echo goes over the same code as the library's calls.
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <tee_client_api.h>
#include <time.h>
#include <unistd.h>

#include "protocol.h"
#include "transport.h"

#define SPIN_US 30 /* of both ends, as the library and the daemon do by default */
#define MIB (1u << 20)

enum { EMPTY = 7, TOUCH = 13, BARE_LOOP = 15 }; /* commands of the sample TA */

static const TEEC_UUID hello = HELLO_UUID;
static TEEC_Context context;
static TEEC_Session session;

static void must(int condition, const char *what)
{
	if (!condition) {
		fprintf(stderr, "%s failed\n", what);
		exit(1);
	}
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int ascending(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void print_median(uint64_t *times, unsigned count)
{
	qsort(times, count, sizeof(*times), ascending);
	printf("%llu\n", (unsigned long long)times[count / 2]);
}

static void open_session(void)
{
	must(!TEEC_OpenSession(&context, &session, &hello, TEEC_LOGIN_PUBLIC, NULL, NULL, NULL), "open session");
}

static void invoke(uint32_t command, TEEC_Operation *op)
{
	must(!TEEC_InvokeCommand(&session, command, op, NULL), "invoke");
}

/* The far end of an echo: a process that answers frames of a request's size by frames of a reply's. */
static int start_echo(unsigned spin_us)
{
	uint8_t frame[sizeof(struct lb_invoke)], reply[sizeof(struct lb_reply)] = { 0 };
	int ends[2];

	must(!socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends), "socketpair");
	if (fork()) {
		close(ends[1]);
		return ends[0];
	}
	close(ends[0]);
	while (lb_receive(ends[1], frame, sizeof(frame), NULL, spin_us) > 0)
		if (lb_send(ends[1], reply, sizeof(reply), -1))
			break;
	_exit(0);
}

static uint64_t echo(int fd, unsigned calls, unsigned spin_us)
{
	uint8_t frame[sizeof(struct lb_invoke)] = { 0 }, reply[sizeof(struct lb_reply)];
	uint64_t start = now_ns();

	for (unsigned i = 0; i < calls; i++)
		must(!lb_send(fd, frame, sizeof(frame), -1) &&
			     lb_receive(fd, reply, sizeof(reply), NULL, spin_us) == sizeof(reply),
		     "echo");
	return (now_ns() - start) / calls;
}

static uint64_t timed(uint32_t command, TEEC_Operation *op, unsigned calls)
{
	uint64_t start = now_ns();

	for (unsigned i = 0; i < calls; i++)
		invoke(command, op);
	return (now_ns() - start) / calls;
}

/* Medians of: echo, blocking; echo, both ends polling; value-only invoke; invoke with a shared MiB. In turns. */
static void calls(unsigned rounds, unsigned count)
{
	TEEC_Operation value = { .paramTypes = TEEC_PARAM_TYPES(TEEC_VALUE_INPUT, TEEC_NONE, TEEC_NONE, TEEC_NONE) };
	TEEC_Operation memory = { .paramTypes = TEEC_PARAM_TYPES(TEEC_MEMREF_WHOLE, TEEC_NONE, TEEC_NONE, TEEC_NONE) };
	TEEC_SharedMemory shared = { .size = MIB, .flags = TEEC_MEM_INPUT | TEEC_MEM_OUTPUT };
	int blocking = start_echo(0), polling = start_echo(SPIN_US);
	uint64_t *times[4];

	for (unsigned i = 0; i < 4; i++)
		must((times[i] = calloc(rounds, sizeof(**times))) != NULL, "calloc");
	must(!TEEC_InitializeContext(NULL, &context), "initialize context");
	must(!TEEC_AllocateSharedMemory(&context, &shared), "allocate");
	memory.params[0].memref.parent = &shared;
	open_session();
	invoke(EMPTY, &value);
	invoke(TOUCH, &memory);
	for (unsigned i = 0; i < rounds; i++) {
		times[0][i] = echo(blocking, count, 0);
		times[1][i] = echo(polling, count, SPIN_US);
		times[2][i] = timed(EMPTY, &value, count);
		times[3][i] = timed(TOUCH, &memory, count);
	}
	for (unsigned i = 0; i < 4; i++)
		print_median(times[i], rounds);
	TEEC_ReleaseSharedMemory(&shared);
	TEEC_CloseSession(&session);
}

/* Median of opening a session when no instance of the TA is alive. */
static void opening(unsigned rounds)
{
	uint64_t *times = calloc(rounds, sizeof(*times));

	must(times != NULL && !TEEC_InitializeContext(NULL, &context), "initialize context");
	for (unsigned i = 0; i <= rounds; i++) {
		uint64_t start = now_ns();

		open_session();
		if (i) /* the first also reads the file */
			times[i - 1] = now_ns() - start;
		TEEC_CloseSession(&session);
	}
	print_median(times, rounds);
}

/* Uses the processor for that long. */
static void burn(uint64_t ns)
{
	struct timespec used;

	do
		clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
	while ((uint64_t)used.tv_sec * 1000000000u + (uint64_t)used.tv_nsec < ns);
}

/* Nanoseconds from the moment all clients may start until the last is done. loops 0: they use no TA, but `alone_ns`. */
static uint64_t together(unsigned clients, unsigned count, uint32_t loops, uint64_t alone_ns)
{
	TEEC_Operation op = { .paramTypes = TEEC_PARAM_TYPES(TEEC_VALUE_INPUT, TEEC_NONE, TEEC_NONE, TEEC_NONE) };
	int ready[2], go[2], status = 0;
	uint64_t start = 0;
	char byte = 0;

	must(!pipe(ready) && !pipe(go), "pipe");
	for (unsigned i = 0; i < clients; i++) {
		if (fork())
			continue;
		close(go[1]);
		if (loops) {
			must(!TEEC_InitializeContext(NULL, &context), "initialize context");
			open_session();
			op.params[0].value.a = loops;
			invoke(BARE_LOOP, &op);
		}
		must(write(ready[1], &byte, 1) == 1 && read(go[0], &byte, 1) == 0, "start");
		for (unsigned n = 0; loops && n < count; n++)
			invoke(BARE_LOOP, &op);
		if (!loops)
			burn(alone_ns);
		_exit(0);
	}
	for (unsigned i = 0; i < clients; i++)
		must(read(ready[0], &byte, 1) == 1, "a client");
	start = now_ns();
	close(go[1]);
	for (unsigned i = 0; i < clients; i++)
		must(wait(&status) > 0 && status == 0, "a client");
	close(go[0]);
	close(ready[0]);
	close(ready[1]);
	return now_ns() - start;
}

/*
 * Five times in turns: one client alone, all at once, for the same work each; then the same number of programs that
 * compute as long by themselves, one and all: what the machine has to give at that moment.
 */
static void many(unsigned clients, unsigned count, uint32_t loops)
{
	for (unsigned i = 0; i < 5; i++) {
		uint64_t alone = together(1, count, loops, 0);

		printf("%llu\n%llu\n", (unsigned long long)alone,
		       (unsigned long long)together(clients, count, loops, 0));
		printf("%llu\n", (unsigned long long)together(1, 0, 0, alone));
		printf("%llu\n", (unsigned long long)together(clients, 0, 0, alone));
	}
}

int main(int argc, char **argv)
{
	must(argc >= 3, "usage");
	if (!strcmp(argv[1], "calls") && argc == 4)
		calls((unsigned)atoi(argv[2]), (unsigned)atoi(argv[3]));
	else if (!strcmp(argv[1], "open") && argc == 3)
		opening((unsigned)atoi(argv[2]));
	else if (!strcmp(argv[1], "many") && argc == 5)
		many((unsigned)atoi(argv[2]), (unsigned)atoi(argv[3]), (uint32_t)atoi(argv[4]));
	else
		must(0, "usage");
	return 0;
}
