/* For the tests of streams: an owner that records what it is given, over socket pairs and an event
 * loop that turns as a worker's does. Every wait ends on a condition and is bounded by time. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
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

static inline size_t on_input(struct stream *stream, const uint8_t *data, size_t length,
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

static inline void on_drained(struct stream *stream)
{
    struct end *end = CONTAINER_OF(stream, struct end, stream);
    end->drained++;
    if (stream->queued > end->highest_drained)
        end->highest_drained = stream->queued;
}

static inline void on_connected(struct stream *stream, const char *error)
{
    struct end *end = CONTAINER_OF(stream, struct end, stream);
    end->connected++;
    if (error != NULL)
        snprintf(end->connect_error, sizeof end->connect_error, "%s", error);
}

static inline void on_lost(struct stream *stream, const char *reason)
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

static inline void open_loop(struct fixture *fixture, size_t large_limit)
{
    fixture->base = event_base_new();
    assert_non_null(fixture->base);
    assert_true(stream_loop_init(&fixture->loop, fixture->base, large_limit));
}

static inline void close_loop(struct fixture *fixture)
{
    assert_int_equal(fixture->loop.chunks.large_bytes, 0); /* nothing is left behind */
    for (int rank = 0; rank < STREAM_FLUSH_RANKS; rank++)
        assert_true(list_is_empty(&fixture->loop.dirty[rank]));
    assert_true(list_is_empty(&fixture->loop.again));
    stream_loop_fini(&fixture->loop);
    event_base_free(fixture->base);
}

/* One turn, in the worker's order; waits a little for an event when there is none. */
static inline void turn(struct fixture *fixture)
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

static inline void prepare_end(struct end *end, struct fixture *fixture)
{
    *end = (struct end){.peer = -1};
    dynbuf_init(&end->frames, 64 * MIB);
    stream_init(&end->stream, &fixture->loop, &handlers, STREAM_TO_CLIENT);
}

static inline void open_end(struct end *end, struct fixture *fixture)
{
    int pair[2];
    prepare_end(end, fixture);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    end->peer = pair[1];
    assert_true(stream_adopt(&end->stream, pair[0]));
}

static inline void close_end(struct end *end)
{
    stream_close(&end->stream);
    stream_close(&end->stream); /* harmless */
    if (end->peer >= 0)
        close(end->peer);
    dynbuf_fini(&end->frames);
}

/* ---- bytes ---- */

static inline uint8_t pattern(size_t at)
{
    return (uint8_t)(at * 31 + (at >> 8) * 17 + (at >> 16));
}

static inline void put_frame(struct dynbuf *to, size_t total)
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
static inline void send_all(struct fixture *fixture, struct end *end, const uint8_t *bytes,
                            size_t length)
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
static inline size_t take(int peer, struct dynbuf *to, size_t most)
{
    uint8_t bytes[16 * 1024];
    ssize_t got = recv(peer, bytes, most < sizeof bytes ? most : sizeof bytes, 0);
    if (got <= 0)
        return 0;
    assert_true(dynbuf_append(to, bytes, (size_t)got));
    return (size_t)got;
}

static inline void assert_same(const struct dynbuf *got, const struct dynbuf *want)
{
    assert_int_equal(got->length, want->length);
    assert_int_equal(memcmp(got->data, want->data, want->length), 0);
}
