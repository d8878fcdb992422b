/* The command line of cloudgate-proxy. Pure: what the options lead to is main's business. */
#include "dataplane/options.h"

#include <stdlib.h>
#include <string.h>

/* The name of an option without dashes if argument is one, and its value after `=`. */
static const char *option_name(char *argument, size_t *length, char **value)
{
    if (argument[0] != '-')
        return NULL;
    char *name = argument + (argument[1] == '-' ? 2 : 1);
    *length = strcspn(name, "=");
    *value = name[*length] == '=' ? name + *length + 1 : NULL;
    return *length == 0 ? NULL : name;
}

static bool is_option(const char *name, size_t length, const char *known)
{
    return strlen(known) == length && memcmp(name, known, length) == 0;
}

bool options_parse(struct options *options, int argc, char **argv, struct dynbuf *error)
{
    *options = (struct options){.overrides = calloc((size_t)argc + 1, sizeof *options->overrides)};
    CHECK(options->overrides != NULL);
    for (int i = 1; i < argc; i++) {
        size_t length = 0;
        char *value = NULL;
        const char *name = option_name(argv[i], &length, &value);
        bool is_file = name != NULL && is_option(name, length, "config");
        bool is_set = name != NULL && is_option(name, length, "set");
        if (is_file || is_set) {
            if (value == NULL && i + 1 < argc)
                value = argv[++i];
            if (value == NULL || value[0] == '\0') {
                dynbuf_printf(error, "%s needs a value: %s", argv[i],
                              is_file ? "a file" : "NAME=value");
                return false;
            }
            if (is_set)
                options->overrides[options->override_count++] = value;
            else
                options->file = value;
        } else if (name != NULL && value == NULL && is_option(name, length, "check-config")) {
            options->checks_only = true;
        } else if (name != NULL && value == NULL && is_option(name, length, "version")) {
            options->wants_version = true;
        } else if (name != NULL && value == NULL &&
                   (is_option(name, length, "help") || is_option(name, length, "h"))) {
            options->wants_help = true;
        } else {
            /* A slip may stand before a password: nothing after the `=` is shown. */
            dynbuf_printf(error, "unknown argument %.*s", (int)strcspn(argv[i], "="), argv[i]);
            return false;
        }
    }
    return true;
}

void options_fini(struct options *options)
{
    free(options->overrides);
    *options = (struct options){0};
}
