/* The floor of the fhs group: makes the root that its words name, starts a program in it, and does nothing else.
 *
 *   floor [pid] [chroot] WORD... -- PROGRAM ARGUMENT...
 *
 *   ro FROM AT        bind recursively, read-only    dir AT   link TARGET AT   file BYTES AT
 *   rw FROM AT        bind recursively               tmpfs AT proc AT          readonly AT
 *   devices FROM AT   the same, device nodes work    dev AT   the devices, links, pts and shm of a sandbox
 *   as FROM AT        the same, and nothing changed
 *
 * AT is a path of the new root, whose parents have been made. No error is explained:
 * it prints the call's line, and ends with 1. Binds are the two calls mount(2) and mount_setattr(2): one more
 * call (open_tree, move_mount, close) is not faster.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK(call) do { if ((call) < 0) fail(__LINE__, errno); } while (0)

static void fail(int line, int error)
{
	dprintf(2, "floor: line %d: %s\n", line, strerror(error));
	_exit(1);
}

/* The host's /proc: the new root may have none, or not yet. */
static int process_files;

static void put(const char *name, const char *text)
{
	int fd = openat(process_files, name, O_WRONLY | O_CLOEXEC);
	CHECK(fd);
	CHECK(write(fd, text, strlen(text)));
	close(fd);
}

static void map(unsigned inside_user, unsigned outside_user, unsigned inside_group, unsigned outside_group)
{
	char line[64];
	snprintf(line, sizeof line, "%u %u 1", inside_user, outside_user);
	put("self/uid_map", line);
	put("self/setgroups", "deny");
	snprintf(line, sizeof line, "%u %u 1", inside_group, outside_group);
	put("self/gid_map", line);
}

static const char *below(const char *path)
{
	while (*path == '/')
		path++;
	return *path ? path : ".";
}

/* Binds onto a directory or an empty file, as the source is one. */
static void attach(const char *from, const char *at, unsigned long long flags)
{
	struct mount_attr set = { .attr_set = flags };
	struct stat is;
	CHECK(stat(from, &is));
	if (S_ISDIR(is.st_mode)) {
		if (mkdir(at, 0755) < 0 && errno != EEXIST)
			fail(__LINE__, errno);
	} else {
		int fd = open(at, O_CREAT | O_WRONLY | O_CLOEXEC, 0444);
		CHECK(fd);
		close(fd);
	}
	CHECK(mount(from, at, NULL, MS_BIND | MS_REC, NULL));
	if (flags)
		CHECK(syscall(SYS_mount_setattr, AT_FDCWD, at, AT_RECURSIVE, &set, sizeof set));
}

static void devices(const char *at)
{
	static const char *const nodes[] = { "null", "zero", "full", "random", "urandom", "tty" };
	static const char *const links[][2] = { { "/proc/self/fd", "fd" }, { "/proc/self/fd/0", "stdin" }, { "/proc/self/fd/1", "stdout" },
		{ "/proc/self/fd/2", "stderr" }, { "/proc/kcore", "core" }, { "pts/ptmx", "ptmx" } };
	char from[64], to[4096];
	mkdir(at, 0755);
	CHECK(mount("tmpfs", at, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755"));
	for (size_t i = 0; i < sizeof nodes / sizeof *nodes; i++) {
		snprintf(from, sizeof from, "/dev/%s", nodes[i]);
		snprintf(to, sizeof to, "%s/%s", at, nodes[i]);
		attach(from, to, MOUNT_ATTR_NOSUID);
	}
	for (size_t i = 0; i < sizeof links / sizeof *links; i++) {
		snprintf(to, sizeof to, "%s/%s", at, links[i][1]);
		CHECK(symlink(links[i][0], to));
	}
	snprintf(to, sizeof to, "%s/shm", at);
	CHECK(mkdir(to, 0755));
	snprintf(to, sizeof to, "%s/pts", at);
	CHECK(mkdir(to, 0755));
	CHECK(mount("devpts", to, "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=620"));
}

/* The words up to `--`; each is a step, in order. */
static char **build(char **word)
{
	while (strcmp(*word, "--") != 0) {
		const char *what = *word++;
		if (strcmp(what, "ro") == 0) {
			attach(word[0], below(word[1]), MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
			word += 2;
		} else if (strcmp(what, "rw") == 0) {
			attach(word[0], below(word[1]), MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
			word += 2;
		} else if (strcmp(what, "devices") == 0) {
			attach(word[0], below(word[1]), MOUNT_ATTR_NOSUID);
			word += 2;
		} else if (strcmp(what, "as") == 0) {
			attach(word[0], below(word[1]), 0);
			word += 2;
		} else if (strcmp(what, "link") == 0) {
			CHECK(symlink(word[0], below(word[1])));
			word += 2;
		} else if (strcmp(what, "dir") == 0) {
			CHECK(mkdir(below(*word), 0755));
			word++;
		} else if (strcmp(what, "tmpfs") == 0) {
			const char *at = below(*word++);
			mkdir(at, 0755);
			CHECK(mount("tmpfs", at, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755"));
		} else if (strcmp(what, "proc") == 0) {
			const char *at = below(*word++);
			mkdir(at, 0755);
			CHECK(mount("proc", at, "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL));
		} else if (strcmp(what, "dev") == 0) {
			devices(below(*word++));
		} else if (strcmp(what, "file") == 0) {
			int fd = open(below(word[1]), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
			static char bytes[1 << 16];
			CHECK(fd);
			CHECK(write(fd, bytes, strtoul(word[0], NULL, 10) % sizeof bytes));
			close(fd);
			word += 2;
		} else if (strcmp(what, "readonly") == 0) {
			struct mount_attr set = { .attr_set = MOUNT_ATTR_RDONLY };
			CHECK(syscall(SYS_mount_setattr, AT_FDCWD, below(*word++), 0, &set, sizeof set));
		} else {
			dprintf(2, "floor: what is %s?\n", what);
			_exit(1);
		}
	}
	return word + 1;
}

int main(int count, char **word)
{
	int pid = 0, stays = 0, root_first = 0;
	unsigned user = geteuid(), group = getegid();
	if (count < 3)
		return 1;
	for (word++; *word; word++)
		if (strcmp(*word, "pid") == 0)
			pid = 1;
		else if (strcmp(*word, "chroot") == 0)
			stays = 1;
		else
			break;
	/* devpts(7) makes its node for id 0, which must then exist while the root is made. */
	for (char **w = word; *w && strcmp(*w, "--") != 0; w++)
		root_first |= strcmp(*w, "dev") == 0 && user != 0;
	process_files = open("/proc", O_PATH | O_CLOEXEC);
	CHECK(process_files);
	unsigned long flags = CLONE_NEWUSER | CLONE_NEWNS | (pid ? CLONE_NEWPID : 0);
	if (pid) {
		long child = syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);
		CHECK(child);
		if (child > 0) {
			int status;
			CHECK(waitpid(child, &status, 0));
			return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
		}
	} else {
		CHECK(unshare(flags));
	}
	char here[4096];
	if (!getcwd(here, sizeof here))
		fail(__LINE__, errno);
	map(root_first ? 0 : user, user, root_first ? 0 : group, group);
	umask(0);
	CHECK(mount("tmpfs", "/", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755"));
	CHECK(chdir("/.."));
	char **program = build(word);
	if (stays) {
		CHECK(chroot("."));
	} else {
		CHECK(syscall(SYS_pivot_root, ".", "."));
		CHECK(umount2(".", MNT_DETACH));
	}
	if (chdir(here) < 0)
		CHECK(chdir("/"));
	if (root_first) {
		CHECK(unshare(CLONE_NEWUSER));
		map(user, 0, group, 0);
	}
	execvp(program[0], program);
	fail(__LINE__, errno);
	return 1;
}
