//! The terminal or pipe of a container whose process reads: whoever attaches types into it and sees what it says.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use k8s_openapi::api::core::v1::{Container, EphemeralContainer, Pod};
use tokio::sync::{broadcast, mpsc};

use crate::exec::Input;

/// Pieces that somebody who attached may be behind; then he misses the oldest.
const BEHIND_MAX: usize = 1024;
/// Pieces of input that nobody has read yet.
const TYPED_MAX: usize = 64;

/// The consoles of a Pod by container, those that somebody may attach to. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Consoles(Arc<Mutex<HashMap<String, Console>>>);

struct Console {
    /// Gone once nobody will type any more.
    typed: Option<mpsc::Sender<Bytes>>,
    /// Until the process takes it.
    input: Option<Input>,
    said: broadcast::Sender<Bytes>,
    /// Who attaches first is the only one who types.
    once: bool,
}

/// Both ends of a console for somebody who attaches.
pub struct Attached {
    /// What he types; nothing where nobody may type any more.
    pub input: Option<mpsc::Sender<Bytes>>,
    /// What the process says from now on; closed when it ends.
    pub said: broadcast::Receiver<Bytes>,
}

impl Consoles {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Console>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A console for a container that reads, before its process starts.
    pub(crate) fn open(&self, container: &Container) {
        if container.stdin == Some(true) {
            self.lock().entry(container.name.clone()).or_insert_with(|| {
                let (typed, input) = mpsc::channel(TYPED_MAX);
                let once = container.stdin_once == Some(true);
                let (said, _) = broadcast::channel(BEHIND_MAX);
                Console { typed: Some(typed), input: Some(input), said, once }
            });
        }
    }

    /// The process's ends.
    pub(crate) fn take(&self, container: &str) -> Option<(Option<Input>, broadcast::Sender<Bytes>)> {
        let mut consoles = self.lock();
        let console = consoles.get_mut(container)?;
        Some((console.input.take(), console.said.clone()))
    }

    /// The process has ended, and whoever attached sees it.
    pub(crate) fn close(&self, container: &str) {
        self.lock().remove(container);
    }

    /// The other ends; none where the container has no console.
    pub(crate) fn attach(&self, container: &str, types: bool) -> Option<Attached> {
        let mut consoles = self.lock();
        let console = consoles.get_mut(container)?;
        let said = console.said.subscribe();
        let input = match console.once {
            _ if !types => None,
            true => console.typed.take(),
            false => console.typed.clone(),
        };
        Some(Attached { input, said })
    }
}

/// A container of a Pod by its name, also one that was added to it while it ran.
pub(crate) fn find<'a>(pod: &'a Pod, name: &str) -> Option<Cow<'a, Container>> {
    let spec = pod.spec.as_ref()?;
    let first = spec.containers.iter().find(|container| container.name == name).map(Cow::Borrowed);
    first.or_else(|| {
        let mut added = spec.ephemeral_containers.iter().flatten();
        added.find(|container| container.name == name).map(|found| Cow::Owned(plain(found)))
    })
}

/// An ephemeral container as far as it runs like another.
fn plain(added: &EphemeralContainer) -> Container {
    let added = added.clone();
    Container {
        name: added.name,
        image: added.image,
        command: added.command,
        args: added.args,
        working_dir: added.working_dir,
        env: added.env,
        env_from: added.env_from,
        stdin: added.stdin,
        stdin_once: added.stdin_once,
        tty: added.tty,
        ..Container::default()
    }
}
