/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * How the frame of a caller is found from that of the function it called: rules as the call frame information of DWARF has them (DWARF 5, 6.4), reduced
 * to the registers that a stack sample carries, and their application to such a sample's copy of the stack.
 */
#ifndef STAKEOUT_RULES_H
#define STAKEOUT_RULES_H

#include <elfutils/libdw.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "abi.h"

enum rule_how {
	RULE_UNKNOWN = 0, /* the value is lost */
	RULE_SAME, /* the callee has left it alone */
	RULE_SAVED, /* in memory at CFA + offset */
	RULE_CFA, /* CFA + offset */
	RULE_REGISTER, /* register + offset */
	RULE_EXPRESSION, /* number `offset` of the expressions */
};

struct rule_value {
	uint8_t how;
	uint8_t reg; /* enum so_reg */
	int32_t offset;
};

struct rule {
	struct rule_value cfa; /* RULE_REGISTER or RULE_EXPRESSION; RULE_UNKNOWN: none */
	struct rule_value regs[SO_REGS]; /* of the caller; SO_REG_IP: the return address */
	uint8_t signal; /* a frame that a signal made: its caller was interrupted, it did not call */
	uint8_t last; /* has no caller: the outermost frame */
};

struct rule_expressions { /* zero-initialised is empty */
	Dwarf_Op **at;
	uint32_t *lens;
	uint32_t len;
};
#define RULE_EXPRESSIONS_MAX 4096 /* of one file; what needs more is unknown */

/* The rule that libdw found for an address; expressions go into e. */
void rule_make(struct rule *r, Dwarf_Frame *frame, struct rule_expressions *e);
/* In a stub that jumps on as it was entered: of a procedure linkage table. */
void rule_make_stub(struct rule *r);
void rule_expressions_fini(struct rule_expressions *e);
size_t rule_expressions_bytes(const struct rule_expressions *e);

struct rule_frame { /* registers of one frame, and the copy of the stack they point into */
	uint64_t regs[SO_REGS];
	uint32_t known; /* bit n: regs[n] has a value */
	const uint8_t *stack;
	uint64_t base; /* address of its first byte */
	uint32_t bytes;
};

/* Makes f the frame of the caller. False: a value is lost, lies outside the copy, or the stack would not get shorter. */
bool rule_apply(const struct rule *r, const struct rule_expressions *e, struct rule_frame *f);
/* The same by the chain of frame pointers. */
bool frame_pointer_step(struct rule_frame *f);
/* A word of the stack's copy. */
bool rule_frame_read(const struct rule_frame *f, uint64_t address, uint64_t *ret);

#endif
