/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Writing recordings. A line is composed in memory by a small JSON writer of our own: it keeps 64-bit integers and decimal
 * nanoseconds exact, and costs no tree of objects an interval.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>

#include "lib/util.h"
#include "model/recording.h"

#define FILE_MODE 0640
#define GZIP_WINDOW (15 + 16) /* largest window, gzip wrapper */

struct recording_writer {
	int fd;
	bool owns_fd;
	int err; /* the first one; nothing is written after it, so a torn line stays the last */
	char *line;
	size_t len, cap;
	bool comma; /* the next value needs one before it */
	bool probe_on[PROBE_COUNT];
	bool gzip;
	z_stream deflate;
};

static bool line_reserve(struct recording_writer *w, size_t more)
{
	size_t cap = w->cap ? w->cap : 4096;
	char *line;

	if (w->err)
		return false;
	if (w->len + more <= w->cap)
		return true;
	while (cap < w->len + more)
		cap *= 2;
	line = realloc(w->line, cap);
	if (!line) {
		w->err = -ENOMEM;
		return false;
	}
	w->line = line;
	w->cap = cap;
	return true;
}

static void put(struct recording_writer *w, const char *text, size_t len)
{
	if (!line_reserve(w, len))
		return;
	memcpy(w->line + w->len, text, len);
	w->len += len;
}

static void put_comma(struct recording_writer *w)
{
	if (w->comma)
		put(w, ",", 1);
	w->comma = true;
}

/* Length of the valid UTF-8 sequence at s (NUL-terminated) by the Unicode standard's table 3-7, or 0. */
static size_t utf8_length(const unsigned char *s)
{
	unsigned char low = 0x80, high = 0xbf;
	size_t more;

	if (*s < 0x80)
		return 1;
	if (*s < 0xc2 || *s > 0xf4)
		return 0;
	more = *s < 0xe0 ? 1 : *s < 0xf0 ? 2 : 3;
	if (*s == 0xe0)
		low = 0xa0; /* else overlong */
	else if (*s == 0xed)
		high = 0x9f; /* else a surrogate */
	else if (*s == 0xf0)
		low = 0x90;
	else if (*s == 0xf4)
		high = 0x8f; /* else beyond U+10FFFF */
	for (size_t i = 1; i <= more; i++, low = 0x80, high = 0xbf)
		if (s[i] < low || s[i] > high)
			return 0;
	return more + 1;
}

/* A JSON string: control characters escaped, each byte that is not UTF-8 replaced by U+FFFD. */
static void put_string(struct recording_writer *w, const char *text)
{
	const unsigned char *s = (const unsigned char *)(text ? text : "");

	put(w, "\"", 1);
	while (*s) {
		size_t len = utf8_length(s);
		char escape[8];

		if (!len) {
			put(w, "\xef\xbf\xbd", 3);
			s++;
		} else if (*s < 0x20 || *s == 0x7f) {
			put(w, escape, (size_t)snprintf(escape, sizeof(escape), "\\u%04x", *s++));
		} else if (*s == '"' || *s == '\\') {
			escape[0] = '\\';
			escape[1] = (char)*s++;
			put(w, escape, 2);
		} else {
			put(w, (const char *)s, len);
			s += len;
		}
	}
	put(w, "\"", 1);
}

static void put_key(struct recording_writer *w, const char *key)
{
	put_comma(w);
	put_string(w, key);
	put(w, ":", 1);
}

static void open_value(struct recording_writer *w, const char *key, const char *bracket)
{
	if (key)
		put_key(w, key);
	else
		put_comma(w);
	put(w, bracket, 1);
	w->comma = false;
}

static void close_value(struct recording_writer *w, const char *bracket)
{
	put(w, bracket, 1);
	w->comma = true;
}

/* JSON readers, jansson among them, take integers as signed 64-bit: larger values are written as 2^63 - 1. */
static void put_u64(struct recording_writer *w, uint64_t n)
{
	char digits[20];
	size_t at = sizeof(digits);

	if (n > INT64_MAX)
		n = INT64_MAX;
	do {
		digits[--at] = (char)('0' + n % 10);
		n /= 10;
	} while (n);
	put(w, digits + at, sizeof(digits) - at);
}

static void key_string(struct recording_writer *w, const char *key, const char *s)
{
	put_key(w, key);
	put_string(w, s);
}

static void key_u64(struct recording_writer *w, const char *key, uint64_t n)
{
	put_key(w, key);
	put_u64(w, n);
}

static void key_int(struct recording_writer *w, const char *key, int64_t n)
{
	char text[24];

	put_key(w, key);
	put(w, text, (size_t)snprintf(text, sizeof(text), "%" PRId64, n));
}

static void key_bool(struct recording_writer *w, const char *key, bool b)
{
	put_key(w, key);
	put(w, b ? "true" : "false", b ? 4 : 5);
}

/* Seconds as an exact decimal of nanoseconds, trailing zeros cut to one digit: sums of what is written are exact. */
static void key_ns(struct recording_writer *w, const char *key, uint64_t ns)
{
	char text[40];
	int len = snprintf(text, sizeof(text), "%" PRIu64 ".%09" PRIu64, (uint64_t)(ns / NS_PER_S), (uint64_t)(ns % NS_PER_S));

	while (text[len - 1] == '0' && text[len - 2] != '.')
		len--;
	put_key(w, key);
	put(w, text, (size_t)len);
}

/* To nine digits. */
static void key_fraction(struct recording_writer *w, const char *key, double f)
{
	if (!(f > 0)) /* NaN as well: JSON has no word for it */
		f = 0;
	key_ns(w, key, f < 9e9 ? (uint64_t)llround(f * 1e9) : (uint64_t)9e18);
}

static void put_hist(struct recording_writer *w, const char *key, const struct hist *h)
{
	uint32_t lo = 0, hi = h->len;

	while (hi > lo && !hist_bucket(h, hi - 1))
		hi--;
	while (lo < hi && !hist_bucket(h, lo))
		lo++;
	open_value(w, key, "{");
	key_int(w, "scale", h->scale);
	key_u64(w, "count", h->count);
	key_u64(w, "sum", h->sum);
	key_u64(w, "min", h->min);
	key_u64(w, "max", h->max);
	key_u64(w, "zero_count", h->zero_count);
	key_int(w, "offset", lo < hi ? h->offset + (int64_t)lo : 0);
	open_value(w, "bucket_counts", "[");
	for (uint32_t i = lo; i < hi; i++) {
		put_comma(w);
		put_u64(w, hist_bucket(h, i));
	}
	close_value(w, "]");
	close_value(w, "}");
}

/* Counters that are 0 are left out: a reader takes what is absent as 0. Gauges of probes that are on are always there for
 * an agent, since there 0 is a statement; its parts (tools, peers) have none of their own as a rule. */
static void put_metrics(struct recording_writer *w, const struct metric_set *s, bool part)
{
	bool gauges = !part;

	open_value(w, "counters", "{");
	for (int m = 0; m < METRIC_IDS; m++) {
		if (metric_infos[m].type == METRIC_COUNTER && s->value[m])
			key_u64(w, metric_infos[m].name, s->value[m]);
		gauges |= (metric_infos[m].type == METRIC_GAUGE || metric_infos[m].type == METRIC_PEAK) && s->value[m];
	}
	close_value(w, "}");
	if (gauges) {
		open_value(w, "gauges", "{");
		for (int m = 0; m < METRIC_IDS; m++) {
			const struct metric_info *info = &metric_infos[m];

			if ((info->type == METRIC_GAUGE || info->type == METRIC_PEAK) &&
			    (s->value[m] || (!part && w->probe_on[info->probe])))
				key_u64(w, info->name, s->value[m]);
		}
		close_value(w, "}");
	}
	open_value(w, "hist", "{");
	for (int m = 0; m < METRIC_IDS; m++)
		if (s->hist[m] && s->hist[m]->count)
			put_hist(w, metric_infos[m].name, s->hist[m]);
	close_value(w, "}");
}

static void put_ledger(struct recording_writer *w, const char *key, const struct ledger *l)
{
	open_value(w, key, "{");
	for (int s = 0; s < STATE_COUNT; s++)
		if (l->ns[s])
			key_ns(w, state_infos[s].name, l->ns[s]);
	close_value(w, "}");
}

static void put_concurrency(struct recording_writer *w, const struct concurrency *all)
{
	open_value(w, "concurrency", "{");
	for (int i = 0; i < CLASS_COUNT; i++) {
		const struct concurrency *c = &all[i];

		if (!c->outstanding_ns && !c->busy_ns && !c->max)
			continue;
		open_value(w, class_infos[i].name, "{");
		key_ns(w, "outstanding_s", c->outstanding_ns);
		key_ns(w, "busy_s", c->busy_ns);
		if (c->busy_ns)
			key_fraction(w, "mean", (double)c->outstanding_ns / (double)c->busy_ns);
		key_u64(w, "max", c->max);
		close_value(w, "}");
	}
	close_value(w, "}");
}

static void put_peer(struct recording_writer *w, const struct peer_data *p)
{
	open_value(w, NULL, "{");
	key_string(w, "peer", p->peer);
	key_string(w, "name", p->name);
	key_string(w, "class", class_infos[p->class].name);
	key_string(w, "side", p->server ? "server" : "client");
	if (p->multiplexed)
		key_bool(w, "multiplexed", true);
	if (p->summed)
		key_u64(w, "summed", p->summed);
	put_metrics(w, &p->metrics, true);
	close_value(w, "}");
}

static void put_tool(struct recording_writer *w, const struct tool_data *t)
{
	open_value(w, NULL, "{");
	key_string(w, "name", t->name);
	if (t->runs_live)
		key_u64(w, "runs_live", t->runs_live);
	put_metrics(w, &t->metrics, true);
	open_value(w, "ledger", "{");
	put_ledger(w, "main_s", &t->main);
	close_value(w, "}");
	close_value(w, "}");
}

static void put_agent(struct recording_writer *w, const struct agent_data *a, const struct agent_info *info)
{
	open_value(w, NULL, "{");
	key_int(w, "id", a->id);
	key_bool(w, "alive", a->alive);
	if (info && info->has_exit)
		key_int(w, "exit_code", info->exit_code);
	key_fraction(w, "observed_s", a->observed_s);
	put_metrics(w, &a->metrics, false);
	open_value(w, "ledger", "{");
	put_ledger(w, "main_s", &a->main);
	put_ledger(w, "threads_s", &a->threads);
	put_ledger(w, "critical_s", &a->critical);
	close_value(w, "}");
	put_concurrency(w, a->concurrency);
	open_value(w, "peers", "[");
	for (int i = 0; i < a->peers_len; i++)
		if (peer_active(&a->peers[i]))
			put_peer(w, &a->peers[i]);
	close_value(w, "]");
	open_value(w, "tools", "[");
	for (int i = 0; i < a->tools_len; i++)
		put_tool(w, &a->tools[i]);
	close_value(w, "]");
	close_value(w, "}");
}

static void put_observer(struct recording_writer *w, const struct observer_data *o)
{
	open_value(w, "observer", "{");
	key_fraction(w, "cpu_s", o->cpu_s);
	if (o->bpf_s >= 0) {
		key_fraction(w, "bpf_s", o->bpf_s);
	} else {
		put_key(w, "bpf_s");
		put(w, "null", 4);
	}
	key_u64(w, "records", o->records);
	open_value(w, "lost", "{");
	for (int i = 0; i < o->losses && i < OBSERVER_LOSSES; i++)
		if (o->lost[i].count)
			key_u64(w, o->lost[i].reason, o->lost[i].count);
	close_value(w, "}");
	key_u64(w, "rss_bytes", o->rss_bytes);
	close_value(w, "}");
}

static void put_agent_info(struct recording_writer *w, const struct agent_info *a)
{
	key_int(w, "id", a->id);
	key_string(w, "name", a->name);
	key_int(w, "pid", a->pid);
	key_u64(w, "start_ticks", a->start_ticks);
	key_string(w, "cmdline", a->cmdline);
	key_string(w, "cgroup", a->cgroup);
}

static int write_all(struct recording_writer *w, const void *data, size_t len)
{
	const char *p = data;

	while (len) {
		ssize_t n = write(w->fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return w->err = n < 0 ? -errno : -EIO;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

/* Compresses what is in `line` (maybe nothing) and writes it; flush: Z_SYNC_FLUSH or Z_FINISH. */
static int write_deflated(struct recording_writer *w, int flush)
{
	unsigned char out[16384];

	w->deflate.next_in = (unsigned char *)w->line;
	w->deflate.avail_in = (uInt)w->len;
	do {
		w->deflate.next_out = out;
		w->deflate.avail_out = sizeof(out);
		if (deflate(&w->deflate, flush) == Z_STREAM_ERROR)
			return w->err = -EIO;
		if (write_all(w, out, sizeof(out) - w->deflate.avail_out))
			return w->err;
	} while (!w->deflate.avail_out);
	return 0;
}

static void line_begin(struct recording_writer *w, const char *kind)
{
	w->len = 0;
	w->comma = false;
	open_value(w, NULL, "{");
	key_string(w, "kind", kind);
}

static int line_end(struct recording_writer *w)
{
	close_value(w, "}");
	put(w, "\n", 1);
	if (w->err)
		return w->err;
	if (w->len > UINT32_MAX)
		return w->err = -EFBIG; /* zlib counts a call's input in 32 bits; no reader would take such a line anyway */
	return w->gzip ? write_deflated(w, Z_SYNC_FLUSH) : write_all(w, w->line, w->len);
}

int recording_write_header(struct recording_writer *w, const struct header_data *h)
{
	if (w->err)
		return w->err;
	line_begin(w, "header");
	key_string(w, "format", "stakeout/1");
	open_value(w, "host", "{");
	key_string(w, "name", h->host.name);
	key_string(w, "kernel", h->host.kernel);
	key_string(w, "arch", h->host.arch);
	key_int(w, "cpus", h->host.cpus);
	key_string(w, "boot_id", h->host.boot_id);
	close_value(w, "}");
	key_string(w, "start", h->start);
	key_fraction(w, "interval_s", h->interval_s);
	memset(w->probe_on, 0, sizeof(w->probe_on));
	open_value(w, "probes", "[");
	for (int i = 0; i < h->probes_len; i++) {
		int probe = probe_find(h->probes[i].name);

		if (probe >= 0)
			w->probe_on[probe] = !strcmp(h->probes[i].state, "on");
		open_value(w, NULL, "{");
		key_string(w, "name", h->probes[i].name);
		key_string(w, "state", h->probes[i].state);
		key_string(w, "why", h->probes[i].why);
		close_value(w, "}");
	}
	close_value(w, "]");
	open_value(w, "agents", "[");
	for (int i = 0; i < h->agents_len; i++) {
		open_value(w, NULL, "{");
		put_agent_info(w, &h->agents[i]);
		close_value(w, "}");
	}
	close_value(w, "]");
	return line_end(w);
}

int recording_write_agent(struct recording_writer *w, const struct agent_info *a)
{
	if (w->err)
		return w->err;
	line_begin(w, "agent");
	put_agent_info(w, a);
	return line_end(w);
}

static int write_interval(struct recording_writer *w, const char *kind, const struct interval_data *i,
			  const struct agent_info *const *infos)
{
	if (w->err)
		return w->err;
	line_begin(w, kind);
	key_u64(w, "seq", i->seq);
	key_fraction(w, "start_s", i->start_s);
	key_fraction(w, "end_s", i->end_s);
	open_value(w, "agents", "[");
	for (int n = 0; n < i->agents_len; n++)
		put_agent(w, i->agents[n], infos ? infos[n] : NULL);
	close_value(w, "]");
	put_observer(w, &i->observer);
	return line_end(w);
}

int recording_write_stacks(struct recording_writer *w, const struct stacks *s)
{
	(void)w, (void)s;
	return 0;
}

int recording_write_interval(struct recording_writer *w, const struct interval_data *i)
{
	return write_interval(w, "interval", i, NULL);
}

int recording_write_total(struct recording_writer *w, const struct interval_data *i, const struct agent_info *const *infos)
{
	return write_interval(w, "total", i, infos);
}

static int open_file(const char *path, bool force)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOCTTY | (force ? O_TRUNC : O_EXCL), FILE_MODE);
	struct stat st;

	if (fd < 0)
		return -errno;
	/* An overwritten file may have been readable by everybody. */
	if (!fstat(fd, &st) && S_ISREG(st.st_mode) && (st.st_mode & 07777 & ~FILE_MODE) && fchmod(fd, FILE_MODE)) {
		int err = -errno;

		close(fd);
		return err;
	}
	return fd;
}

struct recording_writer *recording_open_write(const char *path, bool force, int *ret_err)
{
	struct recording_writer *w = calloc(1, sizeof(*w));
	size_t len = strlen(path);

	*ret_err = -ENOMEM;
	if (!w)
		return NULL;
	for (int p = 0; p < PROBE_COUNT; p++)
		w->probe_on[p] = true; /* until the header says which are */
	w->gzip = len > 3 && !strcmp(path + len - 3, ".gz");
	if (w->gzip && deflateInit2(&w->deflate, Z_DEFAULT_COMPRESSION, Z_DEFLATED, GZIP_WINDOW, 8, Z_DEFAULT_STRATEGY) != Z_OK)
		goto out;
	w->owns_fd = strcmp(path, "-");
	w->fd = w->owns_fd ? open_file(path, force) : STDOUT_FILENO;
	if (w->fd >= 0) {
		*ret_err = 0;
		return w;
	}
	*ret_err = w->fd;
	if (w->gzip)
		deflateEnd(&w->deflate);
out:
	free(w);
	return NULL;
}

int recording_close(struct recording_writer *w)
{
	int err;

	if (!w)
		return 0;
	w->len = 0;
	if (w->gzip && !w->err)
		write_deflated(w, Z_FINISH);
	if (w->gzip)
		deflateEnd(&w->deflate);
	if (w->owns_fd && close(w->fd) && !w->err)
		w->err = -errno;
	err = w->err;
	free(w->line);
	free(w);
	return err;
}
