/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Names that an agent resolved: exactly what its calls gave, none of a stranger's, none guessed, and no harm to a process under seccomp. */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "collect/decode.h"
#include "lib/util.h"
#include "lib_live.h"
#include "probe/features.h"

#define ENTRIES_MAX 64
#define THREADS 4
#define CALLS_EACH 200
#define RECORDS_MAX (2 * THREADS * CALLS_EACH)

/* --- what workers resolve, as they tell it in memory shared with the test --- */

struct entry {
	char name[160];
	int family;
	uint8_t address[16];
};

struct script {
	int len;
	struct entry entries[ENTRIES_MAX];
	volatile int status; /* of a child */
};

static struct script *script_new(void)
{
	struct script *s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert_true(s != MAP_FAILED);
	return s;
}

static void address_take(const struct sockaddr *sa, struct entry *e)
{
	e->family = sa->sa_family;
	memset(e->address, 0, sizeof(e->address));
	if (sa->sa_family == AF_INET)
		memcpy(e->address, &((const struct sockaddr_in *)sa)->sin_addr, 4);
	else
		memcpy(e->address, &((const struct sockaddr_in6 *)sa)->sin6_addr, 16);
}

/* Notes each address of the list once. */
static void script_note(struct script *s, const char *name, const struct addrinfo *list)
{
	int first = s->len;

	for (; list; list = list->ai_next) {
		struct entry *e = &s->entries[s->len];
		bool known = false;

		worker_check(s->len < ENTRIES_MAX);
		memset(e, 0, sizeof(*e));
		snprintf(e->name, sizeof(e->name), "%s", name);
		address_take(list->ai_addr, e);
		for (int i = first; i < s->len; i++)
			known |= !memcmp(&s->entries[i], e, sizeof(*e));
		s->len += !known;
	}
}

static void resolve(struct script *s, const char *name)
{
	struct addrinfo *list = NULL;

	worker_check(!getaddrinfo(name, "80", NULL, &list));
	script_note(s, name, list);
	freeaddrinfo(list);
}

static void resolve_fails(struct addrinfo **place)
{
	struct addrinfo hints = { .ai_flags = AI_NUMERICHOST };

	worker_check(getaddrinfo("no.number", NULL, &hints, place) == EAI_NONAME);
}

/* --- the observer, with this probe alone --- */

static struct observer *observer;
static struct so_resolved records[RECORDS_MAX];
static int records_len;

static void on_batch(void *ctx, const void *data, size_t size)
{
	const struct so_head *r;
	size_t pos = 0;
	int ret;

	(void)ctx;
	while ((ret = decode_next(data, size, &pos, &r)) > 0)
		if (r->kind == SO_RESOLVED) {
			assert_true(records_len < RECORDS_MAX);
			memcpy(&records[records_len++], r, sizeof(records[0]));
		}
	assert_int_equal(ret, 0);
}

static void watch(const pid_t *pids, int n)
{
	struct observer_config c = { .ring_bytes = 8 << 20 };
	uint32_t tgids[4], slots[4];
	char why[512] = "";

	assert_in_range(n, 1, 4);
	c.probe_on[PROBE_NAMES] = true;
	if (observer_new(&c, &observer, why, sizeof(why)))
		fail_msg("observer_new: %s", why);
	assert_int_equal(observer_load(observer), 0);
	assert_int_equal(observer_attach(observer), 0);
	for (int i = 0; i < n; i++) {
		tgids[i] = pids[i];
		slots[i] = i + 1;
	}
	assert_true(observer_seed(observer, tgids, slots, n) >= n);
	assert_in_range(observer_drain(observer, on_batch, NULL), 0, INT32_MAX); /* attaches to what they have mapped */
}

static int by_time(const void *a, const void *b)
{
	const struct so_resolved *x = a, *y = b;

	return x->head.time_ns < y->head.time_ns ? -1 : x->head.time_ns > y->head.time_ns;
}

/* All there are, in order of time. */
static void records_read(void)
{
	struct observer_counts counts;

	while (observer_flush(observer, true) > 0)
		;
	assert_true(observer_drain(observer, on_batch, NULL) >= 0);
	observer_counts_read(observer, &counts);
	for (int r = 0; r < SO_LOSS_COUNT; r++)
		assert_int_equal(counts.lost[SO_RESOLVED][r], 0);
	assert_int_equal(counts.seen[SO_RESOLVED], records_len);
	qsort(records, records_len, sizeof(records[0]), by_time);
}

static void record_check(const struct so_resolved *r, const struct entry *e, const struct worker *w)
{
	assert_int_equal(r->head.agent, 1);
	if (w)
		assert_int_equal(r->head.tid, w->pid);
	assert_int_equal(r->family, e->family);
	assert_string_equal(r->name, e->name);
	assert_memory_equal(r->address, e->address, sizeof(e->address));
}

/* The records are those of the script, in its order. */
static void records_check(const struct script *s, const struct worker *w)
{
	assert_int_equal(records_len, s->len);
	for (int i = 0; i < s->len; i++)
		record_check(&records[i], &s->entries[i], w);
}

/* Runs a scene, a worker that pauses before and after what it has to show, as the only agent. */
static struct worker *scene_play(worker_fn scene, struct script *s)
{
	struct worker *w = worker_start(scene, s);

	worker_settle(w);
	watch(&w->pid, 1);
	worker_go(w);
	worker_settle(w);
	records_read();
	return w;
}

static int names_setup(void **state)
{
	records_len = 0;
	observer = NULL;
	return live_setup(state);
}

static int names_teardown(void **state)
{
	live_teardown(state);
	observer_free(observer);
	return 0;
}

static void names_need(void)
{
	char why[256];

	live_need(PROBE_NAMES);
	if (feature_has(FEATURE_UPROBE, why, sizeof(why)))
		return;
	print_message("skip: kernel: %s\n", why);
	skip();
}

/* --- names and addresses --- */

static int resolver(struct worker *self, void *arg)
{
	worker_pause(self);
	resolve(arg, "localhost"); /* from /etc/hosts */
	resolve(arg, "127.0.0.7");
	resolve(arg, "::1");
	resolve(arg, "2001:db8::7");
	resolve(arg, "localhost");
	worker_pause(self);
	return 0;
}

static void test_names(void **state)
{
	struct script *of_agent = script_new(), *of_stranger = script_new();
	struct worker *agent, *stranger;

	(void)state;
	names_need();
	agent = worker_start(resolver, of_agent);
	stranger = worker_start(resolver, of_stranger);
	worker_settle(agent);
	worker_settle(stranger);
	watch(&agent->pid, 1);
	worker_go(stranger);
	worker_settle(stranger);
	worker_go(agent);
	worker_settle(agent);
	records_read();
	assert_true(of_stranger->len >= 5);
	assert_int_equal(of_stranger->len, of_agent->len);
	records_check(of_agent, agent);
	worker_go(stranger);
	worker_go(agent);
	assert_int_equal(worker_wait(stranger), 0);
	assert_int_equal(worker_wait(agent), 0);
}

/* --- for a time nothing is read --- */

/* A list from before is freed in between, another one is asked for in between and freed afterwards, at the same place. */
static int with_pauses(struct worker *self, void *arg)
{
	struct addrinfo *list;

	worker_pause(self);
	worker_check(!getaddrinfo("127.3.3.1", NULL, NULL, &list));
	worker_pause(self);
	freeaddrinfo(list);
	worker_check(!getaddrinfo("127.3.3.2", NULL, NULL, &list));
	worker_pause(self);
	freeaddrinfo(list);
	resolve(arg, "127.3.3.3");
	worker_pause(self);
	return 0;
}

static void test_without_detail(void **state)
{
	struct script *s = script_new();
	struct worker *w;

	(void)state;
	names_need();
	w = worker_start(with_pauses, s);
	worker_settle(w);
	watch(&w->pid, 1);
	for (int i = 0; i < 3; i++) {
		observer_detail(observer, &(struct so_detail){ .names = i == 1 ? SO_DETAIL_COUNTS : SO_DETAIL_FULL });
		worker_go(w);
		worker_settle(w);
	}
	records_read();
	records_check(s, w); /* the last one alone */
	worker_go(w);
	assert_int_equal(worker_wait(w), 0);
}

/* --- lists that live on, move, and pass between threads --- */

static void *asker(void *arg)
{
	struct addrinfo **place = arg;

	worker_check(!getaddrinfo("127.1.2.3", NULL, NULL, place));
	return NULL;
}

/* As libuv does it: a thread of the pool asks, the main thread frees. */
static int hand_over(struct worker *self, void *arg)
{
	struct addrinfo *list[3] = {};
	pthread_t t[3];

	worker_pause(self);
	for (int i = 0; i < 3; i++) {
		worker_check(!pthread_create(&t[i], NULL, asker, &list[i]));
		pthread_join(t[i], NULL);
	}
	for (int i = 0; i < 3; i++) {
		script_note(arg, "127.1.2.3", list[2 - i]);
		freeaddrinfo(list[2 - i]);
	}
	worker_pause(self);
	return 0;
}

static void test_other_thread_frees(void **state)
{
	struct script *s = script_new();

	(void)state;
	names_need();
	records_check(s, scene_play(hand_over, s));
	assert_int_equal(s->len, 3);
}

static struct addrinfo *ask_moved(const char *name, struct addrinfo **place)
{
	struct addrinfo *list;

	worker_check(!getaddrinfo(name, NULL, NULL, place));
	list = *place;
	*place = NULL;
	return list;
}

/* The place of the list is used for something else before the list is freed, as compilers do with a stack frame that has ended. */
static int moved(struct worker *self, void *arg)
{
	struct addrinfo *place[2], *list[2];

	worker_pause(self);
	/* The only open call: it is that one. */
	list[0] = ask_moved("127.0.1.1", &place[0]);
	script_note(arg, "127.0.1.1", list[0]);
	freeaddrinfo(list[0]);
	/* Two open ones, at two places and at one: nobody can tell. */
	list[0] = ask_moved("127.0.1.2", &place[0]);
	list[1] = ask_moved("127.0.1.3", &place[1]);
	freeaddrinfo(list[0]);
	freeaddrinfo(list[1]);
	list[0] = ask_moved("127.0.1.4", &place[0]);
	list[1] = ask_moved("127.0.1.5", &place[0]);
	freeaddrinfo(list[0]);
	freeaddrinfo(list[1]);
	/* That is over now. */
	list[0] = ask_moved("127.0.1.6", &place[0]);
	script_note(arg, "127.0.1.6", list[0]);
	freeaddrinfo(list[0]);
	worker_pause(self);
	return 0;
}

static void test_moved_lists(void **state)
{
	struct script *s = script_new();

	(void)state;
	names_need();
	records_check(s, scene_play(moved, s));
	assert_int_equal(s->len, 2);
}

static int failures(struct worker *self, void *arg)
{
	struct addrinfo *place = NULL, *copy;
	char name[160];

	worker_pause(self);
	/* A call that fails leaves the earlier list where it is. */
	worker_check(!getaddrinfo("127.0.2.1", NULL, NULL, &place));
	resolve_fails(&place);
	freeaddrinfo(place);
	/* Two places hold the list. */
	worker_check(!getaddrinfo("127.0.2.2", NULL, NULL, &place));
	resolve_fails(&copy);
	copy = place;
	freeaddrinfo(place);
	/* No name: an address to bind to. And one too long to be told whole. */
	worker_check(!getaddrinfo(NULL, "80", NULL, &place));
	freeaddrinfo(place);
	snprintf(name, sizeof(name), "0x%0150x", INADDR_LOOPBACK);
	worker_check(!getaddrinfo(name, "80", NULL, &place));
	freeaddrinfo(place);
	freeaddrinfo(NULL);
	/* More failures than there is room for, then all is as before. */
	for (int i = 0; i < 30; i++) {
		struct addrinfo *places[30];

		resolve_fails(&places[i]);
	}
	resolve(arg, "127.0.2.3");
	worker_pause(self);
	return 0;
}

static void test_failed_calls(void **state)
{
	struct script *s = script_new();

	(void)state;
	names_need();
	records_check(s, scene_play(failures, s));
	assert_int_equal(s->len, 1);
}

/* --- connects while the list is kept --- */

static void dial(const struct addrinfo *to)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	worker_check(fd >= 0 && !connect(fd, to->ai_addr, to->ai_addrlen));
	close(fd);
}

static int dialler(struct worker *self, void *arg)
{
	struct sockaddr_in at = { .sin_family = AF_INET }; /* any address, any port */
	struct addrinfo *list[2], elsewhere = { .ai_addrlen = sizeof(at) }, hints = { .ai_socktype = SOCK_STREAM };
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	socklen_t len = sizeof(at);
	char port[16];

	worker_check(listener >= 0 && !bind(listener, (void *)&at, len) && !listen(listener, 16) && !getsockname(listener, (void *)&at, &len));
	snprintf(port, sizeof(port), "%d", ntohs(at.sin_port));
	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 8);
	elsewhere.ai_addr = (void *)&at;
	worker_pause(self);
	worker_check(!getaddrinfo("127.1", port, &hints, &list[0]));
	dial(list[0]);
	script_note(arg, "127.1", list[0]); /* by now */
	dial(&elsewhere);
	worker_check(!getaddrinfo("127.0.1", port, &hints, &list[1]));
	dial(list[1]); /* either name may be meant */
	script_note(arg, "127.0.1", list[1]);
	freeaddrinfo(list[1]);
	dial(list[0]); /* only one again */
	script_note(arg, "127.1", list[0]);
	script_note(arg, "127.1", list[0]);
	freeaddrinfo(list[0]);
	dial(&elsewhere);
	worker_pause(self);
	return 0;
}

static void test_connects(void **state)
{
	struct script *s = script_new();

	(void)state;
	names_need();
	live_need(PROBE_SOCK); /* for the tracepoint of connects */
	records_check(s, scene_play(dialler, s));
	assert_int_equal(s->len, 4);
}

/* --- threads at it together --- */

static void *many_calls(void *arg)
{
	for (int i = 0; i < CALLS_EACH; i++) {
		struct addrinfo *list, hints = { .ai_socktype = SOCK_STREAM };
		char name[32];

		snprintf(name, sizeof(name), "127.1.%d.%d", (int)(intptr_t)arg, i);
		worker_check(!getaddrinfo(name, NULL, &hints, &list));
		freeaddrinfo(list);
	}
	return NULL;
}

static int crowd(struct worker *self, void *arg)
{
	pthread_t t[THREADS];

	(void)arg;
	worker_pause(self);
	for (intptr_t i = 0; i < THREADS; i++)
		worker_check(!pthread_create(&t[i], NULL, many_calls, (void *)i));
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	worker_pause(self);
	return 0;
}

static void test_threads(void **state)
{
	(void)state;
	names_need();
	scene_play(crowd, NULL);
	assert_int_equal(records_len, THREADS * CALLS_EACH);
	for (int i = 0; i < records_len; i++) { /* each name is its address */
		char text[INET_ADDRSTRLEN];

		assert_int_equal(records[i].family, AF_INET);
		assert_string_equal(records[i].name, inet_ntop(AF_INET, records[i].address, text, sizeof(text)));
		for (int k = 0; k < i; k++)
			assert_string_not_equal(records[i].name, records[k].name);
	}
}

/* --- other processes --- */

/* Our links to uprobes: one a library, or, on older kernels, one a function. */
static int uprobe_links(void)
{
	DIR *dir = opendir("/proc/self/fdinfo");
	struct dirent *d;
	int n = 0;

	assert_non_null(dir);
	while ((d = readdir(dir))) {
		char path[300], text[4096];

		snprintf(path, sizeof(path), "/proc/self/fdinfo/%s", d->d_name);
		if (file_read(path, text, sizeof(text)) <= 0)
			continue;
		if (strstr(text, "link_type:\tuprobe_multi"))
			n += 2;
		n += strstr(text, "link_type:\tperf") != NULL;
	}
	closedir(dir);
	return n;
}

/* A child, and a program that it runs: this one again, see main(). */
static int parent(struct worker *self, void *arg)
{
	struct script *s = arg;
	int status = 0;
	pid_t pid;

	worker_pause(self);
	pid = fork();
	if (!pid) {
		resolve(s, "127.0.3.1");
		execl("/proc/self/exe", "test_names", "127.0.3.2", NULL);
		_exit(98);
	}
	worker_check(waitpid(pid, &status, 0) == pid);
	s->status = status;
	worker_pause(self);
	return 0;
}

static void test_descendants(void **state)
{
	struct script *s = script_new();
	struct worker *w[2];

	(void)state;
	names_need();
	for (int i = 0; i < 2; i++) {
		w[i] = worker_start(parent, s);
		worker_settle(w[i]);
	}
	watch((pid_t[]){ w[0]->pid, w[1]->pid }, 2);
	assert_int_equal(uprobe_links(), 2); /* both map the same library: attached once */
	worker_go(w[0]);
	worker_settle(w[0]);
	observer_process_seen(observer, w[0]->pid, 1, SEEN_EXEC, 0);
	observer_process_seen(observer, 2, 1, SEEN_EXEC, 0); /* kernel threads have no program, */
	observer_process_seen(observer, 0x7fffffff, 1, SEEN_EXEC, 0); /* and some processes are gone */
	records_read();
	assert_int_equal(uprobe_links(), 2);
	assert_int_equal(s->status, 0);
	assert_int_equal(records_len, 2);
	assert_string_equal(records[0].name, "127.0.3.1");
	assert_string_equal(records[1].name, "127.0.3.2");
	assert_int_equal(records[0].head.tid, records[1].head.tid);
}

/* --- a process that dies of any system call but a few --- */

#define ALLOW(nr) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

static void confine(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		ALLOW(__NR_read),
		ALLOW(__NR_write),
		ALLOW(__NR_brk),
		ALLOW(__NR_mmap),
		ALLOW(__NR_munmap),
		ALLOW(__NR_futex),
		ALLOW(__NR_rt_sigreturn),
		ALLOW(__NR_exit_group),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	};
	struct sock_fprog prog = { ARRAY_SIZE(filter), filter };

	worker_check(!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	worker_check(!prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog));
}

static int confined(struct worker *self, void *arg)
{
	struct addrinfo *list, hints = { .ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_STREAM };

	confine();
	worker_pause(self);
	for (int i = 0; i < 10; i++) {
		worker_check(!getaddrinfo("127.0.4.1", NULL, &hints, &list));
		script_note(arg, "127.0.4.1", list);
		freeaddrinfo(list);
	}
	worker_pause(self);
	return 0;
}

static int confined_badly(struct worker *self, void *arg)
{
	(void)arg;
	confine();
	worker_pause(self);
	syscall(__NR_getppid); /* not allowed */
	return 0;
}

static void test_seccomp(void **state)
{
	struct script *s = script_new();
	struct worker *w, *control;

	(void)state;
	names_need();
	w = scene_play(confined, s);
	assert_int_equal(s->len, 10);
	records_check(s, w);
	worker_go(w);
	assert_int_equal(worker_wait(w), 0);
	control = worker_start(confined_badly, NULL);
	worker_settle(control);
	worker_go(control);
	assert_int_equal(worker_wait(control) & 0x7f, SIGSYS);
}

/* With a name: resolves it, as a program that an agent runs. */
int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, names_setup, names_teardown)
		T(test_names),	  T(test_other_thread_frees), T(test_moved_lists), T(test_failed_calls),
		T(test_connects), T(test_threads),	      T(test_descendants), T(test_seccomp),
		T(test_without_detail),
#undef T
	};

	if (argc > 1) {
		struct addrinfo *list;

		if (getaddrinfo(argv[1], NULL, NULL, &list))
			return 97;
		freeaddrinfo(list);
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
