/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What CPython's structures look like. Until 3.12 each version's offsets are listed here, as its headers give them on 64-bit machines: structs
 * pyruntimestate, _is, _ts, _frame or _PyInterpreterFrame, PyCodeObject, and the strings of PEP 393. They are the same in all releases of a version. From
 * 3.13 on the interpreter says it itself: struct _Py_DebugOffsets, at the start of _PyRuntime (pycore_runtime.h).
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/util.h"
#include "symbols/python_parts.h"

#define OFFSET_MAX (1U << 20) /* the interpreter's state has some 100 KiB */
#define FRAME_BYTES_MAX 128 /* as in bpf/python.bpf.h */

static const struct python_shape shapes[] = {
	{
		.version = 0x0309,
		.runtime_main = 40,
		.runtime_holder = 568, /* gilstate.tstate_current: who has it, NULL if nobody has */
		.interpreter_threads = 8,
		.thread_interpreter = 16,
		.thread_pointer = 176,
		.walk = { [SO_PYTHON_THREAD_NEXT] = 8, [SO_PYTHON_THREAD_FRAME] = 24, [SO_PYTHON_CFRAME_FRAME] = SO_PYTHON_NONE,
			  [SO_PYTHON_FRAME_PREVIOUS] = 24, [SO_PYTHON_FRAME_CODE] = 32, [SO_PYTHON_FRAME_AT] = 104,
			  [SO_PYTHON_FRAME_ENTRY] = SO_PYTHON_NONE, [SO_PYTHON_FRAME_BYTES] = 112 },
		.code_plain = 112, .code_name = 112, .code_file = 104, .code_line = 40,
		.text_ascii = 48, .text_wide = 72,
	},
	{
		.version = 0x030a,
		.runtime_main = 40,
		.runtime_holder = 568,
		.interpreter_threads = 8,
		.thread_interpreter = 16,
		.thread_pointer = 176,
		.walk = { [SO_PYTHON_THREAD_NEXT] = 8, [SO_PYTHON_THREAD_FRAME] = 24, [SO_PYTHON_CFRAME_FRAME] = SO_PYTHON_NONE,
			  [SO_PYTHON_FRAME_PREVIOUS] = 24, [SO_PYTHON_FRAME_CODE] = 32, [SO_PYTHON_FRAME_AT] = 96,
			  [SO_PYTHON_FRAME_ENTRY] = SO_PYTHON_NONE, [SO_PYTHON_FRAME_BYTES] = 104 },
		.code_plain = 112, .code_name = 112, .code_file = 104, .code_line = 40,
		.text_ascii = 48, .text_wide = 72,
	},
	{
		.version = 0x030b,
		.runtime_main = 48,
		.runtime_holder = 576,
		.interpreter_threads = 16,
		.thread_interpreter = 16,
		.thread_pointer = 152,
		.thread_tid = 160,
		.walk = { [SO_PYTHON_THREAD_NEXT] = 8, [SO_PYTHON_THREAD_FRAME] = 56, [SO_PYTHON_CFRAME_FRAME] = 8,
			  [SO_PYTHON_FRAME_PREVIOUS] = 48, [SO_PYTHON_FRAME_CODE] = 32, [SO_PYTHON_FRAME_AT] = 56,
			  [SO_PYTHON_FRAME_ENTRY] = 68, [SO_PYTHON_FRAME_BYTES] = 72 },
		.code_plain = 120, .code_name = 128, .code_file = 112, .code_line = 72,
		.text_ascii = 48, .text_wide = 72,
	},
	{
		.version = 0x030c,
		.runtime_main = 48,
		.interpreter_threads = 72,
		.interpreter_gil = 384,
		.gil_holder = 8,
		.thread_interpreter = 16,
		.thread_pointer = 136,
		.thread_tid = 144,
		.walk = { [SO_PYTHON_THREAD_NEXT] = 8, [SO_PYTHON_THREAD_FRAME] = 56, [SO_PYTHON_CFRAME_FRAME] = 0,
			  [SO_PYTHON_FRAME_PREVIOUS] = 8, [SO_PYTHON_FRAME_CODE] = 0, [SO_PYTHON_FRAME_AT] = 56,
			  [SO_PYTHON_FRAME_ENTRY] = 70, [SO_PYTHON_FRAME_BYTES] = 72 },
		.code_plain = 120, .code_name = 128, .code_file = 112, .code_line = 68,
		.text_ascii = 40, .text_wide = 56,
	},
};

/* struct _Py_DebugOffsets of 3.13, up to what is used. Each number 64 bits wide. */
enum {
	TOLD_COOKIE, TOLD_VERSION, TOLD_FREE_THREADED,
	TOLD_RUNTIME_SIZE, TOLD_FINALIZING, TOLD_INTERPRETERS_HEAD,
	TOLD_INTERPRETER_SIZE, TOLD_INTERPRETER_ID, TOLD_INTERPRETER_NEXT, TOLD_THREADS_HEAD, TOLD_INTERPRETER_GC, TOLD_IMPORTS, TOLD_SYSDICT,
	TOLD_BUILTINS, TOLD_CEVAL_GIL, TOLD_GIL, TOLD_GIL_ENABLED, TOLD_GIL_LOCKED, TOLD_GIL_HOLDER,
	TOLD_THREAD_SIZE, TOLD_THREAD_PREV, TOLD_THREAD_NEXT, TOLD_THREAD_INTERPRETER, TOLD_THREAD_FRAME, TOLD_THREAD_ID, TOLD_THREAD_TID,
	TOLD_THREAD_CHUNK, TOLD_THREAD_STATUS,
	TOLD_FRAME_SIZE, TOLD_FRAME_PREVIOUS, TOLD_FRAME_EXECUTABLE, TOLD_FRAME_INSTRUCTION, TOLD_FRAME_LOCALS, TOLD_FRAME_OWNER,
	TOLD_CODE_SIZE, TOLD_CODE_FILE, TOLD_CODE_NAME, TOLD_CODE_QUALNAME, TOLD_CODE_LINES, TOLD_CODE_LINE,
	TOLD_COUNT,
};

static uint32_t max_of(uint32_t a, uint32_t b)
{
	return a > b ? a : b;
}

static bool told_fits(const uint64_t *told)
{
	for (int i = TOLD_RUNTIME_SIZE; i < TOLD_COUNT; i++)
		if (told[i] >= OFFSET_MAX)
			return false;
	return true;
}

static void shape_from_told(const uint64_t *told, struct python_shape *s)
{
	uint32_t last = max_of(told[TOLD_FRAME_PREVIOUS], max_of(told[TOLD_FRAME_EXECUTABLE], told[TOLD_FRAME_INSTRUCTION])) + 8;

	*s = (struct python_shape){
		.version = told[TOLD_VERSION] >> 16,
		.runtime_main = told[TOLD_INTERPRETERS_HEAD] + 8, /* the first field behind it in struct pyinterpreters */
		.interpreter_threads = told[TOLD_THREADS_HEAD],
		.interpreter_gil = told[TOLD_GIL],
		.gil_holder = told[TOLD_GIL_HOLDER],
		.gil_inside = true,
		.thread_interpreter = told[TOLD_THREAD_INTERPRETER],
		.thread_pointer = told[TOLD_THREAD_ID],
		.thread_tid = told[TOLD_THREAD_TID],
		.walk = { [SO_PYTHON_THREAD_NEXT] = told[TOLD_THREAD_NEXT],
			  [SO_PYTHON_THREAD_FRAME] = told[TOLD_THREAD_FRAME],
			  [SO_PYTHON_CFRAME_FRAME] = SO_PYTHON_NONE,
			  [SO_PYTHON_FRAME_PREVIOUS] = told[TOLD_FRAME_PREVIOUS],
			  [SO_PYTHON_FRAME_CODE] = told[TOLD_FRAME_EXECUTABLE],
			  [SO_PYTHON_FRAME_AT] = told[TOLD_FRAME_INSTRUCTION],
			  [SO_PYTHON_FRAME_ENTRY] = told[TOLD_FRAME_OWNER],
			  [SO_PYTHON_FRAME_BYTES] = (max_of(last, told[TOLD_FRAME_OWNER] + 1) + 7) & ~7U },
		.code_plain = told[TOLD_CODE_NAME],
		.code_name = told[TOLD_CODE_QUALNAME],
		.code_file = told[TOLD_CODE_FILE],
		.code_line = told[TOLD_CODE_LINE],
		.text_ascii = 40, /* PyASCIIObject, PyCompactUnicodeObject */
		.text_wide = 56,
	};
}

static int shape_ask(const struct python_memory *m, uint64_t runtime, uint32_t version, struct python_shape *ret, char *why, size_t why_len)
{
	uint64_t told[TOLD_COUNT];

	if (!memory_read(m, runtime, told, sizeof(told)) || memcmp(told, "xdebugpy", 8) || told[TOLD_VERSION] >> 16 != version || !told_fits(told)) {
		snprintf(why, why_len, "Python %u.%u doesn't say what it looks like", version >> 8, version & 255);
		return -ENOTSUP;
	}
	if (told[TOLD_FREE_THREADED]) {
		snprintf(why, why_len, "Python %u.%u without the global lock", version >> 8, version & 255);
		return -ENOTSUP;
	}
	shape_from_told(told, ret);
	if (ret->walk[SO_PYTHON_FRAME_BYTES] <= FRAME_BYTES_MAX)
		return 0;
	snprintf(why, why_len, "Python %u.%u with frames of another kind", version >> 8, version & 255);
	return -ENOTSUP;
}

int python_shape_find(const struct python_memory *m, uint64_t runtime, uint32_t version, struct python_shape *ret, char *why, size_t why_len)
{
	for (size_t i = 0; i < ARRAY_SIZE(shapes); i++) {
		if (shapes[i].version == version) {
			*ret = shapes[i];
			return 0;
		}
	}
	if (version == 0x030d)
		return shape_ask(m, runtime, version, ret, why, why_len);
	if (version)
		snprintf(why, why_len, "Python %u.%u is not known", version >> 8, version & 255);
	else
		snprintf(why, why_len, "Python of a version that is not known");
	return -ENOTSUP;
}
