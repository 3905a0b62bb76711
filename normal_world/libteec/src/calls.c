/* Sessions, commands and cancellation. */
#define _GNU_SOURCE
#include "internal.h"

#include <string.h>
#include <time.h>

/* TEE_PARAM_TYPE_* as frames have it; the memrefs follow the order of TEEC_MEMREF_TEMP_*. */
#define KIND_MEMREF_INPUT 5
#define KIND_MEMREF_OUTPUT 6
#define KIND_MEMREF_INOUT 7

/* A cancellation may overtake its call's beginning: how often to look again, and the time between. */
#define CANCEL_TRIES 50
#define CANCEL_PAUSE_NS 1000000L

static const struct lb_outcome success = { TEEC_SUCCESS, TEEC_ORIGIN_API };
static const struct lb_outcome bad = { TEEC_ERROR_BAD_PARAMETERS, TEEC_ORIGIN_API };

static struct lb_outcome put_temporary(struct lb_context *context, const TEEC_TempMemoryReference *given,
				       struct lb_param *param, struct lb_memref *memref)
{
	struct lb_outcome outcome = success;

	param->shm = LB_NO_SHM;
	if (!given->buffer)
		return given->size ? bad : success;
	outcome = lb_memref_temporary(context, given->buffer, given->size, memref);
	if (outcome.result == TEEC_SUCCESS) {
		param->shm = lb_memref_shm(memref);
		param->b = given->size;
	}
	return outcome;
}

static struct lb_outcome put_registered(struct lb_context *context, uint32_t type,
					const TEEC_RegisteredMemoryReference *given, struct lb_param *param,
					struct lb_memref *memref)
{
	bool whole = type == TEEC_MEMREF_WHOLE;
	uint32_t have = given->parent ? given->parent->flags & (TEEC_MEM_INPUT | TEEC_MEM_OUTPUT) : 0;
	uint32_t need = whole ? have : type - TEEC_MEMREF_WHOLE; /* 1, 2 and 3, as TEEC_MEM_* */
	struct lb_outcome outcome = success;

	if (!have || (have & need) != need)
		return bad;
	outcome = lb_memref_registered(context, given->parent, given->offset, given->size, whole, memref);
	if (outcome.result == TEEC_SUCCESS) {
		param->kind = KIND_MEMREF_INPUT + need - TEEC_MEM_INPUT;
		param->shm = lb_memref_shm(memref);
		param->a = memref->offset;
		param->b = memref->size;
	}
	return outcome;
}

static struct lb_outcome put_param(struct lb_context *context, uint32_t type, const TEEC_Parameter *given,
				   struct lb_param *param, struct lb_memref *memref)
{
	switch (type) {
	case TEEC_NONE:
		return success;
	case TEEC_VALUE_INPUT:
	case TEEC_VALUE_OUTPUT:
	case TEEC_VALUE_INOUT:
		*param = (struct lb_param){ .kind = type, .a = given->value.a, .b = given->value.b };
		return success;
	case TEEC_MEMREF_TEMP_INPUT:
	case TEEC_MEMREF_TEMP_OUTPUT:
	case TEEC_MEMREF_TEMP_INOUT:
		param->kind = type;
		return put_temporary(context, &given->tmpref, param, memref);
	case TEEC_MEMREF_WHOLE:
	case TEEC_MEMREF_PARTIAL_INPUT:
	case TEEC_MEMREF_PARTIAL_OUTPUT:
	case TEEC_MEMREF_PARTIAL_INOUT:
		return put_registered(context, type, &given->memref, param, memref);
	default:
		return bad;
	}
}

static struct lb_outcome put_params(struct lb_context *context, const TEEC_Operation *operation,
				    struct lb_param *params, struct lb_memref *memrefs)
{
	for (uint32_t n = 0; operation && n < LB_PARAMS; n++) {
		uint32_t type = TEEC_PARAM_TYPE_GET(operation->paramTypes, n);
		struct lb_outcome outcome =
			put_param(context, type, &operation->params[n], &params[n], &memrefs[n]);

		if (outcome.result != TEEC_SUCCESS)
			return outcome;
	}
	return success;
}

/* One output, if the reply has it: an error may come without. */
static void get_param(uint32_t type, TEEC_Parameter *given, const struct lb_param *sent,
		      const struct lb_param *got, const struct lb_memref *memref)
{
	size_t size = got->b > SIZE_MAX ? SIZE_MAX : (size_t)got->b;

	if (got->kind != sent->kind)
		return;
	switch (sent->kind) {
	case TEEC_VALUE_OUTPUT:
	case TEEC_VALUE_INOUT:
		given->value.a = (uint32_t)got->a;
		given->value.b = (uint32_t)got->b;
		return;
	case KIND_MEMREF_OUTPUT:
	case KIND_MEMREF_INOUT:
		lb_memref_copy_back(memref, size);
		if (type == TEEC_MEMREF_TEMP_OUTPUT || type == TEEC_MEMREF_TEMP_INOUT)
			given->tmpref.size = size;
		else
			given->memref.size = size;
		return;
	default:
		return;
	}
}

static void get_params(TEEC_Operation *operation, const struct lb_param *sent, const struct lb_param *got,
		       const struct lb_memref *memrefs)
{
	for (uint32_t n = 0; operation && n < LB_PARAMS; n++)
		get_param(TEEC_PARAM_TYPE_GET(operation->paramTypes, n), &operation->params[n], &sent[n], &got[n],
			  &memrefs[n]);
}

static void begin_call(struct lb_context *context, TEEC_Operation *operation, struct lb_call *call)
{
	pthread_mutex_lock(&lb_lock);
	*call = (struct lb_call){ .next = context->calls, .operation = operation, .id = ++context->next_call };
	context->calls = call;
	if (operation)
		__atomic_store_n(&operation->started, 1, __ATOMIC_RELEASE); /* read without the lock */
	pthread_mutex_unlock(&lb_lock);
}

static void end_call(struct lb_context *context, struct lb_call *call)
{
	struct lb_call **at = &context->calls;

	pthread_mutex_lock(&lb_lock);
	while (*at && *at != call)
		at = &(*at)->next;
	if (*at)
		*at = call->next;
	pthread_mutex_unlock(&lb_lock);
}

/* Sends a request with its call and parameters filled in, and takes the answer. */
static struct lb_outcome make_call(struct lb_context *context, TEEC_Operation *operation, void *frame, size_t size,
				   uint64_t *call_id, struct lb_param *params, uint32_t *session)
{
	struct lb_memref memrefs[LB_PARAMS] = { 0 };
	struct lb_call call;
	struct lb_reply reply;
	struct lb_outcome outcome = success;

	begin_call(context, operation, &call);
	*call_id = call.id;
	outcome = put_params(context, operation, params, memrefs);
	if (outcome.result == TEEC_SUCCESS)
		outcome = lb_request(context, frame, size, -1, &call, &reply);
	end_call(context, &call);
	if (outcome.result == TEEC_SUCCESS) {
		outcome = (struct lb_outcome){ reply.result, reply.origin };
		get_params(operation, params, reply.params, memrefs);
		if (session)
			*session = reply.id;
	}
	for (size_t n = 0; n < LB_PARAMS; n++)
		lb_memref_end(context, &memrefs[n]);
	return outcome;
}

static TEEC_Result answer(struct lb_outcome outcome, uint32_t *origin)
{
	if (origin)
		*origin = outcome.origin;
	return outcome.result;
}

/* Octets in RFC 4122's order. */
static void uuid_octets(const TEEC_UUID *uuid, uint8_t *octets)
{
	for (int n = 0; n < 4; n++)
		octets[n] = (uint8_t)(uuid->timeLow >> (24 - 8 * n));
	octets[4] = (uint8_t)(uuid->timeMid >> 8);
	octets[5] = (uint8_t)uuid->timeMid;
	octets[6] = (uint8_t)(uuid->timeHiAndVersion >> 8);
	octets[7] = (uint8_t)uuid->timeHiAndVersion;
	memcpy(octets + 8, uuid->clockSeqAndNode, sizeof(uuid->clockSeqAndNode));
}

TEEC_Result TEEC_OpenSession(TEEC_Context *context, TEEC_Session *session, const TEEC_UUID *destination,
			     uint32_t login, const void *login_data, TEEC_Operation *operation, uint32_t *origin)
{
	struct lb_open_session request = { .header = lb_header(LB_OP_OPEN_SESSION, sizeof(request)),
					   .login = login };
	struct lb_context *found = NULL;
	struct lb_outcome outcome = success;
	uint32_t id = 0;

	if (!context || !session || !destination)
		return answer(bad, origin);
	uuid_octets(destination, request.uuid);
	if (login == TEEC_LOGIN_GROUP || login == TEEC_LOGIN_GROUP_APPLICATION) {
		if (!login_data)
			return answer(bad, origin);
		memcpy(&request.login_data, login_data, sizeof(request.login_data));
	}
	found = lb_context_get(context);
	if (!found)
		return answer(bad, origin);
	outcome = make_call(found, operation, &request, sizeof(request), &request.call, request.params, &id);
	lb_context_put(found);
	if (outcome.result == TEEC_SUCCESS) {
		session->imp.ctx = context;
		session->imp.session_id = id;
	}
	return answer(outcome, origin);
}

void TEEC_CloseSession(TEEC_Session *session)
{
	struct lb_context *found = session ? lb_context_get(session->imp.ctx) : NULL;

	if (!found)
		return;
	lb_command(found, LB_OP_CLOSE_SESSION, session->imp.session_id);
	lb_context_put(found);
}

TEEC_Result TEEC_InvokeCommand(TEEC_Session *session, uint32_t command, TEEC_Operation *operation, uint32_t *origin)
{
	struct lb_invoke request = { .header = lb_header(LB_OP_INVOKE, sizeof(request)), .command = command };
	struct lb_context *found = session ? lb_context_get(session->imp.ctx) : NULL;
	struct lb_outcome outcome = success;

	if (!found)
		return answer(bad, origin);
	request.session = session->imp.session_id;
	if (operation)
		operation->imp.session = session; /* as optee_client leaves it; nothing here reads it */
	outcome = make_call(found, operation, &request, sizeof(request), &request.call, request.params, NULL);
	lb_context_put(found);
	return answer(outcome, origin);
}

/* The call of that operation's, if it is in flight: its context (referenced) and number. */
static bool call_in_flight(const TEEC_Operation *operation, struct lb_context **context, uint64_t *id, bool *sent)
{
	struct lb_call *call = NULL;

	pthread_mutex_lock(&lb_lock);
	for (*context = lb_contexts(); *context; *context = (*context)->next) {
		for (call = (*context)->calls; call && call->operation != operation; call = call->next)
			;
		if (call)
			break;
	}
	if (call) {
		(*context)->references++;
		*id = call->id;
		*sent = call->sent;
		call->cancel = true;
	}
	pthread_mutex_unlock(&lb_lock);
	return call != NULL;
}

/* The daemon may not have read a call that was sent; then it knows of none until it has. */
static void cancel_until_known(struct lb_context *context, const TEEC_Operation *operation, uint64_t id)
{
	const struct timespec pause = { .tv_nsec = CANCEL_PAUSE_NS };

	for (int n = 0; n < LB_CANCEL_TRIES && lb_cancel_call(context, id) == TEEC_ERROR_ITEM_NOT_FOUND; n++) {
		struct lb_context *still = NULL;
		uint64_t now = 0;
		bool sent = false;

		if (!call_in_flight(operation, &still, &now, &sent))
			return;
		lb_context_put(still);
		if (now != id)
			return;
		nanosleep(&pause, NULL);
	}
}

/*
 * An operation that has not begun (started is 0) may begin in a moment, in another thread: that is
 * waited for, but not for ever, since one that never begins is nothing to cancel.
 */
void TEEC_RequestCancellation(TEEC_Operation *operation)
{
	const struct timespec pause = { .tv_nsec = CANCEL_PAUSE_NS };

	for (int n = 0; operation && n < CANCEL_TRIES; n++) {
		struct lb_context *context = NULL;
		uint64_t id = 0;
		bool sent = false;

		if (call_in_flight(operation, &context, &id, &sent)) {
			/* Not sent: the thread that sends it looks at the mark, and cancels after. */
			if (sent)
				cancel_until_known(context, operation, id);
			lb_context_put(context);
			return;
		}
		if (__atomic_load_n(&operation->started, __ATOMIC_ACQUIRE))
			return;
		nanosleep(&pause, NULL);
	}
}
