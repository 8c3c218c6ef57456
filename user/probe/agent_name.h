/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What people call a program, from its command line: the script rather than the interpreter. */
#ifndef STAKEOUT_AGENT_NAME_H
#define STAKEOUT_AGENT_NAME_H

/* A new string, or NULL when out of memory. comm stands in for an empty argv. `python3 -u lib/agent.py` is "agent.py", `python3 -m server`
 * "server", `sh -c ..` "sh", `nginx: master process ..` "nginx"; otherwise it is the base name of argv[0]. */
char *agent_name(char *const *argv, int argc, const char *comm);

#endif
