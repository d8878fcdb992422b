/* Asking a bundle's metadata service. libcurl and the resolver block for as long as they like, so
 * they run on a detached thread that owns half of a two-part reference; the loop's thread owns the
 * other half and may let go at any time. The thread must touch nothing but its job. */
#include <curl/curl.h>
#include <errno.h>
#include <event2/event.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/clock.h"
#include "dataplane/bundle_data.h"

#define FETCH_TIMEOUT_S   30L
#define ANSWER_BYTES_MAX  ((size_t)256 * 1024)
#define REACH_TIMEOUT_MS  2000
#define PROXY_ADDRESS_MAX 16
#define ERROR_BYTES       1024

struct job { /* shared with the thread */
    _Atomic int holders;
    _Atomic bool is_cancelled;
    int wakeup;           /* eventfd */
    struct bundle bundle; /* copies */
    /* Written by the thread before it signals, read by the loop after. */
    struct dynbuf answer;
    struct dynbuf error;
    struct bundle_contacts contacts;
};

struct bundle_fetch { /* the loop's side */
    struct job *job;
    struct event *event;
    void (*on_done)(void *context, const struct bundle_metadata *metadata);
    void *context;
};

/* ---- the thread ---- */

static size_t on_bytes(char *bytes, size_t size, size_t count, void *context)
{
    struct job *job = context;
    return dynbuf_append(&job->answer, bytes, size * count) ? size * count : 0;
}

static int on_progress(void *context, curl_off_t to_get, curl_off_t got, curl_off_t to_put,
                       curl_off_t put)
{
    struct job *job = context;
    (void)to_get;
    (void)got;
    (void)to_put;
    (void)put;
    return atomic_load(&job->is_cancelled) ? 1 : 0;
}

static struct curl_blob blob_of(const struct bundle_text *text)
{
    return (struct curl_blob){.data = text->bytes, .len = text->length, .flags = CURL_BLOB_NOCOPY};
}

static void set_up(CURL *curl, struct job *job, char *reason)
{
    char url[320];
    struct curl_blob authorities = blob_of(&job->bundle.authorities);
    struct curl_blob certificate = blob_of(&job->bundle.certificate);
    struct curl_blob key = blob_of(&job->bundle.key);
    snprintf(url, sizeof url, "https://%s:%d/metadata", job->bundle.host, job->bundle.port);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "https");
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, FETCH_TIMEOUT_S);
    curl_easy_setopt(curl, CURLOPT_SSLVERSION, CURL_SSLVERSION_TLSv1_2);
    curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 1L);
    curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 2L);
    curl_easy_setopt(curl, CURLOPT_CAINFO_BLOB, &authorities);
    curl_easy_setopt(curl, CURLOPT_SSLCERT_BLOB, &certificate);
    curl_easy_setopt(curl, CURLOPT_SSLCERTTYPE, "PEM");
    curl_easy_setopt(curl, CURLOPT_SSLKEY_BLOB, &key);
    curl_easy_setopt(curl, CURLOPT_SSLKEYTYPE, "PEM");
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, reason);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_bytes);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, job);
    curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(curl, CURLOPT_XFERINFODATA, job);
    curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
}

/* false: job->error says why. */
static bool fetch(struct job *job)
{
    char reason[CURL_ERROR_SIZE] = "";
    long status = 0;
    CURL *curl = curl_easy_init();
    if (curl == NULL) {
        dynbuf_append_text(&job->error, "libcurl refuses to start");
        return false;
    }
    set_up(curl, job, reason);
    CURLcode code = curl_easy_perform(curl);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_cleanup(curl);
    if (code != CURLE_OK) {
        dynbuf_append_text(&job->error, job->answer.failed  ? "its answer is larger than 256 KiB"
                                        : reason[0] != '\0' ? reason
                                                            : curl_easy_strerror(code));
        return false;
    }
    if (status != 200)
        dynbuf_printf(&job->error, "it answered with HTTP status %ld", status);
    return status == 200;
}

/* The addresses that accept a connection within a moment are moved to the front; how many: a name
 * often has some that lead nowhere from here. */
static size_t prefer_reachable(const struct addrinfo **addresses, size_t count)
{
    struct pollfd waiting[PROXY_ADDRESS_MAX];
    size_t reachable = 0, pending = 0;
    for (size_t i = 0; i < count; i++) {
        int fd = socket(addresses[i]->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        bool is_tried =
            fd >= 0 && (connect(fd, addresses[i]->ai_addr, addresses[i]->ai_addrlen) == 0 ||
                        errno == EINPROGRESS);
        waiting[i] = (struct pollfd){.fd = is_tried ? fd : -1, .events = POLLOUT};
        pending += is_tried;
        if (fd >= 0 && !is_tried)
            close(fd);
    }
    uint64_t until = clock_now_ns() + REACH_TIMEOUT_MS * NS_PER_MS;
    for (uint64_t now = clock_now_ns(); pending > 0 && now < until; now = clock_now_ns()) {
        if (poll(waiting, count, (int)((until - now) / NS_PER_MS) + 1) <= 0)
            break;
        for (size_t i = 0; i < count; i++) {
            int error = 0;
            socklen_t size = sizeof error;
            if (waiting[i].fd < 0 || waiting[i].revents == 0)
                continue;
            getsockopt(waiting[i].fd, SOL_SOCKET, SO_ERROR, &error, &size);
            close(waiting[i].fd);
            waiting[i].fd = -1;
            pending--;
            if (error != 0)
                continue;
            const struct addrinfo *found = addresses[i];
            memmove(addresses + reachable + 1, addresses + reachable,
                    (i - reachable) * sizeof(const struct addrinfo *));
            memmove(waiting + reachable + 1, waiting + reachable,
                    (i - reachable) * sizeof *waiting);
            waiting[reachable] = (struct pollfd){.fd = -1};
            addresses[reachable++] = found;
        }
    }
    for (size_t i = 0; i < count; i++)
        if (waiting[i].fd >= 0)
            close(waiting[i].fd);
    return reachable;
}

/* Each node gets one of the proxy's addresses, in turn. */
static bool resolve_proxy(struct job *job)
{
    struct bundle_contacts *contacts = &job->contacts;
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    const struct addrinfo *usable[PROXY_ADDRESS_MAX];
    size_t count = 0;
    char port[8];
    snprintf(port, sizeof port, "%d", contacts->proxy_port);
    int code = getaddrinfo(contacts->proxy_host, port, &hints, &found);
    for (const struct addrinfo *info = found; code == 0 && info != NULL; info = info->ai_next)
        if (count < PROXY_ADDRESS_MAX && info->ai_addrlen <= sizeof(struct sockaddr_storage))
            usable[count++] = info;
    size_t reachable = prefer_reachable(usable, count);
    if (reachable > 0)
        count = reachable;
    for (size_t i = 0; count > 0 && i < contacts->nodes.count; i++) {
        struct topology_node *node = &contacts->nodes.nodes[i];
        const struct addrinfo *info = usable[i % count];
        memcpy(&node->address, info->ai_addr, info->ai_addrlen);
        node->address_length = info->ai_addrlen;
    }
    if (found != NULL)
        freeaddrinfo(found);
    if (count == 0)
        dynbuf_printf(&job->error, "its sni_proxy_address %s has no address: %s",
                      contacts->proxy_host, code == 0 ? "none" : gai_strerror(code));
    return count > 0;
}

static void job_put(struct job *job)
{
    if (atomic_fetch_sub_explicit(&job->holders, 1, memory_order_acq_rel) != 1)
        return;
    close(job->wakeup);
    node_list_fini(&job->contacts.nodes);
    dynbuf_fini(&job->answer);
    dynbuf_fini(&job->error);
    bundle_drop_text(&job->bundle.authorities);
    bundle_drop_text(&job->bundle.certificate);
    bundle_drop_text(&job->bundle.key);
    free(job);
}

static void *job_run(void *argument)
{
    struct job *job = argument;
    if (fetch(job) && bundle_read_metadata((const char *)job->answer.data, job->answer.length,
                                           &job->contacts, &job->error))
        resolve_proxy(job);
    uint64_t one = 1;
    ssize_t wrote = write(job->wakeup, &one, sizeof one);
    CHECK(wrote == sizeof one);
    job_put(job);
    return NULL;
}

/* ---- the loop's side ---- */

static void fetch_free(struct bundle_fetch *fetch)
{
    if (fetch->event != NULL)
        event_free(fetch->event);
    job_put(fetch->job);
    free(fetch);
}

static void on_wakeup(evutil_socket_t fd, short what, void *context)
{
    struct bundle_fetch *fetch = context;
    struct job *job = fetch->job;
    uint64_t count;
    (void)what;
    if (read(fd, &count, sizeof count) != sizeof count)
        return;
    char text[ERROR_BYTES];
    struct bundle_metadata metadata = {.datacenter = job->contacts.datacenter,
                                       .nodes = &job->contacts.nodes};
    if (job->error.length > 0 || job->error.failed) {
        snprintf(text, sizeof text, "the metadata service at %s:%d: %.300s", job->bundle.host,
                 job->bundle.port, dynbuf_text(&job->error));
        metadata = (struct bundle_metadata){.error = text, .datacenter = ""};
    }
    fetch->on_done(fetch->context, &metadata);
    fetch_free(fetch);
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

static struct bundle_text copy_of(const struct bundle_text *text)
{
    struct bundle_text copy = {.bytes = malloc(text->length + 1), .length = text->length};
    CHECK(copy.bytes != NULL);
    memcpy(copy.bytes, text->bytes, text->length + 1);
    return copy;
}

struct bundle_fetch *bundle_fetch_start(struct event_base *base, const struct bundle *bundle,
                                        void (*on_done)(void *context,
                                                        const struct bundle_metadata *metadata),
                                        void *context)
{
    static bool is_curl_ready; /* main thread only */
    if (!is_curl_ready)
        CHECK(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK);
    is_curl_ready = true;
    struct job *job = calloc(1, sizeof *job);
    struct bundle_fetch *fetch = calloc(1, sizeof *fetch);
    CHECK(job != NULL && fetch != NULL);
    atomic_init(&job->holders, 1);
    dynbuf_init(&job->answer, ANSWER_BYTES_MAX);
    dynbuf_init(&job->error, ERROR_BYTES);
    memcpy(job->bundle.host, bundle->host, sizeof job->bundle.host);
    job->bundle.port = bundle->port;
    job->bundle.authorities = copy_of(&bundle->authorities);
    job->bundle.certificate = copy_of(&bundle->certificate);
    job->bundle.key = copy_of(&bundle->key);
    job->wakeup = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    *fetch = (struct bundle_fetch){.job = job, .on_done = on_done, .context = context};
    if (job->wakeup >= 0)
        fetch->event = event_new(base, job->wakeup, EV_READ | EV_PERSIST, on_wakeup, fetch);
    if (fetch->event != NULL && event_add(fetch->event, NULL) == 0) {
        atomic_fetch_add_explicit(&job->holders, 1, memory_order_relaxed);
        if (start_thread(job))
            return fetch;
        atomic_fetch_sub_explicit(&job->holders, 1, memory_order_relaxed);
    }
    fetch_free(fetch);
    return NULL;
}

void bundle_fetch_cancel(struct bundle_fetch *fetch)
{
    if (fetch == NULL)
        return;
    atomic_store(&fetch->job->is_cancelled, true);
    fetch_free(fetch);
}
