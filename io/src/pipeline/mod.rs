//! Stages and queues: pack, send, merge, rebuild.
