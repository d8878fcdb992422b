/* What the parser's files share. A parse function returns false (or NULL) once failure is filled.
 */
#pragma once

#include "ast.h"
#include "lexer.h"

#define PARSER_MAX_DEPTH 32

struct parser {
    struct arena *arena;
    struct lexer lexer;
    struct token token; /* the one to look at */
    struct failure *failure;
    size_t marker_count;
    unsigned depth;
};

bool parser_advance(struct parser *parser);
/* SYNTAX_ERROR at the current token. */
bool parser_fail(struct parser *parser);
bool parser_is_word(const struct parser *parser, const char *word);
bool parser_is_symbol(const struct parser *parser, const char *symbol);
/* Consume the word or symbol if it is there; *matched says whether. */
bool parser_accept_word(struct parser *parser, const char *word, bool *matched);
bool parser_accept_symbol(struct parser *parser, const char *symbol, bool *matched);
bool parser_expect_word(struct parser *parser, const char *word);
bool parser_expect_symbol(struct parser *parser, const char *symbol);
/* The following text, without consuming anything: what comes after the current token. */
bool parser_peek(struct parser *parser, struct token *next);
bool parser_name(struct parser *parser, const char **name);
/* [keyspace.]name */
bool parser_qualified(struct parser *parser, const char **keyspace, const char **name);
bool parser_term(struct parser *parser, struct term **term);
/* "?" or ":name" at the current token. */
bool parser_marker(struct parser *parser, struct term **term);
bool parser_type(struct parser *parser, const struct cql_type **type);

bool parser_relations(struct parser *parser, struct relation **relations, size_t *count);
bool parser_using(struct parser *parser, struct statement *statement);
bool parser_ordering_list(struct parser *parser, struct ordering **orderings, size_t *count);

bool parser_select(struct parser *parser, struct statement *statement);
bool parser_insert(struct parser *parser, struct statement *statement);
bool parser_update(struct parser *parser, struct statement *statement);
bool parser_delete(struct parser *parser, struct statement *statement);
bool parser_create(struct parser *parser, struct statement *statement);
bool parser_alter(struct parser *parser, struct statement *statement);
bool parser_drop(struct parser *parser, struct statement *statement);
