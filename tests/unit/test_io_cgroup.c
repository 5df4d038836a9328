#include "row.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "io/cgroup.h"
#include "io/loop.h"

/* A tree of plain files plays the kernel's: a write into one overwrites it, and no group goes while it has
 * files, as none goes in the kernel's while it has processes. */

enum { MIB = 1024 * 1024, DEADLINE_MS = 5000, LOOK_MS = 5, SOMEBODY = 4711 };

static const char *const group_files[] = { "memory.max", "memory.oom.group", "memory.events",
					   "cgroup.procs" };

static char root[64];
static struct loop *loop;

static char *path_of(const char *name)
{
	return mem_printf("%s/%s", root, name);
}

static void put(const char *name, const char *text)
{
	AUTO(mem_free_str) char *path = path_of(name);

	assert_int_equal(fd_write_file(path, text, strlen(text), 0644), 0);
}

static void expect_file(const char *name, const char *want)
{
	AUTO(mem_free_str) char *path = path_of(name);
	AUTO(mem_free_str) char *text = NULL;
	size_t len;
	int r = fd_read_file(path, 4096, &text, &len);

	expect(want ? r == 0 && strcmp(text, want) == 0 : r == -ENOENT, "%s: %s, not %s", name,
	       r == 0 ? text : strerror(-r), want ? want : "absent");
}

static bool is_there(const char *name)
{
	AUTO(mem_free_str) char *path = path_of(name);

	return access(path, F_OK) == 0;
}

/* Takes a group's files away: the kernel's sign that nobody is in it any more. */
static void empty(const char *group)
{
	for (size_t i = 0; i < ARRAY_LEN(group_files); i++) {
		AUTO(mem_free_str) char *path = mem_printf("%s/%s/%s", root, group, group_files[i]);

		(void)unlink(path);
	}
}

static void make_tree(const char *controllers, const char *pids)
{
	put("cgroup.controllers", controllers);
	put("cgroup.subtree_control", "");
	put("cgroup.procs", pids);
}

static int set_up(void **state)
{
	(void)state;
	log_set_level(LOG_LEVEL_ERROR);
	(void)snprintf(root, sizeof(root), "/tmp/cgroup-XXXXXX");
	if (!mkdtemp(root) || setenv("PROCTOR_CGROUP_ROOT", root, 1) < 0 || loop_new(&loop) < 0)
		return -1;
	cgroup_watch(loop);
	return 0;
}

static int tear_down(void **state)
{
	AUTO(mem_free_str) char *command = mem_printf("rm -rf %s", root);

	(void)state;
	cgroup_stop();
	loop_free(&loop);
	return system(command);
}

static char *own_pid(void)
{
	return mem_printf("%d\n", (int)getpid());
}

/* ---- what is ours ---- */

static const struct {
	const char *controllers; /* NULL = no such tree */
	bool shared;
	int want;
} trees[] = {
	{ NULL, false, -ENOENT },
	{ "", false, -ENOTSUP },
	{ "cpu io pids\n", false, -ENOTSUP },
	{ "cpu memory_more pids\n", false, -ENOTSUP },
	{ "cpu memory\n", true, -EBUSY },
	{ "memory", false, 0 },
	{ "cpuset cpu io memory pids\n", false, 0 },
};

static void test_a_group_that_is_ours_is_divided_and_another_left_alone(void **state)
{
	AUTO(mem_free_str) char *pid = own_pid();
	AUTO(mem_free_str) char *shared = mem_printf("%s%d\n", pid, SOMEBODY);

	for (size_t i = 0; i < ARRAY_LEN(trees); i++) {
		struct cgroup *group;
		int r;

		if (i > 0)
			assert_int_equal(tear_down(state) + set_up(state), 0);
		if (trees[i].controllers)
			make_tree(trees[i].controllers, trees[i].shared ? shared : pid);
		r = cgroup_start();
		expect(r == trees[i].want, "row %zu: %d, not %d", i, r, trees[i].want);
		expect(is_there("daemon") == (r == 0), "row %zu", i);
		if (r == 0) {
			expect_file("daemon/cgroup.procs", pid);
			expect_file("cgroup.subtree_control", "+memory");
		} else {
			assert_int_equal(cgroup_new("worker", getpid(), MIB, &group), -ENOTSUP);
		}
	}
}

static void test_where_dividing_fails_we_go_back_to_where_we_were(void **state)
{
	AUTO(mem_free_str) char *pid = own_pid();
	AUTO(mem_free_str) char *control = path_of("cgroup.subtree_control");

	(void)state;
	make_tree("memory\n", "");
	/* A folder in its place: nobody may write to it, root neither. */
	assert_int_equal(unlink(control), 0);
	assert_int_equal(mkdir(control, 0755), 0);
	assert_int_equal(cgroup_start(), -EISDIR);
	expect_file("cgroup.procs", pid);
}

/* ---- one life ---- */

static struct cgroup *new_group(const char *name, int64_t bytes)
{
	struct cgroup *group = NULL;

	assert_int_equal(cgroup_new(name, SOMEBODY, bytes, &group), 0);
	return group;
}

static void divide(void)
{
	AUTO(mem_free_str) char *pid = own_pid();

	make_tree("memory\n", pid);
	assert_int_equal(cgroup_start(), 0);
}

static void test_a_life_gets_a_group_with_its_limit_and_its_process(void **state)
{
	struct cgroup *group;

	(void)state;
	divide();
	group = new_group("worker-probe/1", 256LL * MIB);
	expect_file("worker-probe-1/memory.max", "268435456\n");
	expect_file("worker-probe-1/memory.oom.group", "1\n");
	expect_file("worker-probe-1/cgroup.procs", "4711\n");
	cgroup_free(&group);
	assert_null(group);
	cgroup_free(&group);
}

static void test_an_heir_gets_a_group_beside_its_elder(void **state)
{
	struct cgroup *elder, *heir;

	(void)state;
	divide();
	elder = new_group("worker-probe-1", MIB);
	heir = new_group("worker-probe-1", 2LL * MIB);
	expect_file("worker-probe-1/memory.max", "1048576\n");
	expect_file("worker-probe-1.2/memory.max", "2097152\n");
	cgroup_free(&elder);
	cgroup_free(&heir);
}

static void test_a_name_cannot_lead_out_of_the_tree(void **state)
{
	struct cgroup *group;

	(void)state;
	divide();
	group = new_group("service-../../x y", MIB);
	expect_file("service-..-..-x-y/memory.max", "1048576\n");
	cgroup_free(&group);
}

static void test_the_kernels_own_count_tells_who_died_of_its_memory(void **state)
{
	struct cgroup *group;

	(void)state;
	divide();
	group = new_group("worker", MIB);
	assert_false(cgroup_had_oom(group));
	put("worker/memory.events", "low 0\nhigh 0\nmax 12\noom 3\noom_kill 0\noom_group_kill 0\n");
	assert_false(cgroup_had_oom(group));
	put("worker/memory.events", "low 0\nhigh 0\nmax 12\noom 3\noom_kill 1\noom_group_kill 1\n");
	assert_true(cgroup_had_oom(group));
	cgroup_free(&group);
}

static void test_a_group_left_by_an_earlier_daemon_is_taken_when_it_is_empty(void **state)
{
	AUTO(mem_free_str) char *left = NULL;
	struct cgroup *group;

	(void)state;
	divide();
	left = path_of("worker");
	assert_int_equal(mkdir(left, 0755), 0);
	group = new_group("worker", MIB);
	expect_file("worker/memory.max", "1048576\n");
	assert_false(is_there("worker.2"));
	cgroup_free(&group);
}

/* ---- its end ---- */

struct look {
	struct loop_timer *timer;
	int64_t give_up_ms;
	int looks;
};

static void look(void *arg)
{
	struct look *look = arg;

	if (!is_there("worker") || loop_now_ms(loop) > look->give_up_ms) {
		loop_stop(loop);
		return;
	}
	if (look->looks++ == 20)
		empty("worker");
	loop_timer_start(look->timer, LOOK_MS);
}

static void test_a_group_goes_as_soon_as_it_is_empty(void **state)
{
	struct look at = { .give_up_ms = loop_now_ms(loop) + DEADLINE_MS };
	struct cgroup *group;

	(void)state;
	divide();
	group = new_group("worker", MIB);
	put("worker/cgroup.kill", "");
	cgroup_free(&group);
	assert_true(is_there("worker"));
	expect_file("worker/cgroup.kill", "1\n");
	{
		AUTO(mem_free_str) char *path = path_of("worker/cgroup.kill");

		assert_int_equal(unlink(path), 0);
	}
	loop_timer_new(loop, look, &at, &at.timer);
	loop_timer_start(at.timer, LOOK_MS);
	loop_run(loop);
	loop_timer_free(&at.timer);
	assert_false(is_there("worker"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
		TEST(test_a_group_that_is_ours_is_divided_and_another_left_alone),
		TEST(test_where_dividing_fails_we_go_back_to_where_we_were),
		TEST(test_a_life_gets_a_group_with_its_limit_and_its_process),
		TEST(test_an_heir_gets_a_group_beside_its_elder),
		TEST(test_a_name_cannot_lead_out_of_the_tree),
		TEST(test_the_kernels_own_count_tells_who_died_of_its_memory),
		TEST(test_a_group_left_by_an_earlier_daemon_is_taken_when_it_is_empty),
		TEST(test_a_group_goes_as_soon_as_it_is_empty),
#undef TEST
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
