//! Real parts for tests: found or started here, ended when dropped.

pub mod bind;
