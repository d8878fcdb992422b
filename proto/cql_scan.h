/* A tolerant one-pass scanner over CQL text: says what kind of statement it is and, for a SELECT,
 * which table it reads.
 *
 * It is not a grammar. It honours comments (`--`, `//`, slash-star), quoting ('..' with '' inside,
 * ".." with "" inside, $$..$$), letter case and nesting, and trusts nothing else, so that a SELECT
 * stays a read whatever newer syntax follows. Pure, no allocation, any bytes accepted. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/cql_token.h"

enum cql_statement {
    CQL_STATEMENT_OTHER, /* DDL, TRUNCATE, GRANT, CALL, LIST, unknown words, empty text,
                            unterminated comment … */
    CQL_STATEMENT_SELECT,
    CQL_STATEMENT_INSERT,
    CQL_STATEMENT_UPDATE,
    CQL_STATEMENT_DELETE,
    CQL_STATEMENT_BATCH, /* BEGIN [UNLOGGED|COUNTER] BATCH */
    CQL_STATEMENT_USE,
    CQL_STATEMENT_DESCRIBE, /* DESCRIBE or DESC */
};

/* Longest identifier that is kept; Cassandra allows 48 for keyspaces and tables, 222 at most
 * elsewhere. */
#define CQL_NAME_MAX 255

/* An identifier after folding: unquoted text is lower-cased, quoted text exact with "" unescaped.
 */
struct cql_name {
    uint8_t length;
    bool is_quoted;
    char text[CQL_NAME_MAX + 1]; /* NUL-terminated; an over-long identifier leaves length 0 */
};

struct cql_scan {
    enum cql_statement statement;
    bool is_unlogged;    /* BATCH only: BEGIN UNLOGGED BATCH */
    bool is_counter;     /* BATCH only: BEGIN COUNTER BATCH */
    bool is_conditional; /* a write with a top-level IF: lightweight transaction (not for CREATE …
                            IF NOT EXISTS) */
    bool has_timestamp; /* a write with a top-level USING TIMESTAMP; of a BATCH only its own counts,
                           not those of its statements */
    bool may_call;      /* a write: what may be a call without arguments is in it */
    bool has_table;     /* SELECT only: FROM was found, at nesting depth 0, followed by a name */
    bool has_keyspace;  /* the name was qualified: keyspace.table */
    struct cql_token keyspace; /* borrowed from the text; when has_keyspace */
    struct cql_token table;    /* when has_table */
};

/* Scans length bytes of text (need not be NUL-terminated, need not be UTF-8) into *scan. Total:
 * every input has a result. Linear in length; stops early where the rest cannot matter. */
void cql_scan(const char *text, size_t length, struct cql_scan *scan);

/* What token (a WORD or QUOTED_NAME) names. */
void cql_scan_name(struct cql_token token, struct cql_name *name);
