//! The operator's own name servers: every policy server answers for the domains whose records say
//! so, from what those records announce, and from nothing else.

pub mod answer;
pub mod limit;
pub mod listener;
pub mod names;
pub mod sign;
