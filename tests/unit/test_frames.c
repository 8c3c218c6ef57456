/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What frames are called, which function of a stack is named for what it allocated or waited for, and sums by function, place and process. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/util.h"
#include "sink/frames.h"
#include "sink/profile.h"

#define NATIVE(fn, of) { .kind = FRAME_NATIVE, .name = fn, .file = "", .module = of }
#define KERNEL(fn) { .kind = FRAME_KERNEL, .name = fn, .file = "", .module = "" }
#define JS(fn, path, at) { .kind = FRAME_JIT, .name = fn, .file = path, .module = "", .line = at }
#define PYTHON(fn, path, at) { .kind = FRAME_PYTHON, .name = fn, .file = path, .module = "", .line = at }
#define PROCESS(fn) { .kind = FRAME_PROCESS, .name = fn, .file = "", .module = "" }

static void test_names_and_places(void **state)
{
	static const struct {
		struct frame frame;
		const char *name, *where;
		enum frame_role role;
	} rows[] = {
		{ NATIVE("parse", "agent"), "parse", "agent", ROLE_OWN },
		{ NATIVE("[agent+0x1a2b]", "agent"), "no symbols", "agent", ROLE_OWN },
		{ NATIVE("", ""), "no symbols", "", ROLE_SYSTEM },
		{ NATIVE("[32-bit code]", ""), "[32-bit code]", "", ROLE_SYSTEM },
		{ NATIVE("[unknown]", ""), "no symbols", "", ROLE_SYSTEM },
		{ NATIVE("(other)", ""), "(other)", "", ROLE_SYSTEM },
		{ NATIVE("malloc", "libc.so.6"), "malloc", "libc.so.6", ROLE_SYSTEM },
		{ NATIVE("malloc", "libjemalloc.so.2"), "malloc", "libjemalloc.so.2", ROLE_SYSTEM },
		{ NATIVE("SSL_read", "libssl.so.3"), "SSL_read", "libssl.so.3", ROLE_LIBRARY },
		{ NATIVE("libc_bench", "libclang"), "libc_bench", "libclang", ROLE_OWN },
		{ NATIVE("list_append", "python3.11"), "list_append", "python3.11", ROLE_ENGINE },
		{ NATIVE("scan", "_json.cpython-311-x86_64-linux-gnu.so"), "scan", "_json.so", ROLE_LIBRARY },
		{ NATIVE("node::(anonymous namespace)::Worker", "agent"), "node::Worker", "agent", ROLE_OWN },
		{ NATIVE("v8::internal::PagedSpaceBase::RawRefillLabMain", "agent"), "PagedSpaceBase::RawRefillLabMain", "agent", ROLE_OWN },
		{ NATIVE("std::vector<std::pair<std::string, int>>::push_back(int)", "agent"), "vector<std::pair<std::string, int>>::push_back(int)", "agent", ROLE_OWN },
		{ NATIVE("operator new(unsigned long, std::nothrow_t const&)", "agent"), "operator new(unsigned long, std::nothrow_t const&)", "agent", ROLE_OWN },
		{ NATIVE("f.constprop.1.cold", "agent"), "f", "agent", ROLE_OWN },
		{ NATIVE(".cold", "agent"), ".cold", "agent", ROLE_OWN },
		{ KERNEL("finish_task_switch.isra.0"), "finish_task_switch", "kernel", ROLE_SYSTEM },
		{ NATIVE("uv_run", "node"), "uv_run", "node", ROLE_ENGINE },
		{ NATIVE("run", "node-agent"), "run", "node-agent", ROLE_OWN },
		{ KERNEL("vfs_read"), "vfs_read", "kernel", ROLE_SYSTEM },
		{ PYTHON("step", "/srv/app/agent.py", 140), "step", "app/agent.py:140", ROLE_OWN },
		{ PYTHON("step", "agent.py", 0), "step", "agent.py", ROLE_OWN },
		{ PYTHON("dumps", "/usr/lib/python3.11/json/__init__.py", 183), "dumps", "json/__init__.py:183", ROLE_LIBRARY },
		{ PYTHON("get", "/venv/lib/python3.12/site-packages/httpx/_api.py", 9), "get", "httpx/_api.py:9", ROLE_LIBRARY },
		{ PYTHON("_find", "<frozen importlib._bootstrap>", 3), "_find", "<frozen importlib._bootstrap>:3", ROLE_LIBRARY },
		{ JS("parse", "/srv/app/agent.js", 12), "parse", "app/agent.js:12", ROLE_OWN },
		{ JS("main", "file:///srv/app/x.mjs", 1), "main", "app/x.mjs:1", ROLE_OWN },
		{ JS("readFile", "node:fs", 9), "readFile", "node:fs:9", ROLE_LIBRARY },
		{ JS("f", "/app/node_modules/openai/index.js", 4), "f", "openai/index.js:4", ROLE_LIBRARY },
		{ JS("Builtin:ArrayMap", "", 0), "Builtin:ArrayMap", "", ROLE_ENGINE },
		{ JS("lambda_1", "", 0), "lambda_1", "", ROLE_OWN },
		{ PROCESS("python3"), "python3", "", ROLE_PROCESS },
	};
	char buf[FRAME_TEXT];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		assert_string_equal(frame_name(&rows[i].frame, buf), rows[i].name);
		assert_string_equal(frame_where(&rows[i].frame, buf), rows[i].where);
		assert_int_equal(frame_role(&rows[i].frame), rows[i].role);
	}
}

static void test_long_texts_are_cut(void **state)
{
	char name[4000], buf[FRAME_TEXT];
	struct frame f = PYTHON(name, name, 7);

	(void)state;
	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	for (int kind = 0; kind < FRAME_KINDS; kind++) {
		f.kind = kind;
		assert_true(strlen(frame_name(&f, buf)) < FRAME_TEXT);
		assert_true(strlen(frame_where(&f, buf)) < FRAME_TEXT);
	}
}

static uint32_t stack_add(struct stacks *s, const struct frame *frames, size_t len)
{
	uint32_t numbers[64];

	for (size_t i = 0; i < len; i++)
		numbers[i] = stacks_frame(s, &frames[i]);
	return stacks_add(s, numbers, len);
}
#define STACK(s, ...) stack_add(s, (const struct frame[]){ __VA_ARGS__ }, ARRAY_SIZE(((const struct frame[]){ __VA_ARGS__ })))

static void check_site(struct stacks *s, uint32_t stack, const char *at, const char *by, const char *in)
{
	struct site site;

	stack_site(s, stack, &site);
	assert_string_equal(site.at->name, at);
	assert_string_equal(site.by ? site.by->name : "-", by);
	assert_string_equal(site.in, in);
}

static void test_sites(void **state)
{
	struct stacks *s = stacks_new();

	(void)state;
	/* C: what called malloc, and who called that */
	check_site(s, STACK(s, NATIVE("_int_malloc", "libc.so.6"), NATIVE("malloc", "libc.so.6"), NATIVE("cache_put", "agent"), NATIVE("handle", "agent"),
			    NATIVE("main", "agent"), NATIVE("__libc_start_main", "libc.so.6"), PROCESS("agent")), "cache_put", "handle", "malloc");
	/* a library's function, and the program's own that used it, not the ones in between */
	check_site(s, STACK(s, PYTHON("raw_decode", "/usr/lib/python3.11/json/decoder.py", 343), PYTHON("loads", "/usr/lib/python3.11/json/__init__.py", 299),
			    PYTHON("parse", "/srv/agent.py", 12), PYTHON("main", "/srv/agent.py", 40), PROCESS("python3")), "raw_decode", "parse", "");
	/* a wait is named by its system call */
	check_site(s, STACK(s, KERNEL("schedule"), KERNEL("ep_poll"), KERNEL("do_epoll_wait"), KERNEL("__x64_sys_epoll_wait"), KERNEL("do_syscall_64"),
			    KERNEL("entry_SYSCALL_64_after_hwframe"), NATIVE("epoll_wait", "libc.so.6"), NATIVE("select_epoll_poll", "python3.11"),
			    PYTHON("select", "/usr/lib/python3.11/selectors.py", 451), PYTHON("fetch", "/srv/agent.py", 9), PROCESS("python3")),
		   "select", "fetch", "epoll_wait");
	check_site(s, STACK(s, KERNEL("folio_wait_bit"), KERNEL("asm_exc_page_fault"), NATIVE("touch", "agent"), PROCESS("agent")), "touch", "-", "page fault");
	/* without its entry, by what the program called */
	check_site(s, STACK(s, KERNEL("schedule"), KERNEL("futex_wait"), KERNEL("do_syscall_64"), NATIVE("lock", "agent"), PROCESS("agent")), "lock", "-",
		   "futex_wait");
	/* recursion names another caller */
	check_site(s, STACK(s, NATIVE("walk", "agent"), NATIVE("walk", "agent"), NATIVE("main", "agent")), "walk", "main", "");
	/* an engine's own threads; a program without symbols has a file, at least */
	check_site(s, STACK(s, KERNEL("futex_wait"), KERNEL("__x64_sys_futex"), NATIVE("pthread_cond_wait", "libc.so.6"), NATIVE("uv_cond_wait", "node"),
			    NATIVE("PlatformWorkerThread", "node"), NATIVE("start_thread", "libc.so.6"), PROCESS("node")), "uv_cond_wait", "PlatformWorkerThread",
		   "futex");
	check_site(s, STACK(s, NATIVE("malloc", "libc.so.6"), NATIVE("[codex+0x10]", "codex"), NATIVE("[codex+0x20]", "codex"),
			    NATIVE("__libc_start_main", "libc.so.6"), PROCESS("codex")), "[codex+0x10]", "-", "malloc");
	/* nothing but the system; nothing but the kernel; nothing */
	check_site(s, STACK(s, KERNEL("schedule"), NATIVE("[vdso]", "[vdso]"), NATIVE("nanosleep", "libc.so.6"), PROCESS("sleep")), "nanosleep", "-", "schedule");
	check_site(s, STACK(s, KERNEL("schedule"), PROCESS("kworker")), "schedule", "-", "");
	check_site(s, STACK_OTHER, "(other)", "-", "");
	stacks_free(s);
}

static const struct function_row *function_find(const struct function_row *rows, size_t len, const char *name)
{
	char buf[FRAME_TEXT];

	for (size_t i = 0; i < len; i++)
		if (!strcmp(frame_function(rows[i].frame, buf), name))
			return &rows[i];
	fail_msg("no row of %s", name);
	return NULL;
}

static void test_functions(void **state)
{
	struct stacks *s = stacks_new();
	struct sample_set set = { 0 };
	struct function_row *rows;
	const struct function_row *row;
	size_t len;

	(void)state;
	sample_set_add(&set, STACK(s, NATIVE("a", "x"), NATIVE("b", "x"), NATIVE("main", "x"), PROCESS("x")), 50);
	sample_set_add(&set, STACK(s, NATIVE("b", "x"), NATIVE("b", "x"), NATIVE("b", "x"), NATIVE("main", "x"), PROCESS("x")), 30);
	sample_set_add(&set, STACK(s, NATIVE("[x+0x10]", "x"), NATIVE("main", "x"), PROCESS("y")), 15);
	sample_set_add(&set, STACK(s, NATIVE("[x+0x20]", "x"), NATIVE("[x+0x10]", "x"), PROCESS("y")), 5);
	rows = profile_functions(s, &set, &len);
	assert_non_null(rows);
	assert_int_equal(len, 4);
	assert_string_equal(rows[0].frame->name, "a");
	row = function_find(rows, len, "b");
	assert_int_equal(row->self, 30);
	assert_int_equal(row->total, 80); /* of recursion no more than all */
	row = function_find(rows, len, "main");
	assert_int_equal(row->self, 0);
	assert_int_equal(row->total, 95);
	row = function_find(rows, len, "[x]"); /* one of the module's frames stands for all */
	assert_int_equal(row->self, 20);
	assert_int_equal(row->total, 20);
	free(rows);

	struct process_row *processes = profile_processes(s, &set, &len);

	assert_int_equal(len, 2);
	assert_string_equal(processes[0].name, "x");
	assert_int_equal(processes[0].value, 80);
	assert_int_equal(processes[1].value, 20);
	free(processes);

	struct profile_unknown unknown;

	profile_unknown(s, &set, &unknown);
	assert_int_equal(unknown.whole, 5);
	assert_int_equal(unknown.leaf, 15);
	assert_int_equal(unknown.cut, 0);

	/* where callers are missing, there is no function of that name */
	sample_set_add(&set, STACK(s, NATIVE("b", "x"), NATIVE("[callers unknown]", ""), PROCESS("x")), 7);
	sample_set_add(&set, STACK(s, NATIVE("[callers unknown]", ""), PROCESS("x")), 2);
	rows = profile_functions(s, &set, &len);
	assert_int_equal(len, 4);
	assert_int_equal(function_find(rows, len, "b")->total, 87);
	free(rows);
	profile_unknown(s, &set, &unknown);
	assert_int_equal(unknown.cut, 9);
	assert_int_equal(unknown.whole, 7);
	sample_set_fini(&set);
	stacks_free(s);
}

/* What the interpreter does is its Python function's; what libraries do is theirs. Without Python functions there is nobody else. */
static void test_interpreters(void **state)
{
	struct frame score = PYTHON("score", "/srv/agent.py", 9);
	struct stacks *s = stacks_new();
	struct sample_set set = { 0 };
	struct profile_unknown unknown;
	struct function_row *rows;
	size_t len;

	(void)state;
	sample_set_add(&set, STACK(s, NATIVE("[python3.11+0x1]", "python3.11"), NATIVE("PyNumber_Add", "python3.11"), score,
				   NATIVE("[python3.11+0x2]", "python3.11"), PROCESS("python3")), 60);
	sample_set_add(&set, STACK(s, NATIVE("sha", "libcrypto.so.3"), NATIVE("call", "libpython3.11.so.1.0"), score, PROCESS("python3")), 30);
	sample_set_add(&set, STACK(s, NATIVE("[python3.11+0x3]", "python3.11"), PROCESS("python3")), 10);
	rows = profile_functions(s, &set, &len);
	assert_int_equal(len, 3);
	assert_string_equal(rows[0].frame->name, "score");
	assert_int_equal(rows[0].self, 60);
	assert_int_equal(rows[0].total, 90);
	assert_int_equal(function_find(rows, len, "sha")->self, 30);
	assert_int_equal(rows[2].self, 10);
	assert_int_equal(rows[2].total, 10);
	free(rows);
	profile_unknown(s, &set, &unknown);
	assert_int_equal(unknown.whole, 10);
	assert_int_equal(unknown.leaf, 0);
	sample_set_fini(&set);
	stacks_free(s);
}

static void test_owners(void **state)
{
	struct frame step = PYTHON("step", "/srv/agent.py", 9), dumps = PYTHON("dumps", "/usr/lib/python3.11/json/__init__.py", 1);
	struct stacks *s = stacks_new();
	struct sample_set set = { 0 };
	struct function_row *rows;
	size_t len;

	(void)state;
	sample_set_add(&set, STACK(s, NATIVE("sha", "libcrypto.so.3"), step, step, PROCESS("python3")), 30);
	sample_set_add(&set, STACK(s, dumps, step, PROCESS("python3")), 10);
	sample_set_add(&set, STACK(s, NATIVE("main", "git"), PROCESS("git")), 50);
	sample_set_add(&set, STACK(s, dumps, PROCESS("python3")), 5); /* nobody's */
	rows = profile_owners(s, &set, &len);
	assert_int_equal(len, 2);
	assert_string_equal(rows[0].frame->name, "main");
	assert_int_equal(rows[0].self, 50);
	assert_string_equal(rows[1].frame->name, "step");
	assert_int_equal(rows[1].self, 40);
	free(rows);
	sample_set_fini(&set);
	stacks_free(s);
}

static void test_sites_add_up(void **state)
{
	struct stacks *s = stacks_new();
	struct sample_set set = { 0 };
	struct site_row *rows;
	size_t len;

	(void)state;
	sample_set_add(&set, STACK(s, NATIVE("malloc", "libc.so.6"), NATIVE("put", "x"), NATIVE("main", "x")), 10);
	sample_set_add(&set, STACK(s, NATIVE("calloc", "libc.so.6"), NATIVE("put", "x"), NATIVE("main", "x")), 20);
	sample_set_add(&set, STACK(s, NATIVE("calloc", "libc.so.6"), NATIVE("get", "x"), NATIVE("main", "x")), 25);
	rows = profile_sites(s, &set, false, &len);
	assert_int_equal(len, 2);
	assert_string_equal(rows[0].site.at->name, "put");
	assert_int_equal(rows[0].value, 30);
	free(rows);
	rows = profile_sites(s, &set, true, &len); /* what it waits in tells waits apart */
	assert_int_equal(len, 3);
	assert_int_equal(rows[0].value, 25);
	free(rows);
	sample_set_fini(&set);
	stacks_free(s);
}

static void test_nothing(void **state)
{
	struct stacks *s = stacks_new();
	struct sample_set set = { 0 };
	struct profile_unknown unknown;
	size_t len = 1;

	(void)state;
	free(profile_functions(s, &set, &len));
	assert_int_equal(len, 0);
	free(profile_sites(s, &set, true, &len));
	assert_int_equal(len, 0);
	free(profile_processes(s, &set, &len));
	assert_int_equal(len, 0);
	profile_unknown(s, &set, &unknown);
	assert_int_equal(unknown.whole + unknown.leaf, 0);
	sample_set_add(&set, STACK_OTHER, 7);
	free(profile_functions(s, &set, &len));
	assert_int_equal(len, 1);
	profile_unknown(s, &set, &unknown);
	assert_int_equal(unknown.whole, 7);
	sample_set_fini(&set);
	stacks_free(s);
}

/* 10,000 stacks: nothing of their sum is lost, whichever way they are summed. */
static void test_many(void **state)
{
	struct stacks *s = stacks_new();
	struct sample_set set = { 0 };
	uint64_t self = 0, by_site = 0, sum;
	size_t len;

	(void)state;
	for (int i = 0; i < 10000; i++) {
		char name[32], caller[32];

		snprintf(name, sizeof(name), "f%d", i % 1000);
		snprintf(caller, sizeof(caller), "g%d", i / 1000);
		sample_set_add(&set, STACK(s, NATIVE(name, "x"), NATIVE(caller, "x"), NATIVE("main", "x"), PROCESS("x")), (uint64_t)i + 1);
	}
	sum = sample_set_sum(&set);
	assert_int_equal(sum, 10000ull * 10001 / 2);

	struct function_row *functions = profile_functions(s, &set, &len);

	assert_int_equal(len, 1000 + 10 + 1);
	for (size_t i = 0; i < len; i++)
		self += functions[i].self;
	assert_int_equal(self, sum);
	assert_int_equal(function_find(functions, len, "main")->total, sum);
	free(functions);

	struct site_row *sites = profile_sites(s, &set, false, &len);

	assert_int_equal(len, 10000);
	for (size_t i = 0; i < len; i++)
		by_site += sites[i].value;
	assert_int_equal(by_site, sum);
	free(sites);
	sample_set_fini(&set);
	stacks_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names_and_places), cmocka_unit_test(test_long_texts_are_cut), cmocka_unit_test(test_sites),
		cmocka_unit_test(test_functions),	 cmocka_unit_test(test_interpreters),	 cmocka_unit_test(test_owners),	 cmocka_unit_test(test_sites_add_up),	    cmocka_unit_test(test_nothing),
		cmocka_unit_test(test_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
