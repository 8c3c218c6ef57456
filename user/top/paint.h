/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The terminal of the live view: frames onto it, keys and sizes from it. There is one, since a process has one. */
#ifndef STAKEOUT_PAINT_H
#define STAKEOUT_PAINT_H

#include "top/frame.h"

/* Whether standard input and output can be used. 0; -ENOTTY: one is not a terminal; -ENOTSUP: its type ($TERM) lacks what is needed. why
 * gets one line. */
int paint_check(char *why, size_t why_len);
/*
 * Takes the terminal over: sets size and abilities in v, and keeps what goes to standard error until the end. It is given back by paint_close, by exit(),
 * and by the signals that end a program for a fault of its own. 0 or negative errno.
 */
int paint_open(struct top_view *v);
/* Can be read when the terminal's size has changed. */
int paint_resize_fd(void);
/* The size as it is now, into v. */
void paint_resized(struct top_view *v);
/* The next key, or TOP_KEY_NONE. *ret_gone: the terminal has gone away. */
uint32_t paint_key(bool *ret_gone);
/* Forgets the keys that wait. */
void paint_keys_drop(void);
void paint_frame(const struct top_frame *f);
/* Whatever is there is taken as unknown: the next frame is painted in full. */
void paint_forget(void);
/* The last line that went to standard error since the last call, in ret; false: none. */
bool paint_message(char *ret, size_t size);
void paint_close(void);

#endif
