/* Settings by table: one row a setting, and the parser, --check-config, --help and the
 * documentation follow from the rows. Both planes use it; it knows nothing of what the settings
 * mean.
 *
 * A program keeps its rows in a .def file and expands them twice: into a struct with one field a
 * setting, and into an array of struct conftab_setting with CONFTAB_ROW_*. Values come, the first
 * that is there winning, from the command line (--set NAME=value), the environment, a file of keys
 * and values, and the row's default. A row may have an alias, the name another program has for the
 * setting: the environment variable is alias_prefix and the alias, the key in a file the alias in
 * lower case. At one place our own name wins over the alias.
 *
 * Rules of the values: a default applies only when nothing was given; integers are decimal, 0x, 0b,
 * 0o or 0-octal with optional underscores between digits; booleans are 1 t T TRUE true True / 0 f F
 * FALSE false False. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/check.h"
#include "common/dynbuf.h"

enum conftab_type {
    CONFTAB_INT,           /* int; empty is an error */
    CONFTAB_BOOL,          /* bool; empty is an error */
    CONFTAB_TEXT,          /* char *, owned by the struct; may be empty */
    CONFTAB_TEXT_NONEMPTY, /* char *; empty is an error */
    CONFTAB_SECRET,        /* char *; may be empty; its value is never shown */
    CONFTAB_LOG_LEVEL,     /* enum log_level */
    CONFTAB_DOUBLE,        /* double; minimum and maximum apply */
    CONFTAB_NUMBERS,       /* struct conftab_numbers: rising decimal numbers above 0, by commas */
    CONFTAB_CHOICE,        /* int: which of choices, in any case, counted from 0 */
    CONFTAB_INERT,         /* no field: checked to be an integer, and then without effect */
};

#define CONFTAB_NUMBERS_MAX 64
#define CONFTAB_CHOICES_MAX 8

struct conftab_numbers {
    size_t count;
    double values[CONFTAB_NUMBERS_MAX];
};

struct conftab_setting {
    const char *name; /* of the environment variable */
    enum conftab_type type;
    const char *fallback; /* default in text form; NULL: the variable must be present (it may be
                             empty if its type allows) */
    int minimum, maximum; /* CONFTAB_INT, CONFTAB_DOUBLE: both inclusive */
    const char *meaning;
    size_t offset; /* of the field in the settings struct */
    /* What follows may be left out of a row. */
    const char *alias;
    struct {
        const char *word, *value;
    } alias_words[2];           /* the values under the alias and what they mean under our name */
    const char *alias_fallback; /* the default once any alias is in use; NULL: as ever */
    const char *alias_empty;    /* what an empty value means under the alias; NULL: nothing else */
    const char *choices[CONFTAB_CHOICES_MAX];
    const char *note; /* for the documentation: how this differs from the alias's program */
};

struct conftab {
    const struct conftab_setting *settings;
    size_t count;
    /* Unknown variables that begin with one of these are warned about; a NULL ends the list. Keep
     * to prefixes no other program's variables are likely to have: near misses of a known name are
     * found without any prefix. */
    const char *const *prefixes;
    /* Unknown variables that begin with one of these are somebody else's: never warned about. NULL:
     * none. */
    const char *const *foreign;
    const char *alias_prefix; /* NULL: no aliases */
};

/* A key of a file. */
struct conftab_entry {
    char *key;
    char *value;
    unsigned line;
};

/* Where values may come from; each may be NULL. */
struct conftab_inputs {
    char *const *overrides;   /* NAME=value of the command line, NULL at the end; the last counts */
    char *const *environment; /* NAME=value, NULL at the end; the first counts */
    const struct conftab_entry *entries;
    size_t entry_count;
};

enum conftab_source {
    CONFTAB_FROM_DEFAULT,
    CONFTAB_FROM_FILE,
    CONFTAB_FROM_ENVIRONMENT,
    CONFTAB_FROM_COMMAND_LINE,
};

/* What was found for one setting. */
struct conftab_given {
    enum conftab_source source;
    bool is_alias;    /* under the alias; of a default: the alias's own */
    unsigned line;    /* in the file */
    const char *text; /* borrowed from the inputs or the row; NULL: required, and not there */
};

/* ---- all at once, from the environment ---- */

/* Fills *fields (any content before: the caller zeroes it) from environment. false: *error holds
 * one line, without a newline, that names the variable, the value (never a secret's) and what is
 * allowed; *fields may be partly filled and conftab_fini must still be called. */
MUST_CHECK bool conftab_load(const struct conftab *table, void *fields, char *const *environment,
                             struct dynbuf *error);
/* The effective settings, one line each: `NAME=value  # environment` or `… # default`. A secret is
 * ***, or nothing when empty. */
void conftab_print(const struct conftab *table, const void *fields, char *const *environment,
                   struct dynbuf *out);

/* ---- step by step, from all sources ---- */

/* True when a name only the aliases have is among the inputs. */
bool conftab_uses_aliases(const struct conftab *table, const struct conftab_inputs *inputs);
/* Finds the text of every setting: given has table->count items. Where our name and the alias say
 * different things at one place, the log has a warning (event=setting_conflict). false: an override
 * is not NAME=value of a known name; *error says so. */
MUST_CHECK bool conftab_resolve(const struct conftab *table, const struct conftab_inputs *inputs,
                                struct conftab_given *given, struct dynbuf *error);
/* Parses what was found for one setting into its field. false: *error as of conftab_load. */
MUST_CHECK bool conftab_store(const struct conftab *table, const struct conftab_setting *setting,
                              const struct conftab_given *given, void *fields,
                              struct dynbuf *error);
/* The line of --check-config, with the source: `# environment`, `# environment (ALIAS)`, `# file
 * (key, line 3)`, `# command line`, `# default`. */
void conftab_print_given(const struct conftab *table, const void *fields,
                         const struct conftab_given *given, struct dynbuf *out);
/* Appends the name a value was given by: our own, or prefix and alias. */
void conftab_name(const struct conftab *table, const struct conftab_setting *setting,
                  const struct conftab_given *given, struct dynbuf *out);
/* The row of a name, ours; NULL: there is none. */
const struct conftab_setting *conftab_row(const struct conftab *table, const char *name);

/* Frees the texts; secrets are wiped first. */
void conftab_fini(const struct conftab *table, void *fields);

/* Calls warn once for each unknown variable that looks meant for us; nearest is the most similar
 * known name. */
void conftab_unknown(const struct conftab *table, char *const *environment,
                     void (*warn)(void *context, const char *name, const char *nearest),
                     void *context);
/* The same, as warnings in the log (event=unknown_setting). */
void conftab_log_unknown(const struct conftab *table, char *const *environment);
/* Warns about each key of a file that no setting has. */
void conftab_log_unknown_keys(const struct conftab *table, const struct conftab_inputs *inputs);

/* One paragraph a setting, for --help. */
void conftab_help(const struct conftab *table, struct dynbuf *out);

/* The value of name in environment, or NULL. */
const char *conftab_find(char *const *environment, const char *name);
/* Parse one value by the rules above; false: not such a value (or, for an integer, not
 * representable in long long). */
MUST_CHECK bool conftab_parse_int(const char *text, long long *value);
MUST_CHECK bool conftab_parse_bool(const char *text, bool *value);
/* A decimal number such as 2, 0.5 or 1e3, finite; never by the locale's rules. */
MUST_CHECK bool conftab_parse_double(const char *text, double *value);

/* Rows for the usual table macros. type_: the settings struct. What follows the meaning are
 * designated initializers of the optional members, such as .alias = "NAME". */
#define CONFTAB_ROW(type_, environment, kind, field, fallback_, low, high, meaning_, ...)          \
    {.name = environment,                                                                          \
     .type = kind,                                                                                 \
     .fallback = fallback_,                                                                        \
     .minimum = low,                                                                               \
     .maximum = high,                                                                              \
     .meaning = meaning_,                                                                          \
     .offset = offsetof(type_, field),                                                             \
     __VA_ARGS__},
#define CONFTAB_ROW_INT(type_, environment, field, fallback, minimum, maximum, ...)                \
    CONFTAB_ROW(type_, #environment, CONFTAB_INT, field, #fallback, minimum, maximum, __VA_ARGS__)
#define CONFTAB_ROW_BOOL(type_, environment, field, fallback, ...)                                 \
    CONFTAB_ROW(type_, #environment, CONFTAB_BOOL, field, CONFTAB_BOOL_TEXT(fallback), 0, 0,       \
                __VA_ARGS__)
#define CONFTAB_ROW_TEXT(type_, environment, field, fallback, ...)                                 \
    CONFTAB_ROW(type_, #environment, CONFTAB_TEXT, field, fallback, 0, 0, __VA_ARGS__)
#define CONFTAB_ROW_TEXT_NONEMPTY(type_, environment, field, fallback, ...)                        \
    CONFTAB_ROW(type_, #environment, CONFTAB_TEXT_NONEMPTY, field, fallback, 0, 0, __VA_ARGS__)
#define CONFTAB_ROW_REQUIRED(type_, environment, field, ...)                                       \
    CONFTAB_ROW(type_, #environment, CONFTAB_TEXT, field, NULL, 0, 0, __VA_ARGS__)
#define CONFTAB_ROW_SECRET(type_, environment, field, ...)                                         \
    CONFTAB_ROW(type_, #environment, CONFTAB_SECRET, field, NULL, 0, 0, __VA_ARGS__)
#define CONFTAB_ROW_SECRET_OPTIONAL(type_, environment, field, ...)                                \
    CONFTAB_ROW(type_, #environment, CONFTAB_SECRET, field, "", 0, 0, __VA_ARGS__)
#define CONFTAB_ROW_LOG_LEVEL(type_, environment, field, fallback, ...)                            \
    CONFTAB_ROW(type_, #environment, CONFTAB_LOG_LEVEL, field, fallback, 0, 0, __VA_ARGS__)
#define CONFTAB_ROW_DOUBLE(type_, environment, field, fallback, minimum, maximum, ...)             \
    CONFTAB_ROW(type_, #environment, CONFTAB_DOUBLE, field, #fallback, minimum, maximum,           \
                __VA_ARGS__)
#define CONFTAB_ROW_NUMBERS(type_, environment, field, fallback, ...)                              \
    CONFTAB_ROW(type_, #environment, CONFTAB_NUMBERS, field, fallback, 0, 0, __VA_ARGS__)
#define CONFTAB_ROW_CHOICE(type_, environment, field, fallback, ...)                               \
    CONFTAB_ROW(type_, #environment, CONFTAB_CHOICE, field, fallback, 0, 0, __VA_ARGS__)
#define CONFTAB_ROW_INERT(environment, alias_, fallback_, meaning_)                                \
    {.name = environment,                                                                          \
     .type = CONFTAB_INERT,                                                                        \
     .fallback = #fallback_,                                                                       \
     .meaning = meaning_,                                                                          \
     .alias = alias_},
/* `true` and `false` may already have been expanded to 1 and 0 when a row arrives here. */
#define CONFTAB_BOOL_TEXT(value) ((value) ? "true" : "false")
