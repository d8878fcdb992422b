/* Host names among the proxy's own addresses, asked for once, before anything runs: afterwards the
 * settings hold IP addresses only. */
#pragma once

#include <stdbool.h>

#include "common/check.h"
#include "common/dynbuf.h"

struct config;

/* Replaces the names in PROXY_QUERY_ADDRESS, PROXY_METRICS_ADDRESS and PROXY_ADDRESSES by the first
 * address each resolves to, IPv4 before IPv6. May block as long as the system's resolver does.
 * false: *error names the setting and the name that does not resolve, or the proxy that is listed
 * twice. */
MUST_CHECK bool start_names_resolve(struct config *config, struct dynbuf *error);
