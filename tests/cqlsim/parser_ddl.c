/* CREATE, ALTER and DROP of keyspaces, tables, indexes and types. Pure. Options that change nothing
 * here (compaction, caching, ..) are read and forgotten. */
#include "parser_internal.h"

static bool parse_if_not_exists(struct parser *parser, struct statement *statement)
{
    if (!parser_accept_word(parser, "if", &statement->if_not_exists))
        return false;
    return !statement->if_not_exists ||
           (parser_expect_word(parser, "not") && parser_expect_word(parser, "exists"));
}

static bool parse_if_exists(struct parser *parser, struct statement *statement)
{
    if (!parser_accept_word(parser, "if", &statement->if_exists))
        return false;
    return !statement->if_exists || parser_expect_word(parser, "exists");
}

static bool push_name(struct parser *parser, const char ***names, size_t *count)
{
    const char **slot = arena_push(parser->arena, (void **)names, count, sizeof *slot);
    return parser_name(parser, slot);
}

static bool parse_name_list(struct parser *parser, const char ***names, size_t *count)
{
    for (bool comma = true; comma;)
        if (!push_name(parser, names, count) || !parser_accept_symbol(parser, ",", &comma))
            return false;
    return true;
}

/* One option of WITH: name = constant, COMPACT STORAGE or CLUSTERING ORDER BY (..). */
static bool parse_property(struct parser *parser, struct statement *statement)
{
    bool matched;
    if (!parser_accept_word(parser, "compact", &matched))
        return false;
    if (matched)
        return parser_expect_word(parser, "storage");
    if (!parser_accept_word(parser, "clustering", &matched))
        return false;
    if (matched)
        return parser_expect_word(parser, "order") && parser_expect_word(parser, "by") &&
               parser_expect_symbol(parser, "(") &&
               parser_ordering_list(parser, &statement->clustering_orders,
                                    &statement->clustering_order_count) &&
               parser_expect_symbol(parser, ")");
    struct property *property = arena_push(parser->arena, (void **)&statement->properties,
                                           &statement->property_count, sizeof *property);
    return parser_name(parser, &property->name) && parser_expect_symbol(parser, "=") &&
           parser_term(parser, &property->value);
}

static bool parse_with(struct parser *parser, struct statement *statement)
{
    bool more;
    if (!parser_accept_word(parser, "with", &more))
        return false;
    while (more)
        if (!parse_property(parser, statement) || !parser_accept_word(parser, "and", &more))
            return false;
    return true;
}

/* PRIMARY KEY ((a, b), c, d), the two words already read. */
static bool parse_primary_key(struct parser *parser, struct statement *statement)
{
    bool matched;
    if (!parser_expect_symbol(parser, "(") || !parser_accept_symbol(parser, "(", &matched))
        return false;
    bool ok = matched
                  ? parse_name_list(parser, &statement->partition_keys,
                                    &statement->partition_key_count) &&
                        parser_expect_symbol(parser, ")")
                  : push_name(parser, &statement->partition_keys, &statement->partition_key_count);
    if (!ok || !parser_accept_symbol(parser, ",", &matched))
        return false;
    if (matched &&
        !parse_name_list(parser, &statement->clustering_keys, &statement->clustering_key_count))
        return false;
    return parser_expect_symbol(parser, ")");
}

static bool parse_column(struct parser *parser, struct statement *statement, bool in_create)
{
    struct column_definition *column = arena_push(parser->arena, (void **)&statement->columns,
                                                  &statement->column_count, sizeof *column);
    if (!parser_name(parser, &column->name) || !parser_type(parser, &column->type) ||
        !parser_accept_word(parser, "static", &column->is_static))
        return false;
    bool primary = false;
    if (in_create && !parser_accept_word(parser, "primary", &primary))
        return false;
    if (!primary)
        return true;
    if (statement->partition_key_count > 0)
        return INVALID(parser->failure, "Multiple PRIMARY KEYs specifed (exactly one required)");
    const char **slot = arena_push(parser->arena, (void **)&statement->partition_keys,
                                   &statement->partition_key_count, sizeof *slot);
    *slot = column->name;
    return parser_expect_word(parser, "key");
}

static bool parse_create_table(struct parser *parser, struct statement *statement)
{
    statement->kind = STATEMENT_CREATE_TABLE;
    if (!parse_if_not_exists(parser, statement) ||
        !parser_qualified(parser, &statement->keyspace, &statement->table) ||
        !parser_expect_symbol(parser, "("))
        return false;
    for (bool comma = true; comma;) {
        struct token next;
        if (!parser_peek(parser, &next))
            return false;
        bool primary = parser_is_word(parser, "primary") && next.kind == TOKEN_NAME &&
                       strcmp((const char *)next.text.data, "key") == 0;
        if (primary) {
            if (statement->partition_key_count > 0)
                return INVALID(parser->failure,
                               "Multiple PRIMARY KEYs specifed (exactly one required)");
            if (!parser_advance(parser) || !parser_advance(parser) ||
                !parse_primary_key(parser, statement))
                return false;
        } else if (!parse_column(parser, statement, true)) {
            return false;
        }
        if (!parser_accept_symbol(parser, ",", &comma))
            return false;
    }
    return parser_expect_symbol(parser, ")") && parse_with(parser, statement);
}

static bool parse_create_index(struct parser *parser, struct statement *statement)
{
    bool matched;
    statement->kind = STATEMENT_CREATE_INDEX;
    if (!parse_if_not_exists(parser, statement))
        return false;
    if (!parser_is_word(parser, "on") && !parser_name(parser, &statement->index_name))
        return false;
    if (!parser_expect_word(parser, "on") ||
        !parser_qualified(parser, &statement->keyspace, &statement->table) ||
        !parser_expect_symbol(parser, "(") || !parser_name(parser, &statement->index_target) ||
        !parser_accept_symbol(parser, "(", &matched))
        return false;
    /* keys(column), values(column), entries(column), full(column) */
    if (matched &&
        (!parser_name(parser, &statement->index_target) || !parser_expect_symbol(parser, ")")))
        return false;
    return parser_expect_symbol(parser, ")") && parse_with(parser, statement);
}

static bool parse_create_type(struct parser *parser, struct statement *statement)
{
    statement->kind = STATEMENT_CREATE_TYPE;
    if (!parse_if_not_exists(parser, statement) ||
        !parser_qualified(parser, &statement->keyspace, &statement->table) ||
        !parser_expect_symbol(parser, "("))
        return false;
    for (bool comma = true; comma;)
        if (!parse_column(parser, statement, false) || !parser_accept_symbol(parser, ",", &comma))
            return false;
    return parser_expect_symbol(parser, ")");
}

bool parser_create(struct parser *parser, struct statement *statement)
{
    bool matched;
    if (parser_is_word(parser, "keyspace") || parser_is_word(parser, "schema")) {
        statement->kind = STATEMENT_CREATE_KEYSPACE;
        return parser_advance(parser) && parse_if_not_exists(parser, statement) &&
               parser_name(parser, &statement->keyspace) && parse_with(parser, statement);
    }
    if (parser_is_word(parser, "table") || parser_is_word(parser, "columnfamily"))
        return parser_advance(parser) && parse_create_table(parser, statement);
    if (parser_is_word(parser, "type"))
        return parser_advance(parser) && parse_create_type(parser, statement);
    if (!parser_accept_word(parser, "custom", &matched))
        return false;
    if (parser_is_word(parser, "index"))
        return parser_advance(parser) && parse_create_index(parser, statement);
    return parser_fail(parser);
}

static bool parse_added(struct parser *parser, struct statement *statement)
{
    bool parenthesis;
    statement->alteration = ALTER_ADD;
    if (!parser_accept_symbol(parser, "(", &parenthesis))
        return false;
    for (bool comma = true; comma;)
        if (!parse_column(parser, statement, false) || !parser_accept_symbol(parser, ",", &comma))
            return false;
    return !parenthesis || parser_expect_symbol(parser, ")");
}

static bool parse_dropped(struct parser *parser, struct statement *statement)
{
    bool parenthesis;
    statement->alteration = ALTER_DROP;
    if (!parser_accept_symbol(parser, "(", &parenthesis))
        return false;
    for (bool comma = true; comma;) {
        struct column_definition *column = arena_push(parser->arena, (void **)&statement->columns,
                                                      &statement->column_count, sizeof *column);
        if (!parser_name(parser, &column->name) || !parser_accept_symbol(parser, ",", &comma))
            return false;
    }
    return !parenthesis || parser_expect_symbol(parser, ")");
}

bool parser_alter(struct parser *parser, struct statement *statement)
{
    if (parser_is_word(parser, "keyspace")) {
        statement->kind = STATEMENT_ALTER_KEYSPACE;
        return parser_advance(parser) && parser_name(parser, &statement->keyspace) &&
               parse_with(parser, statement);
    }
    statement->kind = STATEMENT_ALTER_TABLE;
    if (!parser_expect_word(parser, "table") ||
        !parser_qualified(parser, &statement->keyspace, &statement->table))
        return false;
    if (parser_is_word(parser, "add"))
        return parser_advance(parser) && parse_added(parser, statement);
    if (parser_is_word(parser, "drop"))
        return parser_advance(parser) && parse_dropped(parser, statement);
    statement->alteration = ALTER_OPTIONS;
    return parser_is_word(parser, "with") ? parse_with(parser, statement) : parser_fail(parser);
}

bool parser_drop(struct parser *parser, struct statement *statement)
{
    static const struct {
        const char *word;
        enum statement_kind kind;
    } kinds[] = {
        {"keyspace", STATEMENT_DROP_KEYSPACE}, {"schema", STATEMENT_DROP_KEYSPACE},
        {"table", STATEMENT_DROP_TABLE},       {"columnfamily", STATEMENT_DROP_TABLE},
        {"index", STATEMENT_DROP_INDEX},       {"type", STATEMENT_DROP_TYPE},
    };
    for (size_t i = 0; i < ARRAY_COUNT(kinds); i++) {
        if (!parser_is_word(parser, kinds[i].word))
            continue;
        statement->kind = kinds[i].kind;
        if (!parser_advance(parser) || !parse_if_exists(parser, statement))
            return false;
        return statement->kind == STATEMENT_DROP_KEYSPACE
                   ? parser_name(parser, &statement->keyspace)
                   : parser_qualified(parser, &statement->keyspace, &statement->table);
    }
    return parser_fail(parser);
}
