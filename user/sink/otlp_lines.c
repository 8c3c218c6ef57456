/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "sink/otlp_lines.h"

#include <errno.h>

void otlp_lines_init(struct otlp_lines *o, FILE *out, const struct recording *about)
{
	*o = (struct otlp_lines){ .out = out, .about = about };
	live_init(&o->live, 2 * OTLP_STEP_S); /* an agent's last figures are in one request at least */
	o->err = live_start(&o->live, &about->header);
	o->next_s = OTLP_STEP_S;
}

static int line_write(struct otlp_lines *o)
{
	const struct otlp_context context = { .peaks = &o->peaks };
	struct otlp_request *r = otlp_request_new(&o->live, &context);

	if (!r)
		return -ENOMEM;
	otlp_peaks_reset(&o->peaks);
	json_text_reset(&o->text);
	otlp_request_json(r, &o->text);
	otlp_request_free(r);
	put_raw(&o->text, "\n", 1);
	if (o->text.failed)
		return -ENOMEM;
	errno = 0;
	return fwrite(o->text.text, 1, o->text.len, o->out) == o->text.len ? 0 : errno ? -errno : -EIO;
}

/* Agents are made known with their first interval, so that none is forgotten before it comes. */
static int agents_announce(struct otlp_lines *o, const struct interval_data *i)
{
	int err = 0;

	for (int n = 0; n < i->agents_len && !err; n++) {
		if (live_find(&o->live, i->agents[n]->id))
			continue;
		for (int k = 0; k < o->about->agents_len && !err; k++)
			if (o->about->agents[k].info.id == i->agents[n]->id)
				err = live_agent(&o->live, &o->about->agents[k].info);
	}
	return err;
}

int otlp_lines_interval(void *ctx, const struct interval_data *i)
{
	struct otlp_lines *o = ctx;

	if (!o->err)
		o->err = agents_announce(o, i);
	if (!o->err)
		o->err = live_interval(&o->live, i);
	if (!o->err)
		o->err = otlp_peaks_take(&o->peaks, &o->live);
	o->pending = true;
	if (!o->err && o->live.now_s >= o->next_s - o->live.interval_s / 2) {
		o->err = line_write(o);
		o->pending = false;
		while (o->next_s <= o->live.now_s + o->live.interval_s / 2)
			o->next_s += OTLP_STEP_S;
	}
	return o->err;
}

int otlp_lines_end(struct otlp_lines *o)
{
	if (!o->err && o->pending)
		o->err = line_write(o);
	errno = 0;
	if (fflush(o->out) && !o->err)
		o->err = errno ? -errno : -EIO;
	return o->err;
}

void otlp_lines_fini(struct otlp_lines *o)
{
	live_fini(&o->live);
	json_text_fini(&o->text);
	otlp_peaks_reset(&o->peaks);
}
