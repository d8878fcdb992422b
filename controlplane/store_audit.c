/* The audit log in SQLite: rows that are only ever added, each sealed with the hash of the one
 * before it, and a head that knows how many there are. Must never write a row outside the
 * transaction of the change it tells of. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "controlplane/phase.h"
#include "controlplane/store_internal.h"

#define PAGE_ROWS  200
#define PAGE_BYTES (256u * 1024u) /* a page ends behind the row that reaches this */

/* The columns a line is made of, in the order of the SELECT; previous and the store's id come with
 * each row. */
#define LINE_COLUMNS                                                                               \
    "a.id, a.hash, a.time_ms, a.actor, a.user_agent, a.request_id, a.action, a.revision,"          \
    " a.phase_before, a.phase_after, a.forced, a.reason, a.before, a.after,"                       \
    " (SELECT p.hash FROM audit AS p WHERE p.id < a.id ORDER BY p.id DESC LIMIT 1),"               \
    " (SELECT store_id FROM routing)"

struct fields {
    uint64_t id, revision;
    int64_t time_ms;
    bool forced;
    const char *hash, *previous, *store_id;
    const char *actor, *user_agent, *request_id, *action, *reason;
    const char *phase_before, *phase_after, *before, *after; /* may be NULL */
};

/* ---- the canonical form ---- */

static void put_text(struct json_writer *writer, const char *name, const char *text)
{
    if (text != NULL) {
        json_put_string(writer, name, text);
    } else {
        json_write_name(writer, name);
        json_write_null(writer);
    }
}

static void put_json(struct json_writer *writer, const char *name, const char *json)
{
    json_write_name(writer, name);
    json_write_raw(writer, json == NULL ? "null" : json);
}

/* What both the API and the canonical line tell of a row. */
static void put_members(struct json_writer *writer, const struct fields *fields)
{
    json_put_u64(writer, "id", fields->id);
    json_put_i64(writer, "time_ms", fields->time_ms);
    put_text(writer, "actor", fields->actor);
    put_text(writer, "user_agent", fields->user_agent);
    put_text(writer, "request_id", fields->request_id);
    put_text(writer, "action", fields->action);
    json_put_u64(writer, "revision", fields->revision);
    put_text(writer, "phase_before", fields->phase_before);
    put_text(writer, "phase_after", fields->phase_after);
    json_put_bool(writer, "forced", fields->forced);
    put_text(writer, "reason", fields->reason);
    put_json(writer, "before", fields->before);
    put_json(writer, "after", fields->after);
}

/* The canonical line without its hash. Any change here is a new AUDIT_FORM, and rows of the old one
 * must still be rendered as they were. */
static void write_content(const struct fields *fields, struct dynbuf *content)
{
    struct json_writer writer;
    json_writer_init(&writer, content);
    json_begin_object(&writer);
    put_text(&writer, "previous", fields->previous);
    json_put_u64(&writer, "form", AUDIT_FORM);
    put_text(&writer, "store", fields->store_id);
    put_members(&writer, fields);
    json_end_object(&writer);
}

static const char *column(sqlite3_stmt *row, int at)
{
    return (const char *)sqlite3_column_text(row, at);
}

/* Borrowed from row until its next step. */
static void read_fields(sqlite3_stmt *row, struct fields *fields)
{
    *fields = (struct fields){
        .id = (uint64_t)sqlite3_column_int64(row, 0),
        .hash = column(row, 1),
        .time_ms = sqlite3_column_int64(row, 2),
        .actor = column(row, 3),
        .user_agent = column(row, 4),
        .request_id = column(row, 5),
        .action = column(row, 6),
        .revision = (uint64_t)sqlite3_column_int64(row, 7),
        .phase_before = column(row, 8),
        .phase_after = column(row, 9),
        .forced = sqlite3_column_int(row, 10) != 0,
        .reason = column(row, 11),
        .before = column(row, 12),
        .after = column(row, 13),
        .previous = column(row, 14),
        .store_id = column(row, 15),
    };
    if (fields->previous == NULL)
        fields->previous = audit_chain_origin;
}

/* ---- adding ---- */

static bool bind_text(sqlite3_stmt *statement, int at, const char *text)
{
    return sqlite3_bind_text(statement, at, text, -1, SQLITE_STATIC) == SQLITE_OK;
}

static bool insert_row(sqlite3 *db, const struct fields *fields)
{
    sqlite3_stmt *statement = NULL;
    bool good =
        sqlite3_prepare_v2(
            db,
            "INSERT INTO audit (id, time_ms, actor, user_agent, request_id, action,"
            " revision, phase_before, phase_after, forced, reason, before, after, hash)"
            " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
            -1, &statement, NULL) == SQLITE_OK &&
        sqlite3_bind_int64(statement, 1, (sqlite3_int64)fields->id) == SQLITE_OK &&
        sqlite3_bind_int64(statement, 2, fields->time_ms) == SQLITE_OK &&
        bind_text(statement, 3, fields->actor) && bind_text(statement, 4, fields->user_agent) &&
        bind_text(statement, 5, fields->request_id) && bind_text(statement, 6, fields->action) &&
        sqlite3_bind_int64(statement, 7, (sqlite3_int64)fields->revision) == SQLITE_OK &&
        bind_text(statement, 8, fields->phase_before) &&
        bind_text(statement, 9, fields->phase_after) &&
        sqlite3_bind_int(statement, 10, fields->forced) == SQLITE_OK &&
        bind_text(statement, 11, fields->reason) && bind_text(statement, 12, fields->before) &&
        bind_text(statement, 13, fields->after) && bind_text(statement, 14, fields->hash) &&
        sqlite3_step(statement) == SQLITE_DONE;
    sqlite3_finalize(statement);
    return good;
}

static bool move_head(sqlite3 *db, const struct store_audit_head *head)
{
    sqlite3_stmt *statement = NULL;
    bool good = sqlite3_prepare_v2(db,
                                   "INSERT INTO audit_head (id, last_id, hash) VALUES (1, ?1, ?2)"
                                   " ON CONFLICT (id) DO UPDATE"
                                   " SET last_id = excluded.last_id, hash = excluded.hash",
                                   -1, &statement, NULL) == SQLITE_OK &&
                sqlite3_bind_int64(statement, 1, (sqlite3_int64)head->id) == SQLITE_OK &&
                bind_text(statement, 2, head->hash) && sqlite3_step(statement) == SQLITE_DONE;
    sqlite3_finalize(statement);
    return good;
}

static const char *or_empty(const char *text)
{
    return text == NULL ? "" : text;
}

bool store_audit_add_at(struct store *store, const struct store_audit_row *row, int64_t time_ms)
{
    struct dynbuf content;
    struct store_audit_head next = {.id = store->next.id + 1};
    struct fields fields = {
        .id = next.id,
        .revision = row->revision,
        .time_ms = time_ms,
        .forced = row->actor->forced,
        .hash = next.hash,
        .previous = store->next.id == 0 ? audit_chain_origin : store->next.hash,
        .store_id = store->state.store_id,
        .actor = row->actor->name,
        .user_agent = or_empty(row->actor->user_agent),
        .request_id = or_empty(row->actor->request_id),
        .action = row->action,
        .reason = or_empty(row->actor->reason),
        .phase_before = row->phase_before,
        .phase_after = row->phase_after,
        .before = row->before,
        .after = row->after,
    };
    dynbuf_init(&content, AUDIT_LINE_MAX);
    write_content(&fields, &content);
    bool good = !content.failed;
    if (good) {
        audit_chain_hash(dynbuf_text(&content), content.length, next.hash);
        good = insert_row(store->db, &fields) && move_head(store->db, &next) &&
               (row->actor->key == NULL || store_key_note(store, row->actor->key, time_ms));
    }
    dynbuf_fini(&content);
    if (good)
        store->next = next;
    return good;
}

bool store_audit_add(struct store *store, const struct store_audit_row *row)
{
    return store_audit_add_at(store, row, clock_wall_ms());
}

static void write_state_text(const struct routing_state *state, struct dynbuf *text)
{
    struct json_writer writer;
    json_writer_init(&writer, text);
    routing_write_all(state, &writer);
}

bool store_audit_note(struct store *store, struct store_audit_row *row, char *error,
                      size_t error_size)
{
    pthread_mutex_lock(&store->mutex);
    row->revision = store->state.revision;
    bool good = store_begin(store) && store_audit_add(store, row) && store_commit(store);
    if (!good) {
        store_explain(store->path, store->db, "write the audit row", error, error_size);
        store_roll_back(store);
    }
    pthread_mutex_unlock(&store->mutex);
    return good;
}

bool store_audit_routing(struct store *store, const char *action, const struct store_actor *actor,
                         const struct routing_state *before, const struct routing_state *after)
{
    struct dynbuf before_text, after_text;
    int64_t now_ms = clock_wall_ms();
    dynbuf_init(&before_text, 16384);
    dynbuf_init(&after_text, 16384);
    if (before != NULL)
        write_state_text(before, &before_text);
    write_state_text(after, &after_text);
    struct store_audit_row row = {
        .action = action,
        .actor = actor,
        .revision = after->revision,
        .phase_before = before == NULL ? NULL : phase_name(phase_of(before)),
        .phase_after = phase_name(phase_of(after)),
        .before = before == NULL ? NULL : dynbuf_text(&before_text),
        .after = dynbuf_text(&after_text),
    };
    bool good = !before_text.failed && !after_text.failed &&
                store_audit_add_at(store, &row, now_ms) &&
                store_since_note(store->db, &row, now_ms);
    dynbuf_fini(&before_text);
    dynbuf_fini(&after_text);
    return good;
}

bool store_audit_load_head(sqlite3 *db, struct store_audit_head *head)
{
    sqlite3_stmt *statement = NULL;
    /* Whatever has been done to the file: the next row comes after all that are there. */
    bool good =
        sqlite3_prepare_v2(db,
                           "SELECT last_id, hash FROM audit_head UNION ALL"
                           " SELECT id, hash FROM audit WHERE id = (SELECT max(id) FROM audit)"
                           " ORDER BY 1 DESC LIMIT 1",
                           -1, &statement, NULL) == SQLITE_OK &&
        sqlite3_step(statement) == SQLITE_ROW;
    if (good) {
        head->id = (uint64_t)sqlite3_column_int64(statement, 0);
        store_copy_column(head->hash, sizeof head->hash, statement, 1);
    }
    sqlite3_finalize(statement);
    return good;
}

bool store_audit_open(struct store *store, char *error, size_t error_size)
{
    if (!store_audit_load_head(store->db, &store->head))
        return store_explain(store->path, store->db, "read the audit log", error, error_size);
    if (store_number(store->db,
                     "SELECT count(*) FROM audit AS a JOIN audit_head AS h"
                     " ON a.id = h.last_id AND a.hash = h.hash"
                     " WHERE a.id = (SELECT max(id) FROM audit)",
                     0) != 1)
        LOG_ERROR("audit_head_mismatch",
                  "detail=\"the audit log does not end with the row its head names; see "
                  "cloudgatectl audit verify\"");
    LOG_INFO("audit_head", "id=%" PRIu64 " hash=%s", store->head.id, store->head.hash);
    return true;
}

/* Numbered anew: rows were never removed by this program, so the ids stay what they were. */
bool store_audit_convert(struct store *store)
{
    sqlite3_stmt *row = NULL;
    int step = SQLITE_ERROR;
    bool good = true;
    store->next = (struct store_audit_head){0};
    if (store_number(store->db, "SELECT count(*) FROM routing", -1) == 0)
        return true; /* a new store: no row yet */
    /* Its id alone: the other columns are those of an older schema. */
    if (sqlite3_prepare_v2(store->db, "SELECT store_id FROM routing", -1, &row, NULL) !=
            SQLITE_OK ||
        sqlite3_step(row) != SQLITE_ROW) {
        sqlite3_finalize(row);
        return false;
    }
    store_copy_column(store->state.store_id, sizeof store->state.store_id, row, 0);
    sqlite3_finalize(row);
    row = NULL;
    if (sqlite3_prepare_v2(store->db,
                           "SELECT time_ms, actor, user_agent, action, revision, before, after"
                           " FROM audit_unchained ORDER BY id",
                           -1, &row, NULL) == SQLITE_OK) {
        while (good && (step = sqlite3_step(row)) == SQLITE_ROW) {
            struct store_actor actor = {.name = column(row, 1), .user_agent = column(row, 2)};
            struct store_audit_row old = {.action = column(row, 3),
                                          .actor = &actor,
                                          .revision = (uint64_t)sqlite3_column_int64(row, 4),
                                          .before = column(row, 5),
                                          .after = column(row, 6)};
            int64_t time_ms = sqlite3_column_int64(row, 0);
            good = store_audit_add_at(store, &old, time_ms) &&
                   store_since_note(store->db, &old, time_ms);
        }
    }
    sqlite3_finalize(row);
    return good && step == SQLITE_DONE;
}

/* ---- reading ---- */

void store_audit_head(struct store *store, struct store_audit_head *head)
{
    pthread_mutex_lock(&store->mutex);
    *head = store->head;
    pthread_mutex_unlock(&store->mutex);
}

bool store_write_audit(struct store *store, unsigned limit, uint64_t before,
                       struct json_writer *writer, char *error, size_t error_size)
{
    sqlite3_stmt *statement = NULL;
    int step = SQLITE_ERROR;
    struct fields fields;
    pthread_mutex_lock(&store->mutex);
    if (sqlite3_prepare_v2(store->db,
                           "SELECT " LINE_COLUMNS " FROM audit AS a"
                           " WHERE ?1 = 0 OR a.id < ?1 ORDER BY a.id DESC LIMIT ?2",
                           -1, &statement, NULL) == SQLITE_OK &&
        sqlite3_bind_int64(statement, 1, (sqlite3_int64)before) == SQLITE_OK &&
        sqlite3_bind_int64(statement, 2, limit) == SQLITE_OK) {
        while ((step = sqlite3_step(statement)) == SQLITE_ROW) {
            read_fields(statement, &fields);
            json_begin_object(writer);
            put_members(writer, &fields);
            put_text(writer, "hash", fields.hash);
            json_end_object(writer);
        }
    }
    if (step != SQLITE_DONE)
        store_explain(store->path, store->db, "read the audit log", error, error_size);
    sqlite3_finalize(statement);
    pthread_mutex_unlock(&store->mutex);
    return step == SQLITE_DONE;
}

bool store_audit_seek(struct store *store, int64_t time_ms, struct store_audit_cursor *cursor,
                      char *error, size_t error_size)
{
    sqlite3_stmt *statement = NULL;
    *cursor = (struct store_audit_cursor){0};
    pthread_mutex_lock(&store->mutex);
    bool good =
        sqlite3_prepare_v2(store->db,
                           "SELECT coalesce((SELECT min(id) - 1 FROM audit WHERE time_ms >= ?1),"
                           " (SELECT max(id) FROM audit))",
                           -1, &statement, NULL) == SQLITE_OK &&
        sqlite3_bind_int64(statement, 1, time_ms) == SQLITE_OK &&
        sqlite3_step(statement) == SQLITE_ROW;
    if (good)
        cursor->after_id = (uint64_t)sqlite3_column_int64(statement, 0);
    else
        store_explain(store->path, store->db, "read the audit log", error, error_size);
    sqlite3_finalize(statement);
    pthread_mutex_unlock(&store->mutex);
    return good;
}

/* The next lines, bounded in number and bytes. head: as it stands behind the last of them, when the
 * cursor is done. */
static bool read_page(sqlite3 *db, struct store_audit_cursor *cursor, struct dynbuf *lines,
                      struct store_audit_head *head)
{
    sqlite3_stmt *row = NULL;
    struct dynbuf content;
    struct fields fields;
    int step = SQLITE_ERROR;
    unsigned count = 0;
    dynbuf_init(&content, AUDIT_LINE_MAX);
    if (sqlite3_prepare_v2(db,
                           "SELECT " LINE_COLUMNS " FROM audit AS a WHERE a.id > ?1"
                           " ORDER BY a.id LIMIT ?2",
                           -1, &row, NULL) == SQLITE_OK &&
        sqlite3_bind_int64(row, 1, (sqlite3_int64)cursor->after_id) == SQLITE_OK &&
        sqlite3_bind_int64(row, 2, PAGE_ROWS) == SQLITE_OK) {
        while (lines->length < PAGE_BYTES && (step = sqlite3_step(row)) == SQLITE_ROW) {
            read_fields(row, &fields);
            dynbuf_reset(&content);
            write_content(&fields, &content);
            audit_chain_seal(&content, or_empty(fields.hash), lines);
            dynbuf_append_text(lines, "\n");
            cursor->after_id = fields.id;
            count++;
        }
    }
    sqlite3_finalize(row);
    dynbuf_fini(&content);
    cursor->is_done = step == SQLITE_DONE && count < PAGE_ROWS;
    return (step == SQLITE_DONE || step == SQLITE_ROW) && !lines->failed &&
           (!cursor->is_done || head == NULL || store_audit_load_head(db, head));
}

bool store_audit_page(struct store *store, struct store_audit_cursor *cursor, struct dynbuf *lines,
                      char *error, size_t error_size)
{
    pthread_mutex_lock(&store->mutex);
    bool good = read_page(store->db, cursor, lines, NULL);
    if (!good)
        store_explain(store->path, store->db, "read the audit log", error, error_size);
    pthread_mutex_unlock(&store->mutex);
    return good;
}

/* ---- checking ---- */

/* The rows fit each other; does the head, kept in a row of its own, fit them? */
static bool check_end(const struct audit_chain *chain, struct store_audit_verdict *verdict)
{
    if (chain->last_id == verdict->head.id && strcmp(chain->hash, verdict->head.hash) == 0)
        return audit_chain_finish(chain, verdict->detail, sizeof verdict->detail);
    if (chain->last_id < verdict->head.id)
        snprintf(verdict->detail, sizeof verdict->detail,
                 "row %" PRIu64 ": it is missing, as is all after it; the head says that the log "
                 "ends with row %" PRIu64,
                 chain->last_id + 1, verdict->head.id);
    else
        snprintf(verdict->detail, sizeof verdict->detail,
                 "row %" PRIu64 ": the head has another hash for it", chain->last_id);
    return false;
}

static bool take_lines(struct audit_chain *chain, const struct dynbuf *lines,
                       struct store_audit_verdict *verdict)
{
    const char *at = dynbuf_text(lines), *end = at + lines->length;
    while (at < end) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        size_t length = (size_t)((newline == NULL ? end : newline) - at);
        if (!audit_chain_take(chain, at, length, verdict->detail, sizeof verdict->detail))
            return false;
        at += length + 1;
    }
    return true;
}

void store_audit_check(sqlite3 *db, pthread_mutex_t *mutex, const char *expect,
                       struct store_audit_verdict *verdict)
{
    struct audit_chain chain;
    struct store_audit_cursor cursor = {0};
    struct dynbuf lines;
    *verdict = (struct store_audit_verdict){.was_read = true, .is_whole = true};
    audit_chain_init(&chain);
    if (expect != NULL && !audit_chain_expect(&chain, expect)) {
        verdict->is_whole = false;
        snprintf(verdict->detail, sizeof verdict->detail,
                 "the noted head must be ID:HASH, a row's id and the 64 digits of its hash");
        return;
    }
    dynbuf_init(&lines, PAGE_BYTES + AUDIT_LINE_MAX + AUDIT_HASH_SIZE + 64);
    while (verdict->is_whole && !cursor.is_done) {
        dynbuf_reset(&lines);
        if (mutex != NULL)
            pthread_mutex_lock(mutex);
        verdict->was_read = read_page(db, &cursor, &lines, &verdict->head);
        if (!verdict->was_read)
            snprintf(verdict->detail, sizeof verdict->detail, "cannot read the audit log: %s",
                     sqlite3_errmsg(db));
        if (mutex != NULL)
            pthread_mutex_unlock(mutex);
        verdict->is_whole = verdict->was_read && take_lines(&chain, &lines, verdict);
    }
    verdict->is_whole = verdict->is_whole && check_end(&chain, verdict);
    verdict->entries = chain.entries;
    dynbuf_fini(&lines);
}

void store_audit_verify(struct store *store, const char *expect,
                        struct store_audit_verdict *verdict)
{
    store_audit_check(store->db, &store->mutex, expect, verdict);
}

void store_audit_verify_file(const char *path, const char *expect,
                             struct store_audit_verdict *verdict)
{
    char error[sizeof verdict->detail];
    sqlite3 *db = NULL;
    int64_t version = 0;
    *verdict = (struct store_audit_verdict){0};
    if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK) {
        store_explain(path, db, "open it", error, sizeof error);
    } else if (!store_run(db, "PRAGMA locking_mode = EXCLUSIVE; PRAGMA trusted_schema = OFF")) {
        store_explain(path, db, "read it", error, sizeof error);
    } else if (store_check_identity(path, db, &version, error, sizeof error)) {
        if (version < 3) {
            snprintf(error, sizeof error,
                     "%s has the schema of a version that did not chain its audit log", path);
        } else {
            store_audit_check(db, NULL, expect, verdict);
            sqlite3_close(db);
            return;
        }
    }
    memcpy(verdict->detail, error, sizeof verdict->detail);
    sqlite3_close(db);
}
