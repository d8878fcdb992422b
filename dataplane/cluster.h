/* The control connection of one cluster: finds a node, learns topology, authentication and
 * SUPPORTED, follows TOPOLOGY_CHANGE events, sends heartbeats, reopens itself for ever. Lives on
 * the main thread's stream_loop and never blocks it. Behaviour: zdm-proxy's
 * (docs/compatibility.md), protocol v4 then v3. */
#pragma once

#include <stdbool.h>

#include "dataplane/cluster_id.h"
#include "dataplane/topology.h"

struct cluster;
struct config;
struct node_watch;
struct stream_loop;
struct tls_store;

struct cluster_status { /* for /health/readiness */
    char address[64];   /* last control endpoint, or NOT_CONNECTED */
    int failure_count;
    int failure_threshold;
    bool is_up;
};

/* Starts connecting, to the nodes of the cluster's bundle if tls has one. on_topology runs on the
 * main thread each time a new topology is ready (the first one, and after each change); the callee
 * takes its own reference. watch: where nodes and their health are known. */
struct cluster *cluster_new(struct stream_loop *loop, const struct config *config,
                            const struct tls_store *tls, enum cluster_id id,
                            struct node_watch *watch,
                            void (*on_topology)(void *context, struct topology *topology),
                            void *context);
/* Clients are about to need it: if it is away, the next attempt is made now. */
void cluster_hurry(struct cluster *cluster);
void cluster_free(struct cluster *cluster);
void cluster_status(const struct cluster *cluster, struct cluster_status *status);
