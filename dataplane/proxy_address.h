/* An item of PROXY_ADDRESSES: `10.0.0.1`, `2001:db8::1`, `name`, each with or without a port:
 * `10.0.0.1:9042`, `[2001:db8::1]:9042`, `name:9042`. Pure: names are only told from addresses here
 * (start_names.c asks for them). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/check.h"

#define PROXY_ADDRESS_HOST_MAX 253 /* RFC 1035, as text */
#define PROXY_ADDRESS_TEXT_MAX (PROXY_ADDRESS_HOST_MAX + 8)

struct proxy_address {
    char host[PROXY_ADDRESS_HOST_MAX + 1]; /* without brackets */
    bool is_literal;                       /* host is an IP address, not a name */
    uint8_t bytes[16];                     /* is_literal: IPv4 mapped into IPv6 */
    uint16_t port;                         /* 0: none was given */
};

/* false: neither an address nor a possible host name, or a port out of range. */
MUST_CHECK bool proxy_address_parse(const char *text, size_t length, struct proxy_address *address);
/* The address as an item again, with its port if it has one. */
void proxy_address_format(const struct proxy_address *address,
                          char text[PROXY_ADDRESS_TEXT_MAX + 1]);
bool proxy_address_is_ipv4(const struct proxy_address *address);
