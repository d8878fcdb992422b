/* Name resolution beside the event loop. getaddrinfo blocks for as long as it likes, so it runs on
 * a detached thread that owns half of a two-part reference; the loop's thread owns the other half
 * and may let go at any time. The thread must touch nothing but its job. */
#include "dataplane/resolve.h"

#include <event2/event.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/check.h"
#include "dataplane/text_list.h"
#include "dataplane/topology_build.h"

#define HOST_NAME_BYTES 256

/* More addresses than any list of contact points has: what a name server sends must not grow us
 * without end. */
#define NODES_MAX 1024

struct job { /* shared with the thread */
    _Atomic int holders;
    int wakeup; /* eventfd */
    int port;
    char *contact_points;
    struct node_list nodes; /* written by the thread before it signals, read by the loop after */
};

struct resolve { /* the loop's side */
    struct job *job;
    struct event *event;
    void (*on_done)(void *context, const struct node_list *nodes);
    void *context;
};

void node_list_add(struct node_list *list, const struct topology_node *node)
{
    if (list->count >= NODES_MAX)
        return;
    for (size_t i = 0; i < list->count; i++) {
        if (strcmp(list->nodes[i].name, node->name) == 0)
            return;
    }
    struct topology_node *grown = realloc(list->nodes, (list->count + 1) * sizeof *grown);
    CHECK(grown != NULL);
    grown[list->count] = *node;
    grown[list->count++].health = NULL; /* that reference is a topology's */
    list->nodes = grown;
}

void node_list_fini(struct node_list *list)
{
    free(list->nodes);
    *list = (struct node_list){0};
}

bool resolve_literals(const char *contact_points, int port, struct node_list *list)
{
    char item[HOST_NAME_BYTES];
    struct topology_node node;
    bool has_names = false;
    while (text_list_next(&contact_points, item, sizeof item)) {
        if (topology_node_from_text(&node, item, port))
            node_list_add(list, &node);
        else
            has_names = true;
    }
    return has_names;
}

static void add_name(struct node_list *list, const char *name, int port)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    if (getaddrinfo(name, NULL, &hints, &found) != 0)
        return;
    for (const struct addrinfo *info = found; info != NULL; info = info->ai_next) {
        struct topology_node node;
        char text[NI_MAXHOST];
        if (getnameinfo(info->ai_addr, info->ai_addrlen, text, sizeof text, NULL, 0,
                        NI_NUMERICHOST) == 0 &&
            topology_node_from_text(&node, text, port)) {
            snprintf(node.server_name, sizeof node.server_name, "%s", name);
            node_list_add(list, &node);
        }
    }
    freeaddrinfo(found);
}

static void job_put(struct job *job)
{
    if (atomic_fetch_sub_explicit(&job->holders, 1, memory_order_acq_rel) != 1)
        return;
    close(job->wakeup);
    node_list_fini(&job->nodes);
    free(job->contact_points);
    free(job);
}

static void *job_run(void *argument)
{
    struct job *job = argument;
    char item[HOST_NAME_BYTES];
    const char *at = job->contact_points;
    while (text_list_next(&at, item, sizeof item)) {
        struct topology_node node;
        if (topology_node_from_text(&node, item, job->port))
            node_list_add(&job->nodes, &node);
        else if (item[0] != '\0')
            add_name(&job->nodes, item, job->port);
    }
    uint64_t one = 1;
    ssize_t wrote = write(job->wakeup, &one, sizeof one);
    CHECK(wrote == sizeof one);
    job_put(job);
    return NULL;
}

static void resolve_free(struct resolve *resolve)
{
    if (resolve->event != NULL)
        event_free(resolve->event);
    job_put(resolve->job);
    free(resolve);
}

static void on_wakeup(evutil_socket_t fd, short what, void *context)
{
    (void)what;
    struct resolve *resolve = context;
    uint64_t count;
    if (read(fd, &count, sizeof count) != sizeof count)
        return;
    resolve->on_done(resolve->context, &resolve->job->nodes);
    resolve_free(resolve);
}

/* The helper takes no signals: they belong to the main thread. */
static bool start_thread(struct job *job)
{
    pthread_t thread;
    pthread_attr_t attributes;
    sigset_t all, before;
    sigfillset(&all);
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool is_started = pthread_create(&thread, &attributes, job_run, job) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return is_started;
}

struct resolve *resolve_start(struct event_base *base, const char *contact_points, int port,
                              void (*on_done)(void *context, const struct node_list *nodes),
                              void *context)
{
    struct job *job = calloc(1, sizeof *job);
    struct resolve *resolve = calloc(1, sizeof *resolve);
    CHECK(job != NULL && resolve != NULL);
    atomic_init(&job->holders, 1);
    job->port = port;
    job->contact_points = strdup(contact_points);
    CHECK(job->contact_points != NULL);
    job->wakeup = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    resolve->job = job;
    resolve->on_done = on_done;
    resolve->context = context;
    if (job->wakeup >= 0)
        resolve->event = event_new(base, job->wakeup, EV_READ | EV_PERSIST, on_wakeup, resolve);
    if (resolve->event != NULL && event_add(resolve->event, NULL) == 0) {
        atomic_fetch_add_explicit(&job->holders, 1, memory_order_relaxed);
        if (start_thread(job))
            return resolve;
        atomic_fetch_sub_explicit(&job->holders, 1, memory_order_relaxed);
    }
    resolve_free(resolve);
    return NULL;
}

void resolve_cancel(struct resolve *resolve)
{
    if (resolve != NULL)
        resolve_free(resolve);
}
