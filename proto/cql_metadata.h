/* What RESULT frames say about their columns (native protocol v3 to v5, section 4.2.5, and DSE's
 * dialects): enough to tell whether two clusters describe the same ones, and where a paging state
 * stands. Pure; spans borrow the body. */
#pragma once

#include "common/check.h"
#include "common/dynbuf.h"
#include "proto/cql_cursor.h"
#include "proto/cql_frame.h"

/* Flags of result metadata. */
enum cql_metadata_flag {
    CQL_METADATA_GLOBAL_TABLE = 0x01,
    CQL_METADATA_MORE_PAGES = 0x02,
    CQL_METADATA_NO_COLUMNS = 0x04,
    CQL_METADATA_CHANGED = 0x08,
    CQL_METADATA_CONTINUOUS = 0x40000000, /* DSE: a page of several that answer one request */
};

/* A RESULT of kind Prepared. */
struct cql_prepared_result {
    struct cql_span id;
    struct cql_span metadata_id;     /* v5, DSE2; data NULL otherwise */
    struct cql_span result_metadata; /* from its flags to the end of the body */
};

/* false: the body is no Prepared result, or ends early. */
MUST_CHECK bool cql_read_prepared(struct cql_header header, const uint8_t *body,
                                  struct cql_prepared_result *prepared);

/* Appends the names and types of the columns to *columns in a form that is equal for equal columns,
 * whatever the tables are called. false: the metadata end early, nest deeper than any type does, or
 * *columns is full. */
MUST_CHECK bool cql_metadata_columns(struct cql_span metadata, struct dynbuf *columns);

/* Looks for the paging state of a RESULT of kind Rows. Only the first length bytes of the body need
 * be there; header.body_length is that of the whole. */
enum cql_paging {
    CQL_PAGING_NONE,  /* no rows, or no further page, or pages of DSE's continuous kind */
    CQL_PAGING_FOUND, /* *offset: of its [int] length in the body; *state_length: that length */
    CQL_PAGING_MORE,  /* length bytes are too few to tell */
};
enum cql_paging cql_find_paging(struct cql_header header, const uint8_t *body, size_t length,
                                uint32_t *offset, uint32_t *state_length);
