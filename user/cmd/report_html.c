// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* `stakeout report --html`: the page, as a file that is whole or not there. */
#include "cmd/report_html.h"

#include <errno.h>
#include <string.h>

#include "lib/log.h"
#include "lib/outfile.h"
#include "lib/util.h"
#include "sink/html.h"

int report_html(const char *path, bool force, const struct recording *r, const char *file, const struct outlooks *outlooks, const struct objective_list *objectives,
	const struct trend_list *trends, struct html_bins *bins)
{
	int err;
	struct outfile *out = outfile_open(path, &(struct outfile_options){.force = force}, &err);

	if (out)
		err = html_report(outfile_stream(out), r, file, outlooks, objectives, trends, bins);
	err = outfile_end(out, err);
	if (err == -EEXIST)
		log_err(0, "%s is there already; --force overwrites it", path);
	else if (err)
		log_err(err, "cannot write %s", strcmp(path, "-") ? path : "the page");
	return err ? EXIT_OUTPUT : EXIT_DONE;
}
