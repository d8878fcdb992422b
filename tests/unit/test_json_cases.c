/* What the JSON reader takes and refuses, by category: the table, and depth and size beside it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/unit/exact_json.h"

enum category { STRUCTURE, OBJECT, NUMBER, STRING, ESCAPE, UTF8, BOM, DUPLICATE, CATEGORY_COUNT };
enum verdict { ACCEPTED, REFUSED, ACCEPTED_BY_CHOICE, REFUSED_BY_CHOICE };

static const struct json_case {
    enum category category;
    enum verdict verdict;
    const char *name;
    const char *text;
    size_t length;
} cases[] = {
#define JSON_CASE(category, verdict, name, text) {category, verdict, name, text, sizeof text - 1},
#include "json_cases.def"
#undef JSON_CASE
};

static void test_cases(void **state)
{
    unsigned seen[CATEGORY_COUNT] = {0};
    unsigned wrong = 0;
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        const struct json_case *one = &cases[i];
        struct json_error error = {.text = ""};
        struct json_document *document = parse_exactly(one->text, one->length, &error);
        bool is_wanted = one->verdict == ACCEPTED || one->verdict == ACCEPTED_BY_CHOICE;
        seen[one->category]++;
        if ((document != NULL) != is_wanted ||
            (!is_wanted && (error.text[0] == '\0' || error.offset > one->length))) {
            print_error("%s: %s\n", one->name, document != NULL ? "taken" : error.text);
            wrong++;
        }
        json_free(document);
    }
    assert_int_equal(wrong, 0);
    for (size_t i = 0; i < CATEGORY_COUNT; i++)
        assert_true(seen[i] > 0);
}

/* Whatever the table takes is taken as an element and as a member's value too, and what it refuses
 * is refused there: no case hangs on standing at the top. */
static void test_cases_inside_of_others(void **state)
{
    char text[512];
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        const struct json_case *one = &cases[i];
        struct json_error error;
        bool is_wanted = one->verdict == ACCEPTED || one->verdict == ACCEPTED_BY_CHOICE;
        /* A comma, a comment's or a container's end may mean something else inside. */
        if (!is_wanted && one->category != NUMBER && one->category != ESCAPE &&
            one->category != UTF8 && one->category != DUPLICATE)
            continue;
        assert_true(one->length + 16 < sizeof text);
        memcpy(text, "{\"outer\":", 9);
        memcpy(text + 9, one->text, one->length);
        text[9 + one->length] = '}';
        struct json_document *document = parse_exactly(text, one->length + 10, &error);
        if ((document != NULL) != is_wanted)
            fail_msg("inside of an object: %s", one->name);
        json_free(document);
    }
}

static void test_depth(void **state)
{
    static const struct {
        const char *open;
        const char *inner;
        const char *close;
    } forms[] = {{"[", "", "]"}, {"{\"k\":", "7", "}"}, {"[{\"k\":", "7", "}]"}};
    (void)state;
    for (size_t form = 0; form < ARRAY_COUNT(forms); form++) {
        unsigned each = (unsigned)strlen(forms[form].close); /* levels a turn */
        for (unsigned depth = each; depth <= JSON_DEPTH_MAX + each; depth += each) {
            struct json_error error;
            struct dynbuf text;
            dynbuf_init(&text, 4096);
            for (unsigned i = 0; i < depth; i += each)
                dynbuf_append_text(&text, forms[form].open);
            dynbuf_append_text(&text, forms[form].inner);
            for (unsigned i = 0; i < depth; i += each)
                dynbuf_append_text(&text, forms[form].close);
            struct json_document *document = parse_exactly(dynbuf_text(&text), text.length, &error);
            assert_int_equal(document != NULL, depth <= JSON_DEPTH_MAX);
            if (document == NULL)
                assert_string_equal(error.text, "nested too deeply");
            json_free(document);
            dynbuf_fini(&text);
        }
    }
}

/* A hundred thousand openings that never close: refused where the depth ends, not by a full stack.
 */
static void test_endless_openings(void **state)
{
    static const char *const openings[] = {"[", "{\"k\":", "[{\"\":"};
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(openings); i++) {
        struct json_error error;
        struct dynbuf text;
        dynbuf_init(&text, 1024 * 1024);
        for (int turn = 0; turn < 100000; turn++)
            dynbuf_append_text(&text, openings[i]);
        assert_false(text.failed);
        assert_null(parse_exactly(dynbuf_text(&text), text.length, &error));
        assert_true(error.offset < 200);
        dynbuf_fini(&text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cases),
        cmocka_unit_test(test_cases_inside_of_others),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_endless_openings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
