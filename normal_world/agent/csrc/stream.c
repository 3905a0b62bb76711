/*
 * Bytes in order, each once, over lines that get lost: go-back-N by byte offsets, as TCP has them, so that what is
 * sent again may be cut into shorter lines. normal_world/agent/stream.py is its counterpart, and says why.
 */
#include "agent.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define WINDOW 2048 /* bytes under way: as lines they fit a terminal's input queue, 4096 */
#define PIECE_MIN 24
#define PIECES 16 /* under way: where lines are short because many get lost, little is sent twice */
#define RTO_FIRST 1000
#define RTO_MIN 100
#define RTO_MAX 8000
#define BACKOFF_MAX 5

static uint8_t *out; /* bytes from offset `acked` on */
static size_t out_size, out_room;
static size_t under_way; /* of them */
static uint64_t acked, expected;
static size_t piece = PIECE_MAX;
static int64_t rto = RTO_FIRST, timer = -1;
static unsigned round_out, round_in;
static int backoff; /* doublings of rto while nothing gets through */
static int64_t timed_at = -1; /* when the piece that ends at timed_end was sent, and only once */
static uint64_t timed_end;
static uint64_t furthest; /* what was sent before is no measure of how long an answer takes */

int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void emit(char kind, unsigned round, uint64_t at, const uint8_t *data, size_t size)
{
	char text[LINE_ROOM];
	size_t length = line_format(text, kind, round, at, data, size);

	for (size_t done = 0; done < length;) {
		ssize_t wrote = write(STDOUT_FILENO, text + done, length - done);

		if (wrote >= 0) {
			done += (size_t)wrote;
		} else if (errno == EAGAIN) {
			struct pollfd ready = { .fd = STDOUT_FILENO, .events = POLLOUT };

			poll(&ready, 1, 1000);
		} else if (errno != EINTR) {
			return; /* a hang-up; reading will tell */
		}
	}
}

void stream_put(const uint8_t *data, size_t size)
{
	if (out_room - out_size < size) {
		size_t room = out_size + size + 65536;
		uint8_t *larger = realloc(out, room);

		if (!larger)
			_exit(12); /* the other end sees its end */
		out = larger;
		out_room = room;
	}
	memcpy(out + out_size, data, size);
	out_size += size;
}

static int64_t patience(void)
{
	return rto << backoff < RTO_MAX ? rto << backoff : RTO_MAX;
}

static void go_back(void)
{
	round_out = (round_out + 1) % ROUNDS;
	under_way = 0;
	timed_at = timer = -1;
	piece = piece / 2 > PIECE_MIN ? piece / 2 : PIECE_MIN;
}

static void acknowledged(uint64_t at, int64_t now)
{
	size_t gained = (size_t)(at - acked);

	if (timed_at >= 0 && at >= timed_end) {
		int64_t seen = 2 * (now - timed_at) + 50;

		rto = (3 * rto + seen) / 4;
		rto = rto < RTO_MIN ? RTO_MIN : rto > RTO_MAX ? RTO_MAX : rto;
		timed_at = -1;
	}
	out_size -= gained;
	under_way = under_way > gained ? under_way - gained : 0;
	memmove(out, out + gained, out_size);
	acked = at;
	piece = piece + 8 + piece / 8 < PIECE_MAX ? piece + 8 + piece / 8 : PIECE_MAX;
	backoff = 0;
	timer = under_way ? now + patience() : -1;
}

void stream_damaged(void)
{
	emit('N', round_in, expected, NULL, 0);
}

void stream_take(const struct line *line, int64_t now, void (*deliver)(const uint8_t *data, size_t size))
{
	if (line->kind == 'D') {
		round_in = line->round;
		if (line->at > expected) {
			stream_damaged();
			return;
		}
		if (line->at + line->size > expected) {
			size_t known = (size_t)(expected - line->at);

			expected = line->at + line->size;
			deliver(line->data + known, line->size - known);
		}
		emit('A', round_in, expected, NULL, 0);
		return;
	}
	if (line->at > acked && line->at - acked <= out_size)
		acknowledged(line->at, now);
	/* Of an earlier round: its remedy is on its way. */
	if (line->kind == 'N' && line->at == acked && under_way && line->round == round_out)
		go_back();
	if (line->kind == 'P')
		emit('A', round_in, expected, NULL, 0);
}

int stream_work(int64_t now)
{
	size_t window = 0;

	if (timer >= 0 && now >= timer) {
		backoff = backoff < BACKOFF_MAX ? backoff + 1 : BACKOFF_MAX;
		go_back();
	}
	window = piece * PIECES < WINDOW ? piece * PIECES : WINDOW;
	while (under_way < out_size && under_way < window) {
		size_t left = out_size - under_way;
		size_t room = window - under_way;
		size_t size = piece;

		size = size < left ? size : left;
		size = size < room ? size : room;
		emit('D', round_out, acked + under_way, out + under_way, size);
		if (timed_at < 0 && acked + under_way >= furthest) {
			timed_at = now;
			timed_end = acked + under_way + size;
		}
		under_way += size;
		furthest = acked + under_way > furthest ? acked + under_way : furthest;
		if (timer < 0)
			timer = now + patience();
	}
	return timer < 0 ? -1 : (int)(timer > now ? timer - now : 0);
}

bool stream_idle(void)
{
	return !out_size;
}
