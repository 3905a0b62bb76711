/* What the other end asks for: sessions, calls, cancellation. Each has a thread, so that reading goes on. */
#include "agent.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* normal_world/agent/messages.py */
enum { HELLO = 1, OPEN = 2, INVOKE = 3, CLOSE = 4, CANCEL = 5, QUIT = 6 };
#define VERSION 1
#define PARAMS TEEC_CONFIG_PAYLOAD_REF_COUNT
#define IS_NULL 1
#define OUTPUT 2 /* in a parameter's type */
#define STACK (256 << 10)

struct session {
	union {
		TEEC_Session teec;
		uint8_t spare[sizeof(TEEC_Session) + SPARE];
	};
	uint32_t number;
	int users;
	struct session *next;
};

struct call {
	uint32_t id, op;
	uint8_t *body;
	size_t size, at;
	union {
		TEEC_Operation operation;
		uint8_t spare[sizeof(TEEC_Operation) + SPARE];
	};
	size_t sizes[PARAMS]; /* offered */
	void *buffers[PARAMS];
	struct session *session;
	TEEC_Result result;
	uint32_t origin, number;
	int users;
	bool running;
	struct call *next;
};

struct message {
	uint8_t *data;
	size_t size;
	struct message *next;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t unused = PTHREAD_COND_INITIALIZER;
static struct teec teec;
static struct session *sessions;
static struct call *calls;
static struct message *first, *last;
static unsigned call_count, session_count;
static uint32_t last_number;
static int wake_fd = -1;
static bool quit, connected;

/* --- what comes */

static uint64_t number(struct call *call, size_t octets)
{
	uint64_t value = 0;

	if (call->size - call->at < octets) {
		call->at = call->size;
		call->result = TEEC_ERROR_BAD_FORMAT;
		return 0;
	}
	for (size_t n = 0; n < octets; n++)
		value |= (uint64_t)call->body[call->at++] << 8 * n;
	return value;
}

static void parameter(struct call *call, int index, size_t *room)
{
	uint32_t type = (uint32_t)number(call, 1), flags = (uint32_t)number(call, 1);
	size_t sent = (number(call, 2), (size_t)number(call, 4));
	uint64_t a = number(call, 8), b = number(call, 8);
	TEEC_Parameter *param = &call->operation.params[index];

	if (call->result || sent > call->size - call->at || type > TEEC_MEMREF_TEMP_INOUT || type == 4) {
		call->result = call->result ? call->result : TEEC_ERROR_BAD_FORMAT;
		return;
	}
	call->operation.paramTypes |= type << 4 * index;
	if (type <= TEEC_VALUE_INOUT) {
		param->value.a = (uint32_t)a;
		param->value.b = (uint32_t)b;
	} else if (flags & IS_NULL) {
		param->tmpref.size = (size_t)a;
	} else if (a > *room || sent > a) {
		call->result = sent > a ? TEEC_ERROR_BAD_FORMAT : TEEC_ERROR_OUT_OF_MEMORY;
	} else {
		*room -= (size_t)a;
		call->buffers[index] = calloc(1, a ? (size_t)a : 1);
		if (!call->buffers[index]) {
			call->result = TEEC_ERROR_OUT_OF_MEMORY;
			return;
		}
		memcpy(call->buffers[index], call->body + call->at, sent);
		call->sizes[index] = (size_t)a;
		param->tmpref.buffer = call->buffers[index];
		param->tmpref.size = (size_t)a;
	}
	call->at += sent;
}

static void parameters(struct call *call)
{
	size_t room = MEMORY_MAX;

	for (int n = 0; n < PARAMS && !call->result; n++)
		parameter(call, n, &room);
}

/* --- what goes */

static void post(uint8_t *data, size_t size)
{
	struct message *message = malloc(sizeof(*message));

	if (!message)
		_exit(12);
	*message = (struct message){ .data = data, .size = size };
	pthread_mutex_lock(&lock);
	if (last)
		last->next = message;
	else
		first = message;
	last = message;
	pthread_mutex_unlock(&lock);
	(void)!write(wake_fd, "", 1);
}

uint8_t *calls_next(size_t *size)
{
	struct message *message = NULL;
	uint8_t *data = NULL;

	pthread_mutex_lock(&lock);
	message = first;
	if (message) {
		first = message->next;
		last = first ? last : NULL;
		data = message->data;
		*size = message->size;
	}
	pthread_mutex_unlock(&lock);
	free(message);
	return data;
}

static uint8_t *put(uint8_t *at, uint64_t value, size_t octets)
{
	for (size_t n = 0; n < octets; n++)
		*at++ = (uint8_t)(value >> 8 * n);
	return at;
}

/* Bytes of an output that the other end is to get: zeros at its end are not sent. */
static size_t outgoing(const struct call *call, int index)
{
	uint32_t type = TEEC_PARAM_TYPE_GET(call->operation.paramTypes, index);
	const uint8_t *buffer = call->buffers[index];
	size_t size = call->operation.params[index].tmpref.size;

	if (type <= TEEC_VALUE_INOUT || !(type & OUTPUT) || !buffer)
		return 0;
	size = size < call->sizes[index] ? size : call->sizes[index];
	while (size && !buffer[size - 1])
		size--;
	return size;
}

static void reply(const struct call *call, const char *text)
{
	size_t size = 28 + PARAMS * 20 + strlen(text);
	uint8_t *data = NULL, *at = NULL;

	for (int n = 0; n < PARAMS; n++)
		size += outgoing(call, n);
	data = malloc(size);
	if (!data)
		_exit(12);
	at = put(put(put(data, size - 12, 4), call->id, 4), call->op | 0x80, 4);
	at = put(put(put(at, call->result, 4), call->origin, 4), call->number, 4);
	at = put(at, strlen(text), 4);
	for (int n = 0; n < PARAMS; n++) {
		const TEEC_Parameter *param = &call->operation.params[n];
		bool memref = TEEC_PARAM_TYPE_GET(call->operation.paramTypes, n) > TEEC_VALUE_INOUT;
		size_t sent = outgoing(call, n);

		at = put(at, memref ? param->tmpref.size : param->value.a, 8);
		at = put(at, memref ? 0 : param->value.b, 8);
		at = put(at, sent, 4);
		if (sent)
			memcpy(at, call->buffers[n], sent);
		at += sent;
	}
	memcpy(at, text, strlen(text));
	post(data, size);
}

/* --- the calls */

static struct session *session_get(uint32_t number, bool remove)
{
	struct session *found = NULL;

	pthread_mutex_lock(&lock);
	for (struct session **at = &sessions; *at; at = &(*at)->next) {
		if ((*at)->number == number) {
			found = *at;
			found->users++;
			if (remove) {
				*at = found->next;
				session_count--;
			}
			break;
		}
	}
	pthread_mutex_unlock(&lock);
	return found;
}

/* The last user of a call frees it. */
static void call_put(struct call *call)
{
	bool mine = false;

	pthread_mutex_lock(&lock);
	mine = !--call->users;
	if (mine) {
		for (struct call **at = &calls; *at; at = &(*at)->next) {
			if (*at == call) {
				*at = call->next;
				call_count--;
				break;
			}
		}
		if (call->session) {
			call->session->users--;
			pthread_cond_broadcast(&unused);
			if (!call->session->number) /* it was never opened: nobody else's */
				free(call->session);
		}
	}
	pthread_mutex_unlock(&lock);
	if (!mine)
		return;
	for (int n = 0; n < PARAMS; n++)
		free(call->buffers[n]);
	free(call->body);
	free(call);
}

static void open_session(struct call *call)
{
	TEEC_UUID uuid = { 0 };
	uint32_t login = (uint32_t)number(call, 4), group = (uint32_t)number(call, 4);

	/* As text has it, and the TEE: the first three fields are big-endian (RFC 4122). */
	for (int n = 0; n < 4; n++)
		uuid.timeLow = uuid.timeLow << 8 | (uint32_t)number(call, 1);
	uuid.timeMid = (uint16_t)(number(call, 1) << 8);
	uuid.timeMid |= (uint16_t)number(call, 1);
	uuid.timeHiAndVersion = (uint16_t)(number(call, 1) << 8);
	uuid.timeHiAndVersion |= (uint16_t)number(call, 1);
	for (int n = 0; n < 8; n++)
		uuid.clockSeqAndNode[n] = (uint8_t)number(call, 1);
	parameters(call);
	pthread_mutex_lock(&lock);
	if (!call->result && session_count >= SESSIONS_MAX)
		call->result = TEEC_ERROR_BUSY;
	pthread_mutex_unlock(&lock);
	call->session = call->result ? NULL : calloc(1, sizeof(*call->session));
	if (!call->session) {
		call->result = call->result ? call->result : TEEC_ERROR_OUT_OF_MEMORY;
		return;
	}
	call->session->users = 1;
	call->result = teec.open(&teec.context, &call->session->teec, &uuid, login,
				 login == TEEC_LOGIN_GROUP || login == TEEC_LOGIN_GROUP_APPLICATION ? &group : NULL,
				 &call->operation, &call->origin);
	if (call->result)
		return;
	pthread_mutex_lock(&lock);
	call->number = call->session->number = ++last_number;
	call->session->next = sessions;
	sessions = call->session;
	session_count++;
	pthread_mutex_unlock(&lock);
}

static void invoke(struct call *call)
{
	uint32_t session = (uint32_t)number(call, 4), command = (uint32_t)number(call, 4);

	parameters(call);
	if (call->result)
		return;
	call->session = session_get(session, false);
	if (!call->session) {
		call->result = TEEC_ERROR_BAD_PARAMETERS;
		return;
	}
	call->result = teec.invoke(&call->session->teec, command, &call->operation, &call->origin);
}

static void close_session(struct call *call)
{
	struct session *session = session_get((uint32_t)number(call, 4), true);

	if (!session) {
		call->result = TEEC_ERROR_BAD_PARAMETERS;
		return;
	}
	pthread_mutex_lock(&lock);
	while (session->users > 1)
		pthread_cond_wait(&unused, &lock);
	pthread_mutex_unlock(&lock);
	teec.close(&session->teec);
	free(session);
}

/*
 * A request that the kernel gets before the call itself is lost there, and nobody is told: it is
 * made again while the call goes on, which does no harm.
 */
static void cancel(struct call *call)
{
	static const long pauses_ms[] = { 20, 100, 500, 2000 };
	uint32_t id = (uint32_t)number(call, 4);
	struct call *found = NULL;

	pthread_mutex_lock(&lock);
	for (found = calls; found; found = found->next) {
		if (found->id == id && found->running && (found->op == OPEN || found->op == INVOKE)) {
			found->users++;
			break;
		}
	}
	pthread_mutex_unlock(&lock);
	if (!found) {
		call->result = TEEC_ERROR_ITEM_NOT_FOUND;
		reply(call, "");
		return;
	}
	teec.cancel(&found->operation);
	reply(call, "");
	for (size_t n = 0; n < sizeof(pauses_ms) / sizeof(*pauses_ms); n++) {
		const struct timespec pause = { pauses_ms[n] / 1000, pauses_ms[n] % 1000 * 1000000 };
		bool running = false;

		nanosleep(&pause, NULL);
		pthread_mutex_lock(&lock);
		running = found->running;
		pthread_mutex_unlock(&lock);
		if (!running)
			break;
		teec.cancel(&found->operation);
	}
	call_put(found);
}

static void hello(struct call *call)
{
	static bool loaded;
	static TEEC_Result result;

	if (!loaded)
		result = teec_load(&teec);
	loaded = true;
	connected = !result;
	call->result = result;
	call->number = VERSION << 1 | teec.null_memrefs;
	reply(call, teec.about);
}

static void set_running(struct call *call, bool running)
{
	pthread_mutex_lock(&lock);
	call->running = running;
	pthread_mutex_unlock(&lock);
}

static void *run(void *argument)
{
	struct call *call = argument;

	call->origin = TEEC_ORIGIN_COMMS;
	set_running(call, true);
	if (call->op == CANCEL) {
		cancel(call);
		call_put(call);
		return NULL;
	}
	if (call->op == OPEN)
		open_session(call);
	else if (call->op == INVOKE)
		invoke(call);
	else
		close_session(call);
	set_running(call, false);
	reply(call, "");
	call_put(call);
	return NULL;
}

void calls_begin(uint32_t id, uint32_t op, uint8_t *body, size_t size)
{
	struct call *call = calloc(1, sizeof(*call));
	pthread_attr_t attributes;
	pthread_t thread;
	bool fits = false;

	if (!call)
		_exit(12);
	*call = (struct call){ .id = id, .op = op, .body = body, .size = size, .users = 1 };
	call->origin = TEEC_ORIGIN_COMMS;
	pthread_mutex_lock(&lock);
	call->next = calls;
	calls = call;
	fits = ++call_count <= CALLS_MAX;
	pthread_mutex_unlock(&lock);
	if (op == HELLO) {
		hello(call);
	} else if (op == QUIT) {
		reply(call, "");
		quit = true;
	} else if (op < OPEN || op > QUIT || !connected || !fits) {
		call->result = fits ? TEEC_ERROR_BAD_STATE : TEEC_ERROR_BUSY;
		reply(call, "");
	} else {
		pthread_attr_init(&attributes);
		pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
		pthread_attr_setstacksize(&attributes, STACK);
		if (!pthread_create(&thread, &attributes, run, call))
			return;
		call->result = TEEC_ERROR_OUT_OF_MEMORY;
		reply(call, "");
	}
	call_put(call);
}

bool calls_quit(void)
{
	return quit;
}

void calls_start(int wake)
{
	wake_fd = wake;
}
