//! What a test pays for a cluster of its own: `cargo bench -p hopyard-testing`.

use divan::Bencher;
use hopyard_testing::Cluster;

fn main() {
    divan::main();
}

/// From nothing to a cluster that serves requests.
#[divan::bench]
fn start(bencher: Bencher) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    bencher.bench_local(|| runtime.block_on(Cluster::start()).map(|cluster| cluster.client()).is_ok());
}
