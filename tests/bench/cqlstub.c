/* cqlstub: a cluster of one node that answers at once and stores nothing.
 *
 *   cqlstub --listen ADDRESS --port PORT [--threads N] [--value BYTES] [--name CLUSTER]
 *
 * The main thread accepts and deals connections out; each of the N threads serves its own. One
 * read, all answers to it, one write. It must never wait for a peer: a connection whose answers are
 * not taken is not read either. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/check.h"
#include "tests/bench/answers.h"

#define EVENTS_PER_WAIT 256
#define THREADS_MAX     64

struct connection {
    int fd;
    bool is_writing; /* waiting for room to write; not read meanwhile */
    struct wire wire;
};

static struct answers answers;

static void close_connection(struct connection *connection)
{
    close(connection->fd);
    wire_fini(&connection->wire);
    free(connection);
}

static void watch(int epoll, struct connection *connection, bool is_writing)
{
    if (connection->is_writing == is_writing)
        return;
    connection->is_writing = is_writing;
    struct epoll_event event = {.events = is_writing ? EPOLLOUT : EPOLLIN, .data.ptr = connection};
    CHECK(epoll_ctl(epoll, EPOLL_CTL_MOD, connection->fd, &event) == 0);
}

/* false: the connection is over. */
static bool flush(int epoll, struct connection *connection)
{
    struct wire *wire = &connection->wire;
    while (wire_unsent(wire) > 0) {
        ssize_t sent =
            send(connection->fd, wire->out.data + wire->out.begin, wire_unsent(wire), MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && errno != EAGAIN)
            return false;
        if (sent < 0) {
            watch(epoll, connection, true);
            return true;
        }
        wire_sent(wire, (size_t)sent);
    }
    watch(epoll, connection, false);
    return true;
}

static bool serve(int epoll, struct connection *connection)
{
    struct wire *wire = &connection->wire;
    size_t room = 0;
    uint8_t *to = wire_room(wire, &room);
    ssize_t count = recv(connection->fd, to, room, 0);
    if (count < 0)
        return errno == EAGAIN || errno == EINTR;
    if (count == 0)
        return false;
    wire_received(wire, (size_t)count);
    struct wire_frame request;
    enum wire_verdict verdict;
    while ((verdict = wire_next(wire, &request)) == WIRE_FRAME)
        answers_give(&answers, wire, &request);
    if (verdict == WIRE_BAD)
        return false;
    wire_finish(wire);
    return flush(epoll, connection);
}

static void *thread_main(void *argument)
{
    int epoll = *(const int *)argument;
    struct epoll_event events[EVENTS_PER_WAIT];
    for (;;) {
        int count = epoll_wait(epoll, events, EVENTS_PER_WAIT, -1);
        for (int i = 0; i < count; i++) {
            struct connection *connection = events[i].data.ptr;
            bool goes_on =
                connection->is_writing ? flush(epoll, connection) : serve(epoll, connection);
            if (!goes_on)
                close_connection(connection);
        }
    }
    return NULL;
}

static int listen_at(const char *address, uint16_t port, struct in_addr *inet)
{
    int one = 1;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
    if (inet_pton(AF_INET, address, &at.sin_addr) != 1) {
        fprintf(stderr, "cqlstub: --listen %s is no IPv4 address\n", address);
        return -1;
    }
    *inet = at.sin_addr;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0 ||
        bind(fd, (struct sockaddr *)&at, sizeof at) != 0 || listen(fd, SOMAXCONN) != 0) {
        fprintf(stderr, "cqlstub: cannot listen on %s:%u: %s\n", address, port, strerror(errno));
        return -1;
    }
    return fd;
}

static void accept_for_ever(int listener, const int *epolls, size_t threads)
{
    for (size_t next = 0;; next = (next + 1) % threads) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            continue;
        int one = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct connection *connection = calloc(1, sizeof *connection);
        CHECK(connection != NULL);
        connection->fd = fd;
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
        CHECK(epoll_ctl(epolls[next], EPOLL_CTL_ADD, fd, &event) == 0);
    }
}

static unsigned long number(const char *option, const char *text, unsigned long least,
                            unsigned long most)
{
    char *end = NULL;
    unsigned long value = strtoul(text, &end, 10);
    if (*text == '\0' || *end != '\0' || value < least || value > most) {
        fprintf(stderr, "cqlstub: %s takes %lu to %lu, not %s\n", option, least, most, text);
        exit(2);
    }
    return value;
}

int main(int argc, char **argv)
{
    const char *address = "127.0.0.1", *name = "Stub";
    unsigned long port = 9042, threads = 1, value_bytes = 100;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--listen") == 0)
            address = argv[i + 1];
        else if (strcmp(argv[i], "--name") == 0)
            name = argv[i + 1];
        else if (strcmp(argv[i], "--port") == 0)
            port = number(argv[i], argv[i + 1], 1, 65535);
        else if (strcmp(argv[i], "--threads") == 0)
            threads = number(argv[i], argv[i + 1], 1, THREADS_MAX);
        else if (strcmp(argv[i], "--value") == 0)
            value_bytes = number(argv[i], argv[i + 1], 0, CQL_FRAME_BODY_MAX / 2);
        else
            argc = 0;
    }
    if (argc % 2 == 0) {
        fprintf(stderr, "usage: cqlstub --listen ADDRESS --port PORT [--threads N] "
                        "[--value BYTES] [--name CLUSTER]\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    struct in_addr inet;
    int listener = listen_at(address, (uint16_t)port, &inet);
    if (listener < 0)
        return 1;
    answers_make(&answers, name, inet.s_addr, value_bytes);
    static int epolls[THREADS_MAX];
    for (size_t i = 0; i < threads; i++) {
        pthread_t thread;
        epolls[i] = epoll_create1(EPOLL_CLOEXEC);
        CHECK(epolls[i] >= 0);
        CHECK(pthread_create(&thread, NULL, thread_main, &epolls[i]) == 0);
    }
    accept_for_ever(listener, epolls, threads);
}
