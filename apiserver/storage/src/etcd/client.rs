//! The connection to etcd: one channel a member, of which one is in use until it fails.

use std::path::PathBuf;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use futures::stream::BoxStream;
use http::uri::PathAndQuery;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tonic::metadata::{AsciiMetadataValue, MetadataValue};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic_prost::ProstCodec;

use super::error::EtcdError;
use super::{limits, messages};

/// How to reach etcd, as kube-apiserver's flags say it.
#[derive(Clone, Debug, Default)]
pub struct Connection {
    /// `--etcd-servers`: URLs of the members.
    pub servers: Vec<String>,
    /// `--etcd-cafile`: who vouches for the members; the machine's authorities where it is not given.
    pub cafile: Option<PathBuf>,
    /// `--etcd-certfile` and `--etcd-keyfile`: who this client is. Where etcd has users, the certificate's common name
    /// is one.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// A user of etcd, and the file of its password, where it is not the certificate's.
    pub user: Option<(String, PathBuf)>,
}

/// Talks to the members, one at a time.
pub(super) struct Client {
    members: Vec<Channel>,
    /// Index of the member in use. It moves on when that one fails; the watch follows.
    chosen: watch::Sender<usize>,
    /// Name and password.
    user: Option<(String, String)>,
    /// By which etcd knows the user; it is given anew when it expired.
    token: RwLock<Option<AsciiMetadataValue>>,
    /// One at a time asks for a token: etcd makes it dear.
    authenticating: tokio::sync::Mutex<()>,
}

/// What may be done about a call that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// It changes nothing: asked again, of whichever member, for a while.
    Read { attempt: Duration },
    /// Done once: asked again only if it certainly was not done.
    Write,
}

impl Client {
    pub(super) fn new(connection: &Connection) -> Result<Self, EtcdError> {
        let tls = tls(connection)?;
        let members =
            connection.servers.iter().map(|url| member(url, &tls)).collect::<Result<Vec<_>, _>>()?;
        if members.is_empty() {
            return Err(EtcdError::Endpoint { url: String::new() });
        }
        let user = match &connection.user {
            Some((name, file)) => {
                let password = std::fs::read_to_string(file)
                    .map_err(|source| EtcdError::File { file: file.clone(), source })?;
                Some((name.clone(), password.trim_end_matches(['\r', '\n']).to_owned()))
            }
            None => None,
        };
        Ok(Self {
            members,
            chosen: watch::Sender::new(0),
            user,
            token: RwLock::default(),
            authenticating: tokio::sync::Mutex::default(),
        })
    }

    /// Tells when another member is taken.
    pub(super) fn chosen(&self) -> watch::Receiver<usize> {
        self.chosen.subscribe()
    }

    /// Takes the next member, unless somebody did already.
    pub(super) fn leave(&self, member: usize) {
        self.chosen.send_if_modified(|chosen| {
            let here = *chosen == member && self.members.len() > 1;
            if here {
                *chosen = (member + 1) % self.members.len();
            }
            here
        });
    }

    /// One call that is answered once.
    pub(super) async fn call<Q, A>(&self, path: &'static str, request: Q, call: Call) -> Result<A, EtcdError>
    where
        Q: prost::Message + Clone + 'static,
        A: prost::Message + Default + 'static,
    {
        let (attempt, all) = match call {
            Call::Read { attempt } => (attempt, limits::READ_ALL.max(attempt)),
            Call::Write => (limits::WRITE, limits::WRITE),
        };
        let end = Instant::now() + all;
        let mut tried = 0;
        loop {
            let member = *self.chosen.borrow();
            let left = end.saturating_duration_since(Instant::now());
            let error = match timeout(attempt.min(left), self.once(member, path, request.clone())).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => error,
                Err(_) => EtcdError::TimedOut,
            };
            if error.is_of_the_member() {
                self.leave(member);
            }
            let again = error.was_not_done() || (call != Call::Write && error.is_of_the_member());
            if !again || Instant::now() + limits::RETRY >= end {
                return Err(error);
            }
            tried += 1;
            if tried % self.members.len() == 0 {
                tokio::time::sleep(limits::RETRY).await;
            }
        }
    }

    /// One call of one member, by the user where there is one.
    async fn once<Q, A>(&self, member: usize, path: &'static str, request: Q) -> Result<A, EtcdError>
    where
        Q: prost::Message + Clone + 'static,
        A: prost::Message + Default + 'static,
    {
        let mut token = self.token();
        if self.user.is_some() && token.is_none() {
            self.authenticate(member, None).await?;
            token = self.token();
        }
        match self.send(member, path, request.clone(), token.as_ref()).await {
            Err(error) if self.user.is_some() && error.wants_token() => {
                self.authenticate(member, token.as_ref()).await?;
                self.send(member, path, request, self.token().as_ref()).await
            }
            outcome => outcome,
        }
    }

    fn token(&self) -> Option<AsciiMetadataValue> {
        self.token.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Gets another token than `old`, unless somebody did meanwhile.
    async fn authenticate(&self, member: usize, old: Option<&AsciiMetadataValue>) -> Result<(), EtcdError> {
        let Some((name, password)) = self.user.clone() else { return Ok(()) };
        let _turn = self.authenticating.lock().await;
        if self.token().as_ref() != old {
            return Ok(());
        }
        let asked = messages::AuthenticateRequest { name, password };
        let told: messages::AuthenticateResponse =
            self.send(member, messages::AUTHENTICATE, asked, None).await?;
        let token = told.token.parse().map_err(|_| EtcdError::Nonsense)?;
        *self.token.write().unwrap_or_else(PoisonError::into_inner) = Some(token);
        Ok(())
    }

    async fn send<Q, A>(
        &self,
        member: usize,
        path: &'static str,
        request: Q,
        token: Option<&AsciiMetadataValue>,
    ) -> Result<A, EtcdError>
    where
        Q: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        let mut grpc = grpc(&self.members[member]);
        grpc.ready().await.map_err(unready)?;
        let path = PathAndQuery::from_static(path);
        let answer = grpc.unary(request_of(request, token), path, ProstCodec::<Q, A>::default()).await?;
        Ok(answer.into_inner())
    }

    /// What a member says of itself.
    pub(super) async fn status(&self, member: usize) -> Result<messages::StatusResponse, EtcdError> {
        let asked = self.once(member, messages::STATUS, messages::StatusRequest {});
        timeout(limits::READ, asked).await.map_err(|_| EtcdError::TimedOut)?
    }

    /// Opens a watch on a member; `requests` are sent over it.
    pub(super) async fn watch(
        &self,
        member: usize,
        requests: BoxStream<'static, messages::WatchRequest>,
    ) -> Result<tonic::Streaming<messages::WatchResponse>, EtcdError> {
        let opening = async {
            // A watch whose token expired would be refused in a message of its own.
            self.authenticate(member, self.token().as_ref()).await?;
            let mut grpc = grpc(&self.members[member]);
            grpc.ready().await.map_err(unready)?;
            let path = PathAndQuery::from_static(messages::WATCH);
            let answer = grpc
                .streaming(request_of(requests, self.token().as_ref()), path, ProstCodec::default())
                .await?;
            Ok(answer.into_inner())
        };
        timeout(limits::READ, opening).await.map_err(|_| EtcdError::TimedOut)?
    }
}

/// A member that has lost its leader refuses at once, and ends watches, instead of being silent.
fn request_of<T>(message: T, token: Option<&AsciiMetadataValue>) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.metadata_mut().insert("hasleader", MetadataValue::from_static("true"));
    if let Some(token) = token {
        request.metadata_mut().insert("token", token.clone());
    }
    request
}

fn unready(error: tonic::transport::Error) -> EtcdError {
    EtcdError::from(tonic::Status::from_error(Box::new(error)))
}

fn grpc(channel: &Channel) -> tonic::client::Grpc<Channel> {
    // A watch's answer holds whole revisions, however large they are; a page holds so many objects.
    tonic::client::Grpc::new(channel.clone()).max_decoding_message_size(usize::MAX)
}

fn tls(connection: &Connection) -> Result<ClientTlsConfig, EtcdError> {
    let read =
        |file: &PathBuf| std::fs::read(file).map_err(|source| EtcdError::File { file: file.clone(), source });
    let mut tls = ClientTlsConfig::new();
    tls = match &connection.cafile {
        Some(file) => tls.ca_certificate(Certificate::from_pem(read(file)?)),
        None => tls.with_native_roots(),
    };
    if let Some((certificate, key)) = &connection.identity {
        tls = tls.identity(Identity::from_pem(read(certificate)?, read(key)?));
    }
    Ok(tls)
}

fn member(url: &str, tls: &ClientTlsConfig) -> Result<Channel, EtcdError> {
    let refused = || EtcdError::Endpoint { url: url.to_owned() };
    let endpoint = Endpoint::from_shared(url.to_owned()).map_err(|_| refused())?;
    let endpoint = match endpoint.uri().scheme_str() {
        Some("https") => endpoint.tls_config(tls.clone()).map_err(EtcdError::Tls)?,
        Some("http") => endpoint,
        _ => return Err(refused()),
    };
    let endpoint = endpoint
        .connect_timeout(limits::CONNECT)
        .http2_keep_alive_interval(limits::KEEP_ALIVE)
        .keep_alive_timeout(limits::KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .tcp_nodelay(true);
    Ok(endpoint.connect_lazy())
}
