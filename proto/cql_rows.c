/* RESULT/Rows bodies as tables of borrowed cells. Pure; used for system tables only. It must never
 * allocate more than the bytes at hand justify, nor recurse deeper than TYPE_DEPTH_MAX for nested
 * types. */
#include "proto/cql_rows.h"

#include "proto/cql_response.h"

#define TYPE_DEPTH_MAX 32

/* A column costs 64 bytes here and may cost 4 on the wire: this bounds the ratio. No system table
 * has 100 columns. */
#define COLUMNS_MAX 8192

enum metadata_flag {
    METADATA_GLOBAL_TABLE = 0x01,
    METADATA_HAS_MORE_PAGES = 0x02,
    METADATA_NONE = 0x04,
};

enum type_code {
    TYPE_CUSTOM = 0x00,
    TYPE_LIST = 0x20,
    TYPE_MAP = 0x21,
    TYPE_SET = 0x22,
    TYPE_UDT = 0x30,
    TYPE_TUPLE = 0x31,
};

/* Walks over one [option] (native protocol v4, section 4.2.5.2). */
static void skip_type(struct cql_cursor *cursor, int depth)
{
    if (depth > TYPE_DEPTH_MAX)
        cursor->failed = true;
    if (cursor->failed)
        return;
    size_t parts = 0;
    switch (cql_read_u16(cursor)) {
    case TYPE_CUSTOM:
        cql_read_string(cursor);
        return;
    case TYPE_LIST:
    case TYPE_SET:
        parts = 1;
        break;
    case TYPE_MAP:
        parts = 2;
        break;
    case TYPE_TUPLE:
        parts = cql_read_u16(cursor);
        break;
    case TYPE_UDT:
        cql_read_string(cursor);
        cql_read_string(cursor);
        for (size_t left = cql_read_u16(cursor); left > 0 && !cursor->failed; left--) {
            cql_read_string(cursor);
            skip_type(cursor, depth + 1);
        }
        return;
    default:
        return;
    }
    for (; parts > 0 && !cursor->failed; parts--)
        skip_type(cursor, depth + 1);
}

static void read_columns(struct cql_cursor *cursor, struct cql_rows *rows, bool is_global)
{
    struct cql_span keyspace = {NULL, 0};
    struct cql_span table = {NULL, 0};
    if (is_global) {
        keyspace = cql_read_string(cursor);
        table = cql_read_string(cursor);
    }
    for (int32_t i = 0; i < rows->column_count && !cursor->failed; i++) {
        struct cql_column *column = &rows->columns[i];
        column->keyspace = is_global ? keyspace : cql_read_string(cursor);
        column->table = is_global ? table : cql_read_string(cursor);
        column->name = cql_read_string(cursor);
        column->type.data = cursor->at;
        skip_type(cursor, 0);
        column->type.length = (size_t)(cursor->at - column->type.data);
    }
}

void cql_skip_type(struct cql_cursor *cursor)
{
    skip_type(cursor, 0);
}

/* A count the bytes left can hold, given the fewest bytes an item takes. */
static bool is_possible(const struct cql_cursor *cursor, int64_t count, size_t item_bytes)
{
    return !cursor->failed && count >= 0 && (uint64_t)count <= cql_cursor_left(cursor) / item_bytes;
}

static bool decode(struct cql_cursor *cursor, struct cql_rows *rows)
{
    if (cql_read_i32(cursor) != CQL_RESULT_ROWS)
        return false;
    int32_t flags = cql_read_i32(cursor);
    rows->column_count = cql_read_i32(cursor);
    if ((flags & METADATA_NONE) != 0)
        return false;
    if ((flags & METADATA_HAS_MORE_PAGES) != 0)
        cql_read_bytes(cursor);
    if (!is_possible(cursor, rows->column_count, 4) || rows->column_count > COLUMNS_MAX)
        return false;
    rows->columns = calloc((size_t)rows->column_count + 1, sizeof *rows->columns);
    if (rows->columns == NULL)
        return false;
    read_columns(cursor, rows, (flags & METADATA_GLOBAL_TABLE) != 0);

    rows->row_count = cql_read_i32(cursor);
    int64_t cells = (int64_t)rows->row_count * rows->column_count;
    if (!is_possible(cursor, cells, 4) || rows->row_count < 0 ||
        (rows->column_count == 0 && rows->row_count != 0))
        return false;
    rows->cells = calloc((size_t)cells + 1, sizeof *rows->cells);
    if (rows->cells == NULL)
        return false;
    for (int64_t i = 0; i < cells && !cursor->failed; i++)
        rows->cells[i] = cql_read_bytes(cursor);
    return !cursor->failed;
}

bool cql_rows_decode(const uint8_t *body, size_t length, struct cql_rows *rows)
{
    *rows = (struct cql_rows){0};
    if (length == 0)
        return false;
    struct cql_cursor cursor = cql_cursor_over(body, length);
    if (decode(&cursor, rows))
        return true;
    cql_rows_fini(rows);
    return false;
}

void cql_rows_fini(struct cql_rows *rows)
{
    free(rows->columns);
    free(rows->cells);
    *rows = (struct cql_rows){0};
}

int cql_rows_column(const struct cql_rows *rows, const char *name)
{
    for (int32_t i = 0; i < rows->column_count; i++) {
        if (cql_span_equals(rows->columns[i].name, name))
            return i;
    }
    return -1;
}

struct cql_span cql_rows_cell(const struct cql_rows *rows, int row, int column)
{
    if (column < 0 || column >= rows->column_count || row < 0 || row >= rows->row_count)
        return (struct cql_span){NULL, 0};
    return rows->cells[(size_t)row * (size_t)rows->column_count + (size_t)column];
}
