/* Requests in flight. A request's slot number is its stream id on both upstreams of its session, so
 * reserving a slot reserves the id on both before a byte is sent to either. The slot is free again
 * only when no cluster owes an answer on it: a late answer therefore never meets a reused id.
 *
 *   ISSUED ─last outcome in─► done               (slot freed)
 *      └─timeout─► EXPIRED (client answered) ─late answers in, or their connection gone─► done */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/check.h"
#include "common/list.h"
#include "dataplane/classify.h"
#include "dataplane/merge.h"
#include "dataplane/prepared.h"

struct session;
struct preparation;

/* Answers kept while the other cluster is awaited are mostly empty results, or the few columns of a
 * conditional write; these fit here. */
#define REQUEST_HELD_INLINE 128

/* What is kept of a tracing id; a client's own may be longer. */
#define REQUEST_TRACE_BYTES 32

struct request {
    struct list
        deadline; /* worker->deadlines while awaited and not expired; free list link otherwise */
    struct session *session;
    uint64_t started_ns;
    uint16_t slot;
    int16_t client_stream;
    uint8_t opcode;
    uint8_t tracked_as; /* enum metric_request, METRIC_REQUEST_COUNT for what is not (tracking.h) */
    bool is_expired;    /* the client has been answered; late answers are dropped */
    bool is_continuous; /* answered with several pages: continuous.h */
    bool is_cancelling; /* a REVISE_REQUEST that cancels it is on its way */
    bool is_cancelled;
    bool cancels; /* is such a REVISE_REQUEST, about the request in cancelled_slot */
    uint16_t cancelled_slot;
    struct statement_class statement;
    uint16_t consistency;
    enum cluster_id answerer;
    enum outcome outcomes[CLUSTER_COUNT];
    struct prepared_handle *prepared; /* EXECUTE */
    struct preparation *preparation;  /* PREPARE */
    enum cluster_id held_from;
    uint32_t held_length; /* 0: nothing is held */
    uint8_t *held;        /* a whole frame: held_inline or heap */
    uint8_t trace_length; /* of its tracing id; 0: none */
    uint8_t held_inline[REQUEST_HELD_INLINE];
    uint8_t trace_id[REQUEST_TRACE_BYTES];
};

struct request_pool {
    struct list free; /* what was used last comes first: it is still in the processor's caches */
};

/* A session's slots, grown by doubling up to its limit. */
struct request_table {
    struct request **slots; /* NULL: free */
    uint16_t *free_slots;   /* stack */
    uint32_t free_count;
    uint32_t capacity;
    uint32_t limit;
    uint32_t used;
};

void request_pool_init(struct request_pool *pool);
void request_pool_fini(struct request_pool *pool);

/* limit: slots at most, 1..32768. */
void request_table_init(struct request_table *table, uint32_t limit);
void request_table_fini(struct request_table *table);

/* Takes a slot, or NULL when all are taken or memory is out. The request is zeroed but for slot. */
struct request *request_begin(struct request_table *table, struct request_pool *pool);
/* Frees the slot and what the request holds. */
void request_end(struct request_table *table, struct request_pool *pool, struct request *request);

/* Keeps a copy of a whole frame. false: out of memory. */
MUST_CHECK bool request_hold(struct request *request, enum cluster_id from, const uint8_t *frame,
                             size_t length);
void request_drop_held(struct request *request);

static inline bool request_is_awaited(const struct request *request)
{
    return request->outcomes[CLUSTER_ORIGIN] == OUTCOME_AWAITED ||
           request->outcomes[CLUSTER_TARGET] == OUTCOME_AWAITED;
}
