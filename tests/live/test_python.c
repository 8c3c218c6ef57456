/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The walk of Python's frames over memory that is laid out here: workers pose as interpreters. This program exports _PyRuntime and Py_Version, as they do.
 * Where real interpreters keep things is tested elsewhere.
 */
#include <pthread.h>
#include <string.h>
#include <time.h>

#include "lib/util.h"
#include "lib_live.h"
#include "symbols/python_parts.h"
#include "symbols/symbolizer.h"

#define HZ 997.0
#define BURN_NS 100000000ULL
#define FRAMES 100
#define STATES 300
#define NOWHERE 0x10 /* nothing is mapped there */
#define OWNED_BY_CSTACK 3

uint32_t Py_Version; /* of the worker */
uint64_t _PyRuntime[256];

/* All of it at the same addresses in the test and its workers. */
static uint64_t interpreter[128], gil[8], cframe[8], plain_names[FRAMES][8];
static uint8_t states[STATES][256], frames[FRAMES][128], shims[FRAMES][128], codes[FRAMES][256];

enum damage {
	NONE,
	CYCLE, /* the outermost frame's caller is the innermost one */
	TORN, /* the sixth frame's caller can't be read */
	NO_CODE, /* code objects can't be read */
	NO_FRAMES, /* nor can the innermost frame */
	STATES_CYCLE, /* no state is the thread's own, and the last one's successor is the first */
	STATES_TORN,
};

static const char *const damages[] = {
	[NONE] = "", [CYCLE] = "_cycle", [TORN] = "_torn", [NO_CODE] = "_no_code", [NO_FRAMES] = "_no_frames", [STATES_CYCLE] = "_states_cycle",
	[STATES_TORN] = "_states_torn",
};

struct scene {
	uint32_t version;
	int frames;
	int state; /* which one of the list is the thread's own */
	bool holds; /* it is the one that had the lock last */
	enum damage damage;
	/* expected */
	unsigned len;
	bool cut;
};

static const struct scene scenes[] = {
	{ 0x0309, 1, 0, true, NONE, 1, false },
	{ 0x0309, 64, 0, true, NONE, 64, false },
	{ 0x0309, 65, 0, true, NONE, 64, true },
	{ 0x030a, 10, STATES - 1, false, NONE, 10, false },
	{ 0x030b, 1, 0, true, NONE, 1, false },
	{ 0x030b, 64, 3, true, NONE, 64, false },
	{ 0x030b, 10, 7, false, NO_CODE, 10, false },
	{ 0x030b, 10, 0, true, TORN, 6, true },
	{ 0x030b, 10, 0, true, CYCLE, 64, true },
	{ 0x030b, 10, 0, true, NO_FRAMES, 0, true },
	{ 0x030b, 10, 0, false, STATES_CYCLE, 0, false },
	{ 0x030b, 10, STATES - 1, false, STATES_TORN, 0, false },
	{ 0x030c, 1, 0, true, NONE, 1, false },
	{ 0x030c, 64, STATES - 1, false, NONE, 64, false },
	{ 0x030c, 65, 0, true, NONE, 64, true },
	{ 0x030c, 10, 0, true, CYCLE, 64, true },
	{ 0x030c, 10, 0, true, TORN, 6, true },
};

static bool is_entry(const struct scene *s, unsigned frame)
{
	return s->version < 0x030b || frame % 3 == 2 || (int)frame == s->frames - 1;
}

static void put(void *at, uint32_t offset, const void *value)
{
	uint64_t word = (uintptr_t)value;

	memcpy((char *)at + offset, &word, sizeof(word));
}

static const void *damaged(const struct scene *s, int frame, const void *caller)
{
	if (s->damage == TORN && frame == 5)
		return (void *)NOWHERE;
	if (s->damage == CYCLE && frame == s->frames - 1)
		return frames[0];
	return caller;
}

static void frames_lay(const struct scene *s, const struct python_shape *shape)
{
	const uint32_t *walk = shape->walk;

	for (int i = 0; i < s->frames; i++) {
		bool shim = s->version >= 0x030c && is_entry(s, i);
		const void *caller = damaged(s, i, i + 1 < s->frames ? frames[i + 1] : NULL);

		put(frames[i], walk[SO_PYTHON_FRAME_CODE], s->damage == NO_CODE ? (void *)NOWHERE : codes[i]);
		put(frames[i], walk[SO_PYTHON_FRAME_AT], (void *)(uintptr_t)(1000 + i));
		if (s->version == 0x030b)
			frames[i][walk[SO_PYTHON_FRAME_ENTRY]] = is_entry(s, i);
		if (shim)
			shims[i][walk[SO_PYTHON_FRAME_ENTRY]] = OWNED_BY_CSTACK;
		put(shims[i], walk[SO_PYTHON_FRAME_PREVIOUS], caller);
		put(frames[i], walk[SO_PYTHON_FRAME_PREVIOUS], shim ? shims[i] : caller);
	}
}

static void codes_lay(const struct python_shape *shape)
{
	for (int i = 0; i < FRAMES; i++) {
		plain_names[i][PYTHON_TEXT_HASH / 8] = 4711 * (i + 1);
		put(codes[i], python_code_word(shape), (void *)(uintptr_t)i);
		put(codes[i], shape->code_plain, plain_names[i]);
	}
}

static void states_lay(const struct scene *s, const struct python_shape *shape)
{
	const uint32_t *walk = shape->walk;
	const void *leaf = s->damage == NO_FRAMES ? (void *)NOWHERE : frames[0];

	for (int i = 0; i < STATES; i++) {
		put(states[i], walk[SO_PYTHON_THREAD_NEXT], i + 1 < STATES ? states[i + 1] : s->damage == STATES_CYCLE ? states[0] : NULL);
		put(states[i], shape->thread_interpreter, interpreter);
	}
	if (s->damage == STATES_TORN)
		put(states[5], walk[SO_PYTHON_THREAD_NEXT], (void *)NOWHERE);
	if (s->damage != STATES_CYCLE)
		put(states[s->state], shape->thread_pointer, (void *)pthread_self());
	put(states[s->state], walk[SO_PYTHON_THREAD_FRAME], leaf);
	if (walk[SO_PYTHON_CFRAME_FRAME] == SO_PYTHON_NONE)
		return;
	put(states[s->state], walk[SO_PYTHON_THREAD_FRAME], cframe);
	put(cframe, walk[SO_PYTHON_CFRAME_FRAME], leaf);
}

static void interpreter_lay(const struct scene *s)
{
	const void *holder = s->holds ? states[s->state] : states[(s->state + 1) % STATES];
	struct python_shape shape;

	worker_check(!python_shape_find(NULL, 0, s->version, &shape, NULL, 0));
	Py_Version = s->version << 16;
	put(_PyRuntime, shape.runtime_main, interpreter);
	put(interpreter, shape.interpreter_threads, states[0]);
	if (shape.runtime_holder) {
		put(_PyRuntime, shape.runtime_holder, holder);
	} else {
		put(interpreter, shape.interpreter_gil, gil);
		put(gil, shape.gil_holder, holder);
	}
	states_lay(s, &shape);
	frames_lay(s, &shape);
	codes_lay(&shape);
}

static int poser(struct worker *self, void *arg)
{
	struct timespec t;
	uint64_t end;

	interpreter_lay(arg);
	worker_pause(self);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	for (end = t.tv_sec * NS_PER_S + t.tv_nsec + BURN_NS; t.tv_sec * NS_PER_S + t.tv_nsec < end;)
		clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	worker_pause(self);
	return 0;
}

static const struct scene *scene;
static unsigned samples;

static void on_stack(void *ctx, const struct so_stack *s)
{
	const struct so_python_frame *at = so_stack_python(s);

	(void)ctx;
	samples++;
	assert_int_equal(s->python_len, scene->len);
	assert_int_equal(!!(s->flags & SO_STACK_PYTHON_CUT), scene->cut);
	for (unsigned i = 0; i < s->python_len; i++) {
		unsigned frame = i % scene->frames;
		uint32_t identity = at[i].flags >> SO_PYTHON_IDENTITY_SHIFT;

		assert_int_equal(at[i].at, 1000 + frame);
		assert_int_equal(at[i].flags & SO_PYTHON_ENTRY, is_entry(scene, frame));
		assert_int_equal(at[i].code, scene->damage == NO_CODE ? NOWHERE : (uintptr_t)codes[frame]);
		assert_int_equal(identity, scene->damage == NO_CODE ? 0 : so_python_identity(frame, 4711 * (frame + 1)));
	}
}

static void test_scene(void **state)
{
	struct worker *w;
	struct live *l;

	(void)state;
	live_need(PROBE_PROFILE);
	w = worker_start(poser, (void *)scene);
	worker_settle(w);
	l = live_open(&(struct observer_config){ .ring_bytes = 8 << 20, .profile_hz = HZ, .probe_on = { [PROBE_PROFILE] = true } });
	live_watch(l, &w->pid, 1);
	samples = 0;
	worker_go(w);
	live_until(l, w);
	assert_true(observer_stacks(l->observer, on_stack, NULL) >= 0);
	assert_true(samples > 0);
}

static int setup(void **state)
{
	scene = *state;
	return live_setup(state);
}

int main(void)
{
	static char names[ARRAY_SIZE(scenes)][64];
	struct CMUnitTest tests[ARRAY_SIZE(scenes)];

	for (size_t i = 0; i < ARRAY_SIZE(scenes); i++) {
		const struct scene *s = &scenes[i];

		snprintf(names[i], sizeof(names[i]), "3.%u_frames_%d_state_%d%s%s", s->version & 255, s->frames, s->state,
			 s->holds ? "_holds" : "", damages[s->damage]);
		tests[i] = (struct CMUnitTest){ names[i], test_scene, setup, live_teardown, (void *)s };
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
