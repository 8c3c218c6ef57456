/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "lib_place.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

bool place_bind(int *fd, int family, struct sockaddr_storage *at, socklen_t *len)
{
	static int number;
	struct sockaddr_in *in = (void *)at;
	struct sockaddr_in6 *in6 = (void *)at;
	struct sockaddr_un *un = (void *)at;

	memset(at, 0, sizeof(*at));
	at->ss_family = family;
	*len = sizeof(*in);
	in->sin_family = family;
	if (family == AF_INET) {
		in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	} else if (family == AF_INET6) {
		in6->sin6_addr = in6addr_loopback;
		*len = sizeof(*in6);
	} else {
		*len = offsetof(struct sockaddr_un, sun_path) + 1;
		*len += snprintf(un->sun_path + 1, sizeof(un->sun_path) - 1, "stakeout-live-%d-%d", getpid(), number++);
	}
	*fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	return *fd >= 0 && !bind(*fd, (void *)at, *len) && (family == AF_UNIX || !getsockname(*fd, (void *)at, len));
}

bool place_open(struct place *p, int family)
{
	p->family = family;
	p->listener = p->closed = -1;
	return place_bind(&p->closed, family, &p->closed_at, &p->len) && place_bind(&p->listener, family, &p->at, &p->len) &&
	       !listen(p->listener, 64);
}

void place_close(struct place *p)
{
	if (p->closed >= 0)
		close(p->closed);
	if (p->listener >= 0)
		close(p->listener);
	p->closed = p->listener = -1;
}

bool place_pair(struct place *p, int *ret_client, int *ret_server)
{
	*ret_client = socket(p->family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (*ret_client < 0 || connect(*ret_client, (void *)&p->at, p->len))
		return false;
	*ret_server = accept(p->listener, NULL, NULL);
	return *ret_server >= 0;
}

int place_port(const struct sockaddr_storage *at)
{
	if (at->ss_family == AF_INET6)
		return ntohs(((const struct sockaddr_in6 *)at)->sin6_port);
	return at->ss_family == AF_INET ? ntohs(((const struct sockaddr_in *)at)->sin_port) : 0;
}

int port_of(int fd)
{
	struct sockaddr_storage at;
	socklen_t len = sizeof(at);

	return getsockname(fd, (void *)&at, &len) ? -1 : place_port(&at);
}

bool family_has(int family)
{
	struct place p;
	bool ok = place_open(&p, family);

	place_close(&p);
	return ok;
}
