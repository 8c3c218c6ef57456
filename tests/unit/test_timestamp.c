/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Points in time: calendar, zones, fractions, borders of 64 bits of ns, and what is none. Expected seconds are of date(1). */
#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "lib/timestamp.h"
#include "lib/util.h"

struct row {
	const char *text;
	int64_t s, ns;
};

static void parse_check(const struct row *rows, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		int64_t ns = -7;
		int err = timestamp_parse(rows[i].text, &ns);

		if (err || ns != rows[i].s * (int64_t)NS_PER_S + rows[i].ns)
			fail_msg("%s: %d, %lld", rows[i].text, err, (long long)ns);
	}
}

static void test_calendar(void **state)
{
	static const struct row rows[] = {
	        {"1970-01-01T00:00:00Z", 0, 0},
	        {"1970-01-01T00:00:02Z", 2, 0},
	        {"2000-02-29T12:00:00Z", 951825600, 0},
	        {"2024-02-29T00:00:00Z", 1709164800, 0},
	        {"2024-03-01T00:00:00Z", 1709251200, 0},
	        {"2100-02-28T23:59:59Z", 4107542399, 0},
	        {"2100-03-01T00:00:00Z", 4107542400, 0},
	        {"2026-01-02T03:04:05Z", 1767323045, 0},
	        {"2038-01-19T03:14:08Z", 2147483648, 0},
	        {"1969-12-31T23:59:59Z", -1, 0},
	        {"1900-03-01T00:00:00Z", -2203891200, 0},
	};

	(void)state;
	parse_check(rows, ARRAY_SIZE(rows));
}

static void test_zones(void **state)
{
	static const struct row rows[] = {
	        {"2026-01-02T03:04:05z", 1767323045, 0},
	        {"2026-01-02t03:04:05Z", 1767323045, 0},
	        {"2026-01-02 03:04:05Z", 1767323045, 0},
	        {"2026-01-02T03:04:05+00:00", 1767323045, 0},
	        {"2026-01-02T03:04:05-00:00", 1767323045, 0},
	        {"2026-01-02T08:49:05+05:45", 1767323045, 0},
	        {"2026-01-01T16:04:05-11:00", 1767323045, 0},
	        {"2026-01-03T03:03:05+23:59", 1767323045, 0},
	        {"2026-01-01T03:05:05-23:59", 1767323045, 0},
	        {"1970-01-01T00:30:00+01:00", -1800, 0},
	        {"2024-02-29T23:30:00-01:00", 1709253000, 0},
	};

	(void)state;
	parse_check(rows, ARRAY_SIZE(rows));
}

static void test_fractions(void **state)
{
	static const struct row rows[] = {
	        {"1970-01-01T00:00:01.5Z", 1, 500000000},
	        {"1970-01-01T00:00:00.123456789Z", 0, 123456789},
	        {"1970-01-01T00:00:00.1234567899Z", 0, 123456789},
	        {"1970-01-01T00:00:00.000000001Z", 0, 1},
	        {"1970-01-01T00:00:00.0000000009Z", 0, 0},
	        {"1969-12-31T23:59:59.5Z", -1, 500000000},
	        {"1969-12-31T23:59:59.999999999Z", -1, 999999999},
	        {"2026-01-02T04:04:05.678+01:00", 1767323045, 678000000},
	};

	(void)state;
	parse_check(rows, ARRAY_SIZE(rows));
}

static void test_borders(void **state)
{
	static const char *const beyond[] = {"2262-04-11T23:47:16.854775808Z", "1677-09-21T00:12:43.145224191Z", "2262-04-11T23:47:17Z",
	        "1677-09-21T00:12:43Z", "9999-12-31T23:59:59Z", "0000-01-01T00:00:00Z", "2262-04-11T22:48:00-01:00"};
	int64_t ns = 3;

	(void)state;
	assert_int_equal(timestamp_parse("2262-04-11T23:47:16.854775807Z", &ns), 0);
	assert_true(ns == INT64_MAX);
	assert_int_equal(timestamp_parse("1677-09-21T00:12:43.145224192Z", &ns), 0);
	assert_true(ns == INT64_MIN);
	ns = 3;
	for (size_t i = 0; i < ARRAY_SIZE(beyond); i++)
		if (timestamp_parse(beyond[i], &ns) != -ERANGE || ns != 3)
			fail_msg("%s", beyond[i]);
}

static void test_hostile(void **state)
{
	static const char *const bad[] = {"", "now", "0", "Z", "2026", "2026-01-02", "2026-01-02T", "2026-01-02T03:04Z", "2026-01-02T03:04:05",
	        "2026-00-02T03:04:05Z", "2026-13-02T03:04:05Z", "2026-01-00T03:04:05Z", "2026-01-32T03:04:05Z", "2026-04-31T03:04:05Z",
	        "2023-02-29T00:00:00Z", "2100-02-29T00:00:00Z", "2024-02-30T00:00:00Z", "2026-01-02T24:00:00Z", "2026-01-02T25:00:00Z",
	        "2026-01-02T03:60:00Z", "2026-01-02T03:04:60Z", "2016-12-31T23:59:60Z", "2026-01-02T03:04:05Zx", "2026-01-02T03:04:05Z ",
	        " 2026-01-02T03:04:05Z", "2026-01-02T03:04:05ZZ", "2026-01-02T03:04:05.Z", "2026-01-02T03:04:05.", "2026-01-02T03:04:05,5Z",
	        "2026-01-02T03:04:05.5", "2026-01-02T03:04:05.-5Z", "2026-01-02T03:04:05+24:00", "2026-01-02T03:04:05+01:60", "2026-01-02T03:04:05+0100",
	        "2026-01-02T03:04:05+1:00", "2026-01-02T03:04:05+01", "2026-01-02T03:04:05+01:00x", "2026-01-02T03:04:05+-1:00", "2026-01-02T03:04:05 UTC",
	        "2026-1-02T03:04:05Z", "26-01-02T03:04:05Z", "+2026-01-02T03:04:05Z", "-2026-01-02T03:04:05Z", "20260102T030405Z", "2026-01-02T 3:04:05Z",
	        "2026-01-02T-3:04:05Z", "2026-01-02X03:04:05Z", "2026-01-02\n03:04:05Z", "2026-01-02T03:04:05\033[31mZ", "2026-01-02T03:04:05\xc2\xb5Z",
	        "12026-01-02T03:04:05Z", "\xff\xff\xff\xff-\xff\xff-\xff\xffT"};
	char text[5000];
	int64_t ns = 3;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		if (timestamp_parse(bad[i], &ns) != -EINVAL || ns != 3)
			fail_msg("'%s'", bad[i]);
	memset(text, '9', sizeof(text));
	memcpy(text, "1970-01-01T00:00:01.", 20);
	memcpy(text + sizeof(text) - 2, "Z", 2);
	assert_int_equal(timestamp_parse(text, &ns), 0);
	assert_int_equal(ns, 1999999999);
	for (size_t len = 0; len < sizeof("2026-01-02T03:04:05.678+01:00") - 1; len++) {
		char *part = strndup("2026-01-02T03:04:05.678+01:00", len); /* its own memory: nothing is read behind its end */

		assert_int_equal(timestamp_parse(part, &ns), -EINVAL);
		free(part);
	}
}

static void test_format(void **state)
{
	static const struct row rows[] = {
	        {"1970-01-01T00:00:00.000Z", 0, 0},
	        {"2026-01-02T03:04:05.678Z", 1767323045, 678000000},
	        {"2026-01-02T03:04:05.678Z", 1767323045, 678499999},
	        {"2026-01-02T03:04:05.679Z", 1767323045, 678500000},
	        {"2026-01-02T03:04:06.000Z", 1767323045, 999500000},
	        {"2026-03-01T00:00:00.000Z", 1772323199, 999999999},
	        {"1969-12-31T23:59:59.500Z", -1, 500000000},
	        {"1970-01-01T00:00:00.000Z", -1, 999500000},
	        {"1969-12-31T23:59:59.999Z", -1, 999499999},
	        {"1900-02-28T23:59:59.001Z", -2203891201, 1000000},
	};
	char text[TIMESTAMP_LEN];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		assert_string_equal(timestamp_format(rows[i].s * (int64_t)NS_PER_S + rows[i].ns, text), rows[i].text);
	assert_string_equal(timestamp_format(INT64_MAX, text), "2262-04-11T23:47:16.855Z");
	assert_string_equal(timestamp_format(INT64_MIN, text), "1677-09-21T00:12:43.145Z");
}

/* Both ways, over the whole range, and nothing of this host's zone in it. */
static void test_round_trip(void **state)
{
	(void)state;
	setenv("TZ", "Asia/Kathmandu", 1);
	tzset();
	for (int64_t ms = -9223372036854; ms < 9223372036854; ms += 7654321987) {
		char text[TIMESTAMP_LEN];
		int64_t ns;

		assert_int_equal(timestamp_parse(timestamp_format(ms * 1000000, text), &ns), 0);
		assert_true(ns == ms * 1000000);
	}
	assert_true(llabs(timestamp_now() / (int64_t)NS_PER_S - (int64_t)time(NULL)) <= 1);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_calendar),
	        cmocka_unit_test(test_zones),
	        cmocka_unit_test(test_fractions),
	        cmocka_unit_test(test_borders),
	        cmocka_unit_test(test_hostile),
	        cmocka_unit_test(test_format),
	        cmocka_unit_test(test_round_trip),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
