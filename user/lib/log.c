/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "lib/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/util.h"

#define LINE_MAX_BYTES 2048

enum log_level log_level = LOG_LEVEL_INFO;

/* One write(2) a line, so that lines of several processes on one terminal don't interleave. Keeps errno. */
static void log_line(int err, const char *fmt, va_list args)
{
	char line[LINE_MAX_BYTES] = "stakeout: ";
	const size_t room = sizeof(line) - 1; /* for the newline */
	int saved = errno;
	size_t len = strlen(line);
	int n;

	n = vsnprintf(line + len, room - len, fmt, args);
	if (n > 0)
		len = len + (size_t)n < room ? len + (size_t)n : room - 1;
	if (err) {
		char reason[128];

		n = snprintf(line + len, room - len, ": %s",
			     strerror_r(err < 0 ? -err : err, reason, sizeof(reason)));
		if (n > 0)
			len = len + (size_t)n < room ? len + (size_t)n : room - 1;
	}
	text_sanitize(line);
	line[len++] = '\n';
	while (write(STDERR_FILENO, line, len) < 0 && errno == EINTR)
		;
	errno = saved;
}

int log_err(int err, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	log_line(err, fmt, args);
	va_end(args);
	return err;
}

#define LOG_AT(function, level)                    \
	void function(const char *fmt, ...)        \
	{                                          \
		va_list args;                      \
						   \
		if (log_level < level)             \
			return;                    \
		va_start(args, fmt);               \
		log_line(0, fmt, args);            \
		va_end(args);                      \
	}

LOG_AT(log_warn, LOG_LEVEL_WARN)
LOG_AT(log_info, LOG_LEVEL_INFO)
LOG_AT(log_debug, LOG_LEVEL_DEBUG)
