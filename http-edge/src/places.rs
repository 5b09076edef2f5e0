//! A bounded number of places, of which one address has only some.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Cheap to clone; all clones share the places.
#[derive(Debug, Clone)]
pub struct Places {
    taken: Arc<Mutex<Taken>>,
    all_max: usize,
    per_address_max: usize,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// A place that is free again once this is dropped.
#[derive(Debug)]
pub struct Place {
    taken: Arc<Mutex<Taken>>,
    address: IpAddr,
}

fn lock(taken: &Mutex<Taken>) -> MutexGuard<'_, Taken> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Places {
    /// So many places for all, and so many of them for one address.
    #[must_use]
    pub fn new(all_max: usize, per_address_max: usize) -> Self {
        Self { taken: Arc::default(), all_max, per_address_max }
    }

    /// A place, if there is one for this address.
    #[must_use]
    pub fn take(&self, address: IpAddr) -> Option<Place> {
        let address = network_of(address);
        let mut taken = lock(&self.taken);
        let of_address = taken.by_address.get(&address).copied().unwrap_or(0);
        if self.all_max <= taken.all || self.per_address_max <= of_address {
            return None;
        }
        taken.all += 1;
        taken.by_address.insert(address, of_address + 1);
        Some(Place { taken: Arc::clone(&self.taken), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = lock(&self.taken);
        taken.all -= 1;
        if let Some(of_address) = taken.by_address.get_mut(&self.address) {
            *of_address -= 1;
            if *of_address == 0 {
                taken.by_address.remove(&self.address);
            }
        }
    }
}

/// What counts as one address: itself, or the IPv6 network in which one host chooses its addresses at will.
#[must_use]
pub fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_never_has_every_place() {
        let [a, b, b_again, c] = ["192.168.0.1", "2001:db8::1", "2001:db8::2:0:0:9", "10.0.0.1"]
            .map(|text| text.parse::<IpAddr>().unwrap());
        let places = Places::new(3, 2);
        let of_a = [places.take(a), places.take(a)];
        assert!(of_a.iter().all(Option::is_some) && places.take(a).is_none());
        let of_b = places.take(b);
        assert!(of_b.is_some() && places.take(c).is_none(), "there is no place at all");
        drop(of_a);
        let of_b_again = places.take(b_again);
        assert!(of_b_again.is_some() && places.take(b).is_none(), "one network is one address");
        drop((of_b, of_b_again));
        assert!(lock(&places.taken).by_address.is_empty());
    }
}
