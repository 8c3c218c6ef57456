/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What the listener is told: the start, intervals, new agents, the total; and the same as a recording. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "lib/log.h"
#include "lib/util.h"
#include "watch/session_parts.h"

#define HOLD_S 1.0 /* longest time that a closed interval waits for what shows later */
#define HOLD_FIRST_S 0.1 /* the first one: somebody waits for it */

static void host_fill(struct host_info *h)
{
	struct utsname u;

	uname(&u);
	snprintf(h->name, sizeof(h->name), "%s", u.nodename);
	snprintf(h->kernel, sizeof(h->kernel), "%s", u.release);
	snprintf(h->arch, sizeof(h->arch), "%s", u.machine);
	h->cpus = sysconf(_SC_NPROCESSORS_ONLN);
	if (file_read("/proc/sys/kernel/random/boot_id", h->boot_id, sizeof(h->boot_id)) > 0)
		h->boot_id[strcspn(h->boot_id, "\n")] = '\0';
}

int session_told(struct session *s, int err)
{
	s->told_badly |= err != 0;
	return err;
}

int session_start_tell(struct session *s)
{
	struct agent_info *agents = calloc(world_places(s->world) + 1, sizeof(*agents));
	int err;

	if (!agents)
		return -ENOMEM;
	host_fill(&s->header.host);
	s->header.interval_s = s->opt.interval_s;
	memcpy(s->header.probes, observer_probes(s->observer), PROBE_COUNT * sizeof(s->header.probes[0]));
	s->header.probes_len = PROBE_COUNT;
	s->header.agents_len = s->announced = world_agents(s->world);
	for (int i = 0; i < s->announced; i++) /* none is forgotten yet */
		agents[i] = *world_agent_info(s->world, i);
	s->header.agents = agents;
	err = s->to->start ? session_told(s, s->to->start(s->to->ctx, &s->header)) : 0;
	s->header.agents = NULL;
	free(agents);
	return err;
}

static void progress_tell(const struct session *s, const struct observer_data *d, double interval_s)
{
	struct session_progress p = { .elapsed_s = (s->last_end_ns - s->start_ns) / 1e9, .interval_s = interval_s, .observer = d };

	if (!s->to->progress)
		return;
	p.agents_alive = world_agents_alive(s->world);
	p.lost = observer_data_lost_sum(&s->observed);
	s->to->progress(s->to->ctx, &p);
}

static int interval_tell(struct session *s, const struct interval_data *i)
{
	return s->to->interval ? session_told(s, s->to->interval(s->to->ctx, i, world_stacks(s->world))) : 0;
}

int session_held_tell(struct session *s)
{
	uint64_t now = clock_ns();
	int64_t bytes;
	int err;

	if (!s->held_until_ns)
		return 0;
	s->held_until_ns = 0;
	bytes = collector_drain(s->collector);
	if (bytes < 0)
		return log_err(bytes, "cannot read records");
	s->held.agents = world_held(s->world, now, &s->held.agents_len);
	s->held.infos = world_interval_infos(s->world);
	err = interval_tell(s, &s->held);
	world_stacks_tidy(s->world);
	return err;
}

static int agents_announce(struct session *s)
{
	int err = 0, from = s->announced;

	if (from == world_agents(s->world))
		return 0;
	s->announced = world_agents(s->world);
	for (int i = 0; i < world_places(s->world) && !err; i++) {
		const struct agent_info *info = world_agent_info(s->world, i);

		if (info && info->id >= from && s->to->agent)
			err = session_told(s, s->to->agent(s->to->ctx, info));
	}
	return err;
}

int session_interval_end(struct session *s, bool last)
{
	struct interval_data i = { .start_s = (s->last_end_ns - s->start_ns) / 1e9 };
	double hold_max_s = s->seq ? HOLD_S : HOLD_FIRST_S, hold_s = s->opt.interval_s < hold_max_s ? s->opt.interval_s : hold_max_s;
	uint64_t end_ns = 0;
	int err = session_held_tell(s);

	if (!err && s->seeds) /* it may have met new agents: who is not seeded when the interval closes counts as gone */
		err = session_seed(s);
	if (err)
		return err;
	i.seq = s->seq++;
	err = collector_close(s->collector, last, &end_ns);
	if (err)
		return log_err(err, "cannot read the state of the agents");
	err = session_release(s);
	if (err)
		return log_err(err, "cannot let go of agents");
	err = agents_announce(s);
	if (err)
		return err;
	i.end_s = (end_ns - s->start_ns) / 1e9;
	collector_observe(s->collector, &i.observer);
	observer_data_merge(&s->observed, &i.observer);
	s->last_end_ns = end_ns;
	progress_tell(s, &i.observer, i.end_s - i.start_s);
	if (last) {
		i.agents = world_interval(s->world, &i.agents_len);
		i.infos = world_interval_infos(s->world);
		return interval_tell(s, &i);
	}
	world_hold(s->world);
	s->held = i;
	s->held_until_ns = end_ns + (uint64_t)(hold_s * 1e9);
	if (!s->to->closed)
		return 0;
	i.agents = world_peek(s->world, &i.agents_len);
	i.infos = world_interval_infos(s->world);
	return session_told(s, s->to->closed(s->to->ctx, &i));
}

int session_total_tell(struct session *s)
{
	struct interval_data i = { .seq = s->seq, .end_s = (s->last_end_ns - s->start_ns) / 1e9, .observer = s->observed };
	const struct agent_info *const *infos;

	i.agents = world_total(s->world, &infos, &i.agents_len);
	return s->to->total ? session_told(s, s->to->total(s->to->ctx, &i, infos)) : 0;
}

struct recording *session_view(const struct session *s)
{
	struct recording *r = calloc(1, sizeof(*r));
	const struct agent_info *const *infos;
	const struct agent_data *const *totals;

	if (!r)
		return NULL;
	r->header = s->header;
	r->intervals = s->seq;
	r->observer = s->observed;
	r->complete = true;
	r->stacks = world_stacks(s->world);
	r->duration_s = (s->last_end_ns - s->start_ns) / 1e9;
	totals = world_total(s->world, &infos, &r->agents_len);
	r->agents = calloc(r->agents_len + 1, sizeof(*r->agents));
	if (!r->agents) {
		free(r);
		return NULL;
	}
	for (int i = 0; i < r->agents_len; i++) {
		r->agents[i].info = *infos[i];
		r->agents[i].total = *totals[i];
	}
	return r;
}

void session_view_free(struct recording *r)
{
	if (r)
		free(r->agents);
	free(r);
}
