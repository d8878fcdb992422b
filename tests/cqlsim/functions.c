/* Native functions: which a release has, which of several of one name is meant, what they give.
 * Owned by the main thread. */
#include "execution.h"
#include "wire.h"

/* Between 1582-10-15 and 1970-01-01, in units of 100 ns. */
#define UUID_EPOCH   INT64_C(0x01B21DD213814000)
#define DAY_MS       INT64_C(86400000)
#define DAY_ZERO     (INT64_C(1) << 31)
#define EVERY        0, UINT32_MAX /* release */
#define FROM_4       4, UINT32_MAX
#define FROM_5       5, UINT32_MAX
#define BEFORE_5     0, 4
#define NO_ARGUMENT  0
#define MAX_MATCHING 3

struct function {
    const char *name; /* in lower case */
    unsigned since;   /* major releases */
    unsigned until;
    enum type_id argument;
    enum type_id result;
    enum {
        GIVES_NOW,
        GIVES_UUID,
        GIVES_CONVERTED, /* a time in another type */
        GIVES_LEAST,
        GIVES_GREATEST,
        GIVES_BYTES, /* the same bytes */
    } gives;
};

static const struct function functions[] = {
    {"now", EVERY, NO_ARGUMENT, TYPE_TIMEUUID, GIVES_NOW},
    {"uuid", EVERY, NO_ARGUMENT, TYPE_UUID, GIVES_UUID},
    {"currenttimeuuid", FROM_4, NO_ARGUMENT, TYPE_TIMEUUID, GIVES_NOW},
    {"currenttimestamp", FROM_4, NO_ARGUMENT, TYPE_TIMESTAMP, GIVES_NOW},
    {"currentdate", FROM_4, NO_ARGUMENT, TYPE_DATE, GIVES_NOW},
    {"currenttime", FROM_4, NO_ARGUMENT, TYPE_TIME, GIVES_NOW},
    {"current_timeuuid", FROM_5, NO_ARGUMENT, TYPE_TIMEUUID, GIVES_NOW},
    {"current_timestamp", FROM_5, NO_ARGUMENT, TYPE_TIMESTAMP, GIVES_NOW},
    {"current_date", FROM_5, NO_ARGUMENT, TYPE_DATE, GIVES_NOW},
    {"current_time", FROM_5, NO_ARGUMENT, TYPE_TIME, GIVES_NOW},
    {"totimestamp", EVERY, TYPE_TIMEUUID, TYPE_TIMESTAMP, GIVES_CONVERTED},
    {"totimestamp", EVERY, TYPE_DATE, TYPE_TIMESTAMP, GIVES_CONVERTED},
    {"to_timestamp", FROM_5, TYPE_TIMEUUID, TYPE_TIMESTAMP, GIVES_CONVERTED},
    {"to_timestamp", FROM_5, TYPE_DATE, TYPE_TIMESTAMP, GIVES_CONVERTED},
    {"todate", EVERY, TYPE_TIMEUUID, TYPE_DATE, GIVES_CONVERTED},
    {"todate", EVERY, TYPE_TIMESTAMP, TYPE_DATE, GIVES_CONVERTED},
    {"to_date", FROM_5, TYPE_TIMEUUID, TYPE_DATE, GIVES_CONVERTED},
    {"to_date", FROM_5, TYPE_TIMESTAMP, TYPE_DATE, GIVES_CONVERTED},
    {"tounixtimestamp", EVERY, TYPE_TIMEUUID, TYPE_BIGINT, GIVES_CONVERTED},
    {"tounixtimestamp", EVERY, TYPE_TIMESTAMP, TYPE_BIGINT, GIVES_CONVERTED},
    {"tounixtimestamp", EVERY, TYPE_DATE, TYPE_BIGINT, GIVES_CONVERTED},
    {"to_unix_timestamp", FROM_5, TYPE_TIMEUUID, TYPE_BIGINT, GIVES_CONVERTED},
    {"to_unix_timestamp", FROM_5, TYPE_TIMESTAMP, TYPE_BIGINT, GIVES_CONVERTED},
    {"to_unix_timestamp", FROM_5, TYPE_DATE, TYPE_BIGINT, GIVES_CONVERTED},
    {"dateof", BEFORE_5, TYPE_TIMEUUID, TYPE_TIMESTAMP, GIVES_CONVERTED},
    {"unixtimestampof", BEFORE_5, TYPE_TIMEUUID, TYPE_BIGINT, GIVES_CONVERTED},
    {"mintimeuuid", EVERY, TYPE_TIMESTAMP, TYPE_TIMEUUID, GIVES_LEAST},
    {"maxtimeuuid", EVERY, TYPE_TIMESTAMP, TYPE_TIMEUUID, GIVES_GREATEST},
    {"min_timeuuid", FROM_5, TYPE_TIMESTAMP, TYPE_TIMEUUID, GIVES_LEAST},
    {"max_timeuuid", FROM_5, TYPE_TIMESTAMP, TYPE_TIMEUUID, GIVES_GREATEST},
    {"textasblob", EVERY, TYPE_TEXT, TYPE_BLOB, GIVES_BYTES},
    {"blobastext", EVERY, TYPE_BLOB, TYPE_TEXT, GIVES_BYTES},
    {"intasblob", EVERY, TYPE_INT, TYPE_BLOB, GIVES_BYTES},
    {"blobasint", EVERY, TYPE_BLOB, TYPE_INT, GIVES_BYTES},
    {"bigintasblob", EVERY, TYPE_BIGINT, TYPE_BLOB, GIVES_BYTES},
    {"blobasbigint", EVERY, TYPE_BLOB, TYPE_BIGINT, GIVES_BYTES},
    {"uuidasblob", EVERY, TYPE_UUID, TYPE_BLOB, GIVES_BYTES},
    {"timeuuidasblob", EVERY, TYPE_TIMEUUID, TYPE_BLOB, GIVES_BYTES},
    {"timestampasblob", EVERY, TYPE_TIMESTAMP, TYPE_BLOB, GIVES_BYTES},
};

struct bytes function_timeuuid(struct execution *execution, int64_t microseconds)
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

static int64_t floor_divide(int64_t number, int64_t divisor)
{
    return number / divisor - (number % divisor < 0);
}

static int64_t timeuuid_ms(const uint8_t *uuid)
{
    uint64_t ticks = (uint64_t)((uuid[6] & 0x0F) << 8 | uuid[7]) << 48 |
                     (uint64_t)(uuid[4] << 8 | uuid[5]) << 32 | (uint32_t)wire_load_i32(uuid);
    return floor_divide((int64_t)ticks - UUID_EPOCH, 10000);
}

static struct bytes i64_value(struct execution *execution, int64_t number)
{
    uint8_t bytes[8];
    wire_store_i64(bytes, number);
    return bytes_of(arena_copy(execution->arena, bytes, 8), 8);
}

static struct bytes date_value(struct execution *execution, int64_t ms)
{
    uint8_t bytes[4];
    wire_store_i32(bytes, (int32_t)(uint32_t)(floor_divide(ms, DAY_MS) + DAY_ZERO));
    return bytes_of(arena_copy(execution->arena, bytes, 4), 4);
}

/* A moment as a value of a type that can hold one. */
static struct bytes time_value(struct execution *execution, enum type_id type, int64_t microseconds)
{
    int64_t ms = floor_divide(microseconds, 1000);
    switch (type) {
    case TYPE_TIMEUUID:
        return function_timeuuid(execution, microseconds);
    case TYPE_DATE:
        return date_value(execution, ms);
    case TYPE_TIME:
        return i64_value(execution, (ms - floor_divide(ms, DAY_MS) * DAY_MS) * 1000000);
    default:
        return i64_value(execution, ms);
    }
}

static int64_t time_ms(enum type_id type, struct bytes value)
{
    switch (type) {
    case TYPE_TIMEUUID:
        return timeuuid_ms(value.data);
    case TYPE_DATE:
        return ((int64_t)(uint32_t)wire_load_i32(value.data) - DAY_ZERO) * DAY_MS;
    default:
        return wire_load_i64(value.data);
    }
}

/* What a term certainly is; NULL when that depends on where it stands. False: a call of nothing. */
static bool known_type(struct execution *execution, const struct term *term,
                       const struct cql_type **type)
{
    *type = term->kind == TERM_CAST ? term->type : NULL;
    return term->kind != TERM_CALL || function_result_type(execution, term, type);
}

static bool may_be(const struct term *term, enum type_id type)
{
    if (term->kind == TERM_MARKER || term->kind == TERM_NULL)
        return true;
    if (term->kind != TERM_LITERAL)
        return false;
    switch (term->literal) {
    case LITERAL_STRING:
        return type == TYPE_TIMESTAMP || type == TYPE_DATE || type == TYPE_TEXT;
    case LITERAL_INTEGER:
        return type == TYPE_TIMESTAMP || type == TYPE_DATE || type == TYPE_INT ||
               type == TYPE_BIGINT;
    case LITERAL_UUID:
        return type == TYPE_TIMEUUID || type == TYPE_UUID;
    case LITERAL_HEX:
        return type == TYPE_BLOB;
    default:
        return false;
    }
}

static const char *signature(struct execution *execution, const struct function *function)
{
    return arena_printf(execution->arena, "system.%s : (%s) -> %s", function->name,
                        type_text(execution->arena, type_native(function->argument)),
                        type_text(execution->arena, type_native(function->result)));
}

/* Of several of one name, the one whose argument this is. */
static const struct function *choose(struct execution *execution, const struct term *argument,
                                     const struct function *const *named, size_t count)
{
    const struct cql_type *known;
    const struct function *matching[MAX_MATCHING];
    size_t matches = 0;
    if (!known_type(execution, argument, &known))
        return NULL;
    for (size_t i = 0; i < count; i++)
        if (known != NULL ? type_accepts(type_native(named[i]->argument), known)
                          : may_be(argument, named[i]->argument))
            matching[matches++] = named[i];
    if (matches == 1)
        return matching[0];
    if (matches == 0)
        INVALID(execution->failure,
                "Invalid call to function %s, none of its type signatures match (known type "
                "signatures: %s, %s)",
                named[0]->name, signature(execution, named[0]), signature(execution, named[1]));
    else
        INVALID(execution->failure,
                "Ambiguous call to function %s (can be matched by following signatures: %s, %s): "
                "use type casts to disambiguate",
                named[0]->name, signature(execution, matching[0]),
                signature(execution, matching[1]));
    return NULL;
}

static const struct function *find(struct execution *execution, const struct term *term)
{
    const char *name = (const char *)term->text.data;
    const struct function *named[MAX_MATCHING];
    unsigned release = execution->engine->cluster.release_major;
    size_t count = 0;
    for (size_t i = 0; i < ARRAY_COUNT(functions); i++)
        if (strcmp(functions[i].name, name) == 0 && release >= functions[i].since &&
            release <= functions[i].until && count < MAX_MATCHING)
            named[count++] = &functions[i];
    if (count == 0) {
        INVALID(execution->failure, "Unknown function %.60s called", name);
        return NULL;
    }
    size_t wanted = named[0]->argument != NO_ARGUMENT;
    if (term->count != wanted) {
        INVALID(execution->failure,
                "Invalid number of arguments in call to function system.%s: %zu required but %zu "
                "provided",
                named[0]->name, wanted, term->count);
        return NULL;
    }
    return count == 1 ? named[0] : choose(execution, term->items[0], named, count);
}

bool function_result_type(struct execution *execution, const struct term *term,
                          const struct cql_type **type)
{
    const struct function *function = find(execution, term);
    if (function != NULL)
        *type = type_native(function->result);
    return function != NULL;
}

bool function_call(struct execution *execution, const struct term *term,
                   const struct cql_type **type, struct bytes *value)
{
    const struct function *function = find(execution, term);
    struct bytes argument = bytes_null();
    if (function == NULL)
        return false;
    *type = type_native(function->result);
    if (function->argument != NO_ARGUMENT) {
        const char *name = arena_printf(execution->arena, "arg0(system.%s)", function->name);
        if (!term_evaluate(execution, term->items[0], type_native(function->argument), name,
                           &argument))
            return false;
        *value = argument;
        if (argument.length <= 0)
            return true;
    }
    switch (function->gives) {
    case GIVES_NOW:
        *value = time_value(execution, function->result, engine_timestamp(execution->engine));
        return true;
    case GIVES_UUID:
        *value = bytes_of(arena_alloc(execution->arena, 16), 16);
        schema_random_uuid((uint8_t *)(uintptr_t)value->data);
        return true;
    case GIVES_CONVERTED:
        *value =
            time_value(execution, function->result, time_ms(function->argument, argument) * 1000);
        return true;
    case GIVES_LEAST:
    case GIVES_GREATEST:
        *value = function_timeuuid(execution, wire_load_i64(argument.data) * 1000);
        memset((uint8_t *)(uintptr_t)value->data + 8, function->gives == GIVES_LEAST ? 0x80 : 0x7F,
               8);
        return true;
    case GIVES_BYTES:
        return type_validate(*type, argument, execution->failure);
    }
    return false;
}
