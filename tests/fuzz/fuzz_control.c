/* Messages of the control link, from either side. Properties: a verdict on any bytes and a reason
 * for each refusal; what is understood can be written and is understood again as the same, with the
 * same digest. */
#include <string.h>

#include "proto/ctl_codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct ctl_message message, again;
    char error[256] = "";
    enum ctl_verdict verdict = ctl_decode((const char *)data, size, &message, error, sizeof error);
    if (verdict != CTL_GOOD) {
        CHECK(error[0] != '\0');
        return 0;
    }
    struct dynbuf text;
    dynbuf_init(&text, (size_t)1024 * 1024);
    CHECK(ctl_encode(&message, &text));
    CHECK(ctl_decode(dynbuf_text(&text), text.length, &again, error, sizeof error) == CTL_GOOD);
    CHECK(again.type == message.type);
    if (message.type == CTL_SNAPSHOT) {
        char first[CTL_DIGEST_HEX + 1], second[CTL_DIGEST_HEX + 1];
        ctl_snapshot_digest(&message.snapshot, first);
        ctl_snapshot_digest(&again.snapshot, second);
        CHECK(strcmp(first, second) == 0 && strlen(first) == CTL_DIGEST_HEX);
    }
    struct dynbuf rewritten;
    dynbuf_init(&rewritten, (size_t)1024 * 1024);
    CHECK(ctl_encode(&again, &rewritten) && rewritten.length == text.length &&
          memcmp(rewritten.data, text.data, text.length) == 0);
    dynbuf_fini(&rewritten);
    dynbuf_fini(&text);
    return 0;
}
