/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* One watching from begin to end: agents, the loop. */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/log.h"
#include "lib/timestamp.h"
#include "lib/util.h"
#include "watch/session_parts.h"

static int exit_status_of(int err)
{
	switch (err) {
	case 0:
		return EXIT_DONE;
	case -EINVAL:
		return EXIT_USAGE;
	case -ESRCH:
	case -EPERM:
		return EXIT_NO_TARGET;
	default:
		return EXIT_DENIED;
	}
}

/* --- agents --- */

/* Takes over t's strings. Its process is seeded by the next session_seed(). */
static int agent_add(void *ctx, struct target *t)
{
	struct session *s = ctx;
	struct agent_info info = { .name = t->name, .pid = t->pid, .start_ticks = t->start_ticks, .cmdline = t->cmdline, .cgroup = t->cgroup,
		.container = t->container, .ns_pid = t->ns_pid };
	int slot = -EEXIST;

	if (world_agent_of(s->world, t->pid) < 0 && world_agent_find(s->world, t->pid, t->start_ticks) < 0)
		slot = world_agent_add(s->world, &info);
	if (slot < 0) {
		target_fini(t);
		if (slot == -ENOSPC && !s->full_told) {
			s->full_told = true;
			log_warn("more than %d agents at once: the further ones are not observed", SO_MAX_AGENTS - 1);
		}
		return slot == -ENOMEM ? slot : 0;
	}
	s->by[slot] = t->by;
	s->seed_tgids[s->seeds] = t->pid;
	s->seed_slots[s->seeds++] = slot;
	return 0;
}

int session_seed(struct session *s)
{
	int n;

	if (!s->seeds)
		return 0;
	n = observer_seed(s->observer, s->seed_tgids, s->seed_slots, s->seeds);
	s->seeds = 0;
	if (n < 0)
		return n;
	return collector_baseline(s->collector);
}

/* After a change of targets: who came by one that is gone, and is meant by none of the others, is let go at the end of the interval. */
static void agents_sift(struct session *s)
{
	for (int i = 0; i < world_places(s->world); i++) {
		const struct agent_info *info = world_agent_info(s->world, i);
		int slot = world_agent_slot(s->world, i);

		if (info && slot)
			world_agent_release(s->world, i, !targets_have(s->targets, s->by[slot]) && !targets_mean(s->targets, info->pid, info->start_ticks));
	}
}

int session_release(struct session *s)
{
	int n = collector_release(s->collector);

	s->rescan = s->released;
	s->released = n > 0;
	return n < 0 ? n : 0;
}

static void on_candidate(void *ctx, uint32_t tgid)
{
	struct session *s = ctx;
	struct target t;

	if (s->seeds < SO_MAX_AGENTS && targets_match(s->targets, tgid, &t))
		s->err = agent_add(s, &t);
}

/* --- the loop --- */

static int signals_open(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static int poll_add(int epoll, int fd)
{
	struct epoll_event e = { .events = EPOLLIN, .data.fd = fd };

	return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e) ? -errno : 0;
}

int session_fd_add(struct session *s, int fd, session_fd_fn fn, void *ctx)
{
	int err = s->fds_len < SESSION_FDS ? poll_add(s->epoll, fd) : -ENOSPC;

	if (!err)
		s->fds[s->fds_len++] = (struct session_fd){ fd, fn, ctx };
	return err;
}

static int timeout_ms(uint64_t now, uint64_t until)
{
	return until > now ? (int)((until - now + 999999) / 1000000) : 0;
}

/* 0 to go on, 1 to end. */
static int signal_take(struct session *s)
{
	struct signalfd_siginfo info;

	if (read(s->sigfd, &info, sizeof(info)) != sizeof(info))
		return 0;
	return s->to->signal ? s->to->signal(s->to->ctx, (int)info.ssi_signo) : 1;
}

/* 0 to go on, 1 to end, or negative errno. */
static int fd_take(struct session *s, int fd)
{
	int ret = 0;

	if (fd == s->sigfd)
		ret = signal_take(s);
	for (int i = 0; i < s->fds_len && !ret; i++)
		if (s->fds[i].fd == fd)
			ret = s->fds[i].fn(s->fds[i].ctx);
	return ret > 0 ? 1 : session_told(s, ret);
}

/* Until all agents are gone, the time is over, or a signal comes. */
static int loop(struct session *s)
{
	uint64_t interval_ns = s->opt.interval_s * 1e9, next_close = s->start_ns + interval_ns;
	uint64_t end = s->opt.duration_s > 0 ? s->start_ns + (uint64_t)(s->opt.duration_s * 1e9) : UINT64_MAX;
	int err = 0;

	while (!err) {
		uint64_t now = clock_ns(), next = now + (uint64_t)(collector_pause_ms(s->collector) * 1e6);
		struct epoll_event e[4];
		int n, wait_ms, end_it = 0;

		next = next < next_close ? next : next_close;
		next = next < end ? next : end;
		if (s->held_until_ns && s->held_until_ns < next)
			next = s->held_until_ns;
		wait_ms = timeout_ms(now, next);
		n = epoll_wait(s->epoll, e, ARRAY_SIZE(e), wait_ms);
		for (int i = 0; i < n && !end_it; i++)
			end_it = fd_take(s, e[i].data.fd);
		if (end_it)
			return end_it < 0 ? end_it : 0;
		now = clock_ns();
		if (!n && wait_ms && (now >= next_close || now >= end))
			observer_woken(s->observer); /* nothing came, so it slept */
		if (now >= end)
			return 0;
		if (s->held_until_ns && now >= s->held_until_ns)
			err = session_held_tell(s);
		if (!err && now >= next_close) {
			err = session_interval_end(s, false);
			if (!err)
				err = s->rescan ? targets_scan(s->targets, agent_add, s) : targets_arrivals(s->targets, agent_add, s);
			for (next_close += interval_ns; next_close <= now; next_close += interval_ns)
				;
		} else if (!err) {
			int64_t bytes = collector_drain(s->collector);

			if (bytes < 0)
				err = log_err(bytes, "cannot read records");
		}
		if (!err && s->seeds)
			err = session_seed(s);
		if (!err)
			err = s->err;
		if (!world_agents_alive(s->world) && !targets_open_ended(s->targets) && !s->opt.stays)
			return err;
	}
	return err;
}

/* --- begin and end --- */

/*
 * The ring holds about a second of the highest rate, and the fair scheduler lets us wait for longer: two CPUs busy with nothing but
 * pipes kept a process out for 4 s (kernel 6.18, whatever its nice value). So ahead of all of them, for the 1 % of a CPU that we take;
 * without the permission it works as well as it can.
 */
static void priority_raise(void)
{
	struct sched_param param = { .sched_priority = 1 };

	sched_setscheduler(0, SCHED_RR | SCHED_RESET_ON_FORK, &param);
}

static int targets_prepare(struct session *s)
{
	char why[512] = "";
	int err = s->targets ? 0 : targets_new(&s->opt.target, 1, &s->targets, why, sizeof(why));

	if (err)
		return log_err(0, "%s", why), err;
	if (!s->opt.target.command)
		return 0;
	err = target_spawn(s->opt.target.command, s->opt.target.no_terminal, &s->child);
	if (!err)
		return 0;
	s->child.pid = 0;
	log_err(err == -ENOENT ? 0 : err, err == -ENOENT ? "%s: command not found" : "cannot run %s", s->opt.target.command[0]);
	return -ESRCH;
}

static void on_note(void *ctx, unsigned slot, const char *text)
{
	struct session *s = ctx;

	world_note(s->world, slot, text);
}

static void on_heap(void *ctx, unsigned slot, const struct heap_data *delta)
{
	struct session *s = ctx;

	world_heap(s->world, slot, delta);
	collector_trapped(s->collector, delta->trapped_s);
}

/* Stacks and heaps: what is asked of the collector for them. */
static int stacks_prepare(struct session *s, const bool on[PROBE_COUNT])
{
	uint64_t offcpu_ns = on[PROBE_OFFCPU] ? (uint64_t)(s->opt.offcpu_ms * 1e6) : 0;

	world_thresholds(s->world, offcpu_ns ? offcpu_ns : UINT64_MAX, (uint64_t)(s->opt.leak_age_s * 1e9));
	if (!on[PROBE_PROFILE] && !on[PROBE_OFFCPU] && !on[PROBE_HEAP])
		return 0;
	/* Of a profile each moment counts, the last ones of a process, too; of the heap places are wanted that come again and again. */
	return collector_stacks(s->collector, offcpu_ns, on[PROBE_PROFILE] || on[PROBE_OFFCPU]);
}

/* All allocations were asked for by name: no rung of the ladder would save any of that. So without a budget, unless there was one given, too. */
static int budget_prepare(struct session *s, const bool on[PROBE_COUNT])
{
	bool all = on[PROBE_HEAP] && s->opt.heap_full;
	double percent = s->opt.budget_percent < 0 ? all ? 0 : BUDGET_PERCENT : s->opt.budget_percent;

	return percent > 0 ? collector_budget(s->collector, percent / 100) : 0;
}

static int observer_prepare(struct session *s)
{
	struct observer_config cfg = {
		.heap_full = s->opt.heap_full,
		.heap_budget = s->opt.heap_percent / 100,
		.profile_hz = s->opt.profile_hz,
		.reports = &s->reports,
		.ring_bytes = s->opt.ring_bytes,
		.candidates = s->opt.stays || targets_open_ended(s->targets),
		.bpf_stats = s->opt.bpf_stats,
	};
	bool on[PROBE_COUNT];
	char why[512] = "";
	int err;

	s->reports = (struct part_reports){ .note = on_note, .heap = on_heap, .ctx = s };
	memcpy(cfg.probe_on, s->opt.probe_on, sizeof(cfg.probe_on));
	err = observer_new(&cfg, &s->observer, why, sizeof(why));
	if (err)
		return log_err(0, "cannot observe here: %s", why), -EACCES;
	err = observer_load(s->observer);
	if (!err)
		err = observer_attach(s->observer);
	if (err)
		return log_err(err, "the kernel refuses the BPF programs; `stakeout doctor` says what this host allows"), -EACCES;
	for (int p = 0; p < PROBE_COUNT; p++) {
		const struct probe_state *st = &observer_probes(s->observer)[p];

		on[p] = !strcmp(st->state, "on");
		if (!strcmp(st->state, "unavailable"))
			log_warn("probe %s is unavailable: %s", st->name, st->why);
	}
	s->world = world_new(on);
	s->collector = s->world ? collector_new(s->observer, s->world, s->opt.drain_ms) : NULL;
	if (!s->collector || stacks_prepare(s, on) || budget_prepare(s, on))
		return log_err(-ENOMEM, "cannot start");
	world_peers(s->world, &s->opt.peers, (int)s->opt.peers_kept);
	if (s->opt.stays)
		world_forgets(s->world);
	collector_on_candidate(s->collector, on_candidate, s);
	return 0;
}

/* The agent of `-- COMMAND`: our child, before its exec. */
static int child_add(struct session *s)
{
	struct target t = {};

	if (!targets_match(s->targets, s->child.pid, &t))
		return log_err(-ESRCH, "cannot find %s", s->opt.target.command[0]);
	return agent_add(s, &t);
}

static int agents_begin(struct session *s)
{
	int err = s->child.pid ? child_add(s) : targets_scan(s->targets, agent_add, s);

	if (err)
		return err;
	if (!s->seeds && !targets_open_ended(s->targets) && !s->opt.stays)
		return log_err(0, "no such target: it ended before it could be observed"), -ESRCH;
	timestamp_format(timestamp_now(), s->header.start);
	s->start_ns = s->last_end_ns = clock_ns();
	world_start(s->world, s->start_ns);
	collector_start(s->collector, s->start_ns);
	err = session_seed(s);
	if (err)
		return log_err(err, "cannot mark the agents' tasks"), -EACCES;
	if (!s->child.pid)
		return 0;
	err = target_release(&s->child);
	return err ? (log_err(err, "cannot run %s", s->opt.target.command[0]), -ESRCH) : 0;
}

struct session *session_new(const struct watch_options *o, const struct session_listener *l)
{
	struct session *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->opt = *o;
	s->to = l;
	s->observed.bpf_s = -1;
	s->child.go_fd = s->child.err_fd = s->sigfd = -1;
	s->epoll = epoll_create1(EPOLL_CLOEXEC);
	return s;
}

int session_targets(struct session *s, const struct target_spec *specs, int len, char *why, size_t why_len)
{
	struct targets *targets;
	int err = targets_new(specs, len, &targets, why, why_len);

	if (err)
		return err;
	targets_free(s->targets);
	s->targets = targets;
	if (s->start_ns)
		agents_sift(s);
	/* What is found is seeded by the loop. */
	if (s->start_ns && (err = targets_scan(s->targets, agent_add, s)))
		snprintf(why, why_len, "%s", strerror(-err));
	return err;
}

int session_prepare(struct session *s)
{
	int err = targets_prepare(s);

	if (!err)
		err = observer_prepare(s);
	return exit_status_of(err);
}

int session_begin(struct session *s)
{
	int err;

	s->sigfd = signals_open();
	priority_raise();
	err = agents_begin(s);
	if (!err)
		err = poll_add(s->epoll, s->sigfd);
	if (!err)
		err = poll_add(s->epoll, observer_fd(s->observer));
	if (!err)
		err = session_start_tell(s);
	return s->told_badly ? EXIT_OUTPUT : exit_status_of(err);
}

int session_run(struct session *s)
{
	int err = loop(s);

	if (!err)
		err = session_interval_end(s, true);
	if (!err)
		err = session_total_tell(s);
	return s->told_badly ? EXIT_OUTPUT : err ? EXIT_DENIED : EXIT_DONE;
}

uint64_t session_start_ns(const struct session *s)
{
	return s->start_ns;
}

void session_free(struct session *s)
{
	if (!s)
		return;
	if (s->child.pid && waitpid(s->child.pid, NULL, WNOHANG) == 0 && s->seq)
		log_info("process %d (%s) runs on, unobserved", (int)s->child.pid, s->opt.target.command[0]);
	collector_free(s->collector);
	world_free(s->world);
	observer_free(s->observer);
	targets_free(s->targets);
	cleanup_close(&s->epoll);
	cleanup_close(&s->sigfd);
	free(s);
}
