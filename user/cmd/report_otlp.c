// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* `stakeout report --otlp`: OpenTelemetry metrics, in a file that is whole or not there. */
#include "cmd/report_otlp.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/log.h"
#include "lib/util.h"
#include "sink/otlp_lines.h"

#define LINES_MODE 0640 /* as a recording's */

/* Reads the recording again: what its intervals say of an agent can be told once it is known who that is. Closes fd. */
static int lines_write(int fd, const struct recording *r, const char *file)
{
	FILE *out = fdopen(fd, "w");
	struct recording *again = NULL;
	struct otlp_lines lines;
	char why[512];
	int err;

	if (!out)
		return close(fd), -ENOMEM;
	otlp_lines_init(&lines, out, r);
	err = recording_read(file, otlp_lines_interval, &lines, &again, why, sizeof(why));
	if (!err)
		err = otlp_lines_end(&lines);
	if (fclose(out) && !err)
		err = -errno;
	recording_free(again);
	otlp_lines_fini(&lines);
	return err;
}

/* Under a name beside it first: nobody meets half of it. */
static int file_write(const char *path, bool force, const struct recording *r, const char *file)
{
	_cleanup_free_ char *temp = NULL;
	int err, fd;

	if (asprintf(&temp, "%s.XXXXXX", path) < 0)
		return -ENOMEM;
	fd = mkostemp(temp, O_CLOEXEC);
	if (fd < 0)
		return -errno;
	err = fchmod(fd, LINES_MODE) ? -errno : 0;
	if (err)
		close(fd);
	else
		err = lines_write(fd, r, file);
	if (!err && (force ? rename(temp, path) : link(temp, path))) /* link() does not replace */
		err = -errno;
	if (err || !force)
		unlink(temp);
	return err;
}

int report_otlp(const char *path, bool force, const struct recording *r, const char *file)
{
	bool standard = !strcmp(path, "-");
	struct stat st;
	int err, fd;

	if (standard || (!stat(path, &st) && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))) {
		fd = standard ? dup(STDOUT_FILENO) : open(path, O_WRONLY | O_CLOEXEC);
		err = fd < 0 ? -errno : lines_write(fd, r, file);
	} else if (!force && !lstat(path, &st)) {
		err = -EEXIST;
	} else {
		err = file_write(path, force, r, file);
	}
	if (err == -EEXIST)
		log_err(0, "%s is there already; --force overwrites it", path);
	else if (err)
		log_err(err, "cannot write %s", standard ? "to standard output" : path);
	return err ? EXIT_OUTPUT : EXIT_DONE;
}
