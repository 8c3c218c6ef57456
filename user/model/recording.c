/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The data of an interval: what recordings are written from and read into. */
#include "model/recording.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void agent_data_fini(struct agent_data *a)
{
	metric_set_fini(&a->metrics);
	for (int i = 0; i < a->tools_len; i++) {
		metric_set_fini(&a->tools[i].metrics);
		free(a->tools[i].name);
	}
	free(a->tools);
	memset(a, 0, sizeof(*a));
}

/* The array moves when a tool is added: a tool found earlier must be looked up again. */
struct tool_data *agent_data_tool(struct agent_data *a, const char *name)
{
	struct tool_data *tool;

	for (int i = 0; i < a->tools_len; i++)
		if (!strcmp(a->tools[i].name, name))
			return &a->tools[i];
	/* Capacity follows from the length: full at 0, 1, 2, 4, 8 .. */
	if (!(a->tools_len & (a->tools_len - 1))) {
		size_t cap = a->tools_len ? (size_t)a->tools_len * 2 : 1;

		tool = reallocarray(a->tools, cap, sizeof(*tool));
		if (!tool)
			return NULL;
		a->tools = tool;
	}
	tool = &a->tools[a->tools_len];
	memset(tool, 0, sizeof(*tool));
	tool->name = strdup(name);
	if (!tool->name)
		return NULL;
	a->tools_len++;
	return tool;
}

int agent_data_merge(struct agent_data *into, const struct agent_data *from)
{
	int err = metric_set_merge(&into->metrics, &from->metrics);

	if (err)
		return err;
	into->id = from->id;
	into->alive = from->alive;
	into->observed_s += from->observed_s;
	ledger_merge(&into->main, &from->main);
	ledger_merge(&into->threads, &from->threads);
	for (int i = 0; i < from->tools_len; i++) {
		struct tool_data *tool = agent_data_tool(into, from->tools[i].name);

		err = tool ? metric_set_merge(&tool->metrics, &from->tools[i].metrics) : -ENOMEM;
		if (err)
			return err;
		tool->runs_live = from->tools[i].runs_live;
	}
	return 0;
}
