/* The load generator: its options, its requests, its connections. */
#pragma once

#include <netinet/in.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "tests/bench/wire.h"

#define LOAD_PROCESSES_MAX 8
#define LOAD_IN_FLIGHT_MAX 2048

struct load_process {
    const char *name;
    pid_t pid;
};

struct load_options {
    struct sockaddr_in at;
    unsigned connections;
    unsigned in_flight; /* per connection; the most an open loop may reach */
    unsigned
        rotating; /* in flight over all connections, each on the next one; 0: in_flight on each */
    bool is_lockstep; /* a connection's next requests leave when all its last ones are answered */
    unsigned read_share; /* of a hundred requests */
    unsigned value_bytes;
    unsigned statements; /* prepared statements of each kind, used in turn */
    bool is_plain;       /* plain text instead of prepared statements */
    bool has_timestamps; /* writes carry the client's timestamp, as drivers do by default */
    bool is_lz4;
    bool is_tls;
    uint8_t version;
    double rate;    /* requests a second, open loop; 0: closed loop */
    double warm_up; /* seconds, not counted */
    double seconds;
    uint64_t requests; /* end after so many instead; 0: after seconds */
    struct load_process processes[LOAD_PROCESSES_MAX];
    size_t process_count;
};

/* Reads the command line; ends the process with a word about what is wrong with it. */
void load_options_parse(struct load_options *options, int argc, char **argv);

/* One connection, from TCP to READY. Blocking until load_channel_unblock. */
struct load_channel {
    int fd;
    SSL *ssl; /* NULL without TLS */
    struct wire wire;
};

enum load_progress {
    LOAD_BLOCKED,
    LOAD_DONE,
    LOAD_CLOSED,
};

/* Connects, shakes hands, sends STARTUP. false: *reason says what failed (static text or text that
 * lives until the next call). context: NULL without TLS. */
bool load_channel_open(struct load_channel *channel, const struct load_options *options,
                       SSL_CTX *context, const char **reason);
/* Sends one request and waits for its answer, valid until the next use of the channel. */
bool load_channel_call(struct load_channel *channel, uint8_t version, uint8_t opcode,
                       const struct wire_bytes *body, struct wire_frame *answer);
void load_channel_unblock(struct load_channel *channel);
/* Receives once. DONE: something came. */
enum load_progress load_channel_receive(struct load_channel *channel);
/* Sends what the wire holds. DONE: all of it. */
enum load_progress load_channel_flush(struct load_channel *channel);

/* The requests to choose from: whole frames, ready to be sent but for their stream. */
struct load_requests {
    struct wire_bytes *frames[2]; /* of reads, of writes; per_kind each */
    size_t per_kind;
};

/* Prepares what is to be prepared over the channel, then makes the frames. */
bool load_requests_make(struct load_requests *requests, const struct load_options *options,
                        struct load_channel *channel, const char **reason);
