/* The first admin token of a store. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/check.h"
#include "controlplane/config.h"
#include "controlplane/tokens.h"

/* has_none: the store never had a token, and gets one now: that of CONTROL_ADMIN_TOKEN or
 * CONTROL_ADMIN_TOKEN_FILE, else a new one, printed on stdout this once. Otherwise only warns when
 * a token is configured that the store does not know. false: error holds one line. */
MUST_CHECK bool first_token(const struct control_config *config, struct tokens *tokens,
                            bool has_none, char *error, size_t error_size);
