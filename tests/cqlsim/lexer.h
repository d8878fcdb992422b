/* CQL text cut into tokens. */
#pragma once

#include "arena.h"
#include "failure.h"

enum token_kind {
    TOKEN_END,
    TOKEN_NAME,    /* unquoted, folded to lower case */
    TOKEN_QUOTED,  /* "Quoted" identifier, unescaped */
    TOKEN_STRING,  /* 'text' or $$text$$, unescaped */
    TOKEN_INTEGER, /* no sign */
    TOKEN_FLOAT,
    TOKEN_UUID,
    TOKEN_HEX, /* with 0x */
    TOKEN_SYMBOL,
};

struct token {
    enum token_kind kind;
    struct bytes text; /* NUL-terminated */
    char symbol[3];    /* TOKEN_SYMBOL: "(", "<=", .. */
    size_t start;      /* offset in the statement */
};

struct lexer {
    struct arena *arena;
    const char *start;
    const char *at;
    const char *end;
    struct failure *failure;
};

void lexer_init(struct lexer *lexer, struct arena *arena, const char *text, size_t length,
                struct failure *failure);
/* Skips space and comments and reads one token; false with a SYNTAX_ERROR on text that is no token.
 */
MUST_CHECK bool lexer_next(struct lexer *lexer, struct token *token);
/* SYNTAX_ERROR naming line and column of offset; returns false. */
bool lexer_fail(struct lexer *lexer, size_t offset, const char *what, const char *detail);
