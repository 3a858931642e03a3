/* The least that a container costs: new namespaces, another root, the program. */
#define _GNU_SOURCE
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void must(long result, const char *step)
{
	if (result < 0) {
		perror(step);
		_exit(1);
	}
}

int main(int argc, char **argv)
{
	struct clone_args args = {
		.flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWIPC |
			 CLONE_NEWCGROUP,
		.exit_signal = SIGCHLD,
	};
	int status = 1;
	if (argc != 3)
		return 1;
	pid_t child = syscall(SYS_clone3, &args, sizeof(args));
	must(child, "clone3");
	if (child == 0) {
		char *program[] = {argv[2], NULL}, *environment[] = {NULL};
		must(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), "make private");
		must(mount(argv[1], argv[1], NULL, MS_BIND | MS_REC, NULL), "bind");
		must(chdir(argv[1]), "chdir");
		must(syscall(SYS_pivot_root, ".", "."), "pivot_root");
		must(umount2(".", MNT_DETACH), "umount");
		must(chdir("/"), "chdir");
		must(execve(argv[2], program, environment), "execve");
	}
	must(waitpid(child, &status, 0), "wait");
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
