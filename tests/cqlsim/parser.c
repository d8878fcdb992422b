/* The top of the grammar and its small words: tokens, names, terms, types, and which statement it
 * is. Pure; recursion is limited, so that no nesting a client sends can exhaust the stack. */
#include "parser.h"

#include <stdio.h>

#include "parser_internal.h"

bool parser_advance(struct parser *parser)
{
    return lexer_next(&parser->lexer, &parser->token);
}

bool parser_fail(struct parser *parser)
{
    return lexer_fail(&parser->lexer, parser->token.start, "no viable alternative at input",
                      (const char *)parser->token.text.data);
}

bool parser_is_word(const struct parser *parser, const char *word)
{
    return parser->token.kind == TOKEN_NAME &&
           strcmp((const char *)parser->token.text.data, word) == 0;
}

bool parser_is_symbol(const struct parser *parser, const char *symbol)
{
    return parser->token.kind == TOKEN_SYMBOL && strcmp(parser->token.symbol, symbol) == 0;
}

bool parser_accept_word(struct parser *parser, const char *word, bool *matched)
{
    *matched = parser_is_word(parser, word);
    return !*matched || parser_advance(parser);
}

bool parser_accept_symbol(struct parser *parser, const char *symbol, bool *matched)
{
    *matched = parser_is_symbol(parser, symbol);
    return !*matched || parser_advance(parser);
}

bool parser_expect_word(struct parser *parser, const char *word)
{
    return parser_is_word(parser, word) ? parser_advance(parser) : parser_fail(parser);
}

bool parser_expect_symbol(struct parser *parser, const char *symbol)
{
    return parser_is_symbol(parser, symbol) ? parser_advance(parser) : parser_fail(parser);
}

bool parser_peek(struct parser *parser, struct token *next)
{
    struct lexer saved = parser->lexer;
    bool ok = lexer_next(&parser->lexer, next);
    parser->lexer = saved;
    return ok;
}

bool parser_name(struct parser *parser, const char **name)
{
    if (parser->token.kind != TOKEN_NAME && parser->token.kind != TOKEN_QUOTED)
        return parser_fail(parser);
    *name = (const char *)parser->token.text.data;
    return parser_advance(parser);
}

bool parser_qualified(struct parser *parser, const char **keyspace, const char **name)
{
    bool dotted = false;
    *keyspace = NULL;
    if (!parser_name(parser, name) || !parser_accept_symbol(parser, ".", &dotted))
        return false;
    if (!dotted)
        return true;
    *keyspace = *name;
    return parser_name(parser, name);
}

static struct term *new_term(struct parser *parser, enum term_kind kind)
{
    struct term *term = arena_alloc(parser->arena, sizeof *term);
    term->kind = kind;
    return term;
}

static void add_item(struct parser *parser, struct term *term, struct term *item)
{
    struct term **slot =
        arena_push(parser->arena, (void **)&term->items, &term->count, sizeof *slot);
    *slot = item;
}

/* Terms up to the closing symbol, which is consumed. */
static bool parse_items(struct parser *parser, struct term *term, const char *close)
{
    bool done;
    if (!parser_accept_symbol(parser, close, &done))
        return false;
    while (!done) {
        struct term *item;
        bool comma;
        if (!parser_term(parser, &item))
            return false;
        add_item(parser, term, item);
        if (!parser_accept_symbol(parser, ",", &comma))
            return false;
        if (!comma) {
            done = true;
            if (!parser_expect_symbol(parser, close))
                return false;
        }
    }
    return true;
}

static bool parse_fields(struct parser *parser, struct term *term)
{
    term->kind = TERM_UDT;
    for (bool comma = true; comma;) {
        const char *name = NULL;
        struct term *item;
        if (!parser_name(parser, &name) || !parser_expect_symbol(parser, ":") ||
            !parser_term(parser, &item))
            return false;
        size_t count = term->count;
        const char **field =
            arena_push(parser->arena, (void **)&term->fields, &count, sizeof *field);
        *field = name;
        add_item(parser, term, item);
        if (!parser_accept_symbol(parser, ",", &comma))
            return false;
    }
    return parser_expect_symbol(parser, "}");
}

/* After "{": a set, a map or a user type's value. */
static bool parse_braces(struct parser *parser, struct term *term)
{
    struct token next;
    if (parser_is_symbol(parser, "}"))
        return parser_advance(parser);
    if (!parser_peek(parser, &next))
        return false;
    bool name = parser->token.kind == TOKEN_NAME || parser->token.kind == TOKEN_QUOTED;
    if (name && next.kind == TOKEN_SYMBOL && next.symbol[0] == ':' &&
        !parser_is_word(parser, "true") && !parser_is_word(parser, "false"))
        return parse_fields(parser, term);
    for (bool comma = true; comma;) {
        struct term *item;
        bool colon;
        if (!parser_term(parser, &item) || !parser_accept_symbol(parser, ":", &colon))
            return false;
        if (term->count > 0 && colon != (term->kind == TERM_MAP))
            return parser_fail(parser);
        add_item(parser, term, item);
        if (colon) {
            term->kind = TERM_MAP;
            if (!parser_term(parser, &item))
                return false;
            add_item(parser, term, item);
        }
        if (!parser_accept_symbol(parser, ",", &comma))
            return false;
    }
    return parser_expect_symbol(parser, "}");
}

bool parser_marker(struct parser *parser, struct term **result)
{
    struct term *term = new_term(parser, TERM_MARKER);
    term->marker = parser->marker_count++;
    *result = term;
    bool question = parser_is_symbol(parser, "?");
    if (!parser_advance(parser))
        return false;
    return question || parser_name(parser, &term->name);
}

static bool parse_literal(struct parser *parser, struct term *term, bool negative)
{
    static const enum literal_kind kinds[] = {
        [TOKEN_STRING] = LITERAL_STRING, [TOKEN_INTEGER] = LITERAL_INTEGER,
        [TOKEN_FLOAT] = LITERAL_FLOAT,   [TOKEN_UUID] = LITERAL_UUID,
        [TOKEN_HEX] = LITERAL_HEX,
    };
    term->kind = TERM_LITERAL;
    term->literal = kinds[parser->token.kind];
    term->text = parser->token.text;
    if (negative)
        term->text =
            bytes_text(arena_printf(parser->arena, "-%s", (const char *)parser->token.text.data));
    return parser_advance(parser);
}

/* [keyspace.]name(arguments) */
static bool parse_call(struct parser *parser, struct term *term)
{
    struct token next;
    if (!parser_peek(parser, &next))
        return false;
    if (next.kind != TOKEN_SYMBOL || (next.symbol[0] != '(' && next.symbol[0] != '.'))
        return parser_fail(parser);
    const char *keyspace = NULL;
    const char *name = NULL;
    term->kind = TERM_CALL;
    if (!parser_qualified(parser, &keyspace, &name))
        return false;
    term->text = bytes_text(name);
    return parser_expect_symbol(parser, "(") && parse_items(parser, term, ")");
}

static bool parse_word_term(struct parser *parser, struct term *term)
{
    const char *word = (const char *)parser->token.text.data;
    if (strcmp(word, "null") == 0) {
        term->kind = TERM_NULL;
        return parser_advance(parser);
    }
    if (strcmp(word, "true") == 0 || strcmp(word, "false") == 0) {
        term->kind = TERM_LITERAL;
        term->literal = LITERAL_BOOLEAN;
        term->text = parser->token.text;
        return parser_advance(parser);
    }
    if (strcmp(word, "nan") == 0 || strcmp(word, "infinity") == 0) {
        term->kind = TERM_LITERAL;
        term->literal = LITERAL_FLOAT;
        term->text = parser->token.text;
        return parser_advance(parser);
    }
    return parse_call(parser, term);
}

/* Is the "(" here that of a cast: followed by a type and ")"? A type is a name that is no call. */
static bool is_cast(struct parser *parser, bool *cast)
{
    static const char *const values[] = {"null", "true", "false", "nan", "infinity"};
    struct parser ahead = *parser;
    *cast = false;
    if (!parser_is_symbol(parser, "("))
        return true;
    if (!parser_advance(&ahead))
        return false;
    if (ahead.token.kind != TOKEN_NAME)
        return true;
    for (size_t i = 0; i < ARRAY_COUNT(values); i++)
        if (parser_is_word(&ahead, values[i]))
            return true;
    if (!parser_advance(&ahead))
        return false;
    *cast = parser_is_symbol(&ahead, ")") || parser_is_symbol(&ahead, "<");
    return true;
}

static bool parse_cast(struct parser *parser, struct term *term)
{
    struct term *item;
    term->kind = TERM_CAST;
    if (!parser_expect_symbol(parser, "(") || !parser_type(parser, &term->type) ||
        !parser_expect_symbol(parser, ")") || !parser_term(parser, &item))
        return false;
    if (term->type->id == TYPE_UDT)
        return INVALID(parser->failure, "Casts to user types are not supported by this server");
    add_item(parser, term, item);
    return true;
}

static bool parse_term_inner(struct parser *parser, struct term **result)
{
    struct term *term = new_term(parser, TERM_NULL);
    *result = term;
    switch (parser->token.kind) {
    case TOKEN_STRING:
    case TOKEN_INTEGER:
    case TOKEN_FLOAT:
    case TOKEN_UUID:
    case TOKEN_HEX:
        return parse_literal(parser, term, false);
    case TOKEN_NAME:
        return parse_word_term(parser, term);
    case TOKEN_QUOTED:
        return parse_call(parser, term);
    case TOKEN_SYMBOL:
        break;
    default:
        return parser_fail(parser);
    }
    if (parser_is_symbol(parser, "?") || parser_is_symbol(parser, ":"))
        return parser_marker(parser, result);
    if (parser_is_symbol(parser, "-")) {
        if (!parser_advance(parser))
            return false;
        if (parser_is_word(parser, "nan") || parser_is_word(parser, "infinity")) {
            term->kind = TERM_LITERAL;
            term->literal = LITERAL_FLOAT;
            term->text = bytes_text(
                arena_printf(parser->arena, "-%s", (const char *)parser->token.text.data));
            return parser_advance(parser);
        }
        if (parser->token.kind != TOKEN_INTEGER && parser->token.kind != TOKEN_FLOAT)
            return parser_fail(parser);
        return parse_literal(parser, term, true);
    }
    bool matched;
    if (!parser_accept_symbol(parser, "[", &matched))
        return false;
    term->kind = TERM_LIST;
    if (matched)
        return parse_items(parser, term, "]");
    if (!parser_accept_symbol(parser, "{", &matched))
        return false;
    term->kind = TERM_BRACES;
    if (matched)
        return parse_braces(parser, term);
    if (!is_cast(parser, &matched))
        return false;
    if (matched)
        return parse_cast(parser, term);
    term->kind = TERM_TUPLE;
    return parser_expect_symbol(parser, "(") && parse_items(parser, term, ")");
}

bool parser_term(struct parser *parser, struct term **term)
{
    if (parser->depth >= PARSER_MAX_DEPTH)
        return failure_set(parser->failure, CQL_SYNTAX_ERROR, "Terms are nested too deeply");
    parser->depth++;
    bool ok = parse_term_inner(parser, term);
    parser->depth--;
    return ok;
}

static bool parse_type_parts(struct parser *parser, struct cql_type *type)
{
    if (!parser_expect_symbol(parser, "<"))
        return false;
    for (bool comma = true; comma;) {
        const struct cql_type *part = NULL;
        if (!parser_type(parser, &part))
            return false;
        const struct cql_type **slot =
            arena_push(parser->arena, (void **)&type->parts, &type->count, sizeof *slot);
        *slot = part;
        if (!parser_accept_symbol(parser, ",", &comma))
            return false;
    }
    return parser_expect_symbol(parser, ">");
}

static bool parse_type_inner(struct parser *parser, const struct cql_type **result)
{
    const char *keyspace = NULL;
    const char *name = NULL;
    bool quoted = parser->token.kind == TOKEN_QUOTED;
    if (!parser_qualified(parser, &keyspace, &name))
        return false;
    const struct cql_type *native = quoted || keyspace ? NULL : type_native_by_name(name);
    if (native != NULL) {
        *result = native;
        return true;
    }
    struct cql_type *type = arena_alloc(parser->arena, sizeof *type);
    *result = type;
    if (parser_is_symbol(parser, "<") && strcmp(name, "frozen") == 0) {
        if (!parse_type_parts(parser, type))
            return false;
        if (type->count != 1)
            return parser_fail(parser);
        struct cql_type *inner = arena_alloc(parser->arena, sizeof *inner);
        *inner = *type->parts[0];
        inner->frozen = !type_is_native(inner);
        *result = inner;
        return true;
    }
    type->id = TYPE_UDT; /* resolved against the keyspace when the statement runs */
    type->keyspace = keyspace;
    type->name = name;
    if (!parser_is_symbol(parser, "<"))
        return true;
    type->id = strcmp(name, "list") == 0    ? TYPE_LIST
               : strcmp(name, "set") == 0   ? TYPE_SET
               : strcmp(name, "map") == 0   ? TYPE_MAP
               : strcmp(name, "tuple") == 0 ? TYPE_TUPLE
                                            : TYPE_UDT;
    if (type->id == TYPE_UDT)
        return parser_fail(parser);
    type->name = NULL;
    if (!parse_type_parts(parser, type))
        return false;
    size_t wanted = type->id == TYPE_TUPLE ? type->count : type->id == TYPE_MAP ? 2 : 1;
    return type->count == wanted || parser_fail(parser);
}

bool parser_type(struct parser *parser, const struct cql_type **type)
{
    if (parser->depth >= TYPE_MAX_DEPTH)
        return failure_set(parser->failure, CQL_SYNTAX_ERROR, "Types are nested too deeply");
    parser->depth++;
    bool ok = parse_type_inner(parser, type);
    parser->depth--;
    return ok;
}

static bool parse_statement(struct parser *parser, struct statement *statement);

/* BEGIN [UNLOGGED|COUNTER] BATCH [USING TIMESTAMP n] statements APPLY BATCH */
static bool parse_batch(struct parser *parser, struct statement *statement)
{
    bool matched;
    statement->kind = STATEMENT_BATCH;
    if (!parser_accept_word(parser, "unlogged", &matched))
        return false;
    if (!matched && !parser_accept_word(parser, "counter", &statement->counter_batch))
        return false;
    if (!parser_expect_word(parser, "batch") || !parser_using(parser, statement))
        return false;
    while (!parser_is_word(parser, "apply")) {
        if (!parser_is_word(parser, "insert") && !parser_is_word(parser, "update") &&
            !parser_is_word(parser, "delete"))
            return parser_fail(parser);
        struct statement *child = arena_alloc(parser->arena, sizeof *child);
        struct statement **slot = arena_push(parser->arena, (void **)&statement->children,
                                             &statement->child_count, sizeof *slot);
        *slot = child;
        if (!parse_statement(parser, child) || !parser_accept_symbol(parser, ";", &matched))
            return false;
    }
    return parser_expect_word(parser, "apply") && parser_expect_word(parser, "batch");
}

static bool parse_describe(struct parser *parser, struct statement *statement)
{
    statement->kind = STATEMENT_DESCRIBE;
    statement->describe_what = (const char *)parser->token.text.data;
    while (parser->token.kind != TOKEN_END && !parser_is_symbol(parser, ";")) {
        if (parser->token.kind == TOKEN_NAME || parser->token.kind == TOKEN_QUOTED)
            statement->table = (const char *)parser->token.text.data;
        bool name = statement->table == (const char *)parser->token.text.data;
        if (!parser_advance(parser))
            return false;
        if (name && parser_is_symbol(parser, "."))
            statement->keyspace = statement->table;
    }
    return true;
}

static bool parse_statement(struct parser *parser, struct statement *statement)
{
    static const struct {
        const char *word;
        bool (*parse)(struct parser *parser, struct statement *statement);
    } heads[] = {
        {"select", parser_select}, {"insert", parser_insert}, {"update", parser_update},
        {"delete", parser_delete}, {"create", parser_create}, {"alter", parser_alter},
        {"drop", parser_drop},     {"begin", parse_batch},    {"describe", parse_describe},
        {"desc", parse_describe},
    };
    for (size_t i = 0; i < ARRAY_COUNT(heads); i++)
        if (parser_is_word(parser, heads[i].word))
            return parser_advance(parser) && heads[i].parse(parser, statement);
    bool matched;
    if (parser_is_word(parser, "use")) {
        statement->kind = STATEMENT_USE;
        return parser_advance(parser) && parser_name(parser, &statement->keyspace);
    }
    if (parser_is_word(parser, "truncate")) {
        statement->kind = STATEMENT_TRUNCATE;
        return parser_advance(parser) && parser_accept_word(parser, "table", &matched) &&
               parser_qualified(parser, &statement->keyspace, &statement->table);
    }
    return parser_fail(parser);
}

static struct statement *parse(struct parser *parser, const char *text, size_t length)
{
    parser->failure->code = 0;
    lexer_init(&parser->lexer, parser->arena, text, length, parser->failure);
    struct statement *statement = arena_alloc(parser->arena, sizeof *statement);
    if (!parser_advance(parser) || !parse_statement(parser, statement))
        return NULL;
    if (parser->marker_count > UINT16_MAX) {
        failure_set(parser->failure, CQL_INVALID,
                    "Too many markers(?). %zu markers exceed the allowed maximum of 65535",
                    parser->marker_count);
        return NULL;
    }
    statement->marker_count = parser->marker_count;
    return statement;
}

struct statement *parser_parse(struct arena *arena, const char *text, size_t length,
                               struct failure *failure)
{
    struct parser parser = {.arena = arena, .failure = failure};
    struct statement *statement = parse(&parser, text, length);
    while (statement != NULL && parser_is_symbol(&parser, ";"))
        if (!parser_advance(&parser))
            return NULL;
    if (statement != NULL && parser.token.kind != TOKEN_END) {
        lexer_fail(&parser.lexer, parser.token.start, "mismatched input, expecting EOF at",
                   (const char *)parser.token.text.data);
        return NULL;
    }
    return statement;
}

struct statement *parser_parse_next(struct arena *arena, const char *text, size_t *length,
                                    struct failure *failure)
{
    struct parser parser = {.arena = arena, .failure = failure};
    lexer_init(&parser.lexer, arena, text, *length, failure);
    if (!parser_advance(&parser))
        return NULL;
    failure->code = 0;
    if (parser.token.kind == TOKEN_END)
        return NULL;
    struct statement *statement = parse(&parser, text, *length);
    if (statement == NULL)
        return NULL;
    if (parser.token.kind != TOKEN_END && !parser_is_symbol(&parser, ";")) {
        parser_fail(&parser);
        return NULL;
    }
    *length = (size_t)(parser.lexer.at - text);
    return statement;
}
