/*
 * What the daemon, a plugin's keeper and its worker say to each other, and in which file descriptors.
 * normal_world/plugin_host/frames.py is the same for Python; tests/normal_world/test_plugins_host.py compares.
 *
 * One frame is one packet of a SOCK_SEQPACKET pair, of this one size. Both ends are on one machine, little-endian.
 * The data of a call are at the start of a memfd of LB_DATA_MAX bytes that is sealed against resizing.
 */
#ifndef LB_PLUGIN_FRAMES_H
#define LB_PLUGIN_FRAMES_H

#include <stdint.h>

#define LB_VERSION 1
#define LB_DATA_MAX (4u << 20)
#define LB_TEXT 128

enum lb_kind {
	/* from the daemon */
	LB_INVOKE = 1, /* a: command, b: sub-command, limit: milliseconds, length: bytes of data */
	LB_CANCEL = 2, /* the call of that number, if it still runs */
	/* to the daemon */
	LB_READY = 16,   /* text: the plugin's UUID, 16 octets, then its name */
	LB_REFUSED = 17, /* text: why this is no plugin; the keeper ends */
	LB_ANSWER = 18,  /* a: the plugin's result, length: the output length that it reports */
	LB_DIED = 19,    /* a: enum lb_death, b: signal or exit code, text: more */
};

enum lb_death {
	LB_BY_SIGNAL = 1,
	LB_BY_EXIT = 2,
	LB_TOO_LONG = 3,  /* we ended it: the call's limit */
	LB_CANCELLED = 4, /* we ended it: LB_CANCEL */
	LB_NO_START = 5,  /* it had died before, and did not start again */
};

struct lb_frame {
	uint32_t version;
	uint32_t kind;
	uint32_t call;
	uint32_t a;
	uint32_t b;
	uint32_t limit;
	uint64_t length;
	char text[LB_TEXT];
};

/* Whether the whole frame went out. */
int lb_send(int fd, const struct lb_frame *frame);

/* 1: a frame of the right size and version, its text ended; 0: the other end is gone; -1: anything else. */
int lb_receive(int fd, struct lb_frame *frame);

#endif
