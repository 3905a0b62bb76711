/* The machine's own libteec, found at run time: it knows the way to the machine's TEE. */
#include "agent.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[] = { "libteec.so.2", "libteec.so.1", "libteec.so" };

/* A function pointer from an object pointer: POSIX has dlsym so, ISO C does not. */
static bool find(void *library, const char *name, void *function)
{
	void *found = dlsym(library, name);

	memcpy(function, &found, sizeof(found));
	return found;
}

static void *load(struct teec *teec)
{
	const char *given = getenv("LITEBOX_LIBTEEC");
	void *library = given && *given ? dlopen(given, RTLD_NOW) : NULL;

	for (size_t n = 0; !library && !(given && *given) && n < sizeof(names) / sizeof(*names); n++) {
		library = dlopen(names[n], RTLD_NOW);
		if (library)
			given = names[n];
	}
	snprintf(teec->about, sizeof(teec->about), "%s", library ? given : dlerror());
	return library;
}

TEEC_Result teec_load(struct teec *teec)
{
	TEEC_Result result = TEEC_ERROR_ITEM_NOT_FOUND;
	void *library = load(teec);

	if (!library)
		return result;
	if (!find(library, "TEEC_InitializeContext", &teec->initialize) ||
	    !find(library, "TEEC_OpenSession", &teec->open) || !find(library, "TEEC_CloseSession", &teec->close) ||
	    !find(library, "TEEC_InvokeCommand", &teec->invoke) ||
	    !find(library, "TEEC_RequestCancellation", &teec->cancel)) {
		snprintf(teec->about, sizeof(teec->about), "libteec: %s", dlerror());
		return TEEC_ERROR_NOT_SUPPORTED;
	}
	result = teec->initialize(NULL, &teec->context);
	/* Zero in libraries that do not know of it, for the context was. */
	teec->null_memrefs = teec->context.imp.memref_null;
	return result;
}
