/* The command line of the data plane. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "dataplane/options.h"

#define ARGUMENTS(...) ((char **)(const char *[]){"cloudgate-proxy", __VA_ARGS__, NULL})

static struct options parse(char **arguments)
{
    struct options options;
    struct dynbuf error;
    int count = 0;
    while (arguments[count] != NULL)
        count++;
    dynbuf_init(&error, 1024);
    if (!options_parse(&options, count, arguments, &error))
        fail_msg("%s", dynbuf_text(&error));
    dynbuf_fini(&error);
    return options;
}

static void expect_refused(char **arguments, const char *text)
{
    struct options options;
    struct dynbuf error;
    int count = 0;
    while (arguments[count] != NULL)
        count++;
    dynbuf_init(&error, 1024);
    assert_false(options_parse(&options, count, arguments, &error));
    assert_string_equal(dynbuf_text(&error), text);
    options_fini(&options);
    dynbuf_fini(&error);
}

static void one_dash_or_two_and_both_ways_to_give_a_value(void **state)
{
    (void)state;
    char **ways[] = {ARGUMENTS("--config", "a.yml"), ARGUMENTS("-config", "a.yml"),
                     ARGUMENTS("--config=a.yml"), ARGUMENTS("-config=a.yml")};
    for (size_t i = 0; i < ARRAY_COUNT(ways); i++) {
        struct options options = parse(ways[i]);
        assert_string_equal(options.file, "a.yml");
        assert_false(options.checks_only || options.wants_help || options.wants_version);
        options_fini(&options);
    }
    struct options options = parse(ARGUMENTS("-version"));
    assert_true(options.wants_version);
    options_fini(&options);
    options = parse(ARGUMENTS("-h"));
    assert_true(options.wants_help);
    options_fini(&options);
    options = parse(ARGUMENTS("--set", "A=b=c", "--check-config", "--set=D="));
    assert_true(options.checks_only);
    assert_int_equal(options.override_count, 2);
    assert_string_equal(options.overrides[0], "A=b=c");
    assert_string_equal(options.overrides[1], "D=");
    assert_null(options.overrides[2]);
    options_fini(&options);
}

static void slips_are_named_without_their_values(void **state)
{
    (void)state;
    expect_refused(ARGUMENTS("--confg", "x"), "unknown argument --confg");
    expect_refused(ARGUMENTS("--ste=PASSWORD=hunter2"), "unknown argument --ste");
    expect_refused(ARGUMENTS("x"), "unknown argument x");
    expect_refused(ARGUMENTS("--"), "unknown argument --");
    expect_refused(ARGUMENTS(""), "unknown argument ");
    expect_refused(ARGUMENTS("--check-config=1"), "unknown argument --check-config");
    expect_refused(ARGUMENTS("--config"), "--config needs a value: a file");
    expect_refused(ARGUMENTS("--set"), "--set needs a value: NAME=value");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_dash_or_two_and_both_ways_to_give_a_value),
        cmocka_unit_test(slips_are_named_without_their_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
