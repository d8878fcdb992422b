/* cloudgatectl: one request, one answer, and printing what it says. Single-threaded. Must never
 * trust the answer's size or shape, nor print the token. */
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "controlplane/ctl/ctl.h"

#define ANSWER_MAX    (16u * 1024u * 1024u)
#define ANSWER_VALUES 400000

enum exit_code ctl_usage(const char *what, const char *which)
{
    fprintf(stderr, "cloudgatectl: %s%s%s; see cloudgatectl --help\n", what,
            which[0] == '\0' ? "" : ": ", which);
    return EXIT_USAGE;
}

/* What a terminal would obey becomes a question mark: C0, DEL, and C1 as UTF-8 writes it. */
static void put_text(FILE *out, const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        unsigned char byte = (unsigned char)text[i];
        unsigned char next = i + 1 < length ? (unsigned char)text[i + 1] : 0;
        bool is_c1 = byte == 0xc2 && next >= 0x80 && next <= 0x9f;
        i += is_c1;
        putc(byte < 0x20 || byte == 0x7f || is_c1 ? '?' : byte, out);
    }
}

void ctl_put_text(const char *text, size_t length)
{
    put_text(stdout, text, length);
}

void ctl_put_member(const struct json_value *object, const char *name, const char *fallback)
{
    const struct json_value *value = json_member(object, name);
    size_t length = 0;
    const char *text = json_text(value, &length);
    bool flag = false;
    if (json_bool(value, &flag))
        fputs(flag ? "true" : "false", stdout);
    else if (text != NULL)
        ctl_put_text(text, length);
    else
        fputs(fallback, stdout);
}

void ctl_put_reason(const struct json_value *entry)
{
    const char *reason = json_text(json_member(entry, "reason"), NULL);
    bool is_forced = false;
    if (json_bool(json_member(entry, "forced"), &is_forced) && is_forced)
        fputs(" forced", stdout);
    if (reason != NULL && reason[0] != '\0') {
        fputs(": ", stdout);
        ctl_put_member(entry, "reason", "");
    }
}

void ctl_put_time(const struct json_value *value)
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

void ctl_answer_init(struct answer *answer)
{
    *answer = (struct answer){0};
    dynbuf_init(&answer->body, ANSWER_MAX);
}

void ctl_answer_fini(struct answer *answer)
{
    json_free(answer->document);
    dynbuf_fini(&answer->body);
}

CURL *ctl_request_new(const struct options *options, const char *path, char error[CURL_ERROR_SIZE])
{
    struct dynbuf url;
    CURL *curl = curl_easy_init();
    const char *base = options->socket == NULL ? options->url : "http://localhost";
    size_t length = strlen(base);
    CHECK(curl != NULL);
    while (length > 0 && base[length - 1] == '/')
        length--;
    dynbuf_init(&url, 8192);
    dynbuf_append(&url, base, length);
    dynbuf_append_text(&url, path);
    error[0] = '\0';
    curl_easy_setopt(curl, CURLOPT_URL, dynbuf_text(&url)); /* libcurl keeps a copy */
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    if (options->socket != NULL) {
        curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, options->socket);
        curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
    } else if (options->token[0] != '\0') {
        curl_easy_setopt(curl, CURLOPT_HTTPAUTH, CURLAUTH_BEARER);
        curl_easy_setopt(curl, CURLOPT_XOAUTH2_BEARER, options->token);
    }
    if (options->ca != NULL)
        curl_easy_setopt(curl, CURLOPT_CAINFO, options->ca);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, error);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "cloudgatectl/" CLOUDGATE_VERSION);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, 5000L);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    dynbuf_fini(&url);
    return curl;
}

enum exit_code ctl_report_unreachable(const struct options *options, CURLcode code,
                                      const char *error)
{
    fprintf(stderr, "cloudgatectl: %s: %s\n",
            options->socket == NULL ? options->url : options->socket,
            error[0] == '\0' ? curl_easy_strerror(code) : error);
    return EXIT_REFUSED;
}

void ctl_put_checks(FILE *out, const struct json_value *checks, bool failing_only)
{
    for (const struct json_value *check = json_first(checks); check != NULL;
         check = json_next(check)) {
        bool is_ok = false, is_known = true;
        size_t length = 0;
        const char *detail = json_text(json_member(check, "detail"), &length);
        const char *name = json_text(json_member(check, "name"), NULL);
        (void)!json_bool(json_member(check, "ok"), &is_ok);
        (void)!json_bool(json_member(check, "known"), &is_known);
        if (name == NULL || detail == NULL || (is_ok && failing_only))
            continue;
        fprintf(out, "  %-9s %-22s ", is_ok ? "ok" : is_known ? "NOT OK" : "UNKNOWN", name);
        put_text(out, detail, length);
        putc('\n', out);
    }
}

/* The problem detail of a refusal, or the bare status. */
static enum exit_code report_refusal(const struct answer *answer)
{
    size_t length;
    const char *detail = json_text(json_member(answer->root, "detail"), &length);
    fprintf(stderr, "cloudgatectl: refused with %ld: ", answer->status);
    if (detail != NULL)
        put_text(stderr, detail, length);
    else
        fputs("the answer gives no reason (is this a Cloud-Gate control plane?)", stderr);
    putc('\n', stderr);
    ctl_put_checks(stderr, json_member(answer->root, "checks"), true);
    if (answer->status == 401)
        fprintf(stderr, "cloudgatectl: put a token into CLOUDGATE_TOKEN or name its file with "
                        "--token-file\n");
    return EXIT_REFUSED;
}

enum exit_code ctl_ask(const struct options *options, const char *method, const char *path,
                       const char *body, const char *if_match, struct answer *answer)
{
    char error[CURL_ERROR_SIZE];
    struct json_error problem;
    struct curl_slist *headers = NULL;
    CURL *curl = ctl_request_new(options, path, error);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS,
                     15000L + (options->wait > 0 ? options->wait * 1000 : 0));
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, answer);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, answer);
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
    if (body != NULL) {
        headers = curl_slist_append(headers, strcmp(method, "PATCH") == 0
                                                 ? "Content-Type: application/merge-patch+json"
                                                 : "Content-Type: application/json");
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
    }
    if (if_match != NULL) {
        char line[CTL_ETAG_SIZE + 16];
        snprintf(line, sizeof line, "If-Match: %s", if_match);
        headers = curl_slist_append(headers, line);
    }
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    CURLcode code = curl_easy_perform(curl);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &answer->status);
    curl_slist_free_all(headers);
    curl_easy_cleanup(curl);
    if (code != CURLE_OK)
        return ctl_report_unreachable(options, code, error);
    answer->document =
        json_parse(dynbuf_text(&answer->body), answer->body.length, ANSWER_VALUES, &problem);
    answer->root = answer->document == NULL ? NULL : json_root(answer->document);
    if (answer->status == 204)
        return EXIT_GOOD;
    if (answer->status >= 300 || answer->root == NULL)
        return report_refusal(answer);
    return EXIT_GOOD;
}

struct download {
    CURL *curl;
    bool (*take)(void *context, const void *bytes, size_t length);
    void *context;
    bool was_told; /* take said no, and why */
    struct answer refusal;
};

static size_t on_download(char *data, size_t size, size_t count, void *context)
{
    struct download *download = context;
    long status = 0;
    curl_easy_getinfo(download->curl, CURLINFO_RESPONSE_CODE, &status);
    if (status != 200)
        return on_body(data, size, count, &download->refusal);
    download->was_told = !download->take(download->context, data, size * count);
    return download->was_told ? 0 : size * count;
}

enum exit_code ctl_download(const struct options *options, const char *method, const char *path,
                            bool (*take)(void *context, const void *bytes, size_t length),
                            void *context)
{
    char error[CURL_ERROR_SIZE];
    struct json_error problem;
    struct download download = {.take = take, .context = context};
    struct answer *refusal = &download.refusal;
    enum exit_code result = EXIT_GOOD;
    ctl_answer_init(refusal);
    download.curl = ctl_request_new(options, path, error);
    curl_easy_setopt(download.curl, CURLOPT_CUSTOMREQUEST, method);
    if (strcmp(method, "POST") == 0)
        curl_easy_setopt(download.curl, CURLOPT_POSTFIELDS, "");
    curl_easy_setopt(download.curl, CURLOPT_WRITEFUNCTION, on_download);
    curl_easy_setopt(download.curl, CURLOPT_WRITEDATA, &download);
    /* However long it takes, as long as something comes; a big store takes a while to be checked.
     */
    curl_easy_setopt(download.curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(download.curl, CURLOPT_LOW_SPEED_TIME, 120L);
    CURLcode code = curl_easy_perform(download.curl);
    curl_easy_getinfo(download.curl, CURLINFO_RESPONSE_CODE, &refusal->status);
    curl_easy_cleanup(download.curl);
    if (download.was_told) {
        result = EXIT_REFUSED;
    } else if (code != CURLE_OK) {
        result = ctl_report_unreachable(options, code, error);
    } else if (refusal->status != 200) {
        refusal->document =
            json_parse(dynbuf_text(&refusal->body), refusal->body.length, ANSWER_VALUES, &problem);
        refusal->root = refusal->document == NULL ? NULL : json_root(refusal->document);
        result = report_refusal(refusal);
    }
    ctl_answer_fini(refusal);
    return result;
}

void ctl_put_json(const struct answer *answer)
{
    fwrite(answer->body.data, 1, answer->body.length, stdout);
    putchar('\n');
}

enum exit_code ctl_show(const struct options *options, const char *path,
                        void (*print)(const struct json_value *root))
{
    struct answer answer;
    ctl_answer_init(&answer);
    enum exit_code code = ctl_ask(options, "GET", path, NULL, NULL, &answer);
    if (code == EXIT_GOOD && options->json)
        ctl_put_json(&answer);
    else if (code == EXIT_GOOD)
        print(answer.root);
    ctl_answer_fini(&answer);
    return code;
}
