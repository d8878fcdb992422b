/* What QUERY, EXECUTE and BATCH carry besides the statement: values, paging, timestamps. Owned by
 * the main thread. */
#include "request.h"

#define PARAM_VALUES        0x01U
#define PARAM_SKIP_METADATA 0x02U
#define PARAM_PAGE_SIZE     0x04U
#define PARAM_PAGING_STATE  0x08U
#define PARAM_SERIAL        0x10U
#define PARAM_TIMESTAMP     0x20U
#define PARAM_NAMES         0x40U
#define PARAM_KEYSPACE      0x80U
#define PARAM_NOW           0x100U
#define PARAM_PAGE_IN_BYTES 0x40000000U /* DSE */
#define PARAM_CONTINUOUS    0x80000000U /* DSE */
#define HIGHEST_CONSISTENCY 0x0A

bool parameters_values(struct request *request, bool named, struct bytes **values,
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
        if (!reader->failed)
            last_request_value(request->last, named ? (*names)[i] : bytes_null(), (*values)[i]);
    }
    return !reader->failed || request_malformed(request, "a bound value is cut short");
}

static bool read_consistency(struct request *request, int *remembered)
{
    unsigned consistency = wire_u16(&request->reader);
    *remembered = (int)consistency;
    return consistency <= HIGHEST_CONSISTENCY ||
           failure_set(&request->failure, CQL_PROTOCOL_ERROR,
                       "Unknown code %u for a consistency level", consistency);
}

void parameters_start(struct request *request)
{
    struct server *server = request->server;
    int64_t timestamp = engine_timestamp(&server->engine);
    request->execution = (struct execution){.engine = &server->engine,
                                            .arena = &server->scratch,
                                            .failure = &request->failure,
                                            .node = request->connection->at,
                                            .keyspace = request->keyspace,
                                            .version = request->header.version,
                                            .paging_state = bytes_null(),
                                            .next_page = bytes_null(),
                                            .metadata_id = bytes_null(),
                                            .timestamp = timestamp,
                                            .now = timestamp / 1000000,
                                            .out = &request->connection->out};
}

/* One byte before version 5, four from then on. */
static uint32_t read_flags(struct request *request)
{
    request->last->flags = wire_has_int_flags(request->header.version) ? wire_u32(&request->reader)
                                                                       : wire_u8(&request->reader);
    return request->last->flags;
}

static bool read_timestamp(struct request *request)
{
    struct execution *execution = &request->execution;
    execution->timestamp = wire_i64(&request->reader);
    request->last->timestamp = execution->timestamp;
    return request->reader.failed || execution->timestamp != INT64_MIN ||
           failure_set(&request->failure, CQL_PROTOCOL_ERROR,
                       "Out of bound timestamp, must be in [%lld, %lld] (got %lld)",
                       (long long)INT64_MIN + 1, (long long)INT64_MAX, (long long)INT64_MIN);
}

/* What is at the end of QUERY, EXECUTE and BATCH alike. */
static bool read_common(struct request *request, uint32_t flags)
{
    struct wire_reader *reader = &request->reader;
    struct execution *execution = &request->execution;
    if ((flags & PARAM_SERIAL) != 0) {
        if (!read_consistency(request, &request->last->serial_consistency))
            return false;
    }
    if ((flags & PARAM_TIMESTAMP) != 0 && !read_timestamp(request))
        return false;
    if (wire_has_metadata_ids(request->header.version) && (flags & PARAM_KEYSPACE) != 0) {
        struct bytes keyspace = wire_string(reader);
        request->keyspace =
            arena_copy(&request->server->scratch, keyspace.data, (size_t)keyspace.length);
        execution->keyspace = request->keyspace;
        last_request_text(&request->last->keyspace, keyspace);
    }
    if (wire_has_segments(request->header.version) && (flags & PARAM_NOW) != 0) {
        execution->now = wire_i32(reader);
        request->last->now_in_seconds = execution->now;
    }
    return true;
}

static void read_continuous(struct request *request, uint32_t flags)
{
    struct wire_reader *reader = &request->reader;
    struct execution *execution = &request->execution;
    struct continuous *continuous = &request->continuous;
    execution->page_in_bytes = (flags & PARAM_PAGE_IN_BYTES) != 0;
    if ((flags & PARAM_CONTINUOUS) == 0)
        return;
    continuous->wanted = true;
    continuous->most_pages = wire_i32(reader);
    continuous->per_second = wire_i32(reader);
    if (request->header.version == WIRE_DSE2)
        continuous->pages_ahead = wire_i32(reader);
    execution->page = 1;
    if (request->pager != NULL) {
        execution->page = request->pager->page;
        execution->paging_state = request->pager->state;
    }
    execution->last_page = paging_is_last(continuous, execution->page);
}

/* native_protocol_v4.spec §4.1.4, v5.spec §4.1.4. */
bool parameters_read(struct request *request)
{
    struct wire_reader *reader = &request->reader;
    struct execution *execution = &request->execution;
    if (!read_consistency(request, &request->last->consistency))
        return false;
    uint32_t flags = read_flags(request);
    if ((flags & PARAM_VALUES) != 0 &&
        !parameters_values(request, (flags & PARAM_NAMES) != 0, &request->values, &request->names,
                           &request->value_count))
        return false;
    execution->skip_metadata = (flags & PARAM_SKIP_METADATA) != 0;
    if ((flags & PARAM_PAGE_SIZE) != 0)
        execution->page_size = wire_i32(reader);
    if ((flags & PARAM_PAGING_STATE) != 0)
        execution->paging_state = wire_bytes(reader);
    last_request_page(request->last, execution->page_size, execution->paging_state);
    if (!read_common(request, flags))
        return false;
    if (wire_is_dse(request->header.version))
        read_continuous(request, flags);
    return !reader->failed || request_malformed(request, "the query parameters are cut short");
}

bool parameters_read_batch(struct request *request)
{
    if (!read_consistency(request, &request->last->consistency))
        return false;
    uint32_t flags = read_flags(request);
    if (!read_common(request, flags))
        return false;
    return !request->reader.failed ||
           request_malformed(request, "the batch's parameters are cut short");
}
