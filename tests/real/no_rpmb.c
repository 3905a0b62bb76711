/*
 * Preloaded into a tee-supplicant that emulates an RPMB: its requests are answered as a supplicant without the emulation
 * answers them where there is no eMMC, and never reach it.
 *
 * Source: Linux include/uapi/linux/tee.h; optee_client tee-supplicant/src/rpmb.c (rpmb_get_dev_info).
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

struct buffer {
	uint64_t address, length;
};

/* struct tee_iocl_supp_recv_arg and struct tee_iocl_supp_send_arg, whose parameters follow. */
struct request {
	uint32_t function_or_result, parameters;
};

#define SUPPL_RECV _IOR(0xa4, 6, struct buffer)
#define SUPPL_SEND _IOR(0xa4, 7, struct buffer)
#define RPMB 1
#define ITEM_NOT_FOUND 0xffff0008

int ioctl(int fd, unsigned long command, ...)
{
	int (*real)(int, unsigned long, ...) = (int (*)(int, unsigned long, ...))dlsym(RTLD_NEXT, "ioctl");
	va_list list;

	va_start(list, command);
	struct buffer *buffer = va_arg(list, void *);
	va_end(list);
	if (command != SUPPL_RECV)
		return real(fd, command, buffer);

	struct request *request = (struct request *)(uintptr_t)buffer->address;
	void *asked = malloc(buffer->length);
	if (!asked)
		return -1;
	memcpy(asked, request, buffer->length);
	int result = real(fd, command, buffer);
	while (!result && request->function_or_result == RPMB) {
		request->function_or_result = ITEM_NOT_FOUND;
		result = real(fd, SUPPL_SEND, buffer);
		if (!result) {
			memcpy(request, asked, buffer->length);
			result = real(fd, command, buffer);
		}
	}
	free(asked);
	return result;
}
