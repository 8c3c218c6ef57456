/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Names and classes from a connection's first bytes: as real clients send them, cut off anywhere, damaged, forged. */
#include <stdbool.h>
#include <stdio.h>

#include "collect/names.h"
#include "lib/util.h"
#include "model/classes.h"
#include "hellos.h"
#include "lib_text.h"

#define LLM CLASS_LLM
#define NONE (-1)

static size_t unhex(const char *hex, uint8_t *data)
{
	size_t len = strlen(hex) / 2;

	for (size_t i = 0; i < len; i++) {
		unsigned byte;

		assert_int_equal(sscanf(hex + 2 * i, "%2x", &byte), 1);
		data[i] = (uint8_t)byte;
	}
	return len;
}

/* In memory of just that size, so that the sanitizer sees a read beyond. */
static struct first_bytes parse(const void *data, size_t len)
{
	uint8_t *copy = malloc(len ? len : 1);
	struct first_bytes f;

	assert_non_null(copy);
	memcpy(copy, data, len);
	memset(&f, 0xff, sizeof(f));
	first_bytes_parse(copy, len, &f);
	free(copy);
	assert_name_is_clean(f.name);
	assert_true(f.class >= -1 && f.class < CLASS_COUNT);
	return f;
}

/* Each beginning of it tells either nothing or the same as the whole, and what one has told a longer one tells too. */
static void check_cuts(const void *data, size_t len)
{
	struct first_bytes whole = parse(data, len), last = parse(data, 0);

	assert_string_equal(last.name, "");
	assert_true(!last.tls && !last.http && !last.http2 && last.class == NONE);
	for (size_t cut = 1; cut <= len; cut++) {
		struct first_bytes f = parse(data, cut);

		if (*f.name || *last.name)
			assert_string_equal(f.name, whole.name);
		if (f.class != NONE || last.class != NONE)
			assert_int_equal(f.class, whole.class);
		assert_true(f.tls ? whole.tls : !last.tls);
		assert_true(f.http ? whole.http : !last.http);
		assert_true(f.http2 ? whole.http2 : !last.http2);
		last = f;
	}
}

static void check_hello(const uint8_t *data, size_t len, const struct hello *want)
{
	struct first_bytes f = parse(data, len);

	if (strcmp(f.name, want->name) || f.http2 != want->http2 || f.class != want->class || !f.tls || f.http)
		fail_msg("%s: name '%s' http2 %d class %d tls %d http %d", want->client, f.name, f.http2, f.class, f.tls, f.http);
}

static void client_hellos(void **ctx)
{
	uint8_t data[1024];

	(void)ctx;
	for (size_t i = 0; i < ARRAY_SIZE(hellos); i++) {
		size_t len = unhex(hellos[i].hex, data);

		check_hello(data, len, &hellos[i]);
		check_cuts(data, len);
	}
}

/* The same message in records of any size: RFC 8446, 5.1 allows it. */
static void hellos_in_several_records(void **ctx)
{
	uint8_t data[1024], split[8192];

	(void)ctx;
	for (size_t i = 0; i < ARRAY_SIZE(hellos); i++) {
		size_t len = unhex(hellos[i].hex, data);

		for (size_t piece = 1; piece <= 300; piece = piece * 2 + 1) {
			size_t n = 0;

			for (size_t at = 5; at < len; at += piece) {
				size_t part = len - at < piece ? len - at : piece;
				uint8_t head[5] = { 22, 3, 1, (uint8_t)(part >> 8), (uint8_t)part };

				memcpy(split + n, head, sizeof(head));
				memcpy(split + n + 5, data + at, part);
				n += 5 + part;
			}
			check_hello(split, n, &hellos[i]);
			check_cuts(split, n);
		}
	}
}

static void hellos_with_each_bit_flipped(void **ctx)
{
	uint8_t data[1024];

	(void)ctx;
	for (size_t i = 0; i < ARRAY_SIZE(hellos); i++) {
		size_t len = unhex(hellos[i].hex, data);

		for (size_t bit = 0; bit < 8 * len; bit++) {
			data[bit / 8] ^= 1 << bit % 8;
			parse(data, len);
			data[bit / 8] ^= 1 << bit % 8;
		}
	}
}

static void add_extension(struct text *t, unsigned type, const void *data, size_t len)
{
	add_number(t, type, 2);
	add_number(t, (unsigned)len, 2);
	add(t, data, len);
}

static void add_server_name(struct text *t, const char *name, size_t len)
{
	struct text ext = {};

	add_number(&ext, (unsigned)len + 3, 2);
	add_number(&ext, 0, 1);
	add_number(&ext, (unsigned)len, 2);
	add(&ext, name, len);
	add_extension(t, 0, ext.data, ext.len);
}

/* A ClientHello with these extensions. */
static struct text hello_make(const struct text *extensions)
{
	struct text t = {};
	static const uint8_t random[32] = { 1, 2, 3 };
	size_t body = 2 + 32 + 1 + 2 + 2 + 2 + 2 + extensions->len;

	add_number(&t, 0x160301, 3);
	add_number(&t, (unsigned)body + 4, 2);
	add_number(&t, 1, 1);
	add_number(&t, (unsigned)body, 3);
	add_number(&t, 0x0303, 2);
	add(&t, random, 32);
	add_number(&t, 0, 1); /* session */
	add_number(&t, 2, 2); /* cipher suites */
	add_number(&t, 0x1301, 2);
	add_number(&t, 0x0100, 2); /* compression */
	add_number(&t, (unsigned)extensions->len, 2);
	add(&t, extensions->data, extensions->len);
	return t;
}

static void extensions_in_any_order(void **ctx)
{
	(void)ctx;
	for (int order = 0; order < 256; order++) {
		struct text ext = {}, t;
		int at[4] = { order & 3, order >> 2 & 3, order >> 4 & 3, order >> 6 };

		if ((1 << at[0] | 1 << at[1] | 1 << at[2] | 1 << at[3]) != 15)
			continue; /* no permutation */
		for (int i = 0; i < 4; i++)
			switch (at[i]) {
			case 0:
				add_server_name(&ext, "Api.Example.COM.", 16);
				break;
			case 1:
				add_extension(&ext, 16, "\0\3\2h2", 5);
				break;
			case 2:
				add_extension(&ext, 0x1a1a, "", 0); /* GREASE */
				break;
			case 3:
				add_extension(&ext, 51, "\0\2ab", 4);
				break;
			}
		t = hello_make(&ext);
		assert_string_equal(parse(t.data, t.len).name, "api.example.com");
		assert_true(parse(t.data, t.len).http2);
		check_cuts(t.data, t.len);
	}
}

static void server_name_is(const char *sni, size_t len, const char *want)
{
	struct text ext = {}, t;
	struct first_bytes f;

	add_server_name(&ext, sni, len);
	t = hello_make(&ext);
	f = parse(t.data, t.len);
	assert_true(f.tls);
	assert_string_equal(f.name, want);
}

static void server_names_that_are_none(void **ctx)
{
	static const char *const bad[] = {
		"", ".", "..", "a..b", ".a", "192.0.2.1", "192.0.2.1.", "::1", "[::1]", "a b", "a\tb", "a\nb", "a/b", "a:443",
		"a%00", "*.a", "\x1b[2J", "b\xc3\xbc",
	};
	char longest[300];

	(void)ctx;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		server_name_is(bad[i], strlen(bad[i]), "");
	server_name_is("evil\0.example.com", 17, "");
	server_name_is("x_1-2.Example", 13, "x_1-2.example");
	memset(longest, 'a', sizeof(longest));
	server_name_is(longest, 256, "");
	server_name_is(longest, 300, "");
	longest[255] = 0;
	server_name_is(longest, 255, longest);
}

static void other_name_types_and_empty_lists(void **ctx)
{
	static const char list[] = "\0\x0b\7\0\1x\0\0\4host", cut[] = "\0\x0b\0\0\x09host";
	struct text ext = {}, t;

	(void)ctx;
	add_extension(&ext, 0, list, sizeof(list) - 1);
	t = hello_make(&ext);
	assert_string_equal(parse(t.data, t.len).name, "host");
	ext.len = 0;
	add_extension(&ext, 0, cut, sizeof(cut) - 1); /* lengths that lie */
	t = hello_make(&ext);
	assert_string_equal(parse(t.data, t.len).name, "");
	ext.len = 0;
	add_extension(&ext, 16, "\0\3\2h2", 5); /* twice: the first counts */
	add_extension(&ext, 16, "\0\3\2xx", 5);
	add_server_name(&ext, "first", 5);
	add_server_name(&ext, "second", 6);
	t = hello_make(&ext);
	assert_true(parse(t.data, t.len).http2);
	assert_string_equal(parse(t.data, t.len).name, "first");
	ext.len = 0;
	add_extension(&ext, 0, "", 0);
	add_extension(&ext, 16, "", 0);
	t = hello_make(&ext);
	assert_string_equal(parse(t.data, t.len).name, "");
	assert_false(parse(t.data, t.len).http2);
}

static void not_tls(void **ctx)
{
	static const char *const hex[] = {
		"160301ffff01", /* a record of 65,535 bytes */
		"160301000001", /* an empty one */
		"160305010001", /* no such version */
		"160201010001", "170303010001", /* data */
		"150303000202", /* an alert */
		"16030100100300", /* handshake, of another kind */
	};
	uint8_t data[64];

	(void)ctx;
	for (size_t i = 0; i < ARRAY_SIZE(hex); i++)
		assert_false(parse(data, unhex(hex[i], data)).tls);
	assert_true(parse(data, unhex("160303003a0200", data)).tls); /* a ServerHello */
	assert_true(parse(data, unhex("1603030101", data)).tls); /* the header alone: a client may send it so */
}

static const struct {
	const char *name;
	bool http;
	int class;
	const char *text;
} requests[] = {
	/* curl 7.88: plain, through a proxy, and to an address */
	{ "model.internal", true, LLM,
	  "POST /v1/chat/completions HTTP/1.1\r\nHost: Model.Internal:46713\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n"
	  "Content-Type: application/json\r\nContent-Length: 13\r\n\r\n{\"model\":\"x\"}" },
	{ "api.example.com", true, LLM,
	  "GET http://api.example.com:8080/v1/embeddings?x=1 HTTP/1.1\r\nHost: api.example.com:8080\r\nUser-Agent: curl/7.88.1\r\n"
	  "Accept: */*\r\nProxy-Connection: Keep-Alive\r\n\r\n" },
	{ "api.openai.com", true, NONE,
	  "CONNECT api.openai.com:443 HTTP/1.1\r\nHost: api.openai.com:443\r\nUser-Agent: curl/7.88.1\r\nProxy-Connection: Keep-Alive\r\n\r\n" },
	{ "", true, NONE, "GET / HTTP/1.1\r\nHost: [::1]:80\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n\r\n" },
	/* Node 20, fetch */
	{ "localhost", true, LLM,
	  "POST /api/chat HTTP/1.1\r\nhost: localhost:45845\r\nconnection: keep-alive\r\ncontent-type: text/plain;charset=UTF-8\r\n"
	  "accept: */*\r\naccept-language: *\r\nsec-fetch-mode: cors\r\nuser-agent: node\r\naccept-encoding: gzip, deflate\r\n"
	  "content-length: 2\r\n\r\n{}" },
	/* OpenAI's library, cut off at 512 bytes */
	{ "localhost", true, LLM,
	  "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost:42387\r\nconnection: keep-alive\r\naccept: application/json\r\n"
	  "user-agent: OpenAI/JS 6.49.0\r\nx-stainless-retry-count: 0\r\nx-stainless-lang: js\r\nx-stainless-package-version: 6.49.0\r\n"
	  "x-stainless-os: Linux\r\nx-stainless-arch: x64\r\nx-stainless-runtime: node\r\nx-stainless-runtime-version: v20.20.2\r\n"
	  "authorization: Bearer k\r\ncontent-type: application/json\r\naccept-language: *\r\nsec-fetch-mode: cors\r\n"
	  "accept-encoding: gzip, deflate\r\ncontent-length: 57\r\n\r\n{\"model\":\"m\",\"message" },
	/* Python 3.11, urllib */
	{ "localhost", true, LLM,
	  "POST /v1/messages HTTP/1.1\r\nAccept-Encoding: identity\r\nContent-Type: application/x-www-form-urlencoded\r\n"
	  "Content-Length: 2\r\nHost: localhost:35327\r\nUser-Agent: Python-urllib/3.11\r\nConnection: close\r\n\r\n{}" },
	/* by hand */
	{ "a.b", true, NONE, "GET / HTTP/1.1\r\nhOsT: \t A.B. \t\r\n\r\n" },
	{ "a", true, NONE, "GET / HTTP/1.1\nHost:a\n\n" },
	{ "", true, NONE, "GET / HTTP/1.1\r\n\r\nHost: body\r\n" },
	{ "", true, NONE, "GET / HTTP/1.1\r\nX-Host: a\r\nHostess: b\r\n\r\n" },
	{ "", true, NONE, "GET / HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n\r\n" },
	{ "", true, NONE, "GET / HTTP/1.1\r\nHost: 2001:db8::1\r\n\r\n" },
	{ "", true, NONE, "GET / HTTP/1.1\r\nHost: a:b\r\n\r\n" },
	{ "", true, NONE, "GET / HTTP/1.1\r\nHost:\r\nHost: b\r\n\r\n" }, /* the first counts */
	{ "b", true, NONE, "GET http://user:secret@b/ HTTP/1.1\r\nHost: a\r\n\r\n" },
	{ "", true, NONE, "CONNECT [::1]:443 HTTP/1.1\r\nHost: a\r\n\r\n" },
	{ "a", true, NONE, "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n" },
	{ "a", true, NONE, "GET /v1/chat/completions/x HTTP/1.1\r\nHost: a\r\n\r\n" },
	{ "a", true, CLASS_VECTOR, "POST /collections/docs/points/query?wait=true HTTP/1.1\r\nHost: a\r\n\r\n" },
	{ "a", true, CLASS_DB, "POST /docs/_search HTTP/1.1\r\nHost: a\r\n\r\n" },
	{ "a", true, LLM, "POST /v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse HTTP/1.1\r\nHost: a\r\n\r\n" },
	{ "a", true, LLM, "POST /model/anthropic.claude-3%3A0/invoke HTTP/1.1\r\nHost: a\r\n\r\n" },
	{ "", true, NONE, "HTTP/1.1 200 OK\r\nServer: a\r\n\r\n" }, /* an answer: the other side */
	{ "", false, NONE, "GET /x\r\n" }, /* HTTP/0.9, or something else */
	{ "", false, NONE, "GET key\r\n" },
	{ "", false, NONE, "OPTIONS rtsp://a/b RTSP/1.0\r\n" },
	{ "", false, NONE, "PRIVMSG #x HTTP/1.1\r\n" },
	{ "", false, NONE, "POST  HTTP/1.1\r\n" },
	{ "", false, NONE, "GET http://a b/c HTTP/1.1\r\nHost: a\r\n\r\n" },
	{ "", false, NONE, "get / http/1.1\n" },
};

static void http_requests(void **ctx)
{
	(void)ctx;
	for (size_t i = 0; i < ARRAY_SIZE(requests); i++) {
		struct first_bytes f = parse(requests[i].text, strlen(requests[i].text));

		if (strcmp(f.name, requests[i].name) || f.http != requests[i].http || f.class != requests[i].class || f.tls || f.http2)
			fail_msg("%s: name '%s' http %d class %d", requests[i].text, f.name, f.http, f.class);
		if (f.http) /* others may look like HTTP until their line ends */
			check_cuts(requests[i].text, strlen(requests[i].text));
	}
}

/* A connection's first bytes may end within the path, which then tells no class: it may go on. */
static void a_request_target_that_is_cut_off(void **ctx)
{
	static const char text[] = "POST /v1/messages/batches HTTP/1.1\r\n";

	(void)ctx;
	assert_int_equal(parse(text, 17).class, NONE); /* .. /v1/messages */
	assert_true(parse(text, 17).http);
	assert_int_equal(parse("POST /v1/messages ", 18).class, LLM);
	assert_int_equal(parse("POST /v1/messages?", 18).class, LLM);
}

static const struct {
	const char *client;
	int class;
	const char *hex;
} protocols[] = {
	{ "psql: GSSENCRequest", CLASS_DB, "0000000804d21630" },
	{ "psql: SSLRequest", CLASS_DB, "0000000804d2162f" },
	{ "psql: StartupMessage", CLASS_DB, "00000031000300007573657200750064617461626173650064006170706c69636174696f6e5f6e616d65007073716c0000" },
	{ "pg, Node", CLASS_DB, "0000003000030000757365720075006461746162617365006400636c69656e745f656e636f64696e6700555446380000" },
	{ "mysql2, Node", CLASS_DB,
	  "81000001cff3ba1800000000e000000000000000000000000000000000000000000000007500149c42f58a09faea5825d14f996f5932c42f8a77876400"
	  "6d7973716c5f6e61746976655f70617373776f726400310c5f636c69656e745f6e616d650c4e6f64652d4d7953514c2d320f5f636c69656e745f766572"
	  "73696f6e06332e32342e36" },
	{ "mongodb, Node: OP_QUERY", CLASS_DB,
	  "610100000100000000000000d40700000000000061646d696e2e24636d640000000000ffffffff3a0100001069736d61737465720001000000" },
	{ "OP_MSG", CLASS_DB, "410000000100000000000000dd07000000000000" },
	{ "redis-cli", CLASS_CACHE, "2a320d0a24330d0a4745540d0a24310d0a6b0d0a" },
	{ "redis-benchmark", CLASS_CACHE, "2a330d0a24360d0a434f4e4649470d0a24330d0a4745540d0a24340d0a736176650d0a" },
	{ "ioredis, Node", CLASS_CACHE, "2a320d0a24350d0a68656c6c6f0d0a24310d0a330d0a" },
	{ "memjs, Node", CLASS_CACHE, "8000000300000000000000030000000100000000000000006b6579" },
	{ "memcached: get k", CLASS_CACHE, "676574206b0d0a" },
	{ "memcached: version", CLASS_CACHE, "76657273696f6e0d0a" },
	{ "Redis by hand: PING", CLASS_CACHE, "50494e470d0a" },
	{ "Neo4j", CLASS_DB, "6060b017000001060000000000000000" },
	{ "get k, not ended by CR LF", NONE, "676574206b0a" },
	{ "get, then no text", NONE, "6765742000010d0a" },
	{ "PostgreSQL's startup without a name", NONE, "0000000900030000000000" },
	{ "MySQL's without zeros", NONE, "81000001cff3ba1800000000e00000000001000000000000000000000000000000000000" },
	{ "a length of PostgreSQL's that is too large", NONE, "7fffffff0003000075736572" },
	{ "a reply of MongoDB's", NONE, "410000000100000001000000dd07000000000000" },
	{ "RESP without a string", NONE, "2a320d0a3a310d0a" },
	{ "memcached's binary header that does not add up", NONE, "800000ff00000000000000030000000100000000000000006b6579" },
	{ "SSH", NONE, "5353482d322e302d4f70656e5353480d0a" },
};

static void protocols_without_names(void **ctx)
{
	uint8_t data[1024];

	(void)ctx;
	for (size_t i = 0; i < ARRAY_SIZE(protocols); i++) {
		size_t len = unhex(protocols[i].hex, data);
		struct first_bytes f = parse(data, len);

		if (f.class != protocols[i].class || *f.name || f.tls || f.http || f.http2)
			fail_msg("%s: class %d name '%s'", protocols[i].client, f.class, f.name);
		check_cuts(data, len);
	}
}

/* curl --http2-prior-knowledge and Node's grpc-js. */
static void http2_prefaces(void **ctx)
{
	static const char *const hex[] = {
		"505249202a20485454502f322e300d0a0d0a534d0d0a0d0a00001204000000000000030000006400040200000000020000000000000408000000000001ff0001",
		"505249202a20485454502f322e300d0a0d0a534d0d0a0d0a00000604000000000000040000ffff",
	};
	uint8_t data[128];

	(void)ctx;
	for (size_t i = 0; i < ARRAY_SIZE(hex); i++) {
		size_t len = unhex(hex[i], data);
		struct first_bytes f = parse(data, len);

		assert_true(f.http && f.http2 && !f.tls && f.class == NONE);
		check_cuts(data, len);
		assert_false(parse(data, 13).http2); /* may become anything yet */
		assert_true(parse(data, 14).http2);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(client_hellos),
		cmocka_unit_test(hellos_in_several_records),
		cmocka_unit_test(hellos_with_each_bit_flipped),
		cmocka_unit_test(extensions_in_any_order),
		cmocka_unit_test(server_names_that_are_none),
		cmocka_unit_test(other_name_types_and_empty_lists),
		cmocka_unit_test(not_tls),
		cmocka_unit_test(http_requests),
		cmocka_unit_test(a_request_target_that_is_cut_off),
		cmocka_unit_test(protocols_without_names),
		cmocka_unit_test(http2_prefaces),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
