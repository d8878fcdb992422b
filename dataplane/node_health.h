/* What the process believes of one node: whether it is worth a client's time. One per node, shared
 * by all workers without a lock, counted by the topologies that list the node. It orders the
 * candidates of an opening and nothing else: a node believed down is still tried when no other is
 * left. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "dataplane/cluster_id.h"

struct node_health {
    _Atomic uint32_t references;
    _Atomic bool is_down;
    _Atomic bool is_doubted;   /* the proxy is about to ask whether it is down */
    _Atomic uint32_t failures; /* since it last carried a client's connection */
    enum cluster_id cluster;
    char name[64]; /* as struct topology_node's */
};

/* An up node with one reference. */
struct node_health *node_health_new(enum cluster_id cluster, const char *name);
struct node_health *node_health_get(struct node_health *health);
void node_health_put(struct node_health *health); /* NULL is allowed */

static inline bool node_health_is_down(const struct node_health *health) /* NULL: up */
{
    return health != NULL && atomic_load_explicit(&health->is_down, memory_order_relaxed);
}

/* It did not do what it should. true: it was up until now (of many threads that say so at once, one
 * is told). */
bool node_health_fail(struct node_health *health);
/* It answers again. true: it was down until now. */
bool node_health_recover(struct node_health *health);
/* It carries a client's connection: all is forgotten. true: it was down until now. */
bool node_health_confirm(struct node_health *health);

/* How long the proxy leaves a failed node alone before it asks how it is, in ms: doubles with each
 * failure, with bounds. */
uint32_t node_health_pause_ms(uint32_t failures);
