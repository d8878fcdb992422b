/* cqlsim: command line, start and stop. Nothing else. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>

#include "common/log.h"
#include "parser.h"
#include "server.h"

#define SEED_MAX_BYTES (64U * 1024 * 1024)

static const char help[] =
    "cqlsim: a small CQL server in memory, for tests and demonstrations\n"
    "\n"
    "  cqlsim --listen ADDRESS [--listen ADDRESS].. [options]\n"
    "\n"
    "  --listen ADDRESS[,HOST-ID]   serve this address; several make one cluster of several nodes\n"
    "  --port N                     for all addresses (9042)\n"
    "  --cluster-name NAME          (cqlsim)\n"
    "  --datacenter NAME            (dc1); given several times, the n-th is the n-th node's and "
    "the\n"
    "  --rack NAME                  (rack1)  last one that of all nodes after it\n"
    "  --release-version V          what system.local shows (3.11.19)\n"
    "  --versions LIST              protocol versions: 3, 4, 5, dse1, dse2 (3,4; from release 4 on "
    "3,4,5)\n"
    "  --compression LIST           lz4, snappy or none (lz4,snappy)\n"
    "  --auth USER:PASSWORD         ask for a password; may be given several times\n"
    "  --tls-cert FILE              PEM chain to serve TLS with, instead of plain TCP\n"
    "  --tls-key FILE               its key\n"
    "  --tls-ca FILE                ask clients for certificates of these authorities\n"
    "  --tls-require-client-auth    .. and refuse clients without one\n"
    "  --tls-version V              nothing but 1.1, 1.2 or 1.3 (1.2 and later)\n"
    "  --peer ADDRESS[,HOST-ID]     a node that is only listed in system.peers, not served\n"
    "  --control PATH               unix socket that takes fault commands (see README.md)\n"
    "  --seed-file FILE             CQL statements to run before serving\n"
    "  --id-salt TEXT               other ids of prepared statements than clusters without it "
    "make\n"
    "  --log-level LEVEL            DEBUG, INFO, WARN or ERROR (INFO)\n"
    "  --help, --version\n"
    "\n"
    "Stops with exit status 0 on SIGTERM and SIGINT.\n";

struct arguments {
    const char *control;
    const char *seed;
    const char *racks[CLUSTER_MAX_NODES];
    size_t rack_count;
    const char *datacenters[CLUSTER_MAX_NODES];
    size_t datacenter_count;
    struct tls_options tls;
};

enum {
    OPTION_TLS_CERT = 0x100,
    OPTION_TLS_KEY,
    OPTION_TLS_CA,
    OPTION_TLS_REQUIRE,
    OPTION_TLS_VERSION,
    OPTION_ID_SALT,
};

static bool usage_error(const char *option, const char *value, const char *wanted)
{
    fprintf(stderr, "cqlsim: --%s %s: %s\n", option, value, wanted);
    return false;
}

/* ADDRESS[,HOST-ID], and for IPv4 also ADDRESS:HOST-ID. */
static bool add_node(struct cluster *cluster, const char *option, char *value)
{
    char *host_id = strchr(value, ',');
    char *colon = strchr(value, ':');
    if (host_id == NULL && colon != NULL && strchr(value, '.') != NULL &&
        strchr(value, '.') < colon)
        host_id = colon;
    if (host_id != NULL)
        *host_id++ = '\0';
    return cluster_add_node(cluster, value, host_id, "rack1", "dc1",
                            strcmp(option, "listen") == 0) != NULL ||
           usage_error(option, value,
                       "must be an IP address not given before, with a uuid as host id if any, 64 "
                       "nodes at most");
}

static bool add_name(const char **names, size_t *count, const char *option, const char *value)
{
    if (*count == CLUSTER_MAX_NODES || *value == '\0')
        return usage_error(option, value, "must be a name, 64 times at most");
    names[(*count)++] = value;
    return true;
}

/* Which rack and datacenter a node is in does not depend on the order of the options. */
static void place_nodes(struct cluster *cluster, const struct arguments *arguments)
{
    size_t racks = arguments->rack_count;
    size_t datacenters = arguments->datacenter_count;
    for (size_t i = 0; i < cluster->node_count; i++) {
        struct node *node = &cluster->nodes[i];
        if (racks > 0)
            node->rack = arguments->racks[i < racks ? i : racks - 1];
        if (datacenters > 0)
            node->datacenter = arguments->datacenters[i < datacenters ? i : datacenters - 1];
    }
}

static bool add_user(struct server *server, char *value)
{
    char *colon = strchr(value, ':');
    if (colon == NULL || server->user_count == SERVER_MAX_USERS)
        return usage_error("auth", "(not shown)", "must be USER:PASSWORD, 8 times at most");
    *colon = '\0';
    server->users[server->user_count++] = (struct user){value, colon + 1};
    return true;
}

static bool parse_port(const char *value, uint16_t *port)
{
    char *end;
    errno = 0;
    unsigned long number = strtoul(value, &end, 10);
    if (*value < '0' || *value > '9' || *end != '\0' || errno != 0 || number == 0 || number > 65535)
        return usage_error("port", value, "must be a number from 1 to 65535");
    *port = (uint16_t)number;
    return true;
}

/* Of a list with commas: the next name, copied into name; false at the end. */
static bool next_name(const char **list, char *name, size_t size)
{
    if (**list == '\0')
        return false;
    size_t length = strcspn(*list, ",");
    snprintf(name, size, "%.*s", (int)(length < size ? length : size - 1), *list);
    *list += length + ((*list)[length] == ',');
    return true;
}

static bool parse_versions(struct server *server, const char *value)
{
    static const struct {
        const char *name;
        unsigned version;
    } known[] = {{"3", 3}, {"4", 4}, {"5", 5}, {"dse1", WIRE_DSE1}, {"dse2", WIRE_DSE2}};
    char name[8];
    bool wanted[ARRAY_COUNT(known)] = {false};
    for (const char *list = value; next_name(&list, name, sizeof name);) {
        size_t at = 0;
        while (at < ARRAY_COUNT(known) && strcmp(known[at].name, name) != 0)
            at++;
        if (at == ARRAY_COUNT(known))
            return usage_error("versions", value, "must be a list of 3, 4, 5, dse1, dse2");
        wanted[at] = true;
    }
    server->version_count = 0;
    for (size_t i = 0; i < ARRAY_COUNT(known); i++)
        if (wanted[i])
            server->versions[server->version_count++] = known[i].version;
    return server->version_count > 0 ||
           usage_error("versions", value, "must be a list of 3, 4, 5, dse1, dse2");
}

static bool parse_compression(struct server *server, const char *value)
{
    char name[16];
    memset(server->compresses, 0, sizeof server->compresses);
    if (strcmp(value, "none") == 0)
        return true;
    for (const char *list = value; next_name(&list, name, sizeof name);) {
        enum compression compression = compression_parse(bytes_text(name));
        if (compression == COMPRESSION_LIMIT)
            return usage_error("compression", value, "must be none or a list of lz4, snappy");
        server->compresses[compression] = true;
    }
    return true;
}

/* The names are needed before the nodes: host ids are made of them. */
static void find_cluster_name(struct cluster *cluster, int argc, char **argv)
{
    static const char option[] = "--cluster-name";
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], option) == 0 && i + 1 < argc)
            cluster->name = argv[i + 1];
        else if (strncmp(argv[i], option, sizeof option - 1) == 0 &&
                 argv[i][sizeof option - 1] == '=')
            cluster->name = argv[i] + sizeof option;
    }
}

/* Returns -1 to go on, else the exit status. */
static int parse_arguments(struct server *server, struct arguments *arguments, int argc,
                           char **argv)
{
    static const struct option options[] = {
        {"listen", required_argument, NULL, 'l'},
        {"port", required_argument, NULL, 'p'},
        {"cluster-name", required_argument, NULL, 'n'},
        {"datacenter", required_argument, NULL, 'd'},
        {"rack", required_argument, NULL, 'r'},
        {"release-version", required_argument, NULL, 'v'},
        {"versions", required_argument, NULL, 'o'},
        {"compression", required_argument, NULL, 'z'},
        {"auth", required_argument, NULL, 'a'},
        {"tls-cert", required_argument, NULL, OPTION_TLS_CERT},
        {"tls-key", required_argument, NULL, OPTION_TLS_KEY},
        {"tls-ca", required_argument, NULL, OPTION_TLS_CA},
        {"tls-require-client-auth", no_argument, NULL, OPTION_TLS_REQUIRE},
        {"tls-version", required_argument, NULL, OPTION_TLS_VERSION},
        {"peer", required_argument, NULL, 'e'},
        {"control", required_argument, NULL, 'c'},
        {"seed-file", required_argument, NULL, 's'},
        {"id-salt", required_argument, NULL, OPTION_ID_SALT},
        {"log-level", required_argument, NULL, 'g'},
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},
        {NULL, 0, NULL, 0},
    };
    struct cluster *cluster = &server->engine.cluster;
    enum log_level level = LOG_LEVEL_INFO;
    bool served = false;
    *cluster = (struct cluster){.name = "cqlsim", .release_version = "3.11.19", .port = 9042};
    find_cluster_name(cluster, argc, argv);
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        bool ok = true;
        switch (option) {
        case 'l':
            ok = add_node(cluster, "listen", optarg);
            served = true;
            break;
        case 'e':
            ok = add_node(cluster, "peer", optarg);
            break;
        case 'p':
            ok = parse_port(optarg, &cluster->port);
            break;
        case 'n':
            break;
        case 'd':
            ok = add_name(arguments->datacenters, &arguments->datacenter_count, "datacenter",
                          optarg);
            break;
        case 'r':
            ok = add_name(arguments->racks, &arguments->rack_count, "rack", optarg);
            break;
        case 'v':
            cluster->release_version = optarg;
            break;
        case 'o':
            ok = parse_versions(server, optarg);
            break;
        case 'z':
            ok = parse_compression(server, optarg);
            break;
        case 'a':
            ok = add_user(server, optarg);
            break;
        case OPTION_TLS_CERT:
            arguments->tls.certificate = optarg;
            break;
        case OPTION_TLS_KEY:
            arguments->tls.key = optarg;
            break;
        case OPTION_TLS_CA:
            arguments->tls.authorities = optarg;
            break;
        case OPTION_TLS_REQUIRE:
            arguments->tls.require_client = true;
            break;
        case OPTION_TLS_VERSION:
            arguments->tls.version = optarg;
            break;
        case 'c':
            arguments->control = optarg;
            break;
        case 's':
            arguments->seed = optarg;
            break;
        case OPTION_ID_SALT:
            server->prepared.salt = optarg;
            break;
        case 'g':
            ok = log_level_parse(optarg, &level) ||
                 usage_error("log-level", optarg, "must be DEBUG, INFO, WARN or ERROR");
            break;
        case 'h':
            fputs(help, stdout);
            return 0;
        case 'V':
            puts("cqlsim " CLOUDGATE_VERSION);
            return 0;
        default:
            return 2;
        }
        if (!ok)
            return 2;
    }
    if (optind < argc || !served) {
        fputs("cqlsim: at least one --listen is needed, and nothing but options; see --help\n",
              stderr);
        return 2;
    }
    const struct tls_options *tls = &arguments->tls;
    if ((tls->certificate == NULL) != (tls->key == NULL) ||
        (tls->certificate == NULL && tls->authorities != NULL) ||
        (tls->authorities == NULL && tls->require_client)) {
        fputs("cqlsim: --tls-cert and --tls-key go together, --tls-ca goes with them, and "
              "--tls-require-client-auth with that\n",
              stderr);
        return 2;
    }
    place_nodes(cluster, arguments);
    cluster->release_major = (unsigned)strtoul(cluster->release_version, NULL, 10);
    if (server->version_count == 0) {
        static const unsigned versions[] = {3, 4, 5};
        server->version_count = cluster->release_major >= 4 ? 3 : 2;
        memcpy(server->versions, versions, server->version_count * sizeof *versions);
        server->beta = versions[server->version_count - 1] + 1;
    }
    log_init("cqlsim", level);
    return -1;
}

/* Runs the statements of a file one after the other; USE works. */
static bool run_seed(struct engine *engine, const char *path, struct failure *failure)
{
    struct dynbuf text;
    dynbuf_init(&text, SEED_MAX_BYTES);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return failure_set(failure, CQL_INVALID, "cannot open it: %s", strerror(errno));
    char buffer[4096];
    size_t count;
    while ((count = fread(buffer, 1, sizeof buffer, file)) > 0)
        dynbuf_append(&text, buffer, count);
    fclose(file);
    if (text.failed)
        return failure_set(failure, CQL_INVALID, "it is larger than 64 MiB");
    struct arena arena;
    struct arena names;
    arena_init(&arena);
    arena_init(&names);
    const char *keyspace = NULL;
    bool ok = true;
    const char *at = dynbuf_text(&text);
    const char *end = at + text.length;
    while (ok) {
        size_t length = (size_t)(end - at);
        struct statement *statement = parser_parse_next(&arena, at, &length, failure);
        if (statement == NULL) {
            ok = failure->code == 0;
            break;
        }
        at += length;
        struct dynbuf out;
        dynbuf_init(&out, WIRE_MAX_BODY);
        int64_t timestamp = engine_timestamp(engine);
        struct execution execution = {.engine = engine,
                                      .arena = &arena,
                                      .failure = failure,
                                      .node = &engine->cluster.nodes[0],
                                      .keyspace = keyspace,
                                      .version = 4,
                                      .paging_state = bytes_null(),
                                      .metadata_id = bytes_null(),
                                      .timestamp = timestamp,
                                      .now = timestamp / 1000000,
                                      .out = &out};
        ok = execute_statement(&execution, statement);
        if (ok && execution.outcome == OUTCOME_SET_KEYSPACE)
            keyspace = arena_text(&names, execution.use);
        dynbuf_fini(&out);
        arena_reset(&arena);
    }
    arena_fini(&arena);
    arena_fini(&names);
    dynbuf_fini(&text);
    return ok;
}

static void on_signal(evutil_socket_t number, short what, void *argument)
{
    (void)number;
    (void)what;
    ((struct server *)argument)->stopping = true;
}

static bool serve(struct server *server, const struct arguments *arguments)
{
    struct failure failure = {0};
    if (!engine_start(&server->engine, &failure)) {
        LOG_ERROR("start_failed", "reason=\"%s\"", failure.message);
        return false;
    }
    if (arguments->seed != NULL && !run_seed(&server->engine, arguments->seed, &failure)) {
        LOG_ERROR("seed_failed", "file=%s reason=\"%s\"", arguments->seed, failure.message);
        return false;
    }
    if (arguments->tls.certificate != NULL) {
        server->tls = tls_open(&arguments->tls);
        if (server->tls == NULL)
            return false;
    }
    server->base = event_base_new();
    CHECK(server->base != NULL);
    struct event *term = evsignal_new(server->base, SIGTERM, on_signal, server);
    struct event *interrupt = evsignal_new(server->base, SIGINT, on_signal, server);
    CHECK(term != NULL && interrupt != NULL);
    CHECK(event_add(term, NULL) == 0 && event_add(interrupt, NULL) == 0);
    struct control *control = NULL;
    bool ok = server_listen(server);
    if (ok && arguments->control != NULL) {
        control = control_open(server, arguments->control);
        ok = control != NULL;
    }
    if (ok) {
        for (size_t i = 0; i < server->listener_count; i++)
            LOG_INFO("listening", "address=%s port=%u", server->listeners[i].node->address,
                     server->engine.cluster.port);
        server_run(server);
        LOG_INFO("stopped", "connections=%zu", server->open);
    }
    control_close(control);
    server_close(server);
    event_free(term);
    event_free(interrupt);
    event_base_free(server->base);
    return ok;
}

int main(int argc, char **argv)
{
    static struct server server;
    struct arguments arguments = {0};
    log_init("cqlsim", LOG_LEVEL_INFO);
    signal(SIGPIPE, SIG_IGN);
    engine_init(&server.engine);
    list_init(&server.connections);
    list_init(&server.dirty);
    list_init(&server.doomed);
    prepared_init(&server.prepared);
    last_request_init(&server.last_requests);
    dynbuf_init(&server.inflated, WIRE_MAX_BODY);
    server.segment_limit = SEGMENT_MAX_PAYLOAD;
    server.compresses[COMPRESSION_LZ4] = true;
    server.compresses[COMPRESSION_SNAPPY] = true;
    int status = parse_arguments(&server, &arguments, argc, argv);
    if (status < 0)
        status = serve(&server, &arguments) ? 0 : 1;
    engine_fini(&server.engine);
    last_request_fini(&server.last_requests);
    dynbuf_fini(&server.inflated);
    return status;
}
