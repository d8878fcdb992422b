/* YAML to keys and values, with libyaml's events. Runs once, at start. The document may be anything
 * at all: its size, the number of keys, items and anchors and the length of each text are bounded,
 * and nothing deeper than a list of texts is read. No value may get into a message. */
#include "dataplane/config_yaml.h"

#include <string.h>
#include <yaml.h>

#include "common/log.h"

#define ENTRIES_MAX     512
#define ITEMS_MAX       1024
#define ANCHORS_MAX     64
#define KEY_BYTES_MAX   128
#define VALUE_BYTES_MAX ((size_t)16 * 1024)

/* A text or list that has a name. */
struct anchor {
    char *name;
    char *value; /* NULL: null */
    bool is_list;
};

struct reader {
    yaml_parser_t parser;
    yaml_event_t event;
    bool has_event;
    struct config_yaml *yaml;
    struct dynbuf value; /* of the key being read */
    struct anchor anchors[ANCHORS_MAX];
    size_t anchor_count;
    struct dynbuf *error;
    /* Keys without a value, so that they cannot be given twice either. */
    struct conftab_entry *nulls;
    size_t null_count;
};

static unsigned line_of(const struct reader *reader)
{
    return (unsigned)reader->event.start_mark.line + 1;
}

static bool refuse(struct reader *reader, const char *what)
{
    dynbuf_printf(reader->error, "line %u: %s", line_of(reader), what);
    return false;
}

static bool refuse_key(struct reader *reader, const char *key, const char *what)
{
    char quoted[KEY_BYTES_MAX];
    dynbuf_printf(reader->error, "line %u: %s %s", line_of(reader),
                  log_quote(quoted, sizeof quoted, key, strlen(key)), what);
    return false;
}

static bool next(struct reader *reader)
{
    if (reader->has_event)
        yaml_event_delete(&reader->event);
    reader->has_event = yaml_parser_parse(&reader->parser, &reader->event) == 1;
    if (reader->has_event)
        return true;
    const yaml_parser_t *parser = &reader->parser;
    const char *problem = parser->problem == NULL ? "not YAML" : parser->problem;
    size_t line = parser->problem_mark.line;
    if (parser->error == YAML_READER_ERROR)
        dynbuf_printf(reader->error, "byte %zu: %s", parser->problem_offset, problem);
    else if (parser->context != NULL)
        dynbuf_printf(reader->error, "line %zu: %s, %s", line + 1, problem, parser->context);
    else
        dynbuf_printf(reader->error, "line %zu: %s", line + 1, problem);
    return false;
}

static bool is_null(const yaml_event_t *event)
{
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL"};
    if (event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE || event->data.scalar.tag != NULL)
        return false;
    for (size_t i = 0; i < ARRAY_COUNT(nulls); i++)
        if (strcmp((const char *)event->data.scalar.value, nulls[i]) == 0)
            return true;
    return false;
}

static bool append_value(struct reader *reader, const char *key, const char *text, size_t length)
{
    if (memchr(text, '\0', length) != NULL)
        return refuse_key(reader, key, "holds a NUL byte");
    if (!dynbuf_append(&reader->value, text, length))
        return refuse_key(reader, key, "is too long: at most 16 KiB are taken");
    return true;
}

static const struct anchor *find_anchor(const struct reader *reader, const char *name)
{
    /* The last one counts: an anchor may be given again. */
    for (size_t i = reader->anchor_count; i > 0; i--)
        if (strcmp(reader->anchors[i - 1].name, name) == 0)
            return &reader->anchors[i - 1];
    return NULL;
}

static char *copy_bytes(const char *text, size_t length)
{
    char *copy = calloc(1, length + 1);
    CHECK(copy != NULL);
    if (length > 0)
        memcpy(copy, text, length);
    return copy;
}

/* Remembers the part of the value from byte `from` on. */
static bool keep_anchor(struct reader *reader, char *name, size_t from, bool is_list,
                        bool is_nothing)
{
    if (reader->anchor_count == ANCHORS_MAX) {
        free(name);
        return refuse(reader, "too many anchors");
    }
    reader->anchors[reader->anchor_count++] = (struct anchor){
        .name = name,
        .value = is_nothing
                     ? NULL
                     : copy_bytes(dynbuf_text(&reader->value) + from, reader->value.length - from),
        .is_list = is_list,
    };
    return true;
}

static char *anchor_name(const yaml_char_t *name)
{
    return name == NULL ? NULL : copy_bytes((const char *)name, strlen((const char *)name));
}

/* A text, or an alias of one; is_item: within a list, where an alias of a list has no place. */
static bool read_scalar(struct reader *reader, const char *key, bool is_item, bool *is_nothing)
{
    const yaml_event_t *event = &reader->event;
    size_t from = reader->value.length;
    if (event->type == YAML_ALIAS_EVENT) {
        const struct anchor *anchor = find_anchor(reader, (const char *)event->data.alias.anchor);
        if (anchor == NULL)
            return refuse_key(reader, key, "is an alias of no anchor before it");
        if (is_item && anchor->is_list)
            return refuse_key(reader, key,
                              "is a list of lists: it must be a text or a list of texts");
        *is_nothing = anchor->value == NULL;
        return *is_nothing || append_value(reader, key, anchor->value, strlen(anchor->value));
    }
    *is_nothing = is_null(event);
    const char *text = (const char *)event->data.scalar.value;
    if (!*is_nothing && !append_value(reader, key, text, event->data.scalar.length))
        return false;
    char *name = anchor_name(event->data.scalar.anchor);
    return name == NULL || keep_anchor(reader, name, from, false, *is_nothing);
}

static bool read_list(struct reader *reader, const char *key, char *name)
{
    size_t items = 0;
    for (;;) {
        if (!next(reader))
            break;
        bool is_nothing;
        yaml_event_type_t type = reader->event.type;
        if (type == YAML_SEQUENCE_END_EVENT)
            return name == NULL || keep_anchor(reader, name, 0, true, false);
        if (type != YAML_SCALAR_EVENT && type != YAML_ALIAS_EVENT) {
            refuse_key(reader, key, "is too deep: it must be a text or a list of texts");
            break;
        }
        if (++items > ITEMS_MAX) {
            refuse_key(reader, key, "has too many items: at most 1024 are taken");
            break;
        }
        if ((items > 1 && !append_value(reader, key, ",", 1)) ||
            !read_scalar(reader, key, true, &is_nothing))
            break;
    }
    free(name);
    return false;
}

static bool read_value(struct reader *reader, const char *key, bool *is_nothing)
{
    *is_nothing = false;
    if (!next(reader))
        return false;
    switch (reader->event.type) {
    case YAML_SCALAR_EVENT:
    case YAML_ALIAS_EVENT:
        return read_scalar(reader, key, false, is_nothing);
    case YAML_SEQUENCE_START_EVENT:
        return read_list(reader, key, anchor_name(reader->event.data.sequence_start.anchor));
    default:
        return refuse_key(reader, key, "is a mapping: it must be a text or a list of texts");
    }
}

static const struct conftab_entry *find_key(const struct conftab_entry *entries, size_t count,
                                            const char *key)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(entries[i].key, key) == 0)
            return &entries[i];
    return NULL;
}

static void push(struct conftab_entry **entries, size_t *count, struct conftab_entry entry)
{
    struct conftab_entry *grown = realloc(*entries, (*count + 1) * sizeof **entries);
    CHECK(grown != NULL);
    *entries = grown;
    grown[(*count)++] = entry;
}

/* The key the event holds, checked; the caller frees it. NULL: refused. */
static char *read_key(struct reader *reader)
{
    const yaml_event_t *event = &reader->event;
    if (event->type != YAML_SCALAR_EVENT) {
        refuse(reader, "a key must be a text");
        return NULL;
    }
    const char *text = (const char *)event->data.scalar.value;
    size_t length = event->data.scalar.length;
    if (length > KEY_BYTES_MAX || memchr(text, '\0', length) != NULL) {
        refuse(reader, "a key is too long, or holds a NUL byte");
        return NULL;
    }
    if (strcmp(text, "<<") == 0) {
        refuse(reader, "merge keys (<<) are not supported");
        return NULL;
    }
    struct config_yaml *yaml = reader->yaml;
    const struct conftab_entry *before = find_key(yaml->entries, yaml->count, text);
    if (before == NULL)
        before = find_key(reader->nulls, reader->null_count, text);
    if (before != NULL) {
        char quoted[KEY_BYTES_MAX];
        dynbuf_printf(reader->error, "line %u: key %s is given twice, first in line %u",
                      line_of(reader), log_quote(quoted, sizeof quoted, text, length),
                      before->line);
        return NULL;
    }
    if (yaml->count + reader->null_count == ENTRIES_MAX) {
        refuse(reader, "too many keys: at most 512 are taken");
        return NULL;
    }
    return copy_bytes(text, length);
}

static bool read_mapping(struct reader *reader)
{
    for (;;) {
        if (!next(reader))
            return false;
        if (reader->event.type == YAML_MAPPING_END_EVENT)
            return true;
        char *key = read_key(reader);
        if (key == NULL)
            return false;
        struct conftab_entry entry = {.key = key, .line = line_of(reader)};
        bool is_nothing;
        dynbuf_reset(&reader->value);
        if (!read_value(reader, key, &is_nothing)) {
            free(key);
            return false;
        }
        if (is_nothing) {
            push(&reader->nulls, &reader->null_count, entry);
            continue;
        }
        entry.value = copy_bytes(dynbuf_text(&reader->value), reader->value.length);
        push(&reader->yaml->entries, &reader->yaml->count, entry);
    }
}

static bool read_document(struct reader *reader)
{
    if (!next(reader)) /* the stream's beginning */
        return false;
    if (!next(reader)) /* the document's */
        return false;
    if (reader->event.type == YAML_STREAM_END_EVENT) {
        dynbuf_append_text(reader->error, "EOF: there is nothing in it");
        return false;
    }
    if (!next(reader))
        return false;
    if (reader->event.type != YAML_MAPPING_START_EVENT)
        return refuse(reader, "a mapping of settings is expected, one `key: value` a line");
    if (!read_mapping(reader) || !next(reader) || !next(reader))
        return false;
    if (reader->event.type != YAML_STREAM_END_EVENT)
        return refuse(reader, "a second document: one is expected");
    return true;
}

static void free_entries(struct conftab_entry *entries, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (entries[i].value != NULL)
            explicit_bzero(entries[i].value, strlen(entries[i].value));
        free(entries[i].value);
        free(entries[i].key);
    }
    free(entries);
}

bool config_yaml_parse(const uint8_t *bytes, size_t length, struct config_yaml *yaml,
                       struct dynbuf *error)
{
    *yaml = (struct config_yaml){0};
    if (length > CONFIG_YAML_BYTES_MAX) {
        dynbuf_append_text(error, "it is too large: at most 256 KiB are read");
        return false;
    }
    struct reader *reader = calloc(1, sizeof *reader);
    CHECK(reader != NULL && yaml_parser_initialize(&reader->parser) == 1);
    reader->yaml = yaml;
    reader->error = error;
    dynbuf_init(&reader->value, VALUE_BYTES_MAX);
    static const uint8_t nothing[1]; /* libyaml takes no NULL, even for no bytes */
    yaml_parser_set_input_string(&reader->parser, bytes == NULL ? nothing : bytes, length);
    bool is_good = read_document(reader);
    if (reader->has_event)
        yaml_event_delete(&reader->event);
    yaml_parser_delete(&reader->parser);
    for (size_t i = 0; i < reader->anchor_count; i++) {
        if (reader->anchors[i].value != NULL)
            explicit_bzero(reader->anchors[i].value, strlen(reader->anchors[i].value));
        free(reader->anchors[i].value);
        free(reader->anchors[i].name);
    }
    free_entries(reader->nulls, reader->null_count);
    if (reader->value.data != NULL)
        explicit_bzero(reader->value.data, reader->value.capacity);
    dynbuf_fini(&reader->value);
    free(reader);
    if (!is_good)
        config_yaml_fini(yaml);
    return is_good;
}

void config_yaml_fini(struct config_yaml *yaml)
{
    free_entries(yaml->entries, yaml->count);
    *yaml = (struct config_yaml){0};
}
