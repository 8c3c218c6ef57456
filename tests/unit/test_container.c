// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* Containers by the paths of cgroups, as engines and orchestrators make them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/util.h"
#include "model/container.h"

#define A "4f797c539e6c745de61a93ca3ff892358ecbcaccd8414d5db545c38428142970"
#define B "9ec39b91f3d70e1beff50a308f77067065ea6be0d91a3378375056cd4422cf3d"
#define POD "74c13223-5a00-11e9-b385-42010a80018d"
#define POD_ "74c13223_5a00_11e9_b385_42010a80018d"
#define STATIC_POD "d4b0b5e6e1c7b8a9f0e1d2c3b4a59687"

static const struct row {
	const char *path, *id, *runtime, *pod, *qos; /* id NULL: no container */
} rows[] = {
	/* Docker */
	{ "/docker/" A, A, "docker", "", "" },
	{ "/system.slice/docker-" A ".scope", A, "docker", "", "" },
	{ "/user.slice/user-1000.slice/user@1000.service/user.slice/docker-" A ".scope", A, "docker", "", "" }, /* rootless */
	{ "/docker/" A "/docker/" B, B, "docker", "", "" }, /* in itself */
	{ "/system.slice/docker-" A ".scope/init.scope", A, "docker", "", "" },
	{ "/actions_job/" A, A, "docker", "", "" },
	{ "/agents.slice/docker-" A ".scope", A, "docker", "", "" }, /* --cgroup-parent */
	{ "/agents/" A, A, "", "", "" },
	{ "/../" A, A, "", "", "" }, /* as seen from within a cgroup namespace */
	{ "/../docker-" A ".scope", A, "docker", "", "" },
	{ "/ecs/ad2b0e2a-1d80-4a5d-9a5b-5f43b5b0b2f2/" A, A, "", "", "" }, /* ECS on EC2 */
	{ "/ecs/34dc0b5e626f2c5c4c5170e34b10e765/34dc0b5e626f2c5c4c5170e34b10e765-2532689102", "34dc0b5e626f2c5c4c5170e34b10e765-2532689102", "", "", "" },
	/* Kubernetes: drivers, runtimes, classes */
	{ "/kubepods/besteffort/pod" POD "/" A, A, "", POD, "besteffort" },
	{ "/kubepods/burstable/pod" POD "/" A, A, "", POD, "burstable" },
	{ "/kubepods/pod" POD "/" A, A, "", POD, "guaranteed" },
	{ "/kubepods/burstable/pod" STATIC_POD "/" A, A, "", STATIC_POD, "burstable" },
	{ "/kubepods/burstable/pod" POD "/crio-" A, A, "cri-o", POD, "burstable" },
	{ "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod" POD_ ".slice/cri-containerd-" A ".scope", A, "containerd", POD, "besteffort" },
	{ "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" POD_ ".slice/crio-" A ".scope", A, "cri-o", POD, "burstable" },
	{ "/kubepods.slice/kubepods-pod" POD_ ".slice/docker-" A ".scope", A, "docker", POD, "guaranteed" },
	{ "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" STATIC_POD ".slice/cri-containerd-" A ".scope", A, "containerd", STATIC_POD, "burstable" },
	{ "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" POD_ ".slice/crio-" A ".scope/container", A, "cri-o", POD, "burstable" },
	{ "/system.slice/containerd.service/kubepods-burstable-pod" POD_ ".slice:cri-containerd:" A, A, "containerd", POD, "burstable" },
	{ "/docker/" B "/kubelet/kubepods/besteffort/pod" POD "/" A, A, "", POD, "besteffort" }, /* kind */
	{ "/system.slice/docker-" B ".scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod" POD_
	  ".slice/cri-containerd-" A ".scope", A, "containerd", POD, "burstable" },
	{ "/k8s.io/" A, A, "containerd", "", "" },
	/* containerd, Podman */
	{ "/default/" A, A, "containerd", "", "" },
	{ "/system.slice/nerdctl-" A ".scope", A, "containerd", "", "" },
	{ "/machine.slice/libpod-" A ".scope", A, "podman", "", "" },
	{ "/machine.slice/libpod-" A ".scope/container", A, "podman", "", "" },
	{ "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" A ".scope/container", A, "podman", "", "" },
	{ "/libpod_parent/libpod-" A, A, "podman", "", "" },
	{ "/system.slice/agent.service/libpod-payload-" A, A, "podman", "", "" },
	/* LXC, systemd, Garden */
	{ "/lxc/web", "web", "lxc", "", "" },
	{ "/lxc/101/ns/docker/" A, A, "docker", "", "" },
	{ "/lxc.payload.web/system.slice/cron.service", "web", "lxc", "", "" },
	{ "/lxc.payload/web", "web", "lxc", "", "" },
	{ "/machine.slice/machine-lxc\\x2d4321\\x2dweb.scope", "4321-web", "lxc", "", "" },
	{ "/machine.slice/machine-web\\x2d1.scope/payload", "web-1", "systemd-nspawn", "", "" },
	{ "/machine.slice/systemd-nspawn@web\\x2d1.service/payload/init.scope", "web-1", "systemd-nspawn", "", "" },
	{ "/garden/b2d0fea2-1b5a-4a2f-6f5a-9b5f", "b2d0fea2-1b5a-4a2f-6f5a-9b5f", "garden", "", "" },
	{ "/system.slice/garden.service/garden/good/70eb4a48-22d8-4ac2-6a5c-70eb4a4822d8", "70eb4a48-22d8-4ac2-6a5c-70eb4a4822d8", "garden", "", "" },
	/* None */
	{ "", NULL, "", "", "" },
	{ "/", NULL, "", "", "" },
	{ "/docker", NULL, "", "", "" },
	{ "/system.slice/docker.service", NULL, "", "", "" },
	{ "/system.slice/containerd.service", NULL, "", "", "" },
	{ "/user.slice/user-1000.slice/session-3.scope", NULL, "", "", "" },
	{ "/docker/4f797c539e6c", NULL, "", "", "" }, /* too short */
	{ "/docker/" A "0", NULL, "", "", "" },
	{ "/docker/Z" "f797c539e6c745de61a93ca3ff892358ecbcaccd8414d5db545c38428142970", NULL, "", "", "" },
	{ "/system.slice/docker-" A, NULL, "", "", "" }, /* no scope */
	{ "/machine.slice/libpod-conmon-" A ".scope", NULL, "", "", "" },
	{ "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" POD_ ".slice/crio-conmon-" A ".scope", NULL, "", "", "" },
	{ "/kubepods/burstable/pod" POD, NULL, "", "", "" },
	{ "/kubepods/burstable/podnot-a-uid/" A, A, "", "", "" },
	{ "/kubepods/burstable/pod74c13223.5a00-11e9-b385-42010a80018d/" A, A, "", "", "" },
	{ "/machine.slice/machine-qemu\\x2d1\\x2dvm.scope", NULL, "", "", "" },
	{ "/machine.slice/machine-web.scope/supervisor", NULL, "", "", "" },
	{ "/machine.slice/systemd-nspawn@web.service/supervisor", NULL, "", "", "" },
	{ "/machine.slice/machine-\\x00.scope", NULL, "", "", "" },
	{ "/lxc.monitor.web", NULL, "", "", "" },
	{ "/garden/good", NULL, "", "", "" },
	{ "/process_api/b43435c6708803e1f8a3952bc9595b77", NULL, "", "", "" },
};

static void assert_row(const struct row *r, const struct container *c, bool found)
{
	if (found != (r->id != NULL) || strcmp(c->id, r->id ? r->id : "") || strcmp(c->runtime, r->runtime) || strcmp(c->pod, r->pod) || strcmp(c->qos, r->qos))
		fail_msg("%s: id '%s' runtime '%s' pod '%s' class '%s'", r->path, c->id, c->runtime, c->pod, c->qos);
}

static void test_paths(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct container c;
		bool found = container_parse(rows[i].path, &c);

		assert_row(&rows[i], &c, found);
	}
}

/* Cut off anywhere: nothing is read beyond, and what is found is text that fits. */
static void test_cut_off(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		for (size_t len = 0; len <= strlen(rows[i].path); len++) {
			char *copy = malloc(len + 1);
			struct container c;
			bool found;

			assert_non_null(copy);
			memcpy(copy, rows[i].path, len);
			copy[len] = '\0';
			found = container_parse(copy, &c);
			assert_int_equal(found, *c.id != 0);
			assert_true(*c.id || !*c.pod);
			free(copy);
		}
}

static void test_names_of_any_length(void **state)
{
	char path[400] = "/lxc/";
	struct container c;

	(void)state;
	for (size_t len = 1; len < 300; len++) {
		memset(path + 5, 'x', len);
		path[5 + len] = '\0';
		assert_int_equal(container_parse(path, &c), len < sizeof(c.id));
	}
}

static void test_proc_cgroup(void **state)
{
	struct container c;

	(void)state;
	/* v1 with v2 beside it, where Docker has its containers in v1 only. */
	assert_true(container_find("9:name=systemd:/docker/" A "\n4:memory:/docker/" A "\n0::/\n", &c));
	assert_string_equal(c.id, A);
	assert_true(container_find("2:cpu,cpuacct:/\n1:name=systemd:/user.slice\n0::/system.slice/docker-" B ".scope", &c));
	assert_string_equal(c.id, B);
	assert_true(container_find("0::/system.slice/containerd.service/kubepods-pod" POD_ ".slice:cri-containerd:" A "\n", &c));
	assert_string_equal(c.runtime, "containerd");
	assert_string_equal(c.pod, POD);
	assert_false(container_find("0::/user.slice\n", &c));
	assert_string_equal(c.id, "");
	assert_false(container_find("", &c));
	assert_false(container_find("docker\n:\n0:" A "\n", &c));
}

static void test_short(void **state)
{
	struct container c;
	char buf[160];

	(void)state;
	container_parse("/docker/" A, &c);
	assert_string_equal(container_short(&c, buf, sizeof(buf)), "4f797c539e6c");
	container_parse("/lxc/a-name-that-is-longer", &c);
	assert_string_equal(container_short(&c, buf, sizeof(buf)), "a-name-that-is-longer");
	assert_true(container_is_hex("4f79"));
	assert_false(container_is_hex("4F79"));
	assert_false(container_is_hex(""));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_paths), cmocka_unit_test(test_cut_off),	  cmocka_unit_test(test_names_of_any_length),
		cmocka_unit_test(test_proc_cgroup),   cmocka_unit_test(test_short),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
