/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "judge/measure.h"

#include <string.h>

const struct measure_info measure_infos[MEASURE_COUNT] = {
#define MEASURE(id, name, expression, group, of, more_is_better, help)                                                         \
	[MEASURE_##id] = {name, expression, GROUP_##group, OF_##of, more_is_better, help},
#include "measures.def"
#undef MEASURE
};

const char *const measure_group_names[MEASURE_GROUPS] = {"cpu", "memory", "time", "errors"};

int measure_find(const char *name)
{
	for (int i = 0; i < MEASURE_COUNT; i++)
		if (!strcmp(name, measure_infos[i].name))
			return i;
	return -1;
}

int measure_group_find(const char *name)
{
	for (int i = 0; i < MEASURE_GROUPS; i++)
		if (!strcmp(name, measure_group_names[i]))
			return i;
	return -1;
}
