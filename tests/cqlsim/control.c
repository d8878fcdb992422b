/* The control socket: one command a line, one answer a line (dump answers many, the last one says
 * ok). Owned by the main thread. Meant for tests on the same machine; it keeps a client that does
 * not read its answers only up to a limit. */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/log.h"
#include "restrictions.h"
#include "server.h"

#define LINE_MAX_BYTES 4096
#define OUT_MAX_BYTES  (256U * 1024 * 1024)
#define MAX_WORDS      64

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

/* Words of a command, cut apart in place. */
struct words {
    char *at[MAX_WORDS];
    size_t count;
    size_t next;
};

static const char *next_word(struct words *words)
{
    return words->next < words->count ? words->at[words->next++] : NULL;
}

static bool parse_number(const char *text, uint64_t maximum, uint64_t *number)
{
    char *end;
    if (text == NULL || *text < '0' || *text > '9')
        return false;
    errno = 0;
    *number = strtoull(text, &end, 0);
    return *end == '\0' && errno == 0 && *number <= maximum;
}

static bool parse_scope(const char *word, unsigned *scope)
{
    if (strcasecmp(word, "all") == 0)
        *scope = SCOPE_ALL;
    else if (strcasecmp(word, "reads") == 0)
        *scope = SCOPE_READS;
    else if (strcasecmp(word, "writes") == 0)
        *scope = SCOPE_WRITES;
    else
        *scope = wire_opcode_parse(word);
    return *scope != OP_LIMIT;
}

/* The tail every fault command has: [SCOPE] [count N]. False after answering with what is wrong. */
static bool parse_tail(struct words *words, struct fault *fault, struct dynbuf *out)
{
    const char *word;
    while ((word = next_word(words)) != NULL) {
        uint64_t number;
        if (strcasecmp(word, "count") == 0) {
            if (!parse_number(next_word(words), INT64_MAX, &number) || number == 0) {
                dynbuf_append_text(out, "error count takes a number above 0\n");
                return false;
            }
            fault->remaining = (int64_t)number;
        } else if (!parse_scope(word, &fault->scope)) {
            dynbuf_printf(out, "error %.40s is no opcode, reads, writes, all or count\n", word);
            return false;
        }
    }
    return true;
}

static void add_fault(struct server *server, const struct fault *fault, struct dynbuf *out)
{
    if (faults_add(&server->faults, fault))
        dynbuf_append_text(out, "ok\n");
    else
        dynbuf_append_text(out, "error too many faults; clear some\n");
}

static void command_delay(struct server *server, struct words *words, struct dynbuf *out)
{
    struct fault fault = {.kind = FAULT_DELAY, .scope = SCOPE_ALL, .remaining = -1};
    uint64_t ms;
    if (!parse_number(next_word(words), 3600000, &ms)) {
        dynbuf_append_text(out, "error delay takes milliseconds, at most 3600000\n");
        return;
    }
    fault.delay_ms = ms == 0 ? 1 : (uint32_t)ms;
    if (parse_tail(words, &fault, out))
        add_fault(server, &fault, out);
}

static void command_error(struct server *server, struct words *words, struct dynbuf *out)
{
    struct fault fault = {.kind = FAULT_ERROR, .scope = SCOPE_ALL, .remaining = -1};
    uint64_t code;
    if (!parse_number(next_word(words), 0xFFFF, &code)) {
        dynbuf_append_text(out, "error error takes a code such as 0x1001\n");
        return;
    }
    fault.code = (int32_t)code;
    snprintf(fault.text, sizeof fault.text, "injected by cqlsim");
    /* A text is one word or quoted; it comes first if it comes at all. */
    unsigned scope;
    if (words->next < words->count && strcasecmp(words->at[words->next], "count") != 0 &&
        !parse_scope(words->at[words->next], &scope))
        snprintf(fault.text, sizeof fault.text, "%s", next_word(words));
    if (parse_tail(words, &fault, out))
        add_fault(server, &fault, out);
}

static void plain_fault(struct server *server, struct words *words, enum fault_kind kind,
                        struct dynbuf *out)
{
    struct fault fault = {.kind = kind, .scope = SCOPE_ALL, .remaining = -1};
    if (parse_tail(words, &fault, out))
        add_fault(server, &fault, out);
}

static void command_hold(struct server *server, struct words *words, struct dynbuf *out)
{
    plain_fault(server, words, FAULT_HOLD, out);
}

static void command_silence(struct server *server, struct words *words, struct dynbuf *out)
{
    plain_fault(server, words, FAULT_SILENCE, out);
}

static void command_close(struct server *server, struct words *words, struct dynbuf *out)
{
    plain_fault(server, words, FAULT_CLOSE, out);
}

static void command_garbage(struct server *server, struct words *words, struct dynbuf *out)
{
    plain_fault(server, words, FAULT_GARBAGE, out);
}

static size_t release_all(struct server *server)
{
    size_t count = 0;
    for (struct list *node = server->connections.next; node != &server->connections;
         node = node->next)
        count += connection_release(CONTAINER_OF(node, struct connection, node));
    return count;
}

static void command_release(struct server *server, struct words *words, struct dynbuf *out)
{
    (void)words;
    for (size_t i = server->faults.count; i-- > 0;)
        if (server->faults.active[i].kind == FAULT_HOLD)
            server->faults.active[i] = server->faults.active[--server->faults.count];
    dynbuf_printf(out, "ok %zu\n", release_all(server));
}

static void command_clear(struct server *server, struct words *words, struct dynbuf *out)
{
    (void)words;
    faults_clear(&server->faults);
    dynbuf_printf(out, "ok released %zu\n", release_all(server));
}

static void command_unprepare(struct server *server, struct words *words, struct dynbuf *out)
{
    (void)words;
    size_t count = server->prepared.count;
    prepared_clear(&server->prepared);
    dynbuf_printf(out, "ok %zu\n", count);
}

/* A node we serve, by address; NULL with *ok false when there is none such, with *ok true for no
 * word. */
static const struct node *served_node(struct server *server, const char *word, bool *ok)
{
    *ok = word == NULL;
    for (size_t i = 0; word != NULL && i < server->listener_count; i++) {
        if (strcmp(server->listeners[i].node->address, word) == 0) {
            *ok = true;
            return server->listeners[i].node;
        }
    }
    return NULL;
}

static void command_refuse(struct server *server, struct words *words, struct dynbuf *out)
{
    const char *word = next_word(words);
    bool on = word != NULL && strcasecmp(word, "on") == 0;
    bool ok;
    if (!on && (word == NULL || strcasecmp(word, "off") != 0)) {
        dynbuf_append_text(out, "error refuse takes on or off\n");
        return;
    }
    const struct node *node = served_node(server, next_word(words), &ok);
    if (!ok)
        dynbuf_append_text(out, "error no such address is served here\n");
    else if (server_refuse(server, node, on))
        dynbuf_append_text(out, "ok\n");
    else
        dynbuf_append_text(out, "error an address could not be opened again\n");
}

static void command_disconnect(struct server *server, struct words *words, struct dynbuf *out)
{
    bool ok;
    size_t count = 0;
    const struct node *node = served_node(server, next_word(words), &ok);
    if (!ok) {
        dynbuf_append_text(out, "error no such address is served here\n");
        return;
    }
    for (struct list *at = server->connections.next; at != &server->connections; at = at->next) {
        struct connection *connection = CONTAINER_OF(at, struct connection, node);
        if (node != NULL && connection->at != node)
            continue;
        connection_doom(connection);
        count++;
    }
    dynbuf_printf(out, "ok %zu\n", count);
}

/* ADDRESS:PORT, an IPv6 address in brackets, as [inet]. */
static bool put_inet(struct dynbuf *body, const char *text)
{
    char address[INET6_ADDRSTRLEN + 2];
    const char *colon = text == NULL ? NULL : strrchr(text, ':');
    uint64_t port;
    uint8_t ip[16];
    if (colon == NULL || !parse_number(colon + 1, 65535, &port))
        return false;
    bool bracket = text[0] == '[' && colon > text + 1 && colon[-1] == ']';
    size_t length = (size_t)(colon - text) - (bracket ? 2 : 0);
    if (length >= sizeof address)
        return false;
    memcpy(address, text + bracket, length);
    address[length] = '\0';
    uint8_t size = inet_pton(AF_INET, address, ip) == 1    ? 4
                   : inet_pton(AF_INET6, address, ip) == 1 ? 16
                                                           : 0;
    wire_put_u8(body, size);
    dynbuf_append(body, ip, size);
    wire_put_i32(body, (int32_t)port);
    return size > 0;
}

static void command_event(struct server *server, struct words *words, struct dynbuf *out)
{
    const char *type = next_word(words);
    const char *change = next_word(words);
    const char *where = next_word(words);
    unsigned mask = type == NULL                               ? 0
                    : strcasecmp(type, "STATUS_CHANGE") == 0   ? EVENT_STATUS
                    : strcasecmp(type, "TOPOLOGY_CHANGE") == 0 ? EVENT_TOPOLOGY
                    : strcasecmp(type, "SCHEMA_CHANGE") == 0   ? EVENT_SCHEMA
                                                               : 0;
    struct dynbuf body;
    dynbuf_init(&body, LINE_MAX_BYTES);
    bool ok = mask != 0 && change != NULL && where != NULL;
    if (ok) {
        wire_put_string(&body, type);
        wire_put_string(&body, change);
        if (mask == EVENT_SCHEMA) {
            for (; where != NULL; where = next_word(words))
                wire_put_string(&body, where);
        } else {
            ok = put_inet(&body, where);
        }
    }
    if (ok)
        server_broadcast(server, mask, &body);
    dynbuf_append_text(
        out, ok ? "ok\n"
                : "error event takes STATUS_CHANGE|TOPOLOGY_CHANGE CHANGE ADDRESS:PORT or "
                  "SCHEMA_CHANGE CHANGE TARGET KEYSPACE [NAME]\n");
    dynbuf_fini(&body);
}

static void command_stats(struct server *server, struct words *words, struct dynbuf *out)
{
    (void)words;
    size_t registered = 0;
    size_t waiting = 0;
    for (struct list *node = server->connections.next; node != &server->connections;
         node = node->next) {
        const struct connection *connection = CONTAINER_OF(node, struct connection, node);
        registered += connection->registered != 0;
        waiting += connection->out.length - connection->sent;
    }
    dynbuf_append_text(out, "ok {\"opcodes\": {");
    const char *separator = "";
    for (unsigned i = 0; i < OP_LIMIT; i++) {
        if (server->by_opcode[i] == 0 || wire_opcode_name(i) == NULL)
            continue;
        dynbuf_printf(out, "%s\"%s\": %" PRIu64, separator, wire_opcode_name(i),
                      server->by_opcode[i]);
        separator = ", ";
    }
    dynbuf_append_text(out, "}, \"statements\": {");
    for (unsigned i = 0; i < CLASS_LIMIT; i++)
        dynbuf_printf(out, "%s\"%s\": %" PRIu64, i > 0 ? ", " : "", execute_class_name(i),
                      server->by_class[i]);
    dynbuf_printf(out,
                  "}, \"system_statements\": %" PRIu64 ", \"errors\": %" PRIu64
                  ", \"protocol_errors\": %" PRIu64 ", \"connections_open\": %zu"
                  ", \"connections_total\": %" PRIu64
                  ", \"registered\": %zu, \"prepared\": %zu, \"output_waiting\": %zu}\n",
                  server->system_statements, server->errors, server->protocol_errors, server->open,
                  server->accepted, registered, server->prepared.count, waiting);
}

static void dump_row(struct dynbuf *out, const struct table *table,
                     const struct partition *partition, const struct row *row, int64_t now)
{
    dynbuf_append_text(out, "{");
    for (size_t i = 0; i < table->column_count; i++) {
        const struct column *column = table->columns[i];
        if (i > 0)
            dynbuf_append_text(out, ", ");
        type_print_json_text(out, bytes_text(column->name));
        dynbuf_append_text(out, ": ");
        type_print_json(out, column->type, restrictions_column_value(column, partition, row, now));
    }
    dynbuf_append_text(out, "}\n");
}

static void command_dump(struct server *server, struct words *words, struct dynbuf *out)
{
    char *name = (char *)(uintptr_t)next_word(words);
    char *dot = name == NULL ? NULL : strchr(name, '.');
    if (dot == NULL) {
        dynbuf_append_text(out, "error dump takes KEYSPACE.TABLE\n");
        return;
    }
    *dot = '\0';
    const struct keyspace *keyspace = schema_keyspace(&server->engine.schema, name);
    const struct table *table = keyspace == NULL ? NULL : schema_table(keyspace, dot + 1);
    if (table == NULL || table->generate != NULL) {
        dynbuf_append_text(out, "error there is no such table\n");
        return;
    }
    int64_t now = engine_timestamp(&server->engine) / 1000000;
    size_t rows = 0;
    for (struct omap_node *at = omap_first(&table->partitions); at != NULL; at = omap_next(at)) {
        const struct partition *partition = at->item;
        size_t before = rows;
        for (struct omap_node *row = omap_first(&partition->rows); row != NULL;
             row = omap_next(row)) {
            if (!storage_row_visible(partition, row->item, now))
                continue;
            dump_row(out, table, partition, row->item, now);
            rows++;
        }
        if (rows == before && storage_row_visible(partition, partition->statics, now)) {
            dump_row(out, table, partition, NULL, now);
            rows++;
        }
    }
    dynbuf_printf(out, "ok %zu\n", rows);
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
        if (words->count == MAX_WORDS)
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
        void (*run)(struct server *server, struct words *words, struct dynbuf *out);
    } commands[] = {
        {"delay", command_delay},
        {"error", command_error},
        {"hold", command_hold},
        {"release", command_release},
        {"silence", command_silence},
        {"close", command_close},
        {"garbage", command_garbage},
        {"unprepare", command_unprepare},
        {"event", command_event},
        {"refuse", command_refuse},
        {"disconnect", command_disconnect},
        {"clear", command_clear},
        {"stats", command_stats},
        {"dump", command_dump},
    };
    struct words words;
    if (!split(line, &words)) {
        dynbuf_append_text(out, "error too many words\n");
        return;
    }
    const char *name = next_word(&words);
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
