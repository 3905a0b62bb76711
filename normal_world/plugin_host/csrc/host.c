/*
 * host PLUGIN SOCKET MEMORY: the keeper of one plugin.
 *
 * It stands between the daemon, which can neither start nor kill a process, and a worker of its own that has the plugin
 * loaded. A call that takes too long or is cancelled ends the worker; so may the plugin itself. The next call gets a
 * new one. Everything ends when the daemon does.
 */
#include "frames.h"
#include "worker.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define START_MILLISECONDS 10000 /* for the first start; later ones are within a call's limit */
#define SLICE_MILLISECONDS 50    /* between two looks whether the worker lives */

struct keeper {
	const char *plugin;
	int daemon;
	int memory;
	int worker; /* socket, -1: there is none */
	pid_t pid;
};

static int64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (int64_t)time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

/* Ends the worker with all that it started; returns how it ended (wait(2)). */
static int end_worker(struct keeper *k)
{
	int status = 0;

	if (k->worker < 0)
		return 0;
	close(k->worker);
	k->worker = -1;
	kill(-k->pid, SIGKILL);
	kill(k->pid, SIGKILL);
	while (waitpid(k->pid, &status, 0) < 0 && errno == EINTR)
		;
	return status;
}

static void end(struct keeper *k) __attribute__((noreturn));

static void end(struct keeper *k)
{
	end_worker(k);
	_exit(0);
}

static void tell(struct keeper *k, const struct lb_frame *frame)
{
	if (!lb_send(k->daemon, frame))
		end(k);
}

static int start_worker(struct keeper *k)
{
	int pair[2];
	pid_t keeper = getpid();

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return 0;
	k->pid = fork();
	if (k->pid < 0) {
		close(pair[0]);
		close(pair[1]);
		return 0;
	}
	if (k->pid == 0) {
		setpgid(0, 0);
		close(pair[0]);
		close(k->daemon);
		lb_worker(k->plugin, pair[1], k->memory, keeper);
	}
	setpgid(k->pid, k->pid); /* both do, for either may be first */
	close(pair[1]);
	k->worker = pair[0];
	return 1;
}

/*
 * Whether the worker has ended; it stays to be waited for. Its socket alone does not tell: a process that the plugin
 * forked holds it open, too.
 */
static int gone(const struct keeper *k)
{
	siginfo_t info = { 0 };

	return waitid(P_PID, (id_t)k->pid, &info, WEXITED | WNOHANG | WNOWAIT) || info.si_pid == k->pid;
}

static struct lb_frame died(uint32_t call, enum lb_death how)
{
	return (struct lb_frame){ .version = LB_VERSION, .kind = LB_DIED, .call = call, .a = how };
}

/* The worker has ended, and nobody asked it to. status: how, by wait(2). */
static struct lb_frame ended(uint32_t call, int status)
{
	struct lb_frame frame = died(call, WIFSIGNALED(status) ? LB_BY_SIGNAL : LB_BY_EXIT);

	frame.b = (uint32_t)(WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	return frame;
}

/*
 * Waits for the worker's frame, until `until`. 1: it is in `frame`. 0: there is none and the worker is ended; `frame`
 * is an LB_DIED that says why.
 */
static int wait_worker(struct keeper *k, uint32_t call, int64_t until, struct lb_frame *frame)
{
	for (;;) {
		struct pollfd fds[2] = { { .fd = k->worker, .events = POLLIN }, { .fd = k->daemon, .events = POLLIN } };
		int64_t left = until - now();
		int count = left > 0 ? poll(fds, 2, left < SLICE_MILLISECONDS ? (int)left : SLICE_MILLISECONDS) : 0;

		if (count < 0 && errno != EINTR)
			end(k);
		if (count > 0 && fds[0].revents) {
			if (lb_receive(k->worker, frame) == 1)
				return 1;
			/* Gone, or its memory is in such a state that it does not even speak as we do. */
			*frame = ended(call, end_worker(k));
			return 0;
		}
		if (count > 0 && fds[1].revents) {
			struct lb_frame asked;

			if (lb_receive(k->daemon, &asked) != 1 || asked.kind != LB_CANCEL)
				end(k);
			if (asked.call != call)
				continue; /* for an earlier call, whose answer it crossed */
			end_worker(k);
			*frame = died(call, LB_CANCELLED);
			return 0;
		}
		/* Its last frame may have come just now. */
		if (count == 0 && gone(k) && poll(fds, 1, 0) == 0) {
			*frame = ended(call, end_worker(k));
			return 0;
		}
		if (now() >= until) {
			end_worker(k);
			*frame = died(call, LB_TOO_LONG);
			return 0;
		}
	}
}

/* A worker with its plugin loaded. 0: there is none, and `frame` says why. */
static int ready_worker(struct keeper *k, uint32_t call, int64_t until, struct lb_frame *frame)
{
	if (!start_worker(k)) {
		*frame = died(call, LB_NO_START);
		return 0;
	}
	if (!wait_worker(k, call, until, frame))
		return 0;
	if (frame->kind == LB_READY)
		return 1;
	end_worker(k);
	if (frame->kind != LB_REFUSED)
		snprintf(frame->text, sizeof(frame->text), "it speaks out of turn");
	frame->kind = LB_REFUSED;
	return 0;
}

/* Whether a worker has the request now, started for it if need be; if not, `frame` says why. */
static int hand_over(struct keeper *k, const struct lb_frame *request, int64_t until, struct lb_frame *frame)
{
	if (k->worker >= 0 && gone(k))
		end_worker(k); /* while nobody asked it anything */
	if (k->worker >= 0) {
		if (lb_send(k->worker, request))
			return 1;
		end_worker(k);
	}
	if (!ready_worker(k, request->call, until, frame)) {
		if (frame->kind == LB_REFUSED) {
			frame->kind = LB_DIED;
			frame->call = request->call;
			frame->a = LB_NO_START;
		}
		return 0;
	}
	if (lb_send(k->worker, request))
		return 1;
	end_worker(k);
	*frame = died(request->call, LB_NO_START);
	return 0;
}

static void invoke(struct keeper *k, const struct lb_frame *request)
{
	int64_t until = now() + request->limit;
	struct lb_frame frame;

	if (hand_over(k, request, until, &frame) && wait_worker(k, request->call, until, &frame) &&
	    (frame.kind != LB_ANSWER || frame.call != request->call)) {
		end_worker(k);
		frame = died(request->call, LB_BY_EXIT);
	}
	tell(k, &frame);
}

int main(int count, char **arguments)
{
	struct keeper k = { .worker = -1 };
	struct lb_frame frame;

	if (count != 4) {
		fprintf(stderr, "usage: %s PLUGIN SOCKET MEMORY; litebox-ta starts it\n", arguments[0]);
		return 2;
	}
	k.plugin = arguments[1];
	k.daemon = atoi(arguments[2]);
	k.memory = atoi(arguments[3]);
	/* Meant for the daemon: it finishes its calls first, and then we end with it. */
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	if (!ready_worker(&k, 0, now() + START_MILLISECONDS, &frame)) {
		tell(&k, &frame);
		end(&k);
	}
	tell(&k, &frame);
	while (lb_receive(k.daemon, &frame) == 1) {
		if (frame.kind == LB_INVOKE && frame.length <= LB_DATA_MAX)
			invoke(&k, &frame);
		else if (frame.kind != LB_CANCEL) /* of a call that has been answered meanwhile */
			break;
	}
	end(&k);
}
