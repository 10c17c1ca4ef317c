//! Admission of connections that have not authenticated yet.
//!
//! Their number is bounded. A new connection is always admitted: when all places are taken, the
//! oldest connection of the network that holds the most places is evicted. A client that opens a
//! thousand connections and sends nothing evicts its own.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

/// The places for connections that have not authenticated.
#[derive(Debug)]
pub(super) struct Admission {
    places: usize,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    /// In the order of arrival.
    connections: Vec<Waiter>,
    next: u64,
}

#[derive(Debug)]
struct Waiter {
    number: u64,
    network: IpAddr,
    /// Dropped to evict it.
    _stays: oneshot::Sender<()>,
}

/// A place of a connection that has not authenticated, given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    admission: Arc<Admission>,
    number: u64,
    stays: oneshot::Receiver<()>,
}

impl Admission {
    pub(super) fn new(places: usize) -> Arc<Self> {
        Arc::new(Self { places: places.max(1), waiting: Mutex::default() })
    }

    /// Takes a place, and evicts another connection when none is free.
    pub(super) fn admit(self: &Arc<Self>, address: IpAddr) -> Place {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        while waiting.connections.len() >= self.places {
            let out = to_evict(&waiting.connections);
            waiting.connections.remove(out);
        }
        let (tx, stays) = oneshot::channel();
        let number = waiting.next;
        waiting.next += 1;
        waiting.connections.push(Waiter { number, network: network(address), _stays: tx });
        Place { admission: Arc::clone(self), number, stays }
    }
}

impl Place {
    /// Does the work; `None` when the connection is evicted before it is done.
    pub(super) async fn unless_evicted<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            done = work => Some(done),
            _ = &mut self.stays => None,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut waiting = self.admission.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.connections.retain(|waiter| waiter.number != self.number);
    }
}

/// The oldest connection of the network that has the most of them.
fn to_evict(connections: &[Waiter]) -> usize {
    let mut counts: HashMap<IpAddr, usize> = HashMap::new();
    for connection in connections {
        *counts.entry(connection.network).or_default() += 1;
    }
    let most = counts.values().max().copied();
    let has_most = |waiter: &Waiter| counts.get(&waiter.network).copied() == most;
    connections.iter().position(has_most).unwrap_or(0)
}

/// The network of an address: for IPv6 its /64, since one host has all of it.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => v4.into(),
            None => Ipv6Addr::from_bits(v6.to_bits() & !(u128::MAX >> 64)).into(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evicted(place: &mut Place) -> bool {
        place.stays.try_recv() == Err(oneshot::error::TryRecvError::Closed)
    }

    #[test]
    fn the_oldest_connection_of_the_largest_network_is_evicted() {
        let admission = Admission::new(4);
        let v6 = |tail: u16| IpAddr::from([0x2001, 0xdb8, 0, 1, tail, 0, 0, tail]);
        let one = IpAddr::from([192, 0, 2, 1]);
        let mut lonely = admission.admit(one);
        let mut crowd: Vec<_> = (1..4).map(|tail| admission.admit(v6(tail))).collect();
        let mut newcomer = admission.admit([192, 0, 2, 2].into());
        assert!(evicted(&mut crowd[0]) && !evicted(&mut crowd[1]));
        let _again = admission.admit(v6(9));
        assert!(evicted(&mut crowd[1]) && !evicted(&mut crowd[2]));
        assert!(!evicted(&mut lonely) && !evicted(&mut newcomer));
    }

    #[test]
    fn a_place_that_is_left_is_free_again() {
        let admission = Admission::new(1);
        for _ in 0..3 {
            let mut place = admission.admit([192, 0, 2, 1].into());
            assert!(!evicted(&mut place));
        }
        assert!(admission.waiting.lock().unwrap().connections.is_empty());
    }
}
