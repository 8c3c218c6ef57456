/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What calls to peers take that they need not: connecting, the network, the peer itself. */
#include "judge/find.h"

#define REUSE_CONNECTS_MIN 5
#define REUSE_A_CONNECT_MAX 4.0 /* exchanges: who makes more of them on a connection has a pool, be it a small one */
#define REUSE_RARE_S 30.0 /* what is called less often than this may find an idle connection closed */
#define CHURN_CONNECTS_MIN 20 /* so many, and so often, that they are worth a word though they take no time */
#define CHURN_PER_S 2.0
#define CHURN_A_CONNECT_MAX 1.5

/*
 * What a round trip takes is told by connects (which a busy machine delays), and by the kernel's smoothed times (rtt_ns), which have acknowledgements in them that
 * the peer holds back for up to 40 ms (Linux), or 200 (others), in the hope of an answer to send them with. Both are too long if anything, and no answer comes
 * sooner than a round trip: so it is the least of the three.
 */
#define ROUND_TRIPS_MIN 10 /* exchanges */
#define FAR_NS 10e6
#define FAR_SHARE 0.5 /* of the time to the first byte */

#define RETRANSMITS_MIN 5
#define RETRANSMITS_SHARE 0.01 /* of sends */
#define RETRANSMIT_NS 200e6 /* the least time after which Linux sends again */

#define SLOW_EXCHANGES_MIN 5
#define SLOW_PEER_SHARE 0.2 /* of the time, by all calls to it */

#define GAPS_MIN 30
#define STALL_NS 500e6
#define STALL_TIMES 10.0 /* the median gap */
#define STALLS_MIN 2

/* From where on a median time to the first byte is slow. */
static const double slow_ns[CLASS_COUNT] = {
        [CLASS_LLM] = 1000e6,
        [CLASS_DB] = 100e6,
        [CLASS_CACHE] = 20e6,
        [CLASS_VECTOR] = 200e6,
        [CLASS_HTTP] = 500e6,
        [CLASS_OTHER] = 500e6,
};

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

/* A round trip to the peer, ns; 0: not known. */
static double round_trip(const struct callee *c)
{
	double connect = callee_quantile(c, M_CONNECT_NS, 0.5), smoothed = callee_quantile(c, M_RTT_NS, 0.5),
	       first = callee_quantile(c, M_TTFB_NS, 0);

	if (!(connect > 0))
		return 0;
	if (smoothed > 0 && smoothed < connect)
		connect = smoothed;
	return first > 0 && first < connect ? first : connect;
}

static void network_judge(struct found *f, const struct callee *c)
{
	double exchanges = callee_count(c, M_TTFB_NS), ttfb = callee_quantile(c, M_TTFB_NS, 0.5), trip = round_trip(c);
	struct finding what = {.id = FINDING_SLOW_NETWORK};

	if (exchanges < ROUND_TRIPS_MIN || trip < FAR_NS || trip < FAR_SHARE * ttfb)
		return;
	what.cost_s = a_minute(f->in, trip * exchanges) / callee_parallel(f->in->data, c);
	if (what.cost_s < COST_TOLD_S)
		return;
	what.severity = severity_of_cost(&what);
	callee_subject(c, &what);
	evidence(&what, "a round trip takes %s, of %s to the first byte (medians); %s requests", ns_text(trip), ns_text(ttfb),
	        count_text(exchanges));
	found_add(f, &what);
}

static void retransmits_judge(struct found *f, const struct callee *c)
{
	double lost = callee_value(c, M_RETRANSMITS), requests = callee_value(c, M_EXCHANGES), held = 0, long_ns = 0;
	struct finding what = {.id = FINDING_RETRANSMITS};

	if (lost < RETRANSMITS_MIN || lost < RETRANSMITS_SHARE * requests || callee_local(c))
		return;
	for (int i = 0; i < c->len; i++) {
		double count;

		long_ns += hist_from(c->of[i]->metrics.hist[M_EXCHANGE_NS], RETRANSMIT_NS, &count);
		held += count;
	}
	/* What is noticed by later segments costs a round trip only: no more are counted than calls that took so long. */
	what.cost_s = a_minute(f->in, fmin(lost, held) * RETRANSMIT_NS) / callee_parallel(f->in->data, c);
	if (what.cost_s < COST_TOLD_S)
		return;
	what.severity = severity_of_cost(&what);
	callee_subject(c, &what);
	evidence(&what,
	        "%s segments were sent again, in %s requests; %s of these took 200 ms or longer, the least time after which "
	        "Linux sends again (%s on average)",
	        count_text(lost), count_text(requests), count_text(held), ns_text(long_ns / held));
	found_add(f, &what);
}

static void peer_judge(struct found *f, const struct callee *c)
{
	double exchanges = callee_count(c, M_TTFB_NS), ttfb = callee_quantile(c, M_TTFB_NS, 0.5),
	       sum = callee_sum(c, M_TTFB_NS), trip = round_trip(c);
	struct finding what = {.id = FINDING_SLOW_PEER, .severity = SEVERITY_INFO};

	if (exchanges < SLOW_EXCHANGES_MIN || ttfb < slow_ns[c->of[0]->class] || trip > FAR_SHARE * ttfb)
		return;
	what.cost_s = a_minute(f->in, sum) / callee_parallel(f->in->data, c);
	if (what.cost_s < SLOW_PEER_SHARE * 60)
		return;
	callee_subject(c, &what);
	if (trip > 0)
		evidence(&what,
		        "%s to the first byte (median of %s), of which a round trip of the network is %s; %.0f %% of the time "
		        "went to that",
		        ns_text(ttfb), count_text(exchanges), ns_text(trip), what.cost_s / 60 * 100);
	else
		evidence(&what, "%s to the first byte (median of %s); %.0f %% of the time went to that", ns_text(ttfb),
		        count_text(exchanges), what.cost_s / 60 * 100);
	found_add(f, &what);
}

/* Of models only: other streams may have nothing to say. */
static void stalls_judge(struct found *f, const struct callee *c)
{
	double gaps = callee_count(c, M_CHUNK_GAP_NS), median = callee_quantile(c, M_CHUNK_GAP_NS, 0.5), stalls = 0, sum = 0;
	struct finding what = {.id = FINDING_STALLS};

	if (c->of[0]->class != CLASS_LLM || gaps < GAPS_MIN)
		return;
	for (int i = 0; i < c->len; i++) {
		double count;

		sum += hist_from(c->of[i]->metrics.hist[M_CHUNK_GAP_NS], fmax(STALL_NS, STALL_TIMES * median), &count);
		stalls += count;
	}
	what.cost_s = a_minute(f->in, sum - stalls * median) / callee_parallel(f->in->data, c);
	if (stalls < STALLS_MIN || what.cost_s < COST_TOLD_S)
		return;
	what.severity = severity_of_cost(&what);
	callee_subject(c, &what);
	evidence(&what,
	        "%s of %s gaps between the parts of its answers were stalls, of %s on average, where a gap is %s (median)",
	        count_text(stalls), count_text(gaps), ns_text(sum / stalls), ns_text(median));
	found_add(f, &what);
}

static void each_callee(struct found *f, void (*judge)(struct found *, const struct callee *))
{
	struct callee c;

	for (int at = 0; callee_next(f->in->data, &at, &c);)
		judge(f, &c);
}

void find_reuse(struct found *f)
{
	each_callee(f, reuse_judge);
}

void find_slow_network(struct found *f)
{
	each_callee(f, network_judge);
}

void find_retransmits(struct found *f)
{
	each_callee(f, retransmits_judge);
}

void find_slow_peer(struct found *f)
{
	each_callee(f, peer_judge);
}

void find_stalls(struct found *f)
{
	each_callee(f, stalls_judge);
}
