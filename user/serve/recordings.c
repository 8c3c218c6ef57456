/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "serve/recordings.h"

#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lib/log.h"
#include "lib/timestamp.h"
#include "lib/util.h"
#include "model/recording_sum.h"
#include "serve/file_stacks.h"

#define DIRECTORY_MODE 0750
#define FILE_AGENTS_MAX 20000 /* of one file: readers take no more than 65,536, and their sums take memory */
#define TIDY_S 60 /* files that are too old, or too many, are looked for so often */
#define SAME_SECOND_MAX 1000 /* files of one second */

struct recordings {
	struct config_recordings conf; /* its directory is a copy */
	uint64_t start_ns;
	struct recording_writer *writer; /* NULL: no file is open */
	char path[4096];
	double base_s; /* where the file begins, since start_ns */
	uint64_t intervals; /* in the file */
	struct recording sum; /* of them: its total */
	struct totals totals;
	struct file_stacks stacks;
	uint64_t missed, missed_told;
	double tidied_s;
	uint64_t others_bytes; /* of the files that were there when it was tidied last, without the open one */
};

uint64_t recordings_missed(const struct recordings *r)
{
	return r->missed;
}

/* --- the directory --- */

static bool is_recording(const char *name)
{
	return !fnmatch("stakeout-[0-9]*.ndjson", name, 0) || !fnmatch("stakeout-[0-9]*.ndjson.gz", name, 0);
}

static int recording_filter(const struct dirent *e)
{
	return is_recording(e->d_name);
}

/* Names tell the time: alphasort() would go by the locale. */
static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

struct file {
	char path[4096 + 256];
	uint64_t bytes;
	double age_s; /* since it was written to */
};

/* false: it is none of ours to remove. */
static bool file_look(const struct recordings *r, const char *name, struct file *f)
{
	struct stat st;

	snprintf(f->path, sizeof(f->path), "%s/%s", r->conf.directory, name);
	if (lstat(f->path, &st) || !S_ISREG(st.st_mode) || (r->writer && !strcmp(f->path, r->path)))
		return false;
	f->bytes = (uint64_t)st.st_blocks * 512 > (uint64_t)st.st_size ? (uint64_t)st.st_blocks * 512 : (uint64_t)st.st_size; /* what a disk has to give for it */
	f->age_s = difftime(time(NULL), st.st_mtime);
	return true;
}

/* Removes files that are too old, then the oldest until all have room. */
static void tidy(struct recordings *r)
{
	uint64_t open_bytes = r->writer ? recording_bytes(r->writer) : 0;
	struct dirent **names;
	struct file f;
	int n = scandir(r->conf.directory, &names, recording_filter, by_name);

	if (n < 0)
		return;
	r->others_bytes = 0;
	for (int i = 0; i < n; i++)
		if (file_look(r, names[i]->d_name, &f))
			r->others_bytes += f.bytes;
	for (int i = 0; i < n; i++) {
		bool crowded = r->others_bytes + open_bytes > r->conf.max_bytes;

		if (!file_look(r, names[i]->d_name, &f) || !(crowded || (r->conf.keep_s > 0 && f.age_s > r->conf.keep_s)))
			continue;
		if (!unlink(f.path))
			r->others_bytes -= f.bytes;
	}
	for (int i = 0; i < n; i++)
		free(names[i]);
	free(names);
}

static int directory_make(const char *path, char *why, size_t why_len)
{
	struct stat st;

	if (mkdir(path, DIRECTORY_MODE) && errno != EEXIST) {
		int err = -errno;

		snprintf(why, why_len, "cannot make the directory %s: %s", path, strerror(-err));
		return err;
	}
	if (stat(path, &st) || !S_ISDIR(st.st_mode)) {
		snprintf(why, why_len, "%s is not a directory", path);
		return -ENOTDIR;
	}
	if (access(path, W_OK | X_OK)) {
		int err = -errno;

		snprintf(why, why_len, "cannot write in the directory %s: %s", path, strerror(-err));
		return err;
	}
	return 0;
}

/* --- the file's own sum --- */

static void sum_reset(struct recordings *r)
{
	for (int i = 0; i < r->sum.agents_len; i++) {
		agent_info_fini(&r->sum.agents[i].info);
		agent_data_fini(&r->sum.agents[i].total);
	}
	free(r->sum.agents);
	r->sum = (struct recording){ .observer.bpf_s = -1 };
	r->totals = (struct totals){};
	file_stacks_fini(&r->stacks);
}

/* They are in the order of their ids. */
static struct recording_agent *sum_find(struct recordings *r, int id)
{
	int from = 0, to = r->sum.agents_len;

	while (from < to) {
		int at = from + (to - from) / 2;

		if (r->sum.agents[at].info.id < id)
			from = at + 1;
		else
			to = at;
	}
	return from < r->sum.agents_len && r->sum.agents[from].info.id == id ? &r->sum.agents[from] : NULL;
}

/* Adds those that are not there yet, and announces them in the file, unless the header does so. */
static int agents_add(struct recordings *r, const struct interval_data *i, bool in_header)
{
	int err = 0;

	for (int n = 0; n < i->agents_len && !err; n++) {
		struct recording_agent *grown, *a;
		int at;

		if (sum_find(r, i->infos[n]->id))
			continue;
		grown = reallocarray(r->sum.agents, r->sum.agents_len + 1, sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		r->sum.agents = grown;
		for (at = r->sum.agents_len; at && grown[at - 1].info.id > i->infos[n]->id; at--)
			;
		memmove(&grown[at + 1], &grown[at], (r->sum.agents_len - at) * sizeof(*grown));
		a = &grown[at];
		*a = (struct recording_agent){ .total.id = i->infos[n]->id };
		if (agent_info_copy(&a->info, i->infos[n])) {
			memmove(&grown[at], &grown[at + 1], (r->sum.agents_len - at) * sizeof(*grown));
			return -ENOMEM;
		}
		r->sum.agents_len++;
		if (!in_header)
			err = recording_write_agent(r->writer, i->infos[n]);
	}
	return err;
}

static int sum_add(struct recordings *r, const struct interval_data *i)
{
	int err = 0;

	for (int n = 0; n < i->agents_len && !err; n++) {
		struct recording_agent *a = sum_find(r, i->infos[n]->id);
		struct agent_data copy = { .id = i->infos[n]->id };

		a->info.has_exit = i->infos[n]->has_exit;
		a->info.exit_code = i->infos[n]->exit_code;
		err = agent_data_merge(&copy, i->agents[n]); /* summing changes what it is given */
		if (!err)
			err = totals_add(&r->totals, &r->sum, &a->total, &copy);
		agent_data_fini(&copy);
	}
	observer_data_merge(&r->sum.observer, &i->observer);
	return err;
}

/* --- the file --- */

/* The wall clock at a time of the session's: whole ms, so that a file's name and its header are of the same second. */
static int64_t time_at(const struct recordings *r, double at_s)
{
	int64_t ago_ns = (int64_t)(clock_ns() - r->start_ns) - (int64_t)(at_s * 1e9), ns = timestamp_now() - ago_ns;

	return ns - ns % 1000000;
}

/* Whether there is a file of this name, compressed or not: their order should be that of their names. */
static bool name_taken(const char *path)
{
	char other[4096 + 8];

	snprintf(other, sizeof(other), "%s.gz", path);
	return !access(path, F_OK) || !access(other, F_OK);
}

static int file_create(struct recordings *r, int64_t start_ns)
{
	const time_t start = start_ns / (int64_t)NS_PER_S;
	char stamp[32], again[16] = "";
	struct tm tm;
	int err;

	gmtime_r(&start, &tm);
	strftime(stamp, sizeof(stamp), "%Y%m%d-%H%M%S", &tm);
	for (int n = 2; n < SAME_SECOND_MAX; n++) {
		snprintf(r->path, sizeof(r->path), "%s/stakeout-%s%s.ndjson", r->conf.directory, stamp, again);
		if (!name_taken(r->path)) {
			if (r->conf.compress)
				strncat(r->path, ".gz", sizeof(r->path) - strlen(r->path) - 1);
			r->writer = recording_open_write(r->path, false, &err);
			return err;
		}
		snprintf(again, sizeof(again), "_%03d", n); /* sorts behind the one without */
	}
	return -EEXIST;
}

/* Begins a file with the interval i. */
static int file_open(struct recordings *r, const struct header_data *session_header, const struct interval_data *i)
{
	struct header_data h = *session_header;
	struct agent_info *agents;
	int64_t start_ns = time_at(r, i->start_s);
	int err;

	sum_reset(r);
	r->intervals = 0;
	r->base_s = i->start_s;
	err = file_create(r, start_ns);
	if (err == -ENOENT && !mkdir(r->conf.directory, DIRECTORY_MODE)) /* somebody has removed it */
		err = file_create(r, start_ns);
	if (!err)
		err = agents_add(r, i, true);
	if (err)
		return err;
	timestamp_format(start_ns, h.start);
	h.first_seq = i->seq;
	agents = calloc(i->agents_len + 1, sizeof(*agents));
	if (!agents)
		return -ENOMEM;
	for (int n = 0; n < i->agents_len; n++)
		agents[n] = *i->infos[n];
	h.agents = agents;
	h.agents_len = i->agents_len;
	err = recording_write_header(r->writer, &h);
	free(agents);
	tidy(r);
	r->tidied_s = i->start_s;
	return err;
}

static int total_write(struct recordings *r)
{
	struct interval_data i = { .seq = r->sum.intervals, .end_s = r->sum.duration_s, .observer = r->sum.observer };
	int n = i.agents_len = r->sum.agents_len, err = -ENOMEM;
	const struct agent_data **data = calloc(n + 1, sizeof(*data));
	const struct agent_info **infos = calloc(n + 1, sizeof(*infos));

	if (data && infos) {
		for (int a = 0; a < n; a++) {
			data[a] = &r->sum.agents[a].total;
			infos[a] = &r->sum.agents[a].info;
		}
		i.agents = data;
		err = recording_write_total(r->writer, &i, infos);
	}
	free(data);
	free(infos);
	return err;
}

/* err: of writing so far. Leaves nothing that has no interval. */
static int file_close(struct recordings *r, int err)
{
	int closed;

	if (!r->writer)
		return err;
	if (!err)
		err = total_write(r);
	closed = recording_close(r->writer);
	r->writer = NULL;
	if (!r->intervals)
		unlink(r->path);
	return err ? err : closed;
}

/* What the file says of an interval counts from the file's own beginning. */
static void interval_shift(struct interval_data *i, double by_s)
{
	i->start_s -= by_s;
	i->end_s -= by_s;
	for (size_t n = 0; n < i->observer.cost.steps && n < STEPS_KEPT; n++)
		i->observer.cost.step[n].at_s -= by_s;
}

static int interval_write(struct recordings *r, const struct interval_data *told, const struct stacks *stacks)
{
	struct interval_data i;
	int err = file_stacks_take(&r->stacks, told, stacks, &i);

	if (err)
		return err;
	err = agents_add(r, told, false);
	interval_shift(&i, r->base_s);
	if (!err && r->stacks.table)
		err = recording_write_stacks(r->writer, r->stacks.table);
	if (!err)
		err = recording_write_interval(r->writer, &i);
	if (!err) {
		r->intervals++;
		r->sum.intervals = i.seq + 1;
		r->sum.duration_s = i.end_s;
		err = sum_add(r, &i);
	}
	file_stacks_release(told, &i);
	return err;
}

static bool file_full(const struct recordings *r, const struct interval_data *i)
{
	return i->start_s - r->base_s >= r->conf.rotate_s - (i->end_s - i->start_s) / 2 || recording_bytes(r->writer) >= r->conf.rotate_bytes ||
	       r->sum.agents_len >= FILE_AGENTS_MAX || (r->stacks.table && stacks_crowded(r->stacks.table));
}

static void failed(struct recordings *r, int err)
{
	if (!r->missed_told)
		log_err(err, "cannot write %s; intervals are not recorded until that works again", r->path);
	r->missed_told++;
}

void recordings_interval(struct recordings *r, const struct header_data *h, const struct interval_data *i, const struct stacks *stacks)
{
	int err = 0;

	if (r->writer && file_full(r, i)) {
		err = file_close(r, 0);
		if (err) /* of the total alone: the intervals are there */
			log_err(err, "cannot finish %s", r->path);
		err = 0;
	}
	if (!r->writer)
		err = file_open(r, h, i);
	if (!err)
		err = interval_write(r, i, stacks);
	if (err) {
		file_close(r, err);
		r->missed++;
		failed(r, err);
		return;
	}
	if (r->missed_told)
		log_warn("%s: recordings work again; %llu intervals were not written", r->path, (unsigned long long)r->missed_told);
	r->missed_told = 0;
	if (i->end_s - r->tidied_s >= TIDY_S || r->others_bytes + recording_bytes(r->writer) > r->conf.max_bytes) {
		tidy(r);
		r->tidied_s = i->end_s;
	}
}

int recordings_open(const struct config_recordings *c, uint64_t start_ns, struct recordings **ret, char *why, size_t why_len)
{
	struct recordings *r = calloc(1, sizeof(*r));
	int err = -ENOMEM;

	*why = '\0';
	if (r) {
		r->start_ns = start_ns;
		r->conf = *c;
		r->conf.directory = strdup(c->directory);
		sum_reset(r);
	}
	if (r && r->conf.directory)
		err = directory_make(c->directory, why, why_len);
	if (err) {
		if (!*why)
			snprintf(why, why_len, "%s", strerror(-err));
		recordings_close(r);
		return err;
	}
	*ret = r;
	return 0;
}

int recordings_change(struct recordings *r, const struct config_recordings *c, char *why, size_t why_len)
{
	bool elsewhere = strcmp(r->conf.directory, c->directory), another = elsewhere || r->conf.compress != c->compress;
	char *directory = elsewhere ? strdup(c->directory) : (char *)r->conf.directory;
	int err = !directory ? -ENOMEM : elsewhere ? directory_make(directory, why, why_len) : 0;

	if (err) {
		if (elsewhere)
			free(directory);
		return err;
	}
	if (another && (err = file_close(r, 0)))
		log_err(err, "cannot finish %s", r->path);
	if (elsewhere)
		free((char *)r->conf.directory);
	r->conf = *c;
	r->conf.directory = directory;
	return 0;
}

void recordings_close(struct recordings *r)
{
	int err;

	if (!r)
		return;
	err = file_close(r, 0);
	if (err)
		log_err(err, "cannot finish %s", r->path);
	sum_reset(r);
	free((char *)r->conf.directory);
	free(r);
}
