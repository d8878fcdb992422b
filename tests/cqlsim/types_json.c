/* Values as JSON, for the control socket's dump. Pure; only validated values come here. */
#include <arpa/inet.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "literal.h"
#include "types.h"
#include "wire.h"

void type_print_json_text(struct dynbuf *out, struct bytes text)
{
    dynbuf_append_text(out, "\"");
    for (int32_t i = 0; i < text.length; i++) {
        uint8_t c = text.data[i];
        if (c == '"' || c == '\\')
            dynbuf_printf(out, "\\%c", c);
        else if (c < 0x20)
            dynbuf_printf(out, "\\u%04x", c);
        else
            dynbuf_append(out, &c, 1);
    }
    dynbuf_append_text(out, "\"");
}

static void print_floating(struct dynbuf *out, double number, int precision)
{
    if (isfinite(number))
        dynbuf_printf(out, "%.*g", precision, number);
    else
        dynbuf_append_text(out, isnan(number) ? "\"NaN\""
                                : number < 0  ? "\"-Infinity\""
                                              : "\"Infinity\"");
}

static void print_native(struct dynbuf *out, enum type_id id, struct bytes value)
{
    char text[64];
    int32_t bits;
    int64_t wide;
    float narrow;
    double number;
    switch (id) {
    case TYPE_ASCII:
    case TYPE_TEXT:
        type_print_json_text(out, value);
        break;
    case TYPE_BIGINT:
    case TYPE_COUNTER:
    case TYPE_TIMESTAMP:
    case TYPE_TIME:
        dynbuf_printf(out, "%" PRId64, wire_load_i64(value.data));
        break;
    case TYPE_INT:
        dynbuf_printf(out, "%" PRId32, wire_load_i32(value.data));
        break;
    case TYPE_DATE:
        dynbuf_printf(out, "%" PRIu32, (uint32_t)wire_load_i32(value.data));
        break;
    case TYPE_SMALLINT:
        dynbuf_printf(out, "%d", (int16_t)(value.data[0] << 8 | value.data[1]));
        break;
    case TYPE_TINYINT:
        dynbuf_printf(out, "%d", (int8_t)value.data[0]);
        break;
    case TYPE_BOOLEAN:
        dynbuf_append_text(out, value.data[0] != 0 ? "true" : "false");
        break;
    case TYPE_FLOAT:
        bits = wire_load_i32(value.data);
        memcpy(&narrow, &bits, sizeof narrow);
        print_floating(out, (double)narrow, 9);
        break;
    case TYPE_DOUBLE:
        wide = wire_load_i64(value.data);
        memcpy(&number, &wide, sizeof number);
        print_floating(out, number, 17);
        break;
    case TYPE_UUID:
    case TYPE_TIMEUUID:
        literal_print_uuid(text, value.data);
        dynbuf_printf(out, "\"%s\"", text);
        break;
    case TYPE_INET:
        inet_ntop(value.length == 4 ? AF_INET : AF_INET6, value.data, text, sizeof text);
        dynbuf_printf(out, "\"%s\"", text);
        break;
    case TYPE_VARINT:
        dynbuf_append_text(out, "\"");
        literal_print_varint(out, value);
        dynbuf_append_text(out, "\"");
        break;
    case TYPE_DECIMAL:
        dynbuf_append_text(out, "\"");
        literal_print_varint(out, (struct bytes){value.data + 4, value.length - 4});
        dynbuf_printf(out, "E%" PRId32 "\"", -wire_load_i32(value.data));
        break;
    default:
        dynbuf_append_text(out, "\"0x");
        for (int32_t i = 0; i < value.length; i++)
            dynbuf_printf(out, "%02x", value.data[i]);
        dynbuf_append_text(out, "\"");
    }
}

static void print_map_key(struct dynbuf *out, const struct cql_type *type, struct bytes key)
{
    struct dynbuf inner;
    dynbuf_init(&inner, out->maximum);
    type_print_json(&inner, type, key);
    if (inner.length > 0 && inner.data[0] == '"')
        dynbuf_append(out, inner.data, inner.length);
    else
        type_print_json_text(out, bytes_of(inner.data, inner.length));
    dynbuf_fini(&inner);
}

void type_print_json(struct dynbuf *out, const struct cql_type *type, struct bytes value)
{
    if (value.length < 0) {
        dynbuf_append_text(out, "null");
        return;
    }
    if (type_is_native(type)) {
        bool textual = type->id == TYPE_ASCII || type->id == TYPE_TEXT || type->id == TYPE_BLOB;
        if (value.length == 0 && !textual)
            dynbuf_append_text(out, "\"\"");
        else
            print_native(out, type->id, value);
        return;
    }
    bool braces = type->id == TYPE_MAP || type->id == TYPE_UDT;
    dynbuf_append_text(out, braces ? "{" : "[");
    struct type_walk walk;
    struct bytes element;
    const struct cql_type *element_type;
    type_walk_start(&walk, type, value);
    for (size_t i = 0; type_walk_next(&walk, &element, &element_type); i++) {
        bool is_key = type->id == TYPE_MAP && i % 2 == 0;
        if (i > 0)
            dynbuf_append_text(out, type->id == TYPE_MAP && !is_key ? ": " : ", ");
        if (type->id == TYPE_UDT) {
            type_print_json_text(out, bytes_text(type->fields[i]));
            dynbuf_append_text(out, ": ");
        }
        if (is_key)
            print_map_key(out, element_type, element);
        else
            type_print_json(out, element_type, element);
    }
    dynbuf_append_text(out, braces ? "}" : "]");
}
