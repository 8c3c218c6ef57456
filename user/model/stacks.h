/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Stacks by number: a table of frames and one of stacks made of them, each told once; and sets that weigh stacks. The tables of include/samples.def.
 */
#ifndef STAKEOUT_STACKS_H
#define STAKEOUT_STACKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model/metrics.h"

enum frame_kind {
	FRAME_NATIVE = 0,
	FRAME_KERNEL = 1,
	FRAME_PYTHON = 2,
	FRAME_JIT = 3, /* from /tmp/perf-PID.map */
	FRAME_PROCESS = 4, /* the outermost of each stack: the name of the thread's process or tool */
	FRAME_KINDS
};
extern const char *const frame_kind_names[FRAME_KINDS]; /* as in a recording */

struct frame {
	enum frame_kind kind;
	const char *name; /* function; "[module+0x1a2b]" or "[unknown]" where there is no symbol. Any bytes */
	const char *file; /* source: of Python, and of JavaScript as V8's perf map tells it; "" not known */
	const char *module; /* file that the code is of, base name; "" none */
	uint32_t line; /* first line of the function where file is known; 0: not known */
};

#define STACK_FRAMES_MAX 256 /* of more the ones in the middle are left out: one called FRAMES_CUT stands for them */
#define STACKS_MAX 65536 /* distinct ones; what comes after is STACK_OTHER */
#define FRAMES_MAX 131072
#define STACKS_BYTES_MAX (64u << 20) /* of a table, all in all */
#define FRAME_TEXT_MAX 500 /* bytes of a name, file or module; longer ones are cut */
#define FRAME_OTHER "(other)" /* name of frame 0 */
#define FRAMES_CUT "(left out)"
#define STACK_OTHER 0 /* no stack, or one that found no room: a stack of the single frame "(other)" */

struct stacks;

struct stacks *stacks_new(void);
void stacks_free(struct stacks *s); /* NULL is accepted */
/* Number of the frame, added if new; its texts are copied (NULL is ""). 0 (the frame "(other)") when there is no room. */
uint32_t stacks_frame(struct stacks *s, const struct frame *f);
/* Number of the stack of these frames, innermost first, added if new. STACK_OTHER when n is 0 or there is no room. */
uint32_t stacks_add(struct stacks *s, const uint32_t *frames, size_t n);
size_t stacks_frames_len(const struct stacks *s);
size_t stacks_len(const struct stacks *s);
/* Valid until the table is freed. NULL: no such number. */
const struct frame *stacks_frame_at(const struct stacks *s, uint32_t frame);
/* The frames of a stack, innermost first; *ret_len of them. NULL: no such number. */
const uint32_t *stacks_at(const struct stacks *s, uint32_t stack, size_t *ret_len);
/* Number in `into` of stack number `stack` of `from`. */
uint32_t stacks_translate(struct stacks *into, const struct stacks *from, uint32_t stack);
size_t stacks_bytes(const struct stacks *s);
/* Times that a frame or stack found no room, so far. */
uint64_t stacks_refused(const struct stacks *s);
/* It is more than half full, in one way or another. */
bool stacks_crowded(const struct stacks *s);
/*
 * Gives back what nothing refers to: *table becomes one of another generation, which has only the stacks that keep[] (STACKS_MAX of them, by number) says; ret_numbers, as long, has
 * their numbers in it, STACK_OTHER for the rest. What was refused is still counted. 0 or -ENOMEM (nothing changes).
 */
int stacks_renew(struct stacks **table, const bool *keep, uint32_t *ret_numbers);
/* Numbers of one generation mean the same for good. */
uint64_t stacks_generation(const struct stacks *s);

enum sample_id {
#define SAMPLE(id, name, probe, unit, type, help) SAMPLE_##id,
#include "samples.def"
#undef SAMPLE
	SAMPLE_COUNT
};

struct sample_info {
	const char *name;
	enum probe_id probe;
	enum metric_unit unit;
	bool last; /* a state: the later one counts; otherwise a sum */
	const char *help;
};
extern const struct sample_info sample_infos[SAMPLE_COUNT];
int sample_find(const char *name); /* or -1 */

/* Weights by stack. Zero-initialised is empty. */
#define SAMPLE_STACKS_MAX 16384 /* of one set; what comes after counts as STACK_OTHER */
struct sample {
	uint32_t stack;
	uint64_t value;
};
struct sample_set {
	struct sample *at; /* hash table: value 0 is free */
	uint32_t cap, len;
};
void sample_set_fini(struct sample_set *s);
/* Empties it, keeping its storage. */
void sample_set_reset(struct sample_set *s);
/* 0 or -ENOMEM. */
int sample_set_add(struct sample_set *s, uint32_t stack, uint64_t value);
/* into += from, or into = from where the sample is a state (last). 0 or -ENOMEM. */
int sample_set_merge(struct sample_set *into, const struct sample_set *from, bool last);
/* Its stacks by other numbers: numbers[stack]. 0 or -ENOMEM (nothing is changed then). */
int sample_set_renumber(struct sample_set *s, const uint32_t *numbers);
uint64_t sample_set_sum(const struct sample_set *s);
/* All entries, largest first (equal ones by stack); *ret_len of them, to be freed by the caller. NULL: none, or out of memory. */
struct sample *sample_set_sorted(const struct sample_set *s, size_t *ret_len);
/* The same by number of the stack. */
struct sample *sample_set_by_stack(const struct sample_set *s, size_t *ret_len);
/* Sums all but the largest `keep` under STACK_OTHER, and gives back the storage. 0 or -ENOMEM (nothing is changed then). */
int sample_set_trim(struct sample_set *s, uint32_t keep);
size_t sample_set_bytes(const struct sample_set *s);

#endif
