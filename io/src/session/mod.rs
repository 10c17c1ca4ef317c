//! The session file, its meaning and its fingerprint.
