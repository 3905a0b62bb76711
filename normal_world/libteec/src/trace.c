/* What other client libraries import from libteec to print with (teec_trace.h). */
#define _GNU_SOURCE
#define BINARY_PREFIX "TEEC"
#include <ctype.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "teec_trace.h"

#define MESSAGE_MAX 256 /* bytes; what is longer is cut */
#define BYTES_A_LINE 16

static const char *level_name(int level)
{
	static const char *const names[] = { "", "ERR", "INF", "DBG", "FLW" };

	return level > 0 && (size_t)level < sizeof(names) / sizeof(names[0]) ? names[level] : "";
}

void _dprintf(const char *function, int line, int level, const char *prefix, const char *fmt, ...)
{
	char message[MESSAGE_MAX];
	int head = 0;
	va_list arguments;

	message[0] = '\0';
	if (function)
		head = snprintf(message, sizeof(message), "%s [%ld] %s:%s:%d: ", level_name(level),
				(long)syscall(SYS_gettid), prefix, function, line);
	if (head < 0)
		return;
	if ((size_t)head < sizeof(message)) {
		va_start(arguments, fmt);
		vsnprintf(message + head, sizeof(message) - (size_t)head, fmt, arguments);
		va_end(arguments);
	}
	fputs(message, stdout);
}

static void dump_line(const uint8_t *bytes, size_t count)
{
	for (size_t n = 0; n < BYTES_A_LINE; n++) {
		if (n < count)
			fprintf(stderr, "%02x ", bytes[n]);
		else
			fputs("   ", stderr);
	}
	fputs(" |", stderr);
	for (size_t n = 0; n < count; n++)
		fputc(isprint(bytes[n]) ? bytes[n] : '.', stderr);
	fputs("|\n", stderr);
}

void dump_buffer(const char *bname, const uint8_t *buffer, size_t blen)
{
	if (!secure_getenv("LITEBOX_TEEC_DUMP"))
		return;
	fprintf(stderr, "#### %s\n", bname);
	for (size_t at = 0; at < blen; at += BYTES_A_LINE)
		dump_line(buffer + at, blen - at < BYTES_A_LINE ? blen - at : BYTES_A_LINE);
}
