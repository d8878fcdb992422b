/* A connection of the load generator: TCP, TLS if asked for, STARTUP, bytes in and out. Owned by
 * the one thread. Must never wait once it is unblocked. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/bench/cqlload.h"

static bool tls_handshake(struct load_channel *channel, SSL_CTX *context)
{
    channel->ssl = SSL_new(context);
    return channel->ssl != NULL && SSL_set_fd(channel->ssl, channel->fd) == 1 &&
           SSL_connect(channel->ssl) == 1;
}

static void put_string(struct wire_bytes *to, const char *text)
{
    uint8_t length[2];
    cql_store_u16(length, (uint16_t)strlen(text));
    wire_append(to, length, sizeof length);
    wire_append(to, text, strlen(text));
}

static bool start(struct load_channel *channel, const struct load_options *options,
                  const char **reason)
{
    static char text[256];
    struct wire_bytes body = {0};
    struct wire_frame answer;
    wire_append(&body, options->is_lz4 ? "\0\2" : "\0\1", 2);
    put_string(&body, "CQL_VERSION");
    put_string(&body, "3.0.0");
    if (options->is_lz4) {
        put_string(&body, "COMPRESSION");
        put_string(&body, "lz4");
    }
    bool is_answered =
        load_channel_call(channel, options->version, CQL_OPCODE_STARTUP, &body, &answer);
    free(body.data);
    *reason = "the connection ended during STARTUP";
    if (!is_answered)
        return false;
    snprintf(text, sizeof text, "STARTUP was answered with %s",
             cql_opcode_name(answer.header.opcode));
    *reason = text;
    if (answer.header.opcode != CQL_OPCODE_READY)
        return false;
    channel->wire.is_lz4 = options->is_lz4;
    channel->wire.is_segmented = cql_version_has_segments(options->version);
    return true;
}

bool load_channel_open(struct load_channel *channel, const struct load_options *options,
                       SSL_CTX *context, const char **reason)
{
    int one = 1;
    struct timeval patience = {.tv_sec = 15};
    *channel = (struct load_channel){.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    if (channel->fd < 0 ||
        connect(channel->fd, (const struct sockaddr *)&options->at, sizeof options->at) != 0) {
        *reason = strerror(errno);
        return false;
    }
    setsockopt(channel->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(channel->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (context != NULL && !tls_handshake(channel, context)) {
        *reason = ERR_reason_error_string(ERR_peek_last_error());
        if (*reason == NULL)
            *reason = "the connection ended during the TLS handshake";
        return false;
    }
    return start(channel, options, reason);
}

bool load_channel_call(struct load_channel *channel, uint8_t version, uint8_t opcode,
                       const struct wire_bytes *body, struct wire_frame *answer)
{
    struct wire *wire = &channel->wire;
    uint8_t *to = wire_put(wire, CQL_HEADER_BYTES + body->end);
    cql_header_store(to, (struct cql_header){.version = version,
                                             .opcode = opcode,
                                             .body_length = (uint32_t)body->end});
    memcpy(to + CQL_HEADER_BYTES, body->data, body->end);
    wire_finish(wire);
    if (load_channel_flush(channel) != LOAD_DONE)
        return false;
    enum wire_verdict verdict;
    while ((verdict = wire_next(wire, answer)) == WIRE_MORE)
        if (load_channel_receive(channel) != LOAD_DONE)
            return false;
    return verdict == WIRE_FRAME;
}

void load_channel_unblock(struct load_channel *channel)
{
    fcntl(channel->fd, F_SETFL, fcntl(channel->fd, F_GETFL) | O_NONBLOCK);
}

static enum load_progress tls_progress(struct load_channel *channel, int result)
{
    int error = SSL_get_error(channel->ssl, result);
    ERR_clear_error();
    return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? LOAD_BLOCKED
                                                                         : LOAD_CLOSED;
}

enum load_progress load_channel_receive(struct load_channel *channel)
{
    size_t room = 0;
    uint8_t *to = wire_room(&channel->wire, &room);
    if (channel->ssl != NULL) {
        int count = SSL_read(channel->ssl, to, (int)room);
        if (count <= 0)
            return tls_progress(channel, count);
        wire_received(&channel->wire, (size_t)count);
        return LOAD_DONE;
    }
    ssize_t count = recv(channel->fd, to, room, 0);
    if (count < 0 && (errno == EAGAIN || errno == EINTR))
        return LOAD_BLOCKED;
    if (count <= 0)
        return LOAD_CLOSED;
    wire_received(&channel->wire, (size_t)count);
    return LOAD_DONE;
}

enum load_progress load_channel_flush(struct load_channel *channel)
{
    struct wire *wire = &channel->wire;
    while (wire_unsent(wire) > 0) {
        const uint8_t *from = wire->out.data + wire->out.begin;
        size_t left = wire_unsent(wire);
        if (channel->ssl != NULL) {
            int sent = SSL_write(channel->ssl, from, left < 1u << 20 ? (int)left : 1 << 20);
            if (sent <= 0)
                return tls_progress(channel, sent);
            wire_sent(wire, (size_t)sent);
            continue;
        }
        ssize_t sent = send(channel->fd, from, left, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            return errno == EAGAIN ? LOAD_BLOCKED : LOAD_CLOSED;
        wire_sent(wire, (size_t)sent);
    }
    return LOAD_DONE;
}
