/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Threads that look again and again whether there is something to do. */
#include <string.h>

#include "judge/find.h"

#define WAKES_MIN 50
#define SPINS_MIN 10
#define WAKE_CPU_MAX_NS 200000.0 /* who runs for longer each time does something: periodic work */
#define POLLING_TOLD_S 0.6 /* of CPU a minute: 1 % */

static void polling_judge(struct found *f, const struct waker *w)
{
	struct finding what = {.id = FINDING_POLLING, .cost_cpu_s = a_minute(f->in, (double)w->cpu_ns)};
	char name[sizeof(w->name) + 1] = "";

	if (w->wakes < (w->gaps_ns ? WAKES_MIN : SPINS_MIN) || what.cost_cpu_s < POLLING_TOLD_S)
		return;
	if (w->gaps_ns && (double)w->cpu_ns > WAKE_CPU_MAX_NS * (double)w->wakes)
		return;
	memcpy(name, w->name, sizeof(w->name));
	what.severity = severity_of_cost(&what);
	subject(&what, "thread %s", name);
	if (w->gaps_ns)
		evidence(&what, "woke every %s, %s times, by a timer and did nothing: %s on a CPU each time", ns_text((double)w->gaps_ns / (double)w->wakes),
		        count_text((double)w->wakes), ns_text((double)w->cpu_ns / (double)w->wakes));
	else
		evidence(&what, "found in a poll that does not wait %s times (a sample each), %s on a CPU", count_text((double)w->wakes),
		        ns_text((double)w->cpu_ns));
	found_add(f, &what);
}

void find_polling(struct found *f)
{
	const struct waker *w = f->in->data->wakers;

	for (; w < f->in->data->wakers + WAKERS_KEPT && w->wakes; w++)
		polling_judge(f, w);
}
