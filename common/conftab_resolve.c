/* Where the settings come from: which of the sources has a value, under which of a setting's two
 * names, and what looks like a setting and is none. Runs once at start, before threads exist; it
 * must never log a value, and never stop a start because of a variable it does not know. */
#include "common/conftab.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "common/log.h"

#define NAME_MAX_BYTES 64

const char *conftab_find(char *const *environment, const char *name)
{
    size_t length = strlen(name);
    for (; *environment != NULL; environment++)
        if (strncmp(*environment, name, length) == 0 && (*environment)[length] == '=')
            return *environment + length + 1;
    return NULL;
}

const struct conftab_setting *conftab_row(const struct conftab *table, const char *name)
{
    for (size_t i = 0; i < table->count; i++)
        if (strcmp(table->settings[i].name, name) == 0)
            return &table->settings[i];
    return NULL;
}

/* prefix and name, in lower case if that is wanted; cut to NAME_MAX_BYTES, which no row needs. */
struct name {
    char text[NAME_MAX_BYTES + 1];
};

static struct name make_name(const char *prefix, const char *base, bool is_key)
{
    struct name name;
    int length = snprintf(name.text, sizeof name.text, "%s%s", prefix == NULL ? "" : prefix, base);
    CHECK(length > 0 && length <= NAME_MAX_BYTES);
    for (char *at = name.text; is_key && *at != '\0'; at++)
        *at = (char)tolower((unsigned char)*at);
    return name;
}

static bool has_own_alias(const struct conftab_setting *setting)
{
    return setting->alias != NULL && setting->type != CONFTAB_INERT;
}

static struct name environment_alias(const struct conftab *table,
                                     const struct conftab_setting *setting)
{
    return make_name(table->alias_prefix, setting->alias, false);
}

/* The key our own name has in a file. A row without effect has its alias's alone. */
static struct name own_key(const struct conftab_setting *setting)
{
    return make_name(NULL, setting->type == CONFTAB_INERT ? setting->alias : setting->name, true);
}

void conftab_name(const struct conftab *table, const struct conftab_setting *setting,
                  const struct conftab_given *given, struct dynbuf *out)
{
    struct name name;
    bool is_file = given->source == CONFTAB_FROM_FILE;
    bool is_alias = given->is_alias && setting->alias != NULL;
    if (is_file)
        name = is_alias ? make_name(NULL, setting->alias, true) : own_key(setting);
    else if (is_alias)
        name = environment_alias(table, setting);
    else
        name = make_name(NULL, setting->name, false);
    dynbuf_append_text(out, name.text);
}

/* ---- finding ---- */

static const char *find_last(char *const *overrides, const char *name)
{
    const char *found = NULL;
    size_t length = strlen(name);
    for (; overrides != NULL && *overrides != NULL; overrides++)
        if (strncmp(*overrides, name, length) == 0 && (*overrides)[length] == '=')
            found = *overrides + length + 1;
    return found;
}

static const struct conftab_entry *find_entry(const struct conftab_inputs *inputs, const char *key)
{
    for (size_t i = 0; i < inputs->entry_count; i++)
        if (strcmp(inputs->entries[i].key, key) == 0)
            return &inputs->entries[i];
    return NULL;
}

/* What one place says under our name and under the alias; NULL: nothing. */
struct pair {
    const char *own, *alias;
    unsigned own_line, alias_line;
};

static struct pair look(const struct conftab *table, const struct conftab_setting *setting,
                        const struct conftab_inputs *inputs, enum conftab_source source)
{
    struct pair pair = {0};
    struct name alias = {""};
    bool has_alias = has_own_alias(setting);
    if (source == CONFTAB_FROM_FILE) {
        struct name key = own_key(setting);
        const struct conftab_entry *own = find_entry(inputs, key.text);
        const struct conftab_entry *other = NULL;
        if (has_alias) {
            alias = make_name(NULL, setting->alias, true);
            other = find_entry(inputs, alias.text);
        }
        if (other == own)
            own = NULL; /* the two names are one key: the alias's, as the file is */
        if (own != NULL)
            pair = (struct pair){.own = own->value, .own_line = own->line};
        if (other != NULL) {
            pair.alias = other->value;
            pair.alias_line = other->line;
        }
        return pair;
    }
    if (has_alias)
        alias = environment_alias(table, setting);
    if (source == CONFTAB_FROM_COMMAND_LINE) {
        pair.own = find_last(inputs->overrides, setting->name);
        pair.alias = has_alias ? find_last(inputs->overrides, alias.text) : NULL;
    } else if (inputs->environment != NULL) {
        pair.own = conftab_find(inputs->environment, setting->name);
        pair.alias = has_alias ? conftab_find(inputs->environment, alias.text) : NULL;
    }
    return pair;
}

bool conftab_uses_aliases(const struct conftab *table, const struct conftab_inputs *inputs)
{
    for (size_t i = 0; i < table->count; i++) {
        const struct conftab_setting *setting = &table->settings[i];
        if (setting->alias == NULL)
            continue;
        for (int source = CONFTAB_FROM_FILE; source <= CONFTAB_FROM_COMMAND_LINE; source++) {
            struct pair pair = look(table, setting, inputs, (enum conftab_source)source);
            if (source == CONFTAB_FROM_FILE && strcmp(setting->name, setting->alias) == 0)
                continue; /* the key tells nothing */
            if (pair.alias != NULL || (setting->type == CONFTAB_INERT && pair.own != NULL))
                return true;
        }
    }
    return false;
}

/* True when both texts mean the same. Values that do not parse differ unless they are alike. */
static bool same_value(const struct conftab_setting *setting, const struct pair *pair)
{
    long long left, right;
    bool left_bool, right_bool;
    const char *alias = pair->alias;
    for (size_t i = 0; i < ARRAY_COUNT(setting->alias_words); i++)
        if (setting->alias_words[i].word != NULL &&
            strcasecmp(alias, setting->alias_words[i].word) == 0)
            alias = setting->alias_words[i].value;
    if (setting->type == CONFTAB_INT && conftab_parse_int(pair->own, &left) &&
        conftab_parse_int(alias, &right))
        return left == right;
    if (setting->type == CONFTAB_BOOL && conftab_parse_bool(pair->own, &left_bool) &&
        conftab_parse_bool(alias, &right_bool))
        return left_bool == right_bool;
    return strcmp(pair->own, alias) == 0;
}

static void warn_conflict(const struct conftab *table, const struct conftab_setting *setting,
                          enum conftab_source source)
{
    struct conftab_given own = {.source = source}, alias = {.source = source, .is_alias = true};
    struct dynbuf text;
    dynbuf_init(&text, 512);
    dynbuf_append_text(&text, "used=");
    conftab_name(table, setting, &own, &text);
    dynbuf_append_text(&text, " ignored=");
    conftab_name(table, setting, &alias, &text);
    LOG_WARN("setting_conflict", "%s reason=\"both are given, with different values\"",
             dynbuf_text(&text));
    dynbuf_fini(&text);
}

static void find_one(const struct conftab *table, const struct conftab_setting *setting,
                     const struct conftab_inputs *inputs, bool uses_aliases,
                     struct conftab_given *given)
{
    for (int at = CONFTAB_FROM_COMMAND_LINE; at >= CONFTAB_FROM_FILE; at--) {
        enum conftab_source source = (enum conftab_source)at;
        struct pair pair = look(table, setting, inputs, source);
        if (pair.own != NULL && pair.alias != NULL && !same_value(setting, &pair))
            warn_conflict(table, setting, source);
        if (pair.own != NULL || pair.alias != NULL) {
            bool is_alias = pair.own == NULL;
            *given = (struct conftab_given){
                .source = source,
                .is_alias = is_alias,
                .line = is_alias ? pair.alias_line : pair.own_line,
                .text = is_alias ? pair.alias : pair.own,
            };
            return;
        }
    }
    bool is_alias = uses_aliases && setting->alias_fallback != NULL;
    *given = (struct conftab_given){
        .is_alias = is_alias,
        .text = is_alias ? setting->alias_fallback : setting->fallback,
    };
}

/* The row an environment name belongs to, by either name; else NULL and the nearest name. */
static const struct conftab_setting *find_row(const struct conftab *table, const char *name,
                                              bool is_key, struct name *nearest, size_t *distance);

static bool check_overrides(const struct conftab *table, char *const *overrides,
                            struct dynbuf *error)
{
    for (; overrides != NULL && *overrides != NULL; overrides++) {
        const char *equals = strchr(*overrides, '=');
        size_t length = equals == NULL ? strlen(*overrides) : (size_t)(equals - *overrides);
        char quoted[NAME_MAX_BYTES * 4 + 8];
        char name[NAME_MAX_BYTES + 1];
        struct name nearest = {""};
        size_t distance;
        bool is_known = false;
        if (length > 0 && length <= NAME_MAX_BYTES) {
            memcpy(name, *overrides, length);
            name[length] = '\0';
            is_known = find_row(table, name, false, &nearest, &distance) != NULL;
        }
        if (is_known && equals != NULL)
            continue;
        log_quote(quoted, sizeof quoted, *overrides, length);
        if (is_known)
            dynbuf_printf(error, "--set %s has no value: it must be NAME=value", quoted);
        else
            dynbuf_printf(error, "--set %s: no setting has this name%s%s", quoted,
                          nearest.text[0] == '\0' ? "" : "; it must be one of --help, such as ",
                          nearest.text);
        return false;
    }
    return true;
}

bool conftab_resolve(const struct conftab *table, const struct conftab_inputs *inputs,
                     struct conftab_given *given, struct dynbuf *error)
{
    if (!check_overrides(table, inputs->overrides, error))
        return false;
    bool uses_aliases = conftab_uses_aliases(table, inputs);
    for (size_t i = 0; i < table->count; i++)
        find_one(table, &table->settings[i], inputs, uses_aliases, &given[i]);
    return true;
}

/* ---- names nobody knows ---- */

/* Levenshtein distance; both names are at most NAME_MAX_BYTES long. */
static size_t edit_distance(const char *left, const char *right)
{
    size_t row[NAME_MAX_BYTES + 1];
    size_t width = strlen(right);
    for (size_t j = 0; j <= width; j++)
        row[j] = j;
    for (size_t i = 0; left[i] != '\0'; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < width; j++) {
            size_t replaced = diagonal + (left[i] != right[j]);
            size_t inserted = (row[j] < row[j + 1] ? row[j] : row[j + 1]) + 1;
            diagonal = row[j + 1];
            row[j + 1] = replaced < inserted ? replaced : inserted;
        }
    }
    return row[width];
}

static bool has_prefix_of(const char *name, const char *const *prefixes)
{
    for (; prefixes != NULL && *prefixes != NULL; prefixes++)
        if (strncmp(name, *prefixes, strlen(*prefixes)) == 0)
            return true;
    return false;
}

/* Kubernetes gives every container the variables of the services of its namespace, and a service
 * may well be called "target" or "proxy". */
static bool is_service_variable(const char *name, const char *value)
{
    return strstr(name, "_SERVICE_HOST") != NULL || strstr(name, "_SERVICE_PORT") != NULL ||
           strstr(name, "_TCP_") != NULL || strncmp(value, "tcp://", 6) == 0 ||
           strncmp(value, "udp://", 6) == 0;
}

/* A slip in a name no prefix vouches for, such as LOG_LEVL. Short names are too near to everything.
 */
static bool is_near_miss(const char *name, size_t distance)
{
    return distance <= 2 && strlen(name) >= 7;
}

static struct name alias_name(const struct conftab *table, const struct conftab_setting *setting,
                              bool is_key)
{
    return is_key ? make_name(NULL, setting->alias, true) : environment_alias(table, setting);
}

static bool has_name(const struct conftab *table, const struct conftab_setting *setting,
                     const char *name, bool is_key)
{
    struct name own = is_key ? own_key(setting) : make_name(NULL, setting->name, false);
    if (strcmp(own.text, name) == 0)
        return true;
    if (!has_own_alias(setting))
        return false;
    struct name alias = alias_name(table, setting, is_key);
    return strcmp(alias.text, name) == 0;
}

static void try_name(const char *name, struct name candidate, struct name *nearest,
                     size_t *shortest)
{
    size_t distance = edit_distance(name, candidate.text);
    if (distance < *shortest) {
        *shortest = distance;
        *nearest = candidate;
    }
}

static const struct conftab_setting *find_row(const struct conftab *table, const char *name,
                                              bool is_key, struct name *nearest, size_t *distance)
{
    const struct conftab_setting *known = NULL;
    for (size_t i = 0; i < table->count && known == NULL; i++)
        if (has_name(table, &table->settings[i], name, is_key))
            known = &table->settings[i];
    *distance = known == NULL ? SIZE_MAX : 0;
    for (size_t i = 0; i < table->count && known == NULL; i++) {
        const struct conftab_setting *setting = &table->settings[i];
        try_name(name, is_key ? own_key(setting) : make_name(NULL, setting->name, false), nearest,
                 distance);
        if (has_own_alias(setting))
            try_name(name, alias_name(table, setting, is_key), nearest, distance);
    }
    return known;
}

void conftab_unknown(const struct conftab *table, char *const *environment,
                     void (*warn)(void *context, const char *name, const char *nearest),
                     void *context)
{
    for (; *environment != NULL; environment++) {
        const char *equals = strchr(*environment, '=');
        size_t length = equals == NULL ? 0 : (size_t)(equals - *environment);
        if (length == 0 || length > NAME_MAX_BYTES)
            continue;
        char name[NAME_MAX_BYTES + 1];
        memcpy(name, *environment, length);
        name[length] = '\0';
        struct name nearest = {""};
        size_t shortest;
        if (find_row(table, name, false, &nearest, &shortest) != NULL ||
            has_prefix_of(name, table->foreign) || is_service_variable(name, equals + 1))
            continue;
        if (has_prefix_of(name, table->prefixes) || is_near_miss(name, shortest))
            warn(context, name, nearest.text);
    }
}

static void log_unknown(void *context, const char *name, const char *nearest)
{
    (void)context;
    char quoted[NAME_MAX_BYTES * 4 + 8];
    LOG_WARN("unknown_setting", "name=%s nearest=%s",
             log_quote(quoted, sizeof quoted, name, strlen(name)), nearest == NULL ? "" : nearest);
}

void conftab_log_unknown(const struct conftab *table, char *const *environment)
{
    conftab_unknown(table, environment, log_unknown, NULL);
}

void conftab_log_unknown_keys(const struct conftab *table, const struct conftab_inputs *inputs)
{
    for (size_t i = 0; i < inputs->entry_count; i++) {
        const struct conftab_entry *entry = &inputs->entries[i];
        char quoted[NAME_MAX_BYTES * 4 + 8];
        struct name nearest = {""};
        size_t length = strlen(entry->key);
        size_t distance;
        if (length <= NAME_MAX_BYTES &&
            find_row(table, entry->key, true, &nearest, &distance) != NULL)
            continue;
        LOG_WARN("unknown_setting", "key=%s line=%u nearest=%s",
                 log_quote(quoted, sizeof quoted, entry->key, length), entry->line, nearest.text);
    }
}
