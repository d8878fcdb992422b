/* What the proxy offers in SUPPORTED: the target's entries, reduced to what works through the
 * proxy. Pure. */
#pragma once

#include "common/dynbuf.h"
#include "dataplane/topology.h"
#include "proto/cql_compression.h"

/* Writes a [string multimap] body to out. PROTOCOL_VERSIONS loses what is not in versions (a set,
 * versions.h); COMPRESSION, which drivers look for, names what both clusters offer, in the origin's
 * order. */
void supported_build(const struct topology *origin, const struct topology *target, uint8_t versions,
                     struct dynbuf *out);

/* The cluster offers this compression. */
bool supported_has_compression(const struct topology *topology, enum cql_compression compression);
