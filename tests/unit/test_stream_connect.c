/* Streams: connecting, and closing so that the peer still reads the last bytes. */
#include "stream_fixture.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>

/* A loopback listener on a port of the system's choice. */
static int open_listener(struct sockaddr_in *address)
{
    socklen_t length = sizeof *address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    *address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)address, length), 0);
    assert_int_equal(listen(fd, 4), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)address, &length), 0);
    return fd;
}

static int accept_on(struct fixture *fixture, int listener)
{
    int fd = -1;
    assert_int_equal(fcntl(listener, F_SETFL, O_NONBLOCK), 0);
    UNTIL(fixture, (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0);
    return fd;
}

static void test_connect(void **state)
{
    struct fixture fixture;
    struct end end;
    struct sockaddr_in address;
    struct dynbuf sent, got;
    const char *error = NULL;
    (void)state;
    open_loop(&fixture, 0);
    prepare_end(&end, &fixture);
    dynbuf_init(&sent, KIB);
    dynbuf_init(&got, KIB);
    put_frame(&sent, 30);
    int listener = open_listener(&address);
    assert_true(stream_connect(&end.stream, (struct sockaddr *)&address, sizeof address, &error));
    assert_int_equal(end.connected, 0); /* never from inside */
    /* Queued before the connection stands: sent once it does. */
    assert_true(stream_write(&end.stream, "early", 5));
    stream_loop_flush(&fixture.loop);
    UNTIL(&fixture, end.connected == 1);
    assert_string_equal(end.connect_error, "");
    end.peer = accept_on(&fixture, listener);
    UNTIL(&fixture, take(end.peer, &got, KIB) == 5);
    send_all(&fixture, &end, sent.data, sent.length);
    UNTIL(&fixture, end.frame_count == 1);
    assert_int_equal(end.connected, 1);
    dynbuf_fini(&sent);
    dynbuf_fini(&got);
    close(listener);
    close_end(&end);
    close_loop(&fixture);
}

static void test_connect_refused(void **state)
{
    struct fixture fixture;
    struct end end;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t length = sizeof address;
    const char *error = NULL;
    (void)state;
    open_loop(&fixture, 0);
    prepare_end(&end, &fixture);
    int bound = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0); /* has the port, does not listen */
    assert_int_equal(bind(bound, (struct sockaddr *)&address, length), 0);
    assert_int_equal(getsockname(bound, (struct sockaddr *)&address, &length), 0);
    if (stream_connect(&end.stream, (struct sockaddr *)&address, length, &error)) {
        UNTIL(&fixture, end.connected == 1);
        assert_string_equal(end.connect_error, strerror(ECONNREFUSED));
    } else {
        assert_string_equal(error, strerror(ECONNREFUSED));
        assert_int_equal(end.connected, 0);
    }
    assert_false(stream_is_open(&end.stream));
    assert_int_equal(end.lost, 0);
    /* The same stream may try again, elsewhere. */
    int listener = open_listener(&address);
    end.connected = 0;
    end.connect_error[0] = '\0';
    assert_true(stream_connect(&end.stream, (struct sockaddr *)&address, length, &error));
    UNTIL(&fixture, end.connected == 1);
    assert_string_equal(end.connect_error, "");
    close(listener);
    close(bound);
    close_end(&end);
    close_loop(&fixture);
}

static void test_connect_fails_at_once(void **state)
{
    struct fixture fixture;
    struct end end;
    struct sockaddr_storage address = {.ss_family = AF_UNSPEC};
    const char *error = NULL;
    (void)state;
    open_loop(&fixture, 0);
    prepare_end(&end, &fixture);
    assert_false(stream_connect(&end.stream, (struct sockaddr *)&address, sizeof address, &error));
    assert_non_null(error);
    assert_false(stream_is_open(&end.stream));
    assert_int_equal(end.connected, 0);
    close_end(&end);
    close_loop(&fixture);
}

/* The peer has sent much that nobody will read. Closing over it would send a reset, and the reset
 * would take the last reply with it. */
static void test_last_bytes_reach_the_peer(void **state)
{
    enum { REPLY = 1500 * 1024 };
    struct fixture fixture;
    struct end end;
    struct sockaddr_in address;
    struct dynbuf got;
    uint8_t *reply = malloc(REPLY);
    char end_byte;
    ssize_t last = -1;
    (void)state;
    assert_non_null(reply);
    for (size_t i = 0; i < REPLY; i++)
        reply[i] = pattern(i);
    open_loop(&fixture, 0);
    prepare_end(&end, &fixture);
    dynbuf_init(&got, 4 * MIB);
    int listener = open_listener(&address);
    end.peer = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(end.peer, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(fcntl(end.peer, F_SETFL, O_NONBLOCK), 0);
    assert_true(stream_adopt(&end.stream, accept_on(&fixture, listener)));
    stream_pause(&end.stream, STREAM_PAUSE_PEER_FULL);
    assert_true(send(end.peer, reply, 64 * KIB, MSG_NOSIGNAL) > 0);
    assert_true(stream_write(&end.stream, reply, REPLY));
    stream_close_when_flushed(&end.stream);
    assert_true(stream_is_open(&end.stream));
    for (uint64_t until = clock_now_ns() + 20 * NS_PER_S; last != 0; turn(&fixture)) {
        assert_true(clock_now_ns() < until);
        while (take(end.peer, &got, 16 * KIB) > 0)
            continue;
        last = recv(end.peer, &end_byte, 1, MSG_PEEK);
        assert_true(last >= 0 || errno == EAGAIN); /* an end, not a reset */
    }
    assert_int_equal(got.length, REPLY);
    assert_memory_equal(got.data, reply, REPLY);
    assert_int_equal(end.frame_count, 0);
    if (end.lost == 0) { /* its patience with the peer's goodbye is not yet at its end */
        close(end.peer);
        end.peer = -1;
    }
    UNTIL(&fixture, end.lost == 1);
    assert_string_equal(end.reason, "closed");
    close(listener);
    dynbuf_fini(&got);
    close_end(&end);
    close_loop(&fixture);
    free(reply);
}

/* With nothing to send it closes just so; a peer that neither reads nor leaves does not hold it. */
static void test_close_when_flushed_is_bounded(void **state)
{
    struct fixture fixture;
    struct end quiet, stuck;
    uint64_t started = clock_now_ns();
    (void)state;
    open_loop(&fixture, 0);
    open_end(&quiet, &fixture);
    open_end(&stuck, &fixture);
    stream_close_when_flushed(&quiet.stream);
    assert_true(stream_write(&stuck.stream, "bye", 3));
    stream_close_when_flushed(&stuck.stream);
    close(quiet.peer);
    quiet.peer = -1;
    UNTIL(&fixture, quiet.lost == 1 && stuck.lost == 1);
    assert_string_equal(quiet.reason, "closed");
    assert_string_equal(stuck.reason, "closed");
    assert_true(clock_now_ns() - started < 10 * NS_PER_S);
    close_end(&quiet);
    close_end(&stuck);
    close_loop(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_connect),
        cmocka_unit_test(test_connect_refused),
        cmocka_unit_test(test_connect_fails_at_once),
        cmocka_unit_test(test_last_bytes_reach_the_peer),
        cmocka_unit_test(test_close_when_flushed_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
