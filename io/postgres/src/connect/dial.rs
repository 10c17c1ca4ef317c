//! Opens the way to a server over TCP, with TLS, and hands it to the driver.
//!
//! The driver can neither set keepalives, nor connect to one address and verify another name. So a
//! connection over TCP is opened here, and what comes over it is relayed to the driver over a local
//! socket that only this process can use. A server's own socket is left to the driver.

use std::io;
use std::net::SocketAddr;
use std::os::unix::net::UnixListener as StdListener;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional_with_sizes,
};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::sync::watch;
use tokio_rustls::TlsConnector;

use super::Protection;
use super::plan::{Keepalive, Place, Plan, Target, is_loopback};
use super::tls::{TlsMode, Verify};

/// A way to a server.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Why there is no way to a server.
#[derive(Debug)]
pub(super) enum DialError {
    Io(io::Error),
    /// TLS does not come about as it was asked for: another try will not help.
    Tls(String),
}

impl From<io::Error> for DialError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// What a client sends to ask for TLS: a length, and a code in place of a version.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
/// As much as the driver reads at once.
const BUFFER_BYTES: usize = 128 << 10;

/// The addresses of a server.
pub(super) async fn addresses(target: &Target) -> io::Result<Vec<SocketAddr>> {
    let Place::Tcp { host, address } = &target.place else { return Ok(vec![]) };
    if let Some(address) = address {
        return Ok(vec![SocketAddr::new(*address, target.port)]);
    }
    // A name that is an address with a zone, as fe80::1%eth0, is looked up too.
    Ok(tokio::net::lookup_host((host.as_str(), target.port)).await?.collect())
}

/// Opens a way to one address of a server, protected as asked.
pub(super) async fn open(
    plan: &Plan,
    target: &Target,
    address: SocketAddr,
) -> Result<(Box<dyn Stream>, Protection), DialError> {
    let verify = match target.tls {
        TlsMode::Off => return Ok(plain(plan, target, address).await?),
        TlsMode::Optional { chain: false } | TlsMode::Required => Verify::Nothing,
        TlsMode::Optional { chain: true } | TlsMode::Chain => Verify::Chain,
        TlsMode::Full => Verify::Full,
    };
    let is_optional = matches!(target.tls, TlsMode::Optional { .. });
    match protected(plan, target, address, verify).await {
        Ok(Some(stream)) => Ok((stream, protection(target, Some(verify)))),
        Ok(None) | Err(DialError::Tls(_)) if is_optional => Ok(plain(plan, target, address).await?),
        Ok(None) => Err(DialError::Tls("the server has no TLS".into())),
        Err(error) => Err(error),
    }
}

async fn plain(
    plan: &Plan,
    target: &Target,
    address: SocketAddr,
) -> io::Result<(Box<dyn Stream>, Protection)> {
    let stream = tcp(address, plan.keepalive).await?;
    Ok((Box::new(stream), protection(target, None)))
}

fn protection(target: &Target, verified: Option<Verify>) -> Protection {
    let is_local = match &target.place {
        Place::Socket(_) => true,
        Place::Tcp { host, address } => is_loopback(host, *address),
    };
    match verified {
        Some(Verify::Full) => Protection::Full,
        Some(Verify::Chain) => Protection::Chain,
        _ if is_local => Protection::Local,
        Some(Verify::Nothing) => Protection::Unverified,
        None => Protection::None,
    }
}

/// `None` when the server has no TLS.
async fn protected(
    plan: &Plan,
    target: &Target,
    address: SocketAddr,
    verify: Verify,
) -> Result<Option<Box<dyn Stream>>, DialError> {
    let config = plan.tls.config(verify).map_err(DialError::Tls)?;
    let mut stream = tcp(address, plan.keepalive).await?;
    if !plan.tls.direct {
        stream.write_all(&SSL_REQUEST).await?;
        match stream.read_u8().await? {
            b'S' => {}
            b'N' => return Ok(None),
            _ => {
                let said = "it does not speak PostgreSQL's protocol, or refuses before TLS";
                return Err(io::Error::new(io::ErrorKind::InvalidData, said).into());
            }
        }
    }
    let Place::Tcp { host, .. } = &target.place else { return Ok(None) };
    let name = if host.is_empty() { address.ip().to_string() } else { host.clone() };
    let name = ServerName::try_from(name);
    let name =
        name.map_err(|_| DialError::Tls("the host is no name that TLS can verify".into()))?;
    let connected = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    match connected {
        Ok(stream) => Ok(Some(Box::new(stream))),
        Err(error) if error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) => {
            Err(DialError::Tls(explained(&error)))
        }
        Err(error) => Err(DialError::Io(error)),
    }
}

/// Adds what an operator can do to some words of the library.
fn explained(error: &io::Error) -> String {
    let said = error.to_string();
    let more = if said.contains("UnknownIssuer") {
        ": no trusted root signed it; sslrootcert=FILE names the one to trust"
    } else if said.contains("UnsupportedCertVersion") {
        ": it is X.509 of version 1, which can only be used where nothing is verified"
    } else if said.contains("not valid for name") || said.contains("NotValidForName") {
        ": the host must be among its subject alternative names"
    } else {
        ""
    };
    format!("{said}{more}")
}

async fn tcp(address: SocketAddr, keepalive: Keepalive) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let socket = SockRef::from(&stream);
    socket.set_keepalive(keepalive.enabled)?;
    if keepalive.enabled {
        let probes = TcpKeepalive::new()
            .with_time(keepalive.idle)
            .with_interval(keepalive.interval)
            .with_retries(keepalive.count);
        socket.set_tcp_keepalive(&probes)?;
    }
    #[cfg(target_os = "linux")]
    if !keepalive.user_timeout.is_zero() {
        socket.set_tcp_user_timeout(Some(keepalive.user_timeout))?;
    }
    Ok(stream)
}

/// Relays a way to a server to the local socket in the directory that is returned, for one
/// connection, until `given_up` is true.
pub(super) fn relay(
    mut stream: Box<dyn Stream>,
    port: u16,
    mut given_up: watch::Receiver<bool>,
    server: String,
) -> io::Result<PathBuf> {
    let (listener, folder) = listen(port)?;
    tokio::spawn(async move {
        let Ok(mut local) = accept(&listener).await else { return };
        drop(listener);
        let copied = tokio::select! {
            copied =
                copy_bidirectional_with_sizes(&mut local, &mut stream, BUFFER_BYTES, BUFFER_BYTES) => copied,
            // An error means that nobody can give it up any more.
            Ok(_) = given_up.wait_for(|is_given_up| *is_given_up) => return,
        };
        // The driver learns only that it ended. A driver that has gone away is no news.
        if let Err(error) = copied
            && error.kind() != io::ErrorKind::BrokenPipe
        {
            tracing::warn!("the connection to PostgreSQL at {server} broke: {error}");
        }
    });
    Ok(folder)
}

/// Takes the connection of this process, and no other.
async fn accept(listener: &UnixListener) -> io::Result<UnixStream> {
    loop {
        let (stream, _) = listener.accept().await?;
        let peer = stream.peer_cred()?;
        let own = i32::try_from(std::process::id()).ok();
        if peer.pid() == own
            || (peer.pid().is_none() && peer.uid() == rustix::process::geteuid().as_raw())
        {
            return Ok(stream);
        }
    }
}

/// A socket without a file, as some places have no directory to write to.
#[cfg(target_os = "linux")]
fn listen(port: u16) -> io::Result<(UnixListener, PathBuf)> {
    use std::os::linux::net::SocketAddrExt;
    let folder = format!("reshare-{}", unforeseeable());
    let name =
        std::os::unix::net::SocketAddr::from_abstract_name(format!("{folder}/.s.PGSQL.{port}"))?;
    let listener = StdListener::bind_addr(&name)?;
    listener.set_nonblocking(true)?;
    Ok((UnixListener::from_std(listener)?, format!("\0{folder}").into()))
}

#[cfg(not(target_os = "linux"))]
fn listen(port: u16) -> io::Result<(UnixListener, PathBuf)> {
    use std::os::unix::fs::DirBuilderExt;
    let folder = std::env::temp_dir().join(format!("reshare-{}", unforeseeable()));
    std::fs::DirBuilder::new().mode(0o700).create(&folder)?;
    let listener = StdListener::bind(folder.join(format!(".s.PGSQL.{port}")))?;
    listener.set_nonblocking(true)?;
    Ok((UnixListener::from_std(listener)?, folder))
}

fn unforeseeable() -> String {
    use std::hash::{BuildHasher, Hasher};
    let random = || std::hash::RandomState::new().build_hasher().finish();
    format!("{}-{:016x}{:016x}", std::process::id(), random(), random())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_connection_over_tcp_notices_when_the_other_end_is_gone() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let seconds = Duration::from_secs;
        let keepalive = Keepalive {
            enabled: true,
            idle: seconds(31),
            interval: seconds(11),
            count: 4,
            user_timeout: seconds(59),
        };
        let stream = tcp(address, keepalive).await.expect("connects");
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().expect("known"));
        assert_eq!(socket.tcp_keepalive_time().expect("known"), seconds(31));
        assert_eq!(socket.tcp_keepalive_interval().expect("known"), seconds(11));
        assert_eq!(socket.tcp_keepalive_retries().expect("known"), 4);
        #[cfg(target_os = "linux")]
        assert_eq!(socket.tcp_user_timeout().expect("known"), Some(seconds(59)));
        let off = tcp(address, Keepalive { enabled: false, ..keepalive }).await.expect("connects");
        assert!(!SockRef::from(&off).keepalive().expect("known"));
    }
}
