#include "io/offload.h"

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>

#include "base/list.h"
#include "base/mem.h"
#include "io/loop.h"

struct task {
	struct list node; /* in `asked`, then in `finished`, under the lock */
	void (*work)(void *arg);
	void (*done)(void *arg);
	void *arg;
};

struct offload {
	struct loop_wake *wake;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t more;
	struct list asked, finished; /* of struct task; these three under the lock */
	bool stopping;
};

/* The next task, or NULL when there will be none any more. */
static struct task *wait_for_task(struct offload *offload)
{
	struct list *node;

	while (!(node = list_pop_front(&offload->asked)) && !offload->stopping)
		(void)pthread_cond_wait(&offload->more, &offload->lock);
	return node ? list_entry(node, struct task, node) : NULL;
}

static void *offload_main(void *arg)
{
	struct offload *offload = arg;
	struct task *task;

	(void)pthread_mutex_lock(&offload->lock);
	while ((task = wait_for_task(offload))) {
		(void)pthread_mutex_unlock(&offload->lock);
		task->work(task->arg);
		(void)pthread_mutex_lock(&offload->lock);
		list_push_back(&offload->finished, &task->node);
		loop_wake_send(offload->wake);
	}
	(void)pthread_mutex_unlock(&offload->lock);
	return NULL;
}

static struct task *next_finished(struct offload *offload)
{
	struct list *node;

	(void)pthread_mutex_lock(&offload->lock);
	node = list_pop_front(&offload->finished);
	(void)pthread_mutex_unlock(&offload->lock);
	return node ? list_entry(node, struct task, node) : NULL;
}

/* The last of what is finished; NULL when nothing is. */
static const struct task *last_finished(struct offload *offload)
{
	struct list *node;

	(void)pthread_mutex_lock(&offload->lock);
	node = offload->finished.prev;
	(void)pthread_mutex_unlock(&offload->lock);
	return node == &offload->finished ? NULL : list_entry(node, struct task, node);
}

/* What is finished meanwhile sends a wake of its own: tasks that beget tasks leave the loop its turns. */
static void on_finished(void *arg)
{
	struct offload *offload = arg;
	const struct task *last = last_finished(offload);
	bool more = last != NULL;

	while (more) {
		struct task *task = next_finished(offload);
		struct task copy = *task;

		more = task != last;
		mem_free(&task);
		copy.done(copy.arg);
	}
}

/* The thread takes no signals: they belong to the loop. */
static int start_thread(struct offload *offload)
{
	sigset_t all, before;
	int r;

	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&offload->thread, NULL, offload_main, offload);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -r;
}

int offload_new(struct loop *loop, struct offload **ret)
{
	struct offload *offload = mem_alloc(sizeof(*offload));
	int r;

	list_init(&offload->asked);
	list_init(&offload->finished);
	(void)pthread_mutex_init(&offload->lock, NULL);
	(void)pthread_cond_init(&offload->more, NULL);
	loop_wake_new(loop, on_finished, offload, &offload->wake);
	r = start_thread(offload);
	if (r < 0) {
		loop_wake_free(&offload->wake);
		mem_free(&offload);
		return r;
	}
	*ret = offload;
	return 0;
}

void offload_free(struct offload **offload)
{
	struct offload *o = *offload;
	struct task *task;

	if (!o)
		return;
	(void)pthread_mutex_lock(&o->lock);
	o->stopping = true;
	(void)pthread_cond_signal(&o->more);
	(void)pthread_mutex_unlock(&o->lock);
	(void)pthread_join(o->thread, NULL);
	while ((task = next_finished(o)))
		mem_free(&task);
	loop_wake_free(&o->wake);
	(void)pthread_cond_destroy(&o->more);
	(void)pthread_mutex_destroy(&o->lock);
	mem_free(offload);
}

void offload_run(struct offload *offload, void (*work)(void *arg), void (*done)(void *arg), void *arg)
{
	struct task *task = mem_alloc(sizeof(*task));

	task->work = work;
	task->done = done;
	task->arg = arg;
	(void)pthread_mutex_lock(&offload->lock);
	list_push_back(&offload->asked, &task->node);
	(void)pthread_cond_signal(&offload->more);
	(void)pthread_mutex_unlock(&offload->lock);
}
