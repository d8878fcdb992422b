/* The store of TLS files. Main thread only. A changed file is read once it has been the same for a
 * whole poll, so that one still being written is left alone; a broken one is told of and leaves
 * what was good in force. Never logs what is in a file. */
#include "dataplane/tls_store.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/log.h"
#include "dataplane/bundle.h"
#include "dataplane/config_tls.h"
#include "dataplane/tls_context.h"

#define POLL_S          2
#define FILE_BYTES_MAX  ((size_t)1024 * 1024)
#define FILES_MAX       3
#define WARN_DAYS       30
#define WARN_AGAIN_S    (24 * 3600)
#define SECONDS_PER_DAY 86400

struct signature { /* of a file on disk; all zero: there is none */
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec changed;
};

struct file {
    const char *name; /* of the setting */
    const char *path;
    struct signature tried; /* when it was last read */
    struct signature seen;  /* at the last poll */
};

struct text {
    char *bytes;
    size_t length;
};

struct side {
    enum tls_side id;
    struct tls_settings settings;
    struct file files[FILES_MAX];
    size_t file_count;
    struct tls_context *context;
    struct bundle *bundle;
    time_t warned; /* about certificates that run out */
};

struct tls_store {
    struct metrics_block *metrics;
    void (*on_change)(void *context, enum tls_side side, struct tls_context *tls);
    void *context;
    struct event *poll;
    struct side sides[TLS_SIDE_COUNT];
};

/* ---- files ---- */

static struct signature signature_of(const char *path)
{
    struct stat facts;
    struct signature signature = {0};
    if (stat(path, &facts) != 0)
        return signature;
    signature.device = facts.st_dev;
    signature.inode = facts.st_ino;
    signature.size = facts.st_size;
    signature.changed = facts.st_mtim;
    return signature;
}

static bool is_same(const struct signature *left, const struct signature *right)
{
    return left->device == right->device && left->inode == right->inode &&
           left->size == right->size && left->changed.tv_sec == right->changed.tv_sec &&
           left->changed.tv_nsec == right->changed.tv_nsec;
}

static void drop_text(struct text *text)
{
    if (text->bytes != NULL)
        explicit_bzero(text->bytes, text->length);
    free(text->bytes);
    *text = (struct text){0};
}

static bool cannot_read(const struct file *file, const char *why, struct dynbuf *error)
{
    dynbuf_printf(error, "%s=%s cannot be read: %s", file->name, file->path, why);
    return false;
}

static bool read_open(int fd, const struct file *file, struct text *text, struct dynbuf *error)
{
    struct stat facts;
    if (fstat(fd, &facts) != 0)
        return cannot_read(file, strerror(errno), error);
    if (!S_ISREG(facts.st_mode))
        return cannot_read(file, "it is no regular file", error);
    if (facts.st_size < 0 || (size_t)facts.st_size > FILE_BYTES_MAX)
        return cannot_read(file, "it is larger than 1 MiB", error);
    text->bytes = malloc((size_t)facts.st_size + 1);
    CHECK(text->bytes != NULL);
    while (text->length < (size_t)facts.st_size) {
        ssize_t got = read(fd, text->bytes + text->length, (size_t)facts.st_size - text->length);
        if (got < 0)
            return cannot_read(file, strerror(errno), error);
        if (got == 0)
            break;
        text->length += (size_t)got;
    }
    text->bytes[text->length] = '\0';
    return true;
}

static bool read_file(const struct file *file, struct text *text, struct dynbuf *error)
{
    int fd = open(file->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return cannot_read(file, strerror(errno), error);
    bool is_read = read_open(fd, file, text, error);
    close(fd);
    return is_read;
}

/* ---- reading one side ---- */

static struct tls_options options_of(const struct side *side)
{
    return (struct tls_options){
        .side = side->id,
        .requires_client_certificate = side->settings.requires_client_certificate,
        .verifies_names = side->settings.verifies_names,
    };
}

/* From the PEM files of the settings. */
static struct tls_context *from_files(struct side *side, struct dynbuf *error)
{
    struct tls_options options = options_of(side);
    struct text texts[FILES_MAX] = {{0}};
    bool is_good = true;
    for (size_t i = 0; i < side->file_count && is_good; i++) {
        const struct file *file = &side->files[i];
        is_good = read_file(file, &texts[i], error);
        struct tls_pem pem = {texts[i].bytes, texts[i].length, file->path};
        if (file->path == side->settings.authorities)
            options.authorities = pem;
        else if (file->path == side->settings.certificate)
            options.certificate = pem;
        else
            options.key = pem;
    }
    struct tls_context *context = is_good ? tls_context_new(&options, error) : NULL;
    for (size_t i = 0; i < FILES_MAX; i++)
        drop_text(&texts[i]);
    return context;
}

/* From the bundle, which replaces the one before when it is good. */
static struct tls_context *from_bundle(struct side *side, struct dynbuf *error)
{
    struct tls_options options = options_of(side);
    struct bundle *bundle = bundle_open(side->settings.bundle, error);
    if (bundle == NULL)
        return NULL;
    options.authorities = bundle_authorities(bundle);
    options.certificate = bundle_certificate(bundle);
    options.key = bundle_key(bundle);
    struct tls_context *context = tls_context_new(&options, error);
    if (context == NULL) {
        bundle_free(bundle);
        return NULL;
    }
    bundle_free(side->bundle);
    side->bundle = bundle;
    return context;
}

static void warn_of_expiry(struct side *side)
{
    time_t now = time(NULL);
    side->warned = now;
    for (size_t i = 0; i < side->context->expiry_count; i++) {
        const struct tls_expiry *expiry = &side->context->expiries[i];
        int64_t left = expiry->not_after - (int64_t)now;
        if (left < (int64_t)WARN_DAYS * SECONDS_PER_DAY)
            LOG_WARN("tls_certificate_expires", "side=%s file=%s days_left=%lld",
                     tls_side_name(side->id), expiry->file, (long long)(left / SECONDS_PER_DAY));
    }
}

static bool load(struct tls_store *store, struct side *side, struct dynbuf *error)
{
    for (size_t i = 0; i < side->file_count; i++)
        side->files[i].tried = side->files[i].seen = signature_of(side->files[i].path);
    struct tls_context *context =
        side->settings.bundle[0] != '\0' ? from_bundle(side, error) : from_files(side, error);
    if (context == NULL)
        return false;
    tls_context_put(side->context);
    side->context = context;
    warn_of_expiry(side);
    store->on_change(store->context, side->id, context);
    return true;
}

static void reload(struct tls_store *store, struct side *side, const char *why)
{
    static const enum metric good[TLS_SIDE_COUNT] = {
        METRIC_TLS_RELOAD_OK_PROXY, METRIC_TLS_RELOAD_OK_ORIGIN, METRIC_TLS_RELOAD_OK_TARGET};
    static const enum metric bad[TLS_SIDE_COUNT] = {METRIC_TLS_RELOAD_FAILED_PROXY,
                                                    METRIC_TLS_RELOAD_FAILED_ORIGIN,
                                                    METRIC_TLS_RELOAD_FAILED_TARGET};
    struct dynbuf error;
    dynbuf_init(&error, 1024);
    bool is_good = load(store, side, &error);
    metrics_add(store->metrics, is_good ? good[side->id] : bad[side->id], 1);
    if (is_good)
        LOG_INFO("tls_reloaded", "side=%s cause=%s", tls_side_name(side->id), why);
    else
        LOG_ERROR("tls_reload_failed", "side=%s cause=%s reason=\"%s\" the_old_ones=stay",
                  tls_side_name(side->id), why, dynbuf_text(&error));
    dynbuf_fini(&error);
}

/* ---- watching ---- */

/* true: some file differs from what was last read, and all are as they were a poll ago. */
static bool has_settled_change(struct side *side)
{
    bool is_changed = false;
    bool is_settled = true;
    for (size_t i = 0; i < side->file_count; i++) {
        struct file *file = &side->files[i];
        struct signature now = signature_of(file->path);
        is_changed = is_changed || !is_same(&now, &file->tried);
        is_settled = is_settled && is_same(&now, &file->seen);
        file->seen = now;
    }
    return is_changed && is_settled;
}

static void on_poll(evutil_socket_t fd, short what, void *context)
{
    struct tls_store *store = context;
    (void)fd;
    (void)what;
    for (int i = 0; i < TLS_SIDE_COUNT; i++) {
        struct side *side = &store->sides[i];
        if (has_settled_change(side))
            reload(store, side, "changed");
        else if (side->context != NULL && time(NULL) - side->warned >= WARN_AGAIN_S)
            warn_of_expiry(side);
    }
}

void tls_store_reload(struct tls_store *store)
{
    for (int i = 0; i < TLS_SIDE_COUNT; i++)
        if (store->sides[i].settings.is_enabled)
            reload(store, &store->sides[i], "asked");
}

/* ---- making ---- */

static void add_file(struct side *side, const char *name, const char *path)
{
    if (path[0] == '\0')
        return;
    CHECK(side->file_count < FILES_MAX);
    side->files[side->file_count++] = (struct file){.name = name, .path = path};
}

static void init_side(struct side *side, const struct config *config, enum tls_side id)
{
    *side = (struct side){.id = id, .settings = config_tls(config, id)};
    if (!side->settings.is_enabled)
        return;
    if (side->settings.bundle[0] != '\0') {
        add_file(side, "", side->settings.bundle);
        return;
    }
    add_file(side, side->settings.authorities_name, side->settings.authorities);
    add_file(side, side->settings.certificate_name, side->settings.certificate);
    add_file(side, side->settings.key_name, side->settings.key);
}

struct tls_store *
tls_store_new(struct event_base *base, const struct config *config, struct metrics_block *metrics,
              void (*on_change)(void *context, enum tls_side side, struct tls_context *tls),
              void *context, struct dynbuf *error)
{
    struct timeval period = {.tv_sec = POLL_S};
    struct tls_store *store = calloc(1, sizeof *store);
    bool has_files = false;
    CHECK(store != NULL);
    store->metrics = metrics;
    store->on_change = on_change;
    store->context = context;
    for (int i = 0; i < TLS_SIDE_COUNT; i++) {
        struct side *side = &store->sides[i];
        init_side(side, config, (enum tls_side)i);
        has_files = has_files || side->file_count > 0;
        if (side->settings.is_enabled && !load(store, side, error)) {
            tls_store_free(store);
            return NULL;
        }
    }
    if (has_files) {
        store->poll = event_new(base, -1, EV_PERSIST, on_poll, store);
        CHECK(store->poll != NULL);
        event_add(store->poll, &period);
    }
    return store;
}

void tls_store_free(struct tls_store *store)
{
    if (store == NULL)
        return;
    for (int i = 0; i < TLS_SIDE_COUNT; i++) {
        tls_context_put(store->sides[i].context);
        bundle_free(store->sides[i].bundle);
    }
    if (store->poll != NULL)
        event_free(store->poll);
    free(store);
}

const struct bundle *tls_store_bundle(const struct tls_store *store, enum cluster_id cluster)
{
    return store->sides[tls_side_of(cluster)].bundle;
}

size_t tls_store_certificates(const struct tls_store *store,
                              struct metrics_certificate certificates[TLS_CERTIFICATES_MAX])
{
    size_t count = 0;
    for (int i = 0; i < TLS_SIDE_COUNT; i++) {
        const struct side *side = &store->sides[i];
        for (size_t at = 0; side->context != NULL && at < side->context->expiry_count; at++) {
            CHECK(count < TLS_CERTIFICATES_MAX);
            certificates[count++] =
                (struct metrics_certificate){.side = tls_side_name(side->id),
                                             .file = side->context->expiries[at].file,
                                             .not_after = side->context->expiries[at].not_after};
        }
    }
    return count;
}
