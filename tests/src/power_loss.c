/* Remembers what a power loss would take: LD_PRELOADed, it keeps, for every file below KAIGI_POWER_DATA, what each write replaced
 * since the file's last fsync or fdatasync, in a file of its own beside it (`<name>.undo`: offset 8, length 8, size before 8, then the
 * bytes that were there). Whoever kills the process puts them back, and the files are as if the disk had lost everything that was not synced.
 * sync_file_range promises nothing about a disk's cache and is therefore no sync. Not remembered: names (directories). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* The undo file of a descriptor's file, or nothing for files that are not watched. */
static int undo_name(int fd, char *name, size_t size) {
    const char *data = getenv("KAIGI_POWER_DATA");
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (data == NULL || length <= 0) return 0;
    path[length] = 0;
    if (strncmp(path, data, strlen(data)) != 0 || strstr(path, ".undo") != NULL) return 0;
    snprintf(name, size, "%s.undo", path);
    return 1;
}

static void put(int fd, const void *bytes, size_t count) {
    ssize_t (*write_)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
    if (write_(fd, bytes, count) != (ssize_t)count) abort();
}

/* Keeps what `count` bytes at `offset` are about to replace. */
static void remember(int fd, uint64_t offset, uint64_t count) {
    char name[PATH_MAX + 8], real[PATH_MAX];
    struct stat info;
    if (!undo_name(fd, name, sizeof name) || fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) return;
    uint64_t size = (uint64_t)info.st_size;
    uint64_t there = offset < size ? (size - offset < count ? size - offset : count) : 0;
    unsigned char *before = malloc(there + 1);
    snprintf(real, sizeof real, "/proc/self/fd/%d", fd);
    /* The descriptor may be write-only. */
    int reader = open(real, O_RDONLY | O_CLOEXEC);
    if (before == NULL || reader < 0 || pread(reader, before, there, (off_t)offset) != (ssize_t)there) abort();
    close(reader);
    int undo = open(name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (undo < 0) abort();
    uint64_t head[3] = {offset, there, size};
    put(undo, head, sizeof head);
    put(undo, before, there);
    close(undo);
    free(before);
}

static void forget(int fd) {
    char name[PATH_MAX + 8];
    if (undo_name(fd, name, sizeof name)) unlink(name);
}

ssize_t write(int fd, const void *bytes, size_t count) {
    ssize_t (*real)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
    pthread_mutex_lock(&lock);
    struct stat info;
    if (fstat(fd, &info) == 0 && S_ISREG(info.st_mode)) {
        int appends = fcntl(fd, F_GETFL) & O_APPEND;
        off_t at = appends ? info.st_size : lseek(fd, 0, SEEK_CUR);
        remember(fd, (uint64_t)at, count);
    }
    pthread_mutex_unlock(&lock);
    return real(fd, bytes, count);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t offset) {
    ssize_t (*real)(int, const void *, size_t, off64_t) = dlsym(RTLD_NEXT, "pwrite64");
    pthread_mutex_lock(&lock);
    remember(fd, (uint64_t)offset, count);
    pthread_mutex_unlock(&lock);
    return real(fd, bytes, count, offset);
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t offset) { return pwrite64(fd, bytes, count, offset); }

int ftruncate64(int fd, off64_t length) {
    int (*real)(int, off64_t) = dlsym(RTLD_NEXT, "ftruncate64");
    struct stat info;
    pthread_mutex_lock(&lock);
    if (fstat(fd, &info) == 0 && info.st_size > length) remember(fd, (uint64_t)length, (uint64_t)(info.st_size - length));
    else remember(fd, (uint64_t)length, 0);
    pthread_mutex_unlock(&lock);
    return real(fd, length);
}

int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }

int fsync(int fd) {
    int (*real)(int) = dlsym(RTLD_NEXT, "fsync");
    pthread_mutex_lock(&lock);
    int done = real(fd);
    if (done == 0) forget(fd);
    pthread_mutex_unlock(&lock);
    return done;
}

int fdatasync(int fd) {
    int (*real)(int) = dlsym(RTLD_NEXT, "fdatasync");
    pthread_mutex_lock(&lock);
    int done = real(fd);
    if (done == 0) forget(fd);
    pthread_mutex_unlock(&lock);
    return done;
}
