/* What the proxy offers in SUPPORTED: the target's entries, reduced to what works through the
 * proxy. Pure. */
#pragma once

#include "common/dynbuf.h"
#include "dataplane/topology.h"

/* Writes a [string multimap] body to out. PROTOCOL_VERSIONS loses the versions the proxy does not
 * speak; COMPRESSION is there but empty, since drivers look for it and the proxy carries none. */
void supported_build(const struct topology *origin, const struct topology *target,
                     struct dynbuf *out);
