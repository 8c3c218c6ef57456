// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
// The same in C++: functions whose names are mangled, and an exception's way through them.
#include <algorithm>
#include <cstdint>
#include <execinfo.h>
#include <stdexcept>
#include <unistd.h>
#include <vector>

namespace shop
{
static volatile uint64_t sink;

template <typename T> struct Basket {
	std::vector<T> items;
	__attribute__((noinline)) T total(T rest)
	{
		if (rest > 0) {
			T sum = total(rest - 1) + items.size();
			sink = sink + 1;
			return sum;
		}
		void *at[512];
		uint64_t n = backtrace(at, 512);
		if (write(3, &n, sizeof(n)) < 0 || write(3, at, n * sizeof(*at)) < 0)
			_exit(1);
		for (;;)
			sink = sink + 1;
	}
};

__attribute__((noinline)) long checkout(Basket<long> &b)
{
	try {
		throw std::runtime_error("none left");
	} catch (const std::exception &) {
		long sum = b.total(5);
		sink = sink + 1;
		return sum;
	}
}
}

int main()
{
	shop::Basket<long> b;
	std::vector<int> order = { 3, 1, 2 };
	long sum = 0;
	std::for_each(order.begin(), order.end(), [&](int i) { sum += i + shop::checkout(b); });
	return (int)sum;
}
