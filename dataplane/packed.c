/* Compressed requests, opened as far as need be. Runs on the session's worker. A head is never what
 * a cluster is sent: either the frame goes as it came, or the body was opened whole and checked. */
#include "dataplane/packed.h"

#include "dataplane/compression.h"
#include "dataplane/worker.h"

static void refuse(const struct dispatch *dispatch, const char *reason)
{
    metrics_add(dispatch->session->worker->metrics, METRIC_REFUSED_COMPRESSION, 1);
    session_reply_error(dispatch->session, dispatch->header.stream, CQL_ERROR_PROTOCOL, "%s: %s",
                        cql_opcode_name(dispatch->header.opcode), reason);
}

/* false: there is something about the body that the whole of it must explain. */
static bool open_head(struct dispatch *dispatch)
{
    enum cql_compression agreed = dispatch->session->compression;
    size_t packed = dispatch->header.body_length, inflated;
    const char *reason;
    if (!cql_inflated_length(agreed, dispatch->body, packed, SESSION_REQUEST_MAX, &inflated,
                             &reason))
        return false;
    size_t wanted = cql_version_has_metadata_id(dispatch->header.version) ? DISPATCH_HEAD_BYTES
                                                                          : DISPATCH_HEAD_BYTES / 2;
    if (wanted > inflated)
        wanted = inflated;
    if (cql_inflate_head(agreed, dispatch->body, packed, dispatch->head, wanted) != wanted)
        return false;
    dispatch->is_head = true;
    dispatch->header.flags &= (uint8_t)~CQL_FLAG_COMPRESSED;
    dispatch->header.body_length = (uint32_t)wanted;
    dispatch->body = dispatch->head;
    dispatch->body_chunk = NULL;
    return true;
}

bool packed_open(struct dispatch *dispatch)
{
    struct session *session = dispatch->session;
    const char *reason;
    dispatch->is_head = false;
    dispatch->header = cql_header_load(dispatch->frame);
    dispatch->body = dispatch->frame + CQL_HEADER_BYTES;
    dispatch->body_chunk = NULL;
    if (compression_open(&session->worker->opened_request, session->compression,
                         SESSION_REQUEST_MAX, &dispatch->header, &dispatch->body, &reason))
        return true;
    refuse(dispatch, reason);
    return false;
}

bool packed_begin(struct dispatch *dispatch)
{
    /* An application's own payload may be of any length, and stands before the statement's id. */
    bool has_payload = (dispatch->header.flags & CQL_FLAG_CUSTOM_PAYLOAD) != 0;
    return (dispatch->header.opcode == CQL_OPCODE_EXECUTE && !has_payload && open_head(dispatch)) ||
           packed_open(dispatch);
}
