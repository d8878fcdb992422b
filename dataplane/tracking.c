/* Request metrics, kept the way zdm-proxy keeps them: PREPARE, REGISTER, OPTIONS and the proxy's
 * own answers are not tracked; a request for one cluster is a read of that cluster, one for both is
 * a write. */
#include "dataplane/tracking.h"

#include "dataplane/session.h"
#include "dataplane/worker.h"
#include "proto/cql_response.h"

static bool is_tracked(const struct request *request)
{
    return request->statement.class != REQUEST_CONTROL &&
           request->statement.class != REQUEST_HEARTBEAT;
}

static bool is_dual(const struct request *request)
{
    return request->outcomes[CLUSTER_ORIGIN] != OUTCOME_NOT_ASKED &&
           request->outcomes[CLUSTER_TARGET] != OUTCOME_NOT_ASKED;
}

static enum metric_request kind_of(const struct request *request)
{
    if (is_dual(request))
        return METRIC_REQUEST_WRITES;
    return request->outcomes[CLUSTER_ORIGIN] != OUTCOME_NOT_ASKED ? METRIC_REQUEST_READS_ORIGIN
                                                                  : METRIC_REQUEST_READS_TARGET;
}

static enum metric inflight_gauge(enum metric_request kind)
{
    static const enum metric gauges[] = {
        [METRIC_REQUEST_READS_ORIGIN] = METRIC_INFLIGHT_READS_ORIGIN,
        [METRIC_REQUEST_READS_TARGET] = METRIC_INFLIGHT_READS_TARGET,
        [METRIC_REQUEST_WRITES] = METRIC_INFLIGHT_WRITES,
    };
    return gauges[kind];
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

void tracking_begin(struct session *session, const struct request *request)
{
    for (int i = 0; i < CLUSTER_COUNT; i++) {
        if (request->outcomes[i] == OUTCOME_AWAITED)
            metrics_bump(&session->upstreams[i].metrics->values[NODE_USED_STREAM_IDS], 1);
    }
    if (is_tracked(request))
        metrics_add(session->worker->metrics, inflight_gauge(kind_of(request)), 1);
}

void tracking_outcome(struct session *session, const struct request *request,
                      enum cluster_id cluster, enum outcome outcome, int32_t error_code)
{
    struct metrics_node *node = session->upstreams[cluster].metrics;
    if (outcome != OUTCOME_EXPIRED) /* a silent node keeps the id until it speaks or is gone */
        metrics_bump(&node->values[NODE_USED_STREAM_IDS], -1);
    if (!is_tracked(request) || request->is_expired)
        return;
    if (outcome == OUTCOME_ERROR)
        metrics_bump(&node->failed[tracking_error_label(error_code)], 1);
    else if (outcome == OUTCOME_EXPIRED)
        metrics_bump(&node->failed[NODE_ERROR_CLIENT_TIMEOUT], 1);
    else if (outcome == OUTCOME_LOST)
        metrics_bump(&node->failed[NODE_ERROR_OTHER], 1);
    metrics_observe(&node->duration[is_dual(request) ? 1 : 0],
                    worker_now(session->worker) - request->started_ns);
}

void tracking_end(struct session *session, const struct request *request,
                  const enum outcome outcomes[CLUSTER_COUNT])
{
    struct metrics_block *metrics = session->worker->metrics;
    if (!is_tracked(request))
        return;
    enum metric_request kind = kind_of(request);
    bool origin_failed = outcome_is_failure(outcomes[CLUSTER_ORIGIN]);
    bool target_failed = outcome_is_failure(outcomes[CLUSTER_TARGET]);
    metrics_add(metrics, inflight_gauge(kind), -1);
    metrics_observe(&metrics->request_duration[kind],
                    worker_now(session->worker) - request->started_ns);
    if (kind != METRIC_REQUEST_WRITES) {
        if (origin_failed || target_failed)
            metrics_add(metrics,
                        origin_failed ? METRIC_FAILED_READS_ORIGIN : METRIC_FAILED_READS_TARGET, 1);
    } else if (origin_failed || target_failed) {
        metrics_add(metrics,
                    origin_failed && target_failed ? METRIC_FAILED_WRITES_BOTH
                    : origin_failed                ? METRIC_FAILED_WRITES_ORIGIN
                                                   : METRIC_FAILED_WRITES_TARGET,
                    1);
    }
}

void tracking_abandon(struct session *session, const struct request *request)
{
    for (int i = 0; i < CLUSTER_COUNT; i++) {
        if (request->outcomes[i] == OUTCOME_AWAITED)
            metrics_bump(&session->upstreams[i].metrics->values[NODE_USED_STREAM_IDS], -1);
    }
    if (is_tracked(request) && !request->is_expired)
        metrics_add(session->worker->metrics, inflight_gauge(kind_of(request)), -1);
}
