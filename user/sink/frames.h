/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What frames and stacks are called where people read them, and which of a stack's functions is worth naming. Pure. */
#ifndef STAKEOUT_FRAMES_H
#define STAKEOUT_FRAMES_H

#include "model/stacks.h"

#define FRAME_TEXT 512 /* bytes of the caller's buffers; longer texts are cut */

/* Function, as the report's tables name it: "no symbols" for code without a name. Not sanitized. Returns buf. */
const char *frame_name(const struct frame *f, char buf[FRAME_TEXT]);
/* Where it is: "demo/agent.py:120" (the last two parts of the path, or what stands below the directory of a language's packages), "libssl.so.3",
 * "kernel"; "" not known. Not sanitized. Returns buf. */
const char *frame_where(const struct frame *f, char buf[FRAME_TEXT]);

/* Whose code it is, named or not. */
enum frame_role {
	ROLE_SYSTEM, /* the kernel, the C library, an allocator; and what is of no file */
	ROLE_ENGINE, /* the inside of an interpreter */
	ROLE_LIBRARY, /* shared libraries, packages of the language */
	ROLE_OWN, /* everything else: the program that is observed */
	ROLE_PROCESS, /* no function */
};
enum frame_role frame_role(const struct frame *f);
/* There is no name for it. */
bool frame_unnamed(const struct frame *f);
/* It stands where the rest of a stack could not be found: no function. */
bool frame_cut(const struct frame *f);
/* "[libfoo.so]" of code without a name, which would else be as many functions as addresses; other functions as they are. Not sanitized. Returns buf. */
const char *frame_function(const struct frame *f, char buf[FRAME_TEXT]);
/* The inside of a Python interpreter: what it does, it does for the Python function that it runs. */
bool frame_interpreter(const struct frame *f);

struct site { /* where a stack allocates or waits, in functions that somebody can change */
	const struct frame *at; /* the innermost of a library or the program's own; without one, of an engine, else of the system. Never NULL */
	const struct frame *by; /* its caller: the innermost of the program's own that isn't `at`, else the next that is not the system's; NULL: none */
	const char *in; /* what it waits in: the system call, or what `at` called; "" nothing. Valid as long as the table */
};
void stack_site(const struct stacks *s, uint32_t stack, struct site *ret);

#endif
