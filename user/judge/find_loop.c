/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Event loops that a call holds up; answers that nobody reads. */
#include <stddef.h>

#include "judge/find.h"
#include "lib/util.h"

#define BLOCKED_MIN_NS 5e6 /* what is shorter holds up nobody */
#define BLOCKED_TIMES_MIN 3
#define PICKUP_MIN_NS 5e6
#define PICKUP_TIMES_MIN 5
#define PICKUP_SHARE_MIN 0.1 /* of all that was read */

static const struct {
	enum metric_id metric;
	const char *what;
} kinds[] = {
        {M_LOOP_BLOCKED_NET_NS, "a blocking socket call"},
        {M_LOOP_BLOCKED_POLL_NS, "a poll of its own"},
        {M_LOOP_BLOCKED_DISK_NS, "the disk"},
        {M_LOOP_BLOCKED_LOCK_NS, "a lock"},
        {M_LOOP_BLOCKED_SLEEP_NS, "a sleep"},
        {M_LOOP_BLOCKED_PIPE_NS, "a pipe"},
        {M_LOOP_BLOCKED_CHILD_NS, "a child process"},
        {M_LOOP_BLOCKED_INPUT_NS, "input"},
        {M_LOOP_BLOCKED_OTHER_NS, "another call"},
};

/* What blocked the loops of the agent, its tools aside: all, and the worst kind of it. */
static double blocked(const struct finding_input *in, double *ret_times, double *ret_worst, size_t *ret_kind)
{
	const struct agent_data *a = in->data;
	double sum = 0;

	*ret_times = *ret_worst = 0;
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		double times, ns = own_from(a, kinds[i].metric, BLOCKED_MIN_NS, &times), left = ns;

		/* V8 waits for the threads that help it collect, or who holds the lock waits for a CPU: findings of their own */
		if (kinds[i].metric == M_LOOP_BLOCKED_LOCK_NS)
			left = crowd_of(in) > 0 ? 0 : fmax(0, ns - own_sum(a, M_GC_PAUSE_NS));
		if (left < ns)
			times *= left / ns;
		ns = left;
		sum += ns;
		*ret_times += times;
		if (ns > *ret_worst) {
			*ret_worst = ns;
			*ret_kind = i;
		}
	}
	return sum;
}

void find_blocked_loop(struct found *f)
{
	size_t kind = 0;
	double times, worst, ns = blocked(f->in, &times, &worst, &kind);
	struct finding what = {.id = FINDING_BLOCKED_LOOP, .cost_s = a_minute(f->in, ns)};

	if (times < BLOCKED_TIMES_MIN || what.cost_s < COST_TOLD_S)
		return;
	what.severity = severity_of_cost(&what);
	subject(&what, "%s", kinds[kind].what);
	evidence(&what, "%s times it stood still for 5 ms or longer, %s in all, %s on average; %.0f %% of that in %s",
	        count_text(times), ns_text(ns), ns_text(ns / times), worst / ns * 100, kinds[kind].what);
	found_add(f, &what);
}

/* Late by an average of so much, but once an exchange at most: while an answer streams, only what is late at its end delays anybody. */
static void pickup_judge(struct found *f, const struct callee *c)
{
	const struct agent_data *a = f->in->data;
	struct finding what = {.id = FINDING_SLOW_PICKUP};
	double late = 0, sum = 0, half_ns, all = callee_count(c, M_PICKUP_NS), exchanges = callee_value(c, M_EXCHANGES), times, worst;
	size_t kind;

	for (int i = 0; i < c->len; i++) {
		double count;

		sum += hist_from(c->of[i]->metrics.hist[M_PICKUP_NS], PICKUP_MIN_NS, &count);
		late += count;
	}
	if (late < PICKUP_TIMES_MIN || late < PICKUP_SHARE_MIN * all)
		return;
	what.cost_s = a_minute(f->in, sum / late * fmin(late, fmax(exchanges, 1))) / callee_parallel(a, c);
	if (what.cost_s < COST_TOLD_S)
		return;
	/* Late for want of a CPU or of the interpreter, or since its loop was blocked: those are findings of their own. */
	half_ns = what.cost_s / 60 * f->in->seconds * 1e9 / 2;
	if (crowd_of(f->in) > 0 || (double)a->main.ns[STATE_RUNNABLE] > half_ns || (double)a->critical.ns[STATE_RUNNABLE] > half_ns ||
	        interpreter_ns(f->in) > half_ns || blocked(f->in, &times, &worst, &kind) > half_ns)
		return;
	what.severity = severity_of_cost(&what);
	callee_subject(c, &what);
	evidence(&what, "%s of %s reads came 5 ms or more after the data had arrived, %s late on average", count_text(late),
	        count_text(all), ns_text(sum / late));
	found_add(f, &what);
}

void find_slow_pickup(struct found *f)
{
	struct callee c;

	for (int at = 0; callee_next(f->in->data, &at, &c);)
		pickup_judge(f, &c);
}
