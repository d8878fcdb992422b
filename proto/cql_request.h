/* The few parts of request bodies that routing needs (native protocol v3 to v5, section 4.1, and
 * DSE's dialects). Everything else is forwarded unread. Spans borrow the body, offsets count from
 * its first byte. */
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
    CQL_QUERY_KEYSPACE = 0x80,         /* v5, DSE2 */
    CQL_QUERY_NOW_IN_SECONDS = 0x100,  /* v5 */
    CQL_QUERY_PAGE_BYTES = 0x40000000, /* DSE: the page size counts bytes */
};

/* DSE: the answer comes as several frames (not in the enumeration: it is the sign bit). */
#define CQL_QUERY_CONTINUOUS_PAGING 0x80000000u

/* Flags of a PREPARE (v5, DSE2). */
#define CQL_PREPARE_KEYSPACE 0x01u

struct cql_statement_request {   /* QUERY, PREPARE, EXECUTE */
    struct cql_span text;        /* QUERY, PREPARE */
    struct cql_span id;          /* EXECUTE */
    uint32_t id_offset;          /* EXECUTE: where the id's bytes lie in the body */
    struct cql_span metadata_id; /* EXECUTE of v5 and DSE2: of the result metadata the client has */
    struct cql_span keyspace;    /* PREPARE of v5 and DSE2; data NULL: none */
    uint16_t consistency;        /* not PREPARE */
    uint32_t flags;              /* not PREPARE */
    uint32_t flags_offset;       /* not PREPARE: where the flags stand */
    struct cql_cursor rest;      /* what follows flags: values, page size, … */
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
MUST_CHECK bool cql_read_value(struct cql_cursor *rest, uint32_t flags, struct cql_span *name,
                               struct cql_span *value);

/* Everything that may follow the consistency of a QUERY, EXECUTE or BATCH, by place. What is not
 * there has has_* false and the place where it would be inserted. */
struct cql_parameters {
    uint32_t flags;
    uint32_t flags_offset;
    uint8_t flags_bytes;          /* 1, or 4 (cql_version_has_int_flags) */
    uint32_t count_offset;        /* of the number of values, [short]; not BATCH */
    uint16_t values_count;        /* 0 also when the flags announce none; not BATCH */
    uint32_t values_offset;       /* of the first value (or its name) */
    uint32_t values_end;          /* behind the last one */
    int32_t page_size;            /* 0: none */
    uint32_t paging_offset;       /* of the paging state's [int] length */
    struct cql_span paging_state; /* data NULL: none, or null */
    uint16_t serial_consistency;  /* 0: none */
    uint32_t timestamp_offset;    /* of its eight bytes */
    int64_t timestamp;
    uint32_t keyspace_offset; /* of its [short] length */
    struct cql_span keyspace; /* data NULL: none */
    uint32_t end;             /* behind all parameters; what follows is nobody's */
};

/* Reads the parameters whose flags stand at flags_offset: cql_statement_request's or cql_batch's.
 * Only the opcode, version and length of header count. false: they end too early. */
MUST_CHECK bool cql_read_parameters(struct cql_header header, const uint8_t *body,
                                    uint32_t flags_offset, struct cql_parameters *parameters,
                                    const char **reason);

static inline uint32_t cql_load_flags(const uint8_t *at, uint8_t flags_bytes)
{
    return flags_bytes == 4 ? cql_load_u32(at) : *at;
}

/* Writes flags in the form of that version; returns how many bytes. */
static inline uint8_t cql_store_flags(uint8_t *at, uint8_t version, uint32_t flags)
{
    if (!cql_version_has_int_flags(version)) {
        *at = (uint8_t)flags;
        return 1;
    }
    cql_store_u32(at, flags);
    return 4;
}

/* One child of a BATCH, as the walk meets it. */
struct cql_batch_child {
    bool is_prepared;
    struct cql_span text_or_id;
    uint32_t kind_offset;   /* of its kind byte: where the child begins */
    uint32_t offset;        /* of text_or_id's bytes; its length stands before, [int] or [short] */
    uint32_t count_offset;  /* of the number of its values, [short] */
    uint32_t values_offset; /* of the first value */
    uint32_t values_end;    /* behind the last one: where the child ends */
    uint16_t values_count;
};

struct cql_batch {
    uint8_t type;
    uint16_t count;
    uint16_t consistency;
    uint32_t flags;        /* 0 when the body ends before them */
    uint32_t flags_offset; /* of the trailing parameters (cql_read_parameters) */
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
