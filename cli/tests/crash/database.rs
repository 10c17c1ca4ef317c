//! PostgreSQL that is restarted, and connections that break, in the middle of work.
