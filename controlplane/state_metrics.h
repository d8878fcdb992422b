/* Where the migration stands, as Prometheus text: the phase and every gate. Pure. */
#pragma once

#include "common/dynbuf.h"
#include "controlplane/change.h"

/* Appends the families phase and gate. */
void state_metrics_render(const struct change_facts *facts, struct dynbuf *out);
