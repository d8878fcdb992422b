/* Request metrics, kept the way zdm-proxy keeps them: PREPARE, REGISTER, OPTIONS and the proxy's
 * own answers are not tracked; a read is one of the cluster it is sent to, everything else is a
 * write, also where only one cluster is written. */
#include "dataplane/tracking.h"

#include "dataplane/session.h"
#include "dataplane/worker.h"
#include "proto/cql_response.h"

static enum metric_request kind_of(const struct request *request)
{
    if (request->statement.class == REQUEST_CONTROL ||
        request->statement.class == REQUEST_HEARTBEAT)
        return METRIC_REQUEST_COUNT;
    if (request->statement.class >= REQUEST_WRITE)
        return METRIC_REQUEST_WRITES;
    return request->outcomes[CLUSTER_ORIGIN] == OUTCOME_NOT_ASKED ? METRIC_REQUEST_READS_TARGET
                                                                  : METRIC_REQUEST_READS_ORIGIN;
}

static bool is_tracked(const struct request *request)
{
    return request->tracked_as != METRIC_REQUEST_COUNT;
}

static void count_in_flight(struct session *session, const struct request *request, int64_t by)
{
    static const enum metric gauges[METRIC_REQUEST_COUNT] = {
        [METRIC_REQUEST_READS_ORIGIN] = METRIC_INFLIGHT_READS_ORIGIN,
        [METRIC_REQUEST_READS_TARGET] = METRIC_INFLIGHT_READS_TARGET,
        [METRIC_REQUEST_WRITES] = METRIC_INFLIGHT_WRITES,
    };
    metrics_add(session->worker->metrics, gauges[request->tracked_as], by);
}

static void count_used_ids(struct session *session, const struct request *request, int64_t by)
{
    for (int i = 0; i < CLUSTER_COUNT; i++) {
        if (request->outcomes[i] == OUTCOME_AWAITED)
            metrics_bump(&session->upstreams[i].metrics->values[NODE_USED_STREAM_IDS], by);
    }
}

enum metric_node_error tracking_error_label(int32_t code)
{
    switch (code) {
#define CQL_ERROR(symbol, number, name, label)                                                     \
    case number:                                                                                   \
        return NODE_ERROR_##label;
#include "proto/cql_errors.def"
#undef CQL_ERROR
    default:
        return NODE_ERROR_OTHER;
    }
}

void tracking_begin(struct session *session, struct request *request)
{
    request->tracked_as = (uint8_t)kind_of(request);
    count_used_ids(session, request, 1);
    if (is_tracked(request))
        count_in_flight(session, request, 1);
}

COLD static void count_node_failure(struct metrics_node *node, enum outcome outcome,
                                    int32_t error_code)
{
    metrics_bump(&node->failed[outcome == OUTCOME_ERROR     ? tracking_error_label(error_code)
                               : outcome == OUTCOME_EXPIRED ? NODE_ERROR_CLIENT_TIMEOUT
                                                            : NODE_ERROR_OTHER],
                 1);
}

void tracking_outcome(struct session *session, const struct request *request,
                      enum cluster_id cluster, enum outcome outcome, int32_t error_code)
{
    struct metrics_node *node = session->upstreams[cluster].metrics;
    if (outcome != OUTCOME_EXPIRED) /* a silent node keeps the id until it speaks or is gone */
        metrics_bump(&node->values[NODE_USED_STREAM_IDS], -1);
    if (!is_tracked(request) || request->is_expired)
        return;
    if (UNLIKELY(outcome_is_failure(outcome)))
        count_node_failure(node, outcome, error_code);
    metrics_observe(&node->duration[request->tracked_as == METRIC_REQUEST_WRITES ? 1 : 0],
                    worker_now(session->worker) - request->started_ns);
}

COLD static void count_failure(struct metrics_block *metrics, enum metric_request kind,
                               bool origin_failed, bool target_failed)
{
    bool is_write = kind == METRIC_REQUEST_WRITES;
    enum metric metric;
    if (origin_failed && target_failed && is_write)
        metric = METRIC_FAILED_WRITES_BOTH;
    else if (origin_failed)
        metric = is_write ? METRIC_FAILED_WRITES_ORIGIN : METRIC_FAILED_READS_ORIGIN;
    else
        metric = is_write ? METRIC_FAILED_WRITES_TARGET : METRIC_FAILED_READS_TARGET;
    metrics_add(metrics, metric, 1);
}

void tracking_end(struct session *session, const struct request *request,
                  const enum outcome outcomes[CLUSTER_COUNT])
{
    struct metrics_block *metrics = session->worker->metrics;
    enum metric_request kind = request->tracked_as;
    if (!is_tracked(request))
        return;
    bool origin_failed = outcome_is_failure(outcomes[CLUSTER_ORIGIN]);
    bool target_failed = outcome_is_failure(outcomes[CLUSTER_TARGET]);
    count_in_flight(session, request, -1);
    metrics_observe(&metrics->request_duration[kind],
                    worker_now(session->worker) - request->started_ns);
    if (UNLIKELY(origin_failed || target_failed))
        count_failure(metrics, kind, origin_failed, target_failed);
}

void tracking_abandon(struct session *session, const struct request *request)
{
    count_used_ids(session, request, -1);
    if (is_tracked(request) && !request->is_expired)
        count_in_flight(session, request, -1);
}
