/* The settings-table engine. Runs once at start, before threads exist; it must never put a secret
 * into a message, and never stop a start because of a variable it does not know. */
#include "common/conftab.h"

#include <limits.h>
#include <string.h>

#include "common/log.h"

#define NAME_MAX_BYTES  64
#define VALUE_MAX_SHOWN 128

static const char *const level_texts[] = {"DEBUG", "INFO", "WARN", "ERROR"};

const char *conftab_find(char *const *environment, const char *name)
{
    size_t length = strlen(name);
    for (; *environment != NULL; environment++)
        if (strncmp(*environment, name, length) == 0 && (*environment)[length] == '=')
            return *environment + length + 1;
    return NULL;
}

static int digit_value(char character)
{
    if (character >= '0' && character <= '9')
        return character - '0';
    if (character >= 'a' && character <= 'f')
        return character - 'a' + 10;
    if (character >= 'A' && character <= 'F')
        return character - 'A' + 10;
    return INT_MAX;
}

bool conftab_parse_int(const char *text, long long *value)
{
    bool negative = *text == '-';
    if (*text == '-' || *text == '+')
        text++;
    int base = 10;
    bool after_digit = false; /* an underscore may stand only between digits or after a prefix */
    if (text[0] == '0' && text[1] != '\0') {
        char kind = text[1];
        after_digit = true;
        base = 8;
        if (kind == 'x' || kind == 'X')
            base = 16;
        else if (kind == 'b' || kind == 'B')
            base = 2;
        text += base == 8 && kind != 'o' && kind != 'O' ? 1 : 2;
    }
    unsigned long long sum = 0;
    size_t digits = 0;
    for (; *text != '\0'; text++) {
        if (*text == '_' && after_digit) {
            after_digit = false;
            continue;
        }
        int digit = digit_value(*text);
        if (digit >= base ||
            sum > ((unsigned long long)LLONG_MAX - (unsigned)digit) / (unsigned)base)
            return false;
        sum = sum * (unsigned)base + (unsigned)digit;
        after_digit = true;
        digits++;
    }
    if (digits == 0 || !after_digit)
        return false;
    *value = negative ? -(long long)sum : (long long)sum;
    return true;
}

bool conftab_parse_bool(const char *text, bool *value)
{
    static const char *const truths[] = {"1", "t", "T", "TRUE", "true", "True"};
    static const char *const lies[] = {"0", "f", "F", "FALSE", "false", "False"};
    for (size_t i = 0; i < ARRAY_COUNT(truths); i++) {
        bool is_true = strcmp(text, truths[i]) == 0;
        if (is_true || strcmp(text, lies[i]) == 0) {
            *value = is_true;
            return true;
        }
    }
    return false;
}

static void describe_allowed(const struct conftab_setting *setting, struct dynbuf *out)
{
    switch (setting->type) {
    case CONFTAB_INT:
        dynbuf_printf(out, "an integer from %d to %d", setting->minimum, setting->maximum);
        break;
    case CONFTAB_BOOL:
        dynbuf_append_text(out, "true or false");
        break;
    case CONFTAB_LOG_LEVEL:
        dynbuf_append_text(out, "PANIC, FATAL, ERROR, WARN, WARNING, INFO, DEBUG or TRACE");
        break;
    case CONFTAB_TEXT_NONEMPTY:
        dynbuf_append_text(out, "a text that is not empty");
        break;
    case CONFTAB_TEXT:
    case CONFTAB_SECRET:
        dynbuf_append_text(out, "a text, which may be empty");
        break;
    }
}

static void *field_of(void *fields, const struct conftab_setting *setting)
{
    return (char *)fields + setting->offset;
}

static bool store_int(void *field, const char *text, int minimum, int maximum)
{
    long long value;
    if (!conftab_parse_int(text, &value) || value < minimum || value > maximum)
        return false;
    *(int *)field = (int)value;
    return true;
}

static bool store(const struct conftab_setting *setting, void *fields, const char *text)
{
    void *field = field_of(fields, setting);
    switch (setting->type) {
    case CONFTAB_INT:
        return store_int(field, text, setting->minimum, setting->maximum);
    case CONFTAB_BOOL:
        return conftab_parse_bool(text, field);
    case CONFTAB_LOG_LEVEL:
        return log_level_parse(text, field);
    case CONFTAB_TEXT_NONEMPTY:
        if (text[0] == '\0')
            return false;
        break;
    case CONFTAB_TEXT:
    case CONFTAB_SECRET:
        break;
    }
    char **copy = field;
    *copy = strdup(text);
    CHECK(*copy != NULL);
    return true;
}

bool conftab_load(const struct conftab *table, void *fields, char *const *environment,
                  struct dynbuf *error)
{
    for (size_t i = 0; i < table->count; i++) {
        const struct conftab_setting *setting = &table->settings[i];
        const char *text = conftab_find(environment, setting->name);
        if (text == NULL && setting->fallback == NULL) {
            dynbuf_printf(error, "%s is not set: it is required (", setting->name);
            describe_allowed(setting, error);
            dynbuf_append_text(error, ")");
            return false;
        }
        if (text == NULL) {
            CHECK(store(setting, fields, setting->fallback));
        } else if (!store(setting, fields, text)) {
            char quoted[VALUE_MAX_SHOWN];
            bool secret = setting->type == CONFTAB_SECRET;
            dynbuf_printf(error, "%s=%s is not allowed: it must be ", setting->name,
                          secret ? "***" : log_quote(quoted, sizeof quoted, text, strlen(text)));
            describe_allowed(setting, error);
            return false;
        }
    }
    return true;
}

static bool holds_text(const struct conftab_setting *setting)
{
    return setting->type == CONFTAB_TEXT || setting->type == CONFTAB_TEXT_NONEMPTY ||
           setting->type == CONFTAB_SECRET;
}

void conftab_fini(const struct conftab *table, void *fields)
{
    for (size_t i = 0; i < table->count; i++) {
        const struct conftab_setting *setting = &table->settings[i];
        if (!holds_text(setting))
            continue;
        char **text = field_of(fields, setting);
        if (*text != NULL && setting->type == CONFTAB_SECRET)
            explicit_bzero(*text, strlen(*text));
        free(*text);
        *text = NULL;
    }
}

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
        const char *nearest = NULL;
        size_t shortest = SIZE_MAX;
        for (size_t i = 0; i < table->count && shortest > 0; i++) {
            CHECK(strlen(table->settings[i].name) <= NAME_MAX_BYTES);
            size_t distance = edit_distance(name, table->settings[i].name);
            if (distance < shortest) {
                shortest = distance;
                nearest = table->settings[i].name;
            }
        }
        if (shortest == 0 || has_prefix_of(name, table->foreign) ||
            is_service_variable(name, equals + 1))
            continue;
        if (has_prefix_of(name, table->prefixes) || is_near_miss(name, shortest))
            warn(context, name, nearest);
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

/* Keeps a value on its own line whatever it holds. */
static void print_text(struct dynbuf *out, const char *text)
{
    for (; *text != '\0'; text++) {
        unsigned char byte = (unsigned char)*text;
        if (byte < 0x20 || byte == 0x7f)
            dynbuf_printf(out, "\\x%02x", byte);
        else
            dynbuf_append(out, text, 1);
    }
}

void conftab_print(const struct conftab *table, const void *fields, char *const *environment,
                   struct dynbuf *out)
{
    for (size_t i = 0; i < table->count; i++) {
        const struct conftab_setting *setting = &table->settings[i];
        const void *field = (const char *)fields + setting->offset;
        dynbuf_printf(out, "%s=", setting->name);
        switch (setting->type) {
        case CONFTAB_INT:
            dynbuf_printf(out, "%d", *(const int *)field);
            break;
        case CONFTAB_BOOL:
            dynbuf_append_text(out, *(const bool *)field ? "true" : "false");
            break;
        case CONFTAB_LOG_LEVEL:
            dynbuf_append_text(out, level_texts[*(const enum log_level *)field]);
            break;
        case CONFTAB_SECRET:
            dynbuf_append_text(out, (*(char *const *)field)[0] == '\0' ? "" : "***");
            break;
        case CONFTAB_TEXT:
        case CONFTAB_TEXT_NONEMPTY:
            print_text(out, *(char *const *)field);
            break;
        }
        bool is_set = conftab_find(environment, setting->name) != NULL;
        dynbuf_append_text(out, is_set ? "  # environment\n" : "  # default\n");
    }
}

void conftab_help(const struct conftab *table, struct dynbuf *out)
{
    for (size_t i = 0; i < table->count; i++) {
        const struct conftab_setting *setting = &table->settings[i];
        dynbuf_printf(out, "  %s", setting->name);
        if (setting->fallback == NULL)
            dynbuf_append_text(out, " (required)");
        else
            dynbuf_printf(out, "=%s", setting->fallback);
        dynbuf_printf(out, "\n      %s\n      (", setting->meaning);
        describe_allowed(setting, out);
        dynbuf_append_text(out, ")\n");
    }
}
