/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Stacks, samples, heaps, rivals and notes in recordings: what was written is what is read. */
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/util.h"
#include "lib_recording.h"
#include "model/recording_parse.h"

/* ---- round trips ---- */

#define BAD "b\x01\"\\\xff\xc3\xa9"
#define BAD_READ "b\x01\"\\\xef\xbf\xbd\xc3\xa9"

static uint32_t named(struct stacks *s, const char *name)
{
	return stacks_frame(s, &(struct frame){ .kind = FRAME_NATIVE, .name = name, .module = "libc.so.6" });
}

static void fill(struct agent_data *a, struct stacks *s, uint64_t n)
{
	const uint32_t main = named(s, "main"),
		       python = stacks_frame(s, &(struct frame){ FRAME_PYTHON, BAD, "/srv/\xff.py", "", (uint32_t)n });
	const uint32_t one = stacks_add(s, (uint32_t[]){ named(s, "malloc"), main }, 2), other = stacks_add(s, &python, 1);
	struct heap_data heap = { .mode = HEAP_SAMPLED, .kept = 1, .windows = 10, .windows_thin = n, .windows_failed = 1, .samples = 100 * n,
				  .open_s = 0.1 + (double)n, .trapped_s = 1e-7, .rate_sum = 1e6 / 3, .rate_sq = 1e22 / 7, .byte_rate_sum = 123456789012345678.0,
				  .byte_rate_sq = 5, .error_sum = 1.5, .byte_error_sum = 2.5, .unknown_frees = 0 };

	a->id = 1;
	sample_set_add(&a->samples[SAMPLE_CPU_NS], one, 1000 + n);
	sample_set_add(&a->samples[SAMPLE_CPU_NS], other, n);
	sample_set_add(&a->samples[SAMPLE_CPU_NS], STACK_OTHER, 7);
	sample_set_add(&a->samples[SAMPLE_LIVE_BYTES], other, 100 * n); /* the present one only: those before were freed */
	heap_data_merge(&a->heap, &heap);
	agent_data_rival(a, "cc1\0\0\0\0\0\0\0\0\0\0\0\0", 500 * n);
	agent_data_rival(a, "sixteen-bytes-xy", n);
	a->rivals_other_ns = n;
	agent_data_waker(a, &(struct waker){ .name = "poller", .wakes = n, .gaps_ns = 1000 * n, .cpu_ns = 7 * n });
	agent_data_waker(a, &(struct waker){ .name = "poller", .wakes = n, .cpu_ns = n });
	assert_int_equal(agent_data_note(a, "heap: no symbols in " BAD), 0);
	assert_int_equal(agent_data_note(a, n % 2 ? "odd" : "even"), 0);
}

/* All probes are on. */
static void fill_header(struct header_data *h, const struct agent_info *info)
{
	*h = (struct header_data){ .interval_s = 1, .probes_len = PROBE_COUNT, .agents = info, .agents_len = 1 };
	for (int p = 0; p < PROBE_COUNT; p++) {
		h->probes[p].name = probe_infos[p].name;
		h->probes[p].state = "on";
	}
}

/* Writes intervals 1 to n, and the total unless it is to end without. */
static void write_recording(const char *name, uint64_t n, bool total, struct agent_data *sum, struct stacks *s)
{
	struct agent_info info = { .id = 1, .name = (char *)"a", .cmdline = (char *)"", .cgroup = (char *)"" };
	struct header_data header;
	const struct agent_info *const infos[1] = { &info };
	const struct agent_data *pointer = sum;
	struct interval_data data = { .agents = &pointer, .agents_len = 1, .observer.bpf_s = -1 };
	struct recording_writer *w;
	int err;

	fill_header(&header, &info);
	w = recording_open_write(in_dir(0, name), true, &err);
	assert_non_null(w);
	assert_int_equal(recording_write_header(w, &header), 0);
	for (uint64_t i = 1; i <= n; i++) {
		struct agent_data now = { 0 };

		fill(&now, s, i);
		assert_int_equal(agent_data_merge(sum, &now), 0);
		pointer = &now;
		data.seq = i - 1;
		data.start_s = (double)i - 1;
		data.end_s = (double)i;
		assert_int_equal(recording_write_stacks(w, s), 0);
		assert_int_equal(recording_write_stacks(w, s), 0); /* nothing new: writes nothing */
		assert_int_equal(recording_write_interval(w, &data), 0);
		agent_data_fini(&now);
	}
	pointer = sum;
	data.seq = n;
	data.start_s = 0;
	if (total)
		assert_int_equal(recording_write_total(w, &data, infos), 0);
	assert_int_equal(recording_close(w), 0);
}

static void assert_same_heap(const struct heap_data *a, const struct heap_data *b)
{
	assert_int_equal(a->mode, b->mode);
	assert_true(a->kept == b->kept);
	for (int i = 0; i < HEAP_FIELDS; i++)
		assert_memory_equal(heap_field_at(a, &heap_fields[i]), heap_field_at(b, &heap_fields[i]), 8); /* to the last bit */
}

static void round_trip(const char *name, bool total)
{
	struct agent_data sum = { 0 };
	struct stacks *s = stacks_new();
	struct recording *r;
	const struct agent_data *a;

	write_recording(name, 3, total, &sum, s);
	r = read_file(NULL, NULL);
	assert_int_equal(r->bad_lines, 0);
	assert_int_equal(*r->note == '\0', total);
	assert_int_equal(r->agents_len, 1);
	a = &r->agents[0].total;
	assert_int_equal(stacks_len(r->stacks), 1 + 1 + 3);
	assert_int_equal(stacks_frames_len(r->stacks), 1 + 2 + 3);
	for (int id = 0; id < SAMPLE_COUNT; id++)
		assert_int_equal(a->samples[id].len, sum.samples[id].len);
	assert_int_equal(weight(r, SAMPLE_CPU_NS, "malloc;main"), 3006);
	assert_int_equal(weight(r, SAMPLE_CPU_NS, BAD_READ), 1 + 2 + 3);
	assert_int_equal(weight(r, SAMPLE_CPU_NS, FRAME_OTHER), 21);
	assert_int_equal(weight(r, SAMPLE_LIVE_BYTES, BAD_READ), 300);
	for (uint32_t n = 1; n < stacks_frames_len(r->stacks); n++) {
		const struct frame *f = stacks_frame_at(r->stacks, n);

		if (f->kind == FRAME_PYTHON) {
			assert_string_equal(f->name, BAD_READ);
			assert_string_equal(f->file, "/srv/\xef\xbf\xbd.py");
			assert_string_equal(f->module, "");
			assert_in_range(f->line, 1, 3);
		} else {
			assert_string_equal(f->module, "libc.so.6");
			assert_string_equal(f->file, "");
			assert_int_equal(f->line, 0);
		}
	}
	assert_same_heap(&sum.heap, &a->heap);
	assert_memory_equal(a->rivals[0].name, "cc1\0\0\0\0\0\0\0\0\0\0\0\0", 16);
	assert_int_equal(a->rivals[0].ns, 3000);
	assert_memory_equal(a->rivals[1].name, "sixteen-bytes-x", 16); /* always ends with a NUL when it was read */
	assert_int_equal(a->rivals[1].ns, 6);
	assert_int_equal(a->rivals[2].ns, 0);
	assert_int_equal(a->rivals_other_ns, 6);
	assert_string_equal(a->wakers[0].name, "poller");
	assert_int_equal(a->wakers[0].wakes, 6);
	assert_int_equal(a->wakers[0].gaps_ns, 6000);
	assert_int_equal(a->wakers[0].cpu_ns, 42);
	assert_int_equal(a->wakers[1].gaps_ns, 0);
	assert_int_equal(a->wakers[1].cpu_ns, 6);
	assert_int_equal(a->wakers[2].wakes, 0);
	assert_int_equal(a->notes_len, 3);
	assert_string_equal(a->notes[0], "heap: no symbols in " BAD_READ);
	assert_string_equal(a->notes[1], "odd");
	assert_string_equal(a->notes[2], "even");
	recording_free(r);
	agent_data_fini(&sum);
	stacks_free(s);
}

static void round_trips(void **ctx)
{
	(void)ctx;
	round_trip("plain.ndjson", true);
	round_trip("open.ndjson", false);
	round_trip("packed.ndjson.gz", true);
}

static json_t *next_line(FILE *f, const char *kind)
{
	char *text = NULL;
	size_t cap = 0;
	ssize_t len = getline(&text, &cap, f);
	json_t *line;

	assert_true(len > 0);
	line = json_loadb(text, (size_t)len, JSON_REJECT_DUPLICATES, NULL);
	assert_non_null(line);
	assert_string_equal(json_string_value(json_object_get(line, "kind")), kind);
	free(text);
	return line;
}

#define KEY(obj, key) json_object_get(obj, key)
#define NUMBER(obj, key) json_integer_value(json_object_get(obj, key))

/* Another JSON reader gets the very keys of the format, and what is empty is left out. */
static void keys(void **ctx)
{
	struct agent_data sum = { 0 };
	struct stacks *s = stacks_new();
	json_t *line, *frames, *agent, *heap, *cpu;
	FILE *f;

	(void)ctx;
	write_recording("keys.ndjson", 2, true, &sum, s);
	f = fopen(path_buf[0], "r");
	json_decref(next_line(f, "header"));
	line = next_line(f, "stacks");
	assert_int_equal(NUMBER(line, "first_frame"), 1);
	assert_int_equal(NUMBER(line, "first_stack"), 1);
	frames = KEY(line, "frames");
	assert_int_equal(json_array_size(frames), 3);
	assert_int_equal(json_object_size(json_array_get(frames, 0)), 3); /* kind, name, module */
	assert_string_equal(json_string_value(KEY(json_array_get(frames, 1), "kind")), "python");
	assert_int_equal(NUMBER(json_array_get(frames, 1), "line"), 1);
	assert_null(KEY(json_array_get(frames, 1), "module"));
	assert_int_equal(json_array_size(json_array_get(KEY(line, "stacks"), 0)), 2);
	assert_int_equal(json_integer_value(json_array_get(json_array_get(KEY(line, "stacks"), 0), 0)), 3); /* innermost first */
	json_decref(line);
	line = next_line(f, "interval");
	agent = json_array_get(KEY(line, "agents"), 0);
	assert_int_equal(json_object_size(KEY(agent, "samples")), 2);
	cpu = KEY(KEY(agent, "samples"), "cpu_ns");
	assert_int_equal(json_array_size(cpu), 3);
	for (size_t i = 0; i < 3; i++) /* by stack */
		assert_int_equal(json_integer_value(json_array_get(json_array_get(cpu, i), 0)), i);
	assert_int_equal(json_integer_value(json_array_get(json_array_get(cpu, 1), 1)), 1001);
	heap = KEY(agent, "heap");
	assert_string_equal(json_string_value(KEY(heap, "mode")), "sampled");
	assert_int_equal(NUMBER(heap, "windows"), 10);
	assert_null(KEY(heap, "unknown_frees"));
	assert_null(KEY(heap, "kept"));
	assert_true(fabs(json_number_value(KEY(KEY(heap, "allocs_per_s"), "mean")) - 1e5 / 3) < 1e-9);
	assert_true(json_number_value(KEY(KEY(heap, "bytes_per_s"), "low")) <= json_number_value(KEY(KEY(heap, "bytes_per_s"), "high")));
	assert_int_equal(NUMBER(json_array_get(KEY(agent, "rivals"), 0), "ns"), 500);
	assert_int_equal(NUMBER(agent, "rivals_other_ns"), 1);
	assert_int_equal(json_array_size(KEY(agent, "notes")), 2);
	/* of a sampled heap nobody knows what lives: no 0 that says nothing does */
	assert_non_null(KEY(KEY(agent, "gauges"), "rss_bytes"));
	assert_null(KEY(KEY(agent, "gauges"), "heap_live_bytes"));
	json_decref(line);
	line = next_line(f, "stacks"); /* what is new */
	assert_int_equal(NUMBER(line, "first_frame"), 4);
	assert_int_equal(json_array_size(KEY(line, "frames")), 1);
	assert_int_equal(NUMBER(line, "first_stack"), 3);
	assert_int_equal(json_array_size(KEY(line, "stacks")), 1);
	json_decref(line);
	fclose(f);
	agent_data_fini(&sum);
	stacks_free(s);
}

static void nothing_to_say(void **ctx)
{
	struct agent_info info = { .id = 1, .name = (char *)"a", .cmdline = (char *)"", .cgroup = (char *)"" };
	struct header_data header;
	struct agent_data a = { .id = 1 };
	const struct agent_data *const pointer = &a;
	struct stacks *s = stacks_new();
	struct recording_writer *w;
	json_t *line, *agent;
	int err;
	FILE *f;

	(void)ctx;
	fill_header(&header, &info);
	w = recording_open_write(in_dir(0, "empty"), true, &err);
	assert_int_equal(recording_write_header(w, &header), 0);
	assert_int_equal(recording_write_stacks(w, s), 0);
	assert_int_equal(recording_write_interval(w, &(struct interval_data){ .agents = &pointer, .agents_len = 1 }), 0);
	a.heap.mode = HEAP_FULL;
	a.heap.kept = 0.5;
	assert_int_equal(recording_write_interval(w, &(struct interval_data){ .agents = &pointer, .agents_len = 1, .seq = 1 }), 0);
	assert_int_equal(recording_close(w), 0);
	f = fopen(path_buf[0], "r");
	json_decref(next_line(f, "header"));
	line = next_line(f, "interval");
	agent = json_array_get(KEY(line, "agents"), 0);
	assert_null(KEY(agent, "samples"));
	assert_null(KEY(agent, "heap"));
	assert_null(KEY(agent, "rivals"));
	assert_null(KEY(agent, "rivals_other_ns"));
	assert_null(KEY(agent, "wakers"));
	assert_null(KEY(agent, "notes"));
	json_decref(line);
	line = next_line(f, "interval");
	agent = json_array_get(KEY(line, "agents"), 0);
	assert_true(json_is_integer(KEY(KEY(agent, "gauges"), "heap_live_bytes"))); /* here 0 is a statement */
	assert_true(json_number_value(KEY(KEY(agent, "heap"), "kept")) == 0.5);
	assert_null(KEY(KEY(agent, "heap"), "allocs_per_s"));
	json_decref(line);
	fclose(f);
	stacks_free(s);
}

/* Many stacks at once are told in lines of some 1 MiB, frames before the stacks made of them. */
static void long_lines(void **ctx)
{
	struct header_data header = { .interval_s = 1 };
	struct agent_data a = { .id = 1 };
	const struct agent_data *const pointer = &a;
	struct stacks *s = stacks_new();
	struct recording_writer *w;
	struct recording *r;
	size_t longest = 0, cap = 0, lines = 0;
	char name[200], *text = NULL;
	int err;
	FILE *f;

	(void)ctx;
	memset(name, '"', sizeof(name)); /* each takes two bytes */
	name[sizeof(name) - 1] = '\0';
	for (uint32_t i = 1; i <= 10000; i++) {
		uint32_t frames[60];

		name[snprintf(name, sizeof(name), "%u", i)] = '"';
		frames[0] = named(s, name);
		for (int k = 1; k < 60; k++)
			frames[k] = 1 + (i * 7 + (uint32_t)k) % i;
		assert_int_equal(stacks_add(s, frames, 60), i);
		sample_set_add(&a.samples[SAMPLE_OFFCPU_NS], i, i);
	}
	w = recording_open_write(in_dir(0, "long"), true, &err);
	assert_int_equal(recording_write_header(w, &header), 0);
	assert_int_equal(recording_write_stacks(w, s), 0);
	assert_int_equal(recording_write_interval(w, &(struct interval_data){ .agents = &pointer, .agents_len = 1 }), 0);
	assert_int_equal(recording_close(w), 0);
	f = fopen(path_buf[0], "r");
	for (ssize_t len; (len = getline(&text, &cap, f)) > 0; lines++)
		if (!strncmp(text, "{\"kind\":\"stacks\"", 16) && (size_t)len > longest)
			longest = (size_t)len;
	assert_true(lines > 7);
	assert_in_range(longest, 1000000, (1 << 20) + 2000);
	fclose(f);
	free(text);
	r = read_file(NULL, NULL);
	assert_int_equal(r->bad_lines, 0);
	assert_int_equal(stacks_len(r->stacks), 10001);
	assert_int_equal(stacks_frames_len(r->stacks), 10001);
	for (uint32_t i = 1; i <= 10000; i += 999) {
		size_t len, want_len;
		const uint32_t *at = stacks_at(r->stacks, i, &len), *want = stacks_at(s, i, &want_len);

		assert_int_equal(len, want_len);
		assert_memory_equal(at, want, len * sizeof(*at)); /* the same numbers, since they were told in order */
		assert_string_equal(stacks_frame_at(r->stacks, i)->name, stacks_frame_at(s, i)->name);
	}
	assert_int_equal(sample_set_sum(&r->agents[0].total.samples[SAMPLE_OFFCPU_NS]), 10000 * 10001 / 2);
	recording_free(r);
	agent_data_fini(&a);
	stacks_free(s);
}

/* ---- intervals ---- */

static int check_interval(void *ctx, const struct interval_data *i)
{
	uint64_t *seen = ctx;

	/* numbers are those of the reader's table, and states are there in each interval */
	assert_int_equal(sample_set_sum(&i->agents[0]->samples[SAMPLE_CPU_NS]), 1007 + 2 * ++*seen);
	assert_int_equal(sample_set_sum(&i->agents[0]->samples[SAMPLE_LIVE_BYTES]), 100 * *seen);
	assert_int_equal(i->agents[0]->notes_len, 2);
	assert_int_equal(i->agents[0]->heap.windows, 10);
	return 0;
}

static void intervals_come_by(void **ctx)
{
	struct agent_data sum = { 0 };
	struct stacks *s = stacks_new();
	uint64_t seen = 0;

	(void)ctx;
	write_recording("come-by.ndjson", 3, true, &sum, s);
	recording_free(read_file(check_interval, &seen));
	assert_int_equal(seen, 3);
	agent_data_fini(&sum);
	stacks_free(s);
}

/* ---- the data of an agent ---- */

static void rival(struct agent_data *a, const char *name, uint64_t ns)
{
	char padded[16] = "";

	snprintf(padded, sizeof(padded), "%s", name);
	agent_data_rival(a, padded, ns);
}

/* The largest come first; what has no place is in the rest, and nothing is lost. */
static void rivals(void **ctx)
{
	struct agent_data a = { 0 }, b = { 0 };
	uint64_t sum = 0, given = 0;
	char name[16];

	(void)ctx;
	for (int round = 0; round < 3; round++)
		for (uint64_t i = 1; i <= RIVALS_KEPT + 10; i++) {
			snprintf(name, sizeof(name), "r%d", (int)i);
			rival(&a, name, i * i);
			given += i * i;
		}
	for (int i = 0; i < RIVALS_KEPT; i++) {
		sum += a.rivals[i].ns;
		assert_true(a.rivals[i].ns > 0 && (!i || a.rivals[i].ns <= a.rivals[i - 1].ns));
	}
	assert_string_equal(a.rivals[0].name, "r26");
	assert_int_equal(sum + a.rivals_other_ns, given);
	rival(&b, "r26", 1000000);
	rival(&b, "nothing", 0);
	b.rivals_other_ns = 3;
	assert_int_equal(agent_data_merge(&a, &b), 0);
	assert_string_equal(a.rivals[0].name, "r26");
	for (int i = 0; i < RIVALS_KEPT; i++)
		sum -= i ? a.rivals[i].ns : 0;
	assert_int_equal(a.rivals[0].ns, sum + 1000000);
	assert_int_equal(b.rivals[1].ns, 0);
	assert_string_equal(b.rivals[1].name, "");
	agent_data_extras_reset(&a);
	assert_int_equal(a.rivals[0].ns + a.rivals_other_ns, 0);
	agent_data_fini(&a);
	agent_data_fini(&b);
}

static void notes(void **ctx)
{
	struct agent_data a = { 0 };
	char text[32];

	(void)ctx;
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < NOTES_KEPT + 5; i++) {
			snprintf(text, sizeof(text), "note %d", i);
			assert_int_equal(agent_data_note(&a, text), 0);
			assert_int_equal(agent_data_note(&a, text), 0);
		}
		assert_int_equal(a.notes_len, NOTES_KEPT);
		assert_string_equal(a.notes[NOTES_KEPT - 1], "note 31");
		agent_data_extras_reset(&a);
		assert_int_equal(a.notes_len, 0);
	}
	agent_data_fini(&a);
	assert_null(a.notes);
}

static void extras_reset(void **ctx)
{
	struct agent_data a = { 0 };
	struct stacks *s = stacks_new();

	(void)ctx;
	fill(&a, s, 1);
	agent_data_extras_reset(&a);
	for (int i = 0; i < SAMPLE_COUNT; i++)
		assert_int_equal(sample_set_sum(&a.samples[i]), 0);
	assert_int_equal(a.heap.mode, HEAP_NONE);
	assert_int_equal(a.heap.windows, 0);
	assert_int_equal(a.rivals[0].ns, 0);
	assert_int_equal(a.notes_len, 0);
	fill(&a, s, 2);
	assert_int_equal(sample_set_sum(&a.samples[SAMPLE_CPU_NS]), 1011);
	agent_data_fini(&a);
	stacks_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(round_trips),
		cmocka_unit_test(keys),
		cmocka_unit_test(nothing_to_say),
		cmocka_unit_test(long_lines),
		cmocka_unit_test(intervals_come_by),
		cmocka_unit_test(rivals),
		cmocka_unit_test(notes),
		cmocka_unit_test(extras_reset),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
