/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "serve/otlp_common.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/timestamp.h"
#include "lib/util.h"

#define CLOCK_TOLERANCE_S 10 /* intervals come up to a second late, and rounding is nothing */
#define MACHINE_ID "/etc/machine-id" /* what the conventions take for host.id where there is no cloud */

static void host_id_read(char *id, size_t len)
{
	ssize_t got = file_read(MACHINE_ID, id, len);
	size_t n = 0;

	while (got > 0 && n < (size_t)got && isxdigit((unsigned char)id[n]))
		n++;
	id[n] = '\0';
}

static void labels_free(struct otlp_teller *t)
{
	for (int i = 0; i < t->labels_len; i++) {
		free((char *)t->labels[i].name);
		free((char *)t->labels[i].value);
	}
	free(t->labels);
}

/* 0 or -ENOMEM: none then. */
static int labels_copy(struct otlp_teller *t, const struct config *c)
{
	t->labels_len = 0;
	t->labels = calloc((size_t)c->labels_len + 1, sizeof(*t->labels));
	for (int i = 0; t->labels && i < c->labels_len; i++) {
		struct otlp_label *l = &t->labels[t->labels_len++];

		l->name = strdup(c->labels[i].name);
		l->value = strdup(c->labels[i].value);
		if (!l->name || !l->value) {
			labels_free(t);
			t->labels = NULL;
		}
	}
	return t->labels ? 0 : -ENOMEM;
}

int otlp_teller_init(struct otlp_teller *t, const struct output_context *c)
{
	*t = (struct otlp_teller){ .live = c->live, .every_s = c->config->otlp.interval_s };
	host_id_read(t->host_id, sizeof(t->host_id));
	t->next_s = c->live->now_s + t->every_s;
	t->told = c->live->intervals;
	return labels_copy(t, c->config);
}

int otlp_teller_change(struct otlp_teller *t, const struct config *c)
{
	struct otlp_teller fresh = *t;
	int err = labels_copy(&fresh, c);

	if (err)
		return err;
	fresh.every_s = c->otlp.interval_s;
	if (fresh.next_s > fresh.live->now_s + fresh.every_s)
		fresh.next_s = fresh.live->now_s + fresh.every_s;
	labels_free(t);
	*t = fresh;
	return 0;
}

void otlp_teller_fini(struct otlp_teller *t)
{
	labels_free(t);
	otlp_peaks_reset(&t->peaks);
	*t = (struct otlp_teller){ 0 };
}

bool otlp_teller_due(struct otlp_teller *t)
{
	const double now_s = t->live->now_s + t->live->interval_s / 2;

	otlp_peaks_take(&t->peaks, t->live); /* without memory there will be no request either */
	if (now_s < t->next_s)
		return false;
	t->next_s += t->every_s;
	if (t->next_s <= now_s) /* intervals are longer, or some were late */
		t->next_s = t->live->now_s + t->every_s;
	return true;
}

bool otlp_teller_behind(const struct otlp_teller *t)
{
	return t->live->intervals > t->told;
}

/* Times since the beginning are monotonic. When the clock was set meanwhile, or the machine slept, they are off, and backends refuse what is too old or yet to come. */
static int64_t clock_shift_ns(const struct live *l)
{
	int64_t start_ns = 0, shift_ns;

	timestamp_parse(l->header.start, &start_ns);
	shift_ns = timestamp_now() - start_ns - (int64_t)(l->now_s * 1e9);
	return llabs(shift_ns) > (long long)(CLOCK_TOLERANCE_S * NS_PER_S) ? shift_ns : 0;
}

struct otlp_request *otlp_teller_request(struct otlp_teller *t, const struct otlp_push_counts *push)
{
	const struct otlp_context context = {
		.host_id = *t->host_id ? t->host_id : NULL, .labels = t->labels, .labels_len = t->labels_len, .push = push, .peaks = &t->peaks,
		.shift_ns = clock_shift_ns(t->live)
	};
	struct otlp_request *r = otlp_request_new(t->live, &context);

	t->told = t->live->intervals;
	otlp_peaks_reset(&t->peaks);
	return r;
}
