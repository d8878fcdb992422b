/* One statement on its way through the engine: what it was given and what came of it. */
#pragma once

#include "ast.h"
#include "cluster.h"
#include "schema.h"
#include "storage.h"

struct engine {
    struct cluster cluster;
    struct schema schema;
    int64_t last_timestamp; /* server clock, microseconds, strictly rising */
    uint32_t uuid_counter;
};

/* execute.c: microseconds, later than any before. */
int64_t engine_timestamp(struct engine *engine);

/* What a marker stands for, found out by going through the statement. */
struct marker {
    const char *name;
    const struct cql_type *type;
};

enum outcome {
    OUTCOME_VOID,
    OUTCOME_ROWS, /* execution->out holds the whole body */
    OUTCOME_SET_KEYSPACE,
    OUTCOME_SCHEMA_CHANGE,
};

struct schema_change {
    const char *change; /* CREATED, UPDATED, DROPPED */
    const char *target; /* KEYSPACE, TABLE, TYPE */
    const char *keyspace;
    const char *name; /* "" for a keyspace */
};

struct execution {
    struct engine *engine;
    struct arena *arena;
    struct failure *failure;
    const struct node *node;
    const char *keyspace; /* the session's, or NULL */
    unsigned version;

    const struct bytes *values; /* bound values in the order of markers */
    size_t value_count;
    int32_t page_size; /* <= 0: everything */
    struct bytes paging_state;
    bool page_in_bytes; /* DSE: page_size is */
    int32_t page;       /* DSE: number of this page of continuous paging; 0: it is not */
    bool last_page;     /* .. and no other may follow */
    bool skip_metadata;
    struct bytes
        metadata_id;   /* of the result metadata the client knows; null: nothing to compare */
    int64_t timestamp; /* microseconds for writes without USING TIMESTAMP */
    int64_t now;       /* second */

    bool preparing; /* only find out markers and metadata: nothing is read or written */
    struct marker *markers;
    size_t marker_count;
    const struct table *table;  /* the one the statement is about; NULL: none */
    int32_t *partition_markers; /* per partition column the marker that gives it, else -1 */

    uint8_t result_id[16];  /* PREPARE: of the result metadata */
    struct dynbuf *out;     /* RESULT body */
    struct bytes next_page; /* paging state of the rows that were put out; null: no more */
    enum outcome outcome;
    struct schema_change change;
    const char *use;
};

struct result_column {
    const char *name;
    const struct cql_type *type;
};

/* terms.c: a term as a value of type. name is what a marker there is called. Unset comes back as
 * unset. */
MUST_CHECK bool term_evaluate(struct execution *execution, const struct term *term,
                              const struct cql_type *type, const char *name, struct bytes *value);
/* The same for values that may be neither null nor unset. */
MUST_CHECK bool term_evaluate_present(struct execution *execution, const struct term *term,
                                      const struct cql_type *type, const char *name,
                                      struct bytes *value);
/* functions.c */
/* A version 1 uuid of that moment: 16 bytes in the execution's arena. */
struct bytes function_timeuuid(struct execution *execution, int64_t microseconds);
/* What a TERM_CALL gives, and its type. */
MUST_CHECK bool function_call(struct execution *execution, const struct term *term,
                              const struct cql_type **type, struct bytes *value);
MUST_CHECK bool function_result_type(struct execution *execution, const struct term *term,
                                     const struct cql_type **type);
/* collections.c: brings sets and maps into the order of their type and takes out doubles. value is
 * valid. */
struct bytes collection_normalize(struct arena *arena, const struct cql_type *type,
                                  struct bytes value);
/* column = column + value and so on; current may be null. */
struct bytes collection_add(struct arena *arena, const struct cql_type *type, struct bytes current,
                            struct bytes added);
struct bytes collection_prepend(struct arena *arena, const struct cql_type *type,
                                struct bytes current, struct bytes added);
/* removed is a list of elements, or a set of them (keys for a map). */
struct bytes collection_subtract(struct arena *arena, const struct cql_type *type,
                                 struct bytes current, struct bytes removed);
/* column[key] = value; null removes. False: a list has no such index. */
bool collection_put(struct arena *arena, const struct cql_type *type, struct bytes current,
                    struct bytes key, struct bytes value, struct bytes *result);
/* Map value by key; null when absent. */
struct bytes collection_get(const struct cql_type *type, struct bytes current, struct bytes key);
bool collection_contains(const struct cql_type *type, struct bytes current, struct bytes element,
                         bool key);

/* execute.c */
MUST_CHECK bool execute_find_table(struct execution *execution, const struct statement *statement,
                                   struct table **table);
MUST_CHECK bool execute_find_column(struct execution *execution, const struct table *table,
                                    const char *name, struct column **column);
MUST_CHECK bool execute_select(struct execution *execution, const struct statement *statement);
MUST_CHECK bool execute_write(struct execution *execution, const struct statement *statement);
MUST_CHECK bool execute_batch(struct execution *execution, const struct statement *statement);
MUST_CHECK bool execute_ddl(struct execution *execution, const struct statement *statement);
MUST_CHECK bool execute_describe(struct execution *execution, const struct statement *statement);

/* result.c: metadata and bodies of RESULT frames. paging may be null. */
void result_put_metadata(struct execution *execution, struct dynbuf *out,
                         const struct result_column *columns, size_t count);
/* What result metadata is known by from version 5 on: the MD5 of its table, columns and types. */
void result_metadata_id(const struct execution *execution, const struct result_column *columns,
                        size_t count, uint8_t id[16]);
void result_put_rows(struct execution *execution, const struct result_column *columns, size_t count,
                     struct bytes paging, const struct dynbuf *rows, int32_t row_count);
