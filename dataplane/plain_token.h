/* Whether a SASL PLAIN token is of a user and password the proxy knows. Pure. */
#pragma once

#include <stdbool.h>

#include "common/check.h"
#include "proto/cql_cursor.h"

/* false also when token is no PLAIN token, or user is empty. The time it takes does not depend on
 * where they differ. */
MUST_CHECK bool plain_token_is(struct cql_span token, const char *user, const char *password);
