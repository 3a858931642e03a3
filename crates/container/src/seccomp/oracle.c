/*
 * What libseccomp makes of a profile when it is asked as runc asks it.
 *
 * Reads one request a line and answers each on one line:
 *
 *   number NAME TOKEN        the call's number for the architecture; -1 when libseccomp lacks it
 *   new ACTION               a filter with this default action
 *   arch TOKEN               one more architecture
 *   rule ACTION NAME COUNT {INDEX OPERATOR VALUE SECOND}...
 *   end                      the program: instructions of four numbers each
 *
 * Numbers are decimal. What works without an answer of its own answers "ok"; a rule or architecture that
 * is there already "exists", another failure "error ERRNO".
 */
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <linux/filter.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { CALL_ARGUMENTS = 6, MAX_CONDITIONS = 12 };

static scmp_filter_ctx filter;
static uint32_t standard;

static uint64_t word(void)
{
	return strtoull(strtok(NULL, " \n"), NULL, 10);
}

static int number(void)
{
	const char *name = strtok(NULL, " \n");
	int found = seccomp_syscall_resolve_name_arch(word(), name);

	printf("%d\n", found >= 0 ? found : -1);
	return 1;
}

static int begin(void)
{
	if (filter)
		seccomp_release(filter);
	standard = word();
	filter = seccomp_init(standard);
	return filter ? 0 : -EINVAL;
}

/* Two conditions on one argument make each a rule of its own. */
static int add(uint32_t action, int call, const struct scmp_arg_cmp *conditions, unsigned int count)
{
	unsigned int seen[CALL_ARGUMENTS] = { 0 }, twice = 0;
	int error = 0;

	for (unsigned int i = 0; i < count; i++)
		twice |= seen[conditions[i].arg]++;
	if (!twice)
		return seccomp_rule_add_array(filter, action, call, count, conditions);
	for (unsigned int i = 0; i < count && !error; i++)
		error = seccomp_rule_add_array(filter, action, call, 1, &conditions[i]);
	return error;
}

static int rule(void)
{
	struct scmp_arg_cmp conditions[MAX_CONDITIONS];
	uint32_t action = word();
	int call = seccomp_syscall_resolve_name(strtok(NULL, " \n"));
	unsigned int count = word();

	for (unsigned int i = 0; i < count; i++) {
		conditions[i].arg = word();
		conditions[i].op = word();
		conditions[i].datum_a = word();
		conditions[i].datum_b = word();
	}
	if (action == standard || call == __NR_SCMP_ERROR)
		return 0;
	return add(action, call, conditions, count);
}

static int program(void)
{
	int file = memfd_create("program", MFD_CLOEXEC);
	int error = seccomp_export_bpf(filter, file);
	struct sock_filter one;

	if (!error) {
		lseek(file, 0, SEEK_SET);
		while (read(file, &one, sizeof one) == sizeof one)
			printf("%u %u %u %u ", one.code, one.jt, one.jf, one.k);
		printf("\n");
	}
	close(file);
	return error ? error : 1;
}

static int serve(const char *request)
{
	if (!strcmp(request, "number"))
		return number();
	if (!strcmp(request, "new"))
		return begin();
	if (!strcmp(request, "arch"))
		return seccomp_arch_add(filter, word());
	if (!strcmp(request, "rule"))
		return rule();
	return program();
}

/* libseccomp 2.5.4 goes round in circles over some sets of rules: says so, and begins anew. */
static void stuck(int signal)
{
	(void)signal;
	if (write(STDOUT_FILENO, "stuck\n", 6) == 6)
		execl("/proc/self/exe", "oracle", NULL);
	_exit(1);
}

int main(void)
{
	static char line[1 << 16];
	struct sigaction action = { .sa_handler = stuck, .sa_flags = SA_NODEFER };

	sigaction(SIGALRM, &action, NULL);
	while (fgets(line, sizeof line, stdin)) {
		alarm(1);
		int result = serve(strtok(line, " \n"));
		alarm(0);
		if (result == 0 || result == -EEXIST)
			puts(result ? "exists" : "ok");
		else if (result < 0)
			printf("error %d\n", -result);
		fflush(stdout);
	}
	return 0;
}
