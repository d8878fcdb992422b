/* One TLS connection over a non-blocking socket: OpenSSL does the protocol, the caller brings the
 * readiness. Used through a transport. One thread at a time. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "common/check.h"
#include "dataplane/tls_context.h"

struct metrics_block;
struct tls_connection;
struct tls_sessions;
struct topology_node;

/* Bytes of output put into one record; what encryption adds to it at most; records sent at once. */
#define TLS_RECORD_BYTES     ((size_t)16 * 1024)
#define TLS_RECORD_OVERHEAD  ((size_t)512)
#define TLS_RECORDS_PER_SEND ((size_t)4)
#define TLS_SCRATCH_BYTES                                                                          \
    (TLS_RECORD_BYTES + TLS_RECORDS_PER_SEND * (TLS_RECORD_BYTES + TLS_RECORD_OVERHEAD))

/* What one thread has agreed on with the nodes of one cluster and may resume: the latest session of
 * each node. They belong to one context, and go with it. */
struct tls_sessions *tls_sessions_new(void);
void tls_sessions_free(struct tls_sessions *sessions); /* NULL is allowed */

/* Connections that have no socket yet. context is taken by reference, metrics may be NULL. NULL:
 * out of memory.
 *
 * tls_connect: node says whose certificate is expected. sessions (NULL: never resume) must outlive
 * the connection. */
struct tls_connection *tls_accept(struct tls_context *context, struct metrics_block *metrics);
struct tls_connection *tls_connect(struct tls_context *context, struct metrics_block *metrics,
                                   struct tls_sessions *sessions, const struct topology_node *node);
/* Frees it; the socket stays open. NULL is allowed. */
void tls_free(struct tls_connection *connection);
/* false: out of memory. */
MUST_CHECK bool tls_set_socket(struct tls_connection *connection, int fd);

/* As transport_handshake, transport_read, transport_write, transport_end_writing, _has_more,
 * _has_unsent and _error. scratch: TLS_SCRATCH_BYTES, used during the call. */
ssize_t tls_handshake(struct tls_connection *connection);
ssize_t tls_read(struct tls_connection *connection, void *to, size_t size);
ssize_t tls_write(struct tls_connection *connection, const struct iovec *parts, size_t count,
                  uint8_t *scratch);
void tls_say_goodbye(struct tls_connection *connection);
bool tls_has_more(const struct tls_connection *connection);
bool tls_has_unsent(const struct tls_connection *connection);
const char *tls_error(const struct tls_connection *connection);
