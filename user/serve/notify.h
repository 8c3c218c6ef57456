/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What systemd is told (sd_notify(3)): one datagram to $NOTIFY_SOCKET. libsystemd would bring five libraries along for it. */
#ifndef STAKEOUT_NOTIFY_H
#define STAKEOUT_NOTIFY_H

#include <stdint.h>

/* Lines as in "READY=1\nSTATUS=..". Does nothing unless systemd asked for it; that it fails is no concern of the daemon's. */
void notify_send(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* How often the watchdog wants to hear of us, in ns; 0: there is none. */
uint64_t notify_watchdog_ns(void);

#endif
