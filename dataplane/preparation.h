/* A PREPARE in flight: what was asked, and what the target has said while the origin is awaited.
 * Pure. Both answers together make the entry of the registry. */
#pragma once

#include "common/dynbuf.h"
#include "dataplane/classify.h"
#include "dataplane/prepared.h"
#include "proto/cql_frame.h"

struct preparation {
    struct statement_class statement;
    struct prepared_id id;          /* the target's; empty until it has answered */
    struct prepared_id metadata_id; /* the target's, where the protocol has them */
    uint8_t missing;                /* 1 << cluster: not asked */
    uint64_t routing_serial;        /* of the routing state that said so */
    bool has_columns;               /* the target's could be read */
    struct dynbuf columns;
    struct cql_span text; /* data NULL: longer than PREPARED_TEXT_MAX */
    struct cql_span keyspace;
    uint32_t function_markers; /* how many markers stand for calls the proxy evaluates */
    uint8_t bytes[];           /* of text and keyspace */
};

/* Copies text and keyspace. NULL: out of memory. */
struct preparation *preparation_new(struct statement_class statement, struct cql_span text,
                                    const char *keyspace);
void preparation_free(struct preparation *preparation); /* NULL is allowed */

/* The target's answer. */
void preparation_note_target(struct preparation *preparation, struct cql_header header,
                             const uint8_t *body);
/* The ids the statement has on the clusters when the last answer has that id: the origin's, or the
 * only one's; empty where it was not prepared. */
void preparation_ids(const struct preparation *preparation, struct cql_span last,
                     struct cql_span ids[CLUSTER_COUNT]);
/* The origin's answer, after the target's, or the only one where one is not asked: the entry, with
 * one reference, the caller's. id: by which the client is to know it; empty: as it is answered.
 * functions: the plan for those markers, malloc'd, or NULL; the
 * entry's from here on. NULL: one of them was no prepared statement, or memory is out. */
struct prepared *preparation_finish(const struct preparation *preparation, struct cql_header header,
                                    const uint8_t *body, struct cql_span id,
                                    struct function_plan *functions);
