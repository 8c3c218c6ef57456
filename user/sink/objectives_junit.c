// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#include <string.h>

#include "sink/format.h"
#include "sink/junit.h"
#include "sink/objectives.h"

void objectives_junit_begin(FILE *out)
{
	fputs("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"stakeout check\">\n", out);
}

void objectives_junit_end(FILE *out)
{
	fputs("</testsuites>\n", out);
}

static void suite_begin(FILE *out, const char *file, int tests, int failures, int errors, int skipped)
{
	fputs(" <testsuite", out);
	junit_attribute(out, "name", file);
	junit_number(out, "tests", tests);
	junit_number(out, "failures", failures);
	junit_number(out, "errors", errors);
	junit_number(out, "skipped", skipped);
	fputs(" time=\"0\">\n", out);
}

static void case_begin(FILE *out, const char *file, const char *name)
{
	fputs("  <testcase", out);
	junit_attribute(out, "classname", file);
	junit_attribute(out, "name", name);
	fputs(" time=\"0\">", out);
}

static bool failed(const struct objective *o)
{
	return o->verdict == OBJECTIVE_MISSED && o->rule->severity != SEVERITY_INFO;
}

/* "agent subject: 4.20 s (> 3s), for 35.0 s since 60.0 s" */
static void miss_text(const struct objective *o, const struct objective_miss *m, char *buf, size_t len)
{
	char limit[80], value[32];

	snprintf(buf, len, "%.100s%s%.150s: %s (%s), for %s from %s on", m->agent_name, *m->subject ? " " : "", m->subject, rule_value_text(o->rule, m->worst, value, sizeof(value)),
		 rule_limit_text(o->rule, limit, sizeof(limit)), ns_text(m->seconds * 1e9), ns_text(m->since_s * 1e9));
}

static void put_misses(FILE *out, const struct objective *o)
{
	char text[512];

	for (int i = 0; i < o->misses_len; i++) {
		miss_text(o, &o->misses[i], text, sizeof(text));
		junit_text(out, text);
		junit_text(out, "\n");
	}
}

static void put_case(FILE *out, const char *file, const struct objective *o)
{
	char text[512];

	case_begin(out, file, o->rule->name);
	if (failed(o)) {
		fputs("<failure", out);
		junit_attribute(out, "type", severity_names[o->rule->severity]);
		miss_text(o, &o->misses[0], text, sizeof(text));
		junit_attribute(out, "message", text);
		fputc('>', out);
		put_misses(out, o);
		fputs("</failure>", out);
	} else if (o->verdict == OBJECTIVE_SILENT) {
		fputs("<skipped", out);
		junit_attribute(out, "message", o->why ? o->why : "too few");
		fputs("/>", out);
	} else if (o->verdict == OBJECTIVE_MISSED) {
		fputs("<system-out>info: ", out);
		put_misses(out, o);
		fputs("</system-out>", out);
	}
	fputs("</testcase>\n", out);
}

void objectives_junit_suite(FILE *out, const char *file, const struct objective *all, int len)
{
	int failures = 0, skipped = 0;

	for (int i = 0; i < len; i++) {
		failures += failed(&all[i]);
		skipped += all[i].verdict == OBJECTIVE_SILENT;
	}
	suite_begin(out, file, len, failures, 0, skipped);
	for (int i = 0; i < len; i++)
		put_case(out, file, &all[i]);
	fputs(" </testsuite>\n", out);
}

void objectives_junit_unread(FILE *out, const char *file, const char *why)
{
	suite_begin(out, file, 1, 0, 1, 0);
	case_begin(out, file, "read");
	fputs("<error", out);
	junit_attribute(out, "message", why);
	fputs("/></testcase>\n </testsuite>\n", out);
}
