// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* `stakeout report --html`: the page, as a file that is whole or not there. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cmd/report_html.h"
#include "lib/log.h"
#include "lib/util.h"
#include "sink/html.h"

#define PAGE_MODE 0640 /* as a recording's */

/* Under the name beside it, then renamed: a reader, or a failed run, never meets half of a page. */
static int page_write(const char *path, bool force, const struct recording *r, const char *file, const struct outlooks *outlooks, struct html_bins *bins)
{
	_cleanup_free_ char *temp = NULL;
	FILE *out = NULL;
	int err = 0, fd;

	if (asprintf(&temp, "%s.XXXXXX", path) < 0)
		return -ENOMEM;
	fd = mkostemp(temp, O_CLOEXEC);
	if (fd < 0)
		return -errno;
	out = fchmod(fd, PAGE_MODE) ? NULL : fdopen(fd, "w");
	if (!out) {
		err = -errno;
		close(fd);
	}
	if (!err)
		err = html_report(out, r, file, outlooks, bins);
	if (out && fclose(out) && !err)
		err = -errno;
	/* link() does not replace; rename() does */
	if (!err && (force ? rename(temp, path) : link(temp, path)))
		err = -errno;
	if (err || !force)
		unlink(temp);
	return err;
}

static int device_write(int fd, const struct recording *r, const char *file, const struct outlooks *outlooks, struct html_bins *bins)
{
	FILE *out = fd < 0 ? NULL : fdopen(fd, "w");
	int err = out ? html_report(out, r, file, outlooks, bins) : -errno;

	if (out && fclose(out) && !err)
		err = -errno;
	else if (!out && fd >= 0)
		close(fd);
	return err;
}

int report_html(const char *path, bool force, const struct recording *r, const char *file, const struct outlooks *outlooks, struct html_bins *bins)
{
	bool standard = !strcmp(path, "-");
	struct stat st;
	int err;

	if (standard)
		err = device_write(dup(STDOUT_FILENO), r, file, outlooks, bins);
	else if (!stat(path, &st) && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
		err = device_write(open(path, O_WRONLY | O_CLOEXEC), r, file, outlooks, bins);
	else if (!force && !lstat(path, &st))
		err = -EEXIST;
	else
		err = page_write(path, force, r, file, outlooks, bins);
	if (err == -EEXIST)
		log_err(0, "%s is there already; --force overwrites it", path);
	else if (err)
		log_err(err, "cannot write %s", standard ? "the page" : path);
	return err ? EXIT_OUTPUT : EXIT_DONE;
}
