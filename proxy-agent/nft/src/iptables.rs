//! The same decisions as `iptables-save` prints them after kube-proxy in iptables mode.
//!
//! It starts from each port's plan, not from the nftables chains: the two formats are structured differently.

use proxy_agent_ruleset::names::{iptables_endpoint, iptables_service};
use proxy_agent_ruleset::{Cidr, Endpoint, PortPlan, Program};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

const MANGLE: &str = "*mangle
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:KUBE-PROXY-CANARY - [0:0]
COMMIT
";

const FILTER_HEAD: &str = r#"*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:KUBE-EXTERNAL-SERVICES - [0:0]
:KUBE-FIREWALL - [0:0]
:KUBE-FORWARD - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-PROXY-CANARY - [0:0]
:KUBE-PROXY-FIREWALL - [0:0]
:KUBE-SERVICES - [0:0]
-A INPUT -j KUBE-FIREWALL
-A INPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL
-A INPUT -m comment --comment "kubernetes health check service ports" -j KUBE-NODEPORTS
-A INPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes externally-visible service portals" -j KUBE-EXTERNAL-SERVICES
-A FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL
-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
-A FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes externally-visible service portals" -j KUBE-EXTERNAL-SERVICES
-A OUTPUT -j KUBE-FIREWALL
-A OUTPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL
-A OUTPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
"#;

const FIREWALL: &str = r#"-A KUBE-FIREWALL ! -s 127.0.0.0/8 -d 127.0.0.0/8 -m comment --comment "block incoming localnet connections" -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP
-A KUBE-FORWARD -m conntrack --ctstate INVALID -m nfacct --nfacct-name  ct_state_invalid_dropped_pkts -j DROP
-A KUBE-FORWARD -m comment --comment "kubernetes forwarding rules" -m mark --mark 0x4000/0x4000 -j ACCEPT
-A KUBE-FORWARD -m comment --comment "kubernetes forwarding conntrack rule" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
"#;

const NAT_FRAME: &str = r#"-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
"#;

const NAT_FIXED: [(&str, &str); 4] = [
    ("KUBE-MARK-MASQ", "-j MARK --set-xmark 0x4000/0x4000"),
    ("KUBE-POSTROUTING", "-m mark ! --mark 0x4000/0x4000 -j RETURN"),
    ("KUBE-POSTROUTING", "-j MARK --set-xmark 0x4000/0x0"),
    (
        "KUBE-POSTROUTING",
        "-m comment --comment \"kubernetes service traffic requiring SNAT\" -j MASQUERADE --random-fully",
    ),
];

const NODEPORTS_LAST: &str = r#"-m comment --comment "kubernetes service nodeports; NOTE: this must be the last rule in this chain" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS"#;

#[derive(Default)]
struct Tables {
    filter: BTreeMap<&'static str, Vec<String>>,
    nat: BTreeMap<String, Vec<String>>,
}

impl Tables {
    fn nat(&mut self, chain: &str, rule: String) {
        self.nat.entry(chain.to_string()).or_default().push(rule);
    }
    fn filter(&mut self, chain: &'static str, rule: String) {
        self.filter.entry(chain).or_default().push(rule);
    }
}

/// What `iptables-save` prints.
pub fn render(program: &Program) -> String {
    let mut tables = Tables::default();
    for (chain, rule) in NAT_FIXED {
        tables.nat(chain, rule.to_string());
    }
    for chain in ["KUBE-NODEPORTS", "KUBE-SERVICES", "KUBE-PROXY-CANARY"] {
        tables.nat.entry(chain.into()).or_default();
    }
    for (_, service) in program.services() {
        for plan in &service.ports {
            Port { plan, program, tables: &mut tables }.write();
        }
    }
    tables.nat("KUBE-SERVICES", NODEPORTS_LAST.to_string());
    let mut out = format!("{MANGLE}{FILTER_HEAD}");
    let lines = |out: &mut String, chain: &str, rules: &[String]| {
        for rule in rules {
            out.push_str(&format!("-A {chain} {rule}\n"));
        }
    };
    for chain in ["KUBE-EXTERNAL-SERVICES", "", "KUBE-NODEPORTS", "KUBE-PROXY-FIREWALL", "KUBE-SERVICES"] {
        if chain.is_empty() {
            out.push_str(FIREWALL);
        } else if let Some(rules) = tables.filter.get(chain) {
            lines(&mut out, chain, rules);
        }
    }
    out.push_str("COMMIT\n*nat\n");
    for chain in ["PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"] {
        out.push_str(&format!(":{chain} ACCEPT [0:0]\n"));
    }
    let names: BTreeSet<&String> = tables.nat.keys().collect();
    for chain in names {
        out.push_str(&format!(":{chain} - [0:0]\n"));
    }
    out.push_str(NAT_FRAME);
    for (chain, rules) in &tables.nat {
        lines(&mut out, chain, rules);
    }
    out.push_str("COMMIT\n");
    out
}

struct Port<'a> {
    plan: &'a PortPlan,
    program: &'a Program,
    tables: &'a mut Tables,
}

fn block(cidr: &Cidr) -> String {
    format!("{}/{}", cidr.address, cidr.prefix)
}

impl Port<'_> {
    fn name(&self) -> String {
        self.plan.service.name.to_string()
    }

    fn dport(&self, comment: &str, port: u16) -> String {
        let protocol = self.plan.service.protocol;
        format!("-p {protocol} -m comment --comment \"{comment}\" -m {protocol} --dport {port}")
    }

    fn write(mut self) {
        let plan = self.plan;
        let hash = iptables_service(&plan.service.name, plan.service.protocol);
        let (svc, svl, ext) =
            (format!("KUBE-SVC-{hash}"), format!("KUBE-SVL-{hash}"), format!("KUBE-EXT-{hash}"));
        let internal = if plan.service.internal_policy_local { &svl } else { &svc };
        let to_cluster_ip = |p: &Self| p.dport(&format!("{} cluster IP", p.name()), plan.service.port);
        let cluster_ip = plan.service.cluster_ip;
        if plan.internal().is_empty() {
            let (target, why) = self.blocked();
            let rule = self.dport(&format!("{} {why}", self.name()), plan.service.port);
            self.tables.filter("KUBE-SERVICES", format!("-d {cluster_ip}/32 {rule} -j {target}"));
        } else {
            let rule = to_cluster_ip(&self);
            self.tables.nat("KUBE-SERVICES", format!("-d {cluster_ip}/32 {rule} -j {internal}"));
            let cidr = block(&self.program.node().cluster_cidr);
            self.tables.nat(internal, format!("! -s {cidr} -d {cluster_ip}/32 {rule} -j KUBE-MARK-MASQ"));
        }
        self.external(&hash, &ext);
        if plan.uses_external_chain() {
            self.external_chain(&svc, &svl, &ext);
        }
        if plan.uses_cluster_chain() {
            self.endpoints(&svc, &plan.categorized.cluster);
        }
        if plan.uses_local_chain() {
            self.endpoints(&svl, &plan.categorized.local);
        }
        for endpoint in &plan.categorized.reachable {
            self.endpoint(endpoint);
        }
    }

    fn blocked(&self) -> (&'static str, &'static str) {
        if self.plan.categorized.any {
            ("DROP", "has no local endpoints")
        } else {
            ("REJECT --reject-with icmp-port-unreachable", "has no endpoints")
        }
    }

    fn external(&mut self, hash: &str, ext: &str) {
        let plan = self.plan;
        let (service, none) = (&plan.service, plan.external().is_empty());
        let fw = format!("KUBE-FW-{hash}");
        let guarded = plan.uses_firewall();
        let addresses: Vec<(Ipv4Addr, &str, &str, bool)> = service
            .external_ips
            .iter()
            .map(|ip| (*ip, "external IP", ext, false))
            .chain(
                service
                    .load_balancer_ips
                    .iter()
                    .map(|ip| (*ip, "loadbalancer IP", if guarded { &fw } else { ext }, guarded)),
            )
            .collect();
        let (target, why) = self.blocked();
        let blocked = format!("{} {why}", self.name());
        for (ip, what, chain, guarded) in addresses {
            if plan.categorized.any {
                let rule = self.dport(&format!("{} {what}", self.name()), service.port);
                self.tables.nat("KUBE-SERVICES", format!("-d {ip}/32 {rule} -j {chain}"));
            }
            if guarded {
                let rule = self.dport(&format!("{} traffic not accepted by {fw}", self.name()), service.port);
                self.tables.filter("KUBE-PROXY-FIREWALL", format!("-d {ip}/32 {rule} -j DROP"));
            }
            if none {
                let rule = self.dport(&blocked, service.port);
                self.tables.filter("KUBE-EXTERNAL-SERVICES", format!("-d {ip}/32 {rule} -j {target}"));
            }
        }
        if guarded {
            let name = self.name();
            for source in plan.firewall_sources(self.program.node()) {
                let rule =
                    format!("-s {} -m comment --comment \"{name} loadbalancer IP\" -j {ext}", block(&source));
                self.tables.nat(&fw, rule);
            }
            let rest = format!(
                "-m comment --comment \"other traffic to {name} will be dropped by KUBE-PROXY-FIREWALL\""
            );
            self.tables.nat(&fw, rest);
        }
        if service.node_port != 0 {
            self.node_port(ext, none, target, &blocked);
        }
        if service.health_check_node_port != 0 {
            let rule = self
                .dport(&format!("{} health check node port", self.name()), service.health_check_node_port);
            self.tables.filter("KUBE-NODEPORTS", format!("{rule} -j ACCEPT"));
        }
    }

    fn node_port(&mut self, ext: &str, none: bool, target: &str, blocked: &str) {
        let (plan, port) = (self.plan, self.plan.service.node_port);
        if plan.categorized.any {
            let rule = self.dport(&self.name(), port);
            let counted = "-m nfacct --nfacct-name  localhost_nps_accepted_pkts";
            self.tables.nat("KUBE-NODEPORTS", format!("-d 127.0.0.0/8 {rule} {counted} -j {ext}"));
            self.tables.nat("KUBE-NODEPORTS", format!("{rule} -j {ext}"));
        }
        if none {
            let protocol = plan.service.protocol;
            let rule = format!(
                "-p {protocol} -m comment --comment \"{blocked}\" -m addrtype --dst-type LOCAL -m {protocol} --dport {port} -j {target}"
            );
            self.tables.filter("KUBE-EXTERNAL-SERVICES", rule);
        }
    }

    fn external_chain(&mut self, svc: &str, svl: &str, ext: &str) {
        let (name, local) = (self.name(), self.plan.service.external_policy_local);
        let what = format!("traffic for {name} external destinations\"");
        if local {
            let cidr = block(&self.program.node().cluster_cidr);
            self.tables.nat(ext, format!("-s {cidr} -m comment --comment \"pod {what} -j {svc}"));
            let source = "-m addrtype --src-type LOCAL";
            self.tables.nat(
                ext,
                format!("-m comment --comment \"masquerade LOCAL {what} {source} -j KUBE-MARK-MASQ"),
            );
            self.tables.nat(ext, format!("-m comment --comment \"route LOCAL {what} {source} -j {svc}"));
        } else {
            self.tables.nat(ext, format!("-m comment --comment \"masquerade {what} -j KUBE-MARK-MASQ"));
        }
        if !self.plan.external().is_empty() {
            self.tables.nat(ext, format!("-j {}", if local { svl } else { svc }));
        }
    }

    fn sep(&self, endpoint: &Endpoint) -> String {
        let service = &self.plan.service;
        format!("KUBE-SEP-{}", iptables_endpoint(&service.name, service.protocol, endpoint.ip, endpoint.port))
    }

    fn endpoints(&mut self, chain: &str, endpoints: &[Endpoint]) {
        let comment =
            |p: &Self, e: &Endpoint| format!("-m comment --comment \"{} -> {}\"", p.name(), e.text());
        if let Some(seconds) = self.plan.service.affinity_seconds {
            for endpoint in endpoints {
                let sep = self.sep(endpoint);
                let recent = format!(
                    "-m recent --rcheck --seconds {seconds} --reap --name {sep} --mask 255.255.255.255 --rsource"
                );
                self.tables.nat(chain, format!("{} {recent} -j {sep}", comment(self, endpoint)));
            }
        }
        for (i, endpoint) in endpoints.iter().enumerate() {
            let (sep, left) = (self.sep(endpoint), endpoints.len() - i);
            let text = comment(self, endpoint);
            let dice = if left > 1 {
                format!(" -m statistic --mode random --probability {}", probability(left))
            } else {
                String::new()
            };
            self.tables.nat(chain, format!("{text}{dice} -j {sep}"));
        }
    }

    fn endpoint(&mut self, endpoint: &Endpoint) {
        let (sep, name, protocol) = (self.sep(endpoint), self.name(), self.plan.service.protocol);
        let comment = format!("-m comment --comment \"{name}\"");
        self.tables.nat(&sep, format!("-s {}/32 {comment} -j KUBE-MARK-MASQ", endpoint.ip));
        let remember = match self.plan.service.affinity_seconds {
            Some(_) => format!(" -m recent --set --name {sep} --mask 255.255.255.255 --rsource"),
            None => String::new(),
        };
        let dnat = format!(
            "-p {protocol} {comment}{remember} -m {protocol} -j DNAT --to-destination {}",
            endpoint.text()
        );
        self.tables.nat(&sep, dnat);
    }
}

/// 1/n as the kernel gives it back: in units of 2^-31, rounded.
fn probability(n: usize) -> String {
    let asked = (1.0 / n as f64 * 1e10).round() / 1e10;
    let kernel = (asked * 2_147_483_648.0).round() / 2_147_483_648.0;
    format!("{kernel:.11}")
}
