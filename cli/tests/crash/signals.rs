//! Ctrl-C and SIGTERM in the middle of work.
