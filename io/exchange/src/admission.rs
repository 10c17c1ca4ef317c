//! Who waits at the door: connections that have not proved yet whose they are.
//!
//! There are so many places. A newcomer always gets one: when all are taken, the oldest
//! connection of the address that has most of them gives way. Whoever opens a thousand
//! connections and says nothing pushes out its own.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

/// The places at the door.
#[derive(Debug)]
pub(super) struct Door {
    places: usize,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    /// In the order of arrival.
    guests: Vec<Guest>,
    next: u64,
}

#[derive(Debug)]
struct Guest {
    number: u64,
    network: IpAddr,
    /// Dropped to push it out.
    _stays: oneshot::Sender<()>,
}

/// A place at the door, given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    door: Arc<Door>,
    number: u64,
    stays: oneshot::Receiver<()>,
}

impl Door {
    pub(super) fn new(places: usize) -> Arc<Self> {
        Arc::new(Self { places: places.max(1), waiting: Mutex::default() })
    }

    /// Takes a place, whoever has to give way.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr) -> Place {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        while waiting.guests.len() >= self.places {
            let out = crowder(&waiting.guests);
            waiting.guests.remove(out);
        }
        let (sender, stays) = oneshot::channel();
        let number = waiting.next;
        waiting.next += 1;
        waiting.guests.push(Guest { number, network: network(address), _stays: sender });
        Place { door: Arc::clone(self), number, stays }
    }
}

impl Place {
    /// Does something, unless the place is lost before it is done.
    pub(super) async fn unless_pushed_out<T>(
        &mut self,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        tokio::select! {
            biased;
            done = work => Some(done),
            _ = &mut self.stays => None,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut waiting = self.door.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.guests.retain(|guest| guest.number != self.number);
    }
}

/// The oldest guest of the network that has most of them.
fn crowder(guests: &[Guest]) -> usize {
    let mut counts: HashMap<IpAddr, usize> = HashMap::new();
    for guest in guests {
        *counts.entry(guest.network).or_default() += 1;
    }
    let most = counts.values().max().copied();
    let crowds = |guest: &Guest| counts.get(&guest.network).copied() == most;
    guests.iter().position(crowds).unwrap_or(0)
}

/// Who an address belongs to: of IPv6 the /64, which one host has to itself.
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

    fn pushed_out(place: &mut Place) -> bool {
        place.stays.try_recv() == Err(oneshot::error::TryRecvError::Closed)
    }

    #[test]
    fn the_oldest_of_the_largest_crowd_gives_way() {
        let door = Door::new(4);
        let v6 = |tail: u16| IpAddr::from([0x2001, 0xdb8, 0, 1, tail, 0, 0, tail]);
        let one = IpAddr::from([192, 0, 2, 1]);
        let mut lonely = door.enter(one);
        let mut crowd: Vec<_> = (1..4).map(|tail| door.enter(v6(tail))).collect();
        let mut newcomer = door.enter([192, 0, 2, 2].into());
        assert!(pushed_out(&mut crowd[0]) && !pushed_out(&mut crowd[1]));
        let _again = door.enter(v6(9));
        assert!(pushed_out(&mut crowd[1]) && !pushed_out(&mut crowd[2]));
        assert!(!pushed_out(&mut lonely) && !pushed_out(&mut newcomer));
    }

    #[test]
    fn a_place_that_is_left_is_free_again() {
        let door = Door::new(1);
        for _ in 0..3 {
            let mut place = door.enter([192, 0, 2, 1].into());
            assert!(!pushed_out(&mut place));
        }
        assert!(door.waiting.lock().unwrap().guests.is_empty());
    }
}
