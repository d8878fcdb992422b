/* CQL text as tokens: what the tolerant scanner and the parser of virtual queries both read.
 *
 * Comments and white space are skipped; quoting is honoured; nothing is judged. Pure, no
 * allocation, any bytes accepted, linear in the length of the text. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

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
    bool may_call;        /* cql_lexer_next_word passed what may be a call without arguments */
};

struct cql_lexer cql_lexer_over(const char *text, size_t length);
struct cql_token cql_lexer_next(struct cql_lexer *lexer);

/* Passes over everything up to the next WORD outside all brackets that does not follow a point, and
 * takes it as *word. false: there is none before the text, or something unterminated, ends. It
 * looks for no UUID: the groups of one may come as words (of hexadecimal digits). */
MUST_CHECK bool cql_lexer_next_word(struct cql_lexer *lexer, struct cql_token *word);

/* token is the word `word` (letters, digits and underscores, in lower case), in any case. Inline:
 * where word is a constant, nearly every other one is told apart by its length or first byte. */
static inline bool cql_token_is_word(struct cql_token token, const char *word)
{
    size_t length = strlen(word);
    if (token.kind != CQL_TOKEN_WORD || token.length != length)
        return false;
    for (size_t i = 0; i < length; i++) {
        bool is_letter = word[i] >= 'a' && word[i] <= 'z';
        /* Of all bytes only the two cases of a letter become it by this bit. */
        if ((is_letter ? token.text[i] | 0x20 : token.text[i]) != word[i])
            return false;
    }
    return true;
}

/* token names what name (in lower case, without quotes) says: a word in any case, or quoted exactly
 * so. */
static inline bool cql_token_is_name(struct cql_token token, const char *name)
{
    size_t length = strlen(name);
    if (token.kind == CQL_TOKEN_QUOTED_NAME)
        return token.length == length + 2 && memcmp(token.text + 1, name, length) == 0;
    return cql_token_is_word(token, name);
}

static inline bool cql_token_is_symbol(struct cql_token token, char symbol)
{
    return token.kind == CQL_TOKEN_SYMBOL && token.text[0] == symbol;
}

/* Writes what an identifier or string means: quotes taken off and doubled ones halved; a WORD
 * lower-cased. *length receives the size; a NUL follows that it does not count. false: it does not
 * fit capacity, or the token is of another kind. */
MUST_CHECK bool cql_token_value(struct cql_token token, char *out, size_t capacity, size_t *length);
