/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* How an agent makes its calls: many in place of one, one after another in place of at once, in small parts, again. */
#include "judge/find.h"

#define BURST_LONG 4.5 /* exchanges: five or more; between the buckets of 4 and 5 */
#define BURSTS_MIN 3
#define BURST_REQUEST_BYTES_MAX 4096.0 /* larger ones carry data of their own */
#define CHAINS_MIN 10
#define STALLS_MIN 5
#define SENDS_MANY 8.0 /* for a request, on average */
#define SENDS_PER_S 50.0
#define SEND_BYTES_SMALL 512.0
#define REPEATS_MIN 10
#define REPEATS_SHARE 0.1

/* For what may be as it should be for reasons that can't be seen. */
static enum severity one_lower(enum severity s)
{
	return s > SEVERITY_INFO ? s - 1 : s;
}

static double callee_from(const struct callee *c, enum metric_id m, double from, double *ret_count)
{
	double sum = 0, count = 0, n;

	for (int i = 0; i < c->len; i++) {
		sum += hist_from(c->of[i]->metrics.hist[m], from, &n);
		count += n;
	}
	*ret_count = count;
	return sum;
}

static void burst_judge(struct found *f, const struct callee *c)
{
	enum class_id class = c->of[0]->class;
	double bursts, in_long = callee_from(c, M_BURST_EXCHANGES, BURST_LONG, &bursts), all = callee_sum(c, M_BURST_EXCHANGES);
	double took = all > 0 ? callee_sum(c, M_BURST_NS) * in_long / all : 0, parallel = callee_parallel(f->in->data, c);
	struct finding what = {.id = FINDING_BURST};

	if ((class != CLASS_DB && class != CLASS_CACHE) || bursts < BURSTS_MIN || callee_multiplexed(c) ||
	        callee_quantile(c, M_REQUEST_BYTES, 0.9) > BURST_REQUEST_BYTES_MAX)
		return;
	what.cost_s = a_minute(f->in, took - took / in_long * bursts) / parallel;
	if (parallel > 1) /* of several bursts at once, none can save more than there is */
		what.cost_s = fmin(what.cost_s, a_minute(f->in, (double)f->in->data->concurrency[class].busy_ns) * (1 - bursts / in_long));
	if (what.cost_s < COST_TOLD_S)
		return;
	what.severity = class == CLASS_CACHE ? one_lower(severity_of_cost(&what)) : severity_of_cost(&what);
	callee_subject(c, &what);
	evidence(&what, "%s times, %.0f requests of like size one right after another on average, of %.0f bytes and %s each", count_text(bursts),
	        in_long / bursts, callee_quantile(c, M_REQUEST_BYTES, 0.5), ns_text(took / in_long));
	found_add(f, &what);
}

void find_burst(struct found *f)
{
	struct callee c;

	for (int at = 0; callee_next(f->in->data, &at, &c);)
		burst_judge(f, &c);
}

/* The two peers that stand in most chains, as text; false: there are none. */
static bool chain_peers(const struct agent_data *a, struct finding *first, struct finding *second)
{
	double most[2] = {0, 0};
	struct callee c;

	for (int at = 0; callee_next(a, &at, &c);) {
		double n = callee_value(&c, M_EXCHANGES_SERIAL);

		if (n > most[0]) {
			most[1] = most[0];
			*second = *first;
			most[0] = n;
			callee_subject(&c, first);
		} else if (n > most[1]) {
			most[1] = n;
			callee_subject(&c, second);
		}
	}
	return most[1] > 0;
}

void find_serial(struct found *f)
{
	const struct agent_data *a = f->in->data;
	double chains = own_count(a, M_SERIAL_SAVED_NS), saved = own_sum(a, M_SERIAL_SAVED_NS), calls = own_value(a, M_EXCHANGES_SERIAL);
	struct finding what = {.id = FINDING_SERIAL, .cost_s = a_minute(f->in, saved)}, first = {0}, second = {0};

	if (chains < CHAINS_MIN || what.cost_s < COST_TOLD_S || !chain_peers(a, &first, &second))
		return;
	what.severity = one_lower(severity_of_cost(&what));
	evidence(&what, "%s times, %.1f calls to different peers one right after another on average, mostly %.80s and %.80s; at once they would take %s less each time",
	        count_text(chains), calls / chains, first.subject, second.subject, ns_text(saved / chains));
	found_add(f, &what);
}

static void stalls_judge(struct found *f, const struct callee *c)
{
	double stalls = callee_count(c, M_ACK_STALL_NS), took = callee_sum(c, M_ACK_STALL_NS), requests = callee_count(c, M_REQUEST_SENDS);
	double sends = callee_sum(c, M_REQUEST_SENDS), bytes = callee_sum(c, M_REQUEST_BYTES);
	struct finding what = {.id = FINDING_SMALL_WRITES, .cost_s = a_minute(f->in, took) / callee_parallel(f->in->data, c)};

	callee_subject(c, &what);
	if (stalls >= STALLS_MIN && what.cost_s >= COST_TOLD_S) {
		what.severity = severity_of_cost(&what);
		evidence(&what, "%s of %s requests lay in the sender's queue for %s on average: made in %.1f sends, the last waited until the first was acknowledged",
		        count_text(stalls), count_text(requests), ns_text(took / stalls), sends / requests);
	} else if (requests >= REPEATS_MIN && sends >= SENDS_MANY * requests && sends >= SENDS_PER_S * f->in->seconds && bytes < SEND_BYTES_SMALL * sends) {
		what.cost_s = 0;
		what.severity = SEVERITY_INFO;
		evidence(&what, "a request was made in %.0f sends of %.0f bytes on average, %.0f sends a second", sends / requests, bytes / sends,
		        sends / f->in->seconds);
	} else {
		return;
	}
	found_add(f, &what);
}

void find_small_writes(struct found *f)
{
	struct callee c;

	for (int at = 0; callee_next(f->in->data, &at, &c);)
		stalls_judge(f, &c);
}

static void repeats_judge(struct found *f, const struct callee *c)
{
	enum class_id class = c->of[0]->class;
	double repeated = callee_value(c, M_REQUESTS_REPEATED), all = callee_value(c, M_EXCHANGES), took = callee_sum(c, M_REPEATED_NS);
	struct finding what = {.id = FINDING_REPEATS, .cost_s = a_minute(f->in, took) / callee_parallel(f->in->data, c)};

	if (repeated < REPEATS_MIN || repeated < REPEATS_SHARE * all || what.cost_s < COST_TOLD_S)
		return;
	what.severity = severity_of_cost(&what);
	if (class == CLASS_DB || class == CLASS_CACHE) /* begin, commit, and the like */
		what.severity = one_lower(what.severity);
	callee_subject(c, &what);
	evidence(&what, "%s of %s requests were the same, byte for byte, as an earlier one to that peer; a repeat took %s on average", count_text(repeated),
	        count_text(all), ns_text(took / repeated));
	found_add(f, &what);
}

void find_repeats(struct found *f)
{
	struct callee c;

	for (int at = 0; callee_next(f->in->data, &at, &c);)
		repeats_judge(f, &c);
}
