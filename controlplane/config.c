/* Settings of the control plane: the rows of config.def and what they cannot say by themselves.
 * Main thread, at start. */
#include "controlplane/config.h"

#include <arpa/inet.h>
#include <string.h>

#include "common/conftab.h"

static const struct conftab_setting settings[] = {
#define SETTING_INT(...)             CONFTAB_ROW_INT(struct control_config, __VA_ARGS__)
#define SETTING_TEXT_NONEMPTY(...)   CONFTAB_ROW_TEXT_NONEMPTY(struct control_config, __VA_ARGS__)
#define SETTING_TEXT(...)            CONFTAB_ROW_TEXT(struct control_config, __VA_ARGS__)
#define SETTING_BOOL(...)            CONFTAB_ROW_BOOL(struct control_config, __VA_ARGS__)
#define SETTING_SECRET_OPTIONAL(...) CONFTAB_ROW_SECRET_OPTIONAL(struct control_config, __VA_ARGS__)
#define SETTING_LOG_LEVEL(...)       CONFTAB_ROW_LOG_LEVEL(struct control_config, __VA_ARGS__)
#include "controlplane/config.def"
#undef SETTING_INT
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

bool control_config_load(struct control_config *config, char *const *environment,
                         struct dynbuf *error)
{
    struct in_addr address;
    memset(config, 0, sizeof *config);
    if (!conftab_load(&table, config, environment, error))
        return false;
    conftab_log_unknown(&table, environment);
    if (inet_pton(AF_INET, config->http_address, &address) != 1) {
        dynbuf_printf(
            error,
            "CONTROL_HTTP_ADDRESS=\"%s\": allowed is an IPv4 address such as 127.0.0.1 or 0.0.0.0",
            config->http_address);
        return false;
    }
    if (!config->allow_plain_http && ntohl(address.s_addr) >> 24 != 127) {
        dynbuf_printf(error,
                      "CONTROL_HTTP_ADDRESS=\"%s\": plain HTTP beyond loopback would let tokens be "
                      "read on the way; set CONTROL_ALLOW_PLAIN_HTTP=true if something else "
                      "prevents that",
                      config->http_address);
        return false;
    }
    if (config->admin_token[0] != '\0' && config->admin_token_file[0] != '\0') {
        dynbuf_append_text(error, "CONTROL_ADMIN_TOKEN and CONTROL_ADMIN_TOKEN_FILE are both set; "
                                  "allowed is one of them");
        return false;
    }
    if (strlen(config->socket) > SOCKET_PATH_MAX) {
        dynbuf_printf(error, "CONTROL_SOCKET=\"%s\": allowed is a path of at most %d bytes",
                      config->socket, SOCKET_PATH_MAX);
        return false;
    }
    return true;
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
