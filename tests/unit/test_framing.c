/* Streams in segments: any split and any pause gives the same envelopes; what goes out keeps the
 * rules of segments; bad ones end the stream with a reason. */
#include "dataplane/framing.h"
#include "stream_fixture.h"

/* An envelope that is a frame of the fixture as well: its total length stands in its first four
 * bytes, the body's length where an envelope has it. */
static void put_envelope(struct dynbuf *to, size_t total)
{
    size_t start = to->length;
    assert_true(total >= CQL_HEADER_BYTES);
    put_frame(to, total);
    cql_store_u32(to->data + start + 5, (uint32_t)(total - CQL_HEADER_BYTES));
}

static void put_segment(struct dynbuf *to, bool is_lz4, const uint8_t *payload, size_t length,
                        bool is_self_contained)
{
    static uint8_t deflated[CQL_SEGMENT_DEFLATED_MAX];
    uint8_t header[CQL_SEGMENT_LZ4_HEADER_BYTES], trailer[CQL_SEGMENT_TRAILER_BYTES];
    size_t inflated_length = 0, shorter = 0;
    if (is_lz4 && (shorter = cql_segment_deflate(payload, length, deflated)) > 0) {
        inflated_length = length;
        payload = deflated;
        length = shorter;
    }
    cql_segment_put_header(header, is_lz4, length, inflated_length, is_self_contained);
    cql_segment_put_trailer(trailer, cql_segment_crc_add(cql_segment_crc_begin(), payload, length));
    assert_true(dynbuf_append(to, header, cql_segment_header_bytes(is_lz4)));
    if (length > 0)
        assert_true(dynbuf_append(to, payload, length));
    assert_true(dynbuf_append(to, trailer, sizeof trailer));
}

static const size_t totals[] = {
    9,         70,        130 * KIB, 5000, 9,           STREAM_WHOLE_FRAME,
    100 * KIB, 300 * KIB, 12,        11,   CHUNK_BYTES, CHUNK_BYTES + 1,
    131071,    131072,    64,        1000, 200 * KIB,   STREAM_WHOLE_FRAME + 1,
    15,        MIB,       20,
};

/* plain: the envelopes; wire: the same in segments, large ones alone and in uneven pieces. */
static void put_everything(struct dynbuf *plain, struct dynbuf *wire, bool is_lz4)
{
    size_t open = 0; /* where in plain the next self-contained segment begins */
    uint32_t x = 5;
    for (size_t i = 0; i < ARRAY_COUNT(totals); i++) {
        size_t start = plain->length;
        put_envelope(plain, totals[i]);
        if (plain->length - open <= CQL_SEGMENT_PAYLOAD_MAX && i % 4 != 3)
            continue;
        if (start > open)
            put_segment(wire, is_lz4, plain->data + open, start - open, true);
        open = start;
        if (totals[i] <= CQL_SEGMENT_PAYLOAD_MAX)
            continue;
        while (open < plain->length) {
            x = x * 1664525u + 1013904223u;
            size_t part = x % 3 == 0 ? CQL_SEGMENT_PAYLOAD_MAX : 5 + (x >> 8) % 70000;
            if (part > plain->length - open)
                part = plain->length - open;
            put_segment(wire, is_lz4, plain->data + open, part, false);
            open += part;
        }
        put_segment(wire, is_lz4, NULL, 0, true); /* harmless */
    }
    if (plain->length > open)
        put_segment(wire, is_lz4, plain->data + open, plain->length - open, true);
}

static void read_everything(bool is_lz4, enum stream_pause pause)
{
    struct dynbuf plain, wire;
    uint32_t x = 1;
    dynbuf_init(&plain, 16 * MIB);
    dynbuf_init(&wire, 16 * MIB);
    put_everything(&plain, &wire, is_lz4);
    for (int round = 0; round < 12; round++) {
        struct fixture fixture;
        struct end end;
        open_loop(&fixture, 4 * MIB);
        open_end(&end, &fixture);
        end.pauses_after_frame = pause;
        end.balks_once = pause != 0 && round % 2 == 0;
        assert_true(framing_begin_reading(&end.stream, is_lz4));
        for (size_t at = 0; at < wire.length;) {
            x = x * 1664525u + 1013904223u;
            size_t most = round == 0       ? wire.length
                          : (x >> 30) == 0 ? 16
                          : (x >> 30) == 1 ? 5000
                                           : 300000;
            size_t part = 1 + (x >> 8) % most;
            if (part > wire.length - at)
                part = wire.length - at;
            for (size_t sent = 0; sent < part;) {
                size_t piece = part - sent < 8000 ? part - sent : 8000;
                ssize_t got = send(end.peer, wire.data + at + sent, piece, MSG_NOSIGNAL);
                sent += got > 0 ? (size_t)got : 0;
                if (got > 0)
                    continue;
                turn(&fixture);
                stream_resume(&end.stream, STREAM_PAUSE_MERGE);
                stream_resume(&end.stream, pause);
            }
            at += part;
            if (x % 2 == 0) {
                turn(&fixture);
                stream_resume(&end.stream, STREAM_PAUSE_MERGE);
                stream_resume(&end.stream, pause);
            }
        }
        uint64_t until = clock_now_ns() + 20 * NS_PER_S;
        while (end.frames.length < plain.length && end.lost == 0 && clock_now_ns() < until) {
            turn(&fixture);
            stream_resume(&end.stream, STREAM_PAUSE_MERGE);
            stream_resume(&end.stream, pause);
        }
        assert_string_equal(end.reason, "");
        assert_same(&end.frames, &plain);
        assert_int_equal(end.frame_count, ARRAY_COUNT(totals));
        turn(&fixture);
        assert_null(end.stream.input); /* a quiet connection holds no buffer */
        assert_null(end.stream.framing->raw);
        close_end(&end);
        close_loop(&fixture);
    }
    dynbuf_fini(&plain);
    dynbuf_fini(&wire);
}

static void test_any_split_gives_the_same_envelopes(void **state)
{
    (void)state;
    read_everything(false, 0);
    read_everything(true, 0);
}

static void test_pauses_lose_nothing(void **state)
{
    (void)state;
    read_everything(false, STREAM_PAUSE_LOCKED);
    read_everything(true, STREAM_PAUSE_LOCKED);
}

/* ---- bad input ---- */

static void expect_lost(const struct dynbuf *wire, bool is_lz4, const char *reason)
{
    struct fixture fixture;
    struct end end;
    open_loop(&fixture, 4 * MIB);
    open_end(&end, &fixture);
    assert_true(framing_begin_reading(&end.stream, is_lz4));
    send_all(&fixture, &end, wire->data, wire->length);
    UNTIL(&fixture, end.lost == 1);
    assert_string_equal(end.reason, reason);
    assert_false(end.stream.reads_segments); /* the next connection begins anew */
    close_end(&end);
    close_loop(&fixture);
}

static void test_bad_segments(void **state)
{
    struct dynbuf plain, wire;
    (void)state;
    dynbuf_init(&plain, MIB);
    dynbuf_init(&wire, MIB);
    put_envelope(&plain, 500);
    put_segment(&wire, false, plain.data, 500, true);
    wire.data[1] ^= 1;
    expect_lost(&wire, false, "bad segment: its header does not match its checksum");
    wire.data[1] ^= 1;
    wire.data[300] ^= 1;
    expect_lost(&wire, false, "bad segment: its payload does not match its checksum");
    dynbuf_reset(&wire);
    put_segment(&wire, false, plain.data, 499, true);
    expect_lost(&wire, false, "bad segment: self-contained, but ends within an envelope");
    dynbuf_reset(&wire);
    put_segment(&wire, false, plain.data, 20, false);
    put_segment(&wire, false, plain.data + 20, 480, true);
    expect_lost(&wire, false, "bad segment: self-contained, but in the middle of an envelope");
    dynbuf_reset(&wire);
    dynbuf_reset(&plain);
    put_envelope(&plain, 200 * KIB);
    put_envelope(&plain, 20);
    put_segment(&wire, true, plain.data, 131071, false);
    put_segment(&wire, true, plain.data + 131071, plain.length - 131071, false);
    expect_lost(&wire, true, "bad segment: it goes on behind the envelope it ends");
    dynbuf_reset(&wire);
    uint8_t block[CQL_SEGMENT_LZ4_HEADER_BYTES];
    cql_segment_put_header(block, true, 0, 100, true);
    assert_true(dynbuf_append(&wire, block, sizeof block));
    cql_segment_put_trailer(block, cql_segment_crc_begin());
    assert_true(dynbuf_append(&wire, block, CQL_SEGMENT_TRAILER_BYTES));
    expect_lost(&wire, true, "bad segment: payload is no LZ4 block of the announced length");
    dynbuf_fini(&plain);
    dynbuf_fini(&wire);
}

/* A header that announces the longest payload costs what has arrived of it. */
static void test_announced_length_is_not_allocated(void **state)
{
    struct fixture fixture;
    struct end end;
    uint8_t header[CQL_SEGMENT_HEADER_BYTES];
    (void)state;
    open_loop(&fixture, 0);
    open_end(&end, &fixture);
    assert_true(framing_begin_reading(&end.stream, false));
    cql_segment_put_header(header, false, CQL_SEGMENT_PAYLOAD_MAX, 0, true);
    send_all(&fixture, &end, header, sizeof header);
    UNTIL(&fixture, end.stream.framing->raw != NULL);
    assert_int_equal(end.stream.framing->raw->capacity, CHUNK_BYTES);
    assert_int_equal(end.lost, 0);
    close_end(&end);
    close_loop(&fixture);
}

/* ---- the switch ---- */

/* What came behind the last unsegmented envelope, in the same read, is segments. */
static void test_switch_over_kept_input(void **state)
{
    struct fixture fixture;
    struct end end;
    struct dynbuf plain, wire;
    (void)state;
    open_loop(&fixture, MIB);
    open_end(&end, &fixture);
    end.pauses_after_frame = STREAM_PAUSE_HANDSHAKE;
    dynbuf_init(&plain, MIB);
    dynbuf_init(&wire, MIB);
    put_envelope(&plain, 50);
    put_envelope(&wire, 50);
    size_t start = plain.length;
    put_envelope(&plain, 60);
    put_segment(&wire, true, plain.data + start, 60, true);
    send_all(&fixture, &end, wire.data, wire.length - 3);
    UNTIL(&fixture, end.frame_count == 1);
    assert_true(framing_begin_reading(&end.stream, true));
    send_all(&fixture, &end, wire.data + wire.length - 3, 3);
    stream_resume(&end.stream, STREAM_PAUSE_HANDSHAKE);
    UNTIL(&fixture, end.frame_count == 2);
    assert_same(&end.frames, &plain);
    dynbuf_fini(&plain);
    dynbuf_fini(&wire);
    close_end(&end);
    close_loop(&fixture);
}

/* ---- output ---- */

struct reader {
    struct dynbuf wire, plain;
    size_t at; /* next segment in wire */
    bool is_lz4;
    int segments;
};

/* Takes what has arrived and checks the rules of segments. */
static void collect(struct end *end, struct reader *reader)
{
    static uint8_t inflated[CQL_SEGMENT_PAYLOAD_MAX];
    struct cql_segment segment;
    const char *reason = NULL;
    while (take(end->peer, &reader->wire, SIZE_MAX) > 0)
        ;
    for (;;) {
        enum cql_segment_verdict verdict =
            cql_segment_read(reader->wire.data + reader->at, reader->wire.length - reader->at,
                             reader->is_lz4, &segment, &reason);
        assert_int_not_equal(verdict, CQL_SEGMENT_BAD);
        if (verdict == CQL_SEGMENT_MORE)
            return;
        const uint8_t *payload = segment.payload;
        size_t length = segment.length, start = reader->plain.length;
        if (segment.inflated_length > 0) {
            assert_true(cql_segment_inflate(&segment, inflated));
            payload = inflated;
            length = segment.inflated_length;
        }
        assert_true(length > 0);
        assert_true(dynbuf_append(&reader->plain, payload, length));
        for (; segment.is_self_contained && start < reader->plain.length;) {
            assert_true(reader->plain.length - start >= CQL_HEADER_BYTES);
            start += cql_load_u32(reader->plain.data + start);
            assert_true(start <= reader->plain.length);
        }
        reader->at += segment.total;
        reader->segments++;
    }
}

static void open_reader(struct reader *reader, bool is_lz4)
{
    *reader = (struct reader){.is_lz4 = is_lz4};
    dynbuf_init(&reader->wire, 16 * MIB);
    dynbuf_init(&reader->plain, 16 * MIB);
}

static void close_reader(struct reader *reader)
{
    assert_int_equal(reader->at, reader->wire.length);
    dynbuf_fini(&reader->wire);
    dynbuf_fini(&reader->plain);
}

static void write_everything(bool is_lz4)
{
    struct dynbuf plain, wire;
    uint32_t x = 9;
    dynbuf_init(&plain, 16 * MIB);
    dynbuf_init(&wire, 16 * MIB);
    put_everything(&plain, &wire, is_lz4);
    for (int round = 0; round < 10; round++) {
        struct fixture fixture;
        struct end end;
        struct reader reader;
        open_loop(&fixture, 4 * MIB);
        open_end(&end, &fixture);
        open_reader(&reader, is_lz4);
        assert_true(framing_begin_writing(&end.stream, is_lz4));
        struct chunk *views = chunk_new_large(&fixture.loop.chunks, plain.length);
        assert_non_null(views);
        memcpy(views->bytes, plain.data, plain.length);
        views->end = plain.length;
        size_t frame_at = 0; /* where the envelope begins that holds at, or begins there */
        for (size_t at = 0; at < plain.length;) {
            x = x * 1664525u + 1013904223u;
            while (frame_at + cql_load_u32(plain.data + frame_at) <= at)
                frame_at += cql_load_u32(plain.data + frame_at);
            size_t total = cql_load_u32(plain.data + frame_at);
            size_t most = (x >> 30) == 0 ? 30 : (x >> 30) == 1 ? 5000 : 200000;
            size_t part = 1 + (x >> 8) % most;
            if (part > plain.length - at)
                part = plain.length - at;
            if (at == frame_at && total <= CHUNK_BYTES && x % 3 == 0) {
                uint8_t *to = stream_reserve(&end.stream, total);
                assert_non_null(to);
                part = total;
                memcpy(to, plain.data + at, part);
            } else if (x % 3 == 1) {
                assert_true(stream_write_view(&end.stream, views, at, part));
            } else {
                assert_true(stream_write(&end.stream, plain.data + at, part));
            }
            at += part;
            if ((x >> 4) % 4 == 0) {
                turn(&fixture);
                collect(&end, &reader);
            }
        }
        UNTIL(&fixture, (collect(&end, &reader), reader.plain.length == plain.length));
        assert_same(&reader.plain, &plain);
        assert_int_equal(end.stream.queued, 0);
        assert_null(end.stream.output_first);
        chunk_put(&fixture.loop.chunks, views);
        close_reader(&reader);
        close_end(&end);
        close_loop(&fixture);
    }
    dynbuf_fini(&plain);
    dynbuf_fini(&wire);
}

static void test_written_as_segments(void **state)
{
    (void)state;
    write_everything(false);
    write_everything(true);
}

/* The small envelopes of a turn share one segment; an incomplete one waits, and what is before it
 * goes out. */
static void test_one_segment_a_turn(void **state)
{
    struct fixture fixture;
    struct end end;
    struct reader reader;
    struct dynbuf plain;
    (void)state;
    open_loop(&fixture, MIB);
    open_end(&end, &fixture);
    open_reader(&reader, false);
    dynbuf_init(&plain, MIB);
    assert_true(framing_begin_writing(&end.stream, false));
    for (int i = 0; i < 20; i++)
        put_envelope(&plain, 100);
    assert_true(stream_write(&end.stream, plain.data, plain.length));
    assert_int_equal(end.stream.queued, 0); /* it cannot go out before it is sealed */
    UNTIL(&fixture, (collect(&end, &reader), reader.segments == 1));
    assert_same(&reader.plain, &plain);

    size_t whole = plain.length + 100;
    put_envelope(&plain, 100);
    put_envelope(&plain, 90 * KIB);
    assert_true(stream_write(&end.stream, plain.data + whole - 100, 40 * KIB));
    UNTIL(&fixture, (collect(&end, &reader), reader.segments == 2));
    assert_int_equal(reader.plain.length, whole);
    for (int i = 0; i < 5; i++) {
        turn(&fixture);
        collect(&end, &reader);
    }
    assert_int_equal(reader.segments, 2);
    assert_true(stream_write(&end.stream, plain.data + whole - 100 + 40 * KIB,
                             plain.length - (whole - 100 + 40 * KIB)));
    UNTIL(&fixture, (collect(&end, &reader), reader.segments == 3));
    assert_same(&reader.plain, &plain);
    dynbuf_fini(&plain);
    close_reader(&reader);
    close_end(&end);
    close_loop(&fixture);
}

/* An open segment does not keep whoever feeds the stream from being told that it has drained. */
static void test_drained_behind_an_open_segment(void **state)
{
    struct fixture fixture;
    struct end end;
    struct reader reader;
    struct dynbuf plain;
    (void)state;
    open_loop(&fixture, MIB);
    open_end(&end, &fixture);
    open_reader(&reader, false);
    dynbuf_init(&plain, 4 * MIB);
    assert_true(framing_begin_writing(&end.stream, false));
    put_envelope(&plain, MIB);
    put_envelope(&plain, 131071);
    assert_true(stream_write(&end.stream, plain.data, plain.length - 1));
    assert_true(end.stream.queued > STREAM_HIGH_WATER);
    UNTIL(&fixture, (collect(&end, &reader), end.drained > 0 && end.stream.queued == 0));
    assert_int_equal(reader.plain.length, MIB);
    assert_true(stream_write(&end.stream, plain.data + plain.length - 1, 1));
    UNTIL(&fixture, (collect(&end, &reader), reader.plain.length == plain.length));
    assert_same(&reader.plain, &plain);
    dynbuf_fini(&plain);
    close_reader(&reader);
    close_end(&end);
    close_loop(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_split_gives_the_same_envelopes),
        cmocka_unit_test(test_pauses_lose_nothing),
        cmocka_unit_test(test_bad_segments),
        cmocka_unit_test(test_announced_length_is_not_allocated),
        cmocka_unit_test(test_switch_over_kept_input),
        cmocka_unit_test(test_written_as_segments),
        cmocka_unit_test(test_one_segment_a_turn),
        cmocka_unit_test(test_drained_behind_an_open_segment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
