/* The settings of cloudgate-proxy: struct config expands from config.def. */
#pragma once

#include <stdbool.h>

#include "common/check.h"
#include "common/dynbuf.h"
#include "common/log.h"

struct config {
#define SETTING_INT(environment, field, fallback, minimum, maximum, meaning) int field;
#define SETTING_BOOL(environment, field, fallback, meaning)                  bool field;
#define SETTING_TEXT(environment, field, fallback, meaning)                  char *field;
#define SETTING_TEXT_NONEMPTY(environment, field, fallback, meaning)         char *field;
#define SETTING_REQUIRED(environment, field, meaning)                        char *field;
#define SETTING_SECRET(environment, field, meaning)                          char *field;
#define SETTING_LOG_LEVEL(environment, field, fallback, meaning)             enum log_level field;
#include "dataplane/config.def"
#undef SETTING_INT
#undef SETTING_BOOL
#undef SETTING_TEXT
#undef SETTING_TEXT_NONEMPTY
#undef SETTING_REQUIRED
#undef SETTING_SECRET
#undef SETTING_LOG_LEVEL
};

/* Reads the environment into *config. false: *error holds one line that names the variable, the
 * value (secrets: never) and what is allowed. Unknown variables with one of our prefixes are warned
 * about in the log, with the nearest known name. Also checks what spans settings: PROXY_INDEX below
 * the number of PROXY_ADDRESSES, each of those an IP literal. Strings belong to config. */
MUST_CHECK bool config_load(struct config *config, char *const *environment, struct dynbuf *error);
void config_fini(struct config *config);

/* --check-config: one line a setting, `NAME=value  # source`, secrets as ***. */
void config_print(const struct config *config, char *const *environment, struct dynbuf *out);
/* The settings part of --help. */
void config_help(struct dynbuf *out);
