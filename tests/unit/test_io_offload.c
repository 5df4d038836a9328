#include "row.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <time.h>

#include "base/clock.h"
#include "io/loop.h"
#include "io/offload.h"

enum { TASKS = 100, DEADLINE_S = 20 };

struct task {
	struct book *book;
	int number;
};

/* What the tasks write down; `worked` is the thread's until all are done. */
struct book {
	struct loop *loop;
	struct offload *offload;
	struct task tasks[TASKS];
	int worked[TASKS], done[TASKS];
	int worked_count, done_count, wanted;
	pthread_t thread;
	sem_t gate;
};

static struct book book;

static int set_up(void **state)
{
	(void)state;
	book = (struct book){ .wanted = TASKS };
	for (int i = 0; i < TASKS; i++)
		book.tasks[i] = (struct task){ .book = &book, .number = i };
	return loop_new(&book.loop) || offload_new(book.loop, &book.offload) || sem_init(&book.gate, 0, 0);
}

static int tear_down(void **state)
{
	(void)state;
	offload_free(&book.offload);
	loop_free(&book.loop);
	return sem_destroy(&book.gate);
}

static void work(void *arg)
{
	struct task *task = arg;

	task->book->thread = pthread_self();
	task->book->worked[task->book->worked_count++] = task->number;
}

static void wait_at_gate(void *arg)
{
	struct timespec until;
	struct task *task = arg;

	(void)clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += DEADLINE_S;
	while (sem_timedwait(&task->book->gate, &until) < 0 && errno == EINTR)
		continue;
	work(arg);
}

static void done(void *arg)
{
	struct task *task = arg;
	struct book *b = task->book;

	b->done[b->done_count++] = task->number;
	if (b->done_count == b->wanted)
		loop_stop(b->loop);
}

static void test_tasks_are_done_one_after_the_other_in_another_thread(void **state)
{
	(void)state;
	for (int i = 0; i < TASKS; i++)
		offload_run(book.offload, work, done, &book.tasks[i]);
	loop_run(book.loop);
	assert_int_equal(book.worked_count, TASKS);
	for (int i = 0; i < TASKS; i++) {
		expect(book.worked[i] == i, "task %d was worked on as number %d", book.worked[i], i);
		expect(book.done[i] == i, "task %d was done as number %d", book.done[i], i);
	}
	assert_false(pthread_equal(book.thread, pthread_self()));
}

static void open_gate(void *arg)
{
	/* The loop has come here while the first task holds the thread. */
	assert_int_equal(book.done_count, 0);
	(void)sem_post(arg);
}

static void test_the_loop_goes_on_while_a_task_blocks(void **state)
{
	struct loop_timer *timer;

	(void)state;
	book.wanted = 2;
	offload_run(book.offload, wait_at_gate, done, &book.tasks[0]);
	offload_run(book.offload, work, done, &book.tasks[1]);
	loop_timer_new(book.loop, open_gate, &book.gate, &timer);
	loop_timer_start(timer, 5);
	loop_run(book.loop);
	loop_timer_free(&timer);
	assert_int_equal(book.worked[0], 0);
	assert_int_equal(book.worked[1], 1);
}

static void done_once_more(void *arg)
{
	struct task *task = arg;

	if (task->number + 1 < TASKS)
		offload_run(task->book->offload, work, done_once_more, task + 1);
	done(arg);
}

static void test_a_task_may_be_given_from_the_end_of_another(void **state)
{
	(void)state;
	offload_run(book.offload, work, done_once_more, &book.tasks[0]);
	loop_run(book.loop);
	assert_int_equal(book.worked_count, TASKS);
	assert_int_equal(book.done_count, TASKS);
}

static void test_what_was_given_is_worked_on_before_the_thread_ends(void **state)
{
	(void)state;
	offload_run(book.offload, wait_at_gate, done, &book.tasks[0]);
	for (int i = 1; i < TASKS; i++)
		offload_run(book.offload, work, done, &book.tasks[i]);
	(void)sem_post(&book.gate);
	offload_free(&book.offload);
	assert_null(book.offload);
	assert_int_equal(book.worked_count, TASKS);
	assert_int_equal(book.done_count, 0);
	offload_free(&book.offload);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_tasks_are_done_one_after_the_other_in_another_thread,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_the_loop_goes_on_while_a_task_blocks, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_a_task_may_be_given_from_the_end_of_another, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(test_what_was_given_is_worked_on_before_the_thread_ends,
						set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
