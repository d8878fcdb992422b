/* What is done with a request frame: handshake, statements, batches, registration, and the faults
 * on the way. Owned by the main thread. A frame whose insides do not add up is answered with a
 * PROTOCOL_ERROR and costs the connection. */
#include <stdio.h>
#include <sys/random.h>

#include "common/log.h"
#include "parser.h"
#include "server.h"

#define PARAM_VALUES        0x01
#define PARAM_SKIP_METADATA 0x02
#define PARAM_PAGE_SIZE     0x04
#define PARAM_PAGING_STATE  0x08
#define PARAM_SERIAL        0x10
#define PARAM_TIMESTAMP     0x20
#define PARAM_NAMES         0x40
#define KIND_VOID           1
#define KIND_SET_KEYSPACE   3
#define KIND_SCHEMA_CHANGE  5
#define HIGHEST_CONSISTENCY 0x0A

struct request {
    struct connection *connection;
    struct server *server;
    struct wire_header header;
    struct wire_reader reader;
    struct failure failure;
    size_t start; /* of the answer in the output */
    struct bytes *values;
    struct bytes *names; /* NULL: by position */
    size_t value_count;
    struct execution execution;
    struct fault_subject subject;
};

/* One statement of a BATCH frame. */
struct batched {
    const struct statement *statement;
    const char *keyspace;
    struct bytes *values;
    size_t value_count;
};

static void put_error_fields(struct dynbuf *out, const struct failure *failure)
{
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
            wire_put_i32(out, 1);
        if (failure->code == CQL_WRITE_TIMEOUT || failure->code == CQL_WRITE_FAILURE)
            wire_put_string(out, "SIMPLE");
        else
            wire_put_u8(out, 0);
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

/* Whatever was written of another answer is taken back first. */
static void answer_error(struct request *request)
{
    struct connection *connection = request->connection;
    struct failure *failure = &request->failure;
    request->server->errors++;
    connection->out.length = request->start;
    connection->out.failed = false;
    /* The two failures came with version 4. */
    if (request->header.version < 4 && failure->code == CQL_READ_FAILURE)
        failure->code = CQL_READ_TIMEOUT;
    if (request->header.version < 4 && failure->code == CQL_WRITE_FAILURE)
        failure->code = CQL_WRITE_TIMEOUT;
    connection_begin_frame(connection, request->header.version, request->header.stream, OP_ERROR);
    wire_put_i32(&connection->out, failure->code);
    wire_put_string(&connection->out, failure->message);
    put_error_fields(&connection->out, failure);
    connection_end_frame(connection, request->start);
}

void request_protocol_error(struct connection *connection, uint8_t version, int16_t stream,
                            const char *message)
{
    struct request request = {.connection = connection, .server = connection->server};
    request.header.version = version;
    request.header.stream = stream;
    request.start = connection->out.length;
    failure_set(&request.failure, CQL_PROTOCOL_ERROR, "%s", message);
    connection->server->protocol_errors++;
    answer_error(&request);
    connection_close_after_output(connection);
    LOG_DEBUG("protocol_error", "stream=%d", stream);
}

/* Sets the failure and closes the connection behind the answer; returns false. */
static bool malformed(struct request *request, const char *what)
{
    connection_close_after_output(request->connection);
    request->server->protocol_errors++;
    return failure_set(&request->failure, CQL_PROTOCOL_ERROR, "Malformed frame: %s", what);
}

static void begin(struct request *request, uint8_t opcode)
{
    connection_begin_frame(request->connection, request->header.version, request->header.stream,
                           opcode);
}

static const char *session_keyspace(const struct connection *connection)
{
    return connection->keyspace[0] == '\0' ? NULL : connection->keyspace;
}

static bool handle_options(struct request *request)
{
    struct dynbuf *out = &request->connection->out;
    begin(request, OP_SUPPORTED);
    wire_put_u16(out, 3);
    wire_put_string(out, "CQL_VERSION");
    wire_put_u16(out, 1);
    wire_put_string(out, request->server->engine.cluster.release_major >= 4 ? "3.4.6" : "3.4.4");
    wire_put_string(out, "COMPRESSION");
    wire_put_u16(out, 0);
    wire_put_string(out, "PROTOCOL_VERSIONS");
    wire_put_u16(out, 2);
    wire_put_string(out, "3/v3");
    wire_put_string(out, "4/v4");
    return true;
}

static bool bytes_equal_text(struct bytes bytes, const char *text)
{
    return bytes_compare(bytes, bytes_text(text)) == 0;
}

static bool handle_startup(struct request *request)
{
    struct connection *connection = request->connection;
    struct wire_reader *reader = &request->reader;
    size_t count = wire_u16(reader);
    bool version = false;
    for (size_t i = 0; i < count && !reader->failed; i++) {
        struct bytes key = wire_string(reader);
        struct bytes value = wire_string(reader);
        version |= bytes_equal_text(key, "CQL_VERSION");
        if (!reader->failed && bytes_equal_text(key, "COMPRESSION") && value.length > 0)
            return failure_set(&request->failure, CQL_PROTOCOL_ERROR,
                               "This instance does not support any compression");
    }
    if (reader->failed)
        return malformed(request, "STARTUP's map is cut short");
    if (!version)
        return failure_set(&request->failure, CQL_PROTOCOL_ERROR,
                           "Missing value CQL_VERSION in STARTUP message");
    if (request->server->user_count == 0) {
        connection->state = STATE_READY;
        begin(request, OP_READY);
        return true;
    }
    connection->state = STATE_AUTHENTICATING;
    begin(request, OP_AUTHENTICATE);
    wire_put_string(&connection->out, "org.apache.cassandra.auth.PasswordAuthenticator");
    return true;
}

/* The SASL PLAIN token: authorization id, NUL, user, NUL, password. */
static bool credentials_match(const struct server *server, struct bytes token)
{
    const char *at = (const char *)token.data;
    const char *end = at + (token.length > 0 ? token.length : 0);
    const char *first = at == end ? NULL : memchr(at, 0, (size_t)(end - at));
    const char *second = first == NULL ? NULL : memchr(first + 1, 0, (size_t)(end - first - 1));
    if (second == NULL)
        return false;
    struct bytes name = bytes_of(first + 1, (size_t)(second - first - 1));
    struct bytes password = bytes_of(second + 1, (size_t)(end - second - 1));
    for (size_t i = 0; i < server->user_count; i++)
        if (bytes_equal_text(name, server->users[i].name) &&
            bytes_equal_text(password, server->users[i].password))
            return true;
    return false;
}

static bool handle_auth(struct request *request)
{
    struct bytes token = wire_bytes(&request->reader);
    if (request->reader.failed)
        return malformed(request, "AUTH_RESPONSE's token is cut short");
    if (!credentials_match(request->server, token))
        return failure_set(&request->failure, CQL_BAD_CREDENTIALS,
                           "Provided username and/or password are incorrect");
    request->connection->state = STATE_READY;
    begin(request, OP_AUTH_SUCCESS);
    wire_put_i32(&request->connection->out, -1);
    return true;
}

static bool handle_register(struct request *request)
{
    static const char *const names[] = {"TOPOLOGY_CHANGE", "STATUS_CHANGE", "SCHEMA_CHANGE"};
    struct wire_reader *reader = &request->reader;
    size_t count = wire_u16(reader);
    unsigned mask = 0;
    for (size_t i = 0; i < count && !reader->failed; i++) {
        struct bytes name = wire_string(reader);
        size_t at = 0;
        while (at < ARRAY_COUNT(names) && !bytes_equal_text(name, names[at]))
            at++;
        if (at == ARRAY_COUNT(names) && !reader->failed)
            return failure_set(&request->failure, CQL_PROTOCOL_ERROR,
                               "Invalid value '%.*s' for Type", name.length > 60 ? 60 : name.length,
                               (const char *)name.data);
        mask |= 1U << at;
    }
    if (reader->failed)
        return malformed(request, "REGISTER's list is cut short");
    request->connection->registered |= mask;
    begin(request, OP_READY);
    return true;
}

static bool read_values(struct request *request, bool named, struct bytes **values,
                        struct bytes **names, size_t *count)
{
    struct wire_reader *reader = &request->reader;
    struct arena *arena = &request->server->scratch;
    *count = wire_u16(reader);
    *values = arena_alloc(arena, (*count + 1) * sizeof **values);
    if (named)
        *names = arena_alloc(arena, (*count + 1) * sizeof **names);
    for (size_t i = 0; i < *count && !reader->failed; i++) {
        if (named)
            (*names)[i] = wire_string(reader);
        (*values)[i] = wire_value(reader, request->header.version);
    }
    return !reader->failed || malformed(request, "a bound value is cut short");
}

static bool read_consistency(struct request *request)
{
    unsigned consistency = wire_u16(&request->reader);
    return consistency <= HIGHEST_CONSISTENCY ||
           failure_set(&request->failure, CQL_PROTOCOL_ERROR,
                       "Unknown code %u for a consistency level", consistency);
}

static void start_execution(struct request *request)
{
    struct server *server = request->server;
    int64_t timestamp = engine_timestamp(&server->engine);
    request->execution = (struct execution){.engine = &server->engine,
                                            .arena = &server->scratch,
                                            .failure = &request->failure,
                                            .node = request->connection->at,
                                            .keyspace = session_keyspace(request->connection),
                                            .version = request->header.version,
                                            .paging_state = bytes_null(),
                                            .timestamp = timestamp,
                                            .now = timestamp / 1000000,
                                            .out = &request->connection->out};
}

/* The parameters of QUERY and EXECUTE (native_protocol_v4.spec §4.1.4). */
static bool read_parameters(struct request *request)
{
    struct wire_reader *reader = &request->reader;
    struct execution *execution = &request->execution;
    if (!read_consistency(request))
        return false;
    unsigned flags = wire_u8(reader);
    if ((flags & PARAM_VALUES) != 0 &&
        !read_values(request, (flags & PARAM_NAMES) != 0, &request->values, &request->names,
                     &request->value_count))
        return false;
    execution->skip_metadata = (flags & PARAM_SKIP_METADATA) != 0;
    if ((flags & PARAM_PAGE_SIZE) != 0)
        execution->page_size = wire_i32(reader);
    if ((flags & PARAM_PAGING_STATE) != 0)
        execution->paging_state = wire_bytes(reader);
    if ((flags & PARAM_SERIAL) != 0 && !read_consistency(request))
        return false;
    if ((flags & PARAM_TIMESTAMP) != 0) {
        execution->timestamp = wire_i64(reader);
        if (!reader->failed && execution->timestamp == INT64_MIN)
            return failure_set(&request->failure, CQL_PROTOCOL_ERROR,
                               "Out of bound timestamp, must be in [%lld, %lld]",
                               (long long)INT64_MIN + 1, (long long)INT64_MAX);
    }
    return !reader->failed || malformed(request, "the query parameters are cut short");
}

/* Puts named values into the order of the markers, whose names a dry run finds out. */
static bool order_values(struct request *request, const struct statement *statement)
{
    struct execution *execution = &request->execution;
    execution->values = request->values;
    execution->value_count = request->value_count;
    if (request->names == NULL)
        return true;
    struct execution dry = *execution;
    struct dynbuf ignored;
    dynbuf_init(&ignored, WIRE_MAX_BODY);
    dry.out = &ignored;
    uint8_t id[16] = {0};
    bool ok = execute_prepare(&dry, statement, id);
    dynbuf_fini(&ignored);
    if (!ok)
        return false;
    struct bytes *ordered =
        arena_alloc(&request->server->scratch, (statement->marker_count + 1) * sizeof *ordered);
    for (size_t i = 0; i < statement->marker_count; i++) {
        size_t at = 0;
        while (at < request->value_count &&
               !bytes_equal_text(request->names[at], dry.markers[i].name))
            at++;
        if (at == request->value_count)
            return INVALID(&request->failure,
                           "Invalid amount of bind variables: %.60s is not given",
                           dry.markers[i].name);
        ordered[i] = request->values[at];
    }
    execution->values = ordered;
    execution->value_count = statement->marker_count;
    return true;
}

static void random_bytes(struct dynbuf *out)
{
    uint8_t noise[512];
    CHECK(getrandom(noise, sizeof noise, 0) == (ssize_t)sizeof noise);
    noise[0] |= 0x40; /* certainly no version */
    dynbuf_append(out, noise, sizeof noise);
}

/* True when a fault takes the request's place: nothing else may be done with it. */
static bool faulted(struct request *request, const struct fault_subject *subject)
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
        random_bytes(&connection->out);
        connection_mark_dirty(connection);
        return true;
    }
    if (faults_take(faults, FAULT_ERROR, subject, &fault)) {
        failure_set(&request->failure, fault.code, "%s", fault.text);
        answer_error(request);
        return true;
    }
    return false;
}

static void count_statement(struct server *server, const struct statement *statement,
                            const char *keyspace)
{
    if (execute_is_system(statement, keyspace))
        server->system_statements++;
    else
        server->by_class[execute_class(statement)]++;
}

static struct fault_subject subject_of(const struct request *request,
                                       const struct statement *statement, const char *keyspace)
{
    struct fault_subject subject = {.opcode = request->header.opcode};
    if (statement == NULL || execute_is_system(statement, keyspace))
        return subject;
    enum statement_class class = execute_class(statement);
    subject.is_read = class == CLASS_SELECT;
    subject.is_write = class >= CLASS_INSERT && class <= CLASS_BATCH;
    return subject;
}

static void put_outcome(struct request *request)
{
    struct connection *connection = request->connection;
    const struct execution *execution = &request->execution;
    struct dynbuf *out = &connection->out;
    const struct schema_change *change = &execution->change;
    switch (execution->outcome) {
    case OUTCOME_ROWS:
        break;
    case OUTCOME_VOID:
        wire_put_i32(out, KIND_VOID);
        break;
    case OUTCOME_SET_KEYSPACE:
        snprintf(connection->keyspace, sizeof connection->keyspace, "%s", execution->use);
        wire_put_i32(out, KIND_SET_KEYSPACE);
        wire_put_string(out, execution->use);
        break;
    case OUTCOME_SCHEMA_CHANGE:
        wire_put_i32(out, KIND_SCHEMA_CHANGE);
        wire_put_string(out, change->change);
        wire_put_string(out, change->target);
        wire_put_string(out, change->keyspace);
        if (change->name[0] != '\0')
            wire_put_string(out, change->name);
        break;
    }
}

static bool run(struct request *request, const struct statement *statement, const char *keyspace)
{
    request->execution.keyspace = keyspace;
    count_statement(request->server, statement, keyspace);
    begin(request, OP_RESULT);
    if (!order_values(request, statement) || !execute_statement(&request->execution, statement))
        return false;
    put_outcome(request);
    return true;
}

/* Both handlers below leave faulted requests to *done: nothing more is to be answered. */
static bool handle_query(struct request *request, bool *done)
{
    struct connection *connection = request->connection;
    struct bytes text = wire_long_string(&request->reader);
    if (request->reader.failed)
        return malformed(request, "the query text is cut short");
    start_execution(request);
    if (!read_parameters(request))
        return false;
    const char *keyspace = session_keyspace(connection);
    struct statement *statement = parser_parse(&request->server->scratch, (const char *)text.data,
                                               (size_t)text.length, &request->failure);
    struct fault_subject subject = subject_of(request, statement, keyspace);
    *done = faulted(request, &subject);
    if (*done || statement == NULL)
        return false;
    return run(request, statement, keyspace);
}

static bool unprepared(struct request *request, struct bytes id)
{
    char text[33] = "";
    for (int32_t i = 0; i < 16 && i < id.length; i++)
        snprintf(text + 2 * i, 3, "%02x", id.data[i]);
    failure_set(&request->failure, CQL_UNPREPARED,
                "Prepared query with ID %s not found (either the query was not prepared on this "
                "host (maybe the host has been restarted?) or you have prepared too many queries "
                "and it has been evicted from the internal cache)",
                text);
    memset(request->failure.prepared_id, 0, 16);
    if (id.length > 0)
        memcpy(request->failure.prepared_id, id.data, id.length > 16 ? 16 : (size_t)id.length);
    return false;
}

static const struct prepared *find_prepared(struct request *request, struct bytes id)
{
    return id.length != 16 ? NULL : prepared_find(&request->server->prepared, id.data);
}

static bool handle_execute(struct request *request, bool *done)
{
    struct bytes id = wire_short_bytes(&request->reader);
    if (request->reader.failed)
        return malformed(request, "the prepared id is cut short");
    start_execution(request);
    if (!read_parameters(request))
        return false;
    const struct prepared *prepared = find_prepared(request, id);
    struct fault_subject subject =
        subject_of(request, prepared == NULL ? NULL : prepared->statement,
                   prepared == NULL ? NULL : prepared->keyspace);
    *done = faulted(request, &subject);
    if (*done)
        return false;
    if (prepared == NULL)
        return unprepared(request, id);
    return run(request, prepared->statement, prepared->keyspace);
}

static bool handle_prepare(struct request *request, bool *done)
{
    struct server *server = request->server;
    struct bytes text = wire_long_string(&request->reader);
    if (request->reader.failed)
        return malformed(request, "the query text is cut short");
    struct fault_subject subject = {.opcode = OP_PREPARE};
    *done = faulted(request, &subject);
    if (*done)
        return false;
    start_execution(request);
    const char *keyspace = session_keyspace(request->connection);
    struct prepared *prepared = prepared_add(&server->prepared, keyspace, text, &request->failure);
    if (prepared == NULL)
        return false;
    begin(request, OP_RESULT);
    if (execute_prepare(&request->execution, prepared->statement, prepared->id))
        return true;
    prepared_remove(&server->prepared, prepared);
    return false;
}

static bool read_batched(struct request *request, struct batched *batched)
{
    struct wire_reader *reader = &request->reader;
    unsigned kind = wire_u8(reader);
    bool ok = true;
    if (kind == 0) {
        struct bytes text = wire_long_string(reader);
        if (reader->failed)
            return malformed(request, "a query of the batch is cut short");
        batched->keyspace = session_keyspace(request->connection);
        batched->statement = parser_parse(&request->server->scratch, (const char *)text.data,
                                          (size_t)text.length, &request->failure);
        ok = batched->statement != NULL;
    } else if (kind == 1) {
        struct bytes id = wire_short_bytes(reader);
        const struct prepared *prepared = reader->failed ? NULL : find_prepared(request, id);
        ok = prepared != NULL || unprepared(request, id);
        if (ok) {
            batched->statement = prepared->statement;
            batched->keyspace = prepared->keyspace;
        }
    } else {
        return malformed(request, "a batch holds something that is neither query nor prepared");
    }
    if (!ok)
        return false;
    if (!read_values(request, false, &batched->values, NULL, &batched->value_count))
        return false;
    enum statement_class class = execute_class(batched->statement);
    return (class >= CLASS_INSERT && class <= CLASS_DELETE) ||
           INVALID(&request->failure, "Invalid statement in batch: only UPDATE, INSERT and DELETE "
                                      "statements are allowed.");
}

static bool run_batch(struct request *request, const struct batched *batched, size_t count)
{
    struct execution *execution = &request->execution;
    bool any_rows = false;
    request->server->by_class[CLASS_BATCH]++;
    begin(request, OP_RESULT);
    size_t body = request->connection->out.length;
    for (size_t i = 0; i < count; i++) {
        size_t before = request->connection->out.length;
        execution->keyspace = batched[i].keyspace;
        execution->values = batched[i].values;
        execution->value_count = batched[i].value_count;
        if (!execute_statement(execution, batched[i].statement))
            return false;
        if (execution->outcome == OUTCOME_ROWS && before > body) {
            size_t length = request->connection->out.length - before;
            memmove(request->connection->out.data + body, request->connection->out.data + before,
                    length);
            request->connection->out.length = body + length;
        }
        any_rows |= execution->outcome == OUTCOME_ROWS;
    }
    execution->outcome = any_rows ? OUTCOME_ROWS : OUTCOME_VOID;
    put_outcome(request);
    return true;
}

static bool handle_batch(struct request *request, bool *done)
{
    struct wire_reader *reader = &request->reader;
    unsigned type = wire_u8(reader);
    size_t count = wire_u16(reader);
    struct batched *batched = NULL;
    size_t known = 0;
    if (type > 2)
        return malformed(request, "unknown batch type");
    start_execution(request);
    /* A refused child waits until the faults have had their say, as they do for single statements.
     */
    bool ok = true;
    while (known < count && ok && !reader->failed) {
        struct batched *slot =
            arena_push(&request->server->scratch, (void **)&batched, &known, sizeof *slot);
        ok = read_batched(request, slot);
    }
    if (reader->failed)
        return malformed(request, "the batch is cut short");
    struct fault_subject subject = {.opcode = OP_BATCH, .is_write = true};
    *done = faulted(request, &subject);
    if (*done || !ok || !read_consistency(request))
        return false;
    unsigned flags = wire_u8(reader);
    if ((flags & PARAM_SERIAL) != 0 && !read_consistency(request))
        return false;
    if ((flags & PARAM_TIMESTAMP) != 0)
        request->execution.timestamp = wire_i64(reader);
    if (reader->failed)
        return malformed(request, "the batch's parameters are cut short");
    return run_batch(request, batched, count);
}

/* Is the opcode allowed where the connection stands? */
static bool expected(struct request *request)
{
    unsigned opcode = request->header.opcode;
    const char *name = wire_opcode_name(opcode);
    enum connection_state state = request->connection->state;
    if (name == NULL)
        return malformed(request, "unknown opcode");
    bool is_request = opcode == OP_STARTUP || opcode == OP_OPTIONS || opcode == OP_QUERY ||
                      opcode == OP_PREPARE || opcode == OP_EXECUTE || opcode == OP_REGISTER ||
                      opcode == OP_BATCH || opcode == OP_AUTH_RESPONSE;
    if (!is_request)
        return malformed(request, "the opcode is not one of a request");
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

static bool check_frame(struct request *request)
{
    struct connection *connection = request->connection;
    if (connection->version == 0)
        connection->version = request->header.version;
    if (connection->version != request->header.version)
        return malformed(request, "the protocol version changed on this connection");
    if ((request->header.flags & WIRE_FLAG_COMPRESSED) != 0)
        return malformed(request, "compressed although no compression was agreed on");
    if ((request->header.flags & WIRE_FLAG_PAYLOAD) != 0) {
        size_t count = wire_u16(&request->reader);
        for (size_t i = 0; i < count && !request->reader.failed; i++) {
            wire_string(&request->reader);
            wire_bytes(&request->reader);
        }
        if (request->reader.failed)
            return malformed(request, "the custom payload is cut short");
    }
    return expected(request);
}

static bool dispatch(struct request *request, bool *done)
{
    struct fault_subject subject = {.opcode = request->header.opcode};
    switch (request->header.opcode) {
    case OP_QUERY:
        return handle_query(request, done);
    case OP_EXECUTE:
        return handle_execute(request, done);
    case OP_PREPARE:
        return handle_prepare(request, done);
    case OP_BATCH:
        return handle_batch(request, done);
    default:
        break;
    }
    *done = faulted(request, &subject);
    if (*done)
        return false;
    switch (request->header.opcode) {
    case OP_OPTIONS:
        return handle_options(request);
    case OP_STARTUP:
        return handle_startup(request);
    case OP_AUTH_RESPONSE:
        return handle_auth(request);
    default:
        return handle_register(request);
    }
}

/* Delays and holds apply to answers that would have been given. */
static void postpone(struct request *request, const struct fault_subject *subject)
{
    struct fault fault;
    if (request->server->faults.count == 0 || request->connection->closing)
        return;
    if (faults_take(&request->server->faults, FAULT_HOLD, subject, &fault))
        connection_defer(request->connection, request->start, 0);
    else if (faults_take(&request->server->faults, FAULT_DELAY, subject, &fault))
        connection_defer(request->connection, request->start, fault.delay_ms);
}

void request_handle(struct connection *connection, const struct wire_header *header,
                    const uint8_t *body)
{
    struct server *server = connection->server;
    struct request request = {.connection = connection, .server = server, .header = *header};
    request.reader = (struct wire_reader){body, body + header->length, false};
    request.start = connection->out.length;
    if (header->opcode < OP_LIMIT)
        server->by_opcode[header->opcode]++;
    bool done = false;
    bool ok = check_frame(&request) && dispatch(&request, &done);
    if (ok && connection->out.failed)
        ok = failure_set(&request.failure, CQL_SERVER_ERROR,
                         "The answer is larger than a frame may be");
    if (ok)
        connection_end_frame(connection, request.start);
    else if (!done)
        answer_error(&request);
    if (ok && request.execution.outcome == OUTCOME_SCHEMA_CHANGE)
        server_schema_event(server, &request.execution.change);
    if (ok || !done)
        postpone(&request, &request.subject);
    arena_reset(&server->scratch);
}
