// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* Files of rules: any bytes give rules or a message of one line. */
#include <stdlib.h>
#include <string.h>

#include "judge/rule.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1), why[600] = "";
	struct rules *rules = NULL;
	struct rule_watch *w;

	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	if (rules_parse("rules.yaml", text, &rules, why, sizeof(why))) {
		if (!*why || strchr(why, '\n') || strchr(why, '\033'))
			abort();
	} else {
		w = rule_watch_new(rules, NULL, NULL);
		for (int r = 0; w && r < rules->len; r++)
			if (!rule_watch_silent(w, r))
				abort();
		rule_watch_free(w);
		rules_free(rules);
	}
	free(text);
	return 0;
}
