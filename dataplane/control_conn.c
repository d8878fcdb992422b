/* The state machine of a control connection, on the main thread's event loop. One request is in
 * flight at a time; `step` says which answer is awaited. It must never block and never trust a
 * length; whatever goes wrong becomes a reason, and the connection is closed. */
#include "dataplane/control_conn.h"

#include <event2/event.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "dataplane/config.h"
#include "dataplane/control_body.h"
#include "dataplane/tls_stream.h"
#include "proto/cql_response.h"

#define FRAME_BODY_MAX    (16u * 1024 * 1024) /* no system.peers is this large */
#define STEP_TIMEOUT_MS   10000
#define REFRESH_DELAY_MS  200
#define AUTH_TURNS_MAX    6
#define REASON_BYTES      512
#define EVENT_STREAM      (-1)
#define VERSION_BEST      4 /* spoken by every cluster since 2.2, whatever else it speaks */
#define DSE_AUTHENTICATOR "com.datastax.bdp.cassandra.auth.DseAuthenticator"

static const char *const step_names[] = {
    [CONTROL_STEP_NONE] = "nothing",
    [CONTROL_STEP_CONNECT] = "TCP connect",
    [CONTROL_STEP_OPTIONS] = "OPTIONS",
    [CONTROL_STEP_STARTUP] = "STARTUP",
    [CONTROL_STEP_AUTHENTICATE] = "authentication",
    [CONTROL_STEP_REGISTER] = "REGISTER",
    [CONTROL_STEP_LOCAL] = "SELECT * FROM system.local",
    [CONTROL_STEP_PEERS] = "SELECT * FROM system.peers",
    [CONTROL_STEP_HEARTBEAT] = "heartbeat",
};

static void connect_to_node(struct control_conn *conn, uint8_t version);

/* ---- timers ---- */

static void arm(struct event *timer, uint64_t after_ms)
{
    struct timeval after = {.tv_sec = (time_t)(after_ms / 1000),
                            .tv_usec = (suseconds_t)(after_ms % 1000 * 1000)};
    int result = evtimer_add(timer, &after);
    CHECK(result == 0);
}

/* Awaits the answer to step for at most limit_ms, and never past the end of the time for opening.
 */
static void await(struct control_conn *conn, enum control_step step, uint64_t limit_ms)
{
    conn->step = step;
    if (!conn->is_open) {
        uint64_t now = clock_now_ns();
        uint64_t left =
            now >= conn->open_deadline_ns ? 0 : (conn->open_deadline_ns - now) / NS_PER_MS;
        if (left + 1 < limit_ms)
            limit_ms = left + 1;
    }
    arm(conn->step_timer, limit_ms);
}

/* ---- the end ---- */

static void close_connection(struct control_conn *conn)
{
    stream_close(&conn->stream);
    dynbuf_fini(&conn->supported);
    dynbuf_fini(&conn->local);
    evtimer_del(conn->step_timer);
    evtimer_del(conn->heartbeat_timer);
    evtimer_del(conn->refresh_timer);
    conn->step = CONTROL_STEP_NONE;
    conn->is_open = false;
    conn->needs_refresh = false;
    conn->connect_error = NULL;
}

/* reason may point into what closing frees. */
static void fail(struct control_conn *conn, const char *reason)
{
    char text[REASON_BYTES];
    int64_t open_ms =
        conn->is_open ? (int64_t)((clock_now_ns() - conn->opened_ns) / NS_PER_MS) : -1;
    snprintf(text, sizeof text, "%s", reason);
    close_connection(conn);
    conn->hooks->on_failed(conn->hooks->context, open_ms, text);
}

static void unexpected(struct control_conn *conn, struct cql_header header)
{
    char reason[160];
    snprintf(reason, sizeof reason, "unexpected %s (opcode 0x%02x) as answer to %s",
             cql_opcode_name(header.opcode), header.opcode, step_names[conn->step]);
    fail(conn, reason);
}

/* ---- requests ---- */

/* Sends one request and awaits its answer. */
static void request(struct control_conn *conn, enum control_step step, uint8_t opcode,
                    const struct dynbuf *body, uint64_t limit_ms)
{
    uint8_t header[CQL_HEADER_BYTES];
    conn->last_id = (int16_t)((conn->last_id + 1) & 0x7f);
    cql_header_store(header,
                     (struct cql_header){.version = conn->version,
                                         .stream = conn->last_id,
                                         .opcode = opcode,
                                         .body_length = body == NULL ? 0 : (uint32_t)body->length});
    await(conn, step, limit_ms);
    if (body != NULL && body->failed)
        fail(conn, "a request of the proxy is larger than 128 KiB");
    else if (!stream_write(&conn->stream, header, sizeof header) ||
             (body != NULL && !stream_write(&conn->stream, body->data, body->length)))
        fail(conn, "no memory for a request");
}

static void send_startup(struct control_conn *conn)
{
    struct dynbuf body;
    dynbuf_init(&body, CONTROL_BODY_MAX);
    control_body_startup(&body);
    request(conn, CONTROL_STEP_STARTUP, CQL_OPCODE_STARTUP, &body, STEP_TIMEOUT_MS);
    dynbuf_fini(&body);
}

/* DSE wants the mechanism named first; every other authenticator takes the credentials at once. */
static void send_token(struct control_conn *conn, bool names_mechanism)
{
    struct dynbuf body;
    dynbuf_init(&body, CONTROL_BODY_MAX);
    if (names_mechanism)
        control_body_token(&body, (struct cql_span){(const uint8_t *)"PLAIN", 5});
    else
        control_body_credentials(&body, conn->settings.username, conn->settings.password);
    request(conn, CONTROL_STEP_AUTHENTICATE, CQL_OPCODE_AUTH_RESPONSE, &body, STEP_TIMEOUT_MS);
    if (body.data != NULL)
        explicit_bzero(body.data, body.length);
    dynbuf_fini(&body);
}

static void send_register(struct control_conn *conn)
{
    struct dynbuf body;
    dynbuf_init(&body, CONTROL_BODY_MAX);
    control_body_register(&body);
    request(conn, CONTROL_STEP_REGISTER, CQL_OPCODE_REGISTER, &body, STEP_TIMEOUT_MS);
    dynbuf_fini(&body);
}

static void send_query(struct control_conn *conn, enum control_step step, const char *text)
{
    struct dynbuf body;
    dynbuf_init(&body, CONTROL_BODY_MAX);
    control_body_query(&body, text);
    request(conn, step, CQL_OPCODE_QUERY, &body, STEP_TIMEOUT_MS);
    dynbuf_fini(&body);
}

static void send_local(struct control_conn *conn)
{
    conn->needs_refresh = false;
    send_query(conn, CONTROL_STEP_LOCAL, "SELECT * FROM system.local WHERE key='local'");
}

/* ---- answers ---- */

static void keep_body(struct dynbuf *kept, struct cql_cursor body)
{
    dynbuf_reset(kept);
    dynbuf_append(kept, body.at, cql_cursor_left(&body));
}

/* All three bodies are in. */
static void finish_reading(struct control_conn *conn, struct cql_cursor peers)
{
    struct control_facts facts = {
        .protocol_version = conn->version,
        .requires_authentication = conn->requires_authentication,
        .supported = {conn->supported.data, conn->supported.length},
        .local = {conn->local.data, conn->local.length},
        .peers = {peers.at, cql_cursor_left(&peers)},
    };
    struct dynbuf reason;
    dynbuf_init(&reason, REASON_BYTES);
    conn->step = CONTROL_STEP_NONE;
    if (!conn->hooks->on_read(conn->hooks->context, &facts, &reason)) {
        fail(conn, dynbuf_text(&reason));
        dynbuf_fini(&reason);
        return;
    }
    dynbuf_fini(&reason);
    dynbuf_fini(&conn->local);
    if (!conn->is_open) {
        conn->is_open = true;
        conn->opened_ns = clock_now_ns();
        arm(conn->heartbeat_timer, conn->heartbeat_interval_ms);
    }
    if (conn->needs_refresh)
        arm(conn->refresh_timer, REFRESH_DELAY_MS);
}

static void on_error(struct control_conn *conn, struct cql_cursor body)
{
    int32_t code = cql_read_i32(&body);
    struct cql_span message = cql_read_string(&body);
    if (body.failed) {
        fail(conn, "malformed ERROR");
        return;
    }
    if (code == CQL_ERROR_PROTOCOL && conn->version > CQL_VERSION_MIN && !conn->is_open) {
        uint8_t lower = (uint8_t)(conn->version - 1);
        LOG_INFO("control_connection_step_down", "cluster=%s address=%s protocol=%u next=%u",
                 cluster_name(conn->cluster), conn->node.name, conn->version, lower);
        close_connection(conn);
        connect_to_node(conn, lower);
        return;
    }
    char reason[REASON_BYTES];
    snprintf(reason, sizeof reason, "%s answered with error 0x%04x %s: %.*s",
             step_names[conn->step], (unsigned)code, cql_error_name(code),
             (int)(message.length < 300 ? message.length : 300), (const char *)message.data);
    fail(conn, reason);
}

static void on_authenticate(struct control_conn *conn, struct cql_cursor body)
{
    struct cql_span authenticator = cql_read_string(&body);
    if (body.failed) {
        fail(conn, "malformed AUTHENTICATE");
        return;
    }
    conn->requires_authentication = true;
    if (conn->settings.username[0] == '\0') {
        char reason[160];
        snprintf(reason, sizeof reason,
                 "the cluster asks for authentication and %s_CASSANDRA_USERNAME is empty",
                 conn->settings.prefix);
        fail(conn, reason);
        return;
    }
    conn->is_dse = cql_span_equals(authenticator, DSE_AUTHENTICATOR);
    send_token(conn, conn->is_dse);
}

static void on_auth_answer(struct control_conn *conn, struct cql_header header,
                           struct cql_cursor body)
{
    if (header.opcode == CQL_OPCODE_AUTH_SUCCESS) {
        send_register(conn);
    } else if (header.opcode != CQL_OPCODE_AUTH_CHALLENGE) {
        unexpected(conn, header);
    } else if (++conn->auth_turns >= AUTH_TURNS_MAX) {
        fail(conn, "authentication goes on for too many turns");
    } else if (conn->is_dse && !cql_span_equals(cql_read_bytes(&body), "PLAIN-START")) {
        fail(conn, "unknown challenge from DseAuthenticator");
    } else {
        send_token(conn, false);
    }
}

static void on_answer(struct control_conn *conn, struct cql_header header, const uint8_t *data)
{
    struct cql_cursor body = cql_open_response(header, data);
    if (body.failed) {
        fail(conn, "malformed answer: its prelude is longer than the frame");
        return;
    }
    evtimer_del(conn->step_timer);
    if (header.opcode == CQL_OPCODE_ERROR) {
        on_error(conn, body);
        return;
    }
    if (header.version != conn->version) {
        fail(conn, "answer in another protocol version than asked");
        return;
    }
    enum control_step step = conn->step;
    if (step == CONTROL_STEP_OPTIONS && header.opcode == CQL_OPCODE_SUPPORTED) {
        keep_body(&conn->supported, body);
        send_startup(conn);
    } else if (step == CONTROL_STEP_STARTUP && header.opcode == CQL_OPCODE_READY) {
        conn->requires_authentication = false;
        send_register(conn);
    } else if (step == CONTROL_STEP_STARTUP && header.opcode == CQL_OPCODE_AUTHENTICATE) {
        on_authenticate(conn, body);
    } else if (step == CONTROL_STEP_AUTHENTICATE) {
        on_auth_answer(conn, header, body);
    } else if (step == CONTROL_STEP_REGISTER && header.opcode == CQL_OPCODE_READY) {
        send_local(conn);
    } else if (step == CONTROL_STEP_LOCAL && header.opcode == CQL_OPCODE_RESULT) {
        keep_body(&conn->local, body);
        send_query(conn, CONTROL_STEP_PEERS, "SELECT * FROM system.peers");
    } else if (step == CONTROL_STEP_PEERS && header.opcode == CQL_OPCODE_RESULT) {
        finish_reading(conn, body);
    } else if (step == CONTROL_STEP_HEARTBEAT && header.opcode == CQL_OPCODE_SUPPORTED) {
        conn->step = CONTROL_STEP_NONE;
        if (conn->needs_refresh)
            arm(conn->refresh_timer, REFRESH_DELAY_MS);
        conn->hooks->on_alive(conn->hooks->context);
    } else {
        unexpected(conn, header);
    }
}

/* One refresh for a burst of events: the pause begins with the first, and what comes later during
 * it is covered. */
static void on_event(struct control_conn *conn, struct cql_header header, const uint8_t *data)
{
    conn->needs_refresh = true;
    if (conn->is_open && conn->step == CONTROL_STEP_NONE &&
        !evtimer_pending(conn->refresh_timer, NULL))
        arm(conn->refresh_timer, REFRESH_DELAY_MS);
    conn->hooks->on_event(conn->hooks->context, cql_open_response(header, data));
}

static void on_frame(struct control_conn *conn, struct cql_header header, const uint8_t *body)
{
    if (header.opcode == CQL_OPCODE_EVENT && header.stream == EVENT_STREAM) {
        on_event(conn, header, body);
        return;
    }
    /* Versions refused are often answered on stream 0, whatever was asked. */
    bool is_mine = header.stream == conn->last_id || header.opcode == CQL_OPCODE_ERROR;
    if (conn->step == CONTROL_STEP_NONE || !is_mine) {
        char reason[160];
        snprintf(reason, sizeof reason, "%s nobody asked for, on stream %d",
                 cql_opcode_name(header.opcode), header.stream);
        fail(conn, reason);
        return;
    }
    on_answer(conn, header, body);
}

/* ---- the stream ---- */

static const char *fault_of(struct cql_header header)
{
    if (!header.is_response || header.version == 0 || !cql_opcode_is_response(header.opcode))
        return "what it sends is no CQL response";
    if ((header.flags & CQL_FLAG_COMPRESSED) != 0)
        return "compressed answer though no compression was agreed";
    return NULL;
}

/* Takes whole frames. Any of them may end the connection, or even begin the next one, whose bytes
 * these are not. */
static size_t on_input(struct stream *stream, const uint8_t *data, size_t length,
                       struct chunk *whole, size_t *need)
{
    struct control_conn *conn = CONTAINER_OF(stream, struct control_conn, stream);
    uint32_t life = stream->life;
    size_t done = 0;
    (void)whole;
    while (stream->life == life && length - done >= CQL_HEADER_BYTES) {
        struct cql_header header = cql_header_load(data + done);
        size_t total = CQL_HEADER_BYTES + (size_t)header.body_length;
        const char *fault = fault_of(header);
        if (fault != NULL) {
            fail(conn, fault);
            return done;
        }
        if (header.body_length > FRAME_BODY_MAX) {
            char reason[160];
            snprintf(reason, sizeof reason, "announced a frame of %u bytes; at most %u are taken",
                     header.body_length, FRAME_BODY_MAX);
            fail(conn, reason);
            return done;
        }
        if (length - done < total) {
            *need = total > STREAM_WHOLE_FRAME ? total : 0;
            return done;
        }
        on_frame(conn, header, data + done + CQL_HEADER_BYTES);
        done += total;
    }
    return done;
}

static void on_drained(struct stream *stream)
{
    (void)stream; /* one request at a time never fills it */
}

static void fail_connecting(struct control_conn *conn, const char *error)
{
    char reason[160];
    snprintf(reason, sizeof reason, "connect: %s", error);
    fail(conn, reason);
}

static void on_connected(struct stream *stream, const char *error)
{
    struct control_conn *conn = CONTAINER_OF(stream, struct control_conn, stream);
    if (error != NULL) {
        fail_connecting(conn, error);
        return;
    }
    evtimer_del(conn->step_timer);
    request(conn, CONTROL_STEP_OPTIONS, CQL_OPCODE_OPTIONS, NULL, STEP_TIMEOUT_MS);
}

static void on_lost(struct stream *stream, const char *reason)
{
    struct control_conn *conn = CONTAINER_OF(stream, struct control_conn, stream);
    fail(conn, strcmp(reason, "peer_closed") == 0 ? "closed by the node" : reason);
}

static const struct stream_handlers stream_handlers = {
    .on_input = on_input,
    .on_drained = on_drained,
    .on_connected = on_connected,
    .on_lost = on_lost,
};

/* Its end is told by on_connected or by the step timer, also when it fails at once, so that a long
 * list of bad nodes never nests calls. */
static void connect_to_node(struct control_conn *conn, uint8_t version)
{
    conn->version = version;
    conn->last_id = 0;
    conn->auth_turns = 0;
    await(conn, CONTROL_STEP_CONNECT, conn->connect_limit_ms);
    if (!tls_stream_connect(&conn->stream, conn->cluster, &conn->node, &conn->connect_error))
        arm(conn->step_timer, 0);
}

/* ---- timer callbacks ---- */

static void on_step_timer(evutil_socket_t fd, short what, void *context)
{
    struct control_conn *conn = context;
    char reason[160];
    (void)fd;
    (void)what;
    if (conn->connect_error != NULL) {
        fail_connecting(conn, conn->connect_error);
        return;
    }
    snprintf(reason, sizeof reason, "%s: no answer in time", step_names[conn->step]);
    fail(conn, reason);
}

static void on_heartbeat_timer(evutil_socket_t fd, short what, void *context)
{
    struct control_conn *conn = context;
    uint64_t interval = conn->heartbeat_interval_ms;
    (void)fd;
    (void)what;
    arm(conn->heartbeat_timer, interval);
    /* A refresh under way proves the connection as well as a heartbeat does. */
    if (conn->step == CONTROL_STEP_NONE)
        request(conn, CONTROL_STEP_HEARTBEAT, CQL_OPCODE_OPTIONS, NULL,
                interval < STEP_TIMEOUT_MS ? interval : STEP_TIMEOUT_MS);
}

static void on_refresh_timer(evutil_socket_t fd, short what, void *context)
{
    struct control_conn *conn = context;
    (void)fd;
    (void)what;
    if (conn->step == CONTROL_STEP_NONE)
        send_local(conn);
}

/* ---- public ---- */

/* CONTROL_CONN_MAX_PROTOCOL_VERSION lowers it: its choices are 2, 3, 4, 5 and DSE's, and what it
 * allows beyond 4 is not needed here. */
static uint8_t first_version(const struct config *config)
{
    int allowed = config->control_conn_max_protocol_version + 2;
    return allowed <= CQL_VERSION_MIN ? CQL_VERSION_MIN : VERSION_BEST;
}

void control_conn_init(struct control_conn *conn, struct stream_loop *loop,
                       const struct control_hooks *hooks, enum cluster_id cluster,
                       struct cluster_settings settings, const struct config *config)
{
    *conn = (struct control_conn){
        .hooks = hooks,
        .settings = settings,
        .cluster = cluster,
        .heartbeat_interval_ms = (uint64_t)config->heartbeat_interval_ms,
        .first_version = first_version(config),
    };
    stream_init(&conn->stream, loop, &stream_handlers, STREAM_TO_CLUSTER + cluster);
    dynbuf_init(&conn->supported, FRAME_BODY_MAX);
    dynbuf_init(&conn->local, FRAME_BODY_MAX);
    conn->step_timer = evtimer_new(loop->base, on_step_timer, conn);
    conn->heartbeat_timer = evtimer_new(loop->base, on_heartbeat_timer, conn);
    conn->refresh_timer = evtimer_new(loop->base, on_refresh_timer, conn);
    CHECK(conn->step_timer != NULL && conn->heartbeat_timer != NULL && conn->refresh_timer != NULL);
}

void control_conn_fini(struct control_conn *conn)
{
    close_connection(conn);
    event_free(conn->step_timer);
    event_free(conn->heartbeat_timer);
    event_free(conn->refresh_timer);
}

void control_conn_open(struct control_conn *conn, const struct topology_node *node,
                       uint64_t connect_limit_ms, uint64_t deadline_ns)
{
    CHECK(!stream_is_open(&conn->stream));
    conn->node = *node;
    conn->connect_limit_ms = connect_limit_ms;
    conn->open_deadline_ns = deadline_ns;
    connect_to_node(conn, conn->first_version);
}
