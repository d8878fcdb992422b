/* Snapshots to messages and back, what a snapshot needs of a data plane, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "dataplane/snapshot_message.h"
#include "proto/ctl_features.h"

static struct ctl_snapshot full(void)
{
    struct ctl_snapshot message = {
        .store_id = "store",
        .revision = 9,
        .digest = "d",
        .forward_reads_to_target = true,
        .forward_system_queries_to_target = true,
        .canary_read_percent = 100,
        .skip_origin = true,
        .request_timeout_ms = CTL_REQUEST_TIMEOUT_MAX_MS,
        .max_clients = CTL_CLIENTS_MAX,
        .replace_cql_functions = "false",
        .stamp_timestamps = "true",
        .log_level = "DEBUG",
    };
    return message;
}

static void test_there_and_back(void **state)
{
    static const char *const levels[] = {"", "ERROR", "WARN", "INFO", "DEBUG"};
    static const char *const switches[] = {"", "true", "false"};
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(levels) * ARRAY_COUNT(switches); i++) {
        struct ctl_snapshot message = full(), back;
        struct snapshot snapshot;
        const char *text = switches[i % ARRAY_COUNT(switches)];
        snprintf(message.log_level, sizeof message.log_level, "%s",
                 levels[i / ARRAY_COUNT(switches)]);
        snprintf(message.replace_cql_functions, sizeof message.replace_cql_functions, "%s", text);
        ctl_snapshot_digest(&message, message.digest);
        snapshot_from_message(&message, &snapshot);
        assert_true(snapshot.skip_writes[CLUSTER_ORIGIN] && !snapshot.skip_writes[CLUSTER_TARGET]);
        assert_int_equal(snapshot.canary_read_percent, 100);
        assert_int_equal(snapshot.request_timeout_ms, 3600000);
        assert_int_equal(snapshot.stamp_timestamps, SNAPSHOT_ON);
        snapshot_to_message(&snapshot, &back);
        char digest[CTL_DIGEST_HEX + 1];
        ctl_snapshot_digest(&back, digest); /* whole: last-good.json would be refused otherwise */
        assert_string_equal(digest, message.digest);
        assert_string_equal(back.digest, message.digest);
    }
}

/* Each value at its limit and one past it. */
static void test_soundness(void **state)
{
    const char *member = NULL;
    struct ctl_snapshot message = full();
    (void)state;
    assert_true(ctl_snapshot_is_sound(&message, &member));
#define REFUSED(change, name)                                                                      \
    do {                                                                                           \
        message = full();                                                                          \
        change;                                                                                    \
        assert_false(ctl_snapshot_is_sound(&message, &member));                                    \
        assert_string_equal(member, name);                                                         \
    } while (0)
    REFUSED(message.shadow_read_percent = 101, "shadow_read_percent");
    REFUSED(message.canary_read_percent = 101, "canary_read_percent");
    REFUSED(message.canary_read_percent = UINT64_MAX, "canary_read_percent");
    REFUSED(message.skip_target = true, "skip_target");
    REFUSED(message.shadow_read_percent = 1, "shadow_read_percent");
    REFUSED(message.forward_reads_to_target = false, "forward_reads_to_target");
    REFUSED(message.forward_system_queries_to_target = false, "forward_reads_to_target");
    REFUSED((message.skip_origin = false, message.skip_target = true), "forward_reads_to_target");
    message = full();
    message.skip_origin = false;
    message.shadow_read_percent = 100;
    assert_true(ctl_snapshot_is_sound(&message, &member));
    REFUSED(message.request_timeout_ms++, "request_timeout_ms");
    REFUSED(message.max_clients++, "max_clients");
    REFUSED(message.replace_cql_functions[0] = 'F', "replace_cql_functions");
    REFUSED(snprintf(message.stamp_timestamps, 6, "on"), "stamp_timestamps");
    REFUSED(snprintf(message.log_level, 8, "TRACE"), "log_level");
}

static void test_features(void **state)
{
    struct ctl_snapshot message = {.forward_reads_to_target = true, .shadow_read_percent = 100};
    uint32_t all = ctl_features_announced("write_switches,canary_reads,live_settings");
    (void)state;
    assert_int_equal(ctl_features_needed(&message), 0);
    message = full();
    assert_int_equal(ctl_features_needed(&message), all);
    assert_int_equal(all, 7);
    assert_int_equal(ctl_features_announced(""), 0);
    assert_int_equal(ctl_features_announced("routing,,live_setting,live_settingss"), 0);
    assert_int_equal(ctl_features_announced(",routing,canary_reads"),
                     ctl_features_announced("canary_reads"));
    message = (struct ctl_snapshot){.skip_target = true};
    assert_string_equal(ctl_features_word(ctl_features_needed(&message)), "write_switches");
    message = (struct ctl_snapshot){.canary_read_percent = 1};
    assert_string_equal(ctl_features_word(ctl_features_needed(&message)), "canary_reads");
    static const struct ctl_snapshot live[] = {{.request_timeout_ms = 1},
                                               {.max_clients = 1},
                                               {.replace_cql_functions = "true"},
                                               {.stamp_timestamps = "false"},
                                               {.log_level = "INFO"}};
    for (size_t i = 0; i < ARRAY_COUNT(live); i++)
        assert_string_equal(ctl_features_word(ctl_features_needed(&live[i])), "live_settings");
}

/* What this data plane does not announce, it does not acknowledge. */
static void test_nothing_is_agreed_to_silently(void **state)
{
    static const struct ctl_snapshot asking[] = {{.skip_origin = true,
                                                  .forward_reads_to_target = true,
                                                  .forward_system_queries_to_target = true},
                                                 {.skip_target = true},
                                                 {.canary_read_percent = 1},
                                                 {.max_clients = 10},
                                                 {.log_level = "INFO"}};
    const char *member;
    char detail[256];
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(asking); i++) {
        uint32_t missing =
            ctl_features_needed(&asking[i]) & ~ctl_features_announced(SNAPSHOT_FEATURES);
        const char *reason = snapshot_refuse_message(&asking[i], &member, detail, sizeof detail);
        if (missing == 0) {
            assert_null(reason);
            continue;
        }
        assert_string_equal(reason, "not_supported");
        assert_string_equal(member, ctl_features_word(missing));
        assert_non_null(strstr(detail, member));
    }
    struct ctl_snapshot message = {.shadow_read_percent = 101};
    assert_string_equal(snapshot_refuse_message(&message, &member, detail, sizeof detail),
                        "out_of_range");
    message.shadow_read_percent = 100;
    assert_null(snapshot_refuse_message(&message, &member, detail, sizeof detail));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_soundness),
        cmocka_unit_test(test_features),
        cmocka_unit_test(test_nothing_is_agreed_to_silently),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
