/* One control connection to one node: gets through the handshake, reads who is in the cluster, then
 * stays open with heartbeats and reads again after events. It never chooses where to connect and
 * never comes back by itself: that is its owner's part (cluster.c). Protocol v4, then v3 if the
 * node refuses it.
 *
 *   connect → OPTIONS → STARTUP → [authenticate] → REGISTER → local → peers → open
 *   open:   heartbeats; an event → after a pause local and peers again      any failure → closed */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/dynbuf.h"
#include "dataplane/cluster_settings.h"
#include "dataplane/stream.h"
#include "dataplane/topology.h"
#include "proto/cql_cursor.h"

struct config;
struct control_conn;

enum control_step {
    CONTROL_STEP_NONE, /* no answer is awaited: open and quiet, or closed */
    CONTROL_STEP_CONNECT,
    CONTROL_STEP_OPTIONS,
    CONTROL_STEP_STARTUP,
    CONTROL_STEP_AUTHENTICATE,
    CONTROL_STEP_REGISTER,
    CONTROL_STEP_LOCAL,
    CONTROL_STEP_PEERS,
    CONTROL_STEP_HEARTBEAT,
};

/* What has been read of the cluster; everything is borrowed for the call. */
struct control_facts {
    uint8_t protocol_version;
    bool requires_authentication;
    struct cql_span supported;    /* body of SUPPORTED */
    struct cql_span local, peers; /* RESULT bodies */
};

struct control_hooks {
    void *context;
    /* All has been read, for the first time (the connection is not open yet) or again. false: it is
     * of no use and *reason says why; the connection is then closed for that reason. */
    bool (*on_read)(void *context, const struct control_facts *facts, struct dynbuf *reason);
    /* The node has answered a heartbeat. */
    void (*on_alive)(void *context);
    /* The node has sent an EVENT with this body. It will be followed by on_read. */
    void (*on_event)(void *context, struct cql_cursor body);
    /* Failed or lost, and closed already. open_ms: how long it had been open; -1: it never was. */
    void (*on_failed)(void *context, int64_t open_ms, const char *reason);
};

struct control_conn {
    const struct control_hooks *hooks;
    struct cluster_settings settings;
    enum cluster_id cluster;
    uint64_t heartbeat_interval_ms;
    uint8_t first_version; /* tried first */

    struct topology_node node;
    uint64_t connect_limit_ms;
    uint64_t open_deadline_ns;
    struct stream stream;
    const char *connect_error; /* of a connect that failed at once, told by the step timer */
    enum control_step step;
    bool is_open;
    int16_t last_id;
    uint8_t version;
    bool requires_authentication;
    bool is_dse;
    int auth_turns;
    bool needs_refresh;
    uint64_t opened_ns;
    struct dynbuf supported; /* bodies kept while the rest is read */
    struct dynbuf local;

    struct event *step_timer; /* the answer awaited is late */
    struct event *heartbeat_timer;
    struct event *refresh_timer;
};

/* A closed one. loop must outlive it. */
void control_conn_init(struct control_conn *conn, struct stream_loop *loop,
                       const struct control_hooks *hooks, enum cluster_id cluster,
                       struct cluster_settings settings, const struct config *config);
void control_conn_fini(struct control_conn *conn);

/* Begins to connect a closed one. The node has connect_limit_ms to accept and until deadline_ns
 * for everything up to the first on_read. Hooks are called from the event loop only, never from
 * here. */
void control_conn_open(struct control_conn *conn, const struct topology_node *node,
                       uint64_t connect_limit_ms, uint64_t deadline_ns);
