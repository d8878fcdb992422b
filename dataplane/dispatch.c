/* Requests of a ready client: what they are, where they go, and what is changed on the way; send.c
 * puts them onto the upstreams. Runs on the session's worker. */
#include "dataplane/dispatch.h"

#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "dataplane/continuous.h"
#include "dataplane/functions_use.h"
#include "dataplane/packed.h"
#include "dataplane/paging_tag.h"
#include "dataplane/preparation.h"
#include "dataplane/worker.h"
#include "proto/cql_response.h"

/* Bound values a statement on a virtual table may have. */
#define VIRTUAL_VALUES_MAX 32

/* Longest text that is kept to answer a prepared statement from. */
#define VIRTUAL_TEXT_MAX 4096

void dispatch_refuse_malformed(const struct dispatch *dispatch, const char *reason)
{
    metrics_add(dispatch->session->worker->metrics, METRIC_REFUSED_MALFORMED, 1);
    session_reply_error(dispatch->session, dispatch->header.stream, CQL_ERROR_PROTOCOL, "%s",
                        reason);
}

/* ---- the proxy's own tables ---- */

static const struct topology *system_topology(const struct session *session)
{
    const struct worker *worker = session->worker;
    enum cluster_id cluster = snapshot_system_cluster(worker->snapshot);
    const struct topology *topology = worker->topologies[cluster];
    /* A cluster that has just come into use may not have been reached yet. */
    return LIKELY(topology != NULL) ? topology : worker->topologies[cluster_other(cluster)];
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
                dispatch_refuse_malformed(dispatch,
                                          "body ends before its bound values are complete");
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
                            struct cql_span text, const char *keyspace)
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
                    (const char *)text.data, text.length, keyspace, session->version, id, body,
                    &opcode);
    if (opcode == CQL_OPCODE_RESULT) {
        struct cql_span span = {id, sizeof id};
        struct prepared_facts facts = {
            .ids = {span, span},
            .statement = statement,
            .text = text,
            .keyspace = {(const uint8_t *)keyspace, strlen(keyspace)},
        };
        struct prepared *prepared = prepared_new(&facts);
        if (prepared == NULL) {
            session_close(session, CLOSE_OUT_OF_MEMORY, "");
            return;
        }
        worker_remember_prepared(worker, prepared);
    }
    session_reply(session, dispatch->header.stream, opcode, body->data, body->length);
}

/* ---- what is changed on the way ---- */

/* The keyspace unqualified names of a statement belong to: the request's own, else the
 * connection's. */
static const char *effective_keyspace(const struct session *session, struct cql_span own,
                                      char buffer[KEYSPACE_MAX + 1])
{
    if (own.data == NULL || own.length > KEYSPACE_MAX)
        return session->keyspace;
    memcpy(buffer, own.data, own.length);
    buffer[own.length] = '\0';
    return buffer;
}

static void note_flags(struct dispatch *dispatch, uint32_t flags, uint32_t flags_offset)
{
    dispatch->flags = flags;
    dispatch->flags_offset = flags_offset;
}

/* A cluster may know the statement by another id than clients. */
static void use_prepared_id(struct dispatch *dispatch, const struct prepared_handle *handle,
                            uint32_t id_offset)
{
    for (int i = 0; handle->traits.other_ids >> i != 0; i++) {
        const struct prepared_id *id = &handle->prepared->ids[i];
        if ((handle->traits.other_ids & 1u << i) != 0)
            edits_add(dispatch->edits, (uint8_t)(1u << i), id_offset - 2, 2u + handle->id_length,
                      id, 2u + id->length);
    }
}

/* The client may leave out the metadata it has of the rows to come. It has the origin's, or what a
 * cluster has told it since; the cluster that answers must mean the same columns.
 *
 * v5, DSE2: a metadata id of one cluster becomes the receiver's own where both mean the same
 * columns. Any other id is passed on, and a cluster to which it means nothing sends its metadata
 * along. Elsewhere there are no ids: the target is asked not to leave them out when they are
 * different. */
static void use_metadata(struct dispatch *dispatch, const struct prepared *prepared,
                         const struct cql_statement_request *parsed, struct plan plan)
{
    struct cql_span known = parsed->metadata_id;
    if (known.data == NULL) {
        if (prepared->traits.columns_differ && (parsed->flags & CQL_QUERY_SKIP_METADATA) != 0 &&
            plan.sends[CLUSTER_TARGET])
            dispatch_change_flags(dispatch, EDIT_TARGET, 0, CQL_QUERY_SKIP_METADATA);
        return;
    }
    for (int i = 0; i < CLUSTER_COUNT; i++) {
        const struct prepared_id *id = &prepared->metadata_ids[i];
        const struct prepared_id *other =
            &prepared->metadata_ids[cluster_other((enum cluster_id)i)];
        if (plan.sends[i] && !prepared_id_is(id, known) && !prepared->traits.columns_differ &&
            prepared_id_is(other, known))
            edits_add(dispatch->edits, (uint8_t)(1u << i),
                      (uint32_t)(known.data - dispatch->body) - 2, 2 + (uint32_t)known.length, id,
                      2u + id->length);
    }
}

COLD static void refuse_idle_page(const struct dispatch *dispatch, enum cluster_id cluster)
{
    session_reply_error(dispatch->session, dispatch->header.stream, CQL_ERROR_INVALID,
                        "The paging state is one of the %s cluster, which is not in use any more: "
                        "begin the query again, without a paging state",
                        cluster_name(cluster));
}

/* A page is asked of the cluster that issued the paging state, whatever the primary is now; the tag
 * that names it stays here. A state without one is from before the proxy: it goes by the routing in
 * force. false: the request was answered. */
MUST_CHECK static bool follow_paging_state(struct dispatch *dispatch, bool is_read,
                                           struct plan *plan)
{
    struct cql_parameters parameters;
    const char *reason;
    enum cluster_id cluster;
    if (!cql_read_parameters(dispatch->header, dispatch->body, dispatch->flags_offset, &parameters,
                             &reason)) {
        dispatch_refuse_malformed(dispatch, reason);
        return false;
    }
    if (!paging_tag_read(parameters.paging_state, &cluster))
        return true;
    cql_store_u32(dispatch->length_bytes,
                  (uint32_t)parameters.paging_state.length - PAGING_TAG_BYTES);
    edits_add(dispatch->edits, EDIT_BOTH, parameters.paging_offset, 4 + PAGING_TAG_BYTES,
              dispatch->length_bytes, 4);
    if (is_read) {
        if (UNLIKELY(snapshot_is_idle(dispatch->session->worker->snapshot, cluster))) {
            refuse_idle_page(dispatch, cluster);
            return false;
        }
        *plan = (struct plan){.answerer = cluster};
        plan->sends[cluster] = true;
    }
    return true;
}

static int64_t turn_wall_us(struct worker *worker)
{
    if (worker->wall_at_ns != worker_now(worker)) {
        worker->wall_at_ns = worker_now(worker);
        worker->wall_us = clock_wall_us();
    }
    return worker->wall_us;
}

static bool needs_stamp(const struct dispatch *dispatch, const struct statement_class *statement,
                        const struct cql_statement_request *parsed)
{
    return statement->takes_timestamp && (parsed->flags & CQL_QUERY_TIMESTAMP) == 0 &&
           dispatch->session->worker->live.stamps_writes;
}

/* Gives the write the proxy's timestamp, so that both clusters store the same one. Parameters that
 * end too early are left for the clusters to refuse. */
static void stamp(struct dispatch *dispatch)
{
    struct worker *worker = dispatch->session->worker;
    struct cql_parameters parameters;
    const char *reason;
    if (!cql_read_parameters(dispatch->header, dispatch->body, dispatch->flags_offset, &parameters,
                             &reason))
        return;
    uint64_t now = (uint64_t)write_clock_next(&worker->shared->write_clock, turn_wall_us(worker));
    cql_store_u32(dispatch->timestamp_bytes, (uint32_t)(now >> 32));
    cql_store_u32(dispatch->timestamp_bytes + 4, (uint32_t)now);
    dispatch_change_flags(dispatch, EDIT_BOTH, CQL_QUERY_TIMESTAMP, 0);
    dispatch->timestamp_offset = parameters.timestamp_offset;
    metrics_add(worker->metrics, METRIC_STAMPED_WRITES, 1);
}

static bool is_read_class(enum request_class class)
{
    return class == REQUEST_READ || class == REQUEST_SYSTEM_READ;
}

static void refuse_unprepared(const struct dispatch *dispatch, struct cql_span id)
{
    struct session *session = dispatch->session;
    metrics_add(session->worker->metrics, METRIC_PSCACHE_MISSES, 1);
    answer_unprepared(session, dispatch->header.stream, id);
}

/* What QUERY and EXECUTE have in common from here on. */
static inline struct request *send_statement(struct dispatch *dispatch,
                                             const struct statement_class *statement,
                                             const struct cql_statement_request *parsed,
                                             const struct prepared_handle *handle)
{
    const struct session *session = dispatch->session;
    struct plan plan =
        route_plan(statement->class, false, session->worker->snapshot, session->canary_number);
    if ((parsed->flags & CQL_QUERY_PAGING_STATE) != 0 &&
        !follow_paging_state(dispatch, is_read_class(statement->class), &plan))
        return NULL;
    if (handle != NULL &&
        (parsed->metadata_id.data != NULL || UNLIKELY(handle->traits.columns_differ))) {
        /* A cluster that has come into use since is asked to prepare it, by the client, before
         * anything of this request is sent. */
        if (UNLIKELY((handle->traits.missing & plan_asks(plan)) != 0)) {
            refuse_unprepared(dispatch, parsed->id);
            return NULL;
        }
        if (LIKELY(handle->traits.missing == 0))
            use_metadata(dispatch, handle->prepared, parsed, plan);
    }
    if (needs_stamp(dispatch, statement, parsed))
        stamp(dispatch);
    return send_request(dispatch, *statement, parsed->consistency, plan);
}

/* ---- by opcode ---- */

static void on_query(struct dispatch *dispatch)
{
    struct session *session = dispatch->session;
    struct cql_statement_request parsed;
    struct cql_parameters parameters;
    const char *reason;
    const char *keyspace = session->keyspace;
    char buffer[KEYSPACE_MAX + 1];
    if (!cql_read_query(dispatch->header, dispatch->body, &parsed, &reason)) {
        dispatch_refuse_malformed(dispatch, reason);
        return;
    }
    note_flags(dispatch, parsed.flags, parsed.flags_offset);
    if (UNLIKELY((parsed.flags & CQL_QUERY_KEYSPACE) != 0)) {
        if (!cql_read_parameters(dispatch->header, dispatch->body, parsed.flags_offset, &parameters,
                                 &reason)) {
            dispatch_refuse_malformed(dispatch, reason);
            return;
        }
        keyspace = effective_keyspace(session, parameters.keyspace, buffer);
    }
    const char *text = (const char *)parsed.text.data;
    struct statement_class statement = classify_statement(text, parsed.text.length, keyspace);
    if (statement.class == REQUEST_VIRTUAL) {
        answer_virtual(dispatch, statement.table, text, parsed.text.length, &parsed);
        return;
    }
    if (statement.may_call)
        functions_use_text(dispatch, (uint32_t)(parsed.text.data - dispatch->body),
                           parsed.text.length);
    send_statement(dispatch, &statement, &parsed, NULL);
}

APART static void on_prepare(struct dispatch *dispatch)
{
    struct session *session = dispatch->session;
    struct cql_statement_request parsed;
    const char *reason;
    char buffer[KEYSPACE_MAX + 1];
    if (!cql_read_prepare(dispatch->header, dispatch->body, &parsed, &reason)) {
        dispatch_refuse_malformed(dispatch, reason);
        return;
    }
    const char *keyspace = effective_keyspace(session, parsed.keyspace, buffer);
    struct statement_class statement =
        classify_statement((const char *)parsed.text.data, parsed.text.length, keyspace);
    if (statement.class == REQUEST_VIRTUAL) {
        prepare_virtual(dispatch, statement, parsed.text, keyspace);
        return;
    }
    uint32_t markers = 0;
    if (UNLIKELY(functions_has_our_marker((const char *)parsed.text.data, parsed.text.length))) {
        session_reply_error(session, dispatch->header.stream, CQL_ERROR_INVALID,
                            "Bind markers named cloudgate_… are the proxy's own: use another name");
        return;
    }
    if (statement.may_call)
        markers = functions_use_prepare(dispatch, (uint32_t)(parsed.text.data - dispatch->body),
                                        &parsed.text);
    struct preparation *preparation = preparation_new(statement, parsed.text, keyspace);
    if (preparation == NULL) {
        session_close(session, CLOSE_OUT_OF_MEMORY, "");
        return;
    }
    struct plan plan =
        route_plan(REQUEST_CONTROL, true, session->worker->snapshot, session->canary_number);
    preparation->function_markers = markers;
    preparation->missing = (uint8_t)(plan_asks(plan) ^ EDIT_BOTH);
    preparation->routing_serial = session->worker->snapshot->serial;
    struct request *request =
        send_request(dispatch, (struct statement_class){.class = REQUEST_CONTROL}, 1, plan);
    if (request != NULL)
        request->preparation = preparation;
    else
        preparation_free(preparation);
}

/* Of a body that was but a head. false: it cannot be read; the request was answered. */
MUST_CHECK static bool read_whole_execute(struct dispatch *dispatch,
                                          struct cql_statement_request *parsed)
{
    const char *reason;
    if (!packed_open(dispatch))
        return false;
    if (cql_read_execute(dispatch->header, dispatch->body, parsed, &reason))
        return true;
    dispatch_refuse_malformed(dispatch, reason);
    return false;
}

/* Whether more than a head must be read: to answer the statement here, or to find places in it. */
static bool reads_on(const struct dispatch *dispatch, const struct prepared_traits *traits,
                     const struct cql_statement_request *parsed)
{
    return traits->statement.class == REQUEST_VIRTUAL || traits->has_functions ||
           (parsed->flags & CQL_QUERY_PAGING_STATE) != 0 ||
           needs_stamp(dispatch, &traits->statement, parsed);
}

static void on_execute(struct dispatch *dispatch)
{
    struct session *session = dispatch->session;
    struct cql_statement_request parsed;
    const char *reason;
    if (!cql_read_execute(dispatch->header, dispatch->body, &parsed, &reason)) {
        if (!dispatch->is_head)
            dispatch_refuse_malformed(dispatch, reason);
        if (!dispatch->is_head || !read_whole_execute(dispatch, &parsed))
            return;
    }
    struct prepared_handle *handle = prepared_cache_find(&session->worker->prepared, parsed.id);
    /* An id that nobody knows may also be the beginning of a corrupt body. */
    if (UNLIKELY(dispatch->is_head) &&
        (handle == NULL || reads_on(dispatch, &handle->traits, &parsed)) &&
        !read_whole_execute(dispatch, &parsed)) {
        prepared_cache_release(handle);
        return;
    }
    if (handle == NULL) {
        refuse_unprepared(dispatch, parsed.id);
        return;
    }
    const struct prepared *prepared = handle->prepared; /* not looked into without need */
    const struct statement_class *statement = &handle->traits.statement;
    if (statement->class == REQUEST_VIRTUAL) {
        answer_virtual(dispatch, statement->table, prepared->text, prepared->text_length, &parsed);
        prepared_cache_release(handle);
        return;
    }
    dispatch->prepared = handle;
    note_flags(dispatch, parsed.flags, parsed.flags_offset);
    use_prepared_id(dispatch, handle, parsed.id_offset);
    if (UNLIKELY(handle->traits.has_functions) &&
        !functions_use_execute(dispatch, prepared->functions, parsed.rest)) {
        dispatch_refuse_malformed(dispatch, "EXECUTE body ends before its values are complete");
        prepared_cache_release(handle);
        return;
    }
    struct request *request = send_statement(dispatch, statement, &parsed, handle);
    if (request != NULL)
        request->prepared = handle;
    else
        prepared_cache_release(handle);
}

struct batch_walk {
    struct dispatch *dispatch;
    struct dynbuf handles; /* of struct prepared_handle *, each used until the batch is sent */
    struct cql_span missing;
    uint8_t asked; /* clusters the BATCH goes to */
    bool has_text; /* a child that comes as text */
    bool is_conditional;
};

static bool on_batch_child(void *context, const struct cql_batch_child *child)
{
    struct batch_walk *walk = context;
    if (!child->is_prepared) {
        walk->has_text = true;
        functions_use_text(walk->dispatch, child->offset, child->text_or_id.length);
        return true;
    }
    struct prepared_handle *handle =
        prepared_cache_find(&walk->dispatch->session->worker->prepared, child->text_or_id);
    if (handle == NULL) {
        walk->missing = child->text_or_id;
        return false;
    }
    if (!dynbuf_append(&walk->handles, &handle, sizeof(struct prepared_handle *))) {
        prepared_cache_release(handle);
        return false;
    }
    if (UNLIKELY((handle->traits.missing & walk->asked) != 0)) { /* released with the others */
        walk->missing = child->text_or_id;
        return false;
    }
    walk->is_conditional |= handle->traits.statement.write_type == WRITE_CAS;
    use_prepared_id(walk->dispatch, handle, child->offset);
    return LIKELY(!handle->traits.has_functions) ||
           functions_use_child(walk->dispatch, handle->prepared->functions, child);
}

static bool find_condition(void *context, const struct cql_batch_child *child)
{
    bool *is_conditional = context;
    if (!child->is_prepared)
        *is_conditional =
            classify_statement((const char *)child->text_or_id.data, child->text_or_id.length, "")
                .write_type == WRITE_CAS;
    return !*is_conditional;
}

static bool has_conditional_text(const struct dispatch *dispatch)
{
    struct cql_batch batch;
    bool is_conditional = false;
    const char *reason;
    return !cql_read_batch(dispatch->header, dispatch->body, &batch, find_condition,
                           &is_conditional, &reason);
}

/* A lightweight transaction has the timestamp its vote gives it, a counter none. */
static void stamp_batch(struct dispatch *dispatch, const struct cql_batch *batch,
                        const struct batch_walk *walk)
{
    if (!dispatch->session->worker->live.stamps_writes ||
        (batch->flags & CQL_QUERY_TIMESTAMP) != 0 || batch->type == CQL_BATCH_COUNTER ||
        walk->is_conditional || (walk->has_text && has_conditional_text(dispatch)))
        return;
    note_flags(dispatch, batch->flags, batch->flags_offset);
    stamp(dispatch);
}

static void on_batch(struct dispatch *dispatch)
{
    static const enum write_type types[] = {[CQL_BATCH_LOGGED] = WRITE_BATCH,
                                            [CQL_BATCH_UNLOGGED] = WRITE_UNLOGGED_BATCH,
                                            [CQL_BATCH_COUNTER] = WRITE_COUNTER};
    const struct session *session = dispatch->session;
    struct worker *worker = session->worker;
    struct plan plan = route_plan(REQUEST_WRITE, false, worker->snapshot, session->canary_number);
    struct batch_walk walk = {
        .dispatch = dispatch, .handles = worker->batch_handles, .asked = plan_asks(plan)};
    struct cql_batch batch;
    const char *reason;
    dynbuf_reset(&walk.handles);
    bool is_whole =
        cql_read_batch(dispatch->header, dispatch->body, &batch, on_batch_child, &walk, &reason);
    worker->batch_handles = walk.handles; /* it may have grown */
    if (is_whole) {
        struct statement_class statement = {.class = REQUEST_WRITE,
                                            .write_type = types[batch.type]};
        stamp_batch(dispatch, &batch, &walk);
        send_request(dispatch, statement, batch.consistency, plan);
    } else if (walk.missing.data != NULL) {
        refuse_unprepared(dispatch, walk.missing);
    } else {
        dispatch_refuse_malformed(
            dispatch, reason == NULL ? "BATCH has too many prepared statements" : reason);
    }
    struct prepared_handle **handles = (void *)walk.handles.data;
    for (size_t i = 0; i < walk.handles.length / sizeof *handles; i++)
        prepared_cache_release(handles[i]);
}

/* Events come from the leading cluster alone, so the registration goes there alone. */
static void on_register(struct dispatch *dispatch)
{
    struct session *session = dispatch->session;
    struct plan plan = {.answerer = snapshot_leading_cluster(session->worker->snapshot)};
    plan.sends[plan.answerer] = true;
    uint8_t *copy = malloc(dispatch->header.body_length + 1);
    if (copy == NULL || dispatch->header.body_length > CHUNK_BYTES) {
        free(copy);
        dispatch_refuse_malformed(dispatch, "REGISTER body is too large");
        return;
    }
    memcpy(copy, dispatch->body, dispatch->header.body_length);
    free(session->register_body);
    session->register_body = copy;
    session->register_length = dispatch->header.body_length;
    session->is_registered = true;
    session->upstreams[plan.answerer].is_registered =
        send_request(dispatch, (struct statement_class){.class = REQUEST_CONTROL}, 1, plan) != NULL;
}

void dispatch_expect(const struct session *session, const uint8_t *bytes, size_t length)
{
    enum { FLAGS_AT = 1, OPCODE_AT = 4, ID_AT = CQL_HEADER_BYTES + 2 };
    if (length >= ID_AT + PREPARED_ID_USUAL && bytes[OPCODE_AT] == CQL_OPCODE_EXECUTE &&
        bytes[FLAGS_AT] == 0)
        prepared_cache_expect(&session->worker->prepared,
                              (struct cql_span){bytes + ID_AT, PREPARED_ID_USUAL});
}

void dispatch_request(struct session *session, struct cql_header header, const uint8_t *frame,
                      struct chunk *whole)
{
    /* Not cleared as a whole: most of it is room that most requests do not need. */
    struct dispatch dispatch;
    dispatch.session = session;
    dispatch.header = header;
    dispatch.body = frame + CQL_HEADER_BYTES;
    dispatch.body_chunk = whole;
    dispatch.is_head = false;
    dispatch.frame = frame;
    dispatch.frame_length = CQL_HEADER_BYTES + (size_t)header.body_length;
    dispatch.frame_chunk = whole;
    dispatch.prepared = NULL;
    dispatch.edits = &session->worker->edits;
    dispatch.header_flags = 0;
    dispatch.flags = 0;
    dispatch.flags_changed = false;
    edits_reset(dispatch.edits);
    if (session->state == SESSION_DRAINING) {
        metrics_add(session->worker->metrics, METRIC_REFUSED_DRAINING, 1);
        session_reply_error(
            session, header.stream, CQL_ERROR_OVERLOADED,
            session->is_sent_away
                ? "A cluster that has come into use asks for another connection, please reconnect."
                : "Shutting down, please retry on next host.");
        return;
    }
    if (UNLIKELY((header.flags & CQL_FLAG_COMPRESSED) != 0) && !packed_begin(&dispatch))
        return;
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
    case CQL_OPCODE_REVISE_REQUEST:
        continuous_on_revise(&dispatch);
        break;
    default:
        metrics_add(session->worker->metrics, METRIC_REFUSED_MALFORMED, 1);
        session_reply_error(session, header.stream, CQL_ERROR_PROTOCOL,
                            "Unexpected message %s: the connection is ready for requests",
                            cql_opcode_name(header.opcode));
    }
}
