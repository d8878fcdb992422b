/* A parsed statement. Everything lives in the arena it was parsed into and never changes
 * afterwards. */
#pragma once

#include "literal.h"
#include "types.h"

enum statement_kind {
    STATEMENT_SELECT,
    STATEMENT_INSERT,
    STATEMENT_UPDATE,
    STATEMENT_DELETE,
    STATEMENT_BATCH,
    STATEMENT_USE,
    STATEMENT_TRUNCATE,
    STATEMENT_CREATE_KEYSPACE,
    STATEMENT_ALTER_KEYSPACE,
    STATEMENT_DROP_KEYSPACE,
    STATEMENT_CREATE_TABLE,
    STATEMENT_ALTER_TABLE,
    STATEMENT_DROP_TABLE,
    STATEMENT_CREATE_INDEX,
    STATEMENT_DROP_INDEX,
    STATEMENT_CREATE_TYPE,
    STATEMENT_DROP_TYPE,
    STATEMENT_DESCRIBE,
};

enum term_kind {
    TERM_LITERAL,
    TERM_NULL,
    TERM_MARKER,
    TERM_LIST,   /* [a, b] */
    TERM_BRACES, /* {a, b} a set, {} empty set or map */
    TERM_MAP,    /* {a: b}: keys and values alternate */
    TERM_TUPLE,  /* (a, b) */
    TERM_UDT,    /* {field: value}: names in fields */
    TERM_CALL,   /* name(arguments) */
    TERM_CAST,   /* (type) term: the only item */
};

struct term {
    enum term_kind kind;
    enum literal_kind literal;
    struct bytes text; /* literal's text or function's name */
    const char *name;  /* named marker, else NULL */
    size_t marker;     /* TERM_MARKER: its number */
    struct term **items;
    size_t count;
    const char **fields;
    const struct cql_type *type; /* TERM_CAST */
};

enum relation_op { OP_EQ, OP_LT, OP_LE, OP_GT, OP_GE, OP_NE, OP_IN, OP_CONTAINS, OP_CONTAINS_KEY };

struct relation {
    const char **columns; /* one; several for token(a, b) and (a, b) */
    size_t count;
    bool token;
    bool tuple;
    enum relation_op op;
    struct term *key;   /* column[key] = value, else NULL */
    struct term *value; /* IN: a TERM_TUPLE of the values or a marker */
};

enum assignment_op { ASSIGN_SET, ASSIGN_ADD, ASSIGN_SUBTRACT, ASSIGN_PREPEND };

/* SET column = value, column[key] = value, column = column + value, ..; also INSERT's pairs and
 * DELETE's columns. */
struct assignment {
    const char *column;
    enum assignment_op op;
    struct term *key;
    struct term *value; /* NULL in DELETE */
};

enum selector_kind { SELECT_COLUMN, SELECT_COUNT_STAR, SELECT_CALL, SELECT_TERM };

struct selector {
    enum selector_kind kind;
    const char *name; /* column or function */
    const char **arguments;
    size_t count;
    struct term *term;
    const char *alias;
};

struct ordering {
    const char *column;
    bool descending;
};

struct column_definition {
    const char *name;
    const struct cql_type *type;
    bool is_static;
};

struct property {
    const char *name;
    struct term *value;
};

enum alteration { ALTER_ADD, ALTER_DROP, ALTER_RENAME, ALTER_OPTIONS };

struct statement {
    enum statement_kind kind;
    const char *keyspace; /* NULL: the session's */
    const char *table;    /* or the type's or index's name */
    bool if_not_exists;
    bool if_exists;

    /* SELECT */
    struct selector *selectors; /* none: * */
    size_t selector_count;
    bool distinct;
    bool allow_filtering;
    struct ordering *orderings;
    size_t ordering_count;
    struct term *limit;
    struct term *partition_limit;

    /* WHERE and IF */
    struct relation *relations;
    size_t relation_count;
    struct relation *conditions;
    size_t condition_count;

    /* INSERT, UPDATE, DELETE */
    struct assignment *assignments;
    size_t assignment_count;
    struct term *timestamp;
    struct term *ttl;

    /* BATCH */
    struct statement **children;
    size_t child_count;
    bool counter_batch;

    /* DDL */
    enum alteration alteration;
    struct column_definition *columns;
    size_t column_count;
    const char **partition_keys;
    size_t partition_key_count;
    const char **clustering_keys;
    size_t clustering_key_count;
    struct ordering *clustering_orders;
    size_t clustering_order_count;
    struct property *properties;
    size_t property_count;
    const char *index_name;
    const char *index_target;
    const char *describe_what; /* first word after DESCRIBE */

    size_t marker_count;
};
