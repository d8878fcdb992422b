/* From what a control connection has read to a topology: choosing the datacenter, sorting and
 * addressing hosts, assigning nodes. Pure but for log lines about hosts it must skip. */
#pragma once

#include "common/dynbuf.h"
#include "dataplane/topology.h"

struct topology_facts {
    enum cluster_id cluster;
    bool requires_authentication;
    uint8_t protocol_version;
    struct topology_node endpoint; /* the node the control connection is on, as dialled */
    int port;                      /* of every node */
    const struct topology_node
        *known; /* nodes met before: discovered ones keep their server_name */
    size_t known_count;
    bool is_assigned;             /* host assignment is on; off: endpoint only */
    const char *local_datacenter; /* whose nodes are used if any node is there; NULL, empty: any */
    size_t proxy_index, proxy_count;
    uint64_t seed; /* of the shuffle */
    struct cql_span local,
        peers; /* RESULT bodies of SELECT * FROM system.local and system.peers; copied */
    struct cql_span supported; /* SUPPORTED body; copied */
    /* The node's health, a reference for the topology. NULL: nodes are not watched. */
    struct node_health *(*find_health)(void *context, const struct topology_node *node);
    void *context;
};

/* datacenter: "" at first (then local_datacenter is chosen if a node is in it, else, with a
 * warning, that of the endpoint), then the name chosen, which the caller keeps for the life of the
 * process. NULL: *reason says why. */
struct topology *topology_build(const struct topology_facts *facts, char datacenter[256],
                                struct dynbuf *reason);

/* Fills *node (address and name) from 4 or 16 address bytes in network order. false: another
 * length. */
MUST_CHECK bool topology_node_from_inet(struct topology_node *node, struct cql_span inet, int port);
/* The same from an IP literal. false: it is none. */
MUST_CHECK bool topology_node_from_text(struct topology_node *node, const char *literal, int port);
