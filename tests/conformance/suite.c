/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/conformance/suite.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"
#include "runtimes/cgroup.h"
#include "tests/conformance/lab.h"

static const char source[] =
	"#include <signal.h>\n#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n"
	"#include <unistd.h>\n"
	"static void bye(int s) { (void)s; _exit(0); }\n"
	"int main(int c, char **v) {\n"
	"	const char *w = c > 1 ? v[1] : \"serve\";\n"
	"	signal(SIGTERM, strcmp(w, \"stubborn\") ? bye : SIG_IGN); signal(SIGQUIT, bye);\n"
	"	if (!strcmp(w, \"say\")) { puts(v[2]); return 0; }\n"
	"	if (!strcmp(w, \"exit\")) { usleep(300000); return 0; }\n"
	"	if (!strcmp(w, \"fail\")) { usleep(300000); return 7; }\n"
	"	puts(\"ready\"); fflush(stdout);\n"
	"	if (!strcmp(w, \"busy\")) for (;;) __asm__ volatile(\"\");\n"
	"	if (!strcmp(w, \"talk\")) for (int i = 1;; i++) {\n"
	"		puts(\"a line of some length, again and again\");\n"
	"		if (i % 200 == 0) { fflush(stdout); usleep(40000); } }\n"
	"	if (!strcmp(w, \"hog\")) for (;;) { char *p = malloc(1 << 20);\n"
	"		for (int i = 0; p && i < 1 << 20; i += 512) ((volatile char *)p)[i] = 1; }\n"
	"	for (;;) pause();\n}\n";

int conf_build_program(const char *path)
{
	_cleanup_(freep) char *file = weft_strf("%s.c", path);
	_cleanup_(freep) char *cmd = weft_strf("cc -Os -static -o %s %s.c", path, path);

	if (!file || !cmd || weft_write_file(file, source, strlen(source), 0644) < 0)
		return -1;
	return system(cmd) == 0 ? 0 : -1;
}

const char *conf_word(enum conf_program p)
{
	static const char *const words[] = {
		[CONF_SERVE] = "serve",
		[CONF_STUBBORN] = "stubborn",
		[CONF_EXIT] = "exit",
		[CONF_FAIL] = "fail",
		[CONF_BUSY] = "busy",
		[CONF_HOG] = "hog",
		[CONF_TALK] = "talk",
	};

	return words[p];
}

static int find_libexec(void)
{
	const char *build = getenv("B");
	_cleanup_(freep) char *path = weft_strf("%s/libexec", build ? build : "build");

	return path && realpath(path, conf.libexec) ? 0 : -1;
}

static unsigned offers(void)
{
	unsigned has = (conf.target->images ? CONF_IMAGES : 0) |
		       (OPS->pause && OPS->resume ? CONF_PAUSE : 0) | (OPS->kill ? CONF_KILL : 0) |
		       (conf.target->exec ? CONF_EXEC : 0) |
		       (conf.target->rotates ? CONF_ROTATES : 0);

	for (int p = 0; p < CONF_PROGRAMS; p++)
		has |= conf.image[p][0] || conf.args[p][0] ? CONF_HAS(p) : 0;
	return has;
}

/* Adds to chosen those that the target has what it takes for; the others are named. */
static size_t choose(const struct conf_case *cases, struct CMUnitTest *chosen)
{
	unsigned has = offers();
	size_t n = 0;

	for (; cases->test.name; cases++)
		if ((cases->takes & ~has) == 0)
			chosen[n++] = cases->test;
		else
			printf("# %s: not for %s\n", cases->test.name, conf.target->name);
	return n;
}

static size_t count(const struct conf_case *cases)
{
	size_t n = 0;

	while (cases[n].test.name)
		n++;
	return n;
}

static int run_cases(void)
{
	_cleanup_(freep) struct CMUnitTest *chosen = NULL;
	size_t n;

	chosen = calloc(count(conf_cases_life) + count(conf_cases_daemon), sizeof(*chosen));
	if (!chosen)
		return 1;
	n = choose(conf_cases_life, chosen);
	n += choose(conf_cases_daemon, chosen + n);
	return _cmocka_run_group_tests(conf.target->name, chosen, n, NULL, NULL);
}

int conf_main(const struct conf_target *target)
{
	const char *missing = NULL;
	int failed = 1;

	conf.target = target;
	snprintf(conf.dir, sizeof(conf.dir), "/tmp/weft-conf-%s-XXXXXX", target->name);
	snprintf(conf.cgroup, sizeof(conf.cgroup), "weft-conf-%s-%d", target->name, (int)getpid());
	if (find_libexec() < 0)
		missing = "no libexec directory was built";
	if (!missing && geteuid() != 0)
		missing = "not root";
	if (!missing && target->missing)
		missing = target->missing(&conf);
	if (missing) {
		printf("1..0 # SKIP %s\n", missing);
		return 0;
	}
	if (mkdtemp(conf.dir) && target->open(&conf) == 0)
		failed = run_cases();
	target->close(&conf);
	if (weft_cgroup_destroy(conf.cgroup) < 0)
		failed++;
	weft_remove_tree(conf.dir);
	return failed;
}
