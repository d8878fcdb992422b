/* A non-blocking socket with an input that keeps only what its owner could not use yet, and an
 * output that is flushed once per loop turn with one gathered write. libevent tells readiness and
 * nothing more.
 *
 *   socket ─read─► scratch (the worker's) ─► on_input(data) ─ leftover ─► input chunk, only while
 * there is one stream_write ─► output chunks ─ end of turn ─► writev ─► socket
 *
 * Reading stops for a set of reasons and goes on when the set is empty. A closed stream calls
 * nobody any more. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "common/check.h"
#include "common/list.h"
#include "dataplane/chunk.h"
#include "dataplane/cluster_id.h"
#include "dataplane/transport.h"

struct event;
struct event_base;
struct framing;
struct framing_buffers;
struct stream;
struct tls_thread;

/* Why reading is paused. */
enum stream_pause {
    STREAM_PAUSE_HANDSHAKE = 1 << 0, /* one handshake frame at a time */
    STREAM_PAUSE_PEER_FULL = 1 << 1, /* a destination is over its high water mark */
    STREAM_PAUSE_LOCKED =
        1 << 2, /* another upstream is in the middle of a large frame to the client */
    STREAM_PAUSE_MERGE = 1 << 3,   /* a large answer waits for the other cluster's word */
    STREAM_PAUSE_UNREAD = 1 << 5,  /* it does not read its own answers */
    STREAM_PAUSE_CLOSING = 1 << 4, /* the last reply is on its way; nothing more is read */
    STREAM_PAUSE_MOVING = 1 << 6,  /* an upstream changes its node */
};

/* Above this many unsent bytes whoever feeds the stream stops reading; below half of it they go on.
 */
#define STREAM_HIGH_WATER ((size_t)256 * 1024)
#define STREAM_LOW_WATER  (STREAM_HIGH_WATER / 2)

/* Bytes read per wake-up, and the largest frame that is handled in one piece. */
#define STREAM_READ_BYTES  ((size_t)64 * 1024)
#define STREAM_WHOLE_FRAME STREAM_READ_BYTES

/* What is kept, at most STREAM_WHOLE_FRAME, and behind it one read or the payload of a segment. */
#define STREAM_SCRATCH_BYTES (3 * STREAM_READ_BYTES)

/* Whom a stream talks to. A turn's output leaves by it, so that what goes to one peer process goes
 * out in a row: the peer is woken once and finds the rest while it works, instead of falling asleep
 * between sends to others. Waking a process costs more than all the proxy itself does for a
 * request. The primary cluster comes after the other one: by the time a client's reads are answered
 * its writes then mostly have both their answers, and all leaves in one send. Clients come last. */
enum stream_flush_rank {
    STREAM_TO_CLUSTER = 0, /* and that cluster's id */
    STREAM_TO_CLIENT = CLUSTER_COUNT,
    STREAM_FLUSH_RANKS,
};

/* The part of a worker that all its streams share. */
struct stream_loop {
    struct event_base *base;
    struct chunk_pool chunks;
    struct list dirty[STREAM_FLUSH_RANKS]; /* streams with something to flush */
    enum cluster_id primary;               /* the one that reads go to, by the routing state */
    struct list
        again; /* streams whose kept input must be looked at again without a new readiness event */
    uint8_t *scratch;                /* STREAM_SCRATCH_BYTES */
    uint8_t *tls_scratch;            /* TLS_SCRATCH_BYTES */
    struct framing_buffers *framing; /* NULL until a stream of the loop uses segments */
    uint64_t now_ns;                 /* taken once per turn */
    struct tls_thread *tls;          /* what tls_stream.h goes by; NULL: everything is plain */
};

struct stream_handlers {
    /* Bytes arrived. Returns how many were used up. *need: total size of the first unused frame if
     * it is known and larger than STREAM_WHOLE_FRAME (the owner has checked it against its own
     * limit), else 0. Must use up everything or leave either an incomplete frame or a reason to
     * pause. data is valid during the call only; whole is the large chunk that data lies in, or
     * NULL: a frame in it may be queued elsewhere as a view. */
    size_t (*on_input)(struct stream *stream, const uint8_t *data, size_t length,
                       struct chunk *whole, size_t *need);
    /* Unsent bytes fell below the low water mark. */
    void (*on_drained)(struct stream *stream);
    /* An outgoing connection is established, TLS included (error NULL), or failed. */
    void (*on_connected)(struct stream *stream, const char *error);
    /* The peer closed, or the socket failed; reason is a word or two. The stream is closed already.
     */
    void (*on_lost)(struct stream *stream, const char *reason);
};

struct stream {
    struct stream_loop *loop;
    const struct stream_handlers *handlers;
    struct transport transport;
    bool is_connecting;    /* no bytes flow yet: TCP or TLS is at its handshake */
    bool is_shaking_hands; /* TLS */
    bool is_outgoing;
    bool reads_when_writable;   /* TLS has to write before it can read on */
    bool flushes_when_readable; /* TLS has to read before it can write on */
    bool failed_handshake;      /* told to on_lost: TLS never came about */
    bool is_flush_blocked;      /* the kernel is full: write readiness is armed */
    bool closes_when_flushed;
    bool reads_segments, writes_segments; /* framing.h */
    uint8_t linger_reads; /* > 0: our end is closed, the peer's last bytes are being dropped */
    uint8_t paused;       /* set of enum stream_pause */
    uint8_t flush_rank;   /* enum stream_flush_rank */
    struct event *read_event;
    struct event *write_event;
    uint32_t life; /* connections it has had: grows with each close */
    struct list dirty;
    struct list again;
    struct chunk *input;
    size_t input_need;
    struct chunk *output_first, *output_last;
    size_t queued;           /* unsent bytes that may go out: all but those of an open segment */
    struct framing *framing; /* NULL: envelopes travel as they are */
    uint64_t last_read_ns, last_write_ns;
};

bool stream_loop_init(struct stream_loop *loop, struct event_base *base, size_t large_limit);
void stream_loop_fini(struct stream_loop *loop);

/* A closed stream. */
void stream_init(struct stream *stream, struct stream_loop *loop,
                 const struct stream_handlers *handlers, enum stream_flush_rank rank);
/* The next stream_adopt or stream_connect of this closed stream speaks TLS: on_input, on_connected
 * and on_drained come after its handshake, for which the owner keeps the time. Takes tls over. */
void stream_secure(struct stream *stream, struct tls_connection *tls);
/* Takes over a connected, non-blocking socket and starts reading. */
MUST_CHECK bool stream_adopt(struct stream *stream, int fd);
/* Starts connecting. false: failed at once, *error is a constant text; on_connected is not called
 * then. */
MUST_CHECK bool stream_connect(struct stream *stream, const struct sockaddr *address,
                               socklen_t length, const char **error);
/* Gives from's connection to the closed stream `to`, which may have another owner and other
 * handlers: unsent bytes go along; from is closed, what it has read stays with it. Allowed within
 * from's on_input; not for a stream that uses segments. false: out of memory, both are closed. */
MUST_CHECK bool stream_move(struct stream *to, struct stream *from);
/* Closes at once; unsent bytes are dropped. Harmless on a closed stream. Never calls the owner. */
void stream_close(struct stream *stream);
/* Closes once the output is flushed and the peer has had a moment to read it; then on_lost is
 * called with reason "closed". */
void stream_close_when_flushed(struct stream *stream);

static inline bool stream_is_open(const struct stream *stream)
{
    return transport_is_open(&stream->transport);
}

/* Whether the output's last chunk takes length more bytes. */
static inline bool stream_has_room(const struct stream *stream, size_t length)
{
    const struct chunk *tail = stream->output_last;
    return tail != NULL && tail->parent == NULL && tail->capacity == CHUNK_BYTES &&
           chunk_room(tail) >= length;
}

/* stream_reserve where it is not just the end of a chunk in use. */
uint8_t *stream_reserve_anew(struct stream *stream, size_t length);

/* Room for length contiguous bytes at the end of the output (length <= CHUNK_BYTES), already
 * counted as written: the caller fills them before it returns to the loop. NULL: memory is out or
 * the stream is closed. */
static inline uint8_t *stream_reserve(struct stream *stream, size_t length)
{
    if (!stream_has_room(stream, length) || list_is_empty(&stream->dirty) ||
        stream->writes_segments)
        return stream_reserve_anew(stream, length);
    struct chunk *tail = stream->output_last;
    uint8_t *room = tail->bytes + tail->end;
    tail->end += length;
    stream->queued += length;
    return room;
}

/* Queues a copy of any length. */
MUST_CHECK bool stream_write(struct stream *stream, const void *bytes, size_t length);
/* Queues chunk's bytes [start, start + length) without copying. */
MUST_CHECK bool stream_write_view(struct stream *stream, struct chunk *chunk, size_t start,
                                  size_t length);

void stream_pause(struct stream *stream, enum stream_pause reason);
void stream_resume(struct stream *stream, enum stream_pause reason);

/* The end of the turn: first looks again at kept input, then flushes. */
void stream_loop_run_again(struct stream_loop *loop);
void stream_loop_flush(struct stream_loop *loop);
