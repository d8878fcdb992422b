/* Mailboxes: messages of many threads run on the owner's thread, each sender's in its order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <event2/event.h>
#include <pthread.h>

#include "common/clock.h"
#include "common/mailbox.h"

#define SENDERS  4
#define MESSAGES 2000

struct owner {
    struct event_base *base;
    struct mailbox *mailbox;
    pthread_t thread;
    int next[SENDERS]; /* the number expected next from each */
    int run;
};

struct note {
    struct mailbox_message message;
    int sender;
    int number;
};

static void note_run(struct mailbox_message *message, void *context)
{
    struct note *note = CONTAINER_OF(message, struct note, message);
    struct owner *owner = context;
    assert_true(pthread_equal(pthread_self(), owner->thread));
    assert_int_equal(note->number, owner->next[note->sender]);
    owner->next[note->sender]++;
    owner->run++;
    free(note);
}

static void post(struct mailbox *mailbox, int sender, int number)
{
    struct note *note = calloc(1, sizeof *note);
    CHECK(note != NULL);
    note->message.run = note_run;
    note->sender = sender;
    note->number = number;
    mailbox_post(mailbox, &note->message);
}

static void owner_open(struct owner *owner)
{
    *owner = (struct owner){.base = event_base_new(), .thread = pthread_self()};
    assert_non_null(owner->base);
    owner->mailbox = mailbox_new(owner->base, owner);
    assert_non_null(owner->mailbox);
}

static void owner_close(struct owner *owner)
{
    mailbox_free(owner->mailbox);
    event_base_free(owner->base);
}

static void run_until(struct owner *owner, int count)
{
    uint64_t deadline = clock_now_ns() + 20 * NS_PER_S;
    while (owner->run < count) {
        struct timeval patience = {.tv_usec = 20000};
        if (clock_now_ns() > deadline)
            fail_msg("%d of %d messages ran", owner->run, count);
        event_base_loopexit(owner->base, &patience);
        event_base_loop(owner->base, EVLOOP_ONCE);
    }
}

static void test_in_order(void **state)
{
    struct owner owner;
    (void)state;
    owner_open(&owner);
    for (int i = 0; i < 100; i++)
        post(owner.mailbox, 0, i);
    assert_int_equal(owner.run, 0); /* never inside mailbox_post */
    run_until(&owner, 100);
    event_base_loop(owner.base, EVLOOP_NONBLOCK);
    assert_int_equal(owner.run, 100);
    owner_close(&owner);
}

struct sender {
    struct mailbox *mailbox;
    int number;
};

static void *send_all(void *context)
{
    const struct sender *sender = context;
    for (int i = 0; i < MESSAGES; i++)
        post(sender->mailbox, sender->number, i);
    return NULL;
}

static void test_many_senders(void **state)
{
    struct owner owner;
    struct sender senders[SENDERS];
    pthread_t threads[SENDERS];
    (void)state;
    owner_open(&owner);
    for (int i = 0; i < SENDERS; i++) {
        senders[i] = (struct sender){owner.mailbox, i};
        assert_int_equal(pthread_create(&threads[i], NULL, send_all, &senders[i]), 0);
    }
    run_until(&owner, SENDERS * MESSAGES);
    for (int i = 0; i < SENDERS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    event_base_loop(owner.base, EVLOOP_NONBLOCK);
    assert_int_equal(owner.run, SENDERS * MESSAGES);
    owner_close(&owner);
}

struct relay {
    struct mailbox_message message;
    struct owner *owner;
    int left;
};

static void relay_run(struct mailbox_message *message, void *context)
{
    struct relay *relay = CONTAINER_OF(message, struct relay, message);
    struct owner *owner = context;
    owner->run++;
    if (--relay->left > 0)
        mailbox_post(owner->mailbox, &relay->message); /* it is the sender's again once it runs */
}

static void test_post_from_message(void **state)
{
    struct owner owner;
    (void)state;
    owner_open(&owner);
    struct relay relay = {.message = {.run = relay_run}, .owner = &owner, .left = 5};
    mailbox_post(owner.mailbox, &relay.message);
    run_until(&owner, 5);
    assert_int_equal(relay.left, 0);
    owner_close(&owner);
}

static void test_unread_messages_do_not_run(void **state)
{
    struct owner owner;
    (void)state;
    owner_open(&owner);
    struct relay relay = {.message = {.run = relay_run}, .owner = &owner, .left = 1};
    mailbox_post(owner.mailbox, &relay.message);
    mailbox_free(owner.mailbox);
    owner.mailbox = NULL;
    event_base_loop(owner.base, EVLOOP_NONBLOCK);
    assert_int_equal(owner.run, 0);
    owner_close(&owner);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_in_order),
        cmocka_unit_test(test_many_senders),
        cmocka_unit_test(test_post_from_message),
        cmocka_unit_test(test_unread_messages_do_not_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
