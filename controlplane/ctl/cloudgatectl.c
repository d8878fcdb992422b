/* cloudgatectl: the REST API of the control plane for people who live in a terminal. One request,
 * one answer, an exit code that scripts can use. Single-threaded; keeps nothing; never trusts the
 * answer's size or shape. */
#include <curl/curl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "controlplane/ctl/audit.h"
#include "controlplane/ctl/backup.h"
#include "controlplane/ctl/change.h"
#include "controlplane/ctl/ctl.h"
#include "controlplane/ctl/operations.h"
#include "controlplane/ctl/phase.h"
#include "controlplane/ctl/tokens.h"

#define DEFAULT_URL    "http://127.0.0.1:14003"
#define DEFAULT_SOCKET "/run/cloudgate/api.sock"
#define STREAM_LINE    (1024u * 1024u)

static const char help_text[] =
    "cloudgatectl " CLOUDGATE_VERSION ": the command line of the Cloud-Gate control plane\n"
    "\n"
    "Usage: cloudgatectl [options] command\n"
    "\n"
    "  status                      routing state and data planes at a glance\n"
    "  routing                     the routing state\n"
    "  routing set NAME=VALUE ...  change it; the names are\n"
#define ROUTING_FLAG(member, fallback, meaning)    "      " #member "=true|false\n"
#define ROUTING_PERCENT(member, fallback, meaning) "      " #member "=0..100\n"
#include "controlplane/routing.def"
#undef ROUTING_FLAG
#undef ROUTING_PERCENT
    "  phase                       the migration's phase, the ways from it and the gates\n"
    "  phase set NAME              go to another phase; see --confirm, --percent, --force\n"
    "  settings                    settings of the data planes that change while they run\n"
    "  settings set NAME=VALUE ... change them; VALUE may be null, as each is configured\n"
    "  routing adopt               make data planes obey that come from another store or a newer "
    "revision\n"
    "  operations [ID]             what became of the changes; ID is the revision one made\n"
    "  dataplanes                  every data plane and what it has applied\n"
    "  dataplanes forget ID        forget one that is gone for good\n"
    "  audit                       who changed what and when, newest first\n"
    "  audit export                all of it, a line of JSON a row, oldest first\n"
    "  audit verify [FILE]         whether all of it, or an export in FILE, is whole and "
    "unchanged\n"
    "  backup FILE                 a copy of the control plane's database\n"
    "  events                      follow changes until interrupted\n"
    "  tokens                      who may log in\n"
    "  tokens create NAME ROLE     make a token and print it; ROLE is viewer, operator or admin\n"
    "  tokens revoke NAME          end a token and its log-ins\n"
    "\n"
    "Options:\n"
    "  --socket PATH    the control plane's local socket, which needs no token (default:\n"
    "                   CLOUDGATE_SOCKET, else " DEFAULT_SOCKET " where it exists)\n"
    "  --url URL        its address, in place of the socket (default: CLOUDGATE_URL, else\n"
    "                   " DEFAULT_URL ")\n"
    "  --token-file F   file of the token to show (default: CLOUDGATE_TOKEN holds the token)\n"
    "  --ca FILE        PEM authorities to trust with https, in place of the system's\n"
    "  --days N         with tokens create: it expires after N days; 0: never (default 90)\n"
    "  --if-match REV   with routing, settings or phase set: only if still at revision REV\n"
    "  --wait SECONDS   with those, and operations ID: how long to wait for the data planes (0 to "
    "80)\n"
    "  --dry-run        with those: say what would change, change nothing\n"
    "  --percent N      with phase set: the share of shadow or canary reads\n"
    "  --confirm NAME   with phase set: the phase's name again, to leave passthrough or\n"
    "                   target_only\n"
    "  --reason TEXT    with phase set: for the audit log\n"
    "  --force          with phase set: although gates do not hold; wants --reason\n"
    "  --since FROM     with audit export: rows after this id, or from this time on\n"
    "                   (2026-01-31, 2026-01-31T12:00:00Z)\n"
    "  --expect ID:HASH with audit verify and audit export: a head you noted, which must be there\n"
    "  --limit N        with audit and operations: at most N entries (1 to 1000, default 20)\n"
    "  --json           print the API's answer as it is\n"
    "  --help, --version\n"
    "\n"
    "Exit codes: 0 done; 1 refused or not reachable; 2 wrong usage; 3 stored, but not every data "
    "plane has acknowledged.\n";

static const char known_names[] = "not a routing setting (NAME=VALUE; known are"
#define ROUTING_FLAG(member, fallback, meaning)    " " #member
#define ROUTING_PERCENT(member, fallback, meaning) " " #member
#include "controlplane/routing.def"
#undef ROUTING_FLAG
#undef ROUTING_PERCENT
                                  ")";

/* ---- commands ---- */

static void print_routing(const struct json_value *root)
{
    printf("revision                          ");
    ctl_put_member(root, "revision", "?");
    printf("\nphase                             ");
    ctl_put_member(root, "phase", "?");
#define ROUTING_FLAG(member, fallback, meaning)                                                    \
    printf("\n%-33s ", #member);                                                                   \
    ctl_put_member(root, #member, "?");
#define ROUTING_PERCENT(member, fallback, meaning) ROUTING_FLAG(member, fallback, meaning)
#include "controlplane/routing.def"
#undef ROUTING_FLAG
#undef ROUTING_PERCENT
    putchar('\n');
}

static void print_dataplanes(const struct json_value *root)
{
    const struct json_value *dataplane = json_first(json_member(root, "dataplanes"));
    if (dataplane == NULL)
        puts("no data plane has connected yet");
    for (; dataplane != NULL; dataplane = json_next(dataplane)) {
        const struct json_value *error = json_member(dataplane, "last_error");
        bool connected = false, in_sync = false;
        (void)!json_bool(json_member(dataplane, "connected"), &connected);
        (void)!json_bool(json_member(dataplane, "in_sync"), &in_sync);
        ctl_put_member(dataplane, "address", "?");
        printf("  %s  applied revision ", connected ? "connected" : "DISCONNECTED");
        ctl_put_member(dataplane, "applied_revision", "?");
        printf("  %s  id ", in_sync ? "in sync" : "DIFFERS");
        ctl_put_member(dataplane, "id", "?");
        printf("\n    ");
        ctl_put_member(dataplane, "state", "?");
        printf(": ");
        ctl_put_member(dataplane, "detail", "");
        if (json_type(error) == JSON_OBJECT) {
            printf(" (since ");
            ctl_put_time(json_member(error, "time_ms"));
            putchar(')');
        }
        putchar('\n');
    }
}

/* The audit log's last row, for noting it elsewhere. */
static void print_audit_head(const struct json_value *root)
{
    const struct json_value *head = json_member(root, "head");
    printf("\naudit log head ");
    ctl_put_member(head, "id", "?");
    putchar(':');
    ctl_put_member(head, "hash", "?");
    putchar('\n');
}

static enum exit_code show_status(const struct options *options)
{
    struct answer routing, dataplanes, audit;
    ctl_answer_init(&routing);
    ctl_answer_init(&dataplanes);
    ctl_answer_init(&audit);
    enum exit_code code = ctl_ask(options, "GET", "/api/v1/routing", NULL, NULL, &routing);
    if (code == EXIT_GOOD)
        code = ctl_ask(options, "GET", "/api/v1/dataplanes", NULL, NULL, &dataplanes);
    if (code == EXIT_GOOD)
        code = ctl_ask(options, "GET", "/api/v1/audit?limit=1", NULL, NULL, &audit);
    if (code == EXIT_GOOD && options->json) {
        printf("{\"routing\":%s,\"dataplanes\":%s,\"audit\":%s}\n", dynbuf_text(&routing.body),
               dynbuf_text(&dataplanes.body), dynbuf_text(&audit.body));
    } else if (code == EXIT_GOOD) {
        print_routing(routing.root);
        putchar('\n');
        print_dataplanes(dataplanes.root);
        print_audit_head(audit.root);
    }
    ctl_answer_fini(&routing);
    ctl_answer_fini(&dataplanes);
    ctl_answer_fini(&audit);
    return code;
}

static bool is_same(const struct json_value *left, const struct json_value *right)
{
    bool left_flag = false, right_flag = false;
    if (right == NULL || json_type(left) != json_type(right))
        return false;
    if (json_bool(left, &left_flag))
        return json_bool(right, &right_flag) && left_flag == right_flag;
    const char *left_text = json_text(left, NULL), *right_text = json_text(right, NULL);
    if (left_text == NULL || right_text == NULL)
        return left_text == right_text; /* both null */
    return strcmp(left_text, right_text) == 0;
}

static void print_audit(const struct json_value *root)
{
    for (const struct json_value *entry = json_first(json_member(root, "entries")); entry != NULL;
         entry = json_next(entry)) {
        const struct json_value *before = json_member(entry, "before");
        const struct json_value *after = json_member(entry, "after");
        if (json_type(after) == JSON_NULL) { /* what is no more is shown as it was */
            after = before;
            before = NULL;
        }
        ctl_put_time(json_member(entry, "time_ms"));
        printf("  revision ");
        ctl_put_member(entry, "revision", "?");
        printf("  ");
        ctl_put_member(entry, "action", "?");
        printf("  by ");
        ctl_put_member(entry, "actor", "?");
        for (const struct json_value *value = json_first(after); value != NULL;
             value = json_next(value)) {
            const char *name = json_name(value, NULL);
            if (strcmp(name, "revision") == 0 || is_same(value, json_member(before, name)) ||
                (json_type(before) != JSON_OBJECT && json_type(value) == JSON_NULL))
                continue;
            printf("  ");
            ctl_put_text(name, strlen(name));
            putchar('=');
            ctl_put_member(after, name, "null");
        }
        ctl_put_reason(entry);
        putchar('\n');
    }
}

static enum exit_code show_audit(const struct options *options)
{
    char path[64];
    snprintf(path, sizeof path, "/api/v1/audit?limit=%ld", options->limit);
    return ctl_show(options, path, print_audit);
}

/* Turns the words after `routing set` into a merge patch. */
static bool build_patch(const struct options *options, struct dynbuf *body)
{
    struct json_writer writer;
    json_writer_init(&writer, body);
    json_begin_object(&writer);
    for (int i = 2; i < options->count; i++) {
        const char *word = options->words[i];
        const char *equals = strchr(word, '=');
        const char *name = NULL;
        bool is_percent = false;
        for (int other = 2; other < i && equals != NULL; other++)
            if (strncmp(options->words[other], word, (size_t)(equals - word) + 1) == 0)
                return ctl_usage("the same name twice", word), false;
#define ROUTING_FLAG(member, fallback, meaning)                                                    \
    if (equals != NULL && (size_t)(equals - word) == strlen(#member) &&                            \
        strncmp(word, #member, strlen(#member)) == 0)                                              \
        name = #member;
#define ROUTING_PERCENT(member, fallback, meaning)                                                 \
    ROUTING_FLAG(member, fallback, meaning)                                                        \
    if (name != NULL && strcmp(name, #member) == 0)                                                \
        is_percent = true;
#include "controlplane/routing.def"
#undef ROUTING_FLAG
#undef ROUTING_PERCENT
        if (name == NULL)
            return ctl_usage(known_names, word), false;
        if (is_percent) {
            unsigned long number;
            if (!ctl_read_number(equals + 1, 0, 100, &number))
                return ctl_usage("allowed is a whole number from 0 to 100", word), false;
            json_put_u64(&writer, name, number);
            continue;
        }
        bool value = strcmp(equals + 1, "true") == 0;
        if (!value && strcmp(equals + 1, "false") != 0)
            return ctl_usage("allowed is true or false", word), false;
        json_put_bool(&writer, name, value);
    }
    json_end_object(&writer);
    return true;
}

static enum exit_code set_routing(const struct options *options)
{
    struct dynbuf body;
    if (options->count < 3)
        return ctl_usage("routing set needs at least one NAME=VALUE", "");
    dynbuf_init(&body, 4096);
    enum exit_code code =
        build_patch(options, &body)
            ? ctl_change(options, "PATCH", "/api/v1/routing", dynbuf_text(&body), print_routing)
            : EXIT_USAGE;
    dynbuf_fini(&body);
    return code;
}

struct stream {
    struct dynbuf line;
    CURL *curl;
    bool raw;
    char event[32];
};

/* Prints one line of the stream: `event: x` is remembered, `data: y` is printed beside it. */
static void print_stream_line(struct stream *stream, const char *line, size_t length)
{
    if (length > 7 && strncmp(line, "event: ", 7) == 0) {
        snprintf(stream->event, sizeof stream->event, "%.*s", (int)(length - 7), line + 7);
    } else if (length > 6 && strncmp(line, "data: ", 6) == 0) {
        if (!stream->raw)
            printf("%-10s ", stream->event);
        ctl_put_text(line + 6, length - 6);
        putchar('\n');
        fflush(stdout);
    }
}

static size_t on_stream(char *data, size_t size, size_t count, void *context)
{
    struct stream *stream = context;
    if (!dynbuf_append(&stream->line, data, size * count))
        return 0;
    char *newline;
    while (stream->line.length > 0 &&
           (newline = memchr(stream->line.data, '\n', stream->line.length)) != NULL) {
        size_t length = (size_t)(newline - (char *)stream->line.data);
        long status = 0;
        curl_easy_getinfo(stream->curl, CURLINFO_RESPONSE_CODE, &status);
        if (status == 200)
            print_stream_line(stream, (const char *)stream->line.data, length);
        dynbuf_consume(&stream->line, length + 1);
    }
    return size * count;
}

static enum exit_code follow_events(const struct options *options)
{
    char error[CURL_ERROR_SIZE];
    long status = 0;
    struct stream stream = {.raw = options->json};
    dynbuf_init(&stream.line, STREAM_LINE);
    stream.curl = ctl_request_new(options, "/api/v1/events", error);
    curl_easy_setopt(stream.curl, CURLOPT_WRITEFUNCTION, on_stream);
    curl_easy_setopt(stream.curl, CURLOPT_WRITEDATA, &stream);
    /* The server speaks at least each 10 s; 30 s of silence mean that it is gone. */
    curl_easy_setopt(stream.curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(stream.curl, CURLOPT_LOW_SPEED_TIME, 30L);
    CURLcode code = curl_easy_perform(stream.curl);
    curl_easy_getinfo(stream.curl, CURLINFO_RESPONSE_CODE, &status);
    enum exit_code result = EXIT_REFUSED;
    if (code != CURLE_OK)
        ctl_report_unreachable(options, code, error);
    else if (status != 200)
        fprintf(stderr, "cloudgatectl: refused with %ld\n", status);
    else
        fprintf(stderr, "cloudgatectl: the control plane ended the stream\n");
    curl_easy_cleanup(stream.curl);
    dynbuf_fini(&stream.line);
    return result;
}

/* ---- command line ---- */

/* "" behind the last word. */
static const char *word_at(const struct options *options, int at)
{
    const char *word = at < options->count ? options->words[at] : NULL;
    return word == NULL ? "" : word;
}

static enum exit_code run(const struct options *options)
{
    const char *command = word_at(options, 0), *second = word_at(options, 1);
    bool is_set = strcmp(command, "routing") == 0 && strcmp(second, "set") == 0;
    bool is_adopt = strcmp(command, "routing") == 0 && strcmp(second, "adopt") == 0;
    if (options->count == 0)
        return ctl_usage("a command is needed", "");
    bool is_export = strcmp(command, "audit") == 0 && strcmp(second, "export") == 0;
    bool is_verify = strcmp(command, "audit") == 0 && strcmp(second, "verify") == 0;
    if (options->since != NULL && !is_export)
        return ctl_usage("--since goes with audit export", "");
    if (options->expect != NULL && !is_export && !is_verify)
        return ctl_usage("--expect goes with audit verify or audit export", "");
    bool is_phase_set = strcmp(command, "phase") == 0 && strcmp(second, "set") == 0;
    bool is_settings_set = strcmp(command, "settings") == 0 && strcmp(second, "set") == 0;
    if (options->if_match != NULL && !is_set && !is_adopt && !is_phase_set && !is_settings_set)
        return ctl_usage("--if-match goes with routing set, routing adopt, settings set or phase "
                         "set",
                         "");
    if (options->is_dry_run && !is_set && !is_phase_set && !is_settings_set)
        return ctl_usage("--dry-run goes with routing set, settings set or phase set", "");
    if ((options->confirm != NULL || options->reason != NULL || options->force ||
         options->percent != NULL) &&
        !is_phase_set)
        return ctl_usage("--confirm, --reason, --force and --percent go with phase set", "");
    bool is_operation = strcmp(command, "operations") == 0;
    if (options->wait >= 0 && !is_set && !is_adopt && !is_phase_set && !is_settings_set &&
        !is_operation)
        return ctl_usage("--wait goes with routing set, routing adopt, settings set, phase set or "
                         "operations ID",
                         "");
    if (is_set)
        return set_routing(options);
    if (is_operation)
        return ctl_operations(options);
    if (strcmp(command, "dataplanes") == 0 && strcmp(second, "forget") == 0)
        return ctl_forget_dataplane(options);
    if (strcmp(command, "phase") == 0)
        return ctl_phase(options);
    if (strcmp(command, "settings") == 0)
        return ctl_settings(options);
    if (strcmp(command, "tokens") == 0)
        return ctl_tokens(options);
    if (is_export)
        return ctl_audit_export(options);
    if (is_verify)
        return ctl_audit_verify(options);
    if (strcmp(command, "backup") == 0)
        return ctl_backup(options);
    if (options->count > (is_adopt ? 2 : 1))
        return ctl_usage("one word too many", options->words[is_adopt ? 2 : 1]);
    if (is_adopt)
        return ctl_change(options, "PATCH", "/api/v1/routing?adopt=true", "{}", print_routing);
    if (strcmp(command, "status") == 0)
        return show_status(options);
    if (strcmp(command, "routing") == 0)
        return ctl_show(options, "/api/v1/routing", print_routing);
    if (strcmp(command, "dataplanes") == 0)
        return ctl_show(options, "/api/v1/dataplanes", print_dataplanes);
    if (strcmp(command, "audit") == 0)
        return show_audit(options);
    if (strcmp(command, "events") == 0)
        return follow_events(options);
    return ctl_usage("unknown command", command);
}

/* The value of an option that wants one: `--name=value` or the next word. NULL: there is none. */
static const char *option_value(const char *name, int argc, char **argv, int *at)
{
    size_t length = strlen(name);
    if (argv[*at][length] == '=')
        return argv[*at] + length + 1;
    return *at + 1 < argc ? argv[++*at] : NULL;
}

static bool is_option(const char *word, const char *name)
{
    size_t length = strlen(name);
    return strncmp(word, name, length) == 0 && (word[length] == '\0' || word[length] == '=');
}

/* The first line of a file. */
static bool read_token(const char *path, char token[CTL_TOKEN_SIZE])
{
    FILE *file = fopen(path, "re");
    bool is_read = file != NULL && fgets(token, CTL_TOKEN_SIZE, file) != NULL;
    if (file != NULL)
        fclose(file);
    if (is_read)
        token[strcspn(token, "\r\n")] = '\0';
    return is_read && token[0] != '\0';
}

/* Where to go when the command line does not say: the environment, then the local socket if this
 * machine has one, then the address. */
static void choose_way(struct options *options)
{
    const char *url = getenv("CLOUDGATE_URL");
    const char *path = getenv("CLOUDGATE_SOCKET");
    if (options->url != NULL || options->socket != NULL)
        return;
    if (url != NULL && url[0] != '\0')
        options->url = url;
    else if (path != NULL && path[0] != '\0')
        options->socket = path;
    else if (access(DEFAULT_SOCKET, W_OK) == 0)
        options->socket = DEFAULT_SOCKET;
    else
        options->url = DEFAULT_URL;
}

static enum exit_code parse_and_run(int argc, char **argv, struct options *options)
{
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];
        if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)
            return fputs(help_text, stdout) < 0 ? EXIT_REFUSED : EXIT_GOOD;
        if (strcmp(word, "--version") == 0)
            return puts("cloudgatectl " CLOUDGATE_VERSION) < 0 ? EXIT_REFUSED : EXIT_GOOD;
        if (strcmp(word, "--json") == 0) {
            options->json = true;
        } else if (is_option(word, "--url")) {
            options->url = option_value("--url", argc, argv, &i);
            if (options->url == NULL || options->url[0] == '\0')
                return ctl_usage("--url needs a value", "");
        } else if (is_option(word, "--socket")) {
            options->socket = option_value("--socket", argc, argv, &i);
            if (options->socket == NULL || options->socket[0] == '\0')
                return ctl_usage("--socket needs a path", "");
        } else if (is_option(word, "--ca")) {
            options->ca = option_value("--ca", argc, argv, &i);
            if (options->ca == NULL || options->ca[0] == '\0')
                return ctl_usage("--ca needs a file", "");
        } else if (is_option(word, "--token-file")) {
            const char *path = option_value("--token-file", argc, argv, &i);
            if (path == NULL || !read_token(path, options->token))
                return ctl_usage("--token-file needs a file with a token in its first line",
                                 path == NULL ? "" : path);
        } else if (is_option(word, "--days")) {
            const char *text = option_value("--days", argc, argv, &i);
            char *end = NULL;
            options->days = text == NULL ? -1 : strtol(text, &end, 10);
            if (text == NULL || *end != '\0' || options->days < 0 || options->days > 3660)
                return ctl_usage("--days needs a number from 0 to 3660", text == NULL ? "" : text);
        } else if (is_option(word, "--if-match")) {
            options->if_match = option_value("--if-match", argc, argv, &i);
            if (options->if_match == NULL)
                return ctl_usage("--if-match needs a value", "");
        } else if (is_option(word, "--wait")) {
            const char *text = option_value("--wait", argc, argv, &i);
            unsigned long seconds;
            if (text == NULL || !ctl_read_number(text, 0, 80, &seconds))
                return ctl_usage("--wait needs a number from 0 to 80", text == NULL ? "" : text);
            options->wait = (long)seconds;
        } else if (strcmp(word, "--dry-run") == 0) {
            options->is_dry_run = true;
        } else if (strcmp(word, "--force") == 0) {
            options->force = true;
        } else if (is_option(word, "--confirm")) {
            options->confirm = option_value("--confirm", argc, argv, &i);
            if (options->confirm == NULL)
                return ctl_usage("--confirm needs the name of a phase", "");
        } else if (is_option(word, "--reason")) {
            options->reason = option_value("--reason", argc, argv, &i);
            if (options->reason == NULL)
                return ctl_usage("--reason needs a text", "");
        } else if (is_option(word, "--percent")) {
            options->percent = option_value("--percent", argc, argv, &i);
            if (options->percent == NULL)
                return ctl_usage("--percent needs a number from 0 to 100", "");
        } else if (is_option(word, "--since")) {
            options->since = option_value("--since", argc, argv, &i);
            if (options->since == NULL)
                return ctl_usage("--since needs a row's id or a time", "");
        } else if (is_option(word, "--expect")) {
            options->expect = option_value("--expect", argc, argv, &i);
            if (options->expect == NULL)
                return ctl_usage("--expect needs ID:HASH", "");
        } else if (is_option(word, "--limit")) {
            const char *text = option_value("--limit", argc, argv, &i);
            char *end = NULL;
            options->limit = text == NULL ? 0 : strtol(text, &end, 10);
            if (text == NULL || *end != '\0' || options->limit < 1 || options->limit > 1000)
                return ctl_usage("--limit needs a number from 1 to 1000", text == NULL ? "" : text);
        } else if (word[0] == '-') {
            return ctl_usage("unknown option", word);
        } else {
            options->words[options->count++] = argv[i];
        }
    }
    if (options->url != NULL && options->socket != NULL)
        return ctl_usage("--url and --socket exclude each other", "");
    choose_way(options);
    return run(options);
}

int main(int argc, char **argv)
{
    const char *token = getenv("CLOUDGATE_TOKEN");
    struct options options = {.limit = 20, .days = 90, .wait = -1};
    if (token != NULL)
        snprintf(options.token, sizeof options.token, "%s", token);
    options.words = calloc((size_t)argc + 1, sizeof *options.words);
    CHECK(options.words != NULL);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    int result = parse_and_run(argc, argv, &options);
    curl_global_cleanup();
    free(options.words);
    return result;
}
