/* cloudgatectl tokens: list, create, revoke. Single-threaded. A new token goes to stdout alone, so
 * that it can be piped into a file. */
#include <stdio.h>
#include <string.h>

#include "controlplane/ctl/tokens.h"

#define NAME_MAX_LENGTH 64

static void print_tokens(const struct json_value *root)
{
    for (const struct json_value *token = json_first(json_member(root, "tokens")); token != NULL;
         token = json_next(token)) {
        bool is_expired = false;
        (void)!json_bool(json_member(token, "expired"), &is_expired);
        ctl_put_member(token, "name", "?");
        printf("  ");
        ctl_put_member(token, "role", "?");
        printf("  created ");
        ctl_put_time(json_member(token, "created_ms"));
        printf(is_expired ? "  EXPIRED " : "  expires ");
        ctl_put_time(json_member(token, "expires_ms"));
        printf("  last used ");
        ctl_put_time(json_member(token, "last_used_ms"));
        putchar('\n');
    }
}

static enum exit_code create(const struct options *options)
{
    struct answer answer;
    struct dynbuf body;
    struct json_writer writer;
    if (options->count != 4)
        return ctl_usage("tokens create needs a name and a role", "");
    dynbuf_init(&body, 4096);
    json_writer_init(&writer, &body);
    json_begin_object(&writer);
    json_put_string(&writer, "name", options->words[2]);
    json_put_string(&writer, "role", options->words[3]);
    json_write_name(&writer, "expires_in_seconds");
    if (options->days == 0)
        json_write_null(&writer);
    else
        json_write_i64(&writer, options->days * 86400L);
    json_end_object(&writer);
    ctl_answer_init(&answer);
    enum exit_code code =
        ctl_ask(options, "POST", "/api/v1/tokens", dynbuf_text(&body), NULL, &answer);
    if (code == EXIT_GOOD && options->json) {
        ctl_put_json(&answer);
    } else if (code == EXIT_GOOD) {
        ctl_put_member(answer.root, "token", "?");
        putchar('\n');
        fprintf(stderr, "cloudgatectl: this is shown only now; keep it\n");
    }
    ctl_answer_fini(&answer);
    dynbuf_fini(&body);
    return code;
}

static enum exit_code revoke(const struct options *options)
{
    struct answer answer;
    char path[32 + NAME_MAX_LENGTH];
    if (options->count != 3)
        return ctl_usage("tokens revoke needs a name", "");
    const char *name = options->words[2];
    if (name[0] == '\0' || strlen(name) > NAME_MAX_LENGTH || strpbrk(name, "/?#% ") != NULL)
        return ctl_usage("not the name of a token", name);
    snprintf(path, sizeof path, "/api/v1/tokens/%s", name);
    ctl_answer_init(&answer);
    enum exit_code code = ctl_ask(options, "DELETE", path, NULL, NULL, &answer);
    ctl_answer_fini(&answer);
    return code;
}

enum exit_code ctl_tokens(const struct options *options)
{
    const char *second = options->count > 1 ? options->words[1] : "";
    if (options->count == 1 || (options->count == 2 && strcmp(second, "list") == 0))
        return ctl_show(options, "/api/v1/tokens", print_tokens);
    if (strcmp(second, "create") == 0)
        return create(options);
    if (strcmp(second, "revoke") == 0)
        return revoke(options);
    return ctl_usage("unknown command: tokens", second);
}
