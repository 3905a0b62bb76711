/*
 * Shared memory: memfds that the daemon maps too. What a program allocates is one; memory that is
 * the program's own (registered, or given with a call) has one for a shadow, and is copied.
 */
#define _GNU_SOURCE
#include "internal.h"

#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tee_client_api_extensions.h"

#define FLAGS_ALL (TEEC_MEM_INPUT | TEEC_MEM_OUTPUT)
#define SEALS_SIZE (F_SEAL_SHRINK | F_SEAL_GROW)

#define SHADOW_MIN ((size_t)4096)
#define SHADOW_MAX ((size_t)4 << 20) /* bytes; a larger one is not kept */
#define SHADOWS_MAX 8		     /* idle ones that a context keeps */

#define BUCKETS 256

enum object_kind { ALLOCATED, REGISTERED, DESCRIPTOR, SHADOW };

/* References: one of the table (or of the one call that has the shadow), one of each call that uses it. */
struct lb_object {
	struct lb_object *next;
	enum object_kind kind;
	unsigned references;
	int handle;		    /* TEEC_SharedMemory's imp.id */
	uint32_t shm;		    /* the daemon's number */
	pid_t owner;		    /* who registered it; a child's release is not the parent's */
	struct lb_context *context; /* NULL once that is finalized; not a reference */
	uint8_t *program;	    /* REGISTERED: the program's memory */
	uint8_t *mapping;	    /* NULL for DESCRIPTOR */
	size_t mapped;
	size_t size;
};

static struct lb_object *table[BUCKETS];
static int last_handle;

static const struct lb_outcome success = { TEEC_SUCCESS, TEEC_ORIGIN_API };
static const struct lb_outcome bad = { TEEC_ERROR_BAD_PARAMETERS, TEEC_ORIGIN_API };
static const struct lb_outcome no_memory = { TEEC_ERROR_OUT_OF_MEMORY, TEEC_ORIGIN_API };

/* Under the lock. */
static struct lb_object **find(int handle)
{
	struct lb_object **at = &table[(unsigned)handle % BUCKETS];

	while (*at && (*at)->handle != handle)
		at = &(*at)->next;
	return at;
}

/*
 * Makes the context's object known; false: another thread has finalized the context meanwhile. What it orphaned then did
 * not have this object, which would be left with a pointer to a context that is freed.
 */
static bool enter(struct lb_context *context, struct lb_object *object)
{
	bool late = false;

	pthread_mutex_lock(&lb_lock);
	late = context->finalized;
	if (!late) {
		do
			last_handle = last_handle == INT_MAX ? 1 : last_handle + 1;
		while (*find(last_handle));
		object->handle = last_handle;
		*find(object->handle) = object;
	}
	pthread_mutex_unlock(&lb_lock);
	return !late;
}

static void unmap(struct lb_object *object)
{
	if (object->mapping)
		munmap(object->mapping, object->mapped);
	free(object);
}

/* Nobody uses the object any more; `context` is referenced, or NULL when it is no more. */
static void destroy(struct lb_context *context, struct lb_object *object)
{
	if (context && object->owner == getpid())
		lb_command(context, LB_OP_RELEASE_SHM, object->shm);
	unmap(object);
}

/* An empty memfd that nobody can resize, mapped; its descriptor, or -1. size: a multiple of the page's. */
static int make_file(size_t size, uint8_t **mapping)
{
	void *address = MAP_FAILED;
	int fd = memfd_create("litebox-shm", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0)
		return -1;
	if (!ftruncate(fd, (off_t)size) && !fcntl(fd, F_ADD_SEALS, SEALS_SIZE | F_SEAL_SEAL))
		address = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (address == MAP_FAILED) {
		close(fd);
		return -1;
	}
	*mapping = address;
	return fd;
}

static struct lb_outcome register_file(struct lb_context *context, int fd, size_t size, uint32_t *shm)
{
	struct lb_register_shm request = { .header = lb_header(LB_OP_REGISTER_SHM, sizeof(request)), .size = size };
	struct lb_reply reply;
	struct lb_outcome outcome = lb_request(context, &request, sizeof(request), fd, NULL, &reply);

	if (outcome.result != TEEC_SUCCESS)
		return outcome;
	*shm = reply.id;
	return (struct lb_outcome){ reply.result, reply.origin };
}

/* Memory of ours for `size` bytes, known to the daemon. */
static struct lb_outcome make_object(struct lb_context *context, enum object_kind kind, size_t size,
				     struct lb_object **out)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t wanted = size ? size : 1; /* what is empty has an address too */
	struct lb_object *object = NULL;
	struct lb_outcome outcome = success;
	int fd = -1;

	/* No object is larger than half of the address space. */
	if (wanted > SIZE_MAX / 2 - page)
		return no_memory;
	object = calloc(1, sizeof(*object));
	if (!object)
		return no_memory;
	object->mapped = (wanted + page - 1) / page * page;
	fd = make_file(object->mapped, &object->mapping);
	if (fd < 0) {
		free(object);
		return no_memory;
	}
	outcome = register_file(context, fd, wanted, &object->shm);
	close(fd);
	if (outcome.result != TEEC_SUCCESS) {
		unmap(object);
		return outcome;
	}
	object->kind = kind;
	object->references = 1;
	object->owner = getpid();
	object->context = context;
	object->size = size;
	*out = object;
	return success;
}

/* --- shadows of temporary memory */

void lb_shadows_free(struct lb_context *context)
{
	while (context->shadows) {
		struct lb_object *object = context->shadows;

		context->shadows = object->next;
		unmap(object);
	}
	context->shadow_count = 0;
}

static size_t shadow_size(size_t size)
{
	size_t room = SHADOW_MIN;

	if (size > SHADOW_MAX)
		return size;
	while (room < size)
		room *= 2;
	return room;
}

/* An idle shadow of exactly that size; 0: of any, the one that was used longest ago. */
static struct lb_object *take_shadow(struct lb_context *context, size_t size)
{
	struct lb_object **found = NULL;
	struct lb_object *object = NULL;

	pthread_mutex_lock(&lb_lock);
	for (struct lb_object **at = &context->shadows; *at; at = &(*at)->next) {
		if (!size || (*at)->size == size) {
			found = at;
			if (size)
				break;
		}
	}
	if (found) {
		object = *found;
		*found = object->next;
		context->shadow_count--;
	}
	pthread_mutex_unlock(&lb_lock);
	return object;
}

static void give_shadow(struct lb_context *context, struct lb_object *object)
{
	bool full = false;

	if (object->size > SHADOW_MAX) {
		destroy(context, object);
		return;
	}
	pthread_mutex_lock(&lb_lock);
	object->next = context->shadows;
	context->shadows = object;
	full = ++context->shadow_count > SHADOWS_MAX;
	pthread_mutex_unlock(&lb_lock);
	if (full && (object = take_shadow(context, 0)))
		destroy(context, object);
}

struct lb_outcome lb_memref_temporary(struct lb_context *context, void *program, size_t size,
				      struct lb_memref *memref)
{
	size_t room = shadow_size(size);
	struct lb_object *object = take_shadow(context, room);
	struct lb_object *idle = NULL;
	struct lb_outcome outcome = success;

	if (!object)
		outcome = make_object(context, SHADOW, room, &object);
	if (outcome.result == TEEC_ERROR_OUT_OF_MEMORY) {
		/* Idle shadows may be what is in the way. */
		while ((idle = take_shadow(context, 0)))
			destroy(context, idle);
		outcome = make_object(context, SHADOW, room, &object);
	}
	if (outcome.result != TEEC_SUCCESS)
		return outcome;
	*memref = (struct lb_memref){ .object = object, .temporary = true, .copied = true, .program = program,
				      .shared = object->mapping, .size = size };
	/* Outputs too: what the trusted application does not write is to stay, as it would in shared memory. */
	if (size)
		memcpy(memref->shared, memref->program, size);
	return success;
}

/* --- memory that has a TEEC_SharedMemory */

struct lb_outcome lb_memref_registered(struct lb_context *context, const TEEC_SharedMemory *memory, size_t offset,
				       size_t size, bool whole, struct lb_memref *memref)
{
	struct lb_object *object = NULL;

	if (whole) {
		offset = 0;
		size = memory->size;
	}
	if (offset > memory->size || size > memory->size - offset)
		return bad;
	pthread_mutex_lock(&lb_lock);
	object = *find(memory->imp.id);
	if (object && (object->context != context || memory->size > object->size))
		object = NULL;
	if (object)
		object->references++;
	pthread_mutex_unlock(&lb_lock);
	if (!object)
		return bad;
	*memref = (struct lb_memref){ .object = object, .copied = object->kind == REGISTERED, .size = size,
				      .offset = offset };
	if (memref->copied) {
		memref->program = object->program + offset;
		memref->shared = object->mapping + offset;
		memcpy(memref->shared, memref->program, size);
	}
	return success;
}

void lb_memref_copy_back(const struct lb_memref *memref, size_t size)
{
	size_t count = size < memref->size ? size : memref->size;

	if (memref->copied && count)
		memcpy(memref->program, memref->shared, count);
}

uint32_t lb_memref_shm(const struct lb_memref *memref)
{
	return memref->object ? memref->object->shm : LB_NO_SHM;
}

void lb_memref_end(struct lb_context *context, struct lb_memref *memref)
{
	struct lb_object *object = memref->object;
	bool last = false;

	if (!object)
		return;
	memref->object = NULL;
	if (memref->temporary) {
		give_shadow(context, object);
		return;
	}
	pthread_mutex_lock(&lb_lock);
	last = --object->references == 0;
	pthread_mutex_unlock(&lb_lock);
	if (last)
		destroy(context, object);
}

void lb_objects_forked(void)
{
	for (size_t n = 0; n < BUCKETS; n++)
		for (struct lb_object *object = table[n]; object; object = object->next)
			object->references = 1;
}

void lb_objects_orphan(struct lb_context *context)
{
	for (size_t n = 0; n < BUCKETS; n++) {
		struct lb_object **at = &table[n];

		while (*at) {
			struct lb_object *object = *at;

			if (object->context != context) {
				at = &object->next;
				continue;
			}
			object->context = NULL;
			if (object->kind == ALLOCATED) {
				/* The program may still look at it, and release it. */
				at = &object->next;
				continue;
			}
			*at = object->next;
			if (--object->references == 0)
				unmap(object);
		}
	}
}

/* --- the interface */

static bool flags_are_good(const TEEC_SharedMemory *memory)
{
	return memory->flags && !(memory->flags & ~(uint32_t)FLAGS_ALL);
}

static void describe(TEEC_SharedMemory *memory, const struct lb_object *object)
{
	memory->imp.id = object->handle;
	memory->imp.alloced_size = object->mapped;
	memory->imp.shadow_buffer = object->kind == REGISTERED ? object->mapping : NULL;
	memory->imp.registered_fd = -1;
	memory->imp.flags = 0;
}

/* An object for *memory. program: whose shadow it is to be, or NULL. */
static TEEC_Result make(TEEC_Context *context, TEEC_SharedMemory *memory, enum object_kind kind, void *program)
{
	struct lb_context *found = lb_context_get(context);
	struct lb_object *object = NULL;
	TEEC_Result result = TEEC_ERROR_BAD_PARAMETERS;

	if (!found)
		return result;
	result = make_object(found, kind, memory->size, &object).result;
	if (result == TEEC_SUCCESS) {
		object->program = program;
		if (enter(found, object)) {
			describe(memory, object);
			if (kind == ALLOCATED)
				memory->buffer = object->mapping;
		} else {
			destroy(found, object);
			result = TEEC_ERROR_BAD_PARAMETERS;
		}
	}
	if (result != TEEC_SUCCESS)
		memory->imp.id = -1; /* releasing it is releasing nothing */
	lb_context_put(found);
	return result;
}

TEEC_Result TEEC_AllocateSharedMemory(TEEC_Context *context, TEEC_SharedMemory *memory)
{
	if (!context || !memory || !flags_are_good(memory))
		return TEEC_ERROR_BAD_PARAMETERS;
	return make(context, memory, ALLOCATED, NULL);
}

TEEC_Result TEEC_RegisterSharedMemory(TEEC_Context *context, TEEC_SharedMemory *memory)
{
	if (!context || !memory || !memory->buffer || !flags_are_good(memory))
		return TEEC_ERROR_BAD_PARAMETERS;
	return make(context, memory, REGISTERED, memory->buffer);
}

TEEC_Result TEEC_RegisterSharedMemoryFileDescriptor(TEEC_Context *context, TEEC_SharedMemory *memory, int fd)
{
	struct lb_context *found = NULL;
	struct lb_object *object = NULL;
	struct stat status;
	TEEC_Result result = TEEC_ERROR_BAD_PARAMETERS;
	int seals = 0;

	if (!context || !memory || fd < 0 || !flags_are_good(memory))
		return result;
	seals = fcntl(fd, F_GET_SEALS);
	if (seals < 0 || (seals & SEALS_SIZE) != SEALS_SIZE || fstat(fd, &status) || status.st_size <= 0 ||
	    (uint64_t)status.st_size > SIZE_MAX)
		return result;
	found = lb_context_get(context);
	if (!found)
		return result;
	object = calloc(1, sizeof(*object));
	result = object ? register_file(found, fd, (size_t)status.st_size, &object->shm).result :
			  TEEC_ERROR_OUT_OF_MEMORY;
	if (result == TEEC_SUCCESS) {
		object->kind = DESCRIPTOR;
		object->references = 1;
		object->owner = getpid();
		object->context = found;
		object->size = (size_t)status.st_size;
		if (enter(found, object)) {
			memory->buffer = NULL;
			memory->size = object->size;
			describe(memory, object);
		} else {
			destroy(found, object);
			result = TEEC_ERROR_BAD_PARAMETERS;
		}
	} else {
		free(object);
	}
	if (result != TEEC_SUCCESS)
		memory->imp.id = -1;
	lb_context_put(found);
	return result;
}

void TEEC_ReleaseSharedMemory(TEEC_SharedMemory *memory)
{
	struct lb_context *context = NULL;
	struct lb_object **at = NULL;
	struct lb_object *object = NULL;
	bool last = false;

	if (!memory || memory->imp.id == -1)
		return;
	pthread_mutex_lock(&lb_lock);
	at = find(memory->imp.id);
	object = *at;
	if (object) {
		*at = object->next;
		last = --object->references == 0;
		context = object->context;
		if (context)
			context->references++;
	}
	pthread_mutex_unlock(&lb_lock);
	if (last)
		destroy(context, object);
	if (context)
		lb_context_put(context);
	memory->buffer = NULL;
	memory->imp.id = -1;
	memory->imp.shadow_buffer = NULL;
	memory->imp.registered_fd = -1;
	memory->imp.flags = 0;
}
