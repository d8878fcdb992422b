/* A routing snapshot: the immutable, counted routing state every worker routes by. Published by the
 * main thread; each worker holds one reference and swaps it between events, so a request keeps the
 * plan it began with. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/check.h"
#include "common/dynbuf.h"
#include "common/log.h"
#include "dataplane/cluster_id.h"

#define STORE_ID_MAX 63
#define DIGEST_MAX   64 /* lower-case hex SHA-256 */

/* A switch the routing state may set in place of the configuration. */
enum snapshot_switch { SNAPSHOT_AS_CONFIGURED, SNAPSHOT_OFF, SNAPSHOT_ON };

struct snapshot {
    _Atomic uint32_t references;
    char
        store_id[STORE_ID_MAX + 1]; /* "" : from the environment, no control plane has spoken yet */
    uint64_t serial;                /* of this process; later ones have higher numbers */
    uint64_t revision;              /* 0 together with an empty store_id */
    char digest[DIGEST_MAX + 1];
    bool forward_reads_to_target;
    bool forward_system_queries_to_target;
    uint8_t shadow_read_percent; /* 0 … 100: how many of a hundred reads also go to the secondary */
    uint8_t
        canary_read_percent; /* 0 … 100: reads the target answers although the origin is primary */
    bool skip_writes[CLUSTER_COUNT]; /* never both */
    /* Live settings; 0, SNAPSHOT_AS_CONFIGURED and !has_log_level: as configured. */
    uint32_t request_timeout_ms;
    uint32_t max_clients;
    enum snapshot_switch replace_cql_functions, stamp_timestamps;
    bool has_log_level;
    enum log_level log_level;
};

/* A copy of value with one reference, owned by the caller. Never NULL (out of memory at this size
 * is fatal). */
struct snapshot *snapshot_new(const struct snapshot *value);
struct snapshot *snapshot_get(struct snapshot *snapshot);
void snapshot_put(struct snapshot *snapshot); /* NULL is allowed */

/* Appends the state for a log line: `revision=7 forward_reads_to_target=false …`. */
void snapshot_describe(const struct snapshot *snapshot, struct dynbuf *out);

/* The cluster whose answer the client gets. */
static inline enum cluster_id snapshot_primary(const struct snapshot *snapshot)
{
    return snapshot->forward_reads_to_target ? CLUSTER_TARGET : CLUSTER_ORIGIN;
}

/* Neither written nor, by the rules between the members, read: it need not be there. */
static inline bool snapshot_is_idle(const struct snapshot *snapshot, enum cluster_id cluster)
{
    return snapshot->skip_writes[cluster];
}

/* By after the cluster comes into use. */
static inline bool snapshot_enters(const struct snapshot *before, const struct snapshot *after,
                                   enum cluster_id cluster)
{
    return snapshot_is_idle(before, cluster) && !snapshot_is_idle(after, cluster);
}

/* The cluster whose word clients have on what is no row: ids of prepared statements, events. The
 * origin, as long as it is in use. */
static inline enum cluster_id snapshot_leading_cluster(const struct snapshot *snapshot)
{
    return snapshot_is_idle(snapshot, CLUSTER_ORIGIN) ? CLUSTER_TARGET : CLUSTER_ORIGIN;
}

static inline enum cluster_id snapshot_system_cluster(const struct snapshot *snapshot)
{
    return snapshot->forward_system_queries_to_target ? CLUSTER_TARGET : CLUSTER_ORIGIN;
}
