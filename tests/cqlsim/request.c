/* One envelope from its header to its answer: what may come when, faults, errors. Owned by the main
 * thread. An envelope whose insides do not add up is answered with a PROTOCOL_ERROR and costs the
 * connection. */
#include "request.h"

#include <stdio.h>
#include <sys/random.h>

#include "common/log.h"
#include "framing.h"

/* Why the replicas failed, by endpoint; a number of them before version 5. */
static void put_failures(const struct request *request, struct dynbuf *out)
{
    wire_put_i32(out, 1);
    if (!wire_has_int_flags(request->header.version))
        return;
    const struct node *node = request->connection->at;
    wire_put_u8(out, (uint8_t)node->ip_length);
    dynbuf_append(out, node->ip, node->ip_length);
    wire_put_u16(out, 0);
}

static void put_error_fields(const struct request *request, struct dynbuf *out)
{
    const struct failure *failure = &request->failure;
    const uint16_t consistency = 1;
    switch (failure->code) {
    case CQL_UNAVAILABLE:
        wire_put_u16(out, consistency);
        wire_put_i32(out, 1);
        wire_put_i32(out, 0);
        break;
    case CQL_WRITE_TIMEOUT:
    case CQL_WRITE_FAILURE:
    case CQL_READ_TIMEOUT:
    case CQL_READ_FAILURE:
        wire_put_u16(out, consistency);
        wire_put_i32(out, 0);
        wire_put_i32(out, 1);
        if (failure->code == CQL_WRITE_FAILURE || failure->code == CQL_READ_FAILURE)
            put_failures(request, out);
        if (failure->code == CQL_WRITE_TIMEOUT || failure->code == CQL_WRITE_FAILURE)
            wire_put_string(out, "SIMPLE");
        else
            wire_put_u8(out, 0);
        break;
    case CQL_CAS_WRITE_UNKNOWN:
        if (!wire_has_int_flags(request->header.version))
            break; /* older versions have no such error; only a fault sends it there */
        wire_put_u16(out, consistency);
        wire_put_i32(out, 0);
        wire_put_i32(out, 1);
        break;
    case CQL_FUNCTION_FAILURE:
        wire_put_string(out, "system");
        wire_put_string(out, "f");
        wire_put_u16(out, 0);
        break;
    case CQL_ALREADY_EXISTS:
        wire_put_string(out, failure->keyspace);
        wire_put_string(out, failure->table);
        break;
    case CQL_UNPREPARED:
        wire_put_short_bytes(out, bytes_of(failure->prepared_id, sizeof failure->prepared_id));
        break;
    default:
        break;
    }
}

/* Older versions are told the nearest error they know. */
static void translate_error(struct request *request)
{
    struct failure *failure = &request->failure;
    unsigned version = request->header.version;
    if (version < 4 && failure->code == CQL_READ_FAILURE)
        failure->code = CQL_READ_TIMEOUT;
    if (version < 4 && failure->code == CQL_WRITE_FAILURE)
        failure->code = CQL_WRITE_TIMEOUT;
}

/* Whatever was written of another answer is taken back first. */
static void answer_error(struct request *request)
{
    struct connection *connection = request->connection;
    request->server->errors++;
    connection->out.length = request->start;
    connection->out.failed = false;
    connection->switches = false;
    translate_error(request);
    request_begin(request, OP_ERROR);
    wire_put_i32(&connection->out, request->failure.code);
    wire_put_string(&connection->out, request->failure.message);
    put_error_fields(request, &connection->out);
    connection_end_frame(connection, request->start);
}

void request_protocol_error(struct connection *connection, uint8_t version, int16_t stream,
                            const char *message)
{
    struct request request = {
        .connection = connection, .server = connection->server, .payload = bytes_null()};
    request.header.version = version;
    request.header.stream = stream;
    request.start = connection->out.length;
    failure_set(&request.failure, CQL_PROTOCOL_ERROR, "%s", message);
    connection->server->protocol_errors++;
    answer_error(&request);
    connection_close_after_output(connection);
    LOG_DEBUG("protocol_error", "stream=%d", stream);
}

bool request_malformed(struct request *request, const char *what)
{
    connection_close_after_output(request->connection);
    request->server->protocol_errors++;
    return failure_set(&request->failure, CQL_PROTOCOL_ERROR, "Malformed frame: %s", what);
}

/* In this order: tracing id, warnings, custom payload (native_protocol_v4.spec §2.2). */
static uint8_t put_extras(const struct request *request, struct dynbuf *out)
{
    uint8_t flags = 0;
    if ((request->header.flags & WIRE_FLAG_TRACING) != 0) {
        uint8_t uuid[16];
        schema_random_uuid(uuid);
        dynbuf_append(out, uuid, sizeof uuid);
        flags |= WIRE_FLAG_TRACING;
    }
    if (request->header.version < 4)
        return flags;
    if (request->warning.text[0] != '\0') {
        wire_put_u16(out, 1);
        wire_put_string(out, request->warning.text);
        flags |= WIRE_FLAG_WARNING;
    }
    if (request->echoes && request->payload.length > 0) {
        dynbuf_append(out, request->payload.data, (size_t)request->payload.length);
        flags |= WIRE_FLAG_PAYLOAD;
    }
    return flags;
}

void request_begin(struct request *request, uint8_t opcode)
{
    struct dynbuf *out = &request->connection->out;
    size_t start = connection_begin_frame(request->connection, request->header.version,
                                          request->header.stream, opcode);
    uint8_t flags = put_extras(request, out);
    if (!out->failed)
        out->data[start + 1] = flags;
}

static void random_bytes(struct connection *connection)
{
    uint8_t noise[512];
    CHECK(getrandom(noise, sizeof noise, 0) == (ssize_t)sizeof noise);
    noise[0] |= 0x40; /* certainly no version */
    connection_put_raw(connection, noise, sizeof noise);
}

bool request_faulted(struct request *request, const struct fault_subject *subject)
{
    request->subject = *subject;
    struct faults *faults = &request->server->faults;
    struct connection *connection = request->connection;
    struct fault fault;
    if (faults->count == 0)
        return false;
    connection->out.length = request->start;
    if (faults_take(faults, FAULT_SILENCE, subject, &fault))
        return true;
    if (faults_take(faults, FAULT_CLOSE, subject, &fault)) {
        connection_close_after_output(connection);
        return true;
    }
    if (faults_take(faults, FAULT_GARBAGE, subject, &fault)) {
        random_bytes(connection);
        return true;
    }
    faults_take(faults, FAULT_WARN, subject, &request->warning);
    request->echoes = faults_take(faults, FAULT_ECHO, subject, &fault);
    if (faults_take(faults, FAULT_ERROR, subject, &fault)) {
        failure_set(&request->failure, fault.code, "%s", fault.text);
        answer_error(request);
        return true;
    }
    return false;
}

/* Is the opcode allowed where the connection stands? */
static bool expected(struct request *request)
{
    unsigned opcode = request->header.opcode;
    const char *name = wire_opcode_name(opcode);
    enum connection_state state = request->connection->state;
    if (name == NULL)
        return request_malformed(request, "unknown opcode");
    bool is_request = opcode == OP_STARTUP || opcode == OP_OPTIONS || opcode == OP_QUERY ||
                      opcode == OP_PREPARE || opcode == OP_EXECUTE || opcode == OP_REGISTER ||
                      opcode == OP_BATCH || opcode == OP_AUTH_RESPONSE ||
                      (opcode == OP_REVISE_REQUEST && wire_is_dse(request->header.version));
    if (!is_request)
        return request_malformed(request, "the opcode is not one of a request");
    if (state == STATE_NEW && opcode != OP_STARTUP && opcode != OP_OPTIONS)
        return failure_set(&request->failure, CQL_PROTOCOL_ERROR,
                           "Unexpected message %s, expecting STARTUP or OPTIONS", name);
    if (state == STATE_AUTHENTICATING && opcode != OP_AUTH_RESPONSE && opcode != OP_OPTIONS)
        return failure_set(&request->failure, CQL_PROTOCOL_ERROR,
                           "Unexpected message %s, expecting SASL_RESPONSE", name);
    if (state == STATE_READY && (opcode == OP_STARTUP || opcode == OP_AUTH_RESPONSE))
        return failure_set(
            &request->failure, CQL_PROTOCOL_ERROR,
            "Unexpected message %s, expecting QUERY, PREPARE, EXECUTE, BATCH, REGISTER or OPTIONS",
            name);
    return true;
}

static bool take_payload(struct request *request)
{
    struct wire_reader *reader = &request->reader;
    const uint8_t *start = reader->at;
    size_t count = wire_u16(reader);
    for (size_t i = 0; i < count && !reader->failed; i++) {
        struct bytes key = wire_string(reader);
        wire_bytes(reader);
        if (!reader->failed)
            last_request_payload_key(request->last, key);
    }
    request->payload = bytes_of(start, (size_t)(reader->at - start));
    return !reader->failed || request_malformed(request, "the custom payload is cut short");
}

static bool check_frame(struct request *request)
{
    struct connection *connection = request->connection;
    unsigned flags = request->header.flags;
    if (connection->version == 0)
        connection->version = request->header.version;
    if (connection->version != request->header.version)
        return request_malformed(request, "the protocol version changed on this connection");
    /* Segments made the flag meaningless. */
    if ((flags & WIRE_FLAG_COMPRESSED) != 0 && connection->compression == COMPRESSION_NONE &&
        !wire_has_segments(connection->version))
        return request_malformed(request, "compressed although no compression was agreed on");
    if ((flags & WIRE_FLAG_PAYLOAD) != 0 && !take_payload(request))
        return false;
    return expected(request);
}

static bool dispatch(struct request *request, bool *done)
{
    struct fault_subject subject = {.opcode = request->header.opcode};
    switch (request->header.opcode) {
    case OP_QUERY:
        return statement_query(request, done);
    case OP_EXECUTE:
        return statement_execute(request, done);
    case OP_PREPARE:
        return statement_prepare(request, done);
    case OP_BATCH:
        return batch_batch(request, done);
    default:
        break;
    }
    *done = request_faulted(request, &subject);
    if (*done)
        return false;
    switch (request->header.opcode) {
    case OP_OPTIONS:
        return startup_options(request);
    case OP_STARTUP:
        return startup_startup(request);
    case OP_AUTH_RESPONSE:
        return startup_auth(request);
    case OP_REVISE_REQUEST:
        return paging_revise(request);
    default:
        return startup_register(request);
    }
}

/* Corruption, delays and holds apply to answers that would have been given. */
static void postpone(struct request *request)
{
    struct faults *faults = &request->server->faults;
    struct connection *connection = request->connection;
    struct fault fault;
    if (faults->count == 0 || connection->closing || connection->out.length == request->start)
        return;
    if (faults_take(faults, FAULT_CORRUPT, &request->subject, &fault))
        framing_seal_spoiled(connection, request->start, fault.corruption);
    else if (faults_take(faults, FAULT_HOLD, &request->subject, &fault))
        connection_defer(connection, request->start, 0);
    else if (faults_take(faults, FAULT_DELAY, &request->subject, &fault))
        connection_defer(connection, request->start, fault.delay_ms);
}

static void remember(struct request *request)
{
    struct last_request *last = request->last;
    const struct connection *connection = request->connection;
    last->version = request->header.version;
    last->header_flags = request->header.flags;
    last->compression = compression_name(connection->compression);
    last->segmented = connection->segmented;
    last->compressed = connection->segmented ? connection->compression != COMPRESSION_NONE
                                             : (request->header.flags & WIRE_FLAG_COMPRESSED) != 0;
}

static void handle(struct connection *connection, const struct wire_header *header,
                   const uint8_t *body, struct pager *pager)
{
    struct server *server = connection->server;
    struct request request = {.connection = connection,
                              .server = server,
                              .header = *header,
                              .payload = bytes_null(),
                              .pager = pager};
    request.reader = (struct wire_reader){body, body + header->length, false};
    request.start = connection->out.length;
    request.keyspace = connection->keyspace[0] == '\0' ? NULL : connection->keyspace;
    request.last = last_request_start(&server->last_requests, header->opcode);
    remember(&request);
    bool done = false;
    bool ok = check_frame(&request) && dispatch(&request, &done);
    if (ok && connection->out.failed)
        ok = failure_set(&request.failure, CQL_SERVER_ERROR,
                         "The answer is larger than a frame may be");
    if (ok)
        connection_end_frame(connection, request.start);
    else if (!done)
        answer_error(&request);
    if (ok || !done)
        postpone(&request);
    if (ok && connection->switches)
        framing_switch(connection);
    connection->switches = false;
    if (ok && request.execution.outcome == OUTCOME_SCHEMA_CHANGE)
        server_schema_event(server, &request.execution.change);
    if (ok)
        paging_continue(&request, body);
    else if (pager != NULL)
        paging_end(pager);
    arena_reset(&server->scratch);
}

void request_handle(struct connection *connection, const struct wire_header *header,
                    const uint8_t *body)
{
    struct server *server = connection->server;
    if (header->opcode < OP_LIMIT)
        server->by_opcode[header->opcode]++;
    server->by_version[header->version]++;
    handle(connection, header, body, NULL);
}

void request_next_page(struct pager *pager)
{
    handle(pager->connection, &pager->header, pager->body, pager);
}
