/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The daemon: a session without end, told to recordings and outputs, by a configuration that may change while it runs. */
#ifndef STAKEOUT_DAEMON_H
#define STAKEOUT_DAEMON_H

#include "serve/config.h"

/* Until SIGTERM or SIGINT. enum exit_status; what was wrong is logged. */
int daemon_run(const char *config_path);

#endif
