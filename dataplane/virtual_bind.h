/* A parsed virtual statement with its columns found and its values in wire form: the conditions,
 * ready to test rows. Private to the virtual tables. Pure. */
#pragma once

#include "dataplane/virtual_parse.h"
#include "dataplane/virtual_row.h"

enum virtual_marker_kind {
    VIRTUAL_MARKER_COLUMN,
    VIRTUAL_MARKER_IN, /* a list of the column's type */
    VIRTUAL_MARKER_LIMIT,
    VIRTUAL_MARKER_PARTITION_LIMIT,
};

struct virtual_marker {
    enum virtual_marker_kind kind;
    const struct virtual_column *column; /* NULL for limits */
    enum virtual_operator operation;
    struct cql_token name; /* length 0: a `?` */
};

struct virtual_conditions {
    const struct virtual_statement *statement; /* borrowed */
    const struct virtual_column **columns;     /* of the relations */
    struct virtual_marker *markers;            /* statement->marker_count of them */
    struct cql_span *operands;                 /* of the terms; borrow the values or literals */
    uint8_t *literals;
    uint32_t limit; /* UINT32_MAX: none */
};

/* Looks up columns, encodes literals, and describes the markers. false: *error and message say why.
 * Call virtual_conditions_fini in either case. text_length: of the statement. */
MUST_CHECK bool virtual_conditions_prepare(struct virtual_conditions *conditions,
                                           const struct virtual_statement *statement,
                                           const struct topology *topology,
                                           enum virtual_table table, size_t text_length,
                                           int32_t *error, char message[512]);
/* Then takes the bound values. */
MUST_CHECK bool virtual_conditions_bind(struct virtual_conditions *conditions,
                                        const struct virtual_value *values, size_t value_count,
                                        int32_t *error, char message[512]);
void virtual_conditions_fini(struct virtual_conditions *conditions);

/* The row of proxy meets all conditions. scratch: any dynbuf, overwritten. */
bool virtual_conditions_match(const struct virtual_conditions *conditions,
                              const struct virtual_hosts *hosts, const struct topology *topology,
                              size_t proxy, struct dynbuf *scratch);

/* The name of a marker in metadata and for values given by name. Writes at most size bytes; returns
 * the length. */
size_t virtual_marker_name(const struct virtual_marker *marker, char *buffer, size_t size);
