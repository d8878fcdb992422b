/* Sessions of continuous paging. Owned by the main thread. A session keeps its request and carries
 * it out again for each page; it waits while much output does, and ends with its connection. */
#include "paging.h"

#include "framing.h"
#include "request.h"

#define REVISE_CANCEL 1
#define REVISE_GRANT  2
#define FULL_WAIT_MS  5
#define KIND_ROWS     2

static void schedule(struct pager *pager, uint32_t ms)
{
    struct timeval after = {ms / 1000, ms % 1000 * 1000};
    evtimer_add(pager->timer, &after);
}

static void on_due(evutil_socket_t fd, short what, void *argument)
{
    (void)fd;
    (void)what;
    struct pager *pager = argument;
    if (pager->connection->closing || pager->granted == 0)
        return;
    if (framing_is_full(pager->connection))
        schedule(pager, FULL_WAIT_MS);
    else
        request_next_page(pager);
}

void paging_end(struct pager *pager)
{
    list_remove(&pager->node);
    pager->connection->pager_count--;
    event_free(pager->timer);
    free((void *)(uintptr_t)pager->state.data);
    free(pager);
}

static struct pager *start(struct request *request, const uint8_t *body)
{
    struct connection *connection = request->connection;
    size_t length = request->header.length;
    if (connection->pager_count == PAGING_MAX_SESSIONS)
        return NULL;
    struct pager *pager = calloc(1, sizeof *pager + length);
    CHECK(pager != NULL);
    pager->connection = connection;
    pager->options = request->continuous;
    pager->granted = request->continuous.pages_ahead > 0 ? request->continuous.pages_ahead : -1;
    pager->page = 1;
    pager->header = request->header;
    memcpy(pager->body, body, length);
    pager->timer = evtimer_new(connection->server->base, on_due, pager);
    CHECK(pager->timer != NULL);
    list_append(&connection->pagers, &pager->node);
    connection->pager_count++;
    return pager;
}

void paging_continue(struct request *request, const uint8_t *body)
{
    struct pager *pager = request->pager;
    struct bytes next = request->execution.next_page;
    if (!request->continuous.wanted || request->execution.outcome != OUTCOME_ROWS)
        return;
    if (next.length < 0 || paging_is_last(&request->continuous, request->execution.page)) {
        if (pager != NULL)
            paging_end(pager);
        return;
    }
    if (pager == NULL)
        pager = start(request, body);
    if (pager == NULL)
        return;
    free((void *)(uintptr_t)pager->state.data);
    uint8_t *copy = malloc((size_t)next.length + 1);
    CHECK(copy != NULL);
    memcpy(copy, next.data, (size_t)next.length);
    pager->state = (struct bytes){copy, next.length};
    pager->page++;
    if (pager->granted > 0)
        pager->granted--;
    schedule(pager,
             pager->options.per_second > 0 ? 1000U / (uint32_t)pager->options.per_second : 0);
}

static struct pager *find(const struct connection *connection, int32_t stream)
{
    for (struct list *at = connection->pagers.next; at != &connection->pagers; at = at->next) {
        struct pager *pager = CONTAINER_OF(at, struct pager, node);
        if (pager->header.stream == stream)
            return pager;
    }
    return NULL;
}

/* One row of one boolean: whether there was such a session. */
static void put_status(struct request *request, bool found)
{
    struct dynbuf *out = &request->connection->out;
    request_begin(request, OP_RESULT);
    wire_put_i32(out, KIND_ROWS);
    wire_put_i32(out, 1); /* one table for all columns */
    wire_put_i32(out, 1);
    wire_put_string(out, "");
    wire_put_string(out, "");
    wire_put_string(out, "[status]");
    type_put_option(out, type_native(TYPE_BOOLEAN));
    wire_put_i32(out, 1);
    wire_put_bytes(out, bytes_of(found ? "\1" : "\0", 1));
}

bool paging_revise(struct request *request)
{
    struct wire_reader *reader = &request->reader;
    int32_t what = wire_i32(reader);
    int32_t stream = wire_i32(reader);
    int32_t pages = what == REVISE_GRANT ? wire_i32(reader) : 0;
    if (reader->failed)
        return request_malformed(request, "REVISE_REQUEST is cut short");
    bool grant = what == REVISE_GRANT && request->header.version == WIRE_DSE2;
    if (what != REVISE_CANCEL && !grant)
        return failure_set(&request->failure, CQL_PROTOCOL_ERROR, "Unknown revision type %d", what);
    struct pager *pager = find(request->connection, stream);
    if (pager != NULL && !grant) {
        paging_end(pager);
    } else if (pager != NULL && pager->granted >= 0 && pages > 0) {
        pager->granted += pages;
        schedule(pager, 0);
    }
    put_status(request, pager != NULL);
    return true;
}
