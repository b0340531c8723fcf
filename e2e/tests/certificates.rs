//! Who a client is by its certificate.

use std::path::Path;

use e2e::Instance;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use serde_json::{Value, json};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority")
}

/// The flags of curl for a certificate of `name`, of the organisation `crew` and with this uid, until this year.
fn issued(dir: &Path, by: &Authority, name: &str, uid: &str, until: i32) -> [String; 4] {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.distinguished_name.push(DnType::CommonName, name);
    params.distinguished_name.push(DnType::OrganizationName, "crew");
    if !uid.is_empty() {
        params.distinguished_name.push(DnType::CustomDnType(vec![1, 3, 6, 1, 4, 1, 57683, 2]), uid);
    }
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.not_before = rcgen::date_time_ymd(2019, 1, 1);
    params.not_after = rcgen::date_time_ymd(until, 1, 1);
    let key = KeyPair::generate().expect("a key");
    let certificate = params.signed_by(&key, by).expect("a certificate");
    let file = |end: &str, text: String| {
        let path = dir.join(format!("{name}.{end}"));
        std::fs::write(&path, text).expect("a file");
        path.display().to_string()
    };
    ["--cert".into(), file("crt", certificate.pem()), "--key".into(), file("key", key.serialize_pem())]
}

/// Who the server takes a client for: status, user and uid, or the message.
fn told(instance: &Instance, flags: &[String]) -> (u16, Value) {
    let body = r#"{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}"#;
    let mut arguments = vec!["-H", "Content-Type: application/json", "--data", body];
    arguments.extend(flags.iter().map(String::as_str));
    let (text, status) = instance.api("/apis/authentication.k8s.io/v1/selfsubjectreviews", &arguments);
    let answer: Value = serde_json::from_str(&text).unwrap_or_default();
    let user = &answer["status"]["userInfo"];
    (status, if status == 201 { user.clone() } else { answer["message"].clone() })
}

#[test]
fn several_authorities_vouch_and_whom_none_knows_is_unauthorized() {
    let first = Instance::apiserver(&[]);
    let dir = first.kill();
    let own = std::fs::read_to_string(dir.join("pki/ca.crt")).expect("the server's own authority");
    let [one, two, stranger] = ["one", "two", "stranger"].map(authority);
    let bundle = dir.join("bundle.pem");
    std::fs::write(&bundle, own + &one.pem() + &two.pem()).expect("a file");
    let flags = [
        issued(&dir, &one, "ann", "", 2100),
        issued(&dir, &two, "bea", "u-7", 2100),
        issued(&dir, &one, "late", "", 2020),
        issued(&dir, &stranger, "eve", "", 2100),
    ];
    let instance = Instance::apiserver_in(dir, &["--client-ca-file", &bundle.display().to_string()]);
    let [ann, bea, late, eve] = flags;
    for (flags, name, uid) in [(&ann, "ann", Value::Null), (&bea, "bea", json!("u-7"))] {
        let (status, user) = told(&instance, flags);
        assert_eq!((status, &user["username"], &user["uid"]), (201, &json!(name), &uid), "{user}");
        assert_eq!(user["groups"], json!(["crew", "system:authenticated"]));
        let id = user["extra"]["authentication.kubernetes.io/credential-id"][0].as_str().unwrap_or_default();
        assert!(id.starts_with("X509SHA256="), "{user}");
    }
    // The connection stands: what is wrong with the certificate is answered, and a token does as well.
    for flags in [&late, &eve] {
        assert_eq!(told(&instance, flags), (401, json!("Unauthorized")));
        instance.kubectl(&["create", "serviceaccount", "robot"]);
        let token = instance.kubectl_ok(&["create", "token", "robot"]);
        let mut with_token = flags.to_vec();
        with_token.extend(["-H".to_owned(), format!("Authorization: Bearer {}", token.trim())]);
        let (status, user) = told(&instance, &with_token);
        assert_eq!((status, &user["username"]), (201, &json!("system:serviceaccount:default:robot")));
    }
}
