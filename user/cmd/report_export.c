// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#include "cmd/report_export.h"

#include <errno.h>
#include <string.h>

#include "cmd/options.h"
#include "lib/log.h"
#include "lib/outfile.h"
#include "lib/util.h"

#define SECONDS_MAX 1e9

static bool ends_in(const char *word, const char *end)
{
	size_t len = strlen(word), end_len = strlen(end);

	return len > end_len && !strcmp(word + len - end_len, end);
}

bool export_csv_word(const char *word)
{
	return word && (!strcmp(word, "-") || ends_in(word, ".csv") || ends_in(word, ".csv.gz"));
}

static int rows_named(const char *name, enum export_rows *ret)
{
	char list[128] = "", hint[64];

	for (int i = 0; i < ROWS_COUNT; i++) {
		if (!strcmp(name, export_rows_names[i])) {
			*ret = (enum export_rows)i;
			return 0;
		}
		snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s%s", i ? ", " : "", export_rows_names[i]);
	}
	log_err(0, "no rows of '%s'%s; there are %s", name,
	        name_hint(name, export_rows_names, ROWS_COUNT, hint, sizeof(hint)), list);
	return -EINVAL;
}

int export_option(int option, const char *value, struct export_options *o)
{
	const bool to = option == 'e';

	if (option == 'r')
		return rows_named(value, &o->rows);
	if (!parse_seconds(value, to ? 1e-9 : 0, SECONDS_MAX, to ? &o->to_s : &o->from_s))
		return 0;
	log_err(0, "--%s %s: want seconds since the recording's start%s", to ? "to" : "from", value, to ? ", more than 0" : "");
	return -EINVAL;
}

/* Whether there is anything to write; else says why not. */
static bool found(const struct export *e, const struct recording *r, const char *path, const struct export_options *o)
{
	bool agent = !o->agent;

	for (int i = 0; i < r->agents_len && !agent; i++)
		agent = agent_info_matches(&r->agents[i].info, o->agent);
	if (!agent)
		log_err(0, "%s: no agent '%s' (stakeout report %s shows which there are)", path, o->agent, path);
	else if (!export_intervals(e) && (o->from_s > 0 || o->to_s > 0))
		log_err(0, "%s: no interval lies within --from and --to; it has %.6g s", path, r->duration_s);
	else
		return true;
	return false;
}

/* How the reading ended, as an exit status; -1: well. */
static int read_status(int err, const struct outfile *file, const char *path, const char *out, const char *why)
{
	int wrote = outfile_error(file);

	if (wrote) {
		log_err(wrote, "cannot write %s", strcmp(out, "-") ? out : "to standard output");
		return EXIT_OUTPUT;
	}
	if (err && *why)
		log_err(0, "%s: %s", path, why);
	else if (err)
		log_err(err, "read %s", path);
	return err ? EXIT_USAGE : -1;
}

int report_export(const char *recording, enum export_id format, const char *out, bool force, const struct export_options *o)
{
	struct outfile *file;
	struct export *e;
	struct recording *r = NULL;
	char why[512] = "";
	int err, status;

	file = outfile_open(out, &(struct outfile_options){.force = force}, &err);
	if (err == -EEXIST)
		return log_err(0, "%s is there already; --force overwrites it", out), EXIT_OUTPUT;
	if (!file)
		return log_err(err, "cannot write %s", out), EXIT_OUTPUT;
	e = export_new(format, outfile_stream(file), o);
	err = e ? recording_read(recording, export_interval, e, &r, why, sizeof(why)) : -ENOMEM;
	status = read_status(err, file, recording, out, why);
	if (status < 0 && !found(e, r, recording, o))
		status = EXIT_USAGE;
	if (status < 0) {
		err = export_end(e, r);
		status = err ? read_status(err, file, recording, out, "") : -1;
	}
	export_free(e);
	if (status < 0) {
		err = outfile_commit(file);
		status = err ? EXIT_OUTPUT : EXIT_DONE;
		if (err)
			log_err(err, "cannot write %s", strcmp(out, "-") ? out : "to standard output");
		else if (*r->note)
			log_warn("%s: %s", recording, r->note);
	} else {
		outfile_discard(file);
	}
	recording_free(r);
	return status;
}
