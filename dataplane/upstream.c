/* Upstreams: connecting, the node's side of the handshake, breaking and reopening. Runs on the
 * session's worker. Answers of a ready upstream are answer.c's business. Never closes its session
 * but through the session's own functions. */
#include "dataplane/upstream.h"

#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "dataplane/framing.h"
#include "dataplane/node_watch.h"
#include "dataplane/session.h"
#include "dataplane/shadow.h"
#include "dataplane/worker.h"
#include "proto/cql_request.h"
#include "proto/cql_response.h"

/* An opening, and each step of the handshake after it, takes no longer than this, whatever the
 * connection timeouts allow: drivers give up on a connection after five seconds, and an error that
 * says what is wrong helps more than their timeout. */
#define OPENING_MS_MAX 4500

/* A connection that was ready for less than this is reopened with a pause: a node that accepts and
 * drops connections must not make us spin. */
#define STABLE_NS NS_PER_S

/* A handshake answer larger than this is refused. */
#define HANDSHAKE_BODY_MAX ((uint32_t)64 * 1024 - CQL_HEADER_BYTES)

/* AUTH_RESPONSE rounds the proxy goes through with one node, as zdm-proxy. */
#define AUTH_TURNS_MAX 6

/* What the client has shown was refused and will most likely be again: each attempt costs the
 * cluster the work of checking a password. */
#define REFUSED_RETRY_NS (30 * NS_PER_S)

#define BACKOFF_FIRST_MS 100
#define BACKOFF_LAST_MS  2000

static void begin_opening(struct upstream *upstream);
static size_t on_handshake_input(struct upstream *upstream, const uint8_t *data, size_t length);

static struct worker *worker_of(const struct upstream *upstream)
{
    return upstream->session->worker;
}

const char *upstream_node_name(const struct upstream *upstream)
{
    return upstream->node == NULL ? cluster_name(upstream->cluster) : upstream->node->name;
}

static bool is_origin(const struct upstream *upstream)
{
    return upstream->cluster == CLUSTER_ORIGIN;
}

enum metric_pool upstream_pool(const struct upstream *upstream)
{
    return upstream->is_shadow ? METRIC_POOL_SHADOW : (enum metric_pool)upstream->cluster;
}

/* ---- time limits ---- */

void upstream_watch(struct upstream *upstream, uint64_t deadline_ns)
{
    upstream->deadline_ns = deadline_ns;
    timing_watch_by(&worker_of(upstream)->timing, deadline_ns);
    if (list_is_empty(&upstream->watched))
        list_append(&worker_of(upstream)->watched, &upstream->watched);
}

static void watch_step(struct upstream *upstream)
{
    struct worker *worker = worker_of(upstream);
    uint64_t limit_ms = upstream->is_shadow ? (uint64_t)worker->config->async_handshake_timeout_ms
                                            : worker->live.request_timeout_ms;
    uint64_t step =
        worker_now(worker) + (limit_ms < OPENING_MS_MAX ? limit_ms : OPENING_MS_MAX) * NS_PER_MS;
    upstream_watch(upstream, step);
}

/* ---- the socket ---- */

static void forget_reply(struct upstream *upstream)
{
    free(upstream->reply_body);
    upstream->reply_body = NULL;
    upstream->reply_opcode = 0xff;
}

static void close_socket(struct upstream *upstream)
{
    if (upstream->is_counted)
        metrics_bump(&upstream->metrics->values[NODE_CONNECTIONS], -1);
    upstream->is_counted = upstream->is_registered = false;
    stream_close(&upstream->stream);
    upstream->frame = UPSTREAM_FRAME_NONE;
    upstream->frame_request = NULL;
    upstream->expired_awaited = 0;
    upstream->heartbeat_at_ns = 0;
    list_remove(&upstream->watched);
}

static bool write_frame(const struct upstream *upstream, struct stream *stream, uint8_t opcode,
                        uint8_t flags, const void *body, size_t length)
{
    uint8_t header[CQL_HEADER_BYTES];
    cql_header_store(header, (struct cql_header){
                                 .version = upstream->session->version,
                                 .flags = flags,
                                 .opcode = opcode,
                                 .body_length = (uint32_t)length,
                             });
    return stream_write(stream, header, sizeof header) && stream_write(stream, body, length);
}

static bool send_frame(struct upstream *upstream, uint8_t opcode, uint8_t flags, const void *body,
                       size_t length)
{
    return write_frame(upstream, &upstream->stream, opcode, flags, body, length);
}

/* ---- opening ---- */

static void wait_and_retry(struct upstream *upstream)
{
    uint32_t backoff = upstream->backoff_ms;
    /* Spread by address, so that the sessions of a dead node do not all come back in the same
     * instant. */
    uint32_t jitter = (uint32_t)((uintptr_t)upstream >> 7) % (backoff / 2 + 1);
    /* A cluster that comes into use gets a second chance, or the time to tell its nodes. */
    if (!upstream->is_entering || (upstream->topology != NULL && backoff > BACKOFF_FIRST_MS)) {
        upstream_end_entering(upstream);
        upstream_release_client(upstream);
    }
    upstream->state = UPSTREAM_RETRY;
    upstream->backoff_ms = backoff * 2 > BACKOFF_LAST_MS ? BACKOFF_LAST_MS : backoff * 2;
    upstream_watch(upstream, worker_now(worker_of(upstream)) + (backoff / 2 + jitter) * NS_PER_MS);
}

/* A cluster that comes into use does not take what the client has shown. What the other one can do
 * alone goes on; the rest is refused for this reason. */
static void stay_refused(struct upstream *upstream, const char *reason, bool must_come_again)
{
    uint64_t now = worker_now(worker_of(upstream));
    snprintf(upstream->last_error, sizeof upstream->last_error, "%s", reason);
    if (!upstream->is_refused)
        LOG_WARN("upstream_refused", "client=%s cluster=%s node=%s reason=\"%s\"",
                 upstream->session->peer, cluster_name(upstream->cluster),
                 upstream_node_name(upstream), upstream->last_error);
    close_socket(upstream);
    forget_reply(upstream);
    upstream->is_refused = true;
    upstream->must_come_again = must_come_again;
    upstream->state = UPSTREAM_RETRY;
    upstream_end_entering(upstream);
    upstream_release_client(upstream);
    upstream_watch(upstream, now + REFUSED_RETRY_NS + now % REFUSED_RETRY_NS);
    upstream_follow_use(upstream);
}

static bool is_newcomer(const struct upstream *upstream)
{
    return upstream->is_entering || upstream->is_refused;
}

static void fail_opening(struct upstream *upstream)
{
    if (upstream->is_version_refused && is_newcomer(upstream)) {
        stay_refused(upstream, "does not speak the client's protocol version", true);
        return;
    }
    if (upstream->is_version_refused && !upstream->is_shadow) {
        session_close(upstream->session, CLOSE_VERSION_REFUSED, upstream->last_error);
        return;
    }
    if (upstream->is_reopening) {
        LOG_DEBUG("upstream_reopen_failed", "client=%s cluster=%s node=%s reason=\"%s\"",
                  upstream->session->peer, cluster_name(upstream->cluster),
                  upstream_node_name(upstream), upstream->last_error);
        wait_and_retry(upstream);
        return;
    }
    upstream->state = UPSTREAM_IDLE;
    session_on_upstream_failed(upstream->session, upstream);
}

bool upstream_has_failed_on(const struct upstream *upstream, const struct topology_node *node)
{
    for (size_t i = 0; i < upstream->failed_handshakes; i++)
        if (upstream->failed_nodes[i] == node)
            return true;
    return false;
}

/* The node at hand did not work out; another one may. */
static void give_up_node(struct upstream *upstream, const char *reason)
{
    const struct topology *topology = upstream->topology;
    snprintf(upstream->last_error, sizeof upstream->last_error, "%s", reason);
    metrics_bump(&upstream->metrics->values[NODE_FAILED_CONNECTIONS], 1);
    close_socket(upstream);
    forget_reply(upstream);
    upstream->failed_nodes[upstream->failed_handshakes++] = upstream->node;
    if (upstream->failed_handshakes >= topology->node_count + topology->spare_count ||
        upstream->failed_handshakes == UPSTREAM_HANDSHAKES_MAX)
        fail_opening(upstream);
    else
        begin_opening(upstream);
}

/* Clients go elsewhere for a while. */
static void blame_node(struct upstream *upstream, const char *reason)
{
    struct worker *worker = worker_of(upstream);
    node_watch_failed(worker->shared->watch, upstream->node->health, worker->metrics, reason);
}

/* The same as give_up_node, and the node is to blame. */
static void give_up_bad_node(struct upstream *upstream, const char *reason)
{
    blame_node(upstream, reason);
    give_up_node(upstream, reason);
}

static void begin_opening(struct upstream *upstream)
{
    uint32_t turn = atomic_fetch_add_explicit(
        &worker_of(upstream)->shared->next_node[upstream->cluster], 1, memory_order_relaxed);
    upstream->state = UPSTREAM_CONNECTING;
    upstream->is_proxy_driven = upstream->is_reopening;
    upstream->auth_turns = 0;
    if (!opening_start(upstream, (size_t)turn + 1, upstream->open_deadline_ns)) {
        snprintf(upstream->last_error, sizeof upstream->last_error, "out of memory");
        fail_opening(upstream);
    }
}

static void open_with_current_topology(struct upstream *upstream)
{
    struct worker *worker = worker_of(upstream);
    uint64_t limit_ms =
        (uint64_t)(is_origin(upstream) ? worker->config->origin_connection_timeout_ms
                                       : worker->config->target_connection_timeout_ms);
    struct topology *topology = worker->topologies[upstream->cluster];
    topology_put(upstream->topology);
    upstream->topology = topology == NULL ? NULL : topology_get(topology);
    upstream->node = NULL;
    upstream->failed_handshakes = 0;
    upstream->is_version_refused = false;
    upstream->open_deadline_ns =
        worker_now(worker) + (limit_ms < OPENING_MS_MAX ? limit_ms : OPENING_MS_MAX) * NS_PER_MS;
    forget_reply(upstream);
    if (upstream->topology == NULL) {
        snprintf(upstream->last_error, sizeof upstream->last_error,
                 "the proxy has not reached it yet, so its nodes are not known");
        fail_opening(upstream);
        return;
    }
    begin_opening(upstream);
}

void upstream_reopen(struct upstream *upstream)
{
    close_socket(upstream);
    upstream->is_reopening = true;
    open_with_current_topology(upstream);
}

void upstream_enter(struct upstream *upstream)
{
    upstream->backoff_ms = BACKOFF_FIRST_MS;
    upstream_reopen(upstream);
}

void upstream_open(struct upstream *upstream)
{
    CHECK(upstream->state == UPSTREAM_IDLE);
    upstream->is_reopening = false;
    open_with_current_topology(upstream);
}

void upstream_open_shadow(struct upstream *upstream)
{
    CHECK(upstream->state == UPSTREAM_IDLE);
    upstream->is_shadow = upstream->is_reopening = true;
    open_with_current_topology(upstream);
}

bool upstream_send_startup(const struct upstream *upstream, struct stream *stream)
{
    const struct session *session = upstream->session;
    return write_frame(upstream, stream, CQL_OPCODE_STARTUP, session->startup_flags,
                       session->startup_body, session->startup_length);
}

void upstream_on_opened(struct upstream *upstream, const struct opening_result *result)
{
    list_remove(&upstream->watched);
    upstream->node = result->node;
    upstream->metrics = result->metrics;
    if (result->answer == NULL) {
        snprintf(upstream->last_error, sizeof upstream->last_error, "%s", result->error);
        fail_opening(upstream);
        return;
    }
    metrics_bump(&upstream->metrics->values[NODE_CONNECTIONS], 1);
    upstream->is_counted = true;
    upstream->state = UPSTREAM_STARTUP;
    (void)on_handshake_input(upstream, result->answer, result->length);
}

/* ---- the handshake ---- */

/* The node has said something the handshake cannot go on from, or the client's own credentials no
 * longer work. */
static void refuse(struct upstream *upstream, const char *detail)
{
    struct session *session = upstream->session;
    if (!upstream->is_reopening) {
        session_on_upstream_refused(session, upstream, detail);
        return;
    }
    if (upstream->is_shadow)
        give_up_node(upstream, detail == NULL ? "refused the client's credentials" : detail);
    else if (is_newcomer(upstream) && detail == NULL)
        stay_refused(upstream, "refused the client's credentials", false);
    else if (is_newcomer(upstream) && session->tokens[upstream->cluster].data == NULL)
        stay_refused(upstream, detail, true);
    else if (detail == NULL)
        session_close(session, CLOSE_LOST_FOR_GOOD, "the reopened connection was refused");
    else if (session->tokens[upstream->cluster].data == NULL) /* nobody knew it would ask */
        session_close(session, CLOSE_LOST_FOR_GOOD, detail);
    else
        give_up_node(upstream, detail);
}

void upstream_authenticate(struct upstream *upstream, struct cql_span token)
{
    uint8_t length[4];
    bool is_null = token.data == NULL;
    struct dynbuf *body = &worker_of(upstream)->reply;
    cql_store_u32(length, is_null ? UINT32_MAX : (uint32_t)token.length);
    dynbuf_reset(body);
    dynbuf_append(body, length, sizeof length);
    if (!is_null)
        dynbuf_append(body, token.data, token.length);
    upstream->state = UPSTREAM_AUTH;
    watch_step(upstream);
    bool sent = !body->failed &&
                send_frame(upstream, CQL_OPCODE_AUTH_RESPONSE, 0, body->data, body->length);
    if (body->data != NULL)
        explicit_bzero(body->data, body->length);
    if (!sent)
        upstream_lose(upstream, "out of memory");
}

/* Answers the AUTHENTICATE or AUTH_CHALLENGE at hand with the session's token for this cluster. */
static void answer_challenge(struct upstream *upstream)
{
    const struct token *token = &upstream->session->tokens[upstream->cluster];
    struct cql_cursor cursor = cql_open_response(upstream->reply_header, upstream->reply_body);
    if (token->data == NULL) {
        refuse(upstream, "asks for credentials and the proxy has none for it");
        return;
    }
    if (upstream->auth_turns++ >= AUTH_TURNS_MAX) {
        refuse(upstream, "asks for credentials again and again");
        return;
    }
    /* DSE wants the mechanism named first and answers PLAIN-START; every other authenticator takes
     * the token at once. */
    bool is_dse = upstream->reply_opcode == CQL_OPCODE_AUTHENTICATE &&
                  cql_span_equals(cql_read_string(&cursor),
                                  "com.datastax.bdp.cassandra.auth.DseAuthenticator");
    struct cql_span answer = is_dse ? (struct cql_span){(const uint8_t *)"PLAIN", 5}
                                    : (struct cql_span){token->data, token->length};
    upstream_authenticate(upstream, answer);
}

void upstream_put_use(const struct session *session, struct dynbuf *body)
{
    char use[2 * KEYSPACE_MAX + 16] = "USE \"";
    size_t length = strlen(use);
    for (const char *at = session->keyspace; *at != '\0'; at++) {
        if (*at == '"')
            use[length++] = '"';
        use[length++] = *at;
    }
    use[length++] = '"';
    cql_put_i32(body, (int32_t)length);
    dynbuf_append(body, use, length);
    cql_put_u16(body, 1); /* ONE */
    if (cql_version_has_int_flags(session->version))
        cql_put_i32(body, 0);
    else
        cql_put_u8(body, 0);
}

void upstream_put_prepare(const struct session *session, const struct prepared *prepared,
                          struct dynbuf *body)
{
    cql_put_i32(body, (int32_t)prepared->text_length);
    dynbuf_append(body, prepared->text, prepared->text_length);
    if (cql_version_has_metadata_id(session->version))
        cql_put_i32(body, 0);
}

/* After a reopening: the keyspace and the registration the old connection had. */
static void restore(struct upstream *upstream)
{
    struct session *session = upstream->session;
    upstream->state = UPSTREAM_RESTORE;
    watch_step(upstream);
    if (upstream->restore_step == 0) {
        upstream->restore_step = 1;
        if (session->keyspace[0] != '\0') {
            struct dynbuf *body = &worker_of(upstream)->reply;
            dynbuf_reset(body);
            upstream_put_use(session, body);
            if (!send_frame(upstream, CQL_OPCODE_QUERY, 0, body->data, body->length))
                give_up_node(upstream, "out of memory");
            return;
        }
    }
    if (upstream->restore_step == 1) {
        upstream->restore_step = 2;
        if (upstream->cluster == snapshot_leading_cluster(worker_of(upstream)->snapshot) &&
            !upstream->is_shadow && session->register_body != NULL) {
            if (!send_frame(upstream, CQL_OPCODE_REGISTER, 0, session->register_body,
                            session->register_length))
                give_up_node(upstream, "out of memory");
            else
                upstream->is_registered = true;
            return;
        }
    }
    if (upstream->is_shadow) {
        upstream_become_ready(upstream);
        return;
    }
    if (is_newcomer(upstream)) {
        LOG_DEBUG("upstream_entered", "client=%s cluster=%s node=%s", session->peer,
                  cluster_name(upstream->cluster), upstream_node_name(upstream));
        upstream_become_ready(upstream);
        return;
    }
    metrics_add(
        worker_of(upstream)->metrics,
        is_origin(upstream) ? METRIC_UPSTREAM_REOPENED_ORIGIN : METRIC_UPSTREAM_REOPENED_TARGET, 1);
    LOG_INFO("upstream_reopened", "client=%s cluster=%s node=%s", session->peer,
             cluster_name(upstream->cluster), upstream_node_name(upstream));
    upstream_become_ready(upstream);
}

static void finish(struct upstream *upstream)
{
    if (upstream->is_reopening) {
        upstream->restore_step = 0;
        restore(upstream);
        return;
    }
    upstream_become_ready(upstream);
    session_on_upstream_ready(upstream->session, upstream);
}

void upstream_finish_handshake(struct upstream *upstream)
{
    upstream->is_proxy_driven = true;
    if (upstream->reply_opcode == CQL_OPCODE_READY)
        finish(upstream);
    else
        answer_challenge(upstream);
}

void upstream_become_ready(struct upstream *upstream)
{
    struct worker *worker = worker_of(upstream);
    upstream->state = UPSTREAM_READY;
    upstream->is_reopening = false;
    upstream->backoff_ms = BACKOFF_FIRST_MS;
    upstream->ready_since_ns = worker_now(worker);
    timing_survey_by(&worker->timing,
                     worker_now(worker) +
                         (uint64_t)worker->config->heartbeat_interval_ms * NS_PER_MS);
    node_watch_serves(upstream->node->health, worker->metrics);
    list_remove(&upstream->watched);
    forget_reply(upstream);
    upstream_end_entering(upstream);
    upstream->is_refused = upstream->must_come_again = false;
    upstream_release_client(upstream);
    upstream_follow_registration(upstream);
}

/* A node refused the STARTUP of a reopening. A version it does not speak any more is a word for the
 * client if no other node does: it has to come back with another one. */
static void give_up_refusing_node(struct upstream *upstream)
{
    struct cql_cursor cursor = cql_open_response(upstream->reply_header, upstream->reply_body);
    upstream->is_version_refused = upstream->reply_opcode == CQL_OPCODE_ERROR &&
                                   cql_read_i32(&cursor) == CQL_ERROR_PROTOCOL && !cursor.failed;
    give_up_node(upstream, upstream->is_version_refused
                               ? "does not speak the client's protocol version"
                               : "refused STARTUP");
}

static void on_handshake_reply(struct upstream *upstream)
{
    struct session *session = upstream->session;
    bool is_error = upstream->reply_opcode == CQL_OPCODE_ERROR;
    list_remove(&upstream->watched);
    switch (upstream->state) {
    case UPSTREAM_STARTUP:
        upstream->state = UPSTREAM_STARTED;
        if (!upstream->is_reopening)
            session_on_upstream_started(session, upstream);
        else if (upstream->reply_opcode == CQL_OPCODE_READY ||
                 upstream->reply_opcode == CQL_OPCODE_AUTHENTICATE)
            upstream_finish_handshake(upstream);
        else
            give_up_refusing_node(upstream);
        break;
    case UPSTREAM_AUTH:
        if (!upstream->is_proxy_driven)
            session_on_auth_reply(session, upstream);
        else if (upstream->reply_opcode == CQL_OPCODE_AUTH_SUCCESS ||
                 upstream->reply_opcode == CQL_OPCODE_READY)
            finish(upstream);
        else if (upstream->reply_opcode == CQL_OPCODE_AUTH_CHALLENGE)
            answer_challenge(upstream);
        else
            refuse(upstream, is_error ? NULL : "answered AUTH_RESPONSE with an unexpected message");
        break;
    case UPSTREAM_RESTORE:
        if (is_error)
            give_up_node(upstream, "refused to restore the keyspace or the event registration");
        else
            restore(upstream);
        break;
    default:
        upstream_lose(upstream, "spoke when it was not asked");
    }
}

/* v5 (specification, section 2): what follows READY or AUTHENTICATE is segments, both ways. */
static bool switches_to_segments(const struct upstream *upstream)
{
    return upstream->state == UPSTREAM_STARTUP &&
           cql_version_has_segments(upstream->session->version) &&
           (upstream->reply_opcode == CQL_OPCODE_READY ||
            upstream->reply_opcode == CQL_OPCODE_AUTHENTICATE);
}

static bool begin_segments(struct upstream *upstream)
{
    bool is_lz4 = upstream->session->compression == CQL_COMPRESSION_LZ4;
    return framing_begin_reading(&upstream->stream, is_lz4) &&
           framing_begin_writing(&upstream->stream, is_lz4);
}

/* One whole frame at a time, up to the point where requests may flow. */
static size_t on_handshake_input(struct upstream *upstream, const uint8_t *data, size_t length)
{
    if (length < CQL_HEADER_BYTES)
        return 0;
    struct cql_header header = framing_header(data);
    if (!header.is_response || header.body_length > HANDSHAKE_BODY_MAX ||
        !cql_opcode_is_response(header.opcode)) {
        upstream_lose(upstream, "sent a malformed frame during the handshake");
        return 0;
    }
    if (header.version != upstream->session->version && header.opcode != CQL_OPCODE_ERROR) {
        upstream_lose(upstream, "answered in another protocol version than it was asked in");
        return 0;
    }
    size_t total = CQL_HEADER_BYTES + (size_t)header.body_length;
    if (length < total)
        return 0;
    if (header.opcode == CQL_OPCODE_EVENT) /* registered already, not restored yet */
        return total;
    const uint8_t *body = data + CQL_HEADER_BYTES;
    const char *reason;
    if (!compression_open(&worker_of(upstream)->opened_answer, upstream->session->compression,
                          HANDSHAKE_BODY_MAX, &header, &body, &reason)) {
        upstream_lose(upstream, reason);
        return 0;
    }
    forget_reply(upstream);
    upstream->reply_body = malloc(header.body_length + 1);
    if (upstream->reply_body == NULL) {
        upstream_lose(upstream, "out of memory");
        return 0;
    }
    memcpy(upstream->reply_body, body, header.body_length);
    upstream->reply_header = header;
    upstream->reply_opcode = header.opcode;
    if (switches_to_segments(upstream) && !begin_segments(upstream))
        upstream_lose(upstream, "out of memory");
    else
        on_handshake_reply(upstream);
    return total;
}

static size_t on_input(struct stream *stream, const uint8_t *data, size_t length,
                       struct chunk *whole, size_t *need)
{
    struct upstream *upstream = CONTAINER_OF(stream, struct upstream, stream);
    uint32_t life = stream->life;
    size_t done = 0;
    (void)whole;
    while (done < length && stream->life == life && upstream->state != UPSTREAM_READY) {
        size_t used = on_handshake_input(upstream, data + done, length - done);
        if (used == 0)
            return done;
        done += used;
    }
    if (done < length && stream->life == life)
        done += upstream->is_shadow ? shadow_on_input(upstream, data + done, length - done, need)
                                    : answer_on_input(upstream, data + done, length - done, need);
    return done;
}

static void on_drained(struct stream *stream)
{
    struct upstream *upstream = CONTAINER_OF(stream, struct upstream, stream);
    struct session *session = upstream->session;
    if (!upstream->is_shadow &&
        session->upstreams[cluster_other(upstream->cluster)].stream.queued < STREAM_LOW_WATER)
        stream_resume(&session->client, STREAM_PAUSE_PEER_FULL);
}

static void on_lost(struct stream *stream, const char *reason)
{
    struct upstream *upstream = CONTAINER_OF(stream, struct upstream, stream);
    if (framing_is_bad(reason))
        metrics_add(worker_of(upstream)->metrics,
                    is_origin(upstream) ? METRIC_BAD_SEGMENTS_ORIGIN : METRIC_BAD_SEGMENTS_TARGET,
                    1);
    upstream_lose(upstream, reason);
}

static const struct stream_handlers upstream_handlers = {
    .on_input = on_input,
    .on_drained = on_drained,
    .on_lost = on_lost,
};

/* ---- losing ---- */

/* A connection that carried requests is gone: another node is tried at once. If there is one that
 * is believed up, the client is not read until it has answered or had its head start: what it sends
 * now is better served a moment later than refused. */
static void reopen(struct upstream *upstream)
{
    uint64_t lived = worker_now(worker_of(upstream)) - upstream->ready_since_ns;
    upstream->is_reopening = true;
    if (lived < STABLE_NS) {
        wait_and_retry(upstream);
        return;
    }
    upstream_hold_client(upstream);
    open_with_current_topology(upstream);
}

static void lose_shadow(struct upstream *upstream, const char *reason)
{
    LOG_DEBUG("shadow_upstream_lost", "client=%s cluster=%s node=%s reason=\"%s\"",
              upstream->session->peer, cluster_name(upstream->cluster),
              upstream_node_name(upstream), reason);
    blame_node(upstream, reason);
    close_socket(upstream);
    shadow_settle_lost(upstream);
    reopen(upstream);
}

static void lose_ready(struct upstream *upstream, const char *reason)
{
    struct session *session = upstream->session;
    struct worker *worker = worker_of(upstream);
    bool is_mid_answer = session->lock == upstream;
    LOG_WARN("upstream_lost", "client=%s cluster=%s node=%s reason=\"%s\"", session->peer,
             cluster_name(upstream->cluster), upstream_node_name(upstream), reason);
    metrics_add(worker->metrics,
                is_origin(upstream) ? METRIC_UPSTREAM_LOST_ORIGIN : METRIC_UPSTREAM_LOST_TARGET, 1);
    blame_node(upstream, reason);
    close_socket(upstream);
    upstream->state = UPSTREAM_RETRY;
    if (is_mid_answer) {
        session_close(session, CLOSE_LOST_MID_ANSWER, reason);
        return;
    }
    answer_settle_lost(session, upstream);
    if (session->state == SESSION_READY || session->state == SESSION_DRAINING) {
        if (upstream_is_in_use(upstream))
            reopen(upstream);
        else
            upstream_try_to_rest(upstream);
        on_drained(&upstream->stream); /* its queue is gone: the client may be read again */
    }
}

void upstream_lose(struct upstream *upstream, const char *reason)
{
    bool is_client_driven = !upstream->is_reopening && (upstream->state == UPSTREAM_STARTED ||
                                                        upstream->state == UPSTREAM_AUTH);
    snprintf(upstream->last_error, sizeof upstream->last_error, "%s", reason);
    if (upstream->state == UPSTREAM_READY && upstream->is_shadow) {
        lose_shadow(upstream, reason);
    } else if (upstream->state == UPSTREAM_READY) {
        lose_ready(upstream, reason);
    } else if (upstream->state == UPSTREAM_IDLE || upstream->state == UPSTREAM_RETRY) {
        close_socket(upstream);
    } else if (!is_client_driven) {
        give_up_bad_node(upstream, reason);
    } else if (upstream->state == UPSTREAM_STARTED && upstream->reply_opcode == CQL_OPCODE_ERROR) {
        close_socket(upstream); /* its refusal is what the client will be told */
    } else {
        blame_node(upstream, reason);
        close_socket(upstream);
        upstream->reply_opcode = 0xff;
        session_on_upstream_refused(upstream->session, upstream,
                                    "closed the connection during the handshake");
    }
}

void upstream_on_deadline(struct upstream *upstream)
{
    list_remove(&upstream->watched);
    switch (upstream->state) {
    case UPSTREAM_RETRY:
        open_with_current_topology(upstream);
        break;
    case UPSTREAM_CONNECTING:
        if (!upstream->is_entering) /* the head start is over: the client need not wait longer */
            upstream_release_client(upstream);
        opening_on_deadline(upstream->opening);
        break;
    case UPSTREAM_STARTUP:
    case UPSTREAM_RESTORE:
        give_up_bad_node(upstream, "no answer during the handshake");
        break;
    case UPSTREAM_AUTH:
        upstream_lose(upstream, "no answer to AUTH_RESPONSE");
        break;
    case UPSTREAM_READY:
        if (!upstream_is_in_use(upstream))
            upstream_try_to_rest(upstream);
        else if (upstream->is_leaving)
            upstream_try_to_leave(upstream);
        break;
    default:
        break;
    }
}

static uint64_t survey_flowing_answer(struct upstream *upstream, uint64_t now, uint64_t timeout)
{
    const struct stream *stream = &upstream->stream;
    bool is_its_turn = stream->paused == 0 && upstream->session->client.queued == 0;
    if (is_its_turn && now - stream->last_read_ns > timeout)
        upstream_lose(upstream, "stopped in the middle of an answer");
    return timing_next(stream->last_read_ns + timeout, now, timeout);
}

static uint64_t survey_heartbeat(struct upstream *upstream, uint64_t now)
{
    struct session *session = upstream->session;
    uint64_t interval = (uint64_t)worker_of(upstream)->config->heartbeat_interval_ms * NS_PER_MS;
    uint64_t heard_ns = upstream->stream.last_read_ns;
    if (now - heard_ns < interval / 2)
        return heard_ns + interval;
    if (upstream->heartbeat_at_ns == 0 && session->lock == NULL) {
        upstream->heartbeat_at_ns = now;
        if (!dispatch_heartbeat(session, upstream))
            upstream->heartbeat_at_ns = 0;
    }
    return now + interval;
}

uint64_t upstream_survey(struct upstream *upstream)
{
    struct worker *worker = worker_of(upstream);
    const struct stream *stream = &upstream->stream;
    uint64_t now = worker_now(worker);
    uint64_t timeout = worker->live.request_timeout_ns;
    if (upstream->state != UPSTREAM_READY) {
        if (upstream->is_leaving && now >= upstream->leave_by_ns)
            upstream_release_client(upstream); /* a node that won the race and says no more */
        return upstream->is_leaving ? upstream->leave_by_ns : TIMING_NEVER;
    }
    uint64_t due = TIMING_NEVER;
    if (upstream->session->lock == upstream)
        due = survey_flowing_answer(upstream, now, timeout);
    if (upstream->state == UPSTREAM_READY && upstream->expired_awaited > 0) {
        if (now - stream->last_read_ns > timeout && node_health_is_down(upstream->node->health))
            upstream_lose(upstream, "no answers, and its node is down");
        due =
            timing_sooner(due, timing_next(stream->last_read_ns + timeout, now, TIMING_SURVEY_NS));
    }
    if (upstream->state == UPSTREAM_READY) {
        due = timing_sooner(due, survey_heartbeat(upstream, now));
        upstream_follow_registration(upstream);
    }
    return due;
}

void upstream_init(struct upstream *upstream, struct session *session, enum cluster_id cluster)
{
    *upstream = (struct upstream){
        .session = session,
        .cluster = cluster,
        .backoff_ms = BACKOFF_FIRST_MS,
        .reply_opcode = 0xff,
    };
    list_init(&upstream->watched);
    stream_init(&upstream->stream, &session->worker->loop, &upstream_handlers,
                STREAM_TO_CLUSTER + cluster);
}

void upstream_fini(struct upstream *upstream)
{
    opening_cancel(upstream->opening);
    upstream_end_entering(upstream);
    upstream->is_refused = upstream->must_come_again = false;
    close_socket(upstream);
    forget_reply(upstream);
    topology_put(upstream->topology);
    upstream->topology = NULL;
    upstream->node = NULL;
    upstream->state = UPSTREAM_IDLE;
}
