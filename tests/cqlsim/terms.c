/* Terms to values: constants, bound values, collections, function calls. Owned by the main thread;
 * fills the marker table on the way, so that PREPARE and EXECUTE can never disagree about a
 * marker's type. */
#include <stdio.h>

#include "execution.h"
#include "murmur3.h"
#include "wire.h"

/* Between 1582-10-15 and 1970-01-01, in units of 100 ns. */
#define UUID_EPOCH INT64_C(0x01B21DD213814000)

struct bytes term_timeuuid(struct execution *execution, int64_t microseconds)
{
    uint64_t ticks =
        (uint64_t)(microseconds * 10 + UUID_EPOCH) + execution->engine->uuid_counter++ % 10;
    uint8_t uuid[16];
    schema_random_uuid(uuid);
    wire_store_i32(uuid, (int32_t)(uint32_t)ticks);
    uuid[4] = (uint8_t)(ticks >> 40);
    uuid[5] = (uint8_t)(ticks >> 32);
    uuid[6] = (uint8_t)(0x10 | (ticks >> 56 & 0x0F));
    uuid[7] = (uint8_t)(ticks >> 48);
    return bytes_of(arena_copy(execution->arena, uuid, 16), 16);
}

static int64_t timeuuid_ms(const uint8_t *uuid)
{
    uint64_t ticks = (uint64_t)((uuid[6] & 0x0F) << 8 | uuid[7]) << 48 |
                     (uint64_t)(uuid[4] << 8 | uuid[5]) << 32 | (uint32_t)wire_load_i32(uuid);
    int64_t since_epoch = (int64_t)ticks - UUID_EPOCH;
    return since_epoch / 10000 - (since_epoch % 10000 < 0);
}

static struct bytes i64_value(struct execution *execution, int64_t number)
{
    uint8_t bytes[8];
    wire_store_i64(bytes, number);
    return bytes_of(arena_copy(execution->arena, bytes, 8), 8);
}

static struct bytes date_value(struct execution *execution, int64_t ms)
{
    int64_t day = ms / 86400000 - (ms % 86400000 < 0) + (INT64_C(1) << 31);
    uint8_t bytes[4];
    wire_store_i32(bytes, (int32_t)(uint32_t)day);
    return bytes_of(arena_copy(execution->arena, bytes, 4), 4);
}

static bool call_token(struct execution *execution, const struct term *term, struct bytes *value)
{
    const struct table *table = execution->table;
    if (table == NULL || term->count != table->partition_count)
        return INVALID(execution->failure,
                       "Invalid number of arguments in call to function token: %zu", term->count);
    struct bytes *values = arena_alloc(execution->arena, term->count * sizeof *values);
    for (size_t i = 0; i < term->count; i++) {
        if (!term_evaluate_present(execution, term->items[i], table->partition[i]->type,
                                   table->partition[i]->name, &values[i]))
            return false;
        if (execution->preparing)
            values[i] = bytes_of("", 0);
    }
    *value = i64_value(execution, 0);
    if (execution->preparing)
        return true;
    struct partition_key key;
    if (!storage_key(table, execution->arena, values, &key, execution->failure))
        return false;
    *value = i64_value(execution, key.token);
    return true;
}

/* The function's result and its type. */
static bool call(struct execution *execution, const struct term *term, const struct cql_type **type,
                 struct bytes *value)
{
    const char *name = (const char *)term->text.data;
    int64_t now_ms = execution->timestamp / 1000;
    static const struct {
        const char *name;
        enum type_id argument; /* 0: none */
        enum type_id result;
    } functions[] = {
        {"now", 0, TYPE_TIMEUUID},
        {"currenttimeuuid", 0, TYPE_TIMEUUID},
        {"uuid", 0, TYPE_UUID},
        {"currenttimestamp", 0, TYPE_TIMESTAMP},
        {"currentdate", 0, TYPE_DATE},
        {"totimestamp", TYPE_TIMEUUID, TYPE_TIMESTAMP},
        {"dateof", TYPE_TIMEUUID, TYPE_TIMESTAMP},
        {"todate", TYPE_TIMEUUID, TYPE_DATE},
        {"tounixtimestamp", TYPE_TIMEUUID, TYPE_BIGINT},
        {"unixtimestampof", TYPE_TIMEUUID, TYPE_BIGINT},
        {"mintimeuuid", TYPE_TIMESTAMP, TYPE_TIMEUUID},
        {"maxtimeuuid", TYPE_TIMESTAMP, TYPE_TIMEUUID},
        {"textasblob", TYPE_TEXT, TYPE_BLOB},
        {"blobastext", TYPE_BLOB, TYPE_TEXT},
        {"intasblob", TYPE_INT, TYPE_BLOB},
        {"bigintasblob", TYPE_BIGINT, TYPE_BLOB},
    };
    if (strcmp(name, "token") == 0) {
        *type = type_native(TYPE_BIGINT);
        return call_token(execution, term, value);
    }
    size_t at = 0;
    while (at < ARRAY_COUNT(functions) && strcmp(functions[at].name, name) != 0)
        at++;
    if (at == ARRAY_COUNT(functions))
        return INVALID(execution->failure, "Unknown function '%.60s'", name);
    size_t wanted = functions[at].argument != 0;
    if (term->count != wanted)
        return INVALID(
            execution->failure,
            "Invalid number of arguments in call to function %s: %zu required but %zu provided",
            name, wanted, term->count);
    struct bytes argument = bytes_null();
    *type = type_native(functions[at].result);
    if (wanted == 1) {
        if (!term_evaluate(execution, term->items[0], type_native(functions[at].argument), name,
                           &argument))
            return false;
        if (argument.length <= 0) {
            *value = argument;
            return true;
        }
        if (functions[at].argument == TYPE_TIMEUUID)
            now_ms = timeuuid_ms(argument.data);
    }
    switch (functions[at].result) {
    case TYPE_UUID:
        *value = bytes_of(arena_alloc(execution->arena, 16), 16);
        schema_random_uuid((uint8_t *)(uintptr_t)value->data);
        return true;
    case TYPE_TIMEUUID:
        if (wanted == 0) {
            *value = term_timeuuid(execution, execution->timestamp);
        } else {
            *value = term_timeuuid(execution, wire_load_i64(argument.data) * 1000);
            memset((uint8_t *)(uintptr_t)value->data + 8, name[1] == 'i' ? 0x80 : 0x7F, 8);
        }
        return true;
    case TYPE_DATE:
        *value = date_value(execution, now_ms);
        return true;
    case TYPE_TIMESTAMP:
    case TYPE_BIGINT:
        *value = i64_value(execution, now_ms);
        return true;
    default:
        *value = argument;
        return type_validate(*type, argument, execution->failure);
    }
}

static bool evaluate_call(struct execution *execution, const struct term *term,
                          const struct cql_type *type, const char *name, struct bytes *value)
{
    const struct cql_type *result = NULL;
    if (!call(execution, term, &result, value))
        return false;
    bool fits = type->id == result->id || type->id == TYPE_BLOB ||
                (type->id == TYPE_UUID && result->id == TYPE_TIMEUUID) ||
                (type->id == TYPE_BIGINT && result->id == TYPE_TIMESTAMP);
    return fits ||
           INVALID(execution->failure,
                   "Type error: cannot assign result of function %.60s (type %s) to %s (type %s)",
                   (const char *)term->text.data, type_text(execution->arena, result), name,
                   type_text(execution->arena, type));
}

static bool evaluate_marker(struct execution *execution, const struct term *term,
                            const struct cql_type *type, const char *name, struct bytes *value)
{
    CHECK(term->marker < execution->marker_count);
    struct marker *marker = &execution->markers[term->marker];
    marker->name = term->name != NULL ? term->name : name;
    marker->type = type;
    *value = bytes_null();
    if (execution->preparing)
        return true;
    *value = execution->values[term->marker];
    if (value->length < 0)
        return true;
    if (!type_validate(type, *value, execution->failure))
        return false;
    *value = collection_normalize(execution->arena, type, *value);
    return true;
}

static bool wrong_shape(struct execution *execution, const struct cql_type *type, const char *name,
                        const char *shape)
{
    return INVALID(execution->failure, "Invalid %s literal for %s of type %s", shape, name,
                   type_text(execution->arena, type));
}

/* A list, set or map of terms; map keys and values alternate in both. */
static bool evaluate_items(struct execution *execution, const struct term *term,
                           const struct cql_type *type, const char *name, struct bytes *value)
{
    struct dynbuf out;
    dynbuf_init(&out, WIRE_MAX_BODY);
    bool ok = true;
    wire_put_i32(&out, (int32_t)(term->count / type->count));
    for (size_t i = 0; i < term->count && ok; i++) {
        struct bytes item;
        ok = term_evaluate(execution, term->items[i], type->parts[i % type->count], name, &item);
        if (ok && item.length < 0 && !execution->preparing)
            ok = INVALID(execution->failure, "null is not supported inside collections");
        if (ok)
            wire_put_bytes(&out, item);
    }
    CHECK(!out.failed);
    *value = arena_bytes(execution->arena, bytes_of(out.data, out.length));
    dynbuf_fini(&out);
    if (ok && !execution->preparing)
        *value = collection_normalize(execution->arena, type, *value);
    return ok;
}

static bool evaluate_tuple(struct execution *execution, const struct term *term,
                           const struct cql_type *type, const char *name, struct bytes *value)
{
    if (term->count > type->count)
        return wrong_shape(execution, type, name, "tuple");
    struct dynbuf out;
    dynbuf_init(&out, WIRE_MAX_BODY);
    bool ok = true;
    for (size_t i = 0; i < term->count && ok; i++) {
        struct bytes item;
        ok = term_evaluate(execution, term->items[i], type->parts[i], name, &item);
        wire_put_bytes(&out, ok ? item : bytes_null());
    }
    CHECK(!out.failed);
    *value = arena_bytes(execution->arena, bytes_of(out.data, out.length));
    dynbuf_fini(&out);
    return ok;
}

static bool evaluate_udt(struct execution *execution, const struct term *term,
                         const struct cql_type *type, const char *name, struct bytes *value)
{
    for (size_t i = 0; i < term->count; i++) {
        size_t at = 0;
        while (at < type->count && strcmp(type->fields[at], term->fields[i]) != 0)
            at++;
        if (at == type->count)
            return INVALID(execution->failure,
                           "Unknown field '%.60s' in value of user defined type %s",
                           term->fields[i], type->name);
    }
    struct dynbuf out;
    dynbuf_init(&out, WIRE_MAX_BODY);
    bool ok = true;
    for (size_t at = 0; at < type->count && ok; at++) {
        struct bytes item = bytes_null();
        for (size_t i = 0; i < term->count && ok; i++)
            if (strcmp(type->fields[at], term->fields[i]) == 0)
                ok = term_evaluate(execution, term->items[i], type->parts[at], name, &item);
        wire_put_bytes(&out, ok ? item : bytes_null());
    }
    CHECK(!out.failed);
    *value = arena_bytes(execution->arena, bytes_of(out.data, out.length));
    dynbuf_fini(&out);
    return ok;
}

bool term_evaluate(struct execution *execution, const struct term *term,
                   const struct cql_type *type, const char *name, struct bytes *value)
{
    switch (term->kind) {
    case TERM_LITERAL:
        return literal_to_value(execution->arena, term->literal, term->text, type, name, value,
                                execution->failure);
    case TERM_NULL:
        *value = bytes_null();
        return true;
    case TERM_MARKER:
        return evaluate_marker(execution, term, type, name, value);
    case TERM_CALL:
        return evaluate_call(execution, term, type, name, value);
    case TERM_LIST:
        if (type->id != TYPE_LIST)
            return wrong_shape(execution, type, name, "list");
        return evaluate_items(execution, term, type, name, value);
    case TERM_BRACES:
        if (type->id != TYPE_SET && !(type->id == TYPE_MAP && term->count == 0))
            return wrong_shape(execution, type, name, "set");
        return evaluate_items(execution, term, type, name, value);
    case TERM_MAP:
        if (type->id != TYPE_MAP)
            return wrong_shape(execution, type, name, "map");
        return evaluate_items(execution, term, type, name, value);
    case TERM_TUPLE:
        if (type->id == TYPE_TUPLE)
            return evaluate_tuple(execution, term, type, name, value);
        if (term->count == 1)
            return term_evaluate(execution, term->items[0], type, name, value);
        return wrong_shape(execution, type, name, "tuple");
    case TERM_UDT:
        if (type->id != TYPE_UDT)
            return wrong_shape(execution, type, name, "user type");
        return evaluate_udt(execution, term, type, name, value);
    }
    return false;
}

bool term_evaluate_present(struct execution *execution, const struct term *term,
                           const struct cql_type *type, const char *name, struct bytes *value)
{
    if (!term_evaluate(execution, term, type, name, value))
        return false;
    if (execution->preparing)
        return true;
    if (value->length == BYTES_UNSET)
        return INVALID(execution->failure, "Invalid unset value for column %s", name);
    if (value->length < 0)
        return INVALID(execution->failure, "Invalid null value in condition for column %s", name);
    return true;
}
