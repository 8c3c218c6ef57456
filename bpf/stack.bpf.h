/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Stack samples: a ring of their own, since they are large and rare. */
#ifndef STAKEOUT_STACK_BPF_H
#define STAKEOUT_STACK_BPF_H

#include "core.bpf.h"

CORE_MAP struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 16 << 20);
} stacks SEC(".maps");

#endif
