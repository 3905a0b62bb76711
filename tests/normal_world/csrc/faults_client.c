/*
 * Clients for test_faults.py, on the sample TA (aarch64). `victim SEED` makes calls of all kinds until it is killed.
 * `survivor SEED` does so until its standard input ends, and outlives its daemons: it prints "back" when one answers,
 * and "lost FDS MAPS" when one has gone, with what it then still holds. Anything unexpected ends both with code 1.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tee_client_api.h>
#include <unistd.h>

enum { INCREMENT = 0, HASH = 1, PANIC = 2, SPIN = 6, TOUCH = 13 };

#define WORKERS 2
#define MEMORY_MAX 100000 /* bytes */
#define DIGEST 32

static const TEEC_UUID hello = { 0x7371bc6b, 0x0888, 0x4252, { 0x9d, 0x3b, 0x42, 0xdd, 0xcb, 0xca, 0x70, 0xfd } };
static TEEC_Context context;
static bool survives; /* a daemon that has gone is no failure */
static volatile bool done;

static void fail(const char *what, TEEC_Result result, uint32_t origin)
{
	fprintf(stderr, "%s: %#x, origin %u\n", what, result, origin);
	_exit(1);
}

/* True: go on. False: the daemon has gone, and it was said so as it should be. */
static bool good(const char *what, TEEC_Result result, const uint32_t *origin)
{
	if (result == TEEC_SUCCESS)
		return true;
	if (!survives || result != TEEC_ERROR_COMMUNICATION || *origin != TEEC_ORIGIN_COMMS)
		fail(what, result, *origin);
	return false;
}

static uint32_t next_random(uint32_t *state)
{
	*state = *state * 1664525u + 1013904223u; /* Numerical Recipes */
	return *state >> 8;
}

static bool increment(TEEC_Session *session, uint32_t number)
{
	TEEC_Operation op = { .paramTypes = TEEC_VALUE_INOUT, .params[0].value.a = number };
	uint32_t origin = 0;

	if (!good("increment", TEEC_InvokeCommand(session, INCREMENT, &op, &origin), &origin))
		return false;
	if (op.params[0].value.a != number + 1)
		fail("incremented", op.params[0].value.a, 0);
	return true;
}

static bool hash(TEEC_Session *session, size_t size)
{
	uint8_t *data = calloc(1, size);
	uint8_t digest[DIGEST];
	TEEC_Operation op = { .paramTypes = TEEC_PARAM_TYPES(TEEC_MEMREF_TEMP_INPUT, TEEC_MEMREF_TEMP_OUTPUT, 0, 0),
			      .params = { { .tmpref = { data, size } }, { .tmpref = { digest, sizeof(digest) } } } };
	uint32_t origin = 0;
	bool alive = good("hash", TEEC_InvokeCommand(session, HASH, &op, &origin), &origin);

	free(data);
	return alive;
}

static bool touch(TEEC_Session *session, size_t size, bool registered)
{
	uint8_t *own = calloc(1, size);
	TEEC_SharedMemory memory = { .buffer = own, .size = size, .flags = TEEC_MEM_INPUT | TEEC_MEM_OUTPUT };
	TEEC_Operation op = { .paramTypes = TEEC_MEMREF_WHOLE, .params[0].memref.parent = &memory };
	uint32_t origin = TEEC_ORIGIN_COMMS; /* memory's functions tell none */
	bool alive = good("memory", registered ? TEEC_RegisterSharedMemory(&context, &memory) :
						 TEEC_AllocateSharedMemory(&context, &memory), &origin);

	if (alive) {
		uint8_t *seen = memory.buffer;

		*seen = 7;
		alive = good("touch", TEEC_InvokeCommand(session, TOUCH, &op, &origin), &origin);
		if (alive && *seen != 8)
			fail("touched", *seen, 0);
		TEEC_ReleaseSharedMemory(&memory);
	}
	free(own);
	return alive;
}

static bool open_session(TEEC_Session *session)
{
	uint32_t origin = 0;

	return good("open", TEEC_OpenSession(&context, session, &hello, TEEC_LOGIN_PUBLIC, NULL, NULL, &origin), &origin);
}

/* The TA dies, and with it the session; another takes its place. */
static bool panic(TEEC_Session *session)
{
	TEEC_Operation op = { .paramTypes = TEEC_VALUE_INPUT };
	uint32_t origin = 0;
	TEEC_Result result = TEEC_InvokeCommand(session, PANIC, &op, &origin);

	if (result != TEEC_ERROR_TARGET_DEAD && !good("panic", result ? result : TEEC_ERROR_GENERIC, &origin))
		return false;
	TEEC_CloseSession(session);
	return open_session(session);
}

static bool one_call(TEEC_Session *session, uint32_t *state)
{
	uint32_t chance = next_random(state) % 100;
	uint32_t number = next_random(state);
	size_t size = 1 + number % MEMORY_MAX;

	if (chance < 50)
		return increment(session, number);
	if (chance < 65)
		return hash(session, size);
	if (chance < 90)
		return touch(session, size, number & 1);
	if (chance < 97) {
		TEEC_CloseSession(session);
		return open_session(session);
	}
	return panic(session);
}

static void *work(void *seed)
{
	uint32_t state = *(uint32_t *)seed;
	TEEC_Session session;

	if (!open_session(&session))
		return NULL;
	while (!done && one_call(&session, &state))
		;
	TEEC_CloseSession(&session);
	return NULL;
}

/* Is in a call that does not end by itself. */
static void *spin(void *unused)
{
	TEEC_Session session;
	uint32_t origin = 0;

	if (open_session(&session))
		good("spin", TEEC_InvokeCommand(&session, SPIN, NULL, &origin), &origin);
	return unused;
}

static void start(pthread_t *thread, void *(*run)(void *), void *argument)
{
	if (pthread_create(thread, NULL, run, argument))
		fail("pthread_create", TEEC_ERROR_OUT_OF_MEMORY, 0);
}

static unsigned open_files(void)
{
	DIR *folder = opendir("/proc/self/fd");
	unsigned count = 0;

	while (folder && readdir(folder))
		count++;
	closedir(folder);
	return count;
}

static unsigned mapped_objects(void)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	char line[512];
	unsigned count = 0;

	while (maps && fgets(line, sizeof(line), maps))
		count += strstr(line, "memfd:") != NULL;
	fclose(maps);
	return count;
}

static bool input_ended(int wait_ms)
{
	struct pollfd input = { .fd = STDIN_FILENO, .events = POLLIN };

	return poll(&input, 1, wait_ms) != 0;
}

/* Every further call on a context whose daemon has gone says so, too. */
static void check_lost(void)
{
	TEEC_SharedMemory memory = { .size = 1, .flags = TEEC_MEM_INPUT };
	TEEC_Session session;
	uint32_t origin = 0;
	TEEC_Result result = TEEC_OpenSession(&context, &session, &hello, TEEC_LOGIN_PUBLIC, NULL, NULL, &origin);

	if (result != TEEC_ERROR_COMMUNICATION || origin != TEEC_ORIGIN_COMMS)
		fail("open when lost", result, origin);
	result = TEEC_AllocateSharedMemory(&context, &memory);
	if (result != TEEC_ERROR_COMMUNICATION)
		fail("allocate when lost", result, 0);
}

/* One life of a daemon; false: asked to end. */
static bool one_life(uint32_t *seeds)
{
	pthread_t workers[WORKERS], spinner;
	TEEC_Session session;
	TEEC_Result result = TEEC_SUCCESS;
	bool ended = false;

	while ((result = TEEC_InitializeContext(NULL, &context)) != TEEC_SUCCESS) {
		if (result != TEEC_ERROR_ITEM_NOT_FOUND)
			fail("initialize", result, 0);
		if (input_ended(1))
			return false;
	}
	if (open_session(&session)) {
		start(&spinner, spin, NULL);
		for (int n = 0; n < WORKERS; n++)
			start(&workers[n], work, &seeds[n]);
		if (increment(&session, 1)) {
			puts("back");
			/* The spinner's call ends with the daemon alone, so this is for the end of input. */
			while (!ended && increment(&session, 2))
				ended = input_ended(0);
		}
		if (ended)
			return false;
		pthread_join(spinner, NULL);
		for (int n = 0; n < WORKERS; n++)
			pthread_join(workers[n], NULL);
	}
	check_lost();
	TEEC_FinalizeContext(&context);
	printf("lost %u %u\n", open_files(), mapped_objects());
	return true;
}

int main(int argc, char **argv)
{
	uint32_t seeds[WORKERS];
	pthread_t thread;

	if (argc != 3)
		return 2;
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (int n = 0; n < WORKERS; n++)
		seeds[n] = (uint32_t)strtoul(argv[2], NULL, 10) + (uint32_t)n;
	if (!strcmp(argv[1], "survivor")) {
		survives = true;
		while (one_life(seeds))
			;
		return 0;
	}
	if (TEEC_InitializeContext(NULL, &context) != TEEC_SUCCESS)
		return 1;
	start(&thread, next_random(&seeds[1]) % 3 ? work : spin, &seeds[1]);
	work(&seeds[0]);
	return 1;
}
