/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Arguments of USDT probes as compilers write them; and that a program without a runtime is left alone. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/util.h"
#include "probe/runtime_sites.h"

#if defined(__x86_64__)
#include <sys/user.h>

#define REG(name) (offsetof(struct user_regs_struct, name) / 8)

static void reads(const char *args, enum so_gc_argument argument, unsigned reg, int displacement)
{
	struct so_gc_site s = { .site = SO_GC_START };

	if (!usdt_argument_parse(args, &s))
		fail_msg("%s is not understood", args);
	assert_int_equal(s.site, SO_GC_START);
	assert_int_equal(s.argument, argument);
	assert_int_equal(s.reg, reg);
	assert_int_equal(s.displacement, displacement);
}

static void test_arguments(void **state)
{
	(void)state;
	reads("-4@112(%rsp)", SO_GC_ARGUMENT_MEMORY, REG(rsp), 112);
	reads("-4@-20(%rbp)", SO_GC_ARGUMENT_MEMORY, REG(rbp), -20);
	reads("-4@(%r12) 8@%rdi", SO_GC_ARGUMENT_MEMORY, REG(r12), 0);
	reads("-4@%ebx", SO_GC_ARGUMENT_REGISTER, REG(rbx), 0);
	reads("-4@%r13d", SO_GC_ARGUMENT_REGISTER, REG(r13), 0);
	reads("8@%rdi 8@%rsi", SO_GC_ARGUMENT_REGISTER, REG(rdi), 0);
	reads("4@%eax", SO_GC_ARGUMENT_REGISTER, REG(rax), 0);
}

static void test_arguments_that_we_do_not_read(void **state)
{
	static const char *const all[] = {
		"", "-4", "-4@", "@%rdi", "-4@$2", "-2@%ax", "-1@%al", "-4@%xmm0", "-4@112(%rsp,%rax,4)", "-4@name(%rip)", "-4@40000(%rsp)",
		"-4@%rip", "-4@8(%rsp", "-4@(rsp)", "-4@%", "-4@%eax4", "99999999999@%rax", "-4@()",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		struct so_gc_site s = { .site = SO_GC_START };
		const struct so_gc_site untouched = s;

		if (usdt_argument_parse(all[i], &s))
			fail_msg("%s is said to be understood", all[i]);
		assert_memory_equal(&s, &untouched, sizeof(s));
	}
}
#endif

static void test_no_runtime(void **state)
{
	_cleanup_close_ int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), empty = open("/dev/null", O_RDONLY | O_CLOEXEC);
	struct runtime_sites r;

	(void)state;
	runtime_sites_find(fd, &r);
	assert_int_equal(r.runtime, RUNTIME_NONE);
	assert_null(r.missing);
	runtime_sites_find(empty, &r);
	assert_int_equal(r.runtime, RUNTIME_NONE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#if defined(__x86_64__)
		cmocka_unit_test(test_arguments),
		cmocka_unit_test(test_arguments_that_we_do_not_read),
#endif
		cmocka_unit_test(test_no_runtime),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
