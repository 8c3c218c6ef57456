/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "symbols/rules.h"

#include <dwarf.h>
#include <stdlib.h>
#include <string.h>

/* Numbers of DWARF for the registers of enum so_reg: System V ABI for x86-64 (figure 3.36), and DWARF for the Arm 64-bit architecture (AADWARF64). */
#if defined(__aarch64__)
static const int dwarf_numbers[SO_REGS] = { 30, 31, 29, 30, -1, -1, -1, -1 };
#define CODE_MASK 0x0000ffffffffffffULL /* return addresses may be signed (pointer authentication) in the bits above */
#define LEAF_KEEPS_SP true /* a function that saves nothing has its caller's stack pointer */
#else
static const int dwarf_numbers[SO_REGS] = { 16, 7, 6, 3, 12, 13, 14, 15 };
#define CODE_MASK UINT64_MAX
#define LEAF_KEEPS_SP false
#endif

#define EXPRESSION_STACK 16

/* enum so_reg of a DWARF register, or -1. On arm64 30 is the link register, SO_REG_BX. */
static int reg_find(uint64_t number)
{
	for (int r = SO_REG_SP; r < SO_REGS; r++)
		if (dwarf_numbers[r] >= 0 && (uint64_t)dwarf_numbers[r] == number)
			return r;
	return -1;
}

static struct rule_value expression_keep(struct rule_expressions *e, const Dwarf_Op *ops, size_t n)
{
	struct rule_value lost = { .how = RULE_UNKNOWN };
	Dwarf_Op **at;
	uint32_t *lens;

	if (e->len == RULE_EXPRESSIONS_MAX || n > 64)
		return lost;
	for (uint32_t i = 0; i < e->len; i++)
		if (e->lens[i] == n && !memcmp(e->at[i], ops, n * sizeof(*ops)))
			return (struct rule_value){ RULE_EXPRESSION, 0, (int32_t)i };
	at = realloc(e->at, (e->len + 1) * sizeof(*at));
	if (!at)
		return lost;
	e->at = at;
	lens = realloc(e->lens, (e->len + 1) * sizeof(*lens));
	if (!lens)
		return lost;
	e->lens = lens;
	at[e->len] = malloc(n * sizeof(*ops));
	if (!at[e->len])
		return lost;
	memcpy(at[e->len], ops, n * sizeof(*ops));
	lens[e->len] = (uint32_t)n;
	return (struct rule_value){ RULE_EXPRESSION, 0, (int32_t)e->len++ };
}

void rule_expressions_fini(struct rule_expressions *e)
{
	for (uint32_t i = 0; i < e->len; i++)
		free(e->at[i]);
	free(e->at);
	free(e->lens);
	*e = (struct rule_expressions){};
}

size_t rule_expressions_bytes(const struct rule_expressions *e)
{
	size_t bytes = 0;

	for (uint32_t i = 0; i < e->len; i++)
		bytes += e->lens[i] * sizeof(Dwarf_Op) + sizeof(*e->at) + sizeof(*e->lens);
	return bytes;
}

static bool fits_offset(uint64_t n)
{
	return (int64_t)n >= INT32_MIN && (int64_t)n <= INT32_MAX;
}

/* Register and offset of an operation that pushes a register's value, or names a register. */
static bool op_register(const Dwarf_Op *op, struct rule_value *ret)
{
	uint64_t number, offset = 0;
	int reg;

	if (op->atom >= DW_OP_breg0 && op->atom <= DW_OP_breg31)
		number = op->atom - DW_OP_breg0, offset = op->number;
	else if (op->atom >= DW_OP_reg0 && op->atom <= DW_OP_reg31)
		number = op->atom - DW_OP_reg0;
	else if (op->atom == DW_OP_bregx)
		number = op->number, offset = op->number2;
	else if (op->atom == DW_OP_regx)
		number = op->number;
	else
		return false;
	reg = reg_find(number);
	if (!fits_offset(offset))
		reg = -1;
	*ret = reg < 0 ? (struct rule_value){ .how = RULE_UNKNOWN } : (struct rule_value){ RULE_REGISTER, (uint8_t)reg, (int32_t)offset };
	return true;
}

/* The forms that libdw gives a register's rule: see dwarf_frame_register() in elfutils/libdw.h. */
static struct rule_value value_make(const Dwarf_Op *ops, size_t n, struct rule_expressions *e)
{
	struct rule_value v = { .how = RULE_UNKNOWN };
	uint64_t offset = 0;
	size_t at = 1;

	if (!n)
		return (struct rule_value){ .how = ops ? RULE_UNKNOWN : RULE_SAME };
	if (n == 1 && op_register(ops, &v))
		return v;
	if (ops[0].atom != DW_OP_call_frame_cfa)
		return expression_keep(e, ops, n);
	if (at < n && ops[at].atom == DW_OP_plus_uconst)
		offset = ops[at++].number;
	if (at == n && fits_offset(offset))
		return (struct rule_value){ RULE_SAVED, 0, (int32_t)offset };
	if (at + 1 == n && ops[at].atom == DW_OP_stack_value && fits_offset(offset))
		return (struct rule_value){ RULE_CFA, 0, (int32_t)offset };
	return expression_keep(e, ops, n);
}

void rule_make(struct rule *r, Dwarf_Frame *frame, struct rule_expressions *e)
{
	bool signal = false;
	int address = dwarf_frame_info(frame, NULL, NULL, &signal);
	Dwarf_Op *ops, mem[3];
	size_t n;

	*r = (struct rule){ .signal = signal };
	if (address < 0 || dwarf_frame_cfa(frame, &ops, &n) || !n)
		return;
	if (n != 1 || !op_register(ops, &r->cfa))
		r->cfa = expression_keep(e, ops, n);
	for (int i = 0; i < SO_REGS; i++) {
		int number = i == SO_REG_IP ? address : dwarf_numbers[i];

		if (number < 0 || dwarf_frame_register(frame, number, mem, &ops, &n))
			continue;
		if (i == SO_REG_IP && !n && ops)
			r->last = true;
		r->regs[i] = value_make(ops, n, e);
	}
}

void rule_make_stub(struct rule *r)
{
	*r = (struct rule){ .cfa = { RULE_REGISTER, SO_REG_SP, 0 } };
	for (int i = 0; i < SO_REGS; i++)
		r->regs[i].how = RULE_SAME;
	r->regs[SO_REG_SP] = (struct rule_value){ .how = RULE_CFA };
#if !defined(__aarch64__)
	r->cfa.offset = 8;
	r->regs[SO_REG_IP] = (struct rule_value){ RULE_SAVED, 0, -8 };
#endif
}

bool rule_frame_read(const struct rule_frame *f, uint64_t address, uint64_t *ret)
{
	if (address < f->base || f->bytes < sizeof(*ret) || address - f->base > f->bytes - sizeof(*ret))
		return false;
	memcpy(ret, f->stack + (address - f->base), sizeof(*ret));
	return true;
}

static bool reg_value(const struct rule_frame *f, int reg, uint64_t offset, uint64_t *ret)
{
	if (reg < 0 || !(f->known & 1u << reg))
		return false;
	*ret = f->regs[reg] + offset;
	return true;
}

/* Operations of two values: a below b on the stack. */
static bool op_binary(uint8_t atom, uint64_t a, uint64_t b, uint64_t *ret)
{
	switch (atom) {
	case DW_OP_and:
		*ret = a & b;
		return true;
	case DW_OP_or:
		*ret = a | b;
		return true;
	case DW_OP_xor:
		*ret = a ^ b;
		return true;
	case DW_OP_plus:
		*ret = a + b;
		return true;
	case DW_OP_minus:
		*ret = a - b;
		return true;
	case DW_OP_mul:
		*ret = a * b;
		return true;
	case DW_OP_shl:
		*ret = b < 64 ? a << b : 0;
		return true;
	case DW_OP_shr:
		*ret = b < 64 ? a >> b : 0;
		return true;
	case DW_OP_eq:
		*ret = a == b;
		return true;
	case DW_OP_ne:
		*ret = a != b;
		return true;
	case DW_OP_ge:
		*ret = (int64_t)a >= (int64_t)b;
		return true;
	case DW_OP_gt:
		*ret = (int64_t)a > (int64_t)b;
		return true;
	case DW_OP_le:
		*ret = (int64_t)a <= (int64_t)b;
		return true;
	case DW_OP_lt:
		*ret = (int64_t)a < (int64_t)b;
		return true;
	}
	return false;
}

/* Operations that push a value without taking any. */
static bool op_push(const Dwarf_Op *op, const struct rule_frame *f, const uint64_t *cfa, uint64_t *ret)
{
	if (op->atom >= DW_OP_lit0 && op->atom <= DW_OP_lit31) {
		*ret = op->atom - DW_OP_lit0;
		return true;
	}
	if (op->atom >= DW_OP_breg0 && op->atom <= DW_OP_breg31) {
#if !defined(__aarch64__)
		/* The stubs of a procedure linkage table tell by the instruction's address whether they have pushed. */
		if (op->atom - DW_OP_breg0 == dwarf_numbers[SO_REG_IP])
			return reg_value(f, SO_REG_IP, op->number, ret);
#endif
		return reg_value(f, reg_find(op->atom - DW_OP_breg0), op->number, ret);
	}
	switch (op->atom) {
	case DW_OP_const1u:
	case DW_OP_const1s:
	case DW_OP_const2u:
	case DW_OP_const2s:
	case DW_OP_const4u:
	case DW_OP_const4s:
	case DW_OP_const8u:
	case DW_OP_const8s:
	case DW_OP_constu:
	case DW_OP_consts:
		*ret = op->number;
		return true;
	case DW_OP_bregx:
		return reg_value(f, reg_find(op->number), op->number2, ret);
	case DW_OP_call_frame_cfa:
		*ret = cfa ? *cfa : 0;
		return cfa;
	}
	return false;
}

/* Jumps are not taken, so that an expression ends. */
static bool expression_value(const Dwarf_Op *ops, uint32_t n, const struct rule_frame *f, const uint64_t *cfa, uint64_t *ret, bool *ret_is_value)
{
	uint64_t stack[EXPRESSION_STACK + 1];
	int len = 0;

	*ret_is_value = false;
	for (uint32_t i = 0; i < n; i++) {
		uint64_t v;

		if (len == EXPRESSION_STACK)
			return false;
		if (op_push(&ops[i], f, cfa, &v)) {
			stack[len++] = v;
		} else if (len >= 2 && op_binary(ops[i].atom, stack[len - 2], stack[len - 1], &v)) {
			stack[--len - 1] = v;
		} else if (!len) {
			return false;
		} else if (ops[i].atom == DW_OP_deref) {
			if (!rule_frame_read(f, stack[len - 1], &stack[len - 1]))
				return false;
		} else if (ops[i].atom == DW_OP_plus_uconst) {
			stack[len - 1] += ops[i].number;
		} else if (ops[i].atom == DW_OP_dup) {
			stack[len] = stack[len - 1];
			len++;
		} else if (ops[i].atom == DW_OP_drop) {
			len--;
		} else if (ops[i].atom == DW_OP_stack_value) {
			*ret_is_value = true;
		} else if (ops[i].atom != DW_OP_nop) {
			return false;
		}
	}
	if (!len)
		return false;
	*ret = stack[len - 1];
	return true;
}

static bool value_find(const struct rule_value *v, int reg, const struct rule_expressions *e, const struct rule_frame *f, uint64_t cfa, uint64_t *ret)
{
	bool is_value;

	switch (v->how) {
	case RULE_SAME:
		return reg_value(f, reg, 0, ret);
	case RULE_SAVED:
		/* Popped already, which compilers don't tell: the register has its value again, and the memory below the stack pointer is not copied. */
		if (cfa + (int64_t)v->offset < f->regs[SO_REG_SP])
			return reg_value(f, reg, 0, ret);
		return rule_frame_read(f, cfa + (int64_t)v->offset, ret);
	case RULE_CFA:
		*ret = cfa + (int64_t)v->offset;
		return true;
	case RULE_REGISTER:
		return reg_value(f, v->reg, (int64_t)v->offset, ret);
	case RULE_EXPRESSION:
		if (!expression_value(e->at[v->offset], e->lens[v->offset], f, &cfa, ret, &is_value))
			return false;
		return is_value || rule_frame_read(f, *ret, ret);
	}
	return false;
}

static bool cfa_find(const struct rule *r, const struct rule_expressions *e, const struct rule_frame *f, uint64_t *ret)
{
	bool is_value;

	if (r->cfa.how == RULE_REGISTER)
		return reg_value(f, r->cfa.reg, (int64_t)r->cfa.offset, ret);
	return r->cfa.how == RULE_EXPRESSION &&
	       expression_value(e->at[r->cfa.offset], e->lens[r->cfa.offset], f, NULL, ret, &is_value);
}

bool rule_apply(const struct rule *r, const struct rule_expressions *e, struct rule_frame *f)
{
	struct rule_frame up = { .stack = f->stack, .base = f->base, .bytes = f->bytes };
	bool leaf = LEAF_KEEPS_SP && r->regs[SO_REG_IP].how == RULE_SAME;
	uint64_t cfa;

	if (r->last || !cfa_find(r, e, f, &cfa))
		return false;
	for (int i = 0; i < SO_REGS; i++) {
		int same = i;

#if defined(__aarch64__)
		if (i == SO_REG_IP)
			same = SO_REG_BX;
#endif
		if (value_find(&r->regs[i], same, e, f, cfa, &up.regs[i]))
			up.known |= 1u << i;
	}
	up.regs[SO_REG_IP] &= CODE_MASK;
	if (r->regs[SO_REG_SP].how == RULE_UNKNOWN || r->regs[SO_REG_SP].how == RULE_SAME) {
		up.regs[SO_REG_SP] = cfa;
		up.known |= 1u << SO_REG_SP;
	}
	/* A signal may have switched stacks. Everywhere else each caller's frame lies above, so that there is an end. */
	if (!r->signal && (up.regs[SO_REG_SP] < f->regs[SO_REG_SP] || (up.regs[SO_REG_SP] == f->regs[SO_REG_SP] && !leaf)))
		return false;
	if (!(up.known & 1u << SO_REG_IP) || !(up.known & 1u << SO_REG_SP))
		return false;
	if (leaf) /* once is enough: the link register belongs to the leaf alone */
		up.known &= ~(1u << SO_REG_BX);
	*f = up;
	return true;
}

/* The frame pointer leads to the caller's own, which lies just below the return address: System V ABI for x86-64 (3.2.2) and AAPCS64 (6.4.6). */
bool frame_pointer_step(struct rule_frame *f)
{
	uint64_t fp = f->regs[SO_REG_FP], next, address;

	if (!(f->known & 1u << SO_REG_FP) || fp % 8 || fp < f->regs[SO_REG_SP])
		return false;
	if (!rule_frame_read(f, fp, &next) || !rule_frame_read(f, fp + 8, &address))
		return false;
	f->regs[SO_REG_IP] = address & CODE_MASK;
	f->regs[SO_REG_SP] = fp + 16;
	f->regs[SO_REG_FP] = next;
	f->known = 1u << SO_REG_IP | 1u << SO_REG_SP | 1u << SO_REG_FP;
	return true;
}
