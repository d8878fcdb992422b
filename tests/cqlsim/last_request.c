/* Keeping and printing what requests carried. Owned by the main thread; bounded: texts beyond
 * LAST_REQUEST_TEXT_MAX are left out. */
#include "last_request.h"

#include <inttypes.h>

#include "types.h"

#define FOR_EACH_TEXT(request, field)                                                              \
    struct dynbuf *const fields_[] = {&(request)->query,        &(request)->keyspace,              \
                                      &(request)->paging_state, &(request)->prepared_id,           \
                                      &(request)->metadata_id,  &(request)->value_list,            \
                                      &(request)->payload_keys, &(request)->options};              \
    for (struct dynbuf *const *field = fields_; field < fields_ + ARRAY_COUNT(fields_); field++)

static void init_one(struct last_request *request)
{
    *request = (struct last_request){0};
    FOR_EACH_TEXT(request, field)
    dynbuf_init(*field, LAST_REQUEST_TEXT_MAX);
}

static void fini_one(struct last_request *request)
{
    FOR_EACH_TEXT(request, field)
    dynbuf_fini(*field);
}

void last_request_init(struct last_requests *requests)
{
    requests->count = 0;
    init_one(&requests->current);
    for (unsigned i = 0; i < OP_LIMIT; i++)
        for (unsigned j = 0; j < LAST_KINDS; j++)
            init_one(&requests->kept[i][j]);
}

void last_request_fini(struct last_requests *requests)
{
    fini_one(&requests->current);
    for (unsigned i = 0; i < OP_LIMIT; i++)
        for (unsigned j = 0; j < LAST_KINDS; j++)
            fini_one(&requests->kept[i][j]);
}

struct last_request *last_request_start(struct last_requests *requests, unsigned opcode)
{
    struct last_request *request = &requests->current;
    FOR_EACH_TEXT(request, field)
    dynbuf_reset(*field);
    request->opcode = opcode;
    request->flags = 0;
    request->consistency = -1;
    request->serial_consistency = -1;
    request->timestamp = INT64_MIN;
    request->now_in_seconds = INT64_MIN;
    request->page_size = 0;
    request->values = 0;
    request->statements = 0;
    return request;
}

void last_request_keep(struct last_requests *requests, enum last_kind kind)
{
    if (requests->current.opcode >= OP_LIMIT)
        return;
    struct last_request *place = &requests->kept[requests->current.opcode][kind];
    struct last_request before = *place;
    *place = requests->current;
    requests->current = before;
    place->sequence = ++requests->count;
}

void last_request_text(struct dynbuf *field, struct bytes text)
{
    dynbuf_reset(field);
    if (text.length >= 0)
        type_print_json_text(field, text);
}

void last_request_hex(struct dynbuf *field, struct bytes data)
{
    if (data.length < 0)
        return;
    dynbuf_append_text(field, "\"");
    for (int32_t i = 0; i < data.length && !field->failed; i++)
        dynbuf_printf(field, "%02x", data.data[i]);
    dynbuf_append_text(field, "\"");
}

void last_request_page(struct last_request *request, int32_t page_size, struct bytes state)
{
    request->page_size = page_size;
    last_request_hex(&request->paging_state, state);
}

static void separate(struct dynbuf *list)
{
    if (list->length > 0)
        dynbuf_append_text(list, ", ");
}

void last_request_value(struct last_request *request, struct bytes name, struct bytes value)
{
    struct dynbuf *list = &request->value_list;
    request->values++;
    separate(list);
    dynbuf_append_text(list, "[");
    if (name.length >= 0)
        type_print_json_text(list, name);
    else
        dynbuf_append_text(list, "null");
    dynbuf_append_text(list, ", ");
    if (value.length >= 0)
        last_request_hex(list, value);
    else
        dynbuf_append_text(list, value.length == BYTES_UNSET ? "false" : "null");
    dynbuf_append_text(list, "]");
}

void last_request_option(struct last_request *request, struct bytes key, struct bytes value)
{
    separate(&request->options);
    type_print_json_text(&request->options, key);
    dynbuf_append_text(&request->options, ": ");
    type_print_json_text(&request->options, value);
}

void last_request_payload_key(struct last_request *request, struct bytes key)
{
    separate(&request->payload_keys);
    type_print_json_text(&request->payload_keys, key);
}

const struct last_request *last_request_find(const struct last_requests *requests, unsigned opcode,
                                             enum last_kind kind)
{
    const struct last_request *found = NULL;
    for (unsigned i = 0; i < OP_LIMIT; i++) {
        for (unsigned j = 0; j < LAST_KINDS; j++) {
            const struct last_request *one = &requests->kept[i][j];
            if (one->sequence == 0 || (opcode != OP_LIMIT && opcode != i) ||
                (kind != LAST_KINDS && kind != j))
                continue;
            if (found == NULL || one->sequence > found->sequence)
                found = one;
        }
    }
    return found;
}

static void print_text(struct dynbuf *out, const char *name, const struct dynbuf *text,
                       const char *open, const char *close)
{
    bool any = text->length > 0 && !text->failed;
    dynbuf_printf(out, ", \"%s\": %s%s%s", name, any || *open != '\0' ? open : "null",
                  any ? dynbuf_text(text) : "", close);
}

static void print_number(struct dynbuf *out, const char *name, int64_t number, bool given)
{
    if (given)
        dynbuf_printf(out, ", \"%s\": %" PRId64, name, number);
    else
        dynbuf_printf(out, ", \"%s\": null", name);
}

void last_request_print(const struct last_request *request, struct dynbuf *out)
{
    dynbuf_printf(out, "{\"sequence\": %" PRIu64 ", \"opcode\": \"%s\", \"version\": %u",
                  request->sequence, wire_opcode_name(request->opcode), request->version);
    dynbuf_printf(out, ", \"header_flags\": %u, \"flags\": %" PRIu32, request->header_flags,
                  request->flags);
    dynbuf_printf(out, ", \"compressed\": %s, \"compression\": \"%s\", \"segmented\": %s",
                  request->compressed ? "true" : "false", request->compression,
                  request->segmented ? "true" : "false");
    print_number(out, "consistency", request->consistency, request->consistency >= 0);
    print_number(out, "serial_consistency", request->serial_consistency,
                 request->serial_consistency >= 0);
    print_number(out, "timestamp", request->timestamp, request->timestamp != INT64_MIN);
    print_number(out, "now_in_seconds", request->now_in_seconds,
                 request->now_in_seconds != INT64_MIN);
    print_number(out, "page_size", request->page_size, request->page_size > 0);
    print_text(out, "paging_state", &request->paging_state, "", "");
    print_text(out, "keyspace", &request->keyspace, "", "");
    print_text(out, "query", &request->query, "", "");
    print_text(out, "prepared_id", &request->prepared_id, "", "");
    print_text(out, "result_metadata_id", &request->metadata_id, "", "");
    dynbuf_printf(out, ", \"statements\": %zu, \"values\": %zu", request->statements,
                  request->values);
    print_text(out, "value_list", &request->value_list, "[", "]");
    print_text(out, "payload_keys", &request->payload_keys, "[", "]");
    print_text(out, "options", &request->options, "{", "}");
    dynbuf_append_text(out, "}");
}
