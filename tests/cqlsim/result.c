/* RESULT bodies (native_protocol_v4.spec and v5.spec §4.2.5). Pure. */
#include "digest.h"
#include "execution.h"
#include "wire.h"

#define FLAG_GLOBAL_TABLE     0x1U
#define FLAG_MORE_PAGES       0x2U
#define FLAG_NO_METADATA      0x4U
#define FLAG_METADATA_CHANGED 0x8U
#define FLAG_CONTINUOUS       0x40000000U
#define FLAG_LAST_PAGE        0x80000000U
#define KIND_ROWS             2

static void put_columns(const struct execution *execution, struct dynbuf *out,
                        const struct result_column *columns, size_t count)
{
    wire_put_string(out, execution->table->keyspace->name);
    wire_put_string(out, execution->table->name);
    for (size_t i = 0; i < count; i++) {
        wire_put_string(out, columns[i].name);
        type_put_option(out, columns[i].type);
    }
}

void result_put_metadata(struct execution *execution, struct dynbuf *out,
                         const struct result_column *columns, size_t count)
{
    wire_put_i32(out, count > 0 ? FLAG_GLOBAL_TABLE : FLAG_NO_METADATA);
    wire_put_i32(out, (int32_t)count);
    if (count > 0)
        put_columns(execution, out, columns, count);
    result_metadata_id(execution, columns, count, execution->result_id);
}

void result_metadata_id(const struct execution *execution, const struct result_column *columns,
                        size_t count, uint8_t id[16])
{
    struct dynbuf text;
    dynbuf_init(&text, WIRE_MAX_BODY);
    if (count > 0)
        put_columns(execution, &text, columns, count);
    digest_md5(dynbuf_text(&text), text.length, "", 0, id);
    dynbuf_fini(&text);
}

void result_put_rows(struct execution *execution, const struct result_column *columns, size_t count,
                     struct bytes paging, const struct dynbuf *rows, int32_t row_count)
{
    struct dynbuf *out = execution->out;
    bool skip = execution->skip_metadata;
    bool changed = false;
    uint8_t id[16];
    if (execution->metadata_id.length >= 0) {
        result_metadata_id(execution, columns, count, id);
        changed = bytes_compare(execution->metadata_id, bytes_of(id, sizeof id)) != 0;
        skip = skip && !changed;
        changed = changed && wire_has_metadata_ids(execution->version);
    }
    bool continuous = execution->page > 0;
    bool last = continuous && (paging.length < 0 || execution->last_page);
    bool described = !skip && count > 0;
    wire_put_i32(out, KIND_ROWS);
    wire_put_i32(out, (int32_t)((described ? FLAG_GLOBAL_TABLE : FLAG_NO_METADATA) |
                                (paging.length >= 0 ? FLAG_MORE_PAGES : 0) |
                                (changed ? FLAG_METADATA_CHANGED : 0) |
                                (continuous ? FLAG_CONTINUOUS : 0) | (last ? FLAG_LAST_PAGE : 0)));
    wire_put_i32(out, (int32_t)count);
    if (paging.length >= 0)
        wire_put_bytes(out, paging);
    if (changed)
        wire_put_short_bytes(out, bytes_of(id, sizeof id));
    if (continuous)
        wire_put_i32(out, execution->page);
    if (described)
        put_columns(execution, out, columns, count);
    wire_put_i32(out, row_count);
    dynbuf_append(out, rows->data, rows->length);
    execution->outcome = OUTCOME_ROWS;
    execution->next_page = paging;
}
