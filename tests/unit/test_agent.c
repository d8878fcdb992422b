/* The data plane's agent against a control plane played here, on a real unix socket, one event loop
 * for both. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include <event2/event.h>

#include "common/clock.h"
#include "common/link.h"
#include "dataplane/agent.h"
#include "dataplane/config.h"
#include "proto/ctl_codec.h"
#include "proto/ctl_features.h"

#define RECEIVED_MAX 64

struct play {
    char directory[64], socket_path[96], state_path[96];
    struct event_base *base;
    struct config config;
    struct agent *agent;
    struct snapshot *start;
    /* The data plane's side. */
    bool hold_apply; /* apply returns without agent_on_applied */
    unsigned applies;
    struct snapshot last_applied;
    bool saved_before_ack;
    /* The control plane's side. */
    struct link_listener listener;
    struct event *accept_event;
    struct link *link;
    bool link_closed;
    unsigned accepted;
    struct ctl_message received[RECEIVED_MAX];
    unsigned received_count;
};

static void on_apply(void *context, struct snapshot *snapshot)
{
    struct play *play = context;
    play->applies++;
    play->last_applied = *snapshot;
    if (!play->hold_apply)
        agent_on_applied(play->agent);
}

static void on_settle(void *context)
{
    struct play *play = context;
    agent_on_settled(play->agent);
}

static void on_stats(void *context, struct ctl_stats *stats)
{
    (void)context;
    *stats = (struct ctl_stats){
        .reads_origin = 1, .reads_target = 2, .writes = 3, .client_connections = 4};
}

static void on_message(void *context, const char *text, size_t length)
{
    struct play *play = context;
    char error[256];
    assert_true(play->received_count < RECEIVED_MAX);
    struct ctl_message *message = &play->received[play->received_count];
    assert_int_equal(ctl_decode(text, length, message, error, sizeof error), CTL_GOOD);
    play->received_count++;
    if (message->type == CTL_ACK) {
        struct snapshot saved;
        play->saved_before_ack =
            agent_load_last_good(&play->config, &saved) && saved.revision == message->ack.revision;
    }
}

static void on_closed(void *context, const char *reason)
{
    struct play *play = context;
    (void)reason;
    play->link_closed = true;
    link_free(play->link);
    play->link = NULL;
}

static void on_accept(evutil_socket_t fd, short what, void *context)
{
    struct play *play = context;
    struct link_hooks hooks = {.context = play, .on_message = on_message, .on_closed = on_closed};
    struct link_peer peer;
    (void)what;
    int accepted = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    assert_true(accepted >= 0);
    assert_true(link_peer_is_trusted(accepted, &peer));
    assert_int_equal(peer.pid, getpid());
    link_free(play->link);
    play->link = link_new(play->base, accepted, &hooks);
    play->link_closed = false;
    play->accepted++;
}

static void listen_now(struct play *play)
{
    char error[256];
    if (!link_listen(&play->listener, play->socket_path, error, sizeof error))
        fail_msg("%s", error);
    play->accept_event =
        event_new(play->base, play->listener.fd, EV_READ | EV_PERSIST, on_accept, play);
    event_add(play->accept_event, NULL);
}

static void stop_listening(struct play *play)
{
    if (play->accept_event == NULL)
        return;
    event_free(play->accept_event);
    play->accept_event = NULL;
    link_listener_close(&play->listener);
    link_free(play->link);
    play->link = NULL;
}

static void start_agent(struct play *play)
{
    struct agent_hooks hooks = {
        .context = play, .apply = on_apply, .settle = on_settle, .stats = on_stats};
    play->agent = agent_new(play->base, &play->config, play->start, &hooks);
    assert_non_null(play->agent);
}

static int set_up(void **state)
{
    struct play *play = calloc(1, sizeof *play);
    struct snapshot start = {.forward_system_queries_to_target = true};
    assert_non_null(play);
    snprintf(play->directory, sizeof play->directory, "/tmp/cloudgate-agent-XXXXXX");
    assert_non_null(mkdtemp(play->directory));
    snprintf(play->socket_path, sizeof play->socket_path, "%s/s", play->directory);
    snprintf(play->state_path, sizeof play->state_path, "%s/state", play->directory);
    play->base = event_base_new();
    play->config.control_socket = play->socket_path;
    play->config.state_directory = play->state_path;
    play->config.query_address = (char *)(uintptr_t) "127.0.0.1";
    play->config.query_port = 14002;
    play->config.proxy_index = 3;
    play->start = snapshot_new(&start);
    play->listener.fd = -1;
    *state = play;
    return 0;
}

static void remove_file(const struct play *play, const char *name)
{
    char path[160];
    snprintf(path, sizeof path, "%s/%s", play->state_path, name);
    unlink(path);
}

static int tear_down(void **state)
{
    struct play *play = *state;
    agent_free(play->agent);
    stop_listening(play);
    snapshot_put(play->start);
    event_base_free(play->base);
    chmod(play->state_path, 0700);
    remove_file(play, "last-good.json");
    remove_file(play, "last-good.json.tmp");
    rmdir(play->state_path);
    unlink(play->state_path);
    rmdir(play->directory);
    free(play);
    return 0;
}

/* Runs the loop until condition holds; fails after 15 s. */
#define UNTIL(play, condition)                                                                     \
    do {                                                                                           \
        uint64_t until_end_ns = clock_now_ns() + 15 * NS_PER_S;                                    \
        while (!(condition)) {                                                                     \
            struct timeval until_tick = {.tv_usec = 20000};                                        \
            event_base_loopexit((play)->base, &until_tick);                                        \
            event_base_loop((play)->base, EVLOOP_ONCE);                                            \
            if (clock_now_ns() > until_end_ns)                                                     \
                fail_msg("still not: %s", #condition);                                             \
        }                                                                                          \
    } while (0)

static const struct ctl_message *last(const struct play *play, enum ctl_type type)
{
    for (unsigned i = play->received_count; i > 0; i--)
        if (play->received[i - 1].type == type)
            return &play->received[i - 1];
    return NULL;
}

static unsigned count(const struct play *play, enum ctl_type type)
{
    unsigned found = 0;
    for (unsigned i = 0; i < play->received_count; i++)
        found += play->received[i].type == type;
    return found;
}

static struct ctl_message snapshot_message(const char *store_id, uint64_t revision, uint64_t nonce,
                                           bool reads)
{
    struct ctl_message message = {.type = CTL_SNAPSHOT};
    message.snapshot.nonce = nonce;
    message.snapshot.revision = revision;
    message.snapshot.forward_reads_to_target = reads;
    snprintf(message.snapshot.store_id, sizeof message.snapshot.store_id, "%s", store_id);
    ctl_snapshot_digest(&message.snapshot, message.snapshot.digest);
    return message;
}

static void send_message(struct play *play, const struct ctl_message *message)
{
    struct dynbuf text;
    dynbuf_init(&text, 65536);
    assert_true(ctl_encode(message, &text));
    assert_true(link_send(play->link, dynbuf_text(&text), text.length));
    dynbuf_fini(&text);
}

static void push(struct play *play, const char *store_id, uint64_t revision, uint64_t nonce,
                 bool reads)
{
    struct ctl_message message = snapshot_message(store_id, revision, nonce, reads);
    send_message(play, &message);
}

static void connect_agent(struct play *play)
{
    listen_now(play);
    start_agent(play);
    UNTIL(play, count(play, CTL_HELLO) == 1);
}

/* Waits for the answer to nonce. NULL: an ACK came; else the reason of the NACK. */
static const char *answer_to(struct play *play, uint64_t nonce)
{
    const struct ctl_message *ack, *nack;
    for (;;) {
        ack = last(play, CTL_ACK);
        nack = last(play, CTL_NACK);
        if (ack != NULL && ack->ack.nonce == nonce)
            return NULL;
        if (nack != NULL && nack->nack.nonce == nonce)
            return nack->nack.reason;
        unsigned before = play->received_count;
        UNTIL(play, play->received_count > before);
    }
}

static void test_hello_apply_save_ack(void **state)
{
    struct play *play = *state;
    connect_agent(play);
    const struct ctl_hello *hello = &last(play, CTL_HELLO)->hello;
    assert_int_equal(hello->protocol, CTL_PROTOCOL);
    assert_string_equal(hello->address, "127.0.0.1:14002#3");
    assert_int_equal(strlen(hello->instance), 36);
    assert_string_equal(hello->applied_store_id, "");
    assert_true(hello->forward_system_queries_to_target && !hello->forward_reads_to_target);
    assert_false(agent_is_connected(play->agent));
    push(play, "store-a", 5, 1, true);
    assert_null(answer_to(play, 1));
    assert_true(play->saved_before_ack);
    assert_true(agent_is_connected(play->agent));
    assert_int_equal(last(play, CTL_ACK)->ack.revision, 5);
    assert_true(play->last_applied.forward_reads_to_target);
    push(play, "store-a", 5, 2, true); /* the same again: acknowledged, not applied twice */
    assert_null(answer_to(play, 2));
    assert_int_equal(play->applies, 1);
    UNTIL(play, count(play, CTL_STATS) >= 1 && count(play, CTL_PING) >= 1);
    assert_int_equal(last(play, CTL_STATS)->stats.reads_target, 2);
}

static void test_refusals(void **state)
{
    struct play *play = *state;
    connect_agent(play);
    push(play, "store-a", 5, 1, true);
    assert_null(answer_to(play, 1));
    push(play, "store-a", 4, 2, false);
    assert_string_equal(answer_to(play, 2), "revision_regressed");
    assert_int_equal(last(play, CTL_NACK)->nack.revision, 5);
    assert_string_equal(last(play, CTL_NACK)->nack.member, "revision");
    push(play, "store-b", 50, 3, false);
    assert_string_equal(answer_to(play, 3), "store_differs");
    push(play, "store-a", 5, 4, false);
    assert_string_equal(answer_to(play, 4), "revision_differs");
    struct ctl_message message = snapshot_message("store-a", 6, 5, true);
    message.snapshot.forward_reads_to_target = false; /* the digest no longer fits */
    send_message(play, &message);
    assert_string_equal(answer_to(play, 5), "digest_mismatch");
    push(play, "", 7, 6, true);
    assert_string_equal(answer_to(play, 6), "store_missing");
    assert_int_equal(play->applies, 1);
    message = snapshot_message("store-b", 2, 7, false);
    message.snapshot.adopt = true;
    send_message(play, &message);
    assert_null(answer_to(play, 7));
    assert_string_equal(play->last_applied.store_id, "store-b");
    message = snapshot_message("store-b", 1, 8, true);
    message.snapshot.adopt = true;
    send_message(play, &message);
    assert_null(answer_to(play, 8));
    assert_int_equal(last(play, CTL_ACK)->ack.revision, 1);
}

/* An acknowledgement means that all of the state is done: what this data plane does not announce it
 * refuses, with the feature's name, and stays where it was. */
static void test_what_is_not_announced_is_refused(void **state)
{
    struct play *play = *state;
    uint64_t nonce = 2;
    connect_agent(play);
    uint32_t announced = ctl_features_announced(last(play, CTL_HELLO)->hello.features);
    push(play, "store-a", 1, 1, true);
    assert_null(answer_to(play, 1));
    const struct ctl_snapshot asking[] = {{.skip_origin = true,
                                           .forward_reads_to_target = true,
                                           .forward_system_queries_to_target = true},
                                          {.skip_target = true},
                                          {.canary_read_percent = 100},
                                          {.request_timeout_ms = 1000},
                                          {.stamp_timestamps = "false"},
                                          {.log_level = "INFO"}};
    for (size_t i = 0; i < ARRAY_COUNT(asking); i++, nonce++) {
        struct ctl_message message = {.type = CTL_SNAPSHOT, .snapshot = asking[i]};
        struct snapshot saved;
        message.snapshot.nonce = message.snapshot.revision = nonce;
        snprintf(message.snapshot.store_id, sizeof message.snapshot.store_id, "store-a");
        ctl_snapshot_digest(&message.snapshot, message.snapshot.digest);
        uint32_t missing = ctl_features_needed(&message.snapshot) & ~announced;
        send_message(play, &message);
        const char *reason = answer_to(play, nonce);
        assert_true(agent_load_last_good(&play->config, &saved));
        if (missing == 0) {
            assert_null(reason);
            assert_int_equal(saved.revision, nonce);
            assert_int_equal(saved.skip_writes[CLUSTER_ORIGIN], asking[i].skip_origin);
            assert_int_equal(saved.canary_read_percent, asking[i].canary_read_percent);
        } else {
            assert_string_equal(reason, "not_supported");
            assert_string_equal(last(play, CTL_NACK)->nack.member, ctl_features_word(missing));
            assert_true(saved.revision < nonce);
        }
    }
    struct ctl_message message = snapshot_message("store-a", nonce, nonce, false);
    message.snapshot.shadow_read_percent = 101;
    ctl_snapshot_digest(&message.snapshot, message.snapshot.digest);
    send_message(play, &message);
    assert_string_equal(answer_to(play, nonce), "out_of_range");
    assert_string_equal(last(play, CTL_NACK)->nack.member, "shadow_read_percent");
}

static void test_only_the_newest_waits(void **state)
{
    struct play *play = *state;
    connect_agent(play);
    play->hold_apply = true;
    for (uint64_t revision = 1; revision <= 4; revision++)
        push(play, "store-a", revision, revision, revision % 2 == 0);
    UNTIL(play, play->applies == 1);
    struct ctl_message ping = {.type = CTL_PING};
    send_message(play, &ping);
    UNTIL(play, count(play, CTL_PING) >= 1); /* time for the other three to have arrived */
    assert_int_equal(count(play, CTL_ACK), 0);
    agent_on_applied(play->agent);
    UNTIL(play, play->applies == 2);
    assert_int_equal(play->last_applied.revision, 4);
    play->hold_apply = false;
    agent_on_applied(play->agent);
    assert_null(answer_to(play, 4));
    assert_int_equal(count(play, CTL_ACK), 2);
}

/* Overtaken by a newer one, a snapshot gets no answer; its adopt brings nothing back. */
static void test_what_comes_late_is_ignored(void **state)
{
    struct play *play = *state;
    connect_agent(play);
    struct ctl_message old = snapshot_message("store-b", 1, 4, true);
    old.snapshot.adopt = true;
    push(play, "store-a", 9, 5, false);
    assert_null(answer_to(play, 5));
    send_message(play, &old);
    push(play, "store-a", 9, 5, false); /* the same nonce again is answered again */
    UNTIL(play, count(play, CTL_ACK) == 2);
    assert_int_equal(play->applies, 1);
    assert_int_equal(count(play, CTL_NACK), 0);
    assert_string_equal(play->last_applied.store_id, "store-a");
    link_free(play->link); /* on a new link nonces begin anew */
    play->link = NULL;
    UNTIL(play, count(play, CTL_HELLO) == 2);
    send_message(play, &old);
    assert_null(answer_to(play, 4));
    assert_string_equal(play->last_applied.store_id, "store-b");
}

static void test_it_comes_back(void **state)
{
    struct play *play = *state;
    start_agent(play); /* nobody listens yet */
    UNTIL(play, access(play->socket_path, F_OK) != 0);
    listen_now(play);
    UNTIL(play, count(play, CTL_HELLO) == 1);
    push(play, "store-a", 9, 1, true);
    assert_null(answer_to(play, 1));
    char instance[64];
    snprintf(instance, sizeof instance, "%s", last(play, CTL_HELLO)->hello.instance);
    stop_listening(play);
    UNTIL(play, !agent_is_connected(play->agent));
    listen_now(play);
    UNTIL(play, count(play, CTL_HELLO) == 2);
    const struct ctl_hello *hello = &last(play, CTL_HELLO)->hello;
    assert_string_equal(hello->instance, instance);
    assert_string_equal(hello->applied_store_id, "store-a");
    assert_int_equal(hello->applied_revision, 9);
    assert_true(hello->forward_reads_to_target);
}

/* The link breaks while an apply is under way: the apply counts, its ACK goes nowhere. */
static void test_a_break_while_applying(void **state)
{
    struct play *play = *state;
    struct snapshot saved;
    connect_agent(play);
    play->hold_apply = true;
    push(play, "store-a", 3, 1, true);
    push(play, "store-a", 4, 2, false);
    UNTIL(play, play->applies == 1);
    link_free(play->link);
    play->link = NULL;
    UNTIL(play, play->accepted == 2 && count(play, CTL_HELLO) == 2);
    play->hold_apply = false;
    agent_on_applied(play->agent);
    assert_true(agent_load_last_good(&play->config, &saved));
    assert_int_equal(saved.revision, 3);
    push(play, "store-a", 4, 1, false);
    assert_null(answer_to(play, 1));
    assert_int_equal(count(play, CTL_ACK), 1);
}

static void test_garbage_from_the_control_plane(void **state)
{
    struct play *play = *state;
    static const char *const texts[] = {
        "{}", "nonsense", "{\"type\":\"SNAPSHOT\"}", "{\"type\":\"STATS\"}",
        "{\"type\":\"REFUSED\",\"reason\":\"full\",\"detail\":\"no\\nroom\"}"};
    connect_agent(play);
    for (unsigned i = 0; i < ARRAY_COUNT(texts); i++) {
        assert_true(link_send(play->link, texts[i], strlen(texts[i])));
        UNTIL(play, count(play, CTL_HELLO) == i + 2);
    }
    static const char unknown[] = "{\"type\":\"TOMORROW\"}";
    assert_true(link_send(play->link, unknown, sizeof unknown - 1));
    push(play, "store-a", 1, 1, true);
    assert_null(answer_to(play, 1));
}

/* What cannot be saved is not acknowledged; once it can, the same snapshot is. */
static void test_an_unsaved_state_is_not_acknowledged(void **state)
{
    struct play *play = *state;
    FILE *file = fopen(play->state_path, "w"); /* a file where the directory should be */
    assert_non_null(file);
    fclose(file);
    connect_agent(play);
    push(play, "store-a", 5, 1, true);
    assert_string_equal(answer_to(play, 1), "not_saved");
    assert_int_equal(last(play, CTL_NACK)->nack.revision, 5); /* in force all the same */
    assert_int_equal(unlink(play->state_path), 0);
    push(play, "store-a", 5, 2, true);
    assert_null(answer_to(play, 2));
    assert_int_equal(play->applies, 1);
    assert_true(play->saved_before_ack);
}

static void test_damaged_last_good_is_refused(void **state)
{
    struct play *play = *state;
    struct snapshot saved;
    char path[160], text[4096];
    assert_false(agent_load_last_good(&play->config, &saved));
    connect_agent(play);
    push(play, "store-a", 77, 1, true);
    assert_null(answer_to(play, 1));
    assert_true(agent_load_last_good(&play->config, &saved));
    assert_int_equal(saved.revision, 77);
    assert_true(saved.forward_reads_to_target && !saved.forward_system_queries_to_target);
    snprintf(path, sizeof path, "%s/last-good.json", play->state_path);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    size_t length = fread(text, 1, sizeof text, file);
    fclose(file);
    for (size_t cut = 0; cut + 1 < length; cut++) { /* the last byte is a newline */
        file = fopen(path, "w");
        assert_int_equal(fwrite(text, 1, cut, file), cut);
        fclose(file);
        assert_false(agent_load_last_good(&play->config, &saved));
    }
    char *revision = strstr(text, "77");
    assert_non_null(revision);
    revision[0] = '8';
    file = fopen(path, "w");
    assert_int_equal(fwrite(text, 1, length, file), length);
    fclose(file);
    assert_false(agent_load_last_good(&play->config, &saved));
}

static void test_no_socket_no_agent(void **state)
{
    struct play *play = *state;
    struct agent_hooks hooks = {
        .context = play, .apply = on_apply, .settle = on_settle, .stats = on_stats};
    char empty[] = "";
    play->config.control_socket = empty;
    assert_null(agent_new(play->base, &play->config, play->start, &hooks));
    assert_false(agent_is_connected(NULL));
    agent_free(NULL);
}

/* Frames cut at every byte, several in one piece, and lengths that lie. */
static void test_framing(void **state)
{
    struct play *play = *state;
    int ends[2];
    static const uint8_t frames[] = {0,   0,   0,   15,  '{', '"', 't', 'y', 'p', 'e',
                                     '"', ':', '"', 'P', 'I', 'N', 'G', '"', '}'};
    struct link_hooks hooks = {.context = play, .on_message = on_message, .on_closed = on_closed};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
    play->link = link_new(play->base, ends[0], &hooks);
    for (size_t cut = 1; cut < sizeof frames; cut++) {
        unsigned before = play->received_count;
        assert_int_equal(write(ends[1], frames, cut), cut);
        event_base_loop(play->base, EVLOOP_NONBLOCK);
        assert_int_equal(play->received_count, before);
        assert_int_equal(write(ends[1], frames + cut, sizeof frames - cut), sizeof frames - cut);
        UNTIL(play, play->received_count == before + 1);
    }
    static const uint8_t liar[] = {0x00, 0x10, 0x00, 0x01, 'x'};
    assert_int_equal(write(ends[1], liar, sizeof liar), sizeof liar);
    UNTIL(play, play->link_closed);
    close(ends[1]);
}

static void test_a_peer_that_does_not_read_is_closed(void **state)
{
    struct play *play = *state;
    int ends[2];
    struct link_hooks hooks = {.context = play, .on_message = on_message, .on_closed = on_closed};
    static char text[LINK_MESSAGE_MAX];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
    play->link = link_new(play->base, ends[0], &hooks);
    assert_false(link_send(play->link, text, sizeof text + 1));
    unsigned sent = 0;
    while (link_send(play->link, text, sizeof text) && sent < 64)
        sent++;
    assert_in_range(sent, 3, 8);
    UNTIL(play, play->link_closed);
    close(ends[1]);
}

static void test_socket_files(void **state)
{
    struct play *play = *state;
    struct link_listener second;
    struct stat status;
    char error[256];
    listen_now(play);
    assert_int_equal(stat(play->socket_path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0660);
    assert_false(link_listen(&second, play->socket_path, error, sizeof error));
    assert_non_null(strstr(error, "listening"));
    assert_int_equal(stat(play->socket_path, &status), 0);
    close(play->listener.fd); /* as a killed process leaves it */
    event_free(play->accept_event);
    play->accept_event = NULL;
    assert_true(link_listen(&second, play->socket_path, error, sizeof error));
    link_listener_close(&second);
    assert_int_not_equal(stat(play->socket_path, &status), 0);
    FILE *file = fopen(play->socket_path, "w");
    assert_non_null(file);
    fclose(file);
    assert_false(link_listen(&second, play->socket_path, error, sizeof error));
    assert_non_null(strstr(error, "not a socket"));
    unlink(play->socket_path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_hello_apply_save_ack, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refusals, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_is_not_announced_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_only_the_newest_waits, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_comes_late_is_ignored, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_it_comes_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_break_while_applying, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_garbage_from_the_control_plane, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_an_unsaved_state_is_not_acknowledged, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_damaged_last_good_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_socket_no_agent, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_framing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_peer_that_does_not_read_is_closed, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_socket_files, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
