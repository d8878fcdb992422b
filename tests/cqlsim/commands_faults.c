/* Commands that make the simulator misbehave. Owned by the main thread. */
#include "commands.h"

#include <stdio.h>
#include <strings.h>

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
    while ((word = command_word(words)) != NULL) {
        uint64_t number;
        if (strcasecmp(word, "count") == 0) {
            if (!command_number(command_word(words), INT64_MAX, &number) || number == 0) {
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

/* A text is one word or quoted; it comes first if it comes at all. */
static void take_text(struct words *words, char *text, size_t size)
{
    unsigned scope;
    if (words->next < words->count && strcasecmp(words->at[words->next], "count") != 0 &&
        !parse_scope(words->at[words->next], &scope))
        snprintf(text, size, "%s", command_word(words));
}

void command_delay(struct server *server, struct words *words, struct dynbuf *out)
{
    struct fault fault = {.kind = FAULT_DELAY, .scope = SCOPE_ALL, .remaining = -1};
    uint64_t ms;
    if (!command_number(command_word(words), 3600000, &ms)) {
        dynbuf_append_text(out, "error delay takes milliseconds, at most 3600000\n");
        return;
    }
    fault.delay_ms = ms == 0 ? 1 : (uint32_t)ms;
    if (parse_tail(words, &fault, out))
        add_fault(server, &fault, out);
}

void command_error(struct server *server, struct words *words, struct dynbuf *out)
{
    struct fault fault = {.kind = FAULT_ERROR, .scope = SCOPE_ALL, .remaining = -1};
    uint64_t code;
    if (!command_number(command_word(words), 0xFFFF, &code)) {
        dynbuf_append_text(out, "error error takes a code such as 0x1001\n");
        return;
    }
    fault.code = (int32_t)code;
    snprintf(fault.text, sizeof fault.text, "injected by cqlsim");
    take_text(words, fault.text, sizeof fault.text);
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

void command_hold(struct server *server, struct words *words, struct dynbuf *out)
{
    plain_fault(server, words, FAULT_HOLD, out);
}

void command_silence(struct server *server, struct words *words, struct dynbuf *out)
{
    plain_fault(server, words, FAULT_SILENCE, out);
}

void command_close(struct server *server, struct words *words, struct dynbuf *out)
{
    plain_fault(server, words, FAULT_CLOSE, out);
}

void command_garbage(struct server *server, struct words *words, struct dynbuf *out)
{
    plain_fault(server, words, FAULT_GARBAGE, out);
}

void command_warn(struct server *server, struct words *words, struct dynbuf *out)
{
    struct fault fault = {.kind = FAULT_WARN, .scope = SCOPE_ALL, .remaining = -1};
    snprintf(fault.text, sizeof fault.text, "warned by cqlsim");
    take_text(words, fault.text, sizeof fault.text);
    if (parse_tail(words, &fault, out))
        add_fault(server, &fault, out);
}

void command_echo(struct server *server, struct words *words, struct dynbuf *out)
{
    plain_fault(server, words, FAULT_ECHO, out);
}

void command_corrupt(struct server *server, struct words *words, struct dynbuf *out)
{
    static const char *const names[] = {
        [CORRUPT_HEADER] = "header",
        [CORRUPT_PAYLOAD] = "payload",
        [CORRUPT_BODY] = "body",
        [CORRUPT_LENGTH] = "length",
    };
    struct fault fault = {.kind = FAULT_CORRUPT, .scope = SCOPE_ALL, .remaining = -1};
    const char *what = command_word(words);
    for (enum corruption i = CORRUPT_HEADER; i <= CORRUPT_LENGTH && what != NULL; i++)
        if (strcasecmp(names[i], what) == 0)
            fault.corruption = i;
    if (fault.corruption == CORRUPT_NOTHING)
        dynbuf_append_text(out, "error corrupt takes header, payload, body or length\n");
    else if (parse_tail(words, &fault, out))
        add_fault(server, &fault, out);
}

/* segments [BYTES] [alone] */
void command_segments(struct server *server, struct words *words, struct dynbuf *out)
{
    uint64_t limit = SEGMENT_MAX_PAYLOAD;
    bool alone = false;
    const char *word;
    while ((word = command_word(words)) != NULL) {
        if (strcasecmp(word, "alone") == 0) {
            alone = true;
        } else if (!command_number(word, SEGMENT_MAX_PAYLOAD, &limit) || limit == 0) {
            dynbuf_append_text(out, "error segments takes bytes from 1 to 131071, and alone\n");
            return;
        }
    }
    server->segment_limit = limit;
    server->segment_alone = alone;
    dynbuf_append_text(out, "ok\n");
}

static size_t release_all(struct server *server)
{
    size_t count = 0;
    for (struct list *node = server->connections.next; node != &server->connections;
         node = node->next)
        count += connection_release(CONTAINER_OF(node, struct connection, node));
    return count;
}

void command_release(struct server *server, struct words *words, struct dynbuf *out)
{
    (void)words;
    for (size_t i = server->faults.count; i-- > 0;)
        if (server->faults.active[i].kind == FAULT_HOLD)
            server->faults.active[i] = server->faults.active[--server->faults.count];
    dynbuf_printf(out, "ok %zu\n", release_all(server));
}

void command_clear(struct server *server, struct words *words, struct dynbuf *out)
{
    (void)words;
    faults_clear(&server->faults);
    dynbuf_printf(out, "ok released %zu\n", release_all(server));
}

void command_unprepare(struct server *server, struct words *words, struct dynbuf *out)
{
    (void)words;
    size_t count = server->prepared.count;
    prepared_clear(&server->prepared);
    dynbuf_printf(out, "ok %zu\n", count);
}
