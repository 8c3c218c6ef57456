/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The sweep: all recordings are read up to the end of a window of the grid, its intervals written, and the next window begins. Each thread has sources and slots
 * of its own, so that what comes out does not depend on which is the faster one.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/util.h"
#include "model/fleet_parts.h"

#define SLOTS_FIRST 1 /* until it is known how large they are; then up to twice as many a window, since the first ones may be of few hosts */

static int64_t slot_of(const struct fleet *f, const struct source *s, double middle_s)
{
	double at = floor((s->offset_s + middle_s) / f->step_s);

	return at > 0 ? (int64_t)at : 0;
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
		err = fleet_written(f, recording_write_agent(f->writer, &f->census.infos[f->announced]));
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
		err = fleet_written(f, recording_write_stacks(f->writer, f->stacks));
	if (!err)
		err = fleet_written(f, recording_write_interval(f->writer, &i));
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

int fleet_sweep(struct fleet *f)
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

int fleet_total_write(struct fleet *f)
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
	err = fleet_written(f, recording_write_stacks(f->writer, f->stacks));
	return err ? err : fleet_written(f, recording_write_total(f->writer, &i, infos));
}
