/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "serve/sender.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lib/util.h"

#define BACKOFF_FIRST_S 0.5 /* doubled with each failure, and shortened by up to a half at random, so that many hosts don't come at once */
#define BACKOFF_MAX_S 30

struct request {
	struct request *next;
	uint8_t *bytes;
	size_t len;
	bool prepared;
	bool busy; /* in the thread's hands, who works on it without the lock */
};

struct sender {
	pthread_t thread;
	pthread_mutex_t lock; /* of all below but what is marked */
	pthread_cond_t wake; /* by the monotonic clock */
	struct sender_way *way, *next_way; /* way: the thread's own; next: NULL, or what takes its place */
	struct request *first;
	struct sender_counts counts;
	int err; /* of the newest attempt */
	char why[512];
	double not_before_s; /* by the monotonic clock */
	double backoff_s; /* 0: the last attempt went well */
	bool closing, over; /* over: the thread is at its end */
	double close_by_s;
	unsigned seed; /* the thread's own */
};

static double now_s(void)
{
	return (double)clock_ns() / 1e9;
}

static void way_free(struct sender_way *w)
{
	if (w)
		w->ops->free(w);
}

bool sender_cut(struct sender *s)
{
	bool cut;

	pthread_mutex_lock(&s->lock);
	cut = s->next_way || (s->closing && now_s() >= s->close_by_s);
	pthread_mutex_unlock(&s->lock);
	return cut;
}

static void request_free(struct request *r)
{
	if (r)
		free(r->bytes);
	free(r);
}

/* Under the lock. */
static void request_unlink(struct sender *s, const struct request *r)
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
static void queue_trim(struct sender *s, uint64_t max, uint64_t room)
{
	while (s->counts.queued + room > max) {
		struct request *oldest = s->first;

		while (oldest && oldest->busy)
			oldest = oldest->next;
		if (!oldest)
			return; /* the one under way: one too many for a while */
		request_unlink(s, oldest);
		request_free(oldest);
		s->counts.dropped[SENDER_LOSS_QUEUE_FULL]++;
	}
}

int sender_put(struct sender *s, uint8_t *bytes, size_t len)
{
	struct request *r = calloc(1, sizeof(*r)), **end;

	if (!r) {
		free(bytes);
		return -ENOMEM;
	}
	r->bytes = bytes;
	r->len = len;
	pthread_mutex_lock(&s->lock);
	queue_trim(s, s->next_way ? s->next_way->queue : s->way->queue, 1);
	for (end = &s->first; *end; end = &(*end)->next)
		;
	*end = r;
	s->counts.queued++;
	pthread_cond_signal(&s->wake);
	pthread_mutex_unlock(&s->lock);
	return 0;
}

/* When to try again: after wait_s; 0: nobody said. Under the lock. */
static void back_off(struct sender *s, double wait_s)
{
	s->backoff_s = s->backoff_s ? s->backoff_s * 2 : BACKOFF_FIRST_S;
	if (s->backoff_s > BACKOFF_MAX_S)
		s->backoff_s = BACKOFF_MAX_S;
	if (!wait_s)
		wait_s = s->backoff_s * (1 - 0.5 * rand_r(&s->seed) / RAND_MAX);
	s->not_before_s = now_s() + wait_s;
}

/* Under the lock. */
static void outcome_take(struct sender *s, struct request *r, enum sender_outcome o, double after_s, const char *why)
{
	r->busy = false;
	s->err = *why ? (o == SENDER_LATER ? -EAGAIN : -EREMOTEIO) : 0;
	snprintf(s->why, sizeof(s->why), "%s", why);
	if (o == SENDER_LATER) {
		s->counts.retries++;
		back_off(s, after_s);
		queue_trim(s, s->way->queue, 0);
		return;
	}
	s->backoff_s = s->not_before_s = 0;
	if (o == SENDER_SENT)
		s->counts.sent++;
	else
		s->counts.dropped[SENDER_LOSS_REFUSED]++;
	request_unlink(s, r);
	request_free(r);
}

static struct request *unprepared(const struct sender *s)
{
	struct request *r = s->first;

	while (r && r->prepared)
		r = r->next;
	return r;
}

static void wait_until(struct sender *s, double until_s)
{
	const struct timespec t = { .tv_sec = (time_t)until_s, .tv_nsec = (long)((until_s - (double)(time_t)until_s) * 1e9) };

	pthread_cond_timedwait(&s->wake, &s->lock, &t);
}

/* One thing that there is to do, or waits for one. False: it is time to end. Under the lock, which it gives up meanwhile. */
static bool step(struct sender *s)
{
	struct request *r = unprepared(s);
	char why[sizeof(s->why)] = "";
	enum sender_outcome o;
	double after_s = 0;

	if (s->next_way) {
		way_free(s->way);
		s->way = s->next_way;
		s->next_way = NULL;
		s->not_before_s = s->backoff_s = 0;
		queue_trim(s, s->way->queue, 0);
		return true;
	}
	if (r) {
		r->busy = true;
		pthread_mutex_unlock(&s->lock);
		r->prepared = !s->way->ops->prepare || s->way->ops->prepare(s->way, &r->bytes, &r->len);
		pthread_mutex_lock(&s->lock);
		r->busy = false;
		if (r->prepared)
			return true;
	}
	r = s->first;
	if (s->closing && (!r || now_s() >= s->close_by_s))
		return false;
	if (!r || !r->prepared) {
		wait_until(s, now_s() + 1);
		return true;
	}
	if (!s->closing && now_s() < s->not_before_s) {
		wait_until(s, s->not_before_s);
		return true;
	}
	r->busy = true;
	pthread_mutex_unlock(&s->lock);
	o = s->way->ops->attempt(s->way, s, r->bytes, r->len, &after_s, why, sizeof(why));
	pthread_mutex_lock(&s->lock);
	outcome_take(s, r, o, after_s, why);
	return !(s->closing && o == SENDER_LATER);
}

static void *run(void *ctx)
{
	struct sender *s = ctx;

	pthread_mutex_lock(&s->lock);
	while (step(s))
		;
	s->over = true;
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

static void sender_free(struct sender *s)
{
	while (s->first) {
		struct request *r = s->first;

		s->first = r->next;
		request_free(r);
	}
	way_free(s->way);
	way_free(s->next_way);
	pthread_cond_destroy(&s->wake);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

/* No signal is the thread's: the program's loop waits for them. */
static int thread_start(struct sender *s)
{
	sigset_t all, before;
	int err;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = pthread_create(&s->thread, NULL, run, s);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -err;
}

struct sender *sender_new(struct sender_way *way, int *ret_err)
{
	struct sender *s = way ? calloc(1, sizeof(*s)) : NULL;
	pthread_condattr_t monotonic;

	*ret_err = -ENOMEM;
	if (!s) {
		way_free(way);
		return NULL;
	}
	pthread_mutex_init(&s->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&s->wake, &monotonic);
	pthread_condattr_destroy(&monotonic);
	s->seed = (unsigned)clock_ns() ^ (unsigned)getpid();
	s->way = way;
	*ret_err = thread_start(s);
	if (!*ret_err)
		return s;
	sender_free(s);
	return NULL;
}

int sender_change(struct sender *s, struct sender_way *way)
{
	struct sender_way *now;

	if (!way)
		return -ENOMEM;
	pthread_mutex_lock(&s->lock);
	now = s->next_way ? s->next_way : s->way;
	queue_trim(s, way->queue, 0);
	if (now->ops == way->ops && way->ops->same(now, way)) { /* what is under way need not be sent twice */
		now->queue = way->queue;
		way_free(way);
	} else {
		way_free(s->next_way);
		s->next_way = way;
	}
	pthread_cond_signal(&s->wake);
	pthread_mutex_unlock(&s->lock);
	return 0;
}

void sender_counts(struct sender *s, struct sender_counts *ret)
{
	pthread_mutex_lock(&s->lock);
	*ret = s->counts;
	pthread_mutex_unlock(&s->lock);
}

int sender_state(struct sender *s, char *why, size_t why_len)
{
	int err;

	pthread_mutex_lock(&s->lock);
	err = s->err;
	if (err == -EAGAIN)
		snprintf(why, why_len, "%s; it is tried again, %llu of at most %llu requests wait", s->why, (unsigned long long)s->counts.queued,
			 (unsigned long long)s->way->queue);
	else if (err)
		snprintf(why, why_len, "%s", s->why);
	pthread_mutex_unlock(&s->lock);
	return err;
}

void sender_end(struct sender *s, double within_s)
{
	pthread_mutex_lock(&s->lock);
	if (!s->closing)
		s->close_by_s = now_s() + within_s;
	s->closing = true;
	pthread_cond_signal(&s->wake);
	pthread_mutex_unlock(&s->lock);
}

bool sender_ended(struct sender *s)
{
	bool over;

	pthread_mutex_lock(&s->lock);
	over = s->over;
	pthread_mutex_unlock(&s->lock);
	return over;
}

uint64_t sender_close(struct sender *s, double within_s)
{
	uint64_t lost;

	sender_end(s, within_s);
	pthread_join(s->thread, NULL);
	lost = s->counts.queued;
	sender_free(s);
	return lost;
}
