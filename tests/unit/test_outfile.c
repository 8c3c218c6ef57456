/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Files that are there as a whole or not at all, and those that grow by whole pieces. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "lib/outfile.h"
#include "lib/util.h"

static char dir[64];

static const char *in_dir(const char *name)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return path;
}

static int files(void)
{
	DIR *d = opendir(dir);
	int n = -2; /* . and .. */

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static void content_is(const char *name, const char *content)
{
	char text[256];

	assert_true(file_read(in_dir(name), text, sizeof(text)) >= 0);
	assert_string_equal(text, content);
}

static unsigned int mode_of(const char *name)
{
	struct stat st;

	assert_int_equal(lstat(in_dir(name), &st), 0);
	return st.st_mode;
}

static struct outfile *opened(const char *name, struct outfile_options options)
{
	int err = -1;
	struct outfile *o = outfile_open(in_dir(name), &options, &err);

	assert_int_equal(err, 0);
	assert_non_null(o);
	return o;
}

static int setup(void **state)
{
	(void)state;
	strcpy(dir, "/tmp/outfile-XXXXXX");
	umask(022);
	return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "rm -r %s", dir);
	return system(command);
}

static void test_whole(void **state)
{
	struct outfile *o = opened("a", (struct outfile_options){0});
	int err;

	(void)state;
	fputs("one\n", outfile_stream(o));
	assert_int_equal(files(), 0); /* no name before its end */
	assert_int_equal(outfile_commit(o), 0);
	content_is("a", "one\n");
	assert_int_equal(mode_of("a") & 07777, 0640);
	assert_int_equal(files(), 1);

	assert_null(outfile_open(in_dir("a"), &(struct outfile_options){0}, &err));
	assert_int_equal(err, -EEXIST);
	o = opened("a", (struct outfile_options){.force = true});
	fputs("two\n", outfile_stream(o));
	content_is("a", "one\n");
	assert_int_equal(outfile_commit(o), 0);
	content_is("a", "two\n");
	assert_int_equal(files(), 1);
	assert_int_equal(outfile_commit(NULL), 0);
}

static void test_dropped(void **state)
{
	struct outfile *o = opened("a", (struct outfile_options){0});
	int err;

	(void)state;
	fputs("one\n", outfile_stream(o));
	outfile_discard(o);
	assert_int_equal(outfile_end(opened("a", (struct outfile_options){0}), -EBADMSG), -EBADMSG);
	assert_int_equal(files(), 0);
	outfile_discard(NULL);
	assert_null(outfile_open(in_dir("no/such"), &(struct outfile_options){0}, &err));
	assert_int_equal(err, -ENOENT);

	/* Somebody else took the name meanwhile: his stays. */
	o = opened("b", (struct outfile_options){0});
	fputs("ours\n", outfile_stream(o));
	assert_int_equal(outfile_commit(opened("b", (struct outfile_options){0})), 0);
	assert_int_equal(outfile_commit(o), -EEXIST);
	content_is("b", "");
	assert_int_equal(files(), 1);
}

/* Names that are tried for the file beside it may be taken, as links too. */
static void test_names_taken(void **state)
{
	char name[160];
	struct outfile *o;

	(void)state;
	assert_int_equal(outfile_commit(opened("a", (struct outfile_options){0})), 0);
	snprintf(name, sizeof(name), "%s.%d.0", in_dir("a"), getpid());
	assert_int_equal(symlink("/etc/hostname", name), 0);
	o = opened("a", (struct outfile_options){.force = true});
	fputs("new", outfile_stream(o));
	assert_int_equal(outfile_commit(o), 0);
	content_is("a", "new");
	assert_int_equal(files(), 2);
}

static void test_modes(void **state)
{
	(void)state;
	umask(0077);
	assert_int_equal(outfile_commit(opened("a", (struct outfile_options){0})), 0);
	assert_int_equal(mode_of("a") & 07777, 0600);
	assert_int_equal(outfile_commit(opened("b", (struct outfile_options){.mode = 0644})), 0);
	assert_int_equal(mode_of("b") & 07777, 0644);
	assert_int_equal(outfile_commit(opened("b", (struct outfile_options){.force = true, .grows = true})), 0);
	assert_int_equal(mode_of("b") & 07777, 0640); /* everybody could read it */
}

static void test_links(void **state)
{
	char target[128];
	struct outfile *o;

	(void)state;
	assert_int_equal(outfile_commit(opened("target", (struct outfile_options){0})), 0);
	strcpy(target, in_dir("target"));
	assert_int_equal(symlink(target, in_dir("link")), 0);
	o = opened("link", (struct outfile_options){.force = true});
	fputs("through", outfile_stream(o));
	assert_int_equal(outfile_commit(o), 0);
	assert_true(S_ISLNK(mode_of("link")));
	content_is("target", "through");

	o = opened("link", (struct outfile_options){.force = true, .replaces = true});
	fputs("instead", outfile_stream(o));
	assert_int_equal(outfile_commit(o), 0);
	assert_true(S_ISREG(mode_of("link")));
	content_is("link", "instead");
	content_is("target", "through");

	assert_int_equal(symlink("/dev/null", in_dir("device")), 0);
	assert_int_equal(outfile_commit(opened("device", (struct outfile_options){.force = true, .replaces = true})), 0);
	assert_true(S_ISREG(mode_of("device")));
	assert_int_equal(files(), 3);
}

/* gzip(1) reads it: the whole, and of one that grows each piece that was ended. */
static void test_compressed(void **state)
{
	char command[160], text[32] = "";
	struct outfile *o;
	FILE *gzip;

	(void)state;
	for (int grows = 0; grows < 2; grows++) {
		o = opened("a.gz", (struct outfile_options){.force = true, .grows = grows});
		assert_int_equal(outfile_write(o, "one\n", 4), 0);
		assert_int_equal(outfile_flush(o), 0);
		assert_int_equal(outfile_write(o, "two\n", 4), 0);
		snprintf(command, sizeof(command), "gzip -dc %s 2>&1", in_dir("a.gz"));
		if (grows) {
			gzip = popen(command, "r");
			assert_non_null(fgets(text, sizeof(text), gzip));
			assert_string_equal(text, "one\n");
			pclose(gzip);
		}
		assert_int_equal(outfile_commit(o), 0);
		gzip = popen(command, "r");
		assert_int_equal(fread(text, 1, sizeof(text), gzip), 8);
		assert_memory_equal(text, "one\ntwo\n", 8);
		assert_int_equal(pclose(gzip), 0);
	}
}

static void test_grows(void **state)
{
	struct rlimit before, limit;
	struct outfile *o;
	int err;

	(void)state;
	o = opened("a", (struct outfile_options){.grows = true});
	assert_int_equal(files(), 1);
	assert_int_equal(outfile_write(o, "one\n", 4), 0);
	assert_int_equal(outfile_bytes(o), 0);
	assert_int_equal(outfile_flush(o), 0);
	assert_int_equal(outfile_bytes(o), 4);
	content_is("a", "one\n");
	assert_null(outfile_open(in_dir("a"), &(struct outfile_options){.grows = true}, &err));
	assert_int_equal(err, -EEXIST);

	/* No room for all of the next piece: it is cut off again. */
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	limit = before;
	limit.rlim_cur = 6;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	err = outfile_write(o, "two\n", 4);
	setrlimit(RLIMIT_FSIZE, &before);
	assert_int_equal(err, -EFBIG);
	content_is("a", "one\ntw");
	assert_int_equal(outfile_write(o, "three\n", 6), -EFBIG);
	assert_int_equal(outfile_error(o), -EFBIG);
	assert_int_equal(outfile_commit(o), -EFBIG);
	content_is("a", "one\n");
}

static void test_devices(void **state)
{
	static const struct outfile_options options[] = {{0}, {.force = true}, {.force = true, .grows = true}};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		int err;
		struct outfile *o = outfile_open("/dev/full", &options[i], &err);

		assert_non_null(o);
		fputs("lost", outfile_stream(o));
		assert_int_equal(outfile_flush(o), -ENOSPC);
		assert_int_equal(outfile_end(o, -EBADMSG), -ENOSPC); /* the cause, not what came of it */
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(test_whole, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_dropped, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_names_taken, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_modes, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_links, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_compressed, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_grows, setup, teardown),
	        cmocka_unit_test(test_devices),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
