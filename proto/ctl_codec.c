/* Control messages <-> JSON, driven by one descriptor table that expands from ctl_messages.def.
 * Pure: no I/O, no clock, no state; any thread. Never trusts a peer: every member is type-checked,
 * measured and, when required, present. */
#include "proto/ctl_codec.h"

#include <openssl/evp.h>
#include <string.h>

#include "common/json.h"

#define VALUES_MAX 128 /* members and their names in one message, with room for a newer peer's */

enum member_kind { MEMBER_TEXT, MEMBER_U64, MEMBER_BOOL };
enum member_need { CTL_OPTIONAL, CTL_REQUIRED };

struct member {
    const char *name;
    enum member_kind kind;
    enum member_need need;
    size_t maximum; /* MEMBER_TEXT: bytes without the NUL */
    size_t offset;  /* in the message's struct */
};

struct descriptor {
    const char *name;
    const struct member *members;
    size_t count;
};

/* One array a message, closed by a nameless row so that no array is empty. */
#define CTL_BEGIN(symbol, lower, meaning) static const struct member members_##lower[] = {
#define CTL_TEXT(lower, member, maximum, need)                                                     \
    {#member, MEMBER_TEXT, need, maximum, offsetof(struct ctl_##lower, member)},
#define CTL_U64(lower, member, need)                                                               \
    {#member, MEMBER_U64, need, 0, offsetof(struct ctl_##lower, member)},
#define CTL_BOOL(lower, member, need)                                                              \
    {#member, MEMBER_BOOL, need, 0, offsetof(struct ctl_##lower, member)},
#define CTL_END(lower)                                                                             \
    {                                                                                              \
        NULL, MEMBER_BOOL, CTL_OPTIONAL, 0, 0                                                      \
    }                                                                                              \
    }                                                                                              \
    ;
#include "proto/ctl_messages.def"
#undef CTL_BEGIN
#undef CTL_TEXT
#undef CTL_U64
#undef CTL_BOOL
#undef CTL_END

static const struct descriptor descriptors[CTL_TYPE_COUNT] = {
#define CTL_BEGIN(symbol, lower, meaning)                                                          \
    {#symbol, members_##lower, ARRAY_COUNT(members_##lower) - 1},
#define CTL_TEXT(lower, member, maximum, need)
#define CTL_U64(lower, member, need)
#define CTL_BOOL(lower, member, need)
#define CTL_END(lower)
#include "proto/ctl_messages.def"
#undef CTL_BEGIN
#undef CTL_TEXT
#undef CTL_U64
#undef CTL_BOOL
#undef CTL_END
};

const char *ctl_type_name(enum ctl_type type)
{
    return descriptors[type].name;
}

/* Every struct of the union begins where the union begins. */
static char *body_of(struct ctl_message *message)
{
    return (char *)&message->hello;
}

static bool read_member(const struct json_value *value, const struct member *member, char *body,
                        const char **expected)
{
    char *field = body + member->offset;
    switch (member->kind) {
    case MEMBER_U64:
        *expected = "must be an integer from 0 to 2^64-1";
        return json_u64(value, (uint64_t *)(void *)field);
    case MEMBER_BOOL:
        *expected = "must be true or false";
        return json_bool(value, (bool *)(void *)field);
    case MEMBER_TEXT:
        break;
    }
    size_t length;
    const char *text = json_type(value) == JSON_STRING ? json_text(value, &length) : NULL;
    *expected = "must be a string";
    if (text == NULL)
        return false;
    *expected = "is too long";
    if (length > member->maximum)
        return false;
    *expected = "must not contain NUL";
    if (memchr(text, '\0', length) != NULL)
        return false;
    memcpy(field, text, length + 1);
    return true;
}

static enum ctl_verdict decode_object(const struct json_value *root, struct ctl_message *message,
                                      char *error, size_t error_size)
{
    const struct json_value *type = json_member(root, "type");
    if (json_type(type) != JSON_STRING) {
        snprintf(error, error_size, "a message must be an object with a string member \"type\"");
        return CTL_BAD;
    }
    const struct descriptor *descriptor = NULL;
    for (size_t i = 0; i < CTL_TYPE_COUNT; i++) {
        if (strcmp(json_text(type, NULL), descriptors[i].name) == 0) {
            descriptor = &descriptors[i];
            message->type = (enum ctl_type)i;
        }
    }
    if (descriptor == NULL) {
        snprintf(error, error_size, "unknown message type");
        return CTL_UNKNOWN;
    }
    for (size_t i = 0; i < descriptor->count; i++) {
        const struct member *member = &descriptor->members[i];
        const struct json_value *value = json_member(root, member->name);
        const char *expected = "is missing";
        if (value == NULL && member->need == CTL_OPTIONAL)
            continue;
        if (value == NULL || !read_member(value, member, body_of(message), &expected)) {
            snprintf(error, error_size, "%s: member \"%s\" %s", descriptor->name, member->name,
                     expected);
            return CTL_BAD;
        }
    }
    return CTL_GOOD;
}

enum ctl_verdict ctl_decode(const char *text, size_t length, struct ctl_message *message,
                            char *error, size_t error_size)
{
    struct json_error problem;
    memset(message, 0, sizeof *message);
    struct json_document *document = json_parse(text, length, VALUES_MAX, &problem);
    if (document == NULL) {
        snprintf(error, error_size, "not JSON: %s at byte %zu", problem.text, problem.offset);
        return CTL_BAD;
    }
    enum ctl_verdict verdict = decode_object(json_root(document), message, error, error_size);
    json_free(document);
    return verdict;
}

bool ctl_encode(const struct ctl_message *message, struct dynbuf *out)
{
    CHECK((unsigned)message->type < CTL_TYPE_COUNT);
    const struct descriptor *descriptor = &descriptors[message->type];
    const char *body = (const char *)&message->hello;
    struct json_writer writer;
    json_writer_init(&writer, out);
    json_begin_object(&writer);
    json_put_string(&writer, "type", descriptor->name);
    for (size_t i = 0; i < descriptor->count; i++) {
        const struct member *member = &descriptor->members[i];
        const char *field = body + member->offset;
        switch (member->kind) {
        case MEMBER_TEXT:
            json_put_string(&writer, member->name, field);
            break;
        case MEMBER_U64:
            json_put_u64(&writer, member->name, *(const uint64_t *)(const void *)field);
            break;
        case MEMBER_BOOL:
            json_put_bool(&writer, member->name, *(const bool *)(const void *)field);
            break;
        }
    }
    json_end_object(&writer);
    return !out->failed;
}

static bool is_of_transfer(const char *name)
{
    return strcmp(name, "nonce") == 0 || strcmp(name, "digest") == 0 || strcmp(name, "adopt") == 0;
}

static bool is_at_default(const struct member *member, const char *field)
{
    switch (member->kind) {
    case MEMBER_TEXT:
        return field[0] == '\0';
    case MEMBER_U64:
        return *(const uint64_t *)(const void *)field == 0;
    case MEMBER_BOOL:
        break;
    }
    return !*(const bool *)(const void *)field;
}

void ctl_snapshot_digest(const struct ctl_snapshot *snapshot, char digest[CTL_DIGEST_HEX + 1])
{
    static const char hex[] = "0123456789abcdef";
    const struct descriptor *descriptor = &descriptors[CTL_SNAPSHOT];
    struct dynbuf content;
    dynbuf_init(&content, 65536);
    for (size_t i = 0; i < descriptor->count; i++) {
        const struct member *member = &descriptor->members[i];
        const char *field = (const char *)snapshot + member->offset;
        if (is_of_transfer(member->name) ||
            (member->need == CTL_OPTIONAL && is_at_default(member, field)))
            continue;
        dynbuf_printf(&content, "%s=", member->name);
        switch (member->kind) {
        case MEMBER_TEXT:
            dynbuf_append_text(&content, field);
            break;
        case MEMBER_U64:
            dynbuf_printf(&content, "%llu",
                          (unsigned long long)*(const uint64_t *)(const void *)field);
            break;
        case MEMBER_BOOL:
            dynbuf_append_text(&content, *(const bool *)(const void *)field ? "true" : "false");
            break;
        }
        dynbuf_append_text(&content, "\n");
    }
    CHECK(!content.failed);

    unsigned char hash[EVP_MAX_MD_SIZE];
    unsigned hash_length = 0;
    CHECK(EVP_Digest(content.data, content.length, hash, &hash_length, EVP_sha256(), NULL) == 1 &&
          hash_length == 32);
    for (size_t i = 0; i < 32; i++) {
        digest[2 * i] = hex[hash[i] >> 4];
        digest[2 * i + 1] = hex[hash[i] & 15];
    }
    digest[CTL_DIGEST_HEX] = '\0';
    dynbuf_fini(&content);
}
