/* The data plane's end of the control link. Owned by the main thread; runs on its event_base.
 *
 * States: DOWN (no link, a retry is armed) -> HELLO (connected, HELLO sent) -> SYNCED (the control
 * plane sent its state) -> STALE (the link broke; the last snapshot keeps serving, a retry is
 * armed) -> HELLO ... Nothing in the data path waits for any of it. A snapshot is checked, applied
 * through the hook, saved, and only then acknowledged. Never trusts the peer's text: the codec has
 * measured it, the digest is recomputed, and a refusal always names its reason. */
#include "dataplane/agent.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <openssl/rand.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/link.h"
#include "common/log.h"
#include "dataplane/config.h"
#include "dataplane/snapshot_message.h"
#include "proto/ctl_codec.h"

#define RETRY_MIN_MS   50
#define RETRY_MAX_MS   5000
#define TICK_MS        1000
#define LAST_GOOD_NAME "last-good.json"
#define LAST_GOOD_MAX  65536
#define MESSAGE_MAX    65536 /* what we send: a few kilobytes at most */

enum agent_state { AGENT_DOWN, AGENT_HELLO, AGENT_SYNCED, AGENT_STALE };

/* An answer that the control plane awaits. */
struct owed_answer {
    uint64_t nonce;
    uint64_t since_ns;
    bool has_link; /* false: its link broke, nobody awaits the answer */
};

struct agent {
    struct event_base *base;
    const struct config *config;
    struct agent_hooks hooks;
    struct event *retry_event;
    struct event *tick_event;
    struct link *link; /* NULL: not connected */
    enum agent_state state;
    unsigned retry_ms;
    uint64_t since_ns, last_ping_ns; /* of this link */
    uint64_t newest_nonce;           /* offered on it */
    char failure[384]; /* logged last: one line for a cause, not one an attempt; "": none */
    char instance[37];
    char address[128];

    struct snapshot *current; /* in force */
    bool current_is_saved;

    /* One apply at a time; of the snapshots that arrive meanwhile only the newest waits. */
    struct snapshot *applying;
    struct owed_answer owed_for_applying;
    struct ctl_snapshot queued;
    bool has_queued;

    /* A cluster has come into use, and writes of before are on their way. */
    bool is_settling;
    struct owed_answer owed_when_settled;
};

static void process_snapshot(struct agent *agent, const struct ctl_snapshot *wanted);

/* ---- last-good file ---- */

static bool digest_is_right(const struct ctl_snapshot *message)
{
    char digest[CTL_DIGEST_HEX + 1];
    ctl_snapshot_digest(message, digest);
    return strcmp(digest, message->digest) == 0;
}

/* Writes all of text to a new file and fsyncs it. */
static bool write_file(int directory, const char *name, const struct dynbuf *text)
{
    int fd = openat(directory, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0640);
    if (fd < 0)
        return false;
    size_t done = 0;
    while (done < text->length) {
        ssize_t wrote = write(fd, text->data + done, text->length - done);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote <= 0)
            break;
        done += (size_t)wrote;
    }
    bool good = done == text->length && fsync(fd) == 0;
    int cause = errno;
    good = close(fd) == 0 && good;
    if (!good && cause != 0)
        errno = cause;
    return good;
}

/* Makes snapshot the state a restart begins with. true also when no STATE_DIRECTORY is set. */
static bool save_last_good(const struct config *config, const struct snapshot *snapshot,
                           char *error, size_t error_size)
{
    if (config->state_directory == NULL || config->state_directory[0] == '\0')
        return true;
    struct ctl_message message = {.type = CTL_SNAPSHOT};
    struct dynbuf text;
    snapshot_to_message(snapshot, &message.snapshot);
    dynbuf_init(&text, LAST_GOOD_MAX);
    bool good = ctl_encode(&message, &text) && dynbuf_append_text(&text, "\n");
    const char *step = "encode";
    int directory = -1;
    if (good) {
        step = "open the directory";
        if (mkdir(config->state_directory, 0750) != 0 && errno != EEXIST)
            good = false;
        directory = good ? open(config->state_directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
        good = directory >= 0;
    }
    if (good) {
        step = "write";
        good = write_file(directory, LAST_GOOD_NAME ".tmp", &text);
    }
    if (good) {
        step = "rename";
        good = renameat(directory, LAST_GOOD_NAME ".tmp", directory, LAST_GOOD_NAME) == 0 &&
               fsync(directory) == 0;
    }
    if (!good)
        snprintf(error, error_size, "cannot %s " LAST_GOOD_NAME " in STATE_DIRECTORY: %s", step,
                 strerror(errno));
    if (directory >= 0)
        close(directory);
    dynbuf_fini(&text);
    return good;
}

/* false: why is set ("" when the file simply does not exist). */
static bool read_last_good(const struct config *config, struct ctl_message *message, char *why,
                           size_t why_size)
{
    char path[4096];
    char text[LAST_GOOD_MAX];
    why[0] = '\0';
    int length = snprintf(path, sizeof path, "%s/%s", config->state_directory, LAST_GOOD_NAME);
    if (length < 0 || (size_t)length >= sizeof path) {
        snprintf(why, why_size, "the path is too long");
        return false;
    }
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        if (errno != ENOENT)
            snprintf(why, why_size, "%s", strerror(errno));
        return false;
    }
    size_t used = 0;
    ssize_t got = 0;
    while (used < sizeof text &&
           ((got = read(fd, text + used, sizeof text - used)) > 0 || (got < 0 && errno == EINTR)))
        used += got > 0 ? (size_t)got : 0;
    int cause = errno;
    close(fd);
    if (got < 0) {
        snprintf(why, why_size, "%s", strerror(cause));
        return false;
    }
    if (used == sizeof text) {
        snprintf(why, why_size, "the file is too long");
        return false;
    }
    if (ctl_decode(text, used, message, why, why_size) != CTL_GOOD)
        return false;
    if (message->type != CTL_SNAPSHOT) {
        snprintf(why, why_size, "it holds a %s, not a SNAPSHOT", ctl_type_name(message->type));
        return false;
    }
    if (message->snapshot.store_id[0] == '\0' || !digest_is_right(&message->snapshot)) {
        snprintf(why, why_size, "the digest does not fit the content");
        return false;
    }
    const char *member;
    return snapshot_refuse_message(&message->snapshot, &member, why, why_size) == NULL;
}

bool agent_load_last_good(const struct config *config, struct snapshot *value)
{
    struct ctl_message message;
    char why[256];
    char quoted[600];
    if (config->state_directory == NULL || config->state_directory[0] == '\0')
        return false;
    if (read_last_good(config, &message, why, sizeof why)) {
        snapshot_from_message(&message.snapshot, value);
        return true;
    }
    if (why[0] != '\0')
        LOG_WARN("last_good_refused", "file=" LAST_GOOD_NAME " reason=%s using=environment",
                 log_quote(quoted, sizeof quoted, why, strlen(why)));
    return false;
}

/* ---- sending ---- */

static void send_message(struct agent *agent, const struct ctl_message *message)
{
    struct dynbuf text;
    dynbuf_init(&text, MESSAGE_MAX);
    CHECK(ctl_encode(message, &text));
    if (agent->link != NULL)
        (void)link_send(agent->link, dynbuf_text(&text), text.length);
    dynbuf_fini(&text);
}

static void send_hello(struct agent *agent)
{
    const struct snapshot *current = agent->current;
    struct ctl_message message = {.type = CTL_HELLO};
    struct ctl_hello *hello = &message.hello;
    hello->protocol = CTL_PROTOCOL;
    hello->pid = (uint64_t)getpid();
    hello->applied_revision = current->revision;
    hello->forward_reads_to_target = current->forward_reads_to_target;
    hello->forward_system_queries_to_target = current->forward_system_queries_to_target;
    hello->shadow_read_percent = current->shadow_read_percent;
    snprintf(hello->instance, sizeof hello->instance, "%s", agent->instance);
    snprintf(hello->address, sizeof hello->address, "%s", agent->address);
    snprintf(hello->version, sizeof hello->version, "%s", CLOUDGATE_VERSION);
    snprintf(hello->features, sizeof hello->features, "%s", SNAPSHOT_FEATURES);
    snprintf(hello->applied_store_id, sizeof hello->applied_store_id, "%s", current->store_id);
    snprintf(hello->applied_digest, sizeof hello->applied_digest, "%s", current->digest);
    send_message(agent, &message);
}

static void send_ack(struct agent *agent, uint64_t nonce, uint64_t since_ns)
{
    struct ctl_message message = {.type = CTL_ACK};
    message.ack.nonce = nonce;
    message.ack.revision = agent->current->revision;
    message.ack.elapsed_us = (clock_now_ns() - since_ns) / 1000;
    snprintf(message.ack.store_id, sizeof message.ack.store_id, "%s", agent->current->store_id);
    snprintf(message.ack.digest, sizeof message.ack.digest, "%s", agent->current->digest);
    agent->state = AGENT_SYNCED;
    send_message(agent, &message);
}

static void send_nack(struct agent *agent, uint64_t nonce, const char *reason, const char *member,
                      const char *detail)
{
    char quoted[600];
    struct ctl_message message = {.type = CTL_NACK};
    struct ctl_nack *nack = &message.nack;
    nack->nonce = nonce;
    nack->revision = agent->current->revision;
    snprintf(nack->store_id, sizeof nack->store_id, "%s", agent->current->store_id);
    snprintf(nack->digest, sizeof nack->digest, "%s", agent->current->digest);
    snprintf(nack->reason, sizeof nack->reason, "%s", reason);
    snprintf(nack->member, sizeof nack->member, "%s", member);
    snprintf(nack->detail, sizeof nack->detail, "%s", detail);
    LOG_WARN("snapshot_refused", "reason=%s member=%s detail=%s", reason, member,
             log_quote(quoted, sizeof quoted, detail, strlen(detail)));
    send_message(agent, &message);
}

/* ---- applying ---- */

/* Saves what is in force if that is still owed, then answers. */
static void save_and_answer(struct agent *agent, struct owed_answer owed)
{
    char error[256];
    if (!agent->current_is_saved)
        agent->current_is_saved =
            save_last_good(agent->config, agent->current, error, sizeof error);
    if (!agent->current_is_saved) {
        char quoted[600];
        LOG_ERROR("last_good_not_saved", "revision=%llu reason=%s",
                  (unsigned long long)agent->current->revision,
                  log_quote(quoted, sizeof quoted, error, strlen(error)));
        if (owed.has_link)
            send_nack(agent, owed.nonce, "not_saved", "", error);
    } else if (agent->is_settling) {
        agent->owed_when_settled = owed; /* it stands for any before it */
    } else if (owed.has_link) {
        send_ack(agent, owed.nonce, owed.since_ns);
    }
}

/* Why wanted must not replace what is in force; NULL: it may. */
static const char *refusal(const struct snapshot *current, const struct ctl_snapshot *wanted,
                           const char **member, char *detail, size_t detail_size)
{
    bool same_store = strcmp(current->store_id, wanted->store_id) == 0;
    *member = "store_id";
    if (wanted->store_id[0] == '\0') {
        snprintf(detail, detail_size, "a snapshot must name its store");
        return "store_missing";
    }
    *member = "digest";
    if (!digest_is_right(wanted)) {
        snprintf(detail, detail_size, "the digest does not fit the content");
        return "digest_mismatch";
    }
    const char *reason = snapshot_refuse_message(wanted, member, detail, detail_size);
    if (reason != NULL)
        return reason;
    if (current->store_id[0] == '\0' || wanted->adopt)
        return NULL;
    *member = "store_id";
    if (!same_store) {
        snprintf(detail, detail_size, "in force is store %s; another one needs adopt",
                 current->store_id);
        return "store_differs";
    }
    *member = "revision";
    if (wanted->revision < current->revision) {
        snprintf(detail, detail_size,
                 "in force is revision %llu of the same store, offered was %llu",
                 (unsigned long long)current->revision, (unsigned long long)wanted->revision);
        return "revision_regressed";
    }
    if (wanted->revision == current->revision && strcmp(wanted->digest, current->digest) != 0) {
        snprintf(detail, detail_size, "revision %llu is in force with another content",
                 (unsigned long long)current->revision);
        return "revision_differs";
    }
    return NULL;
}

static void process_snapshot(struct agent *agent, const struct ctl_snapshot *wanted)
{
    char detail[256];
    const char *member;
    struct owed_answer owed = {
        .nonce = wanted->nonce, .since_ns = clock_now_ns(), .has_link = true};
    const char *reason = refusal(agent->current, wanted, &member, detail, sizeof detail);
    if (reason != NULL) {
        send_nack(agent, wanted->nonce, reason, member, detail);
        return;
    }
    if (strcmp(agent->current->digest, wanted->digest) ==
        0) { /* the digest covers store, revision and content */
        save_and_answer(agent, owed);
        return;
    }
    struct snapshot value;
    snapshot_from_message(wanted, &value);
    agent->applying = snapshot_new(&value);
    agent->owed_for_applying = owed;
    agent->hooks.apply(agent->hooks.context, agent->applying);
}

static bool has_idle_cluster(const struct snapshot *snapshot)
{
    return snapshot_is_idle(snapshot, CLUSTER_ORIGIN) || snapshot_is_idle(snapshot, CLUSTER_TARGET);
}

void agent_on_settled(struct agent *agent)
{
    struct owed_answer owed = agent->owed_when_settled;
    if (!agent->is_settling)
        return; /* the cluster went out of use meanwhile */
    agent->is_settling = false;
    LOG_INFO("writes_settled", "revision=%llu elapsed_us=%llu",
             (unsigned long long)agent->current->revision,
             (unsigned long long)((clock_now_ns() - owed.since_ns) / 1000));
    if (owed.has_link)
        send_ack(agent, owed.nonce, owed.since_ns);
}

void agent_on_applied(struct agent *agent)
{
    CHECK(agent->applying != NULL);
    bool begins = snapshot_enters(agent->current, agent->applying, CLUSTER_ORIGIN) ||
                  snapshot_enters(agent->current, agent->applying, CLUSTER_TARGET);
    agent->is_settling = begins || (agent->is_settling && !has_idle_cluster(agent->applying));
    snapshot_put(agent->current);
    agent->current = agent->applying;
    agent->applying = NULL;
    agent->current_is_saved = false;
    char quoted[2 + 4 * STORE_ID_MAX + 8];
    struct dynbuf state;
    dynbuf_init(&state, 1024);
    snapshot_describe(agent->current, &state);
    LOG_INFO("snapshot_applied", "store_id=%s %s elapsed_us=%llu",
             log_quote(quoted, sizeof quoted, agent->current->store_id,
                       strlen(agent->current->store_id)),
             dynbuf_text(&state),
             (unsigned long long)((clock_now_ns() - agent->owed_for_applying.since_ns) / 1000));
    dynbuf_fini(&state);
    if (begins) {
        agent->owed_when_settled = agent->owed_for_applying;
        agent->owed_when_settled.has_link = false; /* until it is saved */
    }
    save_and_answer(agent, agent->owed_for_applying);
    if (begins)
        agent->hooks.settle(agent->hooks.context);
    if (agent->has_queued) {
        struct ctl_snapshot next = agent->queued;
        agent->has_queued = false;
        process_snapshot(agent, &next);
    }
}

/* ---- the link ---- */

static void arm(struct event *event, unsigned ms)
{
    struct timeval delay = {.tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000};
    event_add(event, &delay);
}

/* Waits between half and all of the current delay, then doubles it: a fleet does not come back in
 * step. */
static void retry_later(struct agent *agent)
{
    unsigned half = agent->retry_ms / 2;
    uint16_t dice = 0;
    if (RAND_bytes((unsigned char *)&dice, sizeof dice) != 1)
        dice = (uint16_t)clock_now_ns();
    arm(agent->retry_event, half + dice % (half + 1));
    agent->retry_ms = agent->retry_ms * 2 < RETRY_MAX_MS ? agent->retry_ms * 2 : RETRY_MAX_MS;
}

static void drop_link(struct agent *agent, const char *reason)
{
    char quoted[600];
    if (agent->state == AGENT_SYNCED || strcmp(agent->failure, reason) != 0) {
        LOG_WARN("control_link_lost", "reason=%s serving=%s",
                 log_quote(quoted, sizeof quoted, reason, strlen(reason)),
                 agent->current->store_id[0] == '\0' ? "environment" : "last_good");
        snprintf(agent->failure, sizeof agent->failure, "%s", reason);
    }
    link_free(agent->link);
    agent->link = NULL;
    agent->state = agent->state == AGENT_DOWN ? AGENT_DOWN : AGENT_STALE;
    agent->owed_for_applying.has_link = agent->owed_when_settled.has_link = false;
    agent->has_queued = false; /* nonces live as long as the link */
    retry_later(agent);
}

static void on_closed(void *context, const char *reason)
{
    drop_link(context, reason);
}

static void on_snapshot(struct agent *agent, const struct ctl_snapshot *snapshot)
{
    char quoted[600];
    if (agent->state == AGENT_HELLO) {
        LOG_INFO("control_link_up", "store_id=%s revision=%llu",
                 log_quote(quoted, sizeof quoted, snapshot->store_id, strlen(snapshot->store_id)),
                 (unsigned long long)snapshot->revision);
        agent->state = AGENT_SYNCED;
        agent->failure[0] = '\0';
    }
    agent->retry_ms = RETRY_MIN_MS;
    /* Nonces grow: this one was overtaken. Its `adopt` must not bring an old state back. */
    if (snapshot->nonce < agent->newest_nonce) {
        LOG_INFO("snapshot_late", "nonce=%llu newest=%llu", (unsigned long long)snapshot->nonce,
                 (unsigned long long)agent->newest_nonce);
        return;
    }
    agent->newest_nonce = snapshot->nonce;
    if (agent->applying != NULL) {
        agent->queued = *snapshot;
        agent->has_queued = true;
    } else {
        process_snapshot(agent, snapshot);
    }
}

static void on_message(void *context, const char *text, size_t length)
{
    struct agent *agent = context;
    struct ctl_message message;
    char error[384];
    char quoted[800];
    enum ctl_verdict verdict = ctl_decode(text, length, &message, error, sizeof error);
    if (verdict == CTL_UNKNOWN) {
        LOG_DEBUG("control_message_ignored", "reason=%s",
                  log_quote(quoted, sizeof quoted, error, strlen(error)));
        return;
    }
    if (verdict == CTL_BAD) {
        LOG_WARN("control_message_bad", "reason=%s",
                 log_quote(quoted, sizeof quoted, error, strlen(error)));
        drop_link(agent, "bad message from the control plane");
        return;
    }
    switch (message.type) {
    case CTL_SNAPSHOT:
        on_snapshot(agent, &message.snapshot);
        break;
    case CTL_PING:
        break; /* its arrival was its meaning */
    case CTL_REFUSED:
        snprintf(error, sizeof error, "refused by the control plane: %s %s", message.refused.reason,
                 message.refused.detail);
        drop_link(agent, error);
        break;
    default:
        drop_link(agent, "the control plane sent a message only data planes send");
        break;
    }
}

static void connect_now(struct agent *agent)
{
    struct link_peer peer;
    const char *reason = NULL;
    int fd = link_connect(agent->config->control_socket);
    if (fd < 0)
        reason = strerror(errno);
    else if (!link_peer_is_trusted(fd, &peer))
        reason = "the process at CONTROL_SOCKET runs as another user";
    if (reason == NULL) {
        struct link_hooks hooks = {
            .context = agent, .on_message = on_message, .on_closed = on_closed};
        agent->link = link_new(agent->base, fd, &hooks);
        fd = -1;
        if (agent->link == NULL)
            reason = "out of memory";
    }
    if (reason != NULL) {
        if (fd >= 0)
            close(fd);
        drop_link(agent, reason);
        return;
    }
    agent->state = AGENT_HELLO;
    agent->since_ns = agent->last_ping_ns = clock_now_ns();
    agent->newest_nonce = 0;
    send_hello(agent);
}

static void on_retry(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    connect_now(context);
}

static void send_stats(struct agent *agent)
{
    struct ctl_message message = {.type = CTL_STATS};
    agent->hooks.stats(agent->hooks.context, &message.stats);
    send_message(agent, &message);
}

static void on_tick(evutil_socket_t fd, short what, void *context)
{
    struct agent *agent = context;
    uint64_t now_ns = clock_now_ns();
    (void)fd;
    (void)what;
    arm(agent->tick_event, TICK_MS);
    if (agent->link == NULL)
        return;
    if (now_ns - link_last_received_ns(agent->link) > CTL_PEER_TIMEOUT_MS * NS_PER_MS) {
        drop_link(agent, "the control plane went silent");
        return;
    }
    if (agent->state == AGENT_HELLO && now_ns - agent->since_ns > CTL_PEER_TIMEOUT_MS * NS_PER_MS) {
        drop_link(agent, "the control plane answered HELLO with no state");
        return;
    }
    if (agent->state == AGENT_SYNCED)
        send_stats(agent);
    if (agent->link != NULL && now_ns - agent->last_ping_ns >= CTL_PING_INTERVAL_MS * NS_PER_MS) {
        struct ctl_message message = {.type = CTL_PING};
        agent->last_ping_ns = now_ns;
        send_message(agent, &message);
    }
}

/* ---- life ---- */

static void make_uuid(char text[37])
{
    unsigned char b[16];
    CHECK(RAND_bytes(b, sizeof b) == 1);
    b[6] = (unsigned char)((b[6] & 0x0f) | 0x40);
    b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
    snprintf(text, 37, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0],
             b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13],
             b[14], b[15]);
}

struct agent *agent_new(struct event_base *base, const struct config *config,
                        struct snapshot *current, const struct agent_hooks *hooks)
{
    if (config->control_socket == NULL || config->control_socket[0] == '\0')
        return NULL;
    struct agent *agent = calloc(1, sizeof *agent);
    CHECK(agent != NULL);
    agent->base = base;
    agent->config = config;
    agent->hooks = *hooks;
    agent->retry_ms = RETRY_MIN_MS;
    agent->current = snapshot_get(current);
    make_uuid(agent->instance);
    int length = snprintf(agent->address, sizeof agent->address,
                          strchr(config->query_address, ':') ? "[%s]:%d#%d" : "%s:%d#%d",
                          config->query_address, config->query_port, config->proxy_index);
    /* Those that share all of that still have an HTTP port of their own. */
    if (config->share_port && length > 0 && (size_t)length < sizeof agent->address)
        snprintf(agent->address + length, sizeof agent->address - (size_t)length, "/%d",
                 config->metrics_port);
    agent->retry_event = evtimer_new(base, on_retry, agent);
    agent->tick_event = evtimer_new(base, on_tick, agent);
    CHECK(agent->retry_event != NULL && agent->tick_event != NULL);
    arm(agent->retry_event, 0);
    arm(agent->tick_event, TICK_MS);
    return agent;
}

void agent_free(struct agent *agent)
{
    if (agent == NULL)
        return;
    link_free(agent->link);
    event_free(agent->retry_event);
    event_free(agent->tick_event);
    snapshot_put(agent->applying);
    snapshot_put(agent->current);
    free(agent);
}

bool agent_is_connected(const struct agent *agent)
{
    return agent != NULL && agent->state == AGENT_SYNCED;
}
