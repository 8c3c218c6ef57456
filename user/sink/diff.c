/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "sink/diff.h"

#include <math.h>
#include <stdio.h>

#include "sink/format.h"

const char *measure_text(enum measure_id measure, double value, char buf[FIGURE_BYTES])
{
	const struct measure_info *info = &measure_infos[measure];

	if (isnan(value))
		snprintf(buf, FIGURE_BYTES, "-");
	else if (info->group == GROUP_MEMORY)
		snprintf(buf, FIGURE_BYTES, "%s", bytes_text(value));
	else if (info->group == GROUP_TIME)
		snprintf(buf, FIGURE_BYTES, "%s", ns_text(value * 1e9));
	else
		snprintf(buf, FIGURE_BYTES, value < 0.0995 ? "%.2f %%" : "%.1f %%", value * 100);
	return buf;
}

const char *change_text(enum measure_id measure, double change, char buf[FIGURE_BYTES])
{
	bool points = measure_infos[measure].group == GROUP_ERRORS;

	if (isnan(change))
		snprintf(buf, FIGURE_BYTES, "-");
	else if (isinf(change))
		snprintf(buf, FIGURE_BYTES, "from 0");
	else if (fabs(change) >= 9.995 && !points)
		snprintf(buf, FIGURE_BYTES, "x %.*f", change < 99.5 ? 1 : 0, change + 1);
	else
		snprintf(buf, FIGURE_BYTES,
		        points                  ? "%+.1f pt"
		        : fabs(change) < 0.0995 ? "%+.1f %%"
		                                : "%+.0f %%",
		        change * 100);
	return buf;
}
