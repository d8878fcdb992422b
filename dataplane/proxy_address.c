/* Reading and writing items of PROXY_ADDRESSES. Pure. */
#include "dataplane/proxy_address.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

/* 1 to 65535, digits only. */
static bool read_port(const char *text, size_t length, uint16_t *port)
{
    unsigned value = 0;
    if (length == 0 || length > 5)
        return false;
    for (size_t i = 0; i < length; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        value = value * 10 + (unsigned)(text[i] - '0');
    }
    *port = (uint16_t)value;
    return value > 0 && value <= 65535;
}

/* Letters, digits, hyphens, underscores and dots; nothing that only misses being an IPv4 address.
 */
static bool is_name(const char *host)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
    size_t length = strlen(host);
    return length > 0 && strspn(host, allowed) == length && host[0] != '-' && host[0] != '.' &&
           strspn(host, "0123456789.") != length;
}

bool proxy_address_parse(const char *text, size_t length, struct proxy_address *address)
{
    const char *host = text;
    size_t host_length = length;
    const char *first_colon = memchr(text, ':', length);
    const char *last_colon = memrchr(text, ':', length);
    bool is_bracketed = length > 0 && text[0] == '[';
    *address = (struct proxy_address){.port = 0};
    if (is_bracketed) {
        const char *end = memchr(text, ']', length);
        if (end == NULL)
            return false;
        const char *after = end + 1;
        size_t rest = length - (size_t)(after - text);
        host = text + 1;
        host_length = (size_t)(end - host);
        if (rest > 0 && (after[0] != ':' || !read_port(after + 1, rest - 1, &address->port)))
            return false;
    } else if (first_colon != NULL && first_colon == last_colon) {
        host_length = (size_t)(first_colon - text);
        if (!read_port(first_colon + 1, length - host_length - 1, &address->port))
            return false;
    }
    if (host_length > PROXY_ADDRESS_HOST_MAX)
        return false;
    memcpy(address->host, host, host_length);
    address->host[host_length] = '\0';
    address->bytes[10] = address->bytes[11] = 0xff;
    address->is_literal =
        (!is_bracketed && inet_pton(AF_INET, address->host, address->bytes + 12) == 1) ||
        inet_pton(AF_INET6, address->host, address->bytes) == 1;
    return address->is_literal || (!is_bracketed && is_name(address->host));
}

void proxy_address_format(const struct proxy_address *address,
                          char text[PROXY_ADDRESS_TEXT_MAX + 1])
{
    bool has_colons = strchr(address->host, ':') != NULL;
    if (address->port == 0)
        snprintf(text, PROXY_ADDRESS_TEXT_MAX + 1, "%s", address->host);
    else
        snprintf(text, PROXY_ADDRESS_TEXT_MAX + 1, has_colons ? "[%s]:%u" : "%s:%u", address->host,
                 (unsigned)address->port);
}

bool proxy_address_is_ipv4(const struct proxy_address *address)
{
    static const uint8_t prefix[12] = {[10] = 0xff, [11] = 0xff};
    return address->is_literal && memcmp(address->bytes, prefix, sizeof prefix) == 0;
}
