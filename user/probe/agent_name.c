// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "lib/util.h"
#include "probe/agent_name.h"

/* Programs that run a script: agents are called after the script. Options are lists with a blank on both sides of each. */
static const struct interpreter {
	const char *name; /* a version may follow: python3.12 */
	const char *with_value; /* options that take the next argument */
	const char *naming; /* options whose value is the program: a module, a jar */
	const char *code; /* options that carry the program itself: then it has no name */
	const char *verbs; /* words before the script */
} interpreters[] = {
	{ "python", " -W -X --check-hash-based-pycs ", " -m ", " -c ", "" },
	{ "pypy", " -W -X ", " -m ", " -c ", "" },
	{ "node", " -r --require --import --loader --experimental-loader -C --conditions --env-file ", "",
	  " -e --eval -p --print -pe ", "" },
	{ "nodejs", " -r --require --import --loader -C --conditions ", "", " -e --eval -p --print -pe ", "" },
	{ "bun", " -r --preload --cwd -c --config --env-file ", "", " -e --eval -p --print ", " run x " },
	{ "deno", " -c --config --import-map ", "", " eval ", " run " },
	{ "ruby", " -r -I -C ", "", " -e ", "" },
	{ "perl", " -I ", "", " -e -E ", "" },
	{ "php", " -c -d ", " -f ", " -r ", "" },
	{ "java", " -cp -classpath --class-path -p --module-path --add-modules --add-opens --add-exports ", " -jar -m --module ", "", "" },
	{ "bash", " -o -O --rcfile --init-file ", "", " -c ", "" },
	{ "dash", " -o ", "", " -c ", "" },
	{ "sh", " -o ", "", " -c ", "" },
};

static bool in_list(const char *list, const char *word)
{
	char padded[64];

	if (!*list || strlen(word) > sizeof(padded) - 3)
		return false;
	snprintf(padded, sizeof(padded), " %s ", word);
	return strstr(list, padded);
}

static const char *base_name(const char *path)
{
	size_t len = strlen(path);
	const char *slash;

	while (len > 1 && path[len - 1] == '/')
		len--;
	slash = memrchr(path, '/', len);
	return slash && slash[1] ? slash + 1 : path;
}

static const struct interpreter *interpreter_find(const char *program)
{
	for (size_t i = 0; i < ARRAY_SIZE(interpreters); i++) {
		size_t len = strlen(interpreters[i].name);

		if (!strncmp(program, interpreters[i].name, len) && program[len + strspn(program + len, "0123456789.")] == 0)
			return &interpreters[i];
	}
	return NULL;
}

/* The argument that names the script, or NULL. */
static const char *script_find(const struct interpreter *in, char *const *argv, int argc)
{
	for (int i = 1; i < argc; i++) {
		const char *arg = argv[i];

		if (in_list(in->code, arg))
			return NULL;
		if (in_list(in->naming, arg))
			return i + 1 < argc ? argv[i + 1] : NULL;
		if (in_list(in->with_value, arg))
			i++;
		else if (!strcmp(arg, "--"))
			return i + 1 < argc ? argv[i + 1] : NULL;
		else if (*arg && *arg != '-' && *arg != '+' && !in_list(in->verbs, arg))
			return arg;
	}
	return NULL;
}

char *agent_name(char *const *argv, int argc, const char *comm)
{
	const struct interpreter *in;
	const char *program, *script;
	const char *title = argc ? strstr(argv[0], ": ") : NULL;

	if (!argc || !*argv[0])
		return strdup(comm);
	if (title) /* a title in place of argv: "nginx: master process /usr/sbin/nginx" */
		return strndup(argv[0], title - argv[0]);
	program = base_name(argv[0]);
	if (*program == '-' && program[1]) /* login shell */
		program++;
	in = interpreter_find(program);
	script = in ? script_find(in, argv, argc) : NULL;
	if (script && !strncmp(script, "/dev/", 5)) /* `bash <(..)` */
		script = NULL;
	return strdup(script ? base_name(script) : program);
}
