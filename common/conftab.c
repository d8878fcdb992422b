/* The settings-table engine: texts to values, and values to what --check-config and --help show.
 * Runs once at start, before threads exist; it must never put a secret into a message. */
#include "common/conftab.h"

#include <limits.h>
#include <locale.h>
#include <math.h>
#include <string.h>
#include <strings.h>

#include "common/log.h"

#define VALUE_MAX_SHOWN 128
#define VALUE_MAX_BYTES (1 << 20)
#define NUMBER_LARGEST  1e12

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

bool conftab_parse_double(const char *text, double *value)
{
    /* strtod also takes hexadecimal, nan, inf, leading blanks and the locale's decimal point. */
    if (text[strspn(text, "0123456789+-.eE")] != '\0' || strpbrk(text, "0123456789") == NULL)
        return false;
    char *end;
    locale_t plain = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    CHECK(plain != (locale_t)0);
    double number = strtod_l(text, &end, plain);
    freelocale(plain);
    if (*end != '\0' || !isfinite(number))
        return false;
    *value = number;
    return true;
}

/* `A and B`, or `A, B and C`. */
static void describe_words(const char *const *words, size_t count, struct dynbuf *out)
{
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            dynbuf_append_text(out, i + 1 == count ? " and " : ", ");
        dynbuf_append_text(out, words[i]);
    }
}

static size_t choice_count(const struct conftab_setting *setting)
{
    size_t count = 0;
    while (count < CONFTAB_CHOICES_MAX && setting->choices[count] != NULL)
        count++;
    return count;
}

static void describe_allowed(const struct conftab_setting *setting, struct dynbuf *out)
{
    switch (setting->type) {
    case CONFTAB_INT:
        dynbuf_printf(out, "an integer from %d to %d", setting->minimum, setting->maximum);
        break;
    case CONFTAB_DOUBLE:
        dynbuf_printf(out, "a number from %d to %d", setting->minimum, setting->maximum);
        break;
    case CONFTAB_NUMBERS:
        dynbuf_printf(out, "1 to %d rising numbers above 0, separated by commas",
                      CONFTAB_NUMBERS_MAX);
        break;
    case CONFTAB_CHOICE:
        dynbuf_append_text(out, "one of ");
        describe_words(setting->choices, choice_count(setting), out);
        break;
    case CONFTAB_INERT:
        dynbuf_append_text(out, "an integer");
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

static bool store_double(const struct conftab_setting *setting, void *field, const char *text)
{
    double value;
    if (!conftab_parse_double(text, &value) || value < setting->minimum || value > setting->maximum)
        return false;
    *(double *)field = value;
    return true;
}

static bool store_choice(const struct conftab_setting *setting, void *field, const char *text)
{
    for (size_t i = 0; i < choice_count(setting); i++) {
        if (strcasecmp(text, setting->choices[i]) == 0) {
            *(int *)field = (int)i;
            return true;
        }
    }
    return false;
}

/* The text without blanks at its ends, in scratch. */
static const char *trimmed(const char *text, size_t length, struct dynbuf *scratch)
{
    while (length > 0 && (text[length - 1] == ' ' || text[length - 1] == '\t'))
        length--;
    while (length > 0 && (*text == ' ' || *text == '\t')) {
        text++;
        length--;
    }
    dynbuf_reset(scratch);
    dynbuf_append(scratch, text, length);
    return dynbuf_text(scratch);
}

/* What is wrong with a list of numbers, in one part of a sentence; NULL: nothing. scratch holds the
 * item. */
static const char *parse_numbers(const char *text, struct conftab_numbers *numbers,
                                 struct dynbuf *scratch)
{
    double last = 0;
    numbers->count = 0;
    for (;;) {
        size_t length = strcspn(text, ",");
        double value;
        if (!conftab_parse_double(trimmed(text, length, scratch), &value))
            return "is not a number";
        if (numbers->count == CONFTAB_NUMBERS_MAX)
            return "is one too many";
        if (value <= 0)
            return "is not above 0";
        if (value > NUMBER_LARGEST)
            return "is above 1e12";
        if (value <= last)
            return "is not above the one before";
        last = numbers->values[numbers->count++] = value;
        if (text[length] == '\0')
            return NULL;
        text += length + 1;
    }
}

static bool store_inert(const char *text)
{
    long long ignored;
    return conftab_parse_int(text, &ignored);
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
    case CONFTAB_DOUBLE:
        return store_double(setting, field, text);
    case CONFTAB_CHOICE:
        return store_choice(setting, field, text);
    case CONFTAB_INERT:
        return store_inert(text);
    case CONFTAB_NUMBERS: {
        struct dynbuf scratch;
        dynbuf_init(&scratch, VALUE_MAX_BYTES);
        bool is_good = parse_numbers(text, field, &scratch) == NULL && !scratch.failed;
        dynbuf_fini(&scratch);
        return is_good;
    }
    case CONFTAB_TEXT_NONEMPTY:
        if (text[0] == '\0')
            return false;
        break;
    case CONFTAB_TEXT:
    case CONFTAB_SECRET:
        break;
    }
    char **copy = field;
    free(*copy);
    *copy = strdup(text);
    CHECK(*copy != NULL);
    return true;
}

/* The value of ours that a value under the alias stands for; NULL: not one of its words. */
static const char *translate(const struct conftab_setting *setting, const char *text,
                             struct dynbuf *scratch)
{
    if (setting->alias_empty != NULL && text[0] == '\0')
        return setting->alias_empty;
    if (setting->alias_words[0].word == NULL)
        return text;
    text = trimmed(text, strlen(text), scratch);
    for (size_t i = 0; i < ARRAY_COUNT(setting->alias_words); i++)
        if (setting->alias_words[i].word != NULL &&
            strcasecmp(text, setting->alias_words[i].word) == 0)
            return setting->alias_words[i].value;
    return NULL;
}

static bool has_words(const struct conftab_setting *setting, const struct conftab_given *given)
{
    return setting->type == CONFTAB_CHOICE ||
           (given->is_alias && setting->alias_words[0].word != NULL);
}

static void refuse(const struct conftab *table, const struct conftab_setting *setting,
                   const struct conftab_given *given, struct dynbuf *error)
{
    char quoted[VALUE_MAX_SHOWN];
    const char *value = setting->type == CONFTAB_SECRET
                            ? "***"
                            : log_quote(quoted, sizeof quoted, given->text, strlen(given->text));
    if (has_words(setting, given)) {
        const char *words[ARRAY_COUNT(setting->alias_words)] = {setting->alias_words[0].word,
                                                                setting->alias_words[1].word};
        bool is_choice = setting->type == CONFTAB_CHOICE;
        dynbuf_append_text(error, "invalid value for ");
        conftab_name(table, setting, given, error);
        dynbuf_append_text(error, "; possible values are: ");
        describe_words(is_choice ? setting->choices : words,
                       is_choice ? choice_count(setting) : ARRAY_COUNT(words), error);
        dynbuf_printf(error, " (it is %s)", value);
        return;
    }
    conftab_name(table, setting, given, error);
    dynbuf_printf(error, "=%s is not allowed: ", value);
    if (setting->type == CONFTAB_NUMBERS) {
        struct conftab_numbers numbers;
        struct dynbuf item;
        dynbuf_init(&item, VALUE_MAX_BYTES);
        const char *wrong = parse_numbers(given->text, &numbers, &item);
        log_quote(quoted, sizeof quoted, dynbuf_text(&item), item.length);
        dynbuf_printf(error, "%s %s; ", quoted, wrong == NULL ? "is too long" : wrong);
        dynbuf_fini(&item);
    }
    dynbuf_append_text(error, "it must be ");
    describe_allowed(setting, error);
}

/* Files of settings are YAML, which has more words for true and false. */
static const char *yaml_bool(const char *text)
{
    static const char *const truths[] = {"y", "Y", "yes", "Yes", "YES", "on", "On", "ON"};
    static const char *const lies[] = {"n", "N", "no", "No", "NO", "off", "Off", "OFF"};
    for (size_t i = 0; i < ARRAY_COUNT(truths); i++) {
        if (strcmp(text, truths[i]) == 0)
            return "true";
        if (strcmp(text, lies[i]) == 0)
            return "false";
    }
    return text;
}

bool conftab_store(const struct conftab *table, const struct conftab_setting *setting,
                   const struct conftab_given *given, void *fields, struct dynbuf *error)
{
    if (given->text == NULL) {
        dynbuf_printf(error, "%s is not set: it is required (", setting->name);
        describe_allowed(setting, error);
        dynbuf_append_text(error, ")");
        return false;
    }
    struct dynbuf scratch;
    dynbuf_init(&scratch, VALUE_MAX_BYTES);
    const char *text = given->text;
    if (given->is_alias && given->source != CONFTAB_FROM_DEFAULT)
        text = translate(setting, text, &scratch);
    if (given->is_alias && (setting->type == CONFTAB_LOG_LEVEL || setting->type == CONFTAB_CHOICE))
        text = trimmed(text, strlen(text), &scratch);
    if (given->source == CONFTAB_FROM_FILE && setting->type == CONFTAB_BOOL && text != NULL)
        text = yaml_bool(text);
    /* Where an alias may be empty, so may the field. */
    bool is_good = text != NULL && !scratch.failed;
    if (is_good && given->is_alias && setting->type == CONFTAB_TEXT_NONEMPTY && text[0] == '\0' &&
        (setting->alias_empty != NULL || given->source == CONFTAB_FROM_DEFAULT)) {
        char **field = field_of(fields, setting);
        free(*field);
        *field = calloc(1, 1);
        CHECK(*field != NULL);
    } else if (is_good) {
        is_good = store(setting, fields, text);
    }
    dynbuf_fini(&scratch);
    CHECK(is_good || given->source != CONFTAB_FROM_DEFAULT);
    if (!is_good)
        refuse(table, setting, given, error);
    return is_good;
}

bool conftab_load(const struct conftab *table, void *fields, char *const *environment,
                  struct dynbuf *error)
{
    struct conftab_inputs inputs = {.environment = environment};
    struct conftab_given *given = calloc(table->count, sizeof *given);
    CHECK(given != NULL);
    bool is_good = conftab_resolve(table, &inputs, given, error);
    for (size_t i = 0; is_good && i < table->count; i++)
        is_good = conftab_store(table, &table->settings[i], &given[i], fields, error);
    free(given);
    return is_good;
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

static void print_value(const struct conftab_setting *setting, const void *field,
                        const struct conftab_given *given, struct dynbuf *out)
{
    switch (setting->type) {
    case CONFTAB_INT:
        dynbuf_printf(out, "%d", *(const int *)field);
        break;
    case CONFTAB_BOOL:
        dynbuf_append_text(out, *(const bool *)field ? "true" : "false");
        break;
    case CONFTAB_LOG_LEVEL:
        dynbuf_append_text(out, log_level_name(*(const enum log_level *)field));
        break;
    case CONFTAB_SECRET:
        dynbuf_append_text(out, (*(char *const *)field)[0] == '\0' ? "" : "***");
        break;
    case CONFTAB_DOUBLE:
        dynbuf_printf(out, "%.15g", *(const double *)field);
        break;
    case CONFTAB_NUMBERS: {
        const struct conftab_numbers *numbers = field;
        for (size_t i = 0; i < numbers->count; i++)
            dynbuf_printf(out, "%s%.15g", i == 0 ? "" : ",", numbers->values[i]);
        break;
    }
    case CONFTAB_CHOICE:
        dynbuf_append_text(out, setting->choices[*(const int *)field]);
        break;
    case CONFTAB_INERT:
        print_text(out, given->text);
        break;
    case CONFTAB_TEXT:
    case CONFTAB_TEXT_NONEMPTY:
        print_text(out, *(char *const *)field);
        break;
    }
}

static void print_source(const struct conftab *table, const struct conftab_setting *setting,
                         const struct conftab_given *given, struct dynbuf *out)
{
    static const char *const names[] = {
        [CONFTAB_FROM_DEFAULT] = "default",
        [CONFTAB_FROM_FILE] = "file",
        [CONFTAB_FROM_ENVIRONMENT] = "environment",
        [CONFTAB_FROM_COMMAND_LINE] = "command line",
    };
    dynbuf_printf(out, "  # %s", names[given->source]);
    if (given->source == CONFTAB_FROM_FILE) {
        dynbuf_append_text(out, " (");
        conftab_name(table, setting, given, out);
        dynbuf_printf(out, ", line %u)", given->line);
    } else if (given->is_alias && given->source == CONFTAB_FROM_DEFAULT) {
        dynbuf_printf(out, " (of the %s settings)", table->alias_prefix);
    } else if (given->is_alias) {
        dynbuf_append_text(out, " (");
        conftab_name(table, setting, given, out);
        dynbuf_append_text(out, ")");
    }
    if (setting->type == CONFTAB_INERT)
        dynbuf_append_text(out, ", without effect here");
    dynbuf_append_text(out, "\n");
}

void conftab_print_given(const struct conftab *table, const void *fields,
                         const struct conftab_given *given, struct dynbuf *out)
{
    for (size_t i = 0; i < table->count; i++) {
        const struct conftab_setting *setting = &table->settings[i];
        dynbuf_printf(out, "%s=", setting->name);
        print_value(setting, (const char *)fields + setting->offset, &given[i], out);
        print_source(table, setting, &given[i], out);
    }
}

void conftab_print(const struct conftab *table, const void *fields, char *const *environment,
                   struct dynbuf *out)
{
    struct conftab_inputs inputs = {.environment = environment};
    struct conftab_given *given = calloc(table->count, sizeof *given);
    struct dynbuf error;
    CHECK(given != NULL);
    dynbuf_init(&error, 1024);
    CHECK(conftab_resolve(table, &inputs, given, &error));
    conftab_print_given(table, fields, given, out);
    dynbuf_fini(&error);
    free(given);
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
        if (setting->alias != NULL && setting->type != CONFTAB_INERT)
            dynbuf_printf(out, "  or %s%s", table->alias_prefix, setting->alias);
        dynbuf_printf(out, "\n      %s\n      (", setting->meaning);
        describe_allowed(setting, out);
        dynbuf_append_text(out, ")\n");
    }
}
