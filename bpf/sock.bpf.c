/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Connections: opened, accepted, failed, closed; each send and receive with its size, and when the data had arrived; round-trip times; retransmits.
 *
 * Hooks: tp_btf/sock_send_length, sock_recv_length (each send or receive of the machine), sk_data_ready (each arrival; for all three
 * sock_old.bpf.c before 6.3), inet_sock_set_state, tcp_retransmit_skb. A stranger's socket pays a look at itself and at the current task. Cost: see `make bench`.
 */
#define SOCK_DEFINE_MAPS
#include "sock.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define S_IFMT 0170000
#define S_IFSOCK 0140000
#define ECANCELED 125
#define TCP_LAST_ACK 9

const volatile __u8 cfg_buffers[CFG_SYSCALLS] = {};
const volatile bool cfg_names = 1;
const volatile bool cfg_dup = 1;
const volatile __u64 cfg_dup_key[2] = {};
__u32 socket_count = 0;

SEC("?tp_btf/sock_send_length")
int BPF_PROG(sock__send, struct sock *sk, int ret, int flags)
{
	return sent(sk, ret);
}

SEC("?tp_btf/sock_recv_length")
int BPF_PROG(sock__recv, struct sock *sk, int ret, int flags)
{
	return received(sk, ret, flags);
}

/* In the process that calls connect or listen. */
static __always_inline int state_begin(struct sock *sk, int new)
{
	struct connection *c;
	struct membership *m;
	struct task_struct *t;

	m = member_current_rare(&t);
	if (!m)
		return 0;
	c = connection_get(sk);
	if (!c)
		return 0;
	c->agent = m->agent;
	c->tgid = t->tgid;
	c->user = t->pid;
	connection_open(sk, c, new == TCP_LISTEN ? SO_ROLE_LISTENER : SO_ROLE_CLIENT);
	c->start_ns = new == TCP_LISTEN ? 0 : bpf_ktime_get_ns();
	return 0;
}

/* The end of a connect; mostly in an interrupt: current is nobody in particular. */
static __always_inline void state_connected(struct sock *sk, struct connection *c, int new)
{
	u64 start = c->start_ns;

	c->start_ns = 0;
	if (start)
		emit(so_connect, r, SO_CONNECT, c->agent, c->tgid) {
			r->duration_ns = r->head.time_ns - start;
			r->socket = c->number;
			r->error = new == TCP_ESTABLISHED ? 0 : sk->sk_err ? sk->sk_err : ECANCELED;
			r->family = sk->__sk_common.skc_family;
			r->pad = 0;
		}
}

SEC("?tp_btf/inet_sock_set_state")
int BPF_PROG(sock__state, struct sock *sk, int old, int new)
{
	struct connection *c;

	if (new == TCP_SYN_SENT || new == TCP_LISTEN)
		return state_begin(sk, new);
	c = bpf_sk_storage_get(&sockets, sk, 0, 0);
	if (!c)
		return 0;
	if (old == TCP_SYN_SENT) {
		state_connected(sk, c, new);
	} else if (old == TCP_SYN_RECV && new == TCP_ESTABLISHED) {
		c->user = 0;
		connection_open(sk, c, SO_ROLE_SERVER); /* until now it had the listener's number */
		emit(so_accept, r, SO_ACCEPT, c->agent, c->tgid) {
			r->socket = c->number;
			r->family = sk->__sk_common.skc_family;
			__builtin_memset(r->pad, 0, sizeof(r->pad));
		}
	} else if (new == TCP_CLOSE && old != TCP_SYN_RECV && !(c->flags & CONNECTION_CLOSED)) {
		/* What lies in its queue can still be read: it keeps its number. */
		c->flags |= CONNECTION_CLOSED;
		emit(so_close, r, SO_CLOSE, c->agent, c->tgid) {
			r->socket = c->number;
			r->error = sk->sk_err;
			r->by_peer = old == TCP_LAST_ACK || sk->sk_err;
			r->unread = c->arrived_ns && c->arrived_ns != ARRIVED_UNKNOWN;
			__builtin_memset(r->pad, 0, sizeof(r->pad));
		}
	}
	return 0;
}

SEC("?tp_btf/sk_data_ready")
int BPF_PROG(sock__ready, struct sock *sk)
{
	return arrival(sk);
}

SEC("?tp_btf/tcp_retransmit_skb")
int BPF_PROG(sock__resend, struct sock *sk)
{
	struct connection *c;

	c = bpf_sk_storage_get(&sockets, sk, 0, 0);
	if (!c)
		return 0;
	emit(so_retransmit, r, SO_RETRANSMIT, c->agent, c->tgid) {
		r->socket = c->number;
		r->pad[0] = r->pad[1] = r->pad[2] = 0;
	}
	return 0;
}

/* The socket behind an open file of an agent's process, or NULL. */
static __always_inline struct sock *file_socket(struct bpf_iter__task_file *ctx, struct task_struct *t, struct membership **ret_m)
{
	struct file *file = ctx->file;
	struct socket *socket;

	if (!t || !file || t->pid != t->tgid)
		return NULL;
	if ((BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT) != S_IFSOCK)
		return NULL;
	*ret_m = bpf_task_storage_get(&tasks, t, 0, 0);
	if (!*ret_m)
		return NULL;
	socket = bpf_sock_from_file(file);
	return socket ? socket->sk : NULL;
}

/* Sockets that the agents hold already: listeners above all, whose storage is passed on to what they accept. */
SEC("?iter/task_file")
int sock__seed(struct bpf_iter__task_file *ctx)
{
	struct task_struct *t = ctx->task; /* read once: the verifier forgets that it was checked */
	struct membership *m = NULL;
	struct sock *sk = file_socket(ctx, t, &m);
	struct connection *c;
	u32 state;

	if (!sk || !m || !t)
		return 0;
	state = sk->__sk_common.skc_state;
	if (state != TCP_ESTABLISHED && state != TCP_CLOSE_WAIT && state != TCP_LISTEN)
		return 0;
	c = connection_get(sk);
	if (c && !c->number) {
		c->agent = m->agent;
		c->tgid = t->tgid;
		connection_open(sk, c, state == TCP_LISTEN ? SO_ROLE_LISTENER : SO_ROLE_UNKNOWN);
	}
	return 0;
}

/* Numbers of the connections that are still there: the ends of unix sockets show in no hook. */
SEC("?iter/task_file")
int sock__walk(struct bpf_iter__task_file *ctx)
{
	struct membership *m = NULL;
	struct sock *sk = file_socket(ctx, ctx->task, &m);
	struct connection *c;

	if (!sk || !m || !sk->sk_bpf_storage)
		return 0;
	c = bpf_sk_storage_get(&sockets, sk, 0, 0);
	if (c && c->number)
		bpf_seq_write(ctx->meta->seq, &c->number, sizeof(c->number));
	return 0;
}

/* Sockets of agents that are let go, whoever holds them now; another agent that does makes them its own when it uses them next. */
SEC("?iter/task_file")
int sock__release(struct bpf_iter__task_file *ctx)
{
	struct file *file = ctx->file;
	struct socket *socket;
	struct connection *c;
	struct sock *sk;

	if (!file || (BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT) != S_IFSOCK)
		return 0;
	socket = bpf_sock_from_file(file);
	sk = socket ? socket->sk : NULL;
	if (!sk || !sk->sk_bpf_storage)
		return 0;
	c = bpf_sk_storage_get(&sockets, sk, 0, 0);
	if (c && agent_released(c->agent))
		bpf_sk_storage_delete(&sockets, sk);
	return 0;
}
