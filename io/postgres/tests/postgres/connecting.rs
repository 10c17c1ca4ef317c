//! Connections to a server, and errors that never show the password.

use std::time::Duration;

use reshare_postgres::connect::{ConnectError, Database};
use secrecy::SecretString;

use crate::support::{Place, chain};

fn resolve(url: &str) -> Database {
    Database::resolve(Some(&SecretString::from(url))).expect("a good URL")
}

#[tokio::test]
async fn a_session_has_its_name_and_no_time_limits() {
    let mut place = Place::new().await;
    place.run("ALTER ROLE postgres SET statement_timeout = '9s'").await;
    let mut connection = place.database.connect().await.expect("connects");
    place.run("ALTER ROLE postgres RESET statement_timeout").await;
    let query = "SELECT current_setting('application_name') || ' ' || \
                 current_setting('statement_timeout') || ' ' || \
                 current_setting('idle_in_transaction_session_timeout') || ' ' || \
                 current_setting('row_security')";
    let settings: String =
        sqlx::query_scalar(query).fetch_one(&mut connection).await.expect("answers");
    assert_eq!(settings, "reshare 0 0 off");
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
