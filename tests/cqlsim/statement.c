/* QUERY, PREPARE and EXECUTE. Owned by the main thread. Faults have their say once it is known what
 * kind of statement it is, before anything is done. */
#include <stdio.h>

#include "request.h"

#define KIND_VOID          1
#define KIND_SET_KEYSPACE  3
#define KIND_SCHEMA_CHANGE 5

#define PREPARE_WITH_KEYSPACE 0x1U

/* Puts named values into the order of the markers, whose names a dry run finds out. */
static bool order_values(struct request *request, const struct statement *statement)
{
    struct execution *execution = &request->execution;
    execution->values = request->values;
    execution->value_count = request->value_count;
    if (request->names == NULL)
        return true;
    struct execution dry = *execution;
    struct dynbuf ignored;
    dynbuf_init(&ignored, WIRE_MAX_BODY);
    dry.out = &ignored;
    uint8_t id[16] = {0};
    bool ok = execute_prepare(&dry, statement, id);
    dynbuf_fini(&ignored);
    if (!ok)
        return false;
    struct bytes *ordered =
        arena_alloc(&request->server->scratch, (statement->marker_count + 1) * sizeof *ordered);
    for (size_t i = 0; i < statement->marker_count; i++) {
        size_t at = 0;
        while (at < request->value_count && !bytes_equal(request->names[at], dry.markers[i].name))
            at++;
        if (at == request->value_count)
            return INVALID(&request->failure,
                           "there were %zu markers(?) in CQL but %zu bound variables",
                           statement->marker_count, request->value_count);
        ordered[i] = request->values[at];
    }
    execution->values = ordered;
    execution->value_count = statement->marker_count;
    return true;
}

static void count_statement(struct server *server, const struct statement *statement,
                            const char *keyspace)
{
    if (execute_is_system(statement, keyspace))
        server->system_statements++;
    else
        server->by_class[execute_class(statement)]++;
}

static struct fault_subject subject_of(const struct request *request,
                                       const struct statement *statement, const char *keyspace)
{
    struct fault_subject subject = {.opcode = request->header.opcode};
    if (statement == NULL || execute_is_system(statement, keyspace))
        return subject;
    enum statement_class class = execute_class(statement);
    subject.is_read = class == CLASS_SELECT;
    subject.is_write = class >= CLASS_INSERT && class <= CLASS_BATCH;
    if (request->pager != NULL)
        return subject; /* another page of what is remembered already */
    last_request_keep(&request->server->last_requests, subject.is_read    ? LAST_READ
                                                       : subject.is_write ? LAST_WRITE
                                                                          : LAST_OTHER);
    return subject;
}

void statement_put_outcome(struct request *request)
{
    struct connection *connection = request->connection;
    const struct execution *execution = &request->execution;
    struct dynbuf *out = &connection->out;
    const struct schema_change *change = &execution->change;
    switch (execution->outcome) {
    case OUTCOME_ROWS:
        break;
    case OUTCOME_VOID:
        wire_put_i32(out, KIND_VOID);
        break;
    case OUTCOME_SET_KEYSPACE:
        snprintf(connection->keyspace, sizeof connection->keyspace, "%s", execution->use);
        wire_put_i32(out, KIND_SET_KEYSPACE);
        wire_put_string(out, execution->use);
        break;
    case OUTCOME_SCHEMA_CHANGE:
        wire_put_i32(out, KIND_SCHEMA_CHANGE);
        wire_put_string(out, change->change);
        wire_put_string(out, change->target);
        wire_put_string(out, change->keyspace);
        if (change->name[0] != '\0')
            wire_put_string(out, change->name);
        break;
    }
}

static bool run(struct request *request, const struct statement *statement, const char *keyspace)
{
    request->execution.keyspace = keyspace;
    if (request->pager == NULL)
        count_statement(request->server, statement, keyspace);
    request_begin(request, OP_RESULT);
    if (!order_values(request, statement) || !execute_statement(&request->execution, statement))
        return false;
    statement_put_outcome(request);
    return true;
}

/* Both handlers below leave faulted requests to *done: nothing more is to be answered. */
bool statement_query(struct request *request, bool *done)
{
    struct bytes text = wire_long_string(&request->reader);
    if (request->reader.failed)
        return request_malformed(request, "the query text is cut short");
    parameters_start(request);
    if (!parameters_read(request))
        return false;
    const char *keyspace = request->keyspace;
    last_request_text(&request->last->query, text);
    struct statement *statement = parser_parse(&request->server->scratch, (const char *)text.data,
                                               (size_t)text.length, &request->failure);
    struct fault_subject subject = subject_of(request, statement, keyspace);
    *done = request_faulted(request, &subject);
    if (*done || statement == NULL)
        return false;
    return run(request, statement, keyspace);
}

bool statement_unprepared(struct request *request, struct bytes id)
{
    char text[33] = "";
    for (int32_t i = 0; i < 16 && i < id.length; i++)
        snprintf(text + 2 * i, 3, "%02x", id.data[i]);
    failure_set(&request->failure, CQL_UNPREPARED,
                "Prepared query with ID %s not found (either the query was not prepared on this "
                "host (maybe the host has been restarted?) or you have prepared too many queries "
                "and it has been evicted from the internal cache)",
                text);
    memset(request->failure.prepared_id, 0, 16);
    if (id.length > 0)
        memcpy(request->failure.prepared_id, id.data, id.length > 16 ? 16 : (size_t)id.length);
    return false;
}

const struct prepared *statement_find_prepared(struct request *request, struct bytes id)
{
    return id.length != 16 ? NULL : prepared_find(&request->server->prepared, id.data);
}

bool statement_execute(struct request *request, bool *done)
{
    struct bytes id = wire_short_bytes(&request->reader);
    bool with_metadata_id = wire_has_metadata_ids(request->header.version);
    struct bytes metadata_id = bytes_null();
    if (with_metadata_id)
        metadata_id = wire_short_bytes(&request->reader);
    if (request->reader.failed)
        return request_malformed(request, "the prepared id is cut short");
    last_request_hex(&request->last->prepared_id, id);
    last_request_hex(&request->last->metadata_id, metadata_id);
    parameters_start(request);
    if (!parameters_read(request))
        return false;
    const struct prepared *prepared = statement_find_prepared(request, id);
    if (prepared != NULL) {
        last_request_text(&request->last->query, bytes_text(prepared->text));
        /* Cassandra 3 trusted the client to notice a change. */
        if (!with_metadata_id && request->server->engine.cluster.release_major >= 4)
            metadata_id = bytes_of(prepared->result_id, sizeof prepared->result_id);
        request->execution.metadata_id = metadata_id;
    }
    struct fault_subject subject =
        subject_of(request, prepared == NULL ? NULL : prepared->statement,
                   prepared == NULL ? NULL : prepared->keyspace);
    *done = request_faulted(request, &subject);
    if (*done)
        return false;
    if (prepared == NULL)
        return statement_unprepared(request, id);
    return run(request, prepared->statement, prepared->keyspace);
}

static bool read_prepare_flags(struct request *request)
{
    struct wire_reader *reader = &request->reader;
    if (!wire_has_metadata_ids(request->header.version))
        return true;
    request->last->flags = wire_u32(reader);
    if ((request->last->flags & PREPARE_WITH_KEYSPACE) != 0) {
        struct bytes keyspace = wire_string(reader);
        last_request_text(&request->last->keyspace, keyspace);
        request->keyspace =
            arena_copy(&request->server->scratch, keyspace.data, (size_t)keyspace.length);
    }
    return !reader->failed || request_malformed(request, "PREPARE's flags are cut short");
}

bool statement_prepare(struct request *request, bool *done)
{
    struct server *server = request->server;
    struct bytes text = wire_long_string(&request->reader);
    if (request->reader.failed)
        return request_malformed(request, "the query text is cut short");
    last_request_text(&request->last->query, text);
    if (!read_prepare_flags(request))
        return false;
    struct fault_subject subject = {.opcode = OP_PREPARE};
    *done = request_faulted(request, &subject);
    if (*done)
        return false;
    parameters_start(request);
    struct prepared *prepared =
        prepared_add(&server->prepared, request->keyspace, text, &request->failure);
    if (prepared == NULL)
        return false;
    if (!execute_is_system(prepared->statement, request->keyspace))
        last_request_keep(&server->last_requests, LAST_OTHER);
    request_begin(request, OP_RESULT);
    if (execute_prepare(&request->execution, prepared->statement, prepared->id)) {
        memcpy(prepared->result_id, request->execution.result_id, sizeof prepared->result_id);
        return true;
    }
    prepared_remove(&server->prepared, prepared);
    return false;
}
