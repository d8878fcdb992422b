/* Streams: input in any pieces, pauses, large frames and their limit, output to slow readers,
 * views. */
#include "stream_fixture.h"

/* ---- input ---- */

static void test_partial_frames(void **state)
{
    struct fixture fixture;
    struct end end;
    struct dynbuf sent;
    (void)state;
    open_loop(&fixture, 0); /* small frames need no large chunk */
    open_end(&end, &fixture);
    dynbuf_init(&sent, MIB);
    put_frame(&sent, 4);
    put_frame(&sent, 100);
    put_frame(&sent, 5);
    for (size_t i = 0; i < sent.length; i++) { /* a byte a turn */
        send_all(&fixture, &end, sent.data + i, 1);
        size_t whole = i + 1 < 4 ? 0 : i + 1 < 104 ? 4 : i + 1 < 109 ? 104 : 109;
        size_t kept = i + 1 - whole;
        UNTIL(&fixture, end.frames.length == whole &&
                            (end.stream.input == NULL ? 0 : end.stream.input->end) == kept);
    }
    assert_int_equal(end.frame_count, 3);
    assert_same(&end.frames, &sent);
    assert_null(end.stream.input); /* a quiet connection holds no buffer */
    dynbuf_fini(&sent);
    close_end(&end);
    close_loop(&fixture);
}

/* However the same bytes are cut into pieces, the same frames come out. */
static void test_any_split_gives_the_same_frames(void **state)
{
    static const size_t totals[] = {4,
                                    70,
                                    STREAM_WHOLE_FRAME - 1,
                                    STREAM_WHOLE_FRAME,
                                    9,
                                    STREAM_WHOLE_FRAME + 1,
                                    300 * 1024,
                                    5,
                                    CHUNK_BYTES,
                                    CHUNK_BYTES + 1,
                                    200 * 1024,
                                    130 * 1024};
    struct dynbuf sent;
    uint32_t x = 1;
    (void)state;
    dynbuf_init(&sent, 8 * MIB);
    for (size_t i = 0; i < ARRAY_COUNT(totals); i++)
        put_frame(&sent, totals[i]);
    for (int round = 0; round < 30; round++) {
        struct fixture fixture;
        struct end end;
        open_loop(&fixture, 2 * MIB);
        open_end(&end, &fixture);
        for (size_t at = 0; at < sent.length;) {
            x = x * 1664525u + 1013904223u;
            size_t most = (x >> 30) == 0 ? 16 : (x >> 30) == 1 ? 5000 : 150000;
            size_t part = 1 + (x >> 8) % most;
            if (part > sent.length - at)
                part = sent.length - at;
            send_all(&fixture, &end, sent.data + at, part);
            at += part;
            if (x % 2 == 0)
                turn(&fixture);
        }
        UNTIL(&fixture, end.frames.length == sent.length);
        assert_int_equal(end.frame_count, ARRAY_COUNT(totals));
        assert_same(&end.frames, &sent);
        assert_null(end.stream.input);
        close_end(&end);
        close_loop(&fixture);
    }
    dynbuf_fini(&sent);
}

/* A frame that announces 1 GiB costs what has arrived of it, not what it announces. */
static void test_announced_length_is_not_allocated(void **state)
{
    struct fixture fixture;
    struct end end;
    uint8_t *bytes = calloc(1, MIB);
    (void)state;
    assert_non_null(bytes);
    open_loop(&fixture, 64 * MIB);
    open_end(&end, &fixture);
    cql_store_u32(bytes, 1u << 30);
    send_all(&fixture, &end, bytes, HEAD);
    UNTIL(&fixture, end.stream.input != NULL && end.stream.input_need == 1u << 30);
    assert_true(fixture.loop.chunks.large_bytes <= 2 * STREAM_READ_BYTES);
    send_all(&fixture, &end, bytes + HEAD, MIB - HEAD);
    UNTIL(&fixture, end.stream.input->end == MIB);
    assert_true(fixture.loop.chunks.large_bytes <= 2 * MIB + 2 * STREAM_READ_BYTES);
    assert_int_equal(end.frame_count, 0);
    close_end(&end);
    close_loop(&fixture);
    free(bytes);
}

/* A frame the pool has no room for costs its own connection only. */
static void test_large_limit(void **state)
{
    struct fixture fixture;
    struct end hungry, modest;
    struct dynbuf sent;
    (void)state;
    open_loop(&fixture, 512 * KIB);
    open_end(&hungry, &fixture);
    open_end(&modest, &fixture);
    dynbuf_init(&sent, 4 * MIB);
    put_frame(&sent, MIB);
    for (size_t at = 0; at < sent.length && hungry.lost == 0;) {
        ssize_t part = send(hungry.peer, sent.data + at, sent.length - at, MSG_NOSIGNAL);
        at += part > 0 ? (size_t)part : 0;
        turn(&fixture);
    }
    UNTIL(&fixture, hungry.lost == 1);
    assert_string_equal(hungry.reason, "out_of_memory");
    assert_int_equal(fixture.loop.chunks.large_bytes, 0);
    dynbuf_reset(&sent);
    put_frame(&sent, 300 * KIB);
    send_all(&fixture, &modest, sent.data, sent.length);
    UNTIL(&fixture, modest.frame_count == 1);
    assert_same(&modest.frames, &sent);
    dynbuf_fini(&sent);
    close_end(&hungry);
    close_end(&modest);
    close_loop(&fixture);
}

static void test_peer_closes(void **state)
{
    struct fixture fixture;
    struct end end;
    struct dynbuf sent;
    (void)state;
    for (size_t cut = 0; cut < 2; cut++) { /* between frames, and within one */
        open_loop(&fixture, MIB);
        open_end(&end, &fixture);
        dynbuf_init(&sent, MIB);
        put_frame(&sent, 100);
        put_frame(&sent, 100 * KIB);
        send_all(&fixture, &end, sent.data, cut == 0 ? 100 : 90 * KIB);
        close(end.peer);
        end.peer = -1;
        UNTIL(&fixture, end.lost == 1);
        assert_int_equal(end.frame_count, 1); /* what came before the end was seen */
        assert_string_equal(end.reason, "peer_closed");
        turn(&fixture);
        assert_int_equal(end.lost, 1);
        dynbuf_fini(&sent);
        close_end(&end);
        close_loop(&fixture);
    }
}

static void test_close_in_handler(void **state)
{
    static const size_t totals[] = {50, 100 * 1024}; /* from the scratch buffer; from a chunk */
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(totals); i++) {
        struct fixture fixture;
        struct end end;
        struct dynbuf sent;
        open_loop(&fixture, MIB);
        open_end(&end, &fixture);
        dynbuf_init(&sent, MIB);
        put_frame(&sent, totals[i]);
        /* All but the last byte, so that the frame is kept; the handler closes on the last. */
        send_all(&fixture, &end, sent.data, sent.length - 1);
        UNTIL(&fixture, end.stream.input != NULL && end.stream.input->end == sent.length - 1);
        assert_true(stream_write(&end.stream, "never sent", 10));
        end.closes_in_handler = true;
        send_all(&fixture, &end, sent.data + sent.length - 1, 1);
        UNTIL(&fixture, !stream_is_open(&end.stream));
        turn(&fixture);
        assert_int_equal(end.lost, 0); /* a closed stream calls nobody */
        assert_null(end.stream.input);
        assert_int_equal(end.stream.queued, 0);
        assert_null(stream_reserve(&end.stream, 1));
        assert_false(stream_write(&end.stream, "x", 1));
        dynbuf_fini(&sent);
        close_end(&end);
        close_loop(&fixture);
    }
}

/* ---- pausing ---- */

static void test_resume_delivers_what_was_kept(void **state)
{
    static const size_t totals[] = {20, 30 * 1024}; /* kept in a standard chunk; in a large one */
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(totals); i++) {
        struct fixture fixture;
        struct end end;
        struct dynbuf sent;
        open_loop(&fixture, MIB);
        open_end(&end, &fixture);
        end.pauses_after_frame = STREAM_PAUSE_HANDSHAKE;
        dynbuf_init(&sent, MIB);
        for (int n = 0; n < 3; n++)
            put_frame(&sent, totals[i]);
        size_t first_read = sent.length < STREAM_READ_BYTES ? sent.length : STREAM_READ_BYTES;
        send_all(&fixture, &end, sent.data, first_read);
        UNTIL(&fixture, end.frame_count == 1);
        /* From here on nothing more comes from the socket for as long as it is paused. */
        stream_pause(&end.stream, STREAM_PAUSE_PEER_FULL);
        stream_resume(&end.stream, STREAM_PAUSE_HANDSHAKE);
        turn(&fixture);
        assert_int_equal(end.frame_count, 1); /* one reason is left */
        stream_resume(&end.stream, STREAM_PAUSE_PEER_FULL);
        stream_resume(&end.stream, STREAM_PAUSE_PEER_FULL);
        UNTIL(&fixture, end.frame_count == 2);
        assert_true((end.stream.paused & STREAM_PAUSE_HANDSHAKE) != 0); /* paused anew */
        send_all(&fixture, &end, sent.data + first_read, sent.length - first_read);
        stream_resume(&end.stream, STREAM_PAUSE_HANDSHAKE);
        UNTIL(&fixture, end.frame_count == 3);
        assert_same(&end.frames, &sent);
        assert_null(end.stream.input);
        dynbuf_fini(&sent);
        close_end(&end);
        close_loop(&fixture);
    }
}

static void test_paused_stream_does_not_read(void **state)
{
    struct fixture fixture;
    struct end paused, other;
    struct dynbuf sent;
    (void)state;
    open_loop(&fixture, MIB);
    open_end(&paused, &fixture);
    open_end(&other, &fixture);
    dynbuf_init(&sent, MIB);
    put_frame(&sent, 40);
    stream_pause(&paused.stream, STREAM_PAUSE_LOCKED);
    send_all(&fixture, &paused, sent.data, sent.length);
    for (int n = 1; n <= 10; n++) { /* the other one's frames show that the loop has turned */
        send_all(&fixture, &other, sent.data, sent.length);
        UNTIL(&fixture, other.frame_count == n);
    }
    assert_int_equal(paused.frame_count, 0);
    assert_null(paused.stream.input);
    stream_resume(&paused.stream, STREAM_PAUSE_LOCKED);
    UNTIL(&fixture, paused.frame_count == 1);
    dynbuf_fini(&sent);
    close_end(&paused);
    close_end(&other);
    close_loop(&fixture);
}

/* A stream that pauses again each time gets one look a turn, not the whole turn. */
static void test_one_look_a_turn(void **state)
{
    struct fixture fixture;
    struct end end;
    struct dynbuf sent;
    (void)state;
    open_loop(&fixture, MIB);
    open_end(&end, &fixture);
    end.pauses_after_frame = STREAM_PAUSE_MERGE;
    dynbuf_init(&sent, MIB);
    for (int n = 0; n < 5; n++)
        put_frame(&sent, 10);
    send_all(&fixture, &end, sent.data, sent.length);
    UNTIL(&fixture, end.frame_count == 1);
    /* Resumed and paused again within one turn, for one reason of two: not looked at. */
    int calls = end.input_calls;
    stream_resume(&end.stream, STREAM_PAUSE_MERGE);
    stream_pause(&end.stream, STREAM_PAUSE_LOCKED);
    stream_pause(&end.stream, STREAM_PAUSE_MERGE);
    stream_resume(&end.stream, STREAM_PAUSE_LOCKED);
    stream_loop_run_again(&fixture.loop);
    assert_int_equal(end.input_calls, calls);
    for (int n = 2; n <= 5; n++) {
        stream_resume(&end.stream, STREAM_PAUSE_MERGE);
        stream_loop_run_again(&fixture.loop);
        assert_int_equal(end.frame_count, n);
        stream_loop_run_again(&fixture.loop); /* paused: nothing to look at */
        assert_int_equal(end.frame_count, n);
    }
    dynbuf_fini(&sent);
    close_end(&end);
    close_loop(&fixture);
}

/* Pausing and resuming in the middle of a large frame neither copies it nor needs more room. */
static void test_resume_within_large_frame(void **state)
{
    struct fixture fixture;
    struct end end;
    struct dynbuf sent;
    (void)state;
    open_loop(&fixture, 160 * KIB); /* enough for the frame, not for a second copy of it */
    open_end(&end, &fixture);
    dynbuf_init(&sent, MIB);
    put_frame(&sent, 140 * KIB);
    for (size_t at = 0; at < sent.length; at += 10 * KIB) {
        send_all(&fixture, &end, sent.data + at, 10 * KIB);
        UNTIL(&fixture, end.lost > 0 || end.frame_count == 1 ||
                            (end.stream.input != NULL && end.stream.input->end == at + 10 * KIB));
        stream_pause(&end.stream, STREAM_PAUSE_PEER_FULL);
        stream_resume(&end.stream, STREAM_PAUSE_PEER_FULL);
        turn(&fixture);
        if (end.lost > 0)
            fail_msg("lost (%s) after %zu bytes", end.reason, at);
    }
    UNTIL(&fixture, end.frame_count == 1);
    assert_same(&end.frames, &sent);
    dynbuf_fini(&sent);
    close_end(&end);
    close_loop(&fixture);
}

/* A large frame that is whole when its owner pauses over it waits for the owner, though more bytes
 * are already in the socket when reading goes on. */
static void test_resume_over_whole_large_frame(void **state)
{
    struct fixture fixture;
    struct end end;
    struct dynbuf sent;
    (void)state;
    open_loop(&fixture, MIB);
    open_end(&end, &fixture);
    end.balks_once = true;
    dynbuf_init(&sent, MIB);
    put_frame(&sent, 100 * KIB);
    put_frame(&sent, 10);
    send_all(&fixture, &end, sent.data, sent.length);
    UNTIL(&fixture, !end.balks_once);
    assert_int_equal(end.stream.input->end, 100 * KIB);
    assert_int_equal(end.frame_count, 0);
    stream_resume(&end.stream, STREAM_PAUSE_MERGE); /* readable before the next look at the input */
    UNTIL(&fixture, end.frame_count == 2 || end.lost > 0);
    assert_int_equal(end.lost, 0);
    assert_same(&end.frames, &sent);
    dynbuf_fini(&sent);
    close_end(&end);
    close_loop(&fixture);
}

/* ---- output ---- */

static void test_slow_reader(void **state)
{
    const size_t total = 3 * MIB + 123;
    struct fixture fixture;
    struct end end;
    struct dynbuf sent, got;
    size_t at = 0;
    (void)state;
    open_loop(&fixture, 0);
    open_end(&end, &fixture);
    dynbuf_init(&sent, 4 * MIB);
    dynbuf_init(&got, 4 * MIB);
    for (size_t i = 0; i < total; i++) {
        uint8_t byte = pattern(i);
        dynbuf_append(&sent, &byte, 1);
    }
    /* Pieces of all sizes, some reserved and filled later. */
    for (size_t n = 1; at < total; n++) {
        size_t part = n % 3 == 0 ? 40 * KIB : n * 7 % 300 + 1;
        if (part > total - at)
            part = total - at;
        if (part <= CHUNK_BYTES && n % 2 == 0) {
            uint8_t *room = stream_reserve(&end.stream, part);
            assert_non_null(room);
            memcpy(room, sent.data + at, part);
        } else {
            assert_true(stream_write(&end.stream, sent.data + at, part));
        }
        at += part;
        assert_int_equal(end.stream.queued, at);
    }
    turn(&fixture);
    assert_true(end.stream.is_flush_blocked); /* the kernel took what it could */
    assert_true(end.stream.queued > STREAM_HIGH_WATER && end.stream.queued < total);
    assert_int_equal(end.drained, 0);
    for (uint64_t until = clock_now_ns() + 20 * NS_PER_S; got.length < total; turn(&fixture)) {
        assert_true(clock_now_ns() < until);
        for (int n = 0; n < 4 && take(end.peer, &got, 13 * KIB) > 0; n++)
            continue;
    }
    assert_same(&got, &sent);
    assert_int_equal(end.stream.queued, 0);
    assert_null(end.stream.output_first);
    assert_null(end.stream.output_last);
    assert_false(end.stream.is_flush_blocked);
    assert_true(end.drained > 0);
    assert_true(end.highest_drained < STREAM_LOW_WATER); /* never told too early */
    /* And it goes on. */
    assert_true(stream_write(&end.stream, "more", 4));
    UNTIL(&fixture, take(end.peer, &got, 4) == 4);
    dynbuf_fini(&sent);
    dynbuf_fini(&got);
    close_end(&end);
    close_loop(&fixture);
}

static void test_nothing_is_sent_before_the_turn_ends(void **state)
{
    struct fixture fixture;
    struct end end;
    struct dynbuf got;
    (void)state;
    open_loop(&fixture, 0);
    open_end(&end, &fixture);
    dynbuf_init(&got, KIB);
    assert_true(stream_write(&end.stream, "ab", 2));
    assert_true(stream_write(&end.stream, "cd", 2));
    assert_int_equal(take(end.peer, &got, KIB), 0);
    stream_loop_flush(&fixture.loop);
    assert_int_equal(take(end.peer, &got, KIB), 4); /* both with one write */
    assert_memory_equal(got.data, "abcd", 4);
    assert_true(stream_write(&end.stream, "", 0));
    stream_loop_flush(&fixture.loop);
    assert_true(stream_is_open(&end.stream));
    dynbuf_fini(&got);
    close_end(&end);
    close_loop(&fixture);
}

/* The peer has gone: told once, at the next flush or read. */
static void test_write_to_gone_peer(void **state)
{
    struct fixture fixture;
    struct end end;
    (void)state;
    open_loop(&fixture, 0);
    open_end(&end, &fixture);
    close(end.peer);
    end.peer = -1;
    assert_true(stream_write(&end.stream, "x", 1));
    stream_loop_flush(&fixture.loop);
    assert_int_equal(end.lost, 1);
    turn(&fixture);
    assert_int_equal(end.lost, 1);
    close_end(&end);
    close_loop(&fixture);
}

/* One large request goes to two destinations and is stored once, until the slower has it. */
static void test_views(void **state)
{
    struct fixture fixture;
    struct end from, fast, slow;
    struct dynbuf sent, got[2];
    (void)state;
    open_loop(&fixture, 4 * MIB);
    open_end(&from, &fixture);
    open_end(&fast, &fixture);
    open_end(&slow, &fixture);
    dynbuf_init(&sent, 4 * MIB);
    dynbuf_init(&got[0], 4 * MIB);
    dynbuf_init(&got[1], 4 * MIB);
    from.views_to[0] = &fast;
    from.views_to[1] = &slow;
    put_frame(&sent, MIB + 5);
    send_all(&fixture, &from, sent.data, sent.length);
    UNTIL(&fixture, from.frame_count == 1);
    assert_int_equal(from.view_count, 2);
    assert_null(from.stream.input);
    close_end(&from); /* the views outlive the stream the bytes came from */
    uint64_t until = clock_now_ns() + 20 * NS_PER_S;
    for (; got[0].length < sent.length; turn(&fixture)) {
        assert_true(clock_now_ns() < until);
        while (take(fast.peer, &got[0], 16 * KIB) > 0)
            continue;
    }
    assert_same(&got[0], &sent);
    assert_true(slow.stream.queued > 0);
    assert_true(fixture.loop.chunks.large_bytes >= MIB);
    assert_true(stream_write(&slow.stream, "tail", 4)); /* behind a view, never into it */
    for (; got[1].length < sent.length + 4; turn(&fixture)) {
        assert_true(clock_now_ns() < until);
        take(slow.peer, &got[1], 16 * KIB);
    }
    assert_memory_equal(got[1].data + sent.length, "tail", 4);
    got[1].length -= 4;
    assert_same(&got[1], &sent);
    assert_int_equal(fixture.loop.chunks.large_bytes, 0);
    dynbuf_fini(&sent);
    dynbuf_fini(&got[0]);
    dynbuf_fini(&got[1]);
    close_end(&fast);
    close_end(&slow);
    close_loop(&fixture);
}

/* A stream closed with views and copies unsent gives everything back. */
static void test_close_with_unsent_output(void **state)
{
    struct fixture fixture;
    struct end end;
    (void)state;
    open_loop(&fixture, MIB);
    open_end(&end, &fixture);
    struct chunk *large = chunk_new_large(&fixture.loop.chunks, 100 * KIB);
    assert_non_null(large);
    memset(large->bytes, 1, 100 * KIB);
    large->end = 100 * KIB;
    assert_true(stream_write(&end.stream, "before", 6));
    assert_true(stream_write_view(&end.stream, large, 10, 99 * KIB));
    assert_true(stream_write(&end.stream, "after", 5));
    chunk_put(&fixture.loop.chunks, large);
    assert_int_equal(end.stream.queued, 99 * KIB + 11);
    stream_close(&end.stream);
    assert_int_equal(end.stream.queued, 0);
    assert_int_equal(fixture.loop.chunks.large_bytes, 0);
    turn(&fixture);
    assert_int_equal(end.lost, 0);
    close_end(&end);
    close_loop(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_partial_frames),
        cmocka_unit_test(test_any_split_gives_the_same_frames),
        cmocka_unit_test(test_announced_length_is_not_allocated),
        cmocka_unit_test(test_large_limit),
        cmocka_unit_test(test_peer_closes),
        cmocka_unit_test(test_close_in_handler),
        cmocka_unit_test(test_resume_delivers_what_was_kept),
        cmocka_unit_test(test_paused_stream_does_not_read),
        cmocka_unit_test(test_one_look_a_turn),
        cmocka_unit_test(test_resume_within_large_frame),
        cmocka_unit_test(test_resume_over_whole_large_frame),
        cmocka_unit_test(test_slow_reader),
        cmocka_unit_test(test_nothing_is_sent_before_the_turn_ends),
        cmocka_unit_test(test_write_to_gone_peer),
        cmocka_unit_test(test_views),
        cmocka_unit_test(test_close_with_unsent_output),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
