//! One turn at a time: what waits for the same turn is worked on in order and written at once, so that callers at the
//! same time share one write of the API server.
//!
//! A refused operation refuses itself alone; a write that fails fails all that were in it.
//!
//! Targets that are registered are shown to the health checks before they are written, and what these find within a moment
//! is written along: most targets answer at once, and a target group is told of them once. Nothing but registrations waits.

use super::{Cloud, Error, now_ms};
use crate::report::Report;
use crate::state::State;
use ccm_mock_aws_api::elbv2::{HealthState, TargetHealthDescription};
use ccm_mock_aws_api::{Answer, Code, Operation};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout_at};

/// How long a registration waits for the first answer of a health check. A target that takes longer is written twice.
const FIRST_ANSWER: Duration = Duration::from_millis(4);

type Reply<T, E> = oneshot::Sender<Result<T, E>>;

/// Operations and reports of callers that wait, with how they are answered.
#[derive(Default)]
pub(super) struct Waiting {
    operations: Vec<(Operation, Reply<Answer, ccm_mock_aws_api::Error>)>,
    reports: Vec<(Report, Reply<(), Arc<Error>>)>,
    /// Told of every one of them.
    arrived: Arc<Notify>,
}

/// Whether a target is new, or was draining, and nobody has looked at it.
fn has_new_targets(before: &State, next: &State) -> bool {
    let is_initial = |target: &&TargetHealthDescription| target.state == HealthState::Initial;
    next.target_groups.iter().any(|(arn, group)| {
        let known = before.target_groups.get(arn);
        let waits = |target: &TargetHealthDescription| {
            let old =
                known.and_then(|known| known.targets.iter().find(|old| old.is(&target.id, target.port)));
            old.as_ref().is_some_and(is_initial)
        };
        !known.is_some_and(|known| Arc::ptr_eq(known, group))
            && group.targets.iter().filter(is_initial).any(|target| !waits(target))
    })
}

/// What a turn comes to.
struct Batch {
    before: Arc<State>,
    /// After the operations and the reports.
    next: State,
    /// After the reports alone: what stays if nothing can be written.
    reported: State,
    /// Something is in it that must not wait for health checks.
    urgent: bool,
    answers: Vec<(Answer, Reply<Answer, ccm_mock_aws_api::Error>)>,
    reporters: Vec<Reply<(), Arc<Error>>>,
}

impl Batch {
    fn new(before: Arc<State>) -> Self {
        let (next, reported) = ((*before).clone(), (*before).clone());
        Batch { before, next, reported, urgent: false, answers: Vec::new(), reporters: Vec::new() }
    }

    fn take_in(&mut self, waiting: Waiting) {
        for (operation, reply) in waiting.operations {
            self.urgent |= !matches!(operation, Operation::RegisterTargets(_));
            match self.next.apply(operation, now_ms()) {
                Ok((after, answer)) => {
                    self.next = after;
                    self.answers.push((answer, reply));
                }
                Err(refused) => drop(reply.send(Err(refused))),
            }
        }
        for (report, reply) in waiting.reports {
            self.reported = self.reported.report(report.clone(), now_ms());
            self.next = self.next.report(report, now_ms());
            self.reporters.push(reply);
        }
    }

    fn answer(self, written: Result<(), Error>) {
        let failure = |error: &Error| ccm_mock_aws_api::Error::new(Code::InternalFailure, error.to_string());
        // Who is not there any more needs no answer.
        for (answer, reply) in self.answers {
            drop(reply.send(written.as_ref().map(|()| answer).map_err(failure)));
        }
        let written = written.map_err(Arc::new);
        self.reporters.into_iter().for_each(|reply| drop(reply.send(written.clone())));
    }
}

impl Cloud {
    /// Take in a report; consumers in this process see it before it is written.
    pub async fn report(&self, report: Report) -> Result<(), Error> {
        let (reply, answer) = oneshot::channel();
        let arrived = {
            let mut waiting = self.waiting();
            waiting.reports.push((report, reply));
            waiting.arrived.clone()
        };
        arrived.notify_one();
        // No answer: whoever worked on it was dropped, with this process.
        self.answered(answer).await.unwrap_or(Ok(())).map_err(Error::Together)
    }

    /// The answer to what waits: of somebody whose turn it is, or of this one once it has the turn. Who was answered does
    /// not wait for a turn any more; many would, one after the other.
    async fn answered<T>(&self, mut answer: oneshot::Receiver<T>) -> Result<T, oneshot::error::RecvError> {
        tokio::select! {
            biased;
            answered = &mut answer => return answered,
            _turn = self.turn.lock() => self.work_off().await,
        }
        answer.await
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_waiting(&self) -> Waiting {
        let mut waiting = self.waiting();
        let arrived = waiting.arrived.clone();
        std::mem::replace(&mut *waiting, Waiting { arrived, ..Waiting::default() })
    }

    /// Works on all that waits, in the order it came, and writes it at once: callers at the same time share one
    /// write of the API server. Needs the turn.
    async fn work_off(&self) {
        // Whoever was woken by the same change is about to come.
        tokio::task::yield_now().await;
        let arrived = self.waiting().arrived.clone();
        let mut batch = Batch::new(self.state());
        let mut deadline = None;
        loop {
            batch.take_in(self.take_waiting());
            if batch.urgent || !has_new_targets(&batch.before, &batch.next) {
                break;
            }
            self.state.send_replace(Arc::new(batch.next.clone()));
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + FIRST_ANSWER);
            if timeout_at(deadline, arrived.notified()).await.is_err() {
                break;
            }
        }
        let changes = batch.before.changes_to(&batch.next);
        if changes.is_empty() {
            return batch.answer(Ok(()));
        }
        if deadline.is_none() && !batch.reporters.is_empty() {
            self.state.send_replace(Arc::new(batch.reported.clone()));
        }
        let written = self.objects.write(&changes).await;
        let after = if written.is_ok() { &batch.next } else { &batch.reported };
        self.state.send_replace(Arc::new(after.clone()));
        tracing::debug!(operations = batch.answers.len(), changed = changes.len(), "answered");
        batch.answer(written);
    }

    /// Perform an operation together with all that wait for the same turn.
    pub(super) async fn operate_together(
        &self,
        operation: Operation,
    ) -> Result<Answer, ccm_mock_aws_api::Error> {
        let (reply, answer) = oneshot::channel();
        let arrived = {
            let mut waiting = self.waiting();
            waiting.operations.push((operation, reply));
            waiting.arrived.clone()
        };
        arrived.notify_one();
        let lost = || ccm_mock_aws_api::Error::new(Code::InternalFailure, "the operation was given up");
        self.answered(answer).await.unwrap_or_else(|_| Err(lost()))
    }
}
