/* Requests that carry an Idempotency-Key. On civetweb's threads. Must never keep the answer of a
 * request that shows a secret, so requests that make something (POST) take no key. */
#include "controlplane/idempotency.h"

#include <openssl/evp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"

#define RUNNING_MAX 64 /* more than the web server has threads */

struct running {
    char scope[TOKEN_NAME_MAX + 8];
    char text[STORE_KEY_TEXT_MAX + 1]; /* "": a free place */
};

struct idempotency {
    pthread_mutex_t mutex;
    struct running running[RUNNING_MAX];
};

struct idempotency *idempotency_new(void)
{
    struct idempotency *idempotency = calloc(1, sizeof *idempotency);
    CHECK(idempotency != NULL);
    pthread_mutex_init(&idempotency->mutex, NULL);
    return idempotency;
}

void idempotency_free(struct idempotency *idempotency)
{
    if (idempotency == NULL)
        return;
    pthread_mutex_destroy(&idempotency->mutex);
    free(idempotency);
}

static struct running *find_running(struct idempotency *idempotency, const char *scope,
                                    const char *text)
{
    for (size_t i = 0; i < RUNNING_MAX; i++) {
        struct running *running = &idempotency->running[i];
        if (strcmp(running->text, text) == 0 && strcmp(running->scope, scope) == 0)
            return running;
    }
    return NULL;
}

/* false: another request is at work under this key. */
static bool enter(struct idempotency *idempotency, const struct http_turn *turn)
{
    pthread_mutex_lock(&idempotency->mutex);
    bool is_free = find_running(idempotency, turn->scope, turn->text) == NULL;
    struct running *place = is_free ? find_running(idempotency, "", "") : NULL;
    CHECK(!is_free || place != NULL);
    if (place != NULL) {
        memcpy(place->scope, turn->scope, sizeof place->scope);
        memcpy(place->text, turn->text, sizeof place->text);
    }
    pthread_mutex_unlock(&idempotency->mutex);
    return is_free;
}

static void leave(struct idempotency *idempotency, const struct http_turn *turn)
{
    pthread_mutex_lock(&idempotency->mutex);
    struct running *running = find_running(idempotency, turn->scope, turn->text);
    CHECK(running != NULL);
    running->scope[0] = running->text[0] = '\0';
    pthread_mutex_unlock(&idempotency->mutex);
}

static bool is_change(const struct http_request *request)
{
    return strcmp(request->method, "GET") != 0 && strcmp(request->method, "HEAD") != 0;
}

static bool is_good_key(const char *text)
{
    size_t length = strlen(text);
    if (length == 0 || length > STORE_KEY_TEXT_MAX)
        return false;
    for (size_t i = 0; i < length; i++)
        if (text[i] < '!' || text[i] > '~')
            return false;
    return true;
}

/* All of the request that says what is wanted; each part with its end, so that no two requests run
 * together. */
static void digest_request(const struct http_request *request, const struct dynbuf *body,
                           uint8_t digest[STORE_KEY_DIGEST])
{
    const char *if_match = http_header(request, "If-Match");
    const char *parts[] = {request->method, request->path, request->query,
                           if_match == NULL ? "" : if_match};
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    CHECK(context != NULL && EVP_DigestInit_ex(context, EVP_sha256(), NULL) == 1);
    for (size_t i = 0; i < ARRAY_COUNT(parts); i++)
        CHECK(EVP_DigestUpdate(context, parts[i], strlen(parts[i]) + 1) == 1);
    CHECK(EVP_DigestUpdate(context, dynbuf_text(body), body->length) == 1 &&
          EVP_DigestFinal_ex(context, digest, NULL) == 1);
    EVP_MD_CTX_free(context);
}

static void add_replayed(struct http_response *response)
{
    http_add_header(response, "Idempotent-Replayed", "true");
}

/* What the store knows of the key. true: the handler is to run. */
static bool look_up(const struct http_request *request, struct http_turn *turn,
                    struct http_response *response)
{
    char error[512];
    struct store_key_answer answer = {.headers = &response->headers, .body = &response->body};
    switch (store_key_find(plane_store(request->plane), &turn->key, &answer, error, sizeof error)) {
    case STORE_KEY_NEW:
        return true;
    case STORE_KEY_MADE: /* nobody was answered: say how it stands now */
        turn->is_made = true;
        add_replayed(response);
        if (strcmp(request->method, "DELETE") != 0)
            return true;
        response->status = 204;
        return false;
    case STORE_KEY_ANSWERED:
        response->status = answer.status;
        add_replayed(response);
        return false;
    case STORE_KEY_OTHER:
        http_problem(response, 422,
                     "this Idempotency-Key belongs to another request of the last 24 hours: a key "
                     "is for one request and its repetitions",
                     NULL);
        return false;
    case STORE_KEY_FULL:
        http_problem(response, 503,
                     "there are 100000 idempotency keys of the last 24 hours; go on without one",
                     NULL);
        http_add_header(response, "Retry-After", "600");
        return false;
    case STORE_KEY_FAILED:
        break;
    }
    http_problem(response, 503, error, NULL);
    http_add_header(response, "Retry-After", "5");
    return false;
}

/* Whether the request may have a key, and this one. false: response holds the problem. */
static bool check_key(const struct http_request *request, const char *text,
                      struct http_response *response)
{
    if (strcmp(request->method, "POST") == 0) {
        http_problem(response, 400,
                     "POST takes no Idempotency-Key here: its answer may hold a secret, which is "
                     "not kept",
                     NULL);
        return false;
    }
    if (!is_good_key(text)) {
        http_problem(response, 400,
                     "Idempotency-Key must be 1 to 128 visible ASCII characters without blanks",
                     NULL);
        return false;
    }
    return true;
}

/* The key's text and the request's body. false: response holds the problem. */
static bool take_request(const struct http_request *request, const char *text,
                         struct http_turn *turn, struct http_response *response)
{
    if (!http_read_body(request, &turn->body, response))
        return false;
    snprintf(turn->scope, sizeof turn->scope, "%s", request->caller->actor);
    snprintf(turn->text, sizeof turn->text, "%s", text);
    turn->key.scope = turn->scope;
    turn->key.text = turn->text;
    digest_request(request, &turn->body, turn->key.digest);
    return true;
}

bool idempotency_begin(struct idempotency *idempotency, const struct http_request *request,
                       struct http_turn *turn, struct http_response *response)
{
    const char *text = is_change(request) ? http_header(request, "Idempotency-Key") : NULL;
    if (text != NULL && !check_key(request, text, response))
        return false;
    *turn = (struct http_turn){.text = ""};
    dynbuf_init(&turn->body, HTTP_BODY_MAX);
    if (text == NULL || http_query_is(request, "dry_run", "true"))
        return true;
    bool is_taken = take_request(request, text, turn, response);
    if (is_taken && !enter(idempotency, turn)) {
        is_taken = false;
        http_problem(response, 409,
                     "a request with this Idempotency-Key is at work; ask again for its answer",
                     NULL);
        http_add_header(response, "Retry-After", "1");
    } else if (is_taken && !look_up(request, turn, response)) {
        is_taken = false;
        leave(idempotency, turn);
    }
    if (!is_taken)
        dynbuf_fini(&turn->body);
    return is_taken;
}

void idempotency_end(struct idempotency *idempotency, const struct http_request *request,
                     struct http_turn *turn, struct http_response *response)
{
    char error[512], quoted[1100];
    const struct store_key_answer answer = {
        .status = response->status, .headers = &response->headers, .body = &response->body};
    if (turn->text[0] != '\0') {
        if (response->status < 300 && !response->streamed && !turn->is_made &&
            !store_key_keep(plane_store(request->plane), &turn->key, &answer, error, sizeof error))
            LOG_WARN("idempotency_answer_lost", "reason=%s",
                     log_quote(quoted, sizeof quoted, error, strlen(error)));
        leave(idempotency, turn);
    }
    dynbuf_fini(&turn->body);
}
