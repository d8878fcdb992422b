/* Sealing and checking of audit rows. Pure; any thread, also in cloudgatectl; must never trust a
 * line: it may come from a file that somebody has edited. */
#include "controlplane/audit_chain.h"

#include <inttypes.h>
#include <openssl/evp.h>
#include <string.h>

#include "common/json.h"

#define HASH_LENGTH (AUDIT_HASH_SIZE - 1)
#define LINE_VALUES 8192

static const char hash_name[] = "{\"hash\":\"";
static const char previous_name[] = "\",\"previous\":\"";

/* Where a line's parts begin. */
#define HASH_AT     (sizeof hash_name - 1)
#define CONTENT_AT  (HASH_AT + HASH_LENGTH + 2)
#define PREVIOUS_AT (HASH_AT + HASH_LENGTH + sizeof previous_name - 1)

const char audit_chain_origin[AUDIT_HASH_SIZE] =
    "0000000000000000000000000000000000000000000000000000000000000000";

void audit_chain_init(struct audit_chain *chain)
{
    *chain = (struct audit_chain){0};
    memcpy(chain->hash, audit_chain_origin, sizeof chain->hash);
}

static bool is_hash(const char *text, size_t length)
{
    if (length < HASH_LENGTH)
        return false;
    for (size_t i = 0; i < HASH_LENGTH; i++)
        if (strchr("0123456789abcdef", text[i]) == NULL || text[i] == '\0')
            return false;
    return true;
}

bool audit_chain_expect(struct audit_chain *chain, const char *text)
{
    size_t digits = strspn(text, "0123456789");
    const char *hash = text + digits + 1;
    if (digits == 0 || digits > 18 || text[digits] != ':' || strlen(hash) != HASH_LENGTH ||
        !is_hash(hash, HASH_LENGTH))
        return false;
    chain->expected_id = strtoull(text, NULL, 10);
    memcpy(chain->expected_hash, hash, AUDIT_HASH_SIZE);
    return chain->expected_id > 0;
}

static void write_digest(EVP_MD_CTX *context, char hash[AUDIT_HASH_SIZE])
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned length = 0;
    CHECK(EVP_DigestFinal_ex(context, digest, &length) == 1 && length * 2 == HASH_LENGTH);
    for (unsigned i = 0; i < length; i++)
        snprintf(hash + (size_t)i * 2, 3, "%02x", digest[i]);
}

/* SHA-256 of two pieces in a row. */
static void hash_pieces(const char *first, size_t first_length, const char *second,
                        size_t second_length, char hash[AUDIT_HASH_SIZE])
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    CHECK(context != NULL && EVP_DigestInit_ex(context, EVP_sha256(), NULL) == 1 &&
          EVP_DigestUpdate(context, first, first_length) == 1 &&
          EVP_DigestUpdate(context, second, second_length) == 1);
    write_digest(context, hash);
    EVP_MD_CTX_free(context);
}

void audit_chain_hash(const char *content, size_t length, char hash[AUDIT_HASH_SIZE])
{
    hash_pieces(content, length, "", 0, hash);
}

void audit_chain_seal(const struct dynbuf *content, const char *hash, struct dynbuf *line)
{
    const char *text = dynbuf_text(content);
    dynbuf_append_text(line, hash_name);
    dynbuf_append_text(line, hash);
    dynbuf_append_text(line, "\",");
    if (content->failed || content->length == 0)
        line->failed = true;
    else
        dynbuf_append(line, text + 1, content->length - 1);
}

/* The members the chain itself needs; the rest may be anything. */
static bool read_members(const char *line, size_t length, uint64_t *id, char *store_id,
                         size_t store_id_size, const char **problem)
{
    struct json_error error;
    uint64_t form = 0;
    struct json_document *document = json_parse(line, length, LINE_VALUES, &error);
    if (document == NULL) {
        *problem = "it is not one JSON object";
        return false;
    }
    const struct json_value *root = json_root(document);
    const char *store = json_text(json_member(root, "store"), NULL);
    bool good = json_u64(json_member(root, "id"), id) && *id > 0 && store != NULL;
    if (!good)
        *problem = "it has no id or no store";
    else if (!json_u64(json_member(root, "form"), &form) || form != AUDIT_FORM) {
        *problem = "its form is not known to this program";
        good = false;
    } else {
        snprintf(store_id, store_id_size, "%s", store);
    }
    json_free(document);
    return good;
}

static bool misfit(char *error, size_t error_size, uint64_t id, const char *problem)
{
    snprintf(error, error_size, "row %" PRIu64 ": %s", id, problem);
    return false;
}

static bool follows(const struct audit_chain *chain, uint64_t id, const char *previous, char *error,
                    size_t error_size)
{
    bool is_first = chain->entries == 0;
    if (!is_first && id <= chain->last_id)
        return misfit(error, error_size, id, "it stands behind a row with the same or a later id");
    if (!is_first && id != chain->last_id + 1) {
        snprintf(error, error_size,
                 "row %" PRIu64 ": the %s before it %s missing (the last was %" PRIu64 ")", id,
                 id == chain->last_id + 2 ? "row" : "rows", id == chain->last_id + 2 ? "is" : "are",
                 chain->last_id);
        return false;
    }
    if ((!is_first || id == 1) && memcmp(previous, chain->hash, HASH_LENGTH) != 0)
        return misfit(error, error_size, id,
                      is_first ? "a first row must begin the chain, and this one does not"
                               : "it does not continue the row before it");
    if (chain->expected_id == id - 1 && is_first && id > 1 &&
        memcmp(previous, chain->expected_hash, HASH_LENGTH) != 0)
        return misfit(error, error_size, id, "it does not continue the row noted elsewhere");
    return true;
}

bool audit_chain_take(struct audit_chain *chain, const char *line, size_t length, char *error,
                      size_t error_size)
{
    uint64_t id = 0;
    char store_id[sizeof chain->store_id];
    char hash[AUDIT_HASH_SIZE];
    const char *problem = NULL;
    uint64_t next = chain->last_id + 1;
    if (length < PREVIOUS_AT + HASH_LENGTH || length > AUDIT_LINE_MAX ||
        memcmp(line, hash_name, HASH_AT) != 0 || !is_hash(line + HASH_AT, HASH_LENGTH) ||
        memcmp(line + HASH_AT + HASH_LENGTH, previous_name, sizeof previous_name - 1) != 0 ||
        !is_hash(line + PREVIOUS_AT, HASH_LENGTH)) {
        snprintf(error, error_size, "line %" PRIu64 " is not an audit row in its canonical form",
                 chain->entries + 1);
        return false;
    }
    if (!read_members(line, length, &id, store_id, sizeof store_id, &problem))
        return misfit(error, error_size, id == 0 ? next : id, problem);
    if (chain->entries > 0 && strcmp(store_id, chain->store_id) != 0)
        return misfit(error, error_size, id, "it is of another store than the row before it");
    if (!follows(chain, id, line + PREVIOUS_AT, error, error_size))
        return false;
    hash_pieces("{", 1, line + CONTENT_AT, length - CONTENT_AT, hash);
    if (memcmp(hash, line + HASH_AT, HASH_LENGTH) != 0)
        return misfit(error, error_size, id, "its hash does not fit its content");
    if (id == chain->expected_id) {
        if (memcmp(hash, chain->expected_hash, HASH_LENGTH) != 0)
            return misfit(error, error_size, id, "its hash is not the one noted elsewhere");
        chain->was_met = true;
    } else if (chain->entries == 0 && chain->expected_id > 0 && chain->expected_id == id - 1) {
        chain->was_met = true;
    }
    chain->entries++;
    chain->last_id = id;
    memcpy(chain->hash, hash, sizeof chain->hash);
    memcpy(chain->store_id, store_id, sizeof chain->store_id);
    return true;
}

bool audit_chain_finish(const struct audit_chain *chain, char *error, size_t error_size)
{
    if (chain->expected_id == 0 || chain->was_met)
        return true;
    if (chain->last_id < chain->expected_id)
        snprintf(error, error_size,
                 "row %" PRIu64 ", noted elsewhere, is missing: the log ends with row %" PRIu64,
                 chain->expected_id, chain->last_id);
    else
        snprintf(error, error_size,
                 "row %" PRIu64 ", noted elsewhere, is older than the first row here",
                 chain->expected_id);
    return false;
}
