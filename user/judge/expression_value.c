// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#include <math.h>
#include <stdlib.h>

#include "judge/expression_parts.h"

void expression_free(struct expression *e)
{
	free(e);
}

enum quantity_kind expression_kind(const struct expression *e)
{
	const struct kind *k = &e->kind;

	if (!k->time && !k->bytes)
		return QUANTITY_PLAIN;
	if (k->time == 1 && !k->bytes)
		return QUANTITY_TIME;
	return k->bytes == 1 && (!k->time || k->time == -1) ? QUANTITY_BYTES : QUANTITY_OTHER;
}

enum metric_unit expression_unit(const struct expression *e, bool *ret_ratio)
{
	enum quantity_kind kind = expression_kind(e);

	if (ret_ratio)
		*ret_ratio = e->kind.ratio;
	return kind == QUANTITY_TIME ? UNIT_NS : kind == QUANTITY_BYTES ? UNIT_BYTES : UNIT_COUNT;
}

bool expression_uses(const struct expression *e, enum metric_id m)
{
	return e->metrics[m];
}

bool expression_uses_share(const struct expression *e)
{
	return e->share;
}

bool expression_spans(const struct expression *e)
{
	return e->spans;
}

static bool has_step(const struct expression *e, enum op first, enum op last)
{
	for (int i = 0; i < e->steps_len; i++)
		if (e->steps[i].op >= first && e->steps[i].op <= last)
			return true;
	return false;
}

bool expression_events(const struct expression *e)
{
	return !e->spans && !has_step(e, OP_RATE, OP_RATE) && !has_step(e, OP_AGE, OP_AGE) && !expression_reads_gauge(e);
}

bool expression_reads_gauge(const struct expression *e)
{
	return has_step(e, OP_LAST, OP_LAST);
}

bool expression_needs_values(const struct expression *e)
{
	return has_step(e, OP_QUANTILE, OP_MIN);
}

bool expression_sums(const struct expression *e)
{
	return !has_step(e, OP_QUANTILE, OP_QUANTILE) && !has_step(e, OP_MAX, OP_MIN);
}

bool expression_quantile(const struct expression *e, enum metric_id *ret_metric, double *ret_quantile)
{
	if (e->steps_len != 1 || e->steps[0].op != OP_QUANTILE)
		return false;
	*ret_metric = e->steps[0].metric;
	*ret_quantile = e->steps[0].number;
	return true;
}

unsigned expression_probes(const struct expression *e)
{
	return e->probes;
}

/* ---- values ---- */

static double hist_value(const struct step *s, const struct hist *h)
{
	switch (s->op) {
	case OP_QUANTILE:
		return hist_quantile(h, s->number);
	case OP_MEAN:
		return hist_mean(h);
	case OP_MAX:
		return (double)h->max;
	default:
		return (double)h->min;
	}
}

static double metric_value(const struct step *s, const struct subject *of, uint64_t *support)
{
	const struct metric_info *info = &metric_infos[s->metric];
	double factor = info->unit == UNIT_NS ? 1e-9 : 1;
	const struct hist *h = info->type == METRIC_HIST ? of->metrics->hist[s->metric] : NULL;
	uint64_t count = h ? h->count : 0;

	switch (s->op) {
	case OP_COUNT:
		return (double)count;
	case OP_SUM:
		return h ? (double)h->sum * factor : 0;
	case OP_RATE:
		if (!(of->seconds > 0))
			return NAN;
		return (info->type == METRIC_HIST ? (double)count : (double)of->metrics->value[s->metric] * factor) /
		       of->seconds;
	case OP_TOTAL:
	case OP_LAST:
		return (double)of->metrics->value[s->metric] * factor;
	default:
		if (count < *support)
			*support = count;
		return count ? hist_value(s, h) * factor : NAN;
	}
}

static double share_value(const struct step *s, const struct subject *of)
{
	const struct ledger *l = s->book == BOOK_MAIN ? of->main : s->book == BOOK_THREADS ? of->threads : of->critical;
	uint64_t sum = l ? ledger_sum(l) : 0, part = 0;

	for (int i = 0; l && i < STATE_COUNT; i++)
		if (s->states & 1U << i)
			part += l->ns[i];
	return sum ? (double)part / (double)sum : NAN;
}

static double divide(const struct step *s, double a, double b, uint64_t *support)
{
	if (s->counts && b >= 0 && b < (double)*support)
		*support = (uint64_t)b;
	return b == 0 ? NAN : a / b;
}

double expression_value(const struct expression *e, const struct subject *of, uint64_t *ret_support)
{
	double stack[STACK_MAX], value;
	uint64_t support = UINT64_MAX;
	int top = 0;

	for (int i = 0; i < e->steps_len; i++) {
		const struct step *s = &e->steps[i];
		double b = 0;

		if (s->op >= OP_ADD && s->op <= OP_DIVIDE)
			b = stack[--top];
		switch (s->op) {
		case OP_NUMBER:
			stack[top++] = s->number;
			break;
		case OP_ADD:
			stack[top - 1] += b;
			break;
		case OP_SUBTRACT:
			stack[top - 1] -= b;
			break;
		case OP_MULTIPLY:
			stack[top - 1] *= b;
			break;
		case OP_DIVIDE:
			stack[top - 1] = divide(s, stack[top - 1], b, &support);
			break;
		case OP_SHARE:
			stack[top++] = share_value(s, of);
			break;
		case OP_AGE:
			stack[top++] = of->age_s;
			break;
		default:
			stack[top++] = metric_value(s, of, &support);
			break;
		}
	}
	value = stack[0];
	if (ret_support)
		*ret_support = support;
	return isfinite(value) ? value : NAN;
}
