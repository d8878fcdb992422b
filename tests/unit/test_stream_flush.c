/* Streams: the order in which a turn's output leaves. */
#include "stream_fixture.h"

#include "dataplane/cluster_id.h"

/* Streams that share one socket, so that its other end shows in which order they were flushed. */
struct shared {
    struct fixture fixture;
    struct stream client, target, origin;
    struct stream *nudged; /* gets one more word once the client's stream has drained */
    int peer;
};

static struct shared shared;

static void nudge(struct stream *stream)
{
    struct stream *nudged = shared.nudged;
    (void)stream;
    shared.nudged = NULL;
    if (nudged != NULL)
        assert_true(stream_write(nudged, "origin again ", 13));
}

static void do_nothing(struct stream *stream)
{
    (void)stream;
}

static const struct stream_handlers client_handlers = {.on_drained = nudge};
static const struct stream_handlers cluster_handlers = {.on_drained = do_nothing};

static void open_shared(void)
{
    int pair[2];
    open_loop(&shared.fixture, 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    shared.peer = pair[1];
    stream_init(&shared.client, &shared.fixture.loop, &client_handlers, STREAM_TO_CLIENT);
    stream_init(&shared.target, &shared.fixture.loop, &cluster_handlers,
                STREAM_TO_CLUSTER + CLUSTER_TARGET);
    stream_init(&shared.origin, &shared.fixture.loop, &cluster_handlers,
                STREAM_TO_CLUSTER + CLUSTER_ORIGIN);
    assert_true(stream_adopt(&shared.client, dup(pair[0])));
    assert_true(stream_adopt(&shared.target, dup(pair[0])));
    assert_true(stream_adopt(&shared.origin, pair[0]));
}

static void close_shared(void)
{
    stream_close(&shared.client);
    stream_close(&shared.target);
    stream_close(&shared.origin);
    close(shared.peer);
    close_loop(&shared.fixture);
}

static void assert_arrived(const char *expected)
{
    struct dynbuf got;
    dynbuf_init(&got, KIB);
    take(shared.peer, &got, KIB);
    assert_string_equal(dynbuf_text(&got), expected);
    dynbuf_fini(&got);
}

static void test_clusters_come_first_and_the_primary_after_the_other(void **state)
{
    (void)state;
    for (int primary = 0; primary < CLUSTER_COUNT; primary++) {
        open_shared();
        shared.fixture.loop.primary = (enum cluster_id)primary;
        assert_true(stream_write(&shared.client, "client ", 7));
        assert_true(stream_write(&shared.target, "target ", 7));
        assert_true(stream_write(&shared.origin, "origin ", 7));
        stream_loop_flush(&shared.fixture.loop);
        assert_arrived(primary == CLUSTER_ORIGIN ? "target origin client "
                                                 : "origin target client ");
        close_shared();
    }
}

static void test_what_a_flush_sets_free_leaves_in_the_same_turn(void **state)
{
    (void)state;
    open_shared();
    shared.nudged = &shared.origin;
    assert_true(stream_write(&shared.client, "client ", 7));
    assert_true(stream_write(&shared.origin, "origin ", 7));
    stream_loop_flush(&shared.fixture.loop);
    assert_arrived("origin client origin again ");
    close_shared();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clusters_come_first_and_the_primary_after_the_other),
        cmocka_unit_test(test_what_a_flush_sets_free_leaves_in_the_same_turn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
