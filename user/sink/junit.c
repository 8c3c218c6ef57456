/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The elements and attributes that CI systems have in common (Jenkins, GitLab): testsuites, testsuite, testcase, failure, skipped, system-out. There are few enough of them to be
 * written without a library; what XML 1.0 can't hold, escaped or not, becomes '?'.
 */
#include <errno.h>
#include <string.h>

#include "model/json_put.h"
#include "sink/diff.h"
#include "sink/format.h"
#include "sink/junit.h"

/* U+FFFE and U+FFFF, which are UTF-8 but no characters. */
static bool no_character(const unsigned char *s, size_t len)
{
	return len == 3 && s[0] == 0xef && s[1] == 0xbf && s[2] >= 0xbe;
}

void junit_text(FILE *out, const char *text)
{
	const unsigned char *s = (const unsigned char *)text;
	size_t len;

	for (; *s; s += len) {
		len = utf8_length(s);
		if (*s == '<' || *s == '>' || *s == '&' || *s == '"' || *s == '\n' || *s == '\t')
			fprintf(out, "&#%d;", *s);
		else if (!len || *s < ' ' || *s == 0x7f || no_character(s, len))
			fputc('?', out);
		else
			fwrite(s, 1, len, out);
		len = len ? len : 1;
	}
}

void junit_attribute(FILE *out, const char *name, const char *value)
{
	fprintf(out, " %s=\"", name);
	junit_text(out, value);
	fputc('"', out);
}

void junit_number(FILE *out, const char *name, int n)
{
	fprintf(out, " %s=\"%d\"", name, n);
}

static void put_change(FILE *out, const struct diff_view *v, const struct comparison *row)
{
	char base[FIGURE_BYTES], new[FIGURE_BYTES], change[FIGURE_BYTES], low[FIGURE_BYTES], high[FIGURE_BYTES],
	        limit[FIGURE_BYTES], text[512];

	snprintf(text, sizeof(text), "%s: %s to %s, %s (95 %% interval: %s to %s; limit %s)", measure_infos[row->measure].help,
	        measure_text(row->measure, row->base, base), measure_text(row->measure, row->new, new),
	        change_text(row->measure, row->change, change), change_text(row->measure, row->low, low),
	        change_text(row->measure, row->high, high),
	        change_text(row->measure, compare_limit(v->limits, row->measure), limit));
	junit_text(out, text);
}

static void put_case(FILE *out, const struct diff_view *v, const struct comparison *row)
{
	char name[sizeof(row->subject) + 64];

	snprintf(name, sizeof(name), "%s%s%s", row->subject, *row->subject ? " " : "", measure_infos[row->measure].name);
	fputs("  <testcase", out);
	junit_attribute(out, "classname", row->agent);
	junit_attribute(out, "name", name);
	fputs(" time=\"0\">", out);
	if (row->verdict == VERDICT_DEGRADED) {
		fputs("<failure type=\"degraded\" message=\"", out);
		put_change(out, v, row);
		fputs("\"/>", out);
	} else if (row->verdict == VERDICT_INSUFFICIENT) {
		fputs("<skipped", out);
		junit_attribute(out, "message", row->why ? row->why : "");
		fputs("/>", out);
	} else {
		fprintf(out, "<system-out>%s: ", verdict_names[row->verdict]);
		put_change(out, v, row);
		fputs("</system-out>", out);
	}
	fputs("</testcase>\n", out);
}

static bool of_agent(const struct comparison *row, const char *agent)
{
	return !strcmp(row->agent, agent);
}

static void put_suite(FILE *out, const struct diff_view *v, const char *agent)
{
	int tests = 0, counts[VERDICT_COUNT] = {0};

	for (int i = 0; i < v->c->len; i++)
		if (of_agent(&v->c->rows[i], agent)) {
			tests++;
			counts[v->c->rows[i].verdict]++;
		}
	fputs(" <testsuite", out);
	junit_attribute(out, "name", agent);
	junit_number(out, "tests", tests);
	junit_number(out, "failures", counts[VERDICT_DEGRADED]);
	junit_number(out, "errors", 0);
	junit_number(out, "skipped", counts[VERDICT_INSUFFICIENT]);
	fputs(" time=\"0\">\n", out);
	for (int i = 0; i < v->c->len; i++)
		if (of_agent(&v->c->rows[i], agent))
			put_case(out, v, &v->c->rows[i]);
	fputs(" </testsuite>\n", out);
}

int junit_diff(FILE *out, const struct diff_view *v)
{
	const struct comparisons *c = v->c;

	fputs("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"stakeout diff\"", out);
	junit_number(out, "tests", c->len);
	junit_number(out, "failures", c->counts[VERDICT_DEGRADED]);
	junit_number(out, "errors", 0);
	junit_number(out, "skipped", c->counts[VERDICT_INSUFFICIENT]);
	fputs(" time=\"0\">\n", out);
	for (int i = 0; i < c->len; i++) {
		bool first = true;

		for (int n = 0; n < i && first; n++)
			first = !of_agent(&c->rows[n], c->rows[i].agent);
		if (first)
			put_suite(out, v, c->rows[i].agent);
	}
	fputs("</testsuites>\n", out);
	return fflush(out) || ferror(out) ? errno ? -errno : -EIO : 0;
}
