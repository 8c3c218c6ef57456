/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The sweep: all recordings are read up to the end of a window of the grid, its intervals written, and the next window begins. */
#include "model/fleet.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "lib/timestamp.h"
#include "lib/util.h"
#include "model/fleet_parts.h"

#define SLOTS_MAX 256 /* of a window */
#define SLOTS_FIRST 1 /* until it is known how large they are; then up to twice as many a window, since the first ones may be of few hosts */

struct source {
	const char *path;
	struct recording_reader *reader;
	const struct recording *rec;
	struct host_info host; /* by which its agents are known */
	double offset_s; /* of its start from the grid's */
	int64_t next; /* slot that its next interval is in, at the earliest; INT64_MAX: it is read */
	int64_t last; /* slot that its last interval was in, of those it is read to */
	int *members; /* by its agents; -1: not known yet */
	int members_len;
	int *current, current_len; /* members that its last written interval had */
	uint64_t rss_bytes; /* of its observer, then */
};

struct fleet {
	const struct fleet_options *options;
	struct recording_writer *writer;
	fleet_note_fn note;
	void *ctx;
	struct source *sources;
	int sources_len;
	struct census census;
	struct stacks *stacks;
	pthread_mutex_t stacks_lock;
	double step_s;
	int64_t start_ns;
	struct slot *slots; /* by thread, then by number in the window: SLOTS_MAX each */
	int64_t first, end; /* the window */
	int width; /* of the next one */
	size_t slot_bytes; /* the most that one of this window takes */
	/* The result. */
	struct slot total;
	int announced; /* of its agents */
	uint64_t mark, seq;
	int64_t last; /* slot written */
	uint64_t intervals_read;
	bool write_failed;
	const char *failed; /* path */
	char why[512];
};

/* ---- reading ---- */

static int64_t slot_of(const struct fleet *f, const struct source *s, double middle_s)
{
	double at = floor((s->offset_s + middle_s) / f->step_s);

	return at > 0 ? (int64_t)at : 0;
}

static int source_member(struct fleet *f, struct source *s, int id)
{
	int at = recording_reader_agent(s->reader, id);
	const struct header_data *h = &s->rec->header;

	if (at >= s->members_len) {
		int len = s->rec->agents_len, *members = reallocarray(s->members, (size_t)len, sizeof(*members));

		if (!members)
			return -1;
		for (int i = s->members_len; i < len; i++)
			members[i] = -1;
		s->members = members;
		s->members_len = len;
	}
	if (s->members[at] < 0) /* names of a recording that is merged already are what they are */
		s->members[at] = census_member(&f->census, &s->host, &s->rec->agents[at].info,
		        f->options->apart && !h->merged_files ? h->host.name : NULL);
	return s->members[at];
}

static int source_agent(struct fleet *f, struct source *s, struct slot *slot, struct agent_data *a)
{
	struct sighting *seen = slot_sighting(slot, (int)(s - f->sources));
	int err, agent;

	if (!seen)
		return -ENOMEM;
	seen->member = source_member(f, s, a->id);
	if (seen->member < 0)
		return -ENOMEM;
	err = state_take(&seen->state, a);
	if (err)
		return err;
	pthread_mutex_lock(&f->census.lock);
	agent = f->census.members_at[seen->member].agent;
	pthread_mutex_unlock(&f->census.lock);
	return slot_add(slot, agent, a);
}

static int source_interval(struct fleet *f, struct source *s, struct slot *slots, struct parsed *line)
{
	int64_t at = slot_of(f, s, (line->data.start_s + line->data.end_s) / 2);
	struct slot *slot;
	struct sighting *seen;
	int err = 0;

	/* Only where times of a file run backwards can it lie before the window. */
	at = at < f->first ? f->first : at >= f->end ? f->end - 1 : at;
	slot = &slots[at - f->first];
	s->last = at;
	seen = slot_sighting(slot, (int)(s - f->sources));
	if (!seen)
		return -ENOMEM;
	seen->rss_bytes = line->data.observer.rss_bytes;
	for (int i = 0; i < STEPS_KEPT; i++)
		line->data.observer.cost.step[i].at_s += s->offset_s;
	observer_add(&slot->sum.observer, &line->data.observer);
	for (int i = 0; i < line->len && !err; i++)
		err = source_agent(f, s, slot, &line->agents[i]);
	return err;
}

/* Up to the window's end. ret_why as for recording_reader_next. */
static int source_read(struct fleet *f, struct source *s, struct slot *slots, char *ret_why, size_t why_len)
{
	const double until_s = (double)f->end * f->step_s - s->offset_s;
	struct parsed *line;
	int got;

	while ((got = recording_reader_next(s->reader, until_s, &line, ret_why, why_len)) == READER_INTERVAL) {
		int err = source_interval(f, s, slots, line);

		if (err)
			return err;
	}
	if (got == READER_LATER) {
		s->next = slot_of(f, s, recording_reader_later_s(s->reader));
		s->next = s->next < f->end ? f->end : s->next; /* by rounding */
		recording_reader_suspend(s->reader, f->options->close_files);
	} else if (got == READER_END) {
		s->next = INT64_MAX;
		recording_reader_close(s->reader);
	}
	return got < 0 ? got : 0;
}

/* ---- threads: each has sources and slots of its own, so that what comes out does not depend on which is the faster one ---- */

struct worker {
	pthread_t thread;
	struct fleet *fleet;
	struct slot *slots;
	int number, err;
	const char *failed;
	char why[512];
};

static void *worker_run(void *arg)
{
	struct worker *w = arg;
	struct fleet *f = w->fleet;

	for (int i = w->number; i < f->sources_len && !w->err; i += f->options->threads) {
		struct source *s = &f->sources[i];

		if (s->next >= f->end)
			continue;
		w->err = source_read(f, s, w->slots, w->why, sizeof(w->why));
		w->failed = s->path;
	}
	return NULL;
}

static int window_read(struct fleet *f)
{
	const int n = f->options->threads;
	_cleanup_free_ struct worker *workers = calloc((size_t)n, sizeof(*workers));
	int err = 0, started;

	if (!workers)
		return -ENOMEM;
	for (started = 0; started < n && !err; started++) {
		struct worker *w = &workers[started];

		*w = (struct worker){.fleet = f, .number = started, .slots = f->slots + started * SLOTS_MAX};
		if (started) /* this thread is the first of them */
			err = -pthread_create(&w->thread, NULL, worker_run, w);
		if (err)
			break;
	}
	if (!err)
		worker_run(&workers[0]);
	for (int i = 1; i < started; i++)
		pthread_join(workers[i].thread, NULL);
	for (int i = 0; i < started && !err; i++) {
		err = workers[i].err;
		if (!err)
			continue;
		f->failed = workers[i].failed;
		snprintf(f->why, sizeof(f->why), "%s", workers[i].why);
	}
	return err;
}

/* ---- writing ---- */

static int written(struct fleet *f, int err)
{
	f->write_failed |= err < 0;
	return err;
}

static int sighting_compare(const void *a, const void *b)
{
	const struct sighting *x = a, *y = b;

	return (x->source > y->source) - (x->source < y->source);
}

/* Which members each source has now, and what they are like. */
static int sightings_take(struct fleet *f, struct slot *slot)
{
	qsort(slot->sightings, slot->sightings_len, sizeof(*slot->sightings), sighting_compare);
	for (size_t i = 0; i < slot->sightings_len; i++) {
		struct sighting *seen = &slot->sightings[i];
		struct source *s = &f->sources[seen->source];

		if (seen->member < 0) { /* an interval of the source begins */
			s->current_len = 0;
			s->rss_bytes = seen->rss_bytes;
			continue;
		}
		if (!(s->current_len & (s->current_len - 1))) {
			int *more = reallocarray(s->current, s->current_len ? (size_t)s->current_len * 2 : 1, sizeof(*more));

			if (!more)
				return -ENOMEM;
			s->current = more;
		}
		s->current[s->current_len++] = seen->member;
		state_fini(&f->census.members_at[seen->member].state);
		f->census.members_at[seen->member].state = seen->state;
		seen->state = (struct state){0};
	}
	return 0;
}

/* Adds the states of all members that are there at the time of this slot. */
static int states_show(struct fleet *f, struct slot *slot, int64_t at)
{
	int err = sightings_take(f, slot);

	f->mark++;
	slot->sum.observer.rss_bytes = 0;
	for (int i = 0; i < f->sources_len && !err; i++) {
		struct source *s = &f->sources[i];

		if (s->next == INT64_MAX && at > s->last)
			s->current_len = 0, s->rss_bytes = 0;
		slot->sum.observer.rss_bytes += s->rss_bytes;
		for (int n = 0; n < s->current_len && !err; n++) {
			struct member *m = &f->census.members_at[s->current[n]];
			struct agent_data *a;

			if (m->counted == f->mark) /* in two recordings at once */
				continue;
			m->counted = f->mark;
			a = slot_agent(slot, m->agent);
			err = a ? state_add(a, &m->state) : -ENOMEM;
		}
	}
	return err;
}

/* What later recordings tell of agents that no header had. */
static int agents_announce(struct fleet *f)
{
	int err = 0;

	for (; f->announced < f->census.infos_len && !err; f->announced++)
		err = written(f, recording_write_agent(f->writer, &f->census.infos[f->announced]));
	return err;
}

/* By number, as an array of pointers that is the caller's. NULL: out of memory. */
static const struct agent_data **agents_list(const struct fleet *f, const struct slot *slot, int *ret_len)
{
	const struct agent_data **list = calloc((size_t)slot->sum.agents_len + 1, sizeof(*list));
	int len = 0;

	for (int n = 0; list && n < f->census.infos_len && n < slot->place_len; n++)
		if (slot->place[n])
			list[len++] = &slot->sum.agents[slot->place[n] - 1].total;
	*ret_len = len;
	return list;
}

static int total_add(struct fleet *f, struct slot *slot)
{
	uint64_t rss = f->total.sum.observer.rss_bytes;
	int err = 0;

	for (int i = 0; i < slot->sum.agents_len && !err; i++) {
		struct agent_data *a = &slot->sum.agents[i].total;

		states_clear(a);
		err = slot_add(&f->total, a->id, a);
	}
	observer_add(&f->total.sum.observer, &slot->sum.observer);
	/* What all observers held together at most. */
	f->total.sum.observer.rss_bytes = rss > slot->sum.observer.rss_bytes ? rss : slot->sum.observer.rss_bytes;
	return err;
}

static int slot_write(struct fleet *f, struct slot *slot, int64_t at)
{
	struct interval_data i = {.seq = f->seq, .start_s = (double)at * f->step_s, .end_s = (double)(at + 1) * f->step_s};
	_cleanup_free_ const struct agent_data **agents = NULL;
	int err = states_show(f, slot, at);

	if (err)
		return err;
	agents = agents_list(f, slot, &i.agents_len);
	if (!agents)
		return -ENOMEM;
	i.agents = agents;
	i.observer = slot->sum.observer;
	err = agents_announce(f);
	if (!err)
		err = written(f, recording_write_stacks(f->writer, f->stacks));
	if (!err)
		err = written(f, recording_write_interval(f->writer, &i));
	f->seq++;
	f->last = at;
	return err ? err : total_add(f, slot);
}

static int window_write(struct fleet *f)
{
	int err = 0;

	f->slot_bytes = 1;
	for (int64_t at = f->first; at < f->end && !err; at++) {
		struct slot *slot = f->slots + (at - f->first);
		size_t bytes;

		for (int t = 1; t < f->options->threads && !err; t++)
			err = slot_merge(slot, slot + t * SLOTS_MAX);
		bytes = slot_bytes(slot);
		f->slot_bytes = bytes > f->slot_bytes ? bytes : f->slot_bytes;
		if (!err && slot->sightings_len) {
			for (size_t i = 0; i < slot->sightings_len; i++)
				f->intervals_read += slot->sightings[i].member < 0;
			err = slot_write(f, slot, at);
		}
		slot_fini(slot); /* not reset: what one window needed the next may need elsewhere */
		slot->sum.observer.bpf_s = -1;
	}
	return err;
}

/* The first slot that any source has something for; INT64_MAX: there is none. */
static int64_t next_slot(const struct fleet *f)
{
	int64_t next = INT64_MAX;

	for (int i = 0; i < f->sources_len; i++)
		next = f->sources[i].next < next ? f->sources[i].next : next;
	return next;
}

static int sweep(struct fleet *f)
{
	int err = 0;

	f->width = SLOTS_FIRST;
	while (!err && (f->first = next_slot(f)) != INT64_MAX) {
		size_t width;

		f->end = f->first + f->width;
		err = window_read(f);
		if (!err)
			err = window_write(f);
		/* Each thread has slots of nearly the size of their sum. */
		width = f->options->window_bytes / (f->slot_bytes * (size_t)f->options->threads);
		width = width > 2 * (size_t)f->width ? 2 * (size_t)f->width : width;
		f->width = width < 1 ? 1 : width > SLOTS_MAX ? SLOTS_MAX : (int)width;
	}
	return err;
}

static int total_write(struct fleet *f)
{
	struct interval_data i = {.seq = f->seq, .end_s = f->seq ? (double)(f->last + 1) * f->step_s : 0};
	struct census *c = &f->census;
	_cleanup_free_ const struct agent_info **infos = calloc((size_t)c->infos_len + 1, sizeof(*infos));
	_cleanup_free_ const struct agent_data **agents = NULL;
	int err = agents_announce(f);

	for (int n = 0; n < f->total.sum.agents_len; n++)
		states_clear(&f->total.sum.agents[n].total);
	for (int n = 0; n < c->members_len && !err; n++) {
		struct agent_data *a = slot_agent(&f->total, c->members_at[n].agent);

		err = a ? state_add(a, &c->members_at[n].state) : -ENOMEM;
	}
	agents = err ? NULL : agents_list(f, &f->total, &i.agents_len);
	if (!agents || !infos)
		return err ? err : -ENOMEM;
	for (int n = 0; n < i.agents_len; n++)
		infos[n] = &c->infos[agents[n]->id];
	i.agents = agents;
	i.observer = f->total.sum.observer;
	err = written(f, recording_write_stacks(f->writer, f->stacks));
	return err ? err : written(f, recording_write_total(f->writer, &i, infos));
}

/* ---- the result's header ---- */

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

static int header_write(struct fleet *f)
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
	return err ? err : written(f, recording_write_header(f->writer, &h));
}

/* ---- opening ---- */

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

static int open_all(struct fleet *f, const char *const *paths)
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

static void notes_tell(struct fleet *f)
{
	for (int i = 0; i < f->sources_len; i++) {
		const struct source *s = &f->sources[i];

		if (*s->rec->note)
			tell(f, s, "%s%s", s->rec->note, s->rec->beyond ? "; what only its total tells is left out" : "");
	}
}

/* How many agents of recordings each of the result's stands for; one that was merged before says so itself. */
static void members_count(struct fleet *f)
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

static int run(struct fleet *f, const char *const *paths)
{
	int err = open_all(f, paths);

	if (!err)
		err = header_write(f);
	if (!err)
		err = sweep(f);
	if (err)
		return err;
	notes_tell(f);
	members_count(f);
	return total_write(f);
}

static void fleet_fini(struct fleet *f)
{
	for (int i = 0; i < f->options->threads * SLOTS_MAX && f->slots; i++)
		slot_fini(&f->slots[i]);
	slot_fini(&f->total); /* names of losses are the readers' */
	for (int i = 0; i < f->sources_len && f->sources; i++) {
		recording_reader_free(f->sources[i].reader);
		free(f->sources[i].members);
		free(f->sources[i].current);
	}
	census_fini(&f->census);
	stacks_free(f->stacks);
	pthread_mutex_destroy(&f->stacks_lock);
	free(f->sources);
	free(f->slots);
}

int fleet_merge(const char *const *paths, int paths_len, const struct fleet_options *o, struct recording_writer *w,
        fleet_note_fn note, void *ctx, struct fleet_result *ret, const char **ret_path, char *ret_why, size_t why_len)
{
	struct fleet f = {
	        .options = o, .writer = w, .note = note, .ctx = ctx, .sources_len = paths_len, .stacks = stacks_new()};
	int err = -ENOMEM;

	census_init(&f.census);
	pthread_mutex_init(&f.stacks_lock, NULL);
	f.sources = calloc((size_t)paths_len, sizeof(*f.sources));
	f.slots = calloc((size_t)o->threads * SLOTS_MAX, sizeof(*f.slots));
	f.total.sum.observer.bpf_s = -1;
	for (int i = 0; i < o->threads * SLOTS_MAX && f.slots; i++)
		f.slots[i].sum.observer.bpf_s = -1;
	if (f.sources && f.slots && f.stacks)
		err = run(&f, paths);
	*ret = (struct fleet_result){.files = paths_len,
	        .hosts = f.census.hosts.len,
	        .agents = f.census.infos_len,
	        .intervals_read = f.intervals_read,
	        .intervals_written = f.seq,
	        .interval_s = f.step_s};
	*ret_path = f.failed;
	snprintf(ret_why, why_len, "%s", f.write_failed ? "" : *f.why ? f.why : err ? strerror(-err) : "");
	fleet_fini(&f);
	return err;
}
