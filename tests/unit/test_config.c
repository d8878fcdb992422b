/* The settings of cloudgate-proxy: its defaults, the checks that span settings, and what
 * --check-config prints. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "dataplane/config.h"

#define REQUIRED                                                                                   \
    "ORIGIN_CASSANDRA_CONTACT_POINTS=10.0.0.1", "ORIGIN_CASSANDRA_USERNAME=",                      \
        "ORIGIN_CASSANDRA_PASSWORD=", "TARGET_CASSANDRA_CONTACT_POINTS=10.0.0.2, target.example",  \
        "TARGET_CASSANDRA_USERNAME=cassandra", "TARGET_CASSANDRA_PASSWORD=hunter2"
#define ENVIRONMENT(...) ((char **)(const char *[]){__VA_ARGS__, NULL})

static void expect_refused(char *const *environment, const char *part, const char *other_part)
{
    struct config config;
    struct dynbuf error;
    dynbuf_init(&error, 4096);
    assert_false(config_load(&config, environment, &error));
    const char *text = dynbuf_text(&error);
    if (strstr(text, part) == NULL || strstr(text, other_part) == NULL)
        fail_msg("\"%s\" lacks \"%s\" or \"%s\"", text, part, other_part);
    assert_null(strchr(text, '\n'));
    assert_null(strstr(text, "hunter2"));
    dynbuf_fini(&error);
    config_fini(&config);
}

static void load(struct config *config, char *const *environment)
{
    struct dynbuf error;
    dynbuf_init(&error, 4096);
    if (!config_load(config, environment, &error))
        fail_msg("%s", dynbuf_text(&error));
    dynbuf_fini(&error);
}

static void defaults_are_the_documented_ones(void **state)
{
    (void)state;
    struct config config;
    load(&config, ENVIRONMENT(REQUIRED));
    assert_int_equal(config.proxy_index, 0);
    assert_string_equal(config.proxy_addresses, "127.0.0.1");
    assert_true(config.origin_enable_host_assignment && config.target_enable_host_assignment);
    assert_int_equal(config.origin_port, 9042);
    assert_int_equal(config.target_port, 9042);
    assert_string_equal(config.metrics_address, "127.0.0.1");
    assert_int_equal(config.metrics_port, 14001);
    assert_string_equal(config.query_address, "127.0.0.1");
    assert_int_equal(config.query_port, 14002);
    assert_int_equal(config.cluster_connection_timeout_ms, 30000);
    assert_int_equal(config.heartbeat_interval_ms, 30000);
    assert_true(config.enable_metrics);
    assert_int_equal(config.max_clients_threshold, 500);
    assert_false(config.forward_reads_to_target);
    assert_true(config.forward_system_queries_to_target);
    assert_int_equal(config.request_timeout_ms, 10000);
    assert_int_equal(config.log_level, LOG_LEVEL_INFO);
    assert_string_equal(config.control_socket, "");
    assert_false(config.readiness_requires_both);
    config_fini(&config);
}

static void each_required_setting_is_missed_by_name(void **state)
{
    (void)state;
    const char *const all[] = {REQUIRED};
    for (size_t missing = 0; missing < 6; missing++) {
        const char *environment[6];
        size_t count = 0;
        for (size_t i = 0; i < 6; i++)
            if (i != missing)
                environment[count++] = all[i];
        environment[count] = NULL;
        char name[64];
        snprintf(name, sizeof name, "%.*s is not set", (int)strcspn(all[missing], "="),
                 all[missing]);
        expect_refused((char **)environment, name, "required");
    }
}

static void lists_and_pairs_are_checked(void **state)
{
    (void)state;
    expect_refused(ENVIRONMENT("PROXY_ADDRESSES=10.0.0.1,proxy 2", REQUIRED),
                   "invalid proxy address in PROXY_ADDRESSES: \"proxy 2\"", "IP address");
    expect_refused(ENVIRONMENT("PROXY_ADDRESSES=10.0.0.1,,10.0.0.2", REQUIRED),
                   "invalid proxy address in PROXY_ADDRESSES: \"\"", "IP address");
    expect_refused(ENVIRONMENT("PROXY_ADDRESSES=256.0.0.1", REQUIRED), "PROXY_ADDRESSES",
                   "\"256.0.0.1\"");
    expect_refused(
        ENVIRONMENT("PROXY_INDEX=3", "PROXY_ADDRESSES=10.0.0.1, 10.0.0.2 ,10.0.0.3", REQUIRED),
        "invalid PROXY_INDEX and PROXY_ADDRESSES values; proxy index (3)",
        "must be less than length of addresses (3) and non negative");
    expect_refused(ENVIRONMENT("ORIGIN_CASSANDRA_CONTACT_POINTS=", REQUIRED),
                   "ORIGIN_CASSANDRA_CONTACT_POINTS=\"\"", "at least one host");
    expect_refused(ENVIRONMENT("TARGET_CASSANDRA_CONTACT_POINTS=a,,b", REQUIRED),
                   "TARGET_CASSANDRA_CONTACT_POINTS", "empty items");
    expect_refused(ENVIRONMENT("TARGET_CASSANDRA_CONTACT_POINTS=a b", REQUIRED),
                   "TARGET_CASSANDRA_CONTACT_POINTS", "comma-separated");
    expect_refused(ENVIRONMENT("HEARTBEAT_RETRY_INTERVAL_MIN_MS=500",
                               "HEARTBEAT_RETRY_INTERVAL_MAX_MS=499", REQUIRED),
                   "HEARTBEAT_RETRY_INTERVAL_MIN_MS=500", "HEARTBEAT_RETRY_INTERVAL_MAX_MS (499)");
    expect_refused(ENVIRONMENT("PROXY_METRICS_PORT=14002", REQUIRED), "PROXY_METRICS_PORT=14002",
                   "PROXY_QUERY_PORT");
    expect_refused(
        ENVIRONMENT("PROXY_METRICS_PORT=14002", "PROXY_METRICS_ADDRESS=0.0.0.0", REQUIRED),
        "PROXY_METRICS_PORT=14002", "PROXY_QUERY_PORT");

    struct config config;
    load(&config,
         ENVIRONMENT("PROXY_INDEX=2", "PROXY_ADDRESSES=10.0.0.1, 10.0.0.2 ,::1", REQUIRED));
    config_fini(&config);
    load(&config,
         ENVIRONMENT("PROXY_METRICS_PORT=14002", "PROXY_METRICS_ADDRESS=127.0.0.2", REQUIRED));
    config_fini(&config);
    load(&config, ENVIRONMENT("HEARTBEAT_RETRY_INTERVAL_MIN_MS=500",
                              "HEARTBEAT_RETRY_INTERVAL_MAX_MS=500", REQUIRED));
    config_fini(&config);
}

static void debug_is_an_alias(void **state)
{
    (void)state;
    struct config config;
    struct dynbuf out;
    char **environment = ENVIRONMENT("DEBUG=true", REQUIRED);
    load(&config, environment);
    assert_int_equal(config.log_level, LOG_LEVEL_DEBUG);
    dynbuf_init(&out, 65536);
    config_print(&config, &out);
    assert_non_null(strstr(dynbuf_text(&out), "\nLOG_LEVEL=DEBUG  # environment\n"));
    config_fini(&config);
    load(&config, ENVIRONMENT("DEBUG=false", "LOG_LEVEL=warning", REQUIRED));
    assert_int_equal(config.log_level, LOG_LEVEL_WARN);
    config_fini(&config);
    dynbuf_fini(&out);
}

static void every_setting_is_printed_and_helped(void **state)
{
    (void)state;
    static const char *const names[] = {
#define SETTING_INT(environment, ...)           #environment,
#define SETTING_BOOL(environment, ...)          #environment,
#define SETTING_TEXT(environment, ...)          #environment,
#define SETTING_TEXT_NONEMPTY(environment, ...) #environment,
#define SETTING_REQUIRED(environment, ...)      #environment,
#define SETTING_SECRET(environment, ...)        #environment,
#define SETTING_LOG_LEVEL(environment, ...)     #environment,
#define SETTING_DOUBLE(environment, ...)        #environment,
#define SETTING_CHOICE(environment, ...)        #environment,
#define SETTING_NUMBERS(environment, ...)       #environment,
#define ACCEPTED(suffix, ...)                   "ZDM_" #suffix,
#include "dataplane/config.def"
    };
    struct config config;
    struct dynbuf printed, help;
    char **environment = ENVIRONMENT(REQUIRED);
    load(&config, environment);
    dynbuf_init(&printed, 65536);
    dynbuf_init(&help, 65536);
    config_print(&config, &printed);
    config_help(&help);
    assert_false(printed.failed || help.failed);
    assert_null(strstr(dynbuf_text(&printed), "hunter2"));
    assert_non_null(
        strstr(dynbuf_text(&printed), "\nTARGET_CASSANDRA_PASSWORD=***  # environment\n"));
    assert_non_null(strstr(dynbuf_text(&printed), "\nORIGIN_CASSANDRA_PASSWORD=  # environment\n"));
    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        char needle[80];
        snprintf(needle, sizeof needle, "%s=", names[i]);
        if (strstr(dynbuf_text(&printed), needle) == NULL)
            fail_msg("--check-config lacks %s", names[i]);
        if (strstr(dynbuf_text(&help), names[i]) == NULL)
            fail_msg("--help lacks %s", names[i]);
    }
    config_fini(&config);
    dynbuf_fini(&printed);
    dynbuf_fini(&help);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_the_documented_ones),
        cmocka_unit_test(each_required_setting_is_missed_by_name),
        cmocka_unit_test(lists_and_pairs_are_checked),
        cmocka_unit_test(debug_is_an_alias),
        cmocka_unit_test(every_setting_is_printed_and_helped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
