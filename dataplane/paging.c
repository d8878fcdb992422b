/* Tagging of paging states in answers. Runs on the session's worker. It looks at the first bytes of
 * a RESULT only; rows are never read, and those of a plain answer never kept. A compressed answer
 * that must be tagged goes to the client plain, which v3 and v4 allow. */
#include "dataplane/paging.h"

#include <string.h>

#include "dataplane/compression.h"
#include "dataplane/paging_tag.h"
#include "dataplane/worker.h"

/* Enough of a compressed answer to see its metadata, unless long warnings stand before them. */
#define HEAD_BYTES 512

/* A compressed answer longer than this, packed or plain, keeps its paging state as it is. */
#define OPENED_MAX ((size_t)16 * 1024 * 1024)

static bool give(struct session *session, const void *bytes, size_t length)
{
    if (length == 0)
        return true;
    if (session->lock != NULL) { /* in the middle of the other cluster's large answer */
        session_defer(session, bytes, length);
        return session->state != SESSION_DOOMED;
    }
    return session_forward(session, bytes, length);
}

/* Header, the body up to the paging state's length, the new length, the tag. */
static bool give_front(struct session *session, const struct request *request,
                       enum cluster_id cluster, struct cql_header header, const uint8_t *body,
                       uint32_t offset, uint32_t state_length)
{
    uint8_t bytes[CQL_HEADER_BYTES];
    uint8_t tagged[4 + PAGING_TAG_BYTES];
    header.stream = request->client_stream;
    header.body_length += PAGING_TAG_BYTES;
    cql_header_store(bytes, header);
    cql_store_u32(tagged, state_length + PAGING_TAG_BYTES);
    memcpy(tagged + 4, paging_tag(cluster), PAGING_TAG_BYTES);
    return give(session, bytes, sizeof bytes) && give(session, body, offset) &&
           give(session, tagged, sizeof tagged);
}

/* What the beginning of a compressed answer tells. */
static enum cql_paging find_in_compressed(const struct session *session, struct cql_header header,
                                          const uint8_t *body, size_t length)
{
    uint8_t head[HEAD_BYTES];
    uint32_t offset, state_length;
    size_t inflated = cql_inflate_head(session->compression, body, length, head, sizeof head);
    header.flags &= (uint8_t)~CQL_FLAG_COMPRESSED;
    header.body_length = UINT32_MAX; /* not known */
    return cql_find_paging(header, head, inflated, &offset, &state_length);
}

bool paging_may_go_on_packed(enum cql_compression compression, const uint8_t *body, size_t length)
{
    uint8_t head[PAGING_FLAGS_END];
    return cql_inflate_head(compression, body, length, head, sizeof head) < sizeof head ||
           (head[PAGING_FLAGS_END - 1] & CQL_METADATA_MORE_PAGES) != 0;
}

bool paging_pass_on(struct session *session, const struct request *request, enum cluster_id cluster,
                    const uint8_t *frame, size_t length)
{
    struct cql_header header = cql_header_load(frame);
    const uint8_t *body = frame + CQL_HEADER_BYTES;
    uint32_t offset, state_length;
    const char *reason;
    if ((header.flags & CQL_FLAG_COMPRESSED) != 0 &&
        (find_in_compressed(session, header, body, length - CQL_HEADER_BYTES) == CQL_PAGING_NONE ||
         !compression_open(&session->worker->opened_answer, session->compression, OPENED_MAX,
                           &header, &body, &reason)))
        return false;
    if (cql_find_paging(header, body, header.body_length, &offset, &state_length) !=
        CQL_PAGING_FOUND)
        return false;
    if (give_front(session, request, cluster, header, body, offset, state_length))
        (void)give(session, body + offset + 4, header.body_length - offset - 4);
    return true;
}

enum paging_large paging_begin_large(struct session *session, const struct request *request,
                                     enum cluster_id cluster, const uint8_t *frame, size_t length,
                                     size_t *used)
{
    struct cql_header header = cql_header_load(frame);
    const uint8_t *body = frame + CQL_HEADER_BYTES;
    uint32_t offset, state_length;
    length -= CQL_HEADER_BYTES;
    if (!paging_may_go_on(session, request, header, body, length))
        return PAGING_LARGE_NONE;
    bool is_compressed = (header.flags & CQL_FLAG_COMPRESSED) != 0;
    if (is_compressed && header.body_length > OPENED_MAX)
        return PAGING_LARGE_NONE;
    enum cql_paging paging = is_compressed
                                 ? find_in_compressed(session, header, body, length)
                                 : cql_find_paging(header, body, length, &offset, &state_length);
    switch (paging) {
    case CQL_PAGING_NONE:
        return PAGING_LARGE_NONE;
    case CQL_PAGING_MORE:
        /* Whole frames may be that large: whatever stands before the metadata, it is not rows. */
        if (length + CQL_HEADER_BYTES < STREAM_WHOLE_FRAME)
            return PAGING_LARGE_MORE;
        return is_compressed ? PAGING_LARGE_WHOLE : PAGING_LARGE_NONE;
    case CQL_PAGING_FOUND:
        if (is_compressed)
            return PAGING_LARGE_WHOLE;
        *used = CQL_HEADER_BYTES + (size_t)offset + 4;
        (void)give_front(session, request, cluster, header, body, offset, state_length);
        return PAGING_LARGE_BEGUN;
    }
    return PAGING_LARGE_NONE;
}
