/* Reads and writes JSON. Any thread; no state of its own.
 *
 * jsmn only tokenizes: it lets through text that is not JSON. So a grammar pass of ours goes first
 * and accepts or refuses, and jsmn then splits text already known to be valid, into exactly as many
 * tokens as the grammar pass counted. Nothing here recurses, and nothing is allocated by a number
 * found in the text. */
#include "common/json.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#define JSMN_STATIC
#define JSMN_STRICT
#define JSMN_PARENT_LINKS
#include <jsmn.h>

struct json_value {
    const char *name; /* NULL: not a member */
    const char *text; /* strings: decoded; numbers and literals: as written */
    size_t name_length;
    size_t text_length;
    struct json_value *first;
    struct json_value *last;
    struct json_value *next;
    enum json_type type;
};

struct json_document {
    char *buffer; /* '[' text ']': jsmn refuses a bare scalar, so every text is made an element */
    struct json_value *values;
};

/* ---- grammar ---- */

struct reader {
    const char *text;
    size_t length;
    size_t at;
    size_t values; /* values and member names met so far */
    struct json_error *error;
};

static bool refuse(struct reader *reader, const char *why)
{
    reader->error->offset = reader->at;
    snprintf(reader->error->text, sizeof reader->error->text, "%s", why);
    return false;
}

static int peek(const struct reader *reader)
{
    return reader->at < reader->length ? (unsigned char)reader->text[reader->at] : -1;
}

static void skip_space(struct reader *reader)
{
    int byte;
    while ((byte = peek(reader)) == ' ' || byte == '\t' || byte == '\n' || byte == '\r')
        reader->at++;
}

static int hex_digit(int byte)
{
    if (byte >= '0' && byte <= '9')
        return byte - '0';
    if (byte >= 'a' && byte <= 'f')
        return byte - 'a' + 10;
    if (byte >= 'A' && byte <= 'F')
        return byte - 'A' + 10;
    return -1;
}

/* Four hex digits at text, or -1. */
static int hex_unit(const char *text, size_t length)
{
    int unit = 0;
    if (length < 4)
        return -1;
    for (size_t i = 0; i < 4; i++) {
        int digit = hex_digit((unsigned char)text[i]);
        if (digit < 0)
            return -1;
        unit = unit * 16 + digit;
    }
    return unit;
}

/* Length of the well-formed UTF-8 sequence at text (Unicode table 3-7), 0 when there is none. */
static size_t utf8_sequence(const char *text, size_t length)
{
    const unsigned char *bytes = (const unsigned char *)text;
    unsigned char low = 0x80, high = 0xbf;
    size_t need;
    if (bytes[0] < 0x80)
        return 1;
    if (bytes[0] >= 0xc2 && bytes[0] <= 0xdf)
        need = 2;
    else if (bytes[0] >= 0xe0 && bytes[0] <= 0xef)
        need = 3;
    else if (bytes[0] >= 0xf0 && bytes[0] <= 0xf4)
        need = 4;
    else
        return 0;
    if (bytes[0] == 0xe0)
        low = 0xa0;
    else if (bytes[0] == 0xed)
        high = 0x9f;
    else if (bytes[0] == 0xf0)
        low = 0x90;
    else if (bytes[0] == 0xf4)
        high = 0x8f;
    if (length < need || bytes[1] < low || bytes[1] > high)
        return 0;
    for (size_t i = 2; i < need; i++)
        if (bytes[i] < 0x80 || bytes[i] > 0xbf)
            return 0;
    return need;
}

static bool read_escape(struct reader *reader)
{
    int byte = peek(reader);
    if (byte == 'u') {
        const char *text = reader->text + reader->at + 1;
        size_t left = reader->length - reader->at - 1;
        int unit = hex_unit(text, left);
        if (unit < 0)
            return refuse(reader, "\\u needs four hex digits");
        if (unit >= 0xdc00 && unit <= 0xdfff)
            return refuse(reader, "unpaired low surrogate");
        reader->at += 5;
        if (unit < 0xd800 || unit > 0xdbff)
            return true;
        int low =
            left >= 10 && text[4] == '\\' && text[5] == 'u' ? hex_unit(text + 6, left - 6) : -1;
        if (low < 0xdc00 || low > 0xdfff)
            return refuse(reader, "unpaired high surrogate");
        reader->at += 6;
        return true;
    }
    if (byte <= 0 || strchr("\"\\/bfnrt", byte) == NULL)
        return refuse(reader, "unknown escape in a string");
    reader->at++;
    return true;
}

static bool read_string(struct reader *reader)
{
    reader->at++;
    for (;;) {
        int byte = peek(reader);
        if (byte < 0)
            return refuse(reader, "the text ends inside a string");
        if (byte < 0x20)
            return refuse(reader, "control character in a string");
        if (byte == '"') {
            reader->at++;
            reader->values++;
            return true;
        }
        if (byte == '\\') {
            reader->at++;
            if (!read_escape(reader))
                return false;
            continue;
        }
        size_t step = utf8_sequence(reader->text + reader->at, reader->length - reader->at);
        if (step == 0)
            return refuse(reader, "invalid UTF-8 in a string");
        reader->at += step;
    }
}

static bool read_digits(struct reader *reader)
{
    size_t start = reader->at;
    while (peek(reader) >= '0' && peek(reader) <= '9')
        reader->at++;
    return reader->at > start || refuse(reader, "a digit was expected");
}

static bool read_number(struct reader *reader)
{
    if (peek(reader) == '-')
        reader->at++;
    if (peek(reader) == '0') {
        reader->at++;
        if (peek(reader) >= '0' && peek(reader) <= '9')
            return refuse(reader, "a number must not begin with 0");
    } else if (!read_digits(reader)) {
        return false;
    }
    if (peek(reader) == '.') {
        reader->at++;
        if (!read_digits(reader))
            return false;
    }
    if (peek(reader) == 'e' || peek(reader) == 'E') {
        reader->at++;
        if (peek(reader) == '+' || peek(reader) == '-')
            reader->at++;
        if (!read_digits(reader))
            return false;
    }
    reader->values++;
    return true;
}

static bool read_literal(struct reader *reader, const char *literal)
{
    size_t length = strlen(literal);
    if (reader->length - reader->at < length ||
        memcmp(reader->text + reader->at, literal, length) != 0)
        return refuse(reader, "a value was expected");
    reader->at += length;
    reader->values++;
    return true;
}

static bool read_scalar(struct reader *reader)
{
    int byte = peek(reader);
    if (byte == '"')
        return read_string(reader);
    if (byte == '-' || (byte >= '0' && byte <= '9'))
        return read_number(reader);
    if (byte == 't')
        return read_literal(reader, "true");
    if (byte == 'f')
        return read_literal(reader, "false");
    if (byte == 'n')
        return read_literal(reader, "null");
    return refuse(reader,
                  byte < 0 ? "the text ends where a value was expected" : "a value was expected");
}

static bool read_member_name(struct reader *reader)
{
    skip_space(reader);
    if (peek(reader) != '"')
        return refuse(reader, "a member name was expected");
    if (!read_string(reader))
        return false;
    skip_space(reader);
    if (peek(reader) != ':')
        return refuse(reader, "':' was expected");
    reader->at++;
    return true;
}

/* Accepts exactly one JSON text. */
static bool read_text(struct reader *reader, size_t maximum_values)
{
    char closers[JSON_DEPTH_MAX];
    unsigned depth = 0;
    for (;;) {
        /* A value is expected here. */
        bool opened_empty = false;
        skip_space(reader);
        int byte = peek(reader);
        if (byte == '{' || byte == '[') {
            if (depth == JSON_DEPTH_MAX)
                return refuse(reader, "nested too deeply");
            closers[depth++] = byte == '{' ? '}' : ']';
            reader->at++;
            reader->values++;
            skip_space(reader);
            opened_empty = peek(reader) == closers[depth - 1];
            if (!opened_empty) {
                if (byte == '{' && !read_member_name(reader))
                    return false;
                if (reader->values > maximum_values)
                    return refuse(reader, "too many values");
                continue;
            }
        } else if (!read_scalar(reader)) {
            return false;
        }
        if (reader->values > maximum_values)
            return refuse(reader, "too many values");
        /* A value ended, or an empty container is about to: close what closes. */
        for (;;) {
            skip_space(reader);
            if (depth == 0)
                return reader->at == reader->length ||
                       refuse(reader, "something follows the value");
            byte = peek(reader);
            if (byte == closers[depth - 1]) {
                reader->at++;
                depth--;
                continue;
            }
            break;
        }
        if (byte != ',')
            return refuse(reader, byte < 0 ? "the text ends inside an object or array"
                                           : "',' or the end of the object or array was expected");
        reader->at++;
        if (closers[depth - 1] == '}' && !read_member_name(reader))
            return false;
    }
}

/* ---- tree ---- */

static size_t put_utf8(char *out, unsigned point)
{
    if (point < 0x80) {
        out[0] = (char)point;
        return 1;
    }
    if (point < 0x800) {
        out[0] = (char)(0xc0 | point >> 6);
        out[1] = (char)(0x80 | (point & 0x3f));
        return 2;
    }
    if (point < 0x10000) {
        out[0] = (char)(0xe0 | point >> 12);
        out[1] = (char)(0x80 | (point >> 6 & 0x3f));
        out[2] = (char)(0x80 | (point & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | point >> 18);
    out[1] = (char)(0x80 | (point >> 12 & 0x3f));
    out[2] = (char)(0x80 | (point >> 6 & 0x3f));
    out[3] = (char)(0x80 | (point & 0x3f));
    return 4;
}

/* Decodes escapes in place (an escape is never shorter than what it stands for) and terminates; the
 * text is valid. */
static size_t decode_string(char *text, size_t length)
{
    size_t out = 0;
    for (size_t in = 0; in < length;) {
        if (text[in] != '\\') {
            text[out++] = text[in++];
            continue;
        }
        char code = text[in + 1];
        in += 2;
        switch (code) {
        case 'b':
            text[out++] = '\b';
            break;
        case 'f':
            text[out++] = '\f';
            break;
        case 'n':
            text[out++] = '\n';
            break;
        case 'r':
            text[out++] = '\r';
            break;
        case 't':
            text[out++] = '\t';
            break;
        case 'u': {
            unsigned point = (unsigned)hex_unit(text + in, 4);
            in += 4;
            if (point >= 0xd800 && point <= 0xdbff) {
                point = 0x10000 + ((point - 0xd800) << 10) +
                        ((unsigned)hex_unit(text + in + 2, 4) - 0xdc00);
                in += 6;
            }
            out += put_utf8(text + out, point);
            break;
        }
        default:
            text[out++] = code;
        }
    }
    text[out] = '\0';
    return out;
}

static enum json_type type_of(const jsmntok_t *token, const char *buffer)
{
    switch (token->type) {
    case JSMN_OBJECT:
        return JSON_OBJECT;
    case JSMN_ARRAY:
        return JSON_ARRAY;
    case JSMN_STRING:
        return JSON_STRING;
    default:
        break;
    }
    switch (buffer[token->start]) {
    case 't':
    case 'f':
        return JSON_BOOL;
    case 'n':
        return JSON_NULL;
    default:
        return JSON_NUMBER;
    }
}

static bool same_name(const struct json_value *value, const char *name, size_t length)
{
    return value->name_length == length && memcmp(value->name, name, length) == 0;
}

/* Turns jsmn's tokens into linked values. false: a member name occurs twice in an object. */
static bool build(struct json_document *document, const jsmntok_t *tokens, size_t count,
                  struct json_error *error)
{
    struct json_value *values = document->values;
    for (size_t i = 0; i < count; i++) {
        const jsmntok_t *token = &tokens[i];
        bool is_name = token->type == JSMN_STRING && token->size == 1;
        struct json_value *value = &values[i];
        value->type = type_of(token, document->buffer);
        value->text = document->buffer + token->start;
        value->text_length = (size_t)(token->end - token->start);
        if (value->type == JSON_STRING)
            value->text_length = decode_string(document->buffer + token->start, value->text_length);
        if (i == 0 || is_name)
            continue;
        size_t parent = (size_t)token->parent;
        if (values[parent].type ==
            JSON_STRING) { /* its name: jsmn hangs a member's value below it */
            value->name = values[parent].text;
            value->name_length = values[parent].text_length;
            parent = (size_t)tokens[parent].parent;
        }
        struct json_value *container = &values[parent];
        for (struct json_value *other = container->first; value->name != NULL && other != NULL;
             other = other->next) {
            if (same_name(other, value->name, value->name_length)) {
                error->offset = (size_t)(token->start > 0 ? token->start - 1 : 0);
                error->is_json = true;
                snprintf(error->text, sizeof error->text,
                         "a member name occurs twice in one object");
                return false;
            }
        }
        if (container->last == NULL)
            container->first = value;
        else
            container->last->next = value;
        container->last = value;
    }
    return true;
}

struct json_document *json_parse(const char *text, size_t length, size_t maximum_values,
                                 struct json_error *error)
{
    struct reader reader = {.text = text, .length = length, .error = error};
    *error = (struct json_error){0};
    if (!read_text(&reader, maximum_values))
        return NULL;

    size_t count = reader.values + 1;
    struct json_document *document = calloc(1, sizeof *document);
    jsmntok_t *tokens = calloc(count, sizeof *tokens);
    bool good = document != NULL && tokens != NULL;
    if (good) {
        document->values = calloc(count, sizeof *document->values);
        document->buffer = malloc(length + 3);
        good = document->values != NULL && document->buffer != NULL;
    }
    if (!good) {
        snprintf(error->text, sizeof error->text, "out of memory");
    } else {
        document->buffer[0] = '[';
        memcpy(document->buffer + 1, text, length);
        document->buffer[length + 1] = ']';
        document->buffer[length + 2] = '\0';
        jsmn_parser parser;
        jsmn_init(&parser);
        int found = jsmn_parse(&parser, document->buffer, length + 2, tokens, (unsigned)count);
        CHECK(found >= 0 &&
              (size_t)found == count); /* the grammar pass and jsmn disagree: our bug */
        good = build(document, tokens, count, error);
    }
    free(tokens);
    if (!good) {
        json_free(document);
        return NULL;
    }
    return document;
}

void json_free(struct json_document *document)
{
    if (document == NULL)
        return;
    free(document->values);
    free(document->buffer);
    free(document);
}

/* ---- access ---- */

const struct json_value *json_root(const struct json_document *document)
{
    return document->values[0].first;
}

enum json_type json_type(const struct json_value *value)
{
    return value == NULL ? JSON_NULL : value->type;
}

const char *json_type_name(enum json_type type)
{
    static const char *const names[] = {"null", "boolean", "number", "string", "array", "object"};
    return names[type];
}

const struct json_value *json_first(const struct json_value *container)
{
    return container == NULL ? NULL : container->first;
}

const struct json_value *json_next(const struct json_value *value)
{
    return value == NULL ? NULL : value->next;
}

const char *json_name(const struct json_value *value, size_t *length)
{
    if (value == NULL || value->name == NULL)
        return NULL;
    if (length != NULL)
        *length = value->name_length;
    return value->name;
}

const struct json_value *json_member(const struct json_value *object, const char *name)
{
    size_t length = strlen(name);
    if (json_type(object) != JSON_OBJECT)
        return NULL;
    for (const struct json_value *member = object->first; member != NULL; member = member->next)
        if (same_name(member, name, length))
            return member;
    return NULL;
}

const char *json_text(const struct json_value *value, size_t *length)
{
    if (value == NULL || (value->type != JSON_STRING && value->type != JSON_NUMBER))
        return NULL;
    if (length != NULL)
        *length = value->text_length;
    return value->text;
}

bool json_bool(const struct json_value *value, bool *result)
{
    if (value == NULL || value->type != JSON_BOOL)
        return false;
    *result = value->text[0] == 't';
    return true;
}

/* Numbers are not terminated in the buffer: what converts them works on a copy. */
static bool copy_number(const struct json_value *value, char *copy, size_t size)
{
    if (value == NULL || value->type != JSON_NUMBER || value->text_length >= size)
        return false;
    memcpy(copy, value->text, value->text_length);
    copy[value->text_length] = '\0';
    return true;
}

static bool is_integer_text(const char *text)
{
    return text[strspn(text, "-0123456789")] == '\0';
}

bool json_u64(const struct json_value *value, uint64_t *result)
{
    char copy[32];
    if (!copy_number(value, copy, sizeof copy) || !is_integer_text(copy) || copy[0] == '-')
        return false;
    errno = 0;
    unsigned long long number = strtoull(copy, NULL, 10);
    if (errno != 0)
        return false;
    *result = number;
    return true;
}

bool json_i64(const struct json_value *value, int64_t *result)
{
    char copy[32];
    if (!copy_number(value, copy, sizeof copy) || !is_integer_text(copy))
        return false;
    errno = 0;
    long long number = strtoll(copy, NULL, 10);
    if (errno != 0)
        return false;
    *result = number;
    return true;
}

bool json_double(const struct json_value *value, double *result)
{
    char copy[512];
    if (!copy_number(value, copy, sizeof copy))
        return false;
    double number = strtod(copy, NULL);
    if (!isfinite(number))
        return false;
    *result = number;
    return true;
}

/* ---- writer ---- */

void json_writer_init(struct json_writer *writer, struct dynbuf *out)
{
    *writer = (struct json_writer){.out = out};
}

static void before_value(struct json_writer *writer)
{
    if (writer->after_name) {
        writer->after_name = false;
        return;
    }
    if (writer->has_items >> writer->depth & 1)
        dynbuf_append_text(writer->out, ",");
    writer->has_items |= UINT32_C(1) << writer->depth;
}

static void begin(struct json_writer *writer, const char *opener)
{
    before_value(writer);
    CHECK(writer->depth < 30);
    writer->depth++;
    writer->has_items &= ~(UINT32_C(1) << writer->depth);
    dynbuf_append_text(writer->out, opener);
}

static void end(struct json_writer *writer, const char *closer)
{
    CHECK(writer->depth > 0 && !writer->after_name);
    writer->depth--;
    dynbuf_append_text(writer->out, closer);
}

void json_begin_object(struct json_writer *writer)
{
    begin(writer, "{");
}

void json_end_object(struct json_writer *writer)
{
    end(writer, "}");
}

void json_begin_array(struct json_writer *writer)
{
    begin(writer, "[");
}

void json_end_array(struct json_writer *writer)
{
    end(writer, "]");
}

static void write_quoted(struct dynbuf *out, const char *text, size_t length)
{
    dynbuf_append_text(out, "\"");
    for (size_t i = 0; i < length;) {
        unsigned char byte = (unsigned char)text[i];
        if (byte == '"' || byte == '\\') {
            dynbuf_printf(out, "\\%c", byte);
            i++;
        } else if (byte < 0x20) {
            dynbuf_printf(out, "\\u%04x", byte);
            i++;
        } else {
            size_t step = utf8_sequence(text + i, length - i);
            if (step == 0)
                dynbuf_append_text(out, "\xef\xbf\xbd");
            else
                dynbuf_append(out, text + i, step);
            i += step == 0 ? 1 : step;
        }
    }
    dynbuf_append_text(out, "\"");
}

void json_write_name(struct json_writer *writer, const char *name)
{
    CHECK(!writer->after_name);
    before_value(writer);
    write_quoted(writer->out, name, strlen(name));
    dynbuf_append_text(writer->out, ":");
    writer->after_name = true;
}

void json_write_raw(struct json_writer *writer, const char *text)
{
    before_value(writer);
    dynbuf_append_text(writer->out, text);
}

void json_write_null(struct json_writer *writer)
{
    json_write_raw(writer, "null");
}

void json_write_bool(struct json_writer *writer, bool value)
{
    json_write_raw(writer, value ? "true" : "false");
}

void json_write_u64(struct json_writer *writer, uint64_t value)
{
    before_value(writer);
    dynbuf_printf(writer->out, "%llu", (unsigned long long)value);
}

void json_write_i64(struct json_writer *writer, int64_t value)
{
    before_value(writer);
    dynbuf_printf(writer->out, "%lld", (long long)value);
}

void json_write_text(struct json_writer *writer, const char *text, size_t length)
{
    before_value(writer);
    write_quoted(writer->out, text, length);
}

void json_write_string(struct json_writer *writer, const char *text)
{
    json_write_text(writer, text, strlen(text));
}

void json_put_bool(struct json_writer *writer, const char *name, bool value)
{
    json_write_name(writer, name);
    json_write_bool(writer, value);
}

void json_put_u64(struct json_writer *writer, const char *name, uint64_t value)
{
    json_write_name(writer, name);
    json_write_u64(writer, value);
}

void json_put_i64(struct json_writer *writer, const char *name, int64_t value)
{
    json_write_name(writer, name);
    json_write_i64(writer, value);
}

void json_put_string(struct json_writer *writer, const char *name, const char *text)
{
    json_write_name(writer, name);
    json_write_string(writer, text);
}
