/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "probe/hooks.h"

#include <errno.h>
#include <string.h>

static bool program_hooks(const struct bpf_program *prog)
{
	enum bpf_attach_type type = bpf_program__expected_attach_type(prog);

	/* core__empty is there while programs are timed */
	return (type == BPF_TRACE_RAW_TP && strcmp(bpf_program__name(prog), "core__empty")) || type == BPF_TRACE_FENTRY ||
	       type == BPF_TRACE_FEXIT;
}

static bool starts(const char *name, const char *with)
{
	return !strncmp(name, with, strlen(with));
}

/* Whether the program is of those that d takes away: the probe peak's, and the probe sock's but for those that follow connections. */
static bool taken_away(const char *name, const struct so_detail *d)
{
	if (starts(name, "peak__"))
		return d->peak == SO_DETAIL_OFF;
	if (starts(name, "sock__") && strcmp(name, "sock__state") && strcmp(name, "sock__resend"))
		return d->sock == SO_DETAIL_OFF;
	return false;
}

int hooks_attach(struct hooks *h, struct bpf_object *obj)
{
	struct bpf_program *prog;

	bpf_object__for_each_program(prog, obj)
	{
		struct bpf_link *link;

		if (!bpf_program__autoload(prog) || !program_hooks(prog))
			continue;
		if (h->len == HOOKS_MAX)
			return -E2BIG;
		link = bpf_program__attach(prog);
		if (!link)
			return -errno;
		h->at[h->len++] = (struct hook){prog, link};
	}
	return 0;
}

void hooks_return(struct hooks *h, const struct so_detail *d)
{
	for (struct hook *k = h->at; k < h->at + h->len; k++)
		if (!k->link && !taken_away(bpf_program__name(k->prog), d))
			k->link = bpf_program__attach(k->prog);
}

void hooks_remove(struct hooks *h, const struct so_detail *d)
{
	for (struct hook *k = h->at; k < h->at + h->len; k++)
		if (k->link && taken_away(bpf_program__name(k->prog), d)) {
			bpf_link__destroy(k->link);
			k->link = NULL;
		}
}

void hooks_fini(struct hooks *h)
{
	for (int i = 0; i < h->len; i++)
		bpf_link__destroy(h->at[i].link);
	h->len = 0;
}
