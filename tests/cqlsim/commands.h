/* The commands of the control socket: each answers with lines in out, the last of which begins with
 * ok or error. README.md says what they do. */
#pragma once

#include "server.h"

#define COMMAND_MAX_WORDS 64

/* Words of a command, cut apart in place. */
struct words {
    char *at[COMMAND_MAX_WORDS];
    size_t count;
    size_t next;
};

typedef void command_function(struct server *server, struct words *words, struct dynbuf *out);

/* The next word; NULL after the last. */
const char *command_word(struct words *words);
/* False unless text is a number up to maximum, decimal or after 0x. */
bool command_number(const char *text, uint64_t maximum, uint64_t *number);

/* commands_faults.c */
command_function command_delay;
command_function command_error;
command_function command_hold;
command_function command_silence;
command_function command_close;
command_function command_garbage;
command_function command_corrupt;
command_function command_warn;
command_function command_echo;
command_function command_release;
command_function command_clear;
command_function command_unprepare;
command_function command_segments;

/* commands_inspect.c */
command_function command_stats;
command_function command_last_request;
command_function command_dump;

/* commands_cluster.c */
command_function command_refuse;
command_function command_mute;
command_function command_disconnect;
command_function command_event;
command_function command_node;
