/* The scanner. Pure: reads a span, writes token texts into the arena, never looks past the end. */
#include "lexer.h"

#include <ctype.h>

void lexer_init(struct lexer *lexer, struct arena *arena, const char *text, size_t length,
                struct failure *failure)
{
    *lexer = (struct lexer){arena, text, text, text + length, failure};
}

bool lexer_fail(struct lexer *lexer, size_t offset, const char *what, const char *detail)
{
    size_t line = 1;
    size_t column = 0;
    for (size_t i = 0; i < offset; i++) {
        column++;
        if (lexer->start[i] == '\n') {
            line++;
            column = 0;
        }
    }
    return failure_set(lexer->failure, CQL_SYNTAX_ERROR, "line %zu:%zu %s '%.60s'", line, column,
                       what, detail);
}

static char peek(const struct lexer *lexer, size_t ahead)
{
    return (size_t)(lexer->end - lexer->at) > ahead ? lexer->at[ahead] : '\0';
}

static bool skip_blank(struct lexer *lexer)
{
    while (lexer->at < lexer->end) {
        if (isspace((unsigned char)*lexer->at)) {
            lexer->at++;
        } else if ((peek(lexer, 0) == '-' && peek(lexer, 1) == '-') ||
                   (peek(lexer, 0) == '/' && peek(lexer, 1) == '/')) {
            while (lexer->at < lexer->end && *lexer->at != '\n')
                lexer->at++;
        } else if (peek(lexer, 0) == '/' && peek(lexer, 1) == '*') {
            size_t opened = (size_t)(lexer->at - lexer->start);
            lexer->at += 2;
            while (lexer->at < lexer->end && !(peek(lexer, 0) == '*' && peek(lexer, 1) == '/'))
                lexer->at++;
            if (lexer->at == lexer->end)
                return lexer_fail(lexer, opened, "unterminated comment at", "/*");
            lexer->at += 2;
        } else {
            break;
        }
    }
    return true;
}

static bool read_quoted(struct lexer *lexer, struct token *token)
{
    char quote = *lexer->at++;
    const char *from = lexer->at;
    char *text = NULL;
    size_t used = 0;
    for (int pass = 0; pass < 2; pass++) {
        lexer->at = from;
        used = 0;
        for (;;) {
            if (lexer->at == lexer->end)
                return lexer_fail(lexer, token->start, "unterminated text at",
                                  quote == '"' ? "\"" : "'");
            char c = *lexer->at++;
            if (c == quote && peek(lexer, 0) != quote)
                break;
            if (c == quote)
                lexer->at++;
            if (text != NULL)
                text[used] = c;
            used++;
        }
        if (pass == 0)
            text = arena_alloc(lexer->arena, used + 1);
    }
    token->kind = quote == '"' ? TOKEN_QUOTED : TOKEN_STRING;
    token->text = bytes_of(text, used);
    return true;
}

static bool read_dollars(struct lexer *lexer, struct token *token)
{
    lexer->at += 2;
    const char *from = lexer->at;
    while (!(peek(lexer, 0) == '$' && peek(lexer, 1) == '$')) {
        if (lexer->at == lexer->end)
            return lexer_fail(lexer, token->start, "unterminated text at", "$$");
        lexer->at++;
    }
    size_t length = (size_t)(lexer->at - from);
    token->kind = TOKEN_STRING;
    token->text = bytes_of(arena_copy(lexer->arena, from, length), length);
    lexer->at += 2;
    return true;
}

static bool is_uuid(const struct lexer *lexer)
{
    for (size_t i = 0; i < 36; i++) {
        char c = peek(lexer, i);
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (dash ? c != '-' : !isxdigit((unsigned char)c))
            return false;
    }
    char after = peek(lexer, 36);
    return !isalnum((unsigned char)after) && after != '_';
}

static void take(struct lexer *lexer, struct token *token, enum token_kind kind, size_t length)
{
    token->kind = kind;
    token->text = bytes_of(arena_copy(lexer->arena, lexer->at, length), length);
    lexer->at += length;
}

static size_t count_digits(const struct lexer *lexer, size_t from)
{
    size_t count = 0;
    while (isdigit((unsigned char)peek(lexer, from + count)))
        count++;
    return count;
}

static void read_number(struct lexer *lexer, struct token *token)
{
    if (peek(lexer, 0) == '0' && (peek(lexer, 1) == 'x' || peek(lexer, 1) == 'X')) {
        size_t length = 2;
        while (isxdigit((unsigned char)peek(lexer, length)))
            length++;
        take(lexer, token, TOKEN_HEX, length);
        return;
    }
    enum token_kind kind = TOKEN_INTEGER;
    size_t length = count_digits(lexer, 0);
    if (peek(lexer, length) == '.') {
        kind = TOKEN_FLOAT;
        length += 1 + count_digits(lexer, length + 1);
    }
    char exponent = peek(lexer, length);
    if (exponent == 'e' || exponent == 'E') {
        char sign = peek(lexer, length + 1);
        size_t skip = sign == '+' || sign == '-' ? 2 : 1;
        size_t more = count_digits(lexer, length + skip);
        if (more > 0) {
            kind = TOKEN_FLOAT;
            length += skip + more;
        }
    }
    take(lexer, token, kind, length);
}

static bool read_symbol(struct lexer *lexer, struct token *token)
{
    char first = *lexer->at;
    if (memchr("()[]{}<>=!,.;:?*+-/%", first, 20) == NULL || first == '\0') {
        char shown[2] = {isprint((unsigned char)first) ? first : '?', '\0'};
        return lexer_fail(lexer, token->start, "no viable alternative at character", shown);
    }
    token->kind = TOKEN_SYMBOL;
    token->symbol[0] = first;
    lexer->at++;
    if ((first == '<' || first == '>' || first == '!') && peek(lexer, 0) == '=') {
        token->symbol[1] = '=';
        lexer->at++;
    }
    token->text = bytes_text(arena_text(lexer->arena, token->symbol));
    return true;
}

bool lexer_next(struct lexer *lexer, struct token *token)
{
    if (!skip_blank(lexer))
        return false;
    *token = (struct token){.start = (size_t)(lexer->at - lexer->start)};
    if (lexer->at == lexer->end) {
        token->text = bytes_text("<EOF>");
        return true;
    }
    char c = *lexer->at;
    if (c == '\'' || c == '"')
        return read_quoted(lexer, token);
    if (c == '$' && peek(lexer, 1) == '$')
        return read_dollars(lexer, token);
    if (isxdigit((unsigned char)c) && is_uuid(lexer)) {
        take(lexer, token, TOKEN_UUID, 36);
        return true;
    }
    if (isdigit((unsigned char)c)) {
        read_number(lexer, token);
        return true;
    }
    if (isalpha((unsigned char)c) || c == '_') {
        size_t length = 0;
        while (isalnum((unsigned char)peek(lexer, length)) || peek(lexer, length) == '_')
            length++;
        take(lexer, token, TOKEN_NAME, length);
        for (char *at = (char *)(uintptr_t)token->text.data; *at != '\0'; at++)
            *at = (char)tolower((unsigned char)*at);
        return true;
    }
    return read_symbol(lexer, token);
}
