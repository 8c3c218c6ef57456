/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Where to connect: a listener on the loopback, and an address that refuses. */
#ifndef STAKEOUT_LIB_PLACE_H
#define STAKEOUT_LIB_PLACE_H

#include <stdbool.h>
#include <sys/socket.h>

struct place {
	int family;
	int listener, closed; /* closed: bound, but nobody listens */
	struct sockaddr_storage at, closed_at;
	socklen_t len;
};

/* Unix sockets get an abstract name: it leaves nothing behind. */
bool place_bind(int *fd, int family, struct sockaddr_storage *at, socklen_t *len);
bool place_open(struct place *p, int family);
void place_close(struct place *p);
/* A connected pair through the place. */
bool place_pair(struct place *p, int *ret_client, int *ret_server);
int place_port(const struct sockaddr_storage *at); /* host byte order */
int port_of(int fd); /* of its own end; -1: it has none */
/* Whether this kernel has the family. */
bool family_has(int family);

#endif
