/* From STARTUP to READY: both clusters answer the client's STARTUP, one of them (the auth-primary)
 * authenticates the client, the proxy finishes the other side with the credentials the table below
 * gives it, and only then does the client get its READY or AUTH_SUCCESS. Runs on the session's
 * worker.
 *
 *   who asks   credentials    auth-primary   the client's token goes to   the other side gets
 *   both       the target's   origin         target                       ORIGIN_CASSANDRA_*
 *   both       the origin's   origin         origin                       TARGET_CASSANDRA_*
 *   target     either         target         target                       (origin does not ask)
 *   origin     either         origin         origin                       (target does not ask)
 *   nobody     either         origin         -                            -
 *
 * Credentials: whose the client shows; the origin's with FORWARD_CLIENT_CREDENTIALS_TO_ORIGIN.
 * Whether a cluster asks is what its control connection saw.
 *
 * A cluster that is not in use takes no part: the other one is the auth-primary and gets the
 * client's token as it came, and the configured one is kept for the idle cluster until it comes
 * into use. If clients show the idle cluster's credentials when both are in use, and these are
 * those the proxy is configured with, the other one gets its own configured ones: so clients need
 * not be told. */
#include <stdio.h>
#include <string.h>

#include "dataplane/cluster_settings.h"
#include "dataplane/compression.h"
#include "dataplane/framing.h"
#include "dataplane/plain_token.h"
#include "dataplane/session.h"
#include "dataplane/supported.h"
#include "dataplane/worker.h"
#include "proto/cql_request.h"
#include "proto/cql_response.h"

static void fail(struct session *session, enum close_reason reason, const char *detail)
{
    session_reply_error(session, session->handshake_stream, CQL_ERROR_SERVER, "%s", detail);
    session_close_after_reply(session, reason, detail);
}

/* Passes the upstream's last handshake answer on to the client. */
static void relay_reply(struct session *session, const struct upstream *upstream)
{
    uint8_t bytes[CQL_HEADER_BYTES];
    struct cql_header header = upstream->reply_header;
    header.stream = session->handshake_stream;
    cql_header_store(bytes, header);
    if (session_forward(session, bytes, sizeof bytes) && header.body_length > 0)
        session_forward(session, upstream->reply_body, header.body_length);
    /* v5: behind its READY or AUTHENTICATE the client is spoken to in segments, and so does it. */
    bool switches = header.opcode == CQL_OPCODE_READY || header.opcode == CQL_OPCODE_AUTHENTICATE;
    struct stream *client = &session->client;
    if (switches && cql_version_has_segments(session->version) && stream_is_open(client) &&
        !client->writes_segments) {
        bool is_lz4 = session->compression == CQL_COMPRESSION_LZ4;
        if (!framing_begin_writing(client, is_lz4) || !framing_begin_reading(client, is_lz4))
            session_close(session, CLOSE_OUT_OF_MEMORY, "");
    }
}

static struct upstream *primary_of(struct session *session)
{
    return &session->upstreams[session->auth_primary];
}

static struct upstream *secondary_of(struct session *session)
{
    return &session->upstreams[cluster_other(session->auth_primary)];
}

static bool is_opened(const struct session *session, enum cluster_id cluster)
{
    return (session->opened & 1u << cluster) != 0;
}

static bool asks(const struct session *session, enum cluster_id cluster)
{
    const struct topology *topology = session->worker->topologies[cluster];
    return topology != NULL && topology->requires_authentication;
}

/* A compression works through the proxy when both clusters offer it, as far as they are known: what
 * is only forwarded stays as it came. v5 compresses segments, and those with lz4 alone. */
static bool agree_on_compression(struct session *session, struct cql_span name)
{
    enum cql_compression wanted;
    if (!cql_compression_find(name, &wanted))
        return false;
    if (wanted == CQL_COMPRESSION_SNAPPY && cql_version_has_segments(session->version))
        return false;
    for (int i = 0; i < CLUSTER_COUNT && wanted != CQL_COMPRESSION_NONE; i++) {
        const struct topology *topology = session->worker->topologies[i];
        if (topology != NULL && !supported_has_compression(topology, wanted))
            return false;
    }
    session->compression = wanted;
    return true;
}

static void begin_with_clusters_in_use(struct session *session)
{
    const struct snapshot *snapshot = session->worker->snapshot;
    for (int i = 0; i < CLUSTER_COUNT; i++)
        if (!snapshot_is_idle(snapshot, (enum cluster_id)i))
            session->opened |= (uint8_t)(1u << i);
    if (!is_opened(session, CLUSTER_ORIGIN))
        session->auth_primary = CLUSTER_TARGET;
    else if (!is_opened(session, CLUSTER_TARGET))
        session->auth_primary = CLUSTER_ORIGIN;
    else
        session->auth_primary = asks(session, CLUSTER_TARGET) && !asks(session, CLUSTER_ORIGIN)
                                    ? CLUSTER_TARGET
                                    : CLUSTER_ORIGIN;
}

static void on_startup(struct session *session, struct cql_header header, const uint8_t *body)
{
    struct cql_span compression;
    char quoted[80];
    if (!cql_read_startup(body, header.body_length, &compression)) {
        session_reply_error(session, header.stream, CQL_ERROR_PROTOCOL,
                            "STARTUP body is not a [string map]");
        session_close_after_reply(session, CLOSE_PROTOCOL, "STARTUP body");
        return;
    }
    if (!agree_on_compression(session, compression)) {
        session_reply_error(
            session, header.stream, CQL_ERROR_PROTOCOL,
            "Unknown or unsupported compression algorithm: %s%s",
            log_quote(quoted, sizeof quoted, (const char *)compression.data, compression.length),
            cql_version_has_segments(session->version) ? " (protocol v5 knows lz4 only)" : "");
        session_close_after_reply(session, CLOSE_PROTOCOL, "compression");
        return;
    }
    session->startup_body = malloc(header.body_length + 1);
    if (session->startup_body == NULL) {
        session_close(session, CLOSE_OUT_OF_MEMORY, "");
        return;
    }
    memcpy(session->startup_body, body, header.body_length);
    session->startup_length = header.body_length;
    session->startup_flags = header.flags;
    begin_with_clusters_in_use(session);
    session->state = SESSION_OPENING;
    stream_pause(&session->client, STREAM_PAUSE_HANDSHAKE);
    for (int i = 0; i < CLUSTER_COUNT && session->state == SESSION_OPENING; i++)
        if (is_opened(session, (enum cluster_id)i))
            upstream_open(&session->upstreams[i]);
}

/* ---- credentials ---- */

static bool keep_token(struct token *token, const void *data, size_t length)
{
    if (token->data != NULL)
        explicit_bzero(token->data, token->length);
    free(token->data);
    *token = (struct token){malloc(length + 1), length};
    if (token->data == NULL)
        return false;
    memcpy(token->data, data, length);
    return true;
}

static struct cluster_settings settings_of(const struct session *session, enum cluster_id cluster)
{
    return cluster_settings(session->worker->config, cluster);
}

static bool has_configured_token(const struct session *session, enum cluster_id cluster)
{
    return settings_of(session, cluster).username[0] != '\0';
}

static bool keep_configured_token(struct session *session, enum cluster_id cluster,
                                  struct cql_span authzid)
{
    struct cluster_settings settings = settings_of(session, cluster);
    struct dynbuf plain;
    dynbuf_init(&plain, 65536);
    dynbuf_append(&plain, authzid.data, authzid.length);
    dynbuf_append(&plain, "", 1);
    dynbuf_append_text(&plain, settings.username);
    dynbuf_append(&plain, "", 1);
    dynbuf_append_text(&plain, settings.password);
    bool kept = !plain.failed && keep_token(&session->tokens[cluster], plain.data, plain.length);
    if (plain.data != NULL)
        explicit_bzero(plain.data, plain.length);
    dynbuf_fini(&plain);
    return kept;
}

/* Whose credentials clients show when both clusters ask for some. */
static enum cluster_id shown_cluster(const struct session *session)
{
    return session->worker->config->forward_client_credentials_to_origin ? CLUSTER_ORIGIN
                                                                         : CLUSTER_TARGET;
}

static bool is_configured_token(const struct session *session, enum cluster_id cluster,
                                struct cql_span token)
{
    struct cluster_settings settings = settings_of(session, cluster);
    return plain_token_is(token, settings.username, settings.password);
}

/* One cluster is in use, and with both in use clients would show the other one's credentials: the
 * token is of those the proxy itself has for it. */
static bool is_the_idle_clusters_token(const struct session *session, struct cql_span token)
{
    enum cluster_id shown = shown_cluster(session);
    bool is_known = session->worker->topologies[shown] != NULL;
    return !is_opened(session, shown) && !(is_known && !asks(session, shown)) &&
           is_configured_token(session, shown, token);
}

static void on_auth_response(struct session *session, struct cql_header header, const uint8_t *body)
{
    const char *reason;
    if (!compression_open(&session->worker->opened_request, session->compression,
                          SESSION_HANDSHAKE_MAX, &header, &body, &reason)) {
        metrics_add(session->worker->metrics, METRIC_REFUSED_COMPRESSION, 1);
        session_reply_error(session, header.stream, CQL_ERROR_PROTOCOL, "AUTH_RESPONSE: %s",
                            reason);
        return;
    }
    struct cql_cursor cursor = cql_cursor_over(body, header.body_length);
    struct cql_span token = cql_read_bytes(&cursor);
    if (cursor.failed) {
        session_reply_error(session, header.stream, CQL_ERROR_PROTOCOL,
                            "AUTH_RESPONSE body is not [bytes]");
        return;
    }
    enum cluster_id primary = session->auth_primary, secondary = cluster_other(primary);
    struct cql_span forwarded = token;
    bool is_alone = !is_opened(session, secondary);
    bool both_ask = asks(session, CLUSTER_ORIGIN) && asks(session, CLUSTER_TARGET);
    bool is_swapped = is_alone ? is_the_idle_clusters_token(session, token)
                               : both_ask && shown_cluster(session) == CLUSTER_TARGET;
    if (token.data != NULL && !cql_span_equals(token, "PLAIN")) {
        struct cql_span authzid, user, password, none = {(const uint8_t *)"", 0};
        bool is_plain = cql_read_plain_token(token, &authzid, &user, &password);
        if (!is_plain && is_swapped) {
            session_reply_error(session, header.stream, CQL_ERROR_BAD_CREDENTIALS,
                                "The authentication token is no SASL PLAIN token, and both "
                                "clusters authenticate: the "
                                "proxy cannot give each its own credentials");
            return;
        }
        bool kept =
            is_swapped
                ? keep_configured_token(session, primary, authzid) &&
                      keep_token(&session->tokens[secondary], token.data, token.length)
                : keep_token(&session->tokens[primary], token.data, token.length) &&
                      (is_alone && secondary == shown_cluster(session) &&
                               !has_configured_token(session, secondary)
                           ? keep_token(&session->tokens[secondary], token.data, token.length)
                           : keep_configured_token(session, secondary, none));
        if (!kept) {
            session_close(session, CLOSE_OUT_OF_MEMORY, "");
            return;
        }
        forwarded =
            (struct cql_span){session->tokens[primary].data, session->tokens[primary].length};
    }
    session->is_swapped = is_swapped;
    session->state = SESSION_AUTH_SENT;
    stream_pause(&session->client, STREAM_PAUSE_HANDSHAKE);
    upstream_authenticate(primary_of(session), forwarded);
}

/* ---- the client's frames ---- */

void handshake_on_client_frame(struct session *session, struct cql_header header,
                               const uint8_t *body)
{
    if (session->refusal.length > 0) {
        session_reply(session, header.stream, CQL_OPCODE_ERROR, session->refusal.data,
                      session->refusal.length);
        return;
    }
    if (header.opcode == CQL_OPCODE_OPTIONS) {
        struct dynbuf *supported = &session->worker->supported;
        session_reply(session, header.stream, CQL_OPCODE_SUPPORTED, supported->data,
                      supported->length);
        return;
    }
    session->handshake_stream = header.stream;
    if (session->state == SESSION_ACCEPTED && header.opcode == CQL_OPCODE_STARTUP) {
        on_startup(session, header, body);
    } else if (session->state == SESSION_AUTH && header.opcode == CQL_OPCODE_AUTH_RESPONSE) {
        on_auth_response(session, header, body);
    } else {
        metrics_add(session->worker->metrics, METRIC_REFUSED_MALFORMED, 1);
        session_reply_error(session, header.stream, CQL_ERROR_PROTOCOL,
                            "Unexpected message %s, expecting %s", cql_opcode_name(header.opcode),
                            session->state == SESSION_ACCEPTED ? "STARTUP or OPTIONS"
                                                               : "AUTH_RESPONSE");
        session_close_after_reply(session, CLOSE_PROTOCOL, "unexpected message before READY");
    }
}

/* ---- the clusters' answers ---- */

static void become_ready(struct session *session)
{
    struct upstream *primary = primary_of(session);
    session->state = SESSION_READY;
    relay_reply(session, primary);
    upstream_become_ready(primary);
    stream_resume(&session->client, STREAM_PAUSE_HANDSHAKE);
    LOG_DEBUG("client_ready", "client=%s protocol=%u origin=%s target=%s", session->peer,
              session->version, upstream_node_name(&session->upstreams[CLUSTER_ORIGIN]),
              upstream_node_name(&session->upstreams[CLUSTER_TARGET]));
    session_follow_use(session); /* the routing state may have changed meanwhile */
}

static void begin_secondary(struct session *session)
{
    struct upstream *primary = primary_of(session), *secondary = secondary_of(session);
    char detail[256];
    if (!is_opened(session, secondary->cluster)) {
        become_ready(session);
        return;
    }
    if (secondary->reply_opcode == CQL_OPCODE_AUTHENTICATE && session->state == SESSION_OPENING) {
        snprintf(detail, sizeof detail, "%s (%s) requested authentication but %s (%s) did not",
                 cluster_name(secondary->cluster), upstream_node_name(secondary),
                 cluster_name(primary->cluster), upstream_node_name(primary));
        fail(session, CLOSE_HANDSHAKE_REFUSED, detail);
        return;
    }
    session->state = SESSION_SECONDARY;
    upstream_finish_handshake(secondary);
}

/* The clusters in use have answered STARTUP. */
static void on_all_started(struct session *session)
{
    struct upstream *primary = primary_of(session), *secondary = secondary_of(session);
    struct upstream *refusing = primary->reply_opcode == CQL_OPCODE_ERROR     ? primary
                                : secondary->reply_opcode == CQL_OPCODE_ERROR ? secondary
                                                                              : NULL;
    if (refusing != NULL) {
        relay_reply(session, refusing);
        session_close_after_reply(session, CLOSE_HANDSHAKE_REFUSED,
                                  cluster_name(refusing->cluster));
    } else if (primary->reply_opcode == CQL_OPCODE_AUTHENTICATE) {
        session->state = SESSION_AUTH;
        relay_reply(session, primary);
        stream_resume(&session->client, STREAM_PAUSE_HANDSHAKE);
    } else {
        begin_secondary(session);
    }
}

void session_on_upstream_started(struct session *session, struct upstream *upstream)
{
    uint8_t opcode = upstream->reply_opcode;
    if (opcode != CQL_OPCODE_READY && opcode != CQL_OPCODE_AUTHENTICATE &&
        opcode != CQL_OPCODE_ERROR) {
        session_on_upstream_refused(session, upstream,
                                    "answered STARTUP with an unexpected message");
        return;
    }
    for (int i = 0; i < CLUSTER_COUNT; i++)
        if (is_opened(session, (enum cluster_id)i) &&
            session->upstreams[i].state != UPSTREAM_STARTED)
            return;
    on_all_started(session);
}

void session_on_auth_reply(struct session *session, struct upstream *upstream)
{
    switch (upstream->reply_opcode) {
    case CQL_OPCODE_AUTH_SUCCESS:
    case CQL_OPCODE_READY:
        begin_secondary(session);
        break;
    case CQL_OPCODE_AUTH_CHALLENGE:
    case CQL_OPCODE_ERROR: /* the client may try again */
        session->state = SESSION_AUTH;
        relay_reply(session, upstream);
        stream_resume(&session->client, STREAM_PAUSE_HANDSHAKE);
        break;
    default:
        session_on_upstream_refused(session, upstream,
                                    "answered AUTH_RESPONSE with an unexpected message");
    }
}

void session_on_upstream_ready(struct session *session, struct upstream *upstream)
{
    (void)upstream;
    if (session->state == SESSION_SECONDARY)
        become_ready(session);
}

void session_on_upstream_refused(struct session *session, struct upstream *upstream,
                                 const char *detail)
{
    char text[320];
    bool is_error = upstream->reply_opcode == CQL_OPCODE_ERROR && upstream->reply_body != NULL;
    if (detail == NULL && is_error) {
        struct cql_cursor cursor = cql_open_response(upstream->reply_header, upstream->reply_body);
        bool is_credentials = cql_read_i32(&cursor) == CQL_ERROR_BAD_CREDENTIALS && !cursor.failed;
        relay_reply(session, upstream);
        if (!is_credentials || !dynbuf_append(&session->refusal, upstream->reply_body,
                                              upstream->reply_header.body_length)) {
            session_close_after_reply(session, CLOSE_HANDSHAKE_REFUSED,
                                      cluster_name(upstream->cluster));
            return;
        }
        /* Every later frame gets the same answer, as zdm-proxy does; the clusters need not wait for
         * it. */
        for (int i = 0; i < CLUSTER_COUNT; i++)
            upstream_fini(&session->upstreams[i]);
        stream_resume(&session->client, STREAM_PAUSE_HANDSHAKE);
        return;
    }
    snprintf(text, sizeof text, "%s (%s) %s", cluster_name(upstream->cluster),
             upstream_node_name(upstream), detail == NULL ? "refused the handshake" : detail);
    fail(session, CLOSE_HANDSHAKE_REFUSED, text);
}

/* Where the primary has been shown the proxy's own credentials, it has let in the proxy: whether
 * the client's are right is for the secondary to say. */
static bool is_known_without_secondary(struct session *session)
{
    enum cluster_id cluster = secondary_of(session)->cluster;
    const struct token *token = &session->tokens[cluster];
    return !session->is_swapped ||
           is_configured_token(session, cluster, (struct cql_span){token->data, token->length});
}

void handshake_follow_use(struct session *session)
{
    struct upstream *primary = primary_of(session), *secondary = secondary_of(session);
    if (session->refusal.length > 0)
        return; /* it is over, whatever comes of the cluster that refused */
    if (session->state == SESSION_OPENING && is_opened(session, secondary->cluster) &&
        !upstream_is_in_use(primary) && upstream_is_in_use(secondary)) {
        /* Nobody has been told a word of it. */
        session->auth_primary = secondary->cluster;
        primary = secondary;
        secondary = secondary_of(session);
    }
    if (!is_opened(session, secondary->cluster) || upstream_is_in_use(secondary))
        return;
    if (session->state >= SESSION_AUTH_SENT && !is_known_without_secondary(session))
        return;
    session->opened &= (uint8_t) ~(1u << secondary->cluster);
    upstream_fini(secondary);
    if (session->state == SESSION_OPENING && primary->state == UPSTREAM_STARTED)
        on_all_started(session);
    else if (session->state == SESSION_SECONDARY)
        become_ready(session);
}

void session_on_upstream_failed(struct session *session, struct upstream *upstream)
{
    char text[320];
    bool is_origin = upstream->cluster == CLUSTER_ORIGIN;
    metrics_add(session->worker->metrics,
                is_origin ? METRIC_FAILED_CONNECTIONS_ORIGIN : METRIC_FAILED_CONNECTIONS_TARGET, 1);
    snprintf(text, sizeof text, "No node of the %s cluster could be reached; last tried %s: %s",
             cluster_name(upstream->cluster), upstream_node_name(upstream), upstream->last_error);
    fail(session, CLOSE_CONNECT_FAILED, text);
}
