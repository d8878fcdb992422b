/* An upstream: one session's connection to one node of one cluster. It opens (trying the next node
 * when one does not answer), gets through the CQL handshake, carries requests, and, when it breaks
 * behind a client that is ready, reopens by itself.
 *
 *   IDLE ─open─► CONNECTING ─► STARTUP ─reply─► STARTED ─► AUTH ─► RESTORE ─► READY
 *   any ─failure─► the next node, or FAILED (told to the session)
 *   READY ─lost─► RETRY ─timer─► CONNECTING …
 *   any ─► IDLE at the session's end
 *
 *   IDLE      no socket: before the handshake, or its cluster is not in use
 *   STARTED   the cluster has answered STARTUP; its answer is in reply_*; the session decides what
 *             follows, or the proxy's own credentials do
 *   AUTH      a token is on its way; its answer goes to the session (the client's token) or is
 *             handled here (the proxy's)
 *   RESTORE   after a reopening: USE and REGISTER are repeated
 *   RETRY     no socket; reopens when deadline_ns has come */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/list.h"
#include "dataplane/metrics.h"
#include "dataplane/opening.h"
#include "dataplane/request.h"
#include "dataplane/stream.h"
#include "dataplane/topology.h"
#include "proto/cql_frame.h"

struct session;

enum upstream_state {
    UPSTREAM_IDLE,
    UPSTREAM_CONNECTING,
    UPSTREAM_STARTUP,
    UPSTREAM_STARTED,
    UPSTREAM_AUTH,
    UPSTREAM_RESTORE,
    UPSTREAM_READY,
    UPSTREAM_RETRY,
};

/* Nodes whose handshake may fail after STARTUP before an opening is given up. */
#define UPSTREAM_HANDSHAKES_MAX 4

/* What becomes of the frame whose bytes are arriving. */
enum upstream_frame { UPSTREAM_FRAME_NONE, UPSTREAM_FRAME_FORWARD, UPSTREAM_FRAME_SKIP };

struct upstream {
    struct session *session;
    enum cluster_id cluster;
    enum upstream_state state;
    struct stream stream;
    struct list watched;       /* worker->watched while deadline_ns matters */
    uint64_t deadline_ns;      /* of the current step, or of the next attempt */
    uint64_t open_deadline_ns; /* of the whole opening */
    struct topology *topology;
    struct opening *opening; /* in CONNECTING: the race for a node */
    /* Nodes that answered STARTUP and came no further, this time: tried last. */
    const struct topology_node *failed_nodes[UPSTREAM_HANDSHAKES_MAX];
    size_t failed_handshakes;
    uint64_t ready_since_ns;
    /* The client is not read: READY on a node that is in the topology no more, or on the way from a
     * node to the next. */
    bool is_leaving;
    bool is_entering; /* on the way to a cluster that comes into use: counted in
                         worker->switching until it is there or has failed */
    bool is_refused;  /* what the client has shown is of no use there: tried again now and then */
    bool must_come_again; /* another connection of the client's might do */
    uint64_t leave_by_ns;
    const struct topology_node *node;
    struct metrics_node *metrics;
    bool is_counted;         /* in the gauge of open connections */
    bool is_version_refused; /* while reopening: a node does not speak the session's version */
    bool is_reopening;       /* behind a ready client: the proxy drives the whole handshake */
    bool is_shadow;          /* carries shadow reads: never one of session->upstreams */
    bool is_proxy_driven;    /* from here on the proxy answers challenges itself */
    bool is_registered;      /* the client's REGISTER has been sent on this connection */
    uint8_t auth_turns;
    uint8_t restore_step;
    uint32_t backoff_ms;
    uint32_t expired_awaited; /* requests answered with a timeout whose answers are still owed */
    uint64_t heartbeat_at_ns; /* when a heartbeat was sent that is not answered yet; 0: none */

    uint8_t reply_opcode; /* the last handshake answer */
    struct cql_header reply_header;
    uint8_t *reply_body; /* heap copy, reply_header.body_length bytes */

    enum upstream_frame frame;
    uint32_t frame_left;
    bool frame_goes_on;            /* it is a page that others follow: continuous.h */
    struct request *frame_request; /* NULL: nobody waits for it */

    char last_error[128]; /* why the last opening failed or the connection was lost: for error texts
                           */
};

void upstream_init(struct upstream *upstream, struct session *session, enum cluster_id cluster);
/* Closes and forgets everything; requests that await this upstream must have been settled. */
void upstream_fini(struct upstream *upstream);

/* Begins to open with the session's stored STARTUP. The outcome comes by
 * session_on_upstream_started or _failed. */
void upstream_open(struct upstream *upstream);
/* The same for an upstream that carries shadow reads: the proxy drives the whole handshake with the
 * session's credentials and tries again for ever; nobody is told. */
void upstream_open_shadow(struct upstream *upstream);
/* Sends an AUTH_RESPONSE with this token (data NULL: a null token). */
void upstream_authenticate(struct upstream *upstream, struct cql_span token);
/* From STARTED, with a READY or AUTHENTICATE answer: the proxy finishes the handshake with the
 * session's token for this cluster. The outcome comes by session_on_upstream_ready or
 * session_on_upstream_refused. */
void upstream_finish_handshake(struct upstream *upstream);
/* The handshake is over: carry requests. */
void upstream_become_ready(struct upstream *upstream);

/* The connection is unusable: requests that await it are settled as lost, and it is reopened if the
 * session is ready. reason is a word or a short text. */
void upstream_lose(struct upstream *upstream, const char *reason);

/* The deadline has come. */
void upstream_on_deadline(struct upstream *upstream);
/* Sends the proxy's own OPTIONS when nothing has been heard for an interval, and gives up on a
 * silent node. Heartbeats gather: where a survey comes by half an interval of silence is enough, so
 * that within two intervals all idle connections of a worker have theirs at the same time. As
 * session_survey. */
uint64_t upstream_survey(struct upstream *upstream);

/* Appends the body of a QUERY that puts a connection into the session's keyspace. */
void upstream_put_use(const struct session *session, struct dynbuf *body);
/* Appends the body of a PREPARE of prepared's text. */
void upstream_put_prepare(const struct session *session, const struct prepared *prepared,
                          struct dynbuf *body);

/* ---- upstream_move.c ---- */
/* The cluster's topology has changed: if the node at hand is no longer in it, the client is not
 * read until what is in flight is answered, and the connection moves to another node. */
void upstream_on_topology(struct upstream *upstream);
/* The same, from upstream_on_deadline: leaves as soon as nothing is in flight; requests are not cut
 * short for it. */
void upstream_try_to_leave(struct upstream *upstream);
/* The connection is lost: if another node is believed up, the client is not read until that node
 * has answered, or had its head start. */
void upstream_hold_client(struct upstream *upstream);
/* The client is read again, unless its other upstream moves too. */
void upstream_release_client(struct upstream *upstream);
/* As upstream_hold_client, for a connection to a cluster that has come into use: until it is ready,
 * or a request would have timed out. */
void upstream_hold_for_entry(struct upstream *upstream);
/* Reads the client no more and, as soon as nothing is in flight, opens the connection anew. */
void upstream_move(struct upstream *upstream);
/* Closes the connection, on which nothing is awaited, and opens it anew (upstream.c). */
void upstream_reopen(struct upstream *upstream);
/* Opens the connection to a cluster that comes into use (upstream.c). */
void upstream_enter(struct upstream *upstream);

/* ---- upstream_use.c ---- */
/* The session is ready, or the routing state has changed: the connection to a cluster that has come
 * into use is opened, the one to a cluster that has gone out of it is let go of. */
void upstream_follow_use(struct upstream *upstream);
/* The cluster is not in use: closes the connection as soon as nobody waits for an answer of it;
 * also from upstream_on_deadline. */
void upstream_try_to_rest(struct upstream *upstream);
/* The connection is there, or will not be soon: the change of the routing state need not wait. */
void upstream_end_entering(struct upstream *upstream);
/* The client's keyspace has changed by a USE that this cluster, not in use then, was not sent. */
void upstream_follow_keyspace(struct upstream *upstream);
/* Whether the cluster is in use, or comes into it just now. */
bool upstream_is_in_use(const struct upstream *upstream);
/* Events come from the leading cluster: it is sent the client's REGISTER if it has not been. */
void upstream_follow_registration(struct upstream *upstream);

/* ---- for opening.c ---- */
/* Asks for upstream_on_deadline at that time instead of any asked for before. */
void upstream_watch(struct upstream *upstream, uint64_t deadline_ns);
enum metric_pool upstream_pool(const struct upstream *upstream);
/* The node has failed in this opening already. */
bool upstream_has_failed_on(const struct upstream *upstream, const struct topology_node *node);
/* Sends the session's STARTUP on an attempt's stream. */
MUST_CHECK bool upstream_send_startup(const struct upstream *upstream, struct stream *stream);
/* The opening is over. */
void upstream_on_opened(struct upstream *upstream, const struct opening_result *result);

/* It carries requests, and not a byte has come since. */
static inline bool upstream_is_silent_since(const struct upstream *upstream, uint64_t time_ns)
{
    return upstream->state == UPSTREAM_READY && upstream->stream.last_read_ns < time_ns;
}

/* "127.0.0.3:9042", or the cluster's name while none is chosen. */
const char *upstream_node_name(const struct upstream *upstream);
