/* Mailboxes: the only way threads talk to each other. A mutex guards the list, for a few
 * instructions; never on a request's path. */
#include "common/mailbox.h"

#include <event2/event.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct mailbox {
    pthread_mutex_t mutex;
    struct list messages;
    int wakeup;
    struct event *event;
    void *owner;
};

static void on_wakeup(evutil_socket_t fd, short what, void *context)
{
    struct mailbox *mailbox = context;
    uint64_t count;
    struct list taken;
    (void)what;
    ssize_t ignored = read(fd, &count, sizeof count);
    (void)ignored;
    list_init(&taken);
    pthread_mutex_lock(&mailbox->mutex);
    for (struct list *node; (node = list_take_first(&mailbox->messages)) != NULL;)
        list_append(&taken, node);
    pthread_mutex_unlock(&mailbox->mutex);
    for (struct list *node; (node = list_take_first(&taken)) != NULL;) {
        struct mailbox_message *message = CONTAINER_OF(node, struct mailbox_message, link);
        message->run(message, mailbox->owner);
    }
}

struct mailbox *mailbox_new(struct event_base *base, void *owner)
{
    struct mailbox *mailbox = calloc(1, sizeof *mailbox);
    if (mailbox == NULL)
        return NULL;
    pthread_mutex_init(&mailbox->mutex, NULL);
    list_init(&mailbox->messages);
    mailbox->owner = owner;
    mailbox->wakeup = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    mailbox->event = mailbox->wakeup < 0 ? NULL
                                         : event_new(base, mailbox->wakeup, EV_READ | EV_PERSIST,
                                                     on_wakeup, mailbox);
    if (mailbox->event == NULL || event_add(mailbox->event, NULL) != 0) {
        mailbox_free(mailbox);
        return NULL;
    }
    return mailbox;
}

void mailbox_free(struct mailbox *mailbox)
{
    if (mailbox == NULL)
        return;
    if (mailbox->event != NULL)
        event_free(mailbox->event);
    if (mailbox->wakeup >= 0)
        close(mailbox->wakeup);
    pthread_mutex_destroy(&mailbox->mutex);
    free(mailbox);
}

void mailbox_post(struct mailbox *mailbox, struct mailbox_message *message)
{
    uint64_t one = 1;
    pthread_mutex_lock(&mailbox->mutex);
    list_append(&mailbox->messages, &message->link);
    pthread_mutex_unlock(&mailbox->mutex);
    ssize_t ignored = write(mailbox->wakeup, &one, sizeof one);
    (void)ignored;
}
