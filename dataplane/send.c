/* From a request that has its plan to bytes for each cluster. Runs on the session's worker.
 *
 * A request is sent to all clusters of its plan or to none: slots (stream ids) and upstreams are
 * checked before the first byte. */
#include <string.h>

#include "dataplane/dispatch.h"
#include "dataplane/packed.h"
#include "dataplane/request_trace.h"
#include "dataplane/shadow.h"
#include "dataplane/tracking.h"
#include "dataplane/worker.h"
#include "proto/cql_response.h"

/* Frames up to this size are edited once when both clusters are to see the same. */
#define EDITED_ONCE_MAX ((size_t)2048)

/* ---- bytes ---- */

/* The changes of the query parameters' flags become edits: one for both clusters where they agree.
 * What a flag announces comes behind it. */
APART static void edit_parameters(struct dispatch *dispatch)
{
    uint32_t flags[CLUSTER_COUNT];
    uint8_t length = 0;
    for (int i = 0; i < CLUSTER_COUNT; i++) {
        flags[i] = (dispatch->flags & ~dispatch->flags_cleared[i]) | dispatch->flags_set[i];
        length = cql_store_flags(dispatch->flags_bytes[i], dispatch->header.version, flags[i]);
    }
    if (flags[CLUSTER_ORIGIN] == flags[CLUSTER_TARGET]) {
        edits_add(dispatch->edits, EDIT_BOTH, dispatch->flags_offset, length,
                  dispatch->flags_bytes[CLUSTER_ORIGIN], length);
    } else {
        for (int i = 0; i < CLUSTER_COUNT; i++) {
            if (flags[i] != dispatch->flags)
                edits_add(dispatch->edits, (uint8_t)(1u << i), dispatch->flags_offset, length,
                          dispatch->flags_bytes[i], length);
        }
    }
    if (dispatch->timestamp_offset > 0)
        edits_add(dispatch->edits, EDIT_BOTH, dispatch->timestamp_offset, 0,
                  dispatch->timestamp_bytes, sizeof dispatch->timestamp_bytes);
}

static bool write_run(struct stream *stream, const uint8_t *bytes, size_t length,
                      struct chunk *chunk)
{
    if (chunk != NULL && length > CHUNK_BYTES)
        return stream_write_view(stream, chunk, (size_t)(bytes - chunk->bytes), length);
    return stream_write(stream, bytes, length);
}

COLD static bool write_large_as_it_came(const struct dispatch *dispatch, struct stream *stream,
                                        uint16_t slot)
{
    uint8_t header[CQL_HEADER_BYTES];
    memcpy(header, dispatch->frame, sizeof header);
    cql_store_u16(header + 2, slot);
    return stream_write(stream, header, sizeof header) &&
           write_run(stream, dispatch->frame + sizeof header,
                     dispatch->frame_length - sizeof header, dispatch->frame_chunk);
}

/* The frame as it came, with its stream id replaced. */
static inline bool write_as_it_came(const struct dispatch *dispatch, struct stream *stream,
                                    uint16_t slot)
{
    size_t total = dispatch->frame_length;
    if (UNLIKELY(total > CHUNK_BYTES))
        return write_large_as_it_came(dispatch, stream, slot);
    uint8_t *to = stream_reserve(stream, total);
    if (to == NULL)
        return false;
    memcpy(to, dispatch->frame, total);
    cql_store_u16(to + 2, slot);
    return true;
}

struct large_write {
    struct stream *stream;
    struct chunk *chunk;
};

static bool write_piece(void *context, const uint8_t *bytes, size_t length, bool is_body)
{
    const struct large_write *write = context;
    return write_run(write->stream, bytes, length, is_body ? write->chunk : NULL);
}

COLD static bool write_large_edited(const struct dispatch *dispatch, enum cluster_id cluster,
                                    struct stream *stream, struct cql_header header)
{
    uint8_t bytes[CQL_HEADER_BYTES];
    cql_header_store(bytes, header);
    struct large_write write = {.stream = stream, .chunk = dispatch->body_chunk};
    return stream_write(stream, bytes, sizeof bytes) &&
           edits_apply(dispatch->edits, cluster, dispatch->body, dispatch->header.body_length,
                       write_piece, &write);
}

/* The header of the frame that cluster is sent. */
static inline struct cql_header edited_header(const struct dispatch *dispatch,
                                              enum cluster_id cluster, uint16_t slot)
{
    struct cql_header header = dispatch->header;
    CHECK(!dispatch->is_head);
    header.stream = (int16_t)slot;
    header.flags |= dispatch->header_flags;
    header.body_length = (uint32_t)(header.body_length + dispatch->edits->growth[cluster]);
    return header;
}

APART static bool write_edited(const struct dispatch *dispatch, enum cluster_id cluster,
                               struct stream *stream, uint16_t slot)
{
    struct cql_header header = edited_header(dispatch, cluster, slot);
    size_t total = CQL_HEADER_BYTES + (size_t)header.body_length;
    if (UNLIKELY(total > CHUNK_BYTES))
        return write_large_edited(dispatch, cluster, stream, header);
    uint8_t *to = stream_reserve(stream, total);
    if (to == NULL)
        return false;
    cql_header_store(to, header);
    uint8_t *end = edits_copy(dispatch->edits, cluster, dispatch->body,
                              dispatch->header.body_length, to + CQL_HEADER_BYTES);
    CHECK(end == to + total);
    return true;
}

/* Both clusters are sent the same changes: they are made once, and what comes out takes the place
 * of the frame that came. */
APART static void edit_once(struct dispatch *dispatch)
{
    struct cql_header header = edited_header(dispatch, CLUSTER_ORIGIN, 0);
    size_t total = CQL_HEADER_BYTES + (size_t)header.body_length;
    uint8_t *frame = total > EDITED_ONCE_MAX ? NULL : edits_room(dispatch->edits, total);
    if (frame == NULL)
        return;
    cql_header_store(frame, header);
    edits_copy(dispatch->edits, CLUSTER_ORIGIN, dispatch->body, dispatch->header.body_length,
               frame + CQL_HEADER_BYTES);
    edits_settle(dispatch->edits);
    dispatch->frame = frame;
    dispatch->frame_length = total;
    dispatch->frame_chunk = NULL;
}

/* As shadow_write_frame. */
static bool write_frame(const void *context, struct stream *stream, enum cluster_id cluster,
                        uint16_t slot)
{
    const struct dispatch *dispatch = context;
    return edits_touch(dispatch->edits, cluster) ? write_edited(dispatch, cluster, stream, slot)
                                                 : write_as_it_came(dispatch, stream, slot);
}

/* ---- slots ---- */

static void begin_waiting(struct session *session, struct request *request)
{
    struct worker *worker = session->worker;
    request->session = session;
    request->started_ns = worker_now(worker);
    list_append(&worker->deadlines, &request->deadline);
    tracking_begin(session, request);
}

/* DSE's continuous paging, of what one cluster answers. */
static bool asks_for_pages(const struct dispatch *dispatch, struct statement_class statement)
{
    return UNLIKELY((dispatch->flags & CQL_QUERY_CONTINUOUS_PAGING) != 0) &&
           dispatch->header.version >= CQL_VERSION_DSE1 && statement.class < REQUEST_WRITE;
}

COLD static void refuse_unavailable(const struct dispatch *dispatch, uint16_t consistency,
                                    struct plan plan, const struct upstream *upstream)
{
    struct session *session = dispatch->session;
    metrics_add(session->worker->metrics, METRIC_REFUSED_UNAVAILABLE, 1);
    answer_unavailable(session, dispatch->header.stream, consistency, plan.sends, upstream);
}

COLD static void refuse_without_slot(const struct dispatch *dispatch)
{
    struct session *session = dispatch->session;
    metrics_add(session->worker->metrics, METRIC_REFUSED_NO_STREAM_ID, 1);
    session_reply_error(session, dispatch->header.stream, CQL_ERROR_OVERLOADED,
                        "no stream id available: %u requests are in flight on this connection "
                        "(PROXY_MAX_STREAM_IDS), "
                        "please retry on next host",
                        session->requests.used);
}

struct request *send_request(struct dispatch *dispatch, struct statement_class statement,
                             uint16_t consistency, struct plan plan)
{
    struct session *session = dispatch->session;
    struct worker *worker = session->worker;
    for (int i = 0; i < CLUSTER_COUNT; i++) {
        const struct upstream *upstream = &session->upstreams[i];
        if (!plan.sends[i] || upstream->state == UPSTREAM_READY)
            continue;
        refuse_unavailable(dispatch, consistency, plan, upstream);
        return NULL;
    }
    struct request *request = request_begin(&session->requests, &worker->requests);
    if (request == NULL) {
        refuse_without_slot(dispatch);
        return NULL;
    }
    if (UNLIKELY(worker->config->tracing_enabled))
        request_trace_begin(dispatch, request);
    if (dispatch->flags_changed)
        edit_parameters(dispatch);
    edits_seal(dispatch->edits);
    if (UNLIKELY(dispatch->edits->failed)) {
        request_end(&session->requests, &worker->requests, request);
        session_close(session, CLOSE_OUT_OF_MEMORY, "");
        return NULL;
    }
    if (UNLIKELY(dispatch->is_head) && dispatch->edits->clusters != 0 && !packed_open(dispatch)) {
        request_end(&session->requests, &worker->requests, request);
        return NULL;
    }
    if (edits_are_shared(dispatch->edits) && plan.sends[CLUSTER_ORIGIN] &&
        plan.sends[CLUSTER_TARGET])
        edit_once(dispatch);
    request->client_stream = dispatch->header.stream;
    request->opcode = dispatch->header.opcode;
    request->statement = statement;
    request->consistency = consistency;
    request->answerer = plan.answerer;
    request->is_continuous = asks_for_pages(dispatch, statement);
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
    if (statement.class == REQUEST_READ && !request->is_continuous &&
        worker->snapshot->shadow_read_percent > 0)
        shadow_copy(session, plan.answerer, dispatch->frame_length, dispatch->prepared,
                    (dispatch->flags & CQL_QUERY_PAGING_STATE) != 0, write_frame, dispatch);
    return request;
}

/* A request of the proxy's own on one upstream; nobody waits for what its answer says. */
MUST_CHECK static bool send_own(struct session *session, struct upstream *upstream, uint8_t opcode,
                                const uint8_t *body, uint32_t length)
{
    uint8_t header[CQL_HEADER_BYTES];
    struct request *request = request_begin(&session->requests, &session->worker->requests);
    if (request == NULL)
        return false;
    request->opcode = opcode;
    request->statement.class = REQUEST_HEARTBEAT;
    request->answerer = upstream->cluster;
    request->outcomes[upstream->cluster] = OUTCOME_AWAITED;
    begin_waiting(session, request);
    cql_header_store(header, (struct cql_header){
                                 .version = session->version,
                                 .stream = (int16_t)request->slot,
                                 .opcode = opcode,
                                 .body_length = length,
                             });
    if (!stream_write(&upstream->stream, header, sizeof header) ||
        (length > 0 && !stream_write(&upstream->stream, body, length)))
        upstream_lose(upstream, "out of memory");
    return true;
}

bool dispatch_heartbeat(struct session *session, struct upstream *upstream)
{
    return send_own(session, upstream, CQL_OPCODE_OPTIONS, NULL, 0);
}

bool dispatch_register_again(struct session *session, struct upstream *upstream)
{
    return send_own(session, upstream, CQL_OPCODE_REGISTER, session->register_body,
                    session->register_length);
}
