#include "io/resolve.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>

#include "base/list.h"
#include "base/mem.h"
#include "io/loop.h"

enum { ADDRESSES_MAX = 16 };

/* Owned by the loop until it is queued, by the thread until it is done or cancelled, by the loop again then.
 */
struct resolve {
	struct list node; /* in `asked`, under the lock */
	char *host;
	resolve_fn *fn;
	void *arg;
	struct loop_wake *wake; /* NULL once cancelled */
	bool taken;		/* the thread works on it, or has; these three under the lock */
	bool finished;		/* the thread is done with it */
	bool cancelled;
	char *addresses[ADDRESSES_MAX];
	size_t count;
	const char *error; /* static text of the C library */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t more = PTHREAD_COND_INITIALIZER;
static struct list asked = LIST_INIT(asked);
static bool running;

static void request_free(struct resolve *request)
{
	for (size_t i = 0; i < request->count; i++)
		mem_free(&request->addresses[i]);
	loop_wake_free(&request->wake);
	mem_free(&request->host);
	mem_free(&request);
}

static void add_address(struct resolve *request, const struct addrinfo *info)
{
	char text[INET6_ADDRSTRLEN + 32];

	if (request->count == ADDRESSES_MAX ||
	    getnameinfo(info->ai_addr, info->ai_addrlen, text, sizeof(text), NULL, 0, NI_NUMERICHOST) != 0)
		return;
	request->addresses[request->count++] = mem_strdup(text);
}

static void look_up(struct resolve *request)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG };
	struct addrinfo *found = NULL;
	int error = getaddrinfo(request->host, NULL, &hints, &found);

	if (error != 0) {
		request->error = gai_strerror(error);
		return;
	}
	for (const struct addrinfo *info = found; info; info = info->ai_next)
		add_address(request, info);
	freeaddrinfo(found);
	if (request->count == 0)
		request->error = "no usable address";
}

static void *resolver_main(void *unused)
{
	(void)unused;
	pthread_mutex_lock(&lock);
	for (;;) {
		struct list *node = list_pop_front(&asked);
		struct resolve *request;

		if (!node) {
			pthread_cond_wait(&more, &lock);
			continue;
		}
		request = list_entry(node, struct resolve, node);
		request->taken = true;
		pthread_mutex_unlock(&lock);
		look_up(request);
		pthread_mutex_lock(&lock);
		request->finished = true;
		if (request->cancelled)
			request_free(request);
		else
			loop_wake_send(request->wake);
	}
	return NULL;
}

/* The thread takes no signals: they belong to the loop. */
static bool start_thread(void)
{
	sigset_t all, before;
	pthread_t thread;

	if (running)
		return true;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	running = pthread_create(&thread, NULL, resolver_main, NULL) == 0;
	if (running)
		pthread_detach(thread);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return running;
}

static void on_found(void *arg)
{
	struct resolve *request = arg;

	/* The thread let go of it when it sent the wake, holding the lock. */
	pthread_mutex_lock(&lock);
	pthread_mutex_unlock(&lock);
	request->fn(request->arg, (const char *const *)request->addresses, request->count, request->error);
	request_free(request);
}

bool resolve_is_needed(const char *host)
{
	unsigned char address[sizeof(struct in6_addr)];

	if (host[0] == '\0' || host[0] == '/' || host[0] == '@')
		return false;
	return inet_pton(AF_INET, host, address) != 1 && inet_pton(AF_INET6, host, address) != 1;
}

void resolve_start(struct loop *loop, const char *host, resolve_fn *fn, void *arg, struct resolve **ret)
{
	struct resolve *request = mem_alloc(sizeof(*request));

	list_init(&request->node);
	request->host = mem_strdup(host);
	request->fn = fn;
	request->arg = arg;
	loop_wake_new(loop, on_found, request, &request->wake);
	*ret = request;
	pthread_mutex_lock(&lock);
	if (start_thread()) {
		list_push_back(&asked, &request->node);
		pthread_cond_signal(&more);
	} else {
		request->finished = true;
		request->error = "no thread for the look-up";
		loop_wake_send(request->wake);
	}
	pthread_mutex_unlock(&lock);
}

void resolve_cancel(struct resolve **resolve)
{
	struct resolve *request = *resolve;

	if (!request)
		return;
	*resolve = NULL;
	pthread_mutex_lock(&lock);
	list_remove(&request->node);
	request->cancelled = true;
	/* While the thread works on it, the thread frees it; the wake is ours in any case. */
	loop_wake_free(&request->wake);
	if (!request->taken || request->finished)
		request_free(request);
	pthread_mutex_unlock(&lock);
}
