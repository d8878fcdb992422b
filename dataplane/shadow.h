/* Shadow reads: copies of a share of the client's reads, sent to the cluster that does not answer
 * them, to see whether it would. Their answers go nowhere but into the metrics.
 *
 * A session has at most one shadow upstream, a connection of its own, opened at the first copy and
 * healing itself; a copy that cannot be sent at once is dropped and counted by reason. Nothing here
 * may change or delay what the client gets: no copy waits, nothing pauses the client or the
 * session's other upstreams. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dataplane/cluster_id.h"
#include "dataplane/upstream.h"

struct session;
struct shadow;
struct prepared_handle;

/* Copies in flight per session, and unsent bytes; one more is dropped. */
#define SHADOW_REQUESTS_MAX 128
#define SHADOW_QUEUE_MAX    ((size_t)128 * 1024)

/* Writes the copy's frame with this stream id, changed as that cluster must see it. false: out of
 * memory. */
typedef bool (*shadow_write_frame)(const void *request, struct stream *stream,
                                   enum cluster_id cluster, uint16_t stream_id);

/* A read has just been sent to primary and shadow reads are on: sends a copy to the other cluster
 * if it is this read's turn. length: of the whole frame. prepared: of an EXECUTE, or NULL.
 * has_paging_state: the read goes on where an answer of the primary ended, which the other cluster
 * cannot. */
void shadow_copy(struct session *session, enum cluster_id primary, size_t length,
                 struct prepared_handle *prepared, bool has_paging_state, shadow_write_frame write,
                 const void *request);
/* The session's keyspace has changed. */
void shadow_follow_keyspace(struct session *session);
/* Copies without an answer are given up, a connection that is not needed any more is closed. As
 * session_survey. */
uint64_t shadow_survey(struct session *session);
/* At the session's end: closes its connection. What session->shadow points at is then freed with
 * the session. */
void shadow_close(struct session *session);

/* ---- for upstream.c, whose connection it is ---- */
/* Bytes from the ready shadow upstream; as stream_handlers.on_input. */
size_t shadow_on_input(struct upstream *upstream, const uint8_t *data, size_t length, size_t *need);
/* The connection is gone: what awaited it is settled. */
void shadow_settle_lost(struct upstream *upstream);
