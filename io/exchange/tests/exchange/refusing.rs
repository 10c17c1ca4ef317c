//! Refusals: nothing is written, and both sides learn the reason.

use std::fs;
use std::time::Duration;

use reshare_exchange::progress::Progress;
use reshare_exchange::{
    ClientError, ClientOptions, DeliveryTarget, Inbox, InboxDefect, InboxError, Limits,
};
use reshare_files::fault::Refusable;
use tokio::io::AsyncWriteExt;

use crate::http::{Answer, curl, place, plain, sha256_of};
use crate::world::{Running, World, party, sender_name, upload_to};

async fn put(world: &World, receiver: &Running, path: &str, more: &[&str]) -> Answer {
    let part = world.package(0).directory().join("part-000000.age");
    let mut arguments = vec!["-T", part.to_str().unwrap()];
    arguments.extend(more);
    let files = Some(world.sender_files(0));
    curl(world, receiver.address.port(), files, path, &arguments).await
}

fn digest(world: &World) -> String {
    sha256_of(&world.package(0).directory().join("part-000000.age"))
}

async fn assert_counted(receiver: &Running, reason: &str) {
    let metrics = plain(format!("http://{}/metrics", receiver.health)).await;
    let line = format!("reshare_refused_total{{reason=\"{reason}\"}}");
    assert!(metrics.contains(&line), "{line}: {metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_that_are_no_senders_are_kept_out() {
    let world = World::new();
    let receiver = world.receiver().await;
    let foreign = crate::certificates::Authority::make(&world.path("foreign"));
    let name = format!("URI:{}", sender_name(0));
    let both = format!("{name},URI:{}", sender_name(1));
    let cases = [
        (None, "no-certificate"),
        (Some(foreign.issue("sender-0", &name)), "unknown-issuer"),
        (Some(world.authority.issue_expired("old", &name)), "expired"),
        (Some(world.authority.issue("other", "URI:spiffe://mpc.example/party/7")), "not-a-sender"),
        (Some(world.authority.issue("wild", "DNS:*.mpc.example")), "not-a-sender"),
        (Some(world.authority.issue("both", &both)), "not-a-sender"),
        (Some(world.authority.issue("me", "DNS:receiver.mpc.example")), "not-a-sender"),
    ];
    for (files, reason) in cases {
        let port = receiver.address.port();
        let answer = curl(&world, port, files.as_ref(), &place(&world, 0), &[]).await;
        assert_eq!(answer.status, 0, "{reason}: {answer:?}");
        assert!(!answer.error.is_empty(), "{reason}: {answer:?}");
        assert_counted(&receiver, reason).await;
    }
    assert!(receiver.files().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn our_client_says_before_and_after_the_handshake_what_is_wrong() {
    let world = World::new();
    let name = format!("URI:{}", sender_name(0));
    let expired = world.authority.issue_expired("old", &name);
    let options = ClientOptions::default();
    let new = |files, party| {
        let identity = world.tls(files);
        DeliveryTarget::new(&world.session, party, "https://127.0.0.1:1", &identity, options)
    };
    assert!(matches!(new(&expired, party(0)), Err(ClientError::Identity(_))));
    assert!(matches!(new(world.sender_files(1), party(0)), Err(ClientError::Identity(_))));
    for url in ["http://h", "https://u@h", "https://", "h:1", "https://h/?q"] {
        let identity = world.tls(world.sender_files(0));
        let target = DeliveryTarget::new(&world.session, party(0), url, &identity, options);
        assert!(matches!(target, Err(ClientError::Url { .. })), "{url}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn our_client_tells_a_closed_door_from_a_network_that_fails() {
    let world = World::new();
    let receiver = world.receiver().await;
    let stranger = "spiffe://mpc.example/party/7";
    let files = world.authority.issue("stranger", &format!("URI:{stranger}"));
    // Its own session file makes it a sender only in its own view.
    let own = world.session_named("receiver.mpc.example", stranger);
    let url = format!("https://{}", receiver.address);
    let options = ClientOptions::default();
    let identity = world.tls_in(&own, &files);
    let target = DeliveryTarget::new(&own, party(0), &url, &identity, options).unwrap();
    let error = upload_to(&world.package(0), &target).await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, ClientError::CertificateRefused { .. }), "{error:?}");
    assert!(text.ends_with("it is not that of a sender of the session"), "{text}");
    assert_counted(&receiver, "not-a-sender").await;
    // The other way round: the server is not the intended receiver.
    let other = world.session_named("elsewhere.mpc.example", &sender_name(0));
    let identity = world.tls_in(&other, world.sender_files(0));
    let target = DeliveryTarget::new(&other, party(0), &url, &identity, options).unwrap();
    let error = upload_to(&world.package(0), &target).await.unwrap_err();
    assert!(matches!(error, ClientError::NotTheReceiver { .. }), "{error:?}");
    assert_counted(&receiver, "handshake").await;
    assert!(receiver.files().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_cannot_touch_the_other_ones_package() {
    let world = World::new();
    let receiver = world.receiver().await;
    let (digest, other) = (digest(&world), place(&world, 1));
    for path in [other.clone(), format!("{}/parts/part-000000.age", place(&world, 2))] {
        let header = ["-H", &digest];
        let answer = match path == other {
            true => {
                let files = Some(world.sender_files(0));
                curl(&world, receiver.address.port(), files, &path, &[]).await
            }
            false => put(&world, &receiver, &path, &header).await,
        };
        answer.assert_refused(403, "other-party");
    }
    let path = format!("{other}/parts/part-000000.age");
    put(&world, &receiver, &path, &["-H", &digest]).await.assert_refused(403, "other-party");
    let path = format!("{other}/manifest");
    put(&world, &receiver, &path, &["-H", &digest]).await.assert_refused(403, "other-party");
    assert!(receiver.files().is_empty());
    assert_counted(&receiver, "other-party").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_not_what_they_say_never_appear() {
    let world = World::new();
    let receiver = world.receiver().await;
    let path = format!("{}/parts/part-000000.age", place(&world, 0));
    let right = digest(&world);
    let other = sha256_of(&world.package(0).directory().join("part-000001.age"));
    let blake3 = "Repr-Digest: reshare-blake3=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:";
    let cases: [(&[&str], u16, &str); 8] = [
        (&[], 400, "no-digest"),
        (&["-H", "Repr-Digest: md5=:AAAA:"], 400, "no-digest"),
        (&["-H", "Repr-Digest: sha-256=:AAAA:"], 400, "no-digest"),
        (&["-H", &other], 400, "other-digest"),
        (&["-H", blake3], 400, "other-digest"),
        (&["-H", &right, "-H", "Content-Range: bytes 0-9/10"], 400, "not-whole"),
        (&["-H", &right, "-H", "Content-Encoding: gzip"], 400, "not-whole"),
        (&["-H", &right, "-H", "Transfer-Encoding: chunked"], 411, "no-length"),
    ];
    for (headers, status, reason) in cases {
        put(&world, &receiver, &path, headers).await.assert_refused(status, reason);
        assert_counted(&receiver, reason).await;
    }
    let large = world.path("large");
    fs::write(&large, vec![0; (1 << 20) + 1]).unwrap();
    let arguments = ["-H", &sha256_of(&large), "-T", large.to_str().unwrap()];
    let (port, files) = (receiver.address.port(), Some(world.sender_files(0)));
    curl(&world, port, files, &path, &arguments).await.assert_refused(413, "too-large");
    assert!(receiver.files().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_changed_on_the_senders_disk_is_refused_and_not_tried_again() {
    let world = World::new();
    let receiver = world.receiver().await;
    let package = world.package(0);
    let path = package.directory().join("part-000002.age");
    let mut bytes = fs::read(&path).unwrap();
    bytes[9_000] ^= 1;
    fs::write(&path, bytes).unwrap();
    let error = upload_to(&package, &world.target(0, receiver.address)).await.unwrap_err();
    let ClientError::Refused { status: 400, reason, .. } = &error else { panic!("{error:?}") };
    assert_eq!(reason, "other-digest");
    assert!(error.is_refusal());
    assert!(!receiver.files().contains(&"0/part-000002.age".to_owned()));
    assert!(!receiver.files().contains(&"0/manifest.json".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_of_another_session_is_refused() {
    let world = World::new();
    let receiver = world.receiver().await;
    let old = world.other_session();
    let package = world.package_of(&old, 0, "old");
    // The same session id. The sender's client does not check, but the receiver does.
    let error = upload_to(&package, &world.target(0, receiver.address)).await.unwrap_err();
    let ClientError::Refused { status: 422, reason, .. } = &error else { panic!("{error:?}") };
    assert_eq!(reason, "manifest");
    assert!(!receiver.files().contains(&"0/manifest.json".to_owned()));
    let path = "/v1/sessions/session-2/parties/0/parts/part-000000.age";
    let header = ["-H", &digest(&world)];
    put(&world, &receiver, path, &header).await.assert_refused(404, "other-session");
    receiver.stop().await;
    let (limits, progress) = (Limits::default(), Progress::default());
    let error = Inbox::open(&world.path("inbox"), &old, &world.trust(&old), limits, &progress);
    let error = error.unwrap_err();
    assert!(
        matches!(error, InboxError::Defect { defect: InboxDefect::OtherSession(_), .. }),
        "{error:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inbox_with_a_damaged_session_file_is_refused_and_left_as_it_is() {
    let world = World::new();
    let receiver = world.receiver().await;
    upload_to(&world.package(0), &world.target(0, receiver.address)).await.unwrap();
    let files = receiver.files();
    receiver.stop().await;
    let path = world.path("inbox/session");
    let whole = fs::read_to_string(&path).unwrap();
    for damaged in
        ["", "\n", &whole[1..], &format!("{}{whole}", &whole[..1]), &whole.to_uppercase()]
    {
        fs::write(&path, damaged).unwrap();
        let error = world.open_inbox(Limits::default()).unwrap_err();
        assert!(
            matches!(error, InboxError::Defect { defect: InboxDefect::UnknownSession, .. }),
            "{damaged:?}: {error:?}"
        );
        assert!(error.is_refusal());
        assert_eq!(fs::read_to_string(&path).unwrap(), damaged);
    }
    fs::write(&path, &whole).unwrap();
    assert_eq!(world.receiver().await.files(), files);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_without_its_parts_does_not_close() {
    let world = World::new();
    let receiver = world.receiver().await;
    put_files(&world, &receiver, 0, &PROOFS).await;
    let manifest = [("manifest", "manifest.json")];
    put_files(&world, &receiver, 0, &manifest).await[0].assert_refused(409, "part-missing");
    assert!(!receiver.files().contains(&"0/manifest.json".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_is_not_signed_by_its_sender_does_not_close() {
    let world = World::new();
    let receiver = world.receiver().await;
    let parts: Vec<_> = world.package(0).manifest().parts().to_vec();
    for part in parts {
        let (place, name) = (format!("parts/{}", part.name), part.name.to_string());
        let answers = put_files(&world, &receiver, 0, &[(&*place, &*name)]).await;
        assert_eq!(answers[0].status, 201, "{:?}", answers[0]);
    }
    let manifest = [("manifest", "manifest.json")];
    put_files(&world, &receiver, 0, &manifest).await[0].assert_refused(422, "manifest");
    // The other sender's signature, of its own manifest.
    put_files(&world, &receiver, 1, &PROOFS).await;
    put_files(&world, &receiver, 0, &manifest).await[0].assert_refused(422, "manifest");
    assert!(!receiver.files().contains(&"0/manifest.json".to_owned()));
    put_files(&world, &receiver, 0, &PROOFS).await;
    assert_eq!(put_files(&world, &receiver, 0, &manifest).await[0].status, 201);
    // Closed: a signature cannot change, and the same one again succeeds.
    put_files(&world, &receiver, 1, &PROOFS).await[1].assert_refused(409, "closed");
    assert_eq!(put_files(&world, &receiver, 0, &PROOFS).await[1].status, 204);
}

const PROOFS: [(&str, &str); 2] =
    [("manifest-chain.pem", "manifest-chain.pem"), ("manifest.sig", "manifest.sig")];

/// Puts files of a sender's package into sender 0's place, as sender 0.
async fn put_files(
    world: &World,
    receiver: &Running,
    package: u8,
    files: &[(&str, &str)],
) -> Vec<Answer> {
    let directory = world.package(package).directory().to_owned();
    let mut answers = Vec::new();
    for (at, name) in files {
        let file = directory.join(name);
        let arguments = ["-H", &sha256_of(&file), "-T", file.to_str().unwrap()];
        let path = format!("{}/{at}", place(world, 0));
        let port = receiver.address.port();
        answers.push(curl(world, port, Some(world.sender_files(0)), &path, &arguments).await);
    }
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_are_no_parts_never_reach_the_disk() {
    let world = World::new();
    let receiver = world.receiver().await;
    let header = ["-H", &digest(&world)];
    let at = place(&world, 0);
    let traps = [
        format!("{at}/parts/..%2f..%2fpart-000000.age"),
        format!("{at}/parts/%2e%2e"),
        format!("{at}/parts/../../../etc/passwd"),
        format!("{at}/parts/part-0.age"),
        format!("{at}/parts/part-000000.age%00"),
        format!("{at}/parts/part-000000.age%2f"),
        format!("{at}/parts/manifest.json"),
        format!("{at}/parts/.part-000000.age.tmp-Abcd1234"),
        format!("{at}/parts/%ff"),
        format!("{at}/../0/parts/part-000000.age"),
        "/v1/sessions/..%2fsession-1/parties/0/parts/part-000000.age".to_owned(),
        "/v1/sessions/session-1/parties/00/parts/part-000000.age".to_owned(),
        "/v1/sessions/session-1/parties/%2e%2e/parts/part-000000.age".to_owned(),
        "/v1//sessions/session-1/parties/0/parts/part-000000.age".to_owned(),
        "/../../etc/passwd".to_owned(),
    ];
    for trap in traps {
        let answer = put(&world, &receiver, &trap, &header).await;
        assert!((400..500).contains(&answer.status), "{trap}: {answer:?}");
        assert!(answer.body.starts_with("{\"error\":\""), "{trap}: {answer:?}");
    }
    assert!(receiver.files().is_empty());
    assert_eq!(fs::read_dir(world.path("inbox")).unwrap().count(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_of_the_package_and_of_the_disk_hold() {
    let world = World::new();
    let path = format!("{}/parts/part-000001.age", place(&world, 0));
    let unlimited = Limits { keep_free_bytes: 0, ..Limits::default() };
    let cases = [
        (Limits { parts: 0, ..unlimited }, 413, "too-many-parts"),
        (Limits { package_bytes: 1000, ..unlimited }, 413, "package-too-large"),
        (Limits { keep_free_bytes: u64::MAX, ..unlimited }, 507, "disk-full"),
        (Limits { requests: 0, ..unlimited }, 503, "busy"),
    ];
    for (limits, status, reason) in cases {
        let receiver = world.receiver_with(limits).await;
        let header = ["-H", &digest(&world)];
        put(&world, &receiver, &path, &header).await.assert_refused(status, reason);
        assert!(receiver.files().is_empty());
        receiver.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn senders_that_stall_are_let_go() {
    let world = World::new();
    let timeout = Duration::from_millis(300);
    let limits = Limits {
        keep_free_bytes: 0,
        header_timeout: timeout,
        body_timeout: timeout,
        body_bytes_per_second: 1 << 20,
        ..Limits::default()
    };
    let receiver = world.receiver_with(limits).await;
    // No handshake at all.
    let mut silent = tokio::net::TcpStream::connect(receiver.address).await.unwrap();
    let mut end = [0; 1];
    let ended = tokio::io::AsyncReadExt::read(&mut silent, &mut end).await;
    assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
    assert_counted(&receiver, "slow-handshake").await;
    // Headers and a little of the body, then nothing.
    let path = format!("{}/parts/part-000000.age", place(&world, 0));
    let header = digest(&world);
    let request =
        format!("PUT {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n{header}\r\n\r\nhalf");
    let answer = talk(&world, &receiver, &request).await;
    assert!(
        answer.starts_with("HTTP/1.1 408 ") && answer.contains("\"error\":\"slow\""),
        "{answer}"
    );
    assert_counted(&receiver, "slow").await;
    // Incomplete headers: the connection ends without an answer.
    let answer = talk(&world, &receiver, "PUT /v1/sess").await;
    assert!(!answer.contains("HTTP/1.1 2"), "{answer}");
    // Bytes beyond the announced length are not part of the body, and not a request either.
    let request = request.replace("Length: 9", "Length: 2");
    let answer = talk(&world, &receiver, &request).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(receiver.files().is_empty(), "{:?}", receiver.files());
}

/// Sends these bytes over TLS and nothing more, and reads until the receiver closes.
async fn talk(world: &World, receiver: &Running, request: &str) -> String {
    let files = world.sender_files(0);
    let mut child = tokio::process::Command::new("openssl")
        .args(["s_client", "-quiet", "-connect", &receiver.address.to_string(), "-cert"])
        .arg(&files.certificate)
        .arg("-key")
        .arg(&files.key)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(request.as_bytes()).await.unwrap();
    stdin.flush().await.unwrap();
    let longest = Duration::from_secs(20);
    let out = tokio::time::timeout(longest, child.wait_with_output()).await;
    let out = out.expect("the receiver hangs up").unwrap();
    drop(stdin);
    String::from_utf8_lossy(&out.stdout).into_owned()
}
