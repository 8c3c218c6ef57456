/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What workers do. What fails ends the worker, by worker_check(). */
#ifndef STAKEOUT_LIB_WORK_H
#define STAKEOUT_LIB_WORK_H

#include "lib_live.h"

/* On a CPU for so long, by the clock. */
void spin_ns(uint64_t ns);
void sleep_ns(uint64_t ns);
/* The calling thread runs on this CPU only. */
void pin(int cpu);

extern char data[4096]; /* what is sent, and where what is received goes */
/* In one call: len bytes, up to sizeof(data). */
void send_all(int fd, size_t len);
void receive_all(int fd, size_t len);
void readable_wait(int fd);

#endif
