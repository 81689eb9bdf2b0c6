/* Changes FILE by the given WAY: the ways by which a build can get past a library that wraps libc (test_escape.py).
   Exit code 0: done; 77: the file system has no such call; else with errno's text. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <unistd.h>

static int check(long result)
{
	if (result < 0) {
		perror("escape");
		exit(errno == EOPNOTSUPP ? 77 : 1);
	}
	return result;
}

static int write_x(int fd)
{
	return check(write(fd, "X", 1)) != 1;
}

static int stdio_x(FILE *file)
{
	check(file ? 0 : -1);
	return fputc('X', file) == EOF || fclose(file) != 0;
}

/* One request of a raw io_uring, and its result. */
static int ring_request(struct io_uring_sqe request)
{
	struct io_uring_params params = { 0 };
	int ring = check(syscall(SYS_io_uring_setup, 2, &params));
	size_t size = params.sq_off.array + params.sq_entries * sizeof(unsigned);
	size_t completions = params.cq_off.cqes + params.cq_entries * sizeof(struct io_uring_cqe);
	int both = PROT_READ | PROT_WRITE;
	char *sq = mmap(0, size, both, MAP_SHARED | MAP_POPULATE, ring, IORING_OFF_SQ_RING);
	char *cq = mmap(0, completions, both, MAP_SHARED | MAP_POPULATE, ring, IORING_OFF_CQ_RING);
	struct io_uring_sqe *entries = mmap(0, params.sq_entries * sizeof(*entries), both, MAP_SHARED | MAP_POPULATE,
					    ring, IORING_OFF_SQES);
	unsigned tail = *(unsigned *)(sq + params.sq_off.tail);
	unsigned slot = tail & *(unsigned *)(sq + params.sq_off.ring_mask);
	entries[slot] = request;
	((unsigned *)(sq + params.sq_off.array))[slot] = slot;
	__atomic_store_n((unsigned *)(sq + params.sq_off.tail), tail + 1, __ATOMIC_RELEASE);
	check(syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, 0, 0));
	unsigned head = *(unsigned *)(cq + params.cq_off.head) & *(unsigned *)(cq + params.cq_off.ring_mask);
	int result = ((struct io_uring_cqe *)(cq + params.cq_off.cqes))[head].res;
	close(ring);
	errno = -result;
	return check(result < 0 ? -1 : result);
}

static int by_io_uring(const char *file)
{
	struct io_uring_sqe open_request = { .opcode = IORING_OP_OPENAT, .fd = AT_FDCWD, .open_flags = O_WRONLY };
	open_request.addr = (uintptr_t)file;
	struct io_uring_sqe write_request = { .opcode = IORING_OP_WRITE, .len = 1 };
	write_request.addr = (uintptr_t)"X";
	write_request.fd = ring_request(open_request);
	return ring_request(write_request) != 1;
}

static int by_mmap(const char *file)
{
	int fd = check(openat(AT_FDCWD, file, O_RDWR));
	char *page = mmap(0, 1, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	check(page == MAP_FAILED ? -1 : 0);
	*page = 'X';
	return msync(page, 1, MS_SYNC);
}

/* With flags that the compiler does not know, a fortified open() is __open_2() of libc. */
static int by_fortified_open(const char *file)
{
	volatile int flags = O_WRONLY;
	return write_x(check(open(file, flags)));
}

/* Copies the file's ninth byte over its first. */
static int by_copy_file_range(const char *file)
{
	int fd = check(openat(AT_FDCWD, file, O_RDWR));
	loff_t from = 8, to = 0;
	return check(copy_file_range(fd, &from, fd, &to, 1, 0)) != 1;
}

static int by_sendfile(const char *file)
{
	int from = check(openat(AT_FDCWD, "/etc/passwd", O_RDONLY));
	return check(sendfile(check(openat(AT_FDCWD, file, O_WRONLY)), from, 0, 1)) != 1;
}

static int by_proc(const char *file)
{
	char path[64];
	sprintf(path, "/proc/self/fd/%d", check(openat(AT_FDCWD, file, O_RDONLY)));
	return write_x(check(openat(AT_FDCWD, path, O_WRONLY)));
}

int main(int count, char **arguments)
{
	if (count != 3)
		return 2;
	const char *way = arguments[1], *file = arguments[2];
	struct timespec times[2] = { { 1, 1 }, { 1, 1 } };
#define WAY(name, action) if (!strcmp(way, name)) return (action)
	WAY("open", write_x(check(open(file, O_WRONLY))));
	WAY("creat", write_x(check(creat(file, 0644))));
	WAY("fopen w", stdio_x(fopen(file, "w")));
	WAY("fopen a", stdio_x(fopen(file, "a")));
	WAY("fopen r+", stdio_x(fopen(file, "r+")));
	WAY("freopen", stdio_x(freopen(file, "r+", stderr)));
	WAY("openat", write_x(check(openat(AT_FDCWD, file, O_WRONLY))));
	WAY("truncate", check(truncate(file, 1)));
	WAY("chmod", check(chmod(file, 0600)));
	WAY("fchmodat", check(fchmodat(AT_FDCWD, file, 0600, 0)));
	WAY("chown", check(chown(file, 1, 1)));
	WAY("lchown", check(lchown(file, 1, 1)));
	WAY("fchownat", check(fchownat(AT_FDCWD, file, 1, 1, 0)));
	WAY("utimensat", check(utimensat(AT_FDCWD, file, times, 0)));
	WAY("setxattr", check(setxattr(file, "user.escaped", "1", 1, 0)));
	WAY("raw openat", write_x(check(syscall(SYS_openat, AT_FDCWD, file, O_WRONLY, 0))));
	WAY("raw truncate", check(syscall(SYS_truncate, file, 1L)));
	WAY("raw fchmodat", check(syscall(SYS_fchmodat, AT_FDCWD, file, 0600)));
	WAY("io_uring", by_io_uring(file));
	WAY("mmap", by_mmap(file));
	WAY("copy_file_range", by_copy_file_range(file));
	WAY("sendfile", by_sendfile(file));
	WAY("fallocate", check(fallocate(check(openat(AT_FDCWD, file, O_RDWR)), 0, 0, 4096)));
	WAY("fortified open", by_fortified_open(file));
	WAY("proc fd", by_proc(file));
	WAY("raw pwrite64", check(syscall(SYS_pwrite64, check(syscall(SYS_openat, AT_FDCWD, file, O_WRONLY, 0)), "X", 1L, 0L, 0L)) != 1);
	WAY("fchmod", check(fchmod(check(open(file, O_RDONLY)), 0600)));
	WAY("fchown", check(fchown(check(open(file, O_RDONLY)), 1, 1)));
	WAY("fsetxattr", check(fsetxattr(check(open(file, O_RDONLY)), "user.escaped", "1", 1, 0)));
	WAY("removexattr", check(removexattr(file, "user.mark")));
	WAY("futimens", check(futimens(check(open(file, O_RDONLY)), times)));
	WAY("ftruncate", check(ftruncate(check(openat(AT_FDCWD, file, O_WRONLY)), 1)));
	return 2;
}
