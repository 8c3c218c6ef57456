/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The order in which things are done; the rest is in fleet_*.c. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "model/fleet_parts.h"

int source_member(struct fleet *f, struct source *s, int id)
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

int fleet_written(struct fleet *f, int err)
{
	f->write_failed |= err < 0;
	return err;
}

static int run(struct fleet *f, const char *const *paths)
{
	int err = fleet_open(f, paths);

	if (!err)
		err = fleet_header_write(f);
	if (!err)
		err = fleet_sweep(f);
	if (err)
		return err;
	fleet_notes_tell(f);
	fleet_members_count(f);
	return fleet_total_write(f);
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
