/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Places in ELF files: against what the dynamic linker says of this very process; and files that say anything. */
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/util.h"
#include "probe/elf_sites.h"

#define FILES_MAX 256

static struct mapped_file files[FILES_MAX];

/* The mapped file that holds a function of this process. */
static const struct mapped_file *file_of(const void *function)
{
	int n = mapped_files(getpid(), files, FILES_MAX);

	assert_true(n > 2);
	for (int i = 0; i < n; i++)
		if ((uintptr_t)function >= files[i].start && (uintptr_t)function < files[i].end)
			return &files[i];
	fail();
	return NULL;
}

static int open_of(const void *function)
{
	int fd = mapped_file_open(getpid(), file_of(function));

	assert_true(fd >= 0);
	return fd;
}

/* Functions that nobody probes: an observer may be at work on this machine, and its breakpoints show in memory. */
static void functions_are_where_the_linker_put_them(void **state)
{
	struct elf_site sites[] = { { .name = "bsearch" }, { .name = "lsearc*" }, { .name = "no_such_function" } };
	void *libc = dlopen("libc.so.6", RTLD_NOW);
	const void *truth[] = { dlsym(libc, "bsearch"), dlsym(libc, "lsearch") };
	_cleanup_close_ int fd = open_of(truth[0]);
	uint8_t bytes[16];

	(void)state;
	assert_int_equal(elf_fit(fd), ELF_FITS);
	assert_int_equal(elf_sites_find(fd, sites, 3), 2);
	for (int i = 0; i < 2; i++) {
		assert_true(file_of(truth[0])->bias + sites[i].address == (uintptr_t)truth[i]);
		assert_true(sites[i].size);
		assert_int_equal(pread(fd, bytes, sizeof(bytes), sites[i].offset), sizeof(bytes));
		assert_memory_equal(bytes, truth[i], sizeof(bytes));
	}
	assert_int_equal(sites[2].offset, 0);
	dlclose(libc);
}

/* Only in .symtab. */
static __attribute__((noinline)) int local_function(int n)
{
	__asm__ volatile("");
	return n + 1;
}

static void local_functions_are_found(void **state)
{
	struct elf_site site = { .name = "local_function" };
	_cleanup_close_ int fd = open_of((const void *)local_function);

	(void)state;
	assert_int_equal(local_function(1), 2);
	assert_int_equal(elf_sites_find(fd, &site, 1), 1);
	assert_true(file_of((const void *)local_function)->bias + site.address == (uintptr_t)local_function);
}

/* As sys/sdt.h writes them. */
unsigned short test_semaphore __attribute__((section(".probes"), used)) = 0x1234;
#define PROBE(provider, name, args, semaphore)                                                                                             \
	__asm__ volatile("990: nop\n"                                                                                                      \
			 ".pushsection .note.stapsdt,\"?\",\"note\"\n.balign 4\n.4byte 992f-991f, 994f-993f, 3\n"                           \
			 "991: .asciz \"stapsdt\"\n992: .balign 4\n993: .8byte 990b\n.8byte _.stapsdt.base\n.8byte " semaphore "\n"          \
			 ".asciz \"" provider "\"\n.asciz \"" name "\"\n.asciz \"" args "\"\n994: .balign 4\n.popsection\n"                  \
			 ".ifndef _.stapsdt.base\n.pushsection .stapsdt.base,\"aG\",\"progbits\",.stapsdt.base,comdat\n"                    \
			 ".weak _.stapsdt.base\n.hidden _.stapsdt.base\n_.stapsdt.base: .space 1\n.size _.stapsdt.base, 1\n.popsection\n.endif\n")

static __attribute__((noinline)) void usdt_function(void)
{
	PROBE("test", "one", "-4@112(%rsp) 8@%rdi", "test_semaphore");
	PROBE("test", "one", "", "0");
	PROBE("tes", "tone", "", "0");
}

static void usdt_notes_are_read(void **state)
{
	_cleanup_close_ int fd = open_of((const void *)usdt_function);
	struct usdt_site at[4];
	uint16_t semaphore;
	uint8_t nop;

	(void)state;
	usdt_function();
	assert_int_equal(elf_usdt_find(fd, "test", "one", at, 4), 2);
	assert_string_equal(at[0].args, "-4@112(%rsp) 8@%rdi");
	assert_string_equal(at[1].args, "");
	assert_int_equal(at[1].semaphore, 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(pread(fd, &nop, 1, at[i].offset), 1);
#if defined(__x86_64__)
		assert_int_equal(nop, 0x90);
#endif
	}
	assert_true(at[1].offset > at[0].offset);
	assert_int_equal(pread(fd, &semaphore, sizeof(semaphore), at[0].semaphore), sizeof(semaphore));
	assert_int_equal(semaphore, 0x1234);
	assert_int_equal(elf_usdt_find(fd, "test", "one", at, 1), 1);
	assert_int_equal(elf_usdt_find(fd, "test", "none", at, 4), 0);
}

static int file_with(const void *data, size_t size)
{
	int fd = memfd_create("elf", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, size), size);
	return fd;
}

#if defined(__x86_64__)
static void place_is(const char *code, size_t len, unsigned at, unsigned pushed)
{
	uint8_t bytes[64] = { 0 };
	unsigned got;
	int fd;

	memset(bytes, 0xcc, sizeof(bytes));
	memcpy(bytes, code, len);
	fd = file_with(bytes, sizeof(bytes));
	assert_int_equal(elf_cheap_place(fd, 0, &got), at);
	assert_int_equal(got, pushed);
	close(fd);
}
#define PLACE(code, at, pushed) place_is(code, sizeof(code) - 1, at, pushed)

static void cheap_places_keep_the_arguments(void **state)
{
	(void)state;
	PLACE("\x41\x54\x55\x53", 0, 0); /* push r12 */
	PLACE("\xf3\x0f\x1e\xfa\x55", 4, 0); /* endbr64; push rbp */
	PLACE("\x80\x3d\x01\x02\x14\x00\x00\x41\x54", 7, 0); /* cmpb $0,x(rip); push r12 */
	PLACE("\x48\x81\xff\x00\x10\x00\x00\x0f\x87\x93\x00\x00\x00", 7, 0); /* cmp $4096,rdi; ja */
	PLACE("\x48\x8b\x05\x59\xab\x00\x00\x48\x85\xc0\x75\x75", 10, 0); /* mov x(rip),rax; test rax,rax; jne */
	PLACE("\x48\x83\xec\x18\x48\x89\xf8\x53", 7, 24); /* sub $24,rsp; mov rdi,rax; push rbx */
	PLACE("\x49\x89\xfc\x53", 3, 0); /* mov rdi,r12; push */
	PLACE("\x49\x89\xf8\x53", 0, 0); /* mov rdi,r8: an argument's register */
	PLACE("\x48\x89\xfe\x53", 0, 0); /* mov rdi,rsi */
	PLACE("\x48\x8b\x3d\x01\x02\x03\x00\x53", 0, 0); /* mov x(rip),rdi */
	PLACE("\x48\x8b\x07\x53", 0, 0); /* mov (rdi),rax: may fault */
	PLACE("\xcc\x53", 0, 0);
	PLACE("\x31\xc0\x53", 2, 0); /* xor eax,eax; push */
	PLACE("\x31\xff\x53", 0, 0); /* xor edi,edi */
}

static void tests_for_null_are_left_behind(void **state)
{
	static const char near_jump[16] = "\xf3\x0f\x1e\xfa\x48\x85\xff\x74\x10\x53", far_jump[16] = "\x48\x85\xff\x0f\x84\xbf\0\0\0\x55",
			  none[16] = "\x48\x85\xf6\x74\x10";
	int fd = file_with(near_jump, 16);

	(void)state;
	assert_int_equal(elf_null_skip(fd, 0), 9);
	close(fd);
	fd = file_with(far_jump, 16);
	assert_int_equal(elf_null_skip(fd, 0), 9);
	close(fd);
	fd = file_with(none, 16);
	assert_int_equal(elf_null_skip(fd, 0), 0);
	close(fd);
}
#endif

static void fits(const Elf64_Ehdr *h, enum elf_fit fit)
{
	_cleanup_close_ int fd = file_with(h, sizeof(*h));

	assert_int_equal(elf_fit(fd), fit);
}

static void other_machines_are_told_apart(void **state)
{
	Elf64_Ehdr h;
	_cleanup_close_ int self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), empty = file_with("", 0);

	(void)state;
	assert_int_equal(pread(self, &h, sizeof(h), 0), sizeof(h));
	fits(&h, ELF_FITS);
	h.e_machine = EM_S390;
	fits(&h, ELF_FOREIGN);
	h.e_ident[EI_CLASS] = ELFCLASS32;
	fits(&h, ELF_FOREIGN);
	h.e_machine = EM_386;
	fits(&h, ELF_COMPAT);
	h.e_ident[EI_DATA] = ELFDATA2MSB;
	fits(&h, ELF_FOREIGN);
	h.e_ident[0] = 0;
	fits(&h, ELF_FOREIGN);
	assert_int_equal(elf_fit(empty), ELF_FOREIGN);
	assert_int_equal(elf_sites_find(empty, NULL, 0), -ENOEXEC);
	assert_int_equal(elf_usdt_find(empty, "a", "b", NULL, 0), -ENOEXEC);
}

/* Under the sanitizers: any bytes in the tables, the file cut off anywhere. */
static void broken_files_do_no_harm(void **state)
{
	_cleanup_close_ int self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), fd = -1;
	off_t size = lseek(self, 0, SEEK_END);
	_cleanup_free_ uint8_t *whole = malloc(size);
	const Elf64_Ehdr *h = (const void *)whole;
	unsigned seed = 1;

	(void)state;
	assert_int_equal(pread(self, whole, size, 0), size);
	fd = file_with(whole, size);
	for (int turn = 0; turn < 400; turn++) {
		const uint64_t places[] = { 0, h->e_phoff, h->e_shoff, h->e_shoff + (rand_r(&seed) % h->e_shnum) * sizeof(Elf64_Shdr) };
		uint64_t at = places[turn % 4] + rand_r(&seed) % 64;
		struct elf_site sites[] = { { .name = "local_function" }, { .name = "*" } };
		struct usdt_site usdt[2];
		uint64_t noise = (uint64_t)rand_r(&seed) << (rand_r(&seed) % 40);
		size_t bytes = 1 + rand_r(&seed) % 8;
		unsigned pushed;

		assert_int_equal(pwrite(fd, &noise, bytes, at), bytes);
		elf_sites_find(fd, sites, 2);
		elf_usdt_find(fd, "test", "one", usdt, 2);
		elf_cheap_place(fd, noise, &pushed);
		elf_null_skip(fd, noise);
		if (turn % 4 != 3)
			assert_int_equal(pwrite(fd, whole + at, bytes, at), bytes);
		if (turn % 50 == 49) {
			assert_int_equal(ftruncate(fd, rand_r(&seed) % size), 0);
			elf_sites_find(fd, sites, 2);
			elf_usdt_find(fd, "test", "one", usdt, 2);
			assert_int_equal(pwrite(fd, whole, size, 0), size);
		}
	}
}

static void the_gone_are_gone(void **state)
{
	pid_t pid = fork();
	int status;

	(void)state;
	if (!pid)
		_exit(0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(mapped_files(pid, files, FILES_MAX), -ESRCH);
	assert_int_equal(mapped_files(getpid(), files, 1), 1);
	assert_true(mapped_file_open(pid, &files[0]) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(functions_are_where_the_linker_put_them),
		cmocka_unit_test(local_functions_are_found),
		cmocka_unit_test(usdt_notes_are_read),
#if defined(__x86_64__)
		cmocka_unit_test(cheap_places_keep_the_arguments),
		cmocka_unit_test(tests_for_null_are_left_behind),
#endif
		cmocka_unit_test(other_machines_are_told_apart),
		cmocka_unit_test(broken_files_do_no_harm),
		cmocka_unit_test(the_gone_are_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
