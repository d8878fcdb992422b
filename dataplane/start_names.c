/* Resolving the proxy's own names at start, on the main thread, while there is nobody to keep
 * waiting. Must not run later: the answers are part of host ids that drivers remember. */
#include "dataplane/start_names.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "dataplane/config.h"
#include "dataplane/proxy_address.h"
#include "dataplane/text_list.h"

static bool take_address(const struct addrinfo *found, int family, struct proxy_address *address)
{
    char text[INET6_ADDRSTRLEN];
    uint16_t port = address->port;
    for (; found != NULL; found = found->ai_next) {
        if (found->ai_family != family)
            continue;
        const void *bytes =
            family == AF_INET
                ? (const void *)&((const struct sockaddr_in *)(const void *)found->ai_addr)
                      ->sin_addr
                : (const void *)&((const struct sockaddr_in6 *)(const void *)found->ai_addr)
                      ->sin6_addr;
        if (inet_ntop(family, bytes, text, sizeof text) == NULL ||
            !proxy_address_parse(text, strlen(text), address))
            continue;
        address->port = port;
        return true;
    }
    return false;
}

/* Turns a name into an address; an address stays as it is. */
static bool resolve(const char *setting, struct proxy_address *address, struct dynbuf *error)
{
    char name[PROXY_ADDRESS_HOST_MAX + 1];
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    if (address->is_literal)
        return true;
    memcpy(name, address->host, sizeof name);
    int code = getaddrinfo(name, NULL, &hints, &found);
    bool is_resolved = code == 0 && (take_address(found, AF_INET, address) ||
                                     take_address(found, AF_INET6, address));
    if (code == 0)
        freeaddrinfo(found);
    if (!is_resolved) {
        dynbuf_printf(error, "%s: the host name %s does not resolve: %s", setting, name,
                      code == 0 ? "it has no IP address" : gai_strerror(code));
        return false;
    }
    LOG_INFO("name_resolved", "setting=%s name=%s address=%s", setting, name, address->host);
    return true;
}

static void replace(char **setting, const char *text)
{
    char *copy = strdup(text);
    CHECK(copy != NULL);
    free(*setting);
    *setting = copy;
}

/* Turns the host name of an address to listen on into an address. */
static bool resolve_listen(const char *setting, char **text, struct proxy_address *address,
                           bool *was_name, struct dynbuf *error)
{
    if (!proxy_address_parse(*text, strlen(*text), address) || address->port != 0) {
        char quoted[128];
        dynbuf_printf(error, "%s=%s is neither an IP address nor a host name", setting,
                      log_quote(quoted, sizeof quoted, *text, strlen(*text)));
        return false;
    }
    *was_name = !address->is_literal;
    if (!resolve(setting, address, error))
        return false;
    replace(text, address->host);
    return true;
}

static bool resolve_query_address(struct config *config, struct dynbuf *error)
{
    struct proxy_address address;
    bool was_name;
    if (!resolve_listen("PROXY_QUERY_ADDRESS", &config->query_address, &address, &was_name, error))
        return false;
    /* zdm-proxy shows drivers the IPv4 address it listens on. */
    if (config->derives_proxy_addresses && was_name && proxy_address_is_ipv4(&address))
        replace(&config->proxy_addresses, address.host);
    return true;
}

static bool resolve_metrics_address(struct config *config, struct dynbuf *error)
{
    struct proxy_address address;
    bool was_name;
    return resolve_listen("PROXY_METRICS_ADDRESS", &config->metrics_address, &address, &was_name,
                          error);
}

static bool resolve_proxy_addresses(struct config *config, struct dynbuf *error)
{
    const char *at = config->proxy_addresses;
    char item[PROXY_ADDRESS_TEXT_MAX + 1];
    char text[PROXY_ADDRESS_TEXT_MAX + 1];
    struct dynbuf list;
    bool is_good = true;
    dynbuf_init(&list, (size_t)256 * 1024);
    while (is_good && text_list_next(&at, item, sizeof item)) {
        struct proxy_address address;
        is_good = proxy_address_parse(item, strlen(item), &address) &&
                  resolve("PROXY_ADDRESSES", &address, error);
        if (!is_good)
            break;
        proxy_address_format(&address, text);
        const char *before = dynbuf_text(&list);
        char other[PROXY_ADDRESS_TEXT_MAX + 1];
        while (is_good && text_list_next(&before, other, sizeof other))
            is_good = strcmp(other, text) != 0;
        if (!is_good)
            dynbuf_printf(error, "PROXY_ADDRESSES lists the proxy %s twice", text);
        if (list.length > 0)
            dynbuf_append_text(&list, ",");
        dynbuf_append_text(&list, text);
    }
    if (is_good && list.failed) {
        dynbuf_append_text(error, "PROXY_ADDRESSES is too long a list");
        is_good = false;
    }
    if (is_good)
        replace(&config->proxy_addresses, dynbuf_text(&list));
    dynbuf_fini(&list);
    return is_good;
}

bool start_names_resolve(struct config *config, struct dynbuf *error)
{
    return resolve_query_address(config, error) && resolve_metrics_address(config, error) &&
           resolve_proxy_addresses(config, error);
}
