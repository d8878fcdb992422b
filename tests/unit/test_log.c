/* The log: one event is one line of bounded length whatever it is given, and a quoted text cannot
 * forge a second one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/log.h"

#define CAPTURE_MAX 65536

/* What body writes to stderr. */
static const char *capture(void (*body)(void))
{
    static char text[CAPTURE_MAX];
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    int saved = dup(STDERR_FILENO);
    assert_true(saved >= 0);
    dup2(ends[1], STDERR_FILENO);
    close(ends[1]);
    body();
    dup2(saved, STDERR_FILENO); /* closes the last writing end: read sees the end */
    close(saved);
    size_t used = 0;
    ssize_t got;
    while (used < sizeof text - 1 && (got = read(ends[0], text + used, sizeof text - 1 - used)) > 0)
        used += (size_t)got;
    close(ends[0]);
    text[used] = '\0';
    return text;
}

static void expect_one_line(const char *text)
{
    const char *newline = strchr(text, '\n');
    assert_non_null(newline);
    assert_int_equal(newline[1], '\0');
}

static void log_plain(void)
{
    LOG_INFO("started", "port=%d name=%s", 9042, "x");
}

static void one_event_is_one_line(void **state)
{
    (void)state;
    log_init("tester", LOG_LEVEL_INFO);
    const char *text = capture(log_plain);
    expect_one_line(text);
    assert_int_equal(strncmp(text, "time=20", 7), 0);
    assert_non_null(strstr(text, "Z level=info program=tester event=started port=9042 name=x\n"));
}

static void log_bare(void)
{
    LOG_ERROR("stopped", "");
}

static void no_details_no_trailing_space(void **state)
{
    (void)state;
    log_init("tester", LOG_LEVEL_ERROR);
    const char *text = capture(log_bare);
    assert_non_null(strstr(text, " level=error program=tester event=stopped\n"));
}

static void log_at_all_levels(void)
{
    LOG_DEBUG("at_debug", "");
    LOG_INFO("at_info", "");
    LOG_WARN("at_warn", "");
    LOG_ERROR("at_error", "");
}

static void threshold_is_obeyed(void **state)
{
    (void)state;
    log_init("tester", LOG_LEVEL_WARN);
    const char *text = capture(log_at_all_levels);
    assert_null(strstr(text, "at_debug"));
    assert_null(strstr(text, "at_info"));
    assert_non_null(strstr(text, "level=warning program=tester event=at_warn\n"));
    assert_non_null(strstr(text, "level=error program=tester event=at_error\n"));
    log_init("tester", LOG_LEVEL_DEBUG);
    assert_non_null(strstr(capture(log_at_all_levels), "level=debug"));
}

/* Lengths around the line limit. */
static int long_length;

static void log_long(void)
{
    static char text[8192];
    memset(text, 'y', sizeof text);
    LOG_INFO("long", "%.*sEND", long_length, text);
}

static void a_long_line_is_cut_and_still_ends(void **state)
{
    (void)state;
    log_init("tester", LOG_LEVEL_INFO);
    for (long_length = 1900; long_length < 2100; long_length++) {
        const char *text = capture(log_long);
        expect_one_line(text);
        assert_true(strlen(text) <= 2048);
    }
    long_length = 8000;
    const char *text = capture(log_long);
    expect_one_line(text);
    assert_true(strlen(text) > 2000 && strlen(text) <= 2048);
    long_length = 100;
    assert_non_null(strstr(capture(log_long), "yEND\n"));
}

static void log_after_closing_stderr(void)
{
    close(STDERR_FILENO);
    LOG_ERROR("nowhere", "");
}

static void a_closed_stderr_stops_nothing(void **state)
{
    (void)state;
    assert_string_equal(capture(log_after_closing_stderr), "");
}

static void quoting(void **state)
{
    (void)state;
    char buffer[64];
    assert_string_equal(log_quote(buffer, sizeof buffer, "plain text", 10), "\"plain text\"");
    assert_string_equal(log_quote(buffer, sizeof buffer, "", 0), "\"\"");
    assert_string_equal(log_quote(buffer, sizeof buffer, "a\"b\\c", 5), "\"a\\\"b\\\\c\"");
    assert_string_equal(log_quote(buffer, sizeof buffer, "x\nlevel=error", 13),
                        "\"x\\x0alevel=error\"");
    assert_string_equal(log_quote(buffer, sizeof buffer, "\0\x7f\xff", 3), "\"\\x00\\x7f\\xff\"");
}

static void quoting_never_overflows(void **state)
{
    (void)state;
    for (size_t size = 8; size < 40; size++) {
        for (size_t length = 0; length < 60; length++) {
            char text[60];
            memset(text, length % 2 ? '\n' : 'z', sizeof text);
            char buffer[48];
            memset(buffer, '#', sizeof buffer);
            log_quote(buffer, size, text, length);
            assert_true(strlen(buffer) < size);
            assert_int_equal(buffer[strlen(buffer) - 1], '"');
            for (size_t i = size; i < sizeof buffer; i++)
                assert_int_equal(buffer[i], '#');
        }
    }
}

static void level_names(void **state)
{
    (void)state;
    enum log_level level;
    assert_true(log_level_parse("trace", &level));
    assert_int_equal(level, LOG_LEVEL_DEBUG);
    assert_true(log_level_parse("Panic", &level));
    assert_int_equal(level, LOG_LEVEL_ERROR);
    assert_true(log_level_parse("WARNING", &level));
    assert_int_equal(level, LOG_LEVEL_WARN);
    for (level = LOG_LEVEL_DEBUG; level <= LOG_LEVEL_ERROR; level++) {
        enum log_level read;
        assert_true(log_level_parse(log_level_name(level), &read));
        assert_int_equal(read, level);
        assert_true(log_level_named(log_level_name(level), &read));
        assert_int_equal(read, level);
    }
    assert_false(log_level_named("debug", &level));
    assert_false(log_level_named("WARNING", &level));
    assert_false(log_level_named("", &level));
    assert_false(log_level_parse("", &level));
    assert_false(log_level_parse("INFO ", &level));
    assert_false(log_level_parse("verbose", &level));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_event_is_one_line),
        cmocka_unit_test(no_details_no_trailing_space),
        cmocka_unit_test(threshold_is_obeyed),
        cmocka_unit_test(a_long_line_is_cut_and_still_ends),
        cmocka_unit_test(a_closed_stderr_stops_nothing),
        cmocka_unit_test(quoting),
        cmocka_unit_test(quoting_never_overflows),
        cmocka_unit_test(level_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
