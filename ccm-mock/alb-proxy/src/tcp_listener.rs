//! An NLB's listener: a flow goes to one target and bytes pass both ways.
//!
//! TLS is ended for TLS listeners; UDP is not carried.

use crate::proxy::Control;
use crate::targets;
use ccm_mock_aws_api::elbv2::{Listener, TargetGroup, TargetType};
use dataplane_network::Accepted;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio_rustls_acceptor::accept;

mod tokio_rustls_acceptor {
    //! TLS in front of a flow, if the listener has certificates.
    use dataplane_l7::{Certificates, Io};
    use tokio::net::TcpStream;

    pub(super) async fn accept(
        stream: TcpStream,
        certificates: Option<&Certificates>,
    ) -> std::io::Result<Box<dyn Io>> {
        match certificates {
            None => Ok(Box::new(stream)),
            Some(certificates) => {
                let acceptor = dataplane_l7::acceptor(certificates).map_err(std::io::Error::other)?;
                Ok(Box::new(acceptor.accept(stream).await?))
            }
        }
    }
}

fn source(
    control: &Control,
    listener: &Listener,
    group: &TargetGroup,
    client: SocketAddrV4,
    address: SocketAddrV4,
) -> Option<Ipv4Addr> {
    let keep = group.target_type == TargetType::Instance
        && group.attributes.get("preserve_client_ip.enabled").is_none_or(|v| v == "true");
    if keep {
        return Some(*client.ip());
    }
    let state = control.state();
    targets::interface(state.load_balancers.get(&listener.load_balancer_arn)?, *address.ip())
}

/// Carry one flow.
pub(crate) async fn serve(
    control: Arc<Control>,
    listener_arn: String,
    address: SocketAddrV4,
    accepted: Accepted,
) {
    let state = control.state();
    let Some(listener) = state.listeners.get(&listener_arn) else { return };
    let group = listener.default_actions.iter().flat_map(|a| a.target_groups()).next();
    let Some(group) = group.and_then(|(arn, _)| state.target_groups.get(arn)) else { return };
    let certificates = control.certificates_of(listener);
    let Ok(mut client) = accept(accepted.stream, certificates.as_ref()).await else { return };
    let mut tried = Vec::new();
    while let Some(target) = control.counters.next(group, &tried) {
        let key = targets::key(group, target);
        let Some(to) = targets::address(&state, group, &target.id, target.port) else { return };
        let Some(from) = source(&control, listener, group, accepted.peer, address) else { return };
        match targets::connect(&control.fabric, from, to).await {
            Ok(mut connection) => {
                let _flow = control.counters.begin(&key);
                let idle = listener
                    .attributes
                    .get("tcp.idle_timeout.seconds")
                    .and_then(|v| v.parse().ok())
                    .unwrap_or(350);
                carry(&mut client, &mut connection.stream, Duration::from_secs(idle)).await;
                return;
            }
            Err(error) => {
                tracing::debug!(target = %to, ?error, "flow goes to the next target");
                tried.push(key);
            }
        }
    }
}

async fn carry<A, B>(client: &mut A, target: &mut B, idle: Duration)
where
    A: AsyncRead + AsyncWrite + Unpin + ?Sized,
    B: AsyncRead + AsyncWrite + Unpin,
{
    // A flow may live long while bytes pass; the bound is generous because silence is not measured.
    let _ = tokio::time::timeout(idle.saturating_mul(100), copy_bidirectional(client, target)).await;
}
