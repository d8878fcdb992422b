/* Settings from the environment, by table: one row a setting, and the parser, --check-config,
 * --help and the documentation follow from the rows. Both planes use it; it knows nothing of what
 * the settings mean.
 *
 * A program keeps its rows in a .def file and expands them twice: into a struct with one field a
 * setting (`int`, `bool`, `char *` or `enum log_level`), and into an array of struct
 * conftab_setting with CONFTAB_ROW_*. Rules of the values: a default applies only when the variable
 * is absent; integers are decimal, 0x, 0b, 0o or 0-octal with optional underscores between digits;
 * booleans are 1 t T TRUE true True / 0 f F FALSE false False. */
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
};

struct conftab_setting {
    const char *name; /* of the environment variable */
    enum conftab_type type;
    const char *fallback; /* default in text form; NULL: the variable must be present (it may be
                             empty if its type allows) */
    int minimum, maximum; /* CONFTAB_INT: both inclusive */
    const char *meaning;
    size_t offset; /* of the field in the settings struct */
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
};

/* Fills *fields (any content before: the caller zeroes it) from environment (NAME=value entries,
 * NULL at the end; the first of several entries counts). false: *error holds one line, without a
 * newline, that names the variable, the value (never a secret's) and what is allowed; *fields may
 * be partly filled and conftab_fini must still be called. */
MUST_CHECK bool conftab_load(const struct conftab *table, void *fields, char *const *environment,
                             struct dynbuf *error);
/* Frees the texts; secrets are wiped first. */
void conftab_fini(const struct conftab *table, void *fields);

/* Calls warn once for each unknown variable that looks meant for us; nearest is the most similar
 * known name. */
void conftab_unknown(const struct conftab *table, char *const *environment,
                     void (*warn)(void *context, const char *name, const char *nearest),
                     void *context);
/* The same, as warnings in the log (event=unknown_setting). */
void conftab_log_unknown(const struct conftab *table, char *const *environment);

/* The effective settings, one line each: `NAME=value  # environment` or `… # default`. A secret is
 * ***, or nothing when empty. */
void conftab_print(const struct conftab *table, const void *fields, char *const *environment,
                   struct dynbuf *out);
/* One paragraph a setting, for --help. */
void conftab_help(const struct conftab *table, struct dynbuf *out);

/* The value of name in environment, or NULL. */
const char *conftab_find(char *const *environment, const char *name);
/* Parse one value by the rules above; false: not such a value (or, for an integer, not
 * representable in long long). */
MUST_CHECK bool conftab_parse_int(const char *text, long long *value);
MUST_CHECK bool conftab_parse_bool(const char *text, bool *value);

/* Rows for the usual table macros. type_: the settings struct. */
#define CONFTAB_ROW_INT(type_, environment, field, fallback, minimum, maximum, meaning)            \
    {#environment, CONFTAB_INT, #fallback, minimum, maximum, meaning, offsetof(type_, field)},
#define CONFTAB_ROW_BOOL(type_, environment, field, fallback, meaning)                             \
    {#environment, CONFTAB_BOOL,          CONFTAB_BOOL_TEXT(fallback), 0, 0,                       \
     meaning,      offsetof(type_, field)},
#define CONFTAB_ROW_TEXT(type_, environment, field, fallback, meaning)                             \
    {#environment, CONFTAB_TEXT, fallback, 0, 0, meaning, offsetof(type_, field)},
#define CONFTAB_ROW_TEXT_NONEMPTY(type_, environment, field, fallback, meaning)                    \
    {#environment, CONFTAB_TEXT_NONEMPTY, fallback, 0, 0, meaning, offsetof(type_, field)},
#define CONFTAB_ROW_REQUIRED(type_, environment, field, meaning)                                   \
    {#environment, CONFTAB_TEXT, NULL, 0, 0, meaning, offsetof(type_, field)},
#define CONFTAB_ROW_SECRET(type_, environment, field, meaning)                                     \
    {#environment, CONFTAB_SECRET, NULL, 0, 0, meaning, offsetof(type_, field)},
#define CONFTAB_ROW_LOG_LEVEL(type_, environment, field, fallback, meaning)                        \
    {#environment, CONFTAB_LOG_LEVEL, fallback, 0, 0, meaning, offsetof(type_, field)},
/* `true` and `false` may already have been expanded to 1 and 0 when a row arrives here. */
#define CONFTAB_BOOL_TEXT(value) ((value) ? "true" : "false")
