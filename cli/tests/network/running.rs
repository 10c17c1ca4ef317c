//! A process that runs next to its test.

use std::io::BufRead;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver as Lines, channel};
use std::time::{Duration, Instant};

/// How long anything may take that must come in the end.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A process that does not outlive its test, and what it prints on standard error.
pub(crate) struct Running {
    pub(crate) child: Child,
    lines: Lines<String>,
    pub(crate) said: Vec<String>,
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended by itself where all went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child =
            command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
        let stderr = std::io::BufReader::new(child.stderr.take().expect("piped"));
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                // Nobody listens to a process that the test is done with.
                let _ = sender.send(line);
            }
        });
        Self { child, lines, said: Vec::new() }
    }

    /// Waits for a line that holds all these words.
    #[track_caller]
    pub(crate) fn says(&mut self, words: &[&str]) -> String {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => self.said.push(line),
                Err(_) => break,
            }
            let line = self.said.last().expect("just pushed");
            if words.iter().all(|word| line.contains(word)) {
                return line.clone();
            }
        }
        panic!("{words:?} is not in: {:#?}", self.said);
    }

    /// Where it listens.
    #[track_caller]
    pub(crate) fn address(&mut self) -> String {
        let line = self.says(&["receiving on "]);
        let address = line.strip_prefix("receiving on ").and_then(|rest| rest.split_once(','));
        address.expect("it says where").0.to_owned()
    }

    pub(crate) fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(sent.expect("kill").success());
    }

    #[track_caller]
    pub(crate) fn ends_with(&mut self, code: i32) {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                break status;
            }
            if start.elapsed() > PATIENCE {
                self.said.extend(self.lines.try_iter());
                panic!("it does not end: {:#?}", self.said);
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        self.said.extend(self.lines.iter());
        assert_eq!(status.code(), Some(code), "{:#?}", self.said);
    }

    pub(crate) fn said(&self, word: &str) -> bool {
        self.said.iter().any(|line| line.contains(word))
    }
}
