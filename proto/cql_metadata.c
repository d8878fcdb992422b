/* Result metadata, as far as the proxy needs them. Pure; every length is checked by the cursor, and
 * nesting is bounded. It must never be called for rows that are only forwarded without a page
 * behind them: cql_find_paging looks at the first bytes and stops there. */
#include "proto/cql_metadata.h"

#include "proto/cql_response.h"
#include "proto/cql_rows.h"

static void skip_table(struct cql_cursor *cursor)
{
    (void)cql_read_string(cursor);
    (void)cql_read_string(cursor);
}

/* A column's name and type, from behind its table's name. */
static void skip_column(struct cql_cursor *cursor)
{
    (void)cql_read_string(cursor);
    cql_skip_type(cursor);
}

/* The metadata of a Prepared result's bind variables. */
static void skip_variables(struct cql_header header, struct cql_cursor *cursor)
{
    uint32_t flags = (uint32_t)cql_read_i32(cursor);
    int32_t columns = cql_read_i32(cursor);
    if (header.version >= 4) {
        for (int32_t keys = cql_read_i32(cursor); keys > 0 && !cursor->failed; keys--)
            (void)cql_read_u16(cursor);
    }
    if ((flags & CQL_METADATA_GLOBAL_TABLE) != 0)
        skip_table(cursor);
    for (; columns > 0 && !cursor->failed; columns--) {
        if ((flags & CQL_METADATA_GLOBAL_TABLE) == 0)
            skip_table(cursor);
        skip_column(cursor);
    }
}

bool cql_read_prepared(struct cql_header header, const uint8_t *body,
                       struct cql_prepared_result *prepared)
{
    struct cql_cursor cursor = cql_open_response(header, body);
    *prepared = (struct cql_prepared_result){.id = {NULL, 0}};
    if (header.opcode != CQL_OPCODE_RESULT || cql_read_i32(&cursor) != CQL_RESULT_PREPARED)
        return false;
    prepared->id = cql_read_string(&cursor);
    if (cql_version_has_metadata_id(header.version))
        prepared->metadata_id = cql_read_string(&cursor);
    skip_variables(header, &cursor);
    prepared->result_metadata = (struct cql_span){cursor.at, cql_cursor_left(&cursor)};
    return !cursor.failed;
}

bool cql_metadata_columns(struct cql_span metadata, struct dynbuf *columns)
{
    struct cql_cursor cursor = cql_cursor_over(metadata.data, metadata.length);
    uint32_t flags = (uint32_t)cql_read_i32(&cursor);
    int32_t count = cql_read_i32(&cursor);
    if ((flags & CQL_METADATA_MORE_PAGES) != 0)
        (void)cql_read_bytes(&cursor);
    if ((flags & CQL_METADATA_CHANGED) != 0)
        (void)cql_read_string(&cursor);
    if ((flags & CQL_METADATA_NO_COLUMNS) != 0)
        return !cursor.failed && count == 0;
    if ((flags & CQL_METADATA_GLOBAL_TABLE) != 0)
        skip_table(&cursor);
    for (; count > 0 && !cursor.failed; count--) {
        if ((flags & CQL_METADATA_GLOBAL_TABLE) == 0)
            skip_table(&cursor);
        const uint8_t *from = cursor.at;
        skip_column(&cursor);
        if (cursor.failed || !dynbuf_append(columns, from, (size_t)(cursor.at - from)))
            return false;
    }
    return !cursor.failed;
}

enum cql_paging cql_find_paging(struct cql_header header, const uint8_t *body, size_t length,
                                uint32_t *offset, uint32_t *state_length)
{
    size_t announced = header.body_length;
    enum cql_paging more = length < announced ? CQL_PAGING_MORE : CQL_PAGING_NONE;
    if (header.opcode != CQL_OPCODE_RESULT)
        return CQL_PAGING_NONE;
    if (length < announced)
        header.body_length = (uint32_t)length;
    struct cql_cursor cursor = cql_open_response(header, body);
    int32_t kind = cql_read_i32(&cursor);
    if (cursor.failed)
        return more;
    if (kind != CQL_RESULT_ROWS)
        return CQL_PAGING_NONE;
    uint32_t flags = (uint32_t)cql_read_i32(&cursor);
    (void)cql_read_i32(&cursor);
    if (cursor.failed)
        return more;
    if ((flags & CQL_METADATA_MORE_PAGES) == 0 || (flags & CQL_METADATA_CONTINUOUS) != 0)
        return CQL_PAGING_NONE;
    *offset = (uint32_t)(cursor.at - body);
    int32_t bytes = cql_read_i32(&cursor);
    if (cursor.failed)
        return more;
    *state_length = (uint32_t)bytes;
    return bytes > 0 && (size_t)bytes <= announced - *offset - 4 ? CQL_PAGING_FOUND
                                                                 : CQL_PAGING_NONE;
}
