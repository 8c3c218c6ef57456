// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* Dispatch to a subcommand. */
#include <stdio.h>
#include <string.h>

#include "cmd/cmd.h"
#include "cmd/options.h"
#include "lib/log.h"
#include "lib/util.h"
#include "version.h"

static const struct command {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *help;
} commands[] = {
	{ "record", cmd_record, "observe agents and write a recording" },
	{ "top", cmd_top, "show agents live" },
	{ "report", cmd_report, "show what a recording says" },
	{ "serve", cmd_serve, "observe agents for good: rotating recordings, metrics for Prometheus and OpenTelemetry" },
	{ "diff", cmd_diff, "compare recordings: improved, stable or degraded, and how sure that is" },
	{ "check", cmd_check, "say whether recordings meet their objectives" },
	{ "merge", cmd_merge, "sum recordings of many hosts into one" },
	{ "doctor", cmd_doctor, "say what this host allows, probe by probe" },
};

static int help(void)
{
	printf("Usage: stakeout COMMAND [OPTIONS]\n\n"
	       "Watches AI agents from outside: where their time, memory and CPU went.\n\n");
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		printf("  %-10s%s\n", commands[i].name, commands[i].help);
	printf("\n`stakeout COMMAND --help` lists the options of a command; `stakeout --version` the version.\n"
	       "Exit status: 0 done, 1 degraded (diff) or an objective missed (check), 2 usage, 3 not\n"
	       "permitted or not supported here, 4 no such target, 5 output could not be written.\n");
	return EXIT_DONE;
}

static int unknown(const char *word)
{
	const char *names[ARRAY_SIZE(commands)];
	char list[128] = "", hint[64];

	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		names[i] = commands[i].name;
		snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s%s", i ? ", " : "", names[i]);
	}
	if (!word)
		log_err(0, "no command given; commands: %s (see stakeout --help)", list);
	else
		log_err(0, "unknown %s '%s'%s; commands: %s (see stakeout --help)", word[0] == '-' ? "option" : "command", word,
			name_hint(word, names, ARRAY_SIZE(names), hint, sizeof(hint)), list);
	return EXIT_USAGE;
}

int main(int argc, char **argv)
{
	const char *word = argc > 1 ? argv[1] : NULL;

	if (!word)
		return unknown(NULL);
	if (!strcmp(word, "--help") || !strcmp(word, "-h") || !strcmp(word, "help"))
		return help();
	if (!strcmp(word, "--version")) {
		printf("stakeout %s\n", STAKEOUT_VERSION);
		return EXIT_DONE;
	}
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (!strcmp(word, commands[i].name))
			return commands[i].run(argc - 1, argv + 1);
	return unknown(word);
}
