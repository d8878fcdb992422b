/* Where a request goes and whose answer the client gets. Pure. */
#pragma once

#include <stdbool.h>

#include "dataplane/classify.h"
#include "dataplane/snapshot.h"

struct plan {
    bool sends[CLUSTER_COUNT];
    enum cluster_id answerer; /* whose answer counts when every cluster asked has succeeded */
};

/* The plan for a request of this class under snapshot. is_prepare: the client must see the origin's
 * id. Not for REQUEST_VIRTUAL and REQUEST_HEARTBEAT, which go nowhere or to a given upstream. */
static inline struct plan route_plan(enum request_class class, bool is_prepare,
                                     const struct snapshot *snapshot)
{
    if (class == REQUEST_READ || class == REQUEST_SYSTEM_READ) {
        enum cluster_id cluster =
            class == REQUEST_READ ? snapshot_primary(snapshot) : snapshot_system_cluster(snapshot);
        struct plan plan = {.answerer = cluster};
        plan.sends[cluster] = true;
        return plan;
    }
    return (struct plan){
        .sends = {true, true},
        .answerer = is_prepare ? CLUSTER_ORIGIN : snapshot_primary(snapshot),
    };
}
