/* cloudgatectl phase and settings: shown, changed; data planes forgotten. Single-threaded. */
#include "controlplane/ctl/phase.h"

#include <stdio.h>
#include <string.h>

#include "controlplane/ctl/change.h"

static bool is_true(const struct json_value *object, const char *name)
{
    bool flag = false;
    return json_bool(json_member(object, name), &flag) && flag;
}

static void print_ways(const struct json_value *phases)
{
    puts("\nfrom here:");
    for (const struct json_value *phase = json_first(phases); phase != NULL;
         phase = json_next(phase)) {
        if (is_true(phase, "is_present") || !is_true(phase, "is_allowed"))
            continue;
        printf("  %s ", is_true(phase, "is_forward") ? "forward to" : "back to");
        ctl_put_member(phase, "name", "?");
        printf("%s%s\n", is_true(phase, "gates_hold") ? "" : ": its gates do not hold",
               is_true(phase, "confirmation_needed") ? "; wants --confirm" : "");
    }
}

static void print_phase(const struct json_value *root)
{
    ctl_put_member(root, "phase", "?");
    printf(": ");
    ctl_put_member(root, "meaning", "");
    printf("\nsince ");
    ctl_put_time(json_member(root, "since_ms"));
    printf(" (revision ");
    ctl_put_member(root, "since_revision", "?");
    printf("); shadow reads ");
    ctl_put_member(root, "shadow_read_percent", "?");
    printf(" %%, canary reads ");
    ctl_put_member(root, "canary_read_percent", "?");
    puts(" %");
    for (const struct json_value *difference = json_first(json_member(root, "differences"));
         difference != NULL; difference = json_next(difference)) {
        printf("not as the phase would have it: ");
        ctl_put_member(difference, "member", "?");
        printf(" is ");
        ctl_put_member(difference, "before", "null");
        putchar('\n');
    }
    print_ways(json_member(root, "phases"));
    puts("\ngates:");
    ctl_put_checks(stdout, json_member(root, "gates"), false);
}

/* The state that answers a move. */
static void print_moved(const struct json_value *root)
{
    printf("phase ");
    ctl_put_member(root, "phase", "?");
    printf(", revision ");
    ctl_put_member(root, "revision", "?");
    putchar('\n');
}

static enum exit_code set_phase(const struct options *options)
{
    struct dynbuf body;
    struct json_writer writer;
    unsigned long percent = 0;
    const char *name = options->count == 3 ? options->words[2] : "";
    if (options->count != 3)
        return ctl_usage("phase set needs the name of one phase", "");
    if (options->percent != NULL && !ctl_read_number(options->percent, 0, 100, &percent))
        return ctl_usage("--percent needs a number from 0 to 100", options->percent);
    if (options->force && options->reason == NULL)
        return ctl_usage("--force wants --reason", "");
    dynbuf_init(&body, 16384);
    json_writer_init(&writer, &body);
    json_begin_object(&writer);
    json_put_string(&writer, "phase", name);
    if (options->percent != NULL)
        json_put_u64(&writer,
                     strcmp(name, "canary_read") == 0 ? "canary_read_percent"
                                                      : "shadow_read_percent",
                     percent);
    if (options->confirm != NULL)
        json_put_string(&writer, "confirm", options->confirm);
    if (options->reason != NULL)
        json_put_string(&writer, "reason", options->reason);
    if (options->force)
        json_put_bool(&writer, "force", true);
    json_end_object(&writer);
    enum exit_code code =
        body.failed ? ctl_usage("--reason is too long", "")
                    : ctl_change(options, "PUT", "/api/v1/phase", dynbuf_text(&body), print_moved);
    dynbuf_fini(&body);
    return code;
}

enum exit_code ctl_phase(const struct options *options)
{
    if (options->count == 1)
        return ctl_show(options, "/api/v1/phase", print_phase);
    if (strcmp(options->words[1], "set") == 0)
        return set_phase(options);
    return ctl_usage("unknown command: phase", options->words[1]);
}

/* ---- settings ---- */

static void print_setting(const struct json_value *root, const char *name)
{
    printf("\n%-33s ", name);
    ctl_put_member(root, name, "as configured");
}

static void print_settings(const struct json_value *root)
{
    printf("%-33s ", "revision");
    ctl_put_member(root, "revision", "?");
#define LIVE_NUMBER(member, minimum, maximum, meaning) print_setting(root, #member);
#define LIVE_SWITCH(member, meaning)                   print_setting(root, #member);
#define LIVE_LEVEL(member, meaning)                    print_setting(root, #member);
#include "controlplane/routing.def"
    putchar('\n');
}

static const char known_settings[] = "not a live setting (NAME=VALUE; known are"
#define LIVE_NUMBER(member, minimum, maximum, meaning) " " #member
#define LIVE_SWITCH(member, meaning)                   " " #member
#define LIVE_LEVEL(member, meaning)                    " " #member
#include "controlplane/routing.def"
                                     ")";

/* Writes one NAME=VALUE. The control plane knows the limits; here only its kind counts. */
static bool put_setting(struct json_writer *writer, const char *word)
{
    enum { NUMBER, SWITCH, LEVEL };
    static const struct {
        const char *name;
        int kind;
    } known[] = {
#define LIVE_NUMBER(member, minimum, maximum, meaning) {#member, NUMBER},
#define LIVE_SWITCH(member, meaning)                   {#member, SWITCH},
#define LIVE_LEVEL(member, meaning)                    {#member, LEVEL},
#include "controlplane/routing.def"
    };
    size_t length = strcspn(word, "=");
    const char *value = word + length + (word[length] == '=');
    unsigned long number;
    for (size_t i = 0; word[length] == '=' && i < ARRAY_COUNT(known); i++) {
        if (strlen(known[i].name) != length || memcmp(known[i].name, word, length) != 0)
            continue;
        json_write_name(writer, known[i].name);
        if (strcmp(value, "null") == 0) {
            json_write_null(writer);
        } else if (known[i].kind == LEVEL) {
            json_write_string(writer, value);
        } else if (known[i].kind == NUMBER) {
            if (!ctl_read_number(value, 0, 999999999, &number))
                return ctl_usage("allowed is a whole number or null", word), false;
            json_write_u64(writer, number);
        } else {
            if (strcmp(value, "true") != 0 && strcmp(value, "false") != 0)
                return ctl_usage("allowed is true, false or null", word), false;
            json_write_bool(writer, strcmp(value, "true") == 0);
        }
        return true;
    }
    return ctl_usage(known_settings, word), false;
}

static enum exit_code set_settings(const struct options *options)
{
    struct dynbuf body;
    struct json_writer writer;
    bool good = true;
    if (options->count < 3)
        return ctl_usage("settings set needs at least one NAME=VALUE", "");
    dynbuf_init(&body, 16384);
    json_writer_init(&writer, &body);
    json_begin_object(&writer);
    for (int i = 2; good && i < options->count; i++)
        good = put_setting(&writer, options->words[i]);
    enum exit_code code = EXIT_USAGE;
    if (good) {
        json_end_object(&writer);
        code = ctl_change(options, "PATCH", "/api/v1/settings", dynbuf_text(&body), print_settings);
    }
    dynbuf_fini(&body);
    return code;
}

enum exit_code ctl_settings(const struct options *options)
{
    if (options->count == 1)
        return ctl_show(options, "/api/v1/settings", print_settings);
    if (strcmp(options->words[1], "set") == 0)
        return set_settings(options);
    return ctl_usage("unknown command: settings", options->words[1]);
}

enum exit_code ctl_forget_dataplane(const struct options *options)
{
    struct answer answer;
    char path[128];
    if (options->count != 3)
        return ctl_usage("dataplanes forget needs the id of one data plane", "");
    const char *id = options->words[2];
    if (id[0] == '\0' || strlen(id) > 63 || strpbrk(id, "/?#% ") != NULL)
        return ctl_usage("not the id of a data plane", id);
    snprintf(path, sizeof path, "/api/v1/dataplanes/%s", id);
    ctl_answer_init(&answer);
    enum exit_code code = ctl_ask(options, "DELETE", path, NULL, NULL, &answer);
    ctl_answer_fini(&answer);
    return code;
}
