/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Feeds the reader any bytes, as a recording and as what follows a good header; what it accepts must be writable again and consistent. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/util.h"
#include "model/recording.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char good_header[] = "{\"kind\":\"header\",\"format\":\"stakeout/1\",\"agents\":[{\"id\":1,\"name\":\"a\"}]}\n";

static void check_hist(const struct hist *h)
{
	double last = 0;

	for (int q = 0; q <= 10; q++) {
		double v = hist_quantile(h, q / 10.0);

		if (v < last || v > (double)h->max)
			abort();
		last = v;
	}
}

static void check_metrics(const struct metric_set *s)
{
	for (int m = 0; m < METRIC_IDS; m++)
		if (s->hist[m])
			check_hist(s->hist[m]);
}

/* Exchanges of all peers together, modulo 2^64. */
static uint64_t exchanges(const struct agent_data *a)
{
	uint64_t sum = 0;

	for (int i = 0; i < a->peers_len; i++)
		sum += peer_exchanges(&a->peers[i]);
	return sum;
}

/* Entries that are there, and in what order they come. */
static void check_set(const struct sample_set *s)
{
	size_t len;
	struct sample *all = sample_set_sorted(s, &len);

	if (len != s->len || len > SAMPLE_STACKS_MAX + 1)
		abort();
	for (size_t i = 0; i < len; i++)
		if (!all[i].value || all[i].stack >= STACKS_MAX || (i && all[i].value > all[i - 1].value))
			abort();
	free(all);
}

static void check_rate(struct heap_rate r)
{
	if (!(r.low >= 0 && r.mean <= r.high && isfinite(r.high)) || (r.mean > 0 && r.low > r.mean))
		abort();
}

/* Samples, heap, rivals and notes; copy: the same, merged into nothing. */
static void check_extras(const struct agent_data *a, const struct agent_data *copy)
{
	for (int i = 0; i < SAMPLE_COUNT; i++) {
		check_set(&a->samples[i]);
		if (sample_set_sum(&a->samples[i]) != sample_set_sum(&copy->samples[i]))
			abort();
	}
	check_rate(heap_rate_allocs(&a->heap));
	check_rate(heap_rate_bytes(&a->heap));
	for (int i = 1; i < RIVALS_KEPT; i++)
		if (a->rivals[i].ns > a->rivals[i - 1].ns)
			abort();
	if (memcmp(a->rivals, copy->rivals, sizeof(a->rivals)) || a->rivals_other_ns != copy->rivals_other_ns || a->notes_len != copy->notes_len ||
	    a->notes_len > NOTES_KEPT)
		abort();
}

/* Each number in range, each text there, the table within its bounds. */
static void check_stacks(const struct stacks *s)
{
	if (stacks_bytes(s) > STACKS_BYTES_MAX || stacks_len(s) > STACKS_MAX || stacks_frames_len(s) > FRAMES_MAX)
		abort();
	for (uint32_t i = 0; i < stacks_frames_len(s); i++) {
		const struct frame *f = stacks_frame_at(s, i);

		if ((unsigned)f->kind >= FRAME_KINDS || strlen(f->name) > FRAME_TEXT_MAX || strlen(f->file) + strlen(f->module) > 2 * FRAME_TEXT_MAX)
			abort();
	}
	for (uint32_t i = 0; i < stacks_len(s); i++) {
		size_t len;
		const uint32_t *frames = stacks_at(s, i, &len);

		if (!len || len > STACK_FRAMES_MAX)
			abort();
		while (len)
			if (frames[--len] >= stacks_frames_len(s))
				abort();
	}
}

static int check_interval(void *ctx, const struct interval_data *i)
{
	for (int n = 0; n < i->agents_len; n++) {
		const struct agent_data *a = i->agents[n];
		struct agent_data copy = { 0 };

		check_metrics(&a->metrics);
		for (int t = 0; t < a->tools_len; t++)
			check_metrics(&a->tools[t].metrics);
		for (int p = 0; p < a->peers_len; p++) {
			check_metrics(&a->peers[p].metrics);
			if ((unsigned)a->peers[p].class >= CLASS_COUNT)
				abort();
		}
		/* what is dealt out anew is the same in sum */
		if (agent_data_merge(&copy, a))
			abort();
		check_extras(a, &copy);
		if (exchanges(&copy) != exchanges(a) || ledger_sum(&copy.critical) != ledger_sum(&a->critical))
			abort();
		if (agent_data_peers_trim(&copy, 1) || exchanges(&copy) != exchanges(a) || copy.peers_len > 3)
			abort();
		agent_data_fini(&copy);
	}
	return recording_write_interval(ctx, i);
}

static void read_back(const uint8_t *data, size_t size, const char *before)
{
	int fd = memfd_create("recording", MFD_CLOEXEC), err;
	struct recording *r = NULL;
	struct recording_writer *w;
	char path[64], why[200];

	if (fd < 0 || write(fd, before, strlen(before)) < 0 || write(fd, data, size) < 0)
		abort();
	w = recording_open_write("/dev/null", true, &err);
	if (!w)
		abort();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	err = recording_read(path, check_interval, w, &r, why, sizeof(why));
	if (err ? !*why || r : !r)
		abort();
	if (r) {
		for (int i = 0; i < r->agents_len; i++)
			for (int k = 0; k < SAMPLE_COUNT; k++)
				check_set(&r->agents[i].total.samples[k]);
		check_stacks(r->stacks);
		if (recording_write_stacks(w, r->stacks))
			abort();
	}
	recording_free(r);
	if (recording_close(w))
		abort();
	close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	read_back(data, size, "");
	read_back(data, size, good_header);
	return 0;
}
