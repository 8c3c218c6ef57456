// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#include "cmd/usage.h"

#include <getopt.h>

#include "lib/log.h"
#include "lib/util.h"
#include "sink/terminal.h"

int usage_bad_option(char **argv, int c)
{
	if (c == ':')
		log_err(0, "%s needs a value (see stakeout %s --help)", argv[optind - 1], argv[0]);
	else if (optopt && optopt < 128 && argv[optind - 1][1] != '-')
		log_err(0, "unknown option '-%c' (see stakeout %s --help)", optopt, argv[0]);
	else
		log_err(0, "unknown option '%s' (see stakeout %s --help)", argv[optind - 1], argv[0]);
	return EXIT_USAGE;
}

int usage_width(const char *text, int *ret)
{
	long long width;

	if (parse_int(text, TERMINAL_WIDTH_MIN, TERMINAL_WIDTH_MAX, &width))
		return log_err(0, "--width %s: want a number from %d to %d", text, TERMINAL_WIDTH_MIN, TERMINAL_WIDTH_MAX), EXIT_USAGE;
	*ret = (int)width;
	return -1;
}
