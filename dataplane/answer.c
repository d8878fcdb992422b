/* Answers of ready upstreams: from bytes to outcomes, from outcomes to the one frame the client
 * gets. Runs on the session's worker.
 *
 * A frame up to STREAM_WHOLE_FRAME is handled in one piece. A larger one is decided on by its
 * header and then flows through, to the client or to nowhere, as it arrives; meanwhile the other
 * upstream's frames and the proxy's replies wait. */
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "dataplane/continuous.h"
#include "dataplane/framing.h"
#include "dataplane/functions_use.h"
#include "dataplane/node_watch.h"
#include "dataplane/paging.h"
#include "dataplane/preparation.h"
#include "dataplane/refused_ids.h"
#include "dataplane/request_trace.h"
#include "dataplane/session.h"
#include "dataplane/shadow.h"
#include "dataplane/tracking.h"
#include "dataplane/worker.h"
#include "proto/cql_response.h"

/* Answers that must be read before they can be passed on (PREPARED, SET_KEYSPACE, ERROR) may be
 * this large. */
#define INSPECTED_ANSWER_MAX ((size_t)16 * 1024 * 1024)

static bool is_read(const struct request *request)
{
    return request->statement.class == REQUEST_READ ||
           request->statement.class == REQUEST_SYSTEM_READ;
}

static bool is_write(const struct request *request)
{
    return request->statement.class == REQUEST_WRITE;
}

/* ---- errors of the proxy's own ---- */

void answer_unavailable(struct session *session, int16_t stream, uint16_t consistency,
                        const bool asked[CLUSTER_COUNT], const struct upstream *upstream)
{
    struct dynbuf *body = &session->worker->reply;
    char message[384];
    bool is_dual = asked[CLUSTER_ORIGIN] && asked[CLUSTER_TARGET];
    int alive = 0;
    for (int i = 0; i < CLUSTER_COUNT; i++)
        alive += asked[i] && session->upstreams[i].state == UPSTREAM_READY;
    snprintf(message, sizeof message,
             "The %s cluster is not reachable (%s: %s); nothing was sent to either cluster",
             cluster_name(upstream->cluster), upstream_node_name(upstream), upstream->last_error);
    dynbuf_reset(body);
    cql_put_error(body, CQL_ERROR_UNAVAILABLE, message);
    cql_put_u16(body, consistency);
    cql_put_i32(body, is_dual ? 2 : 1);
    cql_put_i32(body, alive);
    session_reply(session, stream, CQL_OPCODE_ERROR, body->data, body->length);
}

void answer_unprepared(struct session *session, int16_t stream, struct cql_span id)
{
    struct dynbuf *body = &session->worker->reply;
    struct dynbuf message;
    dynbuf_init(&message, 1024);
    dynbuf_append_text(&message, "Prepared query with ID ");
    for (size_t i = 0; i < id.length && i < CQL_ID_MAX; i++)
        dynbuf_printf(&message, "%02x", id.data[i]);
    dynbuf_append_text(
        &message,
        " not found (either the query was not prepared on this host (maybe the host has been "
        "restarted?) or you have prepared too many queries and it has been evicted from the "
        "internal cache)");
    dynbuf_reset(body);
    refused_ids_add(&session->refused_ids, id);
    cql_put_error(body, CQL_ERROR_UNPREPARED, dynbuf_text(&message));
    cql_put_string(body, id.data, id.length);
    dynbuf_fini(&message);
    session_reply(session, stream, CQL_OPCODE_ERROR, body->data, body->length);
}

/* cluster did not answer: it stayed silent (OUTCOME_EXPIRED) or its connection broke
 * (OUTCOME_LOST). The fields say what is known: how many of the clusters asked have acknowledged.
 */
COLD static void reply_no_answer(struct session *session, const struct request *request,
                                 enum cluster_id cluster,
                                 const enum outcome outcomes[CLUSTER_COUNT])
{
    const struct upstream *upstream = &session->upstreams[cluster];
    struct dynbuf *body = &session->worker->reply;
    char cause[320], message[384];
    int asked = 0, acknowledged = 0;
    for (int i = 0; i < CLUSTER_COUNT; i++) {
        asked += outcomes[i] != OUTCOME_NOT_ASKED;
        acknowledged += outcomes[i] == OUTCOME_OK;
    }
    if (outcomes[cluster] == OUTCOME_EXPIRED)
        snprintf(cause, sizeof cause, "the %s cluster (%s) did not answer within %u ms",
                 cluster_name(cluster), upstream_node_name(upstream),
                 session->worker->live.request_timeout_ms);
    else
        snprintf(cause, sizeof cause,
                 "the connection to the %s cluster (%s) was lost before the answer: %s",
                 cluster_name(cluster), upstream_node_name(upstream), upstream->last_error);
    dynbuf_reset(body);
    if (is_write(request)) {
        snprintf(message, sizeof message, "Write outcome unknown: %s", cause);
        cql_put_error(body, CQL_ERROR_WRITE_TIMEOUT, message);
        cql_put_u16(body, request->consistency);
        cql_put_i32(body, acknowledged);
        cql_put_i32(body, asked);
        const char *type = write_type_name(request->statement.write_type);
        cql_put_string(body, type, strlen(type));
        if (session->version == 5 && request->statement.write_type == WRITE_CAS)
            cql_put_u16(body, 0); /* contentions: none that we know of */
    } else if (is_read(request) && outcomes[cluster] == OUTCOME_EXPIRED) {
        snprintf(message, sizeof message, "Read timed out: %s", cause);
        cql_put_error(body, CQL_ERROR_READ_TIMEOUT, message);
        cql_put_u16(body, request->consistency);
        cql_put_i32(body, 0);
        cql_put_i32(body, 1);
        cql_put_u8(body, 0);
    } else if (is_read(request)) {
        snprintf(message, sizeof message, "Read failed: %s", cause);
        cql_put_error(body, CQL_ERROR_UNAVAILABLE, message);
        cql_put_u16(body, request->consistency);
        cql_put_i32(body, 1);
        cql_put_i32(body, 0);
    } else {
        snprintf(message, sizeof message, "%s: %s", cql_opcode_name(request->opcode), cause);
        cql_put_error(body, CQL_ERROR_SERVER, message);
    }
    session_reply(session, request->client_stream, CQL_OPCODE_ERROR, body->data, body->length);
}

/* ---- to the client ---- */

/* A frame that does not fit one piece, or a held answer whose time has come in the middle of
 * another. */
COLD static void pass_on_in_parts(struct session *session, int16_t stream, const uint8_t *frame,
                                  size_t length)
{
    uint8_t header[CQL_HEADER_BYTES];
    memcpy(header, frame, sizeof header);
    cql_store_u16(header + 2, (uint16_t)stream);
    if (session->lock != NULL) {
        session_defer(session, header, sizeof header);
        session_defer(session, frame + sizeof header, length - sizeof header);
        return;
    }
    if (session_forward(session, header, sizeof header))
        session_forward(session, frame + sizeof header, length - sizeof header);
}

static inline void pass_on(struct session *session, int16_t stream, const uint8_t *frame,
                           size_t length)
{
    if (UNLIKELY(length > CHUNK_BYTES || session->lock != NULL)) {
        pass_on_in_parts(session, stream, frame, length);
        return;
    }
    uint8_t *to = stream_reserve(&session->client, length);
    if (to == NULL) {
        session_close(session, CLOSE_OUT_OF_MEMORY, "");
        return;
    }
    memcpy(to, frame, length);
    cql_store_u16(to + 2, (uint16_t)stream);
    session_check_pressure(session);
}

/* The frame's body, made plain if it is compressed, and *header that of the plain frame. NULL: it
 * is corrupt; *reason says how. */
static const uint8_t *open_body(struct session *session, struct cql_header *header,
                                const uint8_t *frame, const char **reason)
{
    const uint8_t *body = frame + CQL_HEADER_BYTES;
    return compression_open(&session->worker->opened_answer, session->compression,
                            INSPECTED_ANSWER_MAX, header, &body, reason)
               ? body
               : NULL;
}

static void append_plain(struct dynbuf *frame, struct cql_header header, const uint8_t *body)
{
    uint8_t bytes[CQL_HEADER_BYTES];
    cql_header_store(bytes, header);
    dynbuf_append(frame, bytes, sizeof bytes);
    dynbuf_append(frame, body, header.body_length);
}

static struct cql_span read_prepared_id(struct cql_header header, const uint8_t *body)
{
    struct cql_cursor cursor = cql_open_response(header, body);
    (void)cql_read_i32(&cursor);
    return cql_read_string(&cursor);
}

/* The id by which the client knows the statement that is prepared by this answer, if it was told
 * that nobody knows it; length 0: there is none, or it is the answer's own. */
static struct cql_span id_asked_about(const struct session *session,
                                      const struct preparation *preparation,
                                      struct cql_span answered)
{
    struct cql_span ids[CLUSTER_COUNT];
    preparation_ids(preparation, answered, ids);
    struct cql_span id =
        refused_ids_match(session->refused_ids, session->worker->shared->prepared, ids);
    bool is_another = id.length > 0 && id.length == answered.length &&
                      memcmp(id.data, answered.data, id.length) != 0;
    return is_another ? id : (struct cql_span){NULL, 0};
}

/* Puts an id of the same length in place of that of a plain PREPARED frame. */
static void put_prepared_id(struct dynbuf *frame, struct cql_span id)
{
    const uint8_t *body = frame->data + CQL_HEADER_BYTES;
    struct cql_span own = read_prepared_id(cql_header_load(frame->data), body);
    memcpy(frame->data + (own.data - frame->data), id.data, id.length);
}

/* All clusters asked have prepared the statement; frame is the answer of the one whose id counts.
 */
static void deliver_prepared(struct session *session, const struct request *request,
                             struct cql_header header, const uint8_t *body, const uint8_t *frame,
                             size_t length)
{
    const struct preparation *preparation = request->preparation;
    struct function_plan *functions = NULL;
    struct prepared *prepared = NULL;
    struct cql_span id = {NULL, 0};
    bool is_hiding = preparation != NULL && preparation->function_markers > 0;
    struct dynbuf changed; /* the frame without the markers of ours, with the client's id */
    dynbuf_init(&changed, CQL_HEADER_BYTES + INSPECTED_ANSWER_MAX);
    if (preparation != NULL &&
        (!is_hiding || functions_use_prepared(header, body, preparation->function_markers, &changed,
                                              &functions))) {
        id = id_asked_about(session, preparation, read_prepared_id(header, body));
        prepared = preparation_finish(preparation, header, body, id, functions);
    }
    if (prepared == NULL) {
        dynbuf_fini(&changed);
        session_reply_error(
            session, request->client_stream, CQL_ERROR_SERVER,
            "PREPARE: a cluster answered with something else than a prepared statement id");
        return;
    }
    worker_remember_prepared(session->worker, prepared);
    if (id.length > 0 && !is_hiding)
        append_plain(&changed, header, body);
    if (id.length > 0 && !changed.failed)
        put_prepared_id(&changed, id);
    if (changed.failed)
        session_close(session, CLOSE_OUT_OF_MEMORY, "");
    else
        pass_on(session, request->client_stream, changed.length > 0 ? changed.data : frame,
                changed.length > 0 ? changed.length : length);
    dynbuf_fini(&changed);
}

/* A cluster does not know a statement: the client must hear the id it knows, then it prepares it
 * again on all of them. A BATCH may have meant any: its entry is sought by that cluster's id.
 * false: the cluster's answer tells that id already. */
static bool tell_unprepared(struct session *session, const struct request *request,
                            enum cluster_id cluster, struct cql_span id)
{
    struct prepared_registry *registry = session->worker->shared->prepared;
    const struct prepared *meant = request->prepared == NULL ? NULL : request->prepared->prepared;
    struct prepared *found = NULL;
    if (meant == NULL && cluster == CLUSTER_ORIGIN)
        found = prepared_registry_find(registry, id); /* most clients know the origin's */
    if (meant == NULL && found == NULL)
        found = prepared_registry_find_by(registry, cluster, id);
    if (meant == NULL)
        meant = found;
    bool is_told = cluster == CLUSTER_ORIGIN && (meant == NULL || prepared_id_is(&meant->id, id));
    if (meant == NULL && !is_told)
        session_reply_error(session, request->client_stream, CQL_ERROR_SERVER,
                            "The target cluster does not know a prepared statement of this batch, "
                            "and the proxy no longer "
                            "does either: prepare its statements again");
    else if (!is_told)
        answer_unprepared(session, request->client_stream,
                          (struct cql_span){meant->id.bytes, meant->id.length});
    prepared_put(found);
    return !is_told;
}

static void remember_keyspace(struct session *session, struct cql_header header,
                              const uint8_t *body)
{
    struct cql_cursor cursor = cql_open_response(header, body);
    int32_t kind = cql_read_i32(&cursor);
    struct cql_span keyspace = cql_read_string(&cursor);
    if (cursor.failed || kind != CQL_RESULT_SET_KEYSPACE || keyspace.length > KEYSPACE_MAX)
        return;
    memcpy(session->keyspace, keyspace.data, keyspace.length);
    session->keyspace[keyspace.length] = '\0';
}

/* Answers that are looked into before they are passed on. */
static inline bool is_inspected(const struct request *request, uint8_t opcode)
{
    return opcode == CQL_OPCODE_ERROR ||
           (UNLIKELY(request->statement.class > REQUEST_WRITE) &&
            (request->opcode == CQL_OPCODE_PREPARE || request->statement.class == REQUEST_USE));
}

/* What an inspected frame tells is taken in. false: the client has had its answer, or is gone. */
COLD static bool inspect(struct session *session, const struct request *request,
                         enum cluster_id cluster, const uint8_t *frame, size_t length)
{
    struct cql_header header = cql_header_load(frame);
    const char *reason;
    const uint8_t *body = open_body(session, &header, frame, &reason);
    if (body == NULL) { /* it could be read when it came in */
        session_close(session, CLOSE_OUT_OF_MEMORY, reason);
        return false;
    }
    if (header.opcode == CQL_OPCODE_ERROR) {
        struct cql_cursor cursor = cql_open_response(header, body);
        bool is_unprepared = cql_read_i32(&cursor) == CQL_ERROR_UNPREPARED;
        (void)cql_read_string(&cursor);
        struct cql_span id = cql_read_string(&cursor);
        if (is_unprepared && !cursor.failed)
            return !tell_unprepared(session, request, cluster, id);
    } else if (request->opcode == CQL_OPCODE_PREPARE) {
        deliver_prepared(session, request, header, body, frame, length);
        return false;
    } else if (request->statement.class == REQUEST_USE && header.opcode == CQL_OPCODE_RESULT) {
        remember_keyspace(session, header, body);
        shadow_follow_keyspace(session);
        for (int i = 0; i < CLUSTER_COUNT; i++)
            if (request->outcomes[i] == OUTCOME_NOT_ASKED)
                upstream_follow_keyspace(&session->upstreams[i]);
    }
    return true;
}

/* Gives the client the frame of the cluster whose outcome counts. */
static inline void deliver(struct session *session, const struct request *request,
                           enum cluster_id cluster, const uint8_t *frame, size_t length)
{
    struct cql_header header = cql_header_load(frame);
    if (UNLIKELY(is_inspected(request, header.opcode)) &&
        !inspect(session, request, cluster, frame, length))
        return;
    if (paging_may_go_on(session, request, header, frame + CQL_HEADER_BYTES,
                         length - CQL_HEADER_BYTES) &&
        paging_pass_on(session, request, cluster, frame, length))
        return;
    pass_on(session, request->client_stream, frame, length);
}

/* ---- outcomes ---- */

static inline void record(struct session *session, struct request *request, enum cluster_id cluster,
                          enum outcome outcome, int32_t error_code)
{
    struct upstream *upstream = &session->upstreams[cluster];
    request->outcomes[cluster] = outcome;
    tracking_outcome(session, request, cluster, outcome, error_code);
    if (UNLIKELY(request->trace_length > 0) && outcome != OUTCOME_LOST)
        request_trace_answered(request, cluster);
    if (request->is_expired && upstream->expired_awaited > 0)
        upstream->expired_awaited--;
    /* A large answer of the other cluster may have been waiting for this word. */
    struct stream *other = &session->upstreams[cluster_other(cluster)].stream;
    if (UNLIKELY((other->paused & STREAM_PAUSE_MERGE) != 0))
        stream_resume(other, STREAM_PAUSE_MERGE);
}

/* The client has its answer and no cluster owes one. */
static void finish(struct session *session, struct request *request)
{
    tracking_end(session, request, request->outcomes);
    request_end(&session->requests, &session->worker->requests, request);
    session->unanswered--;
    session_end_if_idle(session);
}

/* An outcome has just been recorded for from; frame is the answer that brought it, NULL when there
 * is none to show. */
static inline void settle(struct session *session, struct request *request, enum cluster_id from,
                          const uint8_t *frame, size_t length)
{
    enum merge_verdict verdict = merge_decide(request->outcomes, request->answerer);
    if (verdict == MERGE_WAIT) {
        bool is_error = request->outcomes[from] == OUTCOME_ERROR;
        if (frame != NULL && merge_may_answer(from, is_error, request->answerer) &&
            !request_hold(request, from, frame, length))
            session_close(session, CLOSE_OUT_OF_MEMORY, "");
        return;
    }
    enum cluster_id cluster = verdict == MERGE_ANSWER_ORIGIN ? CLUSTER_ORIGIN : CLUSTER_TARGET;
    if (UNLIKELY(request->outcomes[cluster] == OUTCOME_LOST)) {
        reply_no_answer(session, request, cluster, request->outcomes);
    } else {
        if (frame == NULL || cluster != from) {
            CHECK(request->held != NULL && request->held_from == cluster);
            frame = request->held;
            length = request->held_length;
        }
        deliver(session, request, cluster, frame, length);
    }
    if (session->state != SESSION_DOOMED)
        finish(session, request);
}

/* A late answer, or the answer to a heartbeat: nobody waits for its content. */
static void swallow(struct session *session, struct request *request, enum cluster_id cluster,
                    enum outcome outcome)
{
    bool is_heartbeat = request->statement.class == REQUEST_HEARTBEAT;
    record(session, request, cluster, outcome, 0);
    if (is_heartbeat)
        session->upstreams[cluster].heartbeat_at_ns = 0;
    else if (outcome != OUTCOME_LOST)
        metrics_add(
            session->worker->metrics,
            cluster == CLUSTER_ORIGIN ? METRIC_LATE_ANSWERS_ORIGIN : METRIC_LATE_ANSWERS_TARGET, 1);
    if (!request_is_awaited(request))
        request_end(&session->requests, &session->worker->requests, request);
}

static bool is_swallowed(const struct request *request)
{
    return request->is_expired || request->statement.class == REQUEST_HEARTBEAT;
}

/* ---- whole frames ---- */

static void on_event(struct upstream *upstream, struct cql_header header, const uint8_t *frame,
                     size_t length)
{
    struct session *session = upstream->session;
    const char *reason;
    const uint8_t *body = open_body(session, &header, frame, &reason);
    if (body == NULL) {
        upstream_lose(upstream, reason);
        return;
    }
    struct cql_cursor cursor = cql_open_response(header, body);
    bool is_wanted = upstream->cluster == snapshot_leading_cluster(session->worker->snapshot) &&
                     session->is_registered && header.opcode == CQL_OPCODE_EVENT &&
                     cql_span_equals(cql_read_string(&cursor), "SCHEMA_CHANGE") &&
                     session->state == SESSION_READY;
    metrics_add(session->worker->metrics,
                is_wanted ? METRIC_EVENTS_FORWARDED : METRIC_EVENTS_DROPPED, 1);
    if (is_wanted)
        pass_on(session, -1, frame, length);
}

/* A page of a continuous request is done with, and others follow. */
static void page_is_through(struct request *request)
{
    /* Nobody waits for the pages of a request that was answered with a timeout. */
    if (!request->is_expired || request->is_cancelled)
        continuous_await_next(request);
}

/* The answer of a request about which there is something to be done besides passing it on. */
COLD static void on_special_frame(struct upstream *upstream, struct request *request,
                                  struct cql_header header, const uint8_t *frame, size_t length)
{
    struct session *session = upstream->session;
    enum outcome outcome = header.opcode == CQL_OPCODE_ERROR ? OUTCOME_ERROR : OUTCOME_OK;
    int32_t error_code = 0;
    if (UNLIKELY(request->is_continuous) &&
        continuous_look(session, header, frame, length) == CONTINUOUS_GOES_ON) {
        if (!request->is_expired)
            deliver(session, request, upstream->cluster, frame, length);
        if (session->state != SESSION_DOOMED)
            page_is_through(request);
        return;
    }
    if (is_swallowed(request)) {
        swallow(session, request, upstream->cluster, outcome);
        return;
    }
    const char *reason;
    const uint8_t *body = NULL;
    if (is_inspected(request, header.opcode) &&
        (body = open_body(session, &header, frame, &reason)) == NULL) {
        upstream_lose(upstream, reason);
        return;
    }
    if (outcome == OUTCOME_ERROR) {
        struct cql_cursor cursor = cql_open_response(header, body);
        error_code = cql_read_i32(&cursor);
    } else if (request->preparation != NULL && upstream->cluster == CLUSTER_TARGET) {
        preparation_note_target(request->preparation, header, body);
    }
    if (UNLIKELY(request->cancels) && outcome == OUTCOME_OK)
        continuous_on_revised(session, request);
    record(session, request, upstream->cluster, outcome, error_code);
    settle(session, request, upstream->cluster, frame, length);
}

static inline void on_frame(struct upstream *upstream, struct request *request,
                            struct cql_header header, const uint8_t *frame, size_t length)
{
    bool is_special = header.opcode == CQL_OPCODE_ERROR ||
                      request->statement.class > REQUEST_WRITE || request->is_expired ||
                      request->is_continuous;
    if (UNLIKELY(is_special)) {
        on_special_frame(upstream, request, header, frame, length);
        return;
    }
    record(upstream->session, request, upstream->cluster, OUTCOME_OK, 0);
    settle(upstream->session, request, upstream->cluster, frame, length);
}

/* ---- large frames ---- */

enum large_step { LARGE_PAUSED, LARGE_INCOMPLETE, LARGE_FLOWS, LARGE_WANTED_WHOLE };

/* The client's answer begins to flow. */
static enum large_step begin_forward(struct upstream *upstream, struct request *request,
                                     const uint8_t *frame, size_t length, size_t *used)
{
    struct session *session = upstream->session;
    uint8_t bytes[CQL_HEADER_BYTES];
    enum paging_large paging =
        paging_begin_large(session, request, upstream->cluster, frame, length, used);
    if (paging == PAGING_LARGE_MORE)
        return LARGE_INCOMPLETE;
    if (paging == PAGING_LARGE_WHOLE)
        return LARGE_WANTED_WHOLE;
    if (session->state == SESSION_DOOMED)
        return LARGE_PAUSED;
    session->lock = upstream;
    list_remove(&request->deadline); /* upstream_survey watches a flowing answer */
    timing_survey_by(&session->worker->timing,
                     worker_now(session->worker) + session->worker->live.request_timeout_ns);
    upstream->frame = UPSTREAM_FRAME_FORWARD;
    if (paging == PAGING_LARGE_BEGUN) {
        upstream->frame_left -= (uint32_t)(*used - CQL_HEADER_BYTES);
        return LARGE_FLOWS;
    }
    memcpy(bytes, frame, sizeof bytes);
    cql_store_u16(bytes + 2, (uint16_t)request->client_stream);
    return session_forward(session, bytes, sizeof bytes) ? LARGE_FLOWS : LARGE_PAUSED;
}

/* length bytes of the frame are there; *used: how many of them are done with when it flows. */
static enum large_step begin_large(struct upstream *upstream, struct request *request,
                                   struct cql_header header, const uint8_t *frame, size_t length,
                                   size_t *used)
{
    struct session *session = upstream->session;
    upstream->frame_request = request;
    upstream->frame_left = header.body_length;
    upstream->frame_goes_on = false;
    if (UNLIKELY(request->is_continuous)) {
        enum continuous_page page = continuous_look(session, header, frame, length);
        if (page == CONTINUOUS_UNKNOWN)
            return LARGE_INCOMPLETE;
        upstream->frame_goes_on = page == CONTINUOUS_GOES_ON;
    }
    if (!is_swallowed(request)) {
        if (is_inspected(request, header.opcode))
            return LARGE_WANTED_WHOLE;
        enum outcome outcomes[CLUSTER_COUNT] = {request->outcomes[CLUSTER_ORIGIN],
                                                request->outcomes[CLUSTER_TARGET]};
        outcomes[upstream->cluster] = OUTCOME_OK;
        enum merge_verdict verdict = merge_decide(outcomes, request->answerer);
        if (verdict == MERGE_WAIT &&
            merge_may_answer(upstream->cluster, false, request->answerer)) {
            stream_pause(&upstream->stream, STREAM_PAUSE_MERGE);
            return LARGE_PAUSED;
        }
        if (verdict ==
            (upstream->cluster == CLUSTER_ORIGIN ? MERGE_ANSWER_ORIGIN : MERGE_ANSWER_TARGET)) {
            return begin_forward(upstream, request, frame, length, used);
        }
    }
    upstream->frame = UPSTREAM_FRAME_SKIP;
    return LARGE_FLOWS;
}

static void end_large(struct upstream *upstream)
{
    struct session *session = upstream->session;
    struct request *request = upstream->frame_request;
    enum upstream_frame how = upstream->frame;
    upstream->frame = UPSTREAM_FRAME_NONE;
    upstream->frame_request = NULL;
    if (UNLIKELY(upstream->frame_goes_on)) {
        if (how == UPSTREAM_FRAME_FORWARD)
            session_unlock(session);
        if (session->state != SESSION_DOOMED)
            page_is_through(request);
    } else if (how == UPSTREAM_FRAME_FORWARD) {
        record(session, request, upstream->cluster, OUTCOME_OK, 0);
        session_unlock(session);
        if (session->state != SESSION_DOOMED)
            finish(session, request);
    } else if (is_swallowed(request)) {
        swallow(session, request, upstream->cluster, OUTCOME_OK);
    } else {
        record(session, request, upstream->cluster, OUTCOME_OK, 0);
        settle(session, request, upstream->cluster, NULL, 0);
    }
}

/* ---- input ---- */

static struct request *find_request(const struct upstream *upstream, int16_t stream)
{
    const struct request_table *table = &upstream->session->requests;
    if (stream < 0 || (uint32_t)stream >= table->capacity)
        return NULL;
    struct request *request = table->slots[stream];
    return request != NULL && request->outcomes[upstream->cluster] == OUTCOME_AWAITED ? request
                                                                                      : NULL;
}

static size_t flow(struct upstream *upstream, const uint8_t *data, size_t length)
{
    size_t part = length < upstream->frame_left ? length : upstream->frame_left;
    if (upstream->frame == UPSTREAM_FRAME_FORWARD &&
        !session_forward(upstream->session, data, part))
        return part;
    upstream->frame_left -= (uint32_t)part;
    if (upstream->frame_left == 0)
        end_large(upstream);
    return part;
}

size_t answer_on_input(struct upstream *upstream, const uint8_t *data, size_t length, size_t *need)
{
    struct session *session = upstream->session;
    struct stream *stream = &upstream->stream;
    size_t done = 0;
    while (done < length && stream_is_open(stream) && stream->paused == 0) {
        if (upstream->frame != UPSTREAM_FRAME_NONE) {
            done += flow(upstream, data + done, length - done);
            continue;
        }
        size_t left = length - done;
        if (left < CQL_HEADER_BYTES)
            break;
        const uint8_t *frame = data + done;
        struct cql_header header = framing_header(frame);
        if (!header.is_response || header.version != session->version ||
            !cql_opcode_is_response(header.opcode) || header.body_length > CQL_FRAME_BODY_MAX ||
            ((header.flags & CQL_FLAG_COMPRESSED) != 0 &&
             session->compression == CQL_COMPRESSION_NONE)) {
            upstream_lose(upstream, "sent a malformed frame");
            break;
        }
        if (session->lock != NULL && session->lock != upstream) {
            stream_pause(stream, STREAM_PAUSE_LOCKED);
            break;
        }
        size_t total = CQL_HEADER_BYTES + (size_t)header.body_length;
        struct request *request = find_request(upstream, header.stream);
        if (request == NULL && (header.stream >= 0 || total > STREAM_WHOLE_FRAME)) {
            upstream_lose(upstream, "answered a request that was not asked");
            break;
        }
        if (total <= left) {
            if (request == NULL)
                on_event(upstream, header, frame, total);
            else
                on_frame(upstream, request, header, frame, total);
            done += total;
            continue;
        }
        if (total <= STREAM_WHOLE_FRAME)
            break;
        size_t used = CQL_HEADER_BYTES;
        enum large_step step = begin_large(upstream, request, header, frame, left, &used);
        if (step == LARGE_WANTED_WHOLE && total > INSPECTED_ANSWER_MAX) {
            upstream_lose(upstream, "sent an answer too large to inspect");
            break;
        }
        if (step == LARGE_WANTED_WHOLE)
            *need = total;
        if (step != LARGE_FLOWS)
            break;
        done += used;
    }
    return done;
}

/* ---- ends without an answer ---- */

void answer_abandon(struct session *session, struct request *request)
{
    bool is_client_waiting = !is_swallowed(request);
    tracking_abandon(session, request);
    request_end(&session->requests, &session->worker->requests, request);
    if (is_client_waiting)
        session->unanswered--;
}

void answer_settle_lost(struct session *session, struct upstream *upstream)
{
    for (uint32_t slot = 0; slot < session->requests.capacity && session->state != SESSION_DOOMED;
         slot++) {
        struct request *request = session->requests.slots[slot];
        if (request == NULL || request->outcomes[upstream->cluster] != OUTCOME_AWAITED)
            continue;
        if (is_swallowed(request)) {
            swallow(session, request, upstream->cluster, OUTCOME_LOST);
        } else {
            record(session, request, upstream->cluster, OUTCOME_LOST, 0);
            settle(session, request, upstream->cluster, NULL, 0);
        }
    }
}

/* Silence alone does not prove a node dead; these do: a heartbeat without an answer, a queue that
 * has not moved for a whole timeout, half of all stream ids taken by requests it never answered. */
static bool is_stuck(const struct session *session, const struct upstream *upstream)
{
    uint64_t timeout = session->worker->live.request_timeout_ns;
    const struct stream *stream = &upstream->stream;
    return (stream->queued > 0 && worker_now(session->worker) - stream->last_write_ns > timeout) ||
           upstream->expired_awaited > session->requests.limit / 2;
}

void answer_expire(struct session *session, struct request *request)
{
    struct worker *worker = session->worker;
    enum outcome outcomes[CLUSTER_COUNT];
    bool is_heartbeat = request->statement.class == REQUEST_HEARTBEAT;
    bool awaited[CLUSTER_COUNT];
    if (UNLIKELY(request->is_continuous) && continuous_on_deadline(session, request))
        return;
    list_remove(&request->deadline);
    for (int i = 0; i < CLUSTER_COUNT; i++) {
        const struct upstream *upstream = &session->upstreams[i];
        bool has_begun = (upstream->stream.paused & STREAM_PAUSE_MERGE) != 0 &&
                         upstream->frame_request == request;
        awaited[i] = request->outcomes[i] == OUTCOME_AWAITED;
        outcomes[i] = !awaited[i] ? request->outcomes[i] : has_begun ? OUTCOME_OK : OUTCOME_EXPIRED;
        if (awaited[i] && !is_heartbeat) {
            tracking_outcome(session, request, (enum cluster_id)i, OUTCOME_EXPIRED, 0);
            session->upstreams[i].expired_awaited++;
        }
    }
    if (is_heartbeat) {
        upstream_lose(&session->upstreams[request->answerer], "no answer to a heartbeat");
        return;
    }
    enum cluster_id cluster = merge_decide(outcomes, request->answerer) == MERGE_ANSWER_ORIGIN
                                  ? CLUSTER_ORIGIN
                                  : CLUSTER_TARGET;
    metrics_add(worker->metrics, METRIC_EXPIRED_REQUESTS, 1);
    if (outcomes[cluster] == OUTCOME_ERROR)
        deliver(session, request, cluster, request->held, request->held_length);
    else
        reply_no_answer(session, request, cluster, outcomes);
    if (session->state == SESSION_DOOMED)
        return;
    tracking_end(session, request, outcomes);
    request->is_expired = true;
    request_drop_held(request);
    session->unanswered--;
    timing_survey_by(&worker->timing, worker_now(worker)); /* is the node down? */
    for (int i = 0; i < CLUSTER_COUNT && session->state != SESSION_DOOMED; i++) {
        stream_resume(&session->upstreams[i].stream, STREAM_PAUSE_MERGE);
        /* Not a byte since it was sent: is anybody there? */
        if (awaited[i] && upstream_is_silent_since(&session->upstreams[i], request->started_ns))
            node_watch_doubt(worker->shared->watch, session->upstreams[i].node->health);
        if (awaited[i] && is_stuck(session, &session->upstreams[i]))
            upstream_lose(&session->upstreams[i], "no answers for longer than the request timeout");
    }
    session_end_if_idle(session);
}
