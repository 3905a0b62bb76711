/* Asks the hello TA 2,000 times for nothing (command 7), and for the REE's time (command 9), which is one request to
 * the kernel each: medians in microseconds, a line each. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <tee_client_api.h>

#define TIMES 2000

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static int measure(TEEC_Session *session, const char *name, unsigned int command)
{
	static double took[TIMES];
	TEEC_Operation op;
	int i;

	for (i = 0; i < TIMES; i++) {
		double start;

		memset(&op, 0, sizeof(op));
		op.paramTypes = TEEC_PARAM_TYPES(TEEC_VALUE_INPUT, TEEC_NONE, TEEC_NONE, TEEC_NONE);
		op.params[0].value.a = 1;
		start = now();
		if (TEEC_InvokeCommand(session, command, &op, NULL))
			return 1;
		took[i] = now() - start;
	}
	qsort(took, TIMES, sizeof(*took), compare);
	printf("%s %.1f\n", name, took[TIMES / 2]);
	return 0;
}

int main(void)
{
	TEEC_UUID hello = { 0x7371bc6b, 0x0888, 0x4252, { 0x9d, 0x3b, 0x42, 0xdd, 0xcb, 0xca, 0x70, 0xfd } };
	TEEC_Context context;
	TEEC_Session session;

	if (TEEC_InitializeContext(NULL, &context) ||
	    TEEC_OpenSession(&context, &session, &hello, TEEC_LOGIN_PUBLIC, NULL, NULL, NULL))
		return 1;
	return measure(&session, "invoke", 7) || measure(&session, "time", 9);
}
