/* TLS under streams, as a server to clients: handshakes in pieces, large transfers through small
 * buffers, input OpenSSL has decrypted already, closing in every state, peers that are no TLS. */
#include "tls_fixture.h"

static struct identity identity;
static struct metrics_block *counted;

static int set_up(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    identity = make_identity("DNS:node.example,IP:127.0.0.1", 0, DAY_S);
    counted = metrics_block_new();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    drop_identity(&identity);
    return 0;
}

struct play {
    struct fixture fixture;
    struct tls_context *context;
    struct end end;
    struct peer peer;
};

/* A server stream on a socket pair and a client at the other end. */
static void open_play(struct play *play, int version, int buffer_bytes)
{
    int pair[2];
    open_loop(&play->fixture, 64 * MIB);
    play->context = server_context(&identity);
    prepare_end(&play->end, &play->fixture);
    prepare_peer(&play->peer, version, NULL);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    for (int i = 0; i < 2 && buffer_bytes > 0; i++) {
        setsockopt(pair[i], SOL_SOCKET, SO_SNDBUF, &buffer_bytes, sizeof buffer_bytes);
        setsockopt(pair[i], SOL_SOCKET, SO_RCVBUF, &buffer_bytes, sizeof buffer_bytes);
    }
    play->end.peer = pair[1];
    stream_secure(&play->end.stream, tls_accept(play->context, counted));
    assert_true(stream_adopt(&play->end.stream, pair[0]));
    start_peer(&play->peer, false, pair[1]);
}

static void close_play(struct play *play)
{
    close_end(&play->end);
    drop_peer(&play->peer);
    tls_context_put(play->context);
    close_loop(&play->fixture);
}

static void shake(struct play *play)
{
    CARRY_UNTIL(&play->fixture, &play->peer,
                !play->end.stream.is_connecting && SSL_is_init_finished(play->peer.ssl));
    assert_int_equal(play->end.lost, 0);
}

static uint64_t counter(enum metric metric)
{
    return atomic_load(&counted->values[metric]);
}

static void test_handshake_in_pieces(void **state)
{
    static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
    static const size_t pieces[] = {1, 2, 3, 5, 7, 11, 64, 333, MIB};
    (void)state;
    for (size_t i = 0; i < 2 * ARRAY_COUNT(pieces); i++) {
        struct play play;
        struct dynbuf frame;
        uint64_t before = counter(METRIC_TLS_FULL_PROXY);
        dynbuf_init(&frame, KIB);
        put_frame(&frame, 300);
        open_play(&play, versions[i % 2], 0);
        play.peer.piece = pieces[i / 2];
        shake(&play);
        assert_int_equal(counter(METRIC_TLS_FULL_PROXY), before + 1);
        assert_int_equal(SSL_write(play.peer.ssl, frame.data, (int)frame.length), frame.length);
        assert_true(stream_write(&play.end.stream, frame.data, frame.length));
        CARRY_UNTIL(&play.fixture, &play.peer,
                    play.end.frame_count == 1 && play.peer.got.length == frame.length);
        assert_same(&play.end.frames, &frame);
        assert_same(&play.peer.got, &frame);
        dynbuf_fini(&frame);
        close_play(&play);
    }
}

/* The first flight of a client cut at each of its bytes: both halves on their own, then on. */
static void test_hello_cut_at_every_byte(void **state)
{
    size_t length = 1;
    (void)state;
    for (size_t cut = 1; cut <= length; cut++) {
        struct play play;
        open_play(&play, TLS1_3_VERSION, 0);
        SSL_do_handshake(play.peer.ssl);
        char *hello;
        length = (size_t)BIO_get_mem_data(play.peer.out, &hello);
        assert_true(length > 100 && length < 4 * KIB);
        play.peer.piece = cut;
        assert_true(carry(&play.peer));
        turn(&play.fixture);
        play.peer.piece = MIB;
        shake(&play);
        close_play(&play);
    }
}

static void test_large_both_ways_through_small_buffers(void **state)
{
    static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(versions); i++) {
        struct play play;
        struct dynbuf sent;
        size_t written = 0, asked = 0;
        dynbuf_init(&sent, 64 * MIB);
        put_frame(&sent, 3 * MIB);
        for (size_t size = HEAD; size < 90 * KIB; size += 1777)
            put_frame(&sent, size);
        open_play(&play, versions[i], 4096);
        shake(&play);
        CARRY_UNTIL(&play.fixture, &play.peer, ({
            /* A turn's worth of output at a time, in odd pieces, under pressure. */
            for (int part = 0;
                 part < 9 && asked < sent.length && play.end.stream.queued < STREAM_HIGH_WATER;
                 part++) {
                size_t size = (asked % 5000) + 1;
                size = size < sent.length - asked ? size : sent.length - asked;
                assert_true(stream_write(&play.end.stream, sent.data + asked, size));
                asked += size;
            }
            if (written < sent.length && BIO_pending(play.peer.out) < 65536) {
                size_t size = sent.length - written < 50000 ? sent.length - written : 50000;
                int count = SSL_write(play.peer.ssl, sent.data + written, (int)size);
                assert_true(count > 0);
                written += (size_t)count;
            }
            play.end.frames.length == sent.length &&play.peer.got.length == sent.length;
        }));
        assert_same(&play.end.frames, &sent);
        assert_same(&play.peer.got, &sent);
        assert_int_equal(play.end.stream.queued, 0);
        dynbuf_fini(&sent);
        close_play(&play);
    }
}

/* Views of large chunks are gathered like the rest. */
static void test_views(void **state)
{
    struct play play;
    struct dynbuf want;
    (void)state;
    dynbuf_init(&want, 4 * MIB);
    open_play(&play, TLS1_3_VERSION, 0);
    shake(&play);
    struct chunk_pool *chunks = &play.fixture.loop.chunks;
    struct chunk *large = chunk_new_large(chunks, MIB);
    assert_non_null(large);
    for (size_t i = 0; i < MIB; i++)
        large->bytes[i] = pattern(i);
    large->end = MIB;
    for (size_t i = 0; i < 200; i++) {
        size_t length = i % 10 == 0 ? 40 * KIB : i + 1;
        assert_true(stream_write_view(&play.end.stream, large, i * 1000, length));
        assert_true(dynbuf_append(&want, large->bytes + i * 1000, length));
    }
    chunk_put(chunks, large);
    CARRY_UNTIL(&play.fixture, &play.peer, play.peer.got.length == want.length);
    assert_same(&play.peer.got, &want);
    dynbuf_fini(&want);
    close_play(&play);
}

/* Everything arrives in one read of the socket; what the owner pauses over lies inside OpenSSL and
 * no event will ever tell of it. */
static void test_what_is_decrypted_already_is_read_on(void **state)
{
    struct play play;
    struct dynbuf sent;
    (void)state;
    dynbuf_init(&sent, MIB);
    for (int i = 0; i < 500; i++)
        put_frame(&sent, 1000);
    open_play(&play, TLS1_3_VERSION, (int)MIB);
    shake(&play);
    play.end.pauses_after_frame = STREAM_PAUSE_HANDSHAKE;
    for (size_t done = 0; done < sent.length; done += 10000)
        assert_int_equal(SSL_write(play.peer.ssl, sent.data + done, 10000), 10000);
    CARRY_UNTIL(&play.fixture, &play.peer, BIO_pending(play.peer.out) == 0);
    for (int i = 1; i <= 500; i++) {
        UNTIL(&play.fixture, play.end.frame_count == i);
        stream_resume(&play.end.stream, STREAM_PAUSE_HANDSHAKE);
    }
    assert_same(&play.end.frames, &sent);
    dynbuf_fini(&sent);
    close_play(&play);
}

/* A half record inside OpenSSL is no reason to spin. */
static void test_half_a_record_costs_no_turns(void **state)
{
    struct play play;
    struct dynbuf frame;
    (void)state;
    dynbuf_init(&frame, KIB);
    put_frame(&frame, 600);
    open_play(&play, TLS1_3_VERSION, 0);
    shake(&play);
    assert_int_equal(SSL_write(play.peer.ssl, frame.data, 600), 600);
    play.peer.piece = 300;
    assert_true(carry(&play.peer));
    for (int i = 0; i < 3; i++)
        turn(&play.fixture);
    assert_true(list_is_empty(&play.fixture.loop.again));
    play.peer.piece = MIB;
    CARRY_UNTIL(&play.fixture, &play.peer, play.end.frame_count == 1);
    dynbuf_fini(&frame);
    close_play(&play);
}

/* The peer asks for new keys while our output is stuck: the answer has to wait, nothing may hang or
 * get lost. */
static void test_new_keys_while_output_is_stuck(void **state)
{
    struct play play;
    struct dynbuf sent, frame;
    (void)state;
    dynbuf_init(&sent, 4 * MIB);
    dynbuf_init(&frame, KIB);
    put_frame(&sent, 2 * MIB);
    put_frame(&frame, 500);
    open_play(&play, TLS1_3_VERSION, 4096);
    shake(&play);
    CARRY_UNTIL(&play.fixture, &play.peer, !carry(&play.peer)); /* tickets */
    assert_true(stream_write(&play.end.stream, sent.data, sent.length));
    UNTIL(&play.fixture, play.end.stream.is_flush_blocked);
    for (int i = 0; i < 20; i++) {
        char *bytes;
        assert_int_equal(SSL_key_update(play.peer.ssl, SSL_KEY_UPDATE_REQUESTED), 1);
        assert_int_equal(SSL_write(play.peer.ssl, frame.data, (int)frame.length), frame.length);
        long length = BIO_get_mem_data(play.peer.out, &bytes);
        send_all(&play.fixture, &play.end, (const uint8_t *)bytes, (size_t)length);
        BIO_reset(play.peer.out);
        turn(&play.fixture);
        assert_string_equal(play.end.reason, "");
    }
    CARRY_UNTIL(&play.fixture, &play.peer,
                play.end.frame_count == 20 && play.peer.got.length == sent.length);
    assert_same(&play.peer.got, &sent);
    assert_int_equal(play.end.lost, 0);
    dynbuf_fini(&sent);
    dynbuf_fini(&frame);
    close_play(&play);
}

static void test_goodbye_follows_the_last_reply(void **state)
{
    struct play play;
    (void)state;
    open_play(&play, TLS1_3_VERSION, 0);
    shake(&play);
    assert_true(stream_write(&play.end.stream, "the last word", 13));
    stream_close_when_flushed(&play.end.stream);
    CARRY_UNTIL(&play.fixture, &play.peer, play.peer.is_over);
    assert_int_equal(play.peer.got.length, 13);
    assert_false(play.peer.has_failed);
    close(play.end.peer);
    play.end.peer = -1;
    UNTIL(&play.fixture, play.end.lost == 1);
    assert_string_equal(play.end.reason, "closed");
    close_play(&play);
}

static void test_goodbye_of_the_peer(void **state)
{
    struct play play;
    struct dynbuf frame;
    (void)state;
    dynbuf_init(&frame, KIB);
    put_frame(&frame, 100);
    open_play(&play, TLS1_3_VERSION, 0);
    shake(&play);
    assert_int_equal(SSL_write(play.peer.ssl, frame.data, 100), 100);
    SSL_shutdown(play.peer.ssl); /* in the same packet; the socket stays open */
    CARRY_UNTIL(&play.fixture, &play.peer, play.end.lost == 1);
    assert_int_equal(play.end.frame_count, 1);
    assert_string_equal(play.end.reason, "peer_closed");
    assert_false(play.end.stream.failed_handshake);
    dynbuf_fini(&frame);
    close_play(&play);
}

/* After each number of turns of a slow handshake and of what follows: closing leaves nothing. */
static void test_closing_in_every_state(void **state)
{
    bool was_established = false;
    (void)state;
    for (int turns = 0; !was_established || turns < 20; turns++) {
        struct play play;
        uint64_t before = counter(METRIC_TLS_FAILED_PROXY_UNFINISHED);
        open_play(&play, TLS1_3_VERSION, 0);
        play.peer.piece = 250;
        assert_true(stream_write(&play.end.stream, "early", 5)); /* sent once TLS stands */
        for (int i = 0; i < turns; i++) {
            carry(&play.peer);
            turn(&play.fixture);
        }
        was_established = !play.end.stream.is_connecting;
        bool was_begun = play.end.stream.is_shaking_hands;
        stream_close(&play.end.stream);
        assert_int_equal(play.end.lost, 0);
        if (was_begun)
            assert_int_equal(counter(METRIC_TLS_FAILED_PROXY_UNFINISHED), before + 1);
        close_play(&play);
        assert_true(turns < 500);
    }
}

static void assert_refused(const void *bytes, size_t length, const char *reason, enum metric metric)
{
    struct play play;
    uint64_t before = counter(metric);
    open_play(&play, TLS1_3_VERSION, 0);
    send_all(&play.fixture, &play.end, bytes, length);
    UNTIL(&play.fixture, play.end.lost == 1);
    assert_string_equal(play.end.reason, reason);
    assert_true(play.end.stream.failed_handshake);
    assert_int_equal(counter(metric), before + 1);
    close_play(&play);
}

static void test_peers_that_speak_no_tls(void **state)
{
    static const uint8_t startup[] = {4, 0, 0, 0, 1, 0, 0, 0, 22, 0, 1, 0, 11, 'C', 'Q', 'L'};
    static const char http[] = "GET /metrics HTTP/1.1\r\n\r\n";
    static const char no_tls[] = "first record does not look like a TLS handshake";
    (void)state;
    assert_refused(startup, sizeof startup, no_tls, METRIC_TLS_FAILED_PROXY_NOT_TLS);
    assert_refused(http, sizeof http, no_tls, METRIC_TLS_FAILED_PROXY_NOT_TLS);
}

static void test_peer_that_leaves_in_the_handshake(void **state)
{
    struct play play;
    uint64_t before = counter(METRIC_TLS_FAILED_PROXY_CLOSED);
    (void)state;
    open_play(&play, TLS1_3_VERSION, 0);
    play.peer.piece = 50;
    assert_true(carry(&play.peer));
    turn(&play.fixture);
    close(play.end.peer);
    play.end.peer = -1;
    UNTIL(&play.fixture, play.end.lost == 1);
    assert_true(play.end.stream.failed_handshake);
    assert_int_equal(counter(METRIC_TLS_FAILED_PROXY_CLOSED), before + 1);
    close_play(&play);
}

/* Whatever comes, it ends in frames, a reason, or a wait for more: never in a hang. */
static void test_random_bytes(void **state)
{
    uint32_t seed = 12345;
    (void)state;
    for (int round = 0; round < 300; round++) {
        struct play play;
        uint8_t bytes[512];
        open_play(&play, round % 2 == 0 ? TLS1_2_VERSION : TLS1_3_VERSION, 0);
        if (round % 3 == 0)
            shake(&play);
        for (size_t i = 0; i < sizeof bytes; i++)
            bytes[i] = (uint8_t)((seed = seed * 1664525 + 1013904223) >> 24);
        if (round % 5 != 0) { /* records of every type, of plausible versions and lengths */
            bytes[0] = (uint8_t)(20 + round % 5);
            bytes[1] = 3;
            bytes[2] = (uint8_t)(round % 4);
            bytes[3] = 0;
        }
        ssize_t sent = send(play.end.peer, bytes, sizeof bytes, MSG_NOSIGNAL);
        assert_int_equal(sent, sizeof bytes);
        shutdown(play.end.peer, SHUT_WR);
        UNTIL(&play.fixture, play.end.lost == 1);
        assert_true(play.end.reason[0] != '\0');
        close_play(&play);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_handshake_in_pieces),
        cmocka_unit_test(test_hello_cut_at_every_byte),
        cmocka_unit_test(test_large_both_ways_through_small_buffers),
        cmocka_unit_test(test_views),
        cmocka_unit_test(test_what_is_decrypted_already_is_read_on),
        cmocka_unit_test(test_half_a_record_costs_no_turns),
        cmocka_unit_test(test_new_keys_while_output_is_stuck),
        cmocka_unit_test(test_goodbye_follows_the_last_reply),
        cmocka_unit_test(test_goodbye_of_the_peer),
        cmocka_unit_test(test_closing_in_every_state),
        cmocka_unit_test(test_peers_that_speak_no_tls),
        cmocka_unit_test(test_peer_that_leaves_in_the_handshake),
        cmocka_unit_test(test_random_bytes),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
