/* Replaced calls of prepared statements: out of the metadata at PREPARE, into the values at
 * EXECUTE. Pure; runs on the workers. It must never give a client a column it did not write, nor
 * trust a count. */
#include <stdio.h>
#include <string.h>

#include "dataplane/functions.h"
#include "dataplane/functions_names.h"
#include "proto/cql_frame.h"
#include "proto/cql_response.h"
#include "proto/cql_rows.h"

#define METADATA_GLOBAL_TABLE 0x01

/* ---- metadata ---- */

/* The kind a marker of this name stands for; false: it is not ours. */
static bool read_marker_name(struct cql_span name, enum function_kind *kind)
{
    static const size_t prefix_length = sizeof FUNCTIONS_MARKER_PREFIX - 1;
    if (name.length <= prefix_length ||
        memcmp(name.data, FUNCTIONS_MARKER_PREFIX, prefix_length) != 0)
        return false;
    const char *rest = (const char *)name.data + prefix_length;
    size_t left = name.length - prefix_length;
    for (size_t i = 0; i < FUNCTION_KIND_COUNT; i++) {
        const char *type = function_type_name((enum function_kind)i);
        size_t length = strlen(type);
        if (left > length && rest[length] == '_' && memcmp(rest, type, length) == 0) {
            *kind = (enum function_kind)i;
            return true;
        }
    }
    return false;
}

/* Columns of the bind metadata; the layout is that of native protocol v4, section 4.2.5.4. */
struct columns {
    struct cql_cursor cursor;
    int32_t count;
    bool is_global;
};

struct column {
    const uint8_t *start, *end; /* all its bytes */
    struct cql_span name;
};

static struct column next_column(struct columns *columns)
{
    struct column column = {.start = columns->cursor.at};
    if (!columns->is_global) {
        (void)cql_read_string(&columns->cursor);
        (void)cql_read_string(&columns->cursor);
    }
    column.name = cql_read_string(&columns->cursor);
    cql_skip_type(&columns->cursor);
    column.end = columns->cursor.at;
    return column;
}

static struct function_plan *collect(struct columns columns, uint32_t expected)
{
    struct function_plan *plan = malloc(sizeof *plan + expected * sizeof plan->slots[0]);
    if (plan == NULL)
        return NULL;
    plan->count = 0;
    for (int32_t i = 0; i < columns.count && !columns.cursor.failed; i++) {
        enum function_kind kind;
        struct column column = next_column(&columns);
        if (columns.cursor.failed || !read_marker_name(column.name, &kind))
            continue;
        if (plan->count == expected) {
            columns.cursor.failed = true;
            break;
        }
        plan->slots[plan->count++] =
            (struct function_slot){.position = (uint16_t)i, .kind = (uint8_t)kind};
    }
    if (!columns.cursor.failed && plan->count == expected)
        return plan;
    free(plan);
    return NULL;
}

/* How many markers of ours stand before position; -1: it is one of ours itself. */
static int count_before(const struct function_plan *plan, uint16_t position)
{
    int before = 0;
    while (before < plan->count && plan->slots[before].position < position)
        before++;
    return before < plan->count && plan->slots[before].position == position ? -1 : before;
}

/* The partition key's markers as the client counts them. A key that the proxy fills in is one the
 * client cannot route by: then it is told of none. */
static void put_key_indices(struct cql_cursor indices, uint32_t count,
                            const struct function_plan *plan, struct dynbuf *out)
{
    struct cql_cursor look = indices;
    for (uint32_t i = 0; i < count; i++) {
        if (count_before(plan, cql_read_u16(&look)) < 0) {
            cql_put_i32(out, 0);
            return;
        }
    }
    cql_put_i32(out, (int32_t)count);
    for (uint32_t i = 0; i < count; i++) {
        uint16_t index = cql_read_u16(&indices);
        cql_put_u16(out, (uint16_t)(index - count_before(plan, index)));
    }
}

bool functions_strip_metadata(uint8_t version, const uint8_t *body, size_t length,
                              uint32_t expected, struct dynbuf *out, struct function_plan **plan)
{
    struct cql_cursor cursor = cql_cursor_over(body, length);
    struct cql_cursor indices = {NULL, NULL, false};
    uint32_t index_count = 0;
    *plan = NULL;
    if (expected == 0 || expected > FUNCTIONS_PREPARED_MAX ||
        cql_read_i32(&cursor) != CQL_RESULT_PREPARED)
        return false;
    (void)cql_read_string(&cursor);
    if (cql_version_has_metadata_id(version))
        (void)cql_read_string(&cursor);
    size_t head = (size_t)(cursor.at - body);
    int32_t flags = cql_read_i32(&cursor);
    struct columns columns = {.count = cql_read_i32(&cursor),
                              .is_global = (flags & METADATA_GLOBAL_TABLE) != 0};
    if (version >= 4) {
        index_count = (uint32_t)cql_read_i32(&cursor);
        if (index_count > cql_cursor_left(&cursor) / 2)
            return false;
        indices = cursor;
        (void)cql_cursor_take(&cursor, (size_t)2 * index_count);
    }
    const uint8_t *table = cursor.at;
    if (columns.is_global) {
        (void)cql_read_string(&cursor);
        (void)cql_read_string(&cursor);
    }
    size_t table_length = (size_t)(cursor.at - table);
    columns.cursor = cursor;
    if (cursor.failed || columns.count < 0 || columns.count > UINT16_MAX ||
        (*plan = collect(columns, expected)) == NULL)
        return false;

    dynbuf_append(out, body, head);
    int32_t count = columns.count - (*plan)->count;
    /* A client expects a table only where there are columns. */
    cql_put_i32(out, count == 0 ? flags & ~METADATA_GLOBAL_TABLE : flags);
    cql_put_i32(out, count);
    if (version >= 4)
        put_key_indices(indices, index_count, *plan, out);
    if (count > 0)
        dynbuf_append(out, table, table_length);
    size_t next = 0;
    for (int32_t i = 0; i < columns.count; i++) {
        struct column column = next_column(&columns);
        if (next < (*plan)->count && (*plan)->slots[next].position == i)
            next++;
        else
            dynbuf_append(out, column.start, (size_t)(column.end - column.start));
    }
    dynbuf_append(out, columns.cursor.at, cql_cursor_left(&columns.cursor));
    if (!out->failed)
        return true;
    free(*plan);
    *plan = NULL;
    return false;
}

/* ---- values ---- */

/* [string] name, if there is one, and [bytes] value. */
static size_t put_value(const struct function_plan *plan, size_t slot, bool is_named,
                        const struct function_maker *maker, uint8_t *out)
{
    struct function_value value;
    enum function_kind kind = (enum function_kind)plan->slots[slot].kind;
    size_t used = 0;
    if (is_named) {
        int length = snprintf((char *)out + 2, FUNCTIONS_NAME_MAX, FUNCTIONS_MARKER_FORMAT,
                              function_type_name(kind), (uint32_t)slot);
        cql_store_u16(out, (uint16_t)length);
        used = 2 + (size_t)length;
    }
    maker->make(maker->context, kind, &value);
    cql_store_u32(out + used, value.length);
    memcpy(out + used + 4, value.bytes, value.length);
    return used + 4 + value.length;
}

bool functions_insert_values(const struct function_plan *plan, const uint8_t *body,
                             struct cql_cursor values, bool is_absent, bool is_named,
                             const struct function_maker *maker, functions_emit emit, void *context,
                             struct function_counts *counts)
{
    uint8_t bytes[2 + FUNCTIONS_NAME_MAX + 4 + FUNCTION_VALUE_MAX];
    size_t at = (size_t)(values.at - body);
    uint32_t given = is_absent ? 0 : cql_read_u16(&values);
    *counts = (struct function_counts){0};
    if (values.failed || given + plan->count > UINT16_MAX)
        return false;
    cql_store_u16(bytes, (uint16_t)(given + plan->count));
    if (!emit(context, at, is_absent ? 0 : 2, bytes, 2))
        return false;
    size_t slot = 0;
    for (uint32_t i = 0; i <= given; i++) {
        /* The values before this one, the client's and ours, are i + slot. Names need no order:
         * ours come last, and so do those a client that gives too few values leaves no place for.
         */
        while (slot < plan->count &&
               (i == given || (!is_named && plan->slots[slot].position == i + slot))) {
            size_t length = put_value(plan, slot, is_named, maker, bytes);
            counts->replaced[plan->slots[slot].kind]++;
            slot++;
            if (!emit(context, (size_t)(values.at - body), 0, bytes, length))
                return false;
        }
        if (i == given)
            break;
        if (is_named)
            (void)cql_read_string(&values);
        (void)cql_read_bytes(&values);
        if (values.failed)
            return false;
    }
    return true;
}
