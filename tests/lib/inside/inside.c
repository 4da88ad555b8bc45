/* SPDX-License-Identifier: Apache-2.0 */
/* What runs in the tests' containers: does what its arguments say and tells what it sees. Built
 * statically by the tests, as /init of an image with nothing else in it. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void bye(int sig)
{
	printf("bye %d\n", sig);
	fflush(stdout);
	_exit(0);
}

static int serve(char **v)
{
	(void)v;
	signal(SIGTERM, bye);
	signal(SIGQUIT, bye);
	for (;;)
		pause();
}

static int stubborn(char **v)
{
	(void)v;
	signal(SIGTERM, SIG_IGN);
	for (;;)
		pause();
}

static int leave(char **v)
{
	usleep(200000);
	return atoi(v[0]);
}

static int hog(char **v)
{
	(void)v;
	for (;;) {
		volatile char *p = malloc(1 << 20);

		for (int i = 0; p && i < 1 << 20; i += 512)
			p[i] = 1;
	}
}

static int groups(char **v)
{
	gid_t list[64];
	int n = getgroups(64, list);

	(void)v;
	printf("groups");
	for (int i = 0; i < n; i++)
		printf(" %d", (int)list[i]);
	printf("\n");
	return 0;
}

static int caps(char **v)
{
	FILE *f = fopen("/proc/self/status", "r");
	char line[256];

	(void)v;
	while (f && fgets(line, sizeof(line), f))
		if (strncmp(line, "Cap", 3) == 0 || strncmp(line, "NoNewPrivs", 10) == 0)
			fputs(line, stdout);
	return f ? 0 : 1;
}

/* Each argument is a file: can it be made or written? */
static int writes(char **v)
{
	for (; *v; v++) {
		int fd = open(*v, O_WRONLY | O_CREAT, 0644);
		int ok = fd >= 0 && write(fd, "inside\n", 7) == 7;

		printf("write %s: %s\n", *v, ok ? "ok" : strerror(errno));
		if (fd >= 0)
			close(fd);
	}
	return 0;
}

static int cat(char **v)
{
	char buf[4096];
	size_t n;
	FILE *f = fopen(v[0], "r");

	if (!f) {
		printf("read %s: %s\n", v[0], strerror(errno));
		return 1;
	}
	while ((n = fread(buf, 1, sizeof(buf), f)) > 0)
		fwrite(buf, 1, n, stdout);
	return 0;
}

/* How many processes can there be? */
static int forks(char **v)
{
	int n = 0, most = atoi(v[0]);

	while (n < most) {
		pid_t pid = fork();

		if (pid == 0) {
			pause();
			_exit(0);
		}
		if (pid < 0)
			break;
		n++;
	}
	printf("forked %d\n", n);
	fflush(stdout);
	kill(-1, SIGKILL);
	while (wait(NULL) > 0)
		;
	return 0;
}

static int spin(char **v)
{
	time_t end = v[0] ? time(NULL) + atoi(v[0]) : 0;

	for (volatile unsigned long i = 0;; i++)
		if (end && i % 100000 == 0 && time(NULL) >= end)
			return 0;
}

/* print N SIZE: N numbered lines of SIZE bytes on stdout, every tenth on stderr. */
static int print(char **v)
{
	int n = atoi(v[0]), size = v[1] ? atoi(v[1]) : 32;

	for (int i = 0; i < n; i++) {
		FILE *f = i % 10 == 9 ? stderr : stdout;

		fprintf(f, "line %08d %.*s\n", i, size > 15 ? size - 15 : 0,
			"................................................................"
			"................................................................");
		if (f == stderr)
			fflush(stdout);
	}
	return 0;
}

/* tick MS: a numbered line every MS milliseconds, for ever. */
static int tick(char **v)
{
	for (int i = 0;; i++) {
		printf("tick %d\n", i);
		fflush(stdout);
		usleep((unsigned)atoi(v[0]) * 1000);
	}
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*run)(char **v);
	} commands[] = {{"serve", serve}, {"stubborn", stubborn}, {"exit", leave}, {"hog", hog},
		{"groups", groups}, {"caps", caps}, {"write", writes}, {"cat", cat},
		{"forks", forks}, {"spin", spin}, {"print", print}, {"tick", tick}};
	const char *name = argc > 1 ? argv[1] : "serve", *key = getenv("KEY");
	char host[80] = "", cwd[80] = "";

	gethostname(host, sizeof(host) - 1);
	if (strcmp(name, "print") != 0) {
		printf("%s uid=%d gid=%d cwd=%s host=%s KEY=%s pid=%d\n", name, (int)getuid(),
			(int)getgid(), getcwd(cwd, sizeof(cwd)), host, key ? key : "",
			(int)getpid());
		fflush(stdout);
		fprintf(stderr, "on stderr\n");
	}
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (strcmp(name, commands[i].name) == 0)
			return commands[i].run(argv + (argc > 1 ? 2 : argc));
	return 3;
}
