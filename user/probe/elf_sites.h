/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Places in ELF files where probes go: functions by symbol, USDT probes by note. And which files a process has mapped. */
#ifndef STAKEOUT_ELF_SITES_H
#define STAKEOUT_ELF_SITES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct elf_site {
	const char *name; /* asked for; "name*" matches by prefix (the first match counts) */
	uint64_t offset; /* in the file, as uprobes want it; 0: not there */
	uint64_t address; /* as in the symbol table, before relocation */
	uint64_t size; /* of the function; 0: not known */
};

struct usdt_site {
	uint64_t offset; /* in the file */
	uint64_t semaphore; /* offset in the file of its reference counter; 0: none */
	char args[64]; /* as the note has them: "-4@112(%rsp)" */
};

enum elf_fit {
	ELF_FITS,
	ELF_COMPAT, /* of a 32-bit program */
	ELF_FOREIGN, /* of another machine, or no ELF file */
};

/* Whether the open file is for this machine's own 64-bit kind. */
enum elf_fit elf_fit(int fd);
/* Looks the functions up, in .dynsym first, then in .symtab. Returns how many were found, or -ENOEXEC. */
int elf_sites_find(int fd, struct elf_site *sites, int n);
/* USDT probes provider:name (a probe may have several places). Returns how many, at most max, or -ENOEXEC. */
int elf_usdt_find(int fd, const char *provider, const char *name, struct usdt_site *ret, int max);
struct elf_section {
	uint64_t offset, size; /* in the file */
};
bool elf_section_find(int fd, const char *name, struct elf_section *ret);
/* Where in the file the code at an address (as in the symbol table) lies; 0: nowhere. */
uint64_t elf_offset(int fd, uint64_t address);
/* A place of the function at `offset` that is cheaper to probe than its first instruction while all arguments are still where they were: behind
 * instructions that leave them alone, at a push or jump, which the kernel emulates instead of running it out of line. Every call passes it.
 * *ret_pushed: bytes by which the stack pointer has moved there since the entry. */
uint64_t elf_cheap_place(int fd, uint64_t offset, unsigned *ret_pushed);
/* Behind a function's leading test of its first argument against NULL, for one whose calls with NULL are of no interest (free); else `offset`. */
uint64_t elf_null_skip(int fd, uint64_t offset);

struct mapped_file {
	uint64_t dev, inode; /* as /proc/PID/maps has them */
	uint64_t start, end; /* of its first executable mapping */
	uint64_t bias; /* what to add to a symbol's address */
	char name[256]; /* path as the process sees it; may end in " (deleted)" */
};
/* The files that process pid has mapped for execution, in the order of addresses. Returns how many, at most max; -ESRCH: it is gone. */
int mapped_files(pid_t pid, struct mapped_file *ret, int max);
/* Opens the very file that is mapped, wherever it lies, deleted or not. Descriptor or negative errno. */
int mapped_file_open(pid_t pid, const struct mapped_file *m);

/* A link of one program to n places of a file, of one process (pid 0: of all): by one multi link where the kernel has it, or one perf event a
 * place. ref_ctrs may be NULL. */
struct bpf_program;
struct uprobe_link;
int uprobe_link_new(const struct bpf_program *prog, bool multi, pid_t pid, int fd, const uint64_t *offsets, const uint64_t *ref_ctrs,
		    const uint64_t *cookies, int n, struct uprobe_link **ret);
/* The same, run when the functions return; the places are such that the stack pointer is as at the entry. */
int uprobe_return_link_new(const struct bpf_program *prog, bool multi, pid_t pid, int fd, const uint64_t *offsets, const uint64_t *cookies, int n,
			   struct uprobe_link **ret);
void uprobe_link_free(struct uprobe_link *l); /* NULL is accepted */

#endif
