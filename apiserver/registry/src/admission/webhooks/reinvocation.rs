//! Which mutating webhooks are asked a second time: those that want to be, if the object changed after them.

use std::collections::BTreeSet;

/// The two rounds of one write. Webhooks are named by their place.
#[derive(Debug, Default)]
pub(in super::super) struct Reinvocation {
    is_second: bool,
    is_wanted: bool,
    /// Asked, and eligible to be asked again.
    asked: BTreeSet<usize>,
    again: BTreeSet<usize>,
}

impl Reinvocation {
    /// Is this webhook one of this round? None is asked in the second that was not asked in the first.
    pub(in super::super) fn includes(&self, hook: usize) -> bool {
        !self.is_second || self.again.contains(&hook)
    }

    /// Somebody changed the object: whoever was asked before has not seen it as it is.
    pub(in super::super) fn changed(&mut self) {
        self.is_wanted = true;
        self.again.append(&mut self.asked);
    }

    /// A webhook that wants to be asked again was asked.
    pub(in super::super) fn answered(&mut self, hook: usize) {
        self.asked.insert(hook);
    }

    /// Begins the second round, where there is to be one.
    pub(in super::super) fn begins_again(&mut self) -> bool {
        self.is_second = self.is_wanted;
        self.is_second
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs both rounds; `hooks` says of each whether it changes the object in a round, and whether it is asked again.
    fn rounds(hooks: &[([bool; 2], bool)]) -> [Vec<usize>; 2] {
        let mut state = Reinvocation::default();
        let mut asked = [Vec::new(), Vec::new()];
        for (round, asked) in asked.iter_mut().enumerate() {
            if round == 1 && !state.begins_again() {
                break;
            }
            for (i, (changes, wants)) in hooks.iter().enumerate() {
                if !state.includes(i) {
                    continue;
                }
                asked.push(i);
                if changes[round] {
                    state.changed();
                }
                if *wants {
                    state.answered(i);
                }
            }
        }
        asked
    }

    #[test]
    fn who_has_not_seen_the_last_change_is_asked_again() {
        let (quiet, once, always) = ([false, false], [true, false], [true, true]);
        for (hooks, second) in [
            (vec![(quiet, true), (quiet, true)], vec![]),
            (vec![(once, true), (quiet, true)], vec![]),
            (vec![(quiet, true), (once, true)], vec![0]),
            (vec![(quiet, false), (once, true)], vec![]),
            (vec![(quiet, true), (quiet, true), (once, false)], vec![0, 1]),
            (vec![(always, true), (once, true)], vec![0, 1]),
            (vec![(once, true), (once, true)], vec![0]),
            (vec![(once, true), (quiet, true), (quiet, true)], vec![]),
        ] {
            let [first, again] = rounds(&hooks);
            assert_eq!(first.len(), hooks.len());
            assert_eq!(again, second, "{hooks:?}");
        }
    }
}
