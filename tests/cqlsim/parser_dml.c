/* SELECT, INSERT, UPDATE, DELETE and the clauses they share. Pure. */
#include "parser_internal.h"

bool parser_using(struct parser *parser, struct statement *statement)
{
    bool more;
    if (!parser_accept_word(parser, "using", &more))
        return false;
    while (more) {
        struct term **slot = parser_is_word(parser, "ttl")         ? &statement->ttl
                             : parser_is_word(parser, "timestamp") ? &statement->timestamp
                                                                   : NULL;
        if (slot == NULL || *slot != NULL)
            return parser_fail(parser);
        if (!parser_advance(parser) || !parser_term(parser, slot) ||
            !parser_accept_word(parser, "and", &more))
            return false;
    }
    return true;
}

static bool parse_operator(struct parser *parser, enum relation_op *op)
{
    static const struct {
        const char *text;
        enum relation_op op;
    } symbols[] = {{"=", OP_EQ}, {"<", OP_LT},  {"<=", OP_LE},
                   {">", OP_GT}, {">=", OP_GE}, {"!=", OP_NE}};
    for (size_t i = 0; i < ARRAY_COUNT(symbols); i++) {
        if (parser_is_symbol(parser, symbols[i].text)) {
            *op = symbols[i].op;
            return parser_advance(parser);
        }
    }
    bool matched;
    if (!parser_accept_word(parser, "in", &matched))
        return false;
    *op = OP_IN;
    if (matched)
        return true;
    if (!parser_expect_word(parser, "contains") || !parser_accept_word(parser, "key", &matched))
        return false;
    *op = matched ? OP_CONTAINS_KEY : OP_CONTAINS;
    return true;
}

static void add_column(struct parser *parser, struct relation *relation, const char *name)
{
    const char **slot =
        arena_push(parser->arena, (void **)&relation->columns, &relation->count, sizeof *slot);
    *slot = name;
}

static bool parse_column_list(struct parser *parser, struct relation *relation)
{
    for (bool comma = true; comma;) {
        const char *name;
        if (!parser_name(parser, &name) || !parser_accept_symbol(parser, ",", &comma))
            return false;
        add_column(parser, relation, name);
    }
    return parser_expect_symbol(parser, ")");
}

static bool parse_relation(struct parser *parser, struct relation *relation)
{
    struct token next;
    bool matched;
    if (!parser_peek(parser, &next))
        return false;
    bool call = next.kind == TOKEN_SYMBOL && next.symbol[0] == '(';
    if (parser_is_word(parser, "token") && call) {
        relation->token = true;
        if (!parser_advance(parser) || !parser_advance(parser) ||
            !parse_column_list(parser, relation))
            return false;
    } else if (parser_is_symbol(parser, "(")) {
        relation->tuple = true;
        if (!parser_advance(parser) || !parse_column_list(parser, relation))
            return false;
    } else {
        const char *name;
        if (!parser_name(parser, &name) || !parser_accept_symbol(parser, "[", &matched))
            return false;
        add_column(parser, relation, name);
        if (matched && (!parser_term(parser, &relation->key) || !parser_expect_symbol(parser, "]")))
            return false;
    }
    if (!parse_operator(parser, &relation->op) || !parser_term(parser, &relation->value))
        return false;
    bool listed = relation->value->kind == TERM_TUPLE || relation->value->kind == TERM_MARKER;
    return relation->op != OP_IN || listed || parser_fail(parser);
}

bool parser_relations(struct parser *parser, struct relation **relations, size_t *count)
{
    for (bool more = true; more;) {
        struct relation *relation =
            arena_push(parser->arena, (void **)relations, count, sizeof *relation);
        if (!parse_relation(parser, relation) || !parser_accept_word(parser, "and", &more))
            return false;
    }
    return true;
}

bool parser_ordering_list(struct parser *parser, struct ordering **orderings, size_t *count)
{
    for (bool comma = true; comma;) {
        struct ordering *ordering =
            arena_push(parser->arena, (void **)orderings, count, sizeof *ordering);
        bool ascending;
        if (!parser_name(parser, &ordering->column) ||
            !parser_accept_word(parser, "asc", &ascending))
            return false;
        if (!ascending && !parser_accept_word(parser, "desc", &ordering->descending))
            return false;
        if (!parser_accept_symbol(parser, ",", &comma))
            return false;
    }
    return true;
}

/* After "name(": arguments that are columns or *, else constant terms. */
static bool parse_selector_call(struct parser *parser, struct selector *selector)
{
    bool matched;
    selector->kind = SELECT_CALL;
    if (strcmp(selector->name, "count") == 0) {
        bool star = parser_is_symbol(parser, "*") ||
                    (parser->token.kind == TOKEN_INTEGER && parser->token.text.data[0] == '1');
        if (star) {
            selector->kind = SELECT_COUNT_STAR;
            return parser_advance(parser) && parser_expect_symbol(parser, ")");
        }
    }
    if (!parser_accept_symbol(parser, ")", &matched))
        return false;
    while (!matched) {
        const char **slot = arena_push(parser->arena, (void **)&selector->arguments,
                                       &selector->count, sizeof *slot);
        struct token next;
        bool comma;
        if (!parser_peek(parser, &next) || !parser_name(parser, slot))
            return false;
        if (next.kind == TOKEN_SYMBOL && next.symbol[0] == '(') {
            /* One nested call without arguments: toTimestamp(now()). */
            *slot = arena_printf(parser->arena, "%s()", *slot);
            if (!parser_advance(parser) || !parser_expect_symbol(parser, ")"))
                return false;
        }
        if (!parser_accept_symbol(parser, ",", &comma))
            return false;
        matched = !comma;
        if (matched && !parser_expect_symbol(parser, ")"))
            return false;
    }
    return true;
}

static bool parse_selector(struct parser *parser, struct selector *selector)
{
    bool matched;
    if (parser->token.kind != TOKEN_NAME && parser->token.kind != TOKEN_QUOTED) {
        selector->kind = SELECT_TERM;
        if (!parser_term(parser, &selector->term))
            return false;
    } else {
        const char *keyspace;
        if (!parser_qualified(parser, &keyspace, &selector->name) ||
            !parser_accept_symbol(parser, "(", &matched))
            return false;
        if (matched && !parse_selector_call(parser, selector))
            return false;
    }
    if (!parser_accept_word(parser, "as", &matched))
        return false;
    return !matched || parser_name(parser, &selector->alias);
}

static bool parse_selectors(struct parser *parser, struct statement *statement)
{
    bool star;
    if (!parser_accept_symbol(parser, "*", &star))
        return false;
    for (bool comma = !star; comma;) {
        struct selector *selector = arena_push(parser->arena, (void **)&statement->selectors,
                                               &statement->selector_count, sizeof *selector);
        if (!parse_selector(parser, selector) || !parser_accept_symbol(parser, ",", &comma))
            return false;
    }
    return true;
}

static bool word_then_name(struct parser *parser, const char *word, bool *matched)
{
    struct token next;
    *matched = false;
    if (!parser_is_word(parser, word))
        return true;
    if (!parser_peek(parser, &next))
        return false;
    bool another = next.kind == TOKEN_NAME || next.kind == TOKEN_QUOTED;
    another = another && strcmp((const char *)next.text.data, "from") != 0;
    *matched = another;
    return !another || parser_advance(parser);
}

bool parser_select(struct parser *parser, struct statement *statement)
{
    bool matched;
    statement->kind = STATEMENT_SELECT;
    if (!word_then_name(parser, "json", &matched))
        return false;
    if (matched)
        return INVALID(parser->failure, "SELECT JSON is not supported by this server");
    if (!word_then_name(parser, "distinct", &statement->distinct) ||
        !parse_selectors(parser, statement) || !parser_expect_word(parser, "from") ||
        !parser_qualified(parser, &statement->keyspace, &statement->table) ||
        !parser_accept_word(parser, "where", &matched))
        return false;
    if (matched && !parser_relations(parser, &statement->relations, &statement->relation_count))
        return false;
    if (!parser_accept_word(parser, "group", &matched))
        return false;
    if (matched)
        return INVALID(parser->failure, "GROUP BY is not supported by this server");
    if (!parser_accept_word(parser, "order", &matched))
        return false;
    if (matched &&
        (!parser_expect_word(parser, "by") ||
         !parser_ordering_list(parser, &statement->orderings, &statement->ordering_count)))
        return false;
    if (!parser_accept_word(parser, "per", &matched))
        return false;
    if (matched &&
        (!parser_expect_word(parser, "partition") || !parser_expect_word(parser, "limit") ||
         !parser_term(parser, &statement->partition_limit)))
        return false;
    if (!parser_accept_word(parser, "limit", &matched))
        return false;
    if (matched && !parser_term(parser, &statement->limit))
        return false;
    if (!parser_accept_word(parser, "allow", &statement->allow_filtering))
        return false;
    return !statement->allow_filtering || parser_expect_word(parser, "filtering");
}

/* IF NOT EXISTS */
static bool parse_if_not_exists(struct parser *parser, bool *present)
{
    if (!parser_accept_word(parser, "if", present))
        return false;
    return !*present || (parser_expect_word(parser, "not") && parser_expect_word(parser, "exists"));
}

static bool parse_values(struct parser *parser, struct statement *statement)
{
    if (!parser_expect_symbol(parser, "("))
        return false;
    for (size_t i = 0; i < statement->assignment_count; i++) {
        if (i > 0 && parser_is_symbol(parser, ")"))
            return INVALID(parser->failure, "Unmatched column names/values");
        if ((i > 0 && !parser_expect_symbol(parser, ",")) ||
            !parser_term(parser, &statement->assignments[i].value))
            return false;
    }
    if (parser_is_symbol(parser, ","))
        return INVALID(parser->failure, "Unmatched column names/values");
    return parser_expect_symbol(parser, ")");
}

bool parser_insert(struct parser *parser, struct statement *statement)
{
    statement->kind = STATEMENT_INSERT;
    if (!parser_expect_word(parser, "into") ||
        !parser_qualified(parser, &statement->keyspace, &statement->table))
        return false;
    if (parser_is_word(parser, "json"))
        return INVALID(parser->failure, "INSERT JSON is not supported by this server");
    if (!parser_expect_symbol(parser, "("))
        return false;
    for (bool comma = true; comma;) {
        struct assignment *assignment =
            arena_push(parser->arena, (void **)&statement->assignments,
                       &statement->assignment_count, sizeof *assignment);
        if (!parser_name(parser, &assignment->column) || !parser_accept_symbol(parser, ",", &comma))
            return false;
    }
    return parser_expect_symbol(parser, ")") && parser_expect_word(parser, "values") &&
           parse_values(parser, statement) &&
           parse_if_not_exists(parser, &statement->if_not_exists) &&
           parser_using(parser, statement);
}

/* What follows "column =": a value, column + value, column - value or value + column. */
static bool parse_assigned(struct parser *parser, struct assignment *assignment)
{
    bool name = parser->token.kind == TOKEN_NAME || parser->token.kind == TOKEN_QUOTED;
    struct token next;
    if (name && !parser_peek(parser, &next))
        return false;
    if (name && next.kind == TOKEN_SYMBOL && (next.symbol[0] == '+' || next.symbol[0] == '-')) {
        if (strcmp((const char *)parser->token.text.data, assignment->column) != 0)
            return INVALID(parser->failure,
                           "Only expressions of the form X = X +<value> are supported.");
        if (!parser_advance(parser))
            return false;
        assignment->op = parser_is_symbol(parser, "+") ? ASSIGN_ADD : ASSIGN_SUBTRACT;
        return parser_advance(parser) && parser_term(parser, &assignment->value);
    }
    bool plus;
    if (!parser_term(parser, &assignment->value) || !parser_accept_symbol(parser, "+", &plus))
        return false;
    if (!plus)
        return true;
    const char *column;
    assignment->op = ASSIGN_PREPEND;
    if (!parser_name(parser, &column))
        return false;
    return strcmp(column, assignment->column) == 0 ||
           INVALID(parser->failure, "Only expressions of the form X = <value> + X are supported.");
}

static bool parse_assignment(struct parser *parser, struct statement *statement)
{
    struct assignment *assignment = arena_push(parser->arena, (void **)&statement->assignments,
                                               &statement->assignment_count, sizeof *assignment);
    bool matched;
    if (!parser_name(parser, &assignment->column) || !parser_accept_symbol(parser, "[", &matched))
        return false;
    if (matched && (!parser_term(parser, &assignment->key) || !parser_expect_symbol(parser, "]")))
        return false;
    bool plus;
    if (!parser_accept_symbol(parser, "+", &plus))
        return false;
    bool minus = false;
    if (!plus && !parser_accept_symbol(parser, "-", &minus))
        return false;
    if (!parser_expect_symbol(parser, "="))
        return false;
    if (plus || minus) {
        assignment->op = plus ? ASSIGN_ADD : ASSIGN_SUBTRACT;
        return parser_term(parser, &assignment->value);
    }
    return parse_assigned(parser, assignment);
}

/* IF EXISTS | IF condition AND .. */
static bool parse_if(struct parser *parser, struct statement *statement)
{
    bool matched;
    if (!parser_accept_word(parser, "if", &matched))
        return false;
    if (!matched)
        return true;
    if (!parser_accept_word(parser, "exists", &statement->if_exists))
        return false;
    return statement->if_exists ||
           parser_relations(parser, &statement->conditions, &statement->condition_count);
}

bool parser_update(struct parser *parser, struct statement *statement)
{
    statement->kind = STATEMENT_UPDATE;
    if (!parser_qualified(parser, &statement->keyspace, &statement->table) ||
        !parser_using(parser, statement) || !parser_expect_word(parser, "set"))
        return false;
    for (bool comma = true; comma;)
        if (!parse_assignment(parser, statement) || !parser_accept_symbol(parser, ",", &comma))
            return false;
    return parser_expect_word(parser, "where") &&
           parser_relations(parser, &statement->relations, &statement->relation_count) &&
           parse_if(parser, statement);
}

bool parser_delete(struct parser *parser, struct statement *statement)
{
    statement->kind = STATEMENT_DELETE;
    bool comma = !parser_is_word(parser, "from");
    while (comma) {
        struct assignment *assignment =
            arena_push(parser->arena, (void **)&statement->assignments,
                       &statement->assignment_count, sizeof *assignment);
        bool matched;
        if (!parser_name(parser, &assignment->column) ||
            !parser_accept_symbol(parser, "[", &matched))
            return false;
        if (matched &&
            (!parser_term(parser, &assignment->key) || !parser_expect_symbol(parser, "]")))
            return false;
        if (!parser_accept_symbol(parser, ",", &comma))
            return false;
    }
    return parser_expect_word(parser, "from") &&
           parser_qualified(parser, &statement->keyspace, &statement->table) &&
           parser_using(parser, statement) && parser_expect_word(parser, "where") &&
           parser_relations(parser, &statement->relations, &statement->relation_count) &&
           parse_if(parser, statement);
}
