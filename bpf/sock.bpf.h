/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Connections in socket storage: made when an agent first touches a socket, cloned from a listener to what it accepts, gone with the socket.
 * Each has a number, and is announced once (so_open) before anything else of it.
 *
 * Two objects share this: sock.bpf.c, whose the maps and variables are, and sock_old.bpf.c.
 */
#ifndef STAKEOUT_SOCK_BPF_H
#define STAKEOUT_SOCK_BPF_H

#include "core.bpf.h"
#include "dup.bpf.h"

#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10
#define SOCK_STREAM 1
#define SOCK_DGRAM 2
#define TCP_ESTABLISHED 1
#define TCP_SYN_SENT 2
#define TCP_SYN_RECV 3
#define TCP_CLOSE 7
#define TCP_CLOSE_WAIT 8
#define TCP_LISTEN 10
#define DNS_PORT 53
#define IPPROTO_TCP 6
#define MSG_PEEK 2
#define MSG_ERRQUEUE 0x2000

#define CFG_SYSCALLS 512
/* Where a system call's buffer is, by its number, filled by the loader: enum so_buffer. */
enum so_buffer { BUFFER_NONE = 0, BUFFER_PLAIN = 1, BUFFER_VECTOR = 2, BUFFER_MESSAGE = 3 };
extern const volatile __u8 cfg_buffers[CFG_SYSCALLS];
extern const volatile bool cfg_names; /* read the first bytes of connections, and DNS answers */
extern __u32 socket_count;

struct connection {
	u32 agent;
	u32 tgid; /* of the process that has it */
	u64 start_ns; /* of a connect under way */
	u64 arrived_ns; /* first data that nobody has read yet; set in interrupts, cleared by the reader */
	u32 number; /* 0: not announced */
	u32 user; /* thread that used it last: it belongs to the agent */
	u32 role;
	u32 flags;
	u32 era; /* of the last send or receive, or, with ERA_FRESH, in which it was opened */
	u32 pad;
};
#define ERA_BLIND 1 /* bit of an era: sends and receives are counted only */
#define ERA_FRESH 0x80000000 /* nothing was sent or received yet */
#define ARRIVED_UNKNOWN (~0ULL) /* there may be data that arrived unseen */
#define CONNECTION_READ 1 /* its first bytes were looked at */
#define CONNECTION_CLOSED 2 /* its end was told */
#define CONNECTION_HELD 4 /* of what was sent since the last receive, something was still there when the call returned */

#ifdef SOCK_DEFINE_MAPS
#define SOCK_MAP
#else
#define SOCK_MAP extern
#endif

SOCK_MAP struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE);
	__type(key, int);
	__type(value, struct connection);
} sockets SEC(".maps");

/* By CPU and agent. */
SOCK_MAP struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, SO_MAX_CPUS * SO_MAX_AGENTS);
	__type(key, u32);
	__type(value, struct so_traffic);
} traffic SEC(".maps");

static __always_inline u16 swap16(u16 x)
{
	return x >> 8 | x << 8;
}

/* The path of whichever end has one: the listening side. */
static __always_inline void open_unix(struct so_open *r, struct sock *sk)
{
	struct unix_sock *u = bpf_skc_to_unix_sock(sk);
	struct unix_address *a;
	u32 len;

	if (!u)
		return;
	a = BPF_CORE_READ(u, addr);
	if (!a) {
		struct unix_sock *peer = (struct unix_sock *)BPF_CORE_READ(u, peer);

		if (!peer)
			return;
		a = BPF_CORE_READ(peer, addr);
		if (!a) {
			if (r->role == SO_ROLE_UNKNOWN)
				r->role = SO_ROLE_PAIR;
			return;
		}
		if (r->role == SO_ROLE_UNKNOWN)
			r->role = SO_ROLE_CLIENT;
	} else if (r->role == SO_ROLE_UNKNOWN) {
		r->role = SO_ROLE_SERVER;
	}
	len = BPF_CORE_READ(a, len) - sizeof(u16);
	if (len > sizeof(r->path))
		return;
	bpf_probe_read_kernel(r->path, len, &a->name[0].sun_path);
	r->path_bytes = len;
}

/* Numbers and announces a connection. */
static __noinline void connection_open(struct sock *sk, struct connection *c, u32 role)
{
	u32 family = sk->__sk_common.skc_family;

	c->number = __sync_fetch_and_add(&socket_count, 1) + 1;
	c->role = role;
	c->flags = 0;
	c->arrived_ns = 0;
	c->era = sock_era | ERA_FRESH;
	emit(so_open, r, SO_OPEN, c->agent, c->tgid) {
		u64 *zero = (u64 *)&r->local;

		r->socket = c->number;
		r->family = family;
		r->type = sk->sk_type;
		r->role = role;
		r->path_bytes = 0;
		r->local_port = r->remote_port = 0;
		/* All of the rest, in words. */
		for (int i = 0; i < (int)((sizeof(*r) - __builtin_offsetof(struct so_open, local)) / 8); i++)
			zero[i] = 0;
		r->thread = c->user;
		if (family == AF_INET) {
			*(u32 *)r->local = sk->__sk_common.skc_rcv_saddr;
			*(u32 *)r->remote = sk->__sk_common.skc_daddr;
		} else if (family == AF_INET6) {
			bpf_probe_read_kernel(r->local, sizeof(r->local), &sk->__sk_common.skc_v6_rcv_saddr);
			bpf_probe_read_kernel(r->remote, sizeof(r->remote), &sk->__sk_common.skc_v6_daddr);
		} else if (family == AF_UNIX) {
			open_unix(r, sk);
			c->role = r->role;
		}
		if (family != AF_UNIX) {
			r->local_port = sk->__sk_common.skc_num;
			r->remote_port = swap16(sk->__sk_common.skc_dport);
		}
	}
}

/* The socket's connection, made where there is none: of nobody, without a number. NULL: no room, which is counted. */
static __always_inline struct connection *connection_get(struct sock *sk)
{
	struct connection *c = bpf_sk_storage_get(&sockets, sk, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);

	if (!c) /* another thread made it at the same time */
		c = bpf_sk_storage_get(&sockets, sk, 0, 0);
	if (!c)
		loss_count(SO_OPEN, SO_LOSS_NO_STORAGE);
	return c;
}

/* The connection behind a socket that thread t uses, or NULL: t is nobody's. The slow path: the thread is not the one that used it last. */
static __noinline struct connection *connection_touch(struct sock *sk, struct task_struct *t)
{
	struct membership *m = bpf_task_storage_get(&tasks, t, 0, 0);
	struct connection *c;

	if (!m)
		return NULL;
	c = connection_get(sk);
	if (!c)
		return NULL;
	c->agent = m->agent;
	c->tgid = t->tgid;
	c->user = t->pid;
	if (!c->number)
		connection_open(sk, c, SO_ROLE_UNKNOWN);
	return c;
}

/* Address of the buffer that the current system call sends from or received into, and *ret_len, its length; 0: not known. */
static __always_inline u64 syscall_buffer(struct task_struct *t, u32 *ret_len)
{
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(t);
	u64 vector[2] = {}, at;
	int nr;

	if (!regs)
		return 0;
	nr = SYSCALL_NR(regs);
	if (nr < 0 || nr >= CFG_SYSCALLS)
		return 0;
	at = SYSCALL_ARG2(regs);
	switch (cfg_buffers[nr]) {
	case BUFFER_PLAIN:
		*ret_len = SYSCALL_ARG3(regs);
		return at;
	case BUFFER_MESSAGE: /* struct msghdr: msg_iov is its third word */
		if (bpf_probe_read_user(&at, sizeof(at), (void *)(at + 16)))
			return 0;
		break;
	case BUFFER_VECTOR:
		break;
	default:
		return 0;
	}
	if (bpf_probe_read_user(vector, sizeof(vector), (void *)at))
		return 0;
	*ret_len = vector[1] > SO_CONTENT_BYTES ? SO_CONTENT_BYTES : vector[1];
	return vector[0];
}

/* What the current system call sent or received, up to SO_CONTENT_BYTES. The page was in use a moment ago; where it is not there, nothing is sent. */
static __noinline int content_send(struct connection *c, struct task_struct *t, u32 bytes, u32 received)
{
	u32 len = 0;
	u64 from = syscall_buffer(t, &len);

	if (!from)
		return 0;
	if (len > bytes)
		len = bytes;
	if (len > SO_CONTENT_BYTES)
		len = SO_CONTENT_BYTES;
	emit(so_content, r, SO_CONTENT, c->agent, t->pid) {
		u64 *zero = (u64 *)r->data;

		r->socket = c->number;
		r->received = received;
		__builtin_memset(r->pad, 0, sizeof(r->pad));
		for (int i = 0; i < SO_CONTENT_BYTES / 8; i++)
			zero[i] = 0;
		r->bytes = bpf_probe_read_user(r->data, len, (void *)from) ? 0 : len;
	}
	return 0;
}

/* A socket that an agent shares with somebody else: what had arrived is gone. */
static __always_inline void read_by_stranger(struct sock *sk)
{
	struct connection *c = bpf_sk_storage_get(&sockets, sk, 0, 0);

	if (c)
		c->arrived_ns = 0;
}

/* A tracepoint's program runs once at a time on a CPU, and no other one adds here; of those at functions there are several. */
#ifdef SOCK_DEFINE_MAPS
#define own_add(p, n) ((p) += (n))
#else
#define own_add(p, n) __sync_fetch_and_add(&(p), n)
#endif

static __always_inline void event_count(u32 event)
{
	struct so_lane *l = lane_get(SO_LANES - 1);

	if (l)
		own_add(l->events[event], 1);
}

/* All that is left of a send or receive where there are only counts. */
static __always_inline void transfer_count(u32 agent, u32 bytes, const u32 kind)
{
	u32 key = bpf_get_smp_processor_id() * SO_MAX_AGENTS + agent;
	struct so_traffic *t = bpf_map_lookup_elem(&traffic, &key);

	if (t && kind == SO_SEND)
		own_add(t->sent_bytes, bytes);
	else if (t)
		own_add(t->received_bytes, bytes);
	event_count(kind == SO_SEND ? SO_EVENT_SEND : SO_EVENT_RECV);
}

/* The first bytes of a connection, and answers of DNS. What can't be read now is not read later: it would not be the first then. */
static __always_inline void names_look(struct sock *sk, struct connection *c, struct task_struct *t, u32 bytes, const u32 kind)
{
	if (kind == SO_SEND && !(c->flags & CONNECTION_READ)) {
		c->flags |= CONNECTION_READ;
		if (detail.names != SO_DETAIL_COUNTS && c->role != SO_ROLE_SERVER && c->role != SO_ROLE_PAIR)
			content_send(c, t, bytes, 0);
	}
	if (kind == SO_RECV && sk->sk_type == SOCK_DGRAM && swap16(sk->__sk_common.skc_dport) == DNS_PORT && detail.names != SO_DETAIL_COUNTS)
		content_send(c, t, bytes, 1);
}

/* Tells the hash of what the current system call has sent. */
static __noinline int dup_send(struct connection *c, struct task_struct *t, u32 bytes)
{
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(t);
	struct dup_hash h;
	u64 vector[2];
	int nr, err;

	if (!regs)
		return 0;
	nr = SYSCALL_NR(regs);
	if (nr < 0 || nr >= CFG_SYSCALLS)
		return 0;
	dup_begin(&h);
	switch (cfg_buffers[nr]) {
	case BUFFER_PLAIN:
		err = dup_buffer(&h, SYSCALL_ARG2(regs), bytes);
		break;
	case BUFFER_VECTOR:
		err = dup_vector(&h, SYSCALL_ARG2(regs), SYSCALL_ARG3(regs), bytes);
		break;
	case BUFFER_MESSAGE: /* struct msghdr: msg_iov and msg_iovlen are its third and fourth word */
		err = bpf_probe_read_user(vector, sizeof(vector), (void *)(SYSCALL_ARG2(regs) + 16));
		if (!err)
			err = dup_vector(&h, vector[0], vector[1], bytes);
		break;
	default:
		return 0;
	}
	if (err || h.failed)
		return 0;
	emit(so_digest, r, SO_DIGEST, c->agent, t->pid) {
		r->socket = c->number;
		r->bytes = bytes;
		r->hash = dup_end(&h);
	}
	return 0;
}

/* When the last packet of a request left that an answer has come to: TCP notes it when that is acknowledged. */
static __noinline u64 left_us_of(struct sock *sk)
{
	struct tcp_sock *tcp = bpf_skc_to_tcp_sock(sk);

	return tcp ? tcp->first_tx_mstamp : 0;
}

/* One send or receive of `bytes` by the current thread. Always inlined: the hot path. */
static __always_inline int transfer(struct sock *sk, int bytes, const u32 kind)
{
	struct task_struct *t;
	u64 arrived, sent = 0, since, left_us = 0;
	u32 rtt_us = 0, flags = 0, era;
	struct connection *c;
	struct tcp_sock *tcp;

	t = bpf_get_current_task_btf();
	if (!t->bpf_storage) {
		if (kind == SO_RECV && sk->sk_bpf_storage)
			read_by_stranger(sk);
		return 0;
	}
	era = sock_era; /* here: strangers should not touch its line */
	c = bpf_sk_storage_get(&sockets, sk, 0, 0);
	if (!c || c->user != (u32)t->pid || !c->number) {
		c = connection_touch(sk, t);
		if (!c) {
			if (kind == SO_RECV)
				read_by_stranger(sk);
			return 0;
		}
	}
	if (cfg_names)
		names_look(sk, c, t, bytes, kind);
	if (era & ERA_BLIND) {
		c->era = era;
		transfer_count(c->agent, bytes, kind);
		return 0;
	}
	if (c->era != era) {
		if ((c->era ^ era) != ERA_FRESH)
			c->arrived_ns = ARRIVED_UNKNOWN;
		if ((c->era & (ERA_BLIND | ERA_FRESH)) == ERA_BLIND)
			flags = SO_TRANSFER_GAP;
		c->era = era;
	}
	arrived = c->arrived_ns;
	tcp = kind == SO_SEND && sk->sk_protocol == IPPROTO_TCP ? bpf_skc_to_tcp_sock(sk) : NULL;
	if (kind == SO_SEND) {
		if (tcp) {
			rtt_us = tcp->srtt_us >> 3;
			/* All that was written is on its way: the last packet left within this call. */
			if (tcp->write_seq == tcp->snd_nxt)
				sent = tcp->tcp_wstamp_ns;
			else
				c->flags |= CONNECTION_HELD;
		}
		since = sent;
		if (arrived && arrived < sent)
			flags |= SO_TRANSFER_UNREAD;
	} else {
		since = arrived;
		c->arrived_ns = 0;
		if (c->flags & CONNECTION_HELD) {
			c->flags &= ~CONNECTION_HELD;
			left_us = left_us_of(sk);
			flags |= SO_TRANSFER_HELD;
		}
	}
	emit(so_transfer, r, kind, c->agent, t->pid) {
		u64 ago = since && since < r->head.time_ns ? (r->head.time_ns - since) >> SO_AGO_SHIFT : 0;

		r->bytes = bytes;
		r->socket = c->number;
		if (left_us)
			rtt_us = r->head.time_ns / 1000 - left_us;
		r->rtt_us = rtt_us > SO_RTT_MAX_US ? SO_RTT_MAX_US : rtt_us;
		r->flags = flags;
		r->ago = ago >> 32 ? 0xffffffff : ago;
	}
	if (cfg_dup && kind == SO_SEND && sk->sk_type == SOCK_STREAM && c->role != SO_ROLE_SERVER && c->role != SO_ROLE_PAIR)
		dup_send(c, t, bytes); /* behind the send that it is about */
	return 0;
}

/* What a call to send has given. */
static __always_inline int sent(struct sock *sk, int ret)
{
	return ret > 0 ? transfer(sk, ret, SO_SEND) : 0;
}

/* The same of a call to receive. 0 is the end of what the peer sends. */
static __always_inline int received(struct sock *sk, int ret, int flags)
{
	if (!ret && sk->sk_type != SOCK_STREAM)
		return 0; /* an empty datagram */
	return ret >= 0 && !(flags & (MSG_PEEK | MSG_ERRQUEUE)) ? transfer(sk, ret, SO_RECV) : 0;
}

/* A unix stream connect tells its listener in the caller's context; no other hook sees it. */
static __always_inline int ready_listener(struct sock *sk)
{
	struct task_struct *t;
	struct membership *m;
	struct pid *owner;

	if (sk->__sk_common.skc_family != AF_UNIX)
		return 0;
	m = member_current_rare(&t);
	if (m)
		emit(so_connect, r, SO_CONNECT, m->agent, t->pid) {
			r->duration_ns = 0;
			r->socket = 0;
			r->error = 0;
			r->family = AF_UNIX;
			r->pad = 0;
		}
	/* listen() notes who called it; whether that is an agent's process is for the collector to find out. */
	owner = BPF_CORE_READ(sk, sk_peer_pid);
	if (owner)
		emit(so_accept, r, SO_ACCEPT, 0, BPF_CORE_READ(owner, numbers[0].nr)) {
			r->socket = 0;
			r->family = AF_UNIX;
			__builtin_memset(r->pad, 0, sizeof(r->pad));
		}
	return 0;
}

/* Data have come in: in an interrupt, or in the sender's context. Only the first of those not yet read is noted, and none before the connection is used in a new era:
 * others may lie there that were not seen. */
static __always_inline int arrival(struct sock *sk)
{
	struct connection *c;
	struct tcp_sock *tcp;
	u32 era;

	if (sk->__sk_common.skc_state == TCP_LISTEN)
		return ready_listener(sk);
	if (!sk->sk_bpf_storage)
		return 0;
	era = sock_era;
	if (era & ERA_BLIND) {
		event_count(SO_EVENT_ARRIVAL);
		return 0;
	}
	c = bpf_sk_storage_get(&sockets, sk, 0, 0);
	if (!c || c->arrived_ns || (c->era & ~ERA_FRESH) != era)
		return 0;
	/* TCP has just read the clock for the packet itself. */
	tcp = sk->sk_protocol == IPPROTO_TCP ? bpf_skc_to_tcp_sock(sk) : NULL;
	c->arrived_ns = tcp ? tcp->tcp_clock_cache : bpf_ktime_get_ns();
	return 0;
}

#endif
