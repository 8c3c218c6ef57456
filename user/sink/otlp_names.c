/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Names by OpenTelemetry's semantic conventions (github.com/open-telemetry/semantic-conventions: system/process-metrics, database/database-metrics,
 * http/http-metrics; semantic-conventions-genai: gen-ai-metrics).
 */
#include "sink/otlp_names.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/util.h"

static const struct {
	enum metric_id metric;
	struct otlp_convention convention;
} agent_rows[] = {
#define ROW(m, n, u, d, k, v, up) { M_##m, { n, u, d, k, v, up } }
	ROW(CPU_USER_NS, "process.cpu.time", "s", "CPU time of the agent and its tools", "cpu.mode", "user", false),
	ROW(CPU_SYSTEM_NS, "process.cpu.time", "s", "CPU time of the agent and its tools", "cpu.mode", "system", false),
	ROW(RSS_BYTES, "process.memory.usage", "By", "resident memory of the agent and its tools", NULL, NULL, true),
	ROW(THREADS, "process.thread.count", "{thread}", "threads of the agent and its tools", NULL, NULL, true),
	ROW(SWITCHES_VOLUNTARY, "process.context_switches", "{context_switch}", "context switches", "process.context_switch.type", "voluntary", false),
	ROW(SWITCHES_INVOLUNTARY, "process.context_switches", "{context_switch}", "context switches", "process.context_switch.type", "involuntary", false),
	ROW(FAULTS_MINOR, "process.paging.faults", "{fault}", "page faults", "system.paging.fault.type", "minor", false),
	ROW(FAULTS_MAJOR, "process.paging.faults", "{fault}", "page faults", "system.paging.fault.type", "major", false),
	ROW(SENT_BYTES, "process.network.io", "By", "bytes on sockets", "network.io.direction", "transmit", false),
	ROW(RECEIVED_BYTES, "process.network.io", "By", "bytes on sockets", "network.io.direction", "receive", false),
};

#define GEN_AI "gen_ai.client.operation.duration", "s", "requests to language models: first byte sent to last byte received"
#define DB_CLIENT "db.client.operation.duration", "s", "requests to databases, caches and vector stores: first byte sent to last byte received"
#define HTTP_CLIENT "http.client.request.duration", "s", "requests over HTTP or TLS: first byte sent to last byte received"

static const struct {
	enum metric_id metric;
	enum class_id class;
	struct otlp_convention convention;
} peer_rows[] = {
	{ M_EXCHANGE_NS, CLASS_LLM, { GEN_AI, NULL, NULL, false } },
	{ M_EXCHANGE_NS, CLASS_DB, { DB_CLIENT, NULL, NULL, false } },
	{ M_EXCHANGE_NS, CLASS_CACHE, { DB_CLIENT, NULL, NULL, false } },
	{ M_EXCHANGE_NS, CLASS_VECTOR, { DB_CLIENT, NULL, NULL, false } },
	{ M_EXCHANGE_NS, CLASS_HTTP, { HTTP_CLIENT, NULL, NULL, false } },
};

const struct otlp_convention *otlp_convention_agent(enum metric_id m)
{
	for (size_t i = 0; i < ARRAY_SIZE(agent_rows); i++)
		if (agent_rows[i].metric == m)
			return &agent_rows[i].convention;
	return NULL;
}

const struct otlp_convention *otlp_convention_peer(enum metric_id m, const struct peer_data *p)
{
	for (size_t i = 0; i < ARRAY_SIZE(peer_rows); i++)
		if (peer_rows[i].metric == m && peer_rows[i].class == p->class && !p->server)
			return &peer_rows[i].convention;
	return NULL;
}

const char *otlp_name(const char *scope, enum metric_id m, char *buf, size_t buf_len)
{
	static const char *const endings[] = { [UNIT_NS] = "_ns", [UNIT_BYTES] = "_bytes", [UNIT_COUNT] = "" };
	const char *name = metric_infos[m].name, *ending = endings[metric_infos[m].unit];
	size_t len = strlen(name), cut = strlen(ending);

	if (len > cut && !strcmp(name + len - cut, ending))
		len -= cut;
	snprintf(buf, buf_len, "stakeout.%s%.*s", scope, (int)len, name);
	return buf;
}

const char *otlp_unit(enum metric_unit unit)
{
	/* Not "1" for counts: Prometheus makes a ratio of that. */
	static const char *const units[] = { [UNIT_NS] = "ns", [UNIT_BYTES] = "By", [UNIT_COUNT] = "{count}" };

	return units[unit];
}

void otlp_peer_parse(const char *peer, struct otlp_peer *ret)
{
	const char *colon = strrchr(peer, ':');
	size_t len = colon ? (size_t)(colon - peer) : strlen(peer);
	long long port;

	ret->port = -1;
	if (colon && *peer != '/' && *peer != '@' && !parse_int(colon + 1, 0, 65535, &port)) {
		ret->port = (int)port;
		if (len > 1 && *peer == '[' && peer[len - 1] == ']') {
			peer++;
			len -= 2;
		}
	} else {
		len = strlen(peer);
	}
	snprintf(ret->address, sizeof(ret->address), "%.*s", (int)len, peer);
}

static const struct {
	const char *host, *provider;
} providers[] = {
	{ "api.openai.com", "openai" },
	{ "*.api.openai.com", "openai" },
	{ "chatgpt.com", "openai" },
	{ "api.anthropic.com", "anthropic" },
	{ "*.openai.azure.com", "azure.ai.openai" },
	{ "*.services.ai.azure.com", "azure.ai.inference" },
	{ "*.models.ai.azure.com", "azure.ai.inference" },
	{ "generativelanguage.googleapis.com", "gcp.gemini" },
	{ "cloudcode-pa.googleapis.com", "gcp.gemini" },
	{ "*aiplatform.googleapis.com", "gcp.vertex_ai" },
	{ "aiplatform.*.rep.googleapis.com", "gcp.vertex_ai" },
	{ "bedrock-runtime*.amazonaws.com", "aws.bedrock" },
	{ "bedrock-agent-runtime*.amazonaws.com", "aws.bedrock" },
	{ "bedrock-runtime*.api.aws", "aws.bedrock" },
	{ "api.mistral.ai", "mistral_ai" },
	{ "codestral.mistral.ai", "mistral_ai" },
	{ "api.cohere.com", "cohere" },
	{ "api.cohere.ai", "cohere" },
	{ "api.groq.com", "groq" },
	{ "api.deepseek.com", "deepseek" },
	{ "api.perplexity.ai", "perplexity" },
	{ "api.x.ai", "x_ai" },
	{ "*.api.x.ai", "x_ai" },
	{ "*.ml.cloud.ibm.com", "ibm.watsonx.ai" },
};

const char *otlp_provider(const struct peer_data *p)
{
	for (size_t i = 0; i < ARRAY_SIZE(providers); i++)
		if (!fnmatch(providers[i].host, p->name, 0))
			return providers[i].provider;
	return NULL;
}

static const struct {
	int port;
	const char *path, *system;
} db_systems[] = {
	{ 5432, "*/.s.PGSQL.*", "postgresql" },
	{ 6432, NULL, "postgresql" },
	{ 3306, "*/mysql*.sock", "mysql" },
	{ 33060, NULL, "mysql" },
	{ -1, "*/mariadb*.sock", "mariadb" },
	{ 27017, "*/mongodb-*.sock", "mongodb" },
	{ 1433, NULL, "microsoft.sql_server" },
	{ 1521, NULL, "oracle.db" },
	{ 5439, NULL, "aws.redshift" },
	{ 5984, NULL, "couchdb" },
	{ 7687, NULL, "neo4j" },
	{ 8086, NULL, "influxdb" },
	{ 9042, NULL, "cassandra" },
	{ 9142, NULL, "cassandra" },
	{ 9200, NULL, "elasticsearch" },
	{ 26257, NULL, "cockroachdb" },
	{ 6379, "*/redis*.sock", "redis" },
	{ 6380, NULL, "redis" },
	{ 26379, NULL, "redis" },
	{ 11211, "*/memcached*.sock", "memcached" },
	{ 6333, NULL, "qdrant" },
	{ 6334, NULL, "qdrant" },
	{ 19530, NULL, "milvus" },
};

const char *otlp_db_system(const struct peer_data *p, const struct otlp_peer *at)
{
	for (size_t i = 0; i < ARRAY_SIZE(db_systems); i++) {
		bool by_port = at->port >= 0 && db_systems[i].port == at->port;

		if (by_port || (at->port < 0 && db_systems[i].path && !fnmatch(db_systems[i].path, p->peer, 0)))
			return db_systems[i].system;
	}
	return NULL;
}

const char *otlp_arch(const char *machine)
{
	return !strcmp(machine, "x86_64") ? "amd64" : !strcmp(machine, "aarch64") ? "arm64" : machine;
}
