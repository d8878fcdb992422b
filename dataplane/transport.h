/* What a stream's bytes travel through: a non-blocking socket, plain or under TLS. A stream says
 * when to read and write; this says how far it got and which readiness the rest waits for. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "common/check.h"

/* Results of a call that moved no bytes. TLS may have to write in order to read, and the other way
 * round. */
enum transport_stop {
    TRANSPORT_END = 0, /* the peer has said its last word */
    TRANSPORT_WANTS_READ = -1,
    TRANSPORT_WANTS_WRITE = -2,
    TRANSPORT_FAILED = -3, /* transport_error says why */
};

struct tls_connection;

struct transport {
    int fd;                     /* -1: closed */
    struct tls_connection *tls; /* NULL: plain */
};

/* A closed transport. */
void transport_init(struct transport *transport);
/* The socket this closed transport will have next speaks TLS; takes the connection over. */
void transport_secure(struct transport *transport, struct tls_connection *tls);
/* Takes over a connected, non-blocking socket. false: out of memory, it is closed. */
MUST_CHECK bool transport_adopt(struct transport *transport, int fd);
/* Starts connecting; done when the socket is writable. false: failed at once, *error is a text. */
MUST_CHECK bool transport_connect(struct transport *transport, const struct sockaddr *address,
                                  socklen_t length, const char **error);
/* The connect attempt has ended: NULL, or why it failed. */
const char *transport_connect_error(const struct transport *transport);
/* Closes at once. Harmless on a closed transport. */
void transport_close(struct transport *transport);
/* Nothing more will be written: tells the peer so. */
void transport_end_writing(struct transport *transport);

static inline bool transport_is_open(const struct transport *transport)
{
    return transport->fd >= 0;
}

/* Goes on with what must be agreed on before bytes flow, once connected. 1: complete, or an enum
 * transport_stop. */
ssize_t transport_handshake(struct transport *transport);
/* Up to size bytes (size > 0); how many, or an enum transport_stop. */
ssize_t transport_read(struct transport *transport, void *to, size_t size);
/* Reads and forgets up to size bytes at to, whatever they are; how many, or an enum transport_stop.
 */
ssize_t transport_discard(struct transport *transport, void *to, size_t size);
/* Reading may go on although the socket is not readable: bytes have been decrypted already. */
bool transport_has_more(const struct transport *transport);
/* The parts in order, as far as they go; how many bytes, or an enum transport_stop. Fewer than
 * asked for means: again when writable. scratch: as tls_write. */
ssize_t transport_write(struct transport *transport, const struct iovec *parts, size_t count,
                        uint8_t *scratch);
/* Bytes that were written have not left yet: write again, be it nothing, when writable. */
bool transport_has_unsent(const struct transport *transport);
/* Why the last call failed; a constant text or one that lasts until the thread's next failure. */
const char *transport_error(const struct transport *transport);
