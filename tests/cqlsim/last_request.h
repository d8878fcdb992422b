/* What the last requests carried, so that plays can assert what reached a cluster. Bound values are
 * kept and shown: this is a simulator for made-up data. */
#pragma once

#include "bytes.h"
#include "common/dynbuf.h"
#include "wire.h"

#define LAST_REQUEST_TEXT_MAX 8192

enum last_kind { LAST_OTHER, LAST_READ, LAST_WRITE, LAST_KINDS };

struct last_request {
    uint64_t sequence; /* 0: there was none */
    unsigned opcode;
    unsigned version;
    unsigned header_flags;
    bool compressed; /* this body, or the connection's segments */
    const char *compression;
    bool segmented;
    uint32_t flags;
    int consistency; /* -1 and the like: not given */
    int serial_consistency;
    int64_t timestamp; /* INT64_MIN: not given */
    int64_t now_in_seconds;
    int32_t page_size;
    size_t values;
    size_t statements; /* of a BATCH */
    /* Texts of JSON, empty when there is nothing to say. */
    struct dynbuf query;
    struct dynbuf keyspace;
    struct dynbuf paging_state;
    struct dynbuf prepared_id;
    struct dynbuf metadata_id;
    struct dynbuf value_list;
    struct dynbuf payload_keys;
    struct dynbuf options;
};

struct last_requests {
    struct last_request current; /* being filled */
    struct last_request kept[OP_LIMIT][LAST_KINDS];
    uint64_t count;
};

void last_request_init(struct last_requests *requests);
void last_request_fini(struct last_requests *requests);
/* Starts filling requests->current. */
struct last_request *last_request_start(struct last_requests *requests, unsigned opcode);
/* Keeps what was filled. */
void last_request_keep(struct last_requests *requests, enum last_kind kind);

void last_request_text(struct dynbuf *field, struct bytes text);
void last_request_hex(struct dynbuf *field, struct bytes data);
void last_request_page(struct last_request *request, int32_t page_size, struct bytes state);
/* name may be null. */
void last_request_value(struct last_request *request, struct bytes name, struct bytes value);
void last_request_option(struct last_request *request, struct bytes key, struct bytes value);
void last_request_payload_key(struct last_request *request, struct bytes key);

/* The newest of an opcode (OP_LIMIT: any) and a kind (LAST_KINDS: any); NULL when there is none. */
const struct last_request *last_request_find(const struct last_requests *requests, unsigned opcode,
                                             enum last_kind kind);
void last_request_print(const struct last_request *request, struct dynbuf *out);
