/* Requests of a ready client: what they are, where they go, and their way onto the upstreams. Runs
 * on the session's worker.
 *
 * A request is sent to all clusters of its plan or to none: slots (stream ids) and upstreams are
 * checked before the first byte. */
#include <string.h>

#include "dataplane/classify.h"
#include "dataplane/route.h"
#include "dataplane/session.h"
#include "dataplane/shadow.h"
#include "dataplane/tracking.h"
#include "dataplane/worker.h"
#include "proto/cql_request.h"
#include "proto/cql_response.h"

/* Bound values a statement on a virtual table may have. */
#define VIRTUAL_VALUES_MAX 32

/* Longest text that is kept to answer a prepared statement from. */
#define VIRTUAL_TEXT_MAX 4096

/* A prepared id within a frame that one of the clusters knows by another id. */
struct id_use {
    uint32_t offset; /* of the id's bytes in the body; its length stands in the two bytes before */
    uint8_t length;
    struct prepared_handle *handle;
};

/* One client frame on its way. */
struct dispatch {
    struct session *session;
    struct cql_header header;
    const uint8_t *frame;
    struct chunk *whole;
    const struct id_use *ids;
    size_t id_count;
    bool has_paging_state; /* it goes on where an earlier answer ended */
};

static const uint8_t *body_of(const struct dispatch *dispatch)
{
    return dispatch->frame + CQL_HEADER_BYTES;
}

static void refuse_malformed(const struct dispatch *dispatch, const char *reason)
{
    metrics_add(dispatch->session->worker->metrics, METRIC_REFUSED_MALFORMED, 1);
    session_reply_error(dispatch->session, dispatch->header.stream, CQL_ERROR_PROTOCOL, "%s",
                        reason);
}

/* ---- onto the upstream ---- */

static bool write_body_run(struct stream *stream, const struct dispatch *dispatch, size_t from,
                           size_t length)
{
    if (dispatch->whole != NULL && length > CHUNK_BYTES)
        return stream_write_view(stream, dispatch->whole,
                                 (size_t)(body_of(dispatch) + from - dispatch->whole->bytes),
                                 length);
    return stream_write(stream, body_of(dispatch) + from, length);
}

/* Writes the frame with its stream id replaced and, for the target, each prepared id by the
 * target's. */
static bool write_frame(const void *context, struct stream *stream, enum cluster_id cluster,
                        uint16_t slot)
{
    const struct dispatch *dispatch = context;
    size_t body_length = dispatch->header.body_length;
    size_t total = CQL_HEADER_BYTES + body_length;
    size_t id_count = cluster == CLUSTER_TARGET ? dispatch->id_count : 0;
    if (LIKELY(id_count <= 1 && total <= CHUNK_BYTES)) {
        const struct id_use *use = id_count == 1 ? dispatch->ids : NULL;
        const struct prepared_id *id =
            use == NULL ? NULL : &use->handle->prepared->ids[CLUSTER_TARGET];
        if (id == NULL || id->length == use->length) {
            uint8_t *to = stream_reserve(stream, total);
            if (to == NULL)
                return false;
            memcpy(to, dispatch->frame, total);
            cql_store_u16(to + 2, slot);
            if (id != NULL)
                memcpy(to + CQL_HEADER_BYTES + use->offset, id->bytes, id->length);
            return true;
        }
    }
    uint8_t header_bytes[CQL_HEADER_BYTES];
    struct cql_header header = dispatch->header;
    header.stream = (int16_t)slot;
    for (size_t i = 0; i < id_count; i++)
        header.body_length += dispatch->ids[i].handle->prepared->ids[CLUSTER_TARGET].length -
                              (uint32_t)dispatch->ids[i].length;
    cql_header_store(header_bytes, header);
    if (!stream_write(stream, header_bytes, sizeof header_bytes))
        return false;
    size_t at = 0;
    for (size_t i = 0; i < id_count; i++) {
        const struct id_use *use = &dispatch->ids[i];
        const struct prepared_id *id = &use->handle->prepared->ids[CLUSTER_TARGET];
        uint8_t length_bytes[2];
        cql_store_u16(length_bytes, id->length);
        if (!write_body_run(stream, dispatch, at, use->offset - 2 - at) ||
            !stream_write(stream, length_bytes, sizeof length_bytes) ||
            !stream_write(stream, id->bytes, id->length))
            return false;
        at = use->offset + use->length;
    }
    return write_body_run(stream, dispatch, at, body_length - at);
}

static void begin_waiting(struct session *session, struct request *request)
{
    struct worker *worker = session->worker;
    request->session = session;
    request->started_ns = worker_now(worker);
    list_append(&worker->deadlines, &request->deadline);
    tracking_begin(session, request);
}

/* Sends the request by its plan. Takes its slot, or answers why not and returns NULL. */
static struct request *send_request(const struct dispatch *dispatch,
                                    struct statement_class statement, uint16_t consistency,
                                    struct plan plan)
{
    struct session *session = dispatch->session;
    struct worker *worker = session->worker;
    for (int i = 0; i < CLUSTER_COUNT; i++) {
        const struct upstream *upstream = &session->upstreams[i];
        if (!plan.sends[i] || upstream->state == UPSTREAM_READY)
            continue;
        metrics_add(worker->metrics, METRIC_REFUSED_UNAVAILABLE, 1);
        answer_unavailable(session, dispatch->header.stream, consistency, plan.sends, upstream);
        return NULL;
    }
    struct request *request = request_begin(&session->requests, &worker->requests);
    if (request == NULL) {
        metrics_add(worker->metrics, METRIC_REFUSED_NO_STREAM_ID, 1);
        session_reply_error(session, dispatch->header.stream, CQL_ERROR_OVERLOADED,
                            "no stream id available: %u requests are in flight on this connection "
                            "(PROXY_MAX_STREAM_IDS), "
                            "please retry on next host",
                            session->requests.used);
        return NULL;
    }
    request->client_stream = dispatch->header.stream;
    request->opcode = dispatch->header.opcode;
    request->statement = statement;
    request->consistency = consistency;
    request->answerer = plan.answerer;
    for (int i = 0; i < CLUSTER_COUNT; i++)
        request->outcomes[i] = plan.sends[i] ? OUTCOME_AWAITED : OUTCOME_NOT_ASKED;
    session->unanswered++;
    begin_waiting(session, request);
    for (int i = 0; i < CLUSTER_COUNT; i++) {
        struct upstream *upstream = &session->upstreams[i];
        if (!plan.sends[i])
            continue;
        if (!write_frame(dispatch, &upstream->stream, (enum cluster_id)i, request->slot)) {
            upstream_lose(upstream, "out of memory");
            return NULL;
        }
        if (upstream->stream.queued > STREAM_HIGH_WATER)
            stream_pause(&session->client, STREAM_PAUSE_PEER_FULL);
    }
    if (statement.class == REQUEST_READ && worker->snapshot->shadow_read_percent > 0)
        shadow_copy(session, plan.answerer, CQL_HEADER_BYTES + (size_t)dispatch->header.body_length,
                    dispatch->id_count == 1 ? dispatch->ids->handle : NULL,
                    dispatch->has_paging_state, write_frame, dispatch);
    return request;
}

bool dispatch_heartbeat(struct session *session, struct upstream *upstream)
{
    struct request *request = request_begin(&session->requests, &session->worker->requests);
    if (request == NULL)
        return false;
    request->opcode = CQL_OPCODE_OPTIONS;
    request->statement.class = REQUEST_HEARTBEAT;
    request->answerer = upstream->cluster;
    request->outcomes[upstream->cluster] = OUTCOME_AWAITED;
    begin_waiting(session, request);
    uint8_t *to = stream_reserve(&upstream->stream, CQL_HEADER_BYTES);
    if (to == NULL) {
        upstream_lose(upstream, "out of memory");
        return true;
    }
    cql_header_store(to, (struct cql_header){
                             .version = session->version,
                             .stream = (int16_t)request->slot,
                             .opcode = CQL_OPCODE_OPTIONS,
                         });
    return true;
}

/* ---- the proxy's own tables ---- */

static const struct topology *system_topology(const struct session *session)
{
    const struct worker *worker = session->worker;
    return worker->topologies[snapshot_system_cluster(worker->snapshot)];
}

static void answer_virtual(const struct dispatch *dispatch, enum virtual_table table,
                           const char *text, size_t length, struct cql_statement_request *parsed)
{
    struct session *session = dispatch->session;
    struct dynbuf *body = &session->worker->reply;
    struct virtual_value values[VIRTUAL_VALUES_MAX];
    size_t count = 0;
    uint8_t opcode = CQL_OPCODE_ERROR;
    if ((parsed->flags & CQL_QUERY_VALUES) != 0) {
        size_t announced = cql_read_u16(&parsed->rest);
        if (announced > VIRTUAL_VALUES_MAX) {
            session_reply_error(
                session, dispatch->header.stream, CQL_ERROR_INVALID,
                "Invalid amount of bind variables: %zu on a table the proxy answers", announced);
            return;
        }
        for (; count < announced; count++) {
            if (!cql_read_value(&parsed->rest, parsed->flags, &values[count].name,
                                &values[count].value)) {
                refuse_malformed(dispatch, "body ends before its bound values are complete");
                return;
            }
        }
    }
    dynbuf_reset(body);
    virtual_query(session->worker->shared->virtual_hosts, system_topology(session), table, text,
                  length, values, count, session->version, body, &opcode);
    session_reply(session, dispatch->header.stream, opcode, body->data, body->length);
}

static void prepare_virtual(const struct dispatch *dispatch, struct statement_class statement,
                            struct cql_span text)
{
    struct session *session = dispatch->session;
    struct worker *worker = session->worker;
    struct dynbuf *body = &worker->reply;
    uint8_t id[16];
    uint8_t opcode = CQL_OPCODE_ERROR;
    if (text.length > VIRTUAL_TEXT_MAX) {
        session_reply_error(session, dispatch->header.stream, CQL_ERROR_INVALID,
                            "The statement is too long (%zu bytes) for a table the proxy answers",
                            text.length);
        return;
    }
    dynbuf_reset(body);
    virtual_prepare(worker->shared->virtual_hosts, system_topology(session), statement.table,
                    (const char *)text.data, text.length, session->keyspace, session->version, id,
                    body, &opcode);
    if (opcode == CQL_OPCODE_RESULT) {
        struct cql_span span = {id, sizeof id};
        struct prepared *prepared =
            prepared_new(span, span, statement, (const char *)text.data, text.length);
        if (prepared == NULL) {
            session_close(session, CLOSE_OUT_OF_MEMORY, "");
            return;
        }
        metrics_add(worker->metrics, METRIC_PSCACHE_ENTRIES,
                    prepared_registry_add(worker->shared->prepared, prepared));
        prepared_put(prepared);
    }
    session_reply(session, dispatch->header.stream, opcode, body->data, body->length);
}

/* ---- by opcode ---- */

static void on_query(struct dispatch *dispatch)
{
    struct session *session = dispatch->session;
    struct cql_statement_request parsed;
    const char *reason;
    if (!cql_read_query(dispatch->header, body_of(dispatch), &parsed, &reason)) {
        refuse_malformed(dispatch, reason);
        return;
    }
    const char *text = (const char *)parsed.text.data;
    struct statement_class statement =
        classify_statement(text, parsed.text.length, session->keyspace);
    if (statement.class == REQUEST_VIRTUAL) {
        answer_virtual(dispatch, statement.table, text, parsed.text.length, &parsed);
        return;
    }
    dispatch->has_paging_state = (parsed.flags & CQL_QUERY_PAGING_STATE) != 0;
    send_request(dispatch, statement, parsed.consistency,
                 route_plan(statement.class, false, session->worker->snapshot));
}

static void on_prepare(struct dispatch *dispatch)
{
    struct session *session = dispatch->session;
    struct cql_statement_request parsed;
    const char *reason;
    if (!cql_read_prepare(dispatch->header, body_of(dispatch), &parsed, &reason)) {
        refuse_malformed(dispatch, reason);
        return;
    }
    struct statement_class statement =
        classify_statement((const char *)parsed.text.data, parsed.text.length, session->keyspace);
    if (statement.class == REQUEST_VIRTUAL) {
        prepare_virtual(dispatch, statement, parsed.text);
        return;
    }
    struct statement_class control = {.class = REQUEST_CONTROL};
    struct request *request = send_request(
        dispatch, control, 1, route_plan(REQUEST_CONTROL, true, session->worker->snapshot));
    if (request != NULL)
        request->prepares = statement;
}

static void refuse_unprepared(const struct dispatch *dispatch, struct cql_span id)
{
    struct session *session = dispatch->session;
    metrics_add(session->worker->metrics, METRIC_PSCACHE_MISSES, 1);
    answer_unprepared(session, dispatch->header.stream, id);
}

static void on_execute(struct dispatch *dispatch)
{
    struct session *session = dispatch->session;
    struct cql_statement_request parsed;
    const char *reason;
    if (!cql_read_execute(dispatch->header, body_of(dispatch), &parsed, &reason)) {
        refuse_malformed(dispatch, reason);
        return;
    }
    struct prepared_handle *handle = prepared_cache_find(&session->worker->prepared, parsed.id);
    if (handle == NULL) {
        refuse_unprepared(dispatch, parsed.id);
        return;
    }
    const struct prepared *prepared = handle->prepared;
    if (prepared->statement.class == REQUEST_VIRTUAL) {
        answer_virtual(dispatch, prepared->statement.table, prepared->text, prepared->text_length,
                       &parsed);
        prepared_cache_release(handle);
        return;
    }
    struct id_use use = {
        .offset = parsed.id_offset, .length = (uint8_t)parsed.id.length, .handle = handle};
    dispatch->ids = &use;
    dispatch->id_count = 1;
    dispatch->has_paging_state = (parsed.flags & CQL_QUERY_PAGING_STATE) != 0;
    struct request *request =
        send_request(dispatch, prepared->statement, parsed.consistency,
                     route_plan(prepared->statement.class, false, session->worker->snapshot));
    dispatch->ids = NULL;
    if (request != NULL)
        request->prepared = handle;
    else
        prepared_cache_release(handle);
}

struct batch_walk {
    struct worker *worker;
    struct dynbuf uses; /* of struct id_use */
    struct cql_span missing;
};

static bool on_batch_child(void *context, const struct cql_batch_child *child)
{
    struct batch_walk *walk = context;
    if (!child->is_prepared)
        return true;
    struct prepared_handle *handle =
        prepared_cache_find(&walk->worker->prepared, child->text_or_id);
    if (handle == NULL) {
        walk->missing = child->text_or_id;
        return false;
    }
    struct id_use use = {
        .offset = child->offset, .length = (uint8_t)child->text_or_id.length, .handle = handle};
    if (!dynbuf_append(&walk->uses, &use, sizeof use)) {
        prepared_cache_release(handle);
        return false;
    }
    return true;
}

static void on_batch(struct dispatch *dispatch)
{
    static const enum write_type types[] = {[CQL_BATCH_LOGGED] = WRITE_BATCH,
                                            [CQL_BATCH_UNLOGGED] = WRITE_UNLOGGED_BATCH,
                                            [CQL_BATCH_COUNTER] = WRITE_COUNTER};
    struct session *session = dispatch->session;
    struct worker *worker = session->worker;
    struct batch_walk walk = {.worker = worker, .uses = worker->id_uses};
    struct cql_batch batch;
    const char *reason;
    dynbuf_reset(&walk.uses);
    bool is_whole =
        cql_read_batch(dispatch->header, body_of(dispatch), &batch, on_batch_child, &walk, &reason);
    worker->id_uses = walk.uses; /* it may have grown */
    dispatch->ids = (const struct id_use *)(const void *)walk.uses.data;
    dispatch->id_count = walk.uses.length / sizeof *dispatch->ids;
    if (is_whole) {
        struct statement_class statement = {.class = REQUEST_WRITE,
                                            .write_type = types[batch.type]};
        send_request(dispatch, statement, batch.consistency,
                     route_plan(REQUEST_WRITE, false, worker->snapshot));
    } else if (walk.missing.data != NULL) {
        refuse_unprepared(dispatch, walk.missing);
    } else {
        refuse_malformed(dispatch,
                         reason == NULL ? "BATCH has too many prepared statements" : reason);
    }
    for (size_t i = 0; i < dispatch->id_count; i++)
        prepared_cache_release(dispatch->ids[i].handle);
}

/* Events come from the origin alone, so the registration goes there alone. */
static void on_register(struct dispatch *dispatch)
{
    struct session *session = dispatch->session;
    struct plan plan = {.sends = {[CLUSTER_ORIGIN] = true}, .answerer = CLUSTER_ORIGIN};
    uint8_t *copy = malloc(dispatch->header.body_length + 1);
    if (copy == NULL || dispatch->header.body_length > CHUNK_BYTES) {
        free(copy);
        refuse_malformed(dispatch, "REGISTER body is too large");
        return;
    }
    memcpy(copy, body_of(dispatch), dispatch->header.body_length);
    free(session->register_body);
    session->register_body = copy;
    session->register_length = dispatch->header.body_length;
    session->is_registered = true;
    send_request(dispatch, (struct statement_class){.class = REQUEST_CONTROL}, 1, plan);
}

void dispatch_request(struct session *session, struct cql_header header, const uint8_t *frame,
                      struct chunk *whole)
{
    struct dispatch dispatch = {
        .session = session, .header = header, .frame = frame, .whole = whole};
    if (session->state == SESSION_DRAINING) {
        metrics_add(session->worker->metrics, METRIC_REFUSED_DRAINING, 1);
        session_reply_error(session, header.stream, CQL_ERROR_OVERLOADED,
                            "Shutting down, please retry on next host.");
        return;
    }
    switch (header.opcode) {
    case CQL_OPCODE_QUERY:
        on_query(&dispatch);
        break;
    case CQL_OPCODE_EXECUTE:
        on_execute(&dispatch);
        break;
    case CQL_OPCODE_BATCH:
        on_batch(&dispatch);
        break;
    case CQL_OPCODE_PREPARE:
        on_prepare(&dispatch);
        break;
    case CQL_OPCODE_REGISTER:
        on_register(&dispatch);
        break;
    case CQL_OPCODE_OPTIONS:
        session_reply(session, header.stream, CQL_OPCODE_SUPPORTED, session->worker->supported.data,
                      session->worker->supported.length);
        break;
    default:
        metrics_add(session->worker->metrics, METRIC_REFUSED_MALFORMED, 1);
        session_reply_error(session, header.stream, CQL_ERROR_PROTOCOL,
                            "Unexpected message %s: the connection is ready for requests",
                            cql_opcode_name(header.opcode));
    }
}
