//! Amazon's private registries: their hosts, and the signature with which keys ask for a registry's password.

use aws_lc_rs::hmac;

use crate::image::Digest;
use crate::registry::settings::Secret;

/// The keys of the environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AwsKeys {
    id: String,
    secret: Secret,
    session: Option<Secret>,
    /// Where the service is, if not where it usually is.
    endpoint: Option<String>,
}

/// A registry of Amazon's, and the keys to ask for its password with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::registry) struct EcrHost {
    pub(in crate::registry) region: String,
    domain: String,
    keys: AwsKeys,
}

/// A signed request, ready to be sent.
pub(in crate::registry) struct Signed {
    pub(in crate::registry) url: String,
    pub(in crate::registry) headers: Vec<(&'static str, String)>,
    pub(in crate::registry) body: &'static str,
}

impl AwsKeys {
    pub(super) fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let (id, secret) = (variable("AWS_ACCESS_KEY_ID")?, variable("AWS_SECRET_ACCESS_KEY")?);
        Some(Self {
            id,
            secret: Secret::new(secret),
            session: variable("AWS_SESSION_TOKEN").map(Secret::new),
            endpoint: variable("AWS_ENDPOINT_URL_ECR").or_else(|| variable("AWS_ENDPOINT_URL")),
        })
    }
}

impl EcrHost {
    /// `<12 digits>.dkr.ecr.<region>.amazonaws.com`, in China with `.cn` behind; nothing else.
    pub(super) fn parse(host: &str, keys: AwsKeys) -> Option<Self> {
        let parts: Vec<&str> = host.split('.').collect();
        let (account, region, domain) = match parts[..] {
            [account, "dkr", "ecr", region, "amazonaws", "com"] => (account, region, "amazonaws.com"),
            [account, "dkr", "ecr", region, "amazonaws", "com", "cn"] => {
                (account, region, "amazonaws.com.cn")
            }
            _ => return None,
        };
        let is_account = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let is_region = !region.is_empty() && region.bytes().all(fits);
        (is_account && is_region).then(|| Self { region: region.to_owned(), domain: domain.to_owned(), keys })
    }

    /// The request for the registry's password at a time, given as `20150830T123600Z`.
    pub(in crate::registry) fn request(&self, time: &str) -> Option<Signed> {
        let usual = || format!("https://api.ecr.{}.{}", self.region, self.domain);
        let url = reqwest::Url::parse(&self.keys.endpoint.clone().unwrap_or_else(usual)).ok()?;
        let host = match (url.host_str()?, url.port()) {
            (host, Some(port)) => format!("{host}:{port}"),
            (host, None) => host.to_owned(),
        };
        let mut headers = vec![
            ("content-type", "application/x-amz-json-1.1".to_owned()),
            ("host", host),
            ("x-amz-date", time.to_owned()),
            ("x-amz-target", "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken".to_owned()),
        ];
        if let Some(session) = &self.keys.session {
            headers.insert(3, ("x-amz-security-token", session.reveal().to_owned()));
        }
        let body = "{}";
        let request = Request { method: "POST", path: "/", query: "", headers: &headers, body };
        let authorization = request.signature(&self.keys, time, &self.region, "ecr");
        headers.push(("authorization", authorization));
        headers.retain(|(name, _)| *name != "host");
        Some(Signed { url: url.join("/").ok()?.to_string(), headers, body })
    }
}

/// User and password out of the service's answer.
pub(in crate::registry) fn authorization(answer: &[u8]) -> Option<(String, Secret)> {
    use base64::Engine as _;
    let json: serde_json::Value = serde_json::from_slice(answer).ok()?;
    let token = json.get("authorizationData")?.get(0)?.get("authorizationToken")?.as_str()?;
    let pair = base64::engine::general_purpose::STANDARD.decode(token).ok()?;
    let pair = String::from_utf8(pair).ok()?;
    let (user, password) = pair.split_once(':')?;
    Some((user.to_owned(), Secret::new(password)))
}

/// What Amazon's signature, version 4, is made of. Headers are in lower case and in order.
struct Request<'a> {
    method: &'a str,
    path: &'a str,
    query: &'a str,
    headers: &'a [(&'static str, String)],
    body: &'a str,
}

impl Request<'_> {
    fn signature(&self, keys: &AwsKeys, time: &str, region: &str, service: &str) -> String {
        let names = self.headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
        let lines: String =
            self.headers.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
        let body = Digest::of(self.body.as_bytes()).hex();
        let Self { method, path, query, .. } = self;
        let canonical = format!("{method}\n{path}\n{query}\n{lines}\n{names}\n{body}");
        let day = time.get(..8).unwrap_or(time);
        let scope = format!("{day}/{region}/{service}/aws4_request");
        let hashed = Digest::of(canonical.as_bytes()).hex();
        let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{hashed}");
        let mut key = format!("AWS4{}", keys.secret.reveal()).into_bytes();
        for part in [day, region, service, "aws4_request", &to_sign] {
            key = mac(&key, part);
        }
        let signature: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        let id = &keys.id;
        format!("AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}")
    }
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> AwsKeys {
        AwsKeys {
            id: "AKIDEXAMPLE".to_owned(),
            secret: Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
            session: None,
            endpoint: None,
        }
    }

    /// The examples that Amazon publishes for who implements the signature.
    #[test]
    fn signatures_are_those_of_amazons_examples() {
        let time = "20150830T123600Z";
        let host = ("host", "example.amazonaws.com".to_owned());
        let date = ("x-amz-date", time.to_owned());
        let plain = [host.clone(), date.clone()];
        let form = [("content-type", "application/x-www-form-urlencoded".to_owned()), host, date.clone()];
        let iam = [
            ("content-type", "application/x-www-form-urlencoded; charset=utf-8".to_owned()),
            ("host", "iam.amazonaws.com".to_owned()),
            date,
        ];
        let list = "Action=ListUsers&Version=2010-05-08";
        type Case<'a> = (&'a str, &'a str, &'a [(&'static str, String)], &'a str, &'a str, &'a str);
        let cases: [Case<'_>; 5] = [
            (
                "GET",
                "",
                &plain,
                "",
                "service",
                "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
            ),
            (
                "GET",
                "Param1=value1&Param2=value2",
                &plain,
                "",
                "service",
                "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
            ),
            (
                "POST",
                "",
                &plain,
                "",
                "service",
                "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
            ),
            (
                "POST",
                "",
                &form,
                "Param1=value1",
                "service",
                "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
            ),
            (
                "GET",
                list,
                &iam,
                "",
                "iam",
                "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
            ),
        ];
        for (method, query, headers, body, service, wanted) in cases {
            let request = Request { method, path: "/", query, headers, body };
            let signature = request.signature(&keys(), time, "us-east-1", service);
            assert!(
                signature.ends_with(&format!("Signature={wanted}")),
                "{method} {query} {body}: {signature}"
            );
            let scope = format!("Credential=AKIDEXAMPLE/20150830/us-east-1/{service}/aws4_request, ");
            assert!(signature.contains(&scope), "{signature}");
        }
    }

    #[test]
    fn only_amazons_own_hosts_are_taken() {
        let parse = |host: &str| EcrHost::parse(host, keys());
        let china = parse("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn").unwrap();
        let url = china.request("20150830T123600Z").unwrap().url;
        assert_eq!(url, "https://api.ecr.cn-north-1.amazonaws.com.cn/");
        assert!(parse("123456789012.dkr.ecr.eu-west-1.amazonaws.com").is_some());
        for other in [
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com.evil.example",
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com:444",
            "12345678901.dkr.ecr.eu-west-1.amazonaws.com",
            "x.123456789012.dkr.ecr.eu-west-1.amazonaws.com",
            "123456789012.dkr.ecr.eu/west-1.amazonaws.com",
            "public.ecr.aws",
        ] {
            assert!(parse(other).is_none(), "{other}");
        }
    }

    #[test]
    fn the_secret_key_is_in_no_request_and_the_password_in_the_answer() {
        let keys = AwsKeys { session: Some(Secret::new("session")), ..keys() };
        let host = EcrHost::parse("123456789012.dkr.ecr.eu-west-1.amazonaws.com", keys).unwrap();
        let signed = host.request("20150830T123600Z").unwrap();
        let sent = format!("{} {:?} {}", signed.url, signed.headers, signed.body);
        assert!(!sent.contains("wJalrXUtnFEMI"), "{sent}");
        assert!(
            sent.contains("SignedHeaders=content-type;host;x-amz-date;x-amz-security-token;x-amz-target")
        );
        let answer = br#"{"authorizationData":[{"authorizationToken":"QVdTOnB3"}]}"#;
        let (user, password) = authorization(answer).unwrap();
        assert_eq!((user.as_str(), password.reveal()), ("AWS", "pw"));
    }
}
