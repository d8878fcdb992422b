/* The changes of the state from the command line: a line each, or one of them and who has not
 * followed it yet. Single-threaded. */
#include "controlplane/ctl/operations.h"

#include <stdio.h>
#include <string.h>

#include "controlplane/ctl/change.h"

static void print_operation(const struct json_value *operation)
{
    ctl_put_member(operation, "id", "?");
    putchar(' ');
    ctl_put_member(operation, "status", "?");
    putchar(' ');
    ctl_put_time(json_member(operation, "time_ms"));
    putchar(' ');
    ctl_put_member(operation, "actor", "?");
    putchar(' ');
    ctl_put_member(operation, "action", "?");
    putchar(' ');
    ctl_put_member(operation, "phase_after", "?");
    ctl_put_reason(operation);
    putchar('\n');
}

static void print_operations(const struct json_value *root)
{
    for (const struct json_value *operation = json_first(json_member(root, "operations"));
         operation != NULL; operation = json_next(operation))
        print_operation(operation);
}

static enum exit_code show_one(const struct options *options)
{
    struct answer answer;
    char path[96];
    unsigned long id;
    if (!ctl_read_number(options->words[1], 1, 999999999, &id))
        return ctl_usage("an operation's id is the revision it made, a number", options->words[1]);
    snprintf(path, sizeof path, "/api/v1/operations/%lu", id);
    if (options->wait >= 0)
        snprintf(path, sizeof path, "/api/v1/operations/%lu?wait=%ld", id, options->wait);
    ctl_answer_init(&answer);
    enum exit_code code = ctl_ask(options, "GET", path, NULL, NULL, &answer);
    if (code == EXIT_GOOD) {
        const char *status = json_text(json_member(answer.root, "status"), NULL);
        if (options->json) {
            ctl_put_json(&answer);
        } else {
            print_operation(answer.root);
            ctl_put_pending(answer.root);
        }
        if (status != NULL && strcmp(status, "pending") == 0)
            code = EXIT_PENDING;
    }
    ctl_answer_fini(&answer);
    return code;
}

enum exit_code ctl_operations(const struct options *options)
{
    char path[64];
    if (options->count > 2)
        return ctl_usage("one word too many", options->words[2]);
    if (options->count == 2)
        return show_one(options);
    if (options->wait >= 0)
        return ctl_usage("--wait needs one operation's id", "");
    snprintf(path, sizeof path, "/api/v1/operations?limit=%ld", options->limit);
    return ctl_show(options, path, print_operations);
}
