/* Reading and writing protocol notations. Pure; a length is always compared with what is really
 * there before use. */
#include "wire.h"

#include <strings.h>

static const char *const opcode_names[OP_LIMIT] = {
    [OP_ERROR] = "ERROR",
    [OP_STARTUP] = "STARTUP",
    [OP_READY] = "READY",
    [OP_AUTHENTICATE] = "AUTHENTICATE",
    [OP_OPTIONS] = "OPTIONS",
    [OP_SUPPORTED] = "SUPPORTED",
    [OP_QUERY] = "QUERY",
    [OP_RESULT] = "RESULT",
    [OP_PREPARE] = "PREPARE",
    [OP_EXECUTE] = "EXECUTE",
    [OP_REGISTER] = "REGISTER",
    [OP_EVENT] = "EVENT",
    [OP_BATCH] = "BATCH",
    [OP_AUTH_CHALLENGE] = "AUTH_CHALLENGE",
    [OP_AUTH_RESPONSE] = "AUTH_RESPONSE",
    [OP_AUTH_SUCCESS] = "AUTH_SUCCESS",
};

const char *wire_opcode_name(unsigned opcode)
{
    if (opcode == OP_REVISE_REQUEST)
        return "REVISE_REQUEST";
    return opcode < OP_LIMIT ? opcode_names[opcode] : NULL;
}

unsigned wire_opcode_parse(const char *name)
{
    for (unsigned i = 0; i < OP_LIMIT; i++)
        if (opcode_names[i] != NULL && strcasecmp(opcode_names[i], name) == 0)
            return i;
    return OP_LIMIT;
}

const char *wire_version_name(unsigned version)
{
    switch (version) {
    case 3:
        return "3/v3";
    case 4:
        return "4/v4";
    case 5:
        return "5/v5";
    case WIRE_DSE1:
        return "65/dse-v1";
    case WIRE_DSE2:
        return "66/dse-v2";
    default:
        return NULL;
    }
}

const char *wire_beta_name(unsigned version)
{
    return version == 5 ? "5/v5-beta" : version == 6 ? "6/v6-beta" : NULL;
}

void wire_header_read(const uint8_t *data, struct wire_header *header)
{
    header->version = data[0];
    header->flags = data[1];
    header->stream = (int16_t)(uint16_t)(data[2] << 8 | data[3]);
    header->opcode = data[4];
    header->length = (uint32_t)wire_load_i32(data + 5);
}

struct bytes wire_span(struct wire_reader *reader, size_t length)
{
    if (reader->failed || wire_left(reader) < length) {
        reader->failed = true;
        return (struct bytes){(const uint8_t *)"", 0};
    }
    struct bytes span = bytes_of(reader->at, length);
    reader->at += length;
    return span;
}

uint8_t wire_u8(struct wire_reader *reader)
{
    struct bytes span = wire_span(reader, 1);
    return span.length == 0 ? 0 : span.data[0];
}

uint16_t wire_u16(struct wire_reader *reader)
{
    struct bytes span = wire_span(reader, 2);
    return span.length == 0 ? 0 : (uint16_t)(span.data[0] << 8 | span.data[1]);
}

int32_t wire_i32(struct wire_reader *reader)
{
    struct bytes span = wire_span(reader, 4);
    return span.length == 0 ? 0 : wire_load_i32(span.data);
}

int64_t wire_i64(struct wire_reader *reader)
{
    struct bytes span = wire_span(reader, 8);
    return span.length == 0 ? 0 : wire_load_i64(span.data);
}

struct bytes wire_string(struct wire_reader *reader)
{
    return wire_span(reader, wire_u16(reader));
}

struct bytes wire_short_bytes(struct wire_reader *reader)
{
    return wire_span(reader, wire_u16(reader));
}

struct bytes wire_long_string(struct wire_reader *reader)
{
    int32_t length = wire_i32(reader);
    if (length < 0) {
        reader->failed = true;
        length = 0;
    }
    return wire_span(reader, (size_t)length);
}

struct bytes wire_bytes(struct wire_reader *reader)
{
    int32_t length = wire_i32(reader);
    return length < 0 ? bytes_null() : wire_span(reader, (size_t)length);
}

struct bytes wire_value(struct wire_reader *reader, unsigned version)
{
    int32_t length = wire_i32(reader);
    if (length >= 0)
        return wire_span(reader, (size_t)length);
    if (length == BYTES_NULL)
        return bytes_null();
    if (length == BYTES_UNSET && version >= 4)
        return (struct bytes){NULL, BYTES_UNSET};
    reader->failed = true;
    return bytes_null();
}

void wire_put_u8(struct dynbuf *out, uint8_t value)
{
    dynbuf_append(out, &value, 1);
}

void wire_put_u16(struct dynbuf *out, uint16_t value)
{
    uint8_t bytes[2] = {(uint8_t)(value >> 8), (uint8_t)value};
    dynbuf_append(out, bytes, sizeof bytes);
}

void wire_put_i32(struct dynbuf *out, int32_t value)
{
    uint8_t bytes[4];
    wire_store_i32(bytes, value);
    dynbuf_append(out, bytes, sizeof bytes);
}

void wire_put_i64(struct dynbuf *out, int64_t value)
{
    uint8_t bytes[8];
    wire_store_i64(bytes, value);
    dynbuf_append(out, bytes, sizeof bytes);
}

void wire_put_string_bytes(struct dynbuf *out, struct bytes text)
{
    size_t length = text.length > 0 ? (size_t)text.length : 0;
    if (length > UINT16_MAX)
        length = UINT16_MAX;
    wire_put_u16(out, (uint16_t)length);
    dynbuf_append(out, text.data, length);
}

void wire_put_string(struct dynbuf *out, const char *text)
{
    wire_put_string_bytes(out, bytes_text(text));
}

void wire_put_short_bytes(struct dynbuf *out, struct bytes value)
{
    wire_put_string_bytes(out, value);
}

void wire_put_bytes(struct dynbuf *out, struct bytes value)
{
    if (value.length < 0) {
        wire_put_i32(out, -1);
        return;
    }
    wire_put_i32(out, value.length);
    dynbuf_append(out, value.data, (size_t)value.length);
}

void wire_patch_i32(struct dynbuf *out, size_t offset, int32_t value)
{
    if (!out->failed)
        wire_store_i32(out->data + offset, value);
}
