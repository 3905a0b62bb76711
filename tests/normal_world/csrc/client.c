/* Scenarios of test_libteec.py, against the fake daemon there (its commands are below). Exit code 0: all as expected. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <tee_client_api_extensions.h>
#include <unistd.h>

enum { FLIP = 0, WAIT = 1, HANG_UP = 2, LIE = 3, SHORT_FRAME = 4, SEEN = 5, CLOSES = 6 };

#define CHECK(condition) \
	do { \
		if (!(condition)) { \
			fprintf(stderr, "%s:%d: %s\n", __func__, __LINE__, #condition); \
			exit(1); \
		} \
	} while (0)

static const TEEC_UUID uuid = { 0x01020304, 0x0506, 0x0708, { 9, 10, 11, 12, 13, 14, 15, 16 } };
static TEEC_Context context;
static TEEC_Session session;

static void open_all(void)
{
	uint32_t origin = 0;

	CHECK(TEEC_InitializeContext(NULL, &context) == TEEC_SUCCESS);
	CHECK(TEEC_OpenSession(&context, &session, &uuid, TEEC_LOGIN_PUBLIC, NULL, NULL, &origin) == TEEC_SUCCESS);
}

static void close_all(void)
{
	TEEC_CloseSession(&session);
	TEEC_FinalizeContext(&context);
}

static void basic(void)
{
	TEEC_Operation op = { .paramTypes = TEEC_PARAM_TYPES(TEEC_VALUE_INOUT, TEEC_VALUE_OUTPUT, TEEC_NONE, TEEC_NONE) };
	uint32_t group = 77;
	uint32_t origin = 0;
	TEEC_Context copy;

	CHECK(TEEC_InitializeContext("optee-tx", &context) == TEEC_ERROR_ITEM_NOT_FOUND);
	CHECK(TEEC_InitializeContext("optee-tz", &context) == TEEC_SUCCESS);
	CHECK(context.imp.memref_null);
	CHECK(TEEC_OpenSession(&context, &session, &uuid, TEEC_LOGIN_GROUP, NULL, NULL, &origin) ==
	      TEEC_ERROR_BAD_PARAMETERS && origin == TEEC_ORIGIN_API);
	CHECK(TEEC_OpenSession(&context, &session, &uuid, TEEC_LOGIN_GROUP, &group, NULL, &origin) == TEEC_SUCCESS);
	copy = context;
	session.imp.ctx = &copy;
	memset(&context, 0, sizeof(context));
	op.params[0].value.a = 41;
	op.params[0].value.b = 1;
	CHECK(TEEC_InvokeCommand(&session, FLIP, &op, &origin) == TEEC_SUCCESS && origin == TEEC_ORIGIN_TRUSTED_APP);
	CHECK(op.params[0].value.a == 42 && op.params[0].value.b == 2 && op.params[1].value.a == 1 && op.started);
	op.paramTypes = 8;
	CHECK(TEEC_InvokeCommand(&session, FLIP, &op, &origin) == TEEC_ERROR_BAD_PARAMETERS && origin == TEEC_ORIGIN_API);
	TEEC_CloseSession(&session);
	TEEC_CloseSession(NULL);
	TEEC_FinalizeContext(&copy);
	TEEC_FinalizeContext(&copy);
	TEEC_FinalizeContext(NULL);
	CHECK(TEEC_InvokeCommand(&session, FLIP, NULL, &origin) == TEEC_ERROR_BAD_PARAMETERS);
}

static void temporary(void)
{
	uint8_t in[3] = { 1, 2, 3 }, out[6] = { 9, 9, 9, 9, 9, 9 }, empty[1] = { 5 };
	TEEC_Operation op = { .paramTypes = TEEC_PARAM_TYPES(TEEC_MEMREF_TEMP_INPUT, TEEC_MEMREF_TEMP_INOUT,
							     TEEC_MEMREF_TEMP_OUTPUT, TEEC_MEMREF_TEMP_INPUT) };

	for (int n = 0; n < 20; n++) {
		op.params[0].tmpref = (TEEC_TempMemoryReference){ in, sizeof(in) };
		op.params[1].tmpref = (TEEC_TempMemoryReference){ out, sizeof(out) };
		op.params[2].tmpref = (TEEC_TempMemoryReference){ empty, 0 };
		op.params[3].tmpref = (TEEC_TempMemoryReference){ NULL, 0 };
		memset(out, 9, sizeof(out));
		CHECK(TEEC_InvokeCommand(&session, FLIP, &op, NULL) == TEEC_SUCCESS);
		/* The fake flips all bits of what it was offered, inputs too, and says half of it is the answer. */
		CHECK(in[0] == 1 && out[0] == (uint8_t)~9 && out[2] == (uint8_t)~9 && out[3] == 9);
		CHECK(op.params[1].tmpref.size == 3 && op.params[2].tmpref.size == 0 && empty[0] == 5);
	}
	op.params[3].tmpref.size = 1;
	CHECK(TEEC_InvokeCommand(&session, FLIP, &op, NULL) == TEEC_ERROR_BAD_PARAMETERS);
	/* A reply that claims more than was offered. */
	op.paramTypes = TEEC_MEMREF_TEMP_OUTPUT;
	op.params[0].tmpref = (TEEC_TempMemoryReference){ out, 2 };
	memset(out, 9, sizeof(out));
	CHECK(TEEC_InvokeCommand(&session, LIE, &op, NULL) == TEEC_ERROR_SHORT_BUFFER);
	CHECK(op.params[0].tmpref.size == 0x7fffffff && out[2] == 9);
}

static void registered(void)
{
	uint8_t *constant = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint8_t own[16];
	TEEC_SharedMemory input = { .buffer = constant, .size = 4096, .flags = TEEC_MEM_INPUT };
	TEEC_SharedMemory both = { .buffer = own, .size = sizeof(own), .flags = TEEC_MEM_INPUT | TEEC_MEM_OUTPUT };
	TEEC_SharedMemory bad = { .size = 0, .flags = TEEC_MEM_INPUT };
	TEEC_Operation op = { .paramTypes = TEEC_PARAM_TYPES(TEEC_MEMREF_WHOLE, TEEC_MEMREF_PARTIAL_INOUT, 0, 0) };

	CHECK(TEEC_RegisterSharedMemory(&context, &bad) == TEEC_ERROR_BAD_PARAMETERS);
	CHECK(TEEC_RegisterSharedMemory(&context, &input) == TEEC_SUCCESS);
	CHECK(TEEC_RegisterSharedMemory(&context, &both) == TEEC_SUCCESS);
	memset(own, 7, sizeof(own));
	op.params[0].memref.parent = &input;
	op.params[1].memref = (TEEC_RegisteredMemoryReference){ &both, 4, 8 };
	CHECK(TEEC_InvokeCommand(&session, FLIP, &op, NULL) == TEEC_SUCCESS);
	CHECK(own[7] == 7 && own[8] == (uint8_t)~7 && own[9] == (uint8_t)~7 && own[10] == 7);
	CHECK(op.params[1].memref.size == 2);
	op.params[1].memref = (TEEC_RegisteredMemoryReference){ &both, SIZE_MAX, 8 };
	CHECK(TEEC_InvokeCommand(&session, FLIP, &op, NULL) == TEEC_ERROR_BAD_PARAMETERS);
	op.params[1].memref = (TEEC_RegisteredMemoryReference){ &input, 4, 8 };
	CHECK(TEEC_InvokeCommand(&session, FLIP, &op, NULL) == TEEC_ERROR_BAD_PARAMETERS);
	TEEC_ReleaseSharedMemory(&both);
	TEEC_ReleaseSharedMemory(&both);
	op.params[1].memref = (TEEC_RegisteredMemoryReference){ &both, 4, 8 };
	CHECK(TEEC_InvokeCommand(&session, FLIP, &op, NULL) == TEEC_ERROR_BAD_PARAMETERS);
	TEEC_ReleaseSharedMemory(&input);
	munmap(constant, 4096);
}

static void allocated(void)
{
	TEEC_SharedMemory memory = { .size = SIZE_MAX, .flags = TEEC_MEM_INPUT | TEEC_MEM_OUTPUT };
	TEEC_SharedMemory file = { .flags = TEEC_MEM_INPUT | TEEC_MEM_OUTPUT };
	TEEC_Operation op = { .paramTypes = TEEC_MEMREF_WHOLE };
	uint8_t *bytes = NULL;
	int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	CHECK(TEEC_AllocateSharedMemory(&context, &memory) == TEEC_ERROR_OUT_OF_MEMORY);
	memory.size = 0;
	CHECK(TEEC_AllocateSharedMemory(&context, &memory) == TEEC_SUCCESS && memory.buffer);
	TEEC_ReleaseSharedMemory(&memory);
	CHECK(!memory.buffer);
	memory.size = 8;
	CHECK(TEEC_AllocateSharedMemory(&context, &memory) == TEEC_SUCCESS);
	bytes = memory.buffer;
	memset(bytes, 3, 8);
	op.params[0].memref.parent = &memory;
	CHECK(TEEC_InvokeCommand(&session, FLIP, &op, NULL) == TEEC_SUCCESS);
	/* Not copied: all is flipped, not only the answer's half. */
	CHECK(bytes[0] == (uint8_t)~3 && bytes[7] == (uint8_t)~3 && op.params[0].memref.size == 4);
	TEEC_ReleaseSharedMemory(&memory);

	CHECK(fd >= 0 && !ftruncate(fd, 100));
	CHECK(TEEC_RegisterSharedMemoryFileDescriptor(&context, &file, -1) == TEEC_ERROR_BAD_PARAMETERS);
	CHECK(TEEC_RegisterSharedMemoryFileDescriptor(&context, &file, fd) == TEEC_ERROR_BAD_PARAMETERS);
	CHECK(!fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW));
	CHECK(TEEC_RegisterSharedMemoryFileDescriptor(&context, &file, fd) == TEEC_SUCCESS && file.size == 100);
	op.params[0].memref.parent = &file;
	CHECK(TEEC_InvokeCommand(&session, FLIP, &op, NULL) == TEEC_SUCCESS);
	TEEC_ReleaseSharedMemory(&file);
	close(fd);
}

/* An operation that never begins cannot be cancelled, and a busy machine begins late. */
static void *cancel_soon(void *arg)
{
	TEEC_Operation *operation = arg;

	while (!__atomic_load_n(&operation->started, __ATOMIC_ACQUIRE))
		;
	TEEC_RequestCancellation(operation);
	return NULL;
}

static void cancel(void)
{
	uint32_t origin = 0;

	for (int n = 0; n < 20; n++) {
		TEEC_Operation op = { 0 };
		TEEC_Result result = TEEC_SUCCESS;
		pthread_t thread;

		CHECK(!pthread_create(&thread, NULL, cancel_soon, &op));
		result = TEEC_InvokeCommand(&session, WAIT, &op, &origin);
		if (result != TEEC_ERROR_CANCEL)
			fprintf(stderr, "call %d: result %#x, origin %u\n", n, result, origin);
		CHECK(result == TEEC_ERROR_CANCEL);
		pthread_join(thread, NULL);
		TEEC_RequestCancellation(&op);
	}
	TEEC_RequestCancellation(NULL);
}

static void *many(void *unused)
{
	TEEC_Operation op = { .paramTypes = TEEC_PARAM_TYPES(TEEC_VALUE_INOUT, TEEC_MEMREF_TEMP_INOUT, 0, 0) };
	uint8_t bytes[64];

	for (uint32_t n = 0; n < 50; n++) {
		memset(bytes, (int)n, sizeof(bytes));
		op.params[0].value.a = n;
		op.params[1].tmpref = (TEEC_TempMemoryReference){ bytes, sizeof(bytes) };
		CHECK(TEEC_InvokeCommand(&session, FLIP, &op, NULL) == TEEC_SUCCESS);
		CHECK(op.params[0].value.a == n + 1 && bytes[31] == (uint8_t)~n && bytes[32] == (uint8_t)n);
	}
	return unused;
}

static void threads(void)
{
	pthread_t all[4];

	for (int n = 0; n < 4; n++)
		CHECK(!pthread_create(&all[n], NULL, many, NULL));
	for (int n = 0; n < 4; n++)
		pthread_join(all[n], NULL);
}

static void forks(void)
{
	int status = 0;
	pid_t child = 0;
	TEEC_Operation op = { .paramTypes = TEEC_VALUE_OUTPUT };

	many(NULL);
	child = fork();
	CHECK(child >= 0);
	if (!child) {
		threads();
		TEEC_FinalizeContext(&context);
		_exit(0);
	}
	many(NULL);
	CHECK(waitpid(child, &status, 0) == child && status == 0);
	many(NULL);
	CHECK(TEEC_InvokeCommand(&session, CLOSES, &op, NULL) == TEEC_SUCCESS && op.params[0].value.a == 0);
	/* The parent goes first, as in a program that becomes a daemon: the child's context lives on. */
	child = fork();
	CHECK(child >= 0);
	if (child)
		_exit(0);
	usleep(50000);
	many(NULL);
}

static void hang_up(void)
{
	uint32_t origin = 0;
	uint8_t byte = 0;
	TEEC_Operation op = { .paramTypes = TEEC_MEMREF_TEMP_INPUT, .params[0].tmpref = { &byte, 1 } };
	TEEC_SharedMemory memory = { .size = 8, .flags = TEEC_MEM_INPUT };

	for (int how = 0; how < 2; how++) {
		CHECK(TEEC_AllocateSharedMemory(&context, &memory) == TEEC_SUCCESS);
		CHECK(TEEC_InvokeCommand(&session, how ? SHORT_FRAME : HANG_UP, NULL, &origin) ==
		      TEEC_ERROR_COMMUNICATION && origin == TEEC_ORIGIN_COMMS);
		CHECK(TEEC_InvokeCommand(&session, FLIP, NULL, &origin) == TEEC_ERROR_COMMUNICATION &&
		      origin == TEEC_ORIGIN_COMMS);
		CHECK(TEEC_InvokeCommand(&session, FLIP, &op, &origin) == TEEC_ERROR_COMMUNICATION &&
		      origin == TEEC_ORIGIN_COMMS);
		memset(memory.buffer, 1, 8);
		close_all();
		TEEC_ReleaseSharedMemory(&memory);
		open_all();
		CHECK(TEEC_InvokeCommand(&session, FLIP, NULL, &origin) == TEEC_SUCCESS);
	}
}

static void nobody(void)
{
	CHECK(TEEC_InitializeContext(NULL, &context) == TEEC_ERROR_ITEM_NOT_FOUND);
}

static TEEC_SharedMemory late_memory[3];
static TEEC_Result late_results[3];

static void *share(void *number)
{
	static uint8_t own[64];
	size_t kind = (size_t)number;
	TEEC_SharedMemory *memory = &late_memory[kind];
	int fd = -1;

	*memory = (TEEC_SharedMemory){ .size = 64, .flags = TEEC_MEM_INPUT, .buffer = own };
	if (kind == 0) {
		late_results[kind] = TEEC_AllocateSharedMemory(&context, memory);
	} else if (kind == 1) {
		late_results[kind] = TEEC_RegisterSharedMemory(&context, memory);
	} else {
		fd = memfd_create("late", MFD_CLOEXEC | MFD_ALLOW_SEALING);
		CHECK(fd >= 0 && !ftruncate(fd, 4096) && !fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW));
		late_results[kind] = TEEC_RegisterSharedMemoryFileDescriptor(&context, memory, fd);
		close(fd);
	}
	return NULL;
}

/* The program's mistake: it finalizes the context while other threads share memory. The daemon answers those late. */
static void finalized(void)
{
	pthread_t all[3];

	CHECK(TEEC_InitializeContext(NULL, &context) == TEEC_SUCCESS);
	for (size_t n = 0; n < 3; n++)
		CHECK(!pthread_create(&all[n], NULL, share, (void *)n));
	usleep(100000);
	TEEC_FinalizeContext(&context);
	for (size_t n = 0; n < 3; n++)
		pthread_join(all[n], NULL);
	for (size_t n = 0; n < 3; n++) {
		CHECK(late_results[n] != TEEC_SUCCESS);
		TEEC_ReleaseSharedMemory(&late_memory[n]);
	}
}

/* The same without a daemon that waits: whatever comes first. */
static void races(void)
{
	for (int round = 0; round < 40; round++) {
		pthread_t all[3];

		CHECK(TEEC_InitializeContext(NULL, &context) == TEEC_SUCCESS);
		for (size_t n = 0; n < 3; n++)
			CHECK(!pthread_create(&all[n], NULL, share, (void *)n));
		usleep((useconds_t)(round * 50));
		TEEC_FinalizeContext(&context);
		for (size_t n = 0; n < 3; n++)
			pthread_join(all[n], NULL);
		for (size_t n = 0; n < 3; n++)
			TEEC_ReleaseSharedMemory(&late_memory[n]);
	}
}

static void stranger(void)
{
	CHECK(TEEC_InitializeContext(NULL, &context) == TEEC_ERROR_ACCESS_DENIED);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(void);
		bool session;
	} all[] = {
		{ "basic", basic, false },     { "temporary", temporary, true }, { "registered", registered, true },
		{ "allocated", allocated, true }, { "cancel", cancel, true },	 { "threads", threads, true },
		{ "forks", forks, true },      { "hang_up", hang_up, true },	 { "nobody", nobody, false },
		{ "stranger", stranger, false }, { "finalized", finalized, false }, { "races", races, false },
	};

	for (size_t n = 0; argc == 2 && n < sizeof(all) / sizeof(all[0]); n++) {
		if (strcmp(all[n].name, argv[1]))
			continue;
		if (all[n].session)
			open_all();
		all[n].run();
		if (all[n].session)
			close_all();
		return 0;
	}
	return 2;
}
