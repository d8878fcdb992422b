/* The settings of cloudgate-proxy: struct config expands from config.def. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/check.h"
#include "common/conftab.h"
#include "common/dynbuf.h"
#include "common/log.h"

struct config {
#define SETTING_INT(environment, field, ...)           int field;
#define SETTING_DOUBLE(environment, field, ...)        double field;
#define SETTING_BOOL(environment, field, ...)          bool field;
#define SETTING_TEXT(environment, field, ...)          char *field;
#define SETTING_TEXT_NONEMPTY(environment, field, ...) char *field;
#define SETTING_REQUIRED(environment, field, ...)      char *field;
#define SETTING_SECRET(environment, field, ...)        char *field;
#define SETTING_LOG_LEVEL(environment, field, ...)     enum log_level field;
#define SETTING_CHOICE(environment, field, ...)        int field;
#define SETTING_NUMBERS(environment, field, ...)       struct conftab_numbers field;
#define ACCEPTED(...)
#include "dataplane/config.def"
#undef SETTING_INT
#undef SETTING_DOUBLE
#undef SETTING_BOOL
#undef SETTING_TEXT
#undef SETTING_TEXT_NONEMPTY
#undef SETTING_REQUIRED
#undef SETTING_SECRET
#undef SETTING_LOG_LEVEL
#undef SETTING_CHOICE
#undef SETTING_NUMBERS
#undef ACCEPTED
    uint8_t blocked_versions; /* blocked_protocol_versions as a set: versions.h */
    /* Nobody named the proxies: proxy_addresses is made of the address clients connect to. */
    bool derives_proxy_addresses;
    struct conftab_given *given; /* where each value came from; NULL before config_load_from */
};

/* Values of the settings with a choice, as config.def counts them. */
enum config_read_mode { CONFIG_READ_PRIMARY_ONLY, CONFIG_READ_DUAL_ASYNC };

/* Reads the settings of all sources into *config (common/conftab.h says which wins). false: *error
 * holds one line that names the setting, the value (secrets: never) and what is allowed. Names that
 * look like settings and are none are warned about in the log, with the nearest known one. Also
 * checks what spans settings, in zdm-proxy's order and with its words where it has any. Strings
 * belong to config; inputs must outlive config_print. config_fini is due either way. */
MUST_CHECK bool config_load_from(struct config *config, const struct conftab_inputs *inputs,
                                 struct dynbuf *error);
/* The same from an environment alone. */
MUST_CHECK bool config_load(struct config *config, char *const *environment, struct dynbuf *error);
void config_fini(struct config *config);

/* One line in the log for each setting that was given and has no effect here. */
void config_log_inert(const struct config *config);
/* --check-config: one line a setting, `NAME=value  # source`, secrets as ***. */
void config_print(const struct config *config, struct dynbuf *out);
/* The settings part of --help. */
void config_help(struct dynbuf *out);

/* Appends the name the setting `name` (ours) was given by: that, or its ZDM_ name or file key. */
void config_name(const struct config *config, const char *name, struct dynbuf *out);
/* True when that was not our name. */
bool config_is_alias(const struct config *config, const char *name);
