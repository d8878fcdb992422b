/* The CQL tokenizer. Pure; runs on any thread. It must never read past the text, however the text
 * ends, and never look at a byte more than a bounded number of times. */
#include "proto/cql_token.h"

#include <stdint.h>
#include <string.h>

#define UUID_TEXT_LENGTH 36

static bool is_space(char byte)
{
    return byte == ' ' || (byte >= '\t' && byte <= '\r');
}

static bool is_digit(char byte)
{
    return byte >= '0' && byte <= '9';
}

static char lower(char byte)
{
    return byte >= 'A' && byte <= 'Z' ? (char)(byte + ('a' - 'A')) : byte;
}

static bool is_word_start(char byte)
{
    return (lower(byte) >= 'a' && lower(byte) <= 'z') || byte == '_' || (uint8_t)byte >= 0x80;
}

static bool is_word(char byte)
{
    return is_word_start(byte) || is_digit(byte);
}

static bool is_hex(char byte)
{
    return is_digit(byte) || (lower(byte) >= 'a' && lower(byte) <= 'f');
}

struct cql_lexer cql_lexer_over(const char *text, size_t length)
{
    /* An empty text may come with a NULL pointer, and NULL arithmetic is undefined. */
    if (length == 0)
        text = "";
    return (struct cql_lexer){.at = text, .end = text + length};
}

static size_t left(const struct cql_lexer *lexer)
{
    return (size_t)(lexer->end - lexer->at);
}

static bool looks_at(const struct cql_lexer *lexer, const char *pair)
{
    return left(lexer) >= 2 && lexer->at[0] == pair[0] && lexer->at[1] == pair[1];
}

/* The first place at or after from where pair stands, or NULL. */
static const char *find_pair(const char *from, const char *end, const char *pair)
{
    while (from < end) {
        const char *hit = memchr(from, pair[0], (size_t)(end - from));
        if (hit == NULL || end - hit < 2)
            return NULL;
        if (hit[1] == pair[1])
            return hit;
        from = hit + 1;
    }
    return NULL;
}

static void skip_blank(struct cql_lexer *lexer)
{
    while (lexer->at < lexer->end) {
        if (is_space(*lexer->at)) {
            lexer->at++;
        } else if (looks_at(lexer, "--") || looks_at(lexer, "//")) {
            while (lexer->at < lexer->end && *lexer->at != '\n' && *lexer->at != '\r')
                lexer->at++;
        } else if (looks_at(lexer, "/*")) {
            const char *close = find_pair(lexer->at + 2, lexer->end, "*/");
            lexer->is_unterminated = close == NULL;
            lexer->at = close == NULL ? lexer->end : close + 2;
        } else {
            return;
        }
    }
}

static bool is_uuid(const char *text, size_t length)
{
    if (length < UUID_TEXT_LENGTH || (length > UUID_TEXT_LENGTH && is_word(text[UUID_TEXT_LENGTH])))
        return false;
    for (size_t i = 0; i < UUID_TEXT_LENGTH; i++) {
        bool is_dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (is_dash ? text[i] != '-' : !is_hex(text[i]))
            return false;
    }
    return true;
}

static struct cql_token take(struct cql_lexer *lexer, enum cql_token_kind kind, const char *end)
{
    struct cql_token token = {kind, lexer->at, (size_t)(end - lexer->at)};
    lexer->at = end;
    return token;
}

/* A run that begins with quote and ends at the first one that is not doubled. */
static struct cql_token take_quoted(struct cql_lexer *lexer, char quote, enum cql_token_kind kind)
{
    const char *at = lexer->at + 1;
    for (;;) {
        const char *hit = at < lexer->end ? memchr(at, quote, (size_t)(lexer->end - at)) : NULL;
        if (hit == NULL)
            return take(lexer, CQL_TOKEN_UNTERMINATED, lexer->end);
        if (hit + 1 == lexer->end || hit[1] != quote)
            return take(lexer, kind, hit + 1);
        at = hit + 2;
    }
}

struct cql_token cql_lexer_next(struct cql_lexer *lexer)
{
    skip_blank(lexer);
    if (lexer->at == lexer->end)
        return (struct cql_token){CQL_TOKEN_END, lexer->end, 0};
    char first = *lexer->at;
    if (first == '\'')
        return take_quoted(lexer, '\'', CQL_TOKEN_STRING);
    if (first == '"')
        return take_quoted(lexer, '"', CQL_TOKEN_QUOTED_NAME);
    if (looks_at(lexer, "$$")) {
        const char *close = find_pair(lexer->at + 2, lexer->end, "$$");
        return close == NULL ? take(lexer, CQL_TOKEN_UNTERMINATED, lexer->end)
                             : take(lexer, CQL_TOKEN_STRING, close + 2);
    }
    if (is_hex(first) && is_uuid(lexer->at, left(lexer)))
        return take(lexer, CQL_TOKEN_UUID, lexer->at + UUID_TEXT_LENGTH);
    if (!is_word(first))
        return take(lexer, CQL_TOKEN_SYMBOL, lexer->at + 1);
    const char *end = lexer->at + 1;
    while (end < lexer->end && is_word(*end))
        end++;
    return take(lexer, is_digit(first) ? CQL_TOKEN_NUMBER : CQL_TOKEN_WORD, end);
}

bool cql_token_is_word(struct cql_token token, const char *word)
{
    if (token.kind != CQL_TOKEN_WORD)
        return false;
    for (size_t i = 0; i < token.length; i++) {
        if (word[i] == '\0' || lower(token.text[i]) != word[i])
            return false;
    }
    return word[token.length] == '\0';
}

bool cql_token_is_symbol(struct cql_token token, char symbol)
{
    return token.kind == CQL_TOKEN_SYMBOL && token.text[0] == symbol;
}

bool cql_token_value(struct cql_token token, char *out, size_t capacity, size_t *length)
{
    const char *at = token.text;
    const char *end = token.text + token.length;
    char quote = '\0';
    if (token.kind == CQL_TOKEN_STRING && at[0] == '$') {
        at += 2;
        end -= 2;
    } else if (token.kind == CQL_TOKEN_STRING || token.kind == CQL_TOKEN_QUOTED_NAME) {
        quote = at[0];
        at++;
        end--;
    } else if (token.kind != CQL_TOKEN_WORD) {
        return false;
    }
    size_t used = 0;
    while (at < end) {
        if (used + 1 >= capacity)
            return false;
        out[used++] = token.kind == CQL_TOKEN_WORD ? lower(*at) : *at;
        at += quote != '\0' && *at == quote ? 2 : 1;
    }
    if (capacity == 0)
        return false;
    out[used] = '\0';
    *length = used;
    return true;
}
