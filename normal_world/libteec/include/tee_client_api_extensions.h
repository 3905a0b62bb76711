/* OP-TEE's extensions of the TEE Client API. */
#ifndef TEE_CLIENT_API_EXTENSIONS_H
#define TEE_CLIENT_API_EXTENSIONS_H

#include <tee_client_api.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Shares a file's memory: `flags` is the caller's to set; sets `size` to the file's, `buffer` to
 * NULL. The file stays the caller's. Here it must be a memfd sealed against shrinking and growing,
 * else BAD_PARAMETERS.
 */
TEEC_Result TEEC_RegisterSharedMemoryFileDescriptor(TEEC_Context *context, TEEC_SharedMemory *sharedMem, int fd);

#ifdef __cplusplus
}
#endif

#endif
