/* Request bodies. The first two bytes choose the opcode and the header's flags. Properties: nothing
 * outside the body is read (it lies in a block of its exact size); all that is handed out lies
 * inside it, where its offset says; a BATCH that is accepted was visited once for each child, in
 * order; what is cut off by one byte anywhere before the end of what was read is refused. */
#include <stdlib.h>
#include <string.h>

#include "proto/cql_request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct walk {
    const uint8_t *body;
    size_t size;
    size_t visits;
    size_t stop_at; /* SIZE_MAX: never */
    const uint8_t *last;
};

static void check_inside(struct cql_span span, const uint8_t *body, size_t size)
{
    CHECK(span.data == NULL ? span.length == 0
                            : span.data >= body && span.data <= body + size &&
                                  span.length <= (size_t)(body + size - span.data));
}

static bool visit(void *context, const struct cql_batch_child *child)
{
    struct walk *walk = context;
    check_inside(child->text_or_id, walk->body, walk->size);
    CHECK(child->text_or_id.data == walk->body + child->offset);
    CHECK(child->text_or_id.data > walk->last); /* children follow one another */
    walk->last = child->text_or_id.data;
    walk->visits++;
    return walk->visits != walk->stop_at;
}

static void check_values(struct cql_statement_request *request, const uint8_t *body, size_t size)
{
    struct cql_span name, value;
    CHECK(request->rest.at >= body && request->rest.at <= body + size);
    CHECK(request->rest.end == body + size);
    if ((request->flags & CQL_QUERY_VALUES) == 0)
        return;
    for (uint16_t left = cql_read_u16(&request->rest); left > 0; left--) {
        if (!cql_read_value(&request->rest, request->flags, &name, &value))
            break;
        check_inside(name, body, size);
        check_inside(value, body, size);
    }
}

static bool read_statement(struct cql_header header, const uint8_t *body,
                           struct cql_statement_request *request, const char **reason)
{
    switch (header.opcode) {
    case CQL_OPCODE_QUERY:
        return cql_read_query(header, body, request, reason);
    case CQL_OPCODE_PREPARE:
        return cql_read_prepare(header, body, request, reason);
    default:
        return cql_read_execute(header, body, request, reason);
    }
}

static void check_statement(struct cql_header header, const uint8_t *body)
{
    struct cql_statement_request request;
    const char *reason = NULL;
    size_t size = header.body_length;
    if (!read_statement(header, body, &request, &reason)) {
        CHECK(reason != NULL);
        return;
    }
    check_inside(request.text, body, size);
    check_inside(request.id, body, size);
    if (header.opcode == CQL_OPCODE_EXECUTE)
        CHECK(request.id.data == body + request.id_offset);
    const uint8_t *end = request.rest.at;
    if (header.opcode == CQL_OPCODE_PREPARE)
        end = request.text.data + request.text.length;
    else
        check_values(&request, body, size);
    size_t read = (size_t)(end - body);
    /* What was read is needed to its last byte, and nothing behind it matters. */
    header.body_length = (uint32_t)read;
    CHECK(read_statement(header, body, &request, &reason));
    CHECK(read > 0);
    header.body_length = (uint32_t)(read - 1);
    CHECK(!read_statement(header, body, &request, &reason));
}

static void check_batch(struct cql_header header, const uint8_t *body)
{
    struct walk walk = {.body = body, .size = header.body_length, .stop_at = SIZE_MAX};
    struct cql_batch batch;
    const char *reason = NULL;
    if (!cql_read_batch(header, body, &batch, visit, &walk, &reason)) {
        CHECK(reason != NULL);
        return;
    }
    CHECK(walk.visits == batch.count && batch.type <= CQL_BATCH_COUNTER);
    if (batch.count == 0)
        return;
    /* Stopped at its last child, the walk says that it was stopped. */
    walk = (struct walk){.body = body, .size = header.body_length, .stop_at = batch.count};
    CHECK(!cql_read_batch(header, body, &batch, visit, &walk, &reason));
    CHECK(reason == NULL && walk.visits == walk.stop_at);
}

static void check_startup(const uint8_t *body, size_t size)
{
    struct cql_span compression;
    if (cql_read_startup(body, size, &compression))
        check_inside(compression, body, size);
}

static void check_token(const uint8_t *body, size_t size)
{
    struct cql_span authzid, user, password;
    if (!cql_read_plain_token((struct cql_span){body, size}, &authzid, &user, &password))
        return;
    check_inside(authzid, body, size);
    check_inside(user, body, size);
    check_inside(password, body, size);
    CHECK(authzid.length + user.length + password.length + 2 == size);
    CHECK(authzid.data == body && user.data == body + authzid.length + 1);
    CHECK(password.data == user.data + user.length + 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t opcodes[] = {CQL_OPCODE_QUERY,   CQL_OPCODE_PREPARE,
                                      CQL_OPCODE_EXECUTE, CQL_OPCODE_BATCH,
                                      CQL_OPCODE_STARTUP, CQL_OPCODE_AUTH_RESPONSE};
    if (size < 2)
        return 0;
    struct cql_header header = {.version = 4,
                                .flags = data[1],
                                .opcode = opcodes[data[0] % sizeof opcodes],
                                .body_length = (uint32_t)(size - 2)};
    uint8_t *body = malloc(header.body_length);
    CHECK(body != NULL);
    memcpy(body, data + 2, header.body_length);
    switch (header.opcode) {
    case CQL_OPCODE_BATCH:
        check_batch(header, body);
        break;
    case CQL_OPCODE_STARTUP:
        check_startup(body, header.body_length);
        break;
    case CQL_OPCODE_AUTH_RESPONSE:
        check_token(body, header.body_length);
        break;
    default:
        check_statement(header, body);
        break;
    }
    free(body);
    return 0;
}
