/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "serve/otlp_sender.h"

#include <curl/curl.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <zlib.h>

#include "lib/util.h"

#define BACKOFF_FIRST_S 0.5 /* doubled with each failure, and shortened by up to a half at random, so that many hosts don't come at once */
#define BACKOFF_MAX_S 30
#define RETRY_AFTER_MAX_S 3600 /* what an endpoint may ask for */
#define ANSWER_MAX (64 * 1024) /* what is read of an answer's body */
#define GZIP_LEVEL 1 /* speed first: totals repeat themselves, most is gained at once */

enum outcome { SENT, LATER, REFUSED };

struct request {
	struct request *next;
	uint8_t *bytes;
	size_t len;
	bool compressed;
	bool busy; /* in the thread's hands, who works on it without the lock */
};

struct target { /* replaced as a whole */
	char *url;
	char *ca; /* NULL: the system's */
	struct curl_slist *headers;
	double timeout_s;
	uint64_t queue;
};

struct answer {
	char body[ANSWER_MAX];
	size_t len;
	char error[CURL_ERROR_SIZE];
	double retry_after_s; /* 0: not asked for */
	struct otlp_answer parsed;
};

struct otlp_sender {
	pthread_t thread;
	pthread_mutex_t lock; /* of all below but what is marked */
	pthread_cond_t wake; /* by the monotonic clock */
	struct target *target, *next_target; /* target: the thread's own; next: NULL, or what takes its place */
	struct request *first;
	struct otlp_push_counts counts;
	int err; /* of the newest attempt */
	char why[512];
	double not_before_s; /* by the monotonic clock */
	double backoff_s; /* 0: the last attempt went well */
	bool closing, over; /* over: the thread is at its end */
	double close_by_s;
	CURLM *multi; /* the thread's own, but for curl_multi_wakeup() */
	CURL *easy; /* the thread's own, as what follows */
	struct answer answer;
	unsigned seed;
};

static double now_s(void)
{
	return (double)clock_ns() / 1e9;
}

static void target_free(struct target *t)
{
	if (!t)
		return;
	curl_slist_free_all(t->headers);
	free(t->url);
	free(t->ca);
	free(t);
}

static bool header_add(struct target *t, const char *line)
{
	struct curl_slist *more = curl_slist_append(t->headers, line);

	if (more)
		t->headers = more;
	return more;
}

static struct target *target_new(const struct otlp_sender_options *o)
{
	struct target *t = calloc(1, sizeof(*t));
	bool ok;

	if (!t)
		return NULL;
	t->url = strdup(o->url);
	t->ca = o->ca ? strdup(o->ca) : NULL;
	t->timeout_s = o->timeout_s;
	t->queue = o->queue ? o->queue : 1;
	ok = t->url && !t->ca == !o->ca && header_add(t, "Content-Type: application/x-protobuf") && header_add(t, "Content-Encoding: gzip") && header_add(t, "Expect:");
	for (int i = 0; ok && i < o->headers_len; i++)
		ok = header_add(t, o->headers[i]);
	if (ok)
		return t;
	target_free(t);
	return NULL;
}

static void request_free(struct request *r)
{
	if (r)
		free(r->bytes);
	free(r);
}

/* Under the lock. */
static void request_unlink(struct otlp_sender *s, const struct request *r)
{
	struct request **at = &s->first;

	while (*at && *at != r)
		at = &(*at)->next;
	if (!*at)
		return;
	*at = r->next;
	s->counts.queued--;
}

/* Drops the oldest ones until `room` more fit in. Under the lock. */
static void queue_trim(struct otlp_sender *s, uint64_t max, uint64_t room)
{
	while (s->counts.queued + room > max) {
		struct request *oldest = s->first;

		while (oldest && oldest->busy)
			oldest = oldest->next;
		if (!oldest)
			return; /* the one under way: one too many for a while */
		request_unlink(s, oldest);
		request_free(oldest);
		s->counts.dropped[OTLP_LOSS_QUEUE_FULL]++;
	}
}

int otlp_sender_put(struct otlp_sender *s, uint8_t *bytes, size_t len)
{
	struct request *r = calloc(1, sizeof(*r)), **end;

	if (!r) {
		free(bytes);
		return -ENOMEM;
	}
	r->bytes = bytes;
	r->len = len;
	pthread_mutex_lock(&s->lock);
	queue_trim(s, s->next_target ? s->next_target->queue : s->target->queue, 1);
	for (end = &s->first; *end; end = &(*end)->next)
		;
	*end = r;
	s->counts.queued++;
	pthread_cond_signal(&s->wake);
	pthread_mutex_unlock(&s->lock);
	return 0;
}

/* Without the lock. When memory is short it stays as it is, and is tried again. */
static void request_compress(struct request *r)
{
	z_stream z = { 0 };
	uint8_t *packed;
	size_t room;

	if (deflateInit2(&z, GZIP_LEVEL, Z_DEFLATED, MAX_WBITS + 16, MAX_MEM_LEVEL, Z_DEFAULT_STRATEGY) != Z_OK)
		return;
	room = deflateBound(&z, r->len);
	packed = malloc(room);
	if (packed) {
		z.next_in = r->bytes;
		z.avail_in = (uInt)r->len;
		z.next_out = packed;
		z.avail_out = (uInt)room;
		if (deflate(&z, Z_FINISH) == Z_STREAM_END) {
			uint8_t *fit = realloc(packed, z.total_out);

			free(r->bytes);
			r->bytes = fit ? fit : packed;
			r->len = z.total_out;
			r->compressed = true;
			packed = NULL;
		}
	}
	deflateEnd(&z);
	free(packed);
}

static size_t body_take(char *data, size_t size, size_t n, void *ctx)
{
	struct answer *a = ctx;
	size_t len = size * n, room = sizeof(a->body) - a->len;

	memcpy(a->body + a->len, data, len < room ? len : room);
	a->len += len < room ? len : room;
	return len; /* the rest is read and forgotten */
}

static bool cut_short(struct otlp_sender *s)
{
	bool late;

	pthread_mutex_lock(&s->lock);
	late = s->next_target || (s->closing && now_s() >= s->close_by_s);
	pthread_mutex_unlock(&s->lock);
	return late;
}

/* As curl_easy_perform(), but otlp_sender_end() and another target end it. */
static CURLcode transfer(struct otlp_sender *s)
{
	CURLcode result = CURLE_ABORTED_BY_CALLBACK;
	int running = 1, left;
	CURLMsg *message;

	if (curl_multi_add_handle(s->multi, s->easy) != CURLM_OK)
		return CURLE_OUT_OF_MEMORY;
	while (running && !cut_short(s)) {
		if (curl_multi_perform(s->multi, &running) != CURLM_OK)
			break;
		if (running)
			curl_multi_poll(s->multi, NULL, 0, 100, NULL);
	}
	while ((message = curl_multi_info_read(s->multi, &left)))
		if (message->msg == CURLMSG_DONE)
			result = message->data.result;
#if LIBCURL_VERSION_NUM >= 0x075700
	if (result == CURLE_ABORTED_BY_CALLBACK)
		curl_easy_setopt(s->easy, CURLOPT_QUICK_EXIT, 1L); /* or a name that is being looked up is waited for */
#endif
	curl_multi_remove_handle(s->multi, s->easy);
	return result;
}

static void request_prepare(struct otlp_sender *s, const struct request *r)
{
	CURL *c = s->easy;
	struct answer *a = &s->answer;

	a->len = 0;
	a->retry_after_s = 0;
	a->error[0] = '\0';
	a->parsed = (struct otlp_answer){ 0 };
	curl_easy_reset(c); /* connections stay */
	curl_easy_setopt(c, CURLOPT_URL, s->target->url);
	curl_easy_setopt(c, CURLOPT_HTTPHEADER, s->target->headers);
	curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, (long)(s->target->timeout_s * 1e3));
	curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, (long)(s->target->timeout_s * 1e3));
	curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->len);
	curl_easy_setopt(c, CURLOPT_POSTFIELDS, r->bytes);
	curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, body_take);
	curl_easy_setopt(c, CURLOPT_WRITEDATA, a);
	curl_easy_setopt(c, CURLOPT_ERRORBUFFER, a->error);
	curl_easy_setopt(c, CURLOPT_USERAGENT, "stakeout");
	curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
	if (s->target->ca) { /* it is read with each new connection, so that it may be renewed */
		curl_easy_setopt(c, CURLOPT_CAINFO, s->target->ca);
		curl_easy_setopt(c, CURLOPT_CAPATH, NULL);
	}
}

/* What an HTTP status means for a request, by OTLP's specification. */
static enum outcome outcome_of(long status)
{
	if (status >= 200 && status < 300)
		return SENT;
	return status == 429 || status == 502 || status == 503 || status == 504 ? LATER : REFUSED;
}

/* Without the lock. why: of what did not go well; "" otherwise. */
static enum outcome attempt(struct otlp_sender *s, const struct request *r, char *why, size_t why_len)
{
	struct answer *a = &s->answer;
	CURLcode code;
	curl_off_t after = 0;
	enum outcome o;
	long status = 0, os_error = 0;

	request_prepare(s, r);
	code = transfer(s);
	if (code != CURLE_OK) {
		const bool untrusted = code == CURLE_PEER_FAILED_VERIFICATION;
		const char *said = *a->error ? a->error : curl_easy_strerror(code), *files = untrusted ? strstr(said, " CAfile:") : NULL;

		curl_easy_getinfo(s->easy, CURLINFO_OS_ERRNO, &os_error);
		snprintf(why, why_len, "%.*s%s%s%s", files ? (int)(files - said) : CURL_ERROR_SIZE, said, os_error ? ": " : "",
			 os_error ? strerror((int)os_error) : "", untrusted ? " (the key ca names a file with authorities to trust)" : "");
		return LATER;
	}
	curl_easy_getinfo(s->easy, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_getinfo(s->easy, CURLINFO_RETRY_AFTER, &after);
	o = outcome_of(status);
	if (o == LATER && after > 0)
		a->retry_after_s = after < RETRY_AFTER_MAX_S ? (double)after : RETRY_AFTER_MAX_S;
	otlp_answer_parse(a->body, a->len, o != SENT, &a->parsed);
	if (o != SENT)
		snprintf(why, why_len, "HTTP status %ld%s%s", status, *a->parsed.message ? ": " : "", a->parsed.message);
	else if (a->parsed.rejected_points > 0)
		snprintf(why, why_len, "%lld data points rejected%s%s", (long long)a->parsed.rejected_points, *a->parsed.message ? ": " : "",
			 a->parsed.message);
	return o;
}

/* When to try again. Under the lock. */
static void back_off(struct otlp_sender *s)
{
	double wait = s->answer.retry_after_s;

	s->backoff_s = s->backoff_s ? s->backoff_s * 2 : BACKOFF_FIRST_S;
	if (s->backoff_s > BACKOFF_MAX_S)
		s->backoff_s = BACKOFF_MAX_S;
	if (!wait)
		wait = s->backoff_s * (1 - 0.5 * rand_r(&s->seed) / RAND_MAX);
	s->not_before_s = now_s() + wait;
}

/* Under the lock. */
static void outcome_take(struct otlp_sender *s, struct request *r, enum outcome o, const char *why)
{
	r->busy = false;
	s->err = *why ? (o == LATER ? -EAGAIN : -EREMOTEIO) : 0;
	snprintf(s->why, sizeof(s->why), "%s%s%s", s->target->url, *why ? ": " : "", why);
	if (o == LATER) {
		s->counts.retries++;
		back_off(s);
		queue_trim(s, s->target->queue, 0);
		return;
	}
	s->backoff_s = s->not_before_s = 0;
	if (o == SENT) {
		s->counts.sent++;
		if (s->answer.parsed.rejected_points > 0)
			s->counts.rejected_points += (uint64_t)s->answer.parsed.rejected_points;
	} else {
		s->counts.dropped[OTLP_LOSS_REFUSED]++;
	}
	request_unlink(s, r);
	request_free(r);
}

static struct request *uncompressed(const struct otlp_sender *s)
{
	struct request *r = s->first;

	while (r && r->compressed)
		r = r->next;
	return r;
}

static void wait_until(struct otlp_sender *s, double until_s)
{
	const struct timespec t = { .tv_sec = (time_t)until_s, .tv_nsec = (long)((until_s - (double)(time_t)until_s) * 1e9) };

	pthread_cond_timedwait(&s->wake, &s->lock, &t);
}

/* One thing that there is to do, or waits for one. False: it is time to end. Under the lock, which it gives up meanwhile. */
static bool step(struct otlp_sender *s)
{
	struct request *r = uncompressed(s);
	char why[sizeof(s->why)] = "";
	enum outcome o;

	if (s->next_target) {
		target_free(s->target);
		s->target = s->next_target;
		s->next_target = NULL;
		s->not_before_s = s->backoff_s = 0;
		queue_trim(s, s->target->queue, 0);
		return true;
	}
	if (r) {
		r->busy = true;
		pthread_mutex_unlock(&s->lock);
		request_compress(r);
		pthread_mutex_lock(&s->lock);
		r->busy = false;
		if (r->compressed)
			return true;
	}
	r = s->first;
	if (s->closing && (!r || now_s() >= s->close_by_s))
		return false;
	if (!r || !r->compressed) {
		wait_until(s, now_s() + 1);
		return true;
	}
	if (!s->closing && now_s() < s->not_before_s) {
		wait_until(s, s->not_before_s);
		return true;
	}
	r->busy = true;
	pthread_mutex_unlock(&s->lock);
	o = attempt(s, r, why, sizeof(why));
	pthread_mutex_lock(&s->lock);
	outcome_take(s, r, o, why);
	return !(s->closing && o == LATER);
}

static void *run(void *ctx)
{
	struct otlp_sender *s = ctx;

	pthread_mutex_lock(&s->lock);
	while (step(s))
		;
	s->over = true;
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

static void sender_free(struct otlp_sender *s)
{
	while (s->first) {
		struct request *r = s->first;

		s->first = r->next;
		request_free(r);
	}
	curl_easy_cleanup(s->easy);
	curl_multi_cleanup(s->multi);
	target_free(s->target);
	target_free(s->next_target);
	pthread_cond_destroy(&s->wake);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

/* No signal is the thread's: the program's loop waits for them. */
static int thread_start(struct otlp_sender *s)
{
	sigset_t all, before;
	int err;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = pthread_create(&s->thread, NULL, run, s);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -err;
}

struct otlp_sender *otlp_sender_new(const struct otlp_sender_options *o, int *ret_err)
{
	struct otlp_sender *s = calloc(1, sizeof(*s));
	pthread_condattr_t monotonic;

	*ret_err = -ENOMEM;
	if (!s)
		return NULL;
	pthread_mutex_init(&s->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&s->wake, &monotonic);
	pthread_condattr_destroy(&monotonic);
	s->seed = (unsigned)clock_ns() ^ (unsigned)getpid();
	s->target = target_new(o);
	s->multi = curl_multi_init();
	s->easy = curl_easy_init();
	if (s->target && s->multi && s->easy)
		*ret_err = thread_start(s);
	if (!*ret_err)
		return s;
	sender_free(s);
	return NULL;
}

/* But for the length of the queue. */
static bool target_same(const struct target *a, const struct target *b)
{
	const struct curl_slist *x = a->headers, *y = b->headers;

	for (; x && y && !strcmp(x->data, y->data); x = x->next)
		y = y->next;
	return !x && !y && !strcmp(a->url, b->url) && !strcmp(a->ca ? a->ca : "", b->ca ? b->ca : "") && a->timeout_s == b->timeout_s;
}

int otlp_sender_change(struct otlp_sender *s, const struct otlp_sender_options *o)
{
	struct target *t = target_new(o), *now;

	if (!t)
		return -ENOMEM;
	pthread_mutex_lock(&s->lock);
	now = s->next_target ? s->next_target : s->target;
	if (target_same(now, t)) { /* what is under way need not be sent twice */
		now->queue = t->queue;
		target_free(t);
	} else {
		target_free(s->next_target);
		s->next_target = t;
	}
	queue_trim(s, o->queue, 0);
	pthread_cond_signal(&s->wake);
	pthread_mutex_unlock(&s->lock);
	return 0;
}

void otlp_sender_counts(struct otlp_sender *s, struct otlp_push_counts *ret)
{
	pthread_mutex_lock(&s->lock);
	*ret = s->counts;
	pthread_mutex_unlock(&s->lock);
}

int otlp_sender_state(struct otlp_sender *s, char *why, size_t why_len)
{
	int err;

	pthread_mutex_lock(&s->lock);
	err = s->err;
	if (err == -EAGAIN)
		snprintf(why, why_len, "%s; it is tried again, %llu of at most %llu requests wait", s->why, (unsigned long long)s->counts.queued,
			 (unsigned long long)s->target->queue);
	else if (err)
		snprintf(why, why_len, "%s", s->why);
	pthread_mutex_unlock(&s->lock);
	return err;
}

void otlp_sender_end(struct otlp_sender *s, double within_s)
{
	pthread_mutex_lock(&s->lock);
	if (!s->closing)
		s->close_by_s = now_s() + within_s;
	s->closing = true;
	pthread_cond_signal(&s->wake);
	pthread_mutex_unlock(&s->lock);
	curl_multi_wakeup(s->multi);
}

bool otlp_sender_ended(struct otlp_sender *s)
{
	bool over;

	pthread_mutex_lock(&s->lock);
	over = s->over;
	pthread_mutex_unlock(&s->lock);
	return over;
}

uint64_t otlp_sender_close(struct otlp_sender *s, double within_s)
{
	uint64_t lost;

	otlp_sender_end(s, within_s);
	pthread_join(s->thread, NULL);
	lost = s->counts.queued;
	sender_free(s);
	return lost;
}
