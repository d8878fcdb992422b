/* Terms to values: constants, bound values, collections, casts, function calls. Owned by the main
 * thread; fills the marker table on the way, so that PREPARE and EXECUTE can never disagree about a
 * marker's type. */
#include <stdio.h>

#include "execution.h"
#include "murmur3.h"
#include "wire.h"

static struct bytes i64_value(struct execution *execution, int64_t number)
{
    uint8_t bytes[8];
    wire_store_i64(bytes, number);
    return bytes_of(arena_copy(execution->arena, bytes, 8), 8);
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

static bool evaluate_call(struct execution *execution, const struct term *term,
                          const struct cql_type *type, const char *name, struct bytes *value)
{
    const struct cql_type *result = NULL;
    bool ok;
    if (bytes_equal(term->text, "token")) {
        result = type_native(TYPE_BIGINT);
        ok = call_token(execution, term, value);
    } else {
        ok = function_call(execution, term, &result, value);
    }
    if (!ok || type_accepts(type, result))
        return ok;
    return INVALID(execution->failure,
                   "Type error: cannot assign result of function system.%.60s (type %s) to %s "
                   "(type %s)",
                   (const char *)term->text.data, type_text(execution->arena, result), name,
                   type_text(execution->arena, type));
}

/* (type) term; a marker there is called what it would be without the cast. */
static bool evaluate_cast(struct execution *execution, const struct term *term,
                          const struct cql_type *type, const char *name, struct bytes *value)
{
    const struct term *item = term->items[0];
    if (!type_accepts(type, term->type))
        return INVALID(execution->failure, "Cannot assign value (%s)%s to %s of type %s",
                       type_text(execution->arena, term->type),
                       item->kind == TERM_LITERAL  ? (const char *)item->text.data
                       : item->kind == TERM_MARKER ? "?"
                                                   : "..",
                       name, type_text(execution->arena, type));
    return term_evaluate(execution, item, term->type, name, value);
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
    case TERM_CAST:
        return evaluate_cast(execution, term, type, name, value);
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
