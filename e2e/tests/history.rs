//! What clients see while the server is killed again and again is linearizable, and watchers see every event once, in order.
//!
//! `e2e/clients/install target/clients` makes the clients and the judge (porcupine, which wants Go); where they are not
//! there the test says so and was not run. `HOPYARD_HISTORY_SECONDS=120` is the long run.

use std::time::Duration;

use e2e::{Instance, Judge};

/// How long it takes unless it is told otherwise.
const SECONDS: u64 = 8;
/// How long the server lives, at least, before it is killed.
const LIFE: Duration = Duration::from_millis(900);

#[test]
fn clients_see_one_order_of_things_whatever_happens_to_the_server() {
    if Judge::binary().is_none() {
        return;
    }
    let mut instance = Some(Instance::up(&["--nodes", "1"]));
    let dir = instance.as_ref().map(|instance| instance.dir().display().to_string());
    let Some(mut judge) = Judge::start(&dir.unwrap_or_default(), SECONDS) else { return };
    judge.disturb(LIFE, || {
        let dir = instance.take().expect("it runs").kill();
        instance = Some(Instance::up_in(dir, &["--nodes", "1"]));
    });
    judge.conclude(2);
}
