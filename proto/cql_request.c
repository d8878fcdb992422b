/* Partial decoding of request bodies. Pure; every length is checked by the cursor. */
#include "proto/cql_request.h"

/* A [bytes map] (section 2.2). */
COLD static struct cql_cursor behind_payload(struct cql_cursor cursor)
{
    for (uint16_t left = cql_read_u16(&cursor); left > 0 && !cursor.failed; left--) {
        (void)cql_read_string(&cursor);
        (void)cql_read_bytes(&cursor);
    }
    return cursor;
}

/* A request with the CUSTOM_PAYLOAD flag opens with one. */
static inline struct cql_cursor open_body(struct cql_header header, const uint8_t *body)
{
    struct cql_cursor cursor = cql_cursor_over(body, header.body_length);
    if (UNLIKELY((header.flags & CQL_FLAG_CUSTOM_PAYLOAD) != 0))
        return behind_payload(cursor);
    return cursor;
}

static uint32_t offset_of(const struct cql_cursor *cursor, const uint8_t *body)
{
    return (uint32_t)(cursor->at - body);
}

static uint32_t read_flags(struct cql_header header, struct cql_cursor *cursor)
{
    return cql_version_has_int_flags(header.version) ? (uint32_t)cql_read_i32(cursor)
                                                     : cql_read_u8(cursor);
}

/* Consistency and flags, and where what follows begins. */
static inline void read_head(struct cql_header header, const uint8_t *body,
                             struct cql_cursor *cursor, struct cql_statement_request *request)
{
    uint8_t flags_bytes = cql_version_has_int_flags(header.version) ? 4 : 1;
    const uint8_t *head = cql_cursor_take(cursor, 2u + flags_bytes);
    request->consistency = head == NULL ? 0 : cql_load_u16(head);
    request->flags = head == NULL ? 0 : cql_load_flags(head + 2, flags_bytes);
    request->flags_offset = offset_of(cursor, body) - flags_bytes;
    request->rest = *cursor;
}

bool cql_read_query(struct cql_header header, const uint8_t *body,
                    struct cql_statement_request *request, const char **reason)
{
    struct cql_cursor cursor = open_body(header, body);
    *request = (struct cql_statement_request){.text = cql_read_long_string(&cursor)};
    read_head(header, body, &cursor, request);
    *reason = "QUERY body ends before the query, its consistency and its flags are complete";
    return !cursor.failed;
}

bool cql_read_prepare(struct cql_header header, const uint8_t *body,
                      struct cql_statement_request *request, const char **reason)
{
    struct cql_cursor cursor = open_body(header, body);
    *request = (struct cql_statement_request){.text = cql_read_long_string(&cursor)};
    /* What follows the text in v5 is not missed when it is not there: the clusters judge that. */
    if (cql_version_has_metadata_id(header.version) && cql_cursor_left(&cursor) > 0 &&
        ((uint32_t)cql_read_i32(&cursor) & CQL_PREPARE_KEYSPACE) != 0)
        request->keyspace = cql_read_string(&cursor);
    *reason = "PREPARE body ends before the query (and the keyspace it announces) is complete";
    return !cursor.failed;
}

bool cql_read_execute(struct cql_header header, const uint8_t *body,
                      struct cql_statement_request *request, const char **reason)
{
    struct cql_cursor cursor = open_body(header, body);
    request->text = request->keyspace = request->metadata_id = (struct cql_span){NULL, 0};
    request->id_offset = offset_of(&cursor, body) + 2;
    request->id = cql_read_string(&cursor);
    if (cql_version_has_metadata_id(header.version))
        request->metadata_id = cql_read_string(&cursor);
    read_head(header, body, &cursor, request);
    *reason =
        "EXECUTE body ends before the statement id, the consistency and the flags are complete";
    return !cursor.failed;
}

bool cql_read_value(struct cql_cursor *rest, uint32_t flags, struct cql_span *name,
                    struct cql_span *value)
{
    *name = (struct cql_span){NULL, 0};
    if ((flags & CQL_QUERY_NAMES) != 0)
        *name = cql_read_string(rest);
    *value = cql_read_bytes(rest);
    return !rest->failed;
}

/* Continuous paging options: pages at most, pages a second, and in DSE2 pages ahead. */
static void skip_continuous_paging(struct cql_header header, struct cql_cursor *cursor)
{
    (void)cql_cursor_take(cursor, header.version == CQL_VERSION_DSE2 ? 12 : 8);
}

bool cql_read_parameters(struct cql_header header, const uint8_t *body, uint32_t flags_offset,
                         struct cql_parameters *parameters, const char **reason)
{
    struct cql_cursor cursor = cql_cursor_over(body, header.body_length);
    (void)cql_cursor_take(&cursor, flags_offset);
    uint32_t flags = read_flags(header, &cursor);
    bool is_batch = header.opcode == CQL_OPCODE_BATCH;
    *reason = "body ends before the query parameters its flags announce are complete";
    *parameters = (struct cql_parameters){
        .flags = flags,
        .flags_offset = flags_offset,
        .flags_bytes = cql_version_has_int_flags(header.version) ? 4 : 1,
        .count_offset = offset_of(&cursor, body),
    };
    if ((flags & CQL_QUERY_VALUES) != 0 && !is_batch)
        parameters->values_count = cql_read_u16(&cursor);
    parameters->values_offset = offset_of(&cursor, body);
    struct cql_span name, value;
    for (uint16_t left = parameters->values_count; left > 0; left--) {
        if (!cql_read_value(&cursor, flags, &name, &value))
            break;
    }
    parameters->values_end = offset_of(&cursor, body);
    if ((flags & CQL_QUERY_PAGE_SIZE) != 0 && !is_batch)
        parameters->page_size = cql_read_i32(&cursor);
    parameters->paging_offset = offset_of(&cursor, body);
    if ((flags & CQL_QUERY_PAGING_STATE) != 0 && !is_batch)
        parameters->paging_state = cql_read_bytes(&cursor);
    if ((flags & CQL_QUERY_SERIAL_CONSISTENCY) != 0)
        parameters->serial_consistency = cql_read_u16(&cursor);
    parameters->timestamp_offset = offset_of(&cursor, body);
    if ((flags & CQL_QUERY_TIMESTAMP) != 0) {
        uint64_t high = (uint32_t)cql_read_i32(&cursor);
        parameters->timestamp = (int64_t)(high << 32 | (uint32_t)cql_read_i32(&cursor));
    }
    parameters->keyspace_offset = offset_of(&cursor, body);
    if ((flags & CQL_QUERY_KEYSPACE) != 0 && cql_version_has_metadata_id(header.version))
        parameters->keyspace = cql_read_string(&cursor);
    if ((flags & CQL_QUERY_NOW_IN_SECONDS) != 0 && header.version == 5)
        (void)cql_read_i32(&cursor);
    if ((flags & CQL_QUERY_CONTINUOUS_PAGING) != 0 && !is_batch &&
        (header.version == CQL_VERSION_DSE1 || header.version == CQL_VERSION_DSE2))
        skip_continuous_paging(header, &cursor);
    parameters->end = offset_of(&cursor, body);
    return !cursor.failed;
}

bool cql_read_batch(struct cql_header header, const uint8_t *body, struct cql_batch *batch,
                    bool (*visit)(void *context, const struct cql_batch_child *child),
                    void *context, const char **reason)
{
    struct cql_cursor cursor = open_body(header, body);
    *reason = "BATCH body ends before its statements, values and consistency are complete";
    *batch = (struct cql_batch){.type = cql_read_u8(&cursor)};
    batch->count = cql_read_u16(&cursor);
    if (!cursor.failed && batch->type > CQL_BATCH_COUNTER) {
        *reason = "BATCH type is none of LOGGED (0), UNLOGGED (1) and COUNTER (2)";
        return false;
    }
    for (uint16_t i = 0; i < batch->count && !cursor.failed; i++) {
        uint32_t kind_offset = offset_of(&cursor, body);
        uint8_t kind = cql_read_u8(&cursor);
        if (kind > 1) {
            *reason = "BATCH statement kind is neither 0 (text) nor 1 (prepared id)";
            return false;
        }
        struct cql_batch_child child = {.is_prepared = kind == 1, .kind_offset = kind_offset};
        child.text_or_id = kind == 1 ? cql_read_string(&cursor) : cql_read_long_string(&cursor);
        if (cursor.failed)
            return false;
        child.offset = (uint32_t)(child.text_or_id.data - body);
        child.count_offset = offset_of(&cursor, body);
        child.values_count = cql_read_u16(&cursor);
        child.values_offset = offset_of(&cursor, body);
        for (uint16_t values = child.values_count; values > 0 && !cursor.failed; values--)
            (void)cql_read_bytes(&cursor);
        if (cursor.failed)
            return false;
        child.values_end = offset_of(&cursor, body);
        if (!visit(context, &child)) {
            *reason = NULL;
            return false;
        }
    }
    batch->consistency = cql_read_u16(&cursor);
    if (cursor.failed)
        return false;
    batch->flags_offset = offset_of(&cursor, body);
    batch->flags = read_flags(header, &cursor);
    return true;
}

bool cql_read_startup(const uint8_t *body, size_t length, struct cql_span *compression)
{
    struct cql_cursor cursor = cql_cursor_over(body, length);
    *compression = (struct cql_span){NULL, 0};
    for (uint16_t left = cql_read_u16(&cursor); left > 0 && !cursor.failed; left--) {
        struct cql_span key = cql_read_string(&cursor);
        struct cql_span value = cql_read_string(&cursor);
        if (cql_span_equals(key, "COMPRESSION"))
            *compression = value;
    }
    return !cursor.failed;
}

static const uint8_t *find_nul(const uint8_t *at, const uint8_t *end)
{
    return at == end ? NULL : memchr(at, 0, (size_t)(end - at));
}

bool cql_read_plain_token(struct cql_span token, struct cql_span *authzid, struct cql_span *user,
                          struct cql_span *password)
{
    if (token.data == NULL)
        return false;
    const uint8_t *end = token.data + token.length;
    const uint8_t *first = find_nul(token.data, end);
    const uint8_t *second = first == NULL ? NULL : find_nul(first + 1, end);
    if (second == NULL || find_nul(second + 1, end) != NULL)
        return false;
    *authzid = (struct cql_span){token.data, (size_t)(first - token.data)};
    *user = (struct cql_span){first + 1, (size_t)(second - first - 1)};
    *password = (struct cql_span){second + 1, (size_t)(end - second - 1)};
    return true;
}
