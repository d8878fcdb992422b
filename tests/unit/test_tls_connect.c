/* TLS under streams, as a client of nodes: whom certificates must be for, authorities, resumption,
 * and contexts made of bad files. */
#include "tls_fixture.h"

static struct identity named;   /* for node.example and 127.0.0.1 */
static struct identity other;   /* for somebody else */
static struct identity expired; /* run out yesterday */
static struct metrics_block *counted;

static int set_up(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    named = make_identity("DNS:node.example,IP:127.0.0.1", 0, DAY_S);
    other = make_identity("DNS:other.example,IP:127.9.9.9", 0, DAY_S);
    expired = make_identity("DNS:node.example,IP:127.0.0.1", -2 * DAY_S, -DAY_S);
    counted = metrics_block_new();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    drop_identity(&named);
    drop_identity(&other);
    drop_identity(&expired);
    return 0;
}

static uint64_t counter(enum metric metric)
{
    return atomic_load(&counted->values[metric]);
}

struct play {
    struct fixture fixture;
    struct tls_context *context;
    struct tls_sessions *sessions;
    struct end end;
    struct peer peer;
    struct sockaddr_in address;
    int listener;
};

/* A node that shows `shown`; the stream trusts `trusted`. */
static void open_play(struct play *play, int version, const struct identity *shown,
                      const struct identity *trusted, bool verifies_names)
{
    open_loop(&play->fixture, 0);
    play->context = cluster_context(trusted, verifies_names);
    play->sessions = tls_sessions_new();
    prepare_end(&play->end, &play->fixture);
    prepare_peer(&play->peer, version, shown);
    play->listener = open_listener(&play->address);
}

static void dial(struct play *play, const char *name)
{
    struct topology_node node = node_at(&play->address, name);
    const char *error = NULL;
    int fd = -1;
    stream_secure(&play->end.stream, tls_connect(play->context, counted, play->sessions, &node));
    assert_true(stream_connect(&play->end.stream, (struct sockaddr *)&play->address,
                               sizeof play->address, &error));
    UNTIL(&play->fixture, (fd = accept4(play->listener, NULL, NULL, SOCK_NONBLOCK)) >= 0);
    play->end.peer = fd;
    start_peer(&play->peer, true, fd);
}

static void hang_up(struct play *play)
{
    stream_close(&play->end.stream);
    close(play->end.peer);
    play->end.peer = -1;
    stop_peer(&play->peer);
}

static void close_play(struct play *play)
{
    close_end(&play->end);
    drop_peer(&play->peer);
    tls_sessions_free(play->sessions);
    tls_context_put(play->context);
    close(play->listener);
    close_loop(&play->fixture);
}

static void test_connect_in_pieces(void **state)
{
    static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
    static const size_t pieces[] = {1, 2, 13, 100, MIB};
    (void)state;
    for (size_t i = 0; i < 2 * ARRAY_COUNT(pieces); i++) {
        struct play play;
        struct dynbuf frame;
        dynbuf_init(&frame, KIB);
        put_frame(&frame, 90);
        open_play(&play, versions[i % 2], &named, &named, true);
        play.peer.piece = pieces[i / 2];
        dial(&play, i % 3 == 0 ? "" : "node.example");
        assert_true(stream_write(&play.end.stream, "early", 5));
        CARRY_UNTIL(&play.fixture, &play.peer, play.peer.got.length == 5);
        assert_int_equal(play.end.connected, 1);
        assert_string_equal(play.end.connect_error, "");
        assert_int_equal(SSL_write(play.peer.ssl, frame.data, 90), 90);
        CARRY_UNTIL(&play.fixture, &play.peer, play.end.frame_count == 1);
        assert_int_equal(play.end.connected, 1);
        if (i % 3 != 0)
            assert_string_equal(SSL_get_servername(play.peer.ssl, TLSEXT_NAMETYPE_host_name),
                                "node.example");
        else
            assert_null(SSL_get_servername(play.peer.ssl, TLSEXT_NAMETYPE_host_name));
        dynbuf_fini(&frame);
        close_play(&play);
    }
}

static void assert_refused(const struct identity *shown, const struct identity *trusted,
                           const char *name, const char *error, enum metric metric)
{
    static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
    for (size_t i = 0; i < ARRAY_COUNT(versions); i++) {
        struct play play;
        uint64_t before = counter(metric);
        open_play(&play, versions[i], shown, trusted, true);
        dial(&play, name);
        CARRY_UNTIL(&play.fixture, &play.peer, play.end.connected == 1);
        assert_non_null(strstr(play.end.connect_error, error));
        assert_false(stream_is_open(&play.end.stream));
        assert_int_equal(play.end.lost, 0);
        assert_int_equal(counter(metric), before + 1);
        CARRY_UNTIL(&play.fixture, &play.peer, play.peer.has_failed); /* it is told by an alert */
        close_play(&play);
    }
}

static void test_certificates_that_will_not_do(void **state)
{
    (void)state;
    assert_refused(&other, &other, "node.example", "its certificate is not for node.example",
                   METRIC_TLS_FAILED_ORIGIN_NAME);
    assert_refused(&other, &other, "", "its certificate is not for the address of 127.0.0.1:",
                   METRIC_TLS_FAILED_ORIGIN_NAME);
    assert_refused(&named, &other, "", "certificate signed by unknown authority",
                   METRIC_TLS_FAILED_ORIGIN_UNTRUSTED);
    assert_refused(&expired, &expired, "", "certificate has expired",
                   METRIC_TLS_FAILED_ORIGIN_EXPIRED);
}

static void test_names_are_not_looked_at_on_request(void **state)
{
    struct play play;
    (void)state;
    open_play(&play, TLS1_3_VERSION, &other, &other, false);
    dial(&play, "node.example");
    CARRY_UNTIL(&play.fixture, &play.peer, play.end.connected == 1);
    assert_string_equal(play.end.connect_error, "");
    close_play(&play);
}

/* What the node hears: its id behind an SNI proxy, while the certificate is the proxy's. */
static void test_sni_proxy(void **state)
{
    struct play play;
    (void)state;
    open_play(&play, TLS1_3_VERSION, &named, &named, true);
    struct topology_node node = node_at(&play.address, "node.example");
    const char *error = NULL;
    snprintf(node.name, sizeof node.name, "c0ffee00-0000-0000-0000-000000000001");
    node.is_behind_sni = true;
    stream_secure(&play.end.stream, tls_connect(play.context, counted, play.sessions, &node));
    assert_true(stream_connect(&play.end.stream, (struct sockaddr *)&play.address,
                               sizeof play.address, &error));
    UNTIL(&play.fixture, (play.end.peer = accept4(play.listener, NULL, NULL, SOCK_NONBLOCK)) >= 0);
    start_peer(&play.peer, true, play.end.peer);
    CARRY_UNTIL(&play.fixture, &play.peer, play.end.connected == 1);
    assert_string_equal(play.end.connect_error, "");
    assert_string_equal(SSL_get_servername(play.peer.ssl, TLSEXT_NAMETYPE_host_name), node.name);
    close_play(&play);
}

static void connect_once(struct play *play, bool expects_resumption)
{
    uint64_t resumed = counter(METRIC_TLS_RESUMED_ORIGIN);
    uint64_t full = counter(METRIC_TLS_FULL_ORIGIN);
    play->end.connected = 0;
    dynbuf_reset(&play->peer.got);
    dial(play, "node.example");
    assert_true(stream_write(&play->end.stream, "x", 1));
    CARRY_UNTIL(&play->fixture, &play->peer, play->peer.got.length == 1);
    CARRY_UNTIL(&play->fixture, &play->peer, !carry(&play->peer)); /* tickets are on their way */
    turn(&play->fixture);
    assert_int_equal(SSL_session_reused(play->peer.ssl), expects_resumption);
    assert_int_equal(counter(METRIC_TLS_RESUMED_ORIGIN), resumed + expects_resumption);
    assert_int_equal(counter(METRIC_TLS_FULL_ORIGIN), full + !expects_resumption);
    hang_up(play);
}

static void test_sessions_are_resumed(void **state)
{
    static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(versions); i++) {
        struct play play;
        open_play(&play, versions[i], &named, &named, true);
        connect_once(&play, false);
        connect_once(&play, true);
        connect_once(&play, true);
        /* Other rules: nothing that was agreed on before counts. */
        tls_context_put(play.context);
        play.context = cluster_context(&named, true);
        connect_once(&play, false);
        connect_once(&play, true);
        close_play(&play);
    }
}

static void test_node_that_speaks_no_tls(void **state)
{
    struct play play;
    uint64_t before = counter(METRIC_TLS_FAILED_ORIGIN_NOT_TLS);
    (void)state;
    open_play(&play, TLS1_3_VERSION, &named, &named, true);
    dial(&play, "node.example");
    static const uint8_t error[] = {0x84, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 10, 0, 3, 'b', 'a', 'd'};
    assert_int_equal(send(play.end.peer, error, sizeof error, MSG_NOSIGNAL), sizeof error);
    UNTIL(&play.fixture, play.end.connected == 1);
    assert_string_equal(play.end.connect_error, "first record does not look like a TLS handshake");
    assert_int_equal(counter(METRIC_TLS_FAILED_ORIGIN_NOT_TLS), before + 1);
    close_play(&play);
}

static void assert_no_context(struct tls_options options, const char *text)
{
    struct dynbuf error;
    dynbuf_init(&error, KIB);
    assert_null(tls_context_new(&options, &error));
    if (strstr(dynbuf_text(&error), text) == NULL)
        fail_msg("\"%s\" is not in \"%s\"", text, dynbuf_text(&error));
    dynbuf_fini(&error);
}

static void test_bad_files(void **state)
{
    static const char encrypted[] =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\n"
        "MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAjGiXBy4o4Y8QICCAAw\n"
        "-----END ENCRYPTED PRIVATE KEY-----\n";
    struct tls_pem certificate = pem(named.certificate, "cert.pem");
    struct tls_pem key = pem(named.key, "key.pem");
    (void)state;
    assert_no_context((struct tls_options){.side = TLS_PROXY,
                                           .certificate = certificate,
                                           .key = pem(other.key, "key.pem")},
                      "key.pem: it is not the private key of the certificate in cert.pem");
    assert_no_context(
        (struct tls_options){.side = TLS_PROXY, .certificate = pem("", "cert.pem"), .key = key},
        "cert.pem: no usable PEM certificate");
    assert_no_context((struct tls_options){.side = TLS_PROXY,
                                           .certificate = certificate,
                                           .key = pem("nothing", "key.pem")},
                      "key.pem: no usable PEM private key");
    assert_no_context((struct tls_options){.side = TLS_PROXY,
                                           .certificate = certificate,
                                           .key = pem(encrypted, "key.pem")},
                      "key.pem: no usable PEM private key");
    assert_no_context(
        (struct tls_options){.side = TLS_ORIGIN, .authorities = pem(named.key, "ca.pem")},
        "ca.pem: no PEM certificates of authorities can be read from it");
    char *half = strndup(named.certificate, strlen(named.certificate) / 2);
    assert_no_context((struct tls_options){.side = TLS_ORIGIN, .authorities = pem(half, "ca.pem")},
                      "ca.pem: no PEM certificates");
    free(half);
}

static void test_expiry_is_known(void **state)
{
    (void)state;
    struct tls_context *context = cluster_context(&named, true);
    int64_t left = context->expiries[0].not_after - (int64_t)time(NULL);
    assert_int_equal(context->expiry_count, 1);
    assert_string_equal(context->expiries[0].file, "ca.pem");
    assert_in_range(left, DAY_S - 600, DAY_S + 600);
    tls_context_put(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_connect_in_pieces),
        cmocka_unit_test(test_certificates_that_will_not_do),
        cmocka_unit_test(test_names_are_not_looked_at_on_request),
        cmocka_unit_test(test_sni_proxy),
        cmocka_unit_test(test_sessions_are_resumed),
        cmocka_unit_test(test_node_that_speaks_no_tls),
        cmocka_unit_test(test_bad_files),
        cmocka_unit_test(test_expiry_is_known),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
