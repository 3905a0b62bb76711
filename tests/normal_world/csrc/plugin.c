/* A plugin of tee-supplicant that does what it is told, good and bad. -DVARIANT=... : one that cannot be loaded. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <tee_plugin_method.h>
#include <unistd.h>

#define PLAIN 0
#define NO_SYMBOL 1
#define NO_NAME 2
#define NO_INVOKE 3
#define INIT_FAILS 4
#define INIT_CRASHES 5
#define INIT_EXITS 6
#define INIT_FAILS_LATER 7 /* when the file that $PLUGIN_BROKEN names is there */

#ifndef VARIANT
#define VARIANT PLAIN
#endif
#ifndef LAST
#define LAST 0x01
#endif

static unsigned int calls;

static void spin(void) __attribute__((noreturn));

static void spin(void)
{
	for (;;)
		pause();
}

static TEEC_Result misbehave(unsigned int cmd, unsigned char *data, size_t size, size_t *out)
{
	char junk[8192] = { 0 };
	pid_t child;

	switch (cmd) {
	case 20:
		raise(SIGSEGV);
		break;
	case 21:
		_exit(7);
	case 22:
		spin();
	case 23: /* a child of its own that would outlive it */
		child = fork();
		if (!child)
			spin();
		memcpy(data, &child, sizeof(child));
		*out = sizeof(child);
		return TEEC_SUCCESS;
	case 24: /* all the data there can be, not what it was given */
		memset(data, 0xee, 4u << 20);
		*out = size;
		return TEEC_SUCCESS;
	case 25: /* speaks to whoever may listen */
		for (int fd = 3; fd < 64; fd++)
			send(fd, junk, sizeof(junk), MSG_NOSIGNAL | MSG_DONTWAIT);
		break;
	case 26:
		for (int fd = 0; fd < 64; fd++)
			close(fd);
		break;
	default:
		return TEEC_ERROR_NOT_SUPPORTED;
	}
	return TEEC_SUCCESS;
}

static TEEC_Result invoke(unsigned int cmd, unsigned int sub_cmd, void *data, size_t size, size_t *out)
{
	unsigned char *bytes = data;

	calls++;
	switch (cmd) {
	case 0: /* what it sees */
		return data ? TEEC_SUCCESS : size ? TEEC_ERROR_GENERIC : TEEC_ERROR_NO_DATA;
	case 1:
		for (size_t i = 0; i < size; i++)
			bytes[i] = (unsigned char)(bytes[i] + sub_cmd);
		*out = size;
		return TEEC_SUCCESS;
	case 2: /* any output length, any result */
		if (size)
			bytes[0] ^= 0xff;
		*out = sub_cmd & 0xffff ? size + (sub_cmd & 0xffff) : 0;
		return sub_cmd >> 16 ? TEEC_ERROR_BAD_STATE : TEEC_SUCCESS;
	case 3:
		*out = calls;
		return TEEC_SUCCESS;
	case 4:
		usleep(sub_cmd * 1000);
		return TEEC_SUCCESS;
	case 5:
		*out = sizeof(size_t);
		return TEEC_SUCCESS;
	case 6:
		printf("plugin says %s\n", size && !bytes[size - 1] ? (char *)bytes : "nothing");
		return TEEC_SUCCESS;
	default:
		return misbehave(cmd, bytes, size, out);
	}
}

static TEEC_Result init(void)
{
	if (VARIANT == INIT_FAILS)
		return TEEC_ERROR_BAD_STATE;
	if (VARIANT == INIT_CRASHES)
		raise(SIGSEGV);
	if (VARIANT == INIT_EXITS)
		_exit(5);
	if (VARIANT == INIT_FAILS_LATER && !access(getenv("PLUGIN_BROKEN"), F_OK))
		return TEEC_ERROR_ACCESS_DENIED;
	return TEEC_SUCCESS;
}

#if VARIANT != NO_SYMBOL
struct plugin_method plugin_method = {
	.name = VARIANT == NO_NAME ? NULL : "test\033[1m plugin",
	.uuid = { 0x01020304, 0x0506, 0x0708, { 0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f, LAST } },
	.init = init,
	.invoke = VARIANT == NO_INVOKE ? NULL : invoke,
};
#else
void *unused[] = { (void *)invoke, (void *)init };
#endif
