// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* `stakeout report --otlp`: OpenTelemetry metrics, in a file that is whole or not there. */
#include "cmd/report_otlp.h"

#include <errno.h>
#include <string.h>

#include "lib/log.h"
#include "lib/outfile.h"
#include "lib/util.h"
#include "sink/otlp_lines.h"

/* Reads the recording again: what its intervals say of an agent can be told once it is known who that is. */
static int lines_write(FILE *out, const struct recording *r, const char *file)
{
	struct recording *again = NULL;
	struct otlp_lines lines;
	char why[512];
	int err;

	otlp_lines_init(&lines, out, r);
	err = recording_read(file, otlp_lines_interval, &lines, &again, why, sizeof(why));
	if (!err)
		err = otlp_lines_end(&lines);
	recording_free(again);
	otlp_lines_fini(&lines);
	return err;
}

int report_otlp(const char *path, bool force, const struct recording *r, const char *file)
{
	int err;
	struct outfile *out = outfile_open(path, &(struct outfile_options){.force = force}, &err);

	if (out)
		err = lines_write(outfile_stream(out), r, file);
	err = outfile_end(out, err);
	if (err == -EEXIST)
		log_err(0, "%s is there already; --force overwrites it", path);
	else if (err)
		log_err(err, "cannot write %s", strcmp(path, "-") ? path : "to standard output");
	return err ? EXIT_OUTPUT : EXIT_DONE;
}
