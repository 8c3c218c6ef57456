/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The one place of the version: the program, the manual pages and the package have it from here. */
#ifndef STAKEOUT_VERSION_H
#define STAKEOUT_VERSION_H

#define STAKEOUT_VERSION "0.1"

#endif
