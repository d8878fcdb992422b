/* The table of roles turned into functions. Pure; any thread. Must never know of requests or
 * tokens. */
#include "controlplane/role.h"

#include <string.h>

static const char *const names[] = {
    "none",
#define ROLE(symbol, name, meaning) name,
#include "controlplane/roles.def"
#undef ROLE
};

const char *role_name(enum role role)
{
    return names[role];
}

bool role_parse(const char *name, enum role *role)
{
    *role = ROLE_NONE;
    for (size_t i = ROLE_VIEWER; i < ARRAY_COUNT(names); i++)
        if (strcmp(names[i], name) == 0)
            *role = (enum role)i;
    return *role != ROLE_NONE;
}

enum role role_needed(enum route_access access, bool is_metrics_open)
{
    switch (access) {
    case ACCESS_ANYONE:
        break;
    case ACCESS_METRICS:
        return is_metrics_open ? ROLE_NONE : ROLE_VIEWER;
#define ROLE(symbol, name, meaning)                                                                \
    case ACCESS_##symbol:                                                                          \
        return ROLE_##symbol;
#include "controlplane/roles.def"
#undef ROLE
    }
    return ROLE_NONE;
}

const char *role_or_above(enum role least)
{
    switch (least) {
    case ROLE_NONE:
        break;
    case ROLE_VIEWER:
        return "viewer, operator or admin";
    case ROLE_OPERATOR:
        return "operator or admin";
    case ROLE_ADMIN:
        return "admin";
    }
    return "any";
}
