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

/* ---- bytes ---- */

/* The changes of the query parameters' flags become edits: one for both clusters where they agree.
 */
static void edit_flags(struct dispatch *dispatch)
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
        return;
    }
    for (int i = 0; i < CLUSTER_COUNT; i++) {
        if (flags[i] != dispatch->flags)
            edits_add(dispatch->edits, (uint8_t)(1u << i), dispatch->flags_offset, length,
                      dispatch->flags_bytes[i], length);
    }
}

static bool write_run(struct stream *stream, const uint8_t *bytes, size_t length,
                      struct chunk *chunk)
{
    if (chunk != NULL && length > CHUNK_BYTES)
        return stream_write_view(stream, chunk, (size_t)(bytes - chunk->bytes), length);
    return stream_write(stream, bytes, length);
}

/* The frame as it came, with its stream id replaced. */
static bool write_as_it_came(const struct dispatch *dispatch, struct stream *stream, uint16_t slot)
{
    size_t total = dispatch->frame_length;
    if (LIKELY(total <= CHUNK_BYTES)) {
        uint8_t *to = stream_reserve(stream, total);
        if (to == NULL)
            return false;
        memcpy(to, dispatch->frame, total);
        cql_store_u16(to + 2, slot);
        return true;
    }
    uint8_t header[CQL_HEADER_BYTES];
    memcpy(header, dispatch->frame, sizeof header);
    cql_store_u16(header + 2, slot);
    return stream_write(stream, header, sizeof header) &&
           write_run(stream, dispatch->frame + sizeof header, total - sizeof header,
                     dispatch->frame_chunk);
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

static bool write_edited(const struct dispatch *dispatch, enum cluster_id cluster,
                         struct stream *stream, uint16_t slot)
{
    struct cql_header header = dispatch->header;
    CHECK(!dispatch->is_head);
    header.stream = (int16_t)slot;
    header.flags |= dispatch->header_flags;
    header.body_length = (uint32_t)(header.body_length + dispatch->edits->growth[cluster]);
    size_t total = CQL_HEADER_BYTES + (size_t)header.body_length;
    if (LIKELY(total <= CHUNK_BYTES)) {
        uint8_t *to = stream_reserve(stream, total);
        if (to == NULL)
            return false;
        cql_header_store(to, header);
        uint8_t *end = edits_copy(dispatch->edits, cluster, dispatch->body,
                                  dispatch->header.body_length, to + CQL_HEADER_BYTES);
        CHECK(end == to + total);
        return true;
    }
    uint8_t bytes[CQL_HEADER_BYTES];
    cql_header_store(bytes, header);
    struct large_write write = {.stream = stream, .chunk = dispatch->body_chunk};
    return stream_write(stream, bytes, sizeof bytes) &&
           edits_apply(dispatch->edits, cluster, dispatch->body, dispatch->header.body_length,
                       write_piece, &write);
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
static bool asks_for_pages(const struct dispatch *dispatch, struct plan plan)
{
    return UNLIKELY((dispatch->flags & CQL_QUERY_CONTINUOUS_PAGING) != 0) &&
           dispatch->header.version >= CQL_VERSION_DSE1 &&
           plan.sends[CLUSTER_ORIGIN] != plan.sends[CLUSTER_TARGET];
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
    if (UNLIKELY(worker->config->tracing_enabled))
        request_trace_begin(dispatch, request);
    if (dispatch->flags_changed)
        edit_flags(dispatch);
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
    request->client_stream = dispatch->header.stream;
    request->opcode = dispatch->header.opcode;
    request->statement = statement;
    request->consistency = consistency;
    request->answerer = plan.answerer;
    request->is_continuous = asks_for_pages(dispatch, plan);
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
