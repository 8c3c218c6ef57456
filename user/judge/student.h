/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Student's t distribution with any number of degrees of freedom > 0, and a generator of random numbers. */
#ifndef STAKEOUT_STUDENT_H
#define STAKEOUT_STUDENT_H

#include <stdint.h>

/* How likely a value at least as far from 0 as t is. */
double student_p(double t, double freedom);
/* The value which is passed, on either side, with probability p (0..1). */
double student_beyond(double p, double freedom);

/* S. Vigna's splitmix64 (public domain, prng.di.unimi.it): whole period, any state is good, and the same state gives the same numbers. */
static inline uint64_t random_next(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

/* 0..n-1, n below 2^32. */
static inline uint32_t random_below(uint64_t *state, uint32_t n)
{
	return (uint32_t)((random_next(state) >> 32) * n >> 32);
}

#endif
