/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include <errno.h>
#include <stdlib.h>

#include "sink/objectives.h"
#include "sink/terminal_parts.h"

int terminal_objectives(const struct screen *s, const struct recording *r, const struct objective_list *l)
{
	_cleanup_free_ struct objective *missed = calloc((size_t)l->len + 1, sizeof(*missed));
	int counts[OBJECTIVE_VERDICTS] = {0}, len = 0;

	if (!missed)
		return -ENOMEM;
	for (int i = 0; i < l->len; i++) {
		counts[l->at[i].verdict]++;
		if (l->at[i].verdict != OBJECTIVE_MISSED)
			continue;
		missed[len] = l->at[i];
		missed[len++].met = 0; /* who met it is for `check` to tell */
	}
	screen_line(s, STYLE_BOLD, "Objectives: %d missed, %d met, %d no data", len, counts[OBJECTIVE_MET],
	        counts[OBJECTIVE_SILENT]);
	if (len && objectives_table(s, missed, len, r->header.start))
		return -ENOMEM;
	fputc('\n', s->out);
	return 0;
}
