/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The daemon's configuration: stakeout.yaml. Every member has a default; what a file leaves out has it. */
#ifndef STAKEOUT_SERVE_CONFIG_H
#define STAKEOUT_SERVE_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "judge/alerts.h"
#include "judge/rule.h"
#include "watch/options.h"

struct config_recordings { /* section `recordings` */
	const char *directory; /* NULL: none are written */
	double rotate_s; /* a new file after so long; 3600 */
	uint64_t rotate_bytes; /* or when it has so many, as written; 256M */
	double keep_s; /* older files are removed; 0: never */
	uint64_t max_bytes; /* of all files together, the oldest are removed first; 1G */
	bool compress; /* true */
};

struct config_prometheus { /* section `prometheus` */
	const char *textfile; /* for node_exporter's textfile collector; NULL: none */
	const char *listen; /* "127.0.0.1:9469", "[::1]:9469", "unix:/run/stakeout.sock"; NULL: no server */
	const char *user, *password_file; /* basic auth; both or none */
	const char *tls_certificate, *tls_key; /* PEM files; both or none */
	uint64_t max_series; /* of one page; the rest is folded and counted; 20000 */
	uint64_t max_connections; /* 64 */
	double timeout_s; /* of a connection without progress; 10 */
};

struct config_otlp { /* section `otlp` */
	const char *file; /* OTLP/JSON lines, as the collector's file exporter writes them; NULL: none */
	uint64_t file_bytes; /* rotated at so many; 100M */
	const char *endpoint; /* "http://127.0.0.1:4318": /v1/metrics is added; NULL: no push */
	const char *ca; /* PEM file; NULL: the system's authorities */
	const char *const *headers; /* "Name: value" */
	int headers_len;
	double interval_s; /* between pushes, a multiple of the interval; 10 */
	double timeout_s; /* of one push; 10 */
	uint64_t queue; /* requests kept while the endpoint is away; 60 */
};

struct config_alerts { /* section `alerts` */
	bool on; /* the section is there */
	const char *rules; /* file; NULL: those that come with the program */
	int findings; /* told from this enum severity on; SEVERITY_COUNT: none */
	struct rules *loaded; /* never NULL when on; whoever takes them away sets it NULL */
	const char *file, *journal, *syslog, *webhook, *alertmanager; /* sinks; NULL: not asked for */
	const char *command, *command_user; /* nobody */
	double command_timeout_s; /* 10 */
	double resend_s; /* to Alertmanager; 60 */
	double timeout_s; /* of one request; 10 */
	uint64_t queue; /* notices that a sink keeps while it is away; 100 */
	double group_wait_s, repeat_s; /* 0; 4 h */
	const char *state; /* file; NULL: by the environment */
	struct silence *silences;
	int silences_len;
};

struct config_label { /* section `labels`: of all that leaves this host */
	const char *name, *value;
};

struct config {
	/* One kind of target each, named; at least one. Their other watch options are those of `watch`. */
	struct target_spec *targets;
	int targets_len;
	struct watch_options watch; /* target and duration unset */
	bool findings; /* true */
	struct config_recordings recordings;
	struct config_prometheus prometheus;
	struct config_otlp otlp;
	struct config_alerts alerts;
	struct config_label *labels;
	int labels_len;
	void *owner; /* of all strings and lists */
};

/* Reads and checks a file. 0, or a negative errno and why: one line, "FILE:LINE: what was wrong and what is expected" (as far as a line is to blame). */
int config_load(const char *path, struct config **ret, char *why, size_t why_len);
void config_free(struct config *c);

enum config_section { CONFIG_RECORDINGS, CONFIG_PROMETHEUS, CONFIG_OTLP };
/* Both say the same of an output's section and of what all outputs use. Files that they name may have changed all the same: certificates, passwords; then they don't. */
bool config_same(const struct config *a, const struct config *b, enum config_section section);
/* Lists keys in which they differ and that a running session can't change; "": none. Returns buf. */
const char *config_fixed(const struct config *a, const struct config *b, char *buf, size_t buf_len);

#endif
