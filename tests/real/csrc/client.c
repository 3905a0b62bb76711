/*
 * A client as its developer would write it for a device: OP-TEE's public headers, linked with OP-TEE's libteec.
 * Argument 1: a library to load first; 2: a function that it must have. Uses the sample TA `hello`.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tee_client_api.h>
#include <tee_client_api_extensions.h>

static const TEEC_UUID hello = {
	0x7371bc6b, 0x0888, 0x4252, { 0x9d, 0x3b, 0x42, 0xdd, 0xcb, 0xca, 0x70, 0xfd }
};

enum { INCREMENT, HASH, PANIC };

static void check(const char *what, TEEC_Result result, TEEC_Result expected)
{
	if (result == expected)
		return;
	fprintf(stderr, "%s: %#x, not %#x\n", what, result, expected);
	exit(1);
}

static void use_ta(void)
{
	char text[] = "hello";
	unsigned char digest[32];
	uint32_t origin = 0;
	TEEC_Context context;
	TEEC_Session session;
	TEEC_SharedMemory shared = { .size = 4096, .flags = TEEC_MEM_INPUT | TEEC_MEM_OUTPUT };
	TEEC_Operation op = { .paramTypes = TEEC_PARAM_TYPES(TEEC_VALUE_INOUT, TEEC_NONE, TEEC_NONE, TEEC_NONE) };

	check("context", TEEC_InitializeContext(NULL, &context), TEEC_SUCCESS);
	check("session", TEEC_OpenSession(&context, &session, &hello, TEEC_LOGIN_PUBLIC, NULL, NULL, &origin), TEEC_SUCCESS);
	op.params[0].value.a = 41;
	check("increment", TEEC_InvokeCommand(&session, INCREMENT, &op, &origin), TEEC_SUCCESS);
	printf("increment %u\n", op.params[0].value.a);

	op = (TEEC_Operation){ .paramTypes = TEEC_PARAM_TYPES(TEEC_MEMREF_TEMP_INPUT, TEEC_MEMREF_TEMP_OUTPUT, 0, 0) };
	op.params[0].tmpref = (TEEC_TempMemoryReference){ text, strlen(text) };
	op.params[1].tmpref = (TEEC_TempMemoryReference){ digest, sizeof(digest) };
	check("hash", TEEC_InvokeCommand(&session, HASH, &op, &origin), TEEC_SUCCESS);
	printf("hash %02x%02x\n", digest[0], digest[31]);

	check("memory", TEEC_AllocateSharedMemory(&context, &shared), TEEC_SUCCESS);
	memcpy(shared.buffer, text, strlen(text));
	op = (TEEC_Operation){
		.paramTypes = TEEC_PARAM_TYPES(TEEC_MEMREF_PARTIAL_INPUT, TEEC_MEMREF_PARTIAL_OUTPUT, 0, 0)
	};
	op.params[0].memref = (TEEC_RegisteredMemoryReference){ &shared, strlen(text), 0 };
	op.params[1].memref = (TEEC_RegisteredMemoryReference){ &shared, 32, 100 };
	check("shared hash", TEEC_InvokeCommand(&session, HASH, &op, &origin), TEEC_SUCCESS);
	printf("shared %d\n", memcmp((char *)shared.buffer + 100, digest, sizeof(digest)));
	TEEC_ReleaseSharedMemory(&shared);

	op = (TEEC_Operation){ .paramTypes = TEEC_PARAM_TYPES(TEEC_VALUE_INPUT, TEEC_NONE, TEEC_NONE, TEEC_NONE) };
	check("panic", TEEC_InvokeCommand(&session, PANIC, &op, &origin), TEEC_ERROR_TARGET_DEAD);
	printf("panic origin %u\n", origin);
	TEEC_CloseSession(&session);
	TEEC_FinalizeContext(&context);
}

int main(int argc, char **argv)
{
	if (argc == 3) {
		void *library = dlopen(argv[1], RTLD_NOW);

		if (!library || !dlsym(library, argv[2])) {
			fprintf(stderr, "%s\n", dlerror());
			return 1;
		}
	}
	use_ta();
	return 0;
}
