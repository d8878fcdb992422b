/* Streams: sockets of one worker, read through its scratch buffer and flushed once per turn. Runs
 * on the owner worker's thread only. Never frees its owner, never calls back after stream_close. */
#include "dataplane/stream.h"

#include <event2/event.h>
#include <string.h>
#include <sys/uio.h>

#include "common/clock.h"
#include "dataplane/framing.h"
#include "dataplane/stream_parts.h"
#include "dataplane/tls.h"

#define GATHER_MAX 64

/* Reads of a peer that keeps talking after our last word. */
#define LINGER_READS_MAX 64

bool stream_loop_init(struct stream_loop *loop, struct event_base *base, size_t large_limit)
{
    *loop = (struct stream_loop){.base = base, .now_ns = clock_now_ns()};
    chunk_pool_init(&loop->chunks, large_limit);
    for (int rank = 0; rank < STREAM_FLUSH_RANKS; rank++)
        list_init(&loop->dirty[rank]);
    list_init(&loop->again);
    loop->scratch = malloc(STREAM_SCRATCH_BYTES);
    loop->tls_scratch = malloc(TLS_SCRATCH_BYTES);
    return loop->scratch != NULL && loop->tls_scratch != NULL;
}

void stream_loop_fini(struct stream_loop *loop)
{
    free(loop->scratch);
    free(loop->tls_scratch);
    free(loop->framing);
    chunk_pool_fini(&loop->chunks);
}

void stream_init(struct stream *stream, struct stream_loop *loop,
                 const struct stream_handlers *handlers, enum stream_flush_rank rank)
{
    *stream = (struct stream){.loop = loop, .handlers = handlers, .flush_rank = (uint8_t)rank};
    transport_init(&stream->transport);
    list_init(&stream->dirty);
    list_init(&stream->again);
}

static bool has_kept(const struct stream *stream)
{
    return stream->input != NULL || (stream->reads_segments && stream->framing->raw != NULL);
}

/* Input that raises no readiness event is looked at in this turn's second part. */
void stream_look_again(struct stream *stream)
{
    bool has_input = has_kept(stream) || transport_has_more(&stream->transport);
    if (has_input && stream->paused == 0 && list_is_empty(&stream->again))
        list_append(&stream->loop->again, &stream->again);
}

void stream_lose(struct stream *stream, const char *reason)
{
    bool failed_handshake = stream->is_shaking_hands;
    stream_close(stream);
    stream->failed_handshake = failed_handshake;
    stream->handlers->on_lost(stream, reason);
}

/* ---- readiness ---- */

static void update_reading(struct stream *stream)
{
    if (!stream_is_open(stream) || stream->is_connecting)
        return;
    if ((stream->paused == 0 && !stream->reads_when_writable) || stream->flushes_when_readable)
        event_add(stream->read_event, NULL);
    else
        event_del(stream->read_event);
}

static void update_writing(struct stream *stream)
{
    if ((stream->is_flush_blocked && !stream->flushes_when_readable) || stream->reads_when_writable)
        event_add(stream->write_event, NULL);
    else
        event_del(stream->write_event);
}

/* ---- input ---- */

/* Keeps data (which may lie in the scratch buffer or in the kept chunk itself) for the next read.
 * false: memory is out. */
static bool keep_input(struct stream *stream, const uint8_t *data, size_t length, size_t need)
{
    struct chunk_pool *chunks = &stream->loop->chunks;
    struct chunk *kept = stream->input;
    if (length == 0) {
        chunk_put(chunks, kept);
        stream->input = NULL;
        return true;
    }
    if (kept != NULL && kept->references == 1 && data == kept->bytes && length == kept->end)
        return true; /* a large frame in the making, looked at again after a pause */
    if (kept != NULL && kept->references == 1 && kept->capacity >= length &&
        need <= STREAM_WHOLE_FRAME) {
        memmove(kept->bytes, data, length);
        kept->start = 0;
        kept->end = length;
        return true;
    }
    struct chunk *fresh =
        length <= CHUNK_BYTES && need <= STREAM_WHOLE_FRAME
            ? chunk_new(chunks)
            : chunk_new_large(chunks,
                              length < STREAM_READ_BYTES ? 2 * STREAM_READ_BYTES : 2 * length);
    if (fresh == NULL)
        return false;
    memcpy(fresh->bytes, data, length);
    fresh->end = length;
    chunk_put(chunks, kept);
    stream->input = fresh;
    return true;
}

void stream_deliver(struct stream *stream, const uint8_t *data, size_t length, struct chunk *whole)
{
    size_t need = 0;
    uint32_t life = stream->life;
    bool was_plain = !stream->reads_segments;
    if (whole != NULL)
        whole->references++; /* the owner may close the stream, or queue views of it, while it looks
                              */
    size_t used = stream->handlers->on_input(stream, data, length, whole, &need);
    if (stream->life == life) { /* not closed, and not opened anew either: those bytes are gone */
        CHECK(used <= length);
        if (whole != NULL)
            whole->references--;
        if (UNLIKELY(stream->reads_segments && was_plain)) {
            framing_take_over(stream, data + used, length - used);
            return;
        }
        stream->input_need = need;
        if (!keep_input(stream, data + used, length - used, need))
            stream_lose(stream, "out_of_memory");
    } else if (whole != NULL) {
        chunk_put(&stream->loop->chunks, whole);
    }
}

void stream_deliver_kept(struct stream *stream)
{
    struct chunk *kept = stream->input;
    if (kept->capacity > CHUNK_BYTES) {
        stream_deliver(stream, kept->bytes, kept->end, kept);
    } else {
        memcpy(stream->loop->scratch, kept->bytes, kept->end);
        stream_deliver(stream, stream->loop->scratch, kept->end, NULL);
    }
}

void stream_read_nothing(struct stream *stream, ssize_t stop)
{
    if (stop == TRANSPORT_END)
        stream_lose(stream, "peer_closed");
    else if (stop == TRANSPORT_FAILED)
        stream_lose(stream, transport_error(&stream->transport));
    else if (stop == TRANSPORT_WANTS_WRITE) {
        stream->reads_when_writable = true;
        update_reading(stream);
        update_writing(stream);
    }
}

/* Reads into the kept large chunk until the frame it needs is whole. */
static void read_large(struct stream *stream)
{
    struct chunk_pool *chunks = &stream->loop->chunks;
    struct chunk *kept = stream->input;
    if (chunk_room(kept) < STREAM_READ_BYTES && kept->capacity < stream->input_need) {
        /* Room grows with the bytes that have arrived, never with the length that was announced. */
        size_t capacity =
            2 * kept->capacity < stream->input_need ? 2 * kept->capacity : stream->input_need;
        if (!chunk_grow(chunks, &stream->input, capacity)) {
            stream_lose(stream, "out_of_memory");
            return;
        }
        kept = stream->input;
    }
    size_t want = stream->input_need - kept->end;
    size_t room = chunk_room(kept);
    ssize_t got =
        transport_read(&stream->transport, kept->bytes + kept->end, want < room ? want : room);
    if (got <= 0) {
        stream_read_nothing(stream, got);
        return;
    }
    kept->end += (size_t)got;
    stream->last_read_ns = stream->loop->now_ns;
    if (kept->end >= stream->input_need)
        stream_deliver(stream, kept->bytes, kept->end, kept);
}

/* Reads behind what is kept, all of it together through the scratch buffer. */
static void read_frames(struct stream *stream)
{
    uint8_t *scratch = stream->loop->scratch;
    size_t kept_length = stream->input == NULL ? 0 : stream->input->end;
    if (kept_length >
        STREAM_READ_BYTES) /* whole frames that were paused over; never read past them */
        return;
    if (kept_length > 0)
        memcpy(scratch, stream->input->bytes, kept_length);
    ssize_t got = transport_read(&stream->transport, scratch + kept_length, STREAM_READ_BYTES);
    if (got <= 0) {
        stream_read_nothing(stream, got);
        return;
    }
    stream->last_read_ns = stream->loop->now_ns;
    stream_deliver(stream, scratch, kept_length + (size_t)got, NULL);
}

static void read_on(struct stream *stream)
{
    if (UNLIKELY(stream->reads_segments))
        framing_receive(stream);
    else if (stream_is_waiting_for_large(stream))
        read_large(stream);
    else
        read_frames(stream);
    if (transport_has_more(&stream->transport))
        stream_look_again(stream);
    if (transport_has_unsent(&stream->transport))
        stream_mark_dirty(stream); /* an answer of TLS itself */
}

static void shake_hands(struct stream *stream);
static void flush(struct stream *stream);

static void on_readable(evutil_socket_t fd, short what, void *context)
{
    struct stream *stream = context;
    struct stream_loop *loop = stream->loop;
    (void)fd;
    loop->now_ns = clock_now_ns(); /* the wait for this event may have been long */
    if (stream->linger_reads > 0) {
        ssize_t ignored =
            (what & EV_TIMEOUT) != 0
                ? TRANSPORT_END
                : transport_discard(&stream->transport, loop->scratch, STREAM_READ_BYTES);
        if (ignored <= 0 || --stream->linger_reads == 0)
            stream_lose(stream, "closed");
        return;
    }
    if (stream->is_shaking_hands) {
        shake_hands(stream);
        return;
    }
    if (stream->flushes_when_readable) {
        stream->flushes_when_readable = false;
        update_reading(stream);
        flush(stream);
    }
    if (stream_is_open(stream) && stream->paused == 0)
        read_on(stream);
}

void stream_pause(struct stream *stream, enum stream_pause reason)
{
    if ((stream->paused & reason) != 0)
        return;
    bool was_reading = stream->paused == 0;
    stream->paused |= (uint8_t)reason;
    if (was_reading)
        update_reading(stream);
}

void stream_resume(struct stream *stream, enum stream_pause reason)
{
    if ((stream->paused & reason) == 0)
        return;
    stream->paused &= (uint8_t)~reason;
    if (stream->paused != 0)
        return;
    update_reading(stream);
    if (stream_is_open(stream) && !stream->is_connecting)
        stream_look_again(stream);
}

void stream_loop_run_again(struct stream_loop *loop)
{
    struct list round; /* what is queued now; streams that come back wait for the next turn */
    list_init(&round);
    for (struct list *node; (node = list_take_first(&loop->again)) != NULL;)
        list_append(&round, node);
    for (struct list *node; (node = list_take_first(&round)) != NULL;) {
        struct stream *stream = CONTAINER_OF(node, struct stream, again);
        if (stream_is_open(stream) && stream->paused == 0 && has_kept(stream)) {
            if (UNLIKELY(stream->reads_segments))
                framing_resume(stream);
            else
                stream_deliver_kept(stream);
        }
        if (stream_is_open(stream) && stream->paused == 0 && transport_has_more(&stream->transport))
            read_on(stream);
    }
}

/* ---- output ---- */

struct chunk *stream_tail(struct stream *stream, size_t length)
{
    struct chunk *tail = stream->output_last;
    if (stream_has_room(stream, length))
        return tail;
    struct chunk *fresh = chunk_new(&stream->loop->chunks);
    if (fresh == NULL)
        return NULL;
    if (tail == NULL)
        stream->output_first = fresh;
    else
        tail->next = fresh;
    stream->output_last = fresh;
    return fresh;
}

uint8_t *stream_reserve_anew(struct stream *stream, size_t length)
{
    CHECK(length <= CHUNK_BYTES);
    if (!stream_is_open(stream))
        return NULL;
    if (UNLIKELY(stream->writes_segments))
        return framing_reserve(stream, length);
    struct chunk *tail = stream_tail(stream, length);
    if (tail == NULL)
        return NULL;
    uint8_t *room = tail->bytes + tail->end;
    tail->end += length;
    stream->queued += length;
    stream_mark_dirty(stream);
    return room;
}

bool stream_write(struct stream *stream, const void *bytes, size_t length)
{
    const uint8_t *from = bytes;
    if (UNLIKELY(stream->writes_segments))
        return framing_write(stream, from, length);
    while (length > 0) {
        struct chunk *tail = stream->output_last;
        size_t room = tail != NULL && tail->parent == NULL && tail->capacity == CHUNK_BYTES
                          ? chunk_room(tail)
                          : 0;
        size_t part = room == 0 ? CHUNK_BYTES : room;
        if (part > length)
            part = length;
        uint8_t *to = stream_reserve(stream, part);
        if (to == NULL)
            return false;
        memcpy(to, from, part);
        from += part;
        length -= part;
    }
    return true;
}

bool stream_add_view(struct stream *stream, struct chunk *chunk, size_t start, size_t length)
{
    struct chunk *view = chunk_view(&stream->loop->chunks, chunk, start, length);
    if (view == NULL)
        return false;
    if (stream->output_last == NULL)
        stream->output_first = view;
    else
        stream->output_last->next = view;
    stream->output_last = view;
    return true;
}

bool stream_write_view(struct stream *stream, struct chunk *chunk, size_t start, size_t length)
{
    if (!stream_is_open(stream))
        return false;
    if (UNLIKELY(stream->writes_segments))
        return framing_write_view(stream, chunk, start, length);
    if (!stream_add_view(stream, chunk, start, length))
        return false;
    stream->queued += length;
    stream_mark_dirty(stream);
    return true;
}

static void drop_sent(struct stream *stream, size_t sent)
{
    stream->queued -= sent;
    while (sent > 0) {
        struct chunk *head = stream->output_first;
        CHECK(head != NULL);
        size_t part = head->end - head->start;
        if (part > sent) {
            head->start += sent;
            return;
        }
        sent -= part;
        stream->output_first = head->next;
        if (stream->output_first == NULL)
            stream->output_last = NULL;
        chunk_put(&stream->loop->chunks, head);
    }
}

/* The last reply is out. Closing with unread input would send a reset that may overtake it, so our
 * end says goodbye and waits, with bounds, for the peer to do the same. */
static void linger(struct stream *stream)
{
    struct timeval patience = {.tv_sec = 1};
    transport_end_writing(&stream->transport);
    stream->linger_reads = LINGER_READS_MAX;
    event_add(stream->read_event, &patience);
}

/* Writes what is queued as far as it goes. false: the stream is lost. */
static bool write_queue(struct stream *stream)
{
    do {
        struct iovec parts[GATHER_MAX];
        size_t count = 0;
        size_t total = 0;
        for (struct chunk *chunk = stream->output_first;
             total < stream->queued && count < GATHER_MAX; chunk = chunk->next) {
            size_t length = chunk->end - chunk->start, left = stream->queued - total;
            parts[count].iov_base = chunk->bytes + chunk->start;
            parts[count].iov_len = length < left ? length : left; /* up to an open segment */
            total += parts[count++].iov_len;
        }
        ssize_t sent = transport_write(&stream->transport, parts, count, stream->loop->tls_scratch);
        stream->flushes_when_readable = sent == TRANSPORT_WANTS_READ;
        if (sent == TRANSPORT_WANTS_WRITE || sent == TRANSPORT_WANTS_READ)
            break;
        if (sent < 0) {
            stream_lose(stream, transport_error(&stream->transport));
            return false;
        }
        drop_sent(stream, (size_t)sent);
        stream->last_write_ns = stream->loop->now_ns;
        if ((size_t)sent < total)
            break;
    } while (stream->queued > 0);
    return true;
}

static bool has_unsent(const struct stream *stream)
{
    return stream->queued > 0 || transport_has_unsent(&stream->transport);
}

static void flush(struct stream *stream)
{
    if (UNLIKELY(stream->writes_segments) && !framing_seal(stream)) {
        stream_lose(stream, "out_of_memory");
        return;
    }
    size_t before = stream->queued;
    if (has_unsent(stream) && !write_queue(stream))
        return;
    if (stream->linger_reads > 0)
        return;
    bool is_blocked = has_unsent(stream);
    if (is_blocked != stream->is_flush_blocked || stream->flushes_when_readable) {
        stream->is_flush_blocked = is_blocked;
        update_writing(stream);
        update_reading(stream);
    }
    if (!is_blocked && stream->closes_when_flushed) {
        linger(stream);
        return;
    }
    if (stream->queued < STREAM_LOW_WATER && before > 0)
        stream->handlers->on_drained(stream);
}

/* A flush may make others dirty, of any rank: they have their turn at once. */
static struct list *take_dirty(struct stream_loop *loop)
{
    const int order[] = {STREAM_TO_CLUSTER + cluster_other(loop->primary),
                         STREAM_TO_CLUSTER + loop->primary, STREAM_TO_CLIENT};
    struct list *node = NULL;
    for (size_t i = 0; i < ARRAY_COUNT(order) && node == NULL; i++)
        node = list_take_first(&loop->dirty[order[i]]);
    return node;
}

void stream_loop_flush(struct stream_loop *loop)
{
    for (struct list *node; (node = take_dirty(loop)) != NULL;) {
        struct stream *stream = CONTAINER_OF(node, struct stream, dirty);
        if (stream_is_open(stream) && !stream->is_connecting && !stream->is_flush_blocked)
            flush(stream);
    }
}

/* Bytes may flow. */
static void begin(struct stream *stream)
{
    stream->is_connecting = stream->is_shaking_hands = false;
    event_del(stream->write_event);
    update_reading(stream);
    if (stream->queued > 0 || stream->closes_when_flushed ||
        transport_has_unsent(&stream->transport))
        stream_mark_dirty(stream); /* what was queued meanwhile */
    stream_look_again(stream);
    if (stream->is_outgoing)
        stream->handlers->on_connected(stream, NULL);
}

static void fail_connecting(struct stream *stream, const char *error)
{
    if (!stream->is_outgoing) {
        stream_lose(stream, error);
        return;
    }
    stream_close(stream);
    stream->handlers->on_connected(stream, error);
}

static void shake_hands(struct stream *stream)
{
    ssize_t result = transport_handshake(&stream->transport);
    if (result == TRANSPORT_WANTS_READ) {
        event_del(stream->write_event);
        event_add(stream->read_event, NULL);
    } else if (result == TRANSPORT_WANTS_WRITE) {
        event_del(stream->read_event);
        event_add(stream->write_event, NULL);
    } else if (result == TRANSPORT_FAILED) {
        fail_connecting(stream, transport_error(&stream->transport));
    } else {
        begin(stream);
    }
}

static void on_writable(evutil_socket_t fd, short what, void *context)
{
    struct stream *stream = context;
    (void)fd;
    (void)what;
    stream->loop->now_ns = clock_now_ns();
    if (!stream->is_connecting) {
        if (stream->reads_when_writable) {
            stream->reads_when_writable = false;
            update_reading(stream);
            update_writing(stream);
            if (stream->paused == 0)
                read_on(stream);
        }
        if (stream_is_open(stream))
            flush(stream);
        return;
    }
    const char *error =
        stream->is_shaking_hands ? NULL : transport_connect_error(&stream->transport);
    if (error != NULL) {
        fail_connecting(stream, error);
        return;
    }
    stream->is_shaking_hands = true;
    shake_hands(stream);
}

/* ---- opening and closing ---- */

/* Makes the events of an open transport. */
static bool attach(struct stream *stream)
{
    struct event_base *base = stream->loop->base;
    int fd = stream->transport.fd;
    stream->read_event = event_new(base, fd, EV_READ | EV_PERSIST, on_readable, stream);
    stream->write_event = event_new(base, fd, EV_WRITE | EV_PERSIST, on_writable, stream);
    stream->last_read_ns = stream->last_write_ns = stream->loop->now_ns;
    if (stream->read_event != NULL && stream->write_event != NULL)
        return true;
    stream_close(stream);
    return false;
}

void stream_secure(struct stream *stream, struct tls_connection *tls)
{
    transport_secure(&stream->transport, tls);
}

bool stream_adopt(struct stream *stream, int fd)
{
    if (!transport_adopt(&stream->transport, fd) || !attach(stream))
        return false;
    stream->is_outgoing = false;
    if (stream->transport.tls == NULL) {
        update_reading(stream);
        return true;
    }
    stream->is_connecting = stream->is_shaking_hands = true;
    event_add(stream->read_event, NULL); /* it is the peer who speaks first */
    return true;
}

bool stream_connect(struct stream *stream, const struct sockaddr *address, socklen_t length,
                    const char **error)
{
    if (!transport_connect(&stream->transport, address, length, error))
        return false;
    if (!attach(stream)) {
        *error = "out of memory";
        return false;
    }
    stream->is_connecting = stream->is_outgoing = true;
    event_add(stream->write_event, NULL); /* an established connection is writable at once */
    return true;
}

bool stream_move(struct stream *to, struct stream *from)
{
    CHECK(!stream_is_open(to) && stream_is_open(from) && !from->is_connecting &&
          from->framing == NULL);
    to->transport = from->transport;
    to->output_first = from->output_first;
    to->output_last = from->output_last;
    to->queued = from->queued;
    transport_init(&from->transport);
    from->output_first = from->output_last = NULL;
    stream_close(from);
    if (!attach(to))
        return false;
    to->is_outgoing = true;
    update_reading(to);
    if (to->queued > 0)
        stream_mark_dirty(to);
    stream_look_again(to);
    return true;
}

void stream_close(struct stream *stream)
{
    stream->life++;
    struct chunk_pool *chunks = &stream->loop->chunks;
    if (stream->read_event != NULL)
        event_free(stream->read_event);
    if (stream->write_event != NULL)
        event_free(stream->write_event);
    stream->read_event = stream->write_event = NULL;
    transport_close(&stream->transport);
    stream->is_connecting = stream->is_flush_blocked = stream->closes_when_flushed = false;
    stream->is_shaking_hands = stream->failed_handshake = false;
    stream->reads_when_writable = stream->flushes_when_readable = false;
    stream->paused = 0;
    stream->linger_reads = 0;
    list_remove(&stream->dirty);
    list_remove(&stream->again);
    framing_end(stream);
    chunk_put(chunks, stream->input);
    stream->input = NULL;
    stream->input_need = 0;
    while (stream->output_first != NULL) {
        struct chunk *head = stream->output_first;
        stream->output_first = head->next;
        chunk_put(chunks, head);
    }
    stream->output_last = NULL;
    stream->queued = 0;
}

void stream_close_when_flushed(struct stream *stream)
{
    stream->closes_when_flushed = true;
    stream_pause(stream, STREAM_PAUSE_CLOSING);
    stream_mark_dirty(stream);
}
