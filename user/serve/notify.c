/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "serve/notify.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "lib/util.h"

/* A state must arrive, though not at any price; the next status or ping comes soon anyway. */
static void patience_set(int fd, const char *text)
{
	bool state = strncmp(text, "STATUS=", 7) && strncmp(text, "WATCHDOG=", 9);
	struct timeval most = { .tv_sec = state, .tv_usec = state ? 0 : 1 };

	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &most, sizeof(most));
}

void notify_send(const char *fmt, ...)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	_cleanup_close_ int fd = -1;
	char text[512];
	va_list args;
	size_t len;

	if (!path || (*path != '/' && *path != '@') || strlen(path) >= sizeof(to.sun_path))
		return;
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	len = strlen(path);
	memcpy(to.sun_path, path, len);
	if (*path == '@') /* the abstract namespace */
		to.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	patience_set(fd, text);
	sendto(fd, text, strlen(text), MSG_NOSIGNAL, (struct sockaddr *)&to, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len));
}

uint64_t notify_watchdog_ns(void)
{
	const char *us = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
	long long n;

	if (!us || parse_int(us, 1, 1LL << 50, &n))
		return 0;
	if (pid && strtol(pid, NULL, 10) != getpid())
		return 0;
	return (uint64_t)n * 1000;
}
