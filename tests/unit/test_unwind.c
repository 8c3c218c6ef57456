/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The unwinder against the compiler's own (backtrace(3) within the program that is unwound), on programs built in several ways; and at each single
 * instruction of a walk through library code, where the callers are known.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/util.h"
#include "ptrace_sample.h"
#include "symbols/native.h"
#include "symbols/symbolizer.h"

#define FRAMES 2048
#define WALK_STEPS 10000

static char directory[] = "/tmp/stakeout-unwind-XXXXXX";

struct build {
	const char *name, *compiler, *flags, *source;
	bool no_cfi; /* of the program's own functions */
};
static const struct build builds[] = {
	{ "plain", "gcc", "-O2 -fomit-frame-pointer -no-pie", "unwind_target.c", false },
	{ "pie", "gcc", "-O2 -fomit-frame-pointer -fPIE -pie", "unwind_target.c", false },
	{ "fp", "gcc", "-O2 -fno-omit-frame-pointer -fPIE -pie", "unwind_target.c", false },
	{ "lazy", "gcc", "-O1 -fPIE -pie -Wl,-z,lazy -fcf-protection=none", "unwind_target.c", false },
	{ "static", "gcc", "-O2 -fomit-frame-pointer -static", "unwind_target.c", false },
	{ "static-pie", "gcc", "-O3 -fomit-frame-pointer -static-pie", "unwind_target.c", false },
	{ "stripped", "gcc", "-O2 -fomit-frame-pointer -fPIE -pie -s", "unwind_target.c", false },
	{ "clang", "clang", "-O2 -fomit-frame-pointer", "unwind_target.c", false },
	{ "cxx", "g++", "-O2 -fomit-frame-pointer", "unwind_target.cc", false },
	{ "debug-frame", "gcc", "-O2 -g -fomit-frame-pointer -fno-asynchronous-unwind-tables -fno-unwind-tables", "unwind_target.c", true },
	{ "no-cfi", "gcc", "-O2 -fno-omit-frame-pointer -fno-asynchronous-unwind-tables -fno-unwind-tables", "unwind_target.c", true },
};

static int targets_build(void **ctx)
{
	(void)ctx;
	if (!mkdtemp(directory))
		return -1;
	for (size_t i = 0; i < ARRAY_SIZE(builds); i++) {
		const struct build *b = &builds[i];
		char command[1024];

		snprintf(command, sizeof(command), "%s %s -w -o %s/%s tests/unit/targets/%s -lpthread", b->compiler, b->flags, directory, b->name,
			b->source);
		if (system(command)) {
			fprintf(stderr, "failed: %s\n", command);
			return -1;
		}
	}
	return 0;
}

static int targets_remove(void **ctx)
{
	char command[128];

	(void)ctx;
	snprintf(command, sizeof(command), "rm -r %s", directory);
	return system(command);
}

struct target {
	pid_t pid;
	int fd; /* what it writes */
};

static struct target target_start(const char *build, const char *how)
{
	struct target t;
	char path[256];
	int ends[2];

	snprintf(path, sizeof(path), "%s/%s", directory, build);
	assert_int_equal(pipe(ends), 0);
	t.pid = fork();
	if (!t.pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(ends[1], 3);
		/* The linker, which looks a function up at its first call, keeps its caller's frame in a register that no sample has. */
		setenv("LD_BIND_NOW", "1", 1);
		execl(path, path, how, NULL);
		_exit(127);
	}
	close(ends[1]);
	t.fd = ends[0];
	return t;
}

static void target_end(struct target *t)
{
	kill(t->pid, SIGKILL);
	waitpid(t->pid, NULL, 0);
	close(t->fd);
}

static void read_all(int fd, void *to, size_t n)
{
	for (size_t got = 0; got < n;) {
		ssize_t part = read(fd, (char *)to + got, n - got);

		assert_true(part > 0);
		got += (size_t)part;
	}
}

static void target_stop(pid_t tid)
{
	int status;

	assert_int_equal(ptrace(PTRACE_SEIZE, tid, 0, 0), 0);
	assert_int_equal(ptrace(PTRACE_INTERRUPT, tid, 0, 0), 0);
	assert_int_equal(waitpid(tid, &status, __WALL), tid);
	assert_true(WIFSTOPPED(status));
}

/* The thread that spins: the last one. */
static pid_t target_thread(const struct target *t)
{
	char path[64];
	struct dirent *e;
	pid_t last = t->pid;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", t->pid);
	dir = opendir(path);
	assert_non_null(dir);
	while ((e = readdir(dir)))
		last = atoi(e->d_name) ? atoi(e->d_name) : last;
	closedir(dir);
	return last;
}

/* A sample of it where it stays. */
static void target_sample(const struct target *t, struct ptrace_sample *ret)
{
	pid_t tid = target_thread(t);

	target_stop(tid);
	assert_true(ptrace_sample_take(t->pid, tid, ret));
	assert_int_equal(ptrace(PTRACE_DETACH, tid, 0, 0), 0);
}

/* Theirs begins within the function that stops, which may have called on when it was stopped. Whether ours are the same from its caller on, as far as they go. */
static bool agreement(const uint64_t *ours, int n, const uint64_t *theirs, int their_n, int *ret_extra)
{
	for (*ret_extra = 0; *ret_extra < 3; ++*ret_extra) {
		int same = 1;

		while (*ret_extra + same < n && same < their_n && ours[*ret_extra + same] - theirs[same] <= 1) /* one further: who was interrupted */
			same++;
		if (same > 1 && *ret_extra + same == n)
			return true;
	}
	return false;
}

/* Returns how many frames there are; *ret_left: how many of theirs ours did not get to. */
static int stop_and_compare(const char *build, const char *how, int *ret_left)
{
	struct target t = target_start(build, how);
	static struct ptrace_sample s;
	static uint64_t ours[FRAMES], theirs[FRAMES];
	uint64_t their_n;
	struct native *n = native_new();
	int len, extra;
	bool cut;

	read_all(t.fd, &their_n, sizeof(their_n));
	assert_in_range(their_n, 4, FRAMES);
	read_all(t.fd, theirs, their_n * sizeof(*theirs));
	target_sample(&t, &s);
	len = native_unwind(n, &s.head, ours, FRAMES, &cut);
	if (!agreement(ours, len, theirs, (int)their_n, &extra) || cut != (len - extra != (int)their_n)) {
		for (int i = 0; i < (int)their_n || i < len; i++)
			print_message("%2d %12llx %12llx\n", i, (unsigned long long)(i < len ? ours[i] : 0),
				(unsigned long long)(i < (int)their_n ? theirs[i] : 0));
		fail_msg("%s %s: %d frames%s, backtrace has %d", build, how, len, cut ? " (cut)" : "", (int)their_n);
	}
	target_end(&t);
	native_free(n);
	*ret_left = (int)their_n - (len - extra);
	return len - extra;
}

static void as_the_compilers_own(void **ctx)
{
	static const char *const ways[] = { "align", "signal", "thread", "deep" };

	int left;

	(void)ctx;
	for (size_t b = 0; b < ARRAY_SIZE(builds); b++) {
		if (builds[b].no_cfi || strstr(builds[b].source, ".cc"))
			continue;
		for (size_t w = 0; w < ARRAY_SIZE(ways); w++)
			stop_and_compare(builds[b].name, ways[w], &left), assert_int_equal(left, 0);
	}
	stop_and_compare("cxx", "", &left);
	assert_int_equal(left, 0);
}

/* Of a stack that is deeper than a sample the frames that are in it, and that it was cut. */
static void deeper_than_a_sample(void **ctx)
{
	int left, len = stop_and_compare("plain", "deeper", &left);

	(void)ctx;
	assert_in_range(len, 100, 1000);
	assert_in_range(left, 100, 1000);
}

/* Names of the frames, innermost first, each followed by a blank. */
static int names_of(struct native *n, const struct ptrace_sample *s, char *text, size_t size, bool *ret_cut)
{
	uint64_t at[FRAMES];
	int len = native_unwind(n, &s->head, at, FRAMES, ret_cut);
	size_t used = 0;

	*text = '\0';
	for (int i = 0; i < len && used < size; i++) {
		struct frame f;

		native_name(n, (uint32_t)s->head.tgid, at[i], i > 0, &f);
		used += (size_t)snprintf(text + used, size - used, "%s ", f.name);
	}
	return len;
}

/* Samples the target where it stays, and returns the names of its frames. */
static char *names_where_it_stays(const char *build, const char *how, bool *ret_cut)
{
	struct target t = target_start(build, how);
	static struct ptrace_sample s;
	static char text[65536];
	struct native *n = native_new();
	uint64_t there;

	read_all(t.fd, &there, sizeof(there));
	target_sample(&t, &s);
	names_of(n, &s, text, sizeof(text), ret_cut);
	target_end(&t);
	native_free(n);
	return text;
}

static void assert_contains(const char *text, const char *part)
{
	if (!strstr(text, part))
		fail_msg("\"%s\" is not in \"%s\"", part, text);
}

static void without_tables_by_frame_pointers(void **ctx)
{
	bool cut;

	(void)ctx;
	assert_contains(names_where_it_stays("no-cfi", "align", &cut), "stop_here recurse recurse recurse recurse grow align main ");
	assert_contains(names_where_it_stays("debug-frame", "align", &cut), "stop_here recurse recurse recurse recurse grow align main ");
}

static void signal_on_its_own_stack(void **ctx)
{
	bool cut;
	/* What was interrupted is named; its stack is not in the sample. */
	const char *names = names_where_it_stays("plain", "altstack", &cut);

	(void)ctx;
	assert_contains(names, "grow align on_signal ");
	assert_true(cut);
	assert_null(strstr(names, "main "));
}

static void names_of_cxx(void **ctx)
{
	bool cut;
	const char *names = names_where_it_stays("cxx", "", &cut);

	(void)ctx;
	assert_contains(names, "shop::Basket<long>::total shop::Basket<long>::total ");
	assert_contains(names, "shop::checkout");
	assert_contains(names, " main ");
	assert_false(cut);
}

/* A stripped program's functions are told apart by where they begin: one name for all calls of one function. */
static void names_without_symbols(void **ctx)
{
	bool cut;
	char *names = names_where_it_stays("stripped", "deep", &cut), *first = strstr(names, "[stripped+0x"), *second, *end;
	int same = 0;

	(void)ctx;
	assert_non_null(first);
	second = strchr(first, ' ') + 1;
	end = strchr(second, ' ') + 1;
	for (char *at = second; !strncmp(at, second, (size_t)(end - second)); at += end - second)
		same++;
	assert_int_equal(same, 151);
}

/* Lets the target run until it is amid its walk; it is traced and stopped then. */
static void walk_begin(const struct target *t, const char *end)
{
	static struct ptrace_sample s;
	static char text[65536];
	struct native *n = native_new();
	bool cut;

	target_stop(t->pid);
	for (;;) {
		assert_true(ptrace_sample_take(t->pid, t->pid, &s));
		native_forget(n, (uint32_t)t->pid);
		names_of(n, &s, text, sizeof(text), &cut);
		if (strstr(text, end))
			break;
		ptrace(PTRACE_CONT, t->pid, 0, 0);
		usleep(1000);
		ptrace(PTRACE_INTERRUPT, t->pid, 0, 0);
		waitpid(t->pid, NULL, __WALL);
	}
	native_free(n);
}

static void step(const struct target *t, int signal)
{
	assert_int_equal(ptrace(PTRACE_SINGLESTEP, t->pid, 0, signal), 0);
	assert_int_equal(waitpid(t->pid, NULL, __WALL), t->pid);
}

/* At each instruction the frames end in those of main. */
static void walk(const char *build, const char *end)
{
	struct target t = target_start(build, "walk");
	static struct ptrace_sample s;
	struct native *n = native_new();
	static char text[65536];
	int wrong = 0;
	bool cut;

	walk_begin(&t, end);
	for (int i = 0; i < WALK_STEPS; i++) {
		step(&t, 0);
		if (i % 5)
			continue;
		assert_true(ptrace_sample_take(t.pid, t.pid, &s));
		names_of(n, &s, text, sizeof(text), &cut);
		if ((!strstr(text, end) || cut) && wrong++ < 10)
			print_message("%s: at %llx: %s%s\n", build, (unsigned long long)s.head.regs[SO_REG_IP], text, cut ? "(cut)" : "");
	}
	assert_int_equal(wrong, 0);
	target_end(&t);
	native_free(n);
}

static void each_instruction(void **ctx)
{
	(void)ctx;
	walk("plain", "walk main ");
	walk("lazy", "walk main ");
	walk("static", "walk main ");
	walk("clang", "walk main ");
}

/* A signal at a function's first instruction: the function is the interrupted one, though nothing of it has run. */
static void interrupted_at_the_begin(void **ctx)
{
	struct target t = target_start("plain", "walk");
	static struct ptrace_sample s;
	struct native *n = native_new();
	static char text[65536], inside[65536];
	bool cut, before = true;

	(void)ctx;
	walk_begin(&t, "walk main ");
	for (;;) {
		bool now;

		assert_true(ptrace_sample_take(t.pid, t.pid, &s));
		names_of(n, &s, inside, sizeof(inside), &cut);
		now = !strncmp(inside, "compare ", strlen("compare "));
		if (now && !before)
			break;
		before = now;
		step(&t, 0);
	}
	step(&t, SIGUSR1);
	assert_true(ptrace_sample_take(t.pid, t.pid, &s));
	names_of(n, &s, text, sizeof(text), &cut);
	assert_int_equal(strncmp(text, "on_signal ", strlen("on_signal ")), 0);
	assert_contains(text, inside);
	assert_false(cut);
	target_end(&t);
	native_free(n);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(as_the_compilers_own),
		cmocka_unit_test(deeper_than_a_sample),
		cmocka_unit_test(without_tables_by_frame_pointers),
		cmocka_unit_test(signal_on_its_own_stack),
		cmocka_unit_test(names_of_cxx),
		cmocka_unit_test(names_without_symbols),
		cmocka_unit_test(each_instruction),
		cmocka_unit_test(interrupted_at_the_begin),
	};

	return cmocka_run_group_tests(tests, targets_build, targets_remove);
}
