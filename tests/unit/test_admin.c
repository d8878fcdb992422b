/* The HTTP endpoint over a real socket: paths, codes and bodies, readiness by phase and cluster,
 * and clients that are slow, greedy or many. Server and client share one thread: the loop is turned
 * until the client has its answer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "dataplane/admin.h"
#include "dataplane/config.h"

static struct admin_status status;
static struct event_base *base;
static struct admin *admin;
static struct config config;

static void read_status(void *context, struct admin_status *out)
{
    assert_ptr_equal(context, &status);
    *out = status;
}

static void start(void)
{
    status = (struct admin_status){.phase = ADMIN_SERVING, .primary = CLUSTER_ORIGIN};
    for (size_t i = 0; i < CLUSTER_COUNT; i++) {
        status.has_cluster[i] = true;
        status.clusters[i] = (struct cluster_status){.failure_threshold = 1, .is_up = true};
        snprintf(status.clusters[i].address, sizeof status.clusters[i].address, "127.0.0.%zu:9042",
                 i + 1);
    }
    base = event_base_new();
    admin = admin_new(base, &config, read_status, &status);
    assert_non_null(admin);
}

static bool seen;

static void mark_seen(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    (void)context;
    seen = true;
}

static int set_up(void **state)
{
    (void)state;
    config = (struct config){
        .metrics_address = (char *)"127.0.0.1", .metrics_port = 0, .enable_metrics = true};
    start();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    admin_free(admin);
    event_base_free(base);
    return 0;
}

static int connect_client(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)admin_port(admin))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int client = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(client >= 0);
    assert_int_equal(connect(client, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(fcntl(client, F_SETFL, O_NONBLOCK), 0);
    return client;
}

/* Turns the loop until the server closes client; what it said. Fails after ten seconds. */
static const char *read_to_end(int client)
{
    static char answer[1 << 18];
    size_t used = 0;
    uint64_t deadline = clock_now_ns() + 10 * NS_PER_S;
    while (clock_now_ns() < deadline) {
        event_base_loop(base, EVLOOP_NONBLOCK);
        ssize_t got = recv(client, answer + used, sizeof answer - 1 - used, 0);
        if (got == 0 || (got < 0 && errno == ECONNRESET)) {
            answer[used] = '\0';
            close(client);
            return answer;
        }
        if (got > 0)
            used += (size_t)got;
    }
    fail_msg("the server did not close the connection");
    return NULL;
}

static const char *ask(const char *method_and_path)
{
    char request[512];
    int client = connect_client();
    int length = snprintf(request, sizeof request,
                          "%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", method_and_path);
    assert_int_equal(send(client, request, (size_t)length, 0), length);
    return read_to_end(client);
}

static void expect(const char *method_and_path, const char *status_line, const char *body)
{
    const char *answer = ask(method_and_path);
    if (strncmp(answer, status_line, strlen(status_line)) != 0)
        fail_msg("%s: expected %s, got %s", method_and_path, status_line, answer);
    const char *blank = strstr(answer, "\r\n\r\n");
    assert_non_null(blank);
    if (body != NULL)
        assert_string_equal(blank + 4, body);
}

static void liveness(void **state)
{
    (void)state;
    expect("GET /health/liveness", "HTTP/1.1 200 OK\r\n", "OK");
    expect("HEAD /health/liveness", "HTTP/1.1 200 OK\r\n", "");
    assert_non_null(strstr(ask("HEAD /health/liveness"), "Content-Length: 2\r\n"));
    status.phase = ADMIN_DRAINING;
    expect("GET /health/liveness", "HTTP/1.1 200 OK\r\n", "OK");
}

static void metrics(void **state)
{
    (void)state;
    const char *answer = ask("GET /metrics");
    assert_non_null(strstr(answer, "HTTP/1.1 200 OK\r\n"));
    assert_non_null(strstr(answer, "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
    assert_non_null(strstr(answer, "\nzdm_client_connections_total 0\n"));
    status.phase = ADMIN_STARTING;
    expect("GET /metrics", "HTTP/1.1 503 ", "Proxy metrics haven't been initialized yet.");
}

static void metrics_disabled(void **state)
{
    tear_down(state);
    config.enable_metrics = false;
    start();
    expect("GET /metrics", "HTTP/1.1 404 ", "Metrics are disabled on this proxy instance.");
    expect("GET /health/liveness", "HTTP/1.1 200 ", "OK");
}

#define SIDE(address, failures, state)                                                             \
    "{\"Addr\":\"" address "\",\"CurrentFailureCount\":" failures                                  \
    ",\"FailureCountThreshold\":1,\"Status\":\"" state "\"}"

static void readiness_body(void **state)
{
    (void)state;
    assert_non_null(strstr(ask("GET /health/readiness"), "Content-Type: application/json\r\n"));
    expect("GET /health/readiness", "HTTP/1.1 200 ",
           "{\"OriginStatus\":" SIDE("127.0.0.1:9042", "0", "UP") ",\"TargetStatus\":" SIDE(
               "127.0.0.2:9042", "0", "UP") ",\"Status\":\"UP\"}");
    status.phase = ADMIN_STARTING;
    status.has_cluster[0] = status.has_cluster[1] = false;
    expect("GET /health/readiness", "HTTP/1.1 503 ",
           "{\"OriginStatus\":null,\"TargetStatus\":null,\"Status\":\"STARTUP\"}");
}

static void a_dead_secondary_does_not_make_unready(void **state)
{
    (void)state;
    status.clusters[CLUSTER_TARGET].is_up = false;
    status.clusters[CLUSTER_TARGET].failure_count = 3;
    expect("GET /health/readiness", "HTTP/1.1 200 ",
           "{\"OriginStatus\":" SIDE("127.0.0.1:9042", "0", "UP") ",\"TargetStatus\":" SIDE(
               "127.0.0.2:9042", "3", "DOWN") ",\"Status\":\"UP\"}");
    status.primary = CLUSTER_TARGET; /* the same outage, but now of the cluster that answers */
    expect("GET /health/readiness", "HTTP/1.1 503 ", NULL);
    assert_non_null(strstr(ask("GET /health/readiness"), "\"Status\":\"DOWN\"}"));
    status.clusters[CLUSTER_TARGET].is_up = true;
    status.phase = ADMIN_DRAINING;
    assert_non_null(strstr(ask("GET /health/readiness"), "\"Status\":\"DRAINING\"}"));
    expect("GET /health/readiness", "HTTP/1.1 503 ", NULL);
}

static void both_can_be_required(void **state)
{
    tear_down(state);
    config.readiness_requires_both = true;
    start();
    expect("GET /health/readiness", "HTTP/1.1 200 ", NULL);
    status.clusters[CLUSTER_TARGET].is_up = false;
    expect("GET /health/readiness", "HTTP/1.1 503 ", NULL);
}

static void other_paths_and_methods(void **state)
{
    (void)state;
    expect("GET /", "HTTP/1.1 404 ", NULL);
    expect("GET /metrics/../health", "HTTP/1.1 404 ", NULL);
    expect("POST /metrics", "HTTP/1.1 405 ", NULL);
    expect("DELETE /health/readiness", "HTTP/1.1 405 ", NULL);
    assert_non_null(strstr(ask("PUT /health/liveness"), "Allow: GET, HEAD\r\n"));
    expect("GET /health/liveness?verbose=1", "HTTP/1.1 200 ", "OK");
}

/* Sends bytes over and over until the server closes; it must do so within what it allows a request.
 */
static void flood(const char *start_of_request, const char *more)
{
    int client = connect_client();
    uint64_t deadline = clock_now_ns() + 10 * NS_PER_S;
    size_t sent = 0;
    ssize_t got = send(client, start_of_request, strlen(start_of_request), MSG_NOSIGNAL);
    while (clock_now_ns() < deadline && (got >= 0 || errno == EAGAIN)) {
        if (got > 0)
            sent += (size_t)got;
        event_base_loop(base, EVLOOP_NONBLOCK);
        char sink[4096];
        ssize_t received = recv(client, sink, sizeof sink, 0);
        if (received == 0 || (received < 0 && errno != EAGAIN))
            break;
        got = send(client, more, strlen(more), MSG_NOSIGNAL);
    }
    assert_true(clock_now_ns() < deadline);
    assert_true(sent < 4 * 1024 * 1024); /* the socket buffers, not the server, hold most of it */
    close(client);
}

static void greedy_requests_are_cut_off(void **state)
{
    (void)state;
    char block[4097];
    memset(block, 'a', 4096);
    block[4096] = '\0';
    flood("GET /", block);
    flood("GET /metrics HTTP/1.1\r\nX: ", block);
    flood("POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000000\r\n\r\n", block);
    expect("GET /health/liveness", "HTTP/1.1 200 ", "OK");
}

static void garbage_is_refused(void **state)
{
    (void)state;
    static const char *const requests[] = {"\r\n\r\n",
                                           "garbage\r\n\r\n",
                                           "GET\r\n\r\n",
                                           "GET /metrics HTTP/9.9.9\r\n\r\n",
                                           "\x04\x00\x00\x01\x01\x00\x00\x00\x16\r\n\r\n",
                                           "BREW /metrics HTTP/1.1\r\n\r\n"};
    for (size_t i = 0; i < ARRAY_COUNT(requests); i++) {
        int client = connect_client();
        assert_true(send(client, requests[i], strlen(requests[i]), 0) >= 0);
        shutdown(client, SHUT_WR);
        assert_null(strstr(read_to_end(client), "HTTP/1.1 200"));
    }
    expect("GET /health/liveness", "HTTP/1.1 200 ", "OK");
}

static void silent_connections_keep_nobody_out(void **state)
{
    (void)state;
    int silent[200];
    for (size_t i = 0; i < ARRAY_COUNT(silent); i++) {
        silent[i] = connect_client();
        event_base_loop(base, EVLOOP_NONBLOCK);
    }
    expect("GET /health/liveness", "HTTP/1.1 200 ", "OK");
    /* They are let go after a few seconds of silence. */
    uint64_t deadline = clock_now_ns() + 20 * NS_PER_S;
    for (size_t i = 0; i < ARRAY_COUNT(silent); i++) {
        char byte;
        ssize_t got;
        while ((got = recv(silent[i], &byte, 1, MSG_DONTWAIT)) < 0 && errno == EAGAIN &&
               clock_now_ns() < deadline)
            event_base_loop(base, EVLOOP_ONCE);
        assert_true(got == 0 || errno == ECONNRESET);
        close(silent[i]);
    }
    expect("GET /health/liveness", "HTTP/1.1 200 ", "OK");
}

static void keep_alive_serves_more_than_one(void **state)
{
    (void)state;
    int client = connect_client();
    const char *requests = "GET /health/liveness HTTP/1.1\r\nHost: x\r\n\r\n"
                           "GET /health/liveness HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    assert_true(send(client, requests, strlen(requests), 0) > 0);
    const char *answer = read_to_end(client);
    const char *first = strstr(answer, "HTTP/1.1 200 OK");
    assert_non_null(first);
    assert_non_null(strstr(first + 1, "HTTP/1.1 200 OK"));
}

/* A connection that was closed must leave nothing in the loop: the next socket with its number is
 * somebody else's. */
static void closed_connections_leave_no_event_behind(void **state)
{
    (void)state;
    for (int i = 0; i < 5; i++)
        expect("GET /health/liveness", "HTTP/1.1 200 ", "OK");
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    for (int i = 0; i < 2; i++) {
        struct event *event = event_new(base, ends[i], EV_READ, mark_seen, event_self_cbarg());
        assert_non_null(event);
        seen = false;
        assert_int_equal(event_add(event, NULL), 0);
        assert_int_equal(write(ends[1 - i], "x", 1), 1);
        uint64_t deadline = clock_now_ns() + NS_PER_S;
        while (!seen && clock_now_ns() < deadline)
            event_base_loop(base, EVLOOP_NONBLOCK);
        assert_true(seen);
        event_free(event);
    }
    close(ends[0]);
    close(ends[1]);
}

static void a_taken_port_is_reported(void **state)
{
    (void)state;
    struct config other = config;
    other.metrics_port = admin_port(admin);
    assert_null(admin_new(base, &other, read_status, &status));
}

int main(void)
{
    log_init("test_admin", LOG_LEVEL_ERROR);
#define WITH_SERVER(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        WITH_SERVER(liveness),
        WITH_SERVER(metrics),
        WITH_SERVER(metrics_disabled),
        WITH_SERVER(readiness_body),
        WITH_SERVER(a_dead_secondary_does_not_make_unready),
        WITH_SERVER(both_can_be_required),
        WITH_SERVER(other_paths_and_methods),
        WITH_SERVER(greedy_requests_are_cut_off),
        WITH_SERVER(garbage_is_refused),
        WITH_SERVER(silent_connections_keep_nobody_out),
        WITH_SERVER(keep_alive_serves_more_than_one),
        WITH_SERVER(closed_connections_leave_no_event_behind),
        WITH_SERVER(a_taken_port_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
