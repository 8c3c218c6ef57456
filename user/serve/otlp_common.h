/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What the OTLP outputs of the daemon, the file and the push, have in common: who tells, and when. */
#ifndef STAKEOUT_SERVE_OTLP_COMMON_H
#define STAKEOUT_SERVE_OTLP_COMMON_H

#include <stdbool.h>

#include "serve/output.h"
#include "sink/otlp.h"

struct otlp_teller {
	const struct live *live;
	struct otlp_label *labels; /* owned, as their strings */
	int labels_len;
	char host_id[64]; /* "": not known */
	struct otlp_peaks peaks;
	double every_s, next_s; /* since the beginning of the watching */
	uint64_t told; /* live->intervals at the newest request */
};

/* 0 or -ENOMEM. */
int otlp_teller_init(struct otlp_teller *t, const struct output_context *c);
/* Other labels and distances from now on; the next request is due no later than it was. 0 or -ENOMEM (nothing changes). */
int otlp_teller_change(struct otlp_teller *t, const struct config *c);
void otlp_teller_fini(struct otlp_teller *t);
/* Takes in the newest interval, and says whether it is one to tell at: every `every_s`, as exactly as intervals allow. */
bool otlp_teller_due(struct otlp_teller *t);
/* Whether there is an interval that has not been told. */
bool otlp_teller_behind(const struct otlp_teller *t);
/* NULL when out of memory. push: as in otlp_context. */
struct otlp_request *otlp_teller_request(struct otlp_teller *t, const struct otlp_push_counts *push);

#endif
