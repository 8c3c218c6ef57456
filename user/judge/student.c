/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * By the incomplete beta function as a continued fraction (M. Abramowitz and I. A. Stegun, Handbook of Mathematical Functions, 26.5.8 and 26.7.1), which is evaluated as
 * W. J. Lentz does in "Generating Bessel functions in Mie scattering calculations using continued fractions", Applied Optics 15 (1976).
 */
#include "judge/student.h"

#include <math.h>

#define TERMS_MAX 300
#define ACCURATE 1e-12
#define TINY 1e-300 /* in place of 0, by which is divided */

static double not_zero(double v)
{
	return fabs(v) < TINY ? TINY : v;
}

static double beta_fraction(double x, double a, double b)
{
	double c = 1, d = 1 / not_zero(1 - (a + b) * x / (a + 1)), f = d;

	for (int i = 1; i < TERMS_MAX; i++) {
		double even = i * (b - i) * x / ((a + 2 * i - 1) * (a + 2 * i));
		double odd = -(a + i) * (a + b + i) * x / ((a + 2 * i) * (a + 2 * i + 1));
		double step;

		d = 1 / not_zero(1 + even * d);
		c = not_zero(1 + even / c);
		f *= d * c;
		d = 1 / not_zero(1 + odd * d);
		c = not_zero(1 + odd / c);
		step = d * c;
		f *= step;
		if (fabs(step - 1) < ACCURATE)
			break;
	}
	return f;
}

/* The regularized incomplete beta function. */
static double beta(double x, double a, double b)
{
	double front;

	if (x <= 0 || x >= 1)
		return x <= 0 ? 0 : 1;
	front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x));
	if (x < (a + 1) / (a + b + 2))
		return front * beta_fraction(x, a, b) / a;
	return 1 - front * beta_fraction(1 - x, b, a) / b;
}

double student_p(double t, double freedom)
{
	return isinf(t) ? 0 : beta(freedom / (freedom + t * t), freedom / 2, 0.5);
}

double student_beyond(double p, double freedom)
{
	double low = 0, high = 1;

	while (student_p(high, freedom) > p && high < 1e9)
		high *= 2;
	for (int i = 0; i < 60 && high - low > 1e-9 * high; i++) {
		double middle = (low + high) / 2;

		if (student_p(middle, freedom) > p)
			low = middle;
		else
			high = middle;
	}
	return (low + high) / 2;
}
