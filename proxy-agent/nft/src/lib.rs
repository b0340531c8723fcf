//! A rule program as text: nftables and iptables with upstream kube-proxy's names, and a transaction between two programs.
//!
//! Nothing here touches a kernel. [`fake::FakeNft`] applies transactions as strictly as one would.

pub mod fake;
mod iptables;
mod nftables;
mod transaction;

pub use iptables::render as iptables;
pub use nftables::render as nftables;
pub use transaction::{Command, Transaction, diff, full};
