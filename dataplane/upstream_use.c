/* Clusters that come into use and go out of it: the connections of a session follow the routing
 * state behind a client that stays. Runs on the session's worker, never on the path of a request.
 * Must not cut short an answer that somebody waits for. */
#include <stdio.h>

#include "common/clock.h"
#include "dataplane/session.h"
#include "dataplane/worker.h"

static struct worker *worker_of(const struct upstream *upstream)
{
    return upstream->session->worker;
}

static bool is_in_force(const struct upstream *upstream)
{
    return !snapshot_is_idle(worker_of(upstream)->snapshot, upstream->cluster);
}

bool upstream_is_in_use(const struct upstream *upstream)
{
    const struct switching *switching = &worker_of(upstream)->switching;
    return is_in_force(upstream) ||
           (switching->snapshot != NULL && switching->enters[upstream->cluster]);
}

/* ---- out of use ---- */

/* Heartbeats and requests that were answered with a timeout are nobody's. */
static bool is_waited_for(const struct upstream *upstream)
{
    const struct session *session = upstream->session;
    const struct request_table *table = &session->requests;
    if (session->lock == upstream)
        return true;
    for (uint32_t slot = 0; slot < table->capacity; slot++) {
        const struct request *request = table->slots[slot];
        if (request != NULL && request->outcomes[upstream->cluster] == OUTCOME_AWAITED &&
            !request->is_expired && request->statement.class != REQUEST_HEARTBEAT)
            return true;
    }
    return false;
}

void upstream_try_to_rest(struct upstream *upstream)
{
    struct session *session = upstream->session;
    if (is_waited_for(upstream)) {
        upstream_watch(upstream, worker_now(worker_of(upstream)));
        return;
    }
    LOG_DEBUG("upstream_resting", "client=%s cluster=%s node=%s", session->peer,
              cluster_name(upstream->cluster), upstream_node_name(upstream));
    upstream_release_client(upstream);
    answer_settle_lost(session, upstream);
    upstream_fini(upstream);
    snprintf(upstream->last_error, sizeof upstream->last_error, "not in use");
    upstream->stream.handlers->on_drained(&upstream->stream); /* its queue is gone */
}

/* ---- into use ---- */

static void begin_to_enter(struct upstream *upstream)
{
    if (!upstream->is_entering)
        worker_of(upstream)->switching.entering++;
    upstream->is_entering = true;
}

void upstream_end_entering(struct upstream *upstream)
{
    if (upstream->is_entering)
        worker_of(upstream)->switching.entering--;
    upstream->is_entering = false;
}

void upstream_follow_registration(struct upstream *upstream)
{
    struct session *session = upstream->session;
    if (session->register_body != NULL && !upstream->is_registered && !upstream->is_shadow &&
        session->state == SESSION_READY && upstream->state == UPSTREAM_READY &&
        upstream->cluster == snapshot_leading_cluster(worker_of(upstream)->snapshot))
        upstream->is_registered = dispatch_register_again(session, upstream);
}

void upstream_follow_use(struct upstream *upstream)
{
    struct session *session = upstream->session;
    if (!upstream_is_in_use(upstream)) {
        if (upstream->state != UPSTREAM_IDLE)
            upstream_try_to_rest(upstream);
    } else if (upstream->state == UPSTREAM_IDLE && session->state == SESSION_READY) {
        begin_to_enter(upstream);
        if (is_in_force(upstream))
            upstream_hold_for_entry(upstream);
        upstream_enter(upstream);
    } else if (upstream->must_come_again && is_in_force(upstream)) {
        session_send_away(session, upstream->is_version_refused ? CLOSE_VERSION_REFUSED
                                                                : CLOSE_LOST_FOR_GOOD);
    } else {
        upstream_follow_registration(upstream);
    }
}

void upstream_follow_keyspace(struct upstream *upstream)
{
    if (upstream->state != UPSTREAM_READY && upstream->state != UPSTREAM_RESTORE)
        return; /* it has not come to its keyspace yet */
    begin_to_enter(upstream);
    if (upstream->state == UPSTREAM_RESTORE)
        upstream_reopen(upstream);
    else
        upstream_move(upstream);
}
