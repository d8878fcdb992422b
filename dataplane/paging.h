/* Answers that end with a page still to come: their paging state is given the tag of the cluster
 * that issued it (paging_tag.h). Runs on the session's worker. */
#pragma once

#include "dataplane/session.h"
#include "proto/cql_metadata.h"

/* Where the flags of a Rows answer's metadata end, when nothing stands before them. */
#define PAGING_FLAGS_END 8

/* The question below, of a body that is compressed. */
bool paging_may_go_on_packed(enum cql_compression compression, const uint8_t *body, size_t length);

/* Whether the frame may need a tag: true for few answers but those that do. */
static inline bool paging_may_go_on(const struct session *session, const struct request *request,
                                    struct cql_header header, const uint8_t *body, size_t length)
{
    if (request->statement.class != REQUEST_READ && request->statement.class != REQUEST_SYSTEM_READ)
        return false;
    if (header.opcode != CQL_OPCODE_RESULT)
        return false;
    if (header.flags == CQL_FLAG_COMPRESSED)
        return paging_may_go_on_packed(session->compression, body, length);
    return header.flags != 0 || length < PAGING_FLAGS_END ||
           (body[PAGING_FLAGS_END - 1] & CQL_METADATA_MORE_PAGES) != 0;
}

/* Gives the client the whole frame with its paging state tagged. false: there is nothing to tag,
 * the frame goes as it is. */
MUST_CHECK bool paging_pass_on(struct session *session, const struct request *request,
                               enum cluster_id cluster, const uint8_t *frame, size_t length);

enum paging_large {
    PAGING_LARGE_NONE,  /* nothing to tag: the frame flows as it is */
    PAGING_LARGE_MORE,  /* too little of it is there to tell */
    PAGING_LARGE_WHOLE, /* it must come in one piece, and paging_pass_on */
    PAGING_LARGE_BEGUN, /* the client has its tagged front, made of *used bytes of the frame */
};

/* A large answer begins, of which length bytes are there. The client may be sent it at once. */
enum paging_large paging_begin_large(struct session *session, const struct request *request,
                                     enum cluster_id cluster, const uint8_t *frame, size_t length,
                                     size_t *used);
