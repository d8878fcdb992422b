/* What the control connection of one cluster knows: immutable once published, counted, read by all
 * workers. */
#pragma once

#include <netinet/in.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "dataplane/cluster_id.h"
#include "dataplane/node_health.h"
#include "proto/cql_rows.h"

struct topology_node {
    struct sockaddr_storage address;
    socklen_t address_length;
    char name[64]; /* ip:port ([ip]:port for IPv6), as dialled, or a host id: the metrics label */
    char server_name[256];      /* whom its certificate must be for; empty: its address */
    bool is_behind_sni;         /* the address is an SNI proxy's, which is asked for name */
    struct node_health *health; /* in a topology's nodes and spare_nodes; NULL: not watched */
};

/* One row of the cluster's own system.local or system.peers, reduced to what assignment and virtual
 * rows need. */
struct topology_host {
    char host_id[37]; /* text form */
    char rack[256];
    int local_row; /* >= 0: row of `local` this host was read from; -1: it is from peers */
    int peers_row; /* >= 0: row of `peers` */
    struct topology_node node;
};

struct topology {
    _Atomic uint32_t references;
    enum cluster_id cluster;
    bool requires_authentication; /* the control connection was asked to authenticate */
    uint8_t protocol_version;     /* highest version the control connection could speak (3 or 4) */
    uint8_t versions;             /* what its nodes speak: versions.h */
    char cluster_title[256];      /* cluster_name of system.local */

    /* The nodes new upstreams use, in round-robin order; at least one. With host assignment off:
     * the control connection's node only. spare_nodes: the other nodes of the datacenter, for
     * fail-over. */
    struct topology_node *nodes;
    size_t node_count;
    struct topology_node *spare_nodes;
    size_t spare_count;

    /* Hosts of the chosen datacenter sorted by (rack, host_id text): the rows virtual hosts borrow
     * from. */
    struct topology_host *hosts;
    size_t host_count;

    /* Bodies as the cluster sent them, and decoded over them. */
    uint8_t *local_body, *peers_body;
    struct cql_rows local, peers;

    /* The SUPPORTED body ([string multimap]) of the control connection. */
    uint8_t *supported_body;
    size_t supported_length;
};

struct topology *topology_get(struct topology *topology);
void topology_put(struct topology *topology); /* NULL is allowed */
