/* Partial decoding of request bodies. Pure; every length is checked by the cursor. */
#include "proto/cql_request.h"

/* A request with the CUSTOM_PAYLOAD flag opens with a [bytes map] (section 2.2). */
static struct cql_cursor open_body(struct cql_header header, const uint8_t *body)
{
    struct cql_cursor cursor = cql_cursor_over(body, header.body_length);
    if ((header.flags & CQL_FLAG_CUSTOM_PAYLOAD) == 0)
        return cursor;
    for (uint16_t left = cql_read_u16(&cursor); left > 0 && !cursor.failed; left--) {
        (void)cql_read_string(&cursor);
        (void)cql_read_bytes(&cursor);
    }
    return cursor;
}

bool cql_read_query(struct cql_header header, const uint8_t *body,
                    struct cql_statement_request *request, const char **reason)
{
    struct cql_cursor cursor = open_body(header, body);
    *request = (struct cql_statement_request){.text = cql_read_long_string(&cursor)};
    request->consistency = cql_read_u16(&cursor);
    request->flags = cql_read_u8(&cursor);
    request->rest = cursor;
    *reason = "QUERY body ends before the query, its consistency and its flags are complete";
    return !cursor.failed;
}

bool cql_read_prepare(struct cql_header header, const uint8_t *body,
                      struct cql_statement_request *request, const char **reason)
{
    struct cql_cursor cursor = open_body(header, body);
    *request = (struct cql_statement_request){.text = cql_read_long_string(&cursor)};
    *reason = "PREPARE body ends before the query is complete";
    return !cursor.failed;
}

bool cql_read_execute(struct cql_header header, const uint8_t *body,
                      struct cql_statement_request *request, const char **reason)
{
    struct cql_cursor cursor = open_body(header, body);
    *request = (struct cql_statement_request){.id = cql_read_string(&cursor)};
    request->id_offset = cursor.failed ? 0 : (uint32_t)(request->id.data - body);
    request->consistency = cql_read_u16(&cursor);
    request->flags = cql_read_u8(&cursor);
    request->rest = cursor;
    *reason =
        "EXECUTE body ends before the statement id, the consistency and the flags are complete";
    return !cursor.failed;
}

bool cql_read_value(struct cql_cursor *rest, uint8_t flags, struct cql_span *name,
                    struct cql_span *value)
{
    *name = (struct cql_span){NULL, 0};
    if ((flags & CQL_QUERY_NAMES) != 0)
        *name = cql_read_string(rest);
    *value = cql_read_bytes(rest);
    return !rest->failed;
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
        uint8_t kind = cql_read_u8(&cursor);
        if (kind > 1) {
            *reason = "BATCH statement kind is neither 0 (text) nor 1 (prepared id)";
            return false;
        }
        struct cql_batch_child child = {.is_prepared = kind == 1};
        child.text_or_id = kind == 1 ? cql_read_string(&cursor) : cql_read_long_string(&cursor);
        if (cursor.failed)
            return false;
        child.offset = (uint32_t)(child.text_or_id.data - body);
        for (uint16_t values = cql_read_u16(&cursor); values > 0 && !cursor.failed; values--)
            (void)cql_read_bytes(&cursor);
        if (cursor.failed)
            return false;
        if (!visit(context, &child)) {
            *reason = NULL;
            return false;
        }
    }
    batch->consistency = cql_read_u16(&cursor);
    return !cursor.failed;
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
