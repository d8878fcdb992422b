/* The routing state's rules: defaults, patches, entity tags, representations. Pure; any thread;
 * must never do I/O. */
#include "controlplane/routing.h"

#include <stdio.h>
#include <string.h>

#define PATCH_VALUES_MAX 64

void routing_defaults(struct routing_state *state)
{
    *state = (struct routing_state){.revision = 1};
#define ROUTING_FLAG(member, fallback, meaning)    state->member = fallback;
#define ROUTING_PERCENT(member, fallback, meaning) state->member = fallback;
#include "controlplane/routing.def"
#undef ROUTING_FLAG
#undef ROUTING_PERCENT
}

static bool fail(struct routing_problem *problem, int status, const char *pointer,
                 const char *detail)
{
    problem->status = status;
    snprintf(problem->pointer, sizeof problem->pointer, "%s", pointer);
    snprintf(problem->detail, sizeof problem->detail, "%s", detail);
    return false;
}

/* A member name as a JSON pointer: escaped by RFC 6901, control characters replaced, cut to fit. */
static void name_pointer(char *pointer, size_t size, const char *name, size_t length)
{
    size_t used = 0;
    pointer[used++] = '/';
    for (size_t i = 0; i < length && used + 3 < size; i++) {
        char byte = name[i];
        if (byte == '~' || byte == '/') {
            pointer[used++] = '~';
            pointer[used++] = byte == '~' ? '0' : '1';
        } else {
            pointer[used++] = byte >= 0 && byte < 0x20 ? '?' : byte;
        }
    }
    pointer[used] = '\0';
}

static bool read_flag(const struct json_value *value, const char *name, bool *has, bool *flag,
                      struct routing_problem *problem)
{
    char pointer[sizeof problem->pointer];
    char detail[sizeof problem->detail];
    *has = true;
    if (json_bool(value, flag))
        return true;
    name_pointer(pointer, sizeof pointer, name, strlen(name));
    snprintf(detail, sizeof detail, "%s must be true or false, not a value of type %s", name,
             json_type_name(json_type(value)));
    return fail(problem, 422, pointer, detail);
}

static bool read_percent(const struct json_value *value, const char *name, bool *has,
                         uint8_t *percent, struct routing_problem *problem)
{
    char pointer[sizeof problem->pointer];
    char detail[sizeof problem->detail];
    uint64_t number = 0;
    *has = true;
    if (json_u64(value, &number) && number <= 100) {
        *percent = (uint8_t)number;
        return true;
    }
    name_pointer(pointer, sizeof pointer, name, strlen(name));
    snprintf(detail, sizeof detail, "%s must be a whole number from 0 to 100", name);
    return fail(problem, 422, pointer, detail);
}

static const char known_members[] =
#define ROUTING_FLAG(member, fallback, meaning)    " " #member
#define ROUTING_PERCENT(member, fallback, meaning) " " #member
#include "controlplane/routing.def"
#undef ROUTING_FLAG
#undef ROUTING_PERCENT
    ;

static bool read_members(const struct json_value *root, struct routing_patch *patch,
                         struct routing_problem *problem)
{
    if (json_type(root) != JSON_OBJECT)
        return fail(problem, 422, "", "the body must be a JSON object");
    for (const struct json_value *value = json_first(root); value != NULL;
         value = json_next(value)) {
        size_t length;
        const char *name = json_name(value, &length);
        bool known = false;
#define ROUTING_FLAG(member, fallback, meaning)                                                    \
    if (length == strlen(#member) && memcmp(name, #member, length) == 0) {                         \
        known = true;                                                                              \
        if (!read_flag(value, #member, &patch->has_##member, &patch->member, problem))             \
            return false;                                                                          \
    }
#define ROUTING_PERCENT(member, fallback, meaning)                                                 \
    if (length == strlen(#member) && memcmp(name, #member, length) == 0) {                         \
        known = true;                                                                              \
        if (!read_percent(value, #member, &patch->has_##member, &patch->member, problem))          \
            return false;                                                                          \
    }
#include "controlplane/routing.def"
#undef ROUTING_FLAG
#undef ROUTING_PERCENT
        if (!known) {
            char pointer[sizeof problem->pointer];
            char detail[sizeof problem->detail];
            name_pointer(pointer, sizeof pointer, name, length);
            snprintf(detail, sizeof detail, "unknown member %s; known are%s", pointer + 1,
                     known_members);
            return fail(problem, 422, pointer, detail);
        }
    }
    return true;
}

bool routing_parse_patch(const char *text, size_t length, struct routing_patch *patch,
                         struct routing_problem *problem)
{
    struct json_error error;
    *patch = (struct routing_patch){0};
    struct json_document *document = json_parse(text, length, PATCH_VALUES_MAX, &error);
    if (document == NULL) {
        char detail[sizeof problem->detail];
        snprintf(detail, sizeof detail, "the body is not JSON: %s at byte %zu", error.text,
                 error.offset);
        return fail(problem, 400, "", detail);
    }
    bool good = read_members(json_root(document), patch, problem);
    json_free(document);
    return good;
}

bool routing_apply_patch(struct routing_state *state, const struct routing_patch *patch)
{
    bool changed = false;
#define ROUTING_FLAG(name, fallback, meaning)                                                      \
    if (patch->has_##name && patch->name != state->name) {                                         \
        state->name = patch->name;                                                                 \
        changed = true;                                                                            \
    }
#define ROUTING_PERCENT(name, fallback, meaning) ROUTING_FLAG(name, fallback, meaning)
#include "controlplane/routing.def"
#undef ROUTING_FLAG
#undef ROUTING_PERCENT
    if (changed)
        state->revision++;
    return changed;
}

void routing_describe(const struct routing_state *state, struct dynbuf *out)
{
    dynbuf_printf(out, "revision=%llu", (unsigned long long)state->revision);
#define ROUTING_FLAG(member, fallback, meaning)                                                    \
    dynbuf_printf(out, " " #member "=%s", state->member ? "true" : "false");
#define ROUTING_PERCENT(member, fallback, meaning)                                                 \
    dynbuf_printf(out, " " #member "=%u", state->member);
#include "controlplane/routing.def"
#undef ROUTING_FLAG
#undef ROUTING_PERCENT
}

void routing_etag(const struct routing_state *state, char etag[ROUTING_ETAG_SIZE])
{
    snprintf(etag, ROUTING_ETAG_SIZE, "\"%s.%llu\"", state->store_id,
             (unsigned long long)state->revision);
}

bool routing_matches(const struct routing_state *state, const char *if_match)
{
    char etag[ROUTING_ETAG_SIZE];
    if (if_match == NULL)
        return true;
    routing_etag(state, etag);
    size_t etag_length = strlen(etag);
    for (const char *at = if_match; *at != '\0';) {
        at += strspn(at, " \t,");
        if (*at == '*')
            return true;
        if (strncmp(at, etag, etag_length) == 0 && strchr(" \t,", at[etag_length]) != NULL)
            return true; /* strchr also finds the end of the text */
        if (*at == 'W')  /* weak tags never match strongly: skip the whole of it */
            at += strspn(at, "W/");
        if (*at == '"') {
            const char *end = strchr(at + 1, '"');
            at = end == NULL ? at + strlen(at) : end + 1;
        } else {
            at += strcspn(at, ",");
        }
    }
    return false;
}

void routing_write(const struct routing_state *state, struct json_writer *writer)
{
    json_put_u64(writer, "revision", state->revision);
#define ROUTING_FLAG(member, fallback, meaning)    json_put_bool(writer, #member, state->member);
#define ROUTING_PERCENT(member, fallback, meaning) json_put_u64(writer, #member, state->member);
#include "controlplane/routing.def"
#undef ROUTING_FLAG
#undef ROUTING_PERCENT
}

void routing_write_object(const struct routing_state *state, struct json_writer *writer)
{
    json_begin_object(writer);
    routing_write(state, writer);
    json_end_object(writer);
}

void routing_snapshot(const struct routing_state *state, uint64_t nonce, bool adopt,
                      struct ctl_snapshot *snapshot)
{
    *snapshot = (struct ctl_snapshot){.nonce = nonce, .revision = state->revision, .adopt = adopt};
    snprintf(snapshot->store_id, sizeof snapshot->store_id, "%s", state->store_id);
#define ROUTING_FLAG(member, fallback, meaning)    snapshot->member = state->member;
#define ROUTING_PERCENT(member, fallback, meaning) snapshot->member = state->member;
#include "controlplane/routing.def"
#undef ROUTING_FLAG
#undef ROUTING_PERCENT
    ctl_snapshot_digest(snapshot, snapshot->digest);
}
