/* The settings-table engine: what values it takes, what it says about those it does not, and what
 * it never shows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/conftab.h"
#include "common/log.h"

struct sample {
    int port;
    bool flag;
    char *text;
    char *filled;
    char *user;
    char *password;
    enum log_level level;
};

static const struct conftab_setting settings[] = {
    CONFTAB_ROW_INT(struct sample, SAMPLE_PORT, port, 9042, 1, 65535,
                    "A port") CONFTAB_ROW_BOOL(struct sample, SAMPLE_FLAG, flag, true, "A flag")
        CONFTAB_ROW_TEXT(struct sample, SAMPLE_TEXT, text, "", "A text")
            CONFTAB_ROW_TEXT_NONEMPTY(struct sample, SAMPLE_FILLED, filled, "here", "A filled text")
                CONFTAB_ROW_REQUIRED(struct sample, SAMPLE_USER, user, "A user")
                    CONFTAB_ROW_SECRET(struct sample, SAMPLE_PASSWORD, password, "A password")
                        CONFTAB_ROW_LOG_LEVEL(struct sample, LOG_LEVEL, level, "INFO", "A level")};
static const char *const prefixes[] = {"SAMPLE_", NULL};
static const char *const foreign[] = {"SAMPLE_OTHER_", NULL};
static const struct conftab table = {
    .settings = settings, .count = ARRAY_COUNT(settings), .prefixes = prefixes, .foreign = foreign};

#define REQUIRED         "SAMPLE_USER=u", "SAMPLE_PASSWORD=hunter2"
#define ENVIRONMENT(...) ((char **)(const char *[]){__VA_ARGS__, NULL})

static void expect_refused(char *const *environment, const char *message)
{
    struct sample sample = {0};
    struct dynbuf error;
    dynbuf_init(&error, 4096);
    assert_false(conftab_load(&table, &sample, environment, &error));
    assert_string_equal(dynbuf_text(&error), message);
    dynbuf_fini(&error);
    conftab_fini(&table, &sample);
}

static struct sample load(char *const *environment)
{
    struct sample sample = {0};
    struct dynbuf error;
    dynbuf_init(&error, 4096);
    bool loaded = conftab_load(&table, &sample, environment, &error);
    if (!loaded)
        fail_msg("%s", dynbuf_text(&error));
    dynbuf_fini(&error);
    return sample;
}

static void defaults_apply_when_absent(void **state)
{
    (void)state;
    struct sample sample = load(ENVIRONMENT(REQUIRED));
    assert_int_equal(sample.port, 9042);
    assert_true(sample.flag);
    assert_string_equal(sample.text, "");
    assert_string_equal(sample.filled, "here");
    assert_string_equal(sample.user, "u");
    assert_string_equal(sample.password, "hunter2");
    assert_int_equal(sample.level, LOG_LEVEL_INFO);
    conftab_fini(&table, &sample);
    assert_null(sample.password);
}

static void first_of_two_entries_counts(void **state)
{
    (void)state;
    struct sample sample = load(ENVIRONMENT(REQUIRED, "SAMPLE_PORT=1", "SAMPLE_PORT=2"));
    assert_int_equal(sample.port, 1);
    conftab_fini(&table, &sample);
}

static void integers(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        long long value;
    } good[] = {
        {"0", 0},       {"7", 7},        {"+7", 7},
        {"-7", -7},     {"0x10", 16},    {"0X1f", 31},
        {"0b101", 5},   {"0B1", 1},      {"017", 15},
        {"0o17", 15},   {"1_000", 1000}, {"0x_ff", 255},
        {"0_7", 7},     {"00", 0},       {"9223372036854775807", INT64_MAX},
        {"-0x10", -16}, {"1_0_0", 100},
    };
    static const char *const bad[] = {"",
                                      " 1",
                                      "1 ",
                                      "1.0",
                                      "x",
                                      "0x",
                                      "0b",
                                      "0b2",
                                      "08",
                                      "1__0",
                                      "_1",
                                      "1_",
                                      "0x_",
                                      "+",
                                      "-",
                                      "--1",
                                      "1e3",
                                      "0xg",
                                      "1,0",
                                      "9223372036854775808",
                                      "99999999999999999999999",
                                      "0x1_",
                                      "0_"};
    for (size_t i = 0; i < ARRAY_COUNT(good); i++) {
        long long value = 0;
        if (!conftab_parse_int(good[i].text, &value))
            fail_msg("refused %s", good[i].text);
        assert_int_equal(value, good[i].value);
    }
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        long long value = 0;
        if (conftab_parse_int(bad[i], &value))
            fail_msg("took \"%s\" as %lld", bad[i], value);
    }
}

static void booleans(void **state)
{
    (void)state;
    static const char *const truths[] = {"1", "t", "T", "TRUE", "true", "True"};
    static const char *const lies[] = {"0", "f", "F", "FALSE", "false", "False"};
    static const char *const bad[] = {"",     "yes", "no",    "on",    "off",
                                      "tRUE", "2",   " true", "true ", "y"};
    bool value;
    for (size_t i = 0; i < ARRAY_COUNT(truths); i++) {
        assert_true(conftab_parse_bool(truths[i], &value));
        assert_true(value);
        assert_true(conftab_parse_bool(lies[i], &value));
        assert_false(value);
    }
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++)
        if (conftab_parse_bool(bad[i], &value))
            fail_msg("took \"%s\"", bad[i]);
}

static void doubles(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        double value;
    } good[] = {{"2", 2},           {"0.5", 0.5}, {".5", 0.5}, {"1e3", 1000},
                {"-1.5E-1", -0.15}, {"+3", 3},    {"007", 7},  {"2.", 2}};
    static const char *const bad[] = {"",    " 1", "1 ", "nan", "inf", "0x10",  "1e999",
                                      "1,5", "e",  "1e", "1_0", "--1", "1.2.3", "."};
    double value = 0;
    for (size_t i = 0; i < ARRAY_COUNT(good); i++) {
        if (!conftab_parse_double(good[i].text, &value))
            fail_msg("refused %s", good[i].text);
        assert_true(value == good[i].value);
    }
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++)
        if (conftab_parse_double(bad[i], &value))
            fail_msg("took \"%s\" as %g", bad[i], value);
}

static void ranges_at_their_ends(void **state)
{
    (void)state;
    struct sample sample = load(ENVIRONMENT(REQUIRED, "SAMPLE_PORT=65535"));
    assert_int_equal(sample.port, 65535);
    conftab_fini(&table, &sample);
    sample = load(ENVIRONMENT(REQUIRED, "SAMPLE_PORT=1"));
    assert_int_equal(sample.port, 1);
    conftab_fini(&table, &sample);
    expect_refused(ENVIRONMENT(REQUIRED, "SAMPLE_PORT=65536"),
                   "SAMPLE_PORT=\"65536\" is not allowed: it must be an integer from 1 to 65535");
    expect_refused(ENVIRONMENT(REQUIRED, "SAMPLE_PORT=0"),
                   "SAMPLE_PORT=\"0\" is not allowed: it must be an integer from 1 to 65535");
    expect_refused(
        ENVIRONMENT(REQUIRED, "SAMPLE_PORT=4294967297"), /* 1 after a cut to 32 bits */
        "SAMPLE_PORT=\"4294967297\" is not allowed: it must be an integer from 1 to 65535");
}

static void refusals_name_variable_value_and_allowed(void **state)
{
    (void)state;
    expect_refused(ENVIRONMENT(REQUIRED, "SAMPLE_PORT=abc"),
                   "SAMPLE_PORT=\"abc\" is not allowed: it must be an integer from 1 to 65535");
    expect_refused(ENVIRONMENT(REQUIRED, "SAMPLE_PORT="),
                   "SAMPLE_PORT=\"\" is not allowed: it must be an integer from 1 to 65535");
    expect_refused(ENVIRONMENT(REQUIRED, "SAMPLE_FLAG=yes"),
                   "SAMPLE_FLAG=\"yes\" is not allowed: it must be true or false");
    expect_refused(ENVIRONMENT(REQUIRED, "SAMPLE_FLAG="),
                   "SAMPLE_FLAG=\"\" is not allowed: it must be true or false");
    expect_refused(ENVIRONMENT(REQUIRED, "SAMPLE_FILLED="),
                   "SAMPLE_FILLED=\"\" is not allowed: it must be a text that is not empty");
    expect_refused(ENVIRONMENT(REQUIRED, "LOG_LEVEL=LOUD"),
                   "LOG_LEVEL=\"LOUD\" is not allowed: it must be PANIC, FATAL, ERROR, WARN, "
                   "WARNING, INFO, DEBUG or TRACE");
    expect_refused(ENVIRONMENT("SAMPLE_USER=u"),
                   "SAMPLE_PASSWORD is not set: it is required (a text, which may be empty)");
    /* A value cannot break the line it is reported on. */
    expect_refused(ENVIRONMENT(REQUIRED, "SAMPLE_FLAG=a\nb\"c"),
                   "SAMPLE_FLAG=\"a\\x0ab\\\"c\" is not allowed: it must be true or false");
}

static void required_may_be_empty(void **state)
{
    (void)state;
    struct sample sample = load(ENVIRONMENT("SAMPLE_USER=", "SAMPLE_PASSWORD="));
    assert_string_equal(sample.user, "");
    assert_string_equal(sample.password, "");
    conftab_fini(&table, &sample);
}

static void print_shows_sources_and_no_secret(void **state)
{
    (void)state;
    char **environment =
        ENVIRONMENT(REQUIRED, "SAMPLE_PORT=0x10", "SAMPLE_TEXT=two\nlines", "LOG_LEVEL=trace");
    struct sample sample = load(environment);
    struct dynbuf out;
    dynbuf_init(&out, 65536);
    conftab_print(&table, &sample, environment, &out);
    assert_string_equal(dynbuf_text(&out), "SAMPLE_PORT=16  # environment\n"
                                           "SAMPLE_FLAG=true  # default\n"
                                           "SAMPLE_TEXT=two\\x0alines  # environment\n"
                                           "SAMPLE_FILLED=here  # default\n"
                                           "SAMPLE_USER=u  # environment\n"
                                           "SAMPLE_PASSWORD=***  # environment\n"
                                           "LOG_LEVEL=DEBUG  # environment\n");
    conftab_fini(&table, &sample);
    environment = ENVIRONMENT("SAMPLE_USER=u", "SAMPLE_PASSWORD=");
    sample = load(environment);
    dynbuf_reset(&out);
    conftab_print(&table, &sample, environment, &out);
    assert_non_null(strstr(dynbuf_text(&out), "\nSAMPLE_PASSWORD=  # environment\n"));
    conftab_fini(&table, &sample);
    dynbuf_fini(&out);
}

static void help_has_every_row(void **state)
{
    (void)state;
    struct dynbuf out;
    dynbuf_init(&out, 65536);
    conftab_help(&table, &out);
    assert_non_null(strstr(dynbuf_text(&out),
                           "SAMPLE_PORT=9042\n      A port\n      (an integer from 1 to 65535)\n"));
    assert_non_null(strstr(dynbuf_text(&out), "SAMPLE_USER (required)\n"));
    dynbuf_fini(&out);
}

struct warnings {
    size_t count;
    char text[512];
};

static void collect(void *context, const char *name, const char *nearest)
{
    struct warnings *warnings = context;
    size_t used = strlen(warnings->text);
    snprintf(warnings->text + used, sizeof warnings->text - used, "%s>%s ", name, nearest);
    warnings->count++;
}

static void unknown_names_get_the_nearest_known_one(void **state)
{
    (void)state;
    char long_name[200] = "SAMPLE_";
    memset(long_name + 7, 'X', 150);
    long_name[157] = '=';
    struct warnings warnings = {0};
    conftab_unknown(&table,
                    ENVIRONMENT(REQUIRED, "SAMPLE_PROT=1", "SAMPLE_=", "LOG_LEVL=INFO",
                                "SMPLE_FLAG=true", long_name, "SAMPLE_OTHER_PORT=1",
                                "SAMPLE_SERVICE_HOST=10.0.0.1", "SAMPLE_PORT_9042_TCP_ADDR=x",
                                "SAMPLE_X=tcp://10.0.0.1:80", "LOG_FILE=x", "PATH=/bin", "=odd",
                                "noequals", "HOME=/"),
                    collect, &warnings);
    assert_string_equal(warnings.text,
                        "SAMPLE_PROT>SAMPLE_PORT SAMPLE_>SAMPLE_PORT LOG_LEVL>LOG_LEVEL "
                        "SMPLE_FLAG>SAMPLE_FLAG ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_apply_when_absent),
        cmocka_unit_test(first_of_two_entries_counts),
        cmocka_unit_test(integers),
        cmocka_unit_test(booleans),
        cmocka_unit_test(doubles),
        cmocka_unit_test(ranges_at_their_ends),
        cmocka_unit_test(refusals_name_variable_value_and_allowed),
        cmocka_unit_test(required_may_be_empty),
        cmocka_unit_test(print_shows_sources_and_no_secret),
        cmocka_unit_test(help_has_every_row),
        cmocka_unit_test(unknown_names_get_the_nearest_known_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
