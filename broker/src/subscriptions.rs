//! Who is subscribed to what: a tree of filters, and the lanes by which the router serves them.
//!
//! A *lane* is one filter that the router knows, with one link. A new filter gets a lane of its
//! own while there are few; beyond [`EXACT_LANES_MAX`] it shares the lane of its first level
//! (`commands/#`), beyond [`COARSE_LANES_MAX`] of those the lane `#`. rumqttd never frees a
//! filter's log and a link costs tens of kilobytes, so thousands of devices with a filter each
//! must not have a link each.
//!
//! Invariants: every filter in the tree belongs to exactly one lane, and that lane's filter takes
//! every topic that the filter takes. Lanes are never removed.

use std::{collections::HashMap, sync::Arc};

use crate::session::Session;

pub(crate) const EXACT_LANES_MAX: usize = 48;
pub(crate) const COARSE_LANES_MAX: usize = 16;
/// Exact, coarse and the lane that takes everything.
pub(crate) const LANES_MAX: usize = EXACT_LANES_MAX + COARSE_LANES_MAX + 1;

/// A lane's number.
pub(crate) type Lane = usize;

#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    root: Node,
    lanes: Vec<Arc<str>>,
    exact_lanes: usize,
    coarse_lanes: usize,
    filters: usize,
}

#[derive(Debug, Default)]
struct Node {
    children: HashMap<Box<str>, Node>,
    subscribers: Vec<Arc<Session>>,
    /// The whole filter and its lane, while there are subscribers.
    entry: Option<(Arc<str>, Lane)>,
}

impl Subscriptions {
    /// Adds a session to a filter, which gets a lane if it has none yet.
    pub(crate) fn insert(&mut self, filter: &Arc<str>, session: &Arc<Session>) {
        let lane = self.lane_of(filter).unwrap_or_else(|| self.choose_lane(filter));
        let mut node = &mut self.root;
        for level in filter.split('/') {
            node = node.children.entry(level.into()).or_default();
        }
        if node.entry.is_none() {
            node.entry = Some((Arc::clone(filter), lane));
            self.filters += 1;
        }
        if !node.subscribers.iter().any(|other| Arc::ptr_eq(other, session)) {
            node.subscribers.push(Arc::clone(session));
        }
    }

    pub(crate) fn remove(&mut self, filter: &str, session: &Arc<Session>) {
        let levels: Vec<&str> = filter.split('/').collect();
        if self.root.remove(&levels, session) {
            self.filters -= 1;
        }
    }

    /// Distinct filters with a subscriber.
    pub(crate) fn filters(&self) -> usize {
        self.filters
    }

    /// The filters of all lanes, by lane number.
    pub(crate) fn lanes(&self) -> &[Arc<str>] {
        &self.lanes
    }

    /// Whether any filter takes the topic.
    pub(crate) fn any_match(&self, topic: &str) -> bool {
        self.root.visit(Some(topic), &mut |_, _, _| true)
    }

    /// Calls `found` with every filter of this lane that takes the topic, and its subscribers.
    pub(crate) fn for_each_match(
        &self,
        lane: Lane,
        topic: &str,
        mut found: impl FnMut(&Arc<str>, &[Arc<Session>]),
    ) {
        self.root.visit(Some(topic), &mut |filter, of, subscribers| {
            if of == lane {
                found(filter, subscribers);
            }
            false
        });
    }

    fn lane_of(&self, filter: &str) -> Option<Lane> {
        let mut node = &self.root;
        for level in filter.split('/') {
            node = node.children.get(level)?;
        }
        node.entry.as_ref().map(|(_, lane)| *lane)
    }

    fn choose_lane(&mut self, filter: &str) -> Lane {
        if let Some(lane) = self.lane_by_filter(filter) {
            return lane;
        }
        if self.exact_lanes < EXACT_LANES_MAX {
            self.exact_lanes += 1;
            return self.open_lane(filter);
        }
        let first = filter.split('/').next().unwrap_or("");
        if !matches!(first, "+" | "#") {
            let coarse = format!("{first}/#");
            if let Some(lane) = self.lane_by_filter(&coarse) {
                return lane;
            }
            if self.coarse_lanes < COARSE_LANES_MAX {
                self.coarse_lanes += 1;
                return self.open_lane(&coarse);
            }
        }
        self.lane_by_filter("#").unwrap_or_else(|| self.open_lane("#"))
    }

    fn lane_by_filter(&self, filter: &str) -> Option<Lane> {
        self.lanes.iter().position(|lane| &**lane == filter)
    }

    fn open_lane(&mut self, filter: &str) -> Lane {
        self.lanes.push(Arc::from(filter));
        self.lanes.len() - 1
    }
}

impl Node {
    /// Whether the filter lost its last subscriber by this.
    fn remove(&mut self, levels: &[&str], session: &Arc<Session>) -> bool {
        let Some((level, deeper)) = levels.split_first() else {
            self.subscribers.retain(|other| !Arc::ptr_eq(other, session));
            return self.subscribers.is_empty() && self.entry.take().is_some();
        };
        let Some(child) = self.children.get_mut(*level) else {
            return false;
        };
        let emptied = child.remove(deeper, session);
        if child.entry.is_none() && child.children.is_empty() {
            self.children.remove(*level);
        }
        emptied
    }

    /// Visits what matches; `topic` is `None` when all levels are used up. Stops when `found` says so.
    fn visit(
        &self,
        topic: Option<&str>,
        found: &mut dyn FnMut(&Arc<str>, Lane, &[Arc<Session>]) -> bool,
    ) -> bool {
        // `a/#` takes `a` too, so `#` is looked for at every level, the one past the end included.
        if self.children.get("#").is_some_and(|hash| hash.report(found)) {
            return true;
        }
        let Some(topic) = topic else {
            return self.report(found);
        };
        let (level, deeper) = match topic.split_once('/') {
            Some((level, deeper)) => (level, Some(deeper)),
            None => (topic, None),
        };
        self.children.get("+").is_some_and(|plus| plus.visit(deeper, found))
            || self.children.get(level).is_some_and(|child| child.visit(deeper, found))
    }

    fn report(&self, found: &mut dyn FnMut(&Arc<str>, Lane, &[Arc<Session>]) -> bool) -> bool {
        self.entry.as_ref().is_some_and(|(filter, lane)| found(filter, *lane, &self.subscribers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic::filter_matches;

    #[test]
    fn the_tree_finds_what_the_matcher_finds_and_lanes_cover_their_filters() {
        let session = Session::for_tests();
        let mut tree = Subscriptions::default();
        let mut filters: Vec<Arc<str>> =
            ["#", "+", "a/#", "a/+", "a/b", "+/b", "/", "/#", "a/+/c", "+/+/#"].map(Arc::from).to_vec();
        filters.extend((0..200).map(|n| Arc::from(format!("x{}/{n}", n % 40).as_str())));
        for filter in &filters {
            tree.insert(filter, &session);
        }
        assert_eq!(tree.filters(), filters.len());
        assert!(tree.lanes().len() <= LANES_MAX);
        for topic in ["a", "a/b", "a/b/c", "/", "b", "x1/1", "x39/199", "q/w/e/r"] {
            let mut found: Vec<Arc<str>> = Vec::new();
            for lane in 0..tree.lanes().len() {
                tree.for_each_match(lane, topic, |filter, _| {
                    assert!(filter_matches(&tree.lanes()[lane], topic), "{filter} in its lane");
                    found.push(Arc::clone(filter));
                });
            }
            found.sort();
            let mut expected: Vec<_> = filters.iter().filter(|f| filter_matches(f, topic)).cloned().collect();
            expected.sort();
            assert_eq!(found, expected, "{topic}");
        }
        for filter in &filters {
            tree.remove(filter, &session);
        }
        assert_eq!(tree.filters(), 0);
        assert!(!tree.any_match("a/b"));
    }
}
