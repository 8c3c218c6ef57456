/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* stakeout serve: the arguments of the daemon, which is in serve/. */
#include <stdio.h>
#include <string.h>

#include "cmd/cmd.h"
#include "lib/log.h"
#include "lib/util.h"
#include "serve/daemon.h"

static int help(void)
{
	printf("Usage: stakeout serve -c FILE [--check-config]\n\n"
	       "Observes agents for as long as it runs: recordings that rotate, metrics for Prometheus and OpenTelemetry.\n\n"
	       "  -c, --config FILE     configuration (YAML)\n"
	       "      --check-config    only say whether it is good\n"
	       "  -h, --help            this list\n\n"
	       "SIGHUP has it read the configuration anew; SIGTERM and SIGINT end it.\n");
	return EXIT_DONE;
}

static int check(const char *path)
{
	struct config *config;
	char why[1024];

	if (config_load(path, &config, why, sizeof(why)))
		return log_err(0, "%s", why), EXIT_USAGE;
	printf("%s: good; %d target%s\n", path, config->targets_len, config->targets_len == 1 ? "" : "s");
	config_free(config);
	return EXIT_DONE;
}

int cmd_serve(int argc, char **argv)
{
	const char *path = NULL;
	bool only_check = false;

	for (int i = 1; i < argc; i++) {
		static const char *const names[] = { "--config", "--check-config", "--help" };
		const char *word = argv[i];
		char hint[64];

		if (!strcmp(word, "-h") || !strcmp(word, "--help")) {
			return help();
		} else if (!strcmp(word, "--check-config")) {
			only_check = true;
		} else if (!strncmp(word, "--config=", 9)) {
			path = word + 9;
		} else if (!strcmp(word, "-c") || !strcmp(word, "--config")) {
			path = argv[++i];
			if (!path)
				return log_err(0, "%s needs a value: -c FILE", word), EXIT_USAGE;
		} else {
			log_err(0, "unknown %s '%.64s'%s; `stakeout serve --help` lists the options", *word == '-' ? "option" : "argument", word,
				name_hint(word, names, ARRAY_SIZE(names), hint, sizeof(hint)));
			return EXIT_USAGE;
		}
	}
	if (!path)
		return log_err(0, "no configuration: name it with -c FILE"), EXIT_USAGE;
	return only_check ? check(path) : daemon_run(path);
}
