/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What calls to peers take that they need not: connecting, the network, the peer itself. */
#include "judge/find.h"

#define REUSE_CONNECTS_MIN 5
#define REUSE_A_CONNECT_MAX 4.0 /* exchanges: who makes more of them on a connection has a pool, be it a small one */
#define REUSE_RARE_S 30.0 /* what is called less often than this may find an idle connection closed */
#define CHURN_CONNECTS_MIN 20 /* so many, and so often, that they are worth a word though they take no time */
#define CHURN_PER_S 2.0
#define CHURN_A_CONNECT_MAX 1.5

/* A tool that ends takes its connections with it: what they opened is taken off, from each peer alike since it isn't known from which. */
static double own_connects(const struct agent_data *a, const struct callee *c)
{
	double all = callee_value(c, M_CONNECTS), tools = (double)a->metrics.value[M_CONNECTS] - own_value(a, M_CONNECTS);

	return all > tools ? all - tools : 0;
}

static void reuse_judge(struct found *f, const struct callee *c)
{
	const struct agent_data *a = f->in->data;
	double connects = callee_value(c, M_CONNECTS), own = own_connects(a, c), exchanges = callee_value(c, M_EXCHANGES);
	double pool = fmax(1, (double)a->concurrency[c->of[0]->class].max), spare = own - pool;
	double took = callee_sum(c, M_CONNECT_NS), shook = callee_sum(c, M_HANDSHAKE_NS);
	double handshakes = callee_count(c, M_HANDSHAKE_NS);
	struct finding what = {.id = FINDING_REUSE};

	if (own < REUSE_CONNECTS_MIN || spare < 1 || exchanges < 1 || exchanges > REUSE_A_CONNECT_MAX * connects ||
	        callee_multiplexed(c) || f->in->seconds > own * REUSE_RARE_S)
		return;
	what.cost_s = a_minute(f->in, (took + shook) / connects * spare) / callee_parallel(a, c);
	if (what.cost_s < COST_TOLD_S &&
	        (own < CHURN_CONNECTS_MIN || own < CHURN_PER_S * f->in->seconds || exchanges > CHURN_A_CONNECT_MAX * connects))
		return;
	what.severity = severity_of_cost(&what);
	callee_subject(c, &what);
	if (handshakes > 0)
		evidence(&what,
		        "%s connects for %s requests, where %.0f open at once would do; on average a connect took %s and a TLS "
		        "handshake %s",
		        count_text(connects), count_text(exchanges), pool, ns_text(took / connects),
		        ns_text(shook / handshakes));
	else
		evidence(&what, "%s connects for %s requests, where %.0f open at once would do; on average a connect took %s",
		        count_text(connects), count_text(exchanges), pool, ns_text(took / connects));
	found_add(f, &what);
}

void find_reuse(struct found *f)
{
	struct callee c;

	for (int at = 0; callee_next(f->in->data, &at, &c);)
		reuse_judge(f, &c);
}
