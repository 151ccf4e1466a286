/* Remembers what a power loss would take: LD_PRELOADed, it keeps, for every file below KAIGI_POWER_DATA, what each write replaced
 * since the file's last fsync or fdatasync, in a file of its own beside it (`<name>.undo`: offset 8, length 8, size before 8, then the
 * bytes that were there). And for every directory what happened to its names since its last fsync: `.names.undo` has a line each,
 * `C\tname` for one that was made, `R\told\tnew\tkept` and `U\tname\tkept` for one that was changed or taken away; `kept` names a
 * second link to a file that lost its last name, or is `-`. Whoever kills the process puts all of it back, and the files are as if
 * the disk had lost everything that was not synced: a file's fsync promises nothing about its name, and sync_file_range nothing
 * about a disk's cache. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int is_watched(const char *path) {
    const char *data = getenv("KAIGI_POWER_DATA");
    return data != NULL && strncmp(path, data, strlen(data)) == 0 && strstr(path, ".undo") == NULL;
}

/* Where a descriptor's file lies. */
static int path_of(int fd, char path[PATH_MAX]) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return 1;
}

/* The undo file of a descriptor's file, or nothing for files that are not watched. */
static int undo_name(int fd, char *name, size_t size) {
    char path[PATH_MAX];
    if (!path_of(fd, path) || !is_watched(path)) return 0;
    snprintf(name, size, "%s.undo", path);
    return 1;
}

static int real_open(const char *path, int flags, mode_t mode) {
    int (*open_)(const char *, int, ...) = dlsym(RTLD_NEXT, "open");
    return open_(path, flags, mode);
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
    int reader = real_open(real, O_RDONLY | O_CLOEXEC, 0);
    if (before == NULL || reader < 0 || pread(reader, before, there, (off_t)offset) != (ssize_t)there) abort();
    close(reader);
    int undo = real_open(name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (undo < 0) abort();
    uint64_t head[3] = {offset, there, size};
    put(undo, head, sizeof head);
    put(undo, before, there);
    close(undo);
    free(before);
}

static int real_unlink(const char *path) {
    int (*unlink_)(const char *) = dlsym(RTLD_NEXT, "unlink");
    return unlink_(path);
}

static int real_rename(const char *from, const char *to) {
    int (*rename_)(const char *, const char *) = dlsym(RTLD_NEXT, "rename");
    return rename_(from, to);
}

/* Notes what happened to a name of the directory that `path` lies in. */
static void note_name(const char *path, const char *line) {
    char names[PATH_MAX + 16];
    snprintf(names, sizeof names, "%s", path);
    char *slash = strrchr(names, '/');
    if (slash == NULL) abort();
    strcpy(slash, "/.names.undo");
    int undo = real_open(names, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (undo < 0) abort();
    put(undo, line, strlen(line));
    close(undo);
}

/* What was not synced of a file goes with its name. */
static void move_undo(const char *from, const char *to) {
    char old[PATH_MAX + 8], new[PATH_MAX + 8];
    snprintf(old, sizeof old, "%s.undo", from);
    snprintf(new, sizeof new, "%s.undo", to);
    real_unlink(new);
    real_rename(old, new);
}

/* Keeps a file that is about to lose this name; `kept` is what it is called meanwhile, `-` for none. */
static void keep(const char *path, char kept[PATH_MAX + 32]) {
    static unsigned number;
    struct stat info;
    strcpy(kept, "-");
    if (lstat(path, &info) != 0 || !S_ISREG(info.st_mode)) return;
    char folder[PATH_MAX];
    snprintf(folder, sizeof folder, "%s", path);
    *strrchr(folder, '/') = 0;
    snprintf(kept, PATH_MAX + 32, "%s/.kept-%d-%u.undo-name", folder, getpid(), number++);
    if (link(path, kept) != 0) abort();
    move_undo(path, kept);
}

/* A directory was synced: its names stay as they are. */
static void forget_names(const char *folder) {
    char names[PATH_MAX + 16], line[3 * PATH_MAX];
    snprintf(names, sizeof names, "%s/.names.undo", folder);
    FILE *file = fopen(names, "re");
    if (file == NULL) return;
    while (fgets(line, sizeof line, file) != NULL) {
        char *kept = strrchr(line, '\t');
        line[strcspn(line, "\n")] = 0;
        if (line[0] == 'C' || kept == NULL || strcmp(kept + 1, "-") == 0) continue;
        char undo[PATH_MAX + 40];
        snprintf(undo, sizeof undo, "%s.undo", kept + 1);
        real_unlink(undo);
        real_unlink(kept + 1);
    }
    fclose(file);
    real_unlink(names);
}

static void forget(int fd) {
    char name[PATH_MAX + 8], path[PATH_MAX];
    struct stat info;
    if (!undo_name(fd, name, sizeof name) || fstat(fd, &info) != 0) return;
    if (S_ISDIR(info.st_mode) && path_of(fd, path)) forget_names(path);
    else real_unlink(name);
}

/* The whole path of a name, or nothing for one that is not watched. */
static int whole(const char *path, char out[PATH_MAX]) {
    char folder[PATH_MAX], real[PATH_MAX];
    snprintf(folder, sizeof folder, "%s", path);
    char *slash = strrchr(folder, '/');
    if (slash == NULL || slash[1] == 0) return 0;
    *slash = 0;
    if (realpath(folder[0] ? folder : "/", real) == NULL) return 0;
    return snprintf(out, PATH_MAX, "%s/%s", real, strrchr(path, '/') + 1) < PATH_MAX && is_watched(out);
}

/* Opens, and notes a name that was made by it. */
static int open_noting(const char *path, int flags, mode_t mode) {
    char name[PATH_MAX], line[PATH_MAX + 8];
    struct stat info;
    if (!(flags & O_CREAT) || !whole(path, name)) return real_open(path, flags, mode);
    pthread_mutex_lock(&lock);
    int is_new = lstat(name, &info) != 0;
    if (!is_new && (flags & O_TRUNC) && S_ISREG(info.st_mode)) {
        int before = real_open(path, O_RDONLY | O_CLOEXEC, 0);
        if (before < 0) abort();
        remember(before, 0, (uint64_t)info.st_size);
        close(before);
    }
    int fd = real_open(path, flags, mode);
    int failed = errno;
    if (fd >= 0 && is_new) {
        snprintf(line, sizeof line, "C\t%s\n", name);
        note_name(name, line);
    }
    pthread_mutex_unlock(&lock);
    errno = failed;
    return fd;
}

#define MODE(flags, mode)                                     \
    mode_t mode = 0;                                          \
    if ((flags) & (O_CREAT | O_TMPFILE)) {                    \
        va_list arguments;                                    \
        va_start(arguments, flags);                           \
        mode = (mode_t)va_arg(arguments, unsigned);           \
        va_end(arguments);                                    \
    }

int open(const char *path, int flags, ...) {
    MODE(flags, mode)
    return open_noting(path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    MODE(flags, mode)
    return open_noting(path, flags | O_LARGEFILE, mode);
}

int mkdir(const char *path, mode_t mode) {
    int (*real)(const char *, mode_t) = dlsym(RTLD_NEXT, "mkdir");
    char name[PATH_MAX], line[PATH_MAX + 8];
    int watched = whole(path, name);
    pthread_mutex_lock(&lock);
    int done = real(path, mode);
    int failed = errno;
    if (done == 0 && watched) {
        snprintf(line, sizeof line, "C\t%s\n", name);
        note_name(name, line);
    }
    pthread_mutex_unlock(&lock);
    errno = failed;
    return done;
}

int rename(const char *from, const char *to) {
    char old[PATH_MAX], new[PATH_MAX], kept[PATH_MAX + 32], line[3 * PATH_MAX + 64];
    if (!whole(from, old) || !whole(to, new)) return real_rename(from, to);
    pthread_mutex_lock(&lock);
    keep(new, kept);
    int done = real_rename(from, to);
    int failed = errno;
    if (done == 0) {
        move_undo(old, new);
        snprintf(line, sizeof line, "R\t%s\t%s\t%s\n", old, new, kept);
        note_name(new, line);
    } else if (kept[0] != '-') {
        move_undo(kept, new);
        real_unlink(kept);
    }
    pthread_mutex_unlock(&lock);
    errno = failed;
    return done;
}

int unlink(const char *path) {
    char name[PATH_MAX], kept[PATH_MAX + 32], line[2 * PATH_MAX + 64];
    if (!whole(path, name)) return real_unlink(path);
    pthread_mutex_lock(&lock);
    keep(name, kept);
    int done = real_unlink(path);
    int failed = errno;
    if (kept[0] != '-') {
        if (done == 0) {
            snprintf(line, sizeof line, "U\t%s\t%s\n", name, kept);
            note_name(name, line);
        } else {
            move_undo(kept, name);
            real_unlink(kept);
        }
    }
    pthread_mutex_unlock(&lock);
    errno = failed;
    return done;
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
