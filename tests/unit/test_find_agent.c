/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Findings about the agent itself: its loop, CPU, locks and memory. */
#include "lib_findings.h"
#include "lib/util.h"

static void blocked(struct made *m, enum metric_id kind, unsigned n, double ms)
{
	made_values(&m->data.metrics, kind, n, ms * MS);
	made_values(&m->data.metrics, M_LOOP_BLOCKED_NS, n, ms * MS);
}

static void a_loop_that_is_blocked(void **ctx)
{
	static const struct {
		unsigned n;
		double ms;
		unsigned wanted;
	} cases[] = {{40, 50, 1}, {3, 110, 1}, {2, 900, 0}, {5000, 4.5, 0}, {40, 7, 0}};
	struct made m;

	(void)ctx;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		made_init(&m);
		blocked(&m, M_LOOP_BLOCKED_SLEEP_NS, cases[i].n, cases[i].ms);
		assert_int_equal(made_judge(&m, FINDING_BLOCKED_LOOP), cases[i].wanted);
		if (cases[i].wanted) {
			assert_near(m.found[0].cost_s, cases[i].n * cases[i].ms / 1e3);
			assert_string_equal(m.found[0].subject, "a sleep");
		}
		made_fini(&m);
	}
	made_init(&m);
	blocked(&m, M_LOOP_BLOCKED_DISK_NS, 10, 100);
	blocked(&m, M_LOOP_BLOCKED_POLL_NS, 30, 100);
	assert_int_equal(made_judge(&m, FINDING_BLOCKED_LOOP), 1);
	assert_non_null(strstr(m.found[0].evidence, "75 % of that in a poll of its own"));
	/* Page faults are nobody's call, and a tool's loop is the tool's. */
	made_fini(&m);
	made_init(&m);
	blocked(&m, M_LOOP_BLOCKED_FAULT_NS, 30, 100);
	assert_int_equal(made_judge(&m, FINDING_BLOCKED_LOOP), 0);
	blocked(&m, M_LOOP_BLOCKED_NET_NS, 30, 100);
	made_values(&agent_data_tool(&m.data, "npx")->metrics, M_LOOP_BLOCKED_NET_NS, 30, 100 * MS);
	assert_int_equal(made_judge(&m, FINDING_BLOCKED_LOOP), 0);
	made_fini(&m);
}

/* A collector's threads lock the main thread out: that is the collector's finding. */
static void locks_of_collections_are_no_blocked_loop(void **ctx)
{
	struct made m;

	(void)ctx;
	made_init(&m);
	blocked(&m, M_LOOP_BLOCKED_LOCK_NS, 40, 20);
	assert_int_equal(made_judge(&m, FINDING_BLOCKED_LOOP), 1);
	made_values(&m.data.metrics, M_GC_PAUSE_NS, 40, 25 * MS);
	assert_int_equal(made_judge(&m, FINDING_BLOCKED_LOOP), 0);
	assert_int_equal(made_judge(&m, FINDING_GC), 1);
	assert_near(m.found[0].cost_s, 1);
	made_fini(&m);
}

static struct metric_set *late(struct made *m, unsigned n, double ms)
{
	struct metric_set *p;

	made_init(m);
	p = made_peer(m, "10.0.0.1:80", "", CLASS_HTTP);
	p->value[M_EXCHANGES] = 100;
	made_values(p, M_PICKUP_NS, n, ms * MS);
	made_values(p, M_PICKUP_NS, 100, 0.1 * MS);
	return p;
}

static void answers_that_lie_about(void **ctx)
{
	struct made m;

	(void)ctx;
	late(&m, 50, 40);
	assert_int_equal(made_judge(&m, FINDING_SLOW_PICKUP), 1);
	assert_near(m.found[0].cost_s, 2);
	m.data.critical.ns[STATE_RUNNABLE] = (uint64_t)(1100 * MS); /* no CPU to read them on */
	assert_int_equal(made_judge(&m, FINDING_SLOW_PICKUP), 0);
	m.data.critical.ns[STATE_RUNNABLE] = 0;
	m.data.main.ns[STATE_RUNNABLE] = (uint64_t)(1100 * MS); /* likewise, though others of its threads ran */
	assert_int_equal(made_judge(&m, FINDING_SLOW_PICKUP), 0);
	m.data.main.ns[STATE_RUNNABLE] = 0;
	blocked(&m, M_LOOP_BLOCKED_DISK_NS, 11, 100); /* nobody to read them */
	assert_int_equal(made_judge(&m, FINDING_SLOW_PICKUP), 0);
	assert_int_equal(made_judge(&m, FINDING_BLOCKED_LOOP), 1);
	made_fini(&m);
	late(&m, 50, 40); /* of two calls at once */
	m.data.concurrency[CLASS_HTTP] = (struct concurrency){.outstanding_ns = 2000, .busy_ns = 1000, .max = 2};
	assert_int_equal(made_judge(&m, FINDING_SLOW_PICKUP), 1);
	assert_near(m.found[0].cost_s, 1);
	m.data.critical.ns[STATE_RUNNABLE] = (uint64_t)(550 * MS);
	assert_int_equal(made_judge(&m, FINDING_SLOW_PICKUP), 0);
	made_fini(&m);
	late(&m, 1000, 40); /* of a stream: once an exchange */
	assert_int_equal(made_judge(&m, FINDING_SLOW_PICKUP), 1);
	assert_near(m.found[0].cost_s, 4);
	made_fini(&m);
	late(&m, 10, 40);
	assert_int_equal(made_judge(&m, FINDING_SLOW_PICKUP), 0);
	made_fini(&m);
	late(&m, 50, 4.8);
	assert_int_equal(made_judge(&m, FINDING_SLOW_PICKUP), 0);
	made_fini(&m);
}

static void who_waits_for_a_cpu(void **ctx)
{
	struct made m;

	(void)ctx;
	made_init(&m);
	m.data.critical.ns[STATE_RUNNABLE] = (uint64_t)(2900 * MS);
	assert_int_equal(made_judge(&m, FINDING_STARVED), 0);
	m.data.critical.ns[STATE_RUNNABLE] = (uint64_t)(3100 * MS);
	m.data.threads.ns[STATE_RUNNABLE] = (uint64_t)(90000 * MS);
	assert_int_equal(made_judge(&m, FINDING_STARVED), 1);
	assert_near(m.found[0].cost_s, 3.1);
	assert_string_equal(m.found[0].subject, "");
	memcpy(m.data.rivals[0].name, "sixteen-letters!", 16);
	m.data.rivals[0].ns = (uint64_t)(750 * MS);
	memcpy(m.data.rivals[1].name, "cc1", 4);
	m.data.rivals[1].ns = (uint64_t)(250 * MS);
	assert_int_equal(made_judge(&m, FINDING_STARVED), 1);
	assert_string_equal(m.found[0].subject, "other programs");
	assert_non_null(strstr(m.found[0].evidence, "who ran instead: sixteen-letters! 75 %, cc1 25 %"));
	m.data.metrics.value[M_STEAL_NS] = (uint64_t)(4000 * MS);
	assert_int_equal(made_judge(&m, FINDING_STARVED), 1);
	assert_string_equal(m.found[0].subject, "the hypervisor");
	m.data.metrics.value[M_THROTTLED_NS] = (uint64_t)(2000 * MS);
	m.data.metrics.value[M_THROTTLES] = 31;
	assert_int_equal(made_judge(&m, FINDING_STARVED), 1);
	assert_string_equal(m.found[0].subject, "its CPU quota");
	/* Its own threads wait for each other's CPUs: some of them ran. */
	m.data.critical.ns[STATE_RUNNABLE] = 0;
	assert_int_equal(made_judge(&m, FINDING_STARVED), 0);
	made_fini(&m);
}

/* `threads` compute on 2 CPUs all the time. */
static void crowd(struct made *m, double threads, double main_waits_ms)
{
	made_init(m);
	m->data.critical.ns[STATE_RUNNING] = (uint64_t)(SECONDS * 1000 * MS);
	m->data.threads.ns[STATE_RUNNING] = (uint64_t)(fmin(threads, 2) * SECONDS * 1000 * MS);
	m->data.threads.ns[STATE_RUNNABLE] = (uint64_t)(fmax(threads - 2, 0) * SECONDS * 1000 * MS);
	m->data.main.ns[STATE_RUNNABLE] = (uint64_t)(main_waits_ms * MS);
}

static void threads_that_are_too_many(void **ctx)
{
	static const struct {
		double threads, main_ms;
		int wanted;
	} cases[] = {{64, 10000, 1}, {8, 10000, 1}, {7.9, 10000, 0}, {2, 10000, 0}, {64, 250, 0}, {64, 0, 0}};
	struct made m;

	(void)ctx;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		crowd(&m, cases[i].threads, cases[i].main_ms);
		assert_int_equal(made_judge(&m, FINDING_THREADS), cases[i].wanted);
		if (cases[i].wanted)
			assert_near(m.found[0].cost_s, cases[i].main_ms / 1000 * (1 - 2 / cases[i].threads));
		made_fini(&m);
	}
	crowd(&m, 16, 10000);
	memcpy(m.data.rivals[0].name, "node", 5);
	m.data.rivals[0].ns = 1;
	assert_int_equal(made_judge(&m, FINDING_THREADS), 1);
	assert_non_null(strstr(m.found[0].evidence, "16 threads at a time could run on average, on 2 CPUs; the main thread waited for one for 10.0 s while"));
	assert_non_null(strstr(m.found[0].evidence, "who ran instead: node 100 %"));
	m.data.critical.ns[STATE_RUNNABLE] = (uint64_t)(9000 * MS); /* none of its threads ran */
	assert_int_equal(made_judge(&m, FINDING_THREADS), 1);
	assert_near(made_finding(&m, FINDING_THREADS)->cost_s, 14.0 / 16);
	blocked(&m, M_LOOP_BLOCKED_LOCK_NS, 40, 100); /* by one that waits for a CPU itself */
	assert_int_equal(made_judge(&m, FINDING_THREADS), 1);
	assert_near(made_finding(&m, FINDING_THREADS)->cost_s, 5 * 14.0 / 16);
	assert_int_equal(made_judge(&m, FINDING_BLOCKED_LOOP), 0);
	m.in.cpus = 0; /* not known */
	assert_int_equal(made_judge(&m, FINDING_THREADS), 0);
	m.in.cpus = 8;
	assert_int_equal(made_judge(&m, FINDING_THREADS), 0);
	made_fini(&m);
}

static void threads_that_wait_for_the_interpreter(void **ctx)
{
	struct made m;

	(void)ctx;
	made_init(&m);
	m.data.critical.ns[STATE_RUNNING] = (uint64_t)(58000 * MS);
	m.data.main.ns[STATE_LOCK] = (uint64_t)(7000 * MS);
	made_values(&m.data.metrics, M_WAIT_LOCK_NS, 1300, 5.06 * MS);
	made_values(&m.data.metrics, M_WAIT_LOCK_NS, 1300, 0.01 * MS);
	made_values(&m.data.metrics, M_WAIT_LOCK_NS, 10, 900 * MS);
	assert_int_equal(made_judge(&m, FINDING_LOCKS), 1);
	assert_near(m.found[0].cost_s, 1300 * 0.00507);
	m.data.main.ns[STATE_LOCK] = (uint64_t)(1000 * MS); /* it is other threads that wait */
	assert_int_equal(made_judge(&m, FINDING_LOCKS), 1);
	assert_near(m.found[0].cost_s, 1);
	made_values(made_peer(&m, "10.0.0.1:80", "", CLASS_HTTP), M_PICKUP_NS, 200, 8 * MS); /* for want of the interpreter */
	m.data.peers[0].metrics.value[M_EXCHANGES] = 200;
	assert_int_equal(made_judge(&m, FINDING_SLOW_PICKUP), 0);
	m.data.main.ns[STATE_LOCK] = (uint64_t)(700 * MS); /* mostly not */
	assert_int_equal(made_judge(&m, FINDING_SLOW_PICKUP), 1);
	m.data.critical.ns[STATE_RUNNING] = (uint64_t)(20000 * MS);
	assert_int_equal(made_judge(&m, FINDING_LOCKS), 0);
	made_fini(&m);
}

/* Threads of a pool wait for work on a lock, too: for long, or for any time; and nobody runs meanwhile, or not for each other. */
static void idle_pools_are_no_contention(void **ctx)
{
	static const double each_ms[] = {0.15, 1, 4, 8, 20, 100, 1000};

	(void)ctx;
	for (size_t i = 0; i < sizeof(each_ms) / sizeof(*each_ms); i++)
		for (int running = 0; running < 2; running++) {
			struct made m;

			made_init(&m);
			m.data.critical.ns[STATE_RUNNING] = (uint64_t)((running ? 58000 : 3000) * MS);
			m.data.metrics.value[M_CPU_SYSTEM_NS] = (uint64_t)(10000 * MS);
			m.data.threads.ns[STATE_LOCK] = (uint64_t)(16 * SECONDS * 1000 * MS);
			m.data.main.ns[STATE_LOCK] = (uint64_t)(SECONDS * 1000 * MS);
			made_values(&m.data.metrics, M_WAIT_LOCK_NS, (unsigned)(4 * SECONDS * 1000 / fmax(each_ms[i], 1)),
			        each_ms[i] * MS);
			assert_int_equal(made_judge(&m, FINDING_LOCKS), 0);
			made_fini(&m);
		}
}

static void locks_that_are_fought_for(void **ctx)
{
	struct made m;

	(void)ctx;
	made_init(&m);
	m.data.critical.ns[STATE_RUNNING] = (uint64_t)(58000 * MS);
	m.data.metrics.value[M_CPU_SYSTEM_NS] = (uint64_t)(20000 * MS);
	made_values(&m.data.metrics, M_WAIT_LOCK_NS, 310000, 0.02 * MS);
	assert_int_equal(made_judge(&m, FINDING_LOCKS), 1);
	assert_near(m.found[0].cost_cpu_s, 20);
	made_fini(&m);
}

static void churn(struct made *m, double faults, double peak_mib)
{
	made_init(m);
	m->data.metrics.value[M_FAULTS_MINOR] = (uint64_t)faults;
	m->data.metrics.value[M_RSS_PEAK_BYTES] = (uint64_t)(peak_mib * (1 << 20));
	m->data.metrics.value[M_CPU_SYSTEM_NS] = (uint64_t)(3000 * MS);
}

static void memory_that_is_taken_anew(void **ctx)
{
	struct made m;

	(void)ctx;
	churn(&m, 2e6, 100);
	made_values(&m.data.metrics, M_MAP_BYTES, 600, 16 << 20);
	assert_int_equal(made_judge(&m, FINDING_ALLOCATION_CHURN), 1);
	assert_near(m.found[0].cost_cpu_s, 3);
	m.data.metrics.value[M_SWITCHES_VOLUNTARY] = 1000000; /* the system was busy with other things */
	assert_int_equal(made_judge(&m, FINDING_ALLOCATION_CHURN), 1);
	assert_near(m.found[0].cost_cpu_s, 1);
	m.data.metrics.value[M_FORKS] = 501; /* copies after forks */
	assert_int_equal(made_judge(&m, FINDING_ALLOCATION_CHURN), 0);
	m.data.metrics.value[M_FORKS] = 0;
	agent_data_tool(&m.data, "python3")->metrics.value[M_FAULTS_MINOR] = 1950000; /* starts of tools */
	assert_int_equal(made_judge(&m, FINDING_ALLOCATION_CHURN), 0);
	made_fini(&m);
	churn(&m, 2e6, 7000); /* a large program that starts */
	assert_int_equal(made_judge(&m, FINDING_ALLOCATION_CHURN), 0);
	made_fini(&m);
	churn(&m, 60000, 20);
	assert_int_equal(made_judge(&m, FINDING_ALLOCATION_CHURN), 0);
	made_fini(&m);
}

/* A sample of CPU time of this process in `leaf`, called by a function of its own. */
static void sampled(struct made *m, struct stacks *stacks, const char *process, enum frame_kind kind, const char *leaf, double ms)
{
	struct frame frames[] = {{.kind = kind, .name = leaf}, {.kind = FRAME_NATIVE, .name = "work"}, {.kind = FRAME_PROCESS, .name = process}};
	uint32_t numbers[ARRAY_SIZE(frames)];

	for (size_t i = 0; i < ARRAY_SIZE(frames); i++)
		numbers[i] = stacks_frame(stacks, &frames[i]);
	assert_int_equal(sample_set_add(&m->data.samples[SAMPLE_CPU_NS], stacks_add(stacks, numbers, ARRAY_SIZE(frames)), (uint64_t)(ms * MS)), 0);
}

static void blocks_that_come_and_go(void **ctx)
{
	static const struct {
		const char *process, *leaf;
		enum frame_kind kind;
		double ms, other_ms;
		int wanted;
	} cases[] = {
	        {"agent", "malloc", FRAME_NATIVE, 2000, 1000, 1},
	        {"agent", "operator new(unsigned long)", FRAME_NATIVE, 2000, 1000, 1},
	        {"agent", "_int_free", FRAME_NATIVE, 510, 1000, 1},
	        {"agent", "_int_free", FRAME_NATIVE, 490, 1000, 0}, /* too few samples */
	        {"agent", "malloc", FRAME_NATIVE, 2000, 8100, 0}, /* mostly it does other things */
	        {"agent", "mallocate", FRAME_NATIVE, 2000, 1000, 0},
	        {"agent", "malloc", FRAME_KERNEL, 2000, 1000, 0},
	        {"agent", "malloc", FRAME_PYTHON, 2000, 1000, 0},
	        {"cc1", "malloc", FRAME_NATIVE, 2000, 1000, 0}, /* a tool */
	};

	(void)ctx;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct stacks *stacks = stacks_new();
		struct made m;

		made_init(&m);
		agent_data_tool(&m.data, "cc1");
		sampled(&m, stacks, cases[i].process, cases[i].kind, cases[i].leaf, cases[i].ms);
		sampled(&m, stacks, "agent", FRAME_NATIVE, "work", cases[i].other_ms);
		assert_int_equal(made_judge(&m, FINDING_SMALL_BLOCKS), 0); /* live, where stacks are not at hand */
		m.in.stacks = stacks;
		assert_int_equal(made_judge(&m, FINDING_SMALL_BLOCKS), cases[i].wanted);
		if (cases[i].wanted) {
			made_values(&m.data.metrics, M_HEAP_ALLOC_BYTES, 100, 48);
			made_values(&m.data.metrics, M_HEAP_LIFETIME_NS, 100, 2000);
			assert_int_equal(made_judge(&m, FINDING_SMALL_BLOCKS), 1);
			assert_near(m.found[0].cost_cpu_s, cases[i].ms / 1000);
			assert_non_null(strstr(m.found[0].evidence, "by the profile; blocks of 48 B (median), that live for 2.00 us"));
		}
		made_fini(&m);
		stacks_free(stacks);
	}
}

static void memory_that_grows(void **ctx)
{
	static const struct {
		enum outlook_verdict verdict;
		double slope, to_limit_s;
		int severity;
	} cases[] = {
	        {OUTLOOK_STEADY, 1e6, 60, -1},
	        {OUTLOOK_INSUFFICIENT, 1e6, 60, -1},
	        {OUTLOOK_SHRINKING, -1e6, -1, -1},
	        {OUTLOOK_GROWING, 1e6, 60, SEVERITY_CRITICAL},
	        {OUTLOOK_GROWING, 1e6, 3600, SEVERITY_WARNING},
	        {OUTLOOK_GROWING, 1e4, 9e9, SEVERITY_INFO},
	        {OUTLOOK_GROWING, 1e4, -1, SEVERITY_INFO},
	        {OUTLOOK_GROWING, 1e6, -1, SEVERITY_WARNING},
	};

	(void)ctx;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct made m;

		made_init(&m);
		m.data.metrics.value[M_RSS_BYTES] = 1000000000;
		m.memory = (struct outlook){
		        .verdict = cases[i].verdict, .slope = cases[i].slope, .to_limit_s = cases[i].to_limit_s};
		m.in.memory = &m.memory;
		assert_int_equal(made_judge(&m, FINDING_MEMORY_GROWTH), cases[i].severity >= 0);
		if (cases[i].severity >= 0) {
			assert_int_equal(m.found[0].severity, cases[i].severity);
			assert_near(m.found[0].cost_bytes, cases[i].slope * 60);
		}
		made_fini(&m);
	}
}

static void collections_that_take_long(void **ctx)
{
	static const struct {
		unsigned n;
		double ms;
		unsigned wanted;
	} cases[] = {{100, 6.2, 1}, {100, 5.8, 0}, {9, 900, 0}, {10, 150, 1}, {1000, 0.7, 1}, {900, 0.7, 0}};

	(void)ctx;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct made m;

		made_init(&m);
		made_values(&m.data.metrics, M_GC_PAUSE_NS, cases[i].n, cases[i].ms * MS);
		assert_int_equal(made_judge(&m, FINDING_GC), cases[i].wanted);
		m.data.main.ns[STATE_RUNNING] = 100; /* three quarters of the pauses it waited for a CPU */
		m.data.main.ns[STATE_RUNNABLE] = 300;
		assert_int_equal(made_judge(&m, FINDING_GC), cases[i].wanted && cases[i].n * cases[i].ms > 2400);
		if (m.len)
			assert_near(m.found[0].cost_s, cases[i].n * cases[i].ms / 1000); /* without it, none of them */
		made_values(&agent_data_tool(&m.data, "node")->metrics, M_GC_PAUSE_NS, cases[i].n, cases[i].ms * MS);
		assert_int_equal(made_judge(&m, FINDING_GC), 0);
		made_fini(&m);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(a_loop_that_is_blocked),
	        cmocka_unit_test(locks_of_collections_are_no_blocked_loop),
	        cmocka_unit_test(answers_that_lie_about),
	        cmocka_unit_test(who_waits_for_a_cpu),
	        cmocka_unit_test(threads_that_are_too_many),
	        cmocka_unit_test(threads_that_wait_for_the_interpreter),
	        cmocka_unit_test(idle_pools_are_no_contention),
	        cmocka_unit_test(locks_that_are_fought_for),
	        cmocka_unit_test(memory_that_is_taken_anew),
	        cmocka_unit_test(blocks_that_come_and_go),
	        cmocka_unit_test(memory_that_grows),
	        cmocka_unit_test(collections_that_take_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
