/* The imitated cluster. Filled at the start; nodes come and go on command of the control socket. */
#include "cluster.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "digest.h"
#include "literal.h"

struct node *cluster_add_node(struct cluster *cluster, const char *address, const char *host_id,
                              const char *rack, const char *datacenter, bool served)
{
    if (cluster->node_count == CLUSTER_MAX_NODES)
        return NULL;
    struct node *node = &cluster->nodes[cluster->node_count];
    *node = (struct node){.rack = rack, .datacenter = datacenter, .served = served};
    if (inet_pton(AF_INET, address, node->ip) == 1)
        node->ip_length = 4;
    else if (inet_pton(AF_INET6, address, node->ip) == 1)
        node->ip_length = 16;
    else
        return NULL;
    inet_ntop(node->ip_length == 4 ? AF_INET : AF_INET6, node->ip, node->address,
              sizeof node->address);
    for (size_t i = 0; i < cluster->node_count; i++) {
        struct node *other = &cluster->nodes[i];
        if (strcmp(other->address, node->address) != 0)
            continue;
        if (!other->gone)
            return NULL;
        other->gone = false;
        other->rack = rack;
        other->datacenter = datacenter;
        return other;
    }
    if (host_id != NULL) {
        if (!literal_parse_uuid(host_id, node->host_id))
            return NULL;
    } else {
        char seed[256];
        int length = snprintf(seed, sizeof seed, "%s/%s", cluster->name, node->address);
        digest_md5(seed, (size_t)length < sizeof seed ? (size_t)length : sizeof seed - 1, "", 0,
                   node->host_id);
        node->host_id[6] = (uint8_t)((node->host_id[6] & 0x0F) | 0x40);
        node->host_id[8] = (uint8_t)((node->host_id[8] & 0x3F) | 0x80);
    }
    node->index = cluster->node_count++;
    return node;
}

int64_t cluster_token(const struct cluster *cluster, const struct node *node, size_t i)
{
    uint64_t nodes = 0;
    uint64_t rank = 0;
    for (size_t j = 0; j < cluster->node_count; j++) {
        rank += j < node->index && !cluster->nodes[j].gone;
        nodes += !cluster->nodes[j].gone;
    }
    uint64_t slots = nodes * CLUSTER_TOKENS_PER_NODE;
    uint64_t slot = (uint64_t)i * nodes + rank;
    return (int64_t)((UINT64_C(1) << 63) + slot * (UINT64_MAX / slots));
}

const char *cluster_cql_version(const struct cluster *cluster)
{
    return cluster->release_major >= 5 ? "3.4.7" : cluster->release_major == 4 ? "3.4.6" : "3.4.4";
}
