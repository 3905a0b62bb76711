/* What a supplicant's plugin exports: an object `plugin_method` of this type (OP-TEE's layout). */
#ifndef TEE_PLUGIN_METHOD_H
#define TEE_PLUGIN_METHOD_H

#include <stddef.h>
#include <tee_client_api.h>

struct plugin_method {
	const char *name;
	TEEC_UUID uuid; /* what trusted applications call it by */
	TEEC_Result (*init)(void);
	/* data: in_len bytes from the caller, and room for the answer; *out_len: the answer's size. */
	TEEC_Result (*invoke)(unsigned int cmd, unsigned int sub_cmd, void *data, size_t in_len, size_t *out_len);
};

#endif
