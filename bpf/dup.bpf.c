/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What an agent is about to send over TLS, before it is encrypted: hashed as the sends of dup.bpf.h are. The thread's next send takes it to its connection, in user space.
 *
 * Hook: uprobes at the entry of SSL_write and SSL_write_ex in each OpenSSL that an agent has mapped. A call costs a stranger a trap, an agent 1.5 us more (bpf_stats, 200 to 4,000 bytes);
 * programs make one to three a request.
 */
#include "core.bpf.h"
#include "dup.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* int SSL_write(SSL *ssl, const void *buf, int num), int SSL_write_ex(SSL *ssl, const void *buf, size_t num, size_t *written) */
SEC("?uprobe")
int dup__write(struct pt_regs *ctx)
{
	struct task_struct *t;
	struct membership *m = member_current_rare(&t);
	u64 bytes = PT_REGS_PARM3(ctx);
	struct dup_hash h;

	if (!m || !bytes || bytes >> 31)
		return 0;
	dup_begin(&h);
	dup_buffer(&h, PT_REGS_PARM2(ctx), bytes);
	emit(so_digest, r, SO_DIGEST, m->agent, t->pid) {
		r->socket = 0;
		r->bytes = bytes;
		r->hash = h.failed ? r->head.time_ns : dup_end(&h); /* what can't be read is like nothing else */
	}
	return 0;
}
