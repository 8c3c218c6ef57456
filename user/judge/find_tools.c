/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Tools: launched again and again, failing, slow, left running. */
#include <string.h>

#include "judge/find.h"

#define LAUNCHES_MIN 20
#define SHORT_RUN_NS 0.5e9 /* on average: who runs for longer was worth the launch */
#define TAX_SHARE 0.3 /* of such a run */
#define FAILURES_MIN 5
#define FAILURES_SHARE 0.2
#define SLOW_RUNS_MIN 3
#define SLOW_P95_NS 5e9
#define SLOW_WAIT_SHARE 0.25 /* of the time that the agent was watched */
#define ORPHAN_MIN_NS 5e9

/* What the agent's main thread waited for tools, a minute. */
static double waited_s(const struct found *f)
{
	const uint64_t *ns = f->in->data->main.ns;

	return a_minute(f->in, (double)(ns[STATE_CHILD] + ns[STATE_PIPE]));
}

/* Being launched, getting on a CPU and to its work, of all runs (a tool's ledger begins at the fork): their work counts, too, as far as it does not wait. */
static double start_ns(const struct tool_data *t)
{
	const uint64_t *ns = t->main.ns;

	return (double)(ns[STATE_RUNNING] + ns[STATE_RUNNABLE] + ns[STATE_DISK] + ns[STATE_FAULT]);
}

static void launches_judge(struct found *f, const struct tool_data *t)
{
	const struct hist *run = hist_of(&t->metrics, M_TOOL_NS), *launch = hist_of(&t->metrics, M_LAUNCH_NS);
	double whole, each;
	struct finding what = {.id = FINDING_LAUNCHES};

	if (!run || run->count < LAUNCHES_MIN || hist_mean(run) > SHORT_RUN_NS)
		return;
	whole = hist_mean(run) + (launch ? (double)launch->sum / (double)launch->count : 0);
	each = fmin(start_ns(t) / (double)run->count, whole);
	if (each < TAX_SHARE * whole)
		return;
	what.cost_s = fmin(a_minute(f->in, each * (double)run->count), waited_s(f));
	what.cost_cpu_s = a_minute(f->in, (double)(t->metrics.value[M_CPU_USER_NS] + t->metrics.value[M_CPU_SYSTEM_NS]));
	if (what.cost_s < COST_TOLD_S)
		return;
	what.severity = severity_of_cost(&what);
	subject(&what, "tool %s", t->name);
	evidence(&what, "%s runs of %s on average, of which %s are its launch and getting to work", count_text((double)run->count), ns_text(whole),
	        ns_text(each));
	found_add(f, &what);
}

void find_launches(struct found *f)
{
	const struct agent_data *a = f->in->data;

	for (int i = 0; i < a->tools_len; i++)
		launches_judge(f, &a->tools[i]);
}

/* Their status says what they found. */
static bool status_is_answer(const char *name)
{
	static const char *const names[] = {"grep", "egrep", "fgrep", "rg", "ag", "diff", "cmp", "test", "[", "pgrep", "pidof", "which", "expr", "false"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (!strcmp(name, names[i]))
			return true;
	return false;
}

/* What the runs that failed took, with their launches; of recordings that don't tell, as long as runs take on average. */
static double failed_ns(const struct tool_data *t, const struct hist *run, double failed)
{
	const struct hist *of = hist_of(&t->metrics, M_TOOL_FAILED_NS), *launch = hist_of(&t->metrics, M_LAUNCH_NS);

	return failed * (hist_mean(of ? of : run) + (launch ? hist_mean(launch) : 0));
}

void find_failing(struct found *f)
{
	const struct agent_data *a = f->in->data;

	for (int i = 0; i < a->tools_len; i++) {
		const struct tool_data *t = &a->tools[i];
		const struct hist *run = hist_of(&t->metrics, M_TOOL_NS), *cancelled = hist_of(&t->metrics, M_CANCEL_NS);
		double ended = (double)t->metrics.value[M_EXITS], failed = (double)t->metrics.value[M_EXITS_FAILED] - (cancelled ? (double)cancelled->count : 0);
		struct finding what = {.id = FINDING_FAILING};
		double took;

		if (!run || failed < FAILURES_MIN || failed < FAILURES_SHARE * ended || status_is_answer(t->name))
			continue;
		took = failed_ns(t, run, failed);
		what.cost_s = fmin(a_minute(f->in, took), waited_s(f));
		what.severity = severity_of_cost(&what) > SEVERITY_WARNING ? SEVERITY_CRITICAL : SEVERITY_WARNING;
		subject(&what, "tool %s", t->name);
		evidence(&what, "%s of %s runs ended with a status other than 0 or by a signal, after %s on average", count_text(failed), count_text(ended),
		        ns_text(took / failed));
		found_add(f, &what);
	}
}

void find_slow_tools(struct found *f)
{
	const struct agent_data *a = f->in->data;

	for (int i = 0; i < a->tools_len; i++) {
		const struct tool_data *t = &a->tools[i];
		const struct hist *run = hist_of(&t->metrics, M_TOOL_NS);
		struct finding what = {.id = FINDING_SLOW_TOOLS, .severity = SEVERITY_INFO};

		if (!run || run->count < SLOW_RUNS_MIN || hist_quantile(run, 0.95) < SLOW_P95_NS || waited_s(f) < SLOW_WAIT_SHARE * 60)
			continue;
		subject(&what, "tool %s", t->name);
		evidence(&what, "%s runs took %s (median), %s (p95); the agent's main thread waited for tools %.0f %% of the time", count_text((double)run->count),
		        ns_text(hist_quantile(run, 0.5)), ns_text(hist_quantile(run, 0.95)), waited_s(f) / 60 * 100);
		found_add(f, &what);
	}
}

void find_orphans(struct found *f)
{
	const struct agent_data *a = f->in->data;
	double orphans = (double)a->metrics.value[M_ORPHANS], lived = (double)a->metrics.value[M_ORPHAN_NS], cpu = (double)a->metrics.value[M_ORPHAN_CPU_NS];
	struct finding what = {.id = FINDING_ORPHANS, .severity = SEVERITY_INFO};
	size_t len;

	if (orphans < 1 || lived < ORPHAN_MIN_NS)
		return;
	what.cost_cpu_s = cpu / (lived / orphans) * 60;
	if (what.cost_cpu_s >= COST_TOLD_S)
		what.severity = severity_of_cost(&what) > SEVERITY_WARNING ? SEVERITY_CRITICAL : SEVERITY_WARNING;
	for (int i = 0; i < a->tools_len; i++)
		if (a->tools[i].metrics.value[M_ORPHANS]) {
			len = strlen(what.subject);
			snprintf(what.subject + len, sizeof(what.subject) - len, "%s%s", len ? ", " : "tool ", a->tools[i].name);
		}
	evidence(&what, "%s processes were alive %s after the agent had ended (on average, so far), and used %s of CPU since", count_text(orphans), ns_text(lived / orphans),
	        ns_text(cpu));
	found_add(f, &what);
}
