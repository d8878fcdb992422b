/* RESULT/Rows bodies (native protocol v4, section 4.2.5.2) as a table of borrowed cells, and back.
 * Used for the few results the proxy itself reads or makes (system tables); rows that are only
 * forwarded are never decoded. */
#pragma once

#include "common/check.h"
#include "common/dynbuf.h"
#include "proto/cql_cursor.h"

struct cql_column {
    struct cql_span keyspace; /* borrowed */
    struct cql_span table;
    struct cql_span name;
    struct cql_span type; /* the [option] bytes, exactly as on the wire */
};

struct cql_rows {
    int32_t column_count;
    int32_t row_count;
    struct cql_column *columns; /* column_count of them, heap */
    struct cql_span *cells;     /* row_count * column_count, row by row, heap; data NULL = null */
};

/* Decodes the body of a RESULT frame of kind Rows (body starts at the [int] kind; tracing id,
 * warnings and payload already skipped). false when the bytes are not such a result. The cells
 * borrow body, which must outlive rows. Counts are checked against the bytes at hand before
 * anything is allocated. */
MUST_CHECK bool cql_rows_decode(const uint8_t *body, size_t length, struct cql_rows *rows);
void cql_rows_fini(struct cql_rows *rows);

/* Column index by exact name, or -1. */
int cql_rows_column(const struct cql_rows *rows, const char *name);
/* The cell, or a null span when the column is absent (column < 0). */
struct cql_span cql_rows_cell(const struct cql_rows *rows, int row, int column);

/* Walks over one [option], the type of a column (section 4.2.5.2); nesting is bounded. */
void cql_skip_type(struct cql_cursor *cursor);
