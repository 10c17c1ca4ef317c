//! Key exchanges: what senders offer, and what a receiver takes from peers that know no better.

use std::sync::Arc;
use std::time::Duration;

use reshare_exchange::{ClientError, ClientOptions, KeyExchange, Limits};
use rustls::crypto::SupportedKxGroup;
use rustls::crypto::aws_lc_rs::{default_provider, kx_group};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::http::plain;
use crate::world::{RECEIVER, Running, World};

/// Numbers of groups, in the TLS registry.
const X25519MLKEM768: u16 = 0x11ec;
const X25519: u16 = 0x001d;

/// Bytes of a key share: ML-KEM-768's public key and X25519's, or the latter alone.
const HYBRID_SHARE: usize = 1184 + 32;
const CLASSIC_SHARE: usize = 32;

/// Takes the next bytes of a message.
fn take<'a>(rest: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (taken, left) = rest.split_at(count);
    *rest = left;
    taken
}

fn number(rest: &mut &[u8], bytes: usize) -> usize {
    take(rest, bytes).iter().fold(0, |number, byte| number << 8 | usize::from(*byte))
}

/// What follows its length, which has so many bytes.
fn vector<'a>(rest: &mut &'a [u8], length_bytes: usize) -> &'a [u8] {
    let length = number(rest, length_bytes);
    take(rest, length)
}

/// The groups and the key shares, by group and length, of a ClientHello in one record.
///
/// # Source
/// RFC 8446, sections 4.1.2, 4.2.7, 4.2.8 and 5.1.
fn offered(record: &[u8]) -> (Vec<u16>, Vec<(u16, usize)>) {
    let mut rest = record;
    assert_eq!(take(&mut rest, 1), [22], "a handshake record");
    take(&mut rest, 2);
    let mut message = vector(&mut rest, 2);
    assert_eq!(take(&mut message, 1), [1], "a ClientHello");
    let mut hello = vector(&mut message, 3);
    take(&mut hello, 2 + 32);
    vector(&mut hello, 1);
    vector(&mut hello, 2);
    vector(&mut hello, 1);
    let mut extensions = vector(&mut hello, 2);
    let (mut groups, mut shares) = (vec![], vec![]);
    while !extensions.is_empty() {
        let kind = number(&mut extensions, 2);
        let mut content = vector(&mut extensions, 2);
        match kind {
            10 => {
                let mut list = vector(&mut content, 2);
                while !list.is_empty() {
                    groups.push(number(&mut list, 2) as u16);
                }
            }
            51 => {
                let mut list = vector(&mut content, 2);
                while !list.is_empty() {
                    let group = number(&mut list, 2) as u16;
                    shares.push((group, vector(&mut list, 2).len()));
                }
            }
            _ => {}
        }
    }
    (groups, shares)
}

/// The first record of a sender that asks the receiver what it has.
async fn hello_of(world: &World, options: ClientOptions) -> Vec<u8> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = world.target_with(0, listener.local_addr().unwrap(), options);
    let asking = tokio::spawn(async move { target.once(Duration::from_secs(60)).list().await });
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut record = vec![0; 5];
    stream.read_exact(&mut record).await.unwrap();
    let length = usize::from(record[3]) << 8 | usize::from(record[4]);
    record.resize(5 + length, 0);
    stream.read_exact(&mut record[5..]).await.unwrap();
    drop(stream);
    asking.await.unwrap().unwrap_err();
    record
}

#[tokio::test]
async fn a_sender_offers_the_hybrid_key_exchange_and_nothing_else_unless_asked() {
    let world = World::new();
    let options = ClientOptions::default();
    let hello = hello_of(&world, options).await;
    assert_eq!(offered(&hello), (vec![X25519MLKEM768], vec![(X25519MLKEM768, HYBRID_SHARE)]));

    let options = ClientOptions { key_exchange: KeyExchange::HybridOrClassic, ..options };
    let (groups, shares) = offered(&hello_of(&world, options).await);
    assert_eq!(groups, [X25519MLKEM768, X25519]);
    assert_eq!(shares, [(X25519MLKEM768, HYBRID_SHARE), (X25519, CLASSIC_SHARE)]);
}

/// Connects as sender 0 with these groups alone, and asks for the list of parts.
async fn connect(
    world: &World,
    receiver: &Running,
    groups: Vec<&'static dyn SupportedKxGroup>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let files = world.sender_files(0);
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(world.authority.pem()).unwrap()).unwrap();
    let certificate = CertificateDer::from_pem_file(&files.certificate).unwrap();
    let key = PrivateKeyDer::from_pem_file(&files.key).unwrap();
    let provider = rustls::crypto::CryptoProvider { kx_groups: groups, ..default_provider() };
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![certificate], key)
        .unwrap();
    let stream = TcpStream::connect(receiver.address).await.unwrap();
    let name = ServerName::try_from(RECEIVER).unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    let session = world.session.id();
    let request = format!(
        "GET /v1/sessions/{session}/parties/0 HTTP/1.1\r\nHost: {RECEIVER}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    Ok(stream)
}

fn group(stream: &TlsStream<TcpStream>) -> u16 {
    stream.get_ref().1.negotiated_key_exchange_group().unwrap().name().into()
}

fn limits() -> Limits {
    Limits { keep_free_bytes: 0, ..Limits::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_classic_peer_is_taken_unless_the_receiver_is_hybrid_only() {
    let world = World::new();
    let receiver = world.receiver().await;
    let classic = connect(&world, &receiver, vec![kx_group::X25519]).await.unwrap();
    assert_eq!(group(&classic), X25519);
    let both = vec![kx_group::X25519MLKEM768, kx_group::X25519];
    assert_eq!(group(&connect(&world, &receiver, both.clone()).await.unwrap()), X25519MLKEM768);
    receiver.stop().await;

    let receiver = world.hybrid_receiver(limits()).await;
    for groups in [vec![kx_group::X25519], vec![kx_group::SECP256R1, kx_group::X25519]] {
        let refused = connect(&world, &receiver, groups).await.unwrap_err();
        assert!(refused.to_string().contains("HandshakeFailure"), "{refused}");
    }
    let metrics = plain(format!("http://{}/metrics", receiver.health)).await;
    assert!(metrics.contains("reshare_refused_total{reason=\"key-exchange\"} 2"), "{metrics}");
    assert_eq!(group(&connect(&world, &receiver, both).await.unwrap()), X25519MLKEM768);
    receiver.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_groups_than_the_two_are_never_taken() {
    let world = World::new();
    let receiver = world.receiver().await;
    let other = vec![kx_group::SECP256R1, kx_group::SECP384R1, kx_group::MLKEM768];
    let refused = connect(&world, &receiver, other).await.unwrap_err();
    assert!(refused.to_string().contains("HandshakeFailure"), "{refused}");
    receiver.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_gives_up_at_once_where_no_hybrid_key_exchange_is_known() {
    let world = World::new();
    // A server that ends TLS with X25519 alone, as a proxy with an old library does.
    let files = world.sender_files(1);
    let provider =
        rustls::crypto::CryptoProvider { kx_groups: vec![kx_group::X25519], ..default_provider() };
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_file(&files.certificate).unwrap()],
            PrivateKeyDer::from_pem_file(&files.key).unwrap(),
        )
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            // Refused, or dropped by a sender that finds another party's certificate.
            let _ = acceptor.accept(stream).await;
        }
    });
    let options = ClientOptions::default();
    let refused = world.target_with(0, address, options).list().await.unwrap_err();
    assert!(matches!(refused, ClientError::NoHybridKeyExchange { .. }), "{refused}");
    // With X25519 the handshake goes on, up to the certificate.
    let options = ClientOptions { key_exchange: KeyExchange::HybridOrClassic, ..options };
    let refused = world.target_with(0, address, options).list().await.unwrap_err();
    assert!(matches!(refused, ClientError::NotTheReceiver { .. }), "{refused}");
    serving.abort();
}
