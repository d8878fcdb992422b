/* Roles: who may do what. The names are those of roles.def, the routes name the least role they
 * need (routes.def). Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/check.h"

enum role {
    ROLE_NONE, /* nobody has logged in */
#define ROLE(symbol, name, meaning) ROLE_##symbol,
#include "controlplane/roles.def"
#undef ROLE
};

/* The least role of a route. */
enum route_access {
    ACCESS_ANYONE,  /* no log-in: the page itself, health, the log-in */
    ACCESS_METRICS, /* as VIEWER, or anyone with CONTROL_OPEN_METRICS */
#define ROLE(symbol, name, meaning) ACCESS_##symbol,
#include "controlplane/roles.def"
#undef ROLE
};

/* "none" for ROLE_NONE. */
const char *role_name(enum role role);
/* The role of that exact name; false: there is none, and *role is ROLE_NONE. */
MUST_CHECK bool role_parse(const char *name, enum role *role);
/* What a route asks for; ROLE_NONE: nothing. */
enum role role_needed(enum route_access access, bool is_metrics_open);
/* "viewer, operator or admin": the roles from least upwards, for messages. */
const char *role_or_above(enum role least);
