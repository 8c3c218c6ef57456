/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Folded stacks: every name harmless, one line for what reads the same, nothing lost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/util.h"
#include "sink/folded.h"

static void test_frames(void **state)
{
	static const struct {
		struct frame frame;
		const char *want;
	} rows[] = {
		{ { FRAME_NATIVE, "main", "", "x", 0 }, "main" },
		{ { FRAME_KERNEL, "vfs_read", "", "", 0 }, "vfs_read_[k]" },
		{ { FRAME_JIT, "Builtin:ArrayMap", "", "", 0 }, "Builtin:ArrayMap_[j]" },
		{ { FRAME_JIT, "parse", "/srv/app/x.js", "", 12 }, "parse (app/x.js:12)_[j]" },
		{ { FRAME_JIT, "", "/srv/app/x.js", "", 12 }, "(anonymous) (app/x.js:12)_[j]" },
		{ { FRAME_PYTHON, "step", "/srv/app/agent.py", "", 140 }, "step (app/agent.py:140)" },
		{ { FRAME_NATIVE, "[x+0x1a2b]", "", "x", 0 }, "[x]" },
		{ { FRAME_NATIVE, "[unknown]", "", "", 0 }, "[unknown]" },
		{ { FRAME_NATIVE, "[unknown]", "", "x", 0 }, "[x]" },
		{ { FRAME_NATIVE, "", "", "", 0 }, "[unknown]" },
		{ { FRAME_NATIVE, "a;b\nc\td\x1b[2J", "", "x", 0 }, "a:b?c?d?[2J" },
		{ { FRAME_NATIVE, "bad\xff\xc3(", "", "x", 0 }, "bad?" "?(" },
		{ { FRAME_NATIVE, "f\xc3\xbcr", "", "x", 0 }, "f\xc3\xbcr" },
		/* not to be read as another value */
		{ { FRAME_NATIVE, "Thread 12", "", "x", 0 }, "Thread_12" },
		{ { FRAME_NATIVE, "Thread 1.5", "", "x", 0 }, "Thread_1.5" },
		{ { FRAME_NATIVE, "operator new(unsigned long)", "", "x", 0 }, "operator new(unsigned long)" },
		{ { FRAME_PROCESS, "7", "", "", 0 }, "7" },
		{ { FRAME_PROCESS, "tail ", "", "", 0 }, "tail_" },
	};
	char buf[FOLDED_FRAME];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		assert_string_equal(folded_frame(&rows[i].frame, buf), rows[i].want);
}

static char *folded(struct recording *r, bool prefixed)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	assert_non_null(out);
	assert_int_equal(folded_report(out, r, SAMPLE_CPU_NS, prefixed), 0);
	fclose(out);
	return text;
}

static void check_folded(struct recording *r, bool prefixed, const char *want)
{
	char *text = folded(r, prefixed);

	assert_string_equal(text, want);
	free(text);
}

static uint32_t stack_of(struct stacks *s, const char *leaf, const char *process)
{
	uint32_t frames[2] = { stacks_frame(s, &(struct frame){ FRAME_NATIVE, leaf, "", "x", 0 }),
			       stacks_frame(s, &(struct frame){ FRAME_PROCESS, process, "", "", 0 }) };

	return stacks_add(s, frames, 2);
}

static void test_lines(void **state)
{
	struct recording_agent agents[2] = { { .info.name = (char *)"one;1" }, { .info.name = (char *)"two" } };
	struct recording r = { .agents = agents, .agents_len = 2, .stacks = stacks_new() };
	struct sample_set *first = &agents[0].total.samples[SAMPLE_CPU_NS], *second = &agents[1].total.samples[SAMPLE_CPU_NS];

	(void)state;
	check_folded(&r, false, "");
	sample_set_add(first, stack_of(r.stacks, "f", "sh"), 3);
	check_folded(&r, false, "sh;f 3\n");
	sample_set_add(first, stack_of(r.stacks, "a\nb", "sh"), 5); /* two names, one text */
	sample_set_add(first, stack_of(r.stacks, "a\tb", "sh"), 6);
	sample_set_add(second, stack_of(r.stacks, "f", "sh"), UINT64_MAX);
	sample_set_add(second, STACK_OTHER, 1);
	check_folded(&r, true, "one:1;sh;a?b 11\none:1;sh;f 3\ntwo;(other) 1\ntwo;sh;f 18446744073709551615\n");
	sample_set_fini(first);
	sample_set_fini(second);
	stacks_free(r.stacks);
}

/* 10,000 stacks, each as deep as they get. */
static void test_many(void **state)
{
	struct recording_agent agent = { .info.name = (char *)"one" };
	struct recording r = { .agents = &agent, .agents_len = 1, .stacks = stacks_new() };
	struct sample_set *set = &agent.total.samples[SAMPLE_CPU_NS];
	uint32_t frames[STACK_FRAMES_MAX];
	uint64_t sum = 0, lines = 0;
	char *text, *line, *next;

	(void)state;
	for (int i = 0; i < 10000; i++) {
		char name[32];

		snprintf(name, sizeof(name), "function_%d", i);
		frames[0] = stacks_frame(r.stacks, &(struct frame){ FRAME_NATIVE, name, "", "x", 0 });
		for (int n = 1; n < STACK_FRAMES_MAX; n++)
			frames[n] = frames[0];
		sample_set_add(set, stacks_add(r.stacks, frames, STACK_FRAMES_MAX), (uint64_t)i + 1);
	}
	text = folded(&r, false);
	for (line = strtok_r(text, "\n", &next); line; line = strtok_r(NULL, "\n", &next)) {
		char *value = strrchr(line, ' ');
		int depth = 1;

		assert_non_null(value);
		for (const char *c = line; c < value; c++)
			depth += *c == ';';
		assert_int_equal(depth, STACK_FRAMES_MAX);
		sum += strtoull(value + 1, NULL, 10);
		lines++;
	}
	assert_int_equal(lines, 10000);
	assert_int_equal(sum, sample_set_sum(set));
	free(text);
	sample_set_fini(set);
	stacks_free(r.stacks);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_frames), cmocka_unit_test(test_lines), cmocka_unit_test(test_many) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
