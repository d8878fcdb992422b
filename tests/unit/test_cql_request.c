/* Request bodies: valid ones are read exactly, and every lie about a length is refused without
 * reading past the end (bodies lie in heap blocks of their exact size, for the address sanitizer).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "proto/cql_request.h"
#include "tests/unit/exact_copy.h"

/* Bodies are put together here, byte by byte, without the product's own encoder. */
struct bytes {
    uint8_t data[1024];
    size_t length;
};

static void put(struct bytes *to, const void *data, size_t length)
{
    assert_true(length <= sizeof to->data - to->length);
    if (length > 0)
        memcpy(to->data + to->length, data, length);
    to->length += length;
}

static void put_number(struct bytes *to, uint64_t value, int bytes)
{
    while (bytes-- > 0) {
        uint8_t byte = (uint8_t)(value >> (8 * bytes));
        put(to, &byte, 1);
    }
}

static void put_string(struct bytes *to, const char *text)
{
    put_number(to, strlen(text), 2);
    put(to, text, strlen(text));
}

static void put_long_string(struct bytes *to, const char *text)
{
    put_number(to, strlen(text), 4);
    put(to, text, strlen(text));
}

static void put_payload(struct bytes *to)
{
    put_number(to, 3, 2);
    put_string(to, "request-id");
    put_long_string(to, "0123456789abcdef");
    put_string(to, "null");
    put_number(to, UINT32_MAX, 4);
    put_string(to, "");
    put_long_string(to, "");
}

static struct cql_header header_of(uint8_t opcode, bool has_payload, size_t length)
{
    return (struct cql_header){.version = 4,
                               .flags = has_payload ? CQL_FLAG_CUSTOM_PAYLOAD : 0,
                               .opcode = opcode,
                               .body_length = (uint32_t)length};
}

static void assert_span(struct cql_span span, const char *text)
{
    assert_non_null(span.data);
    assert_int_equal(span.length, strlen(text));
    assert_memory_equal(span.data, text, span.length);
}

#define CHILDREN_MAX 8

struct visits {
    int count;
    int stop_at; /* visit number that stops the walk; 0: none */
    struct cql_batch_child children[CHILDREN_MAX];
};

static bool visit(void *context, const struct cql_batch_child *child)
{
    struct visits *visits = context;
    if (visits->count < CHILDREN_MAX)
        visits->children[visits->count] = *child;
    visits->count++;
    return visits->count != visits->stop_at;
}

/* ---- the four statement requests, whole and truncated ---- */

static size_t put_query(struct bytes *to)
{
    put_long_string(to, "SELECT * FROM t WHERE k = ?");
    put_number(to, 6, 2);
    put_number(to, CQL_QUERY_VALUES | CQL_QUERY_PAGE_SIZE, 1);
    size_t required = to->length;
    put_number(to, 1, 2);
    put_long_string(to, "key");
    put_number(to, 5000, 4);
    return required;
}

static size_t put_prepare(struct bytes *to)
{
    put_long_string(to, "INSERT INTO t (k) VALUES (?)");
    return to->length;
}

static size_t put_execute(struct bytes *to)
{
    put_string(to, "0123456789abcdef");
    put_number(to, 10, 2);
    put_number(to, CQL_QUERY_SKIP_METADATA, 1);
    size_t required = to->length;
    put_number(to, 77, 4);
    return required;
}

static size_t put_batch(struct bytes *to)
{
    put_number(to, CQL_BATCH_UNLOGGED, 1);
    put_number(to, 3, 2);
    put_number(to, 0, 1);
    put_long_string(to, "DELETE FROM t WHERE k = 1");
    put_number(to, 0, 2);
    put_number(to, 1, 1);
    put_string(to, "identity");
    put_number(to, 3, 2);
    put_long_string(to, "one");
    put_number(to, UINT32_MAX, 4);     /* null */
    put_number(to, UINT32_MAX - 1, 4); /* not set */
    put_number(to, 0, 1);
    put_long_string(to, "");
    put_number(to, 1, 2);
    put_long_string(to, "");
    put_number(to, 4, 2);
    size_t required = to->length;
    put_number(to, 0x20, 1);
    put_number(to, 123456789, 8);
    return required;
}

static bool read_any(struct cql_header header, const uint8_t *body,
                     struct cql_statement_request *request, struct cql_batch *batch,
                     struct visits *visits, const char **reason)
{
    switch (header.opcode) {
    case CQL_OPCODE_QUERY:
        return cql_read_query(header, body, request, reason);
    case CQL_OPCODE_PREPARE:
        return cql_read_prepare(header, body, request, reason);
    case CQL_OPCODE_EXECUTE:
        return cql_read_execute(header, body, request, reason);
    default:
        return cql_read_batch(header, body, batch, visit, visits, reason);
    }
}

static void check_whole(const uint8_t *body, uint8_t opcode, size_t prefix,
                        const struct cql_statement_request *request, const struct cql_batch *batch,
                        const struct visits *visits)
{
    switch (opcode) {
    case CQL_OPCODE_QUERY:
        assert_span(request->text, "SELECT * FROM t WHERE k = ?");
        assert_int_equal(request->consistency, 6);
        assert_int_equal(request->flags, CQL_QUERY_VALUES | CQL_QUERY_PAGE_SIZE);
        break;
    case CQL_OPCODE_PREPARE:
        assert_span(request->text, "INSERT INTO t (k) VALUES (?)");
        break;
    case CQL_OPCODE_EXECUTE:
        assert_span(request->id, "0123456789abcdef");
        assert_int_equal(request->id_offset, prefix + 2);
        assert_ptr_equal(request->id.data, body + request->id_offset);
        assert_int_equal(request->consistency, 10);
        assert_int_equal(request->flags, CQL_QUERY_SKIP_METADATA);
        break;
    default:
        assert_int_equal(batch->type, CQL_BATCH_UNLOGGED);
        assert_int_equal(batch->count, 3);
        assert_int_equal(batch->consistency, 4);
        assert_int_equal(visits->count, 3);
        assert_span(visits->children[0].text_or_id, "DELETE FROM t WHERE k = 1");
        assert_false(visits->children[0].is_prepared);
        assert_int_equal(visits->children[0].offset, prefix + 3 + 1 + 4);
        assert_span(visits->children[1].text_or_id, "identity");
        assert_true(visits->children[1].is_prepared);
        assert_ptr_equal(visits->children[1].text_or_id.data, body + visits->children[1].offset);
        assert_span(visits->children[2].text_or_id, "");
        break;
    }
}

static void test_truncated_at_every_byte(void **state)
{
    static const struct {
        uint8_t opcode;
        size_t (*put)(struct bytes *);
    } kinds[] = {{CQL_OPCODE_QUERY, put_query},
                 {CQL_OPCODE_PREPARE, put_prepare},
                 {CQL_OPCODE_EXECUTE, put_execute},
                 {CQL_OPCODE_BATCH, put_batch}};
    (void)state;
    for (size_t kind = 0; kind < ARRAY_COUNT(kinds); kind++) {
        for (int has_payload = 0; has_payload < 2; has_payload++) {
            struct bytes bytes = {.length = 0};
            if (has_payload)
                put_payload(&bytes);
            size_t prefix = bytes.length;
            size_t required = kinds[kind].put(&bytes);
            for (size_t length = 0; length <= bytes.length; length++) {
                struct cql_statement_request request;
                struct cql_batch batch;
                struct visits visits = {0};
                const char *reason = NULL;
                uint8_t *body = exact_copy(bytes.data, length);
                bool is_read = read_any(header_of(kinds[kind].opcode, has_payload, length), body,
                                        &request, &batch, &visits, &reason);
                if (is_read != (length >= required))
                    fail_msg("opcode %d, payload %d: %zu of %zu bytes: %d", kinds[kind].opcode,
                             has_payload, length, required, is_read);
                if (is_read)
                    check_whole(body, kinds[kind].opcode, prefix, &request, &batch, &visits);
                else
                    assert_non_null(reason);
                free(body);
            }
        }
    }
}

/* ---- lies ---- */

/* Bodies in hex; none may be accepted. payload: the header has the flag. */
static const struct {
    uint8_t opcode;
    bool has_payload;
    const char *hex;
} lies[] = {
    /* Lengths of the text: negative, more than there is, as large as can be. */
    {CQL_OPCODE_QUERY, false,
     "ffffffff"
     "0001"
     "00"},
    {CQL_OPCODE_QUERY, false,
     "80000000"
     "0001"
     "00"},
    {CQL_OPCODE_QUERY, false,
     "7fffffff"
     "0001"
     "00"},
    {CQL_OPCODE_QUERY, false,
     "00000004"
     "0001"
     "00"},
    {CQL_OPCODE_PREPARE, false, "ffffffff"},
    {CQL_OPCODE_PREPARE, false, "00000001"},
    {CQL_OPCODE_PREPARE, false, "7ffffffb41"},
    /* Ids. */
    {CQL_OPCODE_EXECUTE, false,
     "ffff"
     "0001"
     "00"},
    {CQL_OPCODE_EXECUTE, false,
     "0004"
     "0001"
     "00"},
    /* Custom payload: counts and lengths that the body does not have. */
    {CQL_OPCODE_QUERY, true, "ffff"},
    {CQL_OPCODE_QUERY, true,
     "0001"
     "ffff"
     "41"},
    {CQL_OPCODE_QUERY, true,
     "0001"
     "0001"
     "41"
     "7fffffff"},
    {CQL_OPCODE_QUERY, true,
     "00000001"
     "41"
     "0001"
     "00"},
    {CQL_OPCODE_PREPARE, true,
     "0001"
     "0000"
     "ffffffff"},
    {CQL_OPCODE_EXECUTE, true,
     "ffff"
     "0000"
     "ffffffff"
     "0000"
     "ffffffff"},
    {CQL_OPCODE_BATCH, true, "ffff"},
    /* Batches: type, kind, counts, lengths. */
    {CQL_OPCODE_BATCH, false,
     "03"
     "0000"
     "0001"},
    {CQL_OPCODE_BATCH, false,
     "ff"
     "0000"
     "0001"},
    {CQL_OPCODE_BATCH, false,
     "00"
     "ffff"
     "0001"},
    {CQL_OPCODE_BATCH, false,
     "00"
     "0001"
     "02"
     "00000000"
     "0000"
     "0001"},
    {CQL_OPCODE_BATCH, false,
     "00"
     "0001"
     "ff"
     "0000"
     "0000"
     "0001"},
    {CQL_OPCODE_BATCH, false,
     "00"
     "0001"
     "00"
     "ffffffff"
     "0000"
     "0001"},
    {CQL_OPCODE_BATCH, false,
     "00"
     "0001"
     "00"
     "7fffffff"
     "0000"
     "0001"},
    {CQL_OPCODE_BATCH, false,
     "00"
     "0001"
     "01"
     "ffff"
     "0000"
     "0001"},
    {CQL_OPCODE_BATCH, false,
     "00"
     "0001"
     "00"
     "00000000"
     "ffff"
     "0001"},
    {CQL_OPCODE_BATCH, false,
     "00"
     "0001"
     "00"
     "00000000"
     "0001"
     "7fffffff"
     "0001"},
    {CQL_OPCODE_BATCH, false,
     "00"
     "0002"
     "00"
     "00000000"
     "0000"
     "0001"},
};

static size_t from_hex(const char *hex, uint8_t *bytes, size_t size)
{
    size_t length = strlen(hex) / 2;
    assert_true(length <= size);
    for (size_t i = 0; i < length; i++) {
        const char digits[3] = {hex[2 * i], hex[2 * i + 1], '\0'};
        bytes[i] = (uint8_t)strtoul(digits, NULL, 16);
    }
    return length;
}

static void test_lies(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(lies); i++) {
        uint8_t bytes[64];
        size_t length = from_hex(lies[i].hex, bytes, sizeof bytes);
        uint8_t *body = exact_copy(bytes, length);
        struct cql_statement_request request;
        struct cql_batch batch;
        struct visits visits = {0};
        const char *reason = NULL;
        if (read_any(header_of(lies[i].opcode, lies[i].has_payload, length), body, &request, &batch,
                     &visits, &reason))
            fail_msg("%s body %s was accepted", cql_opcode_name(lies[i].opcode), lies[i].hex);
        assert_non_null(reason);
        assert_non_null(strstr(reason, cql_opcode_name(lies[i].opcode)));
        free(body);
    }
}

static void test_empty_texts_and_ids(void **state)
{
    static const uint8_t query[] = {0, 0, 0, 0, 0, 1, 0}, execute[] = {0, 0, 0, 1, 0},
                         batch_body[] = {0, 0, 0, 0, 1};
    struct cql_statement_request request;
    struct cql_batch batch;
    struct visits visits = {0};
    const char *reason;
    (void)state;
    assert_true(
        cql_read_query(header_of(CQL_OPCODE_QUERY, false, sizeof query), query, &request, &reason));
    assert_int_equal(request.text.length, 0);
    assert_true(cql_read_execute(header_of(CQL_OPCODE_EXECUTE, false, sizeof execute), execute,
                                 &request, &reason));
    assert_int_equal(request.id.length, 0);
    assert_int_equal(request.id_offset, 2);
    assert_true(cql_read_batch(header_of(CQL_OPCODE_BATCH, false, sizeof batch_body), batch_body,
                               &batch, visit, &visits, &reason));
    assert_int_equal(visits.count, 0);
    assert_int_equal(batch.consistency, 1);
}

static void test_visitor_stops(void **state)
{
    struct bytes bytes = {.length = 0};
    struct cql_batch batch;
    const char *reason = "";
    (void)state;
    put_batch(&bytes);
    for (int stop_at = 1; stop_at <= 3; stop_at++) {
        struct visits visits = {.stop_at = stop_at};
        assert_false(cql_read_batch(header_of(CQL_OPCODE_BATCH, false, bytes.length), bytes.data,
                                    &batch, visit, &visits, &reason));
        assert_int_equal(visits.count, stop_at);
        assert_null(reason); /* told apart from a broken body */
    }
}

/* ---- values ---- */

static void test_values(void **state)
{
    struct bytes bytes = {.length = 0};
    struct cql_span name, value;
    (void)state;
    put_long_string(&bytes, "one");
    put_number(&bytes, UINT32_MAX, 4);
    put_number(&bytes, 0x80000000u, 4);
    put_long_string(&bytes, "");
    uint8_t *body = exact_copy(bytes.data, bytes.length);
    struct cql_cursor rest = cql_cursor_over(body, bytes.length);
    assert_true(cql_read_value(&rest, CQL_QUERY_VALUES, &name, &value));
    assert_null(name.data);
    assert_span(value, "one");
    for (int i = 0; i < 2; i++) { /* null, and the lowest length */
        assert_true(cql_read_value(&rest, CQL_QUERY_VALUES, &name, &value));
        assert_null(value.data);
        assert_int_equal(value.length, 0);
    }
    assert_true(cql_read_value(&rest, CQL_QUERY_VALUES, &name, &value));
    assert_span(value, "");
    assert_false(cql_read_value(&rest, CQL_QUERY_VALUES, &name, &value));
    assert_null(value.data);
    free(body);
}

static void test_named_values_truncated(void **state)
{
    const uint8_t flags = CQL_QUERY_VALUES | CQL_QUERY_NAMES;
    struct bytes bytes = {.length = 0};
    (void)state;
    put_string(&bytes, "name");
    put_long_string(&bytes, "value");
    for (size_t length = 0; length <= bytes.length; length++) {
        struct cql_span name, value;
        uint8_t *body = exact_copy(bytes.data, length);
        struct cql_cursor rest = cql_cursor_over(body, length);
        bool is_read = cql_read_value(&rest, flags, &name, &value);
        assert_int_equal(is_read, length == bytes.length);
        if (is_read) {
            assert_span(name, "name");
            assert_span(value, "value");
        }
        free(body);
    }
}

/* ---- STARTUP ---- */

static void test_startup(void **state)
{
    struct bytes bytes = {.length = 0};
    struct cql_span compression;
    (void)state;
    put_number(&bytes, 3, 2);
    put_string(&bytes, "CQL_VERSION");
    put_string(&bytes, "3.0.0");
    put_string(&bytes, "COMPRESSION");
    put_string(&bytes, "lz4");
    put_string(&bytes, "compression");
    put_string(&bytes, "snappy");
    for (size_t length = 0; length <= bytes.length; length++) {
        uint8_t *body = exact_copy(bytes.data, length);
        bool is_read = cql_read_startup(body, length, &compression);
        assert_int_equal(is_read, length == bytes.length);
        if (is_read)
            assert_span(compression, "lz4");
        free(body);
    }
    static const uint8_t none[] = {0, 0}, huge[] = {0xff, 0xff, 0, 1, 'a', 0, 0};
    assert_true(cql_read_startup(none, sizeof none, &compression));
    assert_null(compression.data);
    assert_false(cql_read_startup(huge, sizeof huge, &compression));
}

/* ---- PLAIN ---- */

#define TOKEN(text) text, sizeof(text) - 1

static void test_plain_tokens(void **state)
{
    static const struct {
        const char *token;
        size_t length;
        bool is_plain;
        const char *authzid, *user, *password;
    } vectors[] = {
        {TOKEN("\0cassandra\0secret"), true, "", "cassandra", "secret"},
        {TOKEN("admin\0user\0pass"), true, "admin", "user", "pass"},
        {TOKEN("\0\0"), true, "", "", ""},
        {TOKEN("\0user\0"), true, "", "user", ""},
        {TOKEN("a\0\0"), true, "a", "", ""},
        {TOKEN("\0us\xc3\xa9r\0p\xff"), true, "", "us\xc3\xa9r", "p\xff"},
        {TOKEN(""), false, NULL, NULL, NULL},
        {TOKEN("PLAIN"), false, NULL, NULL, NULL},
        {TOKEN("\0"), false, NULL, NULL, NULL},
        {TOKEN("user\0pass"), false, NULL, NULL, NULL},
        {TOKEN("\0user\0pass\0"), false, NULL, NULL, NULL},
        {TOKEN("\0user\0pa\0ss"), false, NULL, NULL, NULL},
        {TOKEN("\0\0\0"), false, NULL, NULL, NULL},
    };
    (void)state;
    struct cql_span authzid, user, password;
    for (size_t i = 0; i < ARRAY_COUNT(vectors); i++) {
        uint8_t *token = exact_copy((const uint8_t *)vectors[i].token, vectors[i].length);
        struct cql_span span = {token, vectors[i].length};
        bool is_plain = cql_read_plain_token(span, &authzid, &user, &password);
        if (is_plain != vectors[i].is_plain)
            fail_msg("token %zu: %d", i, is_plain);
        if (is_plain) {
            assert_span(authzid, vectors[i].authzid);
            assert_span(user, vectors[i].user);
            assert_span(password, vectors[i].password);
        }
        free(token);
    }
    assert_false(cql_read_plain_token((struct cql_span){NULL, 0}, &authzid, &user, &password));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_truncated_at_every_byte),
        cmocka_unit_test(test_lies),
        cmocka_unit_test(test_empty_texts_and_ids),
        cmocka_unit_test(test_visitor_stops),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_named_values_truncated),
        cmocka_unit_test(test_startup),
        cmocka_unit_test(test_plain_tokens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
