/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Stacks by number and sets that weigh them: each told once, numbers that last, what is full, and bounds that hold. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "model/stacks.h"

static struct frame native(const char *name)
{
	return (struct frame){ .kind = FRAME_NATIVE, .name = name, .file = "", .module = "a.out" };
}

static void assert_frame(const struct stacks *s, uint32_t n, const struct frame *want)
{
	const struct frame *f = stacks_frame_at(s, n);

	assert_non_null(f);
	assert_int_equal(f->kind, want->kind);
	assert_string_equal(f->name, want->name);
	assert_string_equal(f->file, want->file);
	assert_string_equal(f->module, want->module);
	assert_int_equal(f->line, want->line);
}

static void assert_stack(const struct stacks *s, uint32_t n, const uint32_t *want, size_t want_len)
{
	size_t len;
	const uint32_t *at = stacks_at(s, n, &len);

	assert_non_null(at);
	assert_int_equal(len, want_len);
	assert_memory_equal(at, want, len * sizeof(*at));
}

static void test_other(void **state)
{
	struct stacks *s = stacks_new();
	const uint32_t other = 0, unknown = 77;
	size_t len;

	(void)state;
	assert_int_equal(stacks_frames_len(s), 1);
	assert_int_equal(stacks_len(s), 1);
	assert_frame(s, 0, &(struct frame){ FRAME_NATIVE, FRAME_OTHER, "", "", 0 });
	assert_stack(s, STACK_OTHER, &other, 1);
	assert_null(stacks_frame_at(s, 1));
	assert_null(stacks_at(s, 1, &len));
	assert_int_equal(len, 0);
	assert_int_equal(stacks_add(s, NULL, 0), STACK_OTHER);
	assert_int_equal(stacks_add(s, &other, 1), STACK_OTHER);
	assert_int_equal(stacks_add(s, &unknown, 1), STACK_OTHER);
	assert_int_equal(stacks_len(s), 1);
	stacks_free(s);
	stacks_free(NULL);
}

/* Frames that differ in one field are two, those that don't are one; texts are copies. */
static void test_frames(void **state)
{
	struct stacks *s = stacks_new();
	char text[] = "main";
	const struct frame frames[] = {
		{ FRAME_NATIVE, text, "", "a.out", 0 },
		{ FRAME_JIT, text, "", "a.out", 0 },
		{ FRAME_NATIVE, "nain", "", "a.out", 0 },
		{ FRAME_NATIVE, text, "a.out", "", 0 },
		{ FRAME_NATIVE, text, "", "b.out", 0 },
		{ FRAME_NATIVE, text, "", "a.out", 1 },
		{ FRAME_PYTHON, "f", "a.py", "", UINT32_MAX },
		{ FRAME_NATIVE, "", "", "", 0 },
		{ FRAME_NATIVE, "\xff\x01\"", "", "", 0 },
	};
	const int len = sizeof(frames) / sizeof(*frames);

	(void)state;
	for (int round = 0; round < 2; round++)
		for (int i = 0; i < len; i++)
			assert_int_equal(stacks_frame(s, &frames[i]), i + 1);
	text[0] = 'x';
	assert_string_equal(stacks_frame_at(s, 1)->name, "main");
	text[0] = 'm';
	for (int i = 0; i < len; i++)
		assert_frame(s, (uint32_t)i + 1, &frames[i]);
	assert_int_equal(stacks_frame(s, &(struct frame){ .kind = FRAME_NATIVE }), 8); /* NULL is "" */
	stacks_free(s);
}

/* Pointers stay valid while the table grows, and numbers are given in order. */
static void test_grows(void **state)
{
	struct stacks *s = stacks_new();
	const struct frame *first;
	const uint32_t *first_stack;
	size_t len;
	char name[32];

	(void)state;
	for (uint32_t i = 1; i <= 20000; i++) {
		uint32_t frames[3];

		snprintf(name, sizeof(name), "f%u", i);
		frames[0] = stacks_frame(s, &(struct frame){ .kind = FRAME_NATIVE, .name = name });
		assert_int_equal(frames[0], i);
		frames[1] = i / 2;
		frames[2] = 1;
		assert_int_equal(stacks_add(s, frames, 3), i);
		if (i == 1) {
			first = stacks_frame_at(s, 1);
			first_stack = stacks_at(s, 1, &len);
		}
	}
	assert_ptr_equal(stacks_frame_at(s, 1), first);
	assert_ptr_equal(stacks_at(s, 1, &len), first_stack);
	assert_string_equal(first->name, "f1");
	assert_stack(s, 9999, (uint32_t[]){ 9999, 4999, 1 }, 3);
	assert_int_equal(stacks_add(s, (uint32_t[]){ 9999, 4999, 1 }, 3), 9999);
	assert_int_equal(stacks_add(s, (uint32_t[]){ 9999, 4999 }, 2), 20001);
	stacks_free(s);
}

static void test_deep(void **state)
{
	struct stacks *s = stacks_new();
	uint32_t frames[STACK_FRAMES_MAX + 100], n, cut;
	const uint32_t *at;
	size_t len;
	char name[32];

	(void)state;
	for (uint32_t i = 0; i < STACK_FRAMES_MAX + 100; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		frames[i] = stacks_frame(s, &(struct frame){ .kind = FRAME_NATIVE, .name = name });
	}
	n = stacks_add(s, frames, STACK_FRAMES_MAX);
	assert_stack(s, n, frames, STACK_FRAMES_MAX);
	n = stacks_add(s, frames, STACK_FRAMES_MAX + 100);
	at = stacks_at(s, n, &len);
	assert_int_equal(len, STACK_FRAMES_MAX);
	assert_memory_equal(at, frames, STACK_FRAMES_MAX / 2 * sizeof(*at));
	cut = at[STACK_FRAMES_MAX / 2];
	assert_string_equal(stacks_frame_at(s, cut)->name, FRAMES_CUT);
	for (int i = 1; i < STACK_FRAMES_MAX / 2; i++)
		assert_int_equal(at[STACK_FRAMES_MAX - i], frames[STACK_FRAMES_MAX + 100 - i]);
	stacks_free(s);
}

/* A text that is too long is cut before the character that does not fit. */
static void test_long_text(void **state)
{
	struct stacks *s = stacks_new();
	char name[FRAME_TEXT_MAX * 2];
	struct frame f = native(name);
	uint32_t n;

	(void)state;
	memset(name, 'x', sizeof(name));
	name[sizeof(name) - 1] = '\0';
	memcpy(name + FRAME_TEXT_MAX - 2, "\xe2\x82\xac", 3);
	n = stacks_frame(s, &f);
	assert_int_equal(strlen(stacks_frame_at(s, n)->name), FRAME_TEXT_MAX - 2);
	assert_int_equal(stacks_frame(s, &f), n);
	memset(name, 0x80, sizeof(name) - 1);
	assert_in_range(strlen(stacks_frame_at(s, stacks_frame(s, &f))->name), FRAME_TEXT_MAX - 3, FRAME_TEXT_MAX);
	stacks_free(s);
}

/* A full table gives what it has, and "(other)" for what is new. */
static void test_full(void **state)
{
	struct stacks *s = stacks_new();
	char name[32];
	size_t bytes;

	(void)state;
	for (uint32_t i = 1; i < FRAMES_MAX; i++) /* so many that some have the same hash */
		assert_int_equal(stacks_frame(s, &(struct frame){ .kind = FRAME_PYTHON, .name = "f", .line = i }), i);
	for (uint32_t i = 1; i < STACKS_MAX; i++)
		assert_int_equal(stacks_add(s, (uint32_t[]){ i, i + 1 }, 2), i);
	assert_int_equal(stacks_refused(s), 0);
	bytes = stacks_bytes(s);
	assert_in_range(bytes, 1 << 20, STACKS_BYTES_MAX);
	for (uint32_t i = 0; i < 100000; i++) {
		snprintf(name, sizeof(name), "one more %u", i);
		assert_int_equal(stacks_frame(s, &(struct frame){ .kind = FRAME_NATIVE, .name = name }), 0);
	}
	assert_int_equal(stacks_frame(s, &(struct frame){ .kind = FRAME_PYTHON, .name = "f", .line = FRAMES_MAX }), 0);
	assert_int_equal(stacks_add(s, (uint32_t[]){ 1, 1 }, 2), STACK_OTHER);
	assert_int_equal(stacks_frame(s, &(struct frame){ .kind = FRAME_PYTHON, .name = "f", .line = 9 }), 9);
	assert_int_equal(stacks_add(s, (uint32_t[]){ 9, 10 }, 2), 9);
	assert_int_equal(stacks_bytes(s), bytes);
	assert_int_equal(stacks_refused(s), 100000 + 1 + 1);
	stacks_free(s);
}

/* The bound on bytes holds where the ones on numbers would not: deep stacks, long names. */
static void test_bytes(void **state)
{
	struct stacks *s = stacks_new();
	uint32_t frames[STACK_FRAMES_MAX], i, last = 1;
	char name[FRAME_TEXT_MAX + 1], file[FRAME_TEXT_MAX + 1];

	(void)state;
	memset(name, 'n', sizeof(name));
	memset(file, 'f', sizeof(file));
	name[sizeof(name) - 1] = file[sizeof(file) - 1] = '\0';
	for (i = 1; i < 40000 && last; i++) {
		snprintf(name, 12, "%011u", i);
		snprintf(file, 12, "%011u", i);
		name[11] = file[11] = 'x';
		last = stacks_frame(s, &(struct frame){ .kind = FRAME_PYTHON, .name = name, .file = file, .line = i });
	}
	assert_int_equal(last, i - 1);
	for (i = 0, last = 1; i < STACKS_MAX && last; i++) {
		for (uint32_t k = 0; k < STACK_FRAMES_MAX; k++)
			frames[k] = 1 + (i * 31 + k * 7) % 30000;
		last = stacks_add(s, frames, STACK_FRAMES_MAX);
	}
	assert_int_equal(last, STACK_OTHER);
	assert_int_equal(stacks_refused(s), 1);
	assert_in_range(stacks_bytes(s), STACKS_BYTES_MAX / 8 * 7, STACKS_BYTES_MAX);
	stacks_free(s);
}

static void test_translate(void **state)
{
	struct stacks *a = stacks_new(), *b = stacks_new();
	struct frame x = native("x"), y = native("y"), z = { FRAME_PYTHON, "z", "z.py", "", 7 };
	uint32_t frames[3] = { stacks_frame(a, &x), stacks_frame(a, &y), stacks_frame(a, &z) }, n, m;

	(void)state;
	n = stacks_add(a, frames, 3);
	stacks_frame(b, &z);
	stacks_add(b, (uint32_t[]){ 1 }, 1);
	m = stacks_translate(b, a, n);
	assert_stack(b, m, (uint32_t[]){ 2, 3, 1 }, 3);
	assert_frame(b, 2, &x);
	assert_frame(b, 1, &z);
	assert_int_equal(stacks_translate(b, a, n), m);
	assert_int_equal(stacks_translate(a, b, m), n);
	assert_int_equal(stacks_translate(b, b, m), m);
	assert_int_equal(stacks_translate(b, a, STACK_OTHER), STACK_OTHER);
	assert_int_equal(stacks_translate(b, a, 4711), STACK_OTHER);
	assert_int_equal(stacks_translate(b, b, 4711), STACK_OTHER);
	stacks_free(a);
	stacks_free(b);
}

/* ---- sets ---- */

static uint64_t weight(const struct sample_set *s, uint32_t stack)
{
	size_t len;
	struct sample *all = sample_set_sorted(s, &len);
	uint64_t value = 0;

	for (size_t i = 0; i < len; i++)
		if (all[i].stack == stack)
			value += all[i].value;
	free(all);
	return value;
}

static void test_sets(void **state)
{
	struct sample_set s = { 0 }, t = { 0 };
	struct sample *sorted;
	size_t len;

	(void)state;
	assert_null(sample_set_sorted(&s, &len));
	assert_int_equal(len, 0);
	assert_int_equal(sample_set_sum(&s), 0);
	assert_int_equal(sample_set_add(&s, 5, 0), 0);
	assert_int_equal(s.len, 0);
	for (uint32_t i = 0; i < 3000; i++)
		assert_int_equal(sample_set_add(&s, i % 1000, i % 1000 == 7 ? 100 : 1 + i % 1000 / 500), 0);
	assert_int_equal(s.len, 1000);
	assert_int_equal(sample_set_sum(&s), 3 * (499 + 2 * 500 + 100));
	sorted = sample_set_sorted(&s, &len);
	assert_int_equal(len, 1000);
	assert_int_equal(sorted[0].stack, 7);
	assert_int_equal(sorted[0].value, 300);
	for (size_t i = 1; i < len; i++)
		assert_int_equal(sorted[i].stack, i <= 500 ? 499 + i : i - 501 + (i - 501 >= 7)); /* equal ones by number */
	free(sorted);
	assert_int_equal(sample_set_add(&t, 7, 1), 0);
	assert_int_equal(sample_set_add(&t, 60000, 9), 0);
	assert_int_equal(sample_set_merge(&s, &t, false), 0);
	assert_int_equal(s.len, 1001);
	assert_int_equal(weight(&s, 7), 301);
	assert_int_equal(sample_set_merge(&s, &t, true), 0);
	assert_int_equal(s.len, 2);
	assert_int_equal(sample_set_sum(&s), 10);
	sample_set_reset(&t);
	assert_int_equal(sample_set_sum(&t), 0);
	assert_int_equal(sample_set_merge(&s, &t, false), 0);
	assert_int_equal(sample_set_sum(&s), 10);
	assert_int_equal(sample_set_merge(&s, &t, true), 0);
	assert_int_equal(s.len, 0);
	sample_set_fini(&s);
	sample_set_fini(&t);
	sample_set_fini(&t);
}

static void test_sets_bounds(void **state)
{
	struct sample_set s = { 0 };

	(void)state;
	for (uint32_t i = 1; i <= SAMPLE_STACKS_MAX + 500; i++)
		assert_int_equal(sample_set_add(&s, i, 2), 0);
	assert_int_equal(s.len, SAMPLE_STACKS_MAX + 1);
	assert_int_equal(weight(&s, STACK_OTHER), 1000);
	assert_int_equal(sample_set_add(&s, 1, 2), 0); /* has its place */
	assert_int_equal(weight(&s, 1), 4);
	assert_int_equal(sample_set_sum(&s), 2 * (SAMPLE_STACKS_MAX + 500) + 2);
	assert_int_equal(sample_set_add(&s, 1, UINT64_MAX), 0);
	assert_int_equal(sample_set_sum(&s), UINT64_MAX);
	assert_int_equal(weight(&s, 1), UINT64_MAX);
	sample_set_fini(&s);
}

static void test_names(void **state)
{
	(void)state;
	for (int i = 0; i < SAMPLE_COUNT; i++)
		assert_int_equal(sample_find(sample_infos[i].name), i);
	assert_int_equal(sample_find("no_such"), -1);
	assert_false(sample_infos[SAMPLE_CPU_NS].last);
	assert_true(sample_infos[SAMPLE_LIVE_BYTES].last);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_other), cmocka_unit_test(test_frames), cmocka_unit_test(test_grows),
		cmocka_unit_test(test_deep), cmocka_unit_test(test_long_text), cmocka_unit_test(test_full),
		cmocka_unit_test(test_bytes), cmocka_unit_test(test_translate), cmocka_unit_test(test_sets),
		cmocka_unit_test(test_sets_bounds), cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
