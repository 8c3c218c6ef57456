/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Names that an agent resolved by getaddrinfo, with the addresses it got. No return probe: on some kernels the return of a probed
 * function makes a system call that a process's seccomp filter may punish by death. Instead a call is noted at its entry, with the
 * place that is to receive the list; when freeaddrinfo is entered, the call whose place holds just that list is the one it came from.
 * Where no place does (the program moved the list, and the place is gone), it is the thread's own last call, provided that the thread
 * has no other that is open. In doubt nobody is named. And a connect to an address of a list that is still open tells its name at once.
 *
 * Hooks: tp_btf/inet_sock_set_state, for connects; uprobes at the entry of getaddrinfo and freeaddrinfo, in each libc that an agent has
 * mapped. A name costs a stranger 1.5 us, nearly all of it two traps, an agent 2.4 us; programs resolve some 1 to 100 a second. Each
 * start of a process that maps a probed libc costs 20 to 40 us more, since the two pages with the traps are copied.
 */
#include "core.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define AF_INET 2
#define AF_INET6 10
#define TCP_SYN_SENT 2
#define LOOKUPS 8 /* a power of two: calls of a process that are open at a time; of more the oldest are forgotten */
#define NAME_BYTES sizeof(((struct so_resolved *)NULL)->name)
#define LIST_MAX 32 /* entries of a list that are looked at: an address comes up to three times, once a socket type */

/* As glibc and musl lay it out on 64-bit machines. */
struct addrinfo {
	int flags, family, socktype, protocol;
	u32 addrlen;
	u32 pad;
	u64 addr, canonname, next;
};

struct address {
	u64 family;
	u64 part[2]; /* in network byte order; IPv4 in the first 4 bytes */
};

/* A call of getaddrinfo whose list has not been freed: it may have failed, too. */
struct lookup {
	u64 place; /* user address that receives the list; LOOKUP_*: none */
	u64 before; /* what was there at the entry: that of an earlier call, or anything */
	u32 tid;
	u32 again; /* an earlier call with the same place was open then */
	u64 asked; /* user address of the name, if it could not be read yet; else 0 */
	char name[NAME_BYTES]; /* "": of no interest */
};
#define LOOKUP_FREE 0
#define LOOKUP_BUSY 1 /* somebody writes or reads it */

/* Of all threads of a process, in the storage of its first thread: one thread may ask and another free the list (libuv). */
struct lookups {
	u32 turn; /* which to forget when all are in use */
	u32 era; /* in which they were noted: calls before and after a time without names have nothing to do with each other */
	struct lookup all[LOOKUPS];
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct lookups);
} lookups SEC(".maps");

/* Other threads are at it too: who exchanges its place for BUSY owns it until setting a place again. */
static __always_inline bool lookup_own(struct lookup *l, u64 place)
{
	return __sync_val_compare_and_swap(&l->place, place, LOOKUP_BUSY) == place;
}

static __always_inline void lookup_release(struct lookup *l, u64 place)
{
	barrier();
	*(volatile u64 *)&l->place = place;
}

/* Forgets calls of an earlier era: their places hold other things by now. */
static __always_inline void lookups_enter(struct lookups *all, u32 era)
{
	if (all->era == era)
		return;
	all->era = era;
	for (u32 i = 0; i < LOOKUPS; i++) {
		struct lookup *l = &all->all[i];
		u64 place = l->place;

		if (place > LOOKUP_BUSY && lookup_own(l, place))
			lookup_release(l, LOOKUP_FREE);
	}
}

/* The entry for a call that is to receive its list at `place`: that of an earlier call with the same place, a free one, or the oldest. */
static __always_inline struct lookup *lookup_begin(struct lookups *all, u64 place)
{
	struct lookup *l;

	for (u32 i = 0; i < LOOKUPS; i++) {
		l = &all->all[i];
		if (l->place != place || !lookup_own(l, place))
			continue;
		l->again = 1;
		return l;
	}
	for (u32 i = 0; i < LOOKUPS; i++) {
		l = &all->all[i];
		if (l->place == LOOKUP_FREE && lookup_own(l, LOOKUP_FREE))
			goto found;
	}
	l = &all->all[__sync_fetch_and_add(&all->turn, 1) % LOOKUPS];
	if (l->place == LOOKUP_BUSY || !lookup_own(l, l->place))
		return NULL;
found:
	l->again = 0;
	return l;
}

/* Takes the name. None at all (an address to bind to), or one that was perhaps cut off, is left out. 0 or negative errno. */
static __always_inline long lookup_name(struct lookup *l, u64 asked)
{
	long bytes = bpf_probe_read_user_str(l->name, NAME_BYTES, (void *)asked);

	if (bytes <= 1 || bytes == NAME_BYTES)
		l->name[0] = 0;
	return bytes < 0 ? bytes : 0;
}

/* Whether there is one to tell. */
static __always_inline bool lookup_named(struct lookup *l)
{
	if (l->asked && !lookup_name(l, l->asked))
		l->asked = 0;
	return l->name[0];
}

/* Of t's process. create: when it has none. */
static __always_inline struct lookups *lookups_get(struct task_struct *t, bool create)
{
	struct task_struct *leader = t->group_leader;
	struct lookups *all = bpf_task_storage_get(&lookups, leader, 0, create ? BPF_LOCAL_STORAGE_GET_F_CREATE : 0);

	if (!all && create) /* another thread has just created it */
		all = bpf_task_storage_get(&lookups, leader, 0, 0);
	return all;
}

/* int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **res) */
static __always_inline void on_query(struct pt_regs *ctx, struct task_struct *t, struct lookups *all)
{
	u64 asked = PT_REGS_PARM1(ctx), place = PT_REGS_PARM4(ctx);
	struct lookup *l;

	if (place <= LOOKUP_BUSY)
		return;
	lookups_enter(all, names_era);
	l = lookup_begin(all, place);
	if (!l)
		return;
	l->tid = t->pid;
	if (bpf_probe_read_user(&l->before, sizeof(l->before), (void *)place))
		l->before = 0;
	/* A constant in a page that nobody has touched yet is there only afterwards: getaddrinfo itself reads it. */
	l->asked = lookup_name(l, asked) ? asked : 0;
	lookup_release(l, place);
}

/* Offsets within sockaddr_in and sockaddr_in6. */
#define IN_ADDR 4
#define IN6_ADDR 8

/* Reads the list entry at *at, and moves on. 0, or negative errno at the end of what can be read. An address of another kind: family 0. */
static __always_inline long entry_read(u64 *at, struct address *ret)
{
	struct addrinfo ai;

	if (!*at || bpf_probe_read_user(&ai, sizeof(ai), (void *)*at))
		return -1;
	*at = ai.next;
	ret->family = ai.family;
	ret->part[0] = ret->part[1] = 0;
	if (ai.family == AF_INET)
		return bpf_probe_read_user(ret->part, 4, (void *)(ai.addr + IN_ADDR));
	if (ai.family == AF_INET6)
		return bpf_probe_read_user(ret->part, 16, (void *)(ai.addr + IN6_ADDR));
	ret->family = 0;
	return 0;
}

static __always_inline bool address_same(const struct address *a, const struct address *b)
{
	return a->family == b->family && a->part[0] == b->part[0] && a->part[1] == b->part[1];
}

static __always_inline void resolved_emit(const struct lookup *l, const struct address *a, u32 agent, u32 tid)
{
	emit(so_resolved, r, SO_RESOLVED, agent, tid) {
		r->family = a->family;
		__builtin_memset(r->pad, 0, sizeof(r->pad));
		__builtin_memcpy(r->address, a->part, sizeof(r->address));
		__builtin_memcpy(r->name, l->name, sizeof(r->name));
	}
}

struct list_walk {
	struct lookup *lookup;
	u64 next;
	u32 agent, tid;
	struct address last;
};

static int list_walk(u32 turn, struct list_walk *w)
{
	struct address a;

	if (entry_read(&w->next, &a))
		return 1;
	/* Repetitions of an address follow one another. */
	if (!a.family || address_same(&a, &w->last))
		return 0;
	w->last = a;
	resolved_emit(w->lookup, &a, w->agent, w->tid);
	return 0;
}

struct lookup_search {
	struct lookups *all;
	u64 list;
	u32 tid;
	u32 found; /* index of the call whose place holds the list, owned; LOOKUPS: none */
	u32 doubt; /* there is another, or this one may have failed */
	u32 own; /* index of a call of the thread itself that has another place; LOOKUPS: none */
	u32 owns; /* how many of these there are */
};

static int lookup_search(u32 i, struct lookup_search *s)
{
	struct lookup *l;
	u64 place, there;

	if (i >= LOOKUPS)
		return 1;
	l = &s->all->all[i];
	place = l->place;
	if (place <= LOOKUP_BUSY)
		return 0;
	if (bpf_probe_read_user(&there, sizeof(there), (void *)place) || there != s->list) {
		if (l->tid == s->tid) {
			s->own = i;
			s->owns++;
		}
		return 0;
	}
	if (!lookup_own(l, place))
		return 0;
	if (l->again && l->before == s->list) /* the list may be the earlier call's */
		s->doubt = 1;
	if (s->found < LOOKUPS) {
		s->doubt = 1;
		lookup_release(l, LOOKUP_FREE);
	} else {
		s->found = i;
	}
	return 0;
}

/* Forgets a thread's calls: which of them a list came from can't be told any more. */
static int lookup_forget(u32 i, struct lookup_search *s)
{
	struct lookup *l;
	u64 place;

	if (i >= LOOKUPS)
		return 1;
	l = &s->all->all[i];
	place = l->place;
	if (place > LOOKUP_BUSY && l->tid == s->tid && lookup_own(l, place))
		lookup_release(l, LOOKUP_FREE);
	return 0;
}

/* The call that got `list`, owned by the caller; NULL if none is sure. */
static __always_inline struct lookup *lookup_end(struct lookups *all, u64 list, u32 tid)
{
	struct lookup_search s = { .all = all, .list = list, .tid = tid, .found = LOOKUPS, .own = LOOKUPS };
	struct lookup *l;
	bool sure;
	u64 place;

	bpf_loop(LOOKUPS, lookup_search, &s, 0);
	if (s.found < LOOKUPS) {
		l = &all->all[s.found];
		sure = !s.doubt;
	} else if (s.owns == 1 && s.own < LOOKUPS) {
		l = &all->all[s.own];
		place = l->place;
		if (place <= LOOKUP_BUSY || !lookup_own(l, place))
			return NULL;
		sure = l->tid == tid && !l->again;
	} else {
		if (s.owns)
			bpf_loop(LOOKUPS, lookup_forget, &s, 0);
		return NULL;
	}
	if (sure && lookup_named(l))
		return l;
	lookup_release(l, LOOKUP_FREE);
	return NULL;
}

/* void freeaddrinfo(struct addrinfo *res) */
static __always_inline void on_free(struct pt_regs *ctx, struct task_struct *t, struct membership *m, struct lookups *all)
{
	struct list_walk w = { .next = PT_REGS_PARM1(ctx), .agent = m->agent, .tid = t->pid };

	if (!w.next || all->era != names_era)
		return;
	w.lookup = lookup_end(all, w.next, t->pid);
	if (!w.lookup)
		return;
	bpf_loop(LIST_MAX, list_walk, &w, 0);
	lookup_release(w.lookup, LOOKUP_FREE);
}

/* One program for both functions, so that one link of many places can serve a library. */
SEC("?uprobe")
int names__call(struct pt_regs *ctx)
{
	struct task_struct *t;
	struct membership *m = member_current_rare(&t);
	struct lookups *all;
	bool query;

	if (!m || names_era & 1)
		return 0;
	query = bpf_get_attach_cookie(ctx) == SO_SITE_GETADDRINFO;
	all = lookups_get(t, query);
	if (!all && query)
		loss_count(SO_RESOLVED, SO_LOSS_NO_STORAGE);
	else if (all && query)
		on_query(ctx, t, all);
	else if (all)
		on_free(ctx, t, m, all);
	bpf_tail_call(ctx, &tails, 0); /* see there */
	return 0;
}

SEC("?iter/task")
int names__release(struct bpf_iter__task *ctx)
{
	return task_let_go(lookups, ctx->task);
}

struct dial {
	struct lookups *all;
	struct address to;
	u64 next; /* entry of the list at hand */
	u64 place; /* of the call found */
	u32 found; /* its index; LOOKUPS: none */
	u32 several;
	u32 hit;
};

static int dial_entry(u32 turn, struct dial *d)
{
	struct address a;

	if (entry_read(&d->next, &a))
		return 1;
	d->hit = address_same(&a, &d->to);
	return d->hit;
}

static int dial_lookup(u32 i, struct dial *d)
{
	struct lookup *l;
	u64 place;

	if (i >= LOOKUPS)
		return 1;
	l = &d->all->all[i];
	place = l->place;
	if (place <= LOOKUP_BUSY || bpf_probe_read_user(&d->next, sizeof(d->next), (void *)place))
		return 0;
	if (d->next == l->before) /* not written yet, or failed */
		return 0;
	d->hit = 0;
	bpf_loop(LIST_MAX, dial_entry, d, 0);
	if (!d->hit)
		return 0;
	d->several = d->found < LOOKUPS;
	d->found = i;
	d->place = place;
	return d->several;
}

/* A connect to an address of a list that is not freed yet: many programs free it only when the connection stands. */
SEC("?tp_btf/inet_sock_set_state")
int BPF_PROG(names__connect, struct sock *sk, int old, int new)
{
	struct dial d = { .found = LOOKUPS };
	struct task_struct *t;
	struct membership *m;
	struct lookup *l;

	if (new != TCP_SYN_SENT || names_era & 1)
		return 0;
	m = member_current_rare(&t);
	if (!m)
		return 0;
	d.all = lookups_get(t, false);
	if (!d.all || d.all->era != names_era)
		return 0;
	d.to.family = sk->__sk_common.skc_family;
	if (d.to.family == AF_INET)
		d.to.part[0] = sk->__sk_common.skc_daddr;
	else
		bpf_probe_read_kernel(d.to.part, sizeof(d.to.part), &sk->__sk_common.skc_v6_daddr);
	bpf_loop(LOOKUPS, dial_lookup, &d, 0);
	if (d.several || d.found >= LOOKUPS)
		return 0;
	l = &d.all->all[d.found];
	if (!lookup_own(l, d.place))
		return 0;
	if (lookup_named(l))
		resolved_emit(l, &d.to, m->agent, t->pid);
	lookup_release(l, d.place);
	return 0;
}
