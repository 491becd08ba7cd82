/* Preloaded into a process and its children: writes down, in order, every call that changes what lies below a folder,
 * and lets one of them fail. tests/attacks/faults/disk.py reads the log; what a power cut leaves follows from it.
 *
 *   FAULTS_ROOT    the folder; what lies elsewhere is let through
 *   FAULTS_LOG     the log: records of struct head, two paths, data; appended with one write() each
 *   FAULTS_CONTROL a file of three numbers of 8 bytes, shared by all processes: calls so far, the call that fails
 *                  (from 0; -1: none), and with which errno
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { READ = 0, CREATE, WRITE, TRUNCATE, RENAME, UNLINK, MKDIR, RMDIR, FSYNC, SYNC, CHMOD };

struct head { uint32_t op, first, second, data; uint64_t offset; };

static const char *root;
static size_t root_length;
static int log_fd = -1;
static int64_t *control;

__attribute__((constructor)) static void begin(void) {
    root = getenv("FAULTS_ROOT");
    if (!root) return;
    root_length = strlen(root);
    const char *path = getenv("FAULTS_CONTROL");
    int fd = path ? (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0) : -1;
    if (fd >= 0) {
        void *shared = mmap(NULL, 3 * sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        control = shared == MAP_FAILED ? NULL : shared;
        syscall(SYS_close, fd);
    }
    path = getenv("FAULTS_LOG");
    fd = path ? (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600) : -1;
    if (fd >= 0) { log_fd = fcntl(fd, F_DUPFD_CLOEXEC, 600); syscall(SYS_close, fd); }
}

static int below(const char *path) {
    return root && !strncmp(path, root, root_length) && (path[root_length] == '/' || !path[root_length]);
}

static int of_fd(int fd, char *path) {
    char link[40];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = syscall(SYS_readlinkat, AT_FDCWD, link, path, PATH_MAX - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return below(path);
}

static int of_path(int folder, const char *name, char *path) {
    if (!root || !name) return 0;
    if (*name == '/') snprintf(path, PATH_MAX, "%s", name);
    else {
        char before[PATH_MAX];
        if (folder == AT_FDCWD) { if (syscall(SYS_getcwd, before, sizeof before) < 0) return 0; }
        else { of_fd(folder, before); }
        snprintf(path, PATH_MAX, "%s/%s", before, name);
    }
    return below(path);
}

/* Whether the call may go on; its number is taken. */
static int goes_on(void) {
    if (!control) return 1;
    int64_t number = __atomic_fetch_add(control, 1, __ATOMIC_SEQ_CST);
    if (number == control[1]) { errno = (int)control[2]; return 0; }
    return 1;
}

static void note(int op, const char *first, const char *second, uint64_t offset, const void *data, size_t size) {
    if (log_fd < 0) return;
    int kept = errno;
    struct head head = {op, strlen(first), second ? strlen(second) : 0, size, offset};
    struct iovec parts[] = {{&head, sizeof head}, {(void *)first, head.first}, {(void *)second, head.second},
                            {(void *)data, size}};
    syscall(SYS_writev, log_fd, parts, 4);
    errno = kept;
}

#define REAL(type, name, ...) \
    static type (*real)(__VA_ARGS__); \
    if (!real) real = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

static int opened(int folder, const char *name, int flags, mode_t mode) {
    char path[PATH_MAX];
    int ours = of_path(folder, name, path);
    int is_new = ours && (flags & O_CREAT) && syscall(SYS_faccessat, AT_FDCWD, path, F_OK) != 0;
    if (ours && !goes_on()) return -1;
    int fd = (int)syscall(SYS_openat, folder, name, flags, mode);
    if (ours && fd >= 0 && is_new) {
        mode_t mask = umask(0); umask(mask);
        note(CREATE, path, NULL, mode & ~mask, NULL, 0);
    } else if (ours && fd >= 0 && (flags & O_TRUNC)) note(TRUNCATE, path, NULL, 0, NULL, 0);
    return fd;
}
#define MODE(flags) mode_t mode = 0; if ((flags) & (O_CREAT | O_TMPFILE)) { \
    va_list list; va_start(list, flags); mode = va_arg(list, mode_t); va_end(list); }
int open(const char *name, int flags, ...) { MODE(flags) return opened(AT_FDCWD, name, flags, mode); }
int open64(const char *name, int flags, ...) { MODE(flags) return opened(AT_FDCWD, name, flags, mode); }
int openat(int folder, const char *name, int flags, ...) { MODE(flags) return opened(folder, name, flags, mode); }
int openat64(int folder, const char *name, int flags, ...) { MODE(flags) return opened(folder, name, flags, mode); }
int creat(const char *name, mode_t mode) { return opened(AT_FDCWD, name, O_CREAT | O_WRONLY | O_TRUNC, mode); }

ssize_t read(int fd, void *data, size_t size) {
    char path[PATH_MAX];
    if (root && of_fd(fd, path) && !goes_on()) return -1;
    return syscall(SYS_read, fd, data, size);
}

static ssize_t written(int fd, const void *data, size_t size, off_t offset) {
    char path[PATH_MAX];
    int ours = root && of_fd(fd, path);
    if (ours && !goes_on()) return -1;
    off_t where = offset;
    if (ours && offset < 0) {
        struct stat found;
        where = syscall(SYS_lseek, fd, 0, SEEK_CUR);
        if (fcntl(fd, F_GETFL) & O_APPEND && !fstat(fd, &found)) where = found.st_size;
    }
    ssize_t done = offset < 0 ? syscall(SYS_write, fd, data, size) : syscall(SYS_pwrite64, fd, data, size, offset);
    if (ours && done > 0) note(WRITE, path, NULL, where, data, done);
    return done;
}
ssize_t write(int fd, const void *data, size_t size) { return written(fd, data, size, -1); }
ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) { return written(fd, data, size, offset); }
ssize_t pwrite64(int fd, const void *data, size_t size, off_t offset) { return written(fd, data, size, offset); }
ssize_t writev(int fd, const struct iovec *parts, int number) {
    ssize_t sum = 0;
    for (int i = 0; i < number; i++) {
        ssize_t done = written(fd, parts[i].iov_base, parts[i].iov_len, -1);
        if (done < 0) return sum ? sum : -1;
        sum += done;
        if ((size_t)done < parts[i].iov_len) break;
    }
    return sum;
}
/* What copies inside the kernel would pass unseen: programs fall back to read and write. */
ssize_t copy_file_range(int a, off64_t *b, int c, off64_t *d, size_t e, unsigned f) { errno = ENOSYS; return -1; }
ssize_t sendfile(int a, int b, off_t *c, size_t d) { errno = ENOSYS; return -1; }
ssize_t sendfile64(int a, int b, off64_t *c, size_t d) { errno = ENOSYS; return -1; }
ssize_t splice(int a, off64_t *b, int c, off64_t *d, size_t e, unsigned f) { errno = EINVAL; return -1; }

static int cut(int fd, off_t size) {
    char path[PATH_MAX];
    int ours = root && of_fd(fd, path);
    if (ours && !goes_on()) return -1;
    int done = (int)syscall(SYS_ftruncate, fd, size);
    if (ours && !done) note(TRUNCATE, path, NULL, size, NULL, 0);
    return done;
}
int ftruncate(int fd, off_t size) { return cut(fd, size); }
int ftruncate64(int fd, off64_t size) { return cut(fd, size); }

static int synced(int fd, long call) {
    char path[PATH_MAX];
    int ours = root && of_fd(fd, path);
    if (ours && !goes_on()) return -1;
    if (ours) { note(FSYNC, path, NULL, 0, NULL, 0); return 0; }
    return (int)syscall(call, fd);
}
int fsync(int fd) { return synced(fd, SYS_fsync); }
int fdatasync(int fd) { return synced(fd, SYS_fdatasync); }
void sync(void) { if (root) note(SYNC, root, NULL, 0, NULL, 0); else syscall(SYS_sync); }
int syncfs(int fd) { if (root) { note(SYNC, root, NULL, 0, NULL, 0); return 0; } return (int)syscall(SYS_syncfs, fd); }

static int renamed(int from, const char *old, int to, const char *new, unsigned flags) {
    char first[PATH_MAX], second[PATH_MAX];
    int ours = of_path(from, old, first) & of_path(to, new, second);
    if (ours && !goes_on()) return -1;
    int done = (int)syscall(SYS_renameat2, from, old, to, new, flags);
    if (ours && !done) note(RENAME, first, second, 0, NULL, 0);
    return done;
}
int rename(const char *old, const char *new) { return renamed(AT_FDCWD, old, AT_FDCWD, new, 0); }
int renameat(int a, const char *old, int b, const char *new) { return renamed(a, old, b, new, 0); }
int renameat2(int a, const char *old, int b, const char *new, unsigned flags) { return renamed(a, old, b, new, flags); }

static int gone(int folder, const char *name, int flags) {
    char path[PATH_MAX];
    int ours = of_path(folder, name, path);
    if (ours && !goes_on()) return -1;
    int done = (int)syscall(SYS_unlinkat, folder, name, flags);
    if (ours && !done) note(flags & AT_REMOVEDIR ? RMDIR : UNLINK, path, NULL, 0, NULL, 0);
    return done;
}
int unlink(const char *name) { return gone(AT_FDCWD, name, 0); }
int unlinkat(int folder, const char *name, int flags) { return gone(folder, name, flags); }
int rmdir(const char *name) { return gone(AT_FDCWD, name, AT_REMOVEDIR); }

static int made(int folder, const char *name, mode_t mode) {
    char path[PATH_MAX];
    int ours = of_path(folder, name, path);
    if (ours && !goes_on()) return -1;
    int done = (int)syscall(SYS_mkdirat, folder, name, mode);
    if (ours && !done) note(MKDIR, path, NULL, 0, NULL, 0);
    return done;
}
int mkdir(const char *name, mode_t mode) { return made(AT_FDCWD, name, mode); }
int mkdirat(int folder, const char *name, mode_t mode) { return made(folder, name, mode); }

static int moded(int folder, const char *name, mode_t mode) {
    char path[PATH_MAX];
    int ours = of_path(folder, name, path);
    if (ours && !goes_on()) return -1;
    int done = (int)syscall(SYS_fchmodat, folder, name, mode);
    if (ours && !done) note(CHMOD, path, NULL, mode, NULL, 0);
    return done;
}
int chmod(const char *name, mode_t mode) { return moded(AT_FDCWD, name, mode); }
int fchmodat(int folder, const char *name, mode_t mode, int flags) { return moded(folder, name, mode); }
int fchmod(int fd, mode_t mode) {
    char path[PATH_MAX];
    int ours = root && of_fd(fd, path);
    if (ours && !goes_on()) return -1;
    int done = (int)syscall(SYS_fchmod, fd, mode);
    if (ours && !done) note(CHMOD, path, NULL, mode, NULL, 0);
    return done;
}
