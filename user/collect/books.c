/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "collect/books.h"

#include <string.h>

static uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t take(uint64_t *from, uint64_t n)
{
	n = min_u64(*from, n);
	*from -= n;
	return n;
}

static uint64_t minus(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

void books_post(struct books *b, uint64_t base_ns, uint64_t now_ns, uint64_t runq_ns, uint64_t stint_ns, uint64_t boundary_ns, struct posting ret[2])
{
	uint64_t gap, wait, from, left, excess;
	struct posting p = {};

	memset(ret, 0, 2 * sizeof(*ret));
	base_ns = min_u64(base_ns, now_ns); /* a gap longer than the clock has run wraps around */
	if (!b->until_ns)
		b->until_ns = base_ns;
	if (now_ns <= b->until_ns)
		return;
	if (base_ns != b->base_ns) {
		b->base_ns = base_ns;
		b->wait_ns = b->runq_ns = b->stint_ns = 0;
		/* The cycle before was posted up to a moment within this one only if records are out of order. */
		if (base_ns < b->until_ns)
			b->wait_ns = b->until_ns - base_ns;
	}
	if (base_ns > b->until_ns)
		p.hole = base_ns - b->until_ns;

	/* The scheduler's clock and ours differ by parts in a million: the gap rules. */
	gap = now_ns - base_ns;
	stint_ns = min_u64(stint_ns, gap);
	runq_ns = min_u64(runq_ns, gap - stint_ns);
	wait = gap - stint_ns - runq_ns;

	p.wait = minus(wait, b->wait_ns);
	p.runq = minus(runq_ns, b->runq_ns);
	p.stint = minus(stint_ns, b->stint_ns);
	/* Where one part was posted too high before, the others pay. */
	left = now_ns - b->until_ns - p.hole;
	excess = minus(p.wait + p.runq + p.stint, left);
	excess -= take(&p.wait, excess);
	excess -= take(&p.runq, excess);
	take(&p.stint, excess);
	p.wait += left - (p.wait + p.runq + p.stint);

	b->wait_ns += p.wait;
	b->runq_ns += p.runq;
	b->stint_ns += p.stint;
	from = b->until_ns;
	b->until_ns = now_ns;

	left = from < boundary_ns ? min_u64(boundary_ns, now_ns) - from : 0;
	ret[0].hole = take(&p.hole, left);
	left -= ret[0].hole;
	ret[0].wait = take(&p.wait, left);
	left -= ret[0].wait;
	ret[0].runq = take(&p.runq, left);
	left -= ret[0].runq;
	ret[0].stint = take(&p.stint, left);
	ret[1] = p;
}
