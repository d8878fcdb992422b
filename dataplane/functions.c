/* Calls of non-deterministic functions: found, and replaced in texts. Pure; runs on the workers. It
 * must never touch a byte outside the calls it replaces, nor see one in a string, a comment or a
 * name. What PREPARED and EXECUTE need is in functions_prepared.c. */
#include "dataplane/functions.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "dataplane/functions_names.h"

static const struct {
    const char *name; /* lower case, as unquoted names are folded and as quoted ones must be */
    enum function_kind kind;
} known[] = {
    {"now", FUNCTION_TIMEUUID},
    {"uuid", FUNCTION_UUID},
    {"currenttimestamp", FUNCTION_TIMESTAMP},
    {"current_timestamp", FUNCTION_TIMESTAMP},
    {"currentdate", FUNCTION_DATE},
    {"current_date", FUNCTION_DATE},
    {"currenttime", FUNCTION_TIME},
    {"current_time", FUNCTION_TIME},
    {"currenttimeuuid", FUNCTION_TIMEUUID},
    {"current_timeuuid", FUNCTION_TIMEUUID},
};

static const char *const type_names[FUNCTION_KIND_COUNT] = {
    [FUNCTION_TIMEUUID] = "timeuuid", [FUNCTION_UUID] = "uuid", [FUNCTION_TIMESTAMP] = "timestamp",
    [FUNCTION_DATE] = "date",         [FUNCTION_TIME] = "time",
};

const char *function_type_name(enum function_kind kind)
{
    return type_names[kind];
}

/* ---- tokens ---- */

static bool is_space(char byte)
{
    return byte == ' ' || (byte >= '\t' && byte <= '\r');
}

static bool is_word_byte(char byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
           (byte >= '0' && byte <= '9') || byte == '_' || (uint8_t)byte >= 0x80;
}

static bool is_any_name(struct cql_token token)
{
    return token.kind == CQL_TOKEN_WORD || token.kind == CQL_TOKEN_QUOTED_NAME;
}

static bool is_known(struct cql_token token, enum function_kind *kind)
{
    if (!is_any_name(token))
        return false;
    for (size_t i = 0; i < ARRAY_COUNT(known); i++) {
        if (cql_token_is_name(token, known[i].name)) {
            *kind = known[i].kind;
            return true;
        }
    }
    return false;
}

/* A name our markers could be confused with. */
static bool is_reserved(struct cql_token token)
{
    static const char prefix[] = FUNCTIONS_MARKER_PREFIX;
    const char *text = token.text + (token.kind == CQL_TOKEN_QUOTED_NAME);
    if (!is_any_name(token) || token.length < sizeof prefix)
        return false;
    for (size_t i = 0; i < sizeof prefix - 1; i++) {
        char byte = text[i] >= 'A' && text[i] <= 'Z' ? (char)(text[i] + ('a' - 'A')) : text[i];
        if (byte != prefix[i])
            return false;
    }
    return true;
}

/* ---- search ---- */

bool functions_may_be_in(const char *text, size_t length)
{
    const char *at = text;
    const char *end = length == 0 ? text : text + length;
    while (at < end && (at = memchr(at, '(', (size_t)(end - at))) != NULL) {
        at++;
        while (at < end && is_space(*at))
            at++;
        /* A comment may stand between the parentheses. */
        if (at < end && (*at == ')' || *at == '/' || (*at == '-' && end - at > 1 && at[1] == '-')))
            return true;
    }
    return false;
}

bool functions_search(struct function_search *search, const char *text, size_t length)
{
    *search = (struct function_search){.lexer = cql_lexer_over(text, length), .text = text};
    struct cql_token first = cql_lexer_next(&search->lexer);
    search->last[0] = first;
    if (cql_token_is_word(first, "insert") || cql_token_is_word(first, "update") ||
        cql_token_is_word(first, "delete"))
        return true;
    if (!cql_token_is_word(first, "begin"))
        return false;
    struct cql_token next = cql_lexer_next(&search->lexer);
    if (cql_token_is_word(next, "unlogged") || cql_token_is_word(next, "counter") ||
        cql_token_is_word(next, "logged"))
        next = cql_lexer_next(&search->lexer);
    search->last[0] = next;
    return cql_token_is_word(next, "batch");
}

/* Whether the brace just read opens a user type literal, whose fields may be markers: the name of a
 * field and a colon follow. A set's or map's first element may also be a word, but only one of
 * these. */
static bool opens_user_type(struct cql_lexer lexer)
{
    static const char *const literals[] = {"true", "false", "null", "nan", "infinity"};
    struct cql_token field = cql_lexer_next(&lexer);
    if (!is_any_name(field) || !cql_token_is_symbol(cql_lexer_next(&lexer), ':'))
        return false;
    for (size_t i = 0; i < ARRAY_COUNT(literals); i++) {
        if (cql_token_is_word(field, literals[i]))
            return false;
    }
    return true;
}

static void on_symbol(struct function_search *search, char symbol)
{
    bool opens_collection = false;
    switch (symbol) {
    case '{':
        opens_collection = !opens_user_type(search->lexer);
        break;
    case '[': /* after a name it is a subscript */
        opens_collection = !is_any_name(search->last[0]);
        break;
    case '(':
        break;
    case ')':
    case ']':
    case '}':
        if (search->depth == search->collection_depth)
            search->collection_depth = 0;
        if (search->depth > 0)
            search->depth--;
        return;
    default:
        return;
    }
    search->depth++;
    if (opens_collection && search->collection_depth == 0)
        search->collection_depth = search->depth;
}

/* name is a known function's: whether it is called here, and with nothing. */
static bool is_call(const struct function_search *search, struct cql_token name,
                    struct function_call *call, struct cql_lexer *after)
{
    const struct cql_token *last = search->last;
    const char *start = name.text;
    if (cql_token_is_symbol(last[0], '.')) {
        if (!cql_token_is_name(last[1], "system") || cql_token_is_symbol(last[2], '.'))
            return false;
        start = last[1].text;
    }
    *after = search->lexer;
    if (!cql_token_is_symbol(cql_lexer_next(after), '(') ||
        !cql_token_is_symbol(cql_lexer_next(after), ')'))
        return false;
    call->start = (size_t)(start - search->text);
    call->end = (size_t)(after->at - search->text);
    call->is_in_collection = search->collection_depth > 0;
    return true;
}

bool functions_next(struct function_search *search, struct function_call *call)
{
    for (;;) {
        struct cql_token token = cql_lexer_next(&search->lexer);
        struct cql_lexer after;
        bool is_found = false;
        switch (token.kind) {
        case CQL_TOKEN_END:
        case CQL_TOKEN_UNTERMINATED:
            return false;
        case CQL_TOKEN_SYMBOL:
            on_symbol(search, token.text[0]);
            break;
        case CQL_TOKEN_WORD:
        case CQL_TOKEN_QUOTED_NAME:
            search->is_reserved = search->is_reserved || is_reserved(token);
            is_found = is_known(token, &call->kind) && is_call(search, token, call, &after);
            break;
        default:
            break;
        }
        if (is_found) {
            search->lexer = after;
            search->last[2] = search->last[1] =
                (struct cql_token){.kind = CQL_TOKEN_SYMBOL, .text = "(", .length = 1};
            search->last[0] =
                (struct cql_token){.kind = CQL_TOKEN_SYMBOL, .text = ")", .length = 1};
            return true;
        }
        search->last[2] = search->last[1];
        search->last[1] = search->last[0];
        search->last[0] = token;
    }
}

bool functions_has_our_marker(const char *text, size_t length)
{
    static const char sign[] = ":" FUNCTIONS_MARKER_PREFIX;
    /* Nearly every text ends here. What is not spelt just so is another text than any of ours. */
    if (length == 0 || LIKELY(memmem(text, length, sign, sizeof sign - 1) == NULL))
        return false;
    struct cql_lexer lexer = cql_lexer_over(text, length);
    struct cql_token token, before = {.kind = CQL_TOKEN_END};
    while ((token = cql_lexer_next(&lexer)).kind != CQL_TOKEN_END &&
           token.kind != CQL_TOKEN_UNTERMINATED) {
        if (cql_token_is_symbol(before, ':') && token.kind == CQL_TOKEN_WORD && is_reserved(token))
            return true;
        before = token;
    }
    return false;
}

/* ---- literals ---- */

static uint64_t load_u64(const uint8_t *bytes)
{
    return (uint64_t)cql_load_u32(bytes) << 32 | cql_load_u32(bytes + 4);
}

/* Days since 1970-01-01 to a date of the proleptic Gregorian calendar, counted in years that begin
 * in March, so that a leap day is the last of its year. */
static void put_date(int64_t days, char *out, size_t size)
{
    int64_t shifted = days + 719468; /* since 0000-03-01 */
    int64_t era = (shifted >= 0 ? shifted : shifted - 146096) / 146097;
    int64_t day_of_era = shifted - era * 146097;
    int64_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t month = (5 * day_of_year + 2) / 153; /* 0: March */
    int64_t day = day_of_year - (153 * month + 2) / 5 + 1;
    int64_t year = year_of_era + era * 400 + (month >= 10 ? 1 : 0);
    snprintf(out, size, "'%04" PRId64 "-%02" PRId64 "-%02" PRId64 "'", year,
             month < 10 ? month + 3 : month - 9, day);
}

size_t function_literal(enum function_kind kind, const struct function_value *value,
                        char literal[FUNCTION_LITERAL_MAX])
{
    const uint8_t *b = value->bytes;
    char text[FUNCTION_LITERAL_MAX / 2 + 8];
    switch (kind) {
    case FUNCTION_TIMESTAMP:
        snprintf(text, sizeof text, "%" PRId64, (int64_t)load_u64(b));
        break;
    case FUNCTION_DATE: /* the epoch is the middle of the range (section 6.5) */
        put_date((int64_t)cql_load_u32(b) - ((int64_t)1 << 31), text, sizeof text);
        break;
    case FUNCTION_TIME: {
        uint64_t ns = load_u64(b), seconds = ns / 1000000000;
        snprintf(text, sizeof text, "'%02u:%02u:%02u.%09u'", (unsigned)(seconds / 3600 % 24),
                 (unsigned)(seconds / 60 % 60), (unsigned)(seconds % 60),
                 (unsigned)(ns % 1000000000));
        break;
    }
    default:
        snprintf(text, sizeof text,
                 "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1],
                 b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14],
                 b[15]);
    }
    return (size_t)snprintf(literal, FUNCTION_LITERAL_MAX, "(%s)%s", type_names[kind], text);
}

/* ---- rewriting ---- */

bool functions_any(const struct function_counts *counts)
{
    for (size_t i = 0; i < FUNCTION_KIND_COUNT; i++) {
        if (counts->replaced[i] > 0)
            return true;
    }
    return false;
}

/* Looks the whole text over before anything is given away. */
static uint32_t count_calls(const char *text, size_t length, bool is_prepared,
                            struct function_counts *counts)
{
    struct function_search search;
    struct function_call call;
    uint32_t calls = 0;
    *counts = (struct function_counts){0};
    if (!functions_search(&search, text, length))
        return 0;
    while (functions_next(&search, &call)) {
        if (is_prepared && call.is_in_collection)
            counts->left++;
        else
            calls++;
    }
    if (calls <= (is_prepared ? FUNCTIONS_PREPARED_MAX : FUNCTIONS_TEXT_MAX) &&
        !(is_prepared && search.is_reserved))
        return calls;
    counts->left += calls;
    return 0;
}

bool functions_replace(const char *text, size_t length, const struct function_maker *maker,
                       functions_emit emit, void *context, struct function_counts *counts)
{
    struct function_search search;
    struct function_call call;
    uint32_t calls = count_calls(text, length, maker == NULL, counts);
    if (calls == 0 || !functions_search(&search, text, length))
        return true;
    for (uint32_t ordinal = 0; ordinal < calls && functions_next(&search, &call);) {
        char with[FUNCTION_LITERAL_MAX + 1];
        size_t with_length;
        if (maker == NULL && call.is_in_collection)
            continue;
        if (maker != NULL) {
            struct function_value value;
            maker->make(maker->context, call.kind, &value);
            with_length = function_literal(call.kind, &value, with);
        } else {
            with_length = (size_t)snprintf(with, sizeof with, "(%s):" FUNCTIONS_MARKER_FORMAT,
                                           type_names[call.kind], type_names[call.kind], ordinal);
        }
        ordinal++;
        /* The closing parenthesis kept the next word apart. */
        if (call.end < length && is_word_byte(text[call.end]))
            with[with_length++] = ' ';
        counts->replaced[call.kind]++;
        if (!emit(context, call.start, call.end - call.start, with, with_length))
            return false;
    }
    return true;
}

struct writer {
    const char *text;
    size_t copied;
    struct dynbuf *out;
};

static bool write_piece(void *context, size_t offset, size_t removed, const void *bytes,
                        size_t length)
{
    struct writer *writer = context;
    dynbuf_append(writer->out, writer->text + writer->copied, offset - writer->copied);
    writer->copied = offset + removed;
    return dynbuf_append(writer->out, bytes, length);
}

bool functions_write(const char *text, size_t length, const struct function_maker *maker,
                     struct dynbuf *out, struct function_counts *counts)
{
    struct writer writer = {.text = text, .out = out};
    return functions_replace(text, length, maker, write_piece, &writer, counts) &&
           (!functions_any(counts) ||
            dynbuf_append(out, text + writer.copied, length - writer.copied));
}
