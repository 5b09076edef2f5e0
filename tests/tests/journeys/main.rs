//! Journeys across Storehub's processes: each starts the real programs and follows something from end to end.
//!
//! One binary, one module per promise. Programs listen on free ports of the loopback and live in folders of their own, so
//! journeys run beside each other.

mod damage;
mod eyes;
mod full_disk;
mod hostile;
mod messages;
mod nothing_is_lost;
mod pick_up;
mod put_back;
mod simulated_store;
mod staff_page;
mod touches;
