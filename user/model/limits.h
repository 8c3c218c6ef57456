/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What bounds a process's CPU time and memory from outside, as it was read. */
#ifndef STAKEOUT_MODEL_LIMITS_H
#define STAKEOUT_MODEL_LIMITS_H

#include <stdint.h>

struct limits_reading {
	/* Sums since some time before; what the machine does not tell stays 0. */
	uint64_t throttles; /* periods in which the CPU quota was used up */
	uint64_t throttled_ns; /* all CPUs together */
	uint64_t pressure_cpu_ns;
	uint64_t steal_ns; /* all CPUs of the machine */
	/* At the time: */
	uint64_t memory_limit_bytes; /* of whichever limit has the least left; 0: not known */
	uint64_t memory_left_bytes;
};

#endif
