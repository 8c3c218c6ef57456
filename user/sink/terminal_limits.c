/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What limits an agent: why it waited for a CPU, where its memory is heading, and what could not be observed. */
#include <math.h>
#include <string.h>

#include "sink/format.h"
#include "sink/terminal_parts.h"

#define RIVALS_SHOWN 5
#define FAR_S (100 * 86400.0) /* a limit that is further off concerns nobody */
#define RUNNABLE_TOLD 0.01 /* of the time observed */

static uint64_t rivals_sum(const struct agent_data *a)
{
	uint64_t sum = a->rivals_other_ns;

	for (int i = 0; i < RIVALS_KEPT; i++)
		sum += a->rivals[i].ns;
	return sum;
}

/* "grep 61 %, make 30 %, others 9 %": whose the CPUs were that the agent waited for. */
static void print_rivals(const struct screen *s, const struct agent_data *a)
{
	double sum = (double)rivals_sum(a), left = sum;
	struct para p;

	if (!(sum > 0))
		return;
	para_begin(&p, s, "who ran");
	for (int i = 0; i < RIVALS_SHOWN && a->rivals[i].ns; i++) {
		char name[sizeof(a->rivals[i].name) + 1] = "";

		memcpy(name, a->rivals[i].name, sizeof(a->rivals[i].name));
		para_part(&p, "%s %.0f %%", name, (double)a->rivals[i].ns / sum * 100);
		left -= (double)a->rivals[i].ns;
	}
	if (left >= 0.005 * sum)
		para_part(&p, "others %.0f %%", left / sum * 100);
	para_end(&p);
}

static double percent_of(uint64_t ns, double observed_s)
{
	return observed_s > 0 ? fmin((double)ns / 1e9 / observed_s, 1) * 100 : 0; /* two clocks are read one after the other */
}

bool agent_starved(const struct agent_data *a)
{
	double runnable_s = (double)a->threads.ns[STATE_RUNNABLE] / 1e9;

	return a->metrics.value[M_THROTTLES] || a->metrics.value[M_THROTTLED_NS] || runnable_s > RUNNABLE_TOLD * a->observed_s;
}

void terminal_limits(const struct screen *s, const struct agent_data *a)
{
	const uint64_t *v = a->metrics.value;
	struct para p;

	if (!agent_starved(a))
		return;
	if (!v[M_THROTTLES] && !v[M_THROTTLED_NS] && !v[M_PRESSURE_CPU_NS] && !v[M_STEAL_NS] && !rivals_sum(a))
		return; /* nothing that tells why */
	fputc('\n', s->out);
	screen_line(s, STYLE_BOLD, "  CPU limits (why it waited for a CPU: %s of all threads)", ns_text((double)a->threads.ns[STATE_RUNNABLE]));
	para_begin(&p, s, "quota");
	if (v[M_THROTTLES] || v[M_THROTTLED_NS]) {
		para_part(&p, "used up in %s periods", count_text((double)v[M_THROTTLES]));
		para_part(&p, "kept off the CPUs for %s", ns_text((double)v[M_THROTTLED_NS]));
	} else {
		para_part(&p, "not reached");
	}
	para_end(&p);
	if (v[M_PRESSURE_CPU_NS]) {
		para_begin(&p, s, "pressure");
		para_part(&p, "some task of its cgroup waited for a CPU during %.1f %% of the time", percent_of(v[M_PRESSURE_CPU_NS], a->observed_s));
		para_end(&p);
	}
	if (v[M_STEAL_NS]) {
		para_begin(&p, s, "stolen");
		para_part(&p, "%s by the hypervisor, of all CPUs", ns_text((double)v[M_STEAL_NS]));
		para_end(&p);
	}
	print_rivals(s, a);
}

/* "reaches its limit of 512 MiB in 5.00 min (4.60 min to 5.50 min)" */
static void para_limit(struct para *p, const struct outlook *o)
{
	if (o->to_limit_s < 0 || o->to_limit_s > FAR_S || o->verdict != OUTLOOK_GROWING)
		return;
	para_part(p, "reaches its limit of %s in %s", bytes_text((double)o->limit_bytes), ns_text(o->to_limit_s * 1e9));
	if (o->to_limit_low_s >= 0 && o->to_limit_high_s >= 0)
		para_part(p, "between %s and %s", ns_text(o->to_limit_low_s * 1e9), ns_text(o->to_limit_high_s * 1e9));
	else if (o->to_limit_low_s >= 0)
		para_part(p, "no sooner than %s", ns_text(o->to_limit_low_s * 1e9));
}

void terminal_outlook(const struct screen *s, const struct outlook *o)
{
	bool growing = o->verdict == OUTLOOK_GROWING;
	double low = growing ? o->low : -o->high, high = growing ? o->high : -o->low;
	struct para p;

	if (!growing && o->verdict != OUTLOOK_SHRINKING)
		return;
	para_begin(&p, s, "outlook");
	para_part(&p, "memory %s by %s/s (%s to %s, 95 %%)", growing ? "grows" : "shrinks", bytes_text(growing ? o->slope : -o->slope), bytes_text(low),
		  bytes_text(high));
	para_limit(&p, o);
	para_end(&p);
}

void terminal_notes(const struct screen *s, const struct agent_data *a)
{
	struct para p;

	for (int i = 0; i < a->notes_len; i++) {
		para_begin(&p, s, i ? "" : "notes");
		para_part(&p, "%s", a->notes[i]);
		para_end(&p);
	}
}
