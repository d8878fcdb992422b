// What an application does, with the Java driver; see ../README.md for the environment it reads and the lines it prints.

import com.datastax.oss.driver.api.core.CqlIdentifier;
import com.datastax.oss.driver.api.core.CqlSession;
import com.datastax.oss.driver.api.core.config.DefaultDriverOption;
import com.datastax.oss.driver.api.core.config.DriverConfigLoader;
import com.datastax.oss.driver.api.core.cql.AsyncResultSet;
import com.datastax.oss.driver.api.core.cql.BatchStatement;
import com.datastax.oss.driver.api.core.cql.BatchType;
import com.datastax.oss.driver.api.core.cql.ResultSet;
import com.datastax.oss.driver.api.core.cql.Row;
import com.datastax.oss.driver.api.core.cql.SimpleStatement;
import com.datastax.oss.driver.api.core.cql.Statement;
import com.datastax.oss.driver.api.core.servererrors.InvalidQueryException;
import java.io.FileInputStream;
import java.io.InputStream;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.security.KeyStore;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.Semaphore;
import java.util.stream.IntStream;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

public final class Check {
    private static final Map<String, String> ENV = System.getenv();
    private static final String KEYSPACE = ENV.get("CQL_KEYSPACE");
    private static final int PAGE = 30;

    private interface Test {
        void run(CqlSession session) throws Exception;
    }

    private static CqlSession connect(String keyspace) throws Exception {
        // As patient as the other drivers are, and not seconds to close one of several sessions.
        var config = DriverConfigLoader.programmaticBuilder()
                .withDuration(DefaultDriverOption.REQUEST_TIMEOUT, Duration.ofSeconds(10))
                .withInt(DefaultDriverOption.NETTY_IO_SHUTDOWN_QUIET_PERIOD, 0)
                .withInt(DefaultDriverOption.NETTY_ADMIN_SHUTDOWN_QUIET_PERIOD, 0);
        if (ENV.containsKey("CQL_PROTOCOL")) {
            config.withString(DefaultDriverOption.PROTOCOL_VERSION, "V" + ENV.get("CQL_PROTOCOL"));
        }
        if (ENV.containsKey("CQL_COMPRESSION")) {
            config.withString(DefaultDriverOption.PROTOCOL_COMPRESSION, ENV.get("CQL_COMPRESSION"));
        }
        var address = new InetSocketAddress(ENV.get("CQL_ADDRESS"), Integer.parseInt(ENV.get("CQL_PORT")));
        var builder = CqlSession.builder().addContactPoint(address).withLocalDatacenter("datacenter1").withConfigLoader(config.build());
        if (keyspace != null) {
            builder.withKeyspace(keyspace);
        }
        if (ENV.containsKey("CQL_USERNAME")) {
            builder.withAuthCredentials(ENV.get("CQL_USERNAME"), ENV.get("CQL_PASSWORD"));
        }
        if (ENV.containsKey("CQL_CA")) {
            builder.withSslContext(tls());
        }
        return builder.build();
    }

    private static SSLContext tls() throws Exception {
        var trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(store("CQL_TRUST_STORE"));
        var keys = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
        if (ENV.containsKey("CQL_KEY_STORE")) {
            keys.init(store("CQL_KEY_STORE"), ENV.get("CQL_STORE_PASSWORD").toCharArray());
        } else {
            keys.init(null, null);
        }
        var context = SSLContext.getInstance("TLS");
        context.init(keys.getKeyManagers(), trust.getTrustManagers(), null);
        return context;
    }

    private static KeyStore store(String variable) throws Exception {
        var store = KeyStore.getInstance("PKCS12");
        try (InputStream file = new FileInputStream(ENV.get(variable))) {
            store.load(file, ENV.get("CQL_STORE_PASSWORD").toCharArray());
        }
        return store;
    }

    private static void equal(Object got, Object wanted) {
        if (!Objects.equals(got, wanted)) {
            throw new IllegalStateException(String.format("got %.200s, not %.200s", got, wanted));
        }
    }

    private static String valueOf(CqlSession session, int key) {
        Row row = session.execute(SimpleStatement.newInstance("SELECT v FROM t WHERE k = ?", key)).one();
        return row == null ? null : row.getString("v");
    }

    private static void simple(CqlSession session) {
        session.execute("INSERT INTO t (k, v) VALUES (1, 'one')");
        session.execute(SimpleStatement.newInstance("INSERT INTO t (k, v) VALUES (?, ?)", 2, "zwei ö"));
        session.execute(SimpleStatement.newInstance("INSERT INTO t (k, v) VALUES (:k, :v)", Map.of("k", 3, "v", "named")));
        equal(valueOf(session, 2), "zwei ö");
        equal(valueOf(session, 3), "named");
        equal(valueOf(session, 0), null);
        try {
            session.execute("SELECT nothing FROM t");
        } catch (InvalidQueryException expected) {
            return;
        }
        throw new IllegalStateException("a wrong column was not refused");
    }

    private static void prepared(CqlSession session) {
        var insert = session.prepare("INSERT INTO t (k, v) VALUES (?, ?)");
        var select = session.prepare("SELECT v FROM t WHERE k = ?");
        for (int key = 10; key < 20; key++) {
            session.execute(insert.bind(key, "value " + key));
            equal(session.execute(select.bind(key)).one().getString(0), "value " + key);
        }
    }

    private static void batch(CqlSession session) {
        var insert = session.prepare("INSERT INTO t (k, v) VALUES (?, ?)");
        for (var kind : List.of(BatchType.LOGGED, BatchType.UNLOGGED)) {
            int first = kind == BatchType.LOGGED ? 30 : 40;
            session.execute(BatchStatement.newInstance(kind, insert.bind(first, "prepared"),
                    SimpleStatement.newInstance("INSERT INTO t (k, v) VALUES (?, 'text')", first + 1), insert.bind(first + 2, "prepared")));
            equal(IntStream.range(first, first + 3).mapToObj(key -> valueOf(session, key)).toList(), List.of("prepared", "text", "prepared"));
        }
    }

    private static void paging(CqlSession session) {
        var insert = session.prepare("INSERT INTO p (k, c) VALUES (1, ?)");
        for (int c = 0; c < 250; c++) {
            session.execute(insert.bind(c));
        }
        var wanted = IntStream.range(0, 250).boxed().toList();
        String query = "SELECT c FROM p WHERE k = 1";
        for (Statement<?> statement : List.of(SimpleStatement.newInstance(query), session.prepare(query).bind())) {
            ResultSet rows = session.execute(statement.setPageSize(PAGE));
            equal(rows.getAvailableWithoutFetching(), PAGE);
            var got = new ArrayList<Integer>();
            rows.forEach(row -> got.add(row.getInt(0)));
            equal(got, wanted);
        }
    }

    private static void lwt(CqlSession session) {
        var insert = session.prepare("INSERT INTO t (k, v) VALUES (?, ?) IF NOT EXISTS");
        equal(session.execute(insert.bind(50, "first")).wasApplied(), true);
        var again = session.execute(insert.bind(50, "second"));
        equal(again.wasApplied(), false);
        equal(again.one().getString("v"), "first");
        equal(session.execute("UPDATE t SET v = 'third' WHERE k = 50 IF v = 'first'").wasApplied(), true);
    }

    // From version 5 on a request may name its keyspace.
    private static void use(CqlSession session) throws Exception {
        try (CqlSession other = connect(null)) {
            other.execute("USE " + KEYSPACE);
            equal(valueOf(other, 1), "one");
            other.execute("USE system");
            equal(other.execute(other.prepare("SELECT key FROM local").bind()).one().getString("key"), "local");
            if (other.getContext().getProtocolVersion().getCode() >= 5) {
                var statement = SimpleStatement.newInstance("SELECT v FROM t WHERE k = 1").setKeyspace(CqlIdentifier.fromCql(KEYSPACE));
                equal(other.execute(statement).one().getString("v"), "one");
                equal(other.execute(other.prepare(statement).bind()).one().getString("v"), "one");
            }
        }
    }

    private static void events(CqlSession session) throws Exception {
        try (CqlSession other = connect(KEYSPACE)) {
            other.execute("CREATE TABLE announced (k int PRIMARY KEY)");
        }
        long deadline = System.nanoTime() + 10_000_000_000L;
        while (session.getMetadata().getKeyspace(KEYSPACE).flatMap(keyspace -> keyspace.getTable("announced")).isEmpty()) {
            if (System.nanoTime() > deadline) {
                throw new IllegalStateException("the new table was not announced");
            }
            Thread.sleep(50);
        }
    }

    private static void load(CqlSession session) throws Exception {
        var insert = session.prepare("INSERT INTO t (k, v) VALUES (?, ?)");
        var select = session.prepare("SELECT k, v FROM t WHERE k = ?");
        var inFlight = new Semaphore(300);
        var writes = new ArrayList<CompletionStage<AsyncResultSet>>();
        for (int key = 1000; key < 1500; key++) {
            inFlight.acquire();
            writes.add(session.executeAsync(insert.bind(key, "value " + key)).whenComplete((rows, error) -> inFlight.release()));
        }
        for (var write : writes) {
            write.toCompletableFuture().join();
        }
        var reads = new ArrayList<CompletionStage<AsyncResultSet>>();
        for (int index = 0; index < 1500; index++) {
            inFlight.acquire();
            reads.add(session.executeAsync(select.bind(1000 + index % 500)).whenComplete((rows, error) -> inFlight.release()));
        }
        for (int index = 0; index < 1500; index++) {
            Row row = reads.get(index).toCompletableFuture().join().one();
            int key = 1000 + index % 500;
            equal(row.getInt("k"), key);
            equal(row.getString("v"), "value " + key);
        }
    }

    private static void large(CqlSession session) {
        byte[] bytes = new byte[200_000];
        for (int index = 0; index < bytes.length; index++) {
            bytes[index] = (byte) (index * 31 % 251);
        }
        var blob = ByteBuffer.wrap(bytes);
        session.execute(session.prepare("INSERT INTO t (k, b) VALUES (60, ?)").bind(blob));
        equal(session.execute("SELECT b FROM t WHERE k = 60").one().getByteBuffer(0), blob);
        equal(session.execute(session.prepare("SELECT b FROM t WHERE k = ?").bind(60)).one().getByteBuffer(0), blob);
    }

    private static void nulls(CqlSession session) {
        var insert = session.prepare("INSERT INTO t (k, v, b) VALUES (?, ?, ?)");
        session.execute(insert.bind(70, "kept", ByteBuffer.wrap(new byte[] {1})));
        session.execute(insert.bind().setInt("k", 70).setToNull("b")); // v stays unset
        Row row = session.execute("SELECT v, b FROM t WHERE k = 70").one();
        equal(row.getString("v"), "kept");
        equal(row.isNull("b"), true);
    }

    private static void collections(CqlSession session) {
        var list = List.of(1, 2, 3);
        var set = Set.of("a", "b");
        var map = Map.of("x", 1, "y", 2);
        session.execute(session.prepare("INSERT INTO t (k, l, s, m) VALUES (80, ?, ?, ?)").bind(list, set, map));
        Row row = session.execute("SELECT l, s, m FROM t WHERE k = 80").one();
        equal(row.getList("l", Integer.class), list);
        equal(row.getSet("s", String.class), set);
        equal(row.getMap("m", String.class, Integer.class), map);
    }

    private static boolean passes(String name, Test test, CqlSession session) {
        try {
            test.run(session);
            System.out.println(name + " ok");
            return true;
        } catch (Exception error) {
            System.out.println(name + " FAILED " + error.toString().replaceAll("\\s+", " "));
            return false;
        }
    }

    public static void main(String[] arguments) throws Exception {
        boolean allWell = true;
        try (CqlSession first = connect(null)) {
            System.out.println("protocol " + first.getContext().getProtocolVersion().getCode());
            first.execute("CREATE KEYSPACE " + KEYSPACE + " WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}");
            first.execute("CREATE TABLE " + KEYSPACE + ".t (k int PRIMARY KEY, v text, b blob, l list<int>, s set<text>, m map<text, int>)");
            first.execute("CREATE TABLE " + KEYSPACE + ".p (k int, c int, PRIMARY KEY (k, c))");
            try (CqlSession session = connect(KEYSPACE)) {
                allWell &= passes("simple", Check::simple, session);
                allWell &= passes("prepared", Check::prepared, session);
                allWell &= passes("batch", Check::batch, session);
                allWell &= passes("paging", Check::paging, session);
                allWell &= passes("lwt", Check::lwt, session);
                allWell &= passes("use", Check::use, session);
                allWell &= passes("events", Check::events, session);
                allWell &= passes("load", Check::load, session);
                allWell &= passes("large", Check::large, session);
                allWell &= passes("nulls", Check::nulls, session);
                allWell &= passes("collections", Check::collections, session);
            }
        }
        System.exit(allWell ? 0 : 1);
    }
}
