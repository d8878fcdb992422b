// What an application does, with the Node driver; see ../README.md for the environment it reads and the lines it prints.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import cassandra from 'cassandra-driver';

const env = process.env;
const keyspace = env.CQL_KEYSPACE;

async function connect(session) {
  const options = {
    contactPoints: [`${env.CQL_ADDRESS}:${env.CQL_PORT}`],
    localDataCenter: 'datacenter1',
    keyspace: session,
  };
  if (env.CQL_PROTOCOL) {
    options.protocolOptions = { maxVersion: Number(env.CQL_PROTOCOL) };
  }
  if (env.CQL_USERNAME) {
    options.authProvider = new cassandra.auth.PlainTextAuthProvider(env.CQL_USERNAME, env.CQL_PASSWORD);
  }
  if (env.CQL_CA) {
    options.sslOptions = { ca: [readFileSync(env.CQL_CA)], rejectUnauthorized: true, host: env.CQL_ADDRESS };
    if (env.CQL_CERT) {
      options.sslOptions.cert = readFileSync(env.CQL_CERT);
      options.sslOptions.key = readFileSync(env.CQL_KEY);
    }
  }
  const client = new cassandra.Client(options);
  await client.connect();
  return client;
}

const prepare = { prepare: true };

async function valueOf(client, key) {
  return (await client.execute('SELECT v FROM t WHERE k = ?', [key], prepare)).first()?.v;
}

async function simple(client) {
  await client.execute("INSERT INTO t (k, v) VALUES (1, 'one')");
  await client.execute('INSERT INTO t (k, v) VALUES (?, ?)', [2, 'zwei ö'], { hints: ['int', 'text'] });
  const row = (await client.execute('SELECT k, v FROM t WHERE k = 2')).first();
  assert.deepEqual({ ...row }, { k: 2, v: 'zwei ö' });
  assert.equal((await client.execute('SELECT v FROM t WHERE k = 0')).rowLength, 0);
  await assert.rejects(client.execute('SELECT nothing FROM t'), { code: cassandra.types.responseErrorCodes.invalid });
}

async function prepared(client) {
  for (let key = 10; key < 20; key++) {
    await client.execute('INSERT INTO t (k, v) VALUES (?, ?)', [key, `value ${key}`], prepare);
    assert.equal(await valueOf(client, key), `value ${key}`);
  }
}

// The driver prepares all children of a batch or none.
async function batch(client) {
  for (const [first, logged, options] of [[30, true, prepare], [40, false, prepare], [45, true, {}]]) {
    const hints = options.prepare ? undefined : [['int', 'text'], [], ['int', 'text']];
    await client.batch([
      { query: 'INSERT INTO t (k, v) VALUES (?, ?)', params: [first, 'bound'] },
      { query: `INSERT INTO t (k, v) VALUES (${first + 1}, 'text')`, params: [] },
      { query: 'INSERT INTO t (k, v) VALUES (?, ?)', params: [first + 2, 'bound'] },
    ], { ...options, logged, hints });
    const values = await Promise.all([0, 1, 2].map((index) => valueOf(client, first + index)));
    assert.deepEqual(values, ['bound', 'text', 'bound']);
  }
}

async function paging(client) {
  const wanted = Array.from({ length: 250 }, (_, index) => index);
  await Promise.all(wanted.map((c) => client.execute('INSERT INTO p (k, c) VALUES (1, ?)', [c], prepare)));
  for (const options of [{ fetchSize: 30 }, { fetchSize: 30, prepare: true }]) {
    const first = await client.execute('SELECT c FROM p WHERE k = 1', [], options);
    assert.equal(first.rowLength, 30);
    assert.ok(first.pageState);
    const got = [];
    for await (const row of client.stream('SELECT c FROM p WHERE k = 1', [], { ...options, autoPage: true })) {
      got.push(row.c);
    }
    assert.deepEqual(got, wanted);
  }
}

async function lwt(client) {
  const insert = 'INSERT INTO t (k, v) VALUES (?, ?) IF NOT EXISTS';
  assert.ok((await client.execute(insert, [50, 'first'], prepare)).wasApplied());
  const again = await client.execute(insert, [50, 'second'], prepare);
  assert.ok(!again.wasApplied());
  assert.equal(again.first().v, 'first');
  assert.ok((await client.execute("UPDATE t SET v = 'third' WHERE k = 50 IF v = 'first'")).wasApplied());
}

async function use() {
  const other = await connect();
  try {
    await other.execute(`USE ${keyspace}`);
    assert.equal((await other.execute('SELECT v FROM t WHERE k = 1')).first().v, 'one');
    await other.execute('USE system');
    assert.equal((await other.execute('SELECT key FROM local', [], prepare)).first().key, 'local');
  } finally {
    await other.shutdown();
  }
}

async function events(client) {
  assert.equal(await client.metadata.getTable(keyspace, 'announced'), null);
  const other = await connect(keyspace);
  try {
    await other.execute('CREATE TABLE announced (k int PRIMARY KEY)');
  } finally {
    await other.shutdown();
  }
  // Read from the cache, which only an event invalidates.
  let seen = null;
  for (const deadline = Date.now() + 10_000; !seen && Date.now() < deadline; await sleep(50)) {
    seen = await client.metadata.getTable(keyspace, 'announced');
  }
  assert.equal(seen?.name, 'announced');
}

async function load(client) {
  const keys = Array.from({ length: 500 }, (_, index) => 1000 + index);
  await Promise.all(keys.map((key) => client.execute('INSERT INTO t (k, v) VALUES (?, ?)', [key, `value ${key}`], prepare)));
  for (let round = 0; round < 3; round++) {
    const values = await Promise.all(keys.map((key) => valueOf(client, key)));
    assert.deepEqual(values, keys.map((key) => `value ${key}`));
  }
}

async function large(client) {
  const blob = Buffer.from(Array.from({ length: 200_000 }, (_, index) => index * 31 % 251));
  await client.execute('INSERT INTO t (k, b) VALUES (60, ?)', [blob], prepare);
  assert.ok((await client.execute('SELECT b FROM t WHERE k = 60')).first().b.equals(blob));
  assert.ok((await client.execute('SELECT b FROM t WHERE k = ?', [60], prepare)).first().b.equals(blob));
}

async function nulls(client) {
  const insert = 'INSERT INTO t (k, v, b) VALUES (?, ?, ?)';
  await client.execute(insert, [70, 'kept', Buffer.from('gone')], prepare);
  await client.execute(insert, [70, cassandra.types.unset, null], prepare);
  assert.deepEqual({ ...(await client.execute('SELECT v, b FROM t WHERE k = 70')).first() }, { v: 'kept', b: null });
}

async function collections(client) {
  const values = { l: [1, 2, 3], s: ['a', 'b'], m: { x: 1, y: 2 } };
  await client.execute('INSERT INTO t (k, l, s, m) VALUES (80, ?, ?, ?)', [values.l, values.s, values.m], prepare);
  assert.deepEqual({ ...(await client.execute('SELECT l, s, m FROM t WHERE k = 80')).first() }, values);
}

const checks = [simple, prepared, batch, paging, lwt, use, events, load, large, nulls, collections];

async function main() {
  const first = await connect();
  console.log('protocol', first.controlConnection.protocolVersion);
  await first.execute(`CREATE KEYSPACE ${keyspace} WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}`);
  await first.execute(`CREATE TABLE ${keyspace}.t
    (k int PRIMARY KEY, v text, b blob, l list<int>, s set<text>, m map<text, int>)`);
  await first.execute(`CREATE TABLE ${keyspace}.p (k int, c int, PRIMARY KEY (k, c))`);
  const client = await connect(keyspace);
  for (const check of checks) {
    try {
      await check(client);
      console.log(check.name, 'ok');
    } catch (error) {
      console.log(check.name, 'FAILED', error.name, error.message.replace(/\s+/g, ' '));
      process.exitCode = 1;
    }
  }
  await client.shutdown();
  await first.shutdown();
}

// A driver that waits for ever must fail here, not hang its caller.
globalThis.setTimeout(() => process.exit(2), 100_000);
await main();
process.exit();
