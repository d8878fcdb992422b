/* What each CQL type is called, how it is announced, which bytes it accepts and how they sort.
 * Pure. Never reads past a value: every inner length is checked by type_validate before anything
 * else looks at the value. */
#include "types.h"

#include <stdio.h>
#include <strings.h>

#include "wire.h"

static const struct {
    enum type_id id;
    const char *name;
    int fixed; /* length a non-empty value must have; 0: any */
} native_types[] = {
    {TYPE_ASCII, "ascii", 0},     {TYPE_BIGINT, "bigint", 8},
    {TYPE_BLOB, "blob", 0},       {TYPE_BOOLEAN, "boolean", 1},
    {TYPE_COUNTER, "counter", 8}, {TYPE_DECIMAL, "decimal", 0},
    {TYPE_DOUBLE, "double", 8},   {TYPE_FLOAT, "float", 4},
    {TYPE_INT, "int", 4},         {TYPE_TIMESTAMP, "timestamp", 8},
    {TYPE_UUID, "uuid", 16},      {TYPE_TEXT, "text", 0},
    {TYPE_VARINT, "varint", 0},   {TYPE_TIMEUUID, "timeuuid", 16},
    {TYPE_INET, "inet", 0},       {TYPE_DATE, "date", 4},
    {TYPE_TIME, "time", 8},       {TYPE_SMALLINT, "smallint", 2},
    {TYPE_TINYINT, "tinyint", 1},
};

static struct cql_type natives[TYPE_TINYINT + 1];

static size_t native_index(enum type_id id)
{
    for (size_t i = 0; i < ARRAY_COUNT(native_types); i++)
        if (native_types[i].id == id)
            return i;
    CHECK(!"not a native type");
    return 0;
}

const struct cql_type *type_native(enum type_id id)
{
    CHECK(id <= TYPE_TINYINT);
    natives[id].id = id;
    return &natives[id];
}

const struct cql_type *type_native_by_name(const char *name)
{
    if (strcasecmp(name, "varchar") == 0)
        return type_native(TYPE_TEXT);
    for (size_t i = 0; i < ARRAY_COUNT(native_types); i++)
        if (strcasecmp(native_types[i].name, name) == 0)
            return type_native(native_types[i].id);
    return NULL;
}

const struct cql_type *type_collection(struct arena *arena, enum type_id id,
                                       const struct cql_type *element)
{
    struct cql_type *type = arena_alloc(arena, sizeof *type);
    type->id = id;
    type->count = 1;
    type->parts = arena_alloc(arena, sizeof *type->parts);
    type->parts[0] = element;
    return type;
}

const struct cql_type *type_copy(struct arena *arena, const struct cql_type *type)
{
    if (type_is_native(type))
        return type_native(type->id);
    struct cql_type *copy = arena_alloc(arena, sizeof *copy);
    *copy = *type;
    copy->parts = arena_alloc(arena, type->count * sizeof *copy->parts);
    for (size_t i = 0; i < type->count; i++)
        copy->parts[i] = type_copy(arena, type->parts[i]);
    if (type->id == TYPE_UDT) {
        copy->keyspace = arena_text(arena, type->keyspace);
        copy->name = arena_text(arena, type->name);
        copy->fields = arena_alloc(arena, type->count * sizeof *copy->fields);
        for (size_t i = 0; i < type->count; i++)
            copy->fields[i] = arena_text(arena, type->fields[i]);
    }
    return copy;
}

bool type_is_native(const struct cql_type *type)
{
    return type->id < TYPE_LIST;
}

bool type_is_collection(const struct cql_type *type)
{
    return type->id == TYPE_LIST || type->id == TYPE_SET || type->id == TYPE_MAP;
}

bool type_equal(const struct cql_type *a, const struct cql_type *b)
{
    if (a->id != b->id || a->count != b->count)
        return false;
    for (size_t i = 0; i < a->count; i++)
        if (!type_equal(a->parts[i], b->parts[i]))
            return false;
    return a->id != TYPE_UDT || strcmp(a->name, b->name) == 0;
}

bool type_accepts(const struct cql_type *wanted, const struct cql_type *given)
{
    if (type_equal(wanted, given) || wanted->id == TYPE_BLOB)
        return true;
    switch (wanted->id) {
    case TYPE_UUID:
        return given->id == TYPE_TIMEUUID;
    case TYPE_BIGINT:
        return given->id == TYPE_TIMESTAMP;
    case TYPE_TEXT:
        return given->id == TYPE_ASCII;
    default:
        return false;
    }
}

void type_print(struct dynbuf *out, const struct cql_type *type)
{
    if (type_is_native(type)) {
        dynbuf_append_text(out, native_types[native_index(type->id)].name);
        return;
    }
    bool frozen = type->frozen || type->id == TYPE_TUPLE;
    if (frozen)
        dynbuf_append_text(out, "frozen<");
    if (type->id == TYPE_UDT) {
        dynbuf_append_text(out, type->name);
    } else {
        dynbuf_append_text(out, type->id == TYPE_LIST  ? "list<"
                                : type->id == TYPE_SET ? "set<"
                                : type->id == TYPE_MAP ? "map<"
                                                       : "tuple<");
        for (size_t i = 0; i < type->count; i++) {
            if (i > 0)
                dynbuf_append_text(out, ", ");
            type_print(out, type->parts[i]);
        }
        dynbuf_append_text(out, ">");
    }
    if (frozen)
        dynbuf_append_text(out, ">");
}

const char *type_text(struct arena *arena, const struct cql_type *type)
{
    struct dynbuf out;
    dynbuf_init(&out, 65536);
    type_print(&out, type);
    char *text = arena_text(arena, dynbuf_text(&out));
    dynbuf_fini(&out);
    return text;
}

void type_put_option(struct dynbuf *out, const struct cql_type *type)
{
    wire_put_u16(out, (uint16_t)type->id);
    if (type->id == TYPE_UDT) {
        wire_put_string(out, type->keyspace);
        wire_put_string(out, type->name);
    }
    if (type->id == TYPE_UDT || type->id == TYPE_TUPLE)
        wire_put_u16(out, (uint16_t)type->count);
    for (size_t i = 0; i < type->count; i++) {
        if (type->id == TYPE_UDT)
            wire_put_string(out, type->fields[i]);
        type_put_option(out, type->parts[i]);
    }
}

static bool utf8_is_valid(struct bytes text)
{
    const uint8_t *at = text.data;
    const uint8_t *end = at + text.length;
    while (at < end) {
        unsigned lead = *at++;
        if (lead < 0x80)
            continue;
        unsigned more = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : 1;
        if (lead < 0xC2 || lead > 0xF4 || (size_t)(end - at) < more)
            return false;
        uint32_t point = lead & (0x3FU >> more);
        for (unsigned i = 0; i < more; i++) {
            if ((*at & 0xC0) != 0x80)
                return false;
            point = point << 6 | (*at++ & 0x3FU);
        }
        static const uint32_t lowest[] = {0, 0x80, 0x800, 0x10000};
        if (point < lowest[more] || point > 0x10FFFF || (point >= 0xD800 && point <= 0xDFFF))
            return false;
    }
    return true;
}

static bool validate_native(const struct cql_type *type, struct bytes value,
                            struct failure *failure)
{
    size_t at = native_index(type->id);
    int fixed = native_types[at].fixed;
    if (fixed > 0 && value.length != fixed && value.length != 0) {
        if (type->id == TYPE_UUID || type->id == TYPE_TIMEUUID)
            return INVALID(failure, "UUID should be 16 or 0 bytes (%d)", value.length);
        return INVALID(failure, "Expected %d or 0 byte %s (%d)", fixed, native_types[at].name,
                       value.length);
    }
    switch (type->id) {
    case TYPE_ASCII:
        for (int32_t i = 0; i < value.length; i++)
            if (value.data[i] > 0x7F)
                return INVALID(failure, "Invalid byte for ascii: %d", value.data[i]);
        return true;
    case TYPE_TEXT:
        return utf8_is_valid(value) || INVALID(failure, "String didn't validate.");
    case TYPE_TIMEUUID:
        return value.length == 0 || (value.data[6] & 0xF0) == 0x10 ||
               INVALID(failure, "Invalid version for TimeUUID type.");
    case TYPE_INET:
        return value.length == 0 || value.length == 4 || value.length == 16 ||
               INVALID(failure, "Expected 4 or 16 byte inetaddress; got %d bytes", value.length);
    case TYPE_DECIMAL:
        return value.length == 0 || value.length >= 4 ||
               INVALID(failure, "Expected 0 or at least 4 bytes (%d)", value.length);
    default:
        return true;
    }
}

bool type_validate(const struct cql_type *type, struct bytes value, struct failure *failure)
{
    if (type_is_native(type))
        return validate_native(type, value, failure);
    struct wire_reader reader = {value.data, value.data + value.length, false};
    if (type->id == TYPE_TUPLE || type->id == TYPE_UDT) {
        for (size_t i = 0; i < type->count && wire_left(&reader) > 0; i++) {
            struct bytes part = wire_bytes(&reader);
            if (reader.failed)
                return INVALID(failure, "Not enough bytes to read %zuth component of a tuple", i);
            if (part.length >= 0 && !type_validate(type->parts[i], part, failure))
                return false;
        }
        return wire_left(&reader) == 0 ||
               INVALID(failure, "Invalid remaining data after end of tuple value");
    }
    const char *name = type->id == TYPE_LIST ? "list" : type->id == TYPE_SET ? "set" : "map";
    int32_t count = wire_i32(&reader);
    if (reader.failed || count < 0)
        return INVALID(failure, "Not enough bytes to read a %s", name);
    size_t total = (size_t)count * type->count;
    for (size_t i = 0; i < total; i++) {
        struct bytes part = wire_bytes(&reader);
        if (reader.failed)
            return INVALID(failure, "Not enough bytes to read a %s", name);
        if (part.length < 0)
            return INVALID(failure, "null is not supported inside collections");
        if (!type_validate(type->parts[i % type->count], part, failure))
            return false;
    }
    return wire_left(&reader) == 0 ||
           INVALID(failure, "Unexpected extraneous bytes after %s value", name);
}

void type_walk_start(struct type_walk *walk, const struct cql_type *type, struct bytes value)
{
    *walk = (struct type_walk){.type = type, .at = value.data};
    walk->end = value.length > 0 ? value.data + value.length : value.data;
    if (type->id == TYPE_TUPLE || type->id == TYPE_UDT) {
        walk->total = type->count;
    } else if (value.length >= 4) {
        walk->total = (size_t)wire_load_i32(value.data) * type->count;
        walk->at += 4;
    }
}

bool type_walk_next(struct type_walk *walk, struct bytes *element,
                    const struct cql_type **element_type)
{
    if (walk->index >= walk->total)
        return false;
    bool by_field = walk->type->id == TYPE_TUPLE || walk->type->id == TYPE_UDT;
    size_t part = by_field ? walk->index : walk->index % walk->type->count;
    if (element_type != NULL)
        *element_type = walk->type->parts[part];
    walk->index++;
    if (by_field && walk->at == walk->end) {
        *element = bytes_null();
        return true;
    }
    struct wire_reader reader = {walk->at, walk->end, false};
    *element = wire_bytes(&reader);
    CHECK(!reader.failed); /* only validated values are walked */
    walk->at = reader.at;
    return true;
}

static int sign_of(int64_t a, int64_t b)
{
    return a < b ? -1 : a > b;
}

static int compare_double(double a, double b)
{
    bool a_nan = a != a;
    bool b_nan = b != b;
    if (a_nan || b_nan)
        return (int)a_nan - (int)b_nan;
    return a < b ? -1 : a > b;
}

static double load_double(enum type_id id, const uint8_t *data)
{
    if (id == TYPE_FLOAT) {
        int32_t bits = wire_load_i32(data);
        float value;
        memcpy(&value, &bits, sizeof value);
        return (double)value;
    }
    int64_t bits = wire_load_i64(data);
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static int compare_varint(struct bytes a, struct bytes b)
{
    bool a_negative = a.length > 0 && a.data[0] >= 0x80;
    bool b_negative = b.length > 0 && b.data[0] >= 0x80;
    if (a_negative != b_negative)
        return a_negative ? -1 : 1;
    uint8_t fill = a_negative ? 0xFF : 0;
    while (a.length > 0 && a.data[0] == fill) {
        a.data++;
        a.length--;
    }
    while (b.length > 0 && b.data[0] == fill) {
        b.data++;
        b.length--;
    }
    if (a.length != b.length)
        return (a.length < b.length) != a_negative ? -1 : 1;
    return bytes_compare(a, b);
}

static long double varint_value(struct bytes value)
{
    long double number = value.length > 0 && value.data[0] >= 0x80 ? -1.0L : 0.0L;
    for (int32_t i = 0; i < value.length; i++)
        number = number * 256.0L + value.data[i];
    return number;
}

/* Exact when the scales agree; across scales by long double, which orders all but the closest
 * neighbours. */
static int compare_decimal(struct bytes a, struct bytes b)
{
    int32_t a_scale = wire_load_i32(a.data);
    int32_t b_scale = wire_load_i32(b.data);
    struct bytes a_digits = {a.data + 4, a.length - 4};
    struct bytes b_digits = {b.data + 4, b.length - 4};
    if (a_scale == b_scale)
        return compare_varint(a_digits, b_digits);
    long double a_value = varint_value(a_digits) * __builtin_powl(10.0L, -(long double)a_scale);
    long double b_value = varint_value(b_digits) * __builtin_powl(10.0L, -(long double)b_scale);
    return a_value < b_value ? -1 : a_value > b_value;
}

static int64_t timeuuid_ticks(const uint8_t *uuid)
{
    uint64_t low = (uint32_t)wire_load_i32(uuid);
    uint64_t middle = (uint64_t)(uuid[4] << 8 | uuid[5]);
    uint64_t high = (uint64_t)((uuid[6] & 0x0F) << 8 | uuid[7]);
    return (int64_t)(high << 48 | middle << 32 | low);
}

static int compare_uuid(struct bytes a, struct bytes b)
{
    int a_version = a.data[6] >> 4;
    int b_version = b.data[6] >> 4;
    if (a_version != b_version)
        return sign_of(a_version, b_version);
    if (a_version == 1) {
        int order = sign_of(timeuuid_ticks(a.data), timeuuid_ticks(b.data));
        if (order != 0)
            return order;
        for (int i = 8; i < 16; i++) {
            order = sign_of((int8_t)a.data[i], (int8_t)b.data[i]);
            if (order != 0)
                return order;
        }
        return 0;
    }
    return bytes_compare(a, b);
}

static int compare_parts(const struct cql_type *type, struct bytes a, struct bytes b)
{
    struct type_walk a_walk;
    struct type_walk b_walk;
    type_walk_start(&a_walk, type, a);
    type_walk_start(&b_walk, type, b);
    for (;;) {
        struct bytes a_part;
        struct bytes b_part;
        const struct cql_type *part_type;
        bool a_more = type_walk_next(&a_walk, &a_part, &part_type);
        bool b_more = type_walk_next(&b_walk, &b_part, NULL);
        if (!a_more || !b_more)
            return (int)a_more - (int)b_more;
        if (a_part.length < 0 || b_part.length < 0) {
            if (a_part.length != b_part.length)
                return a_part.length < 0 ? -1 : 1;
            continue;
        }
        int order = type_compare(part_type, a_part, b_part);
        if (order != 0)
            return order;
    }
}

int type_compare(const struct cql_type *type, struct bytes a, struct bytes b)
{
    if (a.length <= 0 || b.length <= 0)
        return bytes_compare(a, b);
    switch (type->id) {
    case TYPE_BIGINT:
    case TYPE_COUNTER:
    case TYPE_TIMESTAMP:
    case TYPE_TIME:
        return sign_of(wire_load_i64(a.data), wire_load_i64(b.data));
    case TYPE_INT:
        return sign_of(wire_load_i32(a.data), wire_load_i32(b.data));
    case TYPE_SMALLINT:
        return sign_of((int16_t)(a.data[0] << 8 | a.data[1]),
                       (int16_t)(b.data[0] << 8 | b.data[1]));
    case TYPE_TINYINT:
        return sign_of((int8_t)a.data[0], (int8_t)b.data[0]);
    case TYPE_DOUBLE:
    case TYPE_FLOAT:
        return compare_double(load_double(type->id, a.data), load_double(type->id, b.data));
    case TYPE_VARINT:
        return compare_varint(a, b);
    case TYPE_DECIMAL:
        return compare_decimal(a, b);
    case TYPE_UUID:
    case TYPE_TIMEUUID:
        return compare_uuid(a, b);
    case TYPE_LIST:
    case TYPE_SET:
    case TYPE_MAP:
    case TYPE_TUPLE:
    case TYPE_UDT:
        return compare_parts(type, a, b);
    default:
        return bytes_compare(a, b);
    }
}
