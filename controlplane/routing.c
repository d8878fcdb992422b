/* The routing state's rules: defaults, patches, entity tags, representations. Pure; any thread;
 * must never do I/O. */
#include "controlplane/routing.h"

#include <stdio.h>
#include <string.h>

#include "controlplane/phase.h"

#define PATCH_VALUES_MAX 64

/* ---- the table ---- */

#define MEMBER(member, kind_, group_, low, high)                                                   \
    {.name = #member,                                                                              \
     .kind = kind_,                                                                                \
     .group = group_,                                                                              \
     .minimum = low,                                                                               \
     .maximum = high,                                                                              \
     .offset = offsetof(struct routing_state, member),                                             \
     .patch_offset = offsetof(struct routing_patch, member),                                       \
     .patch_has_offset = offsetof(struct routing_patch, has_##member)},

const struct routing_member routing_members[] = {
#define ROUTING_FLAG(member, fallback, meaning)                                                    \
    MEMBER(member, ROUTING_KIND_FLAG, ROUTING_GROUP_ROUTING, 0, 1)
#define ROUTING_PERCENT(member, fallback, meaning)                                                 \
    MEMBER(member, ROUTING_KIND_PERCENT, ROUTING_GROUP_ROUTING, 0, 100)
#define LIVE_NUMBER(member, minimum, maximum, meaning)                                             \
    MEMBER(member, ROUTING_KIND_NUMBER, ROUTING_GROUP_SETTINGS, minimum, maximum)
#define LIVE_SWITCH(member, meaning)                                                               \
    MEMBER(member, ROUTING_KIND_SWITCH, ROUTING_GROUP_SETTINGS, 0, 0)
#define LIVE_LEVEL(member, meaning) MEMBER(member, ROUTING_KIND_LEVEL, ROUTING_GROUP_SETTINGS, 0, 0)
#include "controlplane/routing.def"
};
const size_t routing_member_count = ARRAY_COUNT(routing_members);

const char *routing_level_name(uint32_t level)
{
    if (level == ROUTING_LEVEL_AS_CONFIGURED || level > ROUTING_LEVEL_ERROR)
        return NULL;
    return log_level_name((enum log_level)(level - 1));
}

uint32_t routing_level_parse(const char *text)
{
    enum log_level level;
    return log_level_named(text, &level) ? (uint32_t)level + 1 : ROUTING_LEVEL_AS_CONFIGURED;
}

static uint32_t load(enum routing_kind kind, const char *field)
{
    switch (kind) {
    case ROUTING_KIND_FLAG:
        return *(const bool *)(const void *)field;
    case ROUTING_KIND_NUMBER:
        return *(const uint32_t *)(const void *)field;
    case ROUTING_KIND_PERCENT:
    case ROUTING_KIND_SWITCH:
    case ROUTING_KIND_LEVEL:
        break;
    }
    return *(const uint8_t *)(const void *)field;
}

static void save(enum routing_kind kind, char *field, uint32_t value)
{
    switch (kind) {
    case ROUTING_KIND_FLAG:
        *(bool *)(void *)field = value != 0;
        return;
    case ROUTING_KIND_NUMBER:
        *(uint32_t *)(void *)field = value;
        return;
    case ROUTING_KIND_PERCENT:
    case ROUTING_KIND_SWITCH:
    case ROUTING_KIND_LEVEL:
        break;
    }
    *(uint8_t *)(void *)field = (uint8_t)value;
}

uint32_t routing_get(const struct routing_state *state, const struct routing_member *member)
{
    return load(member->kind, (const char *)state + member->offset);
}

void routing_set(struct routing_state *state, const struct routing_member *member, uint32_t value)
{
    save(member->kind, (char *)state + member->offset, value);
}

bool routing_patch_get(const struct routing_patch *patch, const struct routing_member *member,
                       uint32_t *value)
{
    if (load(ROUTING_KIND_FLAG, (const char *)patch + member->patch_has_offset) == 0)
        return false;
    *value = load(member->kind, (const char *)patch + member->patch_offset);
    return true;
}

void routing_patch_set(struct routing_patch *patch, const struct routing_member *member,
                       uint32_t value)
{
    save(ROUTING_KIND_FLAG, (char *)patch + member->patch_has_offset, 1);
    save(member->kind, (char *)patch + member->patch_offset, value);
}

#define FOR_EACH_MEMBER(member)                                                                    \
    for (const struct routing_member *member = routing_members;                                    \
         member < routing_members + routing_member_count; member++)

void routing_defaults(struct routing_state *state)
{
    *state = (struct routing_state){.revision = 1};
#define ROUTING_FLAG(member, fallback, meaning)    state->member = fallback;
#define ROUTING_PERCENT(member, fallback, meaning) state->member = fallback;
#include "controlplane/routing.def"
}

/* ---- reading ---- */

bool routing_fail(struct routing_problem *problem, int status, const char *pointer,
                  const char *detail)
{
    problem->status = status;
    snprintf(problem->pointer, sizeof problem->pointer, "%s", pointer);
    snprintf(problem->detail, sizeof problem->detail, "%s", detail);
    return false;
}

bool routing_fail_json(struct routing_problem *problem, const struct json_error *error)
{
    char detail[sizeof problem->detail];
    snprintf(detail, sizeof detail, "the body is %s: %s at byte %zu",
             error->is_json ? "ambiguous" : "not JSON", error->text, error->offset);
    return routing_fail(problem, error->is_json ? 422 : 400, "", detail);
}

void routing_name_pointer(char *pointer, size_t size, const char *name, size_t length)
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

/* What a member's value must be, in words. */
static void describe_values(const struct routing_member *member, char *out, size_t size)
{
    switch (member->kind) {
    case ROUTING_KIND_FLAG:
        snprintf(out, size, "true or false");
        break;
    case ROUTING_KIND_PERCENT:
        snprintf(out, size, "a whole number from 0 to 100");
        break;
    case ROUTING_KIND_NUMBER:
        snprintf(out, size, "a whole number from %u to %u, or null (as configured)",
                 member->minimum, member->maximum);
        break;
    case ROUTING_KIND_SWITCH:
        snprintf(out, size, "true, false or null (as configured)");
        break;
    case ROUTING_KIND_LEVEL:
        snprintf(out, size, "\"ERROR\", \"WARN\", \"INFO\", \"DEBUG\" or null (as configured)");
        break;
    }
}

static bool is_text(const struct json_value *value, const char **text)
{
    size_t length;
    *text = json_type(value) == JSON_STRING ? json_text(value, &length) : NULL;
    return *text != NULL && strlen(*text) == length;
}

static bool read_number(const struct json_value *value, uint32_t minimum, uint32_t maximum,
                        uint32_t *result)
{
    uint64_t number;
    if (!json_u64(value, &number) || number < minimum || number > maximum)
        return false;
    *result = (uint32_t)number;
    return true;
}

bool routing_read_value(const struct json_value *value, const struct routing_member *member,
                        struct routing_patch *patch, struct routing_problem *problem)
{
    char pointer[sizeof problem->pointer];
    char detail[sizeof problem->detail];
    char allowed[128];
    uint32_t result = 0;
    bool flag = false;
    bool good = false;
    const char *text;
    if (member->group == ROUTING_GROUP_SETTINGS && json_type(value) == JSON_NULL) {
        good = true;
    } else {
        switch (member->kind) {
        case ROUTING_KIND_FLAG:
            good = json_bool(value, &flag);
            result = flag;
            break;
        case ROUTING_KIND_SWITCH:
            good = json_bool(value, &flag);
            result = flag ? ROUTING_ON : ROUTING_OFF;
            break;
        case ROUTING_KIND_PERCENT:
        case ROUTING_KIND_NUMBER:
            good = read_number(value, member->minimum, member->maximum, &result);
            break;
        case ROUTING_KIND_LEVEL:
            result = is_text(value, &text) ? routing_level_parse(text) : 0;
            good = result != ROUTING_LEVEL_AS_CONFIGURED;
            break;
        }
    }
    if (good) {
        routing_patch_set(patch, member, result);
        return true;
    }
    describe_values(member, allowed, sizeof allowed);
    routing_name_pointer(pointer, sizeof pointer, member->name, strlen(member->name));
    snprintf(detail, sizeof detail, "%s must be %s, not a value of type %s", member->name, allowed,
             json_type_name(json_type(value)));
    if (member->kind != ROUTING_KIND_FLAG && member->kind != ROUTING_KIND_SWITCH)
        snprintf(detail, sizeof detail, "%s must be %s", member->name, allowed);
    return routing_fail(problem, 422, pointer, detail);
}

static bool fail_unknown(const char *name, size_t length, enum routing_group group,
                         struct routing_problem *problem)
{
    char pointer[sizeof problem->pointer];
    struct dynbuf detail;
    const char *elsewhere = NULL;
    routing_name_pointer(pointer, sizeof pointer, name, length);
    dynbuf_init(&detail, 4096);
    FOR_EACH_MEMBER(member)
    if (member->group != group && strlen(member->name) == length &&
        memcmp(name, member->name, length) == 0)
        elsewhere = member->group == ROUTING_GROUP_ROUTING ? "/api/v1/routing" : "/api/v1/settings";
    if (strcmp(pointer, "/phase") == 0)
        elsewhere = "/api/v1/phase";
    if (elsewhere != NULL) {
        dynbuf_printf(&detail, "%s is changed at %s", pointer + 1, elsewhere);
    } else {
        dynbuf_printf(&detail, "unknown member %s; known are", pointer + 1);
        FOR_EACH_MEMBER(member)
        if (member->group == group)
            dynbuf_printf(&detail, " %s", member->name);
    }
    routing_fail(problem, 422, pointer, dynbuf_text(&detail));
    dynbuf_fini(&detail);
    return false;
}

static bool read_members(const struct json_value *root, enum routing_group group,
                         struct routing_patch *patch, struct routing_problem *problem)
{
    if (json_type(root) != JSON_OBJECT)
        return routing_fail(problem, 422, "", "the body must be a JSON object");
    for (const struct json_value *value = json_first(root); value != NULL;
         value = json_next(value)) {
        size_t length;
        const char *name = json_name(value, &length);
        const struct routing_member *found = NULL;
        FOR_EACH_MEMBER(member)
        if (member->group == group && strlen(member->name) == length &&
            memcmp(name, member->name, length) == 0)
            found = member;
        if (found == NULL)
            return fail_unknown(name, length, group, problem);
        if (!routing_read_value(value, found, patch, problem))
            return false;
    }
    return true;
}

bool routing_parse_patch(const char *text, size_t length, enum routing_group group,
                         struct routing_patch *patch, struct routing_problem *problem)
{
    struct json_error error;
    *patch = (struct routing_patch){0};
    struct json_document *document = json_parse(text, length, PATCH_VALUES_MAX, &error);
    if (document == NULL)
        return routing_fail_json(problem, &error);
    bool good = read_members(json_root(document), group, patch, problem);
    json_free(document);
    return good;
}

bool routing_apply_patch(struct routing_state *state, const struct routing_patch *patch)
{
    bool changed = false;
    FOR_EACH_MEMBER(member)
    {
        uint32_t value;
        if (!routing_patch_get(patch, member, &value) || value == routing_get(state, member))
            continue;
        routing_set(state, member, value);
        changed = true;
    }
    if (changed)
        state->revision++;
    return changed;
}

bool routing_has_same_settings(const struct routing_state *left, const struct routing_state *right)
{
    FOR_EACH_MEMBER(member)
    if (member->group == ROUTING_GROUP_SETTINGS &&
        routing_get(left, member) != routing_get(right, member))
        return false;
    return true;
}

/* ---- entity tags ---- */

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
    if_match += strspn(if_match, " \t");
    if (*if_match == '*') /* alone, or it is nothing */
        return if_match[1 + strspn(if_match + 1, " \t")] == '\0';
    routing_etag(state, etag);
    size_t etag_length = strlen(etag);
    for (const char *at = if_match; *at != '\0';) {
        at += strspn(at, " \t,");
        if (strncmp(at, etag, etag_length) == 0 && strchr(" \t,", at[etag_length]) != NULL)
            return true; /* strchr also finds the end of the text */
        if (*at == 'W')  /* weak tags never match strongly: skip the whole of it */
            at += strspn(at, "W/");
        if (*at == '"') {
            const char *end = strchr(at + 1, '"');
            at = end == NULL ? at + strlen(at) : end + 1;
        }
        at += strcspn(at, ",");
    }
    return false;
}

/* ---- writing ---- */

void routing_write_value(const struct routing_state *state, const struct routing_member *member,
                         struct json_writer *writer)
{
    uint32_t value = routing_get(state, member);
    if (member->group == ROUTING_GROUP_SETTINGS && value == 0) {
        json_write_null(writer);
        return;
    }
    switch (member->kind) {
    case ROUTING_KIND_FLAG:
        json_write_bool(writer, value != 0);
        break;
    case ROUTING_KIND_SWITCH:
        json_write_bool(writer, value == ROUTING_ON);
        break;
    case ROUTING_KIND_PERCENT:
    case ROUTING_KIND_NUMBER:
        json_write_u64(writer, value);
        break;
    case ROUTING_KIND_LEVEL:
        json_write_string(writer, routing_level_name(value));
        break;
    }
}

static void write_group(const struct routing_state *state, enum routing_group group,
                        struct json_writer *writer)
{
    FOR_EACH_MEMBER(member)
    {
        if (member->group != group)
            continue;
        json_write_name(writer, member->name);
        routing_write_value(state, member, writer);
    }
}

void routing_write(const struct routing_state *state, struct json_writer *writer)
{
    json_put_u64(writer, "revision", state->revision);
    json_put_string(writer, "phase", phase_name(phase_of(state)));
    write_group(state, ROUTING_GROUP_ROUTING, writer);
}

void routing_write_object(const struct routing_state *state, struct json_writer *writer)
{
    json_begin_object(writer);
    routing_write(state, writer);
    json_end_object(writer);
}

void routing_write_settings(const struct routing_state *state, struct json_writer *writer)
{
    json_put_u64(writer, "revision", state->revision);
    write_group(state, ROUTING_GROUP_SETTINGS, writer);
}

void routing_write_settings_object(const struct routing_state *state, struct json_writer *writer)
{
    json_begin_object(writer);
    routing_write_settings(state, writer);
    json_end_object(writer);
}

void routing_write_all(const struct routing_state *state, struct json_writer *writer)
{
    json_begin_object(writer);
    json_put_u64(writer, "revision", state->revision);
    write_group(state, ROUTING_GROUP_ROUTING, writer);
    write_group(state, ROUTING_GROUP_SETTINGS, writer);
    json_end_object(writer);
}

void routing_describe(const struct routing_state *state, struct dynbuf *out)
{
    struct json_writer writer;
    dynbuf_printf(out, "revision=%llu phase=%s", (unsigned long long)state->revision,
                  phase_name(phase_of(state)));
    FOR_EACH_MEMBER(member)
    {
        if (member->group == ROUTING_GROUP_SETTINGS && routing_get(state, member) == 0)
            continue;
        dynbuf_printf(out, " %s=", member->name);
        json_writer_init(&writer, out);
        routing_write_value(state, member, &writer);
    }
}

static void put_switch(char *out, size_t size, uint8_t value)
{
    static const char *const words[] = {"", "false", "true"};
    snprintf(out, size, "%s", words[value]);
}

void routing_snapshot(const struct routing_state *state, uint64_t nonce, bool adopt,
                      struct ctl_snapshot *snapshot)
{
    *snapshot = (struct ctl_snapshot){
        .nonce = nonce,
        .revision = state->revision,
        .adopt = adopt,
        .forward_reads_to_target = state->forward_reads_to_target,
        .forward_system_queries_to_target = state->forward_system_queries_to_target,
        .shadow_read_percent = state->shadow_read_percent,
        .canary_read_percent = state->canary_read_percent,
        .skip_origin = !state->write_to_origin,
        .skip_target = !state->write_to_target,
        .request_timeout_ms = state->request_timeout_ms,
        .max_clients = state->max_clients,
    };
    snprintf(snapshot->store_id, sizeof snapshot->store_id, "%s", state->store_id);
    put_switch(snapshot->replace_cql_functions, sizeof snapshot->replace_cql_functions,
               state->replace_cql_functions);
    put_switch(snapshot->stamp_timestamps, sizeof snapshot->stamp_timestamps,
               state->stamp_timestamps);
    if (state->log_level != ROUTING_LEVEL_AS_CONFIGURED)
        snprintf(snapshot->log_level, sizeof snapshot->log_level, "%s",
                 routing_level_name(state->log_level));
    ctl_snapshot_digest(snapshot, snapshot->digest);
}
