//! One turn at a time: what waits for the same turn is worked on in order and written at once, so that callers at the
//! same time share one write of the API server.
//!
//! A refused operation refuses itself alone; a write that fails fails all that were in it.

use super::{Cloud, Error, now_ms};
use crate::report::Report;
use ccm_mock_aws_api::{Answer, Code, Operation};
use std::sync::{Arc, MutexGuard, PoisonError};
use tokio::sync::oneshot;

type Reply<T, E> = oneshot::Sender<Result<T, E>>;

/// Operations and reports of callers that wait, with how they are answered.
#[derive(Default)]
pub(super) struct Waiting {
    operations: Vec<(Operation, Reply<Answer, ccm_mock_aws_api::Error>)>,
    reports: Vec<(Report, Reply<(), Arc<Error>>)>,
}

impl Cloud {
    /// Take in a report; consumers in this process see it before it is written.
    pub async fn report(&self, report: Report) -> Result<(), Error> {
        let (reply, answer) = oneshot::channel();
        self.waiting().reports.push((report, reply));
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
        let Waiting { operations, reports } = std::mem::take(&mut *self.waiting());
        self.operate_in_turn(operations).await;
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
        let changes = before.changes_to(&next);
        match self.objects.write(&changes).await {
            Ok(()) => {
                self.state.send_replace(Arc::new(next));
                tracing::debug!(operations = done.len(), changed = changes.len(), "answered");
                done.into_iter().for_each(|(answer, reply)| drop(reply.send(Ok(answer))));
            }
            Err(error) => {
                let failure = ccm_mock_aws_api::Error::new(Code::InternalFailure, error.to_string());
                done.into_iter().for_each(|(_, reply)| drop(reply.send(Err(failure.clone()))));
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
