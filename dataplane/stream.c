/* Streams: sockets of one worker, read through its scratch buffer and flushed once per turn. Runs
 * on the owner worker's thread only. Never frees its owner, never calls back after stream_close. */
#include "dataplane/stream.h"

#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "common/clock.h"

#define GATHER_MAX 64

/* Reads of a peer that keeps talking after our last word. */
#define LINGER_READS_MAX 64

/* Unacknowledged data for this long means the path is gone, even if no reset ever comes (tcp(7),
 * TCP_USER_TIMEOUT). */
#define PATH_TIMEOUT_MS 30000

bool stream_loop_init(struct stream_loop *loop, struct event_base *base, size_t large_limit)
{
    *loop = (struct stream_loop){.base = base, .now_ns = clock_now_ns()};
    chunk_pool_init(&loop->chunks, large_limit);
    list_init(&loop->dirty);
    list_init(&loop->again);
    loop->scratch = malloc(2 * STREAM_READ_BYTES);
    return loop->scratch != NULL;
}

void stream_loop_fini(struct stream_loop *loop)
{
    free(loop->scratch);
    chunk_pool_fini(&loop->chunks);
}

void stream_init(struct stream *stream, struct stream_loop *loop,
                 const struct stream_handlers *handlers)
{
    *stream = (struct stream){.loop = loop, .handlers = handlers, .fd = -1};
    list_init(&stream->dirty);
    list_init(&stream->again);
}

static void mark_dirty(struct stream *stream)
{
    if (list_is_empty(&stream->dirty))
        list_append(&stream->loop->dirty, &stream->dirty);
}

static void lose(struct stream *stream, const char *reason)
{
    stream_close(stream);
    stream->handlers->on_lost(stream, reason);
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

/* Hands data to the owner and keeps what is left. whole: the kept large chunk data lies in, or
 * NULL. */
static void deliver(struct stream *stream, const uint8_t *data, size_t length, struct chunk *whole)
{
    size_t need = 0;
    if (whole != NULL)
        whole->references++; /* the owner may close the stream, or queue views of it, while it looks
                              */
    size_t used = stream->handlers->on_input(stream, data, length, whole, &need);
    if (stream_is_open(stream)) {
        CHECK(used <= length);
        if (whole != NULL)
            whole->references--;
        stream->input_need = need;
        if (!keep_input(stream, data + used, length - used, need))
            lose(stream, "out_of_memory");
    } else if (whole != NULL) {
        chunk_put(&stream->loop->chunks, whole);
    }
}

/* Reads into the kept large chunk until the frame it needs is whole. */
static ssize_t read_large(struct stream *stream)
{
    struct chunk_pool *chunks = &stream->loop->chunks;
    struct chunk *kept = stream->input;
    if (chunk_room(kept) < STREAM_READ_BYTES && kept->capacity < stream->input_need) {
        /* Room grows with the bytes that have arrived, never with the length that was announced. */
        size_t capacity =
            2 * kept->capacity < stream->input_need ? 2 * kept->capacity : stream->input_need;
        if (!chunk_grow(chunks, &stream->input, capacity)) {
            errno = ENOMEM;
            return -1;
        }
        kept = stream->input;
    }
    size_t want = stream->input_need - kept->end;
    size_t room = chunk_room(kept);
    return recv(stream->fd, kept->bytes + kept->end, want < room ? want : room, 0);
}

static bool is_large(const struct stream *stream)
{
    return stream->input != NULL && stream->input_need > STREAM_WHOLE_FRAME &&
           stream->input->end < stream->input_need;
}

static void on_readable(evutil_socket_t fd, short what, void *context)
{
    struct stream *stream = context;
    struct stream_loop *loop = stream->loop;
    loop->now_ns = clock_now_ns(); /* the wait for this event may have been long */
    if (stream->linger_reads > 0) {
        ssize_t ignored =
            (what & EV_TIMEOUT) != 0 ? 0 : recv(fd, loop->scratch, STREAM_READ_BYTES, 0);
        if (ignored <= 0 || --stream->linger_reads == 0)
            lose(stream, "closed");
        return;
    }
    if (is_large(stream)) {
        ssize_t got = read_large(stream);
        if (got > 0) {
            struct chunk *kept = stream->input;
            kept->end += (size_t)got;
            stream->last_read_ns = loop->now_ns;
            if (kept->end >= stream->input_need)
                deliver(stream, kept->bytes, kept->end, kept);
            return;
        }
        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        lose(stream, got == 0          ? "peer_closed"
                     : errno == ENOMEM ? "out_of_memory"
                                       : strerror(errno));
        return;
    }
    size_t kept_length = stream->input == NULL ? 0 : stream->input->end;
    if (kept_length >
        STREAM_READ_BYTES) /* whole frames that were paused over; never read past them */
        return;
    if (kept_length > 0)
        memcpy(loop->scratch, stream->input->bytes, kept_length);
    ssize_t got = recv(fd, loop->scratch + kept_length, STREAM_READ_BYTES, 0);
    if (got > 0) {
        stream->last_read_ns = loop->now_ns;
        deliver(stream, loop->scratch, kept_length + (size_t)got, NULL);
        return;
    }
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    lose(stream, got == 0 ? "peer_closed" : strerror(errno));
}

static void update_reading(struct stream *stream)
{
    if (!stream_is_open(stream) || stream->is_connecting)
        return;
    if (stream->paused == 0)
        event_add(stream->read_event, NULL);
    else
        event_del(stream->read_event);
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
    /* Frames read before the pause raise no readiness event. */
    if (stream_is_open(stream) && stream->input != NULL && list_is_empty(&stream->again))
        list_append(&stream->loop->again, &stream->again);
}

void stream_loop_run_again(struct stream_loop *loop)
{
    struct list round; /* what is queued now; streams that come back wait for the next turn */
    list_init(&round);
    for (struct list *node; (node = list_take_first(&loop->again)) != NULL;)
        list_append(&round, node);
    for (struct list *node; (node = list_take_first(&round)) != NULL;) {
        struct stream *stream = CONTAINER_OF(node, struct stream, again);
        if (!stream_is_open(stream) || stream->paused != 0 || stream->input == NULL)
            continue;
        struct chunk *kept = stream->input;
        if (kept->capacity > CHUNK_BYTES) {
            deliver(stream, kept->bytes, kept->end, kept);
        } else {
            memcpy(loop->scratch, kept->bytes, kept->end);
            deliver(stream, loop->scratch, kept->end, NULL);
        }
    }
}

/* ---- output ---- */

static struct chunk *tail_with_room(struct stream *stream, size_t length)
{
    struct chunk *tail = stream->output_last;
    if (tail != NULL && tail->parent == NULL && tail->capacity == CHUNK_BYTES &&
        chunk_room(tail) >= length)
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

uint8_t *stream_reserve(struct stream *stream, size_t length)
{
    CHECK(length <= CHUNK_BYTES);
    if (!stream_is_open(stream))
        return NULL;
    struct chunk *tail = tail_with_room(stream, length);
    if (tail == NULL)
        return NULL;
    uint8_t *room = tail->bytes + tail->end;
    tail->end += length;
    stream->queued += length;
    mark_dirty(stream);
    return room;
}

bool stream_write(struct stream *stream, const void *bytes, size_t length)
{
    const uint8_t *from = bytes;
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

bool stream_write_view(struct stream *stream, struct chunk *chunk, size_t start, size_t length)
{
    if (!stream_is_open(stream))
        return false;
    struct chunk *view = chunk_view(&stream->loop->chunks, chunk, start, length);
    if (view == NULL)
        return false;
    if (stream->output_last == NULL)
        stream->output_first = view;
    else
        stream->output_last->next = view;
    stream->output_last = view;
    stream->queued += length;
    mark_dirty(stream);
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
    shutdown(stream->fd, SHUT_WR);
    stream->linger_reads = LINGER_READS_MAX;
    event_add(stream->read_event, &patience);
}

static void flush(struct stream *stream)
{
    size_t before = stream->queued;
    while (stream->queued > 0) {
        struct iovec parts[GATHER_MAX];
        int count = 0;
        size_t total = 0;
        for (struct chunk *chunk = stream->output_first; chunk != NULL && count < GATHER_MAX;
             chunk = chunk->next) {
            parts[count].iov_base = chunk->bytes + chunk->start;
            parts[count].iov_len = chunk->end - chunk->start;
            total += parts[count++].iov_len;
        }
        struct msghdr message = {.msg_iov = parts, .msg_iovlen = (size_t)count};
        ssize_t sent = sendmsg(stream->fd, &message, MSG_NOSIGNAL);
        if (sent < 0) {
            if (errno == EINTR)
                continue;
            if (errno == EAGAIN)
                break;
            lose(stream, strerror(errno));
            return;
        }
        drop_sent(stream, (size_t)sent);
        stream->last_write_ns = stream->loop->now_ns;
        if ((size_t)sent < total)
            break;
    }
    if (stream->linger_reads > 0)
        return;
    bool is_blocked = stream->queued > 0;
    if (is_blocked != stream->is_flush_blocked) {
        stream->is_flush_blocked = is_blocked;
        if (is_blocked)
            event_add(stream->write_event, NULL);
        else
            event_del(stream->write_event);
    }
    if (!is_blocked && stream->closes_when_flushed) {
        linger(stream);
        return;
    }
    if (stream->queued < STREAM_LOW_WATER && before > 0)
        stream->handlers->on_drained(stream);
}

void stream_loop_flush(struct stream_loop *loop)
{
    for (struct list *node; (node = list_take_first(&loop->dirty)) != NULL;) {
        struct stream *stream = CONTAINER_OF(node, struct stream, dirty);
        if (stream_is_open(stream) && !stream->is_connecting && !stream->is_flush_blocked)
            flush(stream);
    }
}

static void on_writable(evutil_socket_t fd, short what, void *context)
{
    struct stream *stream = context;
    (void)what;
    stream->loop->now_ns = clock_now_ns();
    if (!stream->is_connecting) {
        flush(stream);
        return;
    }
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
    stream->is_connecting = false;
    event_del(stream->write_event);
    if (error != 0) {
        stream_close(stream);
        stream->handlers->on_connected(stream, strerror(error));
        return;
    }
    update_reading(stream);
    if (stream->queued > 0 || stream->closes_when_flushed)
        mark_dirty(stream); /* what was queued meanwhile */
    stream->handlers->on_connected(stream, NULL);
}

/* ---- opening and closing ---- */

static bool attach(struct stream *stream, int fd)
{
    int on = 1;
    unsigned int path_timeout = PATH_TIMEOUT_MS;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &path_timeout, sizeof path_timeout);
    stream->read_event =
        event_new(stream->loop->base, fd, EV_READ | EV_PERSIST, on_readable, stream);
    stream->write_event =
        event_new(stream->loop->base, fd, EV_WRITE | EV_PERSIST, on_writable, stream);
    stream->fd = fd;
    stream->last_read_ns = stream->last_write_ns = stream->loop->now_ns;
    return stream->read_event != NULL && stream->write_event != NULL;
}

bool stream_adopt(struct stream *stream, int fd)
{
    CHECK(!stream_is_open(stream));
    if (!attach(stream, fd)) {
        stream_close(stream);
        return false;
    }
    update_reading(stream);
    return true;
}

bool stream_connect(struct stream *stream, const struct sockaddr *address, socklen_t length,
                    const char **error)
{
    CHECK(!stream_is_open(stream));
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        *error = strerror(errno);
        return false;
    }
    if (!attach(stream, fd)) {
        stream_close(stream);
        *error = "out of memory";
        return false;
    }
    if (connect(fd, address, length) != 0 && errno != EINPROGRESS) {
        *error = strerror(errno);
        stream_close(stream);
        return false;
    }
    stream->is_connecting = true;
    event_add(stream->write_event, NULL); /* an established connection is writable at once */
    return true;
}

void stream_close(struct stream *stream)
{
    struct chunk_pool *chunks = &stream->loop->chunks;
    if (stream->read_event != NULL)
        event_free(stream->read_event);
    if (stream->write_event != NULL)
        event_free(stream->write_event);
    stream->read_event = stream->write_event = NULL;
    if (stream->fd >= 0)
        close(stream->fd);
    stream->fd = -1;
    stream->is_connecting = stream->is_flush_blocked = stream->closes_when_flushed = false;
    stream->paused = 0;
    stream->linger_reads = 0;
    list_remove(&stream->dirty);
    list_remove(&stream->again);
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
    mark_dirty(stream);
}
