//! Connections to a server, and errors that never show the password.

use std::time::Duration;

use reshare_postgres::connect::{ConnectError, Database};
use reshare_postgres::transaction::Purpose;
use secrecy::SecretString;
use sqlx::postgres::PgConnection;

use crate::support::{Place, chain};

fn resolve(url: &str) -> Database {
    Database::resolve(Some(&SecretString::from(url))).expect("a good URL")
}

/// What a role may have as default, against all that a transaction depends on.
const DEFAULTS: &str = "statement_timeout = '9s', lock_timeout = '8s', idle_in_transaction_session_timeout = '7s', \
    row_security = on, synchronous_commit = off, client_min_messages = notice, \
    default_transaction_isolation = serializable";

const SETTINGS: &str = "SELECT concat_ws(' ', current_setting('statement_timeout'), \
    current_setting('lock_timeout'), current_setting('idle_in_transaction_session_timeout'), \
    current_setting('row_security'), current_setting('synchronous_commit'), \
    current_setting('client_min_messages'), current_setting('transaction_isolation'), \
    current_setting('transaction_read_only'))";

#[tokio::test]
async fn a_transaction_states_all_that_it_depends_on_and_leaves_nothing_behind() {
    let mut place = Place::new().await;
    for setting in DEFAULTS.split(", ") {
        place.run(&format!("ALTER ROLE postgres SET {setting}")).await;
    }
    let connection = place.database.connect().await;
    place.run("ALTER ROLE postgres RESET ALL").await;
    let mut connection = connection.expect("connects");
    let defaults = "9s 8s 7s on off notice serializable off";
    let transactions = [
        (Purpose::Look, "0 1min 0 off on error read committed on"),
        (Purpose::Snapshot, "0 1min 0 off on error repeatable read on"),
        (Purpose::Write, "0 1min 0 off on error read committed off"),
        (Purpose::WriteOneMoment, "0 1min 0 off on error repeatable read off"),
    ];
    for (purpose, stated) in transactions {
        assert_eq!(text(&mut connection, SETTINGS).await, defaults);
        place.database.begin(&mut connection, purpose, "").await.expect("begins");
        assert_eq!(text(&mut connection, SETTINGS).await, stated, "{purpose:?}");
        place.database.look_again(&mut connection).await.expect("begins");
        assert_eq!(text(&mut connection, SETTINGS).await, transactions[0].1, "again");
        sqlx::raw_sql("COMMIT").execute(&mut connection).await.expect("ends");
    }
    assert_eq!(text(&mut connection, SETTINGS).await, defaults);
    let prepared =
        "SELECT count(*)::text || current_setting('application_name') FROM pg_prepared_statements";
    assert_eq!(text(&mut connection, prepared).await, "0reshare");
}

async fn text(connection: &mut PgConnection, sql: &'static str) -> String {
    reshare_postgres::statement::query_scalar(sql).fetch_one(connection).await.expect("answers")
}

#[tokio::test]
async fn no_error_of_a_connection_shows_the_password() {
    let place = Place::new().await;
    let socket = place.database.to_string();
    let socket = socket.split(':').next().expect("a socket").to_owned();
    let urls = [
        ("postgres://op:geheim@127.0.0.1:1/x".to_owned(), "Unreachable"),
        (format!("postgres://postgres:geheim@x/none?host={socket}&port=5432"), "NoSuchDatabase"),
        (format!("postgres:///x?host={socket}/gone&user=op&password=geheim"), "Unreachable"),
        (format!("postgres:///x?host={socket}&port=5432&user=op&password=geheim"), "Denied"),
    ];
    for (url, kind) in urls {
        let database = resolve(&url);
        let error = database.connect().await.expect_err("must fail");
        let shown = format!("{} {error:?} {database} {database:?}", chain(&error));
        assert!(!shown.contains("geheim"), "{shown}");
        assert!(format!("{error:?}").starts_with(kind), "{shown}");
    }
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_given_up() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let url = format!("postgres://op:geheim@127.0.0.1:{port}/x?connect_timeout=1&sslmode=disable");
    let error = resolve(&url).connect().await.expect_err("must fail");
    let after = Duration::from_secs(1);
    assert!(matches!(error, ConnectError::TimedOut { after: limit, .. } if limit == after));
}
