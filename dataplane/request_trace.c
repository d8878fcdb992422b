/* Request tracing. Runs on the session's worker; the limit is the process's. An application's own
 * payload is never taken away, also not under our key, over the limit, or when tracing is off. */
#include "dataplane/request_trace.h"

#include <string.h>

#include "common/log.h"
#include "dataplane/worker.h"

#define ID_BYTES 16

bool request_trace_find(struct cql_header header, const uint8_t *body, const char *key,
                        struct cql_span *id)
{
    struct cql_cursor cursor = cql_cursor_over(body, header.body_length);
    bool is_found = false;
    if ((header.flags & CQL_FLAG_CUSTOM_PAYLOAD) == 0)
        return false;
    for (uint16_t left = cql_read_u16(&cursor); left > 0 && !cursor.failed && !is_found; left--) {
        struct cql_span name = cql_read_string(&cursor);
        *id = cql_read_bytes(&cursor);
        is_found = !cursor.failed && cql_span_equals(name, key) && id->data != NULL;
    }
    return is_found;
}

/* An entry in front of the others. false: there is no place for one. */
static bool add_id(struct dispatch *dispatch, const char *key, struct function_value *id)
{
    bool has_payload = (dispatch->header.flags & CQL_FLAG_CUSTOM_PAYLOAD) != 0;
    size_t key_length = strlen(key);
    uint16_t count = has_payload ? cql_load_u16(dispatch->body) : 0;
    if (key_length > UINT16_MAX || count == UINT16_MAX)
        return false;
    struct worker *worker = dispatch->session->worker;
    uint8_t *room = edits_room(dispatch->edits, 2 + 2 + key_length + 4 + ID_BYTES);
    if (room == NULL)
        return false;
    function_source_make(&worker->function_source, FUNCTION_UUID, id);
    CHECK(id->length == ID_BYTES);
    uint8_t *to = room;
    cql_store_u16(to, (uint16_t)(count + 1));
    cql_store_u16(to + 2, (uint16_t)key_length);
    memcpy(to + 4, key, key_length);
    to += 4 + key_length;
    cql_store_u32(to, ID_BYTES);
    memcpy(to + 4, id->bytes, ID_BYTES);
    to += 4 + ID_BYTES;
    edits_add(dispatch->edits, EDIT_BOTH, 0, has_payload ? 2 : 0, room, (uint32_t)(to - room));
    dispatch->header_flags |= CQL_FLAG_CUSTOM_PAYLOAD;
    return true;
}

static const char *hex(char *out, const uint8_t *bytes, size_t length)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < length; i++) {
        out[2 * i] = digits[bytes[i] >> 4];
        out[2 * i + 1] = digits[bytes[i] & 15];
    }
    out[2 * length] = '\0';
    return out;
}

static bool is_traced_opcode(uint8_t opcode)
{
    return opcode == CQL_OPCODE_QUERY || opcode == CQL_OPCODE_PREPARE ||
           opcode == CQL_OPCODE_EXECUTE || opcode == CQL_OPCODE_BATCH;
}

void request_trace_begin(struct dispatch *dispatch, struct request *request)
{
    struct session *session = dispatch->session;
    struct worker *worker = session->worker;
    const char *key = worker->config->tracing_request_id_key;
    struct function_value own;
    struct cql_span id;
    char text[2 * REQUEST_TRACE_BYTES + 1];
    if (session->version < 4 || !is_traced_opcode(dispatch->header.opcode) ||
        !trace_limit_take(&worker->shared->trace_limit, worker_now(worker),
                          worker->config->tracing_rate_limit))
        return;
    if (!request_trace_find(dispatch->header, dispatch->body, key, &id)) {
        if (!add_id(dispatch, key, &own))
            return;
        id = (struct cql_span){own.bytes, own.length};
    }
    request->trace_length =
        (uint8_t)(id.length < REQUEST_TRACE_BYTES ? id.length : REQUEST_TRACE_BYTES);
    memcpy(request->trace_id, id.data, request->trace_length);
    LOG_INFO("request_traced", "request_id=%s stream=%d opcode=%s client=%s",
             hex(text, request->trace_id, request->trace_length), dispatch->header.stream,
             cql_opcode_name(dispatch->header.opcode), session->peer);
}

void request_trace_answered(const struct request *request, enum cluster_id cluster)
{
    char text[2 * REQUEST_TRACE_BYTES + 1];
    LOG_INFO("response_traced", "request_id=%s stream=%d from=%s-CONNECTOR client=%s",
             hex(text, request->trace_id, request->trace_length), request->client_stream,
             cluster == CLUSTER_ORIGIN ? "ORIGIN" : "TARGET", request->session->peer);
}
