/* Settings of the control plane: the rows of config.def and what they cannot say by themselves.
 * Main thread, at start. */
#include "controlplane/config.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include "common/conftab.h"

static const struct conftab_setting settings[] = {
#define SETTING_INT(...)             CONFTAB_ROW_INT(struct control_config, __VA_ARGS__)
#define SETTING_DOUBLE(...)          CONFTAB_ROW_DOUBLE(struct control_config, __VA_ARGS__)
#define SETTING_TEXT_NONEMPTY(...)   CONFTAB_ROW_TEXT_NONEMPTY(struct control_config, __VA_ARGS__)
#define SETTING_TEXT(...)            CONFTAB_ROW_TEXT(struct control_config, __VA_ARGS__)
#define SETTING_BOOL(...)            CONFTAB_ROW_BOOL(struct control_config, __VA_ARGS__)
#define SETTING_SECRET_OPTIONAL(...) CONFTAB_ROW_SECRET_OPTIONAL(struct control_config, __VA_ARGS__)
#define SETTING_LOG_LEVEL(...)       CONFTAB_ROW_LOG_LEVEL(struct control_config, __VA_ARGS__)
#include "controlplane/config.def"
#undef SETTING_INT
#undef SETTING_DOUBLE
#undef SETTING_TEXT_NONEMPTY
#undef SETTING_TEXT
#undef SETTING_SECRET_OPTIONAL
#undef SETTING_BOOL
#undef SETTING_LOG_LEVEL
};

static const char *const prefixes[] = {"CONTROL_", NULL};

static const struct conftab table = {
    .settings = settings,
    .count = ARRAY_COUNT(settings),
    .prefixes = prefixes,
};

#define SOCKET_PATH_MAX 107 /* what a unix socket address holds */

/* An address, and whether only this machine can reach it. */
static bool read_address(const char *text, bool *is_loopback)
{
    struct in_addr v4;
    struct in6_addr v6;
    if (inet_pton(AF_INET, text, &v4) == 1) {
        *is_loopback = ntohl(v4.s_addr) >> 24 == 127;
        return true;
    }
    if (inet_pton(AF_INET6, text, &v6) == 1) {
        *is_loopback = IN6_IS_ADDR_LOOPBACK(&v6);
        return true;
    }
    return false;
}

static bool check_listening(const struct control_config *config, struct dynbuf *error)
{
    bool is_loopback;
    bool has_tls = config->tls_cert_path[0] != '\0';
    if (!read_address(config->http_address, &is_loopback)) {
        dynbuf_printf(error,
                      "CONTROL_HTTP_ADDRESS=\"%s\": allowed is an IPv4 or IPv6 address such as "
                      "127.0.0.1, 0.0.0.0 or ::1",
                      config->http_address);
        return false;
    }
    if (has_tls != (config->tls_key_path[0] != '\0')) {
        dynbuf_append_text(error,
                           "CONTROL_TLS_CERT_PATH and CONTROL_TLS_KEY_PATH: allowed are both "
                           "or neither");
        return false;
    }
    if (config->tls_client_ca_path[0] != '\0' && !has_tls) {
        dynbuf_append_text(error, "CONTROL_TLS_CLIENT_CA_PATH: it needs CONTROL_TLS_CERT_PATH");
        return false;
    }
    if (is_loopback || has_tls || config->allow_plain_http)
        return true;
    dynbuf_printf(
        error,
        "CONTROL_HTTP_ADDRESS=\"%s\": plain HTTP beyond loopback would let tokens be read "
        "on the way; set CONTROL_TLS_CERT_PATH and CONTROL_TLS_KEY_PATH, or "
        "CONTROL_ALLOW_PLAIN_HTTP=true if something else prevents that",
        config->http_address);
    return false;
}

static bool check_path(const char *name, const char *path, struct dynbuf *error)
{
    if (strlen(path) <= SOCKET_PATH_MAX)
        return true;
    dynbuf_printf(error, "%s=\"%s\": allowed is a path of at most %d bytes", name, path,
                  SOCKET_PATH_MAX);
    return false;
}

bool control_config_load(struct control_config *config, char *const *environment,
                         struct dynbuf *error)
{
    memset(config, 0, sizeof *config);
    if (!conftab_load(&table, config, environment, error))
        return false;
    conftab_log_unknown(&table, environment);
    if (config->admin_token[0] != '\0' && config->admin_token_file[0] != '\0') {
        dynbuf_append_text(error, "CONTROL_ADMIN_TOKEN and CONTROL_ADMIN_TOKEN_FILE are both set; "
                                  "allowed is one of them");
        return false;
    }
    if (strcmp(config->metrics_history, config->database) == 0) {
        dynbuf_append_text(error, "CONTROL_METRICS_HISTORY and CONTROL_DATABASE are the same file; "
                                  "allowed are two");
        return false;
    }
    return check_listening(config, error) && check_path("CONTROL_SOCKET", config->socket, error) &&
           check_path("CONTROL_API_SOCKET", config->api_socket, error);
}

void control_config_fini(struct control_config *config)
{
    conftab_fini(&table, config);
}

void control_config_print(const struct control_config *config, char *const *environment,
                          struct dynbuf *out)
{
    conftab_print(&table, config, environment, out);
}

void control_config_help(struct dynbuf *out)
{
    conftab_help(&table, out);
}
