/* Reading and making response bodies. Pure. */
#include "proto/cql_response.h"

struct cql_cursor cql_open_response(struct cql_header header, const uint8_t *body)
{
    struct cql_cursor cursor = cql_cursor_over(body, header.body_length);
    if ((header.flags & CQL_FLAG_TRACING) != 0)
        (void)cql_cursor_take(&cursor, 16);
    if ((header.flags & CQL_FLAG_WARNING) != 0) {
        for (uint16_t left = cql_read_u16(&cursor); left > 0 && !cursor.failed; left--)
            (void)cql_read_string(&cursor);
    }
    if ((header.flags & CQL_FLAG_CUSTOM_PAYLOAD) != 0) {
        for (uint16_t left = cql_read_u16(&cursor); left > 0 && !cursor.failed; left--) {
            (void)cql_read_string(&cursor);
            (void)cql_read_bytes(&cursor);
        }
    }
    return cursor;
}

const char *cql_error_name(int32_t code)
{
    switch (code) {
#define CQL_ERROR(symbol, number, name, node_error)                                                \
    case number:                                                                                   \
        return name;
#include "proto/cql_errors.def"
#undef CQL_ERROR
    default:
        return "UNKNOWN";
    }
}

void cql_put_u8(struct dynbuf *body, uint8_t value)
{
    dynbuf_append(body, &value, 1);
}

void cql_put_u16(struct dynbuf *body, uint16_t value)
{
    uint8_t bytes[2];
    cql_store_u16(bytes, value);
    dynbuf_append(body, bytes, sizeof bytes);
}

void cql_put_i32(struct dynbuf *body, int32_t value)
{
    uint8_t bytes[4];
    cql_store_u32(bytes, (uint32_t)value);
    dynbuf_append(body, bytes, sizeof bytes);
}

void cql_put_string(struct dynbuf *body, const void *text, size_t length)
{
    if (length > UINT16_MAX)
        length = UINT16_MAX;
    cql_put_u16(body, (uint16_t)length);
    dynbuf_append(body, text, length);
}

void cql_put_error(struct dynbuf *body, int32_t code, const char *message)
{
    cql_put_i32(body, code);
    cql_put_string(body, message, strlen(message));
}
