//! Deliveries over mutual TLS on loopback: what is accepted, what is refused, what survives.
#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps in vain")]

mod arriving;
mod certificates;
mod cutting;
mod cutting_proxy;
mod dashboards;
mod delivering;
mod failing_disk;
mod held;
mod http;
mod key_exchange;
mod line;
mod nginx;
mod one_pass;
mod overload;
mod prometheus;
mod purging;
mod refusing;
mod sending;
mod statements;
mod world;
