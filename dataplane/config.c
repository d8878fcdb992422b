/* The settings of cloudgate-proxy: expands config.def into the table the engine works on, and
 * checks what spans several settings. Runs once, on the main thread, before anything else; it opens
 * nothing and resolves no names. */
#include "dataplane/config.h"

#include <arpa/inet.h>
#include <string.h>

#include "common/conftab.h"
#include "dataplane/config_tls.h"

static const struct conftab_setting settings[] = {
#define SETTING_INT(environment, field, fallback, minimum, maximum, meaning)                       \
    CONFTAB_ROW_INT(struct config, environment, field, fallback, minimum, maximum, meaning)
#define SETTING_BOOL(environment, field, fallback, meaning)                                        \
    CONFTAB_ROW_BOOL(struct config, environment, field, fallback, meaning)
#define SETTING_TEXT(environment, field, fallback, meaning)                                        \
    CONFTAB_ROW_TEXT(struct config, environment, field, fallback, meaning)
#define SETTING_TEXT_NONEMPTY(environment, field, fallback, meaning)                               \
    CONFTAB_ROW_TEXT_NONEMPTY(struct config, environment, field, fallback, meaning)
#define SETTING_REQUIRED(environment, field, meaning)                                              \
    CONFTAB_ROW_REQUIRED(struct config, environment, field, meaning)
#define SETTING_SECRET(environment, field, meaning)                                                \
    CONFTAB_ROW_SECRET(struct config, environment, field, meaning)
#define SETTING_LOG_LEVEL(environment, field, fallback, meaning)                                   \
    CONFTAB_ROW_LOG_LEVEL(struct config, environment, field, fallback, meaning)
#include "dataplane/config.def"
};

/* LOG_, STATE_ and DEBUG are left out: too many other programs use them. Slips such as LOG_LEVL are
 * found by likeness. */
static const char *const prefixes[] = {"PROXY_",     "ORIGIN_",    "TARGET_",  "CONTROL_",
                                       "CLUSTER_",   "FORWARD_",   "ENABLE_",  "MAX_CLIENTS",
                                       "HEARTBEAT_", "READINESS_", "REQUEST_", NULL};
/* Settings of cloudgate-control: both programs are often given one file of variables. */
static const char *const foreign[] = {"CONTROL_HTTP_", "CONTROL_DATABASE", NULL};

static const struct conftab table = {settings, ARRAY_COUNT(settings), prefixes, foreign};

/* The next item of a comma-separated list without surrounding spaces; false at the end. An empty
 * item has length 0. */
static bool next_item(const char **cursor, const char **item, size_t *length)
{
    if (*cursor == NULL)
        return false;
    const char *comma = strchr(*cursor, ',');
    const char *start = *cursor;
    const char *end = comma == NULL ? start + strlen(start) : comma;
    while (start < end && (*start == ' ' || *start == '\t'))
        start++;
    while (end > start && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    *item = start;
    *length = (size_t)(end - start);
    *cursor = comma == NULL ? NULL : comma + 1;
    return true;
}

static bool is_ip_literal(const char *text, size_t length)
{
    char copy[INET6_ADDRSTRLEN];
    unsigned char address[sizeof(struct in6_addr)];
    if (length == 0 || length >= sizeof copy)
        return false;
    memcpy(copy, text, length);
    copy[length] = '\0';
    return inet_pton(AF_INET, copy, address) == 1 || inet_pton(AF_INET6, copy, address) == 1;
}

static bool check_proxy_addresses(const struct config *config, struct dynbuf *error)
{
    const char *cursor = config->proxy_addresses;
    const char *item;
    size_t length;
    int count = 0;
    while (next_item(&cursor, &item, &length)) {
        char quoted[128];
        count++;
        if (!is_ip_literal(item, length)) {
            dynbuf_printf(
                error,
                "invalid proxy address in PROXY_ADDRESSES: %s: each item must be an IP address",
                log_quote(quoted, sizeof quoted, item, length));
            return false;
        }
    }
    if (config->proxy_index < count)
        return true;
    dynbuf_printf(
        error,
        "PROXY_INDEX=%d is not allowed: it must be less than the number of PROXY_ADDRESSES (%d)",
        config->proxy_index, count);
    return false;
}

/* bundle: takes the place of contact points. */
static bool check_contact_points(const char *name, const char *list, const char *bundle,
                                 struct dynbuf *error)
{
    if (list[0] == '\0' && bundle[0] != '\0')
        return true;
    const char *cursor = list;
    const char *item;
    size_t length;
    while (next_item(&cursor, &item, &length)) {
        if (length > 0 && memchr(item, ' ', length) == NULL)
            continue;
        char quoted[128];
        dynbuf_printf(
            error,
            "%s=%s is not allowed: it must be a comma-separated list of at least one host "
            "name or address, without empty items",
            name, log_quote(quoted, sizeof quoted, list, strlen(list)));
        return false;
    }
    return true;
}

static bool is_wildcard(const char *address)
{
    return strcmp(address, "0.0.0.0") == 0 || strcmp(address, "::") == 0;
}

static bool check_ports(const struct config *config, struct dynbuf *error)
{
    bool same_address = strcmp(config->metrics_address, config->query_address) == 0 ||
                        is_wildcard(config->metrics_address) || is_wildcard(config->query_address);
    if (!same_address || config->metrics_port != config->query_port)
        return true;
    dynbuf_printf(error,
                  "PROXY_METRICS_PORT=%d is not allowed: it must differ from PROXY_QUERY_PORT on "
                  "the same address",
                  config->metrics_port);
    return false;
}

static bool check_heartbeats(const struct config *config, struct dynbuf *error)
{
    if (config->heartbeat_retry_interval_min_ms <= config->heartbeat_retry_interval_max_ms)
        return true;
    dynbuf_printf(error,
                  "HEARTBEAT_RETRY_INTERVAL_MIN_MS=%d is not allowed: it must not exceed "
                  "HEARTBEAT_RETRY_INTERVAL_MAX_MS (%d)",
                  config->heartbeat_retry_interval_min_ms, config->heartbeat_retry_interval_max_ms);
    return false;
}

bool config_load(struct config *config, char *const *environment, struct dynbuf *error)
{
    *config = (struct config){0};
    conftab_log_unknown(&table, environment);
    if (!conftab_load(&table, config, environment, error))
        return false;
    if (config->debug)
        config->log_level = LOG_LEVEL_DEBUG;
    return check_proxy_addresses(config, error) &&
           check_contact_points("ORIGIN_CASSANDRA_CONTACT_POINTS", config->origin_contact_points,
                                config->origin_secure_connect_bundle_path, error) &&
           check_contact_points("TARGET_CASSANDRA_CONTACT_POINTS", config->target_contact_points,
                                config->target_secure_connect_bundle_path, error) &&
           check_ports(config, error) && check_heartbeats(config, error) &&
           config_check_tls(config, error);
}

void config_fini(struct config *config)
{
    conftab_fini(&table, config);
}

void config_print(const struct config *config, char *const *environment, struct dynbuf *out)
{
    if (!config->debug || conftab_find(environment, "LOG_LEVEL") != NULL) {
        conftab_print(&table, config, environment, out);
        return;
    }
    /* DEBUG=true is where LOG_LEVEL came from: say so. */
    static char log_level_by_alias[] = "LOG_LEVEL=DEBUG";
    size_t count = 0;
    while (environment[count] != NULL)
        count++;
    char **extended = calloc(count + 2, sizeof *extended);
    CHECK(extended != NULL);
    memcpy(extended, environment, count * sizeof *extended);
    extended[count] = log_level_by_alias;
    conftab_print(&table, config, extended, out);
    free(extended);
}

void config_help(struct dynbuf *out)
{
    conftab_help(&table, out);
}
