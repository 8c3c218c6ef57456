/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Names and addresses from DNS answers: cut off anywhere, damaged, forged. */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>

#include <arpa/inet.h>

#include "lib/util.h"
#include "lib_text.h"

struct answers {
	int len;
	char name[NAME_BYTES], text[8][INET6_ADDRSTRLEN];
};

static void on_address(void *ctx, const char *name, int family, const uint8_t addr[16])
{
	struct answers *a = ctx;

	assert_name_is_clean(name);
	assert_true(*name);
	assert_true(family == AF_INET || family == AF_INET6);
	snprintf(a->name, sizeof(a->name), "%s", name);
	assert_non_null(inet_ntop(family, addr, a->text[a->len++ % 8], INET6_ADDRSTRLEN));
}

static int resolve(const struct text *t, size_t len, struct answers *a)
{
	uint8_t *copy = malloc(len ? len : 1);
	int n;

	assert_non_null(copy);
	memcpy(copy, t->data, len);
	*a = (struct answers){};
	n = dns_parse(copy, len, on_address, a);
	free(copy);
	assert_true(n == -EBADMSG ? !a->len : n == a->len);
	return n;
}

static void add_dns_name(struct text *t, const char *name)
{
	for (const char *s = name, *dot; *s; s = *dot ? dot + 1 : dot) {
		dot = strchrnul(s, '.');
		add_number(t, (unsigned)(dot - s), 1);
		add(t, s, dot - s);
	}
	add_number(t, 0, 1);
}

static struct text dns_make(const char *name, unsigned flags, unsigned answers)
{
	struct text t = {};

	add_number(&t, 0x1234, 2);
	add_number(&t, flags, 2);
	add_number(&t, 1, 2);
	add_number(&t, answers, 2);
	add_number(&t, 0, 4);
	add_dns_name(&t, name);
	add_number(&t, 1, 2);
	add_number(&t, 1, 2);
	return t;
}

/* owner: the offset of a name in the message. */
static void add_record(struct text *t, unsigned owner, unsigned type, unsigned class, const void *data, size_t len)
{
	add_number(t, 0xc000 | owner, 2);
	add_number(t, type, 2);
	add_number(t, class, 2);
	add_number(t, 300, 4);
	add_number(t, (unsigned)len, 2);
	add(t, data, len);
}

static const uint8_t v4[2][4] = { { 192, 0, 2, 1 }, { 192, 0, 2, 2 } }, v6[16] = { 0x20, 1, 0xd, 0xb8, [15] = 9 };

static void a_chain_of_names(void **ctx)
{
	struct text t = dns_make("API.Example.com", 0x8180, 4), alias = {};
	struct answers a;
	size_t first;

	(void)ctx;
	add_dns_name(&alias, "edge.example.net");
	add_record(&t, 12, 5, 1, alias.data, alias.len);
	first = t.len;
	add_record(&t, (unsigned)(t.len - alias.len), 1, 1, v4[0], 4);
	add_record(&t, (unsigned)first - 18, 1, 1, v4[1], 4);
	add_record(&t, 12, 28, 1, v6, 16);
	assert_int_equal(resolve(&t, t.len, &a), 3);
	assert_string_equal(a.name, "api.example.com");
	assert_string_equal(a.text[0], "192.0.2.1");
	assert_string_equal(a.text[1], "192.0.2.2");
	assert_string_equal(a.text[2], "2001:db8::9");
	/* What was whole before a cut counts: answers may be longer than what is read of them. */
	for (size_t cut = 0; cut <= t.len; cut++) {
		int want = cut < first + 16 ? -EBADMSG : cut < first + 32 ? 1 : cut < first + 60 ? 2 : 3;

		assert_int_equal(resolve(&t, cut, &a), want);
	}
	add(&t, "behind", 6);
	assert_int_equal(resolve(&t, t.len, &a), 3);
}

static void answers_that_are_none(void **ctx)
{
	static const struct {
		unsigned flags;
		int want;
	} cases[] = {
		{ 0x8180, 1 }, { 0x8400, 1 }, { 0x8380, 1 }, /* truncated: what is there counts */
		{ 0x0100, -EBADMSG }, /* a query */
		{ 0xa980, -EBADMSG }, /* an update */
		{ 0x8183, 0 }, { 0x8182, 0 }, /* no such name; failed */
	};
	struct answers a;

	(void)ctx;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct text t = dns_make("a.example", cases[i].flags, 1);

		add_record(&t, 12, 1, 1, v4[0], 4);
		assert_int_equal(resolve(&t, t.len, &a), cases[i].want);
	}
}

static void records_of_no_use(void **ctx)
{
	struct text t = dns_make("a.example", 0x8180, 6);
	struct answers a;

	(void)ctx;
	add_record(&t, 12, 1, 3, v4[0], 4); /* another class */
	add_record(&t, 12, 1, 1, v4[0], 3);
	add_record(&t, 12, 1, 1, v6, 16);
	add_record(&t, 12, 28, 1, v4[0], 4);
	add_record(&t, 12, 16, 1, "\5hello", 6); /* TXT */
	add_record(&t, 12, 1, 1, v4[1], 4);
	assert_int_equal(resolve(&t, t.len, &a), 1);
	assert_string_equal(a.text[0], "192.0.2.2");
}

static void names_that_do_harm(void **ctx)
{
	static const char *const bad[] = { "", "a b", "a\\b", "a\nb", "*.example", "192.0.2.1", "x;y", "b\xc3\xbc" };
	struct text t;
	struct answers a;

	(void)ctx;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		t = dns_make(bad[i], 0x8180, 1);
		add_record(&t, 12, 1, 1, v4[0], 4);
		assert_int_equal(resolve(&t, t.len, &a), 0);
	}
	t = dns_make("a.b", 0x8180, 1); /* a dot within a label */
	t.data[12] = 3;
	memcpy(t.data + 13, "a.b", 4);
	add_record(&t, 12, 1, 1, v4[0], 4);
	assert_int_equal(resolve(&t, t.len, &a), 0);
	t = dns_make("abcdefgh", 0x8180, 1); /* a name that points at itself */
	t.data[12] = 0xc0;
	t.data[13] = 12;
	assert_int_equal(resolve(&t, t.len, &a), -EBADMSG);
	t.data[13] = 14; /* two that point at each other */
	t.data[14] = 0xc0;
	t.data[15] = 12;
	assert_int_equal(resolve(&t, t.len, &a), -EBADMSG);
	t.data[13] = 0xff; /* beyond the end */
	assert_int_equal(resolve(&t, t.len, &a), -EBADMSG);
	t = dns_make("a.example", 0x8180, 0xffff); /* fewer answers than told */
	add_record(&t, 12, 1, 1, v4[0], 4);
	assert_int_equal(resolve(&t, t.len, &a), 1);
	t.data[5] = 2; /* two questions */
	assert_int_equal(resolve(&t, t.len, &a), -EBADMSG);
}

static void dns_with_each_bit_flipped(void **ctx)
{
	struct text t = dns_make("api.example.com", 0x8180, 2);
	struct answers a;

	(void)ctx;
	add_record(&t, 12, 1, 1, v4[0], 4);
	add_record(&t, 12, 28, 1, v6, 16);
	for (size_t bit = 0; bit < 8 * t.len; bit++) {
		t.data[bit / 8] ^= 1 << bit % 8;
		resolve(&t, t.len, &a);
		t.data[bit / 8] ^= 1 << bit % 8;
	}
	assert_int_equal(resolve(&t, t.len, &a), 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_chain_of_names),
		cmocka_unit_test(answers_that_are_none),
		cmocka_unit_test(records_of_no_use),
		cmocka_unit_test(names_that_do_harm),
		cmocka_unit_test(dns_with_each_bit_flipped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
