/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Connections: opened, accepted, failed; bytes and sizes of sends and receives; round-trip times; retransmits. A connection lives in
 * socket storage, made when an agent first touches it and cloned from a listener to what it accepts.
 *
 * Hooks: tp_btf/sock_send_length, sock_recv_length (each send or receive of the machine), inet_sock_set_state, sk_data_ready (each
 * arrival), tcp_retransmit_skb. A stranger's socket pays one load in each.
 */
#include "core.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10
#define TCP_ESTABLISHED 1
#define TCP_SYN_SENT 2
#define TCP_SYN_RECV 3
#define TCP_CLOSE 7
#define TCP_LISTEN 10
#define MSG_PEEK 2
#define MSG_ERRQUEUE 0x2000
#define S_IFMT 0170000
#define S_IFSOCK 0140000

struct connection {
	u32 agent;
	u32 tid; /* that opened it */
	u64 start_ns;
	u32 number;
	u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE);
	__type(key, int);
	__type(value, struct connection);
} sockets SEC(".maps");

__u32 socket_count = 0;

static __always_inline struct connection *connection_of(struct sock *sk, struct membership *m, struct task_struct *t)
{
	struct connection *c = bpf_sk_storage_get(&sockets, sk, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);

	if (!c)
		return NULL;
	if (!c->agent) {
		c->agent = m->agent;
		c->tid = t->tgid;
		c->number = __sync_fetch_and_add(&socket_count, 1) + 1;
	}
	return c;
}

static __always_inline int transfer(struct sock *sk, int bytes, const u32 kind)
{
	struct tcp_sock *tcp;
	struct task_struct *t;
	struct membership *m;
	struct connection *c;
	u32 rtt_us = 0, number = 0;

	m = member_current(&t);
	if (!m)
		return 0;
	c = connection_of(sk, m, t);
	if (c)
		number = c->number;
	tcp = bpf_skc_to_tcp_sock(sk);
	if (tcp)
		rtt_us = tcp->srtt_us >> 3;
	emit(so_transfer, r, kind, m->agent, t->pid) {
		r->bytes = bytes;
		r->rtt_us = rtt_us;
		r->socket = number;
		r->family = sk->__sk_common.skc_family;
		r->pad[0] = r->pad[1] = r->pad[2] = 0;
	}
	return 0;
}

SEC("?tp_btf/sock_send_length")
int BPF_PROG(sock__send, struct sock *sk, int ret, int flags)
{
	return ret > 0 ? transfer(sk, ret, SO_SEND) : 0;
}

SEC("?tp_btf/sock_recv_length")
int BPF_PROG(sock__recv, struct sock *sk, int ret, int flags)
{
	return ret > 0 && !(flags & (MSG_PEEK | MSG_ERRQUEUE)) ? transfer(sk, ret, SO_RECV) : 0;
}

SEC("?tp_btf/inet_sock_set_state")
int BPF_PROG(sock__state, struct sock *sk, int old, int new)
{
	struct connection *c;
	struct membership *m;
	struct task_struct *t;
	u64 now;

	if (new == TCP_SYN_SENT || new == TCP_LISTEN) { /* in the process that calls connect or listen */
		m = member_current(&t);
		if (!m)
			return 0;
		c = connection_of(sk, m, t);
		if (!c) {
			loss_count(SO_CONNECT, SO_LOSS_NO_STORAGE);
			return 0;
		}
		c->start_ns = bpf_ktime_get_ns();
		return 0;
	}
	if (!sk->sk_bpf_storage)
		return 0;
	if (old == TCP_SYN_SENT) { /* mostly in an interrupt: current is nobody in particular */
		c = bpf_sk_storage_get(&sockets, sk, 0, 0);
		if (!c || !c->start_ns)
			return 0;
		now = bpf_ktime_get_ns();
		emit(so_connect, r, SO_CONNECT, c->agent, c->tid) {
			r->duration_ns = now - c->start_ns;
			r->error = new == TCP_ESTABLISHED ? 0 : sk->sk_err ? sk->sk_err : 125 /* ECANCELED */;
			r->family = sk->__sk_common.skc_family;
			r->pad[0] = r->pad[1] = r->pad[2] = 0;
		}
		c->start_ns = 0;
	} else if (old == TCP_SYN_RECV && new == TCP_ESTABLISHED) {
		c = bpf_sk_storage_get(&sockets, sk, 0, 0);
		if (!c)
			return 0;
		c->number = __sync_fetch_and_add(&socket_count, 1) + 1;
		emit(so_accept, r, SO_ACCEPT, c->agent, c->tid) {
			r->family = sk->__sk_common.skc_family;
			__builtin_memset(r->pad, 0, sizeof(r->pad));
		}
	}
	return 0;
}

/* A unix stream connect tells its listener in the caller's context; no other hook sees it. */
SEC("?tp_btf/sk_data_ready")
int BPF_PROG(sock__ready, struct sock *sk)
{
	struct task_struct *t;
	struct membership *m;
	struct pid *owner;

	if (sk->__sk_common.skc_state != TCP_LISTEN || sk->__sk_common.skc_family != AF_UNIX)
		return 0;
	m = member_current(&t);
	if (m)
		emit(so_connect, r, SO_CONNECT, m->agent, t->pid) {
			r->duration_ns = 0;
			r->error = 0;
			r->family = AF_UNIX;
			r->pad[0] = r->pad[1] = r->pad[2] = 0;
		}
	/* listen() notes who called it; whether that is an agent's process is for the collector to find out. */
	owner = sk->sk_peer_pid;
	if (owner)
		emit(so_accept, r, SO_ACCEPT, 0, owner->numbers[0].nr) {
			r->family = AF_UNIX;
			__builtin_memset(r->pad, 0, sizeof(r->pad));
		}
	return 0;
}

SEC("?tp_btf/tcp_retransmit_skb")
int BPF_PROG(sock__resend, struct sock *sk)
{
	struct connection *c;

	if (!sk->sk_bpf_storage)
		return 0;
	c = bpf_sk_storage_get(&sockets, sk, 0, 0);
	if (!c)
		return 0;
	emit(so_retransmit, r, SO_RETRANSMIT, c->agent, c->tid) {
		r->socket = c->number;
		r->pad[0] = r->pad[1] = r->pad[2] = 0;
	}
	return 0;
}

/* Sockets that the agents hold already: listeners above all, whose storage is passed on to what they accept. */
SEC("?iter/task_file")
int sock__seed(struct bpf_iter__task_file *ctx)
{
	struct task_struct *t = ctx->task;
	struct file *file = ctx->file;
	struct membership *m;
	struct socket *socket;
	struct connection *c;

	if (!t || !file || t->pid != t->tgid || !t->bpf_storage)
		return 0;
	if ((file->f_inode->i_mode & S_IFMT) != S_IFSOCK)
		return 0;
	m = bpf_task_storage_get(&tasks, t, 0, 0);
	if (!m)
		return 0;
	socket = bpf_sock_from_file(file);
	if (!socket || !socket->sk)
		return 0;
	c = bpf_sk_storage_get(&sockets, socket->sk, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (c && !c->agent) {
		c->agent = m->agent;
		c->tid = t->tgid;
		c->number = __sync_fetch_and_add(&socket_count, 1) + 1;
	}
	return 0;
}
