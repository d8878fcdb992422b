/* Request bodies. The first two bytes choose the opcode and version, and the header's flags.
 * Properties: nothing outside the body is read (it lies in a block of its exact size); all that is
 * handed out lies inside it, where its offset says; a BATCH that is accepted was visited once for
 * each child, in order; what is cut off by one byte anywhere before the end of what was read is
 * refused. */
#include <stdlib.h>
#include <string.h>

#include "dataplane/edits.h"
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
    CHECK(child->kind_offset < child->offset && child->offset <= child->count_offset &&
          child->count_offset + 2 == child->values_offset &&
          child->values_offset <= child->values_end && child->values_end <= walk->size);
    walk->last = child->text_or_id.data;
    walk->visits++;
    return walk->visits != walk->stop_at;
}

/* All places lie in the body in the order of the protocol, and a timestamp put in or taken out by
 * an edit, as the proxy does it, leaves all the rest as it was. */
static void check_parameters(struct cql_header header, const uint8_t *body, uint32_t flags_offset)
{
    struct cql_parameters before, after;
    const char *reason = NULL;
    if (!cql_read_parameters(header, body, flags_offset, &before, &reason)) {
        CHECK(reason != NULL);
        return;
    }
    CHECK(before.flags_offset == flags_offset &&
          before.count_offset == flags_offset + before.flags_bytes);
    CHECK(before.count_offset <= before.values_offset &&
          before.values_offset <= before.values_end && before.values_end <= before.paging_offset &&
          before.paging_offset <= before.timestamp_offset &&
          before.timestamp_offset <= before.keyspace_offset &&
          before.keyspace_offset <= before.end && before.end <= header.body_length);
    check_inside(before.paging_state, body, header.body_length);
    check_inside(before.keyspace, body, header.body_length);
    CHECK(before.paging_state.data == NULL ||
          before.paging_state.data == body + before.paging_offset + 4);
    CHECK(before.keyspace.data == NULL ||
          before.keyspace.data == body + before.keyspace_offset + 2);
    CHECK(cql_load_flags(body + flags_offset, before.flags_bytes) == before.flags);

    bool has = (before.flags & CQL_QUERY_TIMESTAMP) != 0;
    uint8_t flags[4];
    uint8_t stamp[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    struct edits edits;
    edits_init(&edits);
    edits_add(&edits, EDIT_BOTH, before.timestamp_offset, has ? 8 : 0, stamp, has ? 0 : 8);
    uint8_t length = cql_store_flags(flags, header.version, before.flags ^ CQL_QUERY_TIMESTAMP);
    edits_add(&edits, EDIT_BOTH, flags_offset, length, flags, length);
    edits_seal(&edits);
    struct cql_header edited = header;
    edited.body_length = (uint32_t)(header.body_length + edits.growth[CLUSTER_TARGET]);
    uint8_t *copy = malloc(edited.body_length + 1);
    CHECK(copy != NULL);
    CHECK(edits_copy(&edits, CLUSTER_TARGET, body, header.body_length, copy) ==
          copy + edited.body_length);
    CHECK(cql_read_parameters(edited, copy, flags_offset, &after, &reason));
    CHECK(after.flags == (before.flags ^ CQL_QUERY_TIMESTAMP));
    CHECK(has || after.timestamp == 0x0102030405060708LL);
    CHECK(after.values_count == before.values_count && after.values_end == before.values_end &&
          after.page_size == before.page_size && after.paging_offset == before.paging_offset &&
          after.paging_state.length == before.paging_state.length &&
          after.serial_consistency == before.serial_consistency &&
          after.timestamp_offset == before.timestamp_offset &&
          after.keyspace.length == before.keyspace.length &&
          after.end + 2 * 8 * has == before.end + 8);
    CHECK(memcmp(copy + after.keyspace_offset, body + before.keyspace_offset,
                 header.body_length - before.keyspace_offset) == 0);
    free(copy);
    edits_fini(&edits);
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
    check_inside(request.metadata_id, body, size);
    check_inside(request.keyspace, body, size);
    const uint8_t *end = request.rest.at;
    if (header.opcode == CQL_OPCODE_PREPARE) {
        /* In v5 flags and a keyspace may follow, or not. */
        if (cql_version_has_metadata_id(header.version))
            return;
        end = request.text.data + request.text.length;
    } else {
        check_parameters(header, body, request.flags_offset);
        check_values(&request, body, size);
    }
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
    CHECK(batch.flags_offset <= header.body_length);
    check_parameters(header, body, batch.flags_offset);
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
    static const uint8_t versions[] = {4, 3, 5, CQL_VERSION_DSE1, CQL_VERSION_DSE2};
    struct cql_header header = {.version = versions[data[0] / sizeof opcodes % sizeof versions],
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
