/* The rows decoder: what it reads, and that it refuses every lie about lengths without reading or
 * allocating beyond the bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "proto/cql_response.h"
#include "proto/cql_rows.h"
#include "tests/unit/exact_copy.h"

#define GLOBAL 1
#define PAGED  2
#define NONE   4

static void put_text(struct dynbuf *out, const char *text)
{
    cql_put_string(out, text, strlen(text));
}

static void put_cell(struct dynbuf *out, const char *text)
{
    cql_put_i32(out, text == NULL ? -1 : (int32_t)strlen(text));
    if (text != NULL)
        dynbuf_append_text(out, text);
}

static void put_head(struct dynbuf *out, int32_t flags, int32_t columns)
{
    cql_put_i32(out, CQL_RESULT_ROWS);
    cql_put_i32(out, flags);
    cql_put_i32(out, columns);
    if ((flags & PAGED) != 0)
        put_cell(out, "page");
    if ((flags & GLOBAL) != 0) {
        put_text(out, "ks");
        put_text(out, "tbl");
    }
}

/* Three columns of simple and nested types, two rows, one null and one empty cell. */
static void put_sample(struct dynbuf *out, int32_t flags)
{
    static const uint8_t text[] = {0, 13},
                         nested[] = {0, 0x21, 0, 13, 0, 0x31, 0, 2, 0, 9, 0, 0x20, 0, 12};
    static const struct {
        const char *name;
        const uint8_t *type;
        size_t length;
    } columns[] = {
        {"a", text, sizeof text}, {"b", nested, sizeof nested}, {"c", text, sizeof text}};
    put_head(out, flags, 3);
    for (size_t i = 0; i < 3; i++) {
        if ((flags & GLOBAL) == 0) {
            put_text(out, "ks");
            put_text(out, "tbl");
        }
        put_text(out, columns[i].name);
        dynbuf_append(out, columns[i].type, columns[i].length);
    }
    cql_put_i32(out, 2);
    static const char *const cells[] = {"one", NULL, "", "two", "x", "three"};
    for (size_t i = 0; i < 6; i++)
        put_cell(out, cells[i]);
}

static bool decode(const uint8_t *data, size_t length, struct cql_rows *rows, uint8_t **copy)
{
    *copy = exact_copy(data, length);
    return cql_rows_decode(*copy, length, rows);
}

static bool accepts(const struct dynbuf *body)
{
    struct cql_rows rows;
    uint8_t *copy;
    bool is_good = decode(body->data, body->length, &rows, &copy);
    cql_rows_fini(&rows);
    free(copy);
    return is_good;
}

static void test_decodes(void **state)
{
    (void)state;
    static const int32_t flags[] = {0, GLOBAL, PAGED, GLOBAL | PAGED};
    for (size_t i = 0; i < ARRAY_COUNT(flags); i++) {
        struct dynbuf body;
        struct cql_rows rows;
        uint8_t *copy;
        dynbuf_init(&body, 4096);
        put_sample(&body, flags[i]);
        assert_true(decode(body.data, body.length, &rows, &copy));
        assert_int_equal(rows.column_count, 3);
        assert_int_equal(rows.row_count, 2);
        assert_int_equal(cql_rows_column(&rows, "c"), 2);
        assert_int_equal(cql_rows_column(&rows, "C"), -1);
        assert_int_equal(rows.columns[1].type.length, 14);
        assert_true(cql_span_equals(rows.columns[2].keyspace, "ks"));
        assert_true(cql_span_equals(rows.columns[2].table, "tbl"));
        assert_true(cql_span_equals(cql_rows_cell(&rows, 0, 0), "one"));
        assert_null(cql_rows_cell(&rows, 0, 1).data);
        assert_non_null(cql_rows_cell(&rows, 0, 2).data);
        assert_int_equal(cql_rows_cell(&rows, 0, 2).length, 0);
        assert_true(cql_span_equals(cql_rows_cell(&rows, 1, 2), "three"));
        assert_null(cql_rows_cell(&rows, 1, -1).data);
        assert_null(cql_rows_cell(&rows, 1, 3).data);
        assert_null(cql_rows_cell(&rows, 2, 0).data);
        assert_null(cql_rows_cell(&rows, -1, 0).data);
        cql_rows_fini(&rows);
        cql_rows_fini(&rows);
        free(copy);
        dynbuf_fini(&body);
    }
}

static void test_truncated_everywhere(void **state)
{
    (void)state;
    struct dynbuf body;
    dynbuf_init(&body, 4096);
    put_sample(&body, GLOBAL | PAGED);
    for (size_t length = 0; length < body.length; length++) {
        struct cql_rows rows;
        uint8_t *copy;
        assert_false(decode(body.data, length, &rows, &copy));
        assert_null(rows.columns);
        free(copy);
    }
    dynbuf_fini(&body);
}

/* Every byte set to every value: no crash, and what is accepted is consistent. */
static void test_every_byte_changed(void **state)
{
    (void)state;
    struct dynbuf body;
    dynbuf_init(&body, 4096);
    put_sample(&body, 0);
    for (size_t at = 0; at < body.length; at++) {
        uint8_t kept = body.data[at];
        for (int value = 0; value < 256; value++) {
            struct cql_rows rows;
            uint8_t *copy;
            body.data[at] = (uint8_t)value;
            if (decode(body.data, body.length, &rows, &copy)) {
                assert_true((size_t)rows.row_count * (size_t)rows.column_count * 4 <= body.length);
                cql_rows_fini(&rows);
            }
            free(copy);
        }
        body.data[at] = kept;
    }
    dynbuf_fini(&body);
}

static void test_refuses(void **state)
{
    (void)state;
    struct dynbuf body;
    dynbuf_init(&body, 65536);
    static const int32_t counts[] = {-1, INT32_MIN, INT32_MAX, 1 << 28, 100000};
    for (size_t i = 0; i < ARRAY_COUNT(counts); i++) {
        dynbuf_reset(&body);
        put_head(&body, GLOBAL, counts[i]);
        assert_false(accepts(&body));
        /* As many rows of one column. */
        dynbuf_reset(&body);
        put_head(&body, GLOBAL, 1);
        put_text(&body, "a");
        cql_put_u16(&body, 13);
        cql_put_i32(&body, counts[i]);
        put_cell(&body, "x");
        assert_false(accepts(&body));
        /* As many rows of no column, which would cost no bytes at all. */
        dynbuf_reset(&body);
        put_head(&body, GLOBAL, 0);
        cql_put_i32(&body, counts[i]);
        assert_false(accepts(&body));
    }
    dynbuf_reset(&body);
    put_head(&body, GLOBAL, 0);
    cql_put_i32(&body, 0);
    assert_true(accepts(&body));

    dynbuf_reset(&body);
    put_head(&body, NONE, 1);
    cql_put_i32(&body, 0);
    assert_false(accepts(&body));

    dynbuf_reset(&body);
    cql_put_i32(&body, CQL_RESULT_VOID);
    assert_false(accepts(&body));

    struct cql_rows rows;
    assert_false(cql_rows_decode(NULL, 0, &rows));
    dynbuf_fini(&body);
}

/* list<list<…>>: nesting is bounded, so that a type cannot overflow the stack. */
static void test_nested_types(void **state)
{
    (void)state;
    for (int depth = 0; depth < 20000; depth = depth * 3 + 1) {
        struct dynbuf body;
        dynbuf_init(&body, 1u << 20);
        put_head(&body, GLOBAL, 1);
        put_text(&body, "a");
        for (int i = 0; i < depth; i++)
            cql_put_u16(&body, 0x20);
        cql_put_u16(&body, 13);
        cql_put_i32(&body, 0);
        assert_int_equal(accepts(&body), depth <= 32);
        dynbuf_fini(&body);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decodes),
        cmocka_unit_test(test_truncated_everywhere),
        cmocka_unit_test(test_every_byte_changed),
        cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_nested_types),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
