/* A disk that fails, for LD_PRELOAD: a read, write, sync or truncation of a file whose path contains DISK_PATH fails,
   from the fail_at-th call on, for fail_for calls or, with 0, for good. Set by ctypes, or by DISK_FAILS_AT for good. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static int seen, fail_at, fail_for, error = EIO;

void disk_fails(int at, int count, int number) { seen = 0; fail_at = at; fail_for = count; error = number; }
int disk_calls(void) { return seen; }

__attribute__((constructor)) static void from_environment(void) {
    const char *at = getenv("DISK_FAILS_AT");
    if (at) fail_at = atoi(at);
}

static int fails(int fd) {
    char link[64], path[PATH_MAX];
    const char *wanted = getenv("DISK_PATH");
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (!wanted || length < 0) return 0;
    path[length] = 0;
    if (!strstr(path, wanted)) return 0;
    seen++;
    if (!fail_at || seen < fail_at || (fail_for && seen >= fail_at + fail_for)) return 0;
    errno = error;
    return 1;
}

#define REAL(type, name, ...) ((type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name))

ssize_t pread64(int fd, void *data, size_t size, off64_t at) {
    return fails(fd) ? -1 : REAL(ssize_t, pread64, int, void *, size_t, off64_t)(fd, data, size, at);
}
ssize_t write(int fd, const void *data, size_t size) {
    return fails(fd) ? -1 : REAL(ssize_t, write, int, const void *, size_t)(fd, data, size);
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    return fails(fd) ? -1 : REAL(ssize_t, pwrite, int, const void *, size_t, off_t)(fd, data, size, at);
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    return fails(fd) ? -1 : REAL(ssize_t, pwrite64, int, const void *, size_t, off64_t)(fd, data, size, at);
}
int fsync(int fd) { return fails(fd) ? -1 : REAL(int, fsync, int)(fd); }
int fdatasync(int fd) { return fails(fd) ? -1 : REAL(int, fdatasync, int)(fd); }
int ftruncate(int fd, off_t size) { return fails(fd) ? -1 : REAL(int, ftruncate, int, off_t)(fd, size); }
int ftruncate64(int fd, off64_t size) { return fails(fd) ? -1 : REAL(int, ftruncate64, int, off64_t)(fd, size); }
