/* Reads the body of PUT /api/v1/phase, member by member. Pure; never trusts a length or a type. */
#include "controlplane/phase_request.h"

#include <stdio.h>
#include <string.h>

#define VALUES_MAX 64

static bool fail_member(struct routing_problem *problem, const char *name, const char *must_be)
{
    char pointer[sizeof problem->pointer];
    char detail[sizeof problem->detail];
    snprintf(pointer, sizeof pointer, "/%s", name);
    snprintf(detail, sizeof detail, "%s must be %s", name, must_be);
    return routing_fail(problem, 422, pointer, detail);
}

/* A string without NULs that fits, into out. */
static bool read_text(const struct json_value *value, char *out, size_t size)
{
    size_t length;
    const char *text = json_type(value) == JSON_STRING ? json_text(value, &length) : NULL;
    if (text == NULL || length >= size || strlen(text) != length)
        return false;
    memcpy(out, text, length + 1);
    return true;
}

static bool is_blank(const char *text)
{
    return text[strspn(text, " \t\r\n")] == '\0';
}

static bool read_phase(const struct json_value *value, struct phase_request *request,
                       struct routing_problem *problem)
{
    char name[32];
    struct dynbuf names;
    if (read_text(value, name, sizeof name) && phase_parse(name, &request->phase))
        return true;
    dynbuf_init(&names, 256);
    for (int i = 0; i < PHASE_COUNT; i++)
        dynbuf_printf(&names, "%s%s", i == 0 ? "one of " : ", ", phase_name((enum phase)i));
    fail_member(problem, "phase", dynbuf_text(&names));
    dynbuf_fini(&names);
    return false;
}

static bool read_share(const struct json_value *value, const char *name, bool *has, uint8_t *share,
                       struct routing_problem *problem)
{
    uint64_t number;
    if (!json_u64(value, &number) || number > 100)
        return fail_member(problem, name, "a whole number from 0 to 100");
    *has = true;
    *share = (uint8_t)number;
    return true;
}

static bool is_called(const char *name, size_t length, const char *known)
{
    return strlen(known) == length && memcmp(name, known, length) == 0;
}

static bool read_member(const struct json_value *value, struct phase_request *request,
                        struct routing_problem *problem)
{
    size_t length;
    const char *name = json_name(value, &length);
    char pointer[sizeof problem->pointer];
    char detail[sizeof problem->detail];
    if (is_called(name, length, "phase"))
        return read_phase(value, request, problem);
    if (is_called(name, length, "shadow_read_percent"))
        return read_share(value, "shadow_read_percent", &request->shares.has_shadow,
                          &request->shares.shadow_read_percent, problem);
    if (is_called(name, length, "canary_read_percent"))
        return read_share(value, "canary_read_percent", &request->shares.has_canary,
                          &request->shares.canary_read_percent, problem);
    if (is_called(name, length, "force"))
        return json_bool(value, &request->force) || fail_member(problem, "force", "true or false");
    if (is_called(name, length, "confirm")) {
        request->has_confirm = true;
        return read_text(value, request->confirm, sizeof request->confirm) ||
               fail_member(problem, "confirm", "the name of the phase");
    }
    if (is_called(name, length, "reason"))
        return (read_text(value, request->reason, sizeof request->reason) &&
                !is_blank(request->reason)) ||
               fail_member(problem, "reason", "a text of 1 to 400 bytes");
    routing_name_pointer(pointer, sizeof pointer, name, length);
    snprintf(detail, sizeof detail,
             "unknown member %s; known are phase shadow_read_percent canary_read_percent reason "
             "confirm force",
             pointer + 1);
    return routing_fail(problem, 422, pointer, detail);
}

static bool read_members(const struct json_value *root, struct phase_request *request,
                         struct routing_problem *problem)
{
    if (json_type(root) != JSON_OBJECT)
        return routing_fail(problem, 422, "", "the body must be a JSON object");
    for (const struct json_value *value = json_first(root); value != NULL; value = json_next(value))
        if (!read_member(value, request, problem))
            return false;
    if (json_member(root, "phase") == NULL)
        return routing_fail(problem, 422, "/phase", "phase is missing");
    if (request->force && request->reason[0] == '\0')
        return routing_fail(problem, 422, "/reason", "force wants a reason");
    return true;
}

bool phase_request_parse(const char *text, size_t length, struct phase_request *request,
                         struct routing_problem *problem)
{
    struct json_error error;
    *request = (struct phase_request){0};
    struct json_document *document = json_parse(text, length, VALUES_MAX, &error);
    if (document == NULL)
        return routing_fail_json(problem, &error);
    bool good = read_members(json_root(document), request, problem);
    json_free(document);
    return good;
}

void phase_request_wish(const struct phase_request *request, struct change_wish *wish)
{
    *wish = (struct change_wish){
        .is_phase = true,
        .phase = request->phase,
        .shares = request->shares,
        .confirm = request->has_confirm ? request->confirm : NULL,
        .has_reason = request->reason[0] != '\0',
        .force = request->force,
    };
}
