/* The table of log-ins. Ids are kept as their SHA-256 and compared in constant time, so neither a
 * memory dump nor a clock gives one away. Any thread. Must never outgrow SESSIONS_MAX. */
#include "controlplane/sessions.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "controlplane/token.h"

struct entry {
    bool is_used;
    uint8_t id_hash[TOKEN_HASH_SIZE];
    uint64_t last_ns;
    struct session session;
};

struct sessions {
    pthread_mutex_t mutex;
    uint64_t idle_ns, lifetime_ns;
    struct entry entries[SESSIONS_MAX];
};

struct sessions *sessions_new(unsigned idle_s, unsigned lifetime_s)
{
    struct sessions *sessions = calloc(1, sizeof *sessions);
    CHECK(sessions != NULL);
    pthread_mutex_init(&sessions->mutex, NULL);
    sessions->idle_ns = idle_s * NS_PER_S;
    sessions->lifetime_ns = lifetime_s * NS_PER_S;
    return sessions;
}

void sessions_free(struct sessions *sessions)
{
    if (sessions == NULL)
        return;
    pthread_mutex_destroy(&sessions->mutex);
    free(sessions);
}

static bool is_over(const struct entry *entry, uint64_t now_ns)
{
    return now_ns >= entry->session.idle_end_ns || now_ns >= entry->session.end_ns;
}

static void touch(const struct sessions *sessions, struct entry *entry, uint64_t now_ns)
{
    entry->last_ns = now_ns;
    entry->session.idle_end_ns = now_ns + sessions->idle_ns;
}

/* A free or ended place, else that of the session idle for longest. The mutex is held. */
static struct entry *make_room(struct sessions *sessions, uint64_t now_ns)
{
    struct entry *idlest = &sessions->entries[0];
    for (size_t i = 0; i < SESSIONS_MAX; i++) {
        struct entry *entry = &sessions->entries[i];
        if (!entry->is_used || is_over(entry, now_ns))
            return entry;
        if (entry->last_ns < idlest->last_ns)
            idlest = entry;
    }
    return idlest;
}

bool sessions_begin(struct sessions *sessions, uint64_t token_id, uint64_t now_ns,
                    char id[SESSION_ID_SIZE], struct session *session)
{
    *session = (struct session){.token_id = token_id};
    if (!token_random_text(id) || !token_random_text(session->csrf))
        return false;
    session->end_ns = now_ns + sessions->lifetime_ns;
    pthread_mutex_lock(&sessions->mutex);
    struct entry *entry = make_room(sessions, now_ns);
    *entry = (struct entry){.is_used = true, .session = *session};
    token_hash(id, strlen(id), entry->id_hash);
    touch(sessions, entry, now_ns);
    *session = entry->session;
    pthread_mutex_unlock(&sessions->mutex);
    return true;
}

/* The living entry, or NULL; ended ones are wiped on the way. The mutex is held. */
static struct entry *find(struct sessions *sessions, const char *id, size_t length, uint64_t now_ns)
{
    uint8_t hash[TOKEN_HASH_SIZE];
    struct entry *found = NULL;
    token_hash(id, length, hash);
    for (size_t i = 0; i < SESSIONS_MAX; i++) {
        struct entry *entry = &sessions->entries[i];
        if (entry->is_used && is_over(entry, now_ns))
            memset(entry, 0, sizeof *entry);
        if (entry->is_used && token_hash_equals(entry->id_hash, hash))
            found = entry;
    }
    return found;
}

bool sessions_find(struct sessions *sessions, const char *id, size_t length, bool is_use,
                   uint64_t now_ns, struct session *session)
{
    pthread_mutex_lock(&sessions->mutex);
    struct entry *entry = find(sessions, id, length, now_ns);
    if (entry != NULL) {
        if (is_use)
            touch(sessions, entry, now_ns);
        *session = entry->session;
    }
    pthread_mutex_unlock(&sessions->mutex);
    return entry != NULL;
}

void sessions_end(struct sessions *sessions, const char *id, size_t length)
{
    pthread_mutex_lock(&sessions->mutex);
    struct entry *entry = find(sessions, id, length, 0);
    if (entry != NULL)
        memset(entry, 0, sizeof *entry);
    pthread_mutex_unlock(&sessions->mutex);
}
