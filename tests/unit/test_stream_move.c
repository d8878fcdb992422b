/* Streams: a connection that changes its owner, and one that follows another on the same stream. */
#include "stream_fixture.h"

struct mover {
    struct stream stream;
    struct end *heir; /* the connection goes there when the first bytes arrive */
    int calls;
};

static size_t move_on_input(struct stream *stream, const uint8_t *data, size_t length,
                            struct chunk *whole, size_t *need)
{
    struct mover *mover = CONTAINER_OF(stream, struct mover, stream);
    (void)data;
    (void)whole;
    (void)need;
    mover->calls++;
    assert_true(length > 0);
    assert_true(stream_write(stream, "parting words", 13));
    assert_true(stream_move(&mover->heir->stream, stream));
    assert_false(stream_is_open(stream));
    return 0; /* what arrived so far stays behind */
}

static void never_lost(struct stream *stream, const char *reason)
{
    (void)stream;
    fail_msg("lost: %s", reason);
}

static const struct stream_handlers mover_handlers = {
    .on_input = move_on_input,
    .on_lost = never_lost,
};

static void test_a_connection_changes_its_owner(void **state)
{
    struct fixture fixture;
    struct end heir;
    struct mover mover = {.heir = &heir};
    struct dynbuf sent, got;
    int pair[2];
    (void)state;
    open_loop(&fixture, 0);
    prepare_end(&heir, &fixture);
    stream_init(&mover.stream, &fixture.loop, &mover_handlers, STREAM_TO_CLIENT);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    assert_true(stream_adopt(&mover.stream, pair[0]));
    assert_int_equal(send(pair[1], "not a frame", 11, 0), 11);
    UNTIL(&fixture, mover.calls > 0);
    assert_true(stream_is_open(&heir.stream));
    dynbuf_init(&got, KIB);
    UNTIL(&fixture, take(pair[1], &got, KIB) > 0);
    assert_string_equal(dynbuf_text(&got), "parting words");
    dynbuf_init(&sent, 256 * KIB);
    put_frame(&sent, 100);
    put_frame(&sent, 3 * KIB);
    heir.peer = pair[1];
    send_all(&fixture, &heir, sent.data, sent.length);
    UNTIL(&fixture, heir.frame_count == 2);
    assert_same(&heir.frames, &sent);
    assert_int_equal(mover.calls, 1);
    close_end(&heir);
    stream_close(&mover.stream);
    dynbuf_fini(&sent);
    dynbuf_fini(&got);
    close_loop(&fixture);
}

struct returner {
    struct stream stream;
    int next; /* the socket that follows */
    struct dynbuf seen;
};

/* Gives up the connection at its first byte and takes the next one at once. */
static size_t return_on_input(struct stream *stream, const uint8_t *data, size_t length,
                              struct chunk *whole, size_t *need)
{
    struct returner *returner = CONTAINER_OF(stream, struct returner, stream);
    (void)whole;
    (void)need;
    if (returner->next < 0) {
        assert_true(dynbuf_append(&returner->seen, data, length));
        return length;
    }
    uint32_t life = stream->life;
    stream_close(stream);
    assert_true(stream_adopt(stream, returner->next));
    assert_true(stream->life > life);
    returner->next = -1;
    return 0;
}

static const struct stream_handlers returner_handlers = {
    .on_input = return_on_input,
    .on_lost = never_lost,
};

/* What the old connection left unread must not be taken for the new one's. */
static void test_a_new_connection_begins_empty(void **state)
{
    struct fixture fixture;
    struct returner returner;
    int old[2], fresh[2];
    (void)state;
    open_loop(&fixture, 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, old), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fresh), 0);
    returner.next = fresh[0];
    dynbuf_init(&returner.seen, KIB);
    stream_init(&returner.stream, &fixture.loop, &returner_handlers, STREAM_TO_CLIENT);
    assert_true(stream_adopt(&returner.stream, old[0]));
    assert_int_equal(send(old[1], "of the old", 10, 0), 10);
    UNTIL(&fixture, returner.next < 0);
    assert_int_equal(send(fresh[1], "new", 3, 0), 3);
    UNTIL(&fixture, returner.seen.length > 0);
    assert_string_equal(dynbuf_text(&returner.seen), "new");
    stream_close(&returner.stream);
    dynbuf_fini(&returner.seen);
    close(old[1]);
    close(fresh[1]);
    close_loop(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_connection_changes_its_owner),
        cmocka_unit_test(test_a_new_connection_begins_empty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
