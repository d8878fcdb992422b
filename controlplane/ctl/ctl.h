/* cloudgatectl's own parts: options, one request and its answer, printing. Single-threaded. */
#pragma once

#include <curl/curl.h>
#include <stdbool.h>
#include <stdio.h>

#include "common/check.h"
#include "common/dynbuf.h"
#include "common/json.h"

#define CTL_ETAG_SIZE  128
#define CTL_TOKEN_SIZE 160

enum exit_code {
    EXIT_GOOD = 0,
    EXIT_REFUSED = 1, /* the control plane said no, or cannot be reached */
    EXIT_USAGE = 2,
    EXIT_PENDING = 3, /* stored, but not every data plane has acknowledged */
};

struct options {
    const char *url;
    const char *socket;         /* NULL: over url */
    const char *ca;             /* PEM file of the authorities to trust; NULL: the system's */
    char token[CTL_TOKEN_SIZE]; /* "": none */
    const char *if_match;
    const char *since;  /* with audit export: a row's id or a time; NULL: all */
    const char *expect; /* with audit verify and export: a head noted elsewhere; NULL: none */
    const char *confirm, *reason, *percent; /* with phase set; NULL: not said */
    bool force, is_dry_run;
    long limit;
    long wait; /* seconds; -1: as the control plane does */
    long days; /* of a new token; 0: it never expires */
    bool json;
    char **words; /* what is neither an option nor an option's value */
    int count;
};

struct answer {
    long status;
    struct dynbuf body;
    char etag[CTL_ETAG_SIZE];
    struct json_document *document; /* NULL: the body is no JSON */
    const struct json_value *root;
};

/* One line on stderr; EXIT_USAGE. which may be "". */
enum exit_code ctl_usage(const char *what, const char *which);

/* Text from the control plane on a terminal: no control characters, so that nothing it repeats can
 * move the cursor. */
void ctl_put_text(const char *text, size_t length);
/* A member as text, or fallback. */
void ctl_put_member(const struct json_value *object, const char *name, const char *fallback);
/* What a row of the audit log or an operation says of force and reason, behind the rest of it. */
void ctl_put_reason(const struct json_value *entry);
/* Milliseconds since 1970 as a date, or a hyphen. */
void ctl_put_time(const struct json_value *value);
void ctl_put_json(const struct answer *answer);
/* The gates' checks, a line each; failing_only: those that do not hold. */
void ctl_put_checks(FILE *out, const struct json_value *checks, bool failing_only);

void ctl_answer_init(struct answer *answer);
void ctl_answer_fini(struct answer *answer);

/* A request for path, with address, socket, token and authorities set. error is filled while it
 * runs. */
CURL *ctl_request_new(const struct options *options, const char *path, char error[CURL_ERROR_SIZE]);
enum exit_code ctl_report_unreachable(const struct options *options, CURLcode code,
                                      const char *error);
/* One request and its answer. body: JSON, or NULL; if_match may be NULL. EXIT_GOOD means an answer
 * below 300 that is JSON, or 204; anything else was reported on stderr. */
enum exit_code ctl_ask(const struct options *options, const char *method, const char *path,
                       const char *body, const char *if_match, struct answer *answer);
/* Asks for path and shows the answer: by print, or as it came with --json. */
enum exit_code ctl_show(const struct options *options, const char *path,
                        void (*print)(const struct json_value *root));
/* A request whose answer may be of any length: handed to take as it comes, which returns false
 * after it has said why it wants no more. EXIT_GOOD: all of a 200 has come; anything else was
 * reported. */
enum exit_code ctl_download(const struct options *options, const char *method, const char *path,
                            bool (*take)(void *context, const void *bytes, size_t length),
                            void *context);
