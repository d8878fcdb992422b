/* CQL text as tokens: what the tolerant scanner and the parser of virtual queries both read.
 *
 * Comments and white space are skipped; quoting is honoured; nothing is judged. Pure, no
 * allocation, any bytes accepted, linear in the length of the text. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/check.h"

enum cql_token_kind {
    CQL_TOKEN_END,  /* end of text, also after an unterminated comment (lexer.is_unterminated) */
    CQL_TOKEN_WORD, /* letter, underscore or a byte above 0x7f, then those and digits */
    CQL_TOKEN_QUOTED_NAME, /* "…" */
    CQL_TOKEN_STRING,      /* '…' or $$…$$ */
    CQL_TOKEN_NUMBER, /* digit, then letters and digits: also 0xff and 2h30m; signs and points are
                         symbols */
    CQL_TOKEN_UUID,   /* 8-4-4-4-12 hexadecimal digits */
    CQL_TOKEN_SYMBOL, /* any other single byte */
    CQL_TOKEN_UNTERMINATED, /* a quote that never closes: the rest of the text */
};

struct cql_token {
    enum cql_token_kind kind;
    const char *text; /* borrowed, quotes included */
    size_t length;
};

struct cql_lexer {
    const char *at;
    const char *end;
    bool is_unterminated; /* a comment was never closed */
};

struct cql_lexer cql_lexer_over(const char *text, size_t length);
struct cql_token cql_lexer_next(struct cql_lexer *lexer);

/* token is the word `word` (given in lower case), in any case. */
bool cql_token_is_word(struct cql_token token, const char *word);
bool cql_token_is_symbol(struct cql_token token, char symbol);

/* Writes what an identifier or string means: quotes taken off and doubled ones halved; a WORD
 * lower-cased. *length receives the size; a NUL follows that it does not count. false: it does not
 * fit capacity, or the token is of another kind. */
MUST_CHECK bool cql_token_value(struct cql_token token, char *out, size_t capacity, size_t *length);
