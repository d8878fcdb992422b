/* The grammar of the SELECTs the proxy answers itself (dataplane/virtual.h):
 *
 *   SELECT [DISTINCT] (* | column | count(*) | count(1)) [AS name], …  FROM [system .] table
 *     [WHERE column (= | < | > | <= | >=) term | column IN (term, …) | column IN marker [AND …]]
 *     [ORDER BY column [ASC|DESC], …] [PER PARTITION LIMIT term] [LIMIT term] [ALLOW FILTERING]
 *     [BYPASS CACHE] [USING TIMEOUT duration] [;]
 *
 * Pure; column names are not looked up here. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/check.h"
#include "proto/cql_token.h"

/* Far above what any driver sends; they bound the memory one statement may cost. */
#define VIRTUAL_SELECTORS_MAX 512
#define VIRTUAL_RELATIONS_MAX 64
#define VIRTUAL_TERMS_MAX     1024
#define VIRTUAL_ORDER_MAX     64

enum virtual_selector_kind { VIRTUAL_SELECT_ALL, VIRTUAL_SELECT_COLUMN, VIRTUAL_SELECT_COUNT };

struct virtual_selector {
    enum virtual_selector_kind kind;
    struct cql_token column; /* VIRTUAL_SELECT_COLUMN */
    struct cql_token alias;  /* length 0: none */
};

enum virtual_operator {
    VIRTUAL_EQUAL,
    VIRTUAL_LESS,
    VIRTUAL_GREATER,
    VIRTUAL_LESS_EQUAL,
    VIRTUAL_GREATER_EQUAL,
    VIRTUAL_IN,        /* IN (terms) */
    VIRTUAL_IN_MARKER, /* IN ?: the one term is a list */
};

struct virtual_term {
    bool is_marker;
    bool is_negative;       /* a minus sign stood before the literal */
    size_t marker;          /* is_marker: its number, counted from 0 */
    struct cql_token token; /* the literal, or the name of a named marker (length 0: `?`) */
};

struct virtual_relation {
    struct cql_token column;
    enum virtual_operator operation;
    size_t first_term, term_count; /* in terms */
};

struct virtual_limit {
    bool is_given;
    struct virtual_term term;
};

struct virtual_statement {
    struct virtual_selector *selectors;
    size_t selector_count;
    struct virtual_relation *relations;
    size_t relation_count;
    struct virtual_term *terms;
    size_t term_count;
    struct cql_token *order;
    size_t order_count;
    struct virtual_limit limit, per_partition_limit;
    size_t marker_count;

    /* When parsing failed: an enum cql_error and its text. */
    int32_t error;
    char message[512];
};

/* false: statement->error and message say why. Call virtual_statement_fini in either case. Tokens
 * borrow text. */
MUST_CHECK bool virtual_parse(const char *text, size_t length, const char *table,
                              struct virtual_statement *statement);
void virtual_statement_fini(struct virtual_statement *statement);

/* A name as it is shown in errors: folded, cut to fit, and nothing but printable ASCII. Returns
 * buffer. */
const char *virtual_show(struct cql_token token, char *buffer, size_t size);
