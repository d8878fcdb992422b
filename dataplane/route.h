/* Where a request goes and whose answer the client gets. Pure. */
#pragma once

#include <stdbool.h>

#include "dataplane/classify.h"
#include "dataplane/snapshot.h"

struct plan {
    bool sends[CLUSTER_COUNT];
    enum cluster_id answerer; /* whose answer counts when every cluster asked has succeeded */
};

/* Of clusters, 1 << cluster: those the plan asks. */
static inline uint8_t plan_asks(struct plan plan)
{
    return (uint8_t)(plan.sends[CLUSTER_ORIGIN] << CLUSTER_ORIGIN | plan.sends[CLUSTER_TARGET]
                                                                        << CLUSTER_TARGET);
}

/* Canary reads: a session's number is below the share, or it is not. */
#define ROUTE_CANARY_NUMBERS 100

/* The number, below ROUTE_CANARY_NUMBERS, of the session with this serial number; it keeps it for
 * its life. Serial numbers that follow each other are spread, so that any few sessions that come
 * one after the other show the share as nearly as so few can. */
static inline uint8_t route_canary_number(uint32_t serial)
{
    return (uint8_t)((uint64_t)serial * 61 %
                     ROUTE_CANARY_NUMBERS); /* 61: near the golden section */
}

/* Whose answer a session's reads get. */
static inline enum cluster_id route_read_cluster(const struct snapshot *snapshot,
                                                 uint8_t canary_number)
{
    bool is_canary = canary_number < snapshot->canary_read_percent;
    return (snapshot->forward_reads_to_target | is_canary) ? CLUSTER_TARGET : CLUSTER_ORIGIN;
}

/* The plan for a request of this class under snapshot, of a session with that canary number.
 * is_prepare: the client must see the leading cluster's id. Not for REQUEST_VIRTUAL and
 * REQUEST_HEARTBEAT, which go nowhere or to a given upstream. */
static inline struct plan route_plan(enum request_class class, bool is_prepare,
                                     const struct snapshot *snapshot, uint8_t canary_number)
{
    if (class == REQUEST_READ || class == REQUEST_SYSTEM_READ) {
        enum cluster_id cluster = class == REQUEST_READ
                                      ? route_read_cluster(snapshot, canary_number)
                                      : snapshot_system_cluster(snapshot);
        struct plan plan = {.answerer = cluster};
        plan.sends[cluster] = true;
        return plan;
    }
    enum cluster_id answerer =
        is_prepare ? snapshot_leading_cluster(snapshot) : snapshot_primary(snapshot);
    if (UNLIKELY(snapshot_is_idle(snapshot, answerer)))
        answerer = cluster_other(answerer);
    return (struct plan){
        .sends = {!snapshot_is_idle(snapshot, CLUSTER_ORIGIN),
                  !snapshot_is_idle(snapshot, CLUSTER_TARGET)},
        .answerer = answerer,
    };
}
