/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "serve/file_stacks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void file_stacks_fini(struct file_stacks *f)
{
	stacks_free(f->table);
	free(f->numbers);
	*f = (struct file_stacks){ 0 };
}

static bool has_samples(const struct agent_data *a)
{
	for (int i = 0; i < SAMPLE_COUNT; i++)
		if (a->samples[i].len)
			return true;
	return false;
}

static int prepare(struct file_stacks *f, const struct stacks *from)
{
	if (!f->table)
		f->table = stacks_new();
	if (!f->numbers)
		f->numbers = calloc(STACKS_MAX, sizeof(*f->numbers));
	if (!f->table || !f->numbers)
		return -ENOMEM;
	if (f->generation != stacks_generation(from))
		memset(f->numbers, 0, STACKS_MAX * sizeof(*f->numbers));
	f->generation = stacks_generation(from);
	return 0;
}

static int set_take(struct file_stacks *f, const struct sample_set *told, const struct stacks *from, struct sample_set *ret)
{
	int err = 0;

	for (uint32_t i = 0; i < told->cap && !err; i++) {
		const struct sample *s = &told->at[i];

		if (!s->value)
			continue;
		if (s->stack != STACK_OTHER && !f->numbers[s->stack])
			f->numbers[s->stack] = stacks_translate(f->table, from, s->stack);
		err = sample_set_add(ret, f->numbers[s->stack], s->value);
	}
	return err;
}

static void samples_fini(struct agent_data *a)
{
	for (int i = 0; i < SAMPLE_COUNT; i++)
		sample_set_fini(&a->samples[i]);
}

static int agent_take(struct file_stacks *f, const struct agent_data *told, const struct stacks *from, struct agent_data *ret)
{
	int err = 0;

	*ret = *told;
	memset(ret->samples, 0, sizeof(ret->samples));
	for (int i = 0; i < SAMPLE_COUNT && !err; i++)
		err = set_take(f, &told->samples[i], from, &ret->samples[i]);
	if (err)
		samples_fini(ret);
	return err;
}

int file_stacks_take(struct file_stacks *f, const struct interval_data *told, const struct stacks *from, struct interval_data *ret)
{
	const struct agent_data **agents;
	int err = 0, n;

	*ret = *told;
	for (n = 0; n < told->agents_len && !has_samples(told->agents[n]); n++)
		;
	if (n == told->agents_len)
		return 0;
	agents = calloc(told->agents_len, sizeof(*agents));
	if (!agents)
		return -ENOMEM;
	memcpy(agents, told->agents, told->agents_len * sizeof(*agents));
	ret->agents = agents;
	err = prepare(f, from);
	for (; n < told->agents_len && !err; n++) {
		struct agent_data *copy = malloc(sizeof(*copy));

		err = copy ? agent_take(f, told->agents[n], from, copy) : -ENOMEM;
		if (err)
			free(copy);
		else
			agents[n] = copy;
	}
	if (err)
		file_stacks_release(told, ret);
	return err;
}

void file_stacks_release(const struct interval_data *told, struct interval_data *i)
{
	if (i->agents == told->agents)
		return;
	for (int n = 0; n < i->agents_len; n++) {
		struct agent_data *copy = (struct agent_data *)i->agents[n];

		if (copy == told->agents[n])
			continue;
		samples_fini(copy);
		free(copy);
	}
	free((void *)i->agents);
	i->agents = told->agents;
}
