/* cloudgate-control: reads the settings, starts store, publisher and HTTP, waits for a signal,
 * stops them in reverse order. The main thread only starts, waits and stops. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"
#include "controlplane/access.h"
#include "controlplane/config.h"
#include "controlplane/front.h"
#include "controlplane/http.h"
#include "controlplane/offline.h"
#include "controlplane/plane.h"

extern char **environ;

static int print_help(void)
{
    struct dynbuf settings;
    dynbuf_init(&settings, 65536);
    control_config_help(&settings);
    printf(
        "cloudgate-control %s: the control plane of Cloud-Gate\n\n"
        "Keeps the routing state of the data planes, and lets people and programs change it "
        "through a REST API and a\n"
        "dashboard.\n\n"
        "Usage: cloudgate-control [--help | --version | --check-config]\n"
        "       cloudgate-control --verify-audit DATABASE [ID:HASH]\n"
        "       cloudgate-control --restore FILE\n\n"
        "--verify-audit checks the audit log of a database or backup that is not in use; ID:HASH "
        "is a head noted\nelsewhere. --restore puts a backup in the place of CONTROL_DATABASE, "
        "whose control plane must be stopped.\n\n"
        "Settings, from the environment:\n%s",
        CLOUDGATE_VERSION, dynbuf_text(&settings));
    dynbuf_fini(&settings);
    return 0;
}

static int fail(const char *message)
{
    fprintf(stderr, "cloudgate-control: %s\n", message);
    return 1;
}

/* SIGHUP: the certificate's files are looked at. The signal that ends it all. */
static int wait_for_end(const struct control_config *config, struct front *front,
                        const sigset_t *signals)
{
    int received = 0;
    bool is_v6 = strchr(config->http_address, ':') != NULL;
    LOG_INFO("started", "version=%s http=%s%s%s:%d tls=%s socket=%s", CLOUDGATE_VERSION,
             is_v6 ? "[" : "", config->http_address, is_v6 ? "]" : "", front_port(front),
             config->tls_cert_path[0] == '\0' ? "no" : "yes", config->api_socket);
    for (;;) {
        if (sigwait(signals, &received) != 0)
            continue;
        if (received != SIGHUP)
            break;
        front_reload(front);
    }
    LOG_INFO("stopping", "signal=%s", received == SIGTERM ? "SIGTERM" : "SIGINT");
    return received;
}

static int serve(const struct control_config *config)
{
    char error[512];
    sigset_t signals;
    int received = 0;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    /* Blocked before any thread starts, so that all inherit it and only sigwait sees them. */
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    umask(0027);

    struct plane *plane = plane_new(config, error, sizeof error);
    if (plane == NULL)
        return fail(error);
    struct peer_table *peers = peer_table_new();
    struct access *access = access_new(config, plane_store(plane), error, sizeof error);
    struct http *http = access == NULL ? NULL : http_new(plane, access, peers, error, sizeof error);
    struct front *front =
        http == NULL ? NULL : front_new(config, http_port(http), peers, error, sizeof error);
    if (front != NULL)
        received = wait_for_end(config, front, &signals);
    plane_close(plane);
    http_free(http);
    front_free(front); /* after http: it delivers the last answers */
    access_free(access);
    peer_table_free(peers);
    plane_free(plane);
    if (received == 0)
        return fail(error);
    LOG_INFO("stopped", "");
    return 0;
}

int main(int argc, char **argv)
{
    bool check_only = false;
    const char *backup = NULL;
    struct control_config config;
    struct dynbuf text;
    if (argc > 1 && strcmp(argv[1], "--verify-audit") == 0) {
        if (argc < 3 || argc > 4)
            return fail("--verify-audit wants a database, and perhaps ID:HASH; see --help"), 2;
        log_init("cloudgate-control", LOG_LEVEL_WARN);
        return offline_verify_audit(argv[2], argc > 3 ? argv[3] : NULL);
    }
    if (argc > 1 && strcmp(argv[1], "--restore") == 0) {
        if (argc != 3)
            return fail("--restore wants one file, a backup; see --help"), 2;
        backup = argv[2];
        argc = 1;
    }
    if (argc > 2)
        return fail("at most one option is understood; see --help"), 2;
    if (argc == 2) {
        if (strcmp(argv[1], "--help") == 0)
            return print_help();
        if (strcmp(argv[1], "--version") == 0)
            return printf("cloudgate-control %s\n", CLOUDGATE_VERSION) < 0;
        if (strcmp(argv[1], "--check-config") != 0)
            return fprintf(stderr, "cloudgate-control: unknown option %s; see --help\n", argv[1]),
                   2;
        check_only = true;
    }
    log_init("cloudgate-control", LOG_LEVEL_INFO);
    dynbuf_init(&text, 65536);
    int result = 1;
    if (!control_config_load(&config, environ, &text)) {
        fail(dynbuf_text(&text));
    } else if (check_only) {
        control_config_print(&config, environ, &text);
        fputs(dynbuf_text(&text), stdout);
        result = 0;
    } else {
        log_init("cloudgate-control", backup == NULL ? config.log_level : LOG_LEVEL_WARN);
        result = backup == NULL ? serve(&config) : offline_restore(&config, backup);
    }
    dynbuf_fini(&text);
    control_config_fini(&config);
    return result;
}
