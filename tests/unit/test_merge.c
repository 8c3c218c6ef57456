/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Batches of many CPUs come out in order of time; nothing is lost or doubled. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "collect/merge.h"

#define CPUS 8
#define RECORDS 20000

static uint64_t rnd_state = 88172645463325252;

static uint64_t rnd(uint64_t below)
{
	rnd_state ^= rnd_state << 13;
	rnd_state ^= rnd_state >> 7;
	rnd_state ^= rnd_state << 17;
	return rnd_state % below;
}

struct out {
	uint64_t last_ns, watermark_ns, count, late;
	uint8_t seen[RECORDS];
};

static void on_record(void *ctx, const struct so_head *h)
{
	const struct so_synthetic *r = (const void *)h;
	struct out *o = ctx;

	assert_int_equal(h->kind, SO_SYNTHETIC);
	assert_true(h->time_ns <= o->watermark_ns);
	o->late += h->time_ns < o->last_ns;
	o->last_ns = h->time_ns;
	assert_true(r->seq < RECORDS);
	assert_int_equal(o->seen[r->seq]++, 0);
	o->count++;
}

static struct so_synthetic synthetic(uint64_t seq, uint64_t ns)
{
	return (struct so_synthetic){ .head = { .kind = SO_SYNTHETIC, .slots = 1, .time_ns = ns }, .seq = seq };
}

static void run(struct merge *m, uint64_t watermark_ns, struct out *o)
{
	o->watermark_ns = watermark_ns;
	merge_run(m, watermark_ns, on_record, o);
}

/* CPUs stage at their own pace, batches are handed over late; the watermark is the oldest that any of them still holds. */
static void random_batches_come_out_in_order(void **ctx)
{
	struct out *o = calloc(1, sizeof(*o));
	struct so_synthetic batch[CPUS][SO_BATCH_SLOTS];
	struct merge *m = merge_new();
	uint64_t clock = 1;
	int len[CPUS] = {};

	(void)ctx;
	assert_non_null(o);
	assert_non_null(m);
	for (uint64_t seq = 0; seq < RECORDS; seq++) {
		int cpu = rnd(CPUS);

		clock += rnd(3); /* equal times happen */
		batch[cpu][len[cpu]++] = synthetic(seq, clock);
		if (len[cpu] > 1 && rnd(20) == 0) { /* a nested handler staged the later one first */
			struct so_synthetic tmp = batch[cpu][len[cpu] - 1];

			batch[cpu][len[cpu] - 1] = batch[cpu][len[cpu] - 2];
			batch[cpu][len[cpu] - 2] = tmp;
		}
		if (len[cpu] == SO_BATCH_SLOTS || rnd(40) == 0) {
			assert_int_equal(merge_add(m, batch[cpu], len[cpu] * sizeof(batch[0][0])), 0);
			len[cpu] = 0;
		}
		if (rnd(50) == 0) {
			uint64_t watermark = clock;

			for (int i = 0; i < CPUS; i++)
				for (int j = 0; j < len[i]; j++)
					if (batch[i][j].head.time_ns <= watermark)
						watermark = batch[i][j].head.time_ns - 1;
			run(m, watermark, o);
		}
	}
	for (int i = 0; i < CPUS; i++)
		assert_int_equal(merge_add(m, batch[i], len[i] * sizeof(batch[0][0])), 0);
	run(m, UINT64_MAX, o);
	assert_int_equal(o->count, RECORDS);
	assert_int_equal(o->late, 0);
	assert_int_equal(merge_late(m), 0);
	merge_free(m);
	free(o);
}

static void late_ones_are_delivered_and_counted(void **ctx)
{
	struct so_synthetic a[2] = { synthetic(0, 10), synthetic(1, 30) }, late = synthetic(2, 5), even = synthetic(3, 20);
	struct out *o = calloc(1, sizeof(*o));
	struct merge *m = merge_new();

	(void)ctx;
	assert_int_equal(merge_add(m, a, sizeof(a)), 0);
	run(m, 20, o);
	assert_int_equal(o->count, 1);
	assert_int_equal(merge_add(m, &late, sizeof(late)), 0);
	assert_int_equal(merge_add(m, &even, sizeof(even)), 0); /* at the watermark is not late */
	run(m, 29, o);
	assert_int_equal(o->count, 3);
	assert_int_equal(merge_late(m), 1);
	run(m, 30, o);
	assert_int_equal(o->count, 4);
	merge_free(m);
	free(o);
}

static void what_precedes_garbage_is_kept(void **ctx)
{
	struct so_synthetic a[3] = { synthetic(0, 10), synthetic(1, 20), synthetic(2, 30) };
	struct out *o = calloc(1, sizeof(*o));
	struct merge *m = merge_new();

	(void)ctx;
	a[2].head.kind = 0;
	assert_int_equal(merge_add(m, a, sizeof(a)), -EBADMSG);
	assert_int_equal(merge_add(m, a, 7), -EBADMSG);
	assert_int_equal(merge_add(m, a, 0), 0);
	run(m, UINT64_MAX, o);
	assert_int_equal(o->count, 2);
	merge_free(m);
	merge_free(NULL);
	free(o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_batches_come_out_in_order),
		cmocka_unit_test(late_ones_are_delivered_and_counted),
		cmocka_unit_test(what_precedes_garbage_is_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
