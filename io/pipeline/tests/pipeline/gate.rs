//! A proxy to the server that a test can close.

use std::io;
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use reshare_pipeline::workers::Source;

use crate::support::{World, database, source};

/// A proxy to the server that lets two connections through and holds the others.
///
/// An export plans its parts on its first connection, after it has asked by a second one whether
/// both reach one process each, and reads them on further ones: when the
/// third one arrives, the snapshot has been taken and no row has been read.
pub(crate) struct Gate {
    url: String,
    knocked: Receiver<()>,
    open: Sender<()>,
}

impl Gate {
    pub(crate) fn new(url: &str, directory: &Path) -> Self {
        let server = socket_directory(url);
        let listener = UnixListener::bind(directory.join(SOCKET)).expect("a socket");
        let url = url.replace(&server, &directory.display().to_string());
        let server = Path::new(&server).join(SOCKET);
        let ((knock, knocked), (open, opened)) = (channel(), channel());
        thread::spawn(move || {
            for (number, client) in listener.incoming().enumerate() {
                // The receiver is gone when the test has ended.
                if number == HELD && knock.send(()).is_ok() {
                    let _ = opened.recv();
                }
                let client = client.expect("a connection");
                pass_on(client, UnixStream::connect(&server).expect("the server"));
            }
        });
        Self { url, knocked, open }
    }

    pub(crate) fn source(&self, world: &World, schema: &str) -> Source {
        source(database(&self.url), schema, "rows", &world.layout)
    }

    /// Waits for the third connection, which is held until the answer is used.
    pub(crate) async fn knocked(self) -> Sender<()> {
        let Self { knocked, open, .. } = self;
        let knocked = tokio::task::spawn_blocking(move || knocked.recv());
        knocked.await.expect("no panic").expect("a third connection");
        open
    }
}

/// The number of the first connection that is held, from 0.
const HELD: usize = 2;

const SOCKET: &str = ".s.PGSQL.5432";

fn socket_directory(url: &str) -> String {
    let (_, host) = url.split_once("host=").expect("a socket");
    host.split('&').next().expect("a directory").to_owned()
}

fn pass_on(client: UnixStream, server: UnixStream) {
    let twins = [&client, &server].map(|stream| stream.try_clone().expect("a copy"));
    let [client_twin, server_twin] = twins;
    for (mut from, mut to) in [(client, server), (server_twin, client_twin)] {
        thread::spawn(move || {
            // A broken connection simply ends.
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Write);
        });
    }
}
