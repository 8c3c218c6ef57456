/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Keeps watching within its budget: adds up what it costs, asks the governor, and sets the kernel side's detail. */
#ifndef STAKEOUT_BUDGET_H
#define STAKEOUT_BUDGET_H

#include "abi.h"
#include "collect/world.h"
#include "probe/observer.h"

struct budget;

/* share: of the agents' CPU time, 0.01 for 1 %. o stays the caller's. NULL when out of memory. */
struct budget *budget_new(struct observer *o, double share);
void budget_free(struct budget *b); /* NULL is accepted */
/* From here on it counts; start_ns is 0 of the steps' times. */
void budget_start(struct budget *b, uint64_t start_ns);
/* A record, in order of time: of the agents' CPU time between the intervals. */
void budget_record(struct budget *b, const struct so_head *r);
/* Time that the heap's windows took of the agents. */
void budget_trapped(struct budget *b, double seconds);
/* After each drain: may change the detail. */
void budget_tick(struct budget *b);
/* How long to wait until the next drain, instead of so long: the kernel's accounting is to be on for a short while only. */
double budget_pause_ms(const struct budget *b, double pause_ms);
/* After an interval was closed: the agents' CPU time in it is exact now. */
void budget_close(struct budget *b, const struct world *w);
/* What there is to say since the last call. */
void budget_take(struct budget *b, struct cost_data *ret);

#endif
