// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* `stakeout merge`: recordings of many hosts, or of many hours, as one. */
#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cmd/cmd.h"
#include "cmd/usage.h"
#include "lib/log.h"
#include "lib/util.h"
#include "model/fleet.h"

#define THREADS_MAX 64
#define DESCRIPTORS_SPARE 64 /* for all but the recordings */

struct merge_options {
	const char *output;
	bool force, quiet;
	struct fleet_options fleet;
};

static int help(void)
{
	printf("Usage: stakeout merge FILE.. -o OUT [OPTIONS]\n\n"
	       "Sums recordings of many hosts, or of many hours, into one that `report`, and a\n"
	       "later `merge`, read like any other. Counters, histograms, ledgers, tools, peers\n"
	       "and stacks add up exactly. Intervals are laid on one grid of wall-clock time: each\n"
	       "counts whole where its middle lies. Agents of one name are one agent.\n"
	       "FILE may be compressed (gzip); `-` is standard input.\n\n"
	       "  -o OUT          the sum; `.gz` compresses, `-` is standard output\n"
	       "  --apart         keep agents of different hosts apart, as HOST/NAME\n"
	       "  --force         overwrite OUT\n"
	       "  --threads N     read with N threads, 1 to %d (else one a CPU)\n"
	       "  -q              say nothing of files that are cut off or differ\n"
	       "  -h, --help      this text\n\n"
	       "Exit status: 0 done, also where a file was cut off (that is said); 2 usage, or a\n"
	       "file that can't be read: nothing is written then; 5 OUT could not be written.\n",
	        THREADS_MAX);
	return EXIT_DONE;
}

/* -1 to go on, or the exit status to end with. */
static int parse(int argc, char **argv, struct merge_options *o)
{
	static const struct option rows[] = {
	        {"apart", no_argument, NULL, 'a'},
	        {"force", no_argument, NULL, 'f'},
	        {"help", no_argument, NULL, 'h'},
	        {"threads", required_argument, NULL, 't'},
	        {"output", required_argument, NULL, 'o'},
	        {0},
	};
	long long threads;
	int c;

	opterr = 0;
	optind = 0; /* getopt's state starts afresh */
	while ((c = getopt_long(argc, argv, ":ho:q", rows, NULL)) != -1) {
		switch (c) {
		case 'a':
			o->fleet.apart = true;
			break;
		case 'f':
			o->force = true;
			break;
		case 'o':
			o->output = optarg;
			break;
		case 'q':
			o->quiet = true;
			break;
		case 't':
			if (parse_int(optarg, 1, THREADS_MAX, &threads)) {
				log_err(0, "--threads %s: want a number from 1 to %d", optarg, THREADS_MAX);
				return EXIT_USAGE;
			}
			o->fleet.threads = (int)threads;
			break;
		case 'h':
			return help();
		default:
			return usage_bad_option(argv, c);
		}
	}
	if (optind == argc)
		return log_err(0, "merge needs the names of recordings (see stakeout merge --help)"), EXIT_USAGE;
	if (!o->output || !*o->output)
		return log_err(0, "merge needs -o OUT, the file to write (see stakeout merge --help)"), EXIT_USAGE;
	return -1;
}

struct identity {
	dev_t dev;
	ino_t ino;
	const char *path;
};

static int identity_compare(const void *a, const void *b)
{
	const struct identity *x = a, *y = b;

	if (x->dev != y->dev)
		return x->dev < y->dev ? -1 : 1;
	return (x->ino > y->ino) - (x->ino < y->ino);
}

/* The same file under two names, OUT among them, is a mistake. -1 to go on. */
static int files_distinct(char **paths, int len, const struct merge_options *o)
{
	_cleanup_free_ struct identity *ids = calloc((size_t)len + 1, sizeof(*ids));
	int n = 0, inputs = 0;
	struct stat st;

	if (!ids)
		return log_err(-ENOMEM, "cannot start"), EXIT_USAGE;
	for (int i = 0; i < len; i++) {
		inputs += !strcmp(paths[i], "-");
		if (strcmp(paths[i], "-") && !stat(paths[i], &st) && S_ISREG(st.st_mode))
			ids[n++] = (struct identity){st.st_dev, st.st_ino, paths[i]};
	}
	if (inputs > 1)
		return log_err(0, "`-`, standard input, can be named once only"), EXIT_USAGE;
	if (!stat(o->output, &st) && S_ISREG(st.st_mode) && strcmp(o->output, "-"))
		for (int i = 0; i < n; i++)
			if (ids[i].dev == st.st_dev && ids[i].ino == st.st_ino)
				return log_err(0, "%s is one of the files to read: name another one with -o", o->output),
				       EXIT_USAGE;
	qsort(ids, (size_t)n, sizeof(*ids), identity_compare);
	for (int i = 1; i < n; i++)
		if (!identity_compare(&ids[i], &ids[i - 1]))
			return log_err(0, "%s and %s are the same file: it would count twice", ids[i - 1].path, ids[i].path),
			       EXIT_USAGE;
	return -1;
}

static void on_note(void *ctx, const char *path, const char *note)
{
	const struct merge_options *o = ctx;

	if (!o->quiet)
		log_err(0, "%s: %s", path, note);
}

static int merge(char **paths, int len, const struct merge_options *o)
{
	int err;
	struct recording_writer *w = recording_open_whole(o->output, o->force, &err);
	const char *failed = NULL;
	struct fleet_result result;
	char why[512] = "";

	if (err == -EEXIST)
		return log_err(0, "%s is there already; --force overwrites it", o->output), EXIT_OUTPUT;
	if (!w)
		return log_err(err, "cannot write %s", o->output), EXIT_OUTPUT;
	err = fleet_merge(
	        (const char *const *)paths, len, &o->fleet, w, on_note, (void *)o, &result, &failed, why, sizeof(why));
	if (err && *why) {
		log_err(0, "%s%s%s", failed ? failed : "", failed ? ": " : "", why);
		recording_discard(w);
		return EXIT_USAGE;
	}
	if (err)
		recording_discard(w);
	else
		err = recording_close(w);
	if (err)
		return log_err(err, "cannot write %s", o->output), EXIT_OUTPUT;
	if (!o->quiet && strcmp(o->output, "-"))
		fprintf(stderr, "stakeout: %d files of %d hosts, %d agents, %llu intervals as %llu of %g s: %s\n", result.files,
		        result.hosts, result.agents, (unsigned long long)result.intervals_read,
		        (unsigned long long)result.intervals_written, result.interval_s, o->output);
	return EXIT_DONE;
}

int cmd_merge(int argc, char **argv)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	struct merge_options o = {.fleet = {.threads = cpus < 1             ? 1
	                                               : cpus > THREADS_MAX ? THREADS_MAX
	                                                                    : (int)cpus,
	                                  .window_bytes = FLEET_WINDOW_BYTES}};
	int status = parse(argc, argv, &o), files = argc - optind;

	if (status < 0)
		status = files_distinct(argv + optind, files, &o);
	if (status >= 0)
		return status;
	o.fleet.close_files = descriptors_reach((uint64_t)files + DESCRIPTORS_SPARE, NULL) < 0;
	if (o.fleet.threads > files)
		o.fleet.threads = files;
	return merge(argv + optind, files, &o);
}
