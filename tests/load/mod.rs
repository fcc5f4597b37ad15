//! Load for a running server, in parts that suites and the program `load` share.
//!
//! `traffic` says what is asked, `caller` asks once, `drive` asks many times, `report` counts the outcomes, `process`
//! starts a server and watches it. A suite takes them with `mod support;` and `#[path = "load/mod.rs"] mod load;`.

#![allow(dead_code, reason = "each suite uses its part")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

pub mod caller;
pub mod drive;
pub mod process;
pub mod report;
pub mod traffic;
