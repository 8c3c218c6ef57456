/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Takes all breakpoint registers of all CPUs that are free, again and again until there are none; writes how many it has, and holds them. */
#include <linux/hw_breakpoint.h>
#include <linux/perf_event.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(void)
{
	struct perf_event_attr a = {
		.type = PERF_TYPE_BREAKPOINT,
		.size = sizeof(a),
		.bp_type = HW_BREAKPOINT_X,
		.bp_addr = (uintptr_t)main,
		.bp_len = sizeof(long),
		.exclude_kernel = 1,
		.disabled = 1,
	};
	int held = 0;

	for (int cpu = 0; cpu < 1024; cpu++)
		for (int turn = 0; turn < 16; turn++)
			held += syscall(SYS_perf_event_open, &a, -1, cpu, -1, 0) >= 0;
	printf("%d\n", held);
	fflush(stdout);
	pause();
	return 0;
}
