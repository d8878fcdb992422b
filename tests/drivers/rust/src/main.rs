//! What an application does, with the Rust driver; see ../README.md for the environment it reads and the lines it prints.

use std::collections::{BTreeMap, BTreeSet};
use std::env::var;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use openssl::ssl::{SslConnector, SslFiletype, SslMethod};
use scylla::client::Compression;
use scylla::client::session::{OpenSsl010Config, Session};
use scylla::client::session_builder::SessionBuilder;
use scylla::response::PagingState;
use scylla::statement::batch::{Batch, BatchType};
use scylla::statement::unprepared::Statement;
use scylla::value::{MaybeUnset, Row};

async fn connect(keyspace: Option<&str>) -> Result<Session> {
    let mut builder = SessionBuilder::new().known_node(format!("{}:{}", var("CQL_ADDRESS")?, var("CQL_PORT")?));
    if let Some(keyspace) = keyspace {
        builder = builder.use_keyspace(keyspace, false);
    }
    match var("CQL_COMPRESSION").as_deref() {
        Ok("lz4") => builder = builder.compression(Some(Compression::Lz4)),
        Ok("snappy") => builder = builder.compression(Some(Compression::Snappy)),
        _ => (),
    }
    if let Ok(user) = var("CQL_USERNAME") {
        builder = builder.user(user, var("CQL_PASSWORD")?);
    }
    if let Ok(authority) = var("CQL_CA") {
        let mut tls = SslConnector::builder(SslMethod::tls())?;
        tls.set_ca_file(authority)?;
        if let Ok(certificate) = var("CQL_CERT") {
            tls.set_certificate_chain_file(certificate)?;
            tls.set_private_key_file(var("CQL_KEY")?, SslFiletype::PEM)?;
        }
        builder = builder.tls_context(Some(OpenSsl010Config::new(tls)));
    }
    Ok(builder.build().await?)
}

fn equal<T: PartialEq + std::fmt::Debug>(got: T, wanted: T) -> Result<()> {
    ensure!(got == wanted, "got {got:.200?}, not {wanted:.200?}");
    Ok(())
}

async fn value_of(session: &Session, key: i32) -> Result<String> {
    let answer = session.query_unpaged(format!("SELECT v FROM t WHERE k = {key}"), ()).await?;
    Ok(answer.into_rows_result()?.single_row::<(String,)>()?.0)
}

async fn simple(session: &Session) -> Result<()> {
    session.query_unpaged("INSERT INTO t (k, v) VALUES (1, 'one')", ()).await?;
    session.query_unpaged("INSERT INTO t (k, v) VALUES (?, ?)", (2, "zwei ö")).await?;
    equal(value_of(session, 2).await?, "zwei ö".to_owned())?;
    let none = session.query_unpaged("SELECT v FROM t WHERE k = 0", ()).await?;
    equal(none.into_rows_result()?.rows_num(), 0)?;
    match session.query_unpaged("SELECT nothing FROM t", ()).await {
        Err(error) if error.to_string().to_lowercase().contains("undefined column") => Ok(()),
        other => bail!("a wrong column was not refused: {other:?}"),
    }
}

async fn prepared(session: &Session) -> Result<()> {
    let insert = session.prepare("INSERT INTO t (k, v) VALUES (?, ?)").await?;
    let select = session.prepare("SELECT v FROM t WHERE k = ?").await?;
    for key in 10..20 {
        let wanted = format!("value {key}");
        session.execute_unpaged(&insert, (key, &wanted)).await?;
        let rows = session.execute_unpaged(&select, (key,)).await?.into_rows_result()?;
        equal(rows.single_row::<(String,)>()?.0, wanted)?;
    }
    Ok(())
}

async fn batch(session: &Session) -> Result<()> {
    let insert = session.prepare("INSERT INTO t (k, v) VALUES (?, ?)").await?;
    for (kind, first) in [(BatchType::Logged, 30), (BatchType::Unlogged, 40)] {
        let mut batch = Batch::new(kind);
        batch.append_statement(insert.clone());
        batch.append_statement(Statement::new(format!("INSERT INTO t (k, v) VALUES ({}, 'text')", first + 1)));
        batch.append_statement(insert.clone());
        session.batch(&batch, ((first, "prepared"), (), (first + 2, "prepared"))).await?;
        for (key, wanted) in (first..).zip(["prepared", "text", "prepared"]) {
            equal(value_of(session, key).await?, wanted.to_owned())?;
        }
    }
    Ok(())
}

async fn paging(session: &Session) -> Result<()> {
    let insert = session.prepare("INSERT INTO p (k, c) VALUES (1, ?)").await?;
    let wanted: Vec<i32> = (0..250).collect();
    stream::iter(&wanted)
        .map(|c| session.execute_unpaged(&insert, (c,)))
        .buffer_unordered(100)
        .try_collect::<Vec<_>>()
        .await?;
    let text = Statement::new("SELECT c FROM p WHERE k = 1").with_page_size(30);
    let (page, _) = session.query_single_page(text.clone(), (), PagingState::start()).await?;
    equal(page.into_rows_result()?.rows_num(), 30)?;
    let by_text = session.query_iter(text.clone(), ()).await?.rows_stream::<(i32,)>()?;
    equal(by_text.map_ok(|row| row.0).try_collect::<Vec<_>>().await?, wanted.clone())?;
    let prepared = session.prepare(text).await?;
    let by_id = session.execute_iter(prepared, ()).await?.rows_stream::<(i32,)>()?;
    equal(by_id.map_ok(|row| row.0).try_collect::<Vec<_>>().await?, wanted)
}

async fn lwt(session: &Session) -> Result<()> {
    let insert = session.prepare("INSERT INTO t (k, v) VALUES (?, ?) IF NOT EXISTS").await?;
    let update = session.prepare("UPDATE t SET v = ? WHERE k = ? IF v = 'first'").await?;
    let applied = |answer: scylla::response::query_result::QueryResult| -> Result<bool> {
        let row = answer.into_rows_result()?.single_row::<Row>()?;
        row.columns[0].as_ref().and_then(|value| value.as_boolean()).context("no [applied]")
    };
    equal(applied(session.execute_unpaged(&insert, (50, "first")).await?)?, true)?;
    equal(applied(session.execute_unpaged(&insert, (50, "second")).await?)?, false)?;
    equal(applied(session.execute_unpaged(&update, ("third", 50)).await?)?, true)?;
    equal(value_of(session, 50).await?, "third".to_owned())
}

async fn using(session: &Session) -> Result<()> {
    let keyspace = session.get_keyspace().context("the session has no keyspace")?;
    let other = connect(None).await?;
    other.use_keyspace(keyspace.as_str(), false).await?;
    equal(value_of(&other, 1).await?, "one".to_owned())?;
    other.use_keyspace("system", false).await?;
    let select = other.prepare("SELECT key FROM local").await?;
    let rows = other.execute_unpaged(&select, ()).await?.into_rows_result()?;
    equal(rows.single_row::<(String,)>()?.0, "local".to_owned())
}

// This driver passes over the event and reads the schema when it is told to.
async fn events(session: &Session) -> Result<()> {
    let keyspace = session.get_keyspace().context("the session has no keyspace")?;
    let knows = || {
        let state = session.get_cluster_state();
        state.get_keyspace(keyspace.as_str()).is_some_and(|found| found.tables.contains_key("announced"))
    };
    equal(knows(), false)?;
    let other = connect(Some(keyspace.as_str())).await?;
    other.query_unpaged("CREATE TABLE announced (k int PRIMARY KEY)", ()).await?;
    session.refresh_metadata().await?;
    equal(knows(), true)
}

async fn load(session: &Session) -> Result<()> {
    let insert = &session.prepare("INSERT INTO t (k, v) VALUES (?, ?)").await?;
    let select = &session.prepare("SELECT k, v FROM t WHERE k = ?").await?;
    let keys = 1000..1500;
    stream::iter(keys.clone())
        .map(|key| async move { session.execute_unpaged(insert, (key, format!("value {key}"))).await })
        .buffer_unordered(300)
        .try_collect::<Vec<_>>()
        .await?;
    stream::iter(keys.clone().chain(keys.clone()).chain(keys))
        .map(|key| async move {
            let rows = session.execute_unpaged(select, (key,)).await?.into_rows_result()?;
            equal(rows.single_row::<(i32, String)>()?, (key, format!("value {key}")))
        })
        .buffer_unordered(300)
        .try_collect::<Vec<_>>()
        .await?;
    Ok(())
}

async fn large(session: &Session) -> Result<()> {
    let blob: Vec<u8> = (0..200_000).map(|index| (index * 31 % 251) as u8).collect();
    session.query_unpaged("INSERT INTO t (k, b) VALUES (60, ?)", (&blob,)).await?;
    let rows = session.query_unpaged("SELECT b FROM t WHERE k = 60", ()).await?.into_rows_result()?;
    ensure!(rows.single_row::<(Vec<u8>,)>()?.0 == blob, "other bytes came back");
    Ok(())
}

async fn nulls(session: &Session) -> Result<()> {
    let insert = session.prepare("INSERT INTO t (k, v, b) VALUES (?, ?, ?)").await?;
    session.execute_unpaged(&insert, (70, "kept", Some(vec![1_u8]))).await?;
    session.execute_unpaged(&insert, (70, MaybeUnset::<&str>::Unset, None::<Vec<u8>>)).await?;
    let rows = session.query_unpaged("SELECT v, b FROM t WHERE k = 70", ()).await?.into_rows_result()?;
    equal(rows.single_row::<(Option<String>, Option<Vec<u8>>)>()?, (Some("kept".to_owned()), None))
}

async fn collections(session: &Session) -> Result<()> {
    let list = vec![1, 2, 3];
    let set = BTreeSet::from(["a".to_owned(), "b".to_owned()]);
    let map = BTreeMap::from([("x".to_owned(), 1), ("y".to_owned(), 2)]);
    let insert = session.prepare("INSERT INTO t (k, l, s, m) VALUES (80, ?, ?, ?)").await?;
    session.execute_unpaged(&insert, (&list, &set, &map)).await?;
    let rows = session.query_unpaged("SELECT l, s, m FROM t WHERE k = 80", ()).await?.into_rows_result()?;
    equal(rows.single_row::<(Vec<i32>, BTreeSet<String>, BTreeMap<String, i32>)>()?, (list, set, map))
}

async fn run() -> Result<bool> {
    let keyspace = var("CQL_KEYSPACE")?;
    let first = connect(None).await?;
    let replication = "{'class': 'SimpleStrategy', 'replication_factor': 1}";
    let columns = "k int PRIMARY KEY, v text, b blob, l list<int>, s set<text>, m map<text, int>";
    first.query_unpaged(format!("CREATE KEYSPACE {keyspace} WITH replication = {replication}"), ()).await?;
    first.query_unpaged(format!("CREATE TABLE {keyspace}.t ({columns})"), ()).await?;
    first.query_unpaged(format!("CREATE TABLE {keyspace}.p (k int, c int, PRIMARY KEY (k, c))"), ()).await?;
    let session = connect(Some(&keyspace)).await?;

    let mut all_well = true;
    macro_rules! check {
        ($name:literal, $function:ident) => {
            match $function(&session).await {
                Ok(()) => println!("{} ok", $name),
                Err(error) => {
                    println!("{} FAILED {}", $name, format!("{error:#}").replace('\n', " "));
                    all_well = false;
                }
            }
        };
    }
    // This driver speaks nothing else.
    println!("protocol 4");
    check!("simple", simple);
    check!("prepared", prepared);
    check!("batch", batch);
    check!("paging", paging);
    check!("lwt", lwt);
    check!("use", using);
    check!("events", events);
    check!("load", load);
    check!("large", large);
    check!("nulls", nulls);
    check!("collections", collections);
    Ok(all_well)
}

#[tokio::main]
async fn main() -> Result<std::process::ExitCode> {
    // A driver that waits for ever must fail here, not hang its caller.
    let all_well = tokio::time::timeout(Duration::from_secs(100), run()).await??;
    Ok(if all_well { 0.into() } else { 1.into() })
}
