//! Formats of ARNs, ids and DNS names, and how to read the parts back.
//!
//! Random parts are passed in; nothing is made up here.

use crate::elbv2::{LoadBalancerType, Scheme};
use crate::layout::{ACCOUNT_ID, REGION};

/// Hosted zone id of ALB names in the region.
pub const ALB_HOSTED_ZONE_ID: &str = "Z35SXDOTRQ7X7K";
/// Hosted zone id of NLB names in the region.
pub const NLB_HOSTED_ZONE_ID: &str = "Z26RNL4JYFTOTI";
const ELB: &str = "arn:aws:elasticloadbalancing";

fn short(kind: LoadBalancerType) -> &'static str {
    match kind {
        LoadBalancerType::Application => "app",
        LoadBalancerType::Network => "net",
    }
}

/// ARN of a load balancer; `id` is 16 hex digits.
pub fn load_balancer_arn(kind: LoadBalancerType, name: &str, id: &str) -> String {
    format!("{ELB}:{REGION}:{ACCOUNT_ID}:loadbalancer/{}/{name}/{id}", short(kind))
}

/// ARN of a listener of a load balancer.
pub fn listener_arn(load_balancer_arn: &str, id: &str) -> String {
    format!("{}/{id}", load_balancer_arn.replacen(":loadbalancer/", ":listener/", 1))
}

/// ARN of a rule of a listener.
pub fn rule_arn(listener_arn: &str, id: &str) -> String {
    format!("{}/{id}", listener_arn.replacen(":listener/", ":listener-rule/", 1))
}

/// ARN of a target group.
pub fn target_group_arn(name: &str, id: &str) -> String {
    format!("{ELB}:{REGION}:{ACCOUNT_ID}:targetgroup/{name}/{id}")
}

/// ARN of a certificate; `id` is a UUID.
pub fn certificate_arn(id: &str) -> String {
    format!("arn:aws:acm:{REGION}:{ACCOUNT_ID}:certificate/{id}")
}

/// Name of the target group in an ARN; the whole text if it is none.
pub fn target_group_name(arn: &str) -> &str {
    arn.split(":targetgroup/").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or(arn)
}

/// Name of the load balancer in the ARN of it, its listener or rule.
pub fn load_balancer_name(arn: &str) -> &str {
    arn.rsplit(':').next().and_then(|path| path.split('/').nth(2)).unwrap_or(arn)
}

/// The DNS name: `id` is 16 hex digits, of which an ALB shows a decimal number.
pub fn dns_name(kind: LoadBalancerType, scheme: Scheme, name: &str, id: &str) -> String {
    match kind {
        LoadBalancerType::Application => {
            let digits = u64::from_str_radix(id, 16).unwrap_or(0) % 10_000_000_000;
            let prefix = if scheme == Scheme::Internal { "internal-" } else { "" };
            format!("{prefix}{name}-{digits}.{REGION}.elb.amazonaws.com")
        }
        LoadBalancerType::Network => format!("{name}-{id}.elb.{REGION}.amazonaws.com"),
    }
}

/// Hosted zone id that an alias to the load balancer names.
pub fn canonical_hosted_zone_id(kind: LoadBalancerType) -> &'static str {
    match kind {
        LoadBalancerType::Application => ALB_HOSTED_ZONE_ID,
        LoadBalancerType::Network => NLB_HOSTED_ZONE_ID,
    }
}

/// Private DNS name of an address: `ip-10-0-16-4.ec2.internal`.
pub fn private_dns_name(ip: &str) -> String {
    format!("ip-{}.ec2.internal", ip.replace('.', "-"))
}

/// `aws:///us-east-1a/i-…`, as a Node's spec.providerID.
pub fn provider_id(zone: &str, instance_id: &str) -> String {
    format!("aws:///{zone}/{instance_id}")
}

/// The instance id of a providerID.
pub fn instance_id_of(provider_id: &str) -> Option<&str> {
    let id = provider_id.strip_prefix("aws://")?.rsplit('/').next()?;
    id.starts_with("i-").then_some(id)
}

/// A legal object name from an AWS name: lower case, other characters become `-`.
pub fn object_name(text: &str) -> String {
    let mut name: String = text
        .chars()
        .map(|c| match c.to_ascii_lowercase() {
            c @ ('a'..='z' | '0'..='9' | '.') => c,
            _ => '-',
        })
        .collect();
    name = name.trim_matches(|c| c == '-' || c == '.').to_string();
    if name != text {
        name = format!("{name}-{:04x}", fnv1a(text.as_bytes()) & 0xffff);
    }
    name
}

/// The 64-bit FNV-1a hash, for names that must come out the same everywhere.
pub fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, b| (hash ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arns_nest_and_read_back() {
        let lb = load_balancer_arn(LoadBalancerType::Application, "web", "50dc6c495c0c9188");
        let listener = listener_arn(&lb, "f2f7dc8efc522ab2");
        let rule = rule_arn(&listener, "9683b2d02a6cabee");
        assert_eq!(
            rule,
            "arn:aws:elasticloadbalancing:us-east-1:123456789012:listener-rule/app/web/50dc6c495c0c9188/f2f7dc8efc522ab2/9683b2d02a6cabee"
        );
        for arn in [&lb, &listener, &rule] {
            assert_eq!(load_balancer_name(arn), "web");
        }
        assert_eq!(target_group_name(&target_group_arn("tg", "0")), "tg");
    }

    #[test]
    fn dns_names_have_the_shape_external_dns_looks_at() {
        let alb = dns_name(LoadBalancerType::Application, Scheme::Internal, "web", "00000000000004d2");
        assert_eq!(alb, "internal-web-1234.us-east-1.elb.amazonaws.com");
        let nlb = dns_name(LoadBalancerType::Network, Scheme::InternetFacing, "n", "00000000000004d2");
        assert_eq!(nlb, "n-00000000000004d2.elb.us-east-1.amazonaws.com");
    }

    #[test]
    fn provider_id_round_trips() {
        assert_eq!(instance_id_of(&provider_id("us-east-1a", "i-1")), Some("i-1"));
        assert_eq!(instance_id_of("kind://x"), None);
    }
}
