/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Whether probes at the return of functions are safe, and reach all threads of one process: found by trying. */
#ifndef STAKEOUT_RETURN_TRIAL_H
#define STAKEOUT_RETURN_TRIAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bpf_program;

/*
 * A child under the strictest seccomp filter calls a function of ours from its second thread, with the programs at its entry and return, attached to that
 * child alone. The programs count in hits[0] and hits[1] when their cookie is `cookie`. 0; -EPERM: it was killed; -ENOENT: it lives, but a program did
 * not run; other negative errno: can't be tried.
 */
int return_trial(const struct bpf_program *enter, const struct bpf_program *leave, bool multi, uint64_t cookie, const volatile uint32_t hits[2]);

#endif
