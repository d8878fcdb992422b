/* zdm-proxy's names for the settings: all of them are taken, from the environment and from a file;
 * which name and which source wins; zdm-proxy's texts and its order of checks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "dataplane/config.h"
#include "dataplane/config_yaml.h"

#define LIST(...) ((char **)(const char *[]){__VA_ARGS__, NULL})
#define REQUIRED                                                                                   \
    "ZDM_ORIGIN_CONTACT_POINTS=10.0.0.1", "ZDM_ORIGIN_USERNAME=", "ZDM_ORIGIN_PASSWORD=",          \
        "ZDM_TARGET_CONTACT_POINTS=10.0.0.2,target.example", "ZDM_TARGET_USERNAME=cassandra",      \
        "ZDM_TARGET_PASSWORD=hunter2"

/* Every setting zdm-proxy has, a value that is not its default, and the line it leads to. */
static const struct {
    const char *name, *value, *line;
} every[] = {
    {"PRIMARY_CLUSTER", "target", "FORWARD_READS_TO_TARGET=true"},
    {"READ_MODE", "Dual_Async_On_Secondary", "READ_MODE=DUAL_ASYNC_ON_SECONDARY"},
    {"REPLACE_CQL_FUNCTIONS", "F", "REPLACE_CQL_FUNCTIONS=false"},
    {"ASYNC_HANDSHAKE_TIMEOUT_MS", "4001", "ASYNC_HANDSHAKE_TIMEOUT_MS=4001"},
    {"LOG_LEVEL", " warning ", "LOG_LEVEL=WARN"},
    {"CONTROL_CONN_MAX_PROTOCOL_VERSION", "dsev1", "CONTROL_CONN_MAX_PROTOCOL_VERSION=DseV1"},
    {"BLOCKED_PROTOCOL_VERSIONS", "v5, dse_v1", "BLOCKED_PROTOCOL_VERSIONS=v5, dse_v1"},
    {"TRACING_ENABLED", "1", "TRACING_ENABLED=true"},
    {"TRACING_RATE_LIMIT", "-1", "TRACING_RATE_LIMIT=-1"},
    {"TRACING_REQUEST_ID_KEY", "rid", "TRACING_REQUEST_ID_KEY=rid"},
    {"PROXY_TOPOLOGY_INDEX", "1", "PROXY_INDEX=1"},
    {"PROXY_TOPOLOGY_ADDRESSES", "10.0.1.1, 10.0.1.2", "PROXY_ADDRESSES=10.0.1.1, 10.0.1.2"},
    {"PROXY_TOPOLOGY_NUM_TOKENS", "256", "PROXY_NUM_TOKENS=256"},
    {"ORIGIN_CONTACT_POINTS", "o1,o2", "ORIGIN_CASSANDRA_CONTACT_POINTS=o1,o2"},
    {"ORIGIN_PORT", "0x2346", "ORIGIN_CASSANDRA_PORT=9030"},
    {"ORIGIN_SECURE_CONNECT_BUNDLE_PATH", "", "ORIGIN_SECURE_CONNECT_BUNDLE_PATH="},
    {"ORIGIN_LOCAL_DATACENTER", "dc1", "ORIGIN_LOCAL_DATACENTER=dc1"},
    {"ORIGIN_USERNAME", "ou", "ORIGIN_CASSANDRA_USERNAME=ou"},
    {"ORIGIN_PASSWORD", "hunter2", "ORIGIN_CASSANDRA_PASSWORD=***"},
    {"ORIGIN_CONNECTION_TIMEOUT_MS", "1_000", "ORIGIN_CONNECTION_TIMEOUT_MS=1000"},
    {"ORIGIN_TLS_SERVER_CA_PATH", "/o/ca", "ORIGIN_TLS_SERVER_CA_PATH=/o/ca"},
    {"ORIGIN_TLS_CLIENT_CERT_PATH", "/o/crt", "ORIGIN_TLS_CLIENT_CERT_PATH=/o/crt"},
    {"ORIGIN_TLS_CLIENT_KEY_PATH", "/o/key", "ORIGIN_TLS_CLIENT_KEY_PATH=/o/key"},
    {"TARGET_CONTACT_POINTS", "t1", "TARGET_CASSANDRA_CONTACT_POINTS=t1"},
    {"TARGET_PORT", "9043", "TARGET_CASSANDRA_PORT=9043"},
    {"TARGET_SECURE_CONNECT_BUNDLE_PATH", "", "TARGET_SECURE_CONNECT_BUNDLE_PATH="},
    {"TARGET_LOCAL_DATACENTER", "dc2", "TARGET_LOCAL_DATACENTER=dc2"},
    {"TARGET_USERNAME", "tu", "TARGET_CASSANDRA_USERNAME=tu"},
    {"TARGET_PASSWORD", "hunter2", "TARGET_CASSANDRA_PASSWORD=***"},
    {"TARGET_CONNECTION_TIMEOUT_MS", "2000", "TARGET_CONNECTION_TIMEOUT_MS=2000"},
    {"TARGET_TLS_SERVER_CA_PATH", "/t/ca", "TARGET_TLS_SERVER_CA_PATH=/t/ca"},
    {"TARGET_TLS_CLIENT_CERT_PATH", "/t/crt", "TARGET_TLS_CLIENT_CERT_PATH=/t/crt"},
    {"TARGET_TLS_CLIENT_KEY_PATH", "/t/key", "TARGET_TLS_CLIENT_KEY_PATH=/t/key"},
    {"PROXY_LISTEN_ADDRESS", "localhost", "PROXY_QUERY_ADDRESS=localhost"},
    {"PROXY_LISTEN_PORT", "14012", "PROXY_QUERY_PORT=14012"},
    {"PROXY_REQUEST_TIMEOUT_MS", "9999", "REQUEST_TIMEOUT_MS=9999"},
    {"PROXY_MAX_CLIENT_CONNECTIONS", "77", "MAX_CLIENTS_THRESHOLD=77"},
    {"PROXY_MAX_STREAM_IDS", "127", "PROXY_MAX_STREAM_IDS=127"},
    {"PROXY_TLS_CA_PATH", "/p/ca", "PROXY_TLS_CA_PATH=/p/ca"},
    {"PROXY_TLS_CERT_PATH", "/p/crt", "PROXY_TLS_CERT_PATH=/p/crt"},
    {"PROXY_TLS_KEY_PATH", "/p/key", "PROXY_TLS_KEY_PATH=/p/key"},
    {"PROXY_TLS_REQUIRE_CLIENT_AUTH", "true", "PROXY_TLS_REQUIRE_CLIENT_AUTH=true"},
    {"METRICS_ENABLED", "false", "ENABLE_METRICS=false"},
    {"METRICS_ADDRESS", "0.0.0.0", "PROXY_METRICS_ADDRESS=0.0.0.0"},
    {"METRICS_PORT", "14011", "PROXY_METRICS_PORT=14011"},
    {"METRICS_PREFIX", "mine", "METRICS_PREFIX=mine"},
    {"METRICS_ORIGIN_LATENCY_BUCKETS_MS", "0.5, 2", "METRICS_ORIGIN_LATENCY_BUCKETS_MS=0.5,2"},
    {"METRICS_TARGET_LATENCY_BUCKETS_MS", "1", "METRICS_TARGET_LATENCY_BUCKETS_MS=1"},
    {"METRICS_ASYNC_READ_LATENCY_BUCKETS_MS", "3,4", "METRICS_ASYNC_READ_LATENCY_BUCKETS_MS=3,4"},
    {"HEARTBEAT_INTERVAL_MS", "20000", "HEARTBEAT_INTERVAL_MS=20000"},
    {"HEARTBEAT_RETRY_INTERVAL_MIN_MS", "100", "HEARTBEAT_RETRY_INTERVAL_MIN_MS=100"},
    {"HEARTBEAT_RETRY_INTERVAL_MAX_MS", "10000", "HEARTBEAT_RETRY_INTERVAL_MAX_MS=10000"},
    {"HEARTBEAT_RETRY_BACKOFF_FACTOR", "1.5", "HEARTBEAT_RETRY_BACKOFF_FACTOR=1.5"},
    {"HEARTBEAT_FAILURE_THRESHOLD", "3", "HEARTBEAT_FAILURE_THRESHOLD=3"},
    {"SYSTEM_QUERIES_MODE", "Target", "FORWARD_SYSTEM_QUERIES_TO_TARGET=true"},
    {"FORWARD_CLIENT_CREDENTIALS_TO_ORIGIN", "t", "FORWARD_CLIENT_CREDENTIALS_TO_ORIGIN=true"},
    {"ORIGIN_ENABLE_HOST_ASSIGNMENT", "True", "ORIGIN_ENABLE_HOST_ASSIGNMENT=true"},
    {"TARGET_ENABLE_HOST_ASSIGNMENT", "TRUE", "TARGET_ENABLE_HOST_ASSIGNMENT=true"},
    {"REQUEST_WRITE_QUEUE_SIZE_FRAMES", "1", "ZDM_REQUEST_WRITE_QUEUE_SIZE_FRAMES=1"},
    {"REQUEST_WRITE_BUFFER_SIZE_BYTES", "2", "ZDM_REQUEST_WRITE_BUFFER_SIZE_BYTES=2"},
    {"REQUEST_READ_BUFFER_SIZE_BYTES", "3", "ZDM_REQUEST_READ_BUFFER_SIZE_BYTES=3"},
    {"RESPONSE_WRITE_QUEUE_SIZE_FRAMES", "4", "ZDM_RESPONSE_WRITE_QUEUE_SIZE_FRAMES=4"},
    {"RESPONSE_WRITE_BUFFER_SIZE_BYTES", "5", "ZDM_RESPONSE_WRITE_BUFFER_SIZE_BYTES=5"},
    {"RESPONSE_READ_BUFFER_SIZE_BYTES", "6", "ZDM_RESPONSE_READ_BUFFER_SIZE_BYTES=6"},
    {"REQUEST_RESPONSE_MAX_WORKERS", "-1", "ZDM_REQUEST_RESPONSE_MAX_WORKERS=-1"},
    {"WRITE_MAX_WORKERS", "7", "ZDM_WRITE_MAX_WORKERS=7"},
    {"READ_MAX_WORKERS", "8", "ZDM_READ_MAX_WORKERS=8"},
    {"LISTENER_MAX_WORKERS", "9", "ZDM_LISTENER_MAX_WORKERS=9"},
    {"EVENT_QUEUE_SIZE_FRAMES", "10", "ZDM_EVENT_QUEUE_SIZE_FRAMES=10"},
    {"ASYNC_CONNECTOR_WRITE_QUEUE_SIZE_FRAMES", "11",
     "ZDM_ASYNC_CONNECTOR_WRITE_QUEUE_SIZE_FRAMES=11"},
    {"ASYNC_CONNECTOR_WRITE_BUFFER_SIZE_BYTES", "12",
     "ZDM_ASYNC_CONNECTOR_WRITE_BUFFER_SIZE_BYTES=12"},
};

struct loaded {
    struct config config;
    struct config_yaml yaml;
    struct dynbuf text; /* what --check-config prints, or the error */
    bool is_good;
};

/* file: NULL: none. */
static struct loaded load(char *const *overrides, char *const *environment, const char *file)
{
    struct loaded loaded = {0};
    dynbuf_init(&loaded.text, 1 << 16);
    if (file != NULL &&
        !config_yaml_parse((const uint8_t *)file, strlen(file), &loaded.yaml, &loaded.text))
        fail_msg("%s", dynbuf_text(&loaded.text));
    struct conftab_inputs inputs = {
        .overrides = overrides,
        .environment = environment,
        .entries = loaded.yaml.entries,
        .entry_count = loaded.yaml.count,
    };
    loaded.is_good = config_load_from(&loaded.config, &inputs, &loaded.text);
    if (loaded.is_good)
        config_print(&loaded.config, &loaded.text);
    assert_false(loaded.text.failed);
    assert_null(strstr(dynbuf_text(&loaded.text), "hunter2"));
    return loaded;
}

static void fini(struct loaded *loaded)
{
    config_fini(&loaded->config);
    config_yaml_fini(&loaded->yaml);
    dynbuf_fini(&loaded->text);
}

static void expect_line(const struct loaded *loaded, const char *line)
{
    char needle[256];
    snprintf(needle, sizeof needle, "\n%s\n", line);
    if (!loaded->is_good)
        fail_msg("refused: %s", dynbuf_text(&loaded->text));
    const char *text = dynbuf_text(&loaded->text);
    if (strncmp(text, needle + 1, strlen(needle + 1)) != 0 && strstr(text, needle) == NULL)
        fail_msg("no line \"%s\" in:\n%s", line, text);
}

static void expect_refused(char *const *environment, const char *file, const char *part)
{
    struct loaded loaded = load(NULL, environment, file);
    assert_false(loaded.is_good);
    const char *text = dynbuf_text(&loaded.text);
    if (strstr(text, part) == NULL)
        fail_msg("\"%s\" lacks \"%s\"", text, part);
    assert_null(strchr(text, '\n'));
    fini(&loaded);
}

static void all_71_names_are_taken_from_the_environment(void **state)
{
    (void)state;
    char *environment[ARRAY_COUNT(every) + 1] = {0};
    assert_int_equal(ARRAY_COUNT(every), 71);
    for (size_t i = 0; i < ARRAY_COUNT(every); i++)
        assert_true(asprintf(&environment[i], "ZDM_%s=%s", every[i].name, every[i].value) > 0);
    struct loaded loaded = load(NULL, environment, NULL);
    for (size_t i = 0; i < ARRAY_COUNT(every); i++) {
        char line[256];
        if (strncmp(every[i].line, "ZDM_", 4) == 0)
            snprintf(line, sizeof line, "%s  # environment, without effect here", every[i].line);
        else
            snprintf(line, sizeof line, "%s  # environment (ZDM_%s)", every[i].line, every[i].name);
        expect_line(&loaded, line);
        free(environment[i]);
    }
    fini(&loaded);
}

static void all_71_keys_are_taken_from_a_file(void **state)
{
    (void)state;
    struct dynbuf file;
    dynbuf_init(&file, 1 << 16);
    for (size_t i = 0; i < ARRAY_COUNT(every); i++) {
        for (const char *at = every[i].name; *at != '\0'; at++) {
            char letter = *at >= 'A' && *at <= 'Z' ? (char)(*at - 'A' + 'a') : *at;
            dynbuf_append(&file, &letter, 1);
        }
        dynbuf_printf(&file, ": \"%s\"\n", every[i].value);
    }
    struct loaded loaded = load(NULL, NULL, dynbuf_text(&file));
    for (size_t i = 0; i < ARRAY_COUNT(every); i++) {
        const char *effect = strncmp(every[i].line, "ZDM_", 4) == 0 ? ", without effect here" : "";
        char line[256], key[80];
        size_t length = strlen(every[i].name);
        for (size_t j = 0; j <= length; j++)
            key[j] = every[i].name[j] >= 'A' && every[i].name[j] <= 'Z'
                         ? (char)(every[i].name[j] - 'A' + 'a')
                         : every[i].name[j];
        snprintf(line, sizeof line, "%s  # file (%s, line %zu)%s", every[i].line, key, i + 1,
                 effect);
        expect_line(&loaded, line);
    }
    fini(&loaded);
    dynbuf_fini(&file);
}

static void sources_win_in_order(void **state)
{
    (void)state;
    const char *file = "request_timeout_ms: 5\nproxy_request_timeout_ms: 6\n"
                       "origin_contact_points: o\ntarget_contact_points: t\n";
    struct loaded loaded =
        load(LIST("ZDM_PROXY_REQUEST_TIMEOUT_MS=2", "REQUEST_TIMEOUT_MS=1", "REQUEST_TIMEOUT_MS=7"),
             LIST("REQUEST_TIMEOUT_MS=3", "ZDM_PROXY_REQUEST_TIMEOUT_MS=4"), file);
    expect_line(&loaded, "REQUEST_TIMEOUT_MS=7  # command line");
    fini(&loaded);
    loaded = load(LIST("ZDM_PROXY_REQUEST_TIMEOUT_MS=2"), LIST("REQUEST_TIMEOUT_MS=3"), file);
    expect_line(&loaded, "REQUEST_TIMEOUT_MS=2  # command line (ZDM_PROXY_REQUEST_TIMEOUT_MS)");
    fini(&loaded);
    loaded = load(NULL, LIST("ZDM_PROXY_REQUEST_TIMEOUT_MS=4", "REQUEST_TIMEOUT_MS=3"), file);
    expect_line(&loaded, "REQUEST_TIMEOUT_MS=3  # environment");
    fini(&loaded);
    loaded = load(NULL, LIST("ZDM_PROXY_REQUEST_TIMEOUT_MS=4"), file);
    expect_line(&loaded, "REQUEST_TIMEOUT_MS=4  # environment (ZDM_PROXY_REQUEST_TIMEOUT_MS)");
    fini(&loaded);
    loaded = load(NULL, LIST("HOME=/"), file);
    expect_line(&loaded, "REQUEST_TIMEOUT_MS=5  # file (request_timeout_ms, line 1)");
    expect_line(&loaded, "ORIGIN_CASSANDRA_USERNAME=  # default (of the ZDM_ settings)");
    fini(&loaded);
}

static void defaults_are_those_of_the_names_in_use(void **state)
{
    (void)state;
    struct loaded loaded = load(NULL, LIST(REQUIRED), NULL);
    expect_line(&loaded, "MAX_CLIENTS_THRESHOLD=1000  # default (of the ZDM_ settings)");
    expect_line(&loaded,
                "FORWARD_SYSTEM_QUERIES_TO_TARGET=false  # default (of the ZDM_ settings)");
    expect_line(&loaded, "REPLACE_CQL_FUNCTIONS=true  # default");
    fini(&loaded);
    loaded = load(NULL,
                  LIST("ORIGIN_CASSANDRA_CONTACT_POINTS=a", "ORIGIN_CASSANDRA_USERNAME=",
                       "ORIGIN_CASSANDRA_PASSWORD=", "TARGET_CASSANDRA_CONTACT_POINTS=b",
                       "TARGET_CASSANDRA_USERNAME=", "TARGET_CASSANDRA_PASSWORD="),
                  NULL);
    expect_line(&loaded, "MAX_CLIENTS_THRESHOLD=500  # default");
    expect_line(&loaded, "FORWARD_SYSTEM_QUERIES_TO_TARGET=true  # default");
    fini(&loaded);
}

static void derived_values(void **state)
{
    (void)state;
    struct loaded loaded = load(NULL, LIST(REQUIRED, "ZDM_PROXY_LISTEN_ADDRESS=10.9.8.7"), NULL);
    assert_true(loaded.is_good);
    assert_true(loaded.config.derives_proxy_addresses);
    assert_string_equal(loaded.config.proxy_addresses, "10.9.8.7");
    assert_int_equal(loaded.config.origin_connection_timeout_ms, 30000);
    fini(&loaded);
    loaded = load(NULL,
                  LIST(REQUIRED, "ZDM_PROXY_LISTEN_ADDRESS=", "ZDM_PROXY_TOPOLOGY_ADDRESSES=",
                       "CLUSTER_CONNECTION_TIMEOUT_MS=7", "ZDM_TARGET_CONNECTION_TIMEOUT_MS=8"),
                  NULL);
    assert_true(loaded.is_good);
    assert_string_equal(loaded.config.query_address, "0.0.0.0");
    assert_true(loaded.config.derives_proxy_addresses);
    assert_int_equal(loaded.config.origin_connection_timeout_ms, 7);
    assert_int_equal(loaded.config.target_connection_timeout_ms, 8);
    fini(&loaded);
}

static void empty_is_not_absent(void **state)
{
    (void)state;
    expect_refused(LIST(REQUIRED, "ZDM_PROXY_LISTEN_PORT="), NULL,
                   "ZDM_PROXY_LISTEN_PORT=\"\" is not allowed");
    expect_refused(LIST(REQUIRED, "ZDM_TRACING_ENABLED="), NULL,
                   "ZDM_TRACING_ENABLED=\"\" is not allowed");
    expect_refused(LIST(REQUIRED, "ZDM_READ_MAX_WORKERS="), NULL,
                   "ZDM_READ_MAX_WORKERS=\"\" is not allowed: it must be an integer");
    expect_refused(LIST(REQUIRED), "origin_port: ''\n", "origin_port=\"\" is not allowed");
    struct loaded loaded = load(NULL, LIST(REQUIRED, "ZDM_METRICS_PREFIX="), NULL);
    expect_line(&loaded, "METRICS_PREFIX=  # environment (ZDM_METRICS_PREFIX)");
    fini(&loaded);
    /* A key without a value is as if it were not there. */
    loaded = load(NULL, LIST(REQUIRED), "origin_port:\nmetrics_enabled: off\n");
    expect_line(&loaded, "ORIGIN_CASSANDRA_PORT=9042  # default");
    expect_line(&loaded, "ENABLE_METRICS=false  # file (metrics_enabled, line 2)");
    fini(&loaded);
}

static void required_in_the_environment_alone(void **state)
{
    (void)state;
    static const char *const names[] = {"ORIGIN_USERNAME", "ORIGIN_PASSWORD", "TARGET_USERNAME",
                                        "TARGET_PASSWORD"};
    const char *const all[] = {REQUIRED};
    for (size_t missing = 0; missing < ARRAY_COUNT(names); missing++) {
        const char *environment[ARRAY_COUNT(all) + 1];
        char text[160];
        size_t count = 0;
        for (size_t i = 0; i < ARRAY_COUNT(all); i++)
            if (strncmp(all[i] + 4, names[missing], strlen(names[missing])) != 0)
                environment[count++] = all[i];
        environment[count] = NULL;
        assert_int_equal(count, ARRAY_COUNT(all) - 1);
        snprintf(text, sizeof text,
                 "could not load environment variables: required key ZDM_%s missing value",
                 names[missing]);
        expect_refused((char **)environment, NULL, text);
    }
    struct loaded loaded =
        load(NULL, NULL, "origin_contact_points: [a]\ntarget_contact_points: b\n");
    expect_line(&loaded, "TARGET_CASSANDRA_PASSWORD=  # default (of the ZDM_ settings)");
    fini(&loaded);
}

static void texts_of_zdm_proxy(void **state)
{
    (void)state;
    static const struct {
        const char *assignment, *text;
    } cases[] = {
        {"ZDM_PRIMARY_CLUSTER=BOTH",
         "invalid value for ZDM_PRIMARY_CLUSTER; possible values are: ORIGIN and TARGET"},
        {"ZDM_SYSTEM_QUERIES_MODE=",
         "invalid value for ZDM_SYSTEM_QUERIES_MODE; possible values are: TARGET and ORIGIN"},
        {"ZDM_READ_MODE=ASYNC_READS_ON_SECONDARY",
         "invalid value for ZDM_READ_MODE; possible values are: PRIMARY_ONLY and "
         "DUAL_ASYNC_ON_SECONDARY"},
        {"ZDM_CONTROL_CONN_MAX_PROTOCOL_VERSION=v4",
         "invalid value for ZDM_CONTROL_CONN_MAX_PROTOCOL_VERSION; possible values are: 2, 3, 4, "
         "5, DseV1 and DseV2"},
        {"ZDM_BLOCKED_PROTOCOL_VERSIONS=v4, ,v9",
         "invalid value for ZDM_BLOCKED_PROTOCOL_VERSIONS (v9); possible values are: [2 3 4 5 "
         "DseV1 "
         "DseV2 Dse_V1 Dse_V2 v2 v3 v4 v5] (case insensitive)"},
        {"ZDM_LOG_LEVEL=loud",
         "invalid log level: invalid log level, valid log levels are PANIC, FATAL, ERROR, WARN or "
         "WARNING, INFO, DEBUG and TRACE; original err: "},
        {"ZDM_PROXY_TOPOLOGY_NUM_TOKENS=0",
         "invalid ZDM_PROXY_TOPOLOGY_NUM_TOKENS (0), it must be positive and equal or less than "
         "256"},
        {"ZDM_PROXY_TOPOLOGY_INDEX=5",
         "invalid ZDM_PROXY_TOPOLOGY_INDEX and ZDM_PROXY_TOPOLOGY_ADDRESSES values; proxy index "
         "(5) must be less than length of addresses (1) and non negative"},
        {"ZDM_PROXY_TOPOLOGY_INDEX=-1",
         "invalid ZDM_PROXY_TOPOLOGY_INDEX and ZDM_PROXY_TOPOLOGY_ADDRESSES values; proxy index "
         "(-1) must be less than length of addresses"},
        {"ZDM_ORIGIN_CONTACT_POINTS=",
         "invalid origin configuration: Both OriginSecureConnectBundlePath and "
         "OriginContactPoints are empty. Please specify either one of them."},
        {"ZDM_TARGET_SECURE_CONNECT_BUNDLE_PATH=/b.zip",
         "invalid target configuration: TargetSecureConnectBundlePath and TargetContactPoints are "
         "mutually exclusive. Please specify only one of them."},
        {"ZDM_ORIGIN_PORT=0",
         "invalid origin configuration: OriginContactPoints was specified but the port is "
         "missing. Please provide OriginPort"},
        {"ZDM_ORIGIN_TLS_CLIENT_KEY_PATH=/k",
         "incomplete TLS configuration for Origin: when using mutual TLS, please specify Server "
         "CA path, Client Cert path and Client Key path"},
        {"ZDM_PROXY_TLS_CERT_PATH=/c",
         "incomplete Proxy TLS configuration: when enabling proxy TLS, please specify CA path, "
         "Cert path and Key path"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++)
        expect_refused(LIST(cases[i].assignment, REQUIRED), NULL, cases[i].text);
    expect_refused(
        LIST(REQUIRED, "ZDM_TARGET_LOCAL_DATACENTER=dc", "ZDM_TARGET_ENABLE_HOST_ASSIGNMENT=false"),
        NULL,
        "invalid target configuration: TargetLocalDatacenter was specified but "
        "TargetEnableHostAssignment is false. Please enable host assignment or don't "
        "set the datacenter.");
    expect_refused(LIST("ZDM_ORIGIN_CONTACT_POINTS=", REQUIRED,
                        "ZDM_ORIGIN_SECURE_CONNECT_BUNDLE_PATH=/b.zip",
                        "ZDM_ORIGIN_TLS_SERVER_CA_PATH=/ca"),
                   NULL,
                   "Incorrect TLS configuration for Origin: Secure Connect Bundle and custom TLS "
                   "parameters cannot be specified at the same time.");
}

/* Of two faults the one zdm-proxy looks at first is named. */
static void faults_are_found_in_its_order(void **state)
{
    (void)state;
    static const char *const in_order[][2] = {
        {"ZDM_LOG_LEVEL=x", "invalid log level"},
        {"ZDM_TARGET_PORT=0", "invalid target configuration"},
        {"ZDM_ORIGIN_PORT=0", "invalid origin configuration"},
        {"ZDM_METRICS_ORIGIN_LATENCY_BUCKETS_MS=x", "ZDM_METRICS_ORIGIN_LATENCY_BUCKETS_MS"},
        {"ZDM_METRICS_TARGET_LATENCY_BUCKETS_MS=x", "ZDM_METRICS_TARGET_LATENCY_BUCKETS_MS"},
        {"ZDM_PROXY_TOPOLOGY_INDEX=5", "invalid ZDM_PROXY_TOPOLOGY_INDEX"},
        {"ZDM_ORIGIN_TLS_CLIENT_KEY_PATH=/k", "incomplete TLS configuration for Origin"},
        {"ZDM_TARGET_TLS_CLIENT_KEY_PATH=/k", "incomplete TLS configuration for Target"},
        {"ZDM_PROXY_TLS_KEY_PATH=/k", "incomplete Proxy TLS configuration"},
        {"ZDM_PRIMARY_CLUSTER=x", "ZDM_PRIMARY_CLUSTER"},
        {"ZDM_SYSTEM_QUERIES_MODE=x", "ZDM_SYSTEM_QUERIES_MODE"},
        {"ZDM_READ_MODE=x", "ZDM_READ_MODE"},
        {"ZDM_CONTROL_CONN_MAX_PROTOCOL_VERSION=x", "ZDM_CONTROL_CONN_MAX_PROTOCOL_VERSION"},
        {"ZDM_BLOCKED_PROTOCOL_VERSIONS=x", "ZDM_BLOCKED_PROTOCOL_VERSIONS"},
    };
    for (size_t first = 0; first < ARRAY_COUNT(in_order); first++)
        for (size_t second = first + 1; second < ARRAY_COUNT(in_order); second++)
            expect_refused(LIST(in_order[second][0], in_order[first][0], REQUIRED), NULL,
                           in_order[first][1]);
}

static void bucket_lists_name_the_item(void **state)
{
    (void)state;
#define BUCKETS "METRICS_ORIGIN_LATENCY_BUCKETS_MS"
    expect_refused(LIST(REQUIRED, "ZDM_" BUCKETS "=1,x2,3"), NULL,
                   "ZDM_" BUCKETS "=\"1,x2,3\" is not allowed: \"x2\" is not a number");
    expect_refused(LIST(REQUIRED, BUCKETS "=1, 4 ,3"), NULL, "\"3\" is not above the one before");
    expect_refused(LIST(REQUIRED, BUCKETS "=1,1"), NULL, "\"1\" is not above the one before");
    expect_refused(LIST(REQUIRED, BUCKETS "=0,1"), NULL, "\"0\" is not above 0");
    expect_refused(LIST(REQUIRED, BUCKETS "=1,,2"), NULL, "\"\" is not a number");
    expect_refused(LIST(REQUIRED, BUCKETS "=nan"), NULL, "\"nan\" is not a number");
    expect_refused(LIST(REQUIRED, BUCKETS "=1,1e13"), NULL, "\"1e13\" is above 1e12");
    expect_refused(LIST(REQUIRED, BUCKETS "="), NULL, "it must be 1 to 64 rising numbers");
    char many[512] = BUCKETS "=1";
    for (int i = 2; i <= 65; i++)
        snprintf(many + strlen(many), sizeof many - strlen(many), ",%d", i);
    expect_refused(LIST(REQUIRED, many), NULL, "\"65\" is one too many");
    struct loaded loaded =
        load(NULL, LIST(REQUIRED), "metrics_origin_latency_buckets_ms: [1, 2.5]");
    assert_true(loaded.is_good);
    assert_int_equal(loaded.config.metrics_origin_latency_buckets_ms.count, 2);
    assert_true(loaded.config.metrics_origin_latency_buckets_ms.values[1] == 2.5);
    fini(&loaded);
}

static void metric_names_stay_names(void **state)
{
    (void)state;
    static const char *const bad[] = {"METRICS_PREFIX=1a", "METRICS_PREFIX=a-b",
                                      "METRICS_PREFIX= a", "METRICS_PREFIX=a{b"};
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++)
        expect_refused(LIST(REQUIRED, bad[i]), NULL, "it must be the beginning of a metric name");
    struct loaded loaded = load(NULL, LIST(REQUIRED, "METRICS_PREFIX=_a:B9"), NULL);
    expect_line(&loaded, "METRICS_PREFIX=_a:B9  # environment");
    fini(&loaded);
}

static void overrides_are_known_settings(void **state)
{
    (void)state;
    static const struct {
        const char *override, *text;
    } cases[] = {
        {"LOG_LEVL=INFO", "--set \"LOG_LEVL\": no setting has this name; it must be one of --help, "
                          "such as LOG_LEVEL"},
        {"LOG_LEVEL", "--set \"LOG_LEVEL\" has no value: it must be NAME=value"},
        {"=x", "--set \"\": no setting has this name"},
        {"TARGET_CASSANDRA_PASSWRD=hunter2", "--set \"TARGET_CASSANDRA_PASSWRD\": no setting"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct loaded loaded = load(LIST(cases[i].override), LIST(REQUIRED), NULL);
        assert_false(loaded.is_good);
        if (strstr(dynbuf_text(&loaded.text), cases[i].text) == NULL)
            fail_msg("\"%s\" lacks \"%s\"", dynbuf_text(&loaded.text), cases[i].text);
        fini(&loaded);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_71_names_are_taken_from_the_environment),
        cmocka_unit_test(all_71_keys_are_taken_from_a_file),
        cmocka_unit_test(sources_win_in_order),
        cmocka_unit_test(defaults_are_those_of_the_names_in_use),
        cmocka_unit_test(derived_values),
        cmocka_unit_test(empty_is_not_absent),
        cmocka_unit_test(required_in_the_environment_alone),
        cmocka_unit_test(texts_of_zdm_proxy),
        cmocka_unit_test(faults_are_found_in_its_order),
        cmocka_unit_test(bucket_lists_name_the_item),
        cmocka_unit_test(metric_names_stay_names),
        cmocka_unit_test(overrides_are_known_settings),
    };
    log_init("test", LOG_LEVEL_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
