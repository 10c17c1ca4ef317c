//! Exit codes.

use std::process::ExitCode;

/// The exit codes of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Everything is done.
    Done,
    /// Failed; running it again may help.
    Failed,
    /// The command line makes no sense.
    Usage,
    /// Done, but rows were left over: the report lists them.
    LeftOver,
    /// Refused: integrity, keys or session. Running it again does not help.
    Refused,
    /// Stopped by Ctrl-C.
    Interrupted,
    /// Stopped by SIGTERM.
    Terminated,
}

impl Exit {
    /// Its name in JSON; `None` where nothing has failed.
    pub(crate) const fn failure_name(self) -> Option<&'static str> {
        match self {
            Self::Done | Self::LeftOver => None,
            Self::Failed => Some("failed"),
            Self::Usage => Some("usage"),
            Self::Refused => Some("refused"),
            Self::Interrupted => Some("interrupted"),
            Self::Terminated => Some("terminated"),
        }
    }

    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::LeftOver => 3,
            Self::Refused => 4,
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
