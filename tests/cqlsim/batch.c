/* BATCH. Owned by the main thread. */
#include "request.h"

/* One statement of a BATCH frame. */
struct batched {
    const struct statement *statement;
    const char *keyspace;
    bool by_text; /* takes the keyspace of the request */
    struct bytes *values;
    size_t value_count;
};

static bool read_batched(struct request *request, struct batched *batched)
{
    struct wire_reader *reader = &request->reader;
    unsigned kind = wire_u8(reader);
    bool ok = true;
    if (kind == 0) {
        struct bytes text = wire_long_string(reader);
        if (reader->failed)
            return request_malformed(request, "a query of the batch is cut short");
        batched->by_text = true;
        batched->statement = parser_parse(&request->server->scratch, (const char *)text.data,
                                          (size_t)text.length, &request->failure);
        ok = batched->statement != NULL;
    } else if (kind == 1) {
        struct bytes id = wire_short_bytes(reader);
        const struct prepared *prepared =
            reader->failed ? NULL : statement_find_prepared(request, id);
        ok = prepared != NULL || statement_unprepared(request, id);
        if (ok) {
            batched->statement = prepared->statement;
            batched->keyspace = prepared->keyspace;
        }
    } else {
        return request_malformed(request,
                                 "a batch holds something that is neither query nor prepared");
    }
    if (!ok)
        return false;
    if (!parameters_values(request, false, &batched->values, NULL, &batched->value_count))
        return false;
    enum statement_class class = execute_class(batched->statement);
    return (class >= CLASS_INSERT && class <= CLASS_DELETE) ||
           INVALID(&request->failure, "Invalid statement in batch: only UPDATE, INSERT and DELETE "
                                      "statements are allowed.");
}

static bool run_batch(struct request *request, const struct batched *batched, size_t count)
{
    struct execution *execution = &request->execution;
    bool any_rows = false;
    request->server->by_class[CLASS_BATCH]++;
    request_begin(request, OP_RESULT);
    size_t body = request->connection->out.length;
    for (size_t i = 0; i < count; i++) {
        size_t before = request->connection->out.length;
        execution->keyspace = batched[i].by_text ? request->keyspace : batched[i].keyspace;
        execution->values = batched[i].values;
        execution->value_count = batched[i].value_count;
        if (!execute_statement(execution, batched[i].statement))
            return false;
        if (execution->outcome == OUTCOME_ROWS && before > body) {
            size_t length = request->connection->out.length - before;
            memmove(request->connection->out.data + body, request->connection->out.data + before,
                    length);
            request->connection->out.length = body + length;
        }
        any_rows |= execution->outcome == OUTCOME_ROWS;
    }
    execution->outcome = any_rows ? OUTCOME_ROWS : OUTCOME_VOID;
    statement_put_outcome(request);
    return true;
}

bool batch_batch(struct request *request, bool *done)
{
    struct wire_reader *reader = &request->reader;
    unsigned type = wire_u8(reader);
    size_t count = wire_u16(reader);
    struct batched *batched = NULL;
    size_t known = 0;
    if (type > 2)
        return request_malformed(request, "unknown batch type");
    parameters_start(request);
    /* A refused child waits until the faults have had their say, as they do for single statements.
     */
    bool ok = true;
    while (known < count && ok && !reader->failed) {
        struct batched *slot =
            arena_push(&request->server->scratch, (void **)&batched, &known, sizeof *slot);
        ok = read_batched(request, slot);
    }
    if (reader->failed)
        return request_malformed(request, "the batch is cut short");
    if (ok && !parameters_read_batch(request))
        return false;
    request->last->statements = count;
    last_request_keep(&request->server->last_requests, LAST_WRITE);
    struct fault_subject subject = {.opcode = OP_BATCH, .is_write = true};
    *done = request_faulted(request, &subject);
    if (*done || !ok)
        return false;
    return run_batch(request, batched, count);
}
