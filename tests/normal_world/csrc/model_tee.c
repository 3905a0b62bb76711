/*
 * A model of Linux's TEE driver for tests, in user space: its ioctls by the kernel's own header,
 * answered through libteec by the daemon that LITEBOX_SOCKET names. What it checks as the driver
 * does is what include/uapi/linux/tee.h and drivers/tee/tee_core.c say of numbers, sizes and counts.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/tee.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tee_client_api.h"

#define MODELS 64

struct call {
	TEEC_Operation *operation;
	uint32_t session, id;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
	int fd;
	bool used;
	TEEC_Context context;
} files[MODELS];
static TEEC_Session sessions[MODELS];
static bool session_used[MODELS];
static TEEC_SharedMemory objects[MODELS];
static int object_count;
static struct call calls[MODELS];
uint32_t model_caps = TEE_GEN_CAP_GP | TEE_GEN_CAP_REG_MEM | TEE_GEN_CAP_MEMREF_NULL;
uint32_t model_implementation = TEE_IMPL_ID_OPTEE;

static TEEC_Context *context_of(int fd)
{
	TEEC_Context *found = NULL;

	pthread_mutex_lock(&lock);
	for (int n = 0; n < MODELS && !found; n++)
		if (files[n].used && files[n].fd == fd)
			found = &files[n].context;
	for (int n = 0; n < MODELS && !found; n++) {
		if (files[n].used || TEEC_InitializeContext(NULL, &files[n].context))
			continue;
		files[n].used = true;
		files[n].fd = fd;
		found = &files[n].context;
	}
	pthread_mutex_unlock(&lock);
	return found;
}

/* Forgets what a closed descriptor had; the driver does so at release of the file. */
void model_closed(int fd)
{
	pthread_mutex_lock(&lock);
	for (int n = 0; n < MODELS; n++) {
		if (files[n].used && files[n].fd == fd) {
			TEEC_FinalizeContext(&files[n].context);
			files[n].used = false;
		}
	}
	pthread_mutex_unlock(&lock);
}

static int share(TEEC_Context *context, void *address, size_t size, int32_t *id)
{
	int number = 0, fd = -1;

	pthread_mutex_lock(&lock);
	number = object_count < MODELS ? object_count++ : -1;
	pthread_mutex_unlock(&lock);
	if (number < 0)
		return -ENOMEM;
	objects[number] = (TEEC_SharedMemory){ .buffer = address, .size = size,
					       .flags = TEEC_MEM_INPUT | TEEC_MEM_OUTPUT };
	if (TEEC_RegisterSharedMemory(context, &objects[number]))
		return -ENOMEM;
	fd = memfd_create("model", MFD_CLOEXEC);
	*id = number;
	return fd < 0 ? -errno : fd;
}

static int shm_register(TEEC_Context *context, struct tee_ioctl_shm_register_data *data)
{
	if (!(model_caps & TEE_GEN_CAP_REG_MEM) || data->flags || !data->length)
		return -EINVAL;
	return share(context, (void *)(uintptr_t)data->addr, data->length, &data->id);
}

static int shm_alloc(TEEC_Context *context, struct tee_ioctl_shm_alloc_data *data)
{
	void *address = NULL;
	int fd = -1, given = -1;

	if (data->flags || !data->size)
		return -EINVAL;
	fd = memfd_create("model", MFD_CLOEXEC);
	if (fd < 0 || ftruncate(fd, (off_t)data->size))
		return -ENOMEM;
	address = mmap(NULL, data->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (address == MAP_FAILED)
		return -ENOMEM;
	given = share(context, address, data->size, &data->id);
	if (given < 0)
		return given;
	close(given);
	return fd;
}

static int put(const struct tee_ioctl_param *in, TEEC_Operation *op)
{
	op->paramTypes = 0;
	for (int n = 0; n < 4; n++) {
		uint32_t kind = (uint32_t)in[n].attr;

		if (in[n].attr & ~(uint64_t)TEE_IOCTL_PARAM_ATTR_TYPE_MASK)
			return -EINVAL;
		if (kind >= TEE_IOCTL_PARAM_ATTR_TYPE_MEMREF_INPUT) {
			if (in[n].c == TEE_MEMREF_NULL && (model_caps & TEE_GEN_CAP_MEMREF_NULL)) {
				op->params[n].tmpref = (TEEC_TempMemoryReference){ NULL, 0 };
			} else {
				if (in[n].c >= (uint64_t)object_count || in[n].a + in[n].b < in[n].a ||
				    in[n].a + in[n].b > objects[in[n].c].size)
					return -EINVAL;
				op->params[n].memref.parent = &objects[in[n].c];
				op->params[n].memref.offset = in[n].a;
				op->params[n].memref.size = in[n].b;
				kind += TEEC_MEMREF_PARTIAL_INPUT - TEEC_MEMREF_TEMP_INPUT;
			}
		} else if (kind) {
			op->params[n].value.a = (uint32_t)in[n].a;
			op->params[n].value.b = (uint32_t)in[n].b;
		}
		op->paramTypes |= kind << (4 * n);
	}
	return 0;
}

static void get(const TEEC_Operation *op, struct tee_ioctl_param *out)
{
	for (int n = 0; n < 4; n++) {
		uint32_t kind = TEEC_PARAM_TYPE_GET(op->paramTypes, n);

		if (kind == TEEC_VALUE_OUTPUT || kind == TEEC_VALUE_INOUT) {
			out[n].a = op->params[n].value.a;
			out[n].b = op->params[n].value.b;
		} else if (kind >= TEEC_MEMREF_PARTIAL_INPUT) {
			out[n].b = op->params[n].memref.size;
		} else if (kind >= TEEC_MEMREF_TEMP_INPUT) {
			out[n].b = op->params[n].tmpref.size;
		}
	}
}

static struct call *note(TEEC_Operation *operation, uint32_t session, uint32_t id)
{
	struct call *call = NULL;

	pthread_mutex_lock(&lock);
	for (int n = 0; n < MODELS && !call; n++)
		call = calls[n].operation ? NULL : &calls[n];
	*call = (struct call){ operation, session, id };
	pthread_mutex_unlock(&lock);
	return call;
}

static void done(struct call *call)
{
	pthread_mutex_lock(&lock);
	call->operation = NULL;
	pthread_mutex_unlock(&lock);
}

static int open_session(TEEC_Context *context, const struct tee_ioctl_buf_data *buffer)
{
	struct tee_ioctl_open_session_arg *arg = (void *)(uintptr_t)buffer->buf_ptr;
	const uint8_t *u = arg->uuid;
	TEEC_UUID uuid = { (uint32_t)u[0] << 24 | (uint32_t)u[1] << 16 | (uint32_t)u[2] << 8 | u[3],
			   (uint16_t)(u[4] << 8 | u[5]), (uint16_t)(u[6] << 8 | u[7]), { 0 } };
	TEEC_Operation op = { 0 };
	int number = -1;

	if (buffer->buf_len != sizeof(*arg) + arg->num_params * sizeof(struct tee_ioctl_param) || put(arg->params, &op))
		return -EINVAL;
	memcpy(uuid.clockSeqAndNode, u + 8, 8);
	pthread_mutex_lock(&lock);
	for (int n = 0; n < MODELS && number < 0; n++)
		if (!session_used[n])
			number = n;
	session_used[number] = true;
	pthread_mutex_unlock(&lock);
	arg->ret = TEEC_OpenSession(context, &sessions[number], &uuid, arg->clnt_login, arg->clnt_uuid, &op,
				    &arg->ret_origin);
	session_used[number] = !arg->ret;
	get(&op, arg->params);
	arg->session = (uint32_t)number + 1;
	return 0;
}

static int invoke(const struct tee_ioctl_buf_data *buffer)
{
	struct tee_ioctl_invoke_arg *arg = (void *)(uintptr_t)buffer->buf_ptr;
	TEEC_Operation op = { 0 };
	struct call *call = NULL;

	if (buffer->buf_len != sizeof(*arg) + arg->num_params * sizeof(struct tee_ioctl_param) || put(arg->params, &op))
		return -EINVAL;
	if (arg->session - 1 >= MODELS || !session_used[arg->session - 1])
		return -EINVAL;
	call = note(&op, arg->session, arg->cancel_id);
	arg->ret = TEEC_InvokeCommand(&sessions[arg->session - 1], arg->func, &op, &arg->ret_origin);
	done(call);
	get(&op, arg->params);
	return 0;
}

/* Holds no lock while it asks: the operation outlives this, for its call ends with the cancellation. */
static int cancel(const struct tee_ioctl_cancel_arg *arg)
{
	TEEC_Operation *operation = NULL;

	pthread_mutex_lock(&lock);
	for (int n = 0; n < MODELS; n++)
		if (calls[n].operation && calls[n].session == arg->session && calls[n].id == arg->cancel_id)
			operation = calls[n].operation;
	pthread_mutex_unlock(&lock);
	TEEC_RequestCancellation(operation);
	return 0;
}

/* ioctl(2) on the device; a negative error number where that sets errno. */
int model_ioctl(int fd, unsigned long request, void *arg)
{
	TEEC_Context *context = request == TEE_IOC_VERSION ? NULL : context_of(fd);

	if (request == TEE_IOC_VERSION) {
		*(struct tee_ioctl_version_data *)arg =
			(struct tee_ioctl_version_data){ .impl_id = model_implementation, .gen_caps = model_caps };
		return 0;
	}
	if (!context)
		return -EIO;
	switch (request) {
	case TEE_IOC_SHM_ALLOC:
		return shm_alloc(context, arg);
	case TEE_IOC_SHM_REGISTER:
		return shm_register(context, arg);
	case TEE_IOC_OPEN_SESSION:
		return open_session(context, arg);
	case TEE_IOC_INVOKE:
		return invoke(arg);
	case TEE_IOC_CANCEL:
		return cancel(arg);
	case TEE_IOC_CLOSE_SESSION: {
		uint32_t number = ((struct tee_ioctl_close_session_arg *)arg)->session - 1;

		if (number >= MODELS || !session_used[number])
			return -EINVAL;
		TEEC_CloseSession(&sessions[number]);
		session_used[number] = false;
		return 0;
	}
	default:
		return -EINVAL;
	}
}
