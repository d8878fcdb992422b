/* Messages between threads: an eventfd wakes the owner's event loop, which runs what was posted, in
 * order. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/check.h"
#include "common/list.h"

struct event_base;
struct mailbox;

/* Embedded in the sender's own struct. run is called on the owner's thread and may free the
 * message. */
struct mailbox_message {
    struct list link;
    void (*run)(struct mailbox_message *message, void *owner);
};

/* A mailbox whose messages run on the thread that runs base, with owner as their second argument.
 * NULL: no resources. */
struct mailbox *mailbox_new(struct event_base *base, void *owner);
/* On the owner's thread, after the last sender is gone; unread messages are not run. */
void mailbox_free(struct mailbox *mailbox);
/* From any thread. The message belongs to the mailbox until it runs. */
void mailbox_post(struct mailbox *mailbox, struct mailbox_message *message);
