/* cloudgatectl: the REST API of the control plane for people who live in a terminal. One request,
 * one answer, an exit code that scripts can use. Single-threaded; keeps nothing; never trusts the
 * answer's size or shape. */
#include <curl/curl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "common/dynbuf.h"
#include "common/json.h"

#define ANSWER_MAX    (16u * 1024u * 1024u)
#define ANSWER_VALUES 400000
#define DEFAULT_URL   "http://127.0.0.1:14003"
#define ETAG_SIZE     128
#define STREAM_LINE   (1024u * 1024u)

enum exit_code {
    EXIT_GOOD = 0,
    EXIT_REFUSED = 1, /* the control plane said no, or cannot be reached */
    EXIT_USAGE = 2,
    EXIT_PENDING = 3, /* stored, but not every data plane has acknowledged */
};

struct options {
    const char *url;
    const char *if_match;
    long limit;
    bool json;
    char **words; /* what is neither an option nor an option's value */
    int count;
};

struct answer {
    long status;
    struct dynbuf body;
    char etag[ETAG_SIZE];
    struct json_document *document; /* NULL: the body is no JSON */
    const struct json_value *root;
};

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
    "  routing adopt               make data planes obey that come from another store or a newer "
    "revision\n"
    "  dataplanes                  every data plane and what it has applied\n"
    "  audit                       who changed what and when, newest first\n"
    "  events                      follow changes until interrupted\n"
    "\n"
    "Options:\n"
    "  --url URL        the control plane's address (default: CLOUDGATE_URL, else " DEFAULT_URL
    ")\n"
    "  --if-match REV   with routing set: only if the state is still at revision REV\n"
    "  --limit N        with audit: at most N entries (1 to 1000, default 20)\n"
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

static enum exit_code usage(const char *what, const char *which)
{
    fprintf(stderr, "cloudgatectl: %s%s%s; see cloudgatectl --help\n", what,
            which[0] == '\0' ? "" : ": ", which);
    return EXIT_USAGE;
}

/* Text from the control plane on a terminal: no control characters, so that nothing it repeats can
 * move the cursor. */
static void put_text(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        unsigned char byte = (unsigned char)text[i];
        putchar(byte < 0x20 || byte == 0x7f ? '?' : byte);
    }
}

static void put_member(const struct json_value *object, const char *name, const char *fallback)
{
    const struct json_value *value = json_member(object, name);
    size_t length = 0;
    const char *text = json_text(value, &length);
    bool flag = false;
    if (json_bool(value, &flag))
        fputs(flag ? "true" : "false", stdout);
    else if (text != NULL)
        put_text(text, length);
    else
        fputs(fallback, stdout);
}

static void put_time(const struct json_value *value)
{
    int64_t ms;
    struct tm parts;
    char text[40];
    if (!json_i64(value, &ms)) {
        putchar('-');
        return;
    }
    time_t seconds = (time_t)(ms / 1000);
    gmtime_r(&seconds, &parts);
    strftime(text, sizeof text, "%Y-%m-%d %H:%M:%SZ", &parts);
    fputs(text, stdout);
}

/* --- requests
 * -------------------------------------------------------------------------------------------------------
 */

static size_t on_body(char *data, size_t size, size_t count, void *context)
{
    struct answer *answer = context;
    return dynbuf_append(&answer->body, data, size * count) ? size * count : 0;
}

static size_t on_header(char *data, size_t size, size_t count, void *context)
{
    struct answer *answer = context;
    size_t length = size * count;
    static const char name[] = "etag:";
    if (length > sizeof name && strncasecmp(data, name, sizeof name - 1) == 0) {
        size_t begin = sizeof name - 1;
        while (begin < length && data[begin] == ' ')
            begin++;
        while (length > begin && (data[length - 1] == '\r' || data[length - 1] == '\n'))
            length--;
        snprintf(answer->etag, sizeof answer->etag, "%.*s", (int)(length - begin), data + begin);
    }
    return size * count;
}

static void answer_init(struct answer *answer)
{
    *answer = (struct answer){0};
    dynbuf_init(&answer->body, ANSWER_MAX);
}

static void answer_fini(struct answer *answer)
{
    json_free(answer->document);
    dynbuf_fini(&answer->body);
}

static CURL *new_request(const struct options *options, const char *path,
                         char error[CURL_ERROR_SIZE])
{
    struct dynbuf url;
    CURL *curl = curl_easy_init();
    size_t length = strlen(options->url);
    CHECK(curl != NULL);
    while (length > 0 && options->url[length - 1] == '/')
        length--;
    dynbuf_init(&url, 8192);
    dynbuf_append(&url, options->url, length);
    dynbuf_append_text(&url, path);
    error[0] = '\0';
    curl_easy_setopt(curl, CURLOPT_URL, dynbuf_text(&url)); /* libcurl keeps a copy */
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, error);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "cloudgatectl/" CLOUDGATE_VERSION);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, 5000L);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    dynbuf_fini(&url);
    return curl;
}

static enum exit_code report_unreachable(const struct options *options, CURLcode code,
                                         const char *error)
{
    fprintf(stderr, "cloudgatectl: %s: %s\n", options->url,
            error[0] == '\0' ? curl_easy_strerror(code) : error);
    return EXIT_REFUSED;
}

/* The problem detail of a refusal, or the bare status. */
static enum exit_code report_refusal(const struct answer *answer)
{
    const char *detail = json_text(json_member(answer->root, "detail"), NULL);
    fprintf(stderr, "cloudgatectl: refused with %ld: %s\n", answer->status,
            detail == NULL ? "the answer gives no reason (is this a Cloud-Gate control plane?)"
                           : detail);
    return EXIT_REFUSED;
}

/* body: NULL for a GET. EXIT_GOOD means an answer below 300 that is JSON. */
static enum exit_code ask(const struct options *options, const char *path, const char *body,
                          const char *if_match, struct answer *answer)
{
    char error[CURL_ERROR_SIZE];
    struct json_error problem;
    struct curl_slist *headers = NULL;
    CURL *curl = new_request(options, path, error);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, 15000L);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, answer);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, answer);
    if (body != NULL) {
        headers = curl_slist_append(headers, "Content-Type: application/merge-patch+json");
        curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, "PATCH");
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
    }
    if (if_match != NULL) {
        char line[ETAG_SIZE + 16];
        snprintf(line, sizeof line, "If-Match: %s", if_match);
        headers = curl_slist_append(headers, line);
    }
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    CURLcode code = curl_easy_perform(curl);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &answer->status);
    curl_slist_free_all(headers);
    curl_easy_cleanup(curl);
    if (code != CURLE_OK)
        return report_unreachable(options, code, error);
    answer->document =
        json_parse(dynbuf_text(&answer->body), answer->body.length, ANSWER_VALUES, &problem);
    answer->root = answer->document == NULL ? NULL : json_root(answer->document);
    if (answer->status >= 300 || answer->root == NULL)
        return report_refusal(answer);
    return EXIT_GOOD;
}

static void put_json(const struct answer *answer)
{
    fwrite(answer->body.data, 1, answer->body.length, stdout);
    putchar('\n');
}

/* --- commands
 * -------------------------------------------------------------------------------------------------------
 */

static void print_routing(const struct json_value *root)
{
    printf("revision                          ");
    put_member(root, "revision", "?");
#define ROUTING_FLAG(member, fallback, meaning)                                                    \
    printf("\n%-33s ", #member);                                                                   \
    put_member(root, #member, "?");
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
        put_member(dataplane, "address", "?");
        printf("  %s  applied revision ", connected ? "connected" : "DISCONNECTED");
        put_member(dataplane, "applied_revision", "?");
        printf("  %s  id ", in_sync ? "in sync" : "DIFFERS");
        put_member(dataplane, "id", "?");
        if (json_type(error) == JSON_OBJECT) {
            printf("\n    last error: ");
            put_member(error, "reason", "?");
            printf(": ");
            put_member(error, "detail", "");
            printf(" (");
            put_time(json_member(error, "time_ms"));
            putchar(')');
        }
        putchar('\n');
    }
}

static enum exit_code show(const struct options *options, const char *path,
                           void (*print)(const struct json_value *))
{
    struct answer answer;
    answer_init(&answer);
    enum exit_code code = ask(options, path, NULL, NULL, &answer);
    if (code == EXIT_GOOD && options->json)
        put_json(&answer);
    else if (code == EXIT_GOOD)
        print(answer.root);
    answer_fini(&answer);
    return code;
}

static enum exit_code show_status(const struct options *options)
{
    struct answer routing, dataplanes;
    answer_init(&routing);
    answer_init(&dataplanes);
    enum exit_code code = ask(options, "/api/v1/routing", NULL, NULL, &routing);
    if (code == EXIT_GOOD)
        code = ask(options, "/api/v1/dataplanes", NULL, NULL, &dataplanes);
    if (code == EXIT_GOOD && options->json) {
        printf("{\"routing\":%s,\"dataplanes\":%s}\n", dynbuf_text(&routing.body),
               dynbuf_text(&dataplanes.body));
    } else if (code == EXIT_GOOD) {
        print_routing(routing.root);
        putchar('\n');
        print_dataplanes(dataplanes.root);
    }
    answer_fini(&routing);
    answer_fini(&dataplanes);
    return code;
}

static bool is_same(const struct json_value *left, const struct json_value *right)
{
    bool left_flag = false, right_flag = false;
    uint64_t left_number = 0, right_number = 0;
    if (right == NULL)
        return false;
    if (json_bool(left, &left_flag))
        return json_bool(right, &right_flag) && left_flag == right_flag;
    return json_u64(left, &left_number) && json_u64(right, &right_number) &&
           left_number == right_number;
}

static void print_audit(const struct json_value *root)
{
    for (const struct json_value *entry = json_first(json_member(root, "entries")); entry != NULL;
         entry = json_next(entry)) {
        const struct json_value *before = json_member(entry, "before");
        const struct json_value *after = json_member(entry, "after");
        put_time(json_member(entry, "time_ms"));
        printf("  revision ");
        put_member(entry, "revision", "?");
        printf("  ");
        put_member(entry, "action", "?");
        printf("  by ");
        put_member(entry, "actor", "?");
        for (const struct json_value *value = json_first(after); value != NULL;
             value = json_next(value)) {
            const char *name = json_name(value, NULL);
            if (strcmp(name, "revision") == 0 || is_same(value, json_member(before, name)))
                continue;
            printf("  ");
            put_text(name, strlen(name));
            putchar('=');
            put_member(after, name, "?");
        }
        putchar('\n');
    }
}

static enum exit_code show_audit(const struct options *options)
{
    char path[64];
    snprintf(path, sizeof path, "/api/v1/audit?limit=%ld", options->limit);
    return show(options, path, print_audit);
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
                return usage("the same name twice", word), false;
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
            return usage(known_names, word), false;
        if (is_percent) {
            const char *digits = equals + 1;
            size_t length = strlen(digits);
            if (length == 0 || length > 3 || strspn(digits, "0123456789") != length ||
                strtoul(digits, NULL, 10) > 100)
                return usage("allowed is a whole number from 0 to 100", word), false;
            json_put_u64(&writer, name, strtoul(digits, NULL, 10));
            continue;
        }
        bool value = strcmp(equals + 1, "true") == 0;
        if (!value && strcmp(equals + 1, "false") != 0)
            return usage("allowed is true or false", word), false;
        json_put_bool(&writer, name, value);
    }
    json_end_object(&writer);
    return true;
}

/* --if-match as an entity tag: a bare revision is completed with the store's id, which the present
 * tag tells. */
static enum exit_code resolve_if_match(const struct options *options, char etag[ETAG_SIZE])
{
    const char *text = options->if_match;
    if (text[0] == '\0' || strspn(text, "0123456789") != strlen(text)) {
        bool is_ready = text[0] == '"' || strcmp(text, "*") == 0;
        if (strpbrk(text, "\r\n") != NULL || strlen(text) > ETAG_SIZE - 3)
            return usage("not a revision", text);
        snprintf(etag, ETAG_SIZE, is_ready ? "%s" : "\"%s\"", text);
        return EXIT_GOOD;
    }
    struct answer answer;
    answer_init(&answer);
    enum exit_code code = ask(options, "/api/v1/routing", NULL, NULL, &answer);
    const char *dot = strrchr(answer.etag, '.');
    if (code == EXIT_GOOD && dot == NULL) {
        fprintf(stderr, "cloudgatectl: the control plane sent no entity tag\n");
        code = EXIT_REFUSED;
    } else if (code == EXIT_GOOD) {
        struct dynbuf tag;
        dynbuf_init(&tag, ETAG_SIZE - 1);
        dynbuf_append(&tag, answer.etag, (size_t)(dot - answer.etag) + 1);
        dynbuf_printf(&tag, "%s\"", text);
        snprintf(etag, ETAG_SIZE, "%s", dynbuf_text(&tag));
        if (tag.failed)
            code = usage("not a revision", text);
        dynbuf_fini(&tag);
    }
    answer_fini(&answer);
    return code;
}

static enum exit_code change_routing(const struct options *options, const char *path,
                                     const char *body)
{
    struct answer answer;
    char etag[ETAG_SIZE];
    enum exit_code code = EXIT_GOOD;
    if (options->if_match != NULL)
        code = resolve_if_match(options, etag);
    if (code != EXIT_GOOD)
        return code;
    answer_init(&answer);
    code = ask(options, path, body, options->if_match == NULL ? NULL : etag, &answer);
    if (code == EXIT_GOOD) {
        if (options->json)
            put_json(&answer);
        else
            print_routing(answer.root);
        if (answer.status == 202) {
            const struct json_value *pending = json_first(json_member(answer.root, "pending"));
            fprintf(stderr, "cloudgatectl: stored, but not every data plane has acknowledged\n");
            for (; pending != NULL && !options->json; pending = json_next(pending)) {
                printf("pending: ");
                put_member(pending, "address", "?");
                printf(": ");
                put_member(pending, "reason", "?");
                printf(": ");
                put_member(pending, "detail", "");
                putchar('\n');
            }
            code = EXIT_PENDING;
        }
    }
    answer_fini(&answer);
    return code;
}

static enum exit_code set_routing(const struct options *options)
{
    struct dynbuf body;
    if (options->count < 3)
        return usage("routing set needs at least one NAME=VALUE", "");
    dynbuf_init(&body, 4096);
    enum exit_code code = build_patch(options, &body)
                              ? change_routing(options, "/api/v1/routing", dynbuf_text(&body))
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
        put_text(line + 6, length - 6);
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
    stream.curl = new_request(options, "/api/v1/events", error);
    curl_easy_setopt(stream.curl, CURLOPT_WRITEFUNCTION, on_stream);
    curl_easy_setopt(stream.curl, CURLOPT_WRITEDATA, &stream);
    /* The server speaks at least each 10 s; 30 s of silence mean that it is gone. */
    curl_easy_setopt(stream.curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(stream.curl, CURLOPT_LOW_SPEED_TIME, 30L);
    CURLcode code = curl_easy_perform(stream.curl);
    curl_easy_getinfo(stream.curl, CURLINFO_RESPONSE_CODE, &status);
    enum exit_code result = EXIT_REFUSED;
    if (code != CURLE_OK)
        report_unreachable(options, code, error);
    else if (status != 200)
        fprintf(stderr, "cloudgatectl: refused with %ld\n", status);
    else
        fprintf(stderr, "cloudgatectl: the control plane ended the stream\n");
    curl_easy_cleanup(stream.curl);
    dynbuf_fini(&stream.line);
    return result;
}

/* --- command line
 * ---------------------------------------------------------------------------------------------------
 */

static enum exit_code run(const struct options *options)
{
    const char *command = options->count > 0 ? options->words[0] : "";
    const char *second = options->count > 1 ? options->words[1] : "";
    bool is_set = strcmp(command, "routing") == 0 && strcmp(second, "set") == 0;
    bool is_adopt = strcmp(command, "routing") == 0 && strcmp(second, "adopt") == 0;
    if (options->count == 0)
        return usage("a command is needed", "");
    if (options->if_match != NULL && !is_set && !is_adopt)
        return usage("--if-match goes with routing set or routing adopt", "");
    if (is_set)
        return set_routing(options);
    if (options->count > (is_adopt ? 2 : 1))
        return usage("one word too many", options->words[is_adopt ? 2 : 1]);
    if (is_adopt)
        return change_routing(options, "/api/v1/routing?adopt=true", "{}");
    if (strcmp(command, "status") == 0)
        return show_status(options);
    if (strcmp(command, "routing") == 0)
        return show(options, "/api/v1/routing", print_routing);
    if (strcmp(command, "dataplanes") == 0)
        return show(options, "/api/v1/dataplanes", print_dataplanes);
    if (strcmp(command, "audit") == 0)
        return show_audit(options);
    if (strcmp(command, "events") == 0)
        return follow_events(options);
    return usage("unknown command", command);
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
                return usage("--url needs a value", "");
        } else if (is_option(word, "--if-match")) {
            options->if_match = option_value("--if-match", argc, argv, &i);
            if (options->if_match == NULL)
                return usage("--if-match needs a value", "");
        } else if (is_option(word, "--limit")) {
            const char *text = option_value("--limit", argc, argv, &i);
            char *end = NULL;
            options->limit = text == NULL ? 0 : strtol(text, &end, 10);
            if (text == NULL || *end != '\0' || options->limit < 1 || options->limit > 1000)
                return usage("--limit needs a number from 1 to 1000", text == NULL ? "" : text);
        } else if (word[0] == '-') {
            return usage("unknown option", word);
        } else {
            options->words[options->count++] = argv[i];
        }
    }
    return run(options);
}

int main(int argc, char **argv)
{
    const char *url = getenv("CLOUDGATE_URL");
    struct options options = {.url = url == NULL || url[0] == '\0' ? DEFAULT_URL : url,
                              .limit = 20};
    options.words = calloc((size_t)argc + 1, sizeof *options.words);
    CHECK(options.words != NULL);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    int result = parse_and_run(argc, argv, &options);
    curl_global_cleanup();
    free(options.words);
    return result;
}
