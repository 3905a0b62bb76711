/* The plugin's own process: loads it as tee-supplicant does (tee-supplicant/src/plugin.c), then one call at a time. */
#include "worker.h"

#include "frames.h"

#include <dlfcn.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <tee_plugin_method.h>
#include <unistd.h>

static void refuse(int fd, const char *format, ...) __attribute__((noreturn, format(printf, 2, 3)));

static void refuse(int fd, const char *format, ...)
{
	struct lb_frame frame = { .version = LB_VERSION, .kind = LB_REFUSED };
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(frame.text, sizeof(frame.text), format, arguments);
	va_end(arguments);
	lb_send(fd, &frame);
	_exit(0);
}

/* The UUID's octets as the secure world sends them: fields big-endian. */
static void put_uuid(uint8_t out[16], const TEEC_UUID *uuid)
{
	for (int i = 0; i < 4; i++)
		out[i] = (uint8_t)(uuid->timeLow >> (24 - 8 * i));
	for (int i = 0; i < 2; i++) {
		out[4 + i] = (uint8_t)(uuid->timeMid >> (8 - 8 * i));
		out[6 + i] = (uint8_t)(uuid->timeHiAndVersion >> (8 - 8 * i));
	}
	memcpy(out + 8, uuid->clockSeqAndNode, 8);
}

static const struct plugin_method *load(const char *path, int fd)
{
	void *handle = dlopen(path, RTLD_LAZY);
	const struct plugin_method *method;

	if (!handle)
		refuse(fd, "%s", dlerror());
	method = dlsym(handle, "plugin_method");
	if (!method)
		refuse(fd, "it has no symbol plugin_method");
	if (!method->name || !method->invoke)
		refuse(fd, "its plugin_method has no name or no invoke");
	if (method->init) {
		TEEC_Result result = method->init();

		if (result != TEEC_SUCCESS)
			refuse(fd, "its init failed with 0x%08x", result);
	}
	return method;
}

static void serve(const struct plugin_method *method, int fd, void *data)
{
	struct lb_frame frame;

	while (lb_receive(fd, &frame) == 1 && frame.kind == LB_INVOKE && frame.length <= LB_DATA_MAX) {
		size_t length = 0;
		TEEC_Result result = method->invoke(frame.a, frame.b, frame.length ? data : NULL,
						    (size_t)frame.length, &length);
		struct lb_frame answer = {
			.version = LB_VERSION,
			.kind = LB_ANSWER,
			.call = frame.call,
			.a = result,
			.length = length,
		};

		fflush(NULL); /* what it printed: our end is sudden */
		if (!lb_send(fd, &answer))
			break;
	}
}

void lb_worker(const char *plugin, int fd, int memory, pid_t keeper)
{
	struct lb_frame ready = { .version = LB_VERSION, .kind = LB_READY };
	const struct plugin_method *method;
	void *data;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != keeper)
		_exit(0); /* it died before we asked to be told */
	data = mmap(NULL, LB_DATA_MAX, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
	if (data == MAP_FAILED)
		refuse(fd, "no memory for its data");
	close(memory);
	method = load(plugin, fd);
	put_uuid((uint8_t *)ready.text, &method->uuid);
	snprintf(ready.text + 16, sizeof(ready.text) - 16, "%s", method->name);
	if (lb_send(fd, &ready))
		serve(method, fd, data);
	_exit(0);
}
