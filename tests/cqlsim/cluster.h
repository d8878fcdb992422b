/* Who the simulator says it is: the cluster's name and its nodes. */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CLUSTER_MAX_NODES       64
#define CLUSTER_TOKENS_PER_NODE 8

struct node {
    char address[INET6_ADDRSTRLEN];
    uint8_t ip[16];
    size_t ip_length; /* 4 or 16 */
    uint8_t host_id[16];
    const char *rack;
    const char *datacenter;
    bool served; /* we listen on it; else it is only a row in system.peers */
    bool gone;   /* was removed; comes back under the same host id when it is added again */
    size_t index;
};

struct cluster {
    const char *name;
    const char *release_version;
    unsigned release_major;
    uint16_t port;
    struct node nodes[CLUSTER_MAX_NODES];
    size_t node_count;
};

/* Adds a node; the host id comes from the cluster's name and the address unless host_id (36
 * characters) is given. NULL when the address or the id is no such thing, is there already or
 * there are too many nodes. */
struct node *cluster_add_node(struct cluster *cluster, const char *address, const char *host_id,
                              const char *rack, const char *datacenter, bool served);
/* Token number i of a node, evenly spread over the ring of the nodes that are there. */
int64_t cluster_token(const struct cluster *cluster, const struct node *node, size_t i);
/* The version of the language that goes with the release. */
const char *cluster_cql_version(const struct cluster *cluster);
