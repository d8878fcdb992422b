/* One client: its socket, what waits for it, what was withheld. Owned by the main thread.
 * Level-triggered: reads at most one buffer per wake-up; framing.c answers the whole envelopes in
 * it and keeps the rest. Stops reading while too much output waits. */
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/log.h"
#include "framing.h"
#include "paging.h"

#define READ_BYTES 65536

/* An answer withheld: its frame follows. */
struct deferred {
    struct list node;
    struct connection *connection;
    struct event *timer; /* NULL: held until released */
    bool segmented;      /* goes into a segment when its time comes */
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
    while ((node = list_first(&connection->pagers)) != NULL)
        paging_end(CONTAINER_OF(node, struct pager, node));
    list_remove(&connection->node);
    list_remove(&connection->dirty);
    list_remove(&connection->doomed);
    event_free(connection->readable);
    event_free(connection->writable);
    tls_session_close(connection->tls);
    close(connection->fd);
    dynbuf_fini(&connection->in);
    dynbuf_fini(&connection->envelopes);
    dynbuf_fini(&connection->out);
    dynbuf_fini(&connection->wire);
    connection->server->open--;
    free(connection);
}

/* Bytes, 0 at the end, -1 for nothing now, -2 for a connection that has failed. */
static ssize_t receive(struct connection *connection, void *data, size_t length)
{
    bool wants_write = false;
    ssize_t count;
    if (connection->tls == NULL) {
        count = recv(connection->fd, data, length, 0);
        return count >= 0 ? count : errno == EAGAIN || errno == EINTR ? TLS_AGAIN : TLS_FAILED;
    }
    count = tls_read(connection->tls, data, length, &wants_write);
    if (count == TLS_AGAIN && wants_write)
        event_add(connection->writable, NULL);
    return count;
}

static ssize_t transmit(struct connection *connection, const void *data, size_t length)
{
    bool wants_write = true;
    ssize_t count;
    if (connection->tls == NULL) {
        do
            count = send(connection->fd, data, length, MSG_NOSIGNAL);
        while (count < 0 && errno == EINTR);
        count = count >= 0 ? count : errno == EAGAIN ? TLS_AGAIN : TLS_FAILED;
    } else {
        count = tls_write(connection->tls, data, length, &wants_write);
    }
    if (count == TLS_AGAIN && wants_write)
        event_add(connection->writable, NULL);
    return count;
}

static void on_readable(evutil_socket_t fd, short what, void *argument)
{
    (void)fd;
    (void)what;
    struct connection *connection = argument;
    static uint8_t buffer[READ_BYTES];
    ssize_t count = receive(connection, buffer, sizeof buffer);
    /* What a TLS write waited for may have come. */
    if (connection->tls != NULL && connection->wire.length > 0)
        connection_mark_dirty(connection);
    if (count == TLS_AGAIN)
        return;
    if (count <= 0 || !dynbuf_append(&connection->in, buffer, (size_t)count)) {
        connection_doom(connection);
        return;
    }
    framing_process(connection);
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
    if (server->tls != NULL)
        connection->tls = tls_session_open(server->tls, fd);
    list_init(&connection->dirty);
    list_init(&connection->doomed);
    list_init(&connection->deferred);
    list_init(&connection->pagers);
    dynbuf_init(&connection->in, (size_t)WIRE_MAX_BODY + WIRE_HEADER_BYTES + 2 * READ_BYTES);
    dynbuf_init(&connection->envelopes, (size_t)WIRE_MAX_BODY + 2 * SEGMENT_MAX_PAYLOAD);
    dynbuf_init(&connection->out, (size_t)WIRE_MAX_BODY * 2 + CONNECTION_HIGH_WATER);
    dynbuf_init(&connection->wire, (size_t)WIRE_MAX_BODY * 2 + CONNECTION_HIGH_WATER);
    connection->readable =
        event_new(server->base, fd, EV_READ | EV_PERSIST, on_readable, connection);
    connection->writable = event_new(server->base, fd, EV_WRITE, on_writable, connection);
    CHECK(connection->readable != NULL && connection->writable != NULL);
    connection_hear(connection);
    list_append(&server->connections, &connection->node);
    server->open++;
    server->accepted++;
}

void connection_hear(struct connection *connection)
{
    if (connection->closing)
        return;
    if (connection->server->muted[connection->at->index])
        event_del(connection->readable);
    else if (!connection->paused)
        event_add(connection->readable, NULL);
}

static void resume(struct connection *connection)
{
    connection->paused = false;
    connection_hear(connection);
    framing_process(connection);
}

void connection_pause(struct connection *connection)
{
    connection->paused = true;
    event_del(connection->readable);
}

/* False when the socket takes no more for now, or has failed and the connection is doomed. */
static bool send_some(struct connection *connection)
{
    struct dynbuf *wire = &connection->wire;
    ssize_t count =
        transmit(connection, wire->data + connection->sent, wire->length - connection->sent);
    if (count == TLS_AGAIN)
        return false;
    if (count <= 0) {
        connection_doom(connection);
        return false;
    }
    connection->sent += (size_t)count;
    return true;
}

void connection_flush(struct connection *connection)
{
    struct dynbuf *wire = &connection->wire;
    framing_seal(connection);
    while (connection->sent < wire->length && send_some(connection))
        ;
    if (!list_is_empty(&connection->doomed))
        return;
    if (connection->sent == wire->length) {
        connection->sent = 0;
        dynbuf_reset(wire);
        if (wire->capacity > CONNECTION_KEEP_CAPACITY)
            dynbuf_fini(wire);
        if (connection->closing) {
            connection_doom(connection);
            return;
        }
    } else if (connection->sent > CONNECTION_HIGH_WATER) {
        dynbuf_consume(wire, connection->sent);
        connection->sent = 0;
    }
    if (connection->paused && !connection->closing && !framing_is_full(connection))
        resume(connection);
}

void connection_put_raw(struct connection *connection, const void *data, size_t length)
{
    framing_seal(connection);
    dynbuf_append(&connection->wire, data, length);
    connection_mark_dirty(connection);
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
        LOG_WARN("output_overflow", "waiting=%zu", out->length + connection->wire.length);
        connection_doom(connection);
        return;
    }
    framing_compress(connection, start);
    wire_patch_i32(out, start + 5, (int32_t)(out->length - start - WIRE_HEADER_BYTES));
    connection_mark_dirty(connection);
}

static void put_out(struct deferred *deferred)
{
    struct connection *connection = deferred->connection;
    if (!connection->closing && deferred->segmented != connection->segmented) {
        connection_put_raw(connection, deferred->bytes, deferred->length);
    } else if (!connection->closing) {
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
    *deferred = (struct deferred){
        .connection = connection, .length = length, .segmented = connection->segmented};
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
