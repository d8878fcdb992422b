/* The CQL tokenizer. Pure; runs on any thread. It must never read past the text, however the text
 * ends, and never look at a byte more than a bounded number of times. */
#include "proto/cql_token.h"

#include <stdint.h>
#include <string.h>

#define UUID_TEXT_LENGTH 36

/* What may begin with a byte, so that each byte is looked up once. What may stand within a word
 * comes last, what may stand within a UUID last of all. */
enum class {
    CLASS_OTHER,
    CLASS_BLANK,
    CLASS_OPENING,
    CLASS_CLOSING,
    CLASS_QUOTE,
    CLASS_DOLLAR,
    CLASS_COMMENT,
    CLASS_POINT,
    CLASS_LETTER, /* also underscore and all above 0x7f */
    CLASS_HEX_LETTER,
    CLASS_DIGIT,
};

static const uint8_t classes[256] = {
    ['\t' ... '\r'] = CLASS_BLANK,
    [' '] = CLASS_BLANK,
    ['('] = CLASS_OPENING,
    ['['] = CLASS_OPENING,
    ['{'] = CLASS_OPENING,
    [')'] = CLASS_CLOSING,
    [']'] = CLASS_CLOSING,
    ['}'] = CLASS_CLOSING,
    ['\''] = CLASS_QUOTE,
    ['"'] = CLASS_QUOTE,
    ['$'] = CLASS_DOLLAR,
    ['-'] = CLASS_COMMENT,
    ['/'] = CLASS_COMMENT,
    ['.'] = CLASS_POINT,
    ['_'] = CLASS_LETTER,
    ['G' ... 'Z'] = CLASS_LETTER,
    ['g' ... 'z'] = CLASS_LETTER,
    [0x80 ... 0xff] = CLASS_LETTER,
    ['A' ... 'F'] = CLASS_HEX_LETTER,
    ['a' ... 'f'] = CLASS_HEX_LETTER,
    ['0' ... '9'] = CLASS_DIGIT,
};

static inline enum class class_of(char byte) { return classes[(uint8_t)byte]; }

static inline bool is_blank(char byte)
{
    return class_of(byte) == CLASS_BLANK;
}

static inline bool is_word(char byte)
{
    return class_of(byte) >= CLASS_LETTER;
}

static inline bool is_hex(char byte)
{
    return class_of(byte) >= CLASS_HEX_LETTER;
}

static inline char lower(char byte)
{
    return byte >= 'A' && byte <= 'Z' ? (char)(byte + ('a' - 'A')) : byte;
}

struct cql_lexer cql_lexer_over(const char *text, size_t length)
{
    /* An empty text may come with a NULL pointer, and NULL arithmetic is undefined. */
    if (length == 0)
        text = "";
    return (struct cql_lexer){.at = text, .end = text + length};
}

static inline bool looks_at(const char *at, const char *end, const char *pair)
{
    return end - at >= 2 && at[0] == pair[0] && at[1] == pair[1];
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

static inline const char *end_of_blank(const char *at, const char *end)
{
    while (at < end && is_blank(*at))
        at++;
    return at;
}

/* The end of the word or number whose first byte stands before at. */
static inline const char *end_of_word(const char *at, const char *end)
{
    while (at < end && is_word(*at))
        at++;
    return at;
}

/* The end of what '…' or "…" encloses: behind the first quote that is not doubled. at stands at the
 * opening one. NULL: it never closes. */
static const char *end_of_quoted(const char *at, const char *end)
{
    char quote = *at++;
    for (;;) {
        const char *hit = at < end ? memchr(at, quote, (size_t)(end - at)) : NULL;
        if (hit == NULL || hit + 1 == end || hit[1] != quote)
            return hit == NULL ? NULL : hit + 1;
        at = hit + 2;
    }
}

/* The same for $$…$$. */
static const char *end_of_dollars(const char *at, const char *end)
{
    const char *close = find_pair(at + 2, end, "$$");
    return close == NULL ? NULL : close + 2;
}

/* Where the comment at `at` ends, or at itself when there is none. */
static const char *end_of_comment(struct cql_lexer *lexer, const char *at)
{
    const char *end = lexer->end;
    if (looks_at(at, end, "--") || looks_at(at, end, "//")) {
        while (at < end && *at != '\n' && *at != '\r')
            at++;
    } else if (looks_at(at, end, "/*")) {
        const char *close = find_pair(at + 2, end, "*/");
        lexer->is_unterminated = close == NULL;
        at = close == NULL ? end : close + 2;
    }
    return at;
}

static void skip_blank(struct cql_lexer *lexer)
{
    for (;;) {
        const char *at = end_of_blank(lexer->at, lexer->end);
        lexer->at = at;
        if (at == lexer->end || LIKELY(*at != '-' && *at != '/'))
            return;
        lexer->at = end_of_comment(lexer, at);
        if (lexer->at == at)
            return;
    }
}

static bool is_uuid(const char *text, size_t length)
{
    if (length < UUID_TEXT_LENGTH || text[8] != '-' ||
        (length > UUID_TEXT_LENGTH && is_word(text[UUID_TEXT_LENGTH])))
        return false;
    for (size_t i = 0; i < UUID_TEXT_LENGTH; i++) {
        bool is_dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (is_dash ? text[i] != '-' : !is_hex(text[i]))
            return false;
    }
    return true;
}

/* end NULL: what was opened never closes. */
static inline struct cql_token take(struct cql_lexer *lexer, enum cql_token_kind kind,
                                    const char *end)
{
    if (UNLIKELY(end == NULL)) {
        kind = CQL_TOKEN_UNTERMINATED;
        end = lexer->end;
    }
    struct cql_token token = {kind, lexer->at, (size_t)(end - lexer->at)};
    lexer->at = end;
    return token;
}

struct cql_token cql_lexer_next(struct cql_lexer *lexer)
{
    skip_blank(lexer);
    const char *at = lexer->at;
    const char *end = lexer->end;
    if (at == end)
        return (struct cql_token){CQL_TOKEN_END, end, 0};
    enum class class = class_of(*at);
    switch (class) {
    case CLASS_HEX_LETTER:
    case CLASS_DIGIT:
        if (UNLIKELY(is_uuid(at, (size_t)(end - at))))
            return take(lexer, CQL_TOKEN_UUID, at + UUID_TEXT_LENGTH);
        return take(lexer, class == CLASS_DIGIT ? CQL_TOKEN_NUMBER : CQL_TOKEN_WORD,
                    end_of_word(at + 1, end));
    case CLASS_LETTER:
        return take(lexer, CQL_TOKEN_WORD, end_of_word(at + 1, end));
    case CLASS_QUOTE:
        return take(lexer, *at == '"' ? CQL_TOKEN_QUOTED_NAME : CQL_TOKEN_STRING,
                    end_of_quoted(at, end));
    case CLASS_DOLLAR:
        if (looks_at(at, end, "$$"))
            return take(lexer, CQL_TOKEN_STRING, end_of_dollars(at, end));
        break;
    default:
        break;
    }
    return take(lexer, CQL_TOKEN_SYMBOL, at + 1);
}

/* What stands behind an opening parenthesis may be the end of an empty list of arguments. */
static inline bool may_end_call(const char *at, const char *end)
{
    return at < end && (*at == ')' || is_blank(*at) || class_of(*at) == CLASS_COMMENT);
}

bool cql_lexer_next_word(struct cql_lexer *lexer, struct cql_token *word)
{
    const char *at = lexer->at;
    const char *end = lexer->end;
    size_t depth = 0;
    bool is_after_point = false;
    while (at != NULL && at < end) {
        const char *start = at++;
        bool is_point = false;
        switch (class_of(*start)) {
        case CLASS_BLANK:
            continue;
        case CLASS_LETTER:
        case CLASS_HEX_LETTER:
            at = end_of_word(at, end);
            if (depth > 0 || is_after_point)
                break;
            *word = (struct cql_token){CQL_TOKEN_WORD, start, (size_t)(at - start)};
            lexer->at = at;
            return true;
        case CLASS_DIGIT:
            at = end_of_word(at, end);
            break;
        case CLASS_OPENING:
            lexer->may_call |= may_end_call(at, end);
            depth++;
            break;
        case CLASS_CLOSING:
            depth -= depth > 0;
            break;
        case CLASS_QUOTE:
            at = end_of_quoted(start, end);
            break;
        case CLASS_DOLLAR:
            if (looks_at(start, end, "$$"))
                at = end_of_dollars(start, end);
            break;
        case CLASS_COMMENT: {
            const char *after = end_of_comment(lexer, start);
            if (after == start)
                break;
            at = after;
            continue; /* as good as a blank */
        }
        case CLASS_POINT:
            is_point = true;
            break;
        case CLASS_OTHER:
            break;
        }
        is_after_point = is_point;
    }
    lexer->at = end;
    return false;
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
