/*
 * litebox-tee-agent: a client of the TEE of the machine it runs on, for somebody at the other end of a terminal.
 *
 * lines.c: lines of text with checksums. stream.c: bytes in order over lines that get lost. calls.c: what is asked
 * for, each in a thread. teec.c: the machine's libteec. main.c: the terminal. What the other end says is checked.
 */
#ifndef LITEBOX_AGENT_H
#define LITEBOX_AGENT_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <tee_client_api.h>

/* --- lines.c; normal_world/agent/lines.py has the same numbers */

#define LINE_ROOM 1100 /* characters of a line with its end */
#define PIECE_MAX 720 /* bytes that one carries */

#define ROUNDS 16

#define MARK_IN '#' /* to a shell that is there in our place: a comment */
#define MARK_OUT '<'

struct line {
	char kind; /* D: data from `at` on; A: acknowledges all before `at`; N: as A, and something was lost; P: answer */
	unsigned round; /* of D: the sender's; else: the last that was seen */
	uint64_t at;
	size_t size;
	uint8_t data[PIECE_MAX];
};

/* Both ends know it; lines of another run have other checksums. */
void line_token(const char *token);
/* Characters written, with the newline. text has LINE_ROOM. */
size_t line_format(char *text, char kind, unsigned round, uint64_t at, const uint8_t *data, size_t size);
/* 1: a line for us; 0: none; -1: one that was damaged. */
int line_parse(const char *text, size_t length, struct line *line);

/* --- stream.c */

int64_t now_ms(void);
/* Adds bytes to what the other end is to get. */
void stream_put(const uint8_t *data, size_t size);
/* Takes a line; `deliver` gets the bytes that are next. */
void stream_take(const struct line *line, int64_t now, void (*deliver)(const uint8_t *data, size_t size));
void stream_damaged(void);
/* Sends what is to be sent; milliseconds until it wants to be called again, -1: whenever. */
int stream_work(int64_t now);
bool stream_idle(void);

/* --- calls.c */

#define MEMORY_MAX (16u << 20) /* bytes of all memrefs of a call */
#define MESSAGE_MAX (MEMORY_MAX + 4096)
#define CALLS_MAX 64
#define SESSIONS_MAX 1024

/* Owns body, which malloc made. */
void calls_begin(uint32_t id, uint32_t op, uint8_t *body, size_t size);
/* The next message for the other end, which the caller frees; NULL: none. */
uint8_t *calls_next(size_t *size);
bool calls_quit(void);
/* wake: a descriptor that gets a byte whenever there is a message. */
void calls_start(int wake);

/* --- teec.c */

/* Bytes beyond what this header says of the structures: other libraries' may be larger. */
#define SPARE 256

struct teec {
	TEEC_Result (*initialize)(const char *name, TEEC_Context *context);
	TEEC_Result (*open)(TEEC_Context *context, TEEC_Session *session, const TEEC_UUID *uuid, uint32_t login,
			    const void *data, TEEC_Operation *operation, uint32_t *origin);
	void (*close)(TEEC_Session *session);
	TEEC_Result (*invoke)(TEEC_Session *session, uint32_t command, TEEC_Operation *operation, uint32_t *origin);
	void (*cancel)(TEEC_Operation *operation);
	union {
		TEEC_Context context;
		uint8_t spare[sizeof(TEEC_Context) + SPARE];
	};
	bool null_memrefs;
	char about[256]; /* the library's name, or what is wrong */
};

/* Loads the library and connects. ITEM_NOT_FOUND also if there is no library. */
TEEC_Result teec_load(struct teec *teec);

#endif
