/* Recursive descent over the tokens of one SELECT. Pure; runs on the workers. Every text it does
 * not take ends in an error that names what is not supported, since an answer is owed for each. */
#include "dataplane/virtual_parse.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "proto/cql_response.h"

struct parser {
    struct cql_lexer lexer;
    struct cql_token token; /* the one to be looked at next */
    const char *table;
    struct virtual_statement *statement;
};

const char *virtual_show(struct cql_token token, char *buffer, size_t size)
{
    size_t length = 0;
    if (token.kind == CQL_TOKEN_END) {
        snprintf(buffer, size, "end of statement");
        return buffer;
    }
    if ((token.kind != CQL_TOKEN_WORD && token.kind != CQL_TOKEN_QUOTED_NAME) ||
        !cql_token_value(token, buffer, size, &length)) {
        length = token.length < size - 1 ? token.length : size - 1;
        memcpy(buffer, token.text, length);
    }
    for (size_t i = 0; i < length; i++) {
        if (buffer[i] < 0x20 || buffer[i] > 0x7e)
            buffer[i] = '?';
    }
    buffer[length] = '\0';
    return buffer;
}

PRINTF_LIKE(3, 4)
static bool refuse(struct parser *parser, int32_t error, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(parser->statement->message, sizeof parser->statement->message, format, arguments);
    va_end(arguments);
    parser->statement->error = error;
    return false;
}

static bool refuse_syntax(struct parser *parser, const char *expected)
{
    char shown[80];
    return refuse(parser, CQL_ERROR_SYNTAX, "syntax error at '%s': expected %s",
                  virtual_show(parser->token, shown, sizeof shown), expected);
}

static bool refuse_support(struct parser *parser, const char *what)
{
    return refuse(parser, CQL_ERROR_INVALID, "%s not supported by the proxy on system.%s", what,
                  parser->table);
}

static void advance(struct parser *parser)
{
    parser->token = cql_lexer_next(&parser->lexer);
}

static struct cql_token peek(const struct parser *parser)
{
    struct cql_lexer ahead = parser->lexer;
    return cql_lexer_next(&ahead);
}

static bool accept_word(struct parser *parser, const char *word)
{
    if (!cql_token_is_word(parser->token, word))
        return false;
    advance(parser);
    return true;
}

static bool accept_symbol(struct parser *parser, char symbol)
{
    if (!cql_token_is_symbol(parser->token, symbol))
        return false;
    advance(parser);
    return true;
}

static bool is_name(struct cql_token token)
{
    return token.kind == CQL_TOKEN_WORD || token.kind == CQL_TOKEN_QUOTED_NAME;
}

static bool take_name(struct parser *parser, struct cql_token *name, const char *expected)
{
    if (!is_name(parser->token))
        return refuse_syntax(parser, expected);
    *name = parser->token;
    advance(parser);
    return true;
}

/* Selectors. */

static bool parse_function(struct parser *parser, struct cql_token name,
                           struct virtual_selector *selector)
{
    char shown[80], what[120];
    if (cql_token_is_word(name, "cast"))
        return refuse_support(parser, "casts in the selection are");
    advance(parser); /* ( */
    struct cql_token argument = parser->token;
    bool counts_rows =
        cql_token_is_symbol(argument, '*') ||
        (argument.kind == CQL_TOKEN_NUMBER && argument.length == 1 && argument.text[0] == '1');
    if (cql_token_is_word(name, "count") && counts_rows && cql_token_is_symbol(peek(parser), ')')) {
        advance(parser);
        advance(parser);
        selector->kind = VIRTUAL_SELECT_COUNT;
        return true;
    }
    snprintf(what, sizeof what, "the function %s() is", virtual_show(name, shown, sizeof shown));
    return refuse_support(parser, what);
}

static bool parse_selector(struct parser *parser, struct virtual_selector *selector)
{
    *selector = (struct virtual_selector){.kind = VIRTUAL_SELECT_COLUMN};
    if (accept_symbol(parser, '*')) {
        selector->kind = VIRTUAL_SELECT_ALL;
        return true;
    }
    if (cql_token_is_symbol(parser->token, '('))
        return refuse_support(parser, "casts and parentheses in the selection are");
    if (cql_token_is_symbol(parser->token, '?') || cql_token_is_symbol(parser->token, ':'))
        return refuse_support(parser, "bind markers in the selection are");
    if (parser->token.kind == CQL_TOKEN_STRING || parser->token.kind == CQL_TOKEN_NUMBER ||
        parser->token.kind == CQL_TOKEN_UUID || cql_token_is_symbol(parser->token, '-'))
        return refuse_support(parser, "literals and arithmetic in the selection are");
    if (!take_name(parser, &selector->column, "a column name, count(*) or *"))
        return false;
    if (cql_token_is_symbol(parser->token, '(') &&
        !parse_function(parser, selector->column, selector))
        return false;
    if (parser->token.kind == CQL_TOKEN_SYMBOL) {
        char symbol = parser->token.text[0];
        if (symbol == '.' || symbol == '[')
            return refuse_support(parser, "field and element selections are");
        if (symbol == '+' || symbol == '-' || symbol == '*' || symbol == '/' || symbol == '%')
            return refuse_support(parser, "arithmetic in the selection is");
    }
    if (accept_word(parser, "as"))
        return take_name(parser, &selector->alias, "a name after AS");
    return true;
}

/* JSON and DISTINCT are words of the language only where a column follows. */
static bool is_modifier(const struct parser *parser, const char *word)
{
    if (!cql_token_is_word(parser->token, word))
        return false;
    struct cql_token next = peek(parser);
    if (cql_token_is_symbol(next, '*'))
        return true;
    return is_name(next) && !cql_token_is_word(next, "from") && !cql_token_is_word(next, "as");
}

static bool parse_selection(struct parser *parser)
{
    struct virtual_statement *statement = parser->statement;
    /* Every row is a partition of its own: DISTINCT changes nothing. */
    if (is_modifier(parser, "distinct"))
        advance(parser);
    if (is_modifier(parser, "json"))
        return refuse_support(parser, "SELECT JSON is");
    do {
        if (statement->selector_count == VIRTUAL_SELECTORS_MAX)
            return refuse(parser, CQL_ERROR_INVALID, "more than %d selectors are not supported",
                          VIRTUAL_SELECTORS_MAX);
        if (!parse_selector(parser, &statement->selectors[statement->selector_count]))
            return false;
        statement->selector_count++;
    } while (accept_symbol(parser, ','));
    if (!accept_word(parser, "from"))
        return refuse_syntax(parser, "',' or FROM");
    struct cql_token name;
    if (!take_name(parser, &name, "a table name"))
        return false;
    return !accept_symbol(parser, '.') || take_name(parser, &name, "a table name");
}

/* Terms. */

static bool is_marker(struct cql_token token)
{
    return cql_token_is_symbol(token, '?') || cql_token_is_symbol(token, ':');
}

static bool parse_term(struct parser *parser, struct virtual_term *term)
{
    *term = (struct virtual_term){0};
    if (is_marker(parser->token)) {
        bool is_named = cql_token_is_symbol(parser->token, ':');
        advance(parser);
        if (is_named && !take_name(parser, &term->token, "a name after ':'"))
            return false;
        term->is_marker = true;
        term->marker = parser->statement->marker_count++;
        return true;
    }
    if (cql_token_is_symbol(parser->token, '-') && peek(parser).kind == CQL_TOKEN_NUMBER) {
        term->is_negative = true;
        advance(parser);
    }
    if (cql_token_is_symbol(parser->token, '(') || cql_token_is_symbol(parser->token, '[') ||
        cql_token_is_symbol(parser->token, '{'))
        return refuse_support(parser, "casts, tuples and collections as values are");
    bool is_word = parser->token.kind == CQL_TOKEN_WORD;
    if (is_word && cql_token_is_symbol(peek(parser), '('))
        return refuse_support(parser, "functions as values are");
    if (cql_token_is_word(parser->token, "null"))
        return refuse(parser, CQL_ERROR_INVALID, "null is not allowed as a value in WHERE");
    bool is_boolean =
        cql_token_is_word(parser->token, "true") || cql_token_is_word(parser->token, "false");
    if (parser->token.kind != CQL_TOKEN_STRING && parser->token.kind != CQL_TOKEN_NUMBER &&
        parser->token.kind != CQL_TOKEN_UUID && !is_boolean)
        return refuse_syntax(parser, "a value");
    term->token = parser->token;
    advance(parser);
    return true;
}

static bool add_term(struct parser *parser)
{
    struct virtual_statement *statement = parser->statement;
    if (statement->term_count == VIRTUAL_TERMS_MAX)
        return refuse(parser, CQL_ERROR_INVALID, "more than %d values are not supported",
                      VIRTUAL_TERMS_MAX);
    if (!parse_term(parser, &statement->terms[statement->term_count]))
        return false;
    statement->term_count++;
    return true;
}

/* WHERE. */

static bool parse_in(struct parser *parser, struct virtual_relation *relation)
{
    if (is_marker(parser->token)) {
        relation->operation = VIRTUAL_IN_MARKER;
        return add_term(parser);
    }
    relation->operation = VIRTUAL_IN;
    if (!accept_symbol(parser, '('))
        return refuse_syntax(parser, "'(' or a bind marker after IN");
    if (accept_symbol(parser, ')'))
        return true;
    do {
        if (!add_term(parser))
            return false;
    } while (accept_symbol(parser, ','));
    return accept_symbol(parser, ')') || refuse_syntax(parser, "',' or ')'");
}

static bool parse_relation(struct parser *parser, struct virtual_relation *relation)
{
    *relation = (struct virtual_relation){.first_term = parser->statement->term_count};
    if (cql_token_is_symbol(parser->token, '('))
        return refuse_support(parser, "parentheses in WHERE are");
    if (!take_name(parser, &relation->column, "a column name"))
        return false;
    if (cql_token_is_symbol(parser->token, '('))
        return refuse_support(parser, "functions in WHERE, token() among them, are");
    if (cql_token_is_symbol(parser->token, '['))
        return refuse_support(parser, "conditions on elements are");
    if (accept_word(parser, "in"))
        return parse_in(parser, relation);
    static const char *const words[] = {"not", "contains", "like", "is", "between"};
    for (size_t i = 0; i < ARRAY_COUNT(words); i++) {
        if (cql_token_is_word(parser->token, words[i]))
            return refuse_support(parser, "NOT, CONTAINS, LIKE, IS and BETWEEN in WHERE are");
    }
    if (cql_token_is_symbol(parser->token, '!'))
        return refuse_support(parser, "the operator != is");
    if (accept_symbol(parser, '=')) {
        relation->operation = VIRTUAL_EQUAL;
    } else if (accept_symbol(parser, '<')) {
        bool or_equal = accept_symbol(parser, '=');
        relation->operation = or_equal ? VIRTUAL_LESS_EQUAL : VIRTUAL_LESS;
    } else if (accept_symbol(parser, '>')) {
        bool or_equal = accept_symbol(parser, '=');
        relation->operation = or_equal ? VIRTUAL_GREATER_EQUAL : VIRTUAL_GREATER;
    } else {
        return refuse_syntax(parser, "=, <, >, <=, >= or IN");
    }
    return add_term(parser);
}

static bool parse_where(struct parser *parser)
{
    struct virtual_statement *statement = parser->statement;
    do {
        if (statement->relation_count == VIRTUAL_RELATIONS_MAX)
            return refuse(parser, CQL_ERROR_INVALID, "more than %d conditions are not supported",
                          VIRTUAL_RELATIONS_MAX);
        struct virtual_relation *relation = &statement->relations[statement->relation_count];
        if (!parse_relation(parser, relation))
            return false;
        relation->term_count = statement->term_count - relation->first_term;
        statement->relation_count++;
    } while (accept_word(parser, "and"));
    if (cql_token_is_word(parser->token, "or"))
        return refuse_support(parser, "OR is");
    return true;
}

/* What follows WHERE. */

static bool parse_order(struct parser *parser)
{
    struct virtual_statement *statement = parser->statement;
    if (!accept_word(parser, "by"))
        return refuse_syntax(parser, "BY");
    do {
        if (statement->order_count == VIRTUAL_ORDER_MAX)
            return refuse(parser, CQL_ERROR_INVALID, "ORDER BY names more than %d columns",
                          VIRTUAL_ORDER_MAX);
        if (!take_name(parser, &statement->order[statement->order_count], "a column name"))
            return false;
        statement->order_count++;
        if (cql_token_is_word(parser->token, "ann"))
            return refuse_support(parser, "ORDER BY ANN OF is");
        if (!accept_word(parser, "asc"))
            (void)accept_word(parser, "desc");
    } while (accept_symbol(parser, ','));
    return true;
}

static bool parse_limit(struct parser *parser, struct virtual_limit *limit)
{
    if (limit->is_given)
        return refuse(parser, CQL_ERROR_SYNTAX, "LIMIT is given twice");
    limit->is_given = true;
    if (!parse_term(parser, &limit->term))
        return false;
    if (!limit->term.is_marker && limit->term.token.kind != CQL_TOKEN_NUMBER)
        return refuse(parser, CQL_ERROR_SYNTAX, "LIMIT takes a whole number or a bind marker");
    return true;
}

static bool parse_timeout(struct parser *parser)
{
    if (!accept_word(parser, "timeout"))
        return refuse_syntax(parser, "TIMEOUT");
    if (is_marker(parser->token))
        return refuse_support(parser, "a bind marker as TIMEOUT is");
    /* The proxy answers at once, so the duration only has to be one. */
    if (parser->token.kind != CQL_TOKEN_NUMBER)
        return refuse_syntax(parser, "a duration");
    advance(parser);
    return true;
}

static bool parse_clause(struct parser *parser)
{
    if (accept_word(parser, "order"))
        return parse_order(parser);
    if (accept_word(parser, "limit"))
        return parse_limit(parser, &parser->statement->limit);
    if (accept_word(parser, "per")) {
        if (!accept_word(parser, "partition") || !accept_word(parser, "limit"))
            return refuse_syntax(parser, "PARTITION LIMIT");
        return parse_limit(parser, &parser->statement->per_partition_limit);
    }
    if (accept_word(parser, "allow"))
        return accept_word(parser, "filtering") || refuse_syntax(parser, "FILTERING");
    if (accept_word(parser, "bypass"))
        return accept_word(parser, "cache") || refuse_syntax(parser, "CACHE");
    if (accept_word(parser, "using"))
        return parse_timeout(parser);
    if (cql_token_is_word(parser->token, "group"))
        return refuse_support(parser, "GROUP BY is");
    return refuse_syntax(parser, "the end of the statement");
}

static bool parse_statement(struct parser *parser)
{
    if (!accept_word(parser, "select"))
        return refuse_syntax(parser, "SELECT");
    if (!parse_selection(parser))
        return false;
    if (accept_word(parser, "where") && !parse_where(parser))
        return false;
    while (parser->token.kind != CQL_TOKEN_END && !cql_token_is_symbol(parser->token, ';')) {
        if (!parse_clause(parser))
            return false;
    }
    while (accept_symbol(parser, ';'))
        continue;
    return parser->token.kind == CQL_TOKEN_END || refuse_syntax(parser, "the end of the statement");
}

bool virtual_parse(const char *text, size_t length, const char *table,
                   struct virtual_statement *statement)
{
    *statement = (struct virtual_statement){0};
    statement->selectors = calloc(VIRTUAL_SELECTORS_MAX, sizeof *statement->selectors);
    statement->relations = calloc(VIRTUAL_RELATIONS_MAX, sizeof *statement->relations);
    statement->terms = calloc(VIRTUAL_TERMS_MAX, sizeof *statement->terms);
    statement->order = calloc(VIRTUAL_ORDER_MAX, sizeof *statement->order);
    CHECK(statement->selectors != NULL && statement->relations != NULL &&
          statement->terms != NULL && statement->order != NULL);
    struct parser parser = {
        .lexer = cql_lexer_over(text, length), .table = table, .statement = statement};
    advance(&parser);
    return parse_statement(&parser);
}

void virtual_statement_fini(struct virtual_statement *statement)
{
    free(statement->selectors);
    free(statement->relations);
    free(statement->terms);
    free(statement->order);
    statement->selectors = NULL;
    statement->relations = NULL;
    statement->terms = NULL;
    statement->order = NULL;
}
