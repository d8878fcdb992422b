/* Decisions about browsers' requests. Values in, verdict out; any thread. Must never look at
 * anything but what it is given. */
#include "controlplane/request_guard.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "controlplane/token.h"

#define HOST_MAX 255

/* Scheme, host and port of the origin must be those the request was sent to. */
static bool is_own_origin(const struct guard_headers *headers)
{
    const char *scheme = headers->is_tls ? "https://" : "http://";
    size_t length = strlen(scheme);
    return headers->host != NULL && strncasecmp(headers->origin, scheme, length) == 0 &&
           strcasecmp(headers->origin + length, headers->host) == 0;
}

/* Where the browser tells by itself (no page can forge Sec-Fetch-Site), that counts alone: a proxy
 * before us may change the host and the scheme we see. Otherwise the Origin must be ours. */
enum guard_verdict guard_browser(const struct guard_headers *headers, const char *expected_csrf)
{
    if (!headers->is_unsafe)
        return GUARD_GOOD; /* changes nothing, and no other site can read the answer */
    if (headers->fetch_site != NULL) {
        bool is_direct = expected_csrf == NULL && strcmp(headers->fetch_site, "none") == 0;
        if (strcmp(headers->fetch_site, "same-origin") != 0 && !is_direct)
            return GUARD_FOREIGN;
    } else if (headers->origin != NULL && !is_own_origin(headers)) {
        return GUARD_FOREIGN;
    }
    if (expected_csrf == NULL)
        return GUARD_GOOD;
    if (headers->fetch_site == NULL && headers->origin == NULL)
        return GUARD_UNKNOWN;
    if (headers->csrf == NULL || !token_text_equals(headers->csrf, expected_csrf))
        return GUARD_CSRF;
    return GUARD_GOOD;
}

const char *guard_cookie(const char *cookies, const char *name, size_t *length)
{
    const char *found = NULL;
    size_t name_length = strlen(name);
    for (const char *at = cookies == NULL ? "" : cookies; *at != '\0';) {
        at += strspn(at, " \t");
        size_t item = strcspn(at, ";");
        if (item > name_length && strncmp(at, name, name_length) == 0 && at[name_length] == '=') {
            if (found != NULL)
                return NULL; /* somebody planted a second one; none is believed */
            found = at + name_length + 1;
            *length = item - name_length - 1;
            while (*length > 0 && (found[*length - 1] == ' ' || found[*length - 1] == '\t'))
                --*length;
        }
        at += item + (at[item] == ';');
    }
    return found;
}

static bool is_listed(const char *name, size_t length, const char *names)
{
    for (const char *at = names; *at != '\0';) {
        at += strspn(at, " ,");
        size_t item = strcspn(at, " ,");
        if (item == length && item > 0 && strncasecmp(at, name, item) == 0)
            return true;
        at += item;
    }
    return false;
}

bool guard_host(const char *host, bool is_tls, const char *allowed)
{
    char name[HOST_MAX + 1];
    struct in6_addr address;
    if (host == NULL || is_tls)
        return true;
    bool is_v6 = host[0] == '[';
    const char *begin = host + is_v6;
    size_t length = strcspn(begin, is_v6 ? "]" : ":");
    const char *rest = begin + length + (is_v6 && begin[length] == ']');
    if (length == 0 || length > HOST_MAX || (is_v6 && begin[length] != ']') ||
        (*rest != '\0' && (*rest != ':' || strspn(rest + 1, "0123456789") != strlen(rest + 1))))
        return false;
    snprintf(name, sizeof name, "%.*s", (int)length, begin);
    if (is_v6)
        return inet_pton(AF_INET6, name, &address) == 1;
    return inet_pton(AF_INET, name, &address) == 1 || strcasecmp(name, "localhost") == 0 ||
           is_listed(name, length, allowed);
}
