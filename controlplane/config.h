/* The settings of cloudgate-control: struct control_config expands from config.def. */
#pragma once

#include <stdbool.h>

#include "common/check.h"
#include "common/dynbuf.h"
#include "common/log.h"

struct control_config {
#define SETTING_INT(environment, field, fallback, minimum, maximum, meaning)    int field;
#define SETTING_DOUBLE(environment, field, fallback, minimum, maximum, meaning) double field;
#define SETTING_TEXT_NONEMPTY(environment, field, fallback, meaning)            char *field;
#define SETTING_TEXT(environment, field, fallback, meaning)                     char *field;
#define SETTING_SECRET_OPTIONAL(environment, field, meaning)                    char *field;
#define SETTING_BOOL(environment, field, fallback, meaning)                     bool field;
#define SETTING_LOG_LEVEL(environment, field, fallback, meaning)                enum log_level field;
#include "controlplane/config.def"
#undef SETTING_INT
#undef SETTING_DOUBLE
#undef SETTING_TEXT_NONEMPTY
#undef SETTING_TEXT
#undef SETTING_SECRET_OPTIONAL
#undef SETTING_BOOL
#undef SETTING_LOG_LEVEL
};

/* Reads the environment into *config. false: *error holds one line that names the variable, the
 * value and what is allowed. control_config_fini is due either way. */
MUST_CHECK bool control_config_load(struct control_config *config, char *const *environment,
                                    struct dynbuf *error);
void control_config_fini(struct control_config *config);
/* --check-config: one line a setting, `NAME=value  # source`. */
void control_config_print(const struct control_config *config, char *const *environment,
                          struct dynbuf *out);
/* The settings part of --help. */
void control_config_help(struct dynbuf *out);
