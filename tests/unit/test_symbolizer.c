/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* From samples to stacks of named frames: processes that are gone, files that are deleted, Python's frames in their places, code made at run time. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/util.h"
#include "ptrace_sample.h"
#include "symbols/demangle.h"
#include "symbols/kernel_names.h"
#include "symbols/perf_map.h"
#include "symbols/symbolizer.h"

static char directory[] = "/tmp/stakeout-symbols-XXXXXX";

static int target_build(void **ctx)
{
	char command[512];

	(void)ctx;
	if (!mkdtemp(directory))
		return -1;
	snprintf(command, sizeof(command), "gcc -O2 -w -o %s/program tests/unit/targets/unwind_target.c -lpthread", directory);
	return system(command);
}

static int target_remove(void **ctx)
{
	char command[128];

	(void)ctx;
	snprintf(command, sizeof(command), "rm -r %s", directory);
	return system(command);
}

/* A process of the program called by `name` (a copy), at the place where it stays. It is traced and stopped. */
static pid_t target_at(const char *name, const char *how)
{
	char path[256], from[256], command[600];
	uint64_t there;
	int ends[2];
	pid_t pid;

	snprintf(from, sizeof(from), "%s/program", directory);
	snprintf(path, sizeof(path), "%s/%s", directory, name);
	snprintf(command, sizeof(command), "cp %s %s", from, path);
	assert_int_equal(strcmp(from, path) ? system(command) : 0, 0);
	assert_int_equal(pipe(ends), 0);
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(ends[1], 3);
		execl(path, path, how, NULL);
		_exit(127);
	}
	close(ends[1]);
	assert_int_equal(read(ends[0], &there, sizeof(there)), sizeof(there));
	close(ends[0]);
	assert_int_equal(ptrace(PTRACE_SEIZE, pid, 0, 0), 0);
	assert_int_equal(ptrace(PTRACE_INTERRUPT, pid, 0, 0), 0);
	assert_int_equal(waitpid(pid, NULL, __WALL), pid);
	return pid;
}

static void target_end(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/* Names of a stack's frames, innermost first, each after its kind's letter and followed by a blank. */
static const char *stack_text(const struct stacks *t, uint32_t stack)
{
	static char text[65536];
	size_t n, used = 0;
	const uint32_t *at = stacks_at(t, stack, &n);

	*text = '\0';
	for (size_t i = 0; i < n; i++) {
		const struct frame *f = stacks_frame_at(t, at[i]);

		used += (size_t)snprintf(text + used, sizeof(text) - used, "%c:%s ", frame_kind_names[f->kind][1], f->name);
	}
	return text;
}

static void assert_contains(const char *text, const char *part)
{
	if (!strstr(text, part))
		fail_msg("\"%s\" is not in \"%s\"", part, text);
}

static void a_process_that_is_gone(void **ctx)
{
	struct symbolizer *y = symbolizer_new();
	struct stacks *t = stacks_new();
	static struct ptrace_sample s;
	char path[256];
	pid_t pid = target_at("shortlived", "align");
	const char *text;

	(void)ctx;
	symbolizer_exec(y, (uint32_t)pid);
	symbolizer_work(y);
	assert_true(ptrace_sample_take(pid, pid, &s));
	snprintf(path, sizeof(path), "%s/shortlived", directory);
	assert_int_equal(unlink(path), 0);
	target_end(pid);
	symbolizer_exit(y, (uint32_t)pid);
	text = stack_text(t, symbolizer_stack(y, &s.head, t));
	assert_contains(text, "a:stop_here a:recurse a:recurse a:recurse a:recurse a:grow a:align a:main ");
	assert_contains(text, "r:shortlived ");
	assert_null(strstr(text, "[callers unknown]"));
	assert_true(symbolizer_bytes(y) > 100000); /* the kernel's names alone take more */
	symbolizer_free(y);
	stacks_free(t);
}

static void a_file_that_is_deleted(void **ctx)
{
	struct symbolizer *y = symbolizer_new();
	struct stacks *t = stacks_new();
	static struct ptrace_sample s;
	char path[256];
	pid_t pid = target_at("deleted", "align");

	(void)ctx;
	snprintf(path, sizeof(path), "%s/deleted", directory);
	assert_int_equal(unlink(path), 0);
	assert_true(ptrace_sample_take(pid, pid, &s));
	if (geteuid()) {
		print_message("skip: only root may follow the links to files of processes\n");
		target_end(pid);
		skip();
	}
	assert_contains(stack_text(t, symbolizer_stack(y, &s.head, t)), "a:grow a:align a:main ");
	target_end(pid);
	symbolizer_free(y);
	stacks_free(t);
}

/* A sample with Python frames, which the program does not really have: their names are unknown, their places are not. */
static void pythons_frames_in_their_places(void **ctx)
{
	static const struct {
		uint64_t flags[6];
		int n;
		const char *text;
	} cases[] = {
		{ { 0, 1, 1 }, 3, "a:stop_here a:builtin_call y:[unknown] y:[unknown] a:builtin_call y:[unknown] a:main " },
		{ { 1, 0, 1 }, 3, "a:stop_here a:builtin_call y:[unknown] a:builtin_call y:[unknown] y:[unknown] a:main " },
		{ { 0 }, 0, "a:builtin_call a:_PyEval_EvalFrameDefault a:builtin_call a:_PyEval_EvalFrameDefault a:main " },
		{ { 1 }, 1, "a:builtin_call y:[unknown] a:builtin_call a:_PyEval_EvalFrameDefault a:main " },
	};
	struct symbolizer *y = symbolizer_new();
	struct stacks *t = stacks_new();
	static struct ptrace_sample s;
	pid_t pid = target_at("program", "python");
	const char *text;

	(void)ctx;
	assert_true(ptrace_sample_take(pid, pid, &s));
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		size_t python = (size_t)cases[i].n * sizeof(struct so_python_frame);
		struct so_stack *p = calloc(1, sizeof(*p) + python + s.head.user_bytes);
		struct so_python_frame *frames = (void *)(p + 1);

		*p = s.head;
		p->python_len = (uint8_t)cases[i].n;
		for (int k = 0; k < cases[i].n; k++)
			frames[k] = (struct so_python_frame){ 0x1000, 0, cases[i].flags[k] };
		memcpy(frames + cases[i].n, s.stack, s.head.user_bytes);
		assert_contains(stack_text(t, symbolizer_stack(y, p, t)), cases[i].text);
		/* Without a stack, or of a process that can't be read, they are still there. */
		p->user_bytes = 0;
		p->tgid = 0x7fffffff;
		text = stack_text(t, symbolizer_stack(y, p, t));
		for (int k = 0; k < cases[i].n; k++) {
			text = strstr(text, "y:[unknown] ");
			assert_non_null(text);
			text++;
		}
		free(p);
	}
	target_end(pid);
	symbolizer_free(y);
	stacks_free(t);
}

/* Of a process that can't be read there are its comm and addresses without names. */
static void nobody_and_nothing(void **ctx)
{
	struct so_stack s = { .tgid = 0x7fffffff, .comm = "sixteen bytes lo", .regs = { 0x1234, 0x5678 } };
	struct symbolizer *y = symbolizer_new();
	struct stacks *t = stacks_new();

	(void)ctx;
	assert_string_equal(stack_text(t, symbolizer_stack(y, &s, t)), "a:[unknown] a:[callers unknown] r:sixteen bytes lo ");
	s.flags = SO_STACK_COMPAT;
	assert_string_equal(stack_text(t, symbolizer_stack(y, &s, t)), "a:[32-bit code] r:sixteen bytes lo ");
	symbolizer_free(y);
	stacks_free(t);
}

static void map_write(const char *text, int flags)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/tmp/perf-%d.map", getpid());
	fd = open(path, O_WRONLY | O_CREAT | flags, 0644);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

/* The stack of a sample of this program itself, in code without a file. */
static const char *jit_stack(struct symbolizer *y, struct stacks *t, uint64_t ip)
{
	struct so_stack s = { .tgid = (uint32_t)getpid(), .comm = "x", .regs = { ip } };

	return stack_text(t, symbolizer_stack(y, &s, t));
}

/* Until it has looked into the file again, which it does four times a second at most. */
static void jit_becomes(struct symbolizer *y, struct stacks *t, uint64_t ip, const char *part)
{
	while (!strstr(jit_stack(y, t, ip), part))
		usleep(10000);
}

static void code_made_at_run_time(void **ctx)
{
	char *code = mmap(NULL, 65536, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), text[512], path[64];
	struct symbolizer *y = symbolizer_new();
	struct stacks *t = stacks_new();
	uint64_t at = (uint64_t)code;

	(void)ctx;
	snprintf(path, sizeof(path), "/tmp/perf-%d.map", getpid());
	unlink(path);
	assert_contains(jit_stack(y, t, at + 4), "a:[unknown] ");
	snprintf(text, sizeof(text), "%llx 100 LazyCompile:*add /app/sum.js:10:3\n%llx 0x40 plain name\n%llx 20 unfinished", (unsigned long long)at,
		(unsigned long long)at + 256, (unsigned long long)at + 512);
	map_write(text, O_TRUNC);
	jit_becomes(y, t, at + 4, "i:add ");
	assert_contains(jit_stack(y, t, at + 0xff), "i:add ");
	assert_contains(jit_stack(y, t, at + 256), "i:plain name ");
	assert_contains(jit_stack(y, t, at + 256 + 0x40), "a:[unknown] ");
	/* What is added later, the end of a line among it; and a function in the place of another. */
	snprintf(text, sizeof(text), " now\n%llx 100 JS:~ /app/late.js:7:1\n", (unsigned long long)at);
	map_write(text, O_APPEND);
	jit_becomes(y, t, at + 520, "i:unfinished now ");
	assert_contains(jit_stack(y, t, at + 4), "i:(anonymous) ");
	unlink(path);
	symbolizer_free(y);
	stacks_free(t);
	munmap(code, 65536);
}

static void map_refused(const char *what)
{
	struct perf_map *p = perf_map_new();

	if (perf_map_read(p, (uint32_t)getpid()))
		fail_msg("%s was read", what);
	perf_map_free(p);
}

static void maps_that_are_not_believed(void **ctx)
{
	char path[64], other[128];
	struct perf_map *p = perf_map_new();

	(void)ctx;
	snprintf(path, sizeof(path), "/tmp/perf-%d.map", getpid());
	unlink(path);
	map_refused("nothing");
	assert_int_equal(mkfifo(path, 0644), 0);
	map_refused("a pipe"); /* and did not wait for a writer */
	unlink(path);
	assert_int_equal(mkdir(path, 0755), 0);
	map_refused("a directory");
	rmdir(path);
	snprintf(other, sizeof(other), "%s/other.map", directory);
	assert_int_equal(close(open(other, O_CREAT | O_WRONLY, 0644)), 0);
	assert_int_equal(symlink(other, path), 0);
	map_refused("a link");
	unlink(path);
	map_write("1000 10 f\n", O_TRUNC);
	assert_true(perf_map_read(p, (uint32_t)getpid()));
	assert_string_equal(perf_map_find(p, 0x100f), "f");
	if (!geteuid()) {
		assert_int_equal(chown(path, 12345, 12345), 0);
		map_refused("somebody else's");
	}
	unlink(path);
	perf_map_free(p);
}

static void lines_of_perf_maps(void **ctx)
{
	static const char text[] = "1000 10 first\n"
				   "0x2000 0x10 second with blanks\n"
				   "\n"
				   "zz 10 no number\n"
				   "3000 nosize\n"
				   "4000 0 empty\n"
				   "5000 10 \n"
				   "123456789abcdef01 10 too large\n"
				   "1008 100 over the first\n"
				   "6000 ffffffffffffffff all the rest\n"
				   "7000 10 last";
	struct perf_map *whole = perf_map_new(), *bytes = perf_map_new();
	static const struct {
		uint64_t at;
		const char *name;
	} cases[] = { { 0xfff, NULL }, { 0x1000, "first" }, { 0x1008, "over the first" }, { 0x1107, "over the first" }, { 0x1108, NULL },
		      { 0x200f, "second with blanks" }, { 0x3000, NULL }, { 0x4000, NULL }, { 0x5000, NULL }, { 0x6fff, "all the rest" } };

	(void)ctx;
	perf_map_feed(whole, text, strlen(text));
	for (size_t i = 0; i < strlen(text); i++)
		perf_map_feed(bytes, text + i, 1);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const char *a = perf_map_find(whole, cases[i].at), *b = perf_map_find(bytes, cases[i].at);

		if (!cases[i].name) {
			assert_null(a);
			assert_null(b);
			continue;
		}
		assert_non_null(a);
		assert_string_equal(a, cases[i].name);
		assert_string_equal(b, cases[i].name);
	}
	perf_map_free(whole);
	perf_map_free(bytes);
}

static void names_of_v8(void **ctx)
{
	static const struct {
		const char *name, *function, *file;
		uint32_t line;
	} cases[] = {
		{ "LazyCompile:*foo /app/a.js:10:3", "foo", "/app/a.js", 10 },
		{ "JS:~bar file:///app/b.mjs:7:12", "bar", "file:///app/b.mjs", 7 },
		{ "JS:^ node:internal/timers:514:25", "(anonymous)", "node:internal/timers", 514 },
		{ "Function:+get size /app/my files/c.js:1", "get size", "/app/my files/c.js", 1 },
		{ "Eval:~run evalmachine.<anonymous>:3:1", "run", "evalmachine.<anonymous>", 3 },
		{ "Script:~ /app/d.js:1:1", "(anonymous)", "/app/d.js", 1 },
		{ "Builtin:ArrayMap", "Builtin:ArrayMap", "", 0 },
		{ "RegExp:^a:b$", "RegExp:^a:b$", "", 0 },
		{ "LazyCompile:*", "(anonymous)", "", 0 },
		{ "py::work:/app/x.py", "py::work:/app/x.py", "", 0 },
	};

	(void)ctx;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct frame f = { .file = "" };
		char buf[256];

		perf_map_name(cases[i].name, buf, sizeof(buf), &f);
		assert_string_equal(f.name, cases[i].function);
		assert_string_equal(f.file, cases[i].file);
		assert_int_equal(f.line, cases[i].line);
	}
}

static void names_of_cxx_and_rust(void **ctx)
{
	static const struct {
		const char *name, *pretty;
	} cases[] = {
		{ "_ZN2v88internal7Factory9NewStringEi", "v8::internal::Factory::NewString" },
		{ "_ZNSt6vectorIiSaIiEE9push_backERKi", "std::vector<int, std::allocator<int> >::push_back" },
		{ "_ZN4core3fmt9Formatter3pad17h0123456789abcdefE", "core::fmt::Formatter::pad" },
		{ "_RNvCs1234_7mycrate3foo", "mycrate::foo" },
		{ "_RNvMsr_NtCs3ssYzQotkvD_3std4pathNtB5_7PathBuf3newCs15kBYyAo9fc_7mycrate", "<std::path::PathBuf>::new" },
		{ "main", NULL }, { "", NULL }, { "_Z", NULL }, { "_ZN", NULL }, { "_R", NULL }, { "__libc_start_main", NULL },
	};
	char buf[256], small[8];

	(void)ctx;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(demangle(cases[i].name, buf, sizeof(buf)), cases[i].pretty != NULL);
		if (cases[i].pretty)
			assert_string_equal(buf, cases[i].pretty);
	}
	/* Cut, not refused. */
	assert_true(demangle(cases[0].name, small, sizeof(small)));
	assert_string_equal(small, "v8::int");
}

/* Each S..._ stands for all that came before: 2^40 letters. */
static void names_that_explode(void **ctx)
{
	char name[1024] = "_Z1fSt4pairIiiE", buf[512];
	size_t at = strlen(name);

	(void)ctx;
	for (int i = 0; i < 30; i++) {
		static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
		char last = digits[i];

		at += (size_t)snprintf(name + at, sizeof(name) - at, "St4pairIS%c_S%c_E", last, last);
	}
	demangle(name, buf, sizeof(buf));
	assert_in_range(strlen(buf), 0, sizeof(buf) - 1);
}

static void kernels_names(void **ctx)
{
	char path[128];
	const char *module;
	struct kernel_names *k;
	FILE *f;

	(void)ctx;
	snprintf(path, sizeof(path), "%s/kallsyms", directory);
	f = fopen(path, "w");
	fputs("ffffffff81000000 T first\nffffffff81000100 t second\nffffffff81000100 t its_other_name\nffffffff81000180 D data\n"
	      "ffffffffc0000000 t mod_one\t[alpha]\nffffffffc0000010 t mod_two\t[alpha]\nffffffffc0001000 t other\t[beta]\n"
	      "nonsense\nffffffff81000200\nffffffff81000200 t\nffffffff80000000 W low\n", f);
	fclose(f);
	k = kernel_names_read(path);
	assert_string_equal(kernel_names_find(k, 0xffffffff81000000, &module), "first");
	assert_string_equal(module, "");
	assert_string_equal(kernel_names_find(k, 0xffffffff810000ff, &module), "first");
	assert_string_equal(kernel_names_find(k, 0xffffffff810001ff, &module), "second");
	assert_string_equal(kernel_names_find(k, 0xffffffffc0000011, &module), "mod_two");
	assert_string_equal(module, "alpha");
	assert_string_equal(kernel_names_find(k, 0xffffffffc0001001, &module), "other");
	assert_string_equal(module, "beta");
	assert_null(kernel_names_find(k, 0xffffffff7fffffff, &module));
	assert_null(kernel_names_find(k, 0xffffffffffffffff, &module));
	kernel_names_free(k);
	k = kernel_names_read("/nonexistent");
	assert_null(kernel_names_find(k, 1, &module));
	kernel_names_free(k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_process_that_is_gone),
		cmocka_unit_test(a_file_that_is_deleted),
		cmocka_unit_test(pythons_frames_in_their_places),
		cmocka_unit_test(nobody_and_nothing),
		cmocka_unit_test(code_made_at_run_time),
		cmocka_unit_test(maps_that_are_not_believed),
		cmocka_unit_test(lines_of_perf_maps),
		cmocka_unit_test(names_of_v8),
		cmocka_unit_test(names_of_cxx_and_rust),
		cmocka_unit_test(names_that_explode),
		cmocka_unit_test(kernels_names),
	};

	return cmocka_run_group_tests(tests, target_build, target_remove);
}
