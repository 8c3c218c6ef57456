// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#include <errno.h>
#include <langinfo.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "lib/util.h"
#include "sink/format.h"
#include "sink/terminal.h"
#include "sink/terminal_parts.h"

void terminal_options_detect(struct terminal_options *o, FILE *out)
{
	const char *columns = getenv("COLUMNS"), *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
	bool terminal = isatty(fileno(out));
	struct winsize size;
	long long width = 80;

	*o = (struct terminal_options){ .hist = -1 };
	if (terminal && !ioctl(fileno(out), TIOCGWINSZ, &size) && size.ws_col)
		width = size.ws_col;
	else if (columns)
		parse_int(columns, 1, INT32_MAX, &width);
	if (width < TERMINAL_WIDTH_MIN)
		width = TERMINAL_WIDTH_MIN;
	o->width = width > TERMINAL_WIDTH_MAX ? TERMINAL_WIDTH_MAX : (int)width;
	o->color = terminal && !(no_color && *no_color) && !(term && !strcmp(term, "dumb"));
	setlocale(LC_CTYPE, "");
	o->utf8 = !strcmp(nl_langinfo(CODESET), "UTF-8");
}

void para_count(struct para *p, uint64_t n, const char *what)
{
	para_part(p, "%s %s", count_text((double)n), what);
}

static void print_memory(const struct screen *s, const struct recording *r, const struct agent_data *a)
{
	const uint64_t *v = a->metrics.value;
	const struct hist *map = a->metrics.hist[M_MAP_BYTES];
	struct para p;

	if (header_probe_on(&r->header, PROBE_MEM, true) &&
	    (v[M_RSS_BYTES] || v[M_RSS_PEAK_BYTES] || v[M_FAULTS_MINOR] || v[M_FAULTS_MAJOR] || (map && map->count))) {
		para_begin(&p, s, "memory");
		if (v[M_RSS_BYTES])
			para_part(&p, "%s resident%s", bytes_text((double)v[M_RSS_BYTES]), a->alive ? "" : " when last seen");
		if (v[M_RSS_PEAK_BYTES])
			para_part(&p, "%s at the peak", bytes_text((double)v[M_RSS_PEAK_BYTES]));
		if (map && map->count)
			para_part(&p, "%s mapped in %s calls", bytes_text((double)map->sum), count_text((double)map->count));
		para_count(&p, v[M_FAULTS_MINOR], "minor faults");
		para_count(&p, v[M_FAULTS_MAJOR], "major");
		para_end(&p);
	}
	if (v[M_KERNEL_ALLOC_BYTES]) {
		para_begin(&p, s, "kernel");
		para_part(&p, "%s allocated on its behalf", bytes_text((double)v[M_KERNEL_ALLOC_BYTES]));
		para_end(&p);
	}
}

static void print_sockets(const struct screen *s, const struct agent_data *a)
{
	const uint64_t *v = a->metrics.value;
	struct para p;

	if (!(v[M_CONNECTS] || v[M_CONNECTS_FAILED] || v[M_ACCEPTS] || v[M_SENT_BYTES] || v[M_RECEIVED_BYTES] || v[M_RETRANSMITS]))
		return;
	para_begin(&p, s, "sockets");
	para_part(&p, "%s sent", bytes_text((double)v[M_SENT_BYTES]));
	para_part(&p, "%s received", bytes_text((double)v[M_RECEIVED_BYTES]));
	para_count(&p, v[M_CONNECTS], "connects");
	para_count(&p, v[M_CONNECTS_FAILED], "failed");
	para_count(&p, v[M_ACCEPTS], "accepts");
	para_count(&p, v[M_RETRANSMITS], "retransmits");
	para_end(&p);
}

static void print_switches(const struct screen *s, const struct agent_data *a)
{
	const uint64_t *v = a->metrics.value;
	struct para p;

	if (v[M_SWITCHES_VOLUNTARY] || v[M_SWITCHES_INVOLUNTARY]) {
		para_begin(&p, s, "scheduler");
		para_count(&p, v[M_SWITCHES_VOLUNTARY], "waits");
		para_count(&p, v[M_SWITCHES_INVOLUNTARY], "preemptions");
		para_count(&p, v[M_MIGRATIONS], "migrations");
		para_end(&p);
	}
	if (v[M_FORKS] || v[M_EXECS] || v[M_EXITS]) {
		para_begin(&p, s, "processes");
		para_count(&p, v[M_FORKS], "started");
		para_count(&p, v[M_EXECS], "programs executed");
		para_count(&p, v[M_EXITS], "ended");
		para_count(&p, v[M_EXITS_FAILED], "of them failed");
		if (v[M_PROCESSES] > 1)
			para_count(&p, v[M_PROCESSES], "alive");
		if (v[M_THREADS])
			para_count(&p, v[M_THREADS], v[M_THREADS] == 1 ? "thread" : "threads");
		para_end(&p);
	}
}

void terminal_container(const struct screen *s, const struct agent_info *info)
{
	const struct container *c = &info->container;
	char id[sizeof(c->id)], fit[CELL_BYTES], more[CELL_BYTES];
	struct para p;

	if (!*c->id && !info->ns_pid)
		return;
	para_begin(&p, s, *c->id ? "container" : "namespace");
	if (*c->id) {
		text_fit(fit, sizeof(fit), container_short(c, id, sizeof(id)), 40, s->utf8);
		text_fit(more, sizeof(more), c->runtime, 20, s->utf8);
		para_part(&p, *c->runtime ? "%s (%s)" : "%s", fit, more);
	}
	if (*c->pod) {
		text_fit(fit, sizeof(fit), c->pod, 36, s->utf8);
		text_fit(more, sizeof(more), c->qos, 12, s->utf8);
		para_part(&p, "pod %s%s%s", fit, *more ? " " : "", more);
	}
	if (info->ns_pid)
		para_part(&p, "pid %d in it", info->ns_pid);
	para_end(&p);
}

static void print_identity(const struct screen *s, const struct recording *r, const struct recording_agent *agent)
{
	const struct agent_data *a = &agent->total;
	double user = (double)a->metrics.value[M_CPU_USER_NS] / 1e9, system = (double)a->metrics.value[M_CPU_SYSTEM_NS] / 1e9;
	char name[CELL_BYTES], fit[4096], how[64];
	struct para p;

	text_fit(name, sizeof(name), agent->info.name, s->width > 60 ? 40 : s->width - 20, s->utf8);
	if (agent->info.merged > 1)
		screen_line(s, STYLE_BOLD, "Agent %d: %s (sum of %d)", agent->info.id, name, agent->info.merged);
	else
		screen_line(s, STYLE_BOLD, "Agent %d: %s (pid %d)", agent->info.id, name, agent->info.pid);
	if (agent->info.cmdline[0]) {
		text_fit(fit, sizeof(fit), agent->info.cmdline, s->width - 2, s->utf8);
		screen_line(s, STYLE_DIM, "  %s", fit);
	}
	terminal_container(s, &agent->info);
	para_begin(&p, s, "observed");
	para_part(&p, "%s", ns_text(a->observed_s * 1e9));
	if (agent->info.has_exit)
		para_part(&p, "ended %s", format_exit(agent->info.exit_code, how, sizeof(how)));
	else
		para_part(&p, "%s", a->alive ? "still alive at the end" : "ended");
	para_end(&p);
	if (header_probe_on(&r->header, PROBE_SCHED, true)) {
		para_begin(&p, s, "CPU");
		para_part(&p, "%s user", ns_text(user * 1e9));
		para_part(&p, "%s system", ns_text(system * 1e9));
		if (a->observed_s > 0)
			para_part(&p, "together %.1f %% of one CPU", (user + system) / a->observed_s * 100);
		para_end(&p);
	}
}

/* The sections that a probe which is off, or a runtime without garbage collection, leaves out. */
static int print_depth(const struct screen *s, const struct recording *r, const struct agent_data *a)
{
	int err = terminal_profile(s, r->stacks, a);

	if (!err)
		err = terminal_waits(s, r->stacks, a);
	if (!err)
		err = terminal_heap(s, r->stacks, a);
	return err ? err : terminal_gc(s, a);
}

static int print_agent(const struct screen *s, const struct recording *r, const struct recording_agent *agent, const struct outlooks *outlooks)
{
	const struct agent_data *a = &agent->total;
	struct outlook outlook;
	struct peer_rows peers;
	int err;

	print_identity(s, r, agent);
	err = peer_rows_init(&peers, a);
	if (!err)
		err = terminal_ledger(s, a, &peers);
	if (!err)
		terminal_limits(s, a);
	if (!err)
		err = terminal_peers(s, a, &peers);
	peer_rows_fini(&peers);
	if (!err)
		err = terminal_tools(s, a);
	if (!err)
		err = terminal_loop(s, &a->metrics);
	if (!err)
		err = print_depth(s, r, a);
	if (!err)
		err = terminal_hists(s, &a->metrics);
	fputc('\n', s->out);
	print_memory(s, r, a);
	outlooks_judge(outlooks, agent->info.id, &outlook);
	terminal_outlook(s, &outlook);
	print_sockets(s, a);
	print_switches(s, a);
	terminal_notes(s, a);
	return err;
}

static void print_losses(const struct screen *s, const struct observer_data *o)
{
	uint64_t sum = 0;
	struct para p;

	for (int i = 0; i < o->losses; i++)
		sum += o->lost[i].count;
	para_begin(&p, s, "lost");
	if (!sum)
		para_part(&p, "nothing lost");
	else
		para_part(&p, "%ju of %ju records", (uintmax_t)sum, (uintmax_t)(o->records + sum));
	for (int i = 0; i < o->losses; i++)
		if (o->lost[i].count)
			para_part(&p, "%ju by %s", (uintmax_t)o->lost[i].count, o->lost[i].reason);
	para_end(&p);
}

static void print_observer(const struct screen *s, const struct recording *r)
{
	const struct observer_data *o = &r->observer;
	struct para p;

	para_begin(&p, s, "cost");
	para_part(&p, "%s of CPU", ns_text(o->cpu_s * 1e9));
	if (r->duration_s > 0)
		para_part(&p, "%.2f %% of one", o->cpu_s / r->duration_s * 100);
	if (o->bpf_s >= 0) {
		para_part(&p, "%s in BPF programs", ns_text(o->bpf_s * 1e9));
		if (r->duration_s > 0)
			para_part(&p, "%.2f %%", o->bpf_s / r->duration_s * 100);
	} else if (o->cost.governed) {
		para_part(&p, "about %s in BPF programs", ns_text(o->cost.part_s[COST_BPF] * 1e9));
	} else {
		para_part(&p, "BPF programs not measured (--bpf-stats)");
	}
	para_part(&p, "%s resident", bytes_text((double)o->rss_bytes));
	para_count(&p, o->records, "records");
	para_end(&p);
	terminal_cost(s, r);
	print_losses(s, o);
}

static void print_probes(const struct screen *s, const struct header_data *h)
{
	bool any = false;
	struct para p;

	for (int i = 0; i < h->probes_len; i++) {
		const struct probe_state *probe = &h->probes[i];

		if (!strcmp(probe->state, "on"))
			continue;
		if (!any)
			para_begin(&p, s, "probes");
		any = true;
		para_part(&p, "%s %s%s%s", probe->name, probe->state, probe->why[0] ? ": " : "", probe->why);
	}
	if (any)
		para_end(&p);
}

static void print_recording(const struct screen *s, const struct recording *r)
{
	const struct host_info *host = &r->header.host;
	struct para p;

	screen_line(s, STYLE_BOLD, "Recording");
	para_begin(&p, s, "host");
	para_part(&p, "%s", host->name);
	para_part(&p, "kernel %s", host->kernel);
	para_part(&p, "%s", host->arch);
	para_part(&p, "%d CPUs", host->cpus);
	para_end(&p);
	if (r->header.merged_files) {
		para_begin(&p, s, "merged");
		para_part(&p, "from %d recordings", r->header.merged_files);
		para_end(&p);
	}
	para_begin(&p, s, "time");
	para_part(&p, "%s from %s", ns_text(r->duration_s * 1e9), r->header.start);
	para_part(&p, "%ju intervals of %s", (uintmax_t)r->intervals, ns_text(r->header.interval_s * 1e9));
	if (r->complete && !r->note[0])
		para_part(&p, "complete");
	para_end(&p);
	if (!r->complete || r->note[0]) {
		para_begin(&p, s, r->complete ? "note" : "incomplete");
		para_part(&p, "%s", r->note[0] ? r->note : "the closing total is missing");
		para_end(&p);
	}
	print_observer(s, r);
	print_probes(s, &r->header);
}

int terminal_report(FILE *out, const struct recording *r, const struct terminal_options *o)
{
	struct screen s = { .out = out, .width = o->width, .color = o->color, .utf8 = o->utf8 };
	int err = 0;

	if (s.width < TERMINAL_WIDTH_MIN)
		s.width = TERMINAL_WIDTH_MIN;
	if (o->title) {
		screen_line(&s, STYLE_DIM, "%s", o->title);
		fputc('\n', out);
	}
	if (o->hist < 0 && r->agents_len)
		err = terminal_findings(&s, r, o->outlooks);
	if (!err && o->hist < 0 && r->agents_len && o->objectives)
		err = terminal_objectives(&s, r, o->objectives);
	if (!err && o->hist < 0 && o->trends)
		err = terminal_trends(&s, r, o->trends);
	for (int i = 0; i < r->agents_len && !err; i++) {
		if (o->hist >= 0)
			err = terminal_hist(&s, &r->agents[i], (enum metric_id)o->hist);
		else
			err = print_agent(&s, r, &r->agents[i], o->outlooks);
		fputc('\n', out);
	}
	if (!err && o->hist < 0)
		print_recording(&s, r);
	if (!err && (fflush(out) || ferror(out)))
		err = errno ? -errno : -EIO;
	return err;
}
