/*
 * The parts of the library among themselves.
 *
 * Public structs hold numbers only (a descriptor, a handle); state is in objects of the library's
 * own, found through tables, so that copies of a struct are as good as the struct, and one that was
 * cleared finds nothing. One lock guards all tables and lists; nobody waits for the daemon under it.
 */
#ifndef LITEBOX_INTERNAL_H
#define LITEBOX_INTERNAL_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "protocol.h"
#include "tee_client_api.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "frames are little-endian"
#endif

/* How often a cancellation is sent, a millisecond apart, to a daemon that has not read the call yet. */
#define LB_CANCEL_TRIES 5000

struct lb_connection {
	struct lb_connection *next;
	int fd;
	bool busy;
};

/* A call in flight; on the stack of the thread that makes it. */
struct lb_call {
	struct lb_call *next;
	const TEEC_Operation *operation;
	uint64_t id;
	bool sent;
	bool cancel; /* asked for before the request was sent */
};

struct lb_object;

/* A context of a TEEC_Context. References: one of the table, one of each thread that uses it. */
struct lb_context {
	struct lb_context *next;
	unsigned references;
	uint8_t token[LB_TOKEN_SIZE];
	struct lb_connection key; /* key.fd is TEEC_Context's: open, whatever happens, until the end */
	struct lb_connection *others;
	struct lb_call *calls;
	struct lb_object *shadows; /* idle ones, for temporary memory */
	unsigned shadow_count;
	uint64_t next_call;
	bool inherited; /* by fork: the connections are the parent's, and key stands in for none of ours */
	bool lost;	/* the daemon hung up, or spoke nonsense */
	bool finalized;
};

/* What a request came to. origin: TEEC_ORIGIN_*. */
struct lb_outcome {
	TEEC_Result result;
	uint32_t origin;
};

extern pthread_mutex_t lb_lock;

/* The context of that descriptor, with a reference for the caller; NULL if there is none. */
struct lb_context *lb_context_get(const TEEC_Context *context);
void lb_context_put(struct lb_context *context);

/* The first of all contexts; under the lock. */
struct lb_context *lb_contexts(void);

/* The child's part of a fork, under the lock: calls of other threads hold no objects any more. */
void lb_objects_forked(void);
/* Unmaps the idle shadows without a word to the daemon; nobody else may be at them. */
void lb_shadows_free(struct lb_context *context);
/* Forgets the context's objects; those that the program sees stay mapped until it releases them. */
void lb_objects_orphan(struct lb_context *context);

/*
 * Sends a request on an idle connection, and receives its reply into *reply, checked. Returns
 * SUCCESS if there is a reply (whatever its result), else what to tell the caller. `call`: the
 * record to mark as sent, or NULL.
 */
struct lb_outcome lb_request(struct lb_context *context, const void *frame, size_t size, int pass_fd,
			     struct lb_call *call, struct lb_reply *reply);

/* As lb_request, for requests whose reply holds no more than a result. */
struct lb_outcome lb_command(struct lb_context *context, uint16_t op, uint32_t id);
/* LB_OP_CANCEL of a call. */
TEEC_Result lb_cancel_call(struct lb_context *context, uint64_t call);

struct lb_header lb_header(uint16_t op, size_t size);

/* How one parameter's memory reaches the daemon during a call. */
struct lb_memref {
	struct lb_object *object; /* referenced; NULL: none */
	bool temporary;		  /* object is a shadow of the context's */
	bool copied;		  /* object's memory is not the program's */
	uint8_t *program;	  /* the referenced bytes as the program sees them */
	uint8_t *shared;	  /* the same bytes as the daemon sees them */
	size_t size;		  /* offered, bytes */
	size_t offset;		  /* in the object, bytes */
};

/* A shadow for `size` bytes, filled from `program`. */
struct lb_outcome lb_memref_temporary(struct lb_context *context, void *program, size_t size,
				      struct lb_memref *memref);
/* Part of registered or allocated memory, filled from the program's if that is another. */
struct lb_outcome lb_memref_registered(struct lb_context *context, const TEEC_SharedMemory *memory, size_t offset,
				       size_t size, bool whole, struct lb_memref *memref);
/* Copies outputs back: `size` bytes, no more than was offered. */
void lb_memref_copy_back(const struct lb_memref *memref, size_t size);
void lb_memref_end(struct lb_context *context, struct lb_memref *memref);
/* The daemon's number of the memref's object. */
uint32_t lb_memref_shm(const struct lb_memref *memref);

#endif
