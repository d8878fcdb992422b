/* Changes from the command line, and how their answers are shown. Single-threaded. */
#include "controlplane/ctl/change.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool ctl_read_number(const char *text, unsigned long minimum, unsigned long maximum,
                     unsigned long *number)
{
    size_t length = strlen(text);
    if (length == 0 || length > 9 || strspn(text, "0123456789") != length)
        return false;
    *number = strtoul(text, NULL, 10);
    return *number >= minimum && *number <= maximum;
}

/* --if-match as an entity tag: a bare revision is completed with the store's id, which the present
 * tag tells. */
static enum exit_code resolve_if_match(const struct options *options, char etag[CTL_ETAG_SIZE])
{
    const char *text = options->if_match;
    if (text[0] == '\0' || strspn(text, "0123456789") != strlen(text)) {
        bool is_ready = text[0] == '"' || strcmp(text, "*") == 0;
        if (strpbrk(text, "\r\n") != NULL || strlen(text) > CTL_ETAG_SIZE - 3)
            return ctl_usage("not a revision", text);
        snprintf(etag, CTL_ETAG_SIZE, is_ready ? "%s" : "\"%s\"", text);
        return EXIT_GOOD;
    }
    struct answer answer;
    ctl_answer_init(&answer);
    enum exit_code code = ctl_ask(options, "GET", "/api/v1/routing", NULL, NULL, &answer);
    const char *dot = strrchr(answer.etag, '.');
    if (code == EXIT_GOOD && dot == NULL) {
        fprintf(stderr, "cloudgatectl: the control plane sent no entity tag\n");
        code = EXIT_REFUSED;
    } else if (code == EXIT_GOOD) {
        struct dynbuf tag;
        dynbuf_init(&tag, CTL_ETAG_SIZE - 1);
        dynbuf_append(&tag, answer.etag, (size_t)(dot - answer.etag) + 1);
        dynbuf_printf(&tag, "%s\"", text);
        snprintf(etag, CTL_ETAG_SIZE, "%s", dynbuf_text(&tag));
        if (tag.failed)
            code = ctl_usage("not a revision", text);
        dynbuf_fini(&tag);
    }
    ctl_answer_fini(&answer);
    return code;
}

void ctl_put_pending(const struct json_value *root)
{
    for (const struct json_value *pending = json_first(json_member(root, "pending"));
         pending != NULL; pending = json_next(pending)) {
        printf("pending: ");
        ctl_put_member(pending, "address", "?");
        printf(": ");
        ctl_put_member(pending, "reason", "?");
        printf(": ");
        ctl_put_member(pending, "detail", "");
        putchar('\n');
    }
}

/* What a dry run says would be. */
static void print_plan(const struct json_value *root)
{
    const struct json_value *change = json_first(json_member(root, "changes"));
    const struct json_value *warning = json_member(root, "warning");
    bool flag = false;
    printf("phase ");
    ctl_put_member(root, "phase_before", "?");
    printf(" -> ");
    ctl_put_member(root, "phase_after", "?");
    putchar('\n');
    if (change == NULL)
        puts("nothing would change");
    for (; change != NULL; change = json_next(change)) {
        ctl_put_member(change, "member", "?");
        putchar(' ');
        ctl_put_member(change, "before", "null");
        printf(" -> ");
        ctl_put_member(change, "after", "null");
        putchar('\n');
    }
    if (json_bool(json_member(root, "confirmation_needed"), &flag) && flag)
        puts("wants --confirm with the phase's name");
    const char *text = json_text(warning, NULL);
    if (text != NULL && text[0] != '\0') {
        printf("warning: ");
        ctl_put_member(root, "warning", "");
        putchar('\n');
    }
    ctl_put_checks(stdout, json_member(root, "checks"), false);
    puts("dry run: nothing was changed");
}

enum exit_code ctl_change(const struct options *options, const char *method, const char *path,
                          const char *body, void (*print)(const struct json_value *))
{
    struct answer answer;
    char etag[CTL_ETAG_SIZE];
    char whole_path[128], wait[32] = "";
    const char *glue = strchr(path, '?') == NULL ? "?" : "&";
    enum exit_code code = EXIT_GOOD;
    if (options->wait >= 0)
        snprintf(wait, sizeof wait, "wait=%ld", options->wait);
    if (options->is_dry_run)
        snprintf(whole_path, sizeof whole_path, "%s%sdry_run=true", path, glue);
    else
        snprintf(whole_path, sizeof whole_path, "%s%s%s", path, wait[0] == '\0' ? "" : glue, wait);
    if (options->if_match != NULL)
        code = resolve_if_match(options, etag);
    else
        snprintf(etag, sizeof etag, "*"); /* what the state is does not matter */
    if (code != EXIT_GOOD)
        return code;
    ctl_answer_init(&answer);
    code = ctl_ask(options, method, whole_path, body, etag, &answer);
    if (code == EXIT_GOOD) {
        if (options->json)
            ctl_put_json(&answer);
        else
            (options->is_dry_run ? print_plan : print)(answer.root);
        if (answer.status == 202) {
            fprintf(stderr, "cloudgatectl: stored, but not every data plane has acknowledged\n");
            if (!options->json)
                ctl_put_pending(answer.root);
            code = EXIT_PENDING;
        }
    }
    ctl_answer_fini(&answer);
    return code;
}
