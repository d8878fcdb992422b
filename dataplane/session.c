/* Sessions: the life of a client connection, its input, and the replies the proxy makes itself.
 * Runs on the owner worker's thread. Never frees itself inside a callback: a closed session waits
 * on the worker's doomed list. */
#include "dataplane/session.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "dataplane/framing.h"
#include "dataplane/route.h"
#include "dataplane/refused_ids.h"
#include "dataplane/shadow.h"
#include "dataplane/tls_stream.h"
#include "dataplane/versions.h"
#include "dataplane/worker.h"
#include "proto/cql_response.h"

/* A connection that is being refused, or has had its last reply, is given this long. */
#define GOODBYE_NS (5 * NS_PER_S)

/* What the first record of a TLS client begins with (RFC 8446, 5.1), followed by its major version.
 */
#define TLS_RECORD_HANDSHAKE 22

static const struct {
    const char *text;
    bool is_fault;
    enum metric metric;
} close_reasons[CLOSE_REASON_COUNT] = {
#define CLOSE_REASON(symbol, label, fault)                                                         \
    [CLOSE_##symbol] = {label, fault, METRIC_CLOSED_##symbol},
#include "dataplane/close_reasons.def"
#undef CLOSE_REASON
};

/* ---- replies ---- */

void session_check_pressure(struct session *session)
{
    if (session->client.queued < STREAM_HIGH_WATER)
        return;
    stream_pause(&session->client, STREAM_PAUSE_UNREAD);
    for (int i = 0; i < CLUSTER_COUNT; i++)
        stream_pause(&session->upstreams[i].stream, STREAM_PAUSE_PEER_FULL);
}

bool session_forward(struct session *session, const void *bytes, size_t length)
{
    if (!stream_write(&session->client, bytes, length)) {
        session_close(session, CLOSE_OUT_OF_MEMORY, "");
        return false;
    }
    session_check_pressure(session);
    return true;
}

void session_defer(struct session *session, const void *bytes, size_t length)
{
    if (!dynbuf_append(&session->deferred, bytes, length))
        session_close(session, CLOSE_OUT_OF_MEMORY, "");
    else if (session->deferred.length > SESSION_DEFERRED_MAX)
        stream_pause(&session->client, STREAM_PAUSE_LOCKED);
}

void session_reply(struct session *session, int16_t stream, uint8_t opcode, const void *body,
                   size_t length)
{
    uint8_t header[CQL_HEADER_BYTES];
    if (!stream_is_open(&session->client))
        return;
    cql_header_store(header, (struct cql_header){
                                 .version = session->version,
                                 .is_response = true,
                                 .stream = stream,
                                 .opcode = opcode,
                                 .body_length = (uint32_t)length,
                             });
    if (session->lock != NULL) {
        session_defer(session, header, sizeof header);
        session_defer(session, body, length);
        return;
    }
    if (session_forward(session, header, sizeof header) && length > 0)
        session_forward(session, body, length);
}

void session_reply_error(struct session *session, int16_t stream, int32_t code, const char *format,
                         ...)
{
    char message[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    struct dynbuf *body = &session->worker->reply;
    dynbuf_reset(body);
    cql_put_error(body, code, message);
    session_reply(session, stream, CQL_OPCODE_ERROR, body->data, body->length);
}

void session_unlock(struct session *session)
{
    struct upstream *other = &session->upstreams[cluster_other(session->lock->cluster)];
    session->lock = NULL;
    if (session->deferred.length > 0 &&
        session_forward(session, session->deferred.data, session->deferred.length))
        dynbuf_fini(&session->deferred);
    stream_resume(&other->stream, STREAM_PAUSE_LOCKED);
    stream_resume(&session->client, STREAM_PAUSE_LOCKED);
}

/* ---- client input ---- */

/* The version a client that tried another one should come back with. */
static uint8_t led_to(const struct session *session, uint8_t tried)
{
    uint8_t version = versions_have(session->worker->versions, tried)
                          ? tried
                          : versions_highest(session->worker->versions, tried);
    return version == 0 ? CQL_VERSION_COMMON : version;
}

/* Whether the frame is of a version new clients may not speak. Those that are connected keep theirs
 * whatever the clusters come to speak meanwhile. */
static bool is_refused_version(const struct session *session, struct cql_header header)
{
    bool is_settled = session->state != SESSION_ACCEPTED && header.version == session->version;
    return !is_settled && !header.is_response && !session->client.reads_segments &&
           !versions_have(session->worker->versions, header.version);
}

static void refuse_over_limit(struct session *session, struct cql_header header)
{
    session->version = led_to(session, header.version);
    session_reply_error(
        session, header.stream < 0 ? 0 : header.stream, CQL_ERROR_OVERLOADED,
        "Too many client connections: this proxy serves %u at most (MAX_CLIENTS_THRESHOLD)",
        session->worker->live.max_clients);
    session_close_after_reply(session, CLOSE_OVER_LIMIT, "");
}

/* Answers a frame of a version we do not speak so that drivers step down by themselves. Returns how
 * many of its bytes are known to be its header; its body is skipped. */
static size_t refuse_version(struct session *session, struct cql_header header,
                             const uint8_t *frame)
{
    uint8_t spoken = session->version;
    struct dynbuf *names = &session->worker->reply;
    char list[64];
    dynbuf_reset(names);
    versions_print(session->worker->versions, names);
    snprintf(list, sizeof list, "%s", dynbuf_text(names));
    /* Stream 0 and the highest version there is: what zdm-proxy and Cassandra answer, and drivers
     * expect. */
    session->version = led_to(session, header.version);
    session_reply_error(session, 0, CQL_ERROR_PROTOCOL,
                        "Invalid or unsupported protocol version (%u); supported versions are (%s)",
                        header.version, list);
    session->version = spoken;
    metrics_add(session->worker->metrics, METRIC_REFUSED_VERSION, 1);
    if (session->state == SESSION_ACCEPTED && frame[0] == TLS_RECORD_HANDSHAKE && frame[1] == 3) {
        LOG_WARN("client_refused", "client=%s reason=\"a TLS client on a listener without TLS\"",
                 session->peer);
        session_close_after_reply(session, CLOSE_TLS_HANDSHAKE, "");
        return CQL_HEADER_BYTES;
    }
    bool is_old =
        header.version == 1 || header.version == 2; /* eight-byte header, one-byte stream id */
    bool is_known = (header.version >= CQL_VERSION_MIN && header.version <= 6) ||
                    header.version == CQL_VERSION_DSE1 || header.version == CQL_VERSION_DSE2;
    uint32_t body_length = is_old ? cql_load_u32(frame + 4) : header.body_length;
    if ((!is_old && !is_known) || body_length > CQL_FRAME_BODY_MAX) {
        session_close_after_reply(session, CLOSE_PROTOCOL, "version");
        return CQL_HEADER_BYTES;
    }
    session->client_skip = body_length;
    return is_old ? CQL_HEADER_BYTES - 1 : CQL_HEADER_BYTES;
}

/* Checks what only the header tells. false: the frame was answered; *used says how much of it is
 * done with. */
COLD static bool admit_header(struct session *session, struct cql_header header,
                              const uint8_t *frame, size_t *used)
{
    *used = CQL_HEADER_BYTES;
    const char *fault = NULL;
    if (session->state == SESSION_REFUSED) {
        refuse_over_limit(session, header);
        return false;
    }
    if (UNLIKELY(is_refused_version(session, header))) {
        *used = refuse_version(session, header, frame);
        return false;
    }
    if (session->state == SESSION_ACCEPTED)
        session->version = header.version;
    if (header.is_response)
        fault = "a response frame came from a client";
    else if (!cql_opcode_is_request(header.opcode) ||
             (header.opcode == CQL_OPCODE_REVISE_REQUEST && header.version < CQL_VERSION_DSE1))
        fault = "unknown opcode";
    else if (header.version != session->version)
        fault = "the protocol version changed within a connection";
    else if ((header.flags & CQL_FLAG_COMPRESSED) != 0 &&
             session->compression == CQL_COMPRESSION_NONE)
        fault = "a compressed frame came though no compression was agreed on";
    else if (header.body_length > CQL_FRAME_BODY_MAX)
        fault = "announced body length is over 256 MiB";
    else if (session->state < SESSION_READY && header.body_length > SESSION_HANDSHAKE_MAX)
        fault = "a frame before READY may not be that long";
    if (fault != NULL) {
        metrics_add(session->worker->metrics, METRIC_REFUSED_MALFORMED, 1);
        session_reply_error(
            session, header.stream < 0 ? 0 : header.stream, CQL_ERROR_PROTOCOL,
            "Malformed frame (version %u, opcode 0x%02x, flags 0x%02x, body length %u): %s",
            header.version, header.opcode, header.flags, header.body_length, fault);
        session_close_after_reply(session, CLOSE_PROTOCOL, fault);
        return false;
    }
    if (header.stream < 0) {
        metrics_add(session->worker->metrics, METRIC_REFUSED_MALFORMED, 1);
        session_reply_error(session, header.stream, CQL_ERROR_PROTOCOL, "negative stream id: %d",
                            header.stream);
        session->client_skip = header.body_length;
        return false;
    }
    if (header.body_length > SESSION_REQUEST_MAX) {
        metrics_add(session->worker->metrics, METRIC_REFUSED_TOO_LARGE, 1);
        session_reply_error(session, header.stream, CQL_ERROR_INVALID,
                            "Request is too big: length %u exceeds maximum allowed length %u",
                            header.body_length, SESSION_REQUEST_MAX);
        session->client_skip = header.body_length;
        return false;
    }
    return true;
}

/* What nearly every header is, so that its path is one test: admit_header would find nothing wrong
 * with it. A rule that is added there needs its word here; test_hostile.py sends each fault to a
 * client that is READY. */
static inline bool is_usual_header(const struct session *session, struct cql_header header)
{
    return session->state == SESSION_READY && header.version == session->version &&
           !header.is_response && header.stream >= 0 &&
           ((header.flags & CQL_FLAG_COMPRESSED) == 0 ||
            session->compression != CQL_COMPRESSION_NONE) &&
           header.body_length <= SESSION_REQUEST_MAX && cql_opcode_is_request(header.opcode) &&
           header.opcode != CQL_OPCODE_REVISE_REQUEST;
}

static size_t on_client_input(struct stream *stream, const uint8_t *data, size_t length,
                              struct chunk *whole, size_t *need)
{
    struct session *session = CONTAINER_OF(stream, struct session, client);
    size_t done = 0;
    while (done < length && stream_is_open(stream) && stream->paused == 0) {
        size_t left = length - done;
        if (session->client_skip > 0) {
            size_t part = left < session->client_skip ? left : session->client_skip;
            session->client_skip -= (uint32_t)part;
            done += part;
            continue;
        }
        if (left < CQL_HEADER_BYTES)
            break;
        const uint8_t *frame = data + done;
        struct cql_header header = framing_header(frame);
        size_t used;
        if (UNLIKELY(!is_usual_header(session, header)) &&
            !admit_header(session, header, frame, &used)) {
            done += used;
            continue;
        }
        size_t total = CQL_HEADER_BYTES + (size_t)header.body_length;
        if (total > left) {
            *need = total > STREAM_WHOLE_FRAME ? total : 0;
            break;
        }
        dispatch_expect(session, frame + total, left - total);
        if (session->state == SESSION_READY || session->state == SESSION_DRAINING)
            dispatch_request(session, header, frame, whole);
        else
            handshake_on_client_frame(session, header, frame + CQL_HEADER_BYTES);
        done += total;
    }
    return done;
}

static void on_client_drained(struct stream *stream)
{
    struct session *session = CONTAINER_OF(stream, struct session, client);
    stream_resume(stream, STREAM_PAUSE_UNREAD);
    for (int i = 0; i < CLUSTER_COUNT; i++)
        stream_resume(&session->upstreams[i].stream, STREAM_PAUSE_PEER_FULL);
}

static void on_client_lost(struct stream *stream, const char *reason)
{
    struct session *session = CONTAINER_OF(stream, struct session, client);
    enum close_reason why = stream->failed_handshake               ? CLOSE_TLS_HANDSHAKE
                            : session->state == SESSION_CLOSING    ? session->close_reason
                            : strcmp(reason, "out_of_memory") == 0 ? CLOSE_OUT_OF_MEMORY
                            : framing_is_bad(reason)               ? CLOSE_BAD_SEGMENT
                                                                   : CLOSE_CLIENT_CLOSED;
    session_close(session, why, reason);
}

static const struct stream_handlers client_handlers = {
    .on_input = on_client_input,
    .on_drained = on_client_drained,
    .on_lost = on_client_lost,
};

/* ---- life ---- */

/* When a session that is not ready, or no more, must be over. */
static uint64_t end_of_patience(const struct session *session)
{
    const struct config *config = session->worker->config;
    uint64_t patience_ms = (uint64_t)config->cluster_connection_timeout_ms;
    if (session->state == SESSION_REFUSED || session->state == SESSION_CLOSING)
        return session->accepted_ns + GOODBYE_NS;
    if (session->state != SESSION_ACCEPTED)
        patience_ms += 4 * (uint64_t)session->worker->live.request_timeout_ms;
    return session->accepted_ns + patience_ms * NS_PER_MS;
}

struct session *session_new(struct worker *worker, int fd, const char *peer, bool is_refused)
{
    struct session *session = calloc(1, sizeof *session);
    if (session == NULL) {
        close(fd);
        return NULL;
    }
    session->worker = worker;
    session->state = is_refused ? SESSION_REFUSED : SESSION_ACCEPTED;
    session->is_over_limit = is_refused;
    session->version = CQL_VERSION_COMMON;
    session->accepted_ns = worker_now(worker);
    session->canary_number = route_canary_number(
        atomic_fetch_add_explicit(&worker->shared->next_session, 1, memory_order_relaxed));
    snprintf(session->peer, sizeof session->peer, "%s", peer);
    list_init(&session->doomed);
    list_append(&worker->sessions, &session->link);
    dynbuf_init(&session->deferred, (size_t)32 * 1024 * 1024);
    dynbuf_init(&session->refusal, 65536);
    request_table_init(&session->requests, (uint32_t)worker->config->max_stream_ids);
    for (int i = 0; i < CLUSTER_COUNT; i++)
        upstream_init(&session->upstreams[i], session, (enum cluster_id)i);
    stream_init(&session->client, &worker->loop, &client_handlers, STREAM_TO_CLIENT);
    metrics_add(worker->metrics, METRIC_CLIENT_CONNECTIONS, 1);
    session->survey_round = worker->timing.survey_round;
    timing_survey_by(&worker->timing, end_of_patience(session));
    if (!tls_stream_adopt(&session->client, fd))
        session_close(session, CLOSE_OUT_OF_MEMORY, "");
    return session;
}

static void drop_token(struct token *token)
{
    if (token->data != NULL)
        explicit_bzero(token->data, token->length);
    free(token->data);
    *token = (struct token){NULL, 0};
}

void session_free(struct session *session)
{
    CHECK(session->state == SESSION_DOOMED);
    list_remove(&session->link);
    request_table_fini(&session->requests);
    dynbuf_fini(&session->deferred);
    dynbuf_fini(&session->refusal);
    for (int i = 0; i < CLUSTER_COUNT; i++)
        drop_token(&session->tokens[i]);
    refused_ids_free(session->refused_ids);
    free(session->shadow);
    free(session->startup_body);
    free(session->register_body);
    free(session);
}

/* Lets go of every request without a word: the client is gone. */
static void abandon_requests(struct session *session)
{
    for (uint32_t slot = 0; slot < session->requests.capacity; slot++) {
        struct request *request = session->requests.slots[slot];
        if (request != NULL)
            answer_abandon(session, request);
    }
}

void session_close(struct session *session, enum close_reason reason, const char *detail)
{
    struct worker *worker = session->worker;
    char quoted[256];
    if (session->state == SESSION_DOOMED)
        return;
    session->state = SESSION_DOOMED;
    log_event(close_reasons[reason].is_fault ? LOG_LEVEL_WARN : LOG_LEVEL_DEBUG,
              "client_disconnected", "client=%s reason=%s detail=%s", session->peer,
              close_reasons[reason].text, log_quote(quoted, sizeof quoted, detail, strlen(detail)));
    metrics_add(worker->metrics, close_reasons[reason].metric, 1);
    metrics_add(worker->metrics, METRIC_CLIENT_CONNECTIONS, -1);
    atomic_fetch_sub(session->is_over_limit ? &worker->shared->refused : &worker->shared->clients,
                     1);
    stream_close(&session->client);
    session->lock = NULL;
    abandon_requests(session);
    shadow_close(session);
    for (int i = 0; i < CLUSTER_COUNT; i++)
        upstream_fini(&session->upstreams[i]);
    list_append(&worker->doomed, &session->doomed);
}

void session_close_after_reply(struct session *session, enum close_reason reason,
                               const char *detail)
{
    if (session->state == SESSION_DOOMED || session->state == SESSION_CLOSING)
        return;
    if (session->lock != NULL) { /* a reply cannot follow half a frame */
        session_close(session, reason, detail);
        return;
    }
    LOG_DEBUG("client_closing", "client=%s reason=%s", session->peer, close_reasons[reason].text);
    session->state = SESSION_CLOSING;
    session->close_reason = reason;
    session->accepted_ns = worker_now(session->worker); /* the goodbye has its own time limit */
    timing_survey_by(&session->worker->timing, end_of_patience(session));
    abandon_requests(session);
    shadow_close(session);
    for (int i = 0; i < CLUSTER_COUNT; i++)
        upstream_fini(&session->upstreams[i]);
    stream_close_when_flushed(&session->client);
}

static bool is_idle_at_last(const struct session *session)
{
    return session->state == SESSION_DRAINING && session->unanswered == 0 && session->lock == NULL;
}

void session_end_if_idle(struct session *session)
{
    if (is_idle_at_last(session) && !session->is_sent_away)
        session_close_after_reply(session, CLOSE_DRAINED, "");
}

void session_drain(struct session *session)
{
    if (session->state == SESSION_READY) {
        session->state = SESSION_DRAINING;
        session_end_if_idle(session);
    } else if (session->state < SESSION_READY || session->state == SESSION_REFUSED) {
        session_close(session, CLOSE_DRAINED, "");
    }
}

/* Ended by the survey, so that what the client has sent by now is read and answered. */
void session_send_away(struct session *session, enum close_reason reason)
{
    if (session->state != SESSION_READY)
        return;
    session->state = SESSION_DRAINING;
    session->is_sent_away = true;
    session->close_reason = reason;
    timing_survey_by(&session->worker->timing, worker_now(session->worker));
}

void session_follow_use(struct session *session)
{
    if (session->state > SESSION_ACCEPTED && session->state < SESSION_READY)
        handshake_follow_use(session);
    for (int i = 0; i < CLUSTER_COUNT; i++)
        if (session->state == SESSION_READY || session->state == SESSION_DRAINING)
            upstream_follow_use(&session->upstreams[i]);
}

uint64_t session_survey(struct session *session)
{
    uint64_t due = TIMING_NEVER;
    if (session->state == SESSION_DOOMED)
        return due;
    if (session->state == SESSION_READY || session->state == SESSION_DRAINING) {
        for (int i = 0; i < CLUSTER_COUNT && session->state != SESSION_DOOMED; i++)
            due = timing_sooner(due, upstream_survey(&session->upstreams[i]));
        if (UNLIKELY(session->is_sent_away)) {
            due = worker_now(session->worker) + TIMING_SURVEY_NS;
            if (is_idle_at_last(session))
                session_close_after_reply(session, session->close_reason, "");
        }
        return timing_sooner(due, shadow_survey(session));
    }
    due = end_of_patience(session);
    if (worker_now(session->worker) < due)
        return due;
    if (session->state == SESSION_REFUSED || session->state == SESSION_CLOSING)
        session_close(session,
                      session->state == SESSION_CLOSING ? session->close_reason : CLOSE_OVER_LIMIT,
                      "");
    else
        session_close(session,
                      session->client.is_shaking_hands ? CLOSE_TLS_HANDSHAKE
                                                       : CLOSE_IDLE_BEFORE_STARTUP,
                      "no end of the handshake in time");
    return TIMING_NEVER;
}
