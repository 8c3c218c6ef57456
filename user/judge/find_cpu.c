/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Why it does not run: others, a quota, its own threads, locks. */
#include <string.h>

#include "judge/find.h"

#define STARVED_SHARE_MIN 0.05 /* of the time */
#define THROTTLED_SHARE 0.5 /* of the wait: then it is the quota */
#define RIVALS_TOLD 3
#define CROWD_PER_CPU 4.0 /* threads that ran or wanted to, on average: from here on they are too many */

/* CPython: a thread that wants the interpreter waits for this long, and then asks for it (sys.setswitchinterval()). */
#define SWITCH_INTERVAL_LOW_NS 4.9e6
#define SWITCH_INTERVAL_HIGH_NS 6.5e6
#define GIL_PER_S 5.0 /* such waits */
#define GIL_WAITS_MIN 50
#define GIL_QUEUE_NS 50e6 /* longer waits for locks are other ones */
#define GIL_SHARE 0.2 /* of its waits for locks from 1 ms on */

#define SHORT_LOCK_NS 200e3
#define SHORT_LOCKS_PER_S 5000.0
#define LOCK_RUNNING_MIN 0.5 /* of the time somebody runs: who waits for locks while nobody does waits for work */

static uint64_t rivals_sum(const struct agent_data *a)
{
	uint64_t sum = a->rivals_other_ns;

	for (int i = 0; i < RIVALS_KEPT; i++)
		sum += a->rivals[i].ns;
	return sum;
}

/* "cc1 63 %, as 4 %" */
static void rivals_text(const struct agent_data *a, char *buf, size_t size)
{
	double sum = (double)rivals_sum(a);
	size_t len = 0;

	buf[0] = '\0';
	for (int i = 0; i < RIVALS_TOLD && a->rivals[i].ns; i++)
		len += (size_t)snprintf(buf + len, size - len, "%s%.16s %.0f %%", len ? ", " : "", a->rivals[i].name,
		        (double)a->rivals[i].ns / sum * 100);
}

void find_starved(struct found *f)
{
	const struct agent_data *a = f->in->data;
	const uint64_t *v = a->metrics.value;
	double ns = (double)a->critical.ns[STATE_RUNNABLE], share = ns / 1e9 / f->in->seconds;
	struct finding what = {.id = FINDING_STARVED, .cost_s = a_minute(f->in, ns)};
	char rivals[128];

	if (share < STARVED_SHARE_MIN)
		return;
	what.severity = severity_of_cost(&what);
	rivals_text(a, rivals, sizeof(rivals));
	if ((double)v[M_THROTTLED_NS] > THROTTLED_SHARE * ns) {
		subject(&what, "its CPU quota");
		evidence(&what,
		        "it could have run, but did not, during %.0f %% of the time; its quota was used up in %s periods, and "
		        "kept it off the CPUs for %s",
		        share * 100, count_text((double)v[M_THROTTLES]), ns_text((double)v[M_THROTTLED_NS]));
	} else if ((double)v[M_STEAL_NS] > ns && (double)v[M_STEAL_NS] > (double)rivals_sum(a)) {
		subject(&what, "the hypervisor");
		evidence(&what,
		        "it could have run, but did not, during %.0f %% of the time; the hypervisor took %s of the machine's "
		        "CPUs",
		        share * 100, ns_text((double)v[M_STEAL_NS]));
	} else if (rivals[0]) {
		subject(&what, "other programs");
		evidence(&what, "it could have run, but did not, during %.0f %% of the time; who ran instead: %s", share * 100,
		        rivals);
	} else {
		evidence(&what, "it could have run, but did not, during %.0f %% of the time", share * 100);
	}
	found_add(f, &what);
}

double crowd_of(const struct finding_input *in)
{
	const uint64_t *ns = in->data->threads.ns;
	double crowd = (double)(ns[STATE_RUNNING] + ns[STATE_RUNNABLE]) / 1e9 / in->seconds;

	return in->cpus > 0 && crowd >= CROWD_PER_CPU * in->cpus ? crowd : 0;
}

/*
 * While the main thread waits for a CPU, others of the agent's threads run; or one of them holds a lock that its loop needs, and waits for a CPU itself.
 * Were there as many threads as CPUs, it would wait in proportion.
 */
void find_threads(struct found *f)
{
	const struct agent_data *a = f->in->data;
	double crowd = crowd_of(f->in), behind = (double)a->main.ns[STATE_RUNNABLE] - (double)a->critical.ns[STATE_RUNNABLE];
	double locked = fmax(0, own_sum(a, M_LOOP_BLOCKED_LOCK_NS) - own_sum(a, M_GC_PAUSE_NS));
	struct finding what = {.id = FINDING_THREADS};
	char rivals[128];

	if (!(crowd > 0))
		return;
	what.cost_s = a_minute(f->in, (fmax(behind, 0) + locked) * (1 - f->in->cpus / crowd));
	if (what.cost_s < COST_TOLD_S)
		return;
	what.severity = severity_of_cost(&what);
	rivals_text(a, rivals, sizeof(rivals));
	evidence(&what,
	        "%.0f threads at a time could run on average, on %d CPUs; the main thread waited for one for %s while others "
	        "of them ran, and its loop %s for locks%s%s",
	        crowd, f->in->cpus, ns_text(fmax(behind, 0)), ns_text(locked), rivals[0] ? "; who ran instead: " : "", rivals);
	found_add(f, &what);
}

/* Waits of threads for CPython's interpreter lock: of just its switch interval, again and again, while another one runs. Their sum and number. */
static bool interpreter_waits(const struct finding_input *in, double *ret_sum, double *ret_count)
{
	double above, slow, longer;

	*ret_sum = own_from(in->data, M_WAIT_LOCK_NS, SWITCH_INTERVAL_LOW_NS, ret_count);
	above = own_from(in->data, M_WAIT_LOCK_NS, SWITCH_INTERVAL_HIGH_NS, &longer);
	own_from(in->data, M_WAIT_LOCK_NS, 1e6, &slow);
	*ret_sum -= above;
	*ret_count -= longer;
	return *ret_count >= GIL_WAITS_MIN && *ret_count >= GIL_PER_S * in->seconds && *ret_count >= GIL_SHARE * slow;
}

double interpreter_ns(const struct finding_input *in)
{
	const struct agent_data *a = in->data;
	double sum, count;

	if (!interpreter_waits(in, &sum, &count))
		return 0;
	/* Its other waits for locks of this size are in the same queue. */
	return fmin(own_from(a, M_WAIT_LOCK_NS, 0, &count) - own_from(a, M_WAIT_LOCK_NS, GIL_QUEUE_NS, &count), (double)a->main.ns[STATE_LOCK]);
}

static bool gil_judge(struct found *f, double running)
{
	double sum, count;
	struct finding what = {.id = FINDING_LOCKS, .cost_s = a_minute(f->in, interpreter_ns(f->in))};

	if (what.cost_s < COST_TOLD_S || !interpreter_waits(f->in, &sum, &count))
		return false;
	what.severity = severity_of_cost(&what);
	subject(&what, "Python's interpreter lock (GIL)");
	evidence(&what,
	        "%s waits a second lasted for just about the 5 ms after which a thread asks for the interpreter, %s in all; "
	        "the main thread waited for locks during %s; some thread ran during %.0f %% of the time",
	        rate_text(count / f->in->seconds), ns_text(sum), ns_text((double)f->in->data->main.ns[STATE_LOCK]), running * 100);
	found_add(f, &what);
	return true;
}

void find_locks(struct found *f)
{
	const struct agent_data *a = f->in->data;
	double running = seconds_of(a->critical.ns[STATE_RUNNING]) / f->in->seconds;
	double all = own_count(a, M_WAIT_LOCK_NS), longer, brief;
	struct finding what = {.id = FINDING_LOCKS};

	if (running < LOCK_RUNNING_MIN &&
	        seconds_of(a->critical.ns[STATE_RUNNING] + a->critical.ns[STATE_RUNNABLE]) / f->in->seconds < LOCK_RUNNING_MIN)
		return;
	if (gil_judge(f, running))
		return;
	own_from(a, M_WAIT_LOCK_NS, SHORT_LOCK_NS, &longer);
	brief = all - longer;
	if (brief < SHORT_LOCKS_PER_S * f->in->seconds)
		return;
	what.cost_cpu_s = a_minute(f->in, own_value(a, M_CPU_SYSTEM_NS));
	if (what.cost_cpu_s < COST_TOLD_S)
		return;
	what.severity = severity_of_cost(&what);
	evidence(&what,
	        "%s waits for locks a second, most of them shorter than 200 us; the system spent %s of CPU on the agent, its "
	        "own code %s",
	        rate_text(all / f->in->seconds), ns_text(own_value(a, M_CPU_SYSTEM_NS)), ns_text(own_value(a, M_CPU_USER_NS)));
	found_add(f, &what);
}
