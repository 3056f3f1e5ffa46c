/* Preloaded into a node: fsync and pwrite fail with EIO where the file $FAILING says so, by lines "call path". */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int fails(const char *call, int fd)
{
    char link[64], path[4096], line[4200], failing[4200];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    snprintf(failing, sizeof failing, "%s %s\n", call, path);
    FILE *file = fopen(getenv("FAILING"), "re");
    if (!file)
        return 0;
    int found = 0;
    while (!found && fgets(line, sizeof line, file))
        found = !strcmp(line, failing);
    fclose(file);
    errno = EIO;
    return found;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

int fsync(int fd) { return fails("fsync", fd) ? -1 : REAL(fsync)(fd); }
int fdatasync(int fd) { return fails("fsync", fd) ? -1 : REAL(fdatasync)(fd); }

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset)
{
    return fails("pwrite", fd) ? -1 : REAL(pwrite)(fd, data, size, offset);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset)
{
    return fails("pwrite", fd) ? -1 : REAL(pwrite64)(fd, data, size, offset);
}
