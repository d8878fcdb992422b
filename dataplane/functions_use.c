/* From functions.h to the edits of a request, and the counters. Runs on the session's worker. It
 * must never hold up a statement without calls for longer than one look at its parentheses. */
#include "dataplane/functions_use.h"

#include <string.h>

#include "dataplane/worker.h"
#include "proto/cql_response.h"

bool functions_use_is_on(const struct worker *worker)
{
    return worker->live.replaces_functions;
}

static struct function_maker maker_of(struct worker *worker)
{
    return (struct function_maker){function_source_make, &worker->function_source};
}

static void count(struct worker *worker, const struct function_counts *counts)
{
    static const enum metric metrics[FUNCTION_KIND_COUNT] = {
        [FUNCTION_TIMEUUID] = METRIC_FUNCTIONS_TIMEUUID,   [FUNCTION_UUID] = METRIC_FUNCTIONS_UUID,
        [FUNCTION_TIMESTAMP] = METRIC_FUNCTIONS_TIMESTAMP, [FUNCTION_DATE] = METRIC_FUNCTIONS_DATE,
        [FUNCTION_TIME] = METRIC_FUNCTIONS_TIME,
    };
    for (size_t i = 0; i < FUNCTION_KIND_COUNT; i++) {
        if (counts->replaced[i] > 0)
            metrics_add(worker->metrics, metrics[i], counts->replaced[i]);
    }
}

static void count_left(struct worker *worker, const struct function_counts *counts)
{
    if (counts->left > 0)
        metrics_add(worker->metrics, METRIC_FUNCTIONS_LEFT, counts->left);
}

/* ---- edits ---- */

struct editing {
    struct edits *edits;
    uint32_t offset; /* of the text in the body; 0: offsets are the body's already */
    int64_t growth;
};

static bool edit(void *context, size_t offset, size_t removed, const void *bytes, size_t length)
{
    struct editing *editing = context;
    uint8_t *kept = edits_room(editing->edits, length);
    if (kept == NULL)
        return false;
    memcpy(kept, bytes, length);
    edits_add(editing->edits, EDIT_BOTH, editing->offset + (uint32_t)offset, (uint32_t)removed,
              kept, (uint32_t)length);
    editing->growth += (int64_t)length - (int64_t)removed;
    return true;
}

/* The [int] length that stands before the text. */
static void edit_length(struct edits *edits, uint32_t offset, size_t length)
{
    uint8_t bytes[4];
    struct editing editing = {.edits = edits};
    cql_store_u32(bytes, (uint32_t)length);
    (void)edit(&editing, offset - 4, 4, bytes, sizeof bytes); /* a failure is the edits' own */
}

void functions_use_text(struct dispatch *dispatch, uint32_t offset, size_t length)
{
    struct worker *worker = dispatch->session->worker;
    const char *text = (const char *)dispatch->body + offset;
    if (LIKELY(!functions_may_be_in(text, length)) || !functions_use_is_on(worker))
        return;
    struct function_maker maker = maker_of(worker);
    struct editing editing = {.edits = dispatch->edits, .offset = offset};
    struct function_counts counts;
    bool is_done = functions_replace(text, length, &maker, edit, &editing, &counts);
    if (is_done && functions_any(&counts))
        edit_length(dispatch->edits, offset, (size_t)((int64_t)length + editing.growth));
    count(worker, &counts);
    count_left(worker, &counts);
}

uint32_t functions_use_prepare(struct dispatch *dispatch, uint32_t offset, struct cql_span *text)
{
    struct worker *worker = dispatch->session->worker;
    const char *from = (const char *)text->data;
    struct function_counts counts;
    uint32_t markers = 0;
    if (!functions_use_is_on(worker) || !functions_may_be_in(from, text->length))
        return 0;
    dynbuf_reset(&worker->reply);
    bool is_whole = functions_write(from, text->length, NULL, &worker->reply, &counts);
    for (size_t i = 0; i < FUNCTION_KIND_COUNT; i++)
        markers += counts.replaced[i];
    if (!is_whole) { /* too long a text to be grown: as it came */
        counts.left += markers;
        markers = 0;
    }
    count_left(worker, &counts);
    if (markers == 0)
        return 0;
    uint8_t *kept = edits_room(dispatch->edits, worker->reply.length);
    if (kept == NULL)
        return 0;
    memcpy(kept, worker->reply.data, worker->reply.length);
    edit_length(dispatch->edits, offset, worker->reply.length);
    edits_add(dispatch->edits, EDIT_BOTH, offset, (uint32_t)text->length, kept,
              (uint32_t)worker->reply.length);
    *text = (struct cql_span){kept, worker->reply.length};
    return markers;
}

static bool insert_values(struct dispatch *dispatch, const struct function_plan *plan,
                          struct cql_cursor values, bool is_absent, bool is_named)
{
    struct worker *worker = dispatch->session->worker;
    struct function_maker maker = maker_of(worker);
    struct editing editing = {.edits = dispatch->edits};
    struct function_counts counts;
    bool is_good = functions_insert_values(plan, dispatch->body, values, is_absent, is_named,
                                           &maker, edit, &editing, &counts);
    count(worker, &counts);
    return is_good || dispatch->edits->failed;
}

bool functions_use_execute(struct dispatch *dispatch, const struct function_plan *plan,
                           struct cql_cursor rest)
{
    bool is_absent = (dispatch->flags & CQL_QUERY_VALUES) == 0;
    if (is_absent)
        dispatch_change_flags(dispatch, EDIT_BOTH, CQL_QUERY_VALUES, 0);
    return insert_values(dispatch, plan, rest, is_absent, (dispatch->flags & CQL_QUERY_NAMES) != 0);
}

bool functions_use_child(struct dispatch *dispatch, const struct function_plan *plan,
                         const struct cql_batch_child *child)
{
    struct cql_cursor values = cql_cursor_over(dispatch->body + child->count_offset,
                                               child->values_end - child->count_offset);
    return insert_values(dispatch, plan, values, false, false);
}

/* ---- the answer to PREPARE ---- */

bool functions_use_prepared(struct cql_header header, const uint8_t *body, uint32_t markers,
                            struct dynbuf *frame, struct function_plan **plan)
{
    uint8_t bytes[CQL_HEADER_BYTES] = {0};
    struct cql_cursor rest = cql_open_response(header, body);
    *plan = NULL;
    if (rest.failed || header.opcode != CQL_OPCODE_RESULT)
        return false;
    dynbuf_reset(frame);
    dynbuf_append(frame, bytes, sizeof bytes);
    dynbuf_append(frame, body, (size_t)(rest.at - body)); /* tracing id, warnings, payload */
    if (!functions_strip_metadata(header.version, rest.at, cql_cursor_left(&rest), markers, frame,
                                  plan))
        return false;
    header.body_length = (uint32_t)(frame->length - CQL_HEADER_BYTES);
    cql_header_store(frame->data, header);
    return true;
}
