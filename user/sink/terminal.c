// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#include <errno.h>
#include <langinfo.h>
#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "lib/util.h"
#include "sink/format.h"
#include "sink/terminal.h"

#define TOOLS_SHOWN 20
#define HIST_ROWS 20

static const int state_colors[STATE_COUNT] = {
	[STATE_RUNNING] = 32, [STATE_RUNNABLE] = 33, [STATE_NET] = 34,	[STATE_DISK] = 35,  [STATE_LOCK] = 31,	[STATE_SLEEP] = 90,
	[STATE_POLL] = 36,    [STATE_PIPE] = 94,     [STATE_CHILD] = 95, [STATE_FAULT] = 91, [STATE_INPUT] = 96, [STATE_OTHER] = 37,
};

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

static bool probe_on(const struct recording *r, enum probe_id probe)
{
	for (int i = 0; i < r->header.probes_len; i++)
		if (r->header.probes[i].name && !strcmp(r->header.probes[i].name, probe_infos[probe].name))
			return !strcmp(r->header.probes[i].state, "on");
	return true;
}

/* "12.34" for 12.34 s; 0 for none. Plain seconds, so that a column of them adds up. */
static void cell_seconds(struct table *t, const struct screen *s, uint64_t ns)
{
	table_cell(t, s, 0, "%.*f", ns < 1000 * NS_PER_S ? 3 : 1, (double)ns / 1e9);
}

/* tenths of a percent; a share that rounds to nothing must not read as none */
static void cell_percent(struct table *t, const struct screen *s, uint64_t ns, unsigned tenths)
{
	if (ns && !tenths)
		table_cell(t, s, 0, "<0.1");
	else
		table_cell(t, s, 0, "%u.%u", tenths / 10, tenths % 10);
}

static void print_bar(const struct screen *s, const struct ledger *l)
{
	unsigned cells[STATE_COUNT];

	format_split(l->ns, STATE_COUNT, (unsigned)s->width - 4, cells);
	fputs("  ", s->out);
	for (int i = 0; i < STATE_COUNT; i++) {
		if (s->color && cells[i])
			fprintf(s->out, "\033[%s%dm", s->utf8 ? "" : "7;", state_colors[i]);
		for (unsigned n = 0; n < cells[i]; n++) {
			if (!s->color)
				fputc(state_infos[i].bar, s->out);
			else
				fputs(s->utf8 ? "\u2588" : " ", s->out);
		}
		style_end(s, cells[i] ? STYLE_BOLD : 0);
	}
	fputc('\n', s->out);
}

/* The clauses of a state's help that fit in `room` columns beside the figures; a line cut within a word reads badly. */
static void cell_help(struct table *t, const struct screen *s, const char *help, int room)
{
	int len = (int)strlen(help);

	while (len > room) {
		int comma = len - 1;

		while (comma > 0 && help[comma] != ',')
			comma--;
		if (comma <= 0)
			break;
		len = comma;
	}
	table_cell(t, s, STYLE_DIM, "%.*s", len, help);
}

static int print_ledger(const struct screen *s, const struct agent_data *a)
{
	static const struct table_column columns[] = {
		{ "", true, 0, false }, { "state", true, 0, false }, { "seconds", false, 0, false }, { "%", false, 0, false },
		{ "threads s", false, 1, false }, { "", true, 2, true },
	};
	uint64_t main_ns = ledger_sum(&a->main), threads_ns = ledger_sum(&a->threads);
	unsigned main_share[STATE_COUNT];
	struct table t;

	if (!main_ns && !threads_ns)
		return 0;
	format_split(a->main.ns, STATE_COUNT, 1000, main_share);
	fputc('\n', s->out);
	screen_line(s, STYLE_BOLD, "  Where the time of the main thread went");
	if (main_ns)
		print_bar(s, &a->main);
	fputc('\n', s->out);
	table_init(&t, columns, ARRAY_SIZE(columns));
	for (int i = 0; i < STATE_COUNT; i++) {
		if (!a->main.ns[i] && !a->threads.ns[i])
			continue;
		if (s->color)
			table_cell(&t, s, state_colors[i], "%s", s->utf8 ? "\u2588\u2588" : "##");
		else
			table_cell(&t, s, 0, "%c", state_infos[i].bar);
		table_cell(&t, s, 0, "%s", state_infos[i].name);
		cell_seconds(&t, s, a->main.ns[i]);
		cell_percent(&t, s, a->main.ns[i], main_share[i]);
		cell_seconds(&t, s, a->threads.ns[i]);
		cell_help(&t, s, state_infos[i].help, s->width - 43);
	}
	table_cell(&t, s, 0, "%s", "");
	table_cell(&t, s, STYLE_BOLD, "sum");
	cell_seconds(&t, s, main_ns);
	cell_percent(&t, s, main_ns, main_ns ? 1000 : 0);
	cell_seconds(&t, s, threads_ns);
	table_cell(&t, s, 0, "%s", "");
	if (table_print(&t, s))
		return -ENOMEM;
	/* The ledger closes by construction; where it doesn't, the reader must know. */
	if (a->observed_s > 0 && fabs((double)main_ns / 1e9 - a->observed_s) > 0.005 * a->observed_s)
		screen_line(s, STYLE_BOLD, "  (accounts for %.3f s of %.3f s observed)", (double)main_ns / 1e9, a->observed_s);
	return 0;
}

static int print_hists(const struct screen *s, const struct metric_set *m)
{
	static const struct table_column columns[] = {
		{ "histogram", true, 0, false }, { "count", false, 0, false }, { "mean", false, 2, false }, { "p50", false, 0, false },
		{ "p90", false, 3, false }, { "p99", false, 0, false }, { "max", false, 1, false },
	};
	struct table t;

	table_init(&t, columns, ARRAY_SIZE(columns));
	for (int i = 0; i < METRIC_IDS; i++) {
		const struct hist *h = metric_infos[i].type == METRIC_HIST ? m->hist[i] : NULL;
		enum metric_unit unit = metric_infos[i].unit;

		if (!h || !h->count)
			continue;
		table_cell(&t, s, 0, "%s", metric_infos[i].name);
		table_cell(&t, s, 0, "%s", count_text((double)h->count));
		table_cell(&t, s, 0, "%s", value_text(hist_mean(h), unit));
		table_cell(&t, s, 0, "%s", value_text(hist_quantile(h, 0.5), unit));
		table_cell(&t, s, 0, "%s", value_text(hist_quantile(h, 0.9), unit));
		table_cell(&t, s, 0, "%s", value_text(hist_quantile(h, 0.99), unit));
		table_cell(&t, s, 0, "%s", value_text((double)h->max, unit));
	}
	if (!t.used)
		return 0;
	fputc('\n', s->out);
	screen_line(s, STYLE_BOLD, "  How long and how large (all threads and tools)");
	return table_print(&t, s);
}

static uint64_t tool_runs(const struct tool_data *t)
{
	const struct hist *h = t->metrics.hist[M_TOOL_NS];

	return (h ? h->count : 0) + t->runs_live;
}

static int tool_order(const void *a, const void *b)
{
	const struct tool_data *x = *(const struct tool_data *const *)a, *y = *(const struct tool_data *const *)b;
	const struct hist *hx = x->metrics.hist[M_TOOL_NS], *hy = y->metrics.hist[M_TOOL_NS];
	uint64_t sx = hx ? hx->sum : 0, sy = hy ? hy->sum : 0;

	return sx < sy ? 1 : sx > sy ? -1 : strcmp(x->name, y->name);
}

static void cell_quantile(struct table *t, const struct screen *s, const struct hist *h, double q)
{
	if (h && h->count)
		table_cell(t, s, 0, "%s", ns_text(hist_quantile(h, q)));
	else
		table_cell(t, s, 0, "-");
}

static int print_tools(const struct screen *s, const struct agent_data *a)
{
	static const struct table_column columns[] = {
		{ "tool", true, 0, false }, { "runs", false, 0, false }, { "live", false, 4, false }, { "failed", false, 0, false }, { "CPU", false, 1, false },
		{ "run p50", false, 0, false }, { "run p99", false, 2, false }, { "launch p50", false, 3, false },
	};
	_cleanup_free_ const struct tool_data **sorted = NULL;
	struct table t;

	if (!a->tools_len)
		return 0;
	sorted = calloc((size_t)a->tools_len, sizeof(const struct tool_data *));
	if (!sorted)
		return -ENOMEM;
	for (int i = 0; i < a->tools_len; i++)
		sorted[i] = &a->tools[i];
	qsort(sorted, (size_t)a->tools_len, sizeof(const struct tool_data *), tool_order);
	table_init(&t, columns, ARRAY_SIZE(columns));
	for (int i = 0; i < a->tools_len && i < TOOLS_SHOWN; i++) {
		const struct metric_set *m = &sorted[i]->metrics;
		char name[CELL_BYTES];

		text_fit(name, sizeof(name), sorted[i]->name, 24, s->utf8);
		table_cell(&t, s, 0, "%s", name);
		table_cell(&t, s, 0, "%s", count_text((double)tool_runs(sorted[i])));
		table_cell(&t, s, 0, "%s", sorted[i]->runs_live ? count_text((double)sorted[i]->runs_live) : "");
		table_cell(&t, s, m->value[M_EXITS_FAILED] ? 31 : 0, "%s", count_text((double)m->value[M_EXITS_FAILED]));
		table_cell(&t, s, 0, "%s", ns_text((double)m->value[M_CPU_USER_NS] + (double)m->value[M_CPU_SYSTEM_NS]));
		cell_quantile(&t, s, m->hist[M_TOOL_NS], 0.5);
		cell_quantile(&t, s, m->hist[M_TOOL_NS], 0.99);
		cell_quantile(&t, s, m->hist[M_LAUNCH_NS], 0.5);
	}
	fputc('\n', s->out);
	screen_line(s, STYLE_BOLD, "  Tools");
	if (table_print(&t, s))
		return -ENOMEM;
	if (a->tools_len > TOOLS_SHOWN)
		screen_line(s, STYLE_DIM, "  and %d more (--json lists all)", a->tools_len - TOOLS_SHOWN);
	return 0;
}

static void part_count(struct para *p, uint64_t n, const char *what)
{
	para_part(p, "%s %s", count_text((double)n), what);
}

static void print_memory(const struct screen *s, const struct recording *r, const struct agent_data *a)
{
	const uint64_t *v = a->metrics.value;
	const struct hist *map = a->metrics.hist[M_MAP_BYTES];
	struct para p;

	if (probe_on(r, PROBE_MEM) &&
	    (v[M_RSS_BYTES] || v[M_RSS_PEAK_BYTES] || v[M_FAULTS_MINOR] || v[M_FAULTS_MAJOR] || (map && map->count))) {
		para_begin(&p, s, "memory");
		if (v[M_RSS_BYTES])
			para_part(&p, "%s resident%s", bytes_text((double)v[M_RSS_BYTES]), a->alive ? "" : " when last seen");
		if (v[M_RSS_PEAK_BYTES])
			para_part(&p, "%s at the peak", bytes_text((double)v[M_RSS_PEAK_BYTES]));
		if (map && map->count)
			para_part(&p, "%s mapped in %s calls", bytes_text((double)map->sum), count_text((double)map->count));
		part_count(&p, v[M_FAULTS_MINOR], "minor faults");
		part_count(&p, v[M_FAULTS_MAJOR], "major");
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
	part_count(&p, v[M_CONNECTS], "connects");
	part_count(&p, v[M_CONNECTS_FAILED], "failed");
	part_count(&p, v[M_ACCEPTS], "accepts");
	part_count(&p, v[M_RETRANSMITS], "retransmits");
	para_end(&p);
}

static void print_switches(const struct screen *s, const struct agent_data *a)
{
	const uint64_t *v = a->metrics.value;
	struct para p;

	if (v[M_SWITCHES_VOLUNTARY] || v[M_SWITCHES_INVOLUNTARY]) {
		para_begin(&p, s, "scheduler");
		part_count(&p, v[M_SWITCHES_VOLUNTARY], "waits");
		part_count(&p, v[M_SWITCHES_INVOLUNTARY], "preemptions");
		part_count(&p, v[M_MIGRATIONS], "migrations");
		para_end(&p);
	}
	if (v[M_FORKS] || v[M_EXECS] || v[M_EXITS]) {
		para_begin(&p, s, "processes");
		part_count(&p, v[M_FORKS], "started");
		part_count(&p, v[M_EXECS], "programs executed");
		part_count(&p, v[M_EXITS], "ended");
		part_count(&p, v[M_EXITS_FAILED], "of them failed");
		if (v[M_PROCESSES] > 1)
			part_count(&p, v[M_PROCESSES], "alive");
		if (v[M_THREADS])
			part_count(&p, v[M_THREADS], v[M_THREADS] == 1 ? "thread" : "threads");
		para_end(&p);
	}
}

static void print_identity(const struct screen *s, const struct recording *r, const struct recording_agent *agent)
{
	const struct agent_data *a = &agent->total;
	double user = (double)a->metrics.value[M_CPU_USER_NS] / 1e9, system = (double)a->metrics.value[M_CPU_SYSTEM_NS] / 1e9;
	char name[CELL_BYTES], fit[4096], how[64];
	struct para p;

	text_fit(name, sizeof(name), agent->info.name, s->width > 60 ? 40 : s->width - 20, s->utf8);
	screen_line(s, STYLE_BOLD, "Agent %d: %s (pid %d)", agent->info.id, name, agent->info.pid);
	if (agent->info.cmdline[0]) {
		text_fit(fit, sizeof(fit), agent->info.cmdline, s->width - 2, s->utf8);
		screen_line(s, STYLE_DIM, "  %s", fit);
	}
	para_begin(&p, s, "observed");
	para_part(&p, "%s", ns_text(a->observed_s * 1e9));
	if (agent->info.has_exit)
		para_part(&p, "ended %s", format_exit(agent->info.exit_code, how, sizeof(how)));
	else
		para_part(&p, "%s", a->alive ? "still alive at the end" : "ended");
	para_end(&p);
	if (probe_on(r, PROBE_SCHED)) {
		para_begin(&p, s, "CPU");
		para_part(&p, "%s user", ns_text(user * 1e9));
		para_part(&p, "%s system", ns_text(system * 1e9));
		if (a->observed_s > 0)
			para_part(&p, "together %.1f %% of one CPU", (user + system) / a->observed_s * 100);
		para_end(&p);
	}
}

static int print_agent(const struct screen *s, const struct recording *r, const struct recording_agent *agent)
{
	const struct agent_data *a = &agent->total;
	int err;

	print_identity(s, r, agent);
	err = print_ledger(s, a);
	if (!err)
		err = print_hists(s, &a->metrics);
	if (!err)
		err = print_tools(s, a);
	fputc('\n', s->out);
	print_memory(s, r, a);
	print_sockets(s, a);
	print_switches(s, a);
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
	} else {
		para_part(&p, "BPF programs not measured (--bpf-stats)");
	}
	para_part(&p, "%s resident", bytes_text((double)o->rss_bytes));
	part_count(&p, o->records, "records");
	para_end(&p);
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

/* A bar of value/most of `width` columns; eighths of a block where the locale has them. */
static void hist_bar(const struct screen *s, double share, int width)
{
	static const char *const eighths[] = { "", "\u258f", "\u258e", "\u258d", "\u258c", "\u258b", "\u258a", "\u2589" };
	int n = (int)(share * width * 8 + 0.5);

	if (n <= 0)
		n = 1;
	style_begin(s, state_colors[STATE_RUNNING]);
	for (int i = 0; i < n / 8; i++)
		fputs(s->utf8 ? "\u2588" : "#", s->out);
	if (s->utf8)
		fputs(eighths[n % 8], s->out);
	else if (n % 8)
		fputc(n / 8 ? (n % 8 >= 4 ? '#' : '.') : '.', s->out);
	style_end(s, state_colors[STATE_RUNNING]);
	fputc('\n', s->out);
}

static void hist_row(const struct screen *s, double low, double high, enum metric_unit unit, uint64_t count, uint64_t most, int digits)
{
	int used = 2 + 9 + 4 + 9 + 2 + digits + 2;

	fprintf(s->out, "  %9s .. %9s  %*ju  ", value_text(low, unit), value_text(high, unit), digits, (uintmax_t)count);
	if (count)
		hist_bar(s, (double)count / (double)most, s->width - used);
	else
		fputc('\n', s->out);
}

/* Coarser and coarser copies until the rows fit; down-scaling is exact, so the counts are too. */
static int print_hist(const struct screen *s, const struct hist *h, enum metric_id m)
{
	enum metric_unit unit = metric_infos[m].unit;
	uint32_t first = 0, end = 0;
	struct hist copy;
	char number[24];
	uint64_t most;
	int err, digits;

	hist_init(&copy);
	err = hist_merge(&copy, h);
	for (int scale = copy.scale; !err; scale--) {
		err = hist_downscale(&copy, scale);
		for (first = 0; first < copy.len && !hist_bucket(&copy, first); first++)
			;
		for (end = copy.len; end > first && !hist_bucket(&copy, end - 1); end--)
			;
		if (end - first + !!copy.zero_count <= HIST_ROWS || scale == HIST_SCALE_MIN)
			break;
	}
	most = copy.zero_count;
	for (uint32_t i = first; i < end; i++)
		if (hist_bucket(&copy, i) > most)
			most = hist_bucket(&copy, i);
	digits = snprintf(number, sizeof(number), "%ju", (uintmax_t)most);
	if (!err && copy.zero_count)
		hist_row(s, 0, 0, unit, copy.zero_count, most, digits);
	for (uint32_t i = first; i < end && !err; i++) {
		int32_t index = copy.offset + (int32_t)i;

		hist_row(s, hist_upper(index - 1, copy.scale), hist_upper(index, copy.scale), unit, hist_bucket(&copy, i), most, digits);
	}
	hist_fini(&copy);
	return err;
}

static int print_agent_hist(const struct screen *s, const struct recording_agent *agent, enum metric_id m)
{
	const struct hist *h = agent->total.metrics.hist[m];
	enum metric_unit unit = metric_infos[m].unit;
	char name[CELL_BYTES];

	text_fit(name, sizeof(name), agent->info.name, s->width > 60 ? 40 : s->width - 20, s->utf8);
	screen_line(s, STYLE_BOLD, "Agent %d: %s (pid %d)", agent->info.id, name, agent->info.pid);
	screen_line(s, 0, "  %s: %s", metric_infos[m].name, metric_infos[m].help);
	if (!h || !h->count) {
		screen_line(s, 0, "  no values");
		return 0;
	}
	screen_line(s, STYLE_DIM, "  %s values, mean %s, p50 %s, p90 %s, p99 %s, max %s", count_text((double)h->count),
		    value_text(hist_mean(h), unit), value_text(hist_quantile(h, 0.5), unit), value_text(hist_quantile(h, 0.9), unit),
		    value_text(hist_quantile(h, 0.99), unit), value_text((double)h->max, unit));
	fputc('\n', s->out);
	return print_hist(s, h, m);
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
	for (int i = 0; i < r->agents_len && !err; i++) {
		if (o->hist >= 0)
			err = print_agent_hist(&s, &r->agents[i], (enum metric_id)o->hist);
		else
			err = print_agent(&s, r, &r->agents[i]);
		fputc('\n', out);
	}
	if (!err && o->hist < 0)
		print_recording(&s, r);
	if (!err && (fflush(out) || ferror(out)))
		err = errno ? -errno : -EIO;
	return err;
}
