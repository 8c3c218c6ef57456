/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "probe/interpreters.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "abi.h"
#include "lib/util.h"
#include "symbols/python.h"

#define YOUNG_MAX 256 /* processes that wait for a look; of more the oldest are given up */
#define WORK_MAX 4 /* a call */
#define RETRY_NS 5000000ULL /* an interpreter, or the library that it is in, is there a moment after the exec. Doubles each time */
#define TRIES_MAX 10
#define FORKED_NS 200000000ULL /* until then, most have run a program or ended */

struct young {
	pid_t pid;
	unsigned slot;
	int tries;
	uint64_t due_ns;
};

struct interpreters {
	int map;
	const struct part_reports *reports;
	struct young young[YOUNG_MAX];
	int young_len;
};

struct interpreters *interpreters_new(int map, const struct part_reports *r)
{
	struct interpreters *i = calloc(1, sizeof(*i));

	if (!i)
		return NULL;
	i->map = map;
	i->reports = r;
	return i;
}

void interpreters_free(struct interpreters *i)
{
	free(i);
}

static void young_remove(struct interpreters *i, int at)
{
	i->young_len--;
	memmove(&i->young[at], &i->young[at + 1], (i->young_len - at) * sizeof(i->young[0]));
}

static void young_forget(struct interpreters *i, pid_t pid)
{
	for (int y = i->young_len - 1; y >= 0; y--)
		if (i->young[y].pid == pid)
			young_remove(i, y);
}

void interpreters_process(struct interpreters *i, pid_t pid, unsigned slot, enum seen how)
{
	uint64_t wait_ns = how == SEEN_RUNNING ? 0 : how == SEEN_EXEC ? RETRY_NS : FORKED_NS;

	young_forget(i, pid);
	if (i->young_len == YOUNG_MAX)
		young_remove(i, 0);
	i->young[i->young_len++] = (struct young){ .pid = pid, .slot = slot, .due_ns = clock_ns() + wait_ns };
}

void interpreters_gone(struct interpreters *i, pid_t pid)
{
	uint32_t tgid = (uint32_t)pid;

	young_forget(i, pid);
	bpf_map_delete_elem(i->map, &tgid); /* if it was noted when it had ended already: else the kernel side has done so */
}

/* A copy of a process that is known, see python_inherit() on the kernel side. */
static bool known(const struct interpreters *i, uint32_t tgid)
{
	struct so_python p;

	return !bpf_map_lookup_elem(i->map, &tgid, &p);
}

/* False: to be looked at again. */
static bool look(struct interpreters *i, const struct young *y)
{
	uint32_t tgid = (uint32_t)y->pid;
	char why[128] = "", text[160];
	struct so_python p;
	int err;

	if (known(i, tgid))
		return true;
	memset(&p, 0, sizeof(p));
	err = python_layout(tgid, &p, why, sizeof(why));
	if (!err)
		bpf_map_update_elem(i->map, &tgid, &p, BPF_ANY);
	if (err == -ENOTSUP && i->reports) {
		snprintf(text, sizeof(text), "python: %s (pid %u): its stacks show the interpreter's own C functions", why, tgid);
		i->reports->note(i->reports->ctx, y->slot, text);
	}
	return err != -EAGAIN && err != -ENOENT;
}

void interpreters_look(struct interpreters *i, pid_t pid, unsigned slot)
{
	look(i, &(struct young){ .pid = pid, .slot = slot });
}

void interpreters_work(struct interpreters *i)
{
	uint64_t now = i->young_len ? clock_ns() : 0;
	int done = 0;

	for (int n = 0; n < i->young_len && done < WORK_MAX;) {
		struct young *y = &i->young[n];

		if (y->due_ns > now) {
			n++;
			continue;
		}
		done++;
		if (look(i, y) || ++y->tries == TRIES_MAX) {
			young_remove(i, n);
			continue;
		}
		y->due_ns = now + (RETRY_NS << y->tries);
		n++;
	}
}
