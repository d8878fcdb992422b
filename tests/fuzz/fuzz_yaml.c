/* Any bytes as a configuration file. Properties: parsing ends, leaks nothing and stays within its
 * bounds; a refusal is one line and leaves nothing behind; what was accepted has no key twice; the
 * settings made of it are printed whole, one line each, and no password is among them. */
#include <stdint.h>
#include <string.h>

#include "dataplane/config.h"
#include "dataplane/config_yaml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *password(const struct config_yaml *yaml)
{
    for (size_t i = 0; i < yaml->count; i++)
        if (strcmp(yaml->entries[i].key, "origin_password") == 0)
            return yaml->entries[i].value;
    return NULL;
}

static void check_entries(const struct config_yaml *yaml)
{
    CHECK(yaml->count <= 512);
    for (size_t i = 0; i < yaml->count; i++) {
        CHECK(strlen(yaml->entries[i].key) <= 128);
        CHECK(strlen(yaml->entries[i].value) <= 16 * 1024);
        CHECK(yaml->entries[i].line >= 1);
        for (size_t j = 0; j < i; j++)
            CHECK(strcmp(yaml->entries[i].key, yaml->entries[j].key) != 0);
    }
}

static size_t count_lines(const char *text)
{
    size_t lines = 0;
    for (; *text != '\0'; text++)
        lines += *text == '\n';
    return lines;
}

static void check_settings(const struct config_yaml *yaml)
{
    static size_t settings;
    char **required = (char **)(const char *[]){
        "ORIGIN_CASSANDRA_CONTACT_POINTS=a",
        "ORIGIN_CASSANDRA_USERNAME=", "TARGET_CASSANDRA_CONTACT_POINTS=b", NULL};
    struct conftab_inputs inputs = {
        .environment = required, .entries = yaml->entries, .entry_count = yaml->count};
    struct config config;
    struct dynbuf error, text;
    dynbuf_init(&error, 1 << 16);
    dynbuf_init(&text, 1 << 22);
    bool is_good = config_load_from(&config, &inputs, &error);
    const char *secret = password(yaml);
    CHECK(is_good == (error.length == 0) && strchr(dynbuf_text(&error), '\n') == NULL);
    /* A short password may well be part of some other text. */
    if (secret != NULL && strlen(secret) > 8)
        CHECK(strstr(dynbuf_text(&error), "origin_password") == NULL ||
              strstr(dynbuf_text(&error), secret) == NULL);
    if (is_good) {
        config_print(&config, &text);
        size_t lines = count_lines(dynbuf_text(&text));
        CHECK(!text.failed && (settings == 0 || lines == settings));
        settings = lines;
        const char *line = strstr(dynbuf_text(&text), "\nORIGIN_CASSANDRA_PASSWORD=");
        const char *shown = line + strlen("\nORIGIN_CASSANDRA_PASSWORD=");
        CHECK(line != NULL && (strncmp(shown, "***  #", 6) == 0 || strncmp(shown, "  #", 3) == 0));
    }
    config_fini(&config);
    dynbuf_fini(&error);
    dynbuf_fini(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct config_yaml yaml;
    struct dynbuf error;
    log_init("fuzz", LOG_LEVEL_ERROR);
    dynbuf_init(&error, 1 << 16);
    bool is_good = config_yaml_parse(data, size, &yaml, &error);
    CHECK(!error.failed && strchr(dynbuf_text(&error), '\n') == NULL);
    CHECK(is_good == (error.length == 0));
    CHECK(is_good || (yaml.entries == NULL && yaml.count == 0));
    if (is_good) {
        check_entries(&yaml);
        if (yaml.count > 0)
            check_settings(&yaml);
    }
    config_yaml_fini(&yaml);
    dynbuf_fini(&error);
    return 0;
}
