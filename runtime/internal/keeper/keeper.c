// The keeper: reaps the orphans of the launcher, writes their exit codes to the spool,
// keeps descriptors for the launcher and starts it again when it dies. It is caught
// before the Go runtime starts, so that it costs a few pages rather than megabytes.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

// What Go hands over; keeper.go agrees.
enum { FD_AGENT = 3, FD_LOCK = 4, FD_LISTEN = 5, FD_SPOOL = 6 };

#define RECORD 64	   // length of a spool record; package spool agrees
#define MAX_STORE 3072 // descriptors kept for the launcher
#define MAX_KEY 96

static struct {
	char key[MAX_KEY];
	int fd;
} store[MAX_STORE];
static int stored;

extern char **environ;
static pid_t launcher = -1;
static int control = -1; // to the launcher
static struct timespec started;
static long backoff_ms;
static struct rlimit files;

static long since_ms(struct timespec t)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (now.tv_sec - t.tv_sec) * 1000 + (now.tv_nsec - t.tv_nsec) / 1000000;
}

// start_time reads field 22 of /proc/PID/stat. A zombie still has it.
static unsigned long long start_time(pid_t pid)
{
	char path[32], buf[1024], *p;
	snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	ssize_t n = read(fd, buf, sizeof buf - 1);
	close(fd);
	if (n <= 0)
		return 0;
	buf[n] = 0;
	if (!(p = strrchr(buf, ')')))
		return 0;
	for (int field = 2; field < 22 && p; field++)
		p = strchr(p + 1, ' ');
	return p ? strtoull(p, NULL, 10) : 0;
}

// spool writes the record of a process that the launcher expected to end some day.
static void spool(const siginfo_t *si)
{
	char name[64], tmp[72], line[RECORD + 1];
	struct timespec now;
	int fd, n, ok;

	snprintf(name, sizeof name, "%d.%llu", (int)si->si_pid, start_time(si->si_pid));
	fd = openat(FD_SPOOL, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return; // not expected
	n = read(fd, line, 7);
	close(fd);
	if (n == 7 && memcmp(line, "pending", 7) != 0)
		return; // the launcher wrote it before it died

	clock_gettime(CLOCK_REALTIME, &now);
	n = snprintf(line, sizeof line, "exit %d %d %lld %ld", si->si_code, si->si_status, (long long)now.tv_sec, now.tv_nsec);
	memset(line + n, ' ', RECORD - n);
	line[RECORD - 1] = '\n';

	snprintf(tmp, sizeof tmp, "%s.c", name);
	fd = openat(FD_SPOOL, tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	ok = fd >= 0 && write(fd, line, RECORD) == RECORD;
	if (fd >= 0)
		close(fd);
	if (ok && renameat(FD_SPOOL, tmp, FD_SPOOL, name) == 0)
		return;
	// A full disk: the pending record has its block already.
	unlinkat(FD_SPOOL, tmp, 0);
	fd = openat(FD_SPOOL, name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 || pwrite(fd, line, RECORD, 0) != RECORD)
		dprintf(2, "keeper: exit code of process %d is lost: %s\n", (int)si->si_pid, strerror(errno));
	if (fd >= 0)
		close(fd);
}

// reap takes one dead child. The record is written before it leaves the process
// table, so that whoever inherits the zombie can still write it.
static int reap(void)
{
	siginfo_t si;
	memset(&si, 0, sizeof si);
	if (waitid(P_ALL, 0, &si, WEXITED | WNOHANG | WNOWAIT) < 0 || si.si_pid == 0)
		return 0;
	pid_t pid = si.si_pid;
	if (pid == launcher) {
		if (si.si_code == CLD_EXITED && si.si_status == 0)
			_exit(0); // asked to end
		dprintf(2, "keeper: launcher %d ended (%s %d), starting another\n", (int)pid,
				si.si_code == CLD_EXITED ? "exit code" : "signal", si.si_status);
		backoff_ms = since_ms(started) > 1000 ? 0 : backoff_ms ? backoff_ms * 2 : 50;
		if (backoff_ms > 5000)
			backoff_ms = 5000;
		clock_gettime(CLOCK_MONOTONIC, &started); // from when the back-off counts
		launcher = -1;
		close(control);
		control = -1;
	} else {
		spool(&si);
	}
	waitid(P_PID, pid, &si, WEXITED | WNOHANG);
	return 1;
}

static void launch(const char *dir)
{
	int pair[2];
	pid_t keeper = getpid();
	clock_gettime(CLOCK_MONOTONIC, &started);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		goto failed;
	launcher = fork();
	if (launcher < 0) {
		close(pair[0]);
		close(pair[1]);
		goto failed;
	}
	if (launcher > 0) {
		close(pair[1]);
		control = pair[0];
		struct timeval t = {.tv_sec = 1};
		setsockopt(control, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof t);
		return;
	}
	// Without a keeper its exit codes would go nowhere: the launcher dies with it.
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != keeper)
		_exit(1);
	prctl(PR_SET_NAME, "launcher");
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	signal(SIGHUP, SIG_DFL);
	setrlimit(RLIMIT_NOFILE, &files);
	// 3 and 4 are the agent's socket, closed by now, and the lock, which only the
	// keeper may hold; dup2 clears close-on-exec, which all others have.
	if (dup2(pair[1], 3) != 3 || dup2(FD_LISTEN, 4) != 4)
		_exit(1);
	char *argv[] = {"bedplate-launcher", (char *)dir, NULL};
	execve("/proc/self/exe", argv, environ);
	dprintf(2, "keeper: start launcher: %s\n", strerror(errno));
	_exit(1);
failed:
	dprintf(2, "keeper: start launcher: %s\n", strerror(errno));
	launcher = -1;
	backoff_ms = 1000;
}

// packet sends text and, unless fd is negative, a descriptor to the launcher.
static int packet(const char *text, int fd)
{
	struct iovec iov = {(void *)text, strlen(text)};
	union {
		struct cmsghdr h;
		char b[CMSG_SPACE(sizeof(int))];
	} c;
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
	if (fd >= 0) {
		m.msg_control = c.b;
		m.msg_controllen = sizeof c.b;
		c.h.cmsg_level = SOL_SOCKET;
		c.h.cmsg_type = SCM_RIGHTS;
		c.h.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&c.h), &fd, sizeof fd);
	}
	return sendmsg(control, &m, MSG_NOSIGNAL) < 0 ? -1 : 0;
}

static void keep(const char *key, int fd)
{
	if (fd < 0)
		return;
	if (stored == MAX_STORE || strlen(key) >= MAX_KEY) {
		close(fd);
		packet("full", -1);
		return;
	}
	strcpy(store[stored].key, key);
	store[stored++].fd = fd;
	packet("ok", -1);
}

static void drop(const char *prefix)
{
	size_t n = strlen(prefix);
	for (int i = 0; i < stored;) {
		if (strncmp(store[i].key, prefix, n) == 0) {
			close(store[i].fd);
			store[i] = store[--stored];
		} else {
			i++;
		}
	}
}

// obey answers one request of the launcher: "+KEY" with a descriptor keeps it, "-PREFIX"
// closes all whose key begins so, "?" hands out everything. Returns 0 at the end.
static int obey(void)
{
	char text[256];
	struct iovec iov = {text, sizeof text - 1};
	union {
		struct cmsghdr h;
		char b[CMSG_SPACE(sizeof(int))];
	} c;
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = c.b, .msg_controllen = sizeof c.b};
	ssize_t n = recvmsg(control, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	if (n == 0)
		return 0;
	text[n] = 0;
	int fd = -1;
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);
	if (h && h->cmsg_level == SOL_SOCKET && h->cmsg_type == SCM_RIGHTS)
		memcpy(&fd, CMSG_DATA(h), sizeof fd);
	switch (text[0]) {
	case '+':
		keep(text + 1, fd);
		return 1;
	case '-':
		drop(text + 1);
		break;
	case '?':
		for (int i = 0; i < stored; i++)
			if (packet(store[i].key, store[i].fd) < 0)
				break;
		packet(".", -1);
		break;
	}
	if (fd >= 0)
		close(fd);
	return 1;
}

// detach leaves the agent: no shared parent, session, terminal or signals.
static int detach(void)
{
	char line[16];
	pid_t pid = fork();
	if (pid < 0)
		return -1;
	if (pid > 0)
		_exit(0);
	setsid();
	umask(0022);
	if (chdir("/") < 0 || prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
		return -1;
	prctl(PR_SET_NAME, "keeper");
	signal(SIGPIPE, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		struct rlimit most = {files.rlim_max, files.rlim_max};
		setrlimit(RLIMIT_NOFILE, &most);
	}
	for (int fd = FD_AGENT; fd <= FD_SPOOL; fd++)
		fcntl(fd, F_SETFD, FD_CLOEXEC);
	int n = snprintf(line, sizeof line, "%d\n", (int)getpid());
	if (write(FD_AGENT, line, n) != n || read(FD_AGENT, line, 1) != 1)
		return -1; // the agent is gone: nothing depends on us yet
	close(FD_AGENT);
	return 0;
}

static int keeper(const char *dir)
{
	if (detach() < 0)
		return 1;
	// The number of the agent's socket stays taken, so that it can be given to a
	// launcher without hitting one of ours.
	if (open("/dev/null", O_RDONLY | O_CLOEXEC) != FD_AGENT)
		return 1;
	sigset_t chld;
	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	sigprocmask(SIG_BLOCK, &chld, NULL);
	int signals = signalfd(-1, &chld, SFD_CLOEXEC | SFD_NONBLOCK);
	if (signals < 0)
		return 1;
	launch(dir);
	for (;;) {
		long wait = -1;
		if (launcher < 0) {
			wait = backoff_ms - since_ms(started);
			if (wait <= 0) {
				launch(dir);
				wait = launcher < 0 ? backoff_ms : -1;
			}
		}
		struct pollfd p[2] = {{signals, POLLIN, 0}, {control, POLLIN, 0}};
		poll(p, 2, (int)wait);
		if (p[0].revents) {
			struct signalfd_siginfo drain[4];
			while (read(signals, drain, sizeof drain) > 0)
				;
		}
		if (p[1].revents && !obey()) {
			close(control); // the launcher's death follows
			control = -1;
		}
		while (reap())
			;
	}
}

__attribute__((constructor(101))) static void caught(int argc, char **argv, char **envp)
{
	(void)envp;
	if (argc == 2 && strcmp(argv[0], "bedplate-keeper") == 0)
		_exit(keeper(argv[1]));
}
