/* Continuous paging and its revisions. Runs on the session's worker; nothing here is on the path of
 * other requests. Never ends a request whose pages may still be on their way: its slot must not be
 * used again before. */
#include "dataplane/continuous.h"

#include "dataplane/dispatch.h"
#include "dataplane/tracking.h"
#include "dataplane/worker.h"
#include "proto/cql_response.h"

/* Flags of Rows metadata in DSE's versions. */
#define ROWS_CONTINUOUS_PAGING    0x40000000u
#define ROWS_LAST_CONTINUOUS_PAGE 0x80000000u

/* What REVISE_REQUEST asks for. */
#define REVISE_CANCEL 1

/* How much of a compressed page is inflated to see its flags. */
#define HEAD_BYTES 256

/* Warnings and payload before a result that are longer than this are not looked behind. */
#define PRELUDE_MAX (STREAM_WHOLE_FRAME / 2)

/* ---- pages ---- */

enum continuous_page continuous_look(struct session *session, struct cql_header header,
                                     const uint8_t *frame, size_t length)
{
    const uint8_t *body = frame + CQL_HEADER_BYTES;
    size_t there = length - CQL_HEADER_BYTES;
    uint8_t head[HEAD_BYTES];
    if (header.opcode != CQL_OPCODE_RESULT)
        return CONTINUOUS_LAST;
    if (there > header.body_length)
        there = header.body_length;
    bool is_whole = there == header.body_length;
    if ((header.flags & CQL_FLAG_COMPRESSED) != 0) {
        there = cql_inflate_head(session->compression, body, there, head, sizeof head);
        body = head;
    }
    struct cql_header visible = header;
    visible.body_length = (uint32_t)there;
    struct cql_cursor cursor = cql_open_response(visible, body);
    int32_t kind = cql_read_i32(&cursor);
    if (!cursor.failed && kind != CQL_RESULT_ROWS)
        return CONTINUOUS_LAST;
    uint32_t flags = (uint32_t)cql_read_i32(&cursor);
    if (cursor.failed)
        return is_whole || length > PRELUDE_MAX ? CONTINUOUS_LAST : CONTINUOUS_UNKNOWN;
    return (flags & ROWS_CONTINUOUS_PAGING) != 0 && (flags & ROWS_LAST_CONTINUOUS_PAGE) == 0
               ? CONTINUOUS_GOES_ON
               : CONTINUOUS_LAST;
}

void continuous_await_next(struct request *request)
{
    struct worker *worker = request->session->worker;
    request->started_ns = worker_now(worker);
    list_remove(&request->deadline);
    /* In DSE's v2 the cluster may be waiting for the client to grant it more pages, for as long as
     * the client likes. A cluster that is gone is found out by heartbeats. */
    if (request->session->version != CQL_VERSION_DSE2 || request->is_cancelled)
        list_append(&worker->deadlines, &request->deadline);
}

bool continuous_on_deadline(struct session *session, struct request *request)
{
    const struct stream *stream = &session->upstreams[request->answerer].stream;
    if (stream->paused != 0) { /* it is the client who takes its time */
        continuous_await_next(request);
        return true;
    }
    if (!request->is_cancelled)
        return false;
    /* The cluster has stopped without a last page. */
    if (session->upstreams[request->answerer].expired_awaited > 0)
        session->upstreams[request->answerer].expired_awaited--;
    request_end(&session->requests, &session->worker->requests, request);
    return true;
}

/* ---- revisions ---- */

static struct request *find_running(struct session *session, int32_t stream)
{
    for (uint32_t slot = 0; slot < session->requests.capacity; slot++) {
        struct request *request = session->requests.slots[slot];
        if (request != NULL && request->is_continuous && !request->is_expired &&
            request->client_stream == stream)
            return request;
    }
    return NULL;
}

void continuous_on_revise(struct dispatch *dispatch)
{
    struct session *session = dispatch->session;
    struct cql_cursor cursor = cql_cursor_over(dispatch->body, dispatch->header.body_length);
    int32_t what = cql_read_i32(&cursor);
    int32_t stream = cql_read_i32(&cursor);
    if (cursor.failed) {
        dispatch_refuse_malformed(
            dispatch, "REVISE_REQUEST body ends before its type and its stream id are complete");
        return;
    }
    struct request *running = find_running(session, stream);
    if (running == NULL) {
        session_reply_error(session, dispatch->header.stream, CQL_ERROR_INVALID,
                            "No continuous paging is running on stream id %d", stream);
        return;
    }
    struct plan plan = {.answerer = running->answerer};
    uint16_t slot = running->slot;
    plan.sends[plan.answerer] = true;
    cql_store_u32(dispatch->length_bytes, slot);
    edits_add(dispatch->edits, EDIT_BOTH, 4, 4, dispatch->length_bytes, 4);
    struct request *request =
        send_request(dispatch, (struct statement_class){.class = REQUEST_CONTROL}, 1, plan);
    if (request == NULL || what != REVISE_CANCEL)
        return;
    running->is_cancelling = true;
    request->cancels = true;
    request->cancelled_slot = slot;
}

void continuous_on_revised(struct session *session, const struct request *revise)
{
    struct request *request = session->requests.slots[revise->cancelled_slot];
    enum outcome outcomes[CLUSTER_COUNT] = {OUTCOME_NOT_ASKED, OUTCOME_NOT_ASKED};
    if (request == NULL || !request->is_cancelling || request->is_expired)
        return; /* its last page was faster */
    outcomes[request->answerer] = OUTCOME_OK;
    tracking_outcome(session, request, request->answerer, OUTCOME_OK, 0);
    tracking_end(session, request, outcomes);
    request->is_expired = request->is_cancelled = true;
    session->upstreams[request->answerer].expired_awaited++;
    session->unanswered--;
    continuous_await_next(request); /* pages under way are dropped for this long */
}
