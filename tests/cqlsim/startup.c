/* How a connection begins: OPTIONS, STARTUP, AUTH_RESPONSE, REGISTER. Owned by the main thread. */
#include "request.h"

bool startup_options(struct request *request)
{
    struct dynbuf *out = &request->connection->out;
    const struct server *server = request->server;
    request_begin(request, OP_SUPPORTED);
    wire_put_u16(out, 3);
    wire_put_string(out, "CQL_VERSION");
    wire_put_u16(out, 1);
    wire_put_string(out, cluster_cql_version(&server->engine.cluster));
    wire_put_string(out, "COMPRESSION");
    wire_put_u16(out, (uint16_t)(server->compresses[COMPRESSION_SNAPPY] +
                                 server->compresses[COMPRESSION_LZ4]));
    if (server->compresses[COMPRESSION_SNAPPY])
        wire_put_string(out, compression_name(COMPRESSION_SNAPPY));
    if (server->compresses[COMPRESSION_LZ4])
        wire_put_string(out, compression_name(COMPRESSION_LZ4));
    wire_put_string(out, "PROTOCOL_VERSIONS");
    wire_put_u16(out, (uint16_t)(server->version_count + (server->beta != 0)));
    for (size_t i = 0; i < server->version_count; i++)
        wire_put_string(out, wire_version_name(server->versions[i]));
    if (server->beta != 0)
        wire_put_string(out, wire_beta_name(server->beta));
    return true;
}

static bool choose_compression(struct request *request, struct bytes name)
{
    enum compression compression = compression_parse(name);
    if (compression == COMPRESSION_LIMIT)
        return failure_set(&request->failure, CQL_PROTOCOL_ERROR,
                           "Unknown compression algorithm: %.*s",
                           name.length > 60 ? 60 : name.length, (const char *)name.data);
    if (!request->server->compresses[compression])
        return failure_set(&request->failure, CQL_PROTOCOL_ERROR,
                           "This instance does not support %s compression",
                           compression_name(compression));
    if (compression == COMPRESSION_SNAPPY && wire_has_segments(request->header.version))
        return failure_set(&request->failure, CQL_PROTOCOL_ERROR,
                           "Snappy compression is not supported in protocol V5");
    request->connection->compression = compression;
    return true;
}

bool startup_startup(struct request *request)
{
    struct connection *connection = request->connection;
    struct wire_reader *reader = &request->reader;
    size_t count = wire_u16(reader);
    bool version = false;
    struct bytes compression = bytes_null();
    for (size_t i = 0; i < count && !reader->failed; i++) {
        struct bytes key = wire_string(reader);
        struct bytes value = wire_string(reader);
        version |= bytes_equal(key, "CQL_VERSION");
        if (!reader->failed)
            last_request_option(request->last, key, value);
        if (bytes_equal(key, "COMPRESSION") && value.length > 0)
            compression = value;
    }
    if (reader->failed)
        return request_malformed(request, "STARTUP's map is cut short");
    if (!version)
        return failure_set(&request->failure, CQL_PROTOCOL_ERROR,
                           "Missing value CQL_VERSION in STARTUP message");
    last_request_keep(&request->server->last_requests, LAST_OTHER);
    if (compression.length > 0 && !choose_compression(request, compression))
        return false;
    request->server->by_compression[connection->compression]++;
    connection->switches = wire_has_segments(request->header.version);
    if (request->server->user_count == 0) {
        connection->state = STATE_READY;
        request_begin(request, OP_READY);
        return true;
    }
    connection->state = STATE_AUTHENTICATING;
    request_begin(request, OP_AUTHENTICATE);
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
        if (bytes_equal(name, server->users[i].name) &&
            bytes_equal(password, server->users[i].password))
            return true;
    return false;
}

bool startup_auth(struct request *request)
{
    struct bytes token = wire_bytes(&request->reader);
    if (request->reader.failed)
        return request_malformed(request, "AUTH_RESPONSE's token is cut short");
    if (!credentials_match(request->server, token))
        return failure_set(&request->failure, CQL_BAD_CREDENTIALS,
                           "Provided username and/or password are incorrect");
    request->connection->state = STATE_READY;
    request_begin(request, OP_AUTH_SUCCESS);
    wire_put_i32(&request->connection->out, -1);
    return true;
}

bool startup_register(struct request *request)
{
    static const char *const names[] = {"TOPOLOGY_CHANGE", "STATUS_CHANGE", "SCHEMA_CHANGE"};
    struct wire_reader *reader = &request->reader;
    size_t count = wire_u16(reader);
    unsigned mask = 0;
    for (size_t i = 0; i < count && !reader->failed; i++) {
        struct bytes name = wire_string(reader);
        size_t at = 0;
        while (at < ARRAY_COUNT(names) && !bytes_equal(name, names[at]))
            at++;
        if (at == ARRAY_COUNT(names) && !reader->failed)
            return failure_set(&request->failure, CQL_PROTOCOL_ERROR,
                               "Invalid value '%.*s' for Type", name.length > 60 ? 60 : name.length,
                               (const char *)name.data);
        mask |= 1U << at;
    }
    if (reader->failed)
        return request_malformed(request, "REGISTER's list is cut short");
    request->connection->registered |= mask;
    request_begin(request, OP_READY);
    return true;
}
