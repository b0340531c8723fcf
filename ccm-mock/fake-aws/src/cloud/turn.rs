//! One turn at a time: what waits for the same turn is worked on in order and written at once, so that callers at the
//! same time share one write of the API server.
//!
//! A refused operation refuses itself alone; a write that fails fails all that were in it.
//!
//! Targets that are registered are shown to the health checks before they are written, and what these find within a moment
//! is written along: most targets answer at once, and a target group is told of them once.

use super::{Cloud, Error, now_ms};
use crate::report::Report;
use crate::state::State;
use ccm_mock_aws_api::elbv2::HealthState;
use ccm_mock_aws_api::{Answer, Code, Operation};
use std::collections::BTreeSet;
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
    /// Told of every report.
    arrived: Arc<Notify>,
}

/// A target: group, id and port.
type Place = (String, String, u16);

/// Targets that are new and whose health nobody knows.
fn registered(before: &State, next: &State) -> BTreeSet<Place> {
    let mut new = BTreeSet::new();
    for (arn, group) in next.target_groups.iter() {
        let known = before.target_groups.get(arn);
        if known.is_some_and(|known| Arc::ptr_eq(known, group)) {
            continue;
        }
        for target in group.targets.iter().filter(|target| target.state == HealthState::Initial) {
            if !known.is_some_and(|known| known.targets.iter().any(|old| old.is(&target.id, target.port))) {
                new.insert((arn.clone(), target.id.clone(), target.port));
            }
        }
    }
    new
}

/// The targets a report tells of.
fn told_of(report: &Report) -> Vec<Place> {
    let Report::Health(found) = report else { return Vec::new() };
    found.iter().map(|found| (found.target_group_arn.clone(), found.id.clone(), found.port)).collect()
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
        {
            let _turn = self.turn.lock().await;
            self.work_off().await;
        }
        // No answer: whoever worked on it was dropped, with this process.
        answer.await.unwrap_or(Ok(())).map_err(Error::Together)
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Works on all that waits, in the order it came, and writes it at once: callers at the same time share one
    /// write of the API server. Needs the turn.
    async fn work_off(&self) {
        // Whoever was woken by the same change is about to come.
        tokio::task::yield_now().await;
        let operations = std::mem::take(&mut self.waiting().operations);
        self.operate_in_turn(operations).await;
        let reports = std::mem::take(&mut self.waiting().reports);
        if reports.is_empty() {
            return;
        }
        let before = self.state();
        let (reports, replies): (Vec<_>, Vec<_>) = reports.into_iter().unzip();
        let next =
            reports.into_iter().fold((*before).clone(), |state, report| state.report(report, now_ms()));
        let changes = before.changes_to(&next);
        let mut outcome = Ok(());
        if !changes.is_empty() {
            self.state.send_replace(Arc::new(next));
            outcome = self.objects.write(&changes).await.map_err(Arc::new);
        }
        // Who is not there any more needs no answer.
        replies.into_iter().for_each(|reply| drop(reply.send(outcome.clone())));
    }

    async fn operate_in_turn(&self, operations: Vec<(Operation, Reply<Answer, ccm_mock_aws_api::Error>)>) {
        if operations.is_empty() {
            return;
        }
        let before = self.state();
        let mut next = (*before).clone();
        let mut done = Vec::new();
        for (operation, reply) in operations {
            match next.apply(operation, now_ms()) {
                Ok((after, answer)) => {
                    next = after;
                    done.push((answer, reply));
                }
                Err(refused) => drop(reply.send(Err(refused))),
            }
        }
        let new = registered(&before, &next);
        let (mut told, shown) = (Vec::new(), !new.is_empty());
        if shown {
            self.state.send_replace(Arc::new(next.clone()));
            for (report, reply) in self.first_answers(new).await {
                next = next.report(report, now_ms());
                told.push(reply);
            }
        }
        let changes = before.changes_to(&next);
        let written = self.objects.write(&changes).await;
        match &written {
            Ok(()) => {
                self.state.send_replace(Arc::new(next));
                tracing::debug!(operations = done.len(), changed = changes.len(), "answered");
                done.into_iter().for_each(|(answer, reply)| drop(reply.send(Ok(answer))));
            }
            Err(error) => {
                if shown {
                    self.state.send_replace(before);
                }
                let failure = ccm_mock_aws_api::Error::new(Code::InternalFailure, error.to_string());
                done.into_iter().for_each(|(_, reply)| drop(reply.send(Err(failure.clone()))));
            }
        }
        let outcome = written.map_err(Arc::new);
        told.into_iter().for_each(|reply| drop(reply.send(outcome.clone())));
    }

    /// The reports that come while the first answers of new targets are waited for.
    async fn first_answers(&self, mut new: BTreeSet<Place>) -> Vec<(Report, Reply<(), Arc<Error>>)> {
        let deadline = Instant::now() + FIRST_ANSWER;
        let arrived = self.waiting().arrived.clone();
        let mut reports = Vec::new();
        loop {
            let came = std::mem::take(&mut self.waiting().reports);
            for place in came.iter().flat_map(|(report, _)| told_of(report)) {
                new.remove(&place);
            }
            reports.extend(came);
            if new.is_empty() || timeout_at(deadline, arrived.notified()).await.is_err() {
                return reports;
            }
        }
    }

    /// Perform an operation together with all that wait for the same turn.
    pub(super) async fn operate_together(
        &self,
        operation: Operation,
    ) -> Result<Answer, ccm_mock_aws_api::Error> {
        let (reply, answer) = oneshot::channel();
        self.waiting().operations.push((operation, reply));
        {
            let _turn = self.turn.lock().await;
            self.work_off().await;
        }
        let lost = || ccm_mock_aws_api::Error::new(Code::InternalFailure, "the operation was given up");
        answer.await.unwrap_or_else(|_| Err(lost()))
    }
}
