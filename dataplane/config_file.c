/* Reads the configuration file. Main thread, at start, where blocking harms nobody; nothing here
 * may run once clients are served. */
#include "dataplane/config_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"

/* All of the file in content; false: errno says why. */
static bool read_all(const char *path, struct dynbuf *content)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    char piece[16384];
    ssize_t count;
    while ((count = read(fd, piece, sizeof piece)) > 0)
        if (!dynbuf_append(content, piece, (size_t)count)) {
            count = -1;
            errno = EFBIG;
            break;
        }
    int why = errno;
    explicit_bzero(piece, sizeof piece);
    close(fd);
    errno = why;
    return count == 0;
}

bool config_file_read(const char *path, struct config_yaml *yaml, struct dynbuf *error)
{
    char quoted[256];
    struct dynbuf content, why;
    *yaml = (struct config_yaml){0};
    log_quote(quoted, sizeof quoted, path, strlen(path));
    quoted[strlen(quoted) - 1] = '\0';
    dynbuf_init(&content, CONFIG_YAML_BYTES_MAX);
    dynbuf_init(&why, 4096);
    bool is_read = read_all(path, &content);
    bool is_good = is_read && config_yaml_parse(content.data, content.length, yaml, &why);
    if (!is_read)
        dynbuf_printf(error, "could not read configuration file %s: %s", quoted + 1,
                      strerror(errno));
    else if (!is_good)
        dynbuf_printf(error, "could not parse yaml file %s: %s", quoted + 1, dynbuf_text(&why));
    if (content.data != NULL)
        explicit_bzero(content.data, content.capacity);
    dynbuf_fini(&content);
    dynbuf_fini(&why);
    return is_good;
}
