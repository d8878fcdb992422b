/* Offers and answers by nonce. The publisher's thread alone; it must never take an answer for more
 * than it says. */
#include "controlplane/offers.h"

#include <stdio.h>
#include <string.h>

#include "common/clock.h"

void offers_make(struct offers *offers, const struct ctl_snapshot *snapshot, uint64_t now_ns)
{
    CHECK(snapshot->nonce > 0 && snapshot->nonce >= offers->newest);
    offers->made_ns = now_ns;
    if (snapshot->nonce == offers->newest) {
        offers->times++;
        return;
    }
    struct offer *offer = &offers->made[offers->next];
    offers->next = (offers->next + 1) % OFFERS_REMEMBERED;
    offers->newest = offer->nonce = snapshot->nonce;
    offers->times = 1;
    offer->revision = snapshot->revision;
    memcpy(offer->store_id, snapshot->store_id, sizeof offer->store_id);
    memcpy(offer->digest, snapshot->digest, sizeof offer->digest);
}

static const struct offer *find(const struct offers *offers, uint64_t nonce)
{
    for (size_t i = 0; i < OFFERS_REMEMBERED; i++)
        if (offers->made[i].nonce == nonce)
            return &offers->made[i];
    return NULL;
}

/* What holds for both kinds of answer. */
static enum offers_verdict judge(const struct offers *offers, uint64_t nonce, char *why,
                                 size_t why_size)
{
    if (nonce == 0 || nonce > offers->newest) {
        snprintf(why, why_size, "it answered nonce %llu, the newest offered is %llu",
                 (unsigned long long)nonce, (unsigned long long)offers->newest);
        return OFFERS_FALSE;
    }
    if (nonce < offers->answered || (nonce == offers->answered && !offers->is_refused))
        return OFFERS_KNOWN;
    return OFFERS_NEWS;
}

enum offers_verdict offers_take_ack(struct offers *offers, const struct ctl_ack *ack, char *why,
                                    size_t why_size)
{
    enum offers_verdict verdict = judge(offers, ack->nonce, why, why_size);
    if (verdict == OFFERS_FALSE)
        return verdict;
    const struct offer *offer = find(offers, ack->nonce);
    if (offer == NULL)
        return OFFERS_KNOWN; /* forgotten: many newer ones are on their way, and so are answers */
    if (ack->revision != offer->revision || strcmp(ack->store_id, offer->store_id) != 0 ||
        strcmp(ack->digest, offer->digest) != 0) {
        snprintf(why, why_size,
                 "it acknowledged nonce %llu, which offered revision %llu, with another state "
                 "(revision %llu)",
                 (unsigned long long)ack->nonce, (unsigned long long)offer->revision,
                 (unsigned long long)ack->revision);
        return OFFERS_FALSE;
    }
    if (verdict == OFFERS_NEWS) {
        offers->answered = ack->nonce;
        offers->is_refused = false;
    }
    return verdict;
}

enum offers_verdict offers_take_nack(struct offers *offers, const struct ctl_nack *nack, char *why,
                                     size_t why_size)
{
    enum offers_verdict verdict = judge(offers, nack->nonce, why, why_size);
    if (verdict == OFFERS_NEWS) {
        offers->answered = nack->nonce;
        offers->is_refused = true;
    }
    return verdict;
}

bool offers_is_due(const struct offers *offers, uint64_t now_ns)
{
    if (offers->newest == 0)
        return false;
    uint64_t waited_ns = now_ns - offers->made_ns;
    if (offers->answered < offers->newest)
        return waited_ns > OFFERS_UNANSWERED_MS * NS_PER_MS;
    return offers->is_refused && waited_ns > OFFERS_REFUSED_MS * NS_PER_MS;
}
