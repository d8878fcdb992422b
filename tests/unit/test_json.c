/* Vectors for the JSON reader and writer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/unit/exact_json.h"

struct vector {
    const char *text;
    size_t length;
};
#define VECTOR(text)                                                                               \
    {                                                                                              \
        text, sizeof text - 1                                                                      \
    }

static const struct vector accepted[] = {
    VECTOR("[]"),
    VECTOR("{}"),
    VECTOR(" [ ] "),
    VECTOR("\t\r\n{\t\r\n}\n"),
    VECTOR("null"),
    VECTOR("true"),
    VECTOR("false"),
    VECTOR("0"),
    VECTOR("-0"),
    VECTOR("-1"),
    VECTOR("42"),
    VECTOR("1.5"),
    VECTOR("1e5"),
    VECTOR("1E+5"),
    VECTOR("1e-5"),
    VECTOR("-0.0e0"),
    VECTOR("0e1"),
    VECTOR("\"\""),
    VECTOR("\"a\""),
    VECTOR("[1,2,3]"),
    VECTOR("[[],[[]],{}]"),
    VECTOR("{\"a\":{\"b\":[1,{\"c\":null}]},\"d\":[]}"),
    VECTOR("{\"\":0}"),
    VECTOR("{\"a\":1,\"A\":2}"),
    VECTOR("{\"a\\u0000b\":1}"),
    VECTOR("\"\\u0000\""),
    VECTOR("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\""),
    VECTOR("\"\\ud834\\udd1e\""),
    VECTOR("\"\\uDBFF\\uDFFF\""),
    VECTOR("\"\\uffff\""),
    VECTOR("\"\xc2\x80\""),
    VECTOR("\"\xdf\xbf\""),
    VECTOR("\"\xe0\xa0\x80\""),
    VECTOR("\"\xed\x9f\xbf\""),
    VECTOR("\"\xee\x80\x80\""),
    VECTOR("\"\xf0\x90\x80\x80\""),
    VECTOR("\"\xf4\x8f\xbf\xbf\""),
    VECTOR("\"\x7f\""),
    VECTOR("\"\xe2\x80\xa8\""),
    VECTOR("\"\\u2028\""),
    VECTOR("\"new\\u00A0line\""),
    VECTOR("[1 , 2 ]"),
    VECTOR("{ \"a\" : 1 , \"b\" : 2 }"),
    VECTOR("123456789012345678901234567890"),
    VECTOR("1e999999"),
    VECTOR("[\"a\",\"b\",[\"c\"]]"),
    VECTOR("{\"a\":\"x\",\"b\":\"y\",\"c\":[\"z\",{}]}"),
    VECTOR("[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]"),
};

static const struct vector refused[] = {
    VECTOR(""),
    VECTOR(" "),
    VECTOR("["),
    VECTOR("]"),
    VECTOR("{"),
    VECTOR("}"),
    VECTOR("[1"),
    VECTOR("[1,"),
    VECTOR("[1,]"),
    VECTOR("[,1]"),
    VECTOR("[,]"),
    VECTOR("[1,,2]"),
    VECTOR("[1 2]"),
    VECTOR("[1}"),
    VECTOR("{]"),
    VECTOR("[]]"),
    VECTOR("[][]"),
    VECTOR("{}{}"),
    VECTOR("{} x"),
    VECTOR("1 2"),
    VECTOR("{\"a\"}"),
    VECTOR("{\"a\":}"),
    VECTOR("{\"a\":1,}"),
    VECTOR("{,\"a\":1}"),
    VECTOR("{\"a\" 1}"),
    VECTOR("{\"a\"::1}"),
    VECTOR("{\"a\":::\"b\"}"),
    VECTOR("{a:1}"),
    VECTOR("{1:1}"),
    VECTOR("{'a':1}"),
    VECTOR("{null:1}"),
    VECTOR("{\"a\":1 \"b\":2}"),
    VECTOR("{\"a\":1,\"a\":2}"),
    VECTOR("{\"a\":1,\"\\u0061\":2}"),
    VECTOR("{\"x\":{\"a\":1,\"b\":2,\"a\":1}}"),
    VECTOR("[ thanx ]"),
    VECTOR("nul"),
    VECTOR("nulll"),
    VECTOR("True"),
    VECTOR("tru"),
    VECTOR("truee"),
    VECTOR("NaN"),
    VECTOR("Infinity"),
    VECTOR("-Infinity"),
    VECTOR("01"),
    VECTOR("-01"),
    VECTOR("00"),
    VECTOR("+1"),
    VECTOR("1."),
    VECTOR(".5"),
    VECTOR("-"),
    VECTOR("-."),
    VECTOR("1e"),
    VECTOR("1e+"),
    VECTOR("1.e1"),
    VECTOR("0x10"),
    VECTOR("1_000"),
    VECTOR("--1"),
    VECTOR("1-"),
    VECTOR("1.2.3"),
    VECTOR("\""),
    VECTOR("\"a"),
    VECTOR("\"\\"),
    VECTOR("\"\\\""),
    VECTOR("\"\\x41\""),
    VECTOR("\"\\u\""),
    VECTOR("\"\\u12\""),
    VECTOR("\"\\u123g\""),
    VECTOR("\"\\u123"),
    VECTOR("\"\\U0041\""),
    VECTOR("\"\\'\""),
    VECTOR("\"\\ud800\""),
    VECTOR("\"\\ud800\\\""),
    VECTOR("\"\\ud800\\u\""),
    VECTOR("\"\\ud800\\u0041\""),
    VECTOR("\"\\udc00\""),
    VECTOR("\"\\ud800\\ud800\\udc00\""),
    VECTOR("\"\n\""),
    VECTOR("\"\t\""),
    VECTOR("\"\x1f\""),
    VECTOR("\"\0\""),
    VECTOR("[1]\0"),
    VECTOR("\0"),
    VECTOR("[\0]"),
    VECTOR("\"\\\0\""),
    VECTOR("\"\x80\""),
    VECTOR("\"\xc0\x80\""),
    VECTOR("\"\xc1\xbf\""),
    VECTOR("\"\xe0\x9f\xbf\""),
    VECTOR("\"\xed\xa0\x80\""),
    VECTOR("\"\xf0\x8f\xbf\xbf\""),
    VECTOR("\"\xf4\x90\x80\x80\""),
    VECTOR("\"\xf5\""),
    VECTOR("\"\xff\""),
    VECTOR("\"\xe2\x82\""),
    VECTOR("\"\xe2"),
    VECTOR("\xef\xbb\xbf[]"),
    VECTOR("[1]//x"),
    VECTOR("/**/[]"),
    VECTOR("[\v]"),
    VECTOR("[\f]"),
    VECTOR("[\xc2\xa0]"),
    VECTOR("'a'"),
    VECTOR("[1;2]"),
    VECTOR("[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]"),
};

static void test_accepted(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(accepted); i++) {
        struct json_error error;
        struct json_document *document =
            parse_exactly(accepted[i].text, accepted[i].length, &error);
        if (document == NULL)
            fail_msg("refused %s: %s at %zu", accepted[i].text, error.text, error.offset);
        assert_non_null(json_root(document));
        json_free(document);
    }
}

static void test_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(refused); i++) {
        struct json_error error;
        struct json_document *document = parse_exactly(refused[i].text, refused[i].length, &error);
        if (document != NULL)
            fail_msg("accepted vector %zu: %s", i, refused[i].text);
        assert_true(error.text[0] != '\0');
        assert_true(error.offset <= refused[i].length);
    }
}

/* Every proper prefix of an object or array is incomplete, whatever the cut. */
static void test_prefixes(void **state)
{
    static const char text[] =
        "{\"a\":[1,-2.5e3,true,null,\"x\\ud834\\udd1e\\n\xc3\xa9\"],\"b\":{\"c\":{}}}";
    struct json_error error;
    (void)state;
    for (size_t cut = 0; cut < sizeof text - 1; cut++)
        assert_null(parse_exactly(text, cut, &error));
    struct json_document *document = parse_exactly(text, sizeof text - 1, &error);
    assert_non_null(document);
    json_free(document);
}

/* One byte replaced by any other: read or refused, never more. What is read can be written and read
 * again. */
static void test_mutations(void **state)
{
    static const char text[] = "{\"a\":[1,-2.5e3,true],\"\\u00e9\":\"\\ud834\\udd1e\",\"c\":{}}";
    char copy[sizeof text];
    (void)state;
    for (size_t at = 0; at < sizeof text - 1; at++) {
        for (int byte = 0; byte < 256; byte++) {
            struct json_error error;
            memcpy(copy, text, sizeof text);
            copy[at] = (char)byte;
            json_free(parse_exactly(copy, sizeof text - 1, &error));
        }
    }
}

static void test_limits(void **state)
{
    struct json_error error;
    char text[4096];
    size_t used = 0;
    (void)state;
    text[used++] = '[';
    for (int i = 0; i < 99; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%d", i == 0 ? "" : ",", i);
    text[used++] = ']';
    assert_null(json_parse(text, used, 99, &error));
    assert_string_equal(error.text, "too many values");
    struct json_document *document = json_parse(text, used, 100, &error);
    assert_non_null(document);
    uint64_t expected = 0, number;
    for (const struct json_value *value = json_first(json_root(document)); value != NULL;
         value = json_next(value)) {
        assert_true(json_u64(value, &number));
        assert_int_equal(number, expected++);
    }
    assert_int_equal(expected, 99);
    json_free(document);
}

static void test_access(void **state)
{
    static const char text[] =
        "{\"s\":\"a\\u0000b\\ud834\\udd1e\",\"n\":18446744073709551615,\"i\":-9223372036854775808,"
        "\"big\":18446744073709551616,\"low\":-9223372036854775809,\"f\":1.5,\"huge\":1e400,"
        "\"one\":1.0,\"t\":true,\"z\":null,\"l\":[\"x\",2],\"k\\\"\":0}";
    struct json_error error;
    struct json_document *document = parse_exactly(text, sizeof text - 1, &error);
    const struct json_value *root = json_root(document);
    size_t length;
    uint64_t natural;
    int64_t integer;
    double real;
    bool flag;
    (void)state;
    assert_memory_equal(json_text(json_member(root, "s"), &length), "a\0b\xf0\x9d\x84\x9e", 7);
    assert_int_equal(length, 7);
    assert_true(json_u64(json_member(root, "n"), &natural) && natural == UINT64_MAX);
    assert_true(json_i64(json_member(root, "i"), &integer) && integer == INT64_MIN);
    assert_false(json_u64(json_member(root, "big"), &natural));
    assert_false(json_u64(json_member(root, "i"), &natural));
    assert_false(json_i64(json_member(root, "low"), &integer));
    assert_false(json_i64(json_member(root, "n"), &integer));
    assert_false(json_u64(json_member(root, "one"), &natural));
    assert_true(json_double(json_member(root, "f"), &real) && real > 1.4 && real < 1.6);
    assert_false(json_double(json_member(root, "huge"), &real));
    assert_true(json_bool(json_member(root, "t"), &flag) && flag);
    assert_false(json_bool(json_member(root, "z"), &flag));
    assert_int_equal(json_type(json_member(root, "z")), JSON_NULL);
    assert_null(json_member(root, "missing"));
    assert_null(json_member(json_member(root, "l"), "x"));
    assert_string_equal(json_text(json_first(json_member(root, "l")), NULL), "x");
    assert_non_null(json_member(root, "k\""));
    assert_null(json_name(root, &length));
    assert_string_equal(json_name(json_first(root), &length), "s");
    json_free(document);
    /* NULL is "not that" everywhere. */
    assert_null(json_first(NULL));
    assert_null(json_next(NULL));
    assert_null(json_text(NULL, NULL));
    assert_false(json_bool(NULL, &flag));
    assert_false(json_double(NULL, &real));
}

static void test_writer(void **state)
{
    struct dynbuf out;
    struct json_writer writer;
    struct json_error error;
    (void)state;
    dynbuf_init(&out, 4096);
    json_writer_init(&writer, &out);
    json_begin_object(&writer);
    json_put_string(&writer, "text", "q\" b\\ \n\x01 \xc3\xa9 \xff.");
    json_put_u64(&writer, "u", UINT64_MAX);
    json_put_i64(&writer, "i", INT64_MIN);
    json_write_name(&writer, "list");
    json_begin_array(&writer);
    json_write_null(&writer);
    json_begin_object(&writer);
    json_end_object(&writer);
    json_write_bool(&writer, false);
    json_end_array(&writer);
    json_put_bool(&writer, "b", true);
    json_end_object(&writer);
    assert_string_equal(dynbuf_text(&out),
                        "{\"text\":\"q\\\" b\\\\ \\u000a\\u0001 \xc3\xa9 "
                        "\xef\xbf\xbd.\",\"u\":18446744073709551615,"
                        "\"i\":-9223372036854775808,\"list\":[null,{},false],\"b\":true}");
    struct json_document *document = parse_exactly(dynbuf_text(&out), out.length, &error);
    assert_non_null(document);
    assert_string_equal(json_text(json_member(json_root(document), "text"), NULL),
                        "q\" b\\ \n\x01 \xc3\xa9 \xef\xbf\xbd.");
    json_free(document);
    dynbuf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accepted), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_prefixes), cmocka_unit_test(test_mutations),
        cmocka_unit_test(test_limits),   cmocka_unit_test(test_access),
        cmocka_unit_test(test_writer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
