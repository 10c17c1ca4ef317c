//! A way to PostgreSQL or to a receiver that ends, or holds everything up, after so many bytes.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    ToServer,
    FromServer,
}

/// What happens after the last byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// All connections break.
    Cut,
    /// Nothing goes on, until [`Way::go_on`].
    Hold,
}

/// A way at work, for one process after another.
pub(crate) struct Way {
    /// Where its socket is, for a way to PostgreSQL.
    _directory: TempDir,
    /// The database's URL, or the receiver's.
    pub(crate) url: String,
    state: Arc<State>,
}

struct State {
    direction: Direction,
    end: End,
    left: AtomicI64,
    is_open_again: AtomicBool,
    /// What is held up is lost, as the process is that waits for it.
    is_over: AtomicBool,
    /// Where a receiver is.
    receiver: Mutex<String>,
}

const SOCKET: &str = ".s.PGSQL.5432";
const PERIOD: Duration = Duration::from_millis(5);

impl Way {
    /// A way to the database with that URL.
    pub(crate) fn to_database(url: &str, direction: Direction, bytes: i64, end: End) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let (_, host) = url.split_once("host=").expect("a socket");
        let server = host.split('&').next().expect("a directory");
        let listener = UnixListener::bind(directory.path().join(SOCKET)).expect("a socket");
        let here = directory.path().to_str().expect("UTF-8");
        let (url, target) = (url.replace(server, here), Path::new(server).join(SOCKET));
        let state = State::new(direction, bytes, end);
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for client in listener.incoming() {
                // The server may be down for a moment: then this connection has no other end.
                let Ok(client) = client else { break };
                if let Ok(server) = UnixStream::connect(&target) {
                    shared.join(client, server);
                }
            }
        });
        Self { _directory: directory, url, state }
    }

    /// A way to the receiver at that address.
    pub(crate) fn to_receiver(address: &str, direction: Direction, bytes: i64, end: End) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("https://{}", listener.local_addr().expect("bound"));
        let state = State::new(direction, bytes, end);
        *state.receiver.lock().unwrap_or_else(PoisonError::into_inner) = address.to_owned();
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for client in listener.incoming() {
                let Ok(client) = client else { break };
                let target = shared.receiver.lock().unwrap_or_else(PoisonError::into_inner).clone();
                if let Ok(server) = TcpStream::connect(target) {
                    shared.join(client, server);
                }
            }
        });
        Self { _directory: directory, url, state }
    }

    /// Leads to another receiver from now on.
    pub(crate) fn lead_to(&self, address: &str) {
        let mut receiver = self.state.receiver.lock().unwrap_or_else(PoisonError::into_inner);
        *receiver = address.to_owned();
    }

    /// Whether its bytes are spent.
    pub(crate) fn is_spent(&self) -> bool {
        self.state.left.load(Ordering::SeqCst) <= 0
    }

    /// Lets through what was held up, and all that comes.
    pub(crate) fn go_on(&self) {
        self.state.is_open_again.store(true, Ordering::SeqCst);
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.state.is_over.store(true, Ordering::SeqCst);
    }
}

/// One end of a connection.
trait Stream: Read + Write + Send + Sized + 'static {
    fn twin(&self) -> Self;
    fn close(&self);
}

impl Stream for UnixStream {
    fn twin(&self) -> Self {
        self.try_clone().expect("a copy")
    }
    fn close(&self) {
        // The other side may have closed it.
        let _ = self.shutdown(Shutdown::Both);
    }
}

impl Stream for TcpStream {
    fn twin(&self) -> Self {
        self.try_clone().expect("a copy")
    }
    fn close(&self) {
        // The other side may have closed it.
        let _ = self.shutdown(Shutdown::Both);
    }
}

impl State {
    fn new(direction: Direction, bytes: i64, end: End) -> Arc<Self> {
        Arc::new(Self {
            direction,
            end,
            left: AtomicI64::new(bytes),
            is_open_again: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            receiver: Mutex::default(),
        })
    }

    fn join<S: Stream>(self: &Arc<Self>, client: S, server: S) {
        let ends = [
            (client.twin(), server.twin(), Direction::ToServer),
            (server, client, Direction::FromServer),
        ];
        for (mut from, mut to, direction) in ends {
            let state = Arc::clone(self);
            thread::spawn(move || {
                // A connection that breaks is just over, in both directions.
                let _ = state.forward(&mut from, &mut to, direction == state.direction);
                from.close();
                to.close();
            });
        }
    }

    fn forward<S: Stream>(&self, from: &mut S, to: &mut S, counts: bool) -> io::Result<()> {
        let mut piece = [0; 2048];
        loop {
            let count = from.read(&mut piece)?;
            if count == 0 {
                return Ok(());
            }
            let bytes = i64::try_from(count).unwrap_or(i64::MAX);
            if counts && self.left.fetch_sub(bytes, Ordering::SeqCst) <= bytes {
                if self.end == End::Cut && !self.is_open_again.load(Ordering::SeqCst) {
                    return Ok(());
                }
                while !self.is_open_again.load(Ordering::SeqCst) {
                    if self.is_over.load(Ordering::SeqCst) {
                        return Ok(());
                    }
                    thread::sleep(PERIOD);
                }
            }
            to.write_all(&piece[..count])?;
        }
    }
}
