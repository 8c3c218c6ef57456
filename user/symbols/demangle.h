/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Names of functions as their authors wrote them: C++ (Itanium ABI) and Rust (legacy and v0). */
#ifndef STAKEOUT_DEMANGLE_H
#define STAKEOUT_DEMANGLE_H

#include <stdbool.h>
#include <stddef.h>

/* Writes the function's qualified name without its parameters to buf, cut to size - 1 bytes. False: the name isn't mangled, or not well. */
bool demangle(const char *name, char *buf, size_t size);

#endif
