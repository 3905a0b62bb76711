/* Prints names and numbers of the public headers, for comparison between two sets of them. */
#define BINARY_PREFIX "X"
#include <stddef.h>
#include <stdio.h>
#include <tee_client_api.h>
#include <tee_client_api_extensions.h>
#include <tee_plugin_method.h>
#include <teec_trace.h>

#define N(x) printf(#x " %llu\n", (unsigned long long)(x))
#define S(type) printf("sizeof " #type " %zu\n", sizeof(type))
#define O(type, member) \
	printf(#type "." #member " %zu %zu\n", offsetof(type, member), sizeof(((type *)0)->member))

/* The prototypes, checked by the compiler. */
TEEC_Result (*const initialize)(const char *, TEEC_Context *) = TEEC_InitializeContext;
TEEC_Result (*const register_fd)(TEEC_Context *, TEEC_SharedMemory *, int) = TEEC_RegisterSharedMemoryFileDescriptor;
TEEC_Result (*const open_session)(TEEC_Context *, TEEC_Session *, const TEEC_UUID *, uint32_t, const void *,
				  TEEC_Operation *, uint32_t *) = TEEC_OpenSession;

int main(void)
{
	S(TEEC_Context); O(TEEC_Context, imp.fd); O(TEEC_Context, imp.reg_mem); O(TEEC_Context, imp.memref_null);
	S(TEEC_UUID); O(TEEC_UUID, timeMid); O(TEEC_UUID, timeHiAndVersion); O(TEEC_UUID, clockSeqAndNode);
	S(TEEC_SharedMemory); O(TEEC_SharedMemory, buffer); O(TEEC_SharedMemory, size); O(TEEC_SharedMemory, flags);
	O(TEEC_SharedMemory, imp.id); O(TEEC_SharedMemory, imp.alloced_size); O(TEEC_SharedMemory, imp.shadow_buffer);
	O(TEEC_SharedMemory, imp.registered_fd); O(TEEC_SharedMemory, imp.flags);
	S(TEEC_TempMemoryReference); O(TEEC_TempMemoryReference, size);
	S(TEEC_RegisteredMemoryReference); O(TEEC_RegisteredMemoryReference, size);
	O(TEEC_RegisteredMemoryReference, offset);
	S(TEEC_Value); O(TEEC_Value, b); S(TEEC_Parameter);
	S(TEEC_Session); O(TEEC_Session, imp.ctx); O(TEEC_Session, imp.session_id);
	S(TEEC_Operation); O(TEEC_Operation, started); O(TEEC_Operation, paramTypes); O(TEEC_Operation, params);
	O(TEEC_Operation, imp.session);
	S(struct plugin_method); O(struct plugin_method, uuid); O(struct plugin_method, init);
	O(struct plugin_method, invoke);
	N(TEEC_PARAM_TYPES(1, 2, 3, 4)); N(TEEC_PARAM_TYPE_GET(0x4321, 2));
#include "constants.inc"
	return 0;
}
