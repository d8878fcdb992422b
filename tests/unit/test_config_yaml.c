/* The configuration file: what of YAML is taken, and what is said of the rest. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "dataplane/config_yaml.h"

static void expect_entries(const char *text, const char *expected)
{
    struct config_yaml yaml;
    struct dynbuf error, found;
    dynbuf_init(&error, 4096);
    dynbuf_init(&found, 65536);
    if (!config_yaml_parse((const uint8_t *)text, strlen(text), &yaml, &error))
        fail_msg("refused: %s", dynbuf_text(&error));
    for (size_t i = 0; i < yaml.count; i++)
        dynbuf_printf(&found, "%s=%s@%u ", yaml.entries[i].key, yaml.entries[i].value,
                      yaml.entries[i].line);
    assert_string_equal(dynbuf_text(&found), expected);
    config_yaml_fini(&yaml);
    dynbuf_fini(&error);
    dynbuf_fini(&found);
}

static void expect_refused_bytes(const void *bytes, size_t length, const char *part)
{
    struct config_yaml yaml;
    struct dynbuf error;
    dynbuf_init(&error, 4096);
    assert_false(config_yaml_parse(bytes, length, &yaml, &error));
    if (strstr(dynbuf_text(&error), part) == NULL)
        fail_msg("\"%s\" lacks \"%s\"", dynbuf_text(&error), part);
    assert_null(strchr(dynbuf_text(&error), '\n'));
    assert_null(strstr(dynbuf_text(&error), "hunter2"));
    assert_null(yaml.entries);
    assert_int_equal(yaml.count, 0);
    dynbuf_fini(&error);
}

static void expect_refused(const char *text, const char *part)
{
    expect_refused_bytes(text, strlen(text), part);
}

static void scalars_of_every_style(void **state)
{
    (void)state;
    expect_entries("# zdm\n---\norigin_port: 9042\nuser: 'it''s'\nname: \"a\\tb\"\n"
                   "long: >\n  folded\n  text\nraw: |-\n  one\n  two\n",
                   "origin_port=9042@3 user=it's@4 name=a\tb@5 long=folded text\n@6 "
                   "raw=one\ntwo@9 ");
    expect_entries("{a: 1, b: two}", "a=1@1 b=two@1 ");
    expect_entries("a: !!str 7\nb: !!int \"8\"\n", "a=7@1 b=8@2 ");
    expect_entries("\xef\xbb\xbf"
                   "a: \xc3\xa4\n",
                   "a=\xc3\xa4@1 ");
    expect_entries("{}", "");
}

static void nothing_is_as_if_absent_and_empty_is_empty(void **state)
{
    (void)state;
    expect_entries("a:\nb: ~\nc: null\nd: ''\ne: \"\"\nf: !!str\n", "d=@4 e=@5 f=@6 ");
}

static void lists_are_joined(void **state)
{
    (void)state;
    expect_entries("points: [10.0.0.1, '10.0.0.2' , host]\n", "points=10.0.0.1,10.0.0.2,host@1 ");
    expect_entries("points:\n  - a\n  - b,c\nport: 1\n", "points=a,b,c@1 port=1@4 ");
    expect_entries("points: []\n", "points=@1 ");
}

static void anchors_of_texts_and_lists_are_followed(void **state)
{
    (void)state;
    expect_entries("a: &x one\nb: *x\nc: [*x, two, *x]\n", "a=one@1 b=one@2 c=one,two,one@3 ");
    expect_entries("a: &x [1, 2]\nb: *x\nc: &y [&z 3, 4]\nd: *z\n",
                   "a=1,2@1 b=1,2@2 c=3,4@3 d=3@4 ");
    expect_entries("a: &x 1\nb: &x 2\nc: *x\n", "a=1@1 b=2@2 c=2@3 ");
    expect_entries("a: &x ~\nb: *x\n", "");
    expect_refused("a: &x [1]\nb: [*x]\n", "line 2: \"b\" is a list of lists");
    expect_refused("a: *x\n", "line 1: \"a\" is an alias of no anchor before it");
    expect_refused("base: &b 1\n<<: *b\n", "line 2: merge keys (<<) are not supported");
}

static void other_shapes_are_refused_by_line(void **state)
{
    (void)state;
    expect_refused("", "EOF");
    expect_refused_bytes(NULL, 0, "EOF");
    expect_refused("# only this\n\n", "EOF");
    expect_refused("---\n", "line 2: a mapping of settings is expected");
    expect_refused("hunter2\n", "line 1: a mapping of settings is expected");
    expect_refused("- a\n- b\n", "line 1: a mapping of settings is expected");
    expect_refused("a: 1\nb:\n  c: hunter2\n", "line 3: \"b\" is a mapping");
    expect_refused("a: [1, [hunter2]]\n", "line 1: \"a\" is too deep");
    expect_refused("a: [1, {b: hunter2}]\n", "line 1: \"a\" is too deep");
    expect_refused("[a]: 1\n", "line 1: a key must be a text");
    expect_refused("a: 1\n---\nb: 2\n", "line 2: a second document");
    expect_refused("a: 1\nb: 2\na: hunter2\n", "line 3: key \"a\" is given twice, first in line 1");
    expect_refused("a:\na: 1\n", "line 2: key \"a\" is given twice, first in line 1");
    expect_refused("a: \"x\\0y\"\n", "line 1: \"a\" holds a NUL byte");
    expect_refused("a: hunter2: b\n", "line 1: ");
    expect_refused("a: 1\n\tb: 2\n", "line 2: ");
    expect_refused("a: 'hunter2\n", "line ");
    expect_refused("a: \xff\xfe\n", "byte ");
}

static void everything_is_bounded(void **state)
{
    (void)state;
    static char text[CONFIG_YAML_BYTES_MAX + 2];
    struct dynbuf many;

    memset(text, ' ', sizeof text);
    expect_refused_bytes(text, CONFIG_YAML_BYTES_MAX + 1, "too large");

    memset(text, 'x', 20000);
    memcpy(text, "a: ", 3);
    expect_refused_bytes(text, 20000, "line 1: \"a\" is too long");
    memset(text, 'x', 300);
    memcpy(text + 300, ": 1", 3);
    expect_refused_bytes(text, 303, "line 1: a key is too long");
    memset(text, '[', 100000);
    expect_refused_bytes(text, 100000, "line 1: ");
    memcpy(text, "a: ", 3);
    expect_refused_bytes(text, 100000, "too deep");
    for (size_t i = 0; i + 1 < 100000; i += 2)
        memcpy(text + i, "? ", 2);
    expect_refused_bytes(text, 100000, "line 1: ");

    dynbuf_init(&many, CONFIG_YAML_BYTES_MAX);
    for (int i = 0; i < 513; i++)
        dynbuf_printf(&many, "k%d: %s\n", i, i % 2 == 0 ? "1" : "");
    expect_refused_bytes(many.data, many.length, "line 513: too many keys");
    dynbuf_reset(&many);
    for (int i = 0; i < 65; i++)
        dynbuf_printf(&many, "k%d: &a%d 1\n", i, i);
    expect_refused_bytes(many.data, many.length, "line 65: too many anchors");
    dynbuf_reset(&many);
    dynbuf_append_text(&many, "a:\n");
    for (int i = 0; i < 1025; i++)
        dynbuf_append_text(&many, "- 1\n");
    expect_refused_bytes(many.data, many.length, "too many items");
    /* An alias cannot multiply: each value is bounded by itself. */
    dynbuf_reset(&many);
    dynbuf_append_text(&many, "a: &x ");
    for (int i = 0; i < 1000; i++)
        dynbuf_append_text(&many, "0123456789");
    dynbuf_append_text(&many, "\nb: [*x, *x]\n");
    expect_refused_bytes(many.data, many.length, "line 2: \"b\" is too long");
    dynbuf_fini(&many);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scalars_of_every_style),
        cmocka_unit_test(nothing_is_as_if_absent_and_empty_is_empty),
        cmocka_unit_test(lists_are_joined),
        cmocka_unit_test(anchors_of_texts_and_lists_are_followed),
        cmocka_unit_test(other_shapes_are_refused_by_line),
        cmocka_unit_test(everything_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
