/* The statement scanner: one pass over tokens, see cql_scan.h. Pure; runs on the workers for every
 * QUERY and PREPARE. It must never fail, allocate, or judge the statement: whether it is valid CQL
 * is for the clusters to say. */
#include "proto/cql_scan.h"

#include <string.h>

#include "proto/cql_token.h"

void cql_scan_name(struct cql_token token, struct cql_name *name)
{
    size_t length = 0;
    name->is_quoted = token.kind == CQL_TOKEN_QUOTED_NAME;
    if (!cql_token_value(token, name->text, sizeof name->text, &length)) {
        length = 0;
        name->text[0] = '\0';
    }
    name->length = (uint8_t)length;
}

static bool is_name(struct cql_token token)
{
    return token.kind == CQL_TOKEN_WORD || token.kind == CQL_TOKEN_QUOTED_NAME;
}

static bool find_word(struct cql_lexer *lexer, const char *text)
{
    struct cql_token word;
    while (cql_lexer_next_word(lexer, &word)) {
        if (cql_token_is_word(word, text))
            return true;
    }
    return false;
}

/* Behind USING: `TTL 60 AND TIMESTAMP ?` and the like. Looks at a copy of the lexer, so that what
 * follows is seen by whoever goes on. */
static bool has_timestamp(struct cql_lexer lexer)
{
    struct cql_token token = cql_lexer_next(&lexer);
    while (token.kind == CQL_TOKEN_WORD && !cql_token_is_word(token, "timestamp")) {
        /* The attribute's value: 60, -1, ?, :name. */
        token = cql_lexer_next(&lexer);
        if (cql_token_is_symbol(token, ':') || cql_token_is_symbol(token, '-'))
            (void)cql_lexer_next(&lexer);
        if (!cql_token_is_word(cql_lexer_next(&lexer), "and"))
            return false;
        token = cql_lexer_next(&lexer);
    }
    return token.kind == CQL_TOKEN_WORD;
}

static void scan_write(struct cql_lexer *lexer, struct cql_scan *scan)
{
    struct cql_token word;
    if (scan->statement == CQL_STATEMENT_BATCH) {
        struct cql_lexer ahead = *lexer;
        if (cql_token_is_word(cql_lexer_next(&ahead), "using"))
            scan->has_timestamp = has_timestamp(ahead);
    }
    while (cql_lexer_next_word(lexer, &word)) {
        if (cql_token_is_word(word, "if"))
            scan->is_conditional = true;
        else if (scan->statement != CQL_STATEMENT_BATCH && cql_token_is_word(word, "using"))
            scan->has_timestamp = has_timestamp(*lexer);
        if (scan->is_conditional) {
            /* Whether it says when it happened cannot matter any more. */
            scan->may_call = true;
            return;
        }
    }
    scan->may_call = lexer->may_call;
}

static void scan_table(struct cql_lexer *lexer, struct cql_scan *scan)
{
    if (!find_word(lexer, "from"))
        return;
    struct cql_token first = cql_lexer_next(lexer);
    if (!is_name(first))
        return;
    scan->has_table = true;
    if (!cql_token_is_symbol(cql_lexer_next(lexer), '.')) {
        scan->table = first;
        return;
    }
    struct cql_token second = cql_lexer_next(lexer);
    if (!is_name(second)) {
        scan->has_table = false;
        return;
    }
    scan->has_keyspace = true;
    scan->keyspace = first;
    scan->table = second;
}

/* What BEGIN begins. */
static enum cql_statement begin_of(struct cql_lexer *lexer, struct cql_scan *scan)
{
    struct cql_token next = cql_lexer_next(lexer);
    scan->is_unlogged = cql_token_is_word(next, "unlogged");
    scan->is_counter = cql_token_is_word(next, "counter");
    if (scan->is_unlogged || scan->is_counter || cql_token_is_word(next, "logged"))
        next = cql_lexer_next(lexer);
    return cql_token_is_word(next, "batch") ? CQL_STATEMENT_BATCH : CQL_STATEMENT_OTHER;
}

static enum cql_statement statement_of(struct cql_token token, struct cql_lexer *lexer,
                                       struct cql_scan *scan)
{
    switch (token.length) { /* each length leaves few to compare with */
    case 3:
        return cql_token_is_word(token, "use") ? CQL_STATEMENT_USE : CQL_STATEMENT_OTHER;
    case 4:
        return cql_token_is_word(token, "desc") ? CQL_STATEMENT_DESCRIBE : CQL_STATEMENT_OTHER;
    case 5:
        return cql_token_is_word(token, "begin") ? begin_of(lexer, scan) : CQL_STATEMENT_OTHER;
    case 6:
        return cql_token_is_word(token, "select")   ? CQL_STATEMENT_SELECT
               : cql_token_is_word(token, "insert") ? CQL_STATEMENT_INSERT
               : cql_token_is_word(token, "update") ? CQL_STATEMENT_UPDATE
               : cql_token_is_word(token, "delete") ? CQL_STATEMENT_DELETE
                                                    : CQL_STATEMENT_OTHER;
    case 8:
        return cql_token_is_word(token, "describe") ? CQL_STATEMENT_DESCRIBE : CQL_STATEMENT_OTHER;
    default:
        return CQL_STATEMENT_OTHER;
    }
}

void cql_scan(const char *text, size_t length, struct cql_scan *scan)
{
    *scan = (struct cql_scan){.statement = CQL_STATEMENT_OTHER};
    struct cql_lexer lexer = cql_lexer_over(text, length);
    scan->statement = statement_of(cql_lexer_next(&lexer), &lexer, scan);
    switch (scan->statement) {
    case CQL_STATEMENT_SELECT:
        scan_table(&lexer, scan);
        break;
    case CQL_STATEMENT_INSERT:
    case CQL_STATEMENT_UPDATE:
    case CQL_STATEMENT_DELETE:
    case CQL_STATEMENT_BATCH:
        scan_write(&lexer, scan);
        break;
    default:
        break;
    }
}
