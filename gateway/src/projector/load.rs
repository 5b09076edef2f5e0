//! What the hub remembers at start: from the database, else from a snapshot, else from the journal alone.
//!
//! Owns: the order of these sources. Two steps, because the journal must know which numbers others have seen
//! ([`Loaded::floor`]) before it opens, and the state needs to know which journal it belongs to.

use crate::{
    clock::Clock,
    domain::{EntityKey, Planogram, State, map},
    journal::{Journal, Record},
    store::{self, Changes, EntryKey, Ledger, Retained, Snapshot, Store, StoreTree},
};

use super::{Paths, chain, quarantine_name};

/// What was found on disk.
pub struct Loaded {
    store: Option<Store>,
    found: Snapshot,
    snapshot: Option<Snapshot>,
    rebuilt: Option<String>,
    unavailable: Option<String>,
}

/// What the projector begins with.
pub struct Ready {
    pub(super) state: State,
    pub(super) store: Option<Store>,
    pub(super) applied_through: u64,
    pub(super) unwritten: Changes,
    pub(super) rebuilt: Option<String>,
    pub(super) unavailable: Option<String>,
}

impl Ready {
    /// Why the database had to be written anew, if so.
    #[must_use]
    pub fn rebuilt(&self) -> Option<&str> {
        self.rebuilt.as_deref()
    }
}

/// Opens the database, or sets it aside when it is damaged, and reads the newest snapshot.
#[must_use]
pub fn load(paths: &Paths, clock: &dyn Clock) -> Loaded {
    let mut loaded = Loaded {
        store: None,
        found: Snapshot { epoch: 0, applied_through: 0, entries: Vec::new() },
        snapshot: store::load_newest(&paths.snapshots, None, &mut Vec::new()),
        rebuilt: None,
        unavailable: None,
    };
    let mut opened = Store::open(&paths.sled);
    if let Err(error) = &opened
        && error.is_damage()
    {
        let reason = chain(error);
        tracing::error!(error = reason, "the database is damaged and is rebuilt from snapshot and journal");
        let name = quarantine_name(clock);
        let aside = match store::quarantine(&paths.sled, &paths.quarantine, &name) {
            Ok(aside) => format!("is set aside in `{}`", aside.display()),
            Err(error) => {
                let error = chain(&error);
                tracing::error!(error, "the damaged database could not be set aside");
                format!("could not be set aside: {error}")
            }
        };
        loaded.rebuilt = Some(format!("it was damaged ({reason}) and {aside}"));
        opened = Store::open(&paths.sled);
    }
    match opened {
        Ok(opened) => {
            loaded.found = Snapshot {
                epoch: opened.place.epoch,
                applied_through: opened.place.applied_through,
                entries: opened.entries,
            };
            loaded.store = Some(opened.store);
        }
        Err(error) => {
            let reason = chain(&error);
            tracing::error!(error = reason, "the database cannot be opened; the hub runs from the journal");
            loaded.unavailable = Some(reason);
        }
    }
    loaded
}

impl Loaded {
    /// The highest number that was given to others, with its epoch: a journal that lost its tail goes on behind it.
    #[must_use]
    pub fn floor(&self) -> Option<(u64, u64)> {
        let highest = |found: &Snapshot| {
            let ledger = Ledger::default();
            for (entry, value) in &found.entries {
                ledger.restore(entry, value);
            }
            // A number known to hold no row of a stream would be passed over if it were given to one.
            let seen = |acked: store::Acked| acked.through_seq.max(acked.empty_through_seq);
            let acked = contract::upstream::Stream::ALL.map(|stream| seen(ledger.acked(stream)));
            (found.epoch, acked.into_iter().max().unwrap_or(0).max(found.applied_through))
        };
        let found = [Some(&self.found), self.snapshot.as_ref()];
        found.into_iter().flatten().map(highest).filter(|(epoch, _)| *epoch != 0).max()
    }

    /// Fills the state and the ledger from what was found and says where in the journal to go on.
    #[must_use]
    pub fn settle(self, journal: &Journal, planogram: &Planogram, ledger: &Ledger) -> Ready {
        let Self { store, found, snapshot, mut rebuilt, unavailable } = self;
        let is_lost = found.epoch == 0 && 0 < journal.head_seq();
        // A database that refused for long is older than what the journal still has, when a snapshot covered the rest.
        let epochs = journal.epochs();
        let is_behind = epochs.knows(found.epoch)
            && found.applied_through + 1 < journal.stats().first_seq
            && snapshot.as_ref().is_some_and(|snapshot| {
                epochs.knows(snapshot.epoch) && found.applied_through < snapshot.applied_through
            });
        if is_lost && rebuilt.is_none() && unavailable.is_none() {
            rebuilt = Some("the database was missing; rebuilt from snapshot and journal".to_owned());
        }
        if is_behind {
            rebuilt =
                Some("the database was older than the journal; rebuilt from snapshot and journal".to_owned());
        }
        let newest = if is_lost || is_behind { snapshot.as_ref() } else { None };
        let source = newest.unwrap_or(&found);
        let mut applied_through = source.applied_through;
        let mut state = State::new(planogram.clone());
        if let Err(reason) = fill(source, &mut state, ledger) {
            // Checksums were good, so an older or newer release wrote it: the journal says it in our words.
            tracing::error!(reason, "the state on disk cannot be read; it is rebuilt from the journal");
            rebuilt = Some(reason);
            state = State::new(planogram.clone());
            applied_through = 0;
        }
        if !epochs.knows(source.epoch) {
            if source.epoch != 0 {
                tracing::warn!(
                    "the journal is another one than the database knows: it is applied from its start"
                );
                ledger.reset_journal();
            }
            applied_through = 0;
        }
        // Below the mark the journal has nothing to read again; what was dropped there was not lost.
        ledger.restore_uplink_note(&journal.note());
        let applied_through = applied_through.min(journal.head_seq());
        replay_retained(journal, applied_through, ledger);
        let mut unwritten = Changes::new();
        if rebuilt.is_some() {
            // What the new state does not have must not come back at the next start.
            unwritten.extend(found.entries.iter().map(|(entry, _)| (entry.clone(), None)));
            let domain = state.entities().map(|(EntityKey { tree, key }, value)| {
                (EntryKey { tree: StoreTree::Domain(tree), key }, Some(value))
            });
            unwritten.extend(domain);
            unwritten.extend(ledger.entries().into_iter().map(|(entry, value)| (entry, Some(value))));
        }
        Ready { state, store, applied_through, unwritten, rebuilt, unavailable }
    }
}

/// Records that are looked through for retained messages before the broker starts; a longer tail (a database that
/// was lost together with its snapshots) would delay the start, and retained messages come again by themselves.
const RETAINED_REPLAY_MAX: u64 = 200_000;

/// The database is written a moment after the journal: retained messages of that moment come from the journal.
fn replay_retained(journal: &Journal, applied_through: u64, ledger: &Ledger) {
    let head = journal.head_seq();
    let mut reader = journal.reader(head.saturating_sub(RETAINED_REPLAY_MAX).max(applied_through) + 1);
    // A journal that cannot be read now is the projector's to report.
    while let Ok(Some(entry)) = reader.next() {
        let Record::Publish(publish) = entry.record else { continue };
        if !publish.retain || map(publish.topic, publish.payload, publish.received_at).is_err() {
            continue;
        }
        if publish.payload.is_empty() {
            ledger.forget(publish.topic);
        } else {
            let retained = Retained { qos: publish.qos, payload: publish.payload.to_vec() };
            ledger.retain(publish.topic, retained);
        }
    }
}

fn fill(source: &Snapshot, state: &mut State, ledger: &Ledger) -> Result<(), String> {
    for (entry, value) in &source.entries {
        match entry.tree {
            StoreTree::Domain(tree) => {
                let entity = EntityKey { tree, key: entry.key.clone() };
                state.restore(entity, value).map_err(|error| chain(&error))?;
            }
            StoreTree::Retained | StoreTree::Uplink | StoreTree::Repeats => {
                ledger.restore(entry, value);
            }
        }
    }
    Ok(())
}
