/* Checks that span several settings, with zdm-proxy's words where it has them. Runs once, on the
 * main thread, before anything else; it opens nothing and resolves no names. */
#include "dataplane/config_checks.h"

#include <arpa/inet.h>
#include <string.h>

#include "dataplane/proxy_address.h"
#include "dataplane/versions.h"

#define PREFIX_MAX_BYTES 48

/* The name a setting was given by, for a message. */
struct spelled {
    char text[80];
};

static struct spelled spell(const struct config *config, const char *name)
{
    struct spelled spelled;
    struct dynbuf text;
    dynbuf_init(&text, sizeof spelled.text);
    config_name(config, name, &text);
    snprintf(spelled.text, sizeof spelled.text, "%s", dynbuf_text(&text));
    dynbuf_fini(&text);
    return spelled;
}

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

/* ---- clusters ---- */

/* One cluster's settings, and the words for them. */
struct side {
    const char *name, *title; /* "origin", "Origin" */
    const char *points_name, *port_name;
    const char *points, *bundle, *datacenter;
    int port;
    bool is_assigned;
};

static bool check_contact_points(const struct config *config, const struct side *side,
                                 struct dynbuf *error)
{
    const char *cursor = side->points;
    const char *item;
    size_t length;
    while (next_item(&cursor, &item, &length)) {
        if (length > 0 && memchr(item, ' ', length) == NULL)
            continue;
        char quoted[128];
        dynbuf_printf(error,
                      "%s=%s is not allowed: it must be a comma-separated list of at least one "
                      "host name or address, without empty items",
                      spell(config, side->points_name).text,
                      log_quote(quoted, sizeof quoted, side->points, strlen(side->points)));
        return false;
    }
    return true;
}

static bool check_side(const struct config *config, const struct side *side, struct dynbuf *error)
{
    bool has_points = side->points[0] != '\0';
    bool has_bundle = side->bundle[0] != '\0';
    const char *title = side->title;
    char prefix[48];
    snprintf(prefix, sizeof prefix, "invalid %s configuration: ", side->name);
    if (has_points && has_bundle) {
        dynbuf_printf(error,
                      "%s%sSecureConnectBundlePath and %sContactPoints are mutually exclusive. "
                      "Please specify only one of them.",
                      prefix, title, title);
        return false;
    }
    if (!has_points && !has_bundle) {
        dynbuf_printf(error,
                      "%sBoth %sSecureConnectBundlePath and %sContactPoints are empty. Please "
                      "specify either one of them. (%s=\"\": it must name at least one host)",
                      prefix, title, title, spell(config, side->points_name).text);
        return false;
    }
    if (has_points && side->port == 0) {
        dynbuf_printf(error,
                      "%s%sContactPoints was specified but the port is missing. Please provide "
                      "%sPort (%s=0: it must be an integer from 1 to 65535)",
                      prefix, title, title, spell(config, side->port_name).text);
        return false;
    }
    if (has_bundle && side->datacenter[0] != '\0') {
        dynbuf_printf(error,
                      "%s%sSecureConnectBundlePath and %sLocalDatacenter are mutually exclusive. "
                      "Please specify only one of them.",
                      prefix, title, title);
        return false;
    }
    if (side->datacenter[0] != '\0' && !side->is_assigned) {
        dynbuf_printf(error,
                      "%s%sLocalDatacenter was specified but %sEnableHostAssignment is false. "
                      "Please enable host assignment or don't set the datacenter.",
                      prefix, title, title);
        return false;
    }
    return has_bundle || check_contact_points(config, side, error);
}

bool config_check_origin(const struct config *config, struct dynbuf *error)
{
    struct side side = {
        .name = "origin",
        .title = "Origin",
        .points_name = "ORIGIN_CASSANDRA_CONTACT_POINTS",
        .port_name = "ORIGIN_CASSANDRA_PORT",
        .points = config->origin_contact_points,
        .bundle = config->origin_secure_connect_bundle_path,
        .datacenter = config->origin_local_datacenter,
        .port = config->origin_port,
        .is_assigned = config->origin_enable_host_assignment,
    };
    return check_side(config, &side, error);
}

bool config_check_target(const struct config *config, struct dynbuf *error)
{
    struct side side = {
        .name = "target",
        .title = "Target",
        .points_name = "TARGET_CASSANDRA_CONTACT_POINTS",
        .port_name = "TARGET_CASSANDRA_PORT",
        .points = config->target_contact_points,
        .bundle = config->target_secure_connect_bundle_path,
        .datacenter = config->target_local_datacenter,
        .port = config->target_port,
        .is_assigned = config->target_enable_host_assignment,
    };
    return check_side(config, &side, error);
}

/* ---- topology ---- */

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

static void refuse_proxy_address(const struct config *config, const char *item, size_t length,
                                 struct dynbuf *error)
{
    char quoted[128];
    log_quote(quoted, sizeof quoted, item, length);
    bool is_alias = config_is_alias(config, "PROXY_ADDRESSES");
    size_t inside = strlen(quoted) - 2;
    dynbuf_printf(error,
                  "invalid proxy address in %s%s: %.*s: each item must be an IP address or a host "
                  "name, with a "
                  "port (1 to 65535) or without",
                  spell(config, "PROXY_ADDRESSES").text, is_alias ? " env var" : "",
                  (int)(is_alias ? inside : inside + 2), is_alias ? quoted + 1 : quoted);
}

bool config_check_topology(const struct config *config, struct dynbuf *error)
{
    const char *cursor = config->proxy_addresses;
    const char *item;
    size_t length;
    int count = 0;
    /* No list, which only the ZDM_ names allow: this proxy alone. */
    bool is_derived = config->proxy_addresses[0] == '\0';
    while (!is_derived && next_item(&cursor, &item, &length)) {
        count++;
        struct proxy_address address;
        if (!proxy_address_parse(item, length, &address)) {
            refuse_proxy_address(config, item, length, error);
            return false;
        }
    }
    if (is_derived)
        count = 1;
    if (config->proxy_index < count)
        return true;
    dynbuf_printf(
        error,
        "invalid %s and %s values; proxy index (%d) must be less than length of addresses "
        "(%d) and non negative",
        spell(config, "PROXY_INDEX").text, spell(config, "PROXY_ADDRESSES").text,
        config->proxy_index, count);
    return false;
}

/* ---- the rest ---- */

bool config_check_versions(const struct config *config, struct dynbuf *error)
{
    uint8_t set;
    char bad[64], quoted[128];
    if (versions_parse(config->blocked_protocol_versions, &set, bad))
        return true;
    log_quote(quoted, sizeof quoted, bad, strlen(bad));
    dynbuf_printf(error, "invalid value for %s (%.*s); possible values are: %s (case insensitive)",
                  spell(config, "BLOCKED_PROTOCOL_VERSIONS").text, (int)strlen(quoted) - 2,
                  quoted + 1, VERSIONS_NAMES);
    return false;
}

/* A Prometheus metric name begins with a letter, _ or :, and goes on with these or digits. */
bool config_check_metrics_prefix(const struct config *config, struct dynbuf *error)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_:0123456789";
    const char *prefix = config->metrics_prefix;
    size_t length = strlen(prefix);
    bool starts_well = prefix[0] < '0' || prefix[0] > '9';
    if (starts_well && length <= PREFIX_MAX_BYTES && strspn(prefix, allowed) == length)
        return true;
    char quoted[128];
    dynbuf_printf(error,
                  "%s=%s is not allowed: it must be the beginning of a metric name: letters, "
                  "digits, _ and :, no digit first, at most %d bytes",
                  spell(config, "METRICS_PREFIX").text,
                  log_quote(quoted, sizeof quoted, prefix, length), PREFIX_MAX_BYTES);
    return false;
}

static bool is_wildcard(const char *address)
{
    return strcmp(address, "0.0.0.0") == 0 || strcmp(address, "::") == 0;
}

bool config_check_ports(const struct config *config, struct dynbuf *error)
{
    bool same_address = strcmp(config->metrics_address, config->query_address) == 0 ||
                        is_wildcard(config->metrics_address) || is_wildcard(config->query_address);
    if (!same_address || config->metrics_port != config->query_port)
        return true;
    dynbuf_printf(error, "%s=%d is not allowed: it must differ from %s on the same address",
                  spell(config, "PROXY_METRICS_PORT").text, config->metrics_port,
                  spell(config, "PROXY_QUERY_PORT").text);
    return false;
}

bool config_check_heartbeats(const struct config *config, struct dynbuf *error)
{
    if (config->heartbeat_retry_interval_min_ms <= config->heartbeat_retry_interval_max_ms)
        return true;
    dynbuf_printf(error, "%s=%d is not allowed: it must not exceed %s (%d)",
                  spell(config, "HEARTBEAT_RETRY_INTERVAL_MIN_MS").text,
                  config->heartbeat_retry_interval_min_ms,
                  spell(config, "HEARTBEAT_RETRY_INTERVAL_MAX_MS").text,
                  config->heartbeat_retry_interval_max_ms);
    return false;
}

static char *copy_text(const char *text)
{
    char *copy = strdup(text);
    CHECK(copy != NULL);
    return copy;
}

void config_derive(struct config *config)
{
    char bad[64];
    bool is_list =
        versions_parse(config->blocked_protocol_versions, &config->blocked_versions, bad);
    CHECK(is_list); /* config_check_versions has seen it */
    if (config->origin_connection_timeout_ms == 0)
        config->origin_connection_timeout_ms = config->cluster_connection_timeout_ms;
    if (config->target_connection_timeout_ms == 0)
        config->target_connection_timeout_ms = config->cluster_connection_timeout_ms;
    if (config->proxy_addresses[0] == '\0') {
        const char *address = config->query_address;
        config->derives_proxy_addresses = true;
        free(config->proxy_addresses);
        config->proxy_addresses =
            copy_text(is_ip_literal(address, strlen(address)) ? address : "127.0.0.1");
    }
}

void config_reword(const struct config *config, const char *name, const char *text,
                   struct dynbuf *error)
{
    long long number;
    char quoted[128];
    if (text == NULL || !config_is_alias(config, name))
        return;
    if (strcmp(name, "LOG_LEVEL") == 0) {
        dynbuf_reset(error);
        dynbuf_printf(error,
                      "invalid log level: invalid log level, valid log levels are PANIC, FATAL, "
                      "ERROR, WARN or WARNING, INFO, DEBUG and TRACE; original err: %s=%s",
                      spell(config, name).text,
                      log_quote(quoted, sizeof quoted, text, strlen(text)));
    } else if (strcmp(name, "PROXY_NUM_TOKENS") == 0 && conftab_parse_int(text, &number)) {
        dynbuf_reset(error);
        dynbuf_printf(error, "invalid %s (%lld), it must be positive and equal or less than 256",
                      spell(config, name).text, number);
    } else if (strcmp(name, "PROXY_INDEX") == 0 && conftab_parse_int(text, &number)) {
        dynbuf_reset(error);
        dynbuf_printf(error,
                      "invalid %s and %s values; proxy index (%lld) must be less than length of "
                      "addresses and non negative",
                      spell(config, name).text, spell(config, "PROXY_ADDRESSES").text, number);
    }
}
