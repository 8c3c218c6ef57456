/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The recordings, opened and laid on one grid; the result's header; and what is to be said of them. */
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "lib/timestamp.h"
#include "lib/util.h"
#include "model/fleet_parts.h"

/* One word for many: the one they agree on, or "several". */
static void agree(char *buf, size_t size, const char *text)
{
	if (!*buf)
		snprintf(buf, size, "%s", text);
	else if (*text && strcmp(buf, text))
		snprintf(buf, size, "several");
}

/* A probe is on when it was so anywhere; how often is said where it was not so everywhere. */
static void probes_agree(const struct fleet *f, struct header_data *h)
{
	for (int p = 0; p < PROBE_COUNT; p++) {
		struct probe_state *to = &h->probes[h->probes_len];
		int on = 0, seen = 0;

		*to = (struct probe_state){.name = probe_infos[p].name, .state = "off"};
		for (int i = 0; i < f->sources_len; i++) {
			const struct header_data *from = &f->sources[i].rec->header;

			for (int k = 0; k < from->probes_len; k++) {
				if (strcmp(from->probes[k].name, to->name))
					continue;
				seen++;
				on += !strcmp(from->probes[k].state, "on");
				if (!strcmp(from->probes[k].state, "unavailable"))
					to->state = "unavailable";
				agree(to->why, sizeof(to->why), from->probes[k].why);
			}
		}
		if (on)
			to->state = "on";
		if (on && on < f->sources_len)
			snprintf(to->why, sizeof(to->why), "in %d of %d recordings", on, f->sources_len);
		h->probes_len += seen > 0;
	}
}

static int hosts_count(struct fleet *f, struct header_data *h)
{
	for (int i = 0; i < f->sources_len; i++) {
		const struct recording *rec = f->sources[i].rec;
		const int before = f->census.hosts.len;

		for (int n = 0; n < rec->hosts_len; n++)
			if (names_number(&f->census.hosts, rec->hosts[n]) < 0)
				return -ENOMEM;
		if (!rec->hosts_len && names_number(&f->census.hosts, rec->header.host.name) < 0)
			return -ENOMEM;
		if (f->census.hosts.len > before && __builtin_add_overflow(h->host.cpus, rec->header.host.cpus, &h->host.cpus))
			h->host.cpus = INT_MAX;
		h->merged_files += rec->header.merged_files ? rec->header.merged_files : 1;
	}
	h->merged_hosts = (const char *const *)f->census.hosts.texts;
	h->merged_hosts_len = f->census.hosts.len;
	return 0;
}

int fleet_header_write(struct fleet *f)
{
	struct header_data h = {.interval_s = f->step_s};
	int err = hosts_count(f, &h);

	timestamp_format(f->start_ns, h.start);
	for (int i = 0; i < f->sources_len; i++) {
		const struct host_info *host = &f->sources[i].rec->header.host;

		agree(h.host.kernel, sizeof(h.host.kernel), host->kernel);
		agree(h.host.arch, sizeof(h.host.arch), host->arch);
	}
	if (h.merged_hosts_len == 1)
		snprintf(h.host.name, sizeof(h.host.name), "%s", h.merged_hosts[0]);
	else
		snprintf(h.host.name, sizeof(h.host.name), "%d hosts", h.merged_hosts_len);
	probes_agree(f, &h);
	for (int i = 0; i < f->sources_len && !err; i++)
		for (int n = 0; n < f->sources[i].rec->agents_len && !err; n++)
			if (source_member(f, &f->sources[i], f->sources[i].rec->agents[n].info.id) < 0)
				err = -ENOMEM;
	h.agents = f->census.infos;
	h.agents_len = f->announced = f->census.infos_len;
	return err ? err : fleet_written(f, recording_write_header(f->writer, &h));
}

static void tell(const struct fleet *f, const struct source *s, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void tell(const struct fleet *f, const struct source *s, const char *fmt, ...)
{
	char text[512];
	va_list args;

	if (!f->note)
		return;
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	f->note(f->ctx, s->path, text);
}

/* Sums of the same hosts are of the same agents, at another time. */
static void source_know(struct source *s)
{
	uint64_t sum = 0;

	s->host = s->rec->header.host;
	for (int i = 0; i < s->rec->hosts_len; i++) {
		uint64_t hash = 14695981039346656037ull; /* FNV-1a */

		for (const char *c = s->rec->hosts[i]; *c; c++)
			hash = (hash ^ (unsigned char)*c) * 1099511628211ull;
		sum += hash; /* in whatever order they come */
	}
	if (s->rec->hosts_len)
		snprintf(s->host.boot_id, sizeof(s->host.boot_id), "%016jx", (uintmax_t)sum);
}

static int source_open(struct fleet *f, struct source *s)
{
	const struct reader_options o = {.stacks = f->stacks, .stacks_lock = &f->stacks_lock};
	int err;

	s->reader = recording_reader_open(s->path, &o, &err, f->why, sizeof(f->why));
	if (!s->reader) {
		f->failed = s->path;
		return err;
	}
	s->rec = recording_reader_recording(s->reader);
	source_know(s);
	recording_reader_suspend(s->reader, f->options->close_files);
	return 0;
}

/* All on one grid: from the earliest start, by the longest interval. */
static int sources_align(struct fleet *f)
{
	_cleanup_free_ int64_t *starts = calloc((size_t)f->sources_len, sizeof(*starts));
	_cleanup_free_ bool *known = calloc((size_t)f->sources_len, sizeof(*known));
	bool any = false;

	if (!starts || !known)
		return -ENOMEM;
	for (int i = 0; i < f->sources_len; i++) {
		const struct header_data *h = &f->sources[i].rec->header;

		f->step_s = h->interval_s > f->step_s ? h->interval_s : f->step_s;
		known[i] = !timestamp_parse(h->start, &starts[i]);
		if (known[i] && (!any || starts[i] < f->start_ns))
			f->start_ns = starts[i];
		any |= known[i];
	}
	if (!(f->step_s > 0))
		f->step_s = 1;
	for (int i = 0; i < f->sources_len; i++) {
		struct source *s = &f->sources[i];
		const double interval_s = s->rec->header.interval_s;

		if (known[i])
			s->offset_s = (double)(starts[i] - f->start_ns) / 1e9;
		else
			tell(f, s, "it does not say when it began: taken to begin with the earliest one");
		if (interval_s < f->step_s)
			tell(f, s, "its intervals of %g s are summed to %g s, the longest of these recordings", interval_s,
			        f->step_s);
	}
	return 0;
}

/* A copy counts twice, and nobody would notice. */
static void sources_compare(const struct fleet *f)
{
	for (int i = 0; i < f->sources_len; i++) {
		const struct header_data *a = &f->sources[i].rec->header;

		for (int n = 0; n < i && *a->host.boot_id; n++) {
			const struct header_data *b = &f->sources[n].rec->header;

			if (strcmp(a->start, b->start) || strcmp(a->host.boot_id, b->host.boot_id) ||
			        strcmp(a->host.name, b->host.name))
				continue;
			tell(f, &f->sources[i], "of the same host and time as %s: if it is a copy, it counts twice",
			        f->sources[n].path);
			break;
		}
	}
}

int fleet_open(struct fleet *f, const char *const *paths)
{
	int err = 0;

	for (int i = 0; i < f->sources_len && !err; i++) {
		f->sources[i].path = paths[i];
		err = source_open(f, &f->sources[i]);
	}
	if (!err)
		err = sources_align(f);
	if (!err)
		sources_compare(f);
	return err;
}

void fleet_notes_tell(struct fleet *f)
{
	for (int i = 0; i < f->sources_len; i++) {
		const struct source *s = &f->sources[i];

		if (*s->rec->note)
			tell(f, s, "%s%s", s->rec->note, s->rec->beyond ? "; what only its total tells is left out" : "");
	}
}

void fleet_members_count(struct fleet *f)
{
	struct census *c = &f->census;

	for (int i = 0; i < f->sources_len; i++) {
		const struct source *s = &f->sources[i];

		for (int n = 0; n < s->members_len; n++) {
			struct member *m = s->members[n] >= 0 ? &c->members_at[s->members[n]] : NULL;

			if (m && m->merged < s->rec->agents[n].info.merged)
				m->merged = s->rec->agents[n].info.merged;
		}
	}
	for (int i = 0; i < c->members_len; i++)
		c->infos[c->members_at[i].agent].merged += c->members_at[i].merged ? c->members_at[i].merged : 1;
}
