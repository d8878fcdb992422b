/* cloudgate-proxy: reads its settings, waits for the clusters in use, starts the workers, and stays
 * on the main thread with the control connections, the control link and the HTTP endpoint until a
 * signal asks it to drain. */
#include <errno.h>
#include <event2/event.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/cache_line.h"
#include "common/clock.h"
#include "dataplane/admin.h"
#include "dataplane/agent.h"
#include "dataplane/cluster.h"
#include "dataplane/config.h"
#include "dataplane/config_checks.h"
#include "dataplane/config_file.h"
#include "dataplane/live.h"
#include "dataplane/node_watch.h"
#include "dataplane/options.h"
#include "dataplane/settle.h"
#include "dataplane/start_names.h"
#include "dataplane/stats.h"
#include "dataplane/stream.h"
#include "dataplane/tls_context.h"
#include "dataplane/tls_store.h"
#include "dataplane/tls_stream.h"
#include "dataplane/worker.h"

extern char **environ;

/* Descriptors beside those of clients: listeners, control connections, refused clients, HTTP. */
#define DESCRIPTORS_SPARE 512

/* Large answers of both control connections together may hold this much. */
#define CONTROL_LARGE_BYTES_MAX ((size_t)64 * 1024 * 1024)

/* A failed start of the listener is tried again after this long. */
#define START_RETRY_S 1

/* Something that every worker does. */
struct round {
    _Atomic unsigned left; /* workers that have not done it yet */
    struct mailbox_message over;
};

struct proxy {
    struct config config;
    struct event_base *base;
    struct stream_loop loop; /* of the control connections */
    struct tls_thread tls;
    struct tls_store *tls_store;
    struct metrics_certificate certificates[TLS_CERTIFICATES_MAX]; /* of the last scrape */
    bool is_stopping;
    bool has_waiter; /* waiter runs or has run, and is to be joined */
    pthread_t waiter;
    struct mailbox *mailbox;
    struct metrics_block *metrics;
    struct admin *admin;
    struct node_watch *watch;
    struct cluster *clusters[CLUSTER_COUNT];
    struct topology *topologies[CLUSTER_COUNT];
    struct agent *agent;
    struct snapshot *snapshot; /* in force, or being switched to */
    struct worker_shared shared;
    struct worker *workers;
    unsigned worker_count;
    enum admin_phase phase;
    struct event *signals[2];
    struct event *hangup;
    struct event *retry;
    struct round switching;          /* to a new routing state */
    struct round settling;           /* until writes of before are answered */
    bool is_settling, settles_again; /* a wait is under way; another one is wanted after it */
};

/* ---- rounds of all workers ---- */

static void begin_round(struct proxy *proxy, struct round *round)
{
    atomic_store(&round->left, proxy->worker_count);
}

/* On a worker's thread. */
static void end_workers_part(struct proxy *proxy, struct round *round)
{
    if (atomic_fetch_sub(&round->left, 1) == 1)
        mailbox_post(proxy->mailbox, &round->over);
}

/* ---- routing state ---- */

static void log_routing(const char *event, const struct snapshot *snapshot)
{
    struct dynbuf state;
    dynbuf_init(&state, 1024);
    snapshot_describe(snapshot, &state);
    LOG_INFO(event, "%s", dynbuf_text(&state));
    dynbuf_fini(&state);
}

static void run_switched(struct mailbox_message *message, void *owner)
{
    struct proxy *proxy = owner;
    (void)message;
    log_routing("routing_switched", proxy->snapshot);
    agent_on_applied(proxy->agent);
}

static void on_worker_switched(void *context)
{
    struct proxy *proxy = context;
    end_workers_part(proxy, &proxy->switching);
}

/* ---- the writes of before ---- */

static void settle_writes(void *context);

static void run_settled(struct mailbox_message *message, void *owner)
{
    struct proxy *proxy = owner;
    (void)message;
    proxy->is_settling = false;
    if (proxy->settles_again)
        settle_writes(proxy);
    else
        agent_on_settled(proxy->agent);
}

static void on_worker_settled(void *context)
{
    struct proxy *proxy = context;
    end_workers_part(proxy, &proxy->settling);
}

static void settle_writes(void *context)
{
    struct proxy *proxy = context;
    proxy->settles_again = proxy->is_settling;
    if (proxy->is_settling)
        return;
    if (proxy->phase != ADMIN_SERVING) { /* there are no clients, or soon none */
        agent_on_settled(proxy->agent);
        return;
    }
    proxy->is_settling = true;
    begin_round(proxy, &proxy->settling);
    for (unsigned i = 0; i < proxy->worker_count; i++)
        settle_begin(&proxy->workers[i], on_worker_settled, proxy);
}

/* ---- applying ---- */

/* A client needs three descriptors, its own and one to each cluster; the usual soft limit of 1024
 * would end at 340 clients. */
static void raise_descriptor_limit(uint32_t max_clients)
{
    struct rlimit limit;
    rlim_t needed = 3 * (rlim_t)max_clients + DESCRIPTORS_SPARE;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_max < needed)
        LOG_WARN("descriptor_limit_low", "limit=%llu needed=%llu max_clients=%u",
                 (unsigned long long)limit.rlim_max, (unsigned long long)needed, max_clients);
}

/* What of a snapshot concerns the process, not its workers. */
static void apply_to_process(const struct proxy *proxy, uint32_t clients_before)
{
    uint32_t max_clients = live_settings_of(&proxy->config, proxy->snapshot).max_clients;
    log_set_level(live_log_level(&proxy->config, proxy->snapshot));
    if (max_clients > clients_before)
        raise_descriptor_limit(max_clients);
}

static void start_if_possible(struct proxy *proxy);

static void apply_snapshot(void *context, struct snapshot *snapshot)
{
    struct proxy *proxy = context;
    uint32_t clients_before = live_settings_of(&proxy->config, proxy->snapshot).max_clients;
    struct snapshot *before = proxy->snapshot;
    proxy->snapshot = snapshot_get(snapshot);
    apply_to_process(proxy, clients_before);
    for (int i = 0; i < CLUSTER_COUNT; i++)
        if (snapshot_enters(before, snapshot, (enum cluster_id)i))
            cluster_hurry(proxy->clusters[i]);
    snapshot_put(before);
    if (proxy->phase != ADMIN_SERVING) { /* no worker to switch: they will start with it */
        run_switched(&proxy->switching.over, proxy);
        start_if_possible(proxy);
        return;
    }
    begin_round(proxy, &proxy->switching);
    for (unsigned i = 0; i < proxy->worker_count; i++)
        worker_switch_snapshot(&proxy->workers[i], snapshot, on_worker_switched, proxy);
}

static void read_stats(void *context, struct ctl_stats *stats)
{
    const struct proxy *proxy = context;
    stats_read(proxy->clusters, stats);
}

static void read_status(void *context, struct admin_status *status)
{
    struct proxy *proxy = context;
    *status = (struct admin_status){
        .phase = proxy->phase,
        .primary = snapshot_primary(proxy->snapshot),
        .process = {.routing_revision = proxy->snapshot->revision,
                    .control_connected = agent_is_connected(proxy->agent),
                    .certificates = proxy->certificates,
                    .certificate_count =
                        tls_store_certificates(proxy->tls_store, proxy->certificates)},
    };
    for (int i = 0; i < CLUSTER_COUNT; i++) {
        status->has_cluster[i] = proxy->clusters[i] != NULL && proxy->phase != ADMIN_STARTING;
        status->is_idle[i] = snapshot_is_idle(proxy->snapshot, (enum cluster_id)i);
        if (proxy->clusters[i] != NULL)
            cluster_status(proxy->clusters[i], &status->clusters[i]);
    }
}

/* READ_MODE alone means all of them, as in zdm-proxy; SHADOW_READ_PERCENT says how many. */
static uint8_t first_shadow_percent(const struct config *config)
{
    bool is_all = config->read_mode == CONFIG_READ_DUAL_ASYNC && config->shadow_read_percent == 0;
    return (uint8_t)(is_all ? 100 : config->shadow_read_percent);
}

/* The routing state to begin with: the last good one, else the environment's. */
static struct snapshot *first_snapshot(const struct config *config)
{
    struct snapshot value;
    if (agent_load_last_good(config, &value)) {
        log_routing("routing_restored", &value);
        return snapshot_new(&value);
    }
    value = (struct snapshot){
        .forward_reads_to_target = config->forward_reads_to_target,
        .forward_system_queries_to_target = config->forward_system_queries_to_target,
        .shadow_read_percent = first_shadow_percent(config),
    };
    return snapshot_new(&value);
}

/* ---- TLS ---- */

static void on_tls_change(void *context, enum tls_side side, struct tls_context *tls)
{
    struct proxy *proxy = context;
    tls_thread_switch(&proxy->tls, side, tls);
    tls_context_put(proxy->shared.tls[side]);
    proxy->shared.tls[side] = tls_context_get(tls);
    for (unsigned i = 0; proxy->phase == ADMIN_SERVING && i < proxy->worker_count; i++)
        worker_switch_tls(&proxy->workers[i], side, tls);
}

static void on_hangup(evutil_socket_t number, short what, void *context)
{
    struct proxy *proxy = context;
    (void)number;
    (void)what;
    LOG_INFO("reload_requested", "signal=SIGHUP");
    tls_store_reload(proxy->tls_store);
}

static bool start_tls(struct proxy *proxy)
{
    struct dynbuf error;
    dynbuf_init(&error, 4096);
    proxy->tls_store =
        tls_store_new(proxy->base, &proxy->config, proxy->metrics, on_tls_change, proxy, &error);
    if (proxy->tls_store == NULL)
        fprintf(stderr, "cloudgate-proxy: %s\n", dynbuf_text(&error));
    dynbuf_fini(&error);
    if (proxy->tls_store == NULL)
        return false;
    proxy->hangup = evsignal_new(proxy->base, SIGHUP, on_hangup, proxy);
    event_add(proxy->hangup, NULL);
    return true;
}

static void stop_tls(struct proxy *proxy)
{
    if (proxy->hangup != NULL)
        event_free(proxy->hangup);
    tls_store_free(proxy->tls_store);
    tls_thread_fini(&proxy->tls);
    for (int i = 0; i < TLS_SIDE_COUNT; i++)
        tls_context_put(proxy->shared.tls[i]);
}

/* ---- starting ---- */

static unsigned usable_cores(void)
{
    cpu_set_t cores;
    if (sched_getaffinity(0, sizeof cores, &cores) != 0)
        return 1;
    int count = CPU_COUNT(&cores);
    return count < 1 ? 1 : (unsigned)count;
}

/* Workers share their port by SO_REUSEPORT, which would also let a second proxy in by mistake: a
 * plain bind finds out. Where proxies are to share it, the kernel lets in those of the same user
 * alone. */
static bool port_is_free(const struct config *config, struct dynbuf *error)
{
    struct sockaddr_storage address = {0};
    int length = (int)sizeof address;
    int on = 1;
    char text[160];
    snprintf(text, sizeof text, strchr(config->query_address, ':') != NULL ? "[%s]:%d" : "%s:%d",
             config->query_address, config->query_port);
    if (evutil_parse_sockaddr_port(text, (struct sockaddr *)&address, &length) != 0) {
        dynbuf_printf(error, "PROXY_QUERY_ADDRESS=%s is not an IP address", config->query_address);
        return false;
    }
    int fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return true;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (config->share_port)
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
    bool is_free = bind(fd, (struct sockaddr *)&address, (socklen_t)length) == 0;
    if (!is_free)
        dynbuf_printf(error, "cannot listen on PROXY_QUERY_ADDRESS=%s PROXY_QUERY_PORT=%d: %s%s",
                      config->query_address, config->query_port, strerror(errno),
                      errno != EADDRINUSE ? ""
                      : config->share_port
                          ? " (by a program of another user, or one that does not share it)"
                          : " (proxies share a port with PROXY_SHARE_PORT=true)");
    close(fd);
    return is_free;
}

static void free_workers(struct proxy *proxy)
{
    for (unsigned i = 0; i < proxy->worker_count; i++)
        worker_fini(&proxy->workers[i]);
    free(proxy->workers);
    proxy->workers = NULL;
    proxy->worker_count = 0;
}

static bool make_workers(struct proxy *proxy, struct dynbuf *error)
{
    unsigned count = proxy->config.workers > 0 ? (unsigned)proxy->config.workers : usable_cores();
    if (!port_is_free(&proxy->config, error))
        return false;
    proxy->workers = cache_line_alloc(count * sizeof *proxy->workers);
    for (unsigned i = 0; i < count; i++) {
        proxy->worker_count++;
        if (!worker_init(&proxy->workers[i], &proxy->shared, i, proxy->snapshot, proxy->topologies,
                         error)) {
            free_workers(proxy);
            return false;
        }
    }
    return true;
}

static const char *title_of(const struct proxy *proxy, enum cluster_id cluster)
{
    const struct topology *topology = proxy->topologies[cluster];
    return topology == NULL ? "" : topology->cluster_title; /* not in use, and not reached yet */
}

/* The clusters in use are known: serve. */
static void start_serving(struct proxy *proxy)
{
    struct dynbuf error;
    struct timeval wait = {.tv_sec = START_RETRY_S};
    dynbuf_init(&error, 1024);
    if (!make_workers(proxy, &error)) {
        LOG_ERROR("start_failed", "reason=\"%s\" retry_in_s=%d", dynbuf_text(&error),
                  START_RETRY_S);
        event_add(proxy->retry, &wait);
        dynbuf_fini(&error);
        return;
    }
    dynbuf_fini(&error);
    for (unsigned i = 0; i < proxy->worker_count; i++)
        CHECK(worker_start(&proxy->workers[i]));
    proxy->phase = ADMIN_SERVING;
    LOG_INFO("proxy_ready", "address=%s port=%d workers=%u origin=\"%s\" target=\"%s\"",
             proxy->config.query_address, proxy->config.query_port, proxy->worker_count,
             title_of(proxy, CLUSTER_ORIGIN), title_of(proxy, CLUSTER_TARGET));
}

static void start_if_possible(struct proxy *proxy)
{
    if (proxy->phase != ADMIN_STARTING || event_pending(proxy->retry, EV_TIMEOUT, NULL))
        return;
    for (int i = 0; i < CLUSTER_COUNT; i++)
        if (proxy->topologies[i] == NULL && !snapshot_is_idle(proxy->snapshot, (enum cluster_id)i))
            return;
    start_serving(proxy);
}

static void on_retry(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    start_if_possible(context);
}

static void on_topology(void *context, struct topology *topology)
{
    struct proxy *proxy = context;
    topology_put(proxy->topologies[topology->cluster]);
    proxy->topologies[topology->cluster] = topology_get(topology);
    if (proxy->phase == ADMIN_SERVING) {
        for (unsigned i = 0; i < proxy->worker_count; i++)
            worker_switch_topology(&proxy->workers[i], topology);
    } else {
        start_if_possible(proxy);
    }
}

/* ---- stopping ---- */

static void run_worker_ended(struct mailbox_message *message, void *owner)
{
    struct proxy *proxy = owner;
    free(message);
    proxy->is_stopping = true;
}

/* Waits for the workers beside the main loop, so that health and metrics go on answering while they
 * drain. */
static void *wait_for_workers(void *context)
{
    struct proxy *proxy = context;
    struct mailbox_message *ended = malloc(sizeof *ended);
    CHECK(ended != NULL);
    *ended = (struct mailbox_message){.run = run_worker_ended};
    for (unsigned i = 0; i < proxy->worker_count; i++)
        worker_join(&proxy->workers[i]);
    mailbox_post(proxy->mailbox, ended);
    return NULL;
}

static void on_signal(evutil_socket_t number, short what, void *context)
{
    struct proxy *proxy = context;
    (void)what;
    if (proxy->phase == ADMIN_DRAINING)
        return;
    LOG_INFO("proxy_draining", "signal=%s", strsignal((int)number));
    bool was_serving = proxy->phase == ADMIN_SERVING;
    proxy->phase = ADMIN_DRAINING;
    if (!was_serving) {
        proxy->is_stopping = true;
        return;
    }
    for (unsigned i = 0; i < proxy->worker_count; i++)
        worker_drain(&proxy->workers[i]);
    CHECK(pthread_create(&proxy->waiter, NULL, wait_for_workers, proxy) == 0);
    proxy->has_waiter = true;
}

/* ---- the program ---- */

/* The main thread's turn is a worker's: events first, then what their streams have to say. */
static void run_loop(struct proxy *proxy)
{
    while (!proxy->is_stopping) {
        bool has_more = !list_is_empty(&proxy->loop.again);
        event_base_loop(proxy->base, EVLOOP_ONCE | (has_more ? EVLOOP_NONBLOCK : 0));
        proxy->loop.now_ns = clock_now_ns();
        stream_loop_run_again(&proxy->loop);
        stream_loop_flush(&proxy->loop);
    }
}

static int run(struct proxy *proxy)
{
    static const int numbers[] = {SIGTERM, SIGINT};
    signal(SIGPIPE, SIG_IGN);
    proxy->base = event_base_new();
    CHECK(proxy->base != NULL);
    CHECK(stream_loop_init(&proxy->loop, proxy->base, CONTROL_LARGE_BYTES_MAX));
    metrics_configure(&proxy->config);
    proxy->metrics = metrics_block_new();
    tls_thread_init(&proxy->tls, proxy->metrics);
    proxy->loop.tls = &proxy->tls;
    proxy->mailbox = mailbox_new(proxy->base, proxy);
    CHECK(proxy->mailbox != NULL);
    proxy->switching.over.run = run_switched;
    proxy->settling.over.run = run_settled;
    proxy->retry = evtimer_new(proxy->base, on_retry, proxy);
    for (size_t i = 0; i < ARRAY_COUNT(numbers); i++) {
        proxy->signals[i] = evsignal_new(proxy->base, numbers[i], on_signal, proxy);
        event_add(proxy->signals[i], NULL);
    }
    proxy->watch = node_watch_new(&proxy->loop, proxy->mailbox, metrics_block_new());
    struct virtual_hosts *virtual_hosts = virtual_hosts_new(&proxy->config);
    proxy->shared = (struct worker_shared){
        .config = &proxy->config,
        .virtual_hosts = virtual_hosts,
        .prepared = prepared_registry_new(PREPARED_ENTRIES_MAX),
        .watch = proxy->watch,
        /* Elsewhere in each process: a small share must not always be of the clients that come
         * first. */
        .next_session = (uint32_t)((uint64_t)clock_wall_us() % UINT32_MAX),
    };
    if (!start_tls(proxy))
        return 1;
    proxy->snapshot = first_snapshot(&proxy->config);
    LOG_INFO("proxy_starting", "version=%s pid=%d", CLOUDGATE_VERSION, (int)getpid());
    apply_to_process(proxy, 0);
    proxy->admin = admin_new(proxy->base, &proxy->config, read_status, proxy);
    for (int i = 0; i < CLUSTER_COUNT; i++)
        proxy->clusters[i] = cluster_new(&proxy->loop, &proxy->config, proxy->tls_store,
                                         (enum cluster_id)i, proxy->watch, on_topology, proxy);
    struct agent_hooks hooks = {
        .context = proxy, .apply = apply_snapshot, .settle = settle_writes, .stats = read_stats};
    proxy->agent = agent_new(proxy->base, &proxy->config, proxy->snapshot, &hooks);

    run_loop(proxy);

    if (proxy->has_waiter) /* it posted to our mailbox, and may still be on its way out of there */
        pthread_join(proxy->waiter, NULL);
    agent_free(proxy->agent);
    for (int i = 0; i < CLUSTER_COUNT; i++) {
        cluster_free(proxy->clusters[i]);
        topology_put(proxy->topologies[i]);
    }
    admin_free(proxy->admin);
    free_workers(proxy);
    stop_tls(proxy);
    snapshot_put(proxy->snapshot);
    prepared_registry_free(proxy->shared.prepared);
    virtual_hosts_free(virtual_hosts);
    for (size_t i = 0; i < ARRAY_COUNT(numbers); i++)
        event_free(proxy->signals[i]);
    event_free(proxy->retry);
    node_watch_free(proxy->watch);
    mailbox_free(proxy->mailbox);
    stream_loop_fini(&proxy->loop);
    event_base_free(proxy->base);
    LOG_INFO("proxy_stopped", "");
    return 0;
}

static int usage(FILE *out, int status)
{
    struct dynbuf text;
    dynbuf_init(&text, 65536);
    config_help(&text);
    fprintf(
        out,
        "cloudgate-proxy: forwards CQL, writes to two Apache Cassandra clusters at once.\n\n"
        "usage: cloudgate-proxy [--config FILE] [--set NAME=value]... [--check-config]\n"
        "       cloudgate-proxy --help | --version\n\n"
        "  --config FILE     settings from a YAML file, as zdm-proxy has it\n"
        "  --set NAME=value  one setting; wins over the environment and the file. Others on this "
        "machine can read it: no passwords\n"
        "  --check-config    print the settings in force and where each comes from; exit 0 if "
        "they are valid, 1 if not\n"
        "  --help            this text\n"
        "  --version         the version\n\n"
        "Settings come from the command line, the environment (NAME, then ZDM_NAME), the file "
        "and the defaults, in this order:\n\n%s",
        dynbuf_text(&text));
    dynbuf_fini(&text);
    return status;
}

static int check_config(const struct config *config)
{
    struct dynbuf text;
    dynbuf_init(&text, 65536);
    config_print(config, &text);
    fputs(dynbuf_text(&text), stdout);
    dynbuf_fini(&text);
    return 0;
}

/* The settings of all sources. false: what is wrong was printed. file: must outlive the settings.
 */
static bool load_config(struct config *config, const struct options *options,
                        struct config_yaml *file)
{
    struct dynbuf error;
    dynbuf_init(&error, 4096);
    bool is_good = options->file == NULL || config_file_read(options->file, file, &error);
    if (is_good) {
        struct conftab_inputs inputs = {
            .overrides = options->overrides,
            .environment = environ,
            .entries = file->entries,
            .entry_count = file->count,
        };
        is_good = config_load_from(config, &inputs, &error);
    }
    if (is_good && !options->checks_only)
        log_init("cloudgate-proxy", config->log_level);
    if (is_good)
        config_log_inert(config);
    else
        fprintf(stderr, "cloudgate-proxy: %s\n", dynbuf_text(&error));
    dynbuf_fini(&error);
    return is_good;
}

int main(int argc, char **argv)
{
    static struct proxy proxy = {.phase = ADMIN_STARTING};
    struct options options;
    struct config_yaml file = {0};
    struct dynbuf error;
    int status = 1;
    dynbuf_init(&error, 4096);
    tls_init();
    log_init("cloudgate-proxy", LOG_LEVEL_INFO);
    if (!options_parse(&options, argc, argv, &error)) {
        fprintf(stderr, "cloudgate-proxy: %s\n\n", dynbuf_text(&error));
        status = usage(stderr, 2);
    } else if (options.wants_help) {
        status = usage(stdout, 0);
    } else if (options.wants_version) {
        printf("cloudgate-proxy %s\n", CLOUDGATE_VERSION);
        status = 0;
    } else if (load_config(&proxy.config, &options, &file)) {
        if (options.checks_only)
            status = check_config(&proxy.config);
        else if (start_names_resolve(&proxy.config, &error) &&
                 config_check_ports(&proxy.config, &error))
            status = run(&proxy);
        else
            fprintf(stderr, "cloudgate-proxy: %s\n", dynbuf_text(&error));
    }
    config_fini(&proxy.config);
    config_yaml_fini(&file);
    options_fini(&options);
    dynbuf_fini(&error);
    return status;
}
