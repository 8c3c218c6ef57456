/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "lib/log.h"
#include "lib/util.h"

static void integers(void **ctx)
{
	static const struct {
		const char *text;
		int err;
		long long value;
	} cases[] = {
		{ "0", 0, 0 }, { "42", 0, 42 }, { "+7", 0, 7 }, { "-3", 0, -3 }, { "007", 0, 7 }, { "100", 0, 100 },
		{ "", -EINVAL, 0 }, { "-", -EINVAL, 0 }, { " 1", -EINVAL, 0 }, { "1 ", -EINVAL, 0 }, { "0x10", -EINVAL, 0 },
		{ "1.5", -EINVAL, 0 }, { "--1", -EINVAL, 0 }, { "12a", -EINVAL, 0 }, { "101", -ERANGE, 0 }, { "-11", -ERANGE, 0 },
		{ "99999999999999999999", -ERANGE, 0 }, { "-99999999999999999999", -ERANGE, 0 },
	};

	(void)ctx;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		long long v = 12345;

		assert_int_equal(parse_int(cases[i].text, -10, 100, &v), cases[i].err);
		assert_int_equal(v, cases[i].err ? 12345 : cases[i].value); /* written only on success */
	}
}

static void seconds(void **ctx)
{
	static const char *const bad[] = { "", ".", "1e3", "nan", "inf", "0x1p3", "1.2.3", " 1", "1s", "-", "+." };
	double v = -1;

	(void)ctx;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(parse_seconds(bad[i], 0, 1000, &v), -EINVAL);
	assert_int_equal(parse_seconds("-1", 0, 1000, &v), -ERANGE);
	assert_int_equal(parse_seconds("1000.1", 0, 1000, &v), -ERANGE);
	assert_true(v == -1);
	assert_int_equal(parse_seconds("0.25", 0, 1000, &v), 0);
	assert_true(v == 0.25);
	assert_int_equal(parse_seconds(".5", 0, 1000, &v), 0);
	assert_true(v == 0.5);
	assert_int_equal(parse_seconds("3.", 0, 1000, &v), 0);
	assert_true(v == 3);
}

static void text_for_terminals(void **ctx)
{
	static const char *const cases[][2] = {
		{ "plain text", "plain text" },
		{ "a\x1b[31mred\n\t\x7f", "a?[31mred???" },
		{ "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x90\x8d", "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x90\x8d" },
		{ "\xc2\x9b" "31m", "??31m" }, /* C1: a terminal's one-byte escape */
		{ "\xff\xfe", "??" },
		{ "\xc0\xaf", "??" }, /* overlong */
		{ "\xe0\x80\xaf", "???" },
		{ "\xed\xa0\x80", "???" }, /* a surrogate */
		{ "\xf4\x90\x80\x80", "????" }, /* beyond Unicode */
		{ "cut \xe2\x82", "cut ??" },
		{ "\xe2\x80\xae" "abc", "???abc" }, /* right-to-left override */
	};

	(void)ctx;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char buf[64];

		snprintf(buf, sizeof(buf), "%s", cases[i][0]);
		assert_string_equal(text_sanitize(buf), cases[i][1]);
	}
}

static void files(void **ctx)
{
	char buf[64], tiny[4];
	ssize_t n;

	(void)ctx;
	n = file_read("/proc/self/comm", buf, sizeof(buf));
	assert_true(n > 0);
	assert_int_equal(strlen(buf), n);
	assert_int_equal(file_read("/proc/self/comm", tiny, sizeof(tiny)), 3); /* cut, and terminated */
	assert_int_equal(tiny[3], 0);
	assert_int_equal(file_read("/proc/self/no_such", buf, sizeof(buf)), -ENOENT);
	assert_int_equal(file_read("/proc/self", buf, sizeof(buf)), -EISDIR);
	assert_int_equal(file_read("/dev/null", buf, 0), -EINVAL);
}

/* What log_err writes to stderr, by way of a pipe. */
static void log_is_one_harmless_line(void **ctx)
{
	char buf[4096], longer[5000];
	int fds[2], saved = dup(STDERR_FILENO), ret;
	ssize_t n;

	(void)ctx;
	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	assert_int_equal(pipe(fds), 0);
	assert_int_equal(dup2(fds[1], STDERR_FILENO), STDERR_FILENO);
	ret = log_err(-ENOENT, "open %s", "a\nb\x1b[0m");
	log_debug("not at this level");
	dup2(saved, STDERR_FILENO);
	n = read(fds[0], buf, sizeof(buf) - 1);
	assert_true(n > 0);
	buf[n] = '\0';
	assert_int_equal(ret, -ENOENT);
	assert_string_equal(buf, "stakeout: open a?b?[0m: No such file or directory\n");

	dup2(fds[1], STDERR_FILENO);
	log_warn("%s", longer);
	dup2(saved, STDERR_FILENO);
	n = read(fds[0], buf, sizeof(buf));
	assert_true(n > 1000 && n < (ssize_t)sizeof(buf));
	assert_int_equal(buf[n - 1], '\n');
	close(fds[0]);
	close(fds[1]);
	close(saved);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(integers),
		cmocka_unit_test(seconds),
		cmocka_unit_test(text_for_terminals),
		cmocka_unit_test(files),
		cmocka_unit_test(log_is_one_harmless_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
