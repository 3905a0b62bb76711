/* Contexts, their connections, and one request at a time on each. */
#define _GNU_SOURCE
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "transport.h"

/* The one TEE besides the default, by OP-TEE's name for itself on TrustZone. */
#define TEE_NAME "optee-tz"

#define SPIN_US_DEFAULT 50
#define SPIN_US_MAX 1000000

/* Idle connections that a context keeps beyond its first. */
#define IDLE_CONNECTIONS_MAX 8

pthread_mutex_t lb_lock = PTHREAD_MUTEX_INITIALIZER;

static struct lb_context *contexts;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static unsigned spin_us;
static atomic_int spinners;

static const struct lb_outcome success = { TEEC_SUCCESS, TEEC_ORIGIN_API };
static const struct lb_outcome lost = { TEEC_ERROR_COMMUNICATION, TEEC_ORIGIN_COMMS };
static const struct lb_outcome untrusted = { TEEC_ERROR_ACCESS_DENIED, TEEC_ORIGIN_API };
static const struct lb_outcome no_room = { TEEC_ERROR_OUT_OF_MEMORY, TEEC_ORIGIN_COMMS };

static void before_fork(void)
{
	pthread_mutex_lock(&lb_lock);
}

static void after_fork_in_parent(void)
{
	pthread_mutex_unlock(&lb_lock);
}

/*
 * The parent's connections are not to be spoken on. All but the first are closed, lest the child
 * keeps a call of the parent's alive; the first is kept until the child has one of its own, lest
 * the daemon ends the context when the parent goes first.
 */
static void after_fork_in_child(void)
{
	for (struct lb_context *context = contexts; context; context = context->next) {
		while (context->others) {
			struct lb_connection *connection = context->others;

			context->others = connection->next;
			close(connection->fd);
			free(connection);
		}
		context->key.busy = true;
		context->inherited = true;
		context->references = 1;
		context->calls = NULL;
		context->next_call = (uint64_t)getpid() << 32;
		lb_shadows_free(context); /* the parent goes on using them */
	}
	atomic_store(&spinners, 0);
	lb_objects_forked();
	pthread_mutex_unlock(&lb_lock);
}

static unsigned spin_from_environment(void)
{
	const char *text = secure_getenv("LITEBOX_SPIN_US");
	char *end = NULL;
	unsigned long value = SPIN_US_DEFAULT;
	cpu_set_t processors;

	CPU_ZERO(&processors);
	if (!sched_getaffinity(0, sizeof(processors), &processors) && CPU_COUNT(&processors) == 1)
		return 0;
	if (text && *text) {
		value = strtoul(text, &end, 10);
		if (*end || value > SPIN_US_MAX)
			value = SPIN_US_DEFAULT;
	}
	return (unsigned)value;
}

static void set_up(void)
{
	spin_us = spin_from_environment();
	pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

/* Where the daemon listens (normal_world/protocol.py has the same order). */
static void socket_path(char *path, size_t room)
{
	const char *given = secure_getenv("LITEBOX_SOCKET");
	const char *runtime = secure_getenv("XDG_RUNTIME_DIR");
	int length = 0;

	if (given && *given)
		length = snprintf(path, room, "%s", given);
	else if (runtime && *runtime && geteuid() != 0)
		length = snprintf(path, room, "%s/litebox/tee.sock", runtime);
	else
		length = snprintf(path, room, "/run/litebox/tee.sock");
	if (length < 0 || (size_t)length >= room)
		path[0] = '\0';
}

struct lb_header lb_header(uint16_t op, size_t size)
{
	return (struct lb_header){ .version = LB_PROTOCOL_VERSION, .op = op, .length = (uint32_t)size };
}

/* Waits for the reply to `op`; false: none came, or none that can be believed. */
static bool receive_reply(int fd, uint16_t op, struct lb_reply *reply)
{
	/* One spinner a process: a second would take a processor from whoever computes. */
	unsigned spin = spin_us && atomic_fetch_add(&spinners, 1) == 0 ? spin_us : 0;
	ssize_t size = lb_receive(fd, reply, sizeof(*reply), NULL, spin);

	if (spin_us)
		atomic_fetch_sub(&spinners, 1);
	return size == (ssize_t)sizeof(*reply) && reply->header.length == sizeof(*reply) &&
	       reply->header.version == LB_PROTOCOL_VERSION && reply->header.op == op;
}

/*
 * The daemon runs as root, as us, or as LITEBOX_SERVER_UID says: somebody else may have taken the path of the socket. The
 * kernel names who called listen(2); normal_world/serving.py has the same rule.
 */
static bool server_is_trusted(int fd)
{
	const char *text = secure_getenv("LITEBOX_SERVER_UID");
	struct ucred server;
	socklen_t size = sizeof(server);
	char *end = NULL;
	unsigned long long given = 0;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &server, &size) || size != sizeof(server))
		return false;
	if (server.uid == 0 || server.uid == geteuid())
		return true;
	if (!text || *text < '0' || *text > '9')
		return false;
	given = strtoull(text, &end, 10);
	return !*end && given == server.uid;
}

/* Connects and says hello with `token`; *fd is the connection, and `token` the context's. */
static struct lb_outcome connect_with(uint8_t *token, int *fd)
{
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	struct lb_hello hello = { .header = lb_header(LB_OP_HELLO, sizeof(hello)) };
	static const uint8_t nobody[LB_TOKEN_SIZE];
	struct lb_reply reply;
	int connection = -1;

	socket_path(path, sizeof(path));
	connection = lb_connect(path);
	if (connection == -EMFILE || connection == -ENFILE || connection == -ENOMEM || connection == -ENOBUFS)
		return no_room;
	if (connection < 0)
		return lost;
	if (!server_is_trusted(connection)) {
		close(connection);
		return untrusted;
	}
	memcpy(hello.token, token, sizeof(hello.token));
	if (lb_send(connection, &hello, sizeof(hello), -1) || !receive_reply(connection, LB_OP_HELLO, &reply)) {
		close(connection);
		return lost;
	}
	if (reply.result != TEEC_SUCCESS) {
		close(connection);
		return (struct lb_outcome){ reply.result, reply.origin };
	}
	/* A context that is not the one asked for, or is none, would mix up two clients' numbers. */
	if (!memcmp(reply.token, nobody, sizeof(nobody)) ||
	    (memcmp(token, nobody, sizeof(nobody)) && memcmp(token, reply.token, sizeof(nobody)))) {
		close(connection);
		return lost;
	}
	memcpy(token, reply.token, sizeof(reply.token));
	*fd = connection;
	return success;
}

struct lb_context *lb_context_get(const TEEC_Context *context)
{
	struct lb_context *found = NULL;

	if (!context)
		return NULL;
	pthread_mutex_lock(&lb_lock);
	for (found = contexts; found; found = found->next) {
		if (found->key.fd == context->imp.fd) {
			found->references++;
			break;
		}
	}
	pthread_mutex_unlock(&lb_lock);
	return found;
}

struct lb_context *lb_contexts(void)
{
	return contexts;
}

void lb_context_put(struct lb_context *context)
{
	bool last = false;

	pthread_mutex_lock(&lb_lock);
	last = --context->references == 0;
	pthread_mutex_unlock(&lb_lock);
	if (!last)
		return;
	lb_shadows_free(context);
	while (context->others) {
		struct lb_connection *connection = context->others;

		context->others = connection->next;
		close(connection->fd);
		free(connection);
	}
	close(context->key.fd);
	free(context);
}

/* An idle connection, now busy; NULL: there is none. */
static struct lb_connection *take_idle(struct lb_context *context)
{
	struct lb_connection *found = NULL;

	if (!context->key.busy)
		found = &context->key;
	for (struct lb_connection *one = context->others; one && !found; one = one->next)
		if (!one->busy)
			found = one;
	if (found)
		found->busy = true;
	return found;
}

/* A new connection of the context's, busy, in *out. */
static struct lb_outcome open_another(struct lb_context *context, struct lb_connection **out)
{
	struct lb_connection *connection = calloc(1, sizeof(*connection));
	uint8_t token[LB_TOKEN_SIZE];
	struct lb_outcome outcome = success;

	if (!connection)
		return no_room;
	memcpy(token, context->token, sizeof(token));
	outcome = connect_with(token, &connection->fd);
	if (outcome.result != TEEC_SUCCESS) {
		free(connection);
		return outcome;
	}
	connection->busy = true;
	*out = connection;
	pthread_mutex_lock(&lb_lock);
	if (context->inherited && dup3(connection->fd, context->key.fd, O_CLOEXEC) >= 0) {
		/* The child's own first connection takes the place of its parent's. */
		close(connection->fd);
		free(connection);
		context->inherited = false;
		*out = &context->key;
	} else {
		connection->next = context->others;
		context->others = connection;
	}
	pthread_mutex_unlock(&lb_lock);
	return success;
}

static struct lb_outcome take_connection(struct lb_context *context, struct lb_connection **out)
{
	struct lb_outcome outcome = success;
	bool gone = false;

	pthread_mutex_lock(&lb_lock);
	gone = context->lost || context->finalized;
	*out = gone ? NULL : take_idle(context);
	pthread_mutex_unlock(&lb_lock);
	if (gone)
		return lost;
	if (*out)
		return success;
	outcome = open_another(context, out);
	if (outcome.result == lost.result && outcome.origin == lost.origin) {
		pthread_mutex_lock(&lb_lock);
		context->lost = true;
		pthread_mutex_unlock(&lb_lock);
	}
	return outcome;
}

static void unlink_connection(struct lb_context *context, struct lb_connection *connection)
{
	struct lb_connection **at = &context->others;

	while (*at && *at != connection)
		at = &(*at)->next;
	if (*at)
		*at = connection->next;
}

/* broken: nothing is ever to be sent on it again, nor on the context's others. */
static void give_connection(struct lb_context *context, struct lb_connection *connection, bool broken)
{
	unsigned idle = 0;
	bool surplus = false;

	pthread_mutex_lock(&lb_lock);
	if (broken)
		context->lost = true;
	else
		connection->busy = false;
	if (connection != &context->key) {
		for (struct lb_connection *one = context->others; one; one = one->next)
			idle += !one->busy;
		surplus = broken || idle > IDLE_CONNECTIONS_MAX;
		if (surplus)
			unlink_connection(context, connection);
	}
	pthread_mutex_unlock(&lb_lock);
	if (surplus) {
		close(connection->fd);
		free(connection);
	}
}

/* Marks the call as sent; true: somebody wanted it cancelled before it was. */
static bool mark_sent(struct lb_call *call)
{
	bool cancel = false;

	pthread_mutex_lock(&lb_lock);
	call->sent = true;
	cancel = call->cancel;
	pthread_mutex_unlock(&lb_lock);
	return cancel;
}

struct lb_outcome lb_request(struct lb_context *context, const void *frame, size_t size, int pass_fd,
			     struct lb_call *call, struct lb_reply *reply)
{
	uint16_t op = ((const struct lb_header *)frame)->op;
	struct lb_connection *connection = NULL;
	struct lb_outcome outcome = take_connection(context, &connection);
	bool good = false;

	if (outcome.result != TEEC_SUCCESS)
		return outcome;
	good = lb_send(connection->fd, frame, size, pass_fd) == 0;
	if (good && call && mark_sent(call)) {
		/* The daemon may not have read the call yet, and so not know of it; no longer once it has answered. */
		struct pollfd answered = { .fd = connection->fd, .events = POLLIN };

		for (int n = 0; n < LB_CANCEL_TRIES && poll(&answered, 1, 0) == 0 &&
				lb_cancel_call(context, call->id) == TEEC_ERROR_ITEM_NOT_FOUND;
		     n++)
			poll(&answered, 1, 1);
	}
	good = good && receive_reply(connection->fd, op, reply);
	give_connection(context, connection, !good);
	return good ? success : lost;
}

struct lb_outcome lb_command(struct lb_context *context, uint16_t op, uint32_t id)
{
	struct lb_handle request = { .header = lb_header(op, sizeof(request)), .id = id };
	struct lb_reply reply;
	struct lb_outcome outcome = lb_request(context, &request, sizeof(request), -1, NULL, &reply);

	if (outcome.result != TEEC_SUCCESS)
		return outcome;
	return (struct lb_outcome){ reply.result, reply.origin };
}

TEEC_Result lb_cancel_call(struct lb_context *context, uint64_t call)
{
	struct lb_cancel request = { .header = lb_header(LB_OP_CANCEL, sizeof(request)), .call = call };
	struct lb_reply reply;
	struct lb_outcome outcome = lb_request(context, &request, sizeof(request), -1, NULL, &reply);

	return outcome.result == TEEC_SUCCESS ? reply.result : outcome.result;
}

TEEC_Result TEEC_InitializeContext(const char *name, TEEC_Context *context)
{
	struct lb_context *made = NULL;
	struct lb_outcome outcome = success;

	if (!context)
		return TEEC_ERROR_BAD_PARAMETERS;
	if (name && strcmp(name, TEE_NAME))
		return TEEC_ERROR_ITEM_NOT_FOUND;
	pthread_once(&once, set_up);
	made = calloc(1, sizeof(*made));
	if (!made)
		return TEEC_ERROR_OUT_OF_MEMORY;
	outcome = connect_with(made->token, &made->key.fd);
	if (outcome.result != TEEC_SUCCESS) {
		free(made);
		/* No daemon is no TEE. */
		return outcome.result == lost.result ? TEEC_ERROR_ITEM_NOT_FOUND : outcome.result;
	}
	made->references = 1;
	made->next_call = (uint64_t)getpid() << 32;
	context->imp.fd = made->key.fd;
	context->imp.reg_mem = true;
	context->imp.memref_null = true;
	pthread_mutex_lock(&lb_lock);
	made->next = contexts;
	contexts = made;
	pthread_mutex_unlock(&lb_lock);
	return TEEC_SUCCESS;
}

void TEEC_FinalizeContext(TEEC_Context *context)
{
	struct lb_context **at = &contexts;
	struct lb_context *found = NULL;

	if (!context)
		return;
	pthread_mutex_lock(&lb_lock);
	while (*at && (*at)->key.fd != context->imp.fd)
		at = &(*at)->next;
	found = *at;
	if (found) {
		*at = found->next;
		found->finalized = true;
		lb_objects_orphan(found);
	}
	pthread_mutex_unlock(&lb_lock);
	if (found)
		lb_context_put(found);
}
