//! A request at an ALB: route, choose a target, forward, and what is answered when that fails.
//!
//! Bodies stream through in both directions.

use crate::body::{Counted, DELAY_OVER, Left};
use crate::cookies;
use crate::decision::Decision;
use crate::headers;
use crate::proxy::Control;
use crate::targets::{self, InFlight, Unreachable};
use bytes::Bytes;
use ccm_mock_alb_routing::{
    Cookie, Outcome, RequestHead, candidates, choose_target_group, route, sticky_target, sticky_target_group,
    target_cookies, target_group_cookies,
};
use ccm_mock_aws_api::elbv2::{Listener, LoadBalancer, TargetGroup, TargetHealthDescription, TargetType};
use ccm_mock_fake_aws::State;
use dataplane_l7::{Body, ConnectionInfo, SendError, empty, full, incoming};
use http::header::{CONTENT_TYPE, HOST, LOCATION, SERVER, UPGRADE};
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use std::net::SocketAddrV4;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Targets tried for one request while none has accepted a connection.
const MAX_TRIES: usize = 3;

fn page(status: StatusCode) -> Response<Body> {
    let text = format!("{} {}", status.as_u16(), status.canonical_reason().unwrap_or_default());
    let html = format!(
        "<html>\r\n<head><title>{text}</title></head>\r\n<body>\r\n<center><h1>{text}</h1></center>\r\n</body>\r\n</html>\r\n"
    );
    own(status, "text/html", html)
}

fn own(status: StatusCode, content_type: &str, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(full(body));
    *response.status_mut() = status;
    response.headers_mut().insert(SERVER, HeaderValue::from_static("awselb/2.0"));
    if let Ok(value) = HeaderValue::from_str(content_type) {
        response.headers_mut().insert(CONTENT_TYPE, value);
    }
    response
}

fn head_of<B>(request: &Request<B>, info: &ConnectionInfo) -> Option<RequestHead> {
    let named = request.headers().get(HOST).and_then(|v| v.to_str().ok());
    let host = request.uri().authority().map(|a| a.as_str()).or(named)?.to_string();
    let text = |v: &HeaderValue| String::from_utf8_lossy(v.as_bytes()).into_owned();
    Some(RequestHead {
        method: request.method().to_string(),
        scheme: info.scheme.into(),
        host,
        path: request.uri().path().into(),
        query: request.uri().query().map(str::to_string),
        headers: request.headers().iter().map(|(n, v)| (n.to_string(), text(v))).collect(),
        source_ip: (*info.peer.ip()).into(),
    })
}

fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

fn now_s() -> u64 {
    u64::try_from(now().as_second()).unwrap_or(0)
}

/// The target that a cookie keeps the client with, unless it was tried.
fn sticky<'a>(
    group: &'a TargetGroup,
    tried: &[String],
    head: &RequestHead,
) -> Option<&'a TargetHealthDescription> {
    let (index, _) = sticky_target(group, &candidates(&group.targets), head, now_s())?;
    group.targets.get(index).filter(|target| !tried.contains(&targets::key(group, target)))
}

struct Exchange<'a> {
    control: &'a Control,
    state: Arc<State>,
    listener: Arc<Listener>,
    balancer: Arc<LoadBalancer>,
    decision: Decision,
}

/// Answer one request at a listener.
pub(crate) async fn serve(
    control: Arc<Control>,
    listener_arn: String,
    request: Request<Incoming>,
    info: Arc<ConnectionInfo>,
) -> Response<Body> {
    let state = control.state();
    let found = state.listeners.get(&listener_arn).cloned();
    let balancer = found.as_ref().and_then(|l| state.load_balancers.get(&l.load_balancer_arn)).cloned();
    let (Some(listener), Some(balancer)) = (found, balancer) else {
        return page(StatusCode::SERVICE_UNAVAILABLE);
    };
    let Some(head) = head_of(&request, &info) else { return page(StatusCode::BAD_REQUEST) };
    if request.method() == Method::TRACE {
        return page(StatusCode::METHOD_NOT_ALLOWED);
    }
    let kind = if request.version() == Version::HTTP_2 { "h2" } else { info.scheme };
    let header =
        |name: &str| request.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or("-").to_string();
    let decision = Decision {
        trace_id: String::new(),
        time: now().to_string(),
        kind,
        load_balancer_arn: balancer.load_balancer_arn.clone(),
        listener_arn: listener.listener_arn.clone(),
        rule_arn: None,
        priority: None,
        target_group_arn: None,
        target_id: None,
        target_port: None,
        destination: None,
        node: None,
        client: info.peer,
        address: info.local,
        method: head.method.clone(),
        url: format!(
            "{}://{}:{}{}",
            head.scheme,
            head.hostname(),
            listener.port,
            request.uri().path_and_query().map_or("/", |p| p.as_str())
        ),
        user_agent: header("user-agent"),
        status: 0,
        target_status: None,
        target_processing_ms: -1000.0,
        action: "-",
        error: None,
    };
    let mut exchange = Exchange { control: &control, state, listener, balancer, decision };
    let response = exchange.answer(request, &head, &info).await;
    let mut decision = exchange.decision;
    decision.status = response.status().as_u16();
    control.decisions.push(decision);
    response
}

impl Exchange<'_> {
    fn refuse(&mut self, status: StatusCode, why: impl Into<String>) -> Response<Body> {
        self.decision.error = Some(why.into());
        page(status)
    }

    async fn answer(
        &mut self,
        mut request: Request<Incoming>,
        head: &RequestHead,
        info: &ConnectionInfo,
    ) -> Response<Body> {
        let seconds = now_s();
        self.decision.trace_id = headers::trace_id(request.headers_mut(), seconds, rand::random());
        let rules = self.control.rules_of(&self.listener.listener_arn);
        let routed = route(&self.listener, &rules, head);
        self.decision.rule_arn = routed.rule.map(|r| r.rule_arn.clone());
        self.decision.priority = Some(routed.rule.map_or("default".into(), |r| r.priority.clone()));
        match routed.outcome {
            Outcome::Redirect { status, location } => {
                self.decision.action = "redirect";
                let mut response = page(StatusCode::from_u16(status).unwrap_or(StatusCode::FOUND));
                if let Ok(value) = HeaderValue::from_str(&location) {
                    response.headers_mut().insert(LOCATION, value);
                }
                response
            }
            Outcome::FixedResponse { status, content_type, body } => {
                self.decision.action = "fixed-response";
                own(
                    StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE),
                    &content_type,
                    body,
                )
            }
            Outcome::Forward { target_groups, stickiness } => {
                self.decision.action = "forward";
                let kept = sticky_target_group(stickiness.as_ref(), &target_groups, head, seconds);
                let chosen = kept.or_else(|| choose_target_group(&target_groups, rand::random()));
                match chosen.and_then(|arn| self.state.target_groups.get(arn).cloned()) {
                    Some(group) => {
                        let cookies =
                            target_group_cookies(stickiness.as_ref(), &group.target_group_arn, seconds);
                        self.forward(request, &group, (head, info), cookies).await
                    }
                    None => {
                        self.refuse(StatusCode::SERVICE_UNAVAILABLE, "no target group with a weight above 0")
                    }
                }
            }
        }
    }

    fn prepare(
        &self,
        request: Request<Incoming>,
        head: &RequestHead,
        info: &ConnectionInfo,
    ) -> Request<Body> {
        let (mut parts, body) = request.into_parts();
        let attributes = &self.balancer.attributes;
        headers::drop_invalid(&mut parts.headers, attributes);
        headers::strip_hop_by_hop(&mut parts.headers);
        headers::forwarded(&mut parts.headers, attributes, info.peer, info.scheme, self.listener.port);
        if let Ok(host) = HeaderValue::from_str(&head.host) {
            parts.headers.insert(HOST, host);
        }
        let path = parts.uri.path_and_query().map_or("/", |p| p.as_str());
        parts.uri = path.parse().unwrap_or_default();
        parts.version = Version::HTTP_11;
        let ended = http_body::Body::is_end_stream(&body);
        Request::from_parts(parts, if ended { empty() } else { incoming(body) })
    }

    async fn forward(
        &mut self,
        mut request: Request<Incoming>,
        group: &TargetGroup,
        (head, info): (&RequestHead, &ConnectionInfo),
        mut set: Vec<Cookie>,
    ) -> Response<Body> {
        self.decision.target_group_arn = Some(group.target_group_arn.clone());
        let upgrade = request.headers().contains_key(UPGRADE).then(|| hyper::upgrade::on(&mut request));
        let mut request = self.prepare(request, head, info);
        let idle = self
            .balancer
            .attributes
            .get("idle_timeout.timeout_seconds")
            .and_then(|v| v.parse().ok())
            .unwrap_or(60);
        let idle = Duration::from_secs(idle);
        let Some(source) = targets::interface(&self.balancer, *info.local.ip()) else {
            return self.refuse(StatusCode::SERVICE_UNAVAILABLE, "the load balancer has no interface");
        };
        let mut tried: Vec<String> = Vec::new();
        let mut failure: Option<Unreachable> = None;
        while tried.len() < MAX_TRIES {
            let kept = sticky(group, &tried, head);
            let Some(target) = kept.or_else(|| self.control.counters.next(group, &tried)) else { break };
            let key = targets::key(group, target);
            let Some(to) = targets::address(&self.state, group, &target.id, target.port) else {
                tried.push(key);
                continue;
            };
            self.decision.target_id = Some(target.id.clone());
            self.decision.target_port = Some(target.port);
            let in_flight = self.control.counters.begin(&key);
            let reached: Mutex<Option<(SocketAddrV4, Option<String>)>> = Mutex::new(None);
            let connect = || async {
                let connection = targets::reach(&self.control.fabric, source, to, group.protocol).await?;
                *reached.lock().unwrap_or_else(PoisonError::into_inner) =
                    Some((connection.destination, connection.node));
                self.control.remember(&key, connection.destination);
                Ok(connection.stream)
            };
            let began = Instant::now();
            let kept = (group.target_type == TargetType::Ip).then_some(key.as_str());
            // A node port leads somewhere else for every connection, so only direct targets keep theirs.
            let mut left: Left = Box::pin(targets::left(
                self.control.states(),
                group.target_group_arn.clone(),
                target.id.clone(),
                target.port,
            ));
            let sending = tokio::time::timeout(idle, self.control.pool.send(kept, request, connect));
            let sent = tokio::select! {
                biased;
                sent = sending => Some(sent),
                () = &mut left => None,
            };
            self.decision.target_processing_ms = began.elapsed().as_secs_f64() * 1000.0;
            let reached = reached.into_inner().unwrap_or_else(PoisonError::into_inner);
            self.decision.node = reached.as_ref().and_then(|(_, node)| node.clone());
            self.decision.destination =
                reached.map(|(to, _)| to).or_else(|| self.control.remembered(&key)).or(Some(to));
            match sent {
                Some(Ok(Ok(mut response))) => {
                    let (now_s, secure) = (now_s(), info.scheme == "https");
                    let app_sets = |name: &str| cookies::sets(response.headers(), name);
                    set.extend(target_cookies(group, target, now_s, app_sets));
                    cookies::set(response.headers_mut(), &set, now_s, secure);
                    return self.relay(response, (in_flight, left), upgrade, idle);
                }
                Some(Ok(Err(SendError::Connect { error, request: unsent }))) => {
                    request = *unsent;
                    failure = Some(error);
                    tried.push(key);
                }
                Some(Ok(Err(SendError::Broken(error)))) => {
                    return self
                        .refuse(StatusCode::BAD_GATEWAY, format!("target closed the connection: {error}"));
                }
                None => return self.refuse(StatusCode::BAD_GATEWAY, DELAY_OVER),
                Some(Err(_)) => {
                    return self.refuse(
                        StatusCode::GATEWAY_TIMEOUT,
                        "target did not answer within the idle timeout",
                    );
                }
            }
        }
        match failure {
            None => {
                self.refuse(StatusCode::SERVICE_UNAVAILABLE, "the target group has no registered targets")
            }
            Some(Unreachable::Timeout(why)) => self.refuse(StatusCode::GATEWAY_TIMEOUT, why),
            Some(Unreachable::Refused(why)) => self.refuse(StatusCode::BAD_GATEWAY, why),
        }
    }

    fn relay(
        &mut self,
        mut response: Response<Incoming>,
        (in_flight, left): (InFlight, Left),
        upgrade: Option<hyper::upgrade::OnUpgrade>,
        idle: Duration,
    ) -> Response<Body> {
        self.decision.target_status = Some(response.status().as_u16());
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            if let Some(client) = upgrade {
                let upstream = hyper::upgrade::on(&mut response);
                tokio::spawn(async move {
                    tokio::select! {
                        () = dataplane_l7::upgrade(client, upstream, idle) => {}
                        () = left => {}
                    }
                    drop(in_flight);
                });
            }
            return response.map(|_| empty());
        }
        headers::strip_hop_by_hop(response.headers_mut());
        response.headers_mut().remove(UPGRADE);
        *response.version_mut() = Version::HTTP_11;
        response.map(|body| http_body_util::BodyExt::boxed(Counted::new(body, in_flight, left)))
    }
}
