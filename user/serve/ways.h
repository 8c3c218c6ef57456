/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Ways of requests within this host. Strings are copied; each returns NULL when out of memory. */
#ifndef STAKEOUT_SERVE_WAYS_H
#define STAKEOUT_SERVE_WAYS_H

#include "serve/sender.h"

/* Appended to a file, which is opened anew each time: others may rotate it. mode 0640. */
struct sender_way *append_way_new(const char *path, uint64_t queue);
/* The file becomes the newest request, as a whole. mode 0600. */
struct sender_way *replace_way_new(const char *path);
/* One datagram to a unix socket. */
struct sender_way *datagram_way_new(const char *path, uint64_t queue);
/* A program that gets the request on its standard input, as this user, without any privileges; killed, with all of its process group, when it takes too long. Status 0: the request has arrived. */
struct sender_way *command_way_new(const char *path, const char *user, double timeout_s, uint64_t queue);

#endif
