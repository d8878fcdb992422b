/* The few parts of request bodies that routing needs (native protocol v3 and v4, section 4.1).
 * Everything else is forwarded unread. Spans borrow the body. */
#pragma once

#include "common/check.h"
#include "proto/cql_cursor.h"
#include "proto/cql_frame.h"

enum cql_batch_type { CQL_BATCH_LOGGED = 0, CQL_BATCH_UNLOGGED = 1, CQL_BATCH_COUNTER = 2 };

/* Query parameter flags (section 4.1.4). */
enum cql_query_flag {
    CQL_QUERY_VALUES = 0x01,
    CQL_QUERY_SKIP_METADATA = 0x02,
    CQL_QUERY_PAGE_SIZE = 0x04,
    CQL_QUERY_PAGING_STATE = 0x08,
    CQL_QUERY_SERIAL_CONSISTENCY = 0x10,
    CQL_QUERY_TIMESTAMP = 0x20,
    CQL_QUERY_NAMES = 0x40,
};

struct cql_statement_request { /* QUERY, PREPARE, EXECUTE */
    struct cql_span text;      /* QUERY, PREPARE */
    struct cql_span id;        /* EXECUTE */
    uint32_t id_offset;        /* EXECUTE: where the id's bytes lie in the body */
    uint16_t consistency;      /* not PREPARE */
    uint8_t flags;             /* not PREPARE */
    struct cql_cursor rest;    /* what follows flags: values, page size, … */
};

/* false: the body breaks the protocol; *reason says where. */
MUST_CHECK bool cql_read_query(struct cql_header header, const uint8_t *body,
                               struct cql_statement_request *request, const char **reason);
MUST_CHECK bool cql_read_prepare(struct cql_header header, const uint8_t *body,
                                 struct cql_statement_request *request, const char **reason);
MUST_CHECK bool cql_read_execute(struct cql_header header, const uint8_t *body,
                                 struct cql_statement_request *request, const char **reason);

/* A value of a QUERY or EXECUTE: name.data is NULL where values are positional. value.data is NULL
 * for null and unset. */
MUST_CHECK bool cql_read_value(struct cql_cursor *rest, uint8_t flags, struct cql_span *name,
                               struct cql_span *value);

/* One child of a BATCH, as the walk meets it. */
struct cql_batch_child {
    bool is_prepared;
    struct cql_span text_or_id;
    uint32_t offset; /* of text_or_id's bytes in the body */
};

struct cql_batch {
    uint8_t type;
    uint16_t count;
    uint16_t consistency;
};

/* Walks a BATCH; visit is called for each child and may stop the walk by returning false. false
 * when the body breaks the protocol (*reason) or visit stopped (*reason NULL). */
MUST_CHECK bool cql_read_batch(struct cql_header header, const uint8_t *body,
                               struct cql_batch *batch,
                               bool (*visit)(void *context, const struct cql_batch_child *child),
                               void *context, const char **reason);

/* STARTUP's COMPRESSION option; data NULL when absent. false: the body is no [string map]. */
MUST_CHECK bool cql_read_startup(const uint8_t *body, size_t length, struct cql_span *compression);

/* A PLAIN token (RFC 4616) split at its NULs. false: it is none. Spans borrow token. */
MUST_CHECK bool cql_read_plain_token(struct cql_span token, struct cql_span *authzid,
                                     struct cql_span *user, struct cql_span *password);
