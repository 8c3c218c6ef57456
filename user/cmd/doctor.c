// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* `stakeout doctor`: what this host allows, probe by probe, and what events cost on it. */
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

#include "cmd/cmd.h"
#include "cmd/options.h"
#include "lib/log.h"
#include "lib/util.h"
#include "probe/features.h"
#include "probe/trial.h"

static void show(const char *name, const char *text)
{
	printf("  %-34s%s\n", name, text);
}

static void show_host(void)
{
	struct utsname u;
	char text[256];
	ssize_t n;

	if (!uname(&u)) {
		snprintf(text, sizeof(text), "%.80s %.80s, %ld CPUs", u.release, u.machine, sysconf(_SC_NPROCESSORS_ONLN));
		show("kernel", text);
	}
	n = file_read("/proc/sys/net/core/bpf_jit_enable", text, sizeof(text));
	if (n > 0)
		show("BPF compiler", text[0] == '0' ? "off: every event costs several times more (sysctl net.core.bpf_jit_enable=1)" : "on");
	n = file_read("/sys/kernel/security/lockdown", text, sizeof(text));
	if (n > 0)
		text[strcspn(text, "\n")] = 0;
	show("lockdown mode", n > 0 ? text_sanitize(text) : "none (not in this kernel, or securityfs is not mounted)");
}

static void show_features(void)
{
	char why[160], text[256];

	printf("\nKernel features\n");
	for (int f = 0; f < FEATURE_COUNT; f++) {
		bool has = feature_has(f, why, sizeof(why));

		snprintf(text, sizeof(text), "%s%s", has ? "available" : "missing: ", why);
		show(feature_infos[f].name, text);
	}
}

static void show_hook(const struct probe_requirement *r, bool has, bool replaced)
{
	char name[64], text[160];

	if (!strcmp(r->how, "-") || !strcmp(r->how, "map"))
		snprintf(name, sizeof(name), "  %s", feature_infos[r->feature].name);
	else
		snprintf(name, sizeof(name), "  %s", r->how);
	if (has)
		snprintf(text, sizeof(text), "yes");
	else if (replaced)
		snprintf(text, sizeof(text), "no, in its place:");
	else
		snprintf(text, sizeof(text), "no%s%s", r->without ? ": without it, no " : "", r->without ? r->without : "");
	show(name, text);
}

static void show_hooks(enum probe_id probe)
{
	int len;
	const struct probe_requirement *r = probe_requirements(probe, &len);

	for (int i = 0; i < len; i++) {
		bool has = feature_has(r[i].feature, NULL, 0);
		int stand_ins_len;
		const struct probe_requirement *s = probe_stand_ins(probe, r[i].feature, &stand_ins_len);

		show_hook(&r[i], has, stand_ins_len && feature_has(FEATURE_FENTRY, NULL, 0));
		for (int j = 0; j < stand_ins_len && !has && feature_has(FEATURE_FENTRY, NULL, 0); j++)
			show_hook(&s[j], feature_section(s[j].how), false);
	}
}

/* Returns how many probes are available. */
static int show_probes(void)
{
	int available = 0;

	printf("\nProbes, and what they hook\n");
	for (int p = 0; p < PROBE_COUNT; p++) {
		char why[160], text[320];
		bool has = probe_available(p, why, sizeof(why));

		available += has;
		if (has)
			snprintf(text, sizeof(text), "available, %s by default: %s", probe_infos[p].on ? "on" : "off", probe_infos[p].help);
		else
			snprintf(text, sizeof(text), "unavailable: %s", why);
		show(probe_infos[p].name, text);
		show_hooks(p);
	}
	return available;
}

static void show_costs(void)
{
	struct trial_cost costs[TRIAL_ROWS];
	char why[160];
	int n = trial_run(costs, why, sizeof(why));

	printf("\nWhat an event costs here (ns of CPU in our programs, above an empty one)\n");
	if (n < 0) {
		printf("  not measured: %s\n", text_sanitize(why));
		return;
	}
	printf("  %-8s  %-48s %8s %9s\n", "probe", "event", "agent", "stranger");
	for (int i = 0; i < n; i++)
		printf("  %-8s  %-48s %8.0f %9.0f\n", probe_infos[costs[i].probe].name, costs[i].event, costs[i].agent_ns, costs[i].stranger_ns);
}

int cmd_doctor(int argc, char **argv)
{
	char why[160];
	int available;

	if (argc > 1 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))) {
		printf("Usage: stakeout doctor\n\nSays what this host allows: kernel features, what each probe hooks and how, and what an event costs here,\n"
		       "by watching a process of its own for two seconds.\n"
		       "Exit status: 0 when recording is possible, 3 when it is not.\n");
		return EXIT_DONE;
	}
	if (argc > 1) {
		log_err(0, "doctor takes no arguments, not '%s'; see `stakeout doctor --help`", argv[1]);
		return EXIT_USAGE;
	}
	printf("Host\n");
	show_host();
	show_features();
	available = show_probes();
	/* Without the scheduler's probe there is no ledger, and nothing that a recording is for. */
	if (!probe_available(PROBE_CORE, why, sizeof(why)) || !probe_available(PROBE_SCHED, why, sizeof(why))) {
		printf("\nRecording is impossible here: %s\n", why);
		return EXIT_DENIED;
	}
	show_costs();
	printf("\nRecording is possible: %d of %d probes are available.\n", available, PROBE_COUNT);
	return EXIT_DONE;
}
