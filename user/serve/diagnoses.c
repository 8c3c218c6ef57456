/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "serve/diagnoses.h"

#define MEMORY_S 1800.0 /* growth of memory shows in no two minutes; but agents come and go, and what they were must not stay for ever */

enum { OLDER, NEWER };

int diagnoses_interval(struct diagnoses *d, const struct header_data *h, const struct interval_data *i)
{
	int err;

	if (i->end_s - d->began_s > MEMORY_S) {
		outlooks_fini(&d->memory[OLDER]);
		d->memory[OLDER] = d->memory[NEWER];
		d->memory[NEWER] = (struct outlooks){0};
		d->began_s = i->end_s;
	}
	err = outlooks_interval(&d->memory[OLDER], i);
	if (!err)
		err = outlooks_interval(&d->memory[NEWER], i);
	return err ? err : recents_interval(&d->recents, h, &d->memory[OLDER], i);
}

void diagnoses_fini(struct diagnoses *d)
{
	recents_fini(&d->recents);
	outlooks_fini(&d->memory[OLDER]);
	outlooks_fini(&d->memory[NEWER]);
	*d = (struct diagnoses){0};
}
