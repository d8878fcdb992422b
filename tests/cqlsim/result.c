/* RESULT bodies (native_protocol_v4.spec §4.2.5). Pure. */
#include "execution.h"
#include "wire.h"

#define FLAG_GLOBAL_TABLE 0x1
#define FLAG_MORE_PAGES   0x2
#define FLAG_NO_METADATA  0x4
#define KIND_ROWS         2

void result_put_metadata(struct execution *execution, struct dynbuf *out,
                         const struct result_column *columns, size_t count, struct bytes paging,
                         bool skip)
{
    bool described = !skip && count > 0;
    int32_t flags = (described ? FLAG_GLOBAL_TABLE : FLAG_NO_METADATA) |
                    (paging.length >= 0 ? FLAG_MORE_PAGES : 0);
    wire_put_i32(out, flags);
    wire_put_i32(out, (int32_t)count);
    if (paging.length >= 0)
        wire_put_bytes(out, paging);
    if (!described)
        return;
    wire_put_string(out, execution->table->keyspace->name);
    wire_put_string(out, execution->table->name);
    for (size_t i = 0; i < count; i++) {
        wire_put_string(out, columns[i].name);
        type_put_option(out, columns[i].type);
    }
}

void result_put_rows(struct execution *execution, const struct result_column *columns, size_t count,
                     struct bytes paging, const struct dynbuf *rows, int32_t row_count)
{
    struct dynbuf *out = execution->out;
    wire_put_i32(out, KIND_ROWS);
    result_put_metadata(execution, out, columns, count, paging, execution->skip_metadata);
    wire_put_i32(out, row_count);
    dynbuf_append(out, rows->data, rows->length);
    execution->outcome = OUTCOME_ROWS;
}
