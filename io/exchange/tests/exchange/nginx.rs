//! A stock nginx in front of the receiver, with the configuration that the repository has.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::http::{curl, place};
use crate::world::{RECEIVER, World, assert_same_directory, sender_name};

#[tokio::test(flavor = "multi_thread")]
async fn nginx_passes_tls_through_and_the_receiver_checks_certificates() {
    let world = World::new();
    let receiver = world.receiver().await;
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/nginx-passthrough.conf");
    let mut text = fs::read_to_string(shipped).unwrap();
    for (from, to) in [
        ("receiver.mpc.example 127.0.0.1:8443;", format!("{RECEIVER} {};", receiver.address)),
        ("listen 443;", format!("listen 127.0.0.1:{port};")),
    ] {
        assert!(text.contains(from), "{from} is no longer in the configuration");
        text = text.replace(from, &to);
    }
    let config = world.path("nginx.conf");
    fs::write(&config, text).unwrap();
    let mut nginx = tokio::process::Command::new("nginx")
        .arg("-c")
        .arg(&config)
        .arg("-g")
        // One process: nothing is left when it is killed.
        .arg(format!("daemon off; master_process off; pid {};", world.path("nginx.pid").display()))
        .kill_on_drop(true)
        .spawn()
        .expect("nginx and its stream module are needed: run `make setup`");
    let start = Instant::now();
    while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
        assert!(start.elapsed() < Duration::from_secs(20), "nginx does not listen");
        assert!(nginx.try_wait().unwrap().is_none(), "nginx has ended");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let package = world.package(0);
    let at = place(&world, 0);
    for part in package.manifest().parts() {
        let path = format!("{at}/parts/{}", part.name);
        deliver(&world, port, &path, &package.files().part_path(part.name)).await;
    }
    for (place, name) in [
        ("manifest-chain.pem", "manifest-chain.pem"),
        ("manifest.sig", "manifest.sig"),
        ("manifest", "manifest.json"),
    ] {
        let path = format!("{at}/{place}");
        deliver(&world, port, &path, &package.directory().join(name)).await;
    }
    assert_same_directory(package.directory(), &receiver.package(0));
    // The receiver's refusals pass through as well.
    let stranger = world.authority.issue("stranger", &format!("URI:{}", sender_name(7)));
    let answer = curl(&world, port, Some(&stranger), &at, &[]).await;
    assert_eq!(answer.status, 0, "{answer:?}");
    nginx.kill().await.unwrap();
}

async fn deliver(world: &World, port: u16, path: &str, file: &Path) {
    let digest = crate::http::sha256_of(file);
    let arguments = ["-H", &digest, "-T", file.to_str().unwrap()];
    let answer = curl(world, port, Some(world.sender_files(0)), path, &arguments).await;
    assert_eq!(answer.status, 201, "{answer:?}");
}
