/* Streams over socket pairs and an event loop that turns as a worker's does. Every wait ends on a
 * condition and is bounded by time; none only sleeps. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/dynbuf.h"
#include "dataplane/stream.h"
#include "proto/cql_cursor.h"

#define KIB ((size_t)1024)
#define MIB (1024 * KIB)

/* Frames of these tests: total length u32, then bytes. */
#define HEAD 4

struct end {
    struct stream stream;
    int peer; /* the test's end of the socket, non-blocking */
    /* What the owner does: */
    enum stream_pause pauses_after_frame; /* 0: does not pause */
    bool balks_once; /* pauses over the first large frame it has whole, telling its size */
    bool closes_in_handler;
    struct end *views_to[2]; /* frames out of large chunks are queued there */
    /* What it has seen: */
    struct dynbuf frames; /* all whole frames, one after the other */
    int input_calls;
    int frame_count;
    int view_count;
    int connected, drained, lost;
    size_t highest_drained; /* most bytes unsent when on_drained was called */
    char reason[64];
    char connect_error[64];
};

struct fixture {
    struct event_base *base;
    struct stream_loop loop;
};

/* ---- the owner ---- */

static size_t on_input(struct stream *stream, const uint8_t *data, size_t length,
                       struct chunk *whole, size_t *need)
{
    struct end *end = CONTAINER_OF(stream, struct end, stream);
    size_t done = 0;
    assert_int_equal(end->lost, 0);
    assert_int_equal(stream->paused, 0);
    assert_true(length > 0);
    end->input_calls++;
    if (end->closes_in_handler) {
        stream_close(stream);
        return 0;
    }
    if (end->balks_once && whole != NULL && length >= cql_load_u32(data)) {
        end->balks_once = false;
        stream_pause(stream, STREAM_PAUSE_MERGE);
        *need = cql_load_u32(data);
        return 0;
    }
    while (length - done >= HEAD && stream->paused == 0) {
        size_t total = cql_load_u32(data + done);
        assert_true(total >= HEAD);
        if (total > length - done) {
            *need = total > STREAM_WHOLE_FRAME ? total : 0;
            break;
        }
        assert_true(dynbuf_append(&end->frames, data + done, total));
        end->frame_count++;
        for (int i = 0; i < 2 && whole != NULL && end->views_to[i] != NULL; i++) {
            assert_true(stream_write_view(&end->views_to[i]->stream, whole,
                                          (size_t)(data + done - whole->bytes), total));
            end->view_count++;
        }
        done += total;
        if (end->pauses_after_frame != 0)
            stream_pause(stream, end->pauses_after_frame);
    }
    return done;
}

static void on_drained(struct stream *stream)
{
    struct end *end = CONTAINER_OF(stream, struct end, stream);
    end->drained++;
    if (stream->queued > end->highest_drained)
        end->highest_drained = stream->queued;
}

static void on_connected(struct stream *stream, const char *error)
{
    struct end *end = CONTAINER_OF(stream, struct end, stream);
    end->connected++;
    if (error != NULL)
        snprintf(end->connect_error, sizeof end->connect_error, "%s", error);
}

static void on_lost(struct stream *stream, const char *reason)
{
    struct end *end = CONTAINER_OF(stream, struct end, stream);
    assert_false(stream_is_open(stream));
    end->lost++;
    snprintf(end->reason, sizeof end->reason, "%s", reason);
}

static const struct stream_handlers handlers = {
    .on_input = on_input,
    .on_drained = on_drained,
    .on_connected = on_connected,
    .on_lost = on_lost,
};

/* ---- the loop ---- */

static void open_loop(struct fixture *fixture, size_t large_limit)
{
    fixture->base = event_base_new();
    assert_non_null(fixture->base);
    assert_true(stream_loop_init(&fixture->loop, fixture->base, large_limit));
}

static void close_loop(struct fixture *fixture)
{
    assert_int_equal(fixture->loop.chunks.large_bytes, 0); /* nothing is left behind */
    assert_true(list_is_empty(&fixture->loop.dirty));
    assert_true(list_is_empty(&fixture->loop.again));
    stream_loop_fini(&fixture->loop);
    event_base_free(fixture->base);
}

/* One turn, in the worker's order; waits a little for an event when there is none. */
static void turn(struct fixture *fixture)
{
    struct timeval patience = {.tv_usec = 5000};
    event_base_loopexit(fixture->base, &patience);
    event_base_loop(fixture->base, EVLOOP_ONCE);
    fixture->loop.now_ns = clock_now_ns();
    stream_loop_run_again(&fixture->loop);
    stream_loop_flush(&fixture->loop);
}

#define UNTIL(fixture, condition)                                                                  \
    for (uint64_t until = clock_now_ns() + 20 * NS_PER_S; !(condition); turn(fixture))             \
        if (clock_now_ns() > until)                                                                \
    fail_msg("never: %s", #condition)

static void prepare_end(struct end *end, struct fixture *fixture)
{
    *end = (struct end){.peer = -1};
    dynbuf_init(&end->frames, 64 * MIB);
    stream_init(&end->stream, &fixture->loop, &handlers);
}

static void open_end(struct end *end, struct fixture *fixture)
{
    int pair[2];
    prepare_end(end, fixture);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    end->peer = pair[1];
    assert_true(stream_adopt(&end->stream, pair[0]));
}

static void close_end(struct end *end)
{
    stream_close(&end->stream);
    stream_close(&end->stream); /* harmless */
    if (end->peer >= 0)
        close(end->peer);
    dynbuf_fini(&end->frames);
}

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

/* ---- bytes ---- */

static uint8_t pattern(size_t at)
{
    return (uint8_t)(at * 31 + (at >> 8) * 17 + (at >> 16));
}

static void put_frame(struct dynbuf *to, size_t total)
{
    uint8_t head[HEAD];
    assert_true(total >= HEAD);
    cql_store_u32(head, (uint32_t)total);
    assert_true(dynbuf_append(to, head, sizeof head));
    for (size_t i = HEAD; i < total; i++) {
        uint8_t byte = pattern(i);
        assert_true(dynbuf_append(to, &byte, 1));
    }
}

/* Sends all of it, turning the loop whenever the socket is full. */
static void send_all(struct fixture *fixture, struct end *end, const uint8_t *bytes, size_t length)
{
    uint64_t until = clock_now_ns() + 20 * NS_PER_S;
    while (length > 0) {
        ssize_t sent = send(end->peer, bytes, length, MSG_NOSIGNAL);
        assert_true(sent > 0 || errno == EAGAIN);
        if (sent > 0) {
            bytes += sent;
            length -= (size_t)sent;
        } else {
            assert_true(clock_now_ns() < until);
            turn(fixture);
        }
    }
}

/* Takes up to most bytes that have arrived at the test's end; returns how many. */
static size_t take(int peer, struct dynbuf *to, size_t most)
{
    uint8_t bytes[16 * 1024];
    ssize_t got = recv(peer, bytes, most < sizeof bytes ? most : sizeof bytes, 0);
    if (got <= 0)
        return 0;
    assert_true(dynbuf_append(to, bytes, (size_t)got));
    return (size_t)got;
}

static void assert_same(const struct dynbuf *got, const struct dynbuf *want)
{
    assert_int_equal(got->length, want->length);
    assert_int_equal(memcmp(got->data, want->data, want->length), 0);
}

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

/* ---- connecting and the last bytes ---- */

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
        cmocka_unit_test(test_connect),
        cmocka_unit_test(test_connect_refused),
        cmocka_unit_test(test_connect_fails_at_once),
        cmocka_unit_test(test_last_bytes_reach_the_peer),
        cmocka_unit_test(test_close_when_flushed_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
