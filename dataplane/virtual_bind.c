/* Binding of conditions. Pure; runs on the workers. Bound values come from clients: each length is
 * checked here, once, so that matching may trust it. */
#include "dataplane/virtual_bind.h"

#include <arpa/inet.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "proto/cql_response.h"

/* An encoded literal of a type other than text. */
#define FIXED_BYTES_MAX 16

PRINTF_LIKE(3, 4)
static bool refuse(int32_t *error, char message[512], const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, 512, format, arguments);
    va_end(arguments);
    *error = CQL_ERROR_INVALID;
    return false;
}

/* Values of type that this many bytes can be. */
static bool is_length(enum virtual_type type, size_t length)
{
    switch (type) {
    case VIRTUAL_TYPE_TEXT:
        return true;
    case VIRTUAL_TYPE_INET:
        return length == 4 || length == 16;
    case VIRTUAL_TYPE_INT:
        return length == 4;
    case VIRTUAL_TYPE_BIGINT:
        return length == 8;
    case VIRTUAL_TYPE_UUID:
        return length == 16;
    case VIRTUAL_TYPE_BOOLEAN:
        return length == 1;
    default:
        return false;
    }
}

static const char *expected_length(enum virtual_type type)
{
    switch (type) {
    case VIRTUAL_TYPE_INET:
        return "4 or 16";
    case VIRTUAL_TYPE_INT:
        return "4";
    case VIRTUAL_TYPE_BIGINT:
        return "8";
    case VIRTUAL_TYPE_UUID:
        return "16";
    default:
        return "1";
    }
}

static bool is_ordered(enum virtual_operator operation)
{
    return operation != VIRTUAL_EQUAL && operation != VIRTUAL_IN && operation != VIRTUAL_IN_MARKER;
}

/* Literals. */

static bool encode_integer(const struct virtual_term *term, enum virtual_type type, uint8_t *out,
                           size_t *length)
{
    uint64_t most = type == VIRTUAL_TYPE_INT ? INT32_MAX : INT64_MAX;
    uint64_t value = 0;
    if (term->token.kind != CQL_TOKEN_NUMBER)
        return false;
    for (size_t i = 0; i < term->token.length; i++) {
        char digit = term->token.text[i];
        if (digit < '0' || digit > '9' || value > most / 10 + 1)
            return false;
        value = value * 10 + (uint64_t)(digit - '0');
    }
    if (value > most + (term->is_negative ? 1 : 0))
        return false;
    if (term->is_negative)
        value = 0 - value;
    if (type == VIRTUAL_TYPE_BIGINT) {
        cql_store_u32(out, (uint32_t)(value >> 32));
        out += 4;
    }
    cql_store_u32(out, (uint32_t)value);
    *length = type == VIRTUAL_TYPE_INT ? 4 : 8;
    return true;
}

static uint8_t hex_value(char digit)
{
    if (digit >= '0' && digit <= '9')
        return (uint8_t)(digit - '0');
    return (uint8_t)((digit | 0x20) - 'a' + 10);
}

static void encode_uuid(struct cql_token token, uint8_t *out)
{
    size_t digits = 0;
    memset(out, 0, 16);
    for (size_t i = 0; i < token.length; i++) {
        if (token.text[i] == '-')
            continue;
        out[digits / 2] = (uint8_t)(out[digits / 2] << 4 | hex_value(token.text[i]));
        digits++;
    }
}

static bool encode_inet(struct cql_token token, uint8_t *out, size_t *length)
{
    char text[INET6_ADDRSTRLEN + 1];
    size_t size;
    if (token.kind != CQL_TOKEN_STRING || !cql_token_value(token, text, sizeof text, &size) ||
        strlen(text) != size)
        return false;
    *length = inet_pton(AF_INET, text, out) == 1 ? 4 : 16;
    return *length == 4 || inet_pton(AF_INET6, text, out) == 1;
}

/* out has room for the token's own length and FIXED_BYTES_MAX more. */
static bool encode_literal(const struct virtual_term *term, enum virtual_type type, uint8_t *out,
                           size_t *length)
{
    if (term->is_negative && type != VIRTUAL_TYPE_INT && type != VIRTUAL_TYPE_BIGINT)
        return false;
    switch (type) {
    case VIRTUAL_TYPE_TEXT:
        return term->token.kind == CQL_TOKEN_STRING &&
               cql_token_value(term->token, (char *)out, term->token.length + FIXED_BYTES_MAX,
                               length);
    case VIRTUAL_TYPE_INET:
        return encode_inet(term->token, out, length);
    case VIRTUAL_TYPE_INT:
    case VIRTUAL_TYPE_BIGINT:
        return encode_integer(term, type, out, length);
    case VIRTUAL_TYPE_UUID:
        if (term->token.kind != CQL_TOKEN_UUID)
            return false;
        encode_uuid(term->token, out);
        *length = 16;
        return true;
    case VIRTUAL_TYPE_BOOLEAN:
        out[0] = cql_token_is_word(term->token, "true") ? 1 : 0;
        *length = 1;
        return term->token.kind == CQL_TOKEN_WORD;
    default:
        return false;
    }
}

/* Preparing. */

static bool prepare_limit(struct virtual_conditions *conditions, const struct virtual_limit *limit,
                          enum virtual_marker_kind kind, int32_t *error, char message[512])
{
    if (!limit->is_given)
        return true;
    if (limit->term.is_marker) {
        conditions->markers[limit->term.marker] =
            (struct virtual_marker){.kind = kind, .name = limit->term.token};
        return true;
    }
    uint8_t bytes[8];
    size_t length;
    if (!encode_integer(&limit->term, VIRTUAL_TYPE_INT, bytes, &length))
        return refuse(error, message, "LIMIT must be a whole number of at most 2147483647");
    if ((int32_t)cql_load_u32(bytes) <= 0)
        return refuse(error, message, "LIMIT must be strictly positive");
    /* Each row is a partition of its own, so the other limit never takes any away. */
    if (kind == VIRTUAL_MARKER_LIMIT)
        conditions->limit = cql_load_u32(bytes);
    return true;
}

static bool prepare_relation(struct virtual_conditions *conditions,
                             const struct virtual_relation *relation,
                             const struct virtual_column *column, uint8_t **literals,
                             int32_t *error, char message[512])
{
    const char *name = virtual_column_name(column);
    enum virtual_type type = virtual_column_type(column);
    if (type == VIRTUAL_TYPE_TEXT_SET || type == VIRTUAL_TYPE_UUID_BLOB_MAP)
        return refuse(error, message,
                      "conditions on column %s of type %s are not supported by the proxy", name,
                      virtual_type_name(type));
    if (is_ordered(relation->operation) && type != VIRTUAL_TYPE_INT)
        return refuse(error, message,
                      "<, >, <= and >= on column %s of type %s are not supported by the proxy",
                      name, virtual_type_name(type));
    for (size_t i = relation->first_term; i < relation->first_term + relation->term_count; i++) {
        const struct virtual_term *term = &conditions->statement->terms[i];
        if (term->is_marker) {
            conditions->markers[term->marker] = (struct virtual_marker){
                .kind = relation->operation == VIRTUAL_IN_MARKER ? VIRTUAL_MARKER_IN
                                                                 : VIRTUAL_MARKER_COLUMN,
                .column = column,
                .operation = relation->operation,
                .name = term->token,
            };
            continue;
        }
        size_t length = 0;
        char shown[80];
        if (!encode_literal(term, type, *literals, &length))
            return refuse(error, message, "the value %s%s is not valid for column %s of type %s",
                          term->is_negative ? "-" : "",
                          virtual_show(term->token, shown, sizeof shown), name,
                          virtual_type_name(type));
        conditions->operands[i] = (struct cql_span){*literals, length};
        *literals += term->token.length + FIXED_BYTES_MAX;
    }
    return true;
}

bool virtual_conditions_prepare(struct virtual_conditions *conditions,
                                const struct virtual_statement *statement,
                                const struct topology *topology, enum virtual_table table,
                                size_t text_length, int32_t *error, char message[512])
{
    char shown[CQL_NAME_MAX + 1];
    *conditions = (struct virtual_conditions){.statement = statement, .limit = UINT32_MAX};
    conditions->columns = calloc(statement->relation_count + 1, sizeof *conditions->columns);
    conditions->markers = calloc(statement->marker_count + 1, sizeof *conditions->markers);
    conditions->operands = calloc(statement->term_count + 1, sizeof *conditions->operands);
    conditions->literals = malloc(text_length + statement->term_count * FIXED_BYTES_MAX + 1);
    CHECK(conditions->columns != NULL && conditions->markers != NULL &&
          conditions->operands != NULL && conditions->literals != NULL);
    uint8_t *literals = conditions->literals;
    for (size_t i = 0; i < statement->relation_count; i++) {
        const struct virtual_relation *relation = &statement->relations[i];
        const struct virtual_column *column =
            virtual_column_find(topology, table, relation->column);
        if (column == NULL)
            return refuse(error, message, "Undefined column name %s",
                          virtual_show(relation->column, shown, sizeof shown));
        conditions->columns[i] = column;
        if (!prepare_relation(conditions, relation, column, &literals, error, message))
            return false;
    }
    for (size_t i = 0; i < statement->order_count; i++) {
        if (virtual_column_find(topology, table, statement->order[i]) == NULL)
            return refuse(error, message, "Undefined column name %s",
                          virtual_show(statement->order[i], shown, sizeof shown));
    }
    return prepare_limit(conditions, &statement->per_partition_limit,
                         VIRTUAL_MARKER_PARTITION_LIMIT, error, message) &&
           prepare_limit(conditions, &statement->limit, VIRTUAL_MARKER_LIMIT, error, message);
}

/* Binding. */

size_t virtual_marker_name(const struct virtual_marker *marker, char *buffer, size_t size)
{
    size_t length;
    if (marker->name.length > 0) {
        if (cql_token_value(marker->name, buffer, size, &length))
            return length;
        buffer[0] = '\0';
        return 0;
    }
    int wrote = 0;
    switch (marker->kind) {
    case VIRTUAL_MARKER_COLUMN:
        wrote = snprintf(buffer, size, "%s", virtual_column_name(marker->column));
        break;
    case VIRTUAL_MARKER_IN:
        wrote = snprintf(buffer, size, "in(%s)", virtual_column_name(marker->column));
        break;
    case VIRTUAL_MARKER_LIMIT:
        wrote = snprintf(buffer, size, "[limit]");
        break;
    case VIRTUAL_MARKER_PARTITION_LIMIT:
        wrote = snprintf(buffer, size, "[per_partition_limit]");
        break;
    }
    return (size_t)wrote < size ? (size_t)wrote : size - 1;
}

static bool find_value(const struct virtual_marker *marker, size_t number,
                       const struct virtual_value *values, size_t value_count,
                       struct cql_span *value)
{
    char name[CQL_NAME_MAX + 1];
    if (value_count == 0 || values[0].name.data == NULL) {
        if (number >= value_count)
            return false;
        *value = values[number].value;
        return true;
    }
    size_t length = virtual_marker_name(marker, name, sizeof name);
    for (size_t i = 0; i < value_count; i++) {
        if (values[i].name.length == length && memcmp(values[i].name.data, name, length) == 0) {
            *value = values[i].value;
            return true;
        }
    }
    return false;
}

static bool check_value(enum virtual_type type, struct cql_span value, const char *name,
                        int32_t *error, char message[512])
{
    if (value.data == NULL)
        return refuse(error, message, "Invalid null value in condition for column %s", name);
    if (!is_length(type, value.length))
        return refuse(error, message,
                      "Invalid value for column %s of type %s: expected %s bytes but got %zu", name,
                      virtual_type_name(type), expected_length(type), value.length);
    return true;
}

static bool check_list(enum virtual_type type, struct cql_span list, const char *name,
                       int32_t *error, char message[512])
{
    if (list.data == NULL)
        return refuse(error, message, "Invalid null value for in(%s)", name);
    struct cql_cursor cursor = cql_cursor_over(list.data, list.length);
    int32_t count = cql_read_i32(&cursor);
    for (int32_t i = 0; i < count && !cursor.failed; i++) {
        struct cql_span value = cql_read_bytes(&cursor);
        if (!cursor.failed && !check_value(type, value, name, error, message))
            return false;
    }
    if (cursor.failed || count < 0 || cql_cursor_left(&cursor) != 0)
        return refuse(error, message, "Invalid list for in(%s): its lengths do not add up", name);
    return true;
}

static bool bind_limit(struct virtual_conditions *conditions, const struct virtual_marker *marker,
                       struct cql_span value, int32_t *error, char message[512])
{
    /* Null and "not set" look alike here; drivers send the latter, which means no limit. */
    if (value.data == NULL)
        return true;
    if (value.length != 4)
        return refuse(error, message,
                      "Invalid value for [limit] of type int: expected 4 bytes but got %zu",
                      value.length);
    if ((int32_t)cql_load_u32(value.data) <= 0)
        return refuse(error, message, "LIMIT must be strictly positive");
    if (marker->kind == VIRTUAL_MARKER_LIMIT)
        conditions->limit = cql_load_u32(value.data);
    return true;
}

static bool bind_marker(struct virtual_conditions *conditions, size_t number, struct cql_span value,
                        int32_t *error, char message[512])
{
    const struct virtual_marker *marker = &conditions->markers[number];
    if (marker->column == NULL)
        return bind_limit(conditions, marker, value, error, message);
    const char *name = virtual_column_name(marker->column);
    enum virtual_type type = virtual_column_type(marker->column);
    return marker->kind == VIRTUAL_MARKER_IN ? check_list(type, value, name, error, message)
                                             : check_value(type, value, name, error, message);
}

bool virtual_conditions_bind(struct virtual_conditions *conditions,
                             const struct virtual_value *values, size_t value_count, int32_t *error,
                             char message[512])
{
    const struct virtual_statement *statement = conditions->statement;
    bool is_positional = value_count == 0 || values[0].name.data == NULL;
    if (is_positional && value_count != statement->marker_count)
        return refuse(error, message, "Invalid amount of bind variables: expected %zu but got %zu",
                      statement->marker_count, value_count);
    struct cql_span *bound = calloc(statement->marker_count + 1, sizeof *bound);
    CHECK(bound != NULL);
    bool is_good = true;
    for (size_t i = 0; i < statement->marker_count && is_good; i++) {
        if (!find_value(&conditions->markers[i], i, values, value_count, &bound[i])) {
            char name[CQL_NAME_MAX + 1];
            virtual_marker_name(&conditions->markers[i], name, sizeof name);
            for (char *at = name; *at != '\0'; at++) {
                if (*at < 0x20 || *at > 0x7e)
                    *at = '?';
            }
            is_good = refuse(error, message, "no value is given for bind marker %s", name);
        } else {
            is_good = bind_marker(conditions, i, bound[i], error, message);
        }
    }
    for (size_t i = 0; i < statement->term_count && is_good; i++) {
        if (statement->terms[i].is_marker)
            conditions->operands[i] = bound[statement->terms[i].marker];
    }
    free(bound);
    return is_good;
}

void virtual_conditions_fini(struct virtual_conditions *conditions)
{
    free(conditions->columns);
    free(conditions->markers);
    free(conditions->operands);
    free(conditions->literals);
    *conditions = (struct virtual_conditions){0};
}

/* Matching. */

static struct cql_span unmapped(struct cql_span inet)
{
    static const uint8_t prefix[12] = {[10] = 0xff, [11] = 0xff};
    if (inet.length == 16 && memcmp(inet.data, prefix, sizeof prefix) == 0)
        return (struct cql_span){inet.data + 12, 4};
    return inet;
}

static bool is_equal(enum virtual_type type, struct cql_span left, struct cql_span right)
{
    if (type == VIRTUAL_TYPE_INET) {
        left = unmapped(left);
        right = unmapped(right);
    }
    return left.length == right.length &&
           (left.length == 0 || memcmp(left.data, right.data, left.length) == 0);
}

static bool is_in_list(enum virtual_type type, struct cql_span value, struct cql_span list)
{
    struct cql_cursor cursor = cql_cursor_over(list.data, list.length);
    for (int32_t left = cql_read_i32(&cursor); left > 0; left--) {
        if (is_equal(type, value, cql_read_bytes(&cursor)))
            return true;
    }
    return false;
}

/* The cluster gives ints of 4 bytes, or none at all. */
static bool is_in_order(enum virtual_operator operation, struct cql_span value,
                        struct cql_span operand)
{
    if (value.length != 4 || operand.length != 4)
        return false;
    int32_t left = (int32_t)cql_load_u32(value.data);
    int32_t right = (int32_t)cql_load_u32(operand.data);
    switch (operation) {
    case VIRTUAL_LESS:
        return left < right;
    case VIRTUAL_GREATER:
        return left > right;
    case VIRTUAL_LESS_EQUAL:
        return left <= right;
    default:
        return left >= right;
    }
}

static bool matches(const struct virtual_conditions *conditions,
                    const struct virtual_relation *relation, enum virtual_type type,
                    struct cql_span value)
{
    const struct cql_span *operands = &conditions->operands[relation->first_term];
    if (relation->operation == VIRTUAL_IN_MARKER)
        return is_in_list(type, value, operands[0]);
    for (size_t i = 0; i < relation->term_count; i++) {
        if (is_ordered(relation->operation) ? is_in_order(relation->operation, value, operands[i])
                                            : is_equal(type, value, operands[i]))
            return true;
    }
    return false;
}

bool virtual_conditions_match(const struct virtual_conditions *conditions,
                              const struct virtual_hosts *hosts, const struct topology *topology,
                              size_t proxy, struct dynbuf *scratch)
{
    for (size_t i = 0; i < conditions->statement->relation_count; i++) {
        const struct virtual_column *column = conditions->columns[i];
        dynbuf_reset(scratch);
        if (!virtual_value_put(hosts, topology, column, proxy, scratch) ||
            !matches(conditions, &conditions->statement->relations[i], virtual_column_type(column),
                     (struct cql_span){scratch->data, scratch->length}))
            return false;
    }
    return true;
}
