/* Reads the configuration file and looks up host names. Main thread, at start, where blocking harms
 * nobody; nothing here may run once clients are served. */
#include "dataplane/config_file.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "dataplane/config_checks.h"

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

/* ---- names ---- */

static bool is_literal(const char *text)
{
    unsigned char address[sizeof(struct in6_addr)];
    return inet_pton(AF_INET, text, address) == 1 || inet_pton(AF_INET6, text, address) == 1;
}

static bool look_up(const struct config *config, const char *name, char **address,
                    struct dynbuf *error)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    char literal[INET6_ADDRSTRLEN + 16] = "";
    if (is_literal(*address))
        return true;
    int failure = getaddrinfo(*address, NULL, &hints, &found);
    const struct addrinfo *chosen = NULL;
    for (const struct addrinfo *at = found; failure == 0 && at != NULL; at = at->ai_next)
        if (chosen == NULL || (chosen->ai_family != AF_INET && at->ai_family == AF_INET))
            chosen = at;
    if (chosen != NULL)
        failure = getnameinfo(chosen->ai_addr, chosen->ai_addrlen, literal, sizeof literal, NULL, 0,
                              NI_NUMERICHOST);
    if (found != NULL)
        freeaddrinfo(found);
    if (literal[0] == '\0') {
        char quoted[128];
        config_name(config, name, error);
        dynbuf_printf(error, "=%s is not allowed: it must be an IP address or the name of one: %s",
                      log_quote(quoted, sizeof quoted, *address, strlen(*address)),
                      failure == 0 ? "it has no address" : gai_strerror(failure));
        return false;
    }
    LOG_INFO("address_resolved", "setting=%s address=%s", name, literal);
    free(*address);
    *address = strdup(literal);
    CHECK(*address != NULL);
    return true;
}

bool config_resolve_listen(struct config *config, struct dynbuf *error)
{
    if (!look_up(config, "PROXY_QUERY_ADDRESS", &config->query_address, error) ||
        !look_up(config, "PROXY_METRICS_ADDRESS", &config->metrics_address, error))
        return false;
    if (config->derives_proxy_addresses) {
        free(config->proxy_addresses);
        config->proxy_addresses = strdup(config->query_address);
        CHECK(config->proxy_addresses != NULL);
    }
    return config_check_ports(config, error);
}
