/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Made-up agents for the tests of findings. */
#ifndef LIB_FINDINGS_H
#define LIB_FINDINGS_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "judge/finding.h"

#define MS 1000000.0
#define SECONDS 60.0 /* of watching: costs a minute are sums */
#define FOUND_MAX 16

struct made { /* an agent that was watched for a minute on a machine of 2 CPUs */
	struct agent_data data;
	struct outlook memory;
	struct finding_input in;
	struct finding found[FOUND_MAX];
	int len;
};

static inline void made_init(struct made *m)
{
	memset(m, 0, sizeof(*m));
	m->data.observed_s = SECONDS;
	m->in = (struct finding_input){.data = &m->data, .seconds = SECONDS, .cpus = 2};
}

static inline void made_fini(struct made *m)
{
	agent_data_fini(&m->data);
}

static inline void made_values(struct metric_set *s, enum metric_id metric, unsigned n, double value)
{
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(metric_record(s, metric, (uint64_t)value), 0);
}

/* A peer that the agent calls; what it did is added to the agent's own figures by the caller, where a finding looks at them. */
static inline struct metric_set *made_peer(struct made *m, const char *address, const char *name, enum class_id class)
{
	struct peer_data *p = agent_data_peer(&m->data, false, address, name);

	assert_non_null(p);
	p->class = class;
	return &p->metrics;
}

/* How many findings of this kind there are, the first of them in m->found[0] if there are no others. */
static inline int made_judge(struct made *m, enum finding_id id)
{
	int n = 0;

	m->len = findings_judge(&m->in, m->found, FOUND_MAX);
	for (int i = 0; i < m->len; i++)
		n += m->found[i].id == id;
	return n;
}

static inline const struct finding *made_finding(const struct made *m, enum finding_id id)
{
	for (int i = 0; i < m->len; i++)
		if (m->found[i].id == id)
			return &m->found[i];
	fail_msg("no finding %s", finding_infos[id].name);
	return NULL;
}

#define assert_near(value, wanted) assert_true((value) > (wanted)*0.97 && (value) < (wanted)*1.03)

#endif
