/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Subcommands: argv[0] is the subcommand's name; each returns an enum exit_status. */
#ifndef STAKEOUT_CMD_H
#define STAKEOUT_CMD_H

int cmd_record(int argc, char **argv);
int cmd_top(int argc, char **argv);
int cmd_report(int argc, char **argv);
int cmd_serve(int argc, char **argv);
int cmd_merge(int argc, char **argv);
int cmd_diff(int argc, char **argv);
int cmd_check(int argc, char **argv);
int cmd_doctor(int argc, char **argv);

#endif
