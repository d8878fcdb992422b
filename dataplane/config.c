/* The settings of cloudgate-proxy: expands config.def into the table the engine works on, and reads
 * them in the order zdm-proxy does, so that of several faults the same one is named. Runs once, on
 * the main thread, before anything else; it opens nothing and resolves no names. */
#include "dataplane/config.h"

#include <string.h>

#include "dataplane/config_checks.h"
#include "dataplane/config_tls.h"

static const struct conftab_setting settings[] = {
#define SETTING_INT(...)           CONFTAB_ROW_INT(struct config, __VA_ARGS__)
#define SETTING_DOUBLE(...)        CONFTAB_ROW_DOUBLE(struct config, __VA_ARGS__)
#define SETTING_BOOL(...)          CONFTAB_ROW_BOOL(struct config, __VA_ARGS__)
#define SETTING_TEXT(...)          CONFTAB_ROW_TEXT(struct config, __VA_ARGS__)
#define SETTING_TEXT_NONEMPTY(...) CONFTAB_ROW_TEXT_NONEMPTY(struct config, __VA_ARGS__)
#define SETTING_REQUIRED(...)      CONFTAB_ROW_REQUIRED(struct config, __VA_ARGS__)
#define SETTING_SECRET(...)        CONFTAB_ROW_SECRET(struct config, __VA_ARGS__)
#define SETTING_LOG_LEVEL(...)     CONFTAB_ROW_LOG_LEVEL(struct config, __VA_ARGS__)
#define SETTING_CHOICE(...)        CONFTAB_ROW_CHOICE(struct config, __VA_ARGS__)
#define SETTING_NUMBERS(...)       CONFTAB_ROW_NUMBERS(struct config, __VA_ARGS__)
#define ACCEPTED(suffix, fallback, why)                                                            \
    CONFTAB_ROW_INERT("ZDM_" #suffix, #suffix, fallback, "No effect here: " why)
#define ZDM(suffix)       .alias = #suffix
#define ZDM_DEFAULT(text) .alias_fallback = text
#define ZDM_EMPTY(text)   .alias_empty = text
#define ZDM_WORDS(word_1, value_1, word_2, value_2)                                                \
    .alias_words = {{word_1, value_1}, {word_2, value_2}}
#define CHOICES(...) .choices = {__VA_ARGS__}
#define NOTE(text)   .note = text
#include "dataplane/config.def"
};

/* LOG_, STATE_ and DEBUG are left out: too many other programs use them. Slips such as LOG_LEVL are
 * found by likeness. */
static const char *const prefixes[] = {
    "PROXY_",      "ORIGIN_",    "TARGET_",    "CONTROL_", "CLUSTER_", "FORWARD_", "ENABLE_",
    "MAX_CLIENTS", "HEARTBEAT_", "READINESS_", "REQUEST_", "ZDM_",     "METRICS_", NULL};
/* Settings of cloudgate-control: both programs are often given one file of variables. */
static const char *const foreign[] = {"CONTROL_HTTP_", "CONTROL_DATABASE", NULL};

static const struct conftab table = {
    .settings = settings,
    .count = ARRAY_COUNT(settings),
    .prefixes = prefixes,
    .foreign = foreign,
    .alias_prefix = "ZDM_",
};

static const struct conftab_given *given_of(const struct config *config, const char *name)
{
    const struct conftab_setting *setting = conftab_row(&table, name);
    CHECK(setting != NULL && config->given != NULL);
    return &config->given[setting - settings];
}

void config_name(const struct config *config, const char *name, struct dynbuf *out)
{
    conftab_name(&table, conftab_row(&table, name), given_of(config, name), out);
}

bool config_is_alias(const struct config *config, const char *name)
{
    return given_of(config, name)->is_alias;
}

/* ---- what must be there ---- */

/* zdm-proxy asks for user names and passwords in the environment alone, and never for contact
 * points: those it misses later, with a text of its own, as it does when a bundle is given. */
static bool supply_required(struct config *config, const struct conftab_inputs *inputs,
                            struct dynbuf *error)
{
    bool uses_aliases = conftab_uses_aliases(&table, inputs);
    for (size_t i = 0; i < table.count; i++) {
        if (config->given[i].text != NULL)
            continue;
        const char *name = settings[i].name;
        bool is_origin = strncmp(name, "ORIGIN_", 7) == 0;
        bool is_points = strstr(name, "_CONTACT_POINTS") != NULL;
        const char *bundle = given_of(config, is_origin ? "ORIGIN_SECURE_CONNECT_BUNDLE_PATH"
                                                        : "TARGET_SECURE_CONNECT_BUNDLE_PATH")
                                 ->text;
        if (inputs->entry_count > 0 || (is_points && (uses_aliases || bundle[0] != '\0'))) {
            config->given[i].text = "";
            config->given[i].is_alias = uses_aliases;
        } else if (uses_aliases) {
            dynbuf_printf(error,
                          "could not load environment variables: required key %s%s missing value "
                          "(or %s; it may be empty)",
                          table.alias_prefix, settings[i].alias, name);
            return false;
        }
    }
    return true;
}

/* ---- in order ---- */

/* Rows that are looked at late, and what is checked in between: zdm-proxy's order. */
static const struct step {
    const char *name;
    bool (*check)(const struct config *config, struct dynbuf *error);
} steps[] = {
    {.name = "LOG_LEVEL"},
    {.name = "TARGET_CASSANDRA_PORT"},
    {.check = config_check_target},
    {.name = "ORIGIN_CASSANDRA_PORT"},
    {.check = config_check_origin},
    {.name = "METRICS_ORIGIN_LATENCY_BUCKETS_MS"},
    {.name = "METRICS_TARGET_LATENCY_BUCKETS_MS"},
    {.name = "METRICS_ASYNC_READ_LATENCY_BUCKETS_MS"},
    {.name = "PROXY_INDEX"},
    {.name = "PROXY_NUM_TOKENS"},
    {.check = config_check_topology},
    {.check = config_check_tls},
    {.name = "FORWARD_READS_TO_TARGET"},
    {.name = "FORWARD_SYSTEM_QUERIES_TO_TARGET"},
    {.name = "READ_MODE"},
    {.name = "CONTROL_CONN_MAX_PROTOCOL_VERSION"},
    {.check = config_check_versions},
    {.check = config_check_metrics_prefix},
    {.check = config_check_ports},
    {.check = config_check_heartbeats},
};

static bool is_late(const char *name)
{
    for (size_t i = 0; i < ARRAY_COUNT(steps); i++)
        if (steps[i].name != NULL && strcmp(steps[i].name, name) == 0)
            return true;
    return false;
}

static bool store_row(struct config *config, size_t row, struct dynbuf *error)
{
    if (conftab_store(&table, &settings[row], &config->given[row], config, error))
        return true;
    config_reword(config, settings[row].name, config->given[row].text, error);
    return false;
}

static bool store_in_order(struct config *config, struct dynbuf *error)
{
    for (size_t i = 0; i < table.count; i++)
        if (!is_late(settings[i].name) && !store_row(config, i, error))
            return false;
    for (size_t i = 0; i < ARRAY_COUNT(steps); i++) {
        const struct step *step = &steps[i];
        bool is_good =
            step->check != NULL
                ? step->check(config, error)
                : store_row(config, (size_t)(conftab_row(&table, step->name) - settings), error);
        if (!is_good)
            return false;
    }
    return true;
}

/* DEBUG=true is where LOG_LEVEL comes from then. */
static void apply_debug(struct config *config)
{
    if (!config->debug)
        return;
    const struct conftab_given *debug = given_of(config, "DEBUG");
    config->log_level = LOG_LEVEL_DEBUG;
    struct conftab_given *level = &config->given[conftab_row(&table, "LOG_LEVEL") - settings];
    level->source = debug->source;
    level->line = debug->line;
    level->is_alias = false;
}

bool config_load_from(struct config *config, const struct conftab_inputs *inputs,
                      struct dynbuf *error)
{
    *config = (struct config){.given = calloc(table.count, sizeof *config->given)};
    CHECK(config->given != NULL);
    if (inputs->environment != NULL)
        conftab_log_unknown(&table, inputs->environment);
    conftab_log_unknown_keys(&table, inputs);
    if (!conftab_resolve(&table, inputs, config->given, error) ||
        !supply_required(config, inputs, error) || !store_in_order(config, error))
        return false;
    apply_debug(config);
    config_derive(config);
    return true;
}

bool config_load(struct config *config, char *const *environment, struct dynbuf *error)
{
    struct conftab_inputs inputs = {.environment = environment};
    return config_load_from(config, &inputs, error);
}

void config_fini(struct config *config)
{
    conftab_fini(&table, config);
    free(config->given);
    config->given = NULL;
}

void config_log_inert(const struct config *config)
{
    for (size_t i = 0; i < table.count; i++) {
        const struct conftab_given *given = &config->given[i];
        if (settings[i].type != CONFTAB_INERT || given->source == CONFTAB_FROM_DEFAULT)
            continue;
        struct dynbuf name;
        dynbuf_init(&name, 256);
        conftab_name(&table, &settings[i], given, &name);
        LOG_INFO("setting_without_effect", "name=%s reason=\"%s\"", dynbuf_text(&name),
                 settings[i].meaning);
        dynbuf_fini(&name);
    }
}

void config_print(const struct config *config, struct dynbuf *out)
{
    conftab_print_given(&table, config, config->given, out);
}

void config_help(struct dynbuf *out)
{
    conftab_help(&table, out);
}
