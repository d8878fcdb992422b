/* The control socket: one command a line, one answer a line (dump answers many, the last one says
 * ok). Owned by the main thread. Meant for tests on the same machine; it keeps a client that does
 * not read its answers only up to a limit. */
#include <errno.h>
#include <stdio.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/log.h"
#include "commands.h"

#define LINE_MAX_BYTES 4096
#define OUT_MAX_BYTES  (256U * 1024 * 1024)

struct control {
    struct server *server;
    struct list clients;
    struct event *event;
    int fd;
    char path[108];
};

struct client {
    struct list node;
    struct control *control;
    int fd;
    struct event *readable;
    struct event *writable;
    struct dynbuf in;
    struct dynbuf out;
    bool ended; /* it will send no more: goes once its answers are written */
};

static void client_free(struct client *client)
{
    list_remove(&client->node);
    event_free(client->readable);
    event_free(client->writable);
    close(client->fd);
    dynbuf_fini(&client->in);
    dynbuf_fini(&client->out);
    free(client);
}

const char *command_word(struct words *words)
{
    return words->next < words->count ? words->at[words->next++] : NULL;
}

bool command_number(const char *text, uint64_t maximum, uint64_t *number)
{
    char *end;
    if (text == NULL || *text < '0' || *text > '9')
        return false;
    errno = 0;
    *number = strtoull(text, &end, 0);
    return *end == '\0' && errno == 0 && *number <= maximum;
}

/* Cuts a line into words; "quoted text" is one word. */
static bool split(char *line, struct words *words)
{
    *words = (struct words){.count = 0};
    for (char *at = line; *at != '\0';) {
        if (*at == ' ' || *at == '\t' || *at == '\r') {
            *at++ = '\0';
            continue;
        }
        if (words->count == COMMAND_MAX_WORDS)
            return false;
        bool quoted = *at == '"';
        at += quoted;
        words->at[words->count++] = at;
        while (*at != '\0' && (quoted ? *at != '"' : *at != ' ' && *at != '\t' && *at != '\r'))
            at++;
        if (*at == '"')
            *at++ = '\0';
    }
    return true;
}

static void run_command(struct server *server, char *line, struct dynbuf *out)
{
    static const struct {
        const char *name;
        command_function *run;
    } commands[] = {
        {"delay", command_delay},       {"error", command_error},
        {"hold", command_hold},         {"silence", command_silence},
        {"close", command_close},       {"garbage", command_garbage},
        {"corrupt", command_corrupt},   {"warn", command_warn},
        {"echo", command_echo},         {"release", command_release},
        {"clear", command_clear},       {"unprepare", command_unprepare},
        {"segments", command_segments}, {"refuse", command_refuse},
        {"mute", command_mute},         {"disconnect", command_disconnect},
        {"event", command_event},       {"node", command_node},
        {"stats", command_stats},       {"last-request", command_last_request},
        {"dump", command_dump},
    };
    struct words words;
    if (!split(line, &words)) {
        dynbuf_append_text(out, "error too many words\n");
        return;
    }
    const char *name = command_word(&words);
    if (name == NULL)
        return;
    for (size_t i = 0; i < ARRAY_COUNT(commands); i++) {
        if (strcasecmp(commands[i].name, name) == 0) {
            commands[i].run(server, &words, out);
            return;
        }
    }
    dynbuf_printf(out, "error unknown command %.40s\n", name);
}

/* False when the client is done with, one way or the other. */
static bool client_flush(struct client *client)
{
    while (client->out.length > 0) {
        ssize_t count = send(client->fd, client->out.data, client->out.length, MSG_NOSIGNAL);
        if (count < 0 && errno == EAGAIN) {
            event_add(client->writable, NULL);
            return true;
        }
        if (count < 0)
            return false;
        dynbuf_consume(&client->out, (size_t)count);
    }
    return !client->ended;
}

static void on_client_writable(evutil_socket_t fd, short what, void *argument)
{
    (void)fd;
    (void)what;
    struct client *client = argument;
    if (!client_flush(client))
        client_free(client);
}

static void on_client_readable(evutil_socket_t fd, short what, void *argument)
{
    (void)what;
    struct client *client = argument;
    char buffer[1024];
    ssize_t count = recv(fd, buffer, sizeof buffer, 0);
    if (count < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (count < 0) {
        client_free(client);
        return;
    }
    if (count == 0) {
        client->ended = true;
        event_del(client->readable);
        /* A last line without its end still counts. */
        buffer[count++] = '\n';
    }
    if (!dynbuf_append(&client->in, buffer, (size_t)count)) {
        client_free(client);
        return;
    }
    char *end;
    while ((end = memchr(client->in.data, '\n', client->in.length)) != NULL) {
        size_t length = (size_t)(end - (char *)client->in.data);
        *end = '\0';
        run_command(client->control->server, (char *)client->in.data, &client->out);
        dynbuf_consume(&client->in, length + 1);
    }
    if (client->out.failed || !client_flush(client))
        client_free(client);
}

static void on_control_acceptable(evutil_socket_t fd, short what, void *argument)
{
    (void)what;
    struct control *control = argument;
    int accepted = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (accepted < 0)
        return;
    struct client *client = calloc(1, sizeof *client);
    CHECK(client != NULL);
    client->control = control;
    client->fd = accepted;
    dynbuf_init(&client->in, LINE_MAX_BYTES);
    dynbuf_init(&client->out, OUT_MAX_BYTES);
    client->readable = event_new(control->server->base, accepted, EV_READ | EV_PERSIST,
                                 on_client_readable, client);
    client->writable =
        event_new(control->server->base, accepted, EV_WRITE, on_client_writable, client);
    CHECK(client->readable != NULL && client->writable != NULL);
    CHECK(event_add(client->readable, NULL) == 0);
    list_append(&control->clients, &client->node);
}

struct control *control_open(struct server *server, const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path) {
        LOG_ERROR("control_failed", "reason=\"the path is longer than %zu bytes\"",
                  sizeof address.sun_path - 1);
        return NULL;
    }
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    unlink(path);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) != 0 ||
        listen(fd, 16) != 0) {
        LOG_ERROR("control_failed", "path=%s reason=\"%s\"", path, strerror(errno));
        if (fd >= 0)
            close(fd);
        return NULL;
    }
    struct control *control = calloc(1, sizeof *control);
    CHECK(control != NULL);
    control->server = server;
    control->fd = fd;
    list_init(&control->clients);
    snprintf(control->path, sizeof control->path, "%s", path);
    control->event =
        event_new(server->base, fd, EV_READ | EV_PERSIST, on_control_acceptable, control);
    CHECK(control->event != NULL && event_add(control->event, NULL) == 0);
    return control;
}

void control_close(struct control *control)
{
    if (control == NULL)
        return;
    struct list *node;
    while ((node = list_first(&control->clients)) != NULL)
        client_free(CONTAINER_OF(node, struct client, node));
    event_free(control->event);
    close(control->fd);
    unlink(control->path);
    free(control);
}
