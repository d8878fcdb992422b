/* A backup on the command line: the answer of the control plane into a file that is whole or not
 * there. It holds the hashes of tokens, so only its owner may read it. */
#include "controlplane/ctl/backup.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct copy {
    const char *path;
    int fd;
    unsigned long long bytes;
};

static bool report(const char *path)
{
    fprintf(stderr, "cloudgatectl: %s: %s\n", path, strerror(errno));
    return false;
}

static bool take_bytes(void *context, const void *bytes, size_t length)
{
    struct copy *copy = context;
    const char *at = bytes;
    while (length > 0) {
        ssize_t put = write(copy->fd, at, length);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return report(copy->path);
        at += put;
        length -= (size_t)put;
        copy->bytes += (unsigned long long)put;
    }
    return true;
}

/* The name of a file is on disk once its directory is. */
static bool give_name(const char *from, const char *to)
{
    char *copy = strdup(to);
    CHECK(copy != NULL);
    bool good = rename(from, to) == 0;
    int fd = good ? open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    good = good && fd >= 0 && fsync(fd) == 0;
    if (fd >= 0)
        close(fd);
    free(copy);
    return good || report(to);
}

enum exit_code ctl_backup(const struct options *options)
{
    if (options->count != 2)
        return ctl_usage("backup needs one FILE", options->count < 2 ? "" : options->words[2]);
    const char *path = options->words[1];
    if (access(path, F_OK) == 0)
        return ctl_usage("the file exists; a backup does not overwrite", path);
    struct dynbuf part;
    dynbuf_init(&part, 8192);
    dynbuf_printf(&part, "%s.part", path);
    struct copy copy = {.path = dynbuf_text(&part)};
    copy.fd = open(copy.path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    enum exit_code code = EXIT_REFUSED;
    if (copy.fd < 0) {
        report(copy.path);
    } else {
        code = ctl_download(options, "POST", "/api/v1/backup", take_bytes, &copy);
        if (code == EXIT_GOOD && fsync(copy.fd) != 0) {
            report(copy.path);
            code = EXIT_REFUSED;
        }
        close(copy.fd);
        if (code == EXIT_GOOD && !give_name(copy.path, path))
            code = EXIT_REFUSED;
        if (code != EXIT_GOOD)
            unlink(copy.path);
    }
    if (code == EXIT_GOOD)
        printf("%s: %llu bytes; to restore: cloudgate-control --restore FILE\n", path, copy.bytes);
    dynbuf_fini(&part);
    return code;
}
