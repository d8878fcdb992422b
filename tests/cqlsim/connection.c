/* One client: bytes in, frames out. Owned by the main thread. Level-triggered: reads at most one
 * buffer per wake-up, answers the whole frames in it, keeps the rest. Stops reading while too much
 * output waits, and never allocates by an announced length: the input buffer grows with the bytes
 * that have come. */
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/log.h"
#include "server.h"

#define READ_BYTES     65536
#define OUT_HIGH_WATER (4U * 1024 * 1024)
#define KEEP_CAPACITY  (256U * 1024)

/* An answer withheld: its frame follows. */
struct deferred {
    struct list node;
    struct connection *connection;
    struct event *timer; /* NULL: held until released */
    size_t length;
    uint8_t bytes[];
};

void connection_mark_dirty(struct connection *connection)
{
    list_remove(&connection->dirty);
    list_append(&connection->server->dirty, &connection->dirty);
}

void connection_doom(struct connection *connection)
{
    list_remove(&connection->doomed);
    list_append(&connection->server->doomed, &connection->doomed);
    list_remove(&connection->dirty);
    connection->closing = true;
    event_del(connection->readable);
    event_del(connection->writable);
}

void connection_close_after_output(struct connection *connection)
{
    connection->closing = true;
    event_del(connection->readable);
    connection_mark_dirty(connection);
}

static void deferred_free(struct deferred *deferred)
{
    list_remove(&deferred->node);
    deferred->connection->deferred_bytes -= deferred->length;
    if (deferred->timer != NULL)
        event_free(deferred->timer);
    free(deferred);
}

void connection_free(struct connection *connection)
{
    struct list *node;
    while ((node = list_first(&connection->deferred)) != NULL)
        deferred_free(CONTAINER_OF(node, struct deferred, node));
    list_remove(&connection->node);
    list_remove(&connection->dirty);
    list_remove(&connection->doomed);
    event_free(connection->readable);
    event_free(connection->writable);
    close(connection->fd);
    dynbuf_fini(&connection->in);
    dynbuf_fini(&connection->out);
    connection->server->open--;
    free(connection);
}

static size_t waiting(const struct connection *connection)
{
    return connection->out.length - connection->sent + connection->deferred_bytes;
}

/* Answers the whole frames in the input buffer. */
static void process(struct connection *connection)
{
    struct dynbuf *in = &connection->in;
    size_t used = 0;
    while (!connection->closing && in->length - used >= WIRE_HEADER_BYTES) {
        if (waiting(connection) > OUT_HIGH_WATER) {
            connection->paused = true;
            event_del(connection->readable);
            break;
        }
        struct wire_header header;
        wire_header_read(in->data + used, &header);
        unsigned version = header.version;
        if (version != 3 && version != 4) {
            char message[128];
            snprintf(
                message, sizeof message,
                "Invalid or unsupported protocol version (%u); supported versions are (3/v3, 4/v4)",
                version & 0x7F);
            request_protocol_error(connection, 4, version > 4 && version < 0x80 ? header.stream : 0,
                                   message);
            break;
        }
        if (header.length > WIRE_MAX_BODY) {
            request_protocol_error(connection, header.version, header.stream,
                                   "Request is too big: a frame's body may have 268435456 bytes");
            break;
        }
        if (in->length - used - WIRE_HEADER_BYTES < header.length)
            break;
        request_handle(connection, &header, in->data + used + WIRE_HEADER_BYTES);
        used += WIRE_HEADER_BYTES + header.length;
    }
    dynbuf_consume(in, used);
    if (in->length == 0 && in->capacity > KEEP_CAPACITY)
        dynbuf_fini(in);
}

static void on_readable(evutil_socket_t fd, short what, void *argument)
{
    (void)what;
    struct connection *connection = argument;
    static uint8_t buffer[READ_BYTES];
    ssize_t count = recv(fd, buffer, sizeof buffer, 0);
    if (count < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (count <= 0 || !dynbuf_append(&connection->in, buffer, (size_t)count)) {
        connection_doom(connection);
        return;
    }
    process(connection);
}

static void on_writable(evutil_socket_t fd, short what, void *argument)
{
    (void)fd;
    (void)what;
    connection_mark_dirty(argument);
}

void connection_open(struct server *server, const struct node *node, int fd)
{
    struct connection *connection = calloc(1, sizeof *connection);
    CHECK(connection != NULL);
    connection->server = server;
    connection->at = node;
    connection->fd = fd;
    list_init(&connection->dirty);
    list_init(&connection->doomed);
    list_init(&connection->deferred);
    dynbuf_init(&connection->in, (size_t)WIRE_MAX_BODY + WIRE_HEADER_BYTES + 2 * READ_BYTES);
    dynbuf_init(&connection->out, (size_t)WIRE_MAX_BODY * 2 + OUT_HIGH_WATER);
    connection->readable =
        event_new(server->base, fd, EV_READ | EV_PERSIST, on_readable, connection);
    connection->writable = event_new(server->base, fd, EV_WRITE, on_writable, connection);
    CHECK(connection->readable != NULL && connection->writable != NULL);
    CHECK(event_add(connection->readable, NULL) == 0);
    list_append(&server->connections, &connection->node);
    server->open++;
    server->accepted++;
}

static void resume(struct connection *connection)
{
    connection->paused = false;
    event_add(connection->readable, NULL);
    process(connection);
}

void connection_flush(struct connection *connection)
{
    struct dynbuf *out = &connection->out;
    while (connection->sent < out->length) {
        ssize_t count = send(connection->fd, out->data + connection->sent,
                             out->length - connection->sent, MSG_NOSIGNAL);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0 && errno == EAGAIN) {
            event_add(connection->writable, NULL);
            break;
        }
        if (count < 0) {
            connection_doom(connection);
            return;
        }
        connection->sent += (size_t)count;
    }
    if (connection->sent == out->length) {
        connection->sent = 0;
        dynbuf_reset(out);
        if (out->capacity > KEEP_CAPACITY)
            dynbuf_fini(out);
        if (connection->closing) {
            connection_doom(connection);
            return;
        }
    } else if (connection->sent > OUT_HIGH_WATER) {
        dynbuf_consume(out, connection->sent);
        connection->sent = 0;
    }
    if (connection->paused && !connection->closing && waiting(connection) < OUT_HIGH_WATER / 2)
        resume(connection);
}

size_t connection_begin_frame(struct connection *connection, uint8_t version, int16_t stream,
                              uint8_t opcode)
{
    size_t start = connection->out.length;
    uint8_t header[WIRE_HEADER_BYTES] = {(uint8_t)(version | 0x80), 0,
                                         (uint8_t)((uint16_t)stream >> 8), (uint8_t)stream, opcode};
    dynbuf_append(&connection->out, header, sizeof header);
    return start;
}

void connection_end_frame(struct connection *connection, size_t start)
{
    struct dynbuf *out = &connection->out;
    if (out->failed) {
        LOG_WARN("output_overflow", "waiting=%zu", waiting(connection));
        connection_doom(connection);
        return;
    }
    wire_patch_i32(out, start + 5, (int32_t)(out->length - start - WIRE_HEADER_BYTES));
    connection_mark_dirty(connection);
}

static void put_out(struct deferred *deferred)
{
    struct connection *connection = deferred->connection;
    if (!connection->closing) {
        dynbuf_append(&connection->out, deferred->bytes, deferred->length);
        connection_mark_dirty(connection);
    }
    deferred_free(deferred);
}

static void on_due(evutil_socket_t fd, short what, void *argument)
{
    (void)fd;
    (void)what;
    put_out(argument);
}

void connection_defer(struct connection *connection, size_t start, uint32_t delay_ms)
{
    struct dynbuf *out = &connection->out;
    if (out->failed || out->length == start)
        return;
    size_t length = out->length - start;
    struct deferred *deferred = malloc(sizeof *deferred + length);
    CHECK(deferred != NULL);
    *deferred = (struct deferred){.connection = connection, .length = length};
    memcpy(deferred->bytes, out->data + start, length);
    out->length = start;
    connection->deferred_bytes += length;
    list_append(&connection->deferred, &deferred->node);
    if (delay_ms == 0)
        return;
    struct timeval after = {delay_ms / 1000, delay_ms % 1000 * 1000};
    deferred->timer = evtimer_new(connection->server->base, on_due, deferred);
    CHECK(deferred->timer != NULL && evtimer_add(deferred->timer, &after) == 0);
}

size_t connection_release(struct connection *connection)
{
    size_t count = 0;
    struct list *node = connection->deferred.next;
    while (node != &connection->deferred) {
        struct deferred *deferred = CONTAINER_OF(node, struct deferred, node);
        node = node->next;
        if (deferred->timer != NULL)
            continue;
        put_out(deferred);
        count++;
    }
    return count;
}
