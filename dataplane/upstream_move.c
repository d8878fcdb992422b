/* Moving: an upstream changes its node behind a client that stays. The client is not read
 * meanwhile, so that what it sends is served a moment later instead of refused; but never for long,
 * as it may have business with the other cluster. Runs on the session's worker. */
#include <string.h>

#include "common/clock.h"
#include "dataplane/session.h"
#include "dataplane/worker.h"

/* While a connection moves, its client is read again after this at the latest. */
#define PAUSE_NS_MAX NS_PER_S

/* And while a cluster comes into use after this, as drivers give up on silent connections after
 * five seconds. */
#define ENTRY_NS_MAX (4500 * NS_PER_MS)

/* ---- the client ---- */

static bool has_other_node(const struct upstream *upstream)
{
    const struct topology *topology = upstream->session->worker->topologies[upstream->cluster];
    for (size_t i = 0; topology != NULL && i < topology->node_count; i++)
        if (!node_health_is_down(topology->nodes[i].health))
            return true;
    for (size_t i = 0; topology != NULL && i < topology->spare_count; i++)
        if (!node_health_is_down(topology->spare_nodes[i].health))
            return true;
    return false;
}

static void set_leave_by(struct upstream *upstream, uint64_t patience_ns)
{
    struct worker *worker = upstream->session->worker;
    upstream->leave_by_ns = worker_now(worker) + patience_ns;
    timing_survey_by(&worker->timing, upstream->leave_by_ns);
}

static void hold(struct upstream *upstream, uint64_t patience_ns)
{
    upstream->is_leaving = true;
    set_leave_by(upstream, patience_ns);
    stream_pause(&upstream->session->client, STREAM_PAUSE_MOVING);
}

void upstream_hold_client(struct upstream *upstream)
{
    if (!upstream->is_shadow && has_other_node(upstream))
        hold(upstream, PAUSE_NS_MAX);
}

void upstream_hold_for_entry(struct upstream *upstream)
{
    const struct worker *worker = upstream->session->worker;
    uint64_t timeout = worker->live.request_timeout_ns;
    bool is_known = worker->topologies[upstream->cluster] != NULL;
    if (is_known && !has_other_node(upstream))
        return;
    hold(upstream, timeout < ENTRY_NS_MAX ? timeout : ENTRY_NS_MAX);
}

void upstream_release_client(struct upstream *upstream)
{
    struct session *session = upstream->session;
    if (!upstream->is_leaving)
        return;
    upstream->is_leaving = false;
    if (!session->upstreams[cluster_other(upstream->cluster)].is_leaving)
        stream_resume(&session->client, STREAM_PAUSE_MOVING);
}

/* ---- a node that leaves ---- */

static bool is_listed(const struct topology *topology, const char *node)
{
    for (size_t i = 0; i < topology->node_count; i++)
        if (strcmp(topology->nodes[i].name, node) == 0)
            return true;
    for (size_t i = 0; i < topology->spare_count; i++)
        if (strcmp(topology->spare_nodes[i].name, node) == 0)
            return true;
    return false;
}

void upstream_try_to_leave(struct upstream *upstream)
{
    struct session *session = upstream->session;
    struct worker *worker = upstream->session->worker;
    if (session->requests.used > 0 || session->lock != NULL ||
        upstream->frame != UPSTREAM_FRAME_NONE) {
        if (worker_now(worker) >= upstream->leave_by_ns)
            upstream_lose(upstream, "its node has left the topology");
        else
            upstream_watch(upstream, worker_now(worker));
        return;
    }
    LOG_INFO("upstream_moving", "client=%s cluster=%s from=%s", session->peer,
             cluster_name(upstream->cluster), upstream_node_name(upstream));
    metrics_add(worker->metrics,
                upstream->cluster == CLUSTER_ORIGIN ? METRIC_MOVED_ORIGIN : METRIC_MOVED_TARGET, 1);
    set_leave_by(upstream, PAUSE_NS_MAX);
    upstream_reopen(upstream);
}

void upstream_move(struct upstream *upstream)
{
    struct worker *worker = upstream->session->worker;
    hold(upstream, worker->live.request_timeout_ns + NS_PER_S);
    upstream_watch(upstream, worker_now(worker));
}

void upstream_on_topology(struct upstream *upstream)
{
    struct worker *worker = upstream->session->worker;
    if (upstream->state == UPSTREAM_RETRY && upstream->topology == NULL) {
        upstream_watch(upstream, worker_now(worker)); /* until now there was nobody to ask */
        return;
    }
    if (upstream->state != UPSTREAM_READY || upstream->session->state != SESSION_READY ||
        upstream->is_leaving ||
        is_listed(worker->topologies[upstream->cluster], upstream->node->name))
        return;
    upstream_move(upstream);
}
