/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Stacks, samples, heaps and notes in recordings: what is made up, lost or too much does no harm. */
#include <errno.h>

#include "lib/util.h"
#include "lib_recording.h"
#include "model/recording_parse.h"

#define FRAMES(first, text) "\"first_frame\":" first ",\"frames\":[" text "]"
#define STACKS(first, text) "\"first_stack\":" first ",\"stacks\":[" text "]"
#define LINE(text) "{\"kind\":\"stacks\"," text "}\n"
#define AGENT(seq, text) "{\"kind\":\"interval\",\"seq\":" seq ",\"agents\":[{\"id\":1,\"counters\":{\"forks\":1}," text "}]}\n"
#define ONE LINE(FRAMES("1", "{\"kind\":\"kernel\",\"name\":\"f\"},{\"name\":\"g\"}") "," STACKS("1", "[1,2],[2]"))
#define CPU(text) "\"samples\":{\"cpu_ns\":[" text "]}"

/* Numbers of a file are its own: they need not be dense, and frames that are told twice are one. */
static void numbers_of_a_file(void **ctx)
{
	struct recording *r = read_after_header(ONE LINE(FRAMES("100", "{\"kind\":\"kernel\",\"name\":\"f\"},{\"kind\":\"of later\",\"name\":\"h\"}"))
						LINE(STACKS("50", "[100,2],[101,0],[]")) AGENT("0", CPU("[1,5],[2,7],[50,11],[51,13],[52,17],[0,19]")));

	(void)ctx;
	assert_int_equal(r->bad_lines, 0);
	assert_int_equal(stacks_frames_len(r->stacks), 4);
	assert_int_equal(stacks_len(r->stacks), 4);
	assert_int_equal(weight(r, SAMPLE_CPU_NS, "f;g"), 16);
	assert_int_equal(weight(r, SAMPLE_CPU_NS, "g"), 7);
	assert_int_equal(weight(r, SAMPLE_CPU_NS, "h;(other)"), 13);
	assert_int_equal(weight(r, SAMPLE_CPU_NS, FRAME_OTHER), 19 + 17);
	recording_free(r);
}

/* Where a line was lost what refers to it counts as "(other)": sums stay right, and the note says so. */
static void lost_lines(void **ctx)
{
	struct recording *r =
		read_after_header("garbage\n" LINE(FRAMES("3", "{\"name\":\"h\"}") "," STACKS("3", "[1,3],[3]")) AGENT("0", CPU("[1,5],[2,7],[3,11],[4,13],[9,17]")));

	(void)ctx;
	assert_int_equal(r->bad_lines, 1);
	assert_int_equal(weight(r, SAMPLE_CPU_NS, "(other);h"), 11);
	assert_int_equal(weight(r, SAMPLE_CPU_NS, "h"), 13);
	assert_int_equal(weight(r, SAMPLE_CPU_NS, FRAME_OTHER), 5 + 7 + 17);
	assert_non_null(strstr(r->note, "4 uses of frames or stacks that are missing"));
	recording_free(r);
	/* numbers that no recording can have */
	r = read_after_header(AGENT("0", CPU("[1,5]")) LINE(STACKS("1", "[131072],[9223372036854775807]")) AGENT("1", CPU("[65536,3],[9223372036854775807,4]")));
	assert_int_equal(r->bad_lines, 0);
	assert_int_equal(weight(r, SAMPLE_CPU_NS, FRAME_OTHER), 5 + 3 + 4);
	assert_int_equal(stacks_len(r->stacks), 1);
	recording_free(r);
}

static void bad_stacks(void **ctx)
{
	static const char *const lines[] = {
		LINE(FRAMES("3", "{}") "," STACKS("3", "5")),
		LINE(FRAMES("3", "{\"name\":\"new\"}") "," STACKS("3", "[-1]")),
		LINE(FRAMES("3", "{\"name\":\"new\"}") "," STACKS("3", "[1.5]")),
		LINE(FRAMES("3", "{\"name\":\"new\"}") "," STACKS("3", "[\"1\"]")),
		LINE(FRAMES("3", "{\"name\":\"new\"}") "," STACKS("3", "[[1]]")),
		LINE(FRAMES("3", "{\"name\":\"new\"}") "," STACKS("3", "null")),
		LINE(FRAMES("3", "{\"name\":\"new\"},7")),
		LINE(FRAMES("3", "{\"name\":7}")),
		LINE(FRAMES("3", "{\"kind\":7}")),
		LINE(FRAMES("3", "{\"file\":{}}")),
		LINE(FRAMES("3", "{\"module\":false}")),
		LINE(FRAMES("3", "{\"line\":-1}")),
		LINE(FRAMES("3", "{\"line\":4294967296}")),
		LINE(FRAMES("2", "{\"name\":\"again\"}")),
		LINE(FRAMES("0", "{\"name\":\"zero\"}")),
		LINE("\"frames\":[{\"name\":\"without a number\"}]"),
		LINE(FRAMES("-1", "{}")),
		LINE(FRAMES("1e3", "{}")),
		LINE(FRAMES("131072", "{}")),
		LINE(FRAMES("4294967299", "{}")),
		LINE(FRAMES("9223372036854775807", "{}")),
		LINE(STACKS("65536", "[1]")),
		LINE(STACKS("9223372036854775807", "[1]")),
		LINE(STACKS("2", "[1]")),
		LINE("\"first_frame\":3,\"frames\":{}"),
		LINE("\"first_stack\":3,\"stacks\":\"\""),
		AGENT("0", "\"samples\":[]"),
		AGENT("0", "\"samples\":{\"cpu_ns\":{}}"),
		AGENT("0", "\"samples\":{\"cpu_ns\":7}"),
		AGENT("0", CPU("7")),
		AGENT("0", CPU("[]")),
		AGENT("0", CPU("[1]")),
		AGENT("0", CPU("[1,-1]")),
		AGENT("0", CPU("[-1,1]")),
		AGENT("0", CPU("[1,1.5]")),
		AGENT("0", CPU("[1,99999999999999999999]")),
		AGENT("0", CPU("[\"1\",1]")),
		AGENT("0", CPU("[1,1],{}")),
		AGENT("0", "\"heap\":[]"),
		AGENT("0", "\"heap\":{\"mode\":7}"),
		AGENT("0", "\"heap\":{\"mode\":\"full\",\"kept\":1.5}"),
		AGENT("0", "\"heap\":{\"mode\":\"full\",\"kept\":-0.5}"),
		AGENT("0", "\"heap\":{\"mode\":\"sampled\",\"windows\":-1}"),
		AGENT("0", "\"heap\":{\"mode\":\"sampled\",\"open_s\":-1}"),
		AGENT("0", "\"heap\":{\"mode\":\"sampled\",\"open_s\":\"1\"}"),
		AGENT("0", "\"heap\":{\"mode\":\"sampled\",\"allocs_per_s_squares\":1e300}"),
		AGENT("0", "\"rivals\":{}"),
		AGENT("0", "\"rivals\":[7]"),
		AGENT("0", "\"rivals\":[{\"name\":7}]"),
		AGENT("0", "\"rivals\":[{\"name\":\"x\",\"ns\":-1}]"),
		AGENT("0", "\"rivals_other_ns\":-1"),
		AGENT("0", "\"wakers\":{}"),
		AGENT("0", "\"wakers\":[7]"),
		AGENT("0", "\"wakers\":[{\"thread\":7}]"),
		AGENT("0", "\"wakers\":[{\"thread\":\"x\",\"wakes\":-1}]"),
		AGENT("0", "\"notes\":{}"),
		AGENT("0", "\"notes\":[7]"),
	};

	(void)ctx;
	for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
		char text[2000];
		struct recording *r;

		snprintf(text, sizeof(text), "%s%s%s", ONE, lines[i], LINE(STACKS("3", "[2,2]")) AGENT("0", CPU("[1,5],[3,2]")));
		r = read_after_header(text);
		if (r->bad_lines != 1 || !strstr(r->note, "first line 3: "))
			fail_msg("%s: %llu bad lines; %s", lines[i], (unsigned long long)r->bad_lines, r->note);
		/* nothing of it counts, what is around it does */
		assert_int_equal(r->agents[0].total.metrics.value[M_FORKS], 1);
		assert_int_equal(stacks_frames_len(r->stacks), 3);
		assert_int_equal(stacks_len(r->stacks), 4);
		assert_int_equal(weight(r, SAMPLE_CPU_NS, "f;g"), 5);
		assert_int_equal(weight(r, SAMPLE_CPU_NS, "g;g"), 2);
		assert_int_equal(r->agents[0].total.heap.mode, HEAP_NONE);
		assert_int_equal(r->agents[0].total.notes_len, 0);
		recording_free(r);
	}
}

/* What later programs may write. */
static void unknown_things(void **ctx)
{
	struct recording *r = read_after_header(
		LINE(FRAMES("1", "{\"name\":\"f\",\"column\":7,\"kind\":\"wasm\"}") "," STACKS("1", "[1]") ",\"maps\":[1]")
			AGENT("0", "\"samples\":{\"cpu_ns\":[[1,5,99]],\"gpu_ns\":\"?\"},\"heap\":{\"mode\":\"psychic\",\"windows\":4},"
				   "\"gauges\":{\"memory_limit_bytes\":7,\"new\":8},"
				   "\"rivals\":[{\"name\":\"x\",\"ns\":3,\"cpu\":1}],\"hist\":{\"newer_ns\":{}}"));

	(void)ctx;
	assert_int_equal(r->bad_lines, 0);
	assert_int_equal(weight(r, SAMPLE_CPU_NS, "f"), 5);
	assert_int_equal(r->agents[0].total.heap.mode, HEAP_NONE);
	assert_int_equal(r->agents[0].total.heap.windows, 0);
	assert_int_equal(r->agents[0].total.rivals[0].ns, 3);
	assert_int_equal(r->agents[0].total.metrics.value[M_MEMORY_LIMIT_BYTES], 7);
	recording_free(r);
	r = read_after_header(""); /* an old one: no stacks at all */
	assert_int_equal(stacks_len(r->stacks), 1);
	assert_int_equal(r->agents[0].total.samples[SAMPLE_CPU_NS].len, 0);
	recording_free(r);
}

/* The total's samples replace the sum, and one that differs is noticed. */
static void totals(void **ctx)
{
#define TOTAL(text) "{\"kind\":\"total\",\"seq\":2,\"agents\":[{\"id\":1,\"counters\":{\"forks\":2}," text "}]}\n"
	struct recording *r = read_after_header(ONE AGENT("0", CPU("[1,5]")) AGENT("1", CPU("[2,6]")) TOTAL(CPU("[1,5],[2,6]")));

	(void)ctx;
	assert_string_equal(r->note, "");
	recording_free(r);
	r = read_after_header(ONE AGENT("0", CPU("[1,5]")) AGENT("1", CPU("[2,6]")) TOTAL(CPU("[1,5],[2,7]")));
	assert_non_null(strstr(r->note, "the total differs"));
	assert_int_equal(weight(r, SAMPLE_CPU_NS, "g"), 7);
	recording_free(r);
	/* states neither add up nor need to agree */
	r = read_after_header(ONE AGENT("0", "\"samples\":{\"live_bytes\":[[1,5]]}") AGENT("1", "\"samples\":{\"live_bytes\":[[1,6]]}"));
	assert_int_equal(weight(r, SAMPLE_LIVE_BYTES, "f;g"), 6);
	recording_free(r);
	r = read_after_header(ONE AGENT("0", "\"samples\":{\"live_bytes\":[[1,5]]}") AGENT("1", "\"samples\":{\"live_bytes\":[[1,6]]}")
			      TOTAL("\"samples\":{\"live_bytes\":[[1,7]]}"));
	assert_string_equal(r->note, "");
	assert_int_equal(weight(r, SAMPLE_LIVE_BYTES, "f;g"), 7);
	recording_free(r);
}

/* Names that are too long are cut between characters; sums that would wrap round stay at their highest. */
static void huge(void **ctx)
{
	char text[20000], note[3000];
	struct recording *r;
	const struct agent_data *a;

	(void)ctx;
	memset(note, 'x', sizeof(note));
	note[sizeof(note) - 1] = '\0';
	memcpy(note + 510, "\xe2\x82\xac", 3);
	snprintf(text, sizeof(text), "%s%s%s%s%s%s",
		 AGENT("0", "\"rivals\":[{\"name\":\"fourteen-bytes\xc3\xa9\",\"ns\":9223372036854775807},{\"name\":\"b\",\"ns\":1}],"
			    "\"rivals_other_ns\":9223372036854775807," CPU("[0,9223372036854775807]")),
		 AGENT("1", "\"rivals\":[{\"name\":\"fourteen-bytes\xc3\xa9\",\"ns\":9223372036854775807}],\"rivals_other_ns\":9223372036854775807,"
			    CPU("[0,9223372036854775807]")),
		 AGENT("2", "\"rivals\":[{\"name\":\"fourteen-bytes\",\"ns\":2}],\"rivals_other_ns\":2," CPU("[0,9223372036854775807],[0,5]")),
		 "{\"kind\":\"interval\",\"seq\":3,\"agents\":[{\"id\":1,\"notes\":[\"", note, "\"]}]}\n");
	r = read_after_header(text);
	assert_int_equal(r->bad_lines, 0);
	a = &r->agents[0].total;
	assert_string_equal(a->rivals[0].name, "fourteen-bytes");
	assert_int_equal(a->rivals[0].ns, UINT64_MAX);
	assert_int_equal(a->rivals[1].ns, 1);
	assert_int_equal(a->rivals_other_ns, UINT64_MAX);
	assert_int_equal(sample_set_sum(&a->samples[SAMPLE_CPU_NS]), UINT64_MAX);
	assert_int_equal(strlen(a->notes[0]), 510);
	recording_free(r);
}

static void put_stacks_line(FILE *f, int stacks)
{
	fputs("{\"kind\":\"stacks\",\"first_frame\":1,\"frames\":[{\"name\":\"a\"},{\"name\":\"b\"}],\"first_stack\":1,\"stacks\":[[1]", f);
	for (int i = 1; i < stacks; i++) { /* in binary */
		fprintf(f, ",[1");
		for (int bit = i; bit; bit /= 2)
			fprintf(f, ",%d", 1 + bit % 2);
		fprintf(f, "]");
	}
	fprintf(f, "]}\n");
}

/* An interval in which each of these agents has samples of all these stacks. */
static void put_samples_line(FILE *f, int seq, int agents, int first, int end)
{
	fprintf(f, "{\"kind\":\"interval\",\"seq\":%d,\"agents\":[", seq);
	for (int i = 1; i <= agents; i++) {
		fprintf(f, "%s{\"id\":%d,\"samples\":{\"alloc_bytes\":[[0,1]", i > 1 ? "," : "", i);
		for (int k = first; k < end; k++)
			fprintf(f, ",[%d,%d]", k, k == 77 ? 1000000 : 2);
		fprintf(f, "]}}");
	}
	fprintf(f, "]}\n");
}

struct most { /* that one line has */
	uint64_t samples, notes;
};

static int count_line(void *ctx, const struct interval_data *i)
{
	struct most *most = ctx, line = { 0 };

	for (int n = 0; n < i->agents_len; n++) {
		line.samples += i->agents[n]->samples[SAMPLE_ALLOC_BYTES].len;
		line.notes += (uint64_t)i->agents[n]->notes_len;
	}
	most->samples = line.samples > most->samples ? line.samples : most->samples;
	most->notes = line.notes > most->notes ? line.notes : most->notes;
	return 0;
}

/* Many agents with many stacks each: what a line and all totals hold is bounded, and no weight is lost. */
static void many_samples(void **ctx)
{
	const int agents = 240, stacks = 9000, more = 2000;
	uint64_t sum = 0, len = 0;
	struct most most = { 0 };
	struct recording *r;
	FILE *f = fopen(in_dir(0, "many"), "w");

	(void)ctx;
	fputs(HEADER, f);
	put_stacks_line(f, stacks + more);
	put_samples_line(f, 0, agents, 1, stacks + 1);
	put_samples_line(f, 1, agents / 2, stacks + 1, stacks + more + 1);
	fclose(f);
	r = read_file(count_line, &most);
	assert_int_equal(r->bad_lines, 0);
	assert_int_equal(r->agents_len, agents);
	assert_int_equal(stacks_len(r->stacks), stacks + more + 1);
	assert_in_range(most.samples, SAMPLES_MAX, SAMPLES_MAX + agents); /* STACK_OTHER has always room */
	for (int i = 0; i < agents; i++) {
		const struct sample_set *s = &r->agents[i].total.samples[SAMPLE_ALLOC_BYTES];
		size_t n;
		struct sample *all = sample_set_sorted(s, &n);

		assert_true(all[0].value >= 1000000); /* the largest is among those that stay */
		free(all);
		sum += sample_set_sum(s);
		len += s->len;
	}
	assert_int_equal(sum, (uint64_t)agents * (1 + 2 * ((uint64_t)stacks - 1) + 1000000) + (uint64_t)agents / 2 * (1 + 2 * (uint64_t)more));
	assert_in_range(len, SAMPLES_MAX / 10, SAMPLES_MAX);
	recording_free(r);
}

/* The same for notes. */
static void many_notes(void **ctx)
{
	const int agents = 2100;
	int64_t kept = 0;
	struct most most = { 0 };
	struct recording *r;
	FILE *f = fopen(in_dir(0, "notes"), "w");

	(void)ctx;
	fputs(HEADER, f);
	for (int seq = 0; seq < 3; seq++) { /* the third: the total, of the first ones */
		fprintf(f, "{\"kind\":\"%s\",\"seq\":%d,\"agents\":[", seq < 2 ? "interval" : "total", seq);
		for (int i = 1; i <= agents; i++) {
			fprintf(f, "%s{\"id\":%d,\"notes\":[\"0\"", i > 1 ? "," : "", seq % 2 * agents + i);
			for (int k = 1; k < NOTES_KEPT; k++)
				fprintf(f, ",\"%d\"", k);
			fprintf(f, "]}");
		}
		fprintf(f, "]}\n");
	}
	fclose(f);
	r = read_file(count_line, &most);
	assert_int_equal(r->bad_lines, 0);
	assert_int_equal(r->agents_len, 2 * agents);
	for (int i = 0; i < 2 * agents; i++)
		kept += r->agents[i].total.notes_len;
	assert_int_equal(kept, NOTES_MAX);
	assert_int_equal(most.notes, NOTES_MAX);
	recording_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers_of_a_file),
		cmocka_unit_test(lost_lines),
		cmocka_unit_test(bad_stacks),
		cmocka_unit_test(unknown_things),
		cmocka_unit_test(totals),
		cmocka_unit_test(huge),
		cmocka_unit_test(many_samples),
		cmocka_unit_test(many_notes),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
