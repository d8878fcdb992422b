/* cqlload: asks a CQL server as fast as it answers (closed loop) or at a fixed rate (open loop),
 * and prints one JSON object of what it saw; --help names the options.
 *
 * One thread over epoll. In the open loop each request has a moment at which it should leave; its
 * latency counts from there, whether or not it could be sent then, so that a stall is not hidden by
 * the requests it kept from being sent. It must never spin: a program that waits by burning a core
 * takes it from what it measures. */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "common/check.h"
#include "common/clock.h"
#include "tests/bench/cqlload.h"
#include "tests/bench/histogram.h"
#include "tests/bench/usage.h"

#define EVENTS_PER_WAIT 256
#define SILENCE_NS      (15 * NS_PER_S)

struct client {
    struct load_channel channel;
    bool is_writing; /* waits for room to write */
    unsigned free_count;
    uint16_t *free_streams;
    uint64_t *sent_at; /* by stream, ns */
};

struct load {
    struct load_options options;
    struct load_requests requests;
    struct client *clients;
    int epoll;
    int timer; /* of the open loop */
    bool is_counting;
    uint64_t begin_ns; /* of what is counted */
    uint64_t open_begin_ns;
    uint64_t open_sent; /* the next request of the open loop, counted from 0 */
    unsigned next_client;
    uint64_t sent;
    uint64_t answered; /* counted ones */
    uint64_t answers;  /* all */
    uint64_t errors;
    uint64_t random;
    size_t next_frame[2];
    struct histogram latencies;
    uint64_t cpu_before[LOAD_PROCESSES_MAX];
};

_Noreturn static void die(const char *what, const char *reason)
{
    fprintf(stderr, "cqlload: %s: %s\n", what, reason);
    exit(1);
}

static bool next_is_write(struct load *load)
{
    load->random ^= load->random << 13; /* xorshift64 */
    load->random ^= load->random >> 7;
    load->random ^= load->random << 17;
    return load->random % 100 >= load->options.read_share;
}

static void send_one(struct load *load, struct client *client, uint16_t stream, uint64_t at_ns)
{
    int kind = next_is_write(load) ? 1 : 0;
    const struct wire_bytes *frame = &load->requests.frames[kind][load->next_frame[kind]];
    if (++load->next_frame[kind] == load->requests.per_kind)
        load->next_frame[kind] = 0;
    uint8_t *to = wire_put(&client->channel.wire, frame->end);
    memcpy(to, frame->data, frame->end);
    cql_store_u16(to + 2, stream);
    client->sent_at[stream] = at_ns;
    load->sent++;
}

static bool may_send(const struct load *load)
{
    return load->options.requests == 0 || load->sent < load->options.requests;
}

static void flush_client(struct load *load, struct client *client)
{
    wire_finish(&client->channel.wire);
    enum load_progress progress = load_channel_flush(&client->channel);
    if (progress == LOAD_CLOSED)
        die("a connection ended", strerror(errno));
    bool is_writing = progress == LOAD_BLOCKED;
    if (is_writing == client->is_writing)
        return;
    client->is_writing = is_writing;
    struct epoll_event event = {.events = EPOLLIN | (is_writing ? EPOLLOUT : 0),
                                .data.ptr = client};
    CHECK(epoll_ctl(load->epoll, EPOLL_CTL_MOD, client->channel.fd, &event) == 0);
}

/* Uses all free streams of a client. */
static void fill_client(struct load *load, struct client *client, uint64_t at_ns)
{
    while (client->free_count > 0 && may_send(load))
        send_one(load, client, client->free_streams[--client->free_count], at_ns);
}

/* The next client in turn that has a free stream; NULL: none has. */
static struct client *next_free_client(struct load *load)
{
    unsigned count = load->options.connections;
    for (unsigned tried = 0; tried < count; tried++) {
        struct client *client = &load->clients[load->next_client];
        load->next_client = (load->next_client + 1) % count;
        if (client->free_count > 0)
            return client;
    }
    return NULL;
}

/* false: no client has a free stream. */
static bool send_on_next(struct load *load, uint64_t at_ns)
{
    struct client *client = next_free_client(load);
    if (client == NULL)
        return false;
    send_one(load, client, client->free_streams[--client->free_count], at_ns);
    flush_client(load, client);
    return true;
}

static void note_error(struct load *load, const struct wire_frame *answer)
{
    if (load->errors++ > 0)
        return;
    if (answer->header.opcode == CQL_OPCODE_ERROR && answer->header.body_length >= 6 &&
        !(answer->header.flags & CQL_FLAG_COMPRESSED))
        fprintf(stderr, "cqlload: first error: 0x%04x %.*s\n", cql_load_u32(answer->body),
                (int)(answer->header.body_length - 6), (const char *)answer->body + 6);
    else
        fprintf(stderr, "cqlload: first error: a %s\n", cql_opcode_name(answer->header.opcode));
}

static void take_answer(struct load *load, struct client *client, const struct wire_frame *answer,
                        uint64_t now)
{
    int stream = answer->header.stream;
    if (stream < 0 || stream >= (int)load->options.in_flight || client->sent_at[stream] == 0)
        die("an answer to nothing", cql_opcode_name(answer->header.opcode));
    load->answers++;
    if (answer->header.opcode != CQL_OPCODE_RESULT)
        note_error(load, answer);
    else if (load->is_counting) {
        load->answered++;
        histogram_add(&load->latencies, now - client->sent_at[stream]);
    }
    client->sent_at[stream] = 0;
    client->free_streams[client->free_count++] = (uint16_t)stream;
    if (load->options.rate > 0 || !may_send(load))
        return;
    if (load->options.rotating > 0)
        send_on_next(load, now);
    else if (!load->options.is_lockstep || client->free_count == load->options.in_flight)
        fill_client(load, client, now);
}

static void serve(struct load *load, struct client *client)
{
    enum load_progress progress;
    do { /* TLS may hold more than the socket shows */
        progress = load_channel_receive(&client->channel);
        if (progress == LOAD_CLOSED)
            die("a connection ended", "the server closed it");
        uint64_t now = clock_now_ns();
        struct wire_frame answer;
        enum wire_verdict verdict;
        while ((verdict = wire_next(&client->channel.wire, &answer)) == WIRE_FRAME)
            take_answer(load, client, &answer, now);
        if (verdict == WIRE_BAD)
            die("a malformed answer", "a broken frame or segment");
    } while (progress == LOAD_DONE && client->channel.ssl != NULL);
    flush_client(load, client);
}

static uint64_t due_ns(const struct load *load)
{
    return load->open_begin_ns +
           (uint64_t)((double)load->open_sent * (double)NS_PER_S / load->options.rate);
}

/* Sends all that is due, to the clients in turn, and sleeps until the next is. What finds no free
 * stream stays due and is tried again after the next answers. */
static void send_due(struct load *load)
{
    uint64_t now = clock_now_ns();
    while (may_send(load) && due_ns(load) <= now) {
        if (!send_on_next(load, due_ns(load)))
            return;
        load->open_sent++;
    }
    if (!may_send(load))
        return;
    uint64_t due = due_ns(load);
    struct itimerspec when = {
        .it_value = {.tv_sec = (time_t)(due / NS_PER_S), .tv_nsec = (long)(due % NS_PER_S)}};
    CHECK(timerfd_settime(load->timer, TFD_TIMER_ABSTIME, &when, NULL) == 0);
}

/* Answers after which every statement has been used, roughly: kinds are drawn by lot. A proxy may
 * learn a statement at its first use. */
static uint64_t first_uses(const struct load *load)
{
    unsigned share = load->options.read_share;
    unsigned rarer = share > 50 ? 100 - share : share;
    uint64_t statements = load->options.statements > 1 ? load->options.statements : 0;
    return rarer == 0 ? statements : statements * 100 / rarer;
}

static void begin_counting(struct load *load)
{
    for (size_t i = 0; i < load->options.process_count; i++)
        if (!usage_cpu_ns(load->options.processes[i].pid, &load->cpu_before[i]))
            die("no such process", load->options.processes[i].name);
    load->is_counting = true;
    load->begin_ns = clock_now_ns();
}

static void print_report(struct load *load, uint64_t end_ns)
{
    double seconds = (double)(end_ns - load->begin_ns) / (double)NS_PER_S;
    double answered = load->answered > 0 ? (double)load->answered : 1;
    printf("{\"answered\": %" PRIu64 ", \"errors\": %" PRIu64 ", \"seconds\": %.3f, "
           "\"per_second\": %.1f, ",
           load->answered, load->errors, seconds, (double)load->answered / seconds);
    printf("\"p50_us\": %.1f, \"p99_us\": %.1f, \"p999_us\": %.1f, \"max_us\": %.1f, ",
           (double)histogram_percentile(&load->latencies, 0.5) / 1e3,
           (double)histogram_percentile(&load->latencies, 0.99) / 1e3,
           (double)histogram_percentile(&load->latencies, 0.999) / 1e3,
           (double)load->latencies.largest / 1e3);
    printf("\"unanswered\": %" PRIu64 ", \"processes\": {", load->sent - load->answers);
    for (size_t i = 0; i < load->options.process_count; i++) {
        uint64_t cpu = 0;
        const struct load_process *process = &load->options.processes[i];
        if (!usage_cpu_ns(process->pid, &cpu))
            die("it ended during the measurement", process->name);
        double used = (double)(cpu - load->cpu_before[i]);
        printf("%s\"%s\": {\"cpu_us_per_request\": %.4f, \"cpu_seconds\": %.4f, "
               "\"peak_kib\": %" PRIu64 "}",
               i == 0 ? "" : ", ", process->name, used / 1e3 / answered, used / 1e9,
               usage_peak_kib(process->pid));
    }
    puts("}}");
}

/* Milliseconds to sleep at most: up to the next change of phase, rounded up. */
static int patience_ms(uint64_t now, uint64_t until)
{
    uint64_t left = until > now ? until - now : 0;
    return left > NS_PER_S ? 1000 : (int)((left + NS_PER_MS - 1) / NS_PER_MS);
}

static void handle(struct load *load, const struct epoll_event *event)
{
    struct client *client = event->data.ptr;
    uint64_t expirations;
    if (client == NULL) {
        if (read(load->timer, &expirations, sizeof expirations) < 0 && errno != EAGAIN)
            die("the timer", strerror(errno));
        return;
    }
    if (event->events & EPOLLOUT)
        flush_client(load, client);
    if (event->events & ~(uint32_t)EPOLLOUT)
        serve(load, client);
}

static void begin_closed_loop(struct load *load)
{
    const struct load_options *options = &load->options;
    if (options->rate > 0)
        return;
    for (unsigned i = 0; i < options->rotating && may_send(load); i++)
        if (!send_on_next(load, clock_now_ns()))
            die("--rotating", "is more than connections times --in-flight");
    for (unsigned i = 0; i < options->connections && options->rotating == 0; i++) {
        struct client *client = &load->clients[i];
        fill_client(load, client, clock_now_ns());
        flush_client(load, client);
    }
}

static void run(struct load *load)
{
    const struct load_options *options = &load->options;
    struct epoll_event events[EVENTS_PER_WAIT];
    uint64_t start = clock_now_ns();
    uint64_t count_from = start + (uint64_t)(options->warm_up * (double)NS_PER_S);
    uint64_t end = UINT64_MAX; /* once it counts, unless so many requests are the end */
    uint64_t heard_at = start, heard = 0;
    load->open_begin_ns = start;
    if (options->requests > 0)
        begin_counting(load);
    begin_closed_loop(load);
    for (;;) {
        if (options->rate > 0)
            send_due(load);
        uint64_t now = clock_now_ns();
        int count =
            epoll_wait(load->epoll, events, EVENTS_PER_WAIT,
                       patience_ms(now, !load->is_counting && now < count_from ? count_from : end));
        for (int i = 0; i < count; i++)
            handle(load, &events[i]);
        now = clock_now_ns();
        if (!load->is_counting && now >= count_from && load->answers >= first_uses(load)) {
            begin_counting(load);
            if (options->requests == 0)
                end = load->begin_ns + (uint64_t)(options->seconds * (double)NS_PER_S);
        }
        if (now >= end || (options->requests > 0 && load->answers >= options->requests)) {
            print_report(load, now);
            return;
        }
        if (load->answers != heard || load->answers == load->sent) {
            heard = load->answers;
            heard_at = now;
        } else if (now - heard_at > SILENCE_NS) {
            die("no answer", "for 15 s");
        }
    }
}

static SSL_CTX *tls_context(void)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    CHECK(context != NULL);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    return context;
}

static void open_clients(struct load *load)
{
    const struct load_options *options = &load->options;
    SSL_CTX *context = options->is_tls ? tls_context() : NULL;
    const char *reason = "";
    load->clients = calloc(options->connections, sizeof *load->clients);
    CHECK(load->clients != NULL);
    for (unsigned i = 0; i < options->connections; i++) {
        struct client *client = &load->clients[i];
        if (!load_channel_open(&client->channel, options, context, &reason))
            die("cannot open a connection", reason);
        if (i == 0 && !load_requests_make(&load->requests, options, &client->channel, &reason))
            die("cannot prepare", reason);
        load_channel_unblock(&client->channel);
        client->sent_at = calloc(options->in_flight, sizeof *client->sent_at);
        client->free_streams = calloc(options->in_flight, sizeof *client->free_streams);
        CHECK(client->sent_at != NULL && client->free_streams != NULL);
        for (unsigned stream = 0; stream < options->in_flight; stream++)
            client->free_streams[client->free_count++] = (uint16_t)stream;
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};
        CHECK(epoll_ctl(load->epoll, EPOLL_CTL_ADD, client->channel.fd, &event) == 0);
    }
}

int main(int argc, char **argv)
{
    static struct load load;
    struct rlimit files;
    load_options_parse(&load.options, argc, argv);
    signal(SIGPIPE, SIG_IGN);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    load.random = 0x9e3779b97f4a7c15ULL;
    load.epoll = epoll_create1(EPOLL_CLOEXEC);
    load.timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    CHECK(load.epoll >= 0 && load.timer >= 0);
    CHECK(epoll_ctl(load.epoll, EPOLL_CTL_ADD, load.timer, &event) == 0);
    open_clients(&load);
    run(&load);
    return load.errors > 0 ? 1 : 0;
}
