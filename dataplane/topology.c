/* Counted topologies. The main thread makes them (topology_build.c), workers hold references;
 * nothing but the count ever changes after publication, and the last holder, whatever its thread,
 * frees. */
#include "dataplane/topology.h"

#include <stdlib.h>

struct topology *topology_get(struct topology *topology)
{
    atomic_fetch_add_explicit(&topology->references, 1, memory_order_relaxed);
    return topology;
}

void topology_put(struct topology *topology)
{
    if (topology == NULL ||
        atomic_fetch_sub_explicit(&topology->references, 1, memory_order_acq_rel) != 1)
        return;
    cql_rows_fini(&topology->local);
    cql_rows_fini(&topology->peers);
    free(topology->local_body);
    free(topology->peers_body);
    free(topology->supported_body);
    for (size_t i = 0; i < topology->node_count; i++)
        node_health_put(topology->nodes[i].health);
    for (size_t i = 0; i < topology->spare_count; i++)
        node_health_put(topology->spare_nodes[i].health);
    free(topology->nodes);
    free(topology->spare_nodes);
    free(topology->hosts);
    free(topology);
}
