/* The command line of cqlload. Runs once, before everything else; must never let a value through
 * that makes no sense, because a wrong measurement looks like a right one. */
#include <arpa/inet.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/bench/cqlload.h"

static const char usage[] =
    "usage: cqlload --connect ADDRESS:PORT [option...]\n"
    "  --connections N      8\n"
    "  --in-flight K        32, per connection; the most an open loop may reach\n"
    "  --rotating N         instead: N in flight in all, each next one on the next connection\n"
    "  --lockstep           a connection's next K requests leave when its last K are answered\n"
    "  --rate R             open loop: R requests a second, latency from the intended send time\n"
    "  --read-share P       100, of a hundred requests\n"
    "  --value BYTES        100, of a written value\n"
    "  --statements N       1, prepared statements of each kind, used in turn\n"
    "  --plain              plain text instead of prepared statements\n"
    "  --no-timestamps      writes carry no client timestamp\n"
    "  --protocol 4|5       4\n"
    "  --lz4                compression\n"
    "  --tls                TLS; any certificate will do\n"
    "  --warm-up SECONDS    0.5, not counted; longer until each of --statements was used\n"
    "  --seconds SECONDS    3\n"
    "  --requests N         stop after N answers instead; no warm-up\n"
    "  --process NAME=PID   report that process's CPU time; may be repeated\n";

enum option_code {
    OPTION_CONNECT = 1,
    OPTION_CONNECTIONS,
    OPTION_IN_FLIGHT,
    OPTION_ROTATING,
    OPTION_LOCKSTEP,
    OPTION_RATE,
    OPTION_READ_SHARE,
    OPTION_VALUE,
    OPTION_STATEMENTS,
    OPTION_PLAIN,
    OPTION_NO_TIMESTAMPS,
    OPTION_PROTOCOL,
    OPTION_LZ4,
    OPTION_TLS,
    OPTION_WARM_UP,
    OPTION_SECONDS,
    OPTION_REQUESTS,
    OPTION_PROCESS,
    OPTION_HELP,
};

static const struct option names[] = {
    {"connect", required_argument, NULL, OPTION_CONNECT},
    {"connections", required_argument, NULL, OPTION_CONNECTIONS},
    {"in-flight", required_argument, NULL, OPTION_IN_FLIGHT},
    {"rotating", required_argument, NULL, OPTION_ROTATING},
    {"lockstep", no_argument, NULL, OPTION_LOCKSTEP},
    {"rate", required_argument, NULL, OPTION_RATE},
    {"read-share", required_argument, NULL, OPTION_READ_SHARE},
    {"value", required_argument, NULL, OPTION_VALUE},
    {"statements", required_argument, NULL, OPTION_STATEMENTS},
    {"plain", no_argument, NULL, OPTION_PLAIN},
    {"no-timestamps", no_argument, NULL, OPTION_NO_TIMESTAMPS},
    {"protocol", required_argument, NULL, OPTION_PROTOCOL},
    {"lz4", no_argument, NULL, OPTION_LZ4},
    {"tls", no_argument, NULL, OPTION_TLS},
    {"warm-up", required_argument, NULL, OPTION_WARM_UP},
    {"seconds", required_argument, NULL, OPTION_SECONDS},
    {"requests", required_argument, NULL, OPTION_REQUESTS},
    {"process", required_argument, NULL, OPTION_PROCESS},
    {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0},
};

_Noreturn static void refuse(const char *what, const char *value)
{
    fprintf(stderr, "cqlload: %s: %s\n", what, value);
    exit(2);
}

static double real(const char *what, double least, double most)
{
    char *end = NULL;
    double value = strtod(optarg, &end);
    if (end == optarg || *end != '\0' || !(value >= least && value <= most))
        refuse(what, optarg);
    return value;
}

static unsigned whole(const char *what, double least, double most)
{
    double value = real(what, least, most);
    if (value != (double)(unsigned)value)
        refuse(what, optarg);
    return (unsigned)value;
}

static void set_address(struct load_options *options)
{
    char address[64];
    const char *colon = strrchr(optarg, ':');
    size_t length = colon == NULL ? sizeof address : (size_t)(colon - optarg);
    if (length >= sizeof address)
        refuse("--connect takes ADDRESS:PORT", optarg);
    memcpy(address, optarg, length);
    address[length] = '\0';
    char *end = NULL;
    unsigned long port = strtoul(colon + 1, &end, 10);
    options->at.sin_family = AF_INET;
    options->at.sin_port = htons((uint16_t)port);
    if (inet_pton(AF_INET, address, &options->at.sin_addr) != 1 || *end != '\0' || port == 0 ||
        port > 65535)
        refuse("--connect takes an IPv4 address and a port", optarg);
}

static void add_process(struct load_options *options)
{
    char *equals = strchr(optarg, '=');
    char *end = NULL;
    long pid = equals == NULL ? 0 : strtol(equals + 1, &end, 10);
    if (pid <= 0 || *end != '\0' || options->process_count == LOAD_PROCESSES_MAX)
        refuse("--process takes NAME=PID, eight times at most", optarg);
    *equals = '\0';
    options->processes[options->process_count++] =
        (struct load_process){.name = optarg, .pid = (pid_t)pid};
}

static void take(struct load_options *options, int code)
{
    switch (code) {
    case OPTION_CONNECT:
        set_address(options);
        break;
    case OPTION_CONNECTIONS:
        options->connections = whole("--connections takes 1 to 100000", 1, 100000);
        break;
    case OPTION_IN_FLIGHT:
        options->in_flight = whole("--in-flight takes 1 to 2048", 1, LOAD_IN_FLIGHT_MAX);
        break;
    case OPTION_ROTATING:
        options->rotating = whole("--rotating takes 1 to 1000000", 1, 1e6);
        break;
    case OPTION_LOCKSTEP:
        options->is_lockstep = true;
        break;
    case OPTION_RATE:
        options->rate = real("--rate takes 0.1 to 10000000", 0.1, 1e7);
        break;
    case OPTION_READ_SHARE:
        options->read_share = whole("--read-share takes 0 to 100", 0, 100);
        break;
    case OPTION_VALUE:
        options->value_bytes = whole("--value takes 0 to 67108864", 0, 67108864);
        break;
    case OPTION_STATEMENTS:
        options->statements = whole("--statements takes 1 to 1000000", 1, 1000000);
        break;
    case OPTION_PLAIN:
        options->is_plain = true;
        break;
    case OPTION_NO_TIMESTAMPS:
        options->has_timestamps = false;
        break;
    case OPTION_PROTOCOL:
        options->version = (uint8_t)whole("--protocol takes 4 or 5", 4, 5);
        break;
    case OPTION_LZ4:
        options->is_lz4 = true;
        break;
    case OPTION_TLS:
        options->is_tls = true;
        break;
    case OPTION_WARM_UP:
        options->warm_up = real("--warm-up takes 0 to 3600", 0, 3600);
        break;
    case OPTION_SECONDS:
        options->seconds = real("--seconds takes 0.01 to 86400", 0.01, 86400);
        break;
    case OPTION_REQUESTS:
        options->requests = whole("--requests takes 1 to 4000000000", 1, 4e9);
        break;
    case OPTION_PROCESS:
        add_process(options);
        break;
    case OPTION_HELP:
        fputs(usage, stdout);
        exit(0);
    default:
        fputs(usage, stderr);
        exit(2);
    }
}

void load_options_parse(struct load_options *options, int argc, char **argv)
{
    *options = (struct load_options){
        .connections = 8,
        .in_flight = 32,
        .read_share = 100,
        .value_bytes = 100,
        .statements = 1,
        .has_timestamps = true,
        .version = 4,
        .warm_up = 0.5,
        .seconds = 3,
    };
    int code;
    while ((code = getopt_long(argc, argv, "", names, NULL)) != -1)
        take(options, code);
    if (optind < argc)
        refuse("what is this", argv[optind]);
    if (options->at.sin_port == 0)
        refuse("--connect is missing", "see --help");
    if ((options->rotating > 0) + (options->rate > 0) + options->is_lockstep > 1)
        refuse("only one of", "--rotating, --lockstep, --rate");
    if (options->requests > 0)
        options->warm_up = 0;
}
