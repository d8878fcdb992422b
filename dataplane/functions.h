/* Functions whose value depends on who evaluates them: now(), uuid(), currentTimestamp() and their
 * like. Evaluated by each cluster they would leave different rows, so the proxy takes their place
 * in writes. Pure: text, metadata and values; where the values come from is function_source.h.
 *
 *   QUERY, text in a BATCH   now()  ->  (timeuuid)5b1c…           one literal, the same to both
 *   PREPARE                  now()  ->  (timeuuid):cloudgate_timeuuid_0
 *   PREPARED                 the columns of such markers are taken out of what the client sees
 *   EXECUTE, in a BATCH too  a value for each of them is put between the client's
 *
 * The cast keeps the type the call had, so overloads are resolved as before. The markers' names
 * make a rewritten text unlike any that a client sends: the ids the clusters give it stand for this
 * plan alone, and preparing again gives the same id. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/check.h"
#include "common/dynbuf.h"
#include "proto/cql_cursor.h"
#include "proto/cql_token.h"

enum function_kind {
    FUNCTION_TIMEUUID,
    FUNCTION_UUID,
    FUNCTION_TIMESTAMP,
    FUNCTION_DATE,
    FUNCTION_TIME,
    FUNCTION_KIND_COUNT
};

/* Values in their wire form (native protocol v4, section 6): 16, 16, 8, 4 and 8 bytes. */
#define FUNCTION_VALUE_MAX 16

/* Calls of one prepared statement that are replaced; a statement with more is left as it is. */
#define FUNCTIONS_PREPARED_MAX 1024

/* The same for a text with literals. */
#define FUNCTIONS_TEXT_MAX 65535

struct function_value {
    uint8_t length;
    uint8_t bytes[FUNCTION_VALUE_MAX];
};

/* Where values come from. */
struct function_maker {
    void (*make)(void *context, enum function_kind kind, struct function_value *value);
    void *context;
};

/* ---- finding calls ---- */

struct function_call {
    size_t start, end; /* bytes of the text, a qualifying `system.` included */
    enum function_kind kind;
    bool is_in_collection; /* within a list, set or map literal, where Cassandra takes no markers */
};

struct function_search {
    struct cql_lexer lexer;
    const char *text;
    struct cql_token last[3]; /* the tokens before, youngest first */
    size_t depth;             /* open brackets */
    size_t collection_depth;  /* depth within the outermost collection literal; 0: in none */
    bool is_reserved;         /* a name that begins as our markers do was met */
};

/* Whether a parenthesis pair with nothing in it stands in text: without one there is no call. Fast:
 * looks at parentheses only. */
bool functions_may_be_in(const char *text, size_t length);

/* Begins a search through a statement. false: it is no INSERT, UPDATE, DELETE or BATCH, so nothing
 * is to be replaced in it. */
MUST_CHECK bool functions_search(struct function_search *search, const char *text, size_t length);
/* The next call, in the order of the text; false: there is none. */
MUST_CHECK bool functions_next(struct function_search *search, struct function_call *call);

/* Whether a client's own statement has a bind marker named as ours are. Prepared, it could be the
 * very text that stands for somebody else's calls, with the same id. */
bool functions_has_our_marker(const char *text, size_t length);

/* ---- rewriting texts ---- */

/* What was done to a text. */
struct function_counts {
    uint32_t replaced[FUNCTION_KIND_COUNT];
    uint32_t left; /* calls that were found and could not be replaced */
};

/* Bytes to put into a text or body: `removed` bytes at offset give way to bytes, which are only
 * lent for the call. In ascending order. false: enough. */
typedef bool (*functions_emit)(void *context, size_t offset, size_t removed, const void *bytes,
                               size_t length);

/* Tells emit what replaces each call: literals of maker's values, or, with maker NULL, markers.
 * Then calls within collection literals stay, and so do all of a statement that has names like our
 * markers'. A text with more calls than the limits above stays as it is. false: emit refused. */
MUST_CHECK bool functions_replace(const char *text, size_t length,
                                  const struct function_maker *maker, functions_emit emit,
                                  void *context, struct function_counts *counts);

/* Appends the whole text that comes of it to out; nothing when nothing is replaced. false: out is
 * full. */
MUST_CHECK bool functions_write(const char *text, size_t length, const struct function_maker *maker,
                                struct dynbuf *out, struct function_counts *counts);

/* Whether anything was replaced. */
bool functions_any(const struct function_counts *counts);

/* ---- prepared statements ---- */

/* What EXECUTE must add. */
struct function_slot {
    uint16_t position; /* among all markers, from 0 */
    uint8_t kind;      /* enum function_kind */
};

struct function_plan {
    uint16_t count;
    struct function_slot slots[]; /* in the order of their positions */
};

/* Reads a PREPARED result (body: from the [int] kind on), appends it to out without the columns of
 * our markers, and gives the plan of what was taken out (malloc'd, the caller frees it).
 * version: of the frame, which decides the layout. false: it is no PREPARED result, does not have
 * expected such columns, or memory is out; out is then to be thrown away. */
MUST_CHECK bool functions_strip_metadata(uint8_t version, const uint8_t *body, size_t length,
                                         uint32_t expected, struct dynbuf *out,
                                         struct function_plan **plan);

/* Puts the plan's values among those of an EXECUTE or of a prepared child of a BATCH. values: a
 * cursor at the [short] count in body (is_absent: the request's flags said that no values follow;
 * then the count is inserted there too, and the caller sets the flag). is_named: each value has a
 * name. false: the values break the protocol, or emit refused. */
MUST_CHECK bool functions_insert_values(const struct function_plan *plan, const uint8_t *body,
                                        struct cql_cursor values, bool is_absent, bool is_named,
                                        const struct function_maker *maker, functions_emit emit,
                                        void *context, struct function_counts *counts);

/* "timeuuid", … : the CQL type of what the kind's functions return. */
const char *function_type_name(enum function_kind kind);

/* A value as a literal with its cast, NUL-terminated; returns its length. */
#define FUNCTION_LITERAL_MAX 64
size_t function_literal(enum function_kind kind, const struct function_value *value,
                        char literal[FUNCTION_LITERAL_MAX]);
