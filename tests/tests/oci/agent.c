/*
 * A seccomp agent: takes the listeners that a runtime sends to a unix socket and answers for the calls.
 *
 *   agent SOCKET ANSWER    ANSWER: the errno that every mkdir(2) gets; all other calls go on
 *
 * Prints the state document that came with each listener, a line each. Runs until it is killed.
 *
 * See seccomp_unotify(2).
 */
#include <errno.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

enum { MAX = 32 };

static void die(const char *what)
{
	perror(what);
	exit(1);
}

/* Prints the document; gives the descriptor that came with it. */
static int take(int connection)
{
	char text[65536], control[CMSG_SPACE(sizeof(int))];
	struct iovec data = { text, sizeof text - 1 };
	struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = control,
				  .msg_controllen = sizeof control };
	ssize_t got = recvmsg(connection, &message, MSG_CMSG_CLOEXEC);
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	int fd;

	if (got < 0 || !header || header->cmsg_type != SCM_RIGHTS)
		die("recvmsg");
	memcpy(&fd, CMSG_DATA(header), sizeof fd);
	printf("%.*s\n", (int)got, text);
	fflush(stdout);
	return fd;
}

/* Answers for one call. */
static void answer(int listener, int error)
{
	struct seccomp_notif call = { 0 };
	struct seccomp_notif_resp reply = { 0 };

	if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &call) < 0)
		return;
	reply.id = call.id;
	if (call.data.nr == SYS_mkdir)
		reply.error = -error;
	else
		reply.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
	ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &reply);
}

int main(int count, char **args)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct pollfd fds[MAX] = { { .events = POLLIN } };
	int used = 1;

	if (count != 3 || strlen(args[1]) >= sizeof address.sun_path)
		return 2;
	strcpy(address.sun_path, args[1]);
	fds[0].fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(fds[0].fd, (struct sockaddr *)&address, sizeof address) || listen(fds[0].fd, 8))
		die(args[1]);
	puts("ready");
	fflush(stdout);
	while (poll(fds, used, -1) > 0) {
		for (int i = used - 1; i > 0; i--) {
			if (fds[i].revents & POLLIN)
				answer(fds[i].fd, atoi(args[2]));
			if (fds[i].revents & POLLHUP) {
				close(fds[i].fd);
				fds[i] = fds[--used];
			}
		}
		if ((fds[0].revents & POLLIN) && used < MAX) {
			int connection = accept4(fds[0].fd, NULL, NULL, SOCK_CLOEXEC);
			fds[used++] = (struct pollfd){ .fd = take(connection), .events = POLLIN };
			close(connection);
		}
	}
	return 0;
}
