/* Who may do what. On the web server's threads; the first token is made on the main thread. Must
 * never log a token, a session or a hash of one, and never tell more about a refused token than
 * that it is no good. */
#include "controlplane/access.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "controlplane/first_token.h"
#include "controlplane/login_limit.h"
#include "controlplane/metrics.h"

struct access {
    struct tokens *tokens;
    struct sessions *sessions;
    struct login_limit *limit;
    char *host_names;
    bool is_metrics_open;
    uid_t uid; /* that of this process */
};

struct access *access_new(const struct control_config *config, struct store *store, char *error,
                          size_t error_size)
{
    struct access *access = calloc(1, sizeof *access);
    bool has_none = false;
    CHECK(access != NULL);
    access->is_metrics_open = config->open_metrics;
    access->uid = geteuid();
    access->host_names = strdup(config->http_hosts);
    CHECK(access->host_names != NULL);
    access->limit = login_limit_new();
    access->sessions =
        sessions_new((unsigned)config->session_idle_s, (unsigned)config->session_lifetime_s);
    access->tokens = tokens_new(store, &has_none, error, error_size);
    if (access->tokens == NULL ||
        !first_token(config, access->tokens, has_none, error, error_size)) {
        access_free(access);
        return NULL;
    }
    return access;
}

void access_free(struct access *access)
{
    if (access == NULL)
        return;
    tokens_free(access->tokens);
    sessions_free(access->sessions);
    login_limit_free(access->limit);
    free(access->host_names);
    free(access);
}

struct tokens *access_tokens(struct access *access)
{
    return access->tokens;
}

bool access_metrics_are_open(const struct access *access)
{
    return access->is_metrics_open;
}

const char *access_cookie_name(bool is_tls)
{
    return is_tls ? "__Host-cloudgate" : "cloudgate-session";
}

static bool refuse(struct access_refusal *refusal, int status, const char *detail)
{
    refusal->status = status;
    snprintf(refusal->detail, sizeof refusal->detail, "%s", detail);
    return false;
}

static void become(struct access_caller *caller, const struct token_identity *identity,
                   const char *peer)
{
    caller->role = identity->role;
    caller->token_id = identity->id;
    caller->expires_ms = identity->expires_ms;
    snprintf(caller->actor, sizeof caller->actor, "token:%s", identity->name);
    snprintf(caller->audit_name, sizeof caller->audit_name, "%s@%s", caller->actor, peer);
}

/* A token that fails is counted against its address. One that was used from there before goes on
 * working while others from the same address guess; any other is not even looked at then, so that
 * guessing gets no answer. */
static bool check_token(struct access *access, const char *peer, const char *text, size_t length,
                        struct access_caller *caller, struct access_refusal *refusal)
{
    struct token_identity identity;
    uint64_t now_ns = clock_now_ns();
    int64_t now_ms = clock_wall_ms();
    char quoted[128];
    enum tokens_verdict verdict =
        tokens_find(access->tokens, text, length, peer, now_ms, &identity);
    unsigned wait_s = login_limit_wait_s(access->limit, peer, now_ns);
    if (verdict == TOKENS_GOOD && (wait_s == 0 || identity.is_at_home)) {
        become(caller, &identity, peer);
        tokens_used(access->tokens, identity.id, peer, now_ms);
        return true;
    }
    if (wait_s > 0) {
        refusal->retry_after_s = wait_s;
        return refuse(refusal, 429,
                      "too many failed log-ins from this address; wait as Retry-After says");
    }
    wait_s = login_limit_failed(access->limit, peer, now_ns);
    LOG_WARN("login_failed", "address=%s reason=%s next_in_s=%u",
             log_quote(quoted, sizeof quoted, peer, strlen(peer)),
             verdict == TOKENS_EXPIRED ? "expired" : "unknown", wait_s);
    refusal->is_token_bad = true;
    return refuse(refusal, 401,
                  verdict == TOKENS_EXPIRED ? "this token has expired; ask for a new one"
                                            : "this token is unknown or was revoked");
}

static bool check_session(struct access *access, const char *peer, const char *id, size_t length,
                          struct access_caller *caller, struct access_refusal *refusal)
{
    struct token_identity identity;
    if (length < SESSION_ID_SIZE &&
        sessions_find(access->sessions, id, length, true, clock_now_ns(), &caller->session) &&
        tokens_find_id(access->tokens, caller->session.token_id, clock_wall_ms(), &identity) ==
            TOKENS_GOOD) {
        become(caller, &identity, peer);
        snprintf(caller->session_id, sizeof caller->session_id, "%.*s", (int)length, id);
        return true;
    }
    return refuse(refusal, 401, "the log-in has ended; log in again");
}

static bool identify(struct access *access, const struct access_request *request,
                     struct access_caller *caller, struct access_refusal *refusal)
{
    size_t length;
    if (request->is_local) {
        if (request->uid != 0 && request->uid != access->uid) {
            snprintf(refusal->detail, sizeof refusal->detail,
                     "the local socket serves root and the user cloudgate-control runs as (user id "
                     "%u), not user id %u; use the address and a token",
                     (unsigned)access->uid, (unsigned)request->uid);
            refusal->status = 403;
            return false;
        }
        caller->role = ROLE_ADMIN;
        snprintf(caller->actor, sizeof caller->actor, "uid:%u", (unsigned)request->uid);
        snprintf(caller->audit_name, sizeof caller->audit_name, "%s", caller->actor);
        return true;
    }
    if (request->authorization != NULL) {
        const char *text = token_of_header(request->authorization, &length);
        if (text == NULL)
            return refuse(refusal, 401, "the Authorization header must be `Bearer` and a token");
        return check_token(access, request->peer, text, length, caller, refusal);
    }
    const char *id =
        guard_cookie(request->cookies, access_cookie_name(request->headers.is_tls), &length);
    if (id != NULL)
        return check_session(access, request->peer, id, length, caller, refusal);
    return refuse(refusal, 401,
                  "log in: send `Authorization: Bearer` and a token, or use the local socket");
}

static bool check_browser(const struct access_request *request, const char *csrf,
                          struct access_refusal *refusal)
{
    switch (guard_browser(&request->headers, csrf)) {
    case GUARD_GOOD:
        return true;
    case GUARD_FOREIGN:
        return refuse(refusal, 403, "the request comes from a page of another site");
    case GUARD_UNKNOWN:
        return refuse(refusal, 403,
                      "a change by cookie must say where it comes from: neither Sec-Fetch-Site nor "
                      "Origin was sent");
    case GUARD_CSRF:
        break;
    }
    return refuse(refusal, 403,
                  "X-CSRF-Token is missing or is not that of this log-in; see GET "
                  "/api/v1/session");
}

static bool check_all(struct access *access, const struct access_request *request, enum role needed,
                      struct access_caller *caller, struct access_refusal *refusal)
{
    if (!request->is_local &&
        !guard_host(request->headers.host, request->headers.is_tls, access->host_names))
        return refuse(refusal, 421,
                      "the Host header names a host this control plane does not know; without TLS "
                      "that is an IP address, localhost or one of CONTROL_HTTP_HOSTS");
    if (needed != ROLE_NONE && !identify(access, request, caller, refusal))
        return false;
    if (!check_browser(request, caller->session_id[0] == '\0' ? NULL : caller->session.csrf,
                       refusal))
        return false;
    if (caller->role >= needed)
        return true;
    snprintf(refusal->detail, sizeof refusal->detail, "this needs the role %s; %s has the role %s",
             role_or_above(needed), caller->actor, role_name(caller->role));
    refusal->status = 403;
    return false;
}

static void begin(struct access_caller *caller, struct access_refusal *refusal)
{
    *refusal = (struct access_refusal){0};
    *caller = (struct access_caller){.role = ROLE_NONE};
    snprintf(caller->actor, sizeof caller->actor, "nobody");
}

static bool count(bool is_good, const struct access_refusal *refusal)
{
    if (!is_good && refusal->status == 429)
        control_metrics_add(CONTROL_METRIC_ACCESS_LIMITED, 1);
    else if (!is_good && refusal->status == 401)
        control_metrics_add(CONTROL_METRIC_ACCESS_UNKNOWN, 1);
    else if (!is_good)
        control_metrics_add(CONTROL_METRIC_ACCESS_FORBIDDEN, 1);
    return is_good;
}

bool access_check(struct access *access, const struct access_request *request, enum role needed,
                  struct access_caller *caller, struct access_refusal *refusal)
{
    begin(caller, refusal);
    return count(check_all(access, request, needed, caller, refusal), refusal);
}

bool access_log_in(struct access *access, const struct access_request *request, const char *token,
                   size_t length, struct access_caller *caller, struct access_refusal *refusal)
{
    char quoted[128];
    begin(caller, refusal);
    if (!count(check_token(access, request->peer, token, length, caller, refusal), refusal))
        return false;
    if (!sessions_begin(access->sessions, caller->token_id, clock_now_ns(), caller->session_id,
                        &caller->session))
        return refuse(refusal, 500, "the random source failed");
    LOG_INFO("logged_in", "actor=%s address=%s", caller->actor,
             log_quote(quoted, sizeof quoted, request->peer, strlen(request->peer)));
    return true;
}

void access_log_out(struct access *access, const struct access_caller *caller)
{
    sessions_end(access->sessions, caller->session_id, strlen(caller->session_id));
    LOG_INFO("logged_out", "actor=%s", caller->actor);
}

bool access_is_still_good(struct access *access, const struct access_caller *caller)
{
    struct token_identity identity;
    struct session session;
    if (caller->token_id == 0)
        return true; /* the local socket, or a path that asks nobody */
    return tokens_find_id(access->tokens, caller->token_id, clock_wall_ms(), &identity) ==
               TOKENS_GOOD &&
           (caller->session_id[0] == '\0' ||
            sessions_find(access->sessions, caller->session_id, strlen(caller->session_id), false,
                          clock_now_ns(), &session));
}
