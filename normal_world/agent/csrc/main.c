/* The terminal: raw while this runs, and as it was when it ends. */
#include "agent.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#define SILENCE_MS 60000 /* the other end says something every few seconds, or has gone */
#define FAREWELL_MS 3000
#define HEADER 12 /* length of the rest, id, operation */
#define CTRL_C 3
#define CTRL_CS 3 /* so many, with nothing sensible between them, are a person who wants the terminal back */

static struct termios before;
static bool terminal;

static uint8_t header[HEADER];
static size_t header_size;
static uint8_t *body;
static size_t body_size, body_wanted;

static void end(int status)
{
	if (terminal)
		tcsetattr(STDIN_FILENO, TCSADRAIN, &before);
	_exit(status);
}

static uint32_t word(const uint8_t *at)
{
	return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

/* Puts messages together from the stream's bytes. */
static void deliver(const uint8_t *data, size_t size)
{
	while (size) {
		size_t part = HEADER - header_size;

		part = part < size ? part : size;
		if (part) {
			memcpy(header + header_size, data, part);
			header_size += part;
		} else {
			part = body_wanted - body_size < size ? body_wanted - body_size : size;
			memcpy(body + body_size, data, part);
			body_size += part;
		}
		data += part;
		size -= part;
		if (header_size == HEADER && !body) {
			body_wanted = word(header);
			if (body_wanted > MESSAGE_MAX)
				end(3); /* nobody of ours says that */
			body = malloc(body_wanted ? body_wanted : 1);
			if (!body)
				end(12);
		}
		if (body && body_size == body_wanted) {
			calls_begin(word(header + 4), word(header + 8), body, body_size);
			body = NULL;
			body_size = header_size = 0;
		}
	}
}

/* Returns whether a person wants the terminal back; heard: when there was a line for us last. */
static bool take(const char *data, size_t size, int64_t now, int64_t *heard)
{
	static char text[LINE_ROOM];
	static size_t length;
	static bool overlong;
	static int interrupts;
	static struct line line;

	for (size_t n = 0; n < size; n++) {
		if (data[n] == CTRL_C && ++interrupts >= CTRL_CS)
			return true;
		if (data[n] != '\n' && data[n] != '\r') {
			overlong = overlong || length == sizeof(text);
			if (!overlong)
				text[length++] = data[n];
			continue;
		}
		if (overlong) {
			stream_damaged();
		} else if (length) {
			int found = line_parse(text, length, &line);

			if (found > 0) {
				interrupts = 0;
				*heard = now;
				stream_take(&line, now, deliver);
			} else if (found < 0) {
				stream_damaged();
			}
		}
		overlong = false;
		length = 0;
	}
	return false;
}

static void send_messages(void)
{
	uint8_t *message = NULL;
	size_t size = 0;

	while ((message = calls_next(&size))) {
		stream_put(message, size);
		free(message);
	}
}

int main(int argc, char **argv)
{
	int wake[2];
	int64_t heard = now_ms(), farewell = 0;
	char data[4096];

	if (argc != 2 || !*argv[1]) {
		fprintf(stderr, "usage: litebox-tee-agent TOKEN\n"
				"Serves the TEE of this machine to LiteBox at the other end of the terminal.\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	if (pipe(wake))
		return 1;
	line_token(argv[1]);
	if (!tcgetattr(STDIN_FILENO, &before)) {
		struct termios raw = before;

		cfmakeraw(&raw);
		terminal = !tcsetattr(STDIN_FILENO, TCSANOW, &raw);
	}
	calls_start(wake[1]);
	for (;;) {
		struct pollfd ready[] = { { .fd = STDIN_FILENO, .events = POLLIN }, { .fd = wake[0], .events = POLLIN } };
		int64_t now = now_ms();
		int wait = 0;

		send_messages();
		if (calls_quit()) {
			farewell = farewell ? farewell : now + FAREWELL_MS;
			if (stream_idle() || now > farewell)
				end(0);
		}
		if (now - heard > SILENCE_MS)
			end(4);
		wait = stream_work(now);
		if (poll(ready, 2, wait < 0 || wait > 1000 ? 1000 : wait) < 0 && errno != EINTR)
			end(1);
		if (ready[1].revents)
			(void)!read(wake[0], data, sizeof(data));
		if (ready[0].revents) {
			ssize_t got = read(STDIN_FILENO, data, sizeof(data));

			if (!got || (got < 0 && errno != EAGAIN && errno != EINTR))
				end(0);
			if (got > 0 && take(data, (size_t)got, now_ms(), &heard))
				end(130);
		}
	}
}
