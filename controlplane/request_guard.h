/* What a browser may be tricked into, decided from headers alone: requests from pages of other
 * sites, names that were pointed at us, cookies. Pure. Header values may be NULL: not sent. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/check.h"

enum guard_verdict {
    GUARD_GOOD,
    GUARD_FOREIGN, /* the request comes from a page of another site */
    GUARD_UNKNOWN, /* it carries a cookie, and nothing says which page it comes from */
    GUARD_CSRF,    /* X-CSRF-Token is missing or is not that of the session */
};

struct guard_headers {
    bool is_unsafe; /* neither GET nor HEAD */
    bool is_tls;
    const char *host;
    const char *origin;
    const char *fetch_site; /* Sec-Fetch-Site */
    const char *csrf;       /* X-CSRF-Token */
};

/* expected_csrf: that of the session the request's cookie names; NULL: the request does not live on
 * a cookie, and only what clearly comes from another site is refused. */
enum guard_verdict guard_browser(const struct guard_headers *headers, const char *expected_csrf);

/* The value of the one cookie of that name, and its length. NULL: none, or more than one. */
const char *guard_cookie(const char *cookies, const char *name, size_t *length);

/* Whether a plain HTTP request may name this host: an IP address, localhost, or one of allowed
 * (names divided by commas). Under TLS the certificate decides, and any name will do. A name that
 * an attacker points at our address is neither. */
bool guard_host(const char *host, bool is_tls, const char *allowed);
