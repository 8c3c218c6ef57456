/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* CPython 3.9 to 3.13: where an interpreter keeps its frames, and the names of its functions. */
#ifndef STAKEOUT_PYTHON_H
#define STAKEOUT_PYTHON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "abi.h"
#include "model/stacks.h"

struct pythons; /* caches of all processes */

struct pythons *pythons_new(void);
void pythons_free(struct pythons *p);
void pythons_forget(struct pythons *p, uint32_t tgid);
/* What the kernel side needs to walk the frames of this process (see bpf/python.bpf.h). 0; -ENOENT: no interpreter; -EAGAIN: not yet, it is still
 * starting; -ENOTSUP: a version that is not known (why gets one line). Reads /proc/PID and the process's memory. */
int python_layout(uint32_t tgid, struct so_python *ret, char *why, size_t why_len);
/* Fills f for a frame of process tgid. Texts are valid until the next call. False: the code object is no longer there. */
bool python_name(struct pythons *p, uint32_t tgid, const struct so_python_frame *at, struct frame *f);
/* Whether the native function called name is the interpreter's loop, which runs Python frames. */
bool python_is_eval(const char *name);

#endif
