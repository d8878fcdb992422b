/* The three sides of the proxy that may each speak TLS with keys of their own. */
#pragma once

#include "dataplane/cluster_id.h"

enum tls_side { TLS_PROXY, TLS_ORIGIN, TLS_TARGET, TLS_SIDE_COUNT };

static inline const char *tls_side_name(enum tls_side side)
{
    return side == TLS_PROXY ? "proxy" : side == TLS_ORIGIN ? "origin" : "target";
}

static inline enum tls_side tls_side_of(enum cluster_id cluster)
{
    return cluster == CLUSTER_ORIGIN ? TLS_ORIGIN : TLS_TARGET;
}
