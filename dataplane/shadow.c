/* Shadow reads: their own connection, their own stream ids, their own time limit. Runs on the
 * session's worker. Must never close the session, reply to the client, or pause anything but
 * itself. */
#include "dataplane/shadow.h"

#include <string.h>

#include "common/clock.h"
#include "dataplane/framing.h"
#include "dataplane/session.h"
#include "dataplane/tracking.h"
#include "dataplane/worker.h"
#include "proto/cql_response.h"

enum shadow_kind { SHADOW_FREE, SHADOW_READ, SHADOW_UPKEEP /* our own USE and PREPARE */ };

struct shadow_request {
    enum shadow_kind kind;
    bool is_expired;
    uint64_t sent_ns;
    struct prepared_handle *prepared; /* EXECUTE: to prepare it again where it is unknown */
};

struct shadow {
    struct upstream upstream;
    uint16_t free_ids[SHADOW_REQUESTS_MAX];
    size_t free_count;
    uint16_t skipped_id; /* of the answer whose body is being skipped */
    bool skipped_is_error;
    struct shadow_request requests[SHADOW_REQUESTS_MAX];
};

static struct shadow *shadow_of(struct upstream *upstream)
{
    return CONTAINER_OF(upstream, struct shadow, upstream);
}

static uint64_t timeout_ns(const struct worker *worker)
{
    return worker->live.request_timeout_ns;
}

/* ---- stream ids ---- */

static void reset_ids(struct shadow *shadow)
{
    shadow->free_count = 0;
    for (size_t id = SHADOW_REQUESTS_MAX; id-- > 0;)
        shadow->free_ids[shadow->free_count++] = (uint16_t)id;
}

static struct shadow_request *take_id(struct shadow *shadow, enum shadow_kind kind,
                                      struct prepared_handle *prepared, uint16_t *id)
{
    struct worker *worker = shadow->upstream.session->worker;
    *id = shadow->free_ids[--shadow->free_count];
    struct shadow_request *request = &shadow->requests[*id];
    *request = (struct shadow_request){
        .kind = kind,
        .sent_ns = worker_now(worker),
        .prepared = prepared,
    };
    timing_survey_by(&worker->timing, worker_now(worker) + timeout_ns(worker));
    if (prepared != NULL)
        prepared->uses++;
    metrics_bump(&shadow->upstream.metrics->values[NODE_USED_STREAM_IDS], 1);
    if (kind == SHADOW_READ)
        metrics_bump(&shadow->upstream.metrics->values[NODE_INFLIGHT], 1);
    return request;
}

static void give_back_id(struct shadow *shadow, uint16_t id)
{
    struct shadow_request *request = &shadow->requests[id];
    metrics_bump(&shadow->upstream.metrics->values[NODE_USED_STREAM_IDS], -1);
    if (request->kind == SHADOW_READ && !request->is_expired)
        metrics_bump(&shadow->upstream.metrics->values[NODE_INFLIGHT], -1);
    prepared_cache_release(request->prepared);
    *request = (struct shadow_request){.kind = SHADOW_FREE};
    shadow->free_ids[shadow->free_count++] = id;
}

/* ---- the proxy's own requests ---- */

static void send_upkeep(struct shadow *shadow, uint8_t opcode, const struct dynbuf *body)
{
    struct upstream *upstream = &shadow->upstream;
    uint8_t header[CQL_HEADER_BYTES];
    uint16_t id;
    if (body->failed || shadow->free_count == 0) {
        upstream_lose(upstream, "no stream id or memory for the proxy's own request");
        return;
    }
    (void)take_id(shadow, SHADOW_UPKEEP, NULL, &id);
    cql_header_store(header, (struct cql_header){
                                 .version = upstream->session->version,
                                 .stream = (int16_t)id,
                                 .opcode = opcode,
                                 .body_length = (uint32_t)body->length,
                             });
    if (!stream_write(&upstream->stream, header, sizeof header) ||
        !stream_write(&upstream->stream, body->data, body->length))
        upstream_lose(upstream, "out of memory");
}

/* The node does not know a statement: it learns it for the next time; this copy is spent. */
static void prepare_again(struct shadow *shadow, const struct prepared *prepared)
{
    struct session *session = shadow->upstream.session;
    struct dynbuf *body = &session->worker->reply;
    if (prepared->text_length == 0)
        return;
    dynbuf_reset(body);
    upstream_put_prepare(session, prepared, body);
    send_upkeep(shadow, CQL_OPCODE_PREPARE, body);
}

void shadow_follow_keyspace(struct session *session)
{
    struct shadow *shadow = session->shadow;
    struct dynbuf *body = &session->worker->reply;
    if (shadow == NULL || shadow->upstream.state != UPSTREAM_READY)
        return;
    dynbuf_reset(body);
    upstream_put_use(session, body);
    send_upkeep(shadow, CQL_OPCODE_QUERY, body);
}

/* ---- copies ---- */

static void drop(struct session *session, enum metric reason)
{
    metrics_add(session->worker->metrics, reason, 1);
}

/* Spreads the share evenly: of a hundred reads of this worker, percent are copied. */
static bool is_due(struct worker *worker)
{
    worker->shadow_turn += worker->snapshot->shadow_read_percent;
    if (worker->shadow_turn < 100)
        return false;
    worker->shadow_turn -= 100;
    return true;
}

/* Settles what is in flight and lets go of the connection; the shadow itself stays for the next. */
static void shut(struct shadow *shadow)
{
    if (shadow->upstream.metrics != NULL)
        shadow_settle_lost(&shadow->upstream);
    upstream_fini(&shadow->upstream);
}

/* The session's shadow on this cluster, opening if it is not there yet. NULL: out of memory. */
static struct shadow *shadow_for(struct session *session, enum cluster_id cluster)
{
    struct shadow *shadow = session->shadow;
    if (shadow == NULL) {
        shadow = calloc(1, sizeof *shadow);
        if (shadow == NULL)
            return NULL;
        session->shadow = shadow;
        upstream_init(&shadow->upstream, session, cluster);
        reset_ids(shadow);
    } else if (shadow->upstream.cluster != cluster) {
        /* Who answers has changed, and with it who is asked on the side. */
        shut(shadow);
        upstream_init(&shadow->upstream, session, cluster);
    }
    if (shadow->upstream.state == UPSTREAM_IDLE)
        upstream_open_shadow(&shadow->upstream);
    return shadow;
}

void shadow_copy(struct session *session, enum cluster_id primary, size_t length,
                 struct prepared_handle *prepared, bool has_paging_state, shadow_write_frame write,
                 const void *request)
{
    enum cluster_id cluster = cluster_other(primary);
    uint16_t id;
    if (!is_due(session->worker))
        return;
    if (has_paging_state) { /* its cluster is the page's, maybe not the one other reads are of */
        drop(session, METRIC_SHADOW_DROPPED_PAGING_STATE);
        return;
    }
    struct shadow *shadow = shadow_for(session, cluster);
    if (length > SHADOW_QUEUE_MAX) {
        drop(session, METRIC_SHADOW_DROPPED_TOO_LARGE);
    } else if (shadow == NULL || shadow->upstream.state != UPSTREAM_READY) {
        drop(session, METRIC_SHADOW_DROPPED_NOT_READY);
    } else if (shadow->upstream.stream.queued + length > SHADOW_QUEUE_MAX) {
        drop(session, METRIC_SHADOW_DROPPED_QUEUE_FULL);
    } else if (shadow->free_count == 0) {
        drop(session, METRIC_SHADOW_DROPPED_NO_STREAM_ID);
    } else {
        metrics_add(session->worker->metrics, METRIC_SHADOW_READS, 1);
        (void)take_id(shadow, SHADOW_READ, prepared, &id);
        if (!write(request, &shadow->upstream.stream, cluster, id))
            upstream_lose(&shadow->upstream, "out of memory");
    }
}

/* ---- answers ---- */

static void settle(struct shadow *shadow, uint16_t id, enum metric_node_error error, bool is_error)
{
    struct shadow_request *request = &shadow->requests[id];
    struct metrics_node *node = shadow->upstream.metrics;
    if (request->kind == SHADOW_READ && !request->is_expired) {
        uint64_t now = worker_now(shadow->upstream.session->worker);
        metrics_observe(&node->duration[0], now - request->sent_ns);
        if (is_error)
            metrics_bump(&node->failed[error], 1);
    }
    give_back_id(shadow, id);
}

static void on_error(struct shadow *shadow, uint16_t id, struct cql_header header,
                     const uint8_t *body)
{
    const char *reason;
    if (!compression_open(&shadow->upstream.session->worker->opened_answer,
                          shadow->upstream.session->compression, STREAM_WHOLE_FRAME, &header, &body,
                          &reason))
        header.body_length = 0; /* an error all the same, of no known kind */
    struct cql_cursor cursor = cql_open_response(header, body);
    int32_t code = cql_read_i32(&cursor);
    struct prepared_handle *handle = shadow->requests[id].prepared;
    struct prepared *unknown =
        code == CQL_ERROR_UNPREPARED && handle != NULL ? handle->prepared : NULL;
    if (unknown != NULL)
        atomic_fetch_add_explicit(&unknown->references, 1, memory_order_relaxed);
    settle(shadow, id, tracking_error_label(code), true);
    if (unknown != NULL) {
        prepare_again(shadow, unknown);
        prepared_put(unknown);
    }
}

static struct shadow_request *find_request(struct shadow *shadow, int16_t stream)
{
    if (stream < 0 || stream >= SHADOW_REQUESTS_MAX)
        return NULL;
    struct shadow_request *request = &shadow->requests[stream];
    return request->kind == SHADOW_FREE ? NULL : request;
}

static size_t skip(struct shadow *shadow, size_t length)
{
    struct upstream *upstream = &shadow->upstream;
    size_t part = length < upstream->frame_left ? length : upstream->frame_left;
    upstream->frame_left -= (uint32_t)part;
    if (upstream->frame_left == 0) {
        upstream->frame = UPSTREAM_FRAME_NONE;
        settle(shadow, shadow->skipped_id, NODE_ERROR_OTHER, shadow->skipped_is_error);
    }
    return part;
}

/* Errors are read when they fit one piece; of everything else only the header matters. */
size_t shadow_on_input(struct upstream *upstream, const uint8_t *data, size_t length, size_t *need)
{
    struct shadow *shadow = shadow_of(upstream);
    size_t done = 0;
    (void)need;
    while (done < length && stream_is_open(&upstream->stream)) {
        size_t left = length - done;
        if (upstream->frame != UPSTREAM_FRAME_NONE) {
            done += skip(shadow, left);
            continue;
        }
        if (left < CQL_HEADER_BYTES)
            break;
        const uint8_t *frame = data + done;
        struct cql_header header = framing_header(frame);
        size_t total = CQL_HEADER_BYTES + (size_t)header.body_length;
        bool is_event = header.stream < 0 && total <= STREAM_WHOLE_FRAME;
        if (!header.is_response || header.version != upstream->session->version ||
            !cql_opcode_is_response(header.opcode) || header.body_length > CQL_FRAME_BODY_MAX ||
            (!is_event && find_request(shadow, header.stream) == NULL)) {
            upstream_lose(upstream, "sent a malformed frame, or an answer that was not asked for");
            break;
        }
        bool is_error = header.opcode == CQL_OPCODE_ERROR;
        if (is_event || (is_error && total <= STREAM_WHOLE_FRAME)) {
            if (total > left)
                break;
            done += total;
            if (!is_event)
                on_error(shadow, (uint16_t)header.stream, header, frame + CQL_HEADER_BYTES);
            continue;
        }
        done += CQL_HEADER_BYTES;
        shadow->skipped_id = (uint16_t)header.stream;
        shadow->skipped_is_error = is_error;
        upstream->frame = UPSTREAM_FRAME_SKIP;
        upstream->frame_left = header.body_length;
        if (header.body_length == 0)
            (void)skip(shadow, 0);
    }
    return done;
}

/* ---- ends ---- */

void shadow_settle_lost(struct upstream *upstream)
{
    struct shadow *shadow = shadow_of(upstream);
    upstream->frame = UPSTREAM_FRAME_NONE;
    for (uint16_t id = 0; id < SHADOW_REQUESTS_MAX; id++)
        if (shadow->requests[id].kind != SHADOW_FREE)
            settle(shadow, id, NODE_ERROR_OTHER, true);
}

/* Gives up copies that have waited too long; their ids stay taken until their answers come. Returns
 * how many ids are held that way. */
static size_t expire(struct shadow *shadow, uint64_t now, uint64_t timeout, uint64_t *due)
{
    struct metrics_node *node = shadow->upstream.metrics;
    size_t expired = 0;
    for (size_t id = 0; id < SHADOW_REQUESTS_MAX; id++) {
        struct shadow_request *request = &shadow->requests[id];
        if (request->kind == SHADOW_FREE)
            continue;
        if (now - request->sent_ns < timeout) {
            *due = timing_sooner(*due, request->sent_ns + timeout);
            continue;
        }
        expired++;
        if (request->kind != SHADOW_READ || request->is_expired)
            continue;
        request->is_expired = true;
        metrics_bump(&node->values[NODE_INFLIGHT], -1);
        metrics_bump(&node->failed[NODE_ERROR_CLIENT_TIMEOUT], 1);
        metrics_observe(&node->duration[0], now - request->sent_ns);
    }
    return expired;
}

uint64_t shadow_survey(struct session *session)
{
    struct shadow *shadow = session->shadow;
    const struct worker *worker = session->worker;
    uint64_t due = TIMING_NEVER;
    size_t expired = 0;
    if (shadow == NULL || shadow->upstream.state == UPSTREAM_IDLE)
        return due;
    if (shadow->free_count < SHADOW_REQUESTS_MAX)
        expired = expire(shadow, worker_now(worker), timeout_ns(worker), &due);
    if (worker->snapshot->shadow_read_percent == 0)
        shut(shadow); /* opened again when shadow reads are switched on again */
    else if (expired > SHADOW_REQUESTS_MAX / 2)
        upstream_lose(&shadow->upstream, "no answers for longer than the request timeout");
    return due;
}

void shadow_close(struct session *session)
{
    if (session->shadow != NULL)
        shut(session->shadow);
}
