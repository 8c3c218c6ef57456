// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#include "judge/severity.h"

#include <string.h>

const char *const severity_names[SEVERITY_COUNT] = { "info", "warning", "critical" };

int severity_find(const char *name)
{
	for (int i = 0; i < SEVERITY_COUNT; i++)
		if (!strcmp(name, severity_names[i]))
			return i;
	return -1;
}
