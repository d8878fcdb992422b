// What an application does, with gocql; see ../README.md for the environment it reads and the lines it prints.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	gocql "github.com/apache/cassandra-gocql-driver/v2"
	"github.com/apache/cassandra-gocql-driver/v2/lz4"
)

// protocol remembers the version of the last frame the driver read: it does not say what it settled on otherwise.
type protocol struct{ version atomic.Int32 }

func (p *protocol) ObserveFrameHeader(_ context.Context, frame gocql.ObservedFrameHeader) {
	p.version.Store(int32(frame.Version & 0x7f))
}

func connect(keyspace string, observer gocql.FrameHeaderObserver) (*gocql.Session, error) {
	cluster := gocql.NewCluster(os.Getenv("CQL_ADDRESS"))
	port, err := strconv.Atoi(os.Getenv("CQL_PORT"))
	if err != nil {
		return nil, err
	}
	cluster.Port = port
	cluster.Keyspace = keyspace
	cluster.FrameHeaderObserver = observer
	if version := os.Getenv("CQL_PROTOCOL"); version != "" {
		if cluster.ProtoVersion, err = strconv.Atoi(version); err != nil {
			return nil, err
		}
	}
	if os.Getenv("CQL_COMPRESSION") == "lz4" {
		cluster.Compressor = lz4.LZ4Compressor{}
	}
	if user := os.Getenv("CQL_USERNAME"); user != "" {
		cluster.Authenticator = gocql.PasswordAuthenticator{Username: user, Password: os.Getenv("CQL_PASSWORD")}
	}
	if ca := os.Getenv("CQL_CA"); ca != "" {
		cluster.SslOpts = &gocql.SslOptions{
			CaPath: ca, CertPath: os.Getenv("CQL_CERT"), KeyPath: os.Getenv("CQL_KEY"), EnableHostVerification: true,
		}
	}
	return cluster.CreateSession()
}

func equal(got, wanted any) error {
	if !reflect.DeepEqual(got, wanted) {
		return fmt.Errorf("got %.200v, not %.200v", got, wanted)
	}
	return nil
}

func valueOf(session *gocql.Session, key int) (value string, err error) {
	err = session.Query("SELECT v FROM t WHERE k = ?", key).Scan(&value)
	return value, err
}

// gocql prepares whatever is not a schema change, so its simple statements are those.
func simple(session *gocql.Session) error {
	if err := session.Query("ALTER TABLE t ADD extra int").Exec(); err != nil {
		return err
	}
	if err := session.Query("INSERT INTO t (k, v) VALUES (1, 'one')").Exec(); err != nil {
		return err
	}
	if _, err := valueOf(session, 0); !errors.Is(err, gocql.ErrNotFound) {
		return fmt.Errorf("a row that is not there: %v", err)
	}
	var refusal gocql.RequestError
	err := session.Query("SELECT nothing FROM t").Exec()
	if !errors.As(err, &refusal) || refusal.Code() != gocql.ErrCodeInvalid {
		return fmt.Errorf("a wrong column was not refused: %v", err)
	}
	return nil
}

func prepared(session *gocql.Session) error {
	for key := 10; key < 20; key++ {
		wanted := fmt.Sprintf("value %d ö", key)
		if err := session.Query("INSERT INTO t (k, v) VALUES (?, ?)", key, wanted).Exec(); err != nil {
			return err
		}
		if got, err := valueOf(session, key); err != nil || got != wanted {
			return fmt.Errorf("got %q (%v), not %q", got, err, wanted)
		}
	}
	return nil
}

func batch(session *gocql.Session) error {
	for kind, first := range map[gocql.BatchType]int{gocql.LoggedBatch: 30, gocql.UnloggedBatch: 40} {
		batch := session.Batch(kind)
		batch.Query("INSERT INTO t (k, v) VALUES (?, ?)", first, "prepared")
		batch.Query(fmt.Sprintf("INSERT INTO t (k, v) VALUES (%d, 'text')", first+1))
		batch.Query("INSERT INTO t (k, v) VALUES (?, ?)", first+2, "prepared")
		if err := batch.Exec(); err != nil {
			return err
		}
		for index, wanted := range []string{"prepared", "text", "prepared"} {
			if got, err := valueOf(session, first+index); err != nil || got != wanted {
				return fmt.Errorf("row %d: got %q (%v), not %q", first+index, got, err, wanted)
			}
		}
	}
	return nil
}

func paging(session *gocql.Session) error {
	wanted := make([]int, 250)
	for c := range wanted {
		wanted[c] = c
		if err := session.Query("INSERT INTO p (k, c) VALUES (1, ?)", c).Exec(); err != nil {
			return err
		}
	}
	var got []int
	rows := session.Query("SELECT c FROM p WHERE k = ?", 1).PageSize(30).Iter()
	for c := 0; rows.Scan(&c); {
		got = append(got, c)
	}
	if err := rows.Close(); err != nil {
		return err
	}
	first := session.Query("SELECT c FROM p WHERE k = ?", 1).PageSize(30).Iter()
	if first.NumRows() != 30 || len(first.PageState()) == 0 {
		return fmt.Errorf("a page of 30 rows has %d", first.NumRows())
	}
	return errors.Join(first.Close(), equal(got, wanted))
}

func lwt(session *gocql.Session) error {
	insert := "INSERT INTO t (k, v) VALUES (?, ?) IF NOT EXISTS"
	first, err := session.Query(insert, 50, "first").MapScanCAS(map[string]any{})
	if err != nil || !first {
		return fmt.Errorf("the first: %v, %v", first, err)
	}
	found := map[string]any{}
	second, err := session.Query(insert, 50, "second").MapScanCAS(found)
	if err != nil || second || found["v"] != "first" {
		return fmt.Errorf("the second: %v, %v, %v", second, found, err)
	}
	update := "UPDATE t SET v = 'third' WHERE k = 50 IF v = 'first'"
	third, err := session.Query(update).MapScanCAS(map[string]any{})
	if err != nil || !third {
		return fmt.Errorf("the third: %v, %v", third, err)
	}
	return nil
}

// gocql knows a session's keyspace, and from version 5 on a request's own; it refuses USE.
func use(session *gocql.Session) error {
	seen := &protocol{}
	other, err := connect("system", seen)
	if err != nil {
		return err
	}
	defer other.Close()
	var key string
	if err := other.Query("SELECT key FROM local").Scan(&key); err != nil || key != "local" {
		return fmt.Errorf("got %q (%v), not local", key, err)
	}
	if seen.version.Load() < 5 {
		return nil
	}
	var value string
	err = other.Query("SELECT v FROM t WHERE k = 1").SetKeyspace(os.Getenv("CQL_KEYSPACE")).Scan(&value)
	if err != nil || value != "one" {
		return fmt.Errorf("a request's keyspace: got %q (%v), not one", value, err)
	}
	return nil
}

func events(session *gocql.Session) error {
	keyspace := os.Getenv("CQL_KEYSPACE")
	before, err := session.KeyspaceMetadata(keyspace)
	if err != nil || before.Tables["announced"] != nil {
		return fmt.Errorf("before: %v, %v", before, err)
	}
	other, err := connect(keyspace, nil)
	if err != nil {
		return err
	}
	defer other.Close()
	if err := other.Query("CREATE TABLE announced (k int PRIMARY KEY)").Exec(); err != nil {
		return err
	}
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if after, err := session.KeyspaceMetadata(keyspace); err == nil && after.Tables["announced"] != nil {
			return nil
		}
	}
	return errors.New("the new table was not announced")
}

// each calls work for every key, 300 at a time.
func each(keys []int, work func(int) error) error {
	var group sync.WaitGroup
	var mutex sync.Mutex
	var failure error
	slots := make(chan struct{}, 300)
	for _, key := range keys {
		slots <- struct{}{}
		group.Add(1)
		go func() {
			defer func() { <-slots; group.Done() }()
			if err := work(key); err != nil {
				mutex.Lock()
				failure = fmt.Errorf("key %d: %w", key, err)
				mutex.Unlock()
			}
		}()
	}
	group.Wait()
	return failure
}

func load(session *gocql.Session) error {
	var keys []int
	for key := 1000; key < 1500; key++ {
		keys = append(keys, key)
	}
	err := each(keys, func(key int) error {
		return session.Query("INSERT INTO t (k, v) VALUES (?, ?)", key, fmt.Sprintf("value %d", key)).Exec()
	})
	if err != nil {
		return err
	}
	return each(slices.Concat(keys, keys, keys), func(key int) error {
		got, err := valueOf(session, key)
		return errors.Join(err, equal(got, fmt.Sprintf("value %d", key)))
	})
}

func large(session *gocql.Session) error {
	wanted := make([]byte, 200_000)
	for index := range wanted {
		wanted[index] = byte(index * 31 % 251)
	}
	if err := session.Query("INSERT INTO t (k, b) VALUES (60, ?)", wanted).Exec(); err != nil {
		return err
	}
	var got []byte
	if err := session.Query("SELECT b FROM t WHERE k = ?", 60).Scan(&got); err != nil {
		return err
	}
	if !bytes.Equal(got, wanted) {
		return fmt.Errorf("got %d other bytes", len(got))
	}
	return nil
}

func nulls(session *gocql.Session) error {
	insert := "INSERT INTO t (k, v, b) VALUES (?, ?, ?)"
	if err := session.Query(insert, 70, "kept", []byte("gone")).Exec(); err != nil {
		return err
	}
	if err := session.Query(insert, 70, gocql.UnsetValue, nil).Exec(); err != nil {
		return err
	}
	var value *string
	var blob []byte
	if err := session.Query("SELECT v, b FROM t WHERE k = 70").Scan(&value, &blob); err != nil {
		return err
	}
	if value == nil || *value != "kept" || blob != nil {
		return fmt.Errorf("got %v, %v", value, blob)
	}
	return nil
}

func collections(session *gocql.Session) error {
	list, set, dictionary := []int{1, 2, 3}, []string{"a", "b"}, map[string]int{"x": 1, "y": 2}
	if err := session.Query("INSERT INTO t (k, l, s, m) VALUES (80, ?, ?, ?)", list, set, dictionary).Exec(); err != nil {
		return err
	}
	var gotList []int
	var gotSet []string
	var gotDictionary map[string]int
	if err := session.Query("SELECT l, s, m FROM t WHERE k = ?", 80).Scan(&gotList, &gotSet, &gotDictionary); err != nil {
		return err
	}
	slices.Sort(gotSet)
	return errors.Join(equal(gotList, list), equal(gotSet, set), equal(gotDictionary, dictionary))
}

func run() (failed int, err error) {
	keyspace := os.Getenv("CQL_KEYSPACE")
	seen := &protocol{}
	first, err := connect("", seen)
	if err != nil {
		return 0, err
	}
	defer first.Close()
	fmt.Println("protocol", seen.version.Load())
	replication := "{'class': 'SimpleStrategy', 'replication_factor': 1}"
	for _, statement := range []string{
		fmt.Sprintf("CREATE KEYSPACE %s WITH replication = %s", keyspace, replication),
		fmt.Sprintf("CREATE TABLE %s.t (k int PRIMARY KEY, v text, b blob, l list<int>, s set<text>, m map<text, int>)", keyspace),
		fmt.Sprintf("CREATE TABLE %s.p (k int, c int, PRIMARY KEY (k, c))", keyspace),
	} {
		if err := first.Query(statement).Exec(); err != nil {
			return 0, err
		}
	}
	session, err := connect(keyspace, nil)
	if err != nil {
		return 0, err
	}
	defer session.Close()
	for _, check := range []struct {
		name string
		run  func(*gocql.Session) error
	}{
		{"simple", simple}, {"prepared", prepared}, {"batch", batch}, {"paging", paging}, {"lwt", lwt}, {"use", use},
		{"events", events}, {"load", load}, {"large", large}, {"nulls", nulls}, {"collections", collections},
	} {
		if err := check.run(session); err != nil {
			fmt.Println(check.name, "FAILED", strings.Join(strings.Fields(err.Error()), " "))
			failed++
		} else {
			fmt.Println(check.name, "ok")
		}
	}
	return failed, nil
}

func main() {
	failed, err := run()
	if err != nil {
		fmt.Println("FAILED", err)
	}
	if failed > 0 || err != nil {
		os.Exit(1)
	}
}
