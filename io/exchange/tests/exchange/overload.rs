//! Peers that occupy connections and requests without using them: the senders still get through.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::Frame;
use hyper::client::conn::http2;
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use reshare_exchange::Limits;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::http::{curl, place, plain, sha256_of};
use crate::world::{RECEIVER, Running, World, assert_same_directory};

const CROWD: usize = 1000;

fn limits() -> Limits {
    Limits { keep_free_bytes: 0, ..Limits::default() }
}

/// Connects as sender 0, with one protocol.
async fn connect(world: &World, receiver: &Running, protocol: &[u8]) -> TlsStream<TcpStream> {
    let files = world.sender_files(0);
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(world.authority.pem()).unwrap()).unwrap();
    let certificate = CertificateDer::from_pem_file(&files.certificate).unwrap();
    let key = PrivateKeyDer::from_pem_file(&files.key).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![certificate], key);
    let mut config = config.unwrap();
    config.alpn_protocols = vec![protocol.to_vec()];
    let stream = TcpStream::connect(receiver.address).await.unwrap();
    let name = ServerName::try_from(RECEIVER).unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
}

async fn counted(receiver: &Running, reason: &str) -> u64 {
    let metrics = plain(format!("http://{}/metrics", receiver.health)).await;
    let line = format!("reshare_refused_total{{reason=\"{reason}\"}} ");
    metrics.lines().find_map(|have| have.strip_prefix(&line)?.parse().ok()).unwrap_or(0)
}

/// Waits for something that must happen.
async fn within_reason<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(120), work).await.expect("it comes in the end")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_connections_that_say_little_keep_no_sender_out() {
    let world = World::new();
    // No time-out helps here, only that newcomers always get a place.
    let patient = Duration::from_secs(3600);
    let limits = Limits { header_timeout: patient, body_timeout: patient, ..limits() };
    let receiver = world.receiver_with(limits).await;
    let mut crowd = Vec::new();
    for index in 0..CROWD {
        let mut stream = TcpStream::connect(receiver.address).await.unwrap();
        // Nothing; the start of a TLS record; a record that never ends.
        let words: &[u8] = [&[][..], &[22, 3, 1], &[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3]][index % 3];
        stream.write_all(words).await.unwrap();
        crowd.push(stream);
    }
    for sender in [0, 1] {
        world.upload(sender, receiver.address).await.unwrap();
        assert_same_directory(world.package(sender).directory(), &receiver.package(sender));
    }
    // All connections without a place were closed, and their resources released.
    let mut gone = 0;
    for stream in &mut crowd[..CROWD - limits.handshakes] {
        let read = within_reason(stream.read(&mut [0; 64])).await;
        gone += usize::from(matches!(read, Ok(0) | Err(_)));
    }
    assert_eq!(gone, CROWD - limits.handshakes);
    assert!(counted(&receiver, "crowded-out").await >= gone as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_senders_connections_and_requests_do_not_keep_the_other_one_out() {
    let world = World::new();
    let receiver = world.receiver_with(Limits { connections: 2, ..limits() }).await;
    let _first = connect(&world, &receiver, b"http/1.1").await;
    let _second = connect(&world, &receiver, b"h2").await;
    let port = receiver.address.port();
    // In TLS 1.3 a client is done before the receiver is: ask until both are counted.
    within_reason(async {
        let files = Some(world.sender_files(0));
        loop {
            let answer = curl(&world, port, files, &place(&world, 0), &[]).await;
            if answer.status != 200 {
                answer.assert_refused(503, "too-many-connections");
                break;
            }
        }
    })
    .await;
    let other = curl(&world, port, Some(world.sender_files(1)), &place(&world, 1), &[]).await;
    assert_eq!(other.status, 200, "{other:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_dribbles_and_an_http_2_stream_that_stalls_are_ended() {
    let world = World::new();
    let timeout = Duration::from_millis(300);
    let limits = Limits { body_timeout: timeout, body_bytes_per_second: 1 << 20, ..limits() };
    let receiver = world.receiver_with(limits).await;
    let part = world.package(0).directory().join("part-000000.age");
    let digest = sha256_of(&part).split_once(": ").unwrap().1.to_owned();
    let url = format!("https://{RECEIVER}{}/parts/part-000000.age", place(&world, 0));
    for period in [Duration::from_millis(20), Duration::from_secs(3600)] {
        let io = TokioIo::new(connect(&world, &receiver, b"h2").await);
        let (mut requests, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
        let driver = tokio::spawn(connection);
        // One byte now, and one in each period.
        let dribble = futures_util::stream::unfold(0, move |sent| async move {
            if sent > 0 {
                tokio::time::sleep(period).await;
            }
            Some((Ok::<_, std::io::Error>(Frame::data(Bytes::from_static(b"x"))), sent + 1))
        });
        let request = Request::put(&url)
            .header("content-length", "100000")
            .header("repr-digest", &digest)
            .body(BodyExt::boxed_unsync(StreamBody::new(dribble.boxed())))
            .unwrap();
        let answer = within_reason(requests.send_request(request)).await.unwrap();
        assert_eq!(answer.status(), StatusCode::REQUEST_TIMEOUT);
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert!(body.starts_with(b"{\"error\":\"slow\","), "{body:?}");
        // It only answers pings from now on, which does not keep a connection open.
        let _ = within_reason(driver).await.unwrap();
    }
    assert!(receiver.files().is_empty(), "{:?}", receiver.files());
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_opened_only_to_be_reset_leave_nothing_and_exclude_no_one() {
    let world = World::new();
    let receiver = world.receiver_with(Limits { requests: 8, ..limits() }).await;
    let digest = sha256_of(&world.package(0).directory().join("part-000000.age"));
    let digest = digest.split_once(": ").unwrap().1.to_owned();
    for round in 0..20 {
        let io = TokioIo::new(connect(&world, &receiver, b"h2").await);
        let (requests, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
        let driver = tokio::spawn(connection);
        let reset = (0..50).map(|index| {
            let (mut requests, digest) = (requests.clone(), digest.clone());
            let path = format!("{}/parts/part-{index:06}.age", place(&world, 0));
            async move {
                let request = Request::put(format!("https://{RECEIVER}{path}"))
                    .header("content-length", "100000")
                    .header("repr-digest", digest)
                    .body(Empty::<Bytes>::new().map_err(|never| match never {}).boxed())
                    .unwrap();
                let request: Request<http_body_util::combinators::BoxBody<Bytes, hyper::Error>> =
                    request;
                let answer = requests.send_request(request);
                // Dropped before the answer: a RST_STREAM.
                let _ = tokio::time::timeout(Duration::from_millis(round % 5), answer).await;
            }
        });
        futures_util::future::join_all(reset).await;
        driver.abort();
    }
    world.upload(0, receiver.address).await.unwrap();
    within_reason(async {
        while receiver.files().iter().any(|name| name.contains(".tmp-")) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_same_directory(world.package(0).directory(), &receiver.package(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_its_answers_is_cut_off() {
    let world = World::new();
    let timeout = Duration::from_millis(300);
    let limits = Limits { header_timeout: timeout, body_timeout: timeout, ..limits() };
    let receiver = world.receiver_with(limits).await;
    let mut stream = connect(&world, &receiver, b"http/1.1").await;
    let request = format!("GET {} HTTP/1.1\r\nHost: h\r\n\r\n", place(&world, 0));
    // Until the receiver stops reading, since its answers are not read either; then it is closed.
    let asking = async { while stream.write_all(request.as_bytes()).await.is_ok() {} };
    within_reason(asking).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_on_its_way_keeps_a_second_one_out_until_it_ends() {
    let world = World::new();
    // A stalled request is only ended by this test, however long that takes.
    let limits = Limits { body_timeout: Duration::from_secs(3600), ..limits() };
    let receiver = world.receiver_with(limits).await;
    let port = receiver.address.port();
    let io = TokioIo::new(connect(&world, &receiver, b"h2").await);
    let (mut requests, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    let driver = tokio::spawn(connection);
    let manifest = world.package(0).directory().join("manifest.json");
    let digest = sha256_of(&manifest);
    // More comes than fits on the line, so that its end is asked for after the receiver has begun to
    // read, and nothing after it.
    let first =
        async { Ok::<_, std::io::Error>(Frame::data(Bytes::from_static(&[b' '; 4 << 20]))) };
    let (tx, being_read) = tokio::sync::oneshot::channel();
    let nothing = async {
        tx.send(()).unwrap();
        std::future::pending().await
    };
    let stalls = futures_util::stream::once(first).chain(futures_util::stream::once(nothing));
    let path = format!("{}/manifest", place(&world, 0));
    let request = Request::put(format!("https://{RECEIVER}{path}"))
        .header("content-length", (128 << 20).to_string())
        .header("repr-digest", digest.split_once(": ").unwrap().1)
        .body(BodyExt::boxed_unsync(StreamBody::new(stalls.boxed())))
        .unwrap();
    let stalled = tokio::spawn(requests.send_request(request));
    let upload = format!("@{}", manifest.display());
    let put = ["--request", "PUT", "--header", &digest, "--data-binary", &upload];
    within_reason(being_read).await.unwrap();
    let answer = curl(&world, port, Some(world.sender_files(0)), &path, &put).await;
    answer.assert_refused(503, "busy");
    assert!(answer.body.contains("another manifest of this sender"), "{answer:?}");
    // The other sender is not affected, and this one gets through when the stalled one ends.
    world.upload(1, receiver.address).await.unwrap();
    let genuine = async { world.upload(0, receiver.address).await.unwrap() };
    let ends = async {
        within_reason(async {
            while receiver.files().iter().filter(|name| name.ends_with(".age")).count() < 12 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        let busy = counted(&receiver, "busy").await;
        within_reason(async { while counted(&receiver, "busy").await == busy {} }).await;
        stalled.abort();
        driver.abort();
    };
    tokio::join!(genuine, ends);
    assert_same_directory(world.package(0).directory(), &receiver.package(0));
}
