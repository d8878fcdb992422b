/* A client's request on its way to the clusters: what the files that take part in dispatching
 * share. All of it runs on the session's worker, within one call of dispatch_request.
 *
 *   dispatch.c    by opcode: what the request is and where it goes
 *   send.c        slot, edits, and the bytes for each cluster
 *
 * The frame stands twice: as it came (frame) and as plain bytes (header, body). They are the
 * same unless the frame is compressed. A cluster for which nothing is edited is sent the frame as
 * it came; any other gets the edited plain body, without the compression flag. Of a compressed
 * EXECUTE the body is at first but the beginning (is_head, packed.h). */
#pragma once

#include "dataplane/edits.h"
#include "dataplane/route.h"
#include "dataplane/session.h"
#include "proto/cql_request.h"

/* Beginning of an EXECUTE that shows an id of 16 bytes, the consistency and the flags; and, where
 * there is one, a metadata id of as many. */
#define DISPATCH_HEAD_BYTES 48

struct dispatch {
    struct session *session;
    struct cql_header header; /* of the plain body: its length, flags without COMPRESSED */
    const uint8_t *body;      /* plain, header.body_length bytes */
    struct chunk *body_chunk; /* the large chunk that body lies in, or NULL */
    bool is_head;             /* body is the beginning of what is compressed in frame */

    const uint8_t *frame; /* header and body as they came */
    size_t frame_length;
    struct chunk *frame_chunk; /* the large chunk that frame lies in, or NULL */

    struct prepared_handle *prepared; /* EXECUTE; used as long as the dispatch */

    struct edits *edits;  /* the worker's list, empty at first */
    uint8_t header_flags; /* CQL_FLAG_*: what the edits add to the header */

    /* Flags of the query parameters. Every change goes through dispatch_change_flags, since there
     * is one place to edit for all of them. */
    uint32_t flags, flags_offset;
    bool flags_changed; /* else the following are not set */
    uint32_t flags_set[CLUSTER_COUNT], flags_cleared[CLUSTER_COUNT];
    uint32_t timestamp_offset; /* where the proxy's timestamp is inserted; 0: it has none */

    /* Bytes of edits: not set until they are needed. */
    uint8_t flags_bytes[CLUSTER_COUNT][4];
    uint8_t timestamp_bytes[8];
    uint8_t length_bytes[4];

    uint8_t head[DISPATCH_HEAD_BYTES];
};

/* Sets and clears flags of the query parameters for the clusters (EDIT_*). */
static inline void dispatch_change_flags(struct dispatch *dispatch, uint8_t clusters, uint32_t set,
                                         uint32_t cleared)
{
    if (!dispatch->flags_changed) {
        memset(dispatch->flags_set, 0, sizeof dispatch->flags_set);
        memset(dispatch->flags_cleared, 0, sizeof dispatch->flags_cleared);
        dispatch->timestamp_offset = 0;
        dispatch->flags_changed = true;
    }
    for (int i = 0; i < CLUSTER_COUNT; i++) {
        if ((clusters & (1u << i)) != 0) {
            dispatch->flags_set[i] |= set;
            dispatch->flags_cleared[i] |= cleared;
        }
    }
}

/* Answers PROTOCOL_ERROR and counts it. */
void dispatch_refuse_malformed(const struct dispatch *dispatch, const char *reason);

/* ---- send.c ---- */
/* Sends the request, edited, by its plan. Takes its slot, or answers why not and returns NULL. */
struct request *send_request(struct dispatch *dispatch, struct statement_class statement,
                             uint16_t consistency, struct plan plan);
