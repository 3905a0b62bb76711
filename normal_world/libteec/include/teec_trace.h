/*
 * Tracing as client libraries of OP-TEE do it. Define BINARY_PREFIX, a string, before; DEBUGLEVEL
 * (or DEBUGLEVEL_0 ... DEBUGLEVEL_4) says how much is compiled in.
 */
#ifndef TEEC_TRACE_H
#define TEEC_TRACE_H

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifndef BINARY_PREFIX
#error "BINARY_PREFIX not defined"
#endif

#define TRACE_ERROR 1
#define TRACE_INFO 2
#define TRACE_DEBUG 3
#define TRACE_FLOW 4

#ifndef DEBUGLEVEL
#if defined(DEBUGLEVEL_0) || defined(DEBUGLEVEL_1)
#define DEBUGLEVEL TRACE_ERROR
#elif defined(DEBUGLEVEL_2)
#define DEBUGLEVEL TRACE_INFO
#elif defined(DEBUGLEVEL_3)
#define DEBUGLEVEL TRACE_DEBUG
#elif defined(DEBUGLEVEL_4)
#define DEBUGLEVEL TRACE_FLOW
#else
#define DEBUGLEVEL TRACE_INFO
#endif
#endif

/* Prints to standard output: level, thread, prefix, function and line (unless NULL), then the text. */
void _dprintf(const char *function, int line, int level, const char *prefix, const char *fmt, ...)
	__attribute__((__format__(__printf__, 5, 6)));

#define dprintf(level, ...) \
	do { \
		if ((level) <= DEBUGLEVEL) \
			_dprintf(__func__, __LINE__, (level), BINARY_PREFIX, __VA_ARGS__); \
	} while (0)

#define dprintf_raw(level, ...) \
	do { \
		if ((level) <= DEBUGLEVEL) \
			_dprintf(NULL, 0, (level), BINARY_PREFIX, __VA_ARGS__); \
	} while (0)

#define EMSG(fmt, ...) dprintf(TRACE_ERROR, fmt "\n", ##__VA_ARGS__)
#define IMSG(fmt, ...) dprintf(TRACE_INFO, fmt "\n", ##__VA_ARGS__)
#define DMSG(fmt, ...) dprintf(TRACE_DEBUG, fmt "\n", ##__VA_ARGS__)
#define FMSG(fmt, ...) dprintf(TRACE_FLOW, fmt "\n", ##__VA_ARGS__)

#define EMSG_RAW(fmt, ...) dprintf_raw(TRACE_ERROR, fmt, ##__VA_ARGS__)
#define IMSG_RAW(fmt, ...) dprintf_raw(TRACE_INFO, fmt, ##__VA_ARGS__)
#define DMSG_RAW(fmt, ...) dprintf_raw(TRACE_DEBUG, fmt, ##__VA_ARGS__)
#define FMSG_RAW(fmt, ...) dprintf_raw(TRACE_FLOW, fmt, ##__VA_ARGS__)

#define INMSG(fmt, ...) FMSG("> " fmt, ##__VA_ARGS__)
#define OUTMSG(fmt, ...) FMSG("< " fmt, ##__VA_ARGS__)
#define OUTRMSG(r) \
	do { \
		if (r) \
			EMSG("Function returns with [%d]", r); \
		OUTMSG("r=[%d]", r); \
		return r; \
	} while (0)

/* Prints bytes in hexadecimal to standard error, when LITEBOX_TEEC_DUMP is in the environment. */
void dump_buffer(const char *bname, const uint8_t *buffer, size_t blen);

#ifdef __cplusplus
}
#endif

#endif
