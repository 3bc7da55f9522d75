//! Which addresses this process connects to when somebody else names them: the guard against requests forged by the server (SSRF).
//!
//! An address is checked three times: as it is written ([`AddressPolicy::check`], at saving and before each request and redirect),
//! and after its name is looked up, in the resolver of the client that connects ([`AddressPolicy::resolver`]): what was checked is
//! what is connected to, so that a name that changes its address in between gains nothing. Following redirects, bounds and what
//! is read are the caller's.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Ports at which public servers offer files. Anything else at a public address is another service.
const PORTS: [u16; 4] = [80, 443, 8080, 8443];

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6(first: u16, second: u16, prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(first, second, 0, 0, 0, 0, 0, 0), prefix)
}

/// Addresses that are not public (<https://www.iana.org/assignments/iana-ipv4-special-registry>).
const NOT_PUBLIC_V4: [Ipv4Net; 15] = [
    v4(0, 0, 0, 0, 8),
    v4(10, 0, 0, 0, 8),
    v4(100, 64, 0, 0, 10),
    v4(127, 0, 0, 0, 8),
    LINK_LOCAL_V4,
    v4(172, 16, 0, 0, 12),
    v4(192, 0, 0, 0, 24),
    v4(192, 0, 2, 0, 24),
    v4(192, 88, 99, 0, 24),
    v4(192, 168, 0, 0, 16),
    v4(198, 18, 0, 0, 15),
    v4(198, 51, 100, 0, 24),
    v4(203, 0, 113, 0, 24),
    v4(224, 0, 0, 0, 4),
    v4(240, 0, 0, 0, 4),
];
/// Of IPv6 only this is public, but for what follows (<https://www.iana.org/assignments/iana-ipv6-special-registry>).
const PUBLIC_V6: Ipv6Net = v6(0x2000, 0, 3);
/// Protocols' own (Teredo among them), documentation, and 6to4, which leads to an IPv4 address of anybody's choice.
const NOT_PUBLIC_V6: [Ipv6Net; 4] = [v6(0x2001, 0, 23), v6(0x2001, 0xdb8, 32), v6(0x2002, 0, 16), v6(0x3fff, 0, 20)];
/// Where the networks' own translators put IPv4 (RFC 6052).
const NAT64: Ipv6Net = v6(0x64, 0xff9b, 96);
/// Where clouds keep the keys of their machines (169.254.169.254).
const LINK_LOCAL_V4: Ipv4Net = v4(169, 254, 0, 0, 16);
const LINK_LOCAL_V6: Ipv6Net = v6(0xfe80, 0, 10);
/// The same service of AWS by IPv6.
const METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

/// A host or network that may be connected to although it is not public.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedAddress {
    /// A host by its name, at any port, wherever it is but at an address that clouds keep keys at.
    Host(String),
    /// All addresses of a network, at any port.
    Network(IpNet),
}

impl AllowedAddress {
    /// Reads `minio.internal`, `10.1.2.3` or `10.1.0.0/16`; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if let Ok(network) = text.parse::<IpNet>() {
            return Some(Self::Network(network));
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Some(Self::Network(address.into()));
        }
        // As URLs are read, so that both are written in the same way.
        let url = Url::parse(&format!("https://{text}/")).ok()?;
        let is_name = url.host_str() == Some(url.domain()?) && url.port().is_none() && url.path() == "/";
        let plain = !text.contains(['/', '@', ':', '?', '#', '*', ' ']);
        (is_name && plain).then(|| Self::Host(bare(url.domain().unwrap_or_default()).to_owned()))
    }
}

/// How far addresses may reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// Whoever calls names them: only public ones.
    Public,
    /// The operator names them in the configuration: any but those that clouds keep keys at.
    Operator,
}

/// Which addresses may be connected to.
#[derive(Clone, Debug)]
pub struct AddressPolicy {
    reach: Reach,
    allowed: Vec<AllowedAddress>,
    plain_http: bool,
}

/// Why there is no connection to an address. No text says whether a name that is not public exists.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressRefused {
    /// It is no URL.
    #[error("it is no URL with a host")]
    NoUrl,
    /// Neither HTTP nor HTTPS, or HTTP where that is not allowed.
    #[error("it must begin with `https://`")]
    Scheme,
    /// A name or password stands in it.
    #[error("a user name or password stands in it; leave it out")]
    UserInfo,
    /// Not a port of the web.
    #[error("the port {0} is none at which public servers offer files (80, 443, 8080, 8443)")]
    Port(u16),
    /// The address, or one of those that its name has, is not public; or the name has none.
    #[error("`{0}` has no public address")]
    NotPublic(String),
    /// Clouds keep the keys of their machines there.
    #[error("`{0}` is an address at which clouds keep the keys of their machines")]
    Metadata(String),
}

impl AddressPolicy {
    /// For addresses that callers name: public ones and what is allowed besides; `http://` only if `plain_http`, or to what is
    /// allowed.
    #[must_use]
    pub const fn public(allowed: Vec<AllowedAddress>, plain_http: PlainHttp) -> Self {
        Self { reach: Reach::Public, allowed, plain_http: matches!(plain_http, PlainHttp::Allowed) }
    }

    /// For addresses that the operator names, which may well be on the same machine.
    #[must_use]
    pub const fn operator() -> Self {
        Self { reach: Reach::Operator, allowed: Vec::new(), plain_http: true }
    }

    /// Checks an address as it is written. Names are looked up only when connecting.
    ///
    /// # Errors
    /// When nothing may be asked there.
    pub fn check(&self, url: &Url) -> Result<(), AddressRefused> {
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or(AddressRefused::NoUrl)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(AddressRefused::UserInfo);
        }
        // The URL's own reader turns `2130706433`, `0x7f.1` and `0177.0.0.1` into the addresses that they mean.
        let literal = host.trim_matches(['[', ']']).parse::<IpAddr>().ok();
        let is_allowed = match literal {
            Some(address) => self.allows_address(address),
            None => self.allows_host(host),
        };
        match url.scheme() {
            "https" => {}
            "http" if self.plain_http || is_allowed => {}
            _ => return Err(AddressRefused::Scheme),
        }
        if let Some(address) = literal {
            self.permit(host, address)?;
        }
        let port = url.port_or_known_default().ok_or(AddressRefused::Scheme)?;
        let is_free = is_allowed || self.reach == Reach::Operator;
        if is_free || PORTS.contains(&port) { Ok(()) } else { Err(AddressRefused::Port(port)) }
    }

    /// The resolver for a client that connects to nothing else.
    #[must_use]
    pub fn resolver(&self) -> Arc<dyn Resolve> {
        self.resolver_over(Arc::new(SystemResolver))
    }

    /// The same, asking another resolver than the machine's.
    #[must_use]
    pub fn resolver_over(&self, inner: Arc<dyn Resolve>) -> Arc<dyn Resolve> {
        Arc::new(GuardedResolver { policy: self.clone(), inner })
    }

    /// Whether an address that a host was found at may be connected to.
    fn permit(&self, host: &str, address: IpAddr) -> Result<(), AddressRefused> {
        let address = embedded(address);
        if self.allows_address(address) {
            return Ok(());
        }
        if holds_keys(address) {
            return Err(AddressRefused::Metadata(host.to_owned()));
        }
        let is_free = self.reach == Reach::Operator || self.allows_host(host) || is_public(address);
        if is_free { Ok(()) } else { Err(AddressRefused::NotPublic(host.to_owned())) }
    }

    fn allows_address(&self, address: IpAddr) -> bool {
        let address = embedded(address);
        self.allowed.iter().any(|allowed| matches!(allowed, AllowedAddress::Network(net) if net.contains(&address)))
    }

    fn allows_host(&self, host: &str) -> bool {
        let host = bare(host);
        self.allowed
            .iter()
            .any(|allowed| matches!(allowed, AllowedAddress::Host(name) if name.eq_ignore_ascii_case(host)))
    }
}

/// Whether what callers name may be asked without encryption.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PlainHttp {
    /// Only where the address is allowed by the operator.
    #[default]
    Refused,
    /// Anywhere.
    Allowed,
}

/// A name without the dot of the root.
fn bare(host: &str) -> &str {
    host.strip_suffix('.').unwrap_or(host)
}

/// The IPv4 address that an IPv6 address stands for, if it does.
fn embedded(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    if let Some(v4) = v6.to_ipv4_mapped() {
        return v4.into();
    }
    if NAT64.contains(&v6) {
        let [.., a, b, c, d] = v6.octets();
        return Ipv4Addr::new(a, b, c, d).into();
    }
    address
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => NOT_PUBLIC_V4.iter().all(|network| !network.contains(&v4)),
        IpAddr::V6(v6) => PUBLIC_V6.contains(&v6) && NOT_PUBLIC_V6.iter().all(|network| !network.contains(&v6)),
    }
}

fn holds_keys(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => LINK_LOCAL_V4.contains(&v4),
        IpAddr::V6(v6) => LINK_LOCAL_V6.contains(&v6) || v6 == METADATA_V6,
    }
}

/// Looks names up and gives only what may be connected to. A name of which one address may not is refused whole.
struct GuardedResolver {
    policy: AddressPolicy,
    inner: Arc<dyn Resolve>,
}

impl fmt::Debug for GuardedResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardedResolver").field("policy", &self.policy).finish_non_exhaustive()
    }
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (policy, host) = (self.policy.clone(), name.as_str().to_owned());
        let looking_up = self.inner.resolve(name);
        Box::pin(async move {
            let missing = || AddressRefused::NotPublic(host.clone());
            let is_operators = policy.reach == Reach::Operator;
            let found: Vec<SocketAddr> = match looking_up.await {
                Ok(found) => found.collect(),
                // The operator may know that a name does not exist.
                Err(error) if is_operators => return Err(error),
                Err(_) => return Err(missing().into()),
            };
            if found.is_empty() {
                return Err(missing().into());
            }
            for address in &found {
                policy.permit(&host, address.ip())?;
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// The machine's own resolver.
struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            // The port is set by whoever connects.
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn public(allowed: &[&str]) -> AddressPolicy {
        let allowed = allowed.iter().map(|text| AllowedAddress::parse(text).unwrap()).collect();
        AddressPolicy::public(allowed, PlainHttp::Allowed)
    }

    fn check(policy: &AddressPolicy, url: &str) -> Result<(), AddressRefused> {
        policy.check(&Url::parse(url).map_err(|_| AddressRefused::NoUrl)?)
    }

    #[test]
    fn fault_25_an_address_is_refused_however_it_is_written() {
        let policy = public(&[]);
        for host in [
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0x7f.0.0.1",
            "0177.0.0.1",
            "017700000001",
            "127.0.0.1.",
            "127。0。0。1",
            "①②⑦.⓪.⓪.①",
            "%31%32%37.0.0.1",
            "0",
            "0.0.0.0",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "100.64.0.1",
            "192.0.2.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "[::]",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[0:0:0:0:0:ffff:a00:1]",
            "[::127.0.0.1]",
            "[64:ff9b::127.0.0.1]",
            "[64:ff9b::a00:1]",
            "[64:ff9b:1::1]",
            "[2002:7f00:1::]",
            "[2001:0:4136:e378::]",
            "[2001:db8::1]",
            "[fc00::1]",
            "[fd12:3456::1]",
            "[ff02::1]",
            "[fec0::1]",
        ] {
            let refused = check(&policy, &format!("http://{host}/a.png"));
            assert!(matches!(refused, Err(AddressRefused::NotPublic(_))), "{host}: {refused:?}");
        }
        for host in ["93.184.215.14", "[2606:2800:21f:cb07:6820:80da:af6b:8b2c]", "[64:ff9b::5db8:d70e]", "example.org"]
        {
            assert_eq!(check(&policy, &format!("https://{host}/a.png")), Ok(()), "{host}");
        }
    }

    #[test]
    fn fault_25_the_keys_of_clouds_are_refused_to_everybody() {
        for policy in [public(&[]), public(&["metadata.internal"]), AddressPolicy::operator()] {
            for host in [
                "169.254.169.254",
                "2852039166",
                "0xa9fea9fe",
                "0251.0376.0251.0376",
                "[::ffff:169.254.169.254]",
                "[::ffff:a9fe:a9fe]",
                "[64:ff9b::a9fe:a9fe]",
                "[fe80::1]",
                "[fd00:ec2::254]",
            ] {
                let refused = check(&policy, &format!("http://{host}/latest/meta-data"));
                assert!(matches!(refused, Err(AddressRefused::Metadata(_))), "{host}: {refused:?}");
            }
        }
        let named = public(&["metadata.internal"]);
        let refused = named.permit("metadata.internal", IpAddr::from([169, 254, 169, 254]));
        assert!(matches!(refused, Err(AddressRefused::Metadata(_))));
        assert_eq!(check(&public(&["169.254.169.254"]), "http://169.254.169.254/"), Ok(()), "said in so many words");
    }

    #[test]
    fn fault_25_users_schemes_and_ports_are_refused() {
        let policy = public(&[]);
        for (url, refused) in [
            ("https://example.org@10.0.0.1/", AddressRefused::UserInfo),
            ("https://user:pass@example.org/", AddressRefused::UserInfo),
            ("https://:pass@example.org/", AddressRefused::UserInfo),
            ("https://example.org:22/", AddressRefused::Port(22)),
            ("https://example.org:6379/", AddressRefused::Port(6379)),
            ("ftp://example.org/a.png", AddressRefused::Scheme),
            ("gopher://example.org/", AddressRefused::Scheme),
            ("file:///etc/passwd", AddressRefused::NoUrl),
            ("data:image/png,x", AddressRefused::NoUrl),
        ] {
            assert_eq!(check(&policy, url), Err(refused), "{url}");
        }
        let only_https = AddressPolicy::public(Vec::new(), PlainHttp::Refused);
        assert_eq!(check(&only_https, "http://example.org/"), Err(AddressRefused::Scheme));
        assert_eq!(check(&only_https, "https://example.org:8443/"), Ok(()));
    }

    #[test]
    fn what_is_allowed_is_reached_at_any_port_and_nothing_beside_it() {
        let policy = AddressPolicy::public(
            ["minio.internal", "10.1.0.0/16", "127.0.0.1"].map(|text| AllowedAddress::parse(text).unwrap()).to_vec(),
            PlainHttp::Refused,
        );
        for url in [
            "http://minio.internal:9000/a",
            "http://MinIO.internal./a",
            "http://10.1.2.3:1/",
            "http://[::ffff:10.1.2.3]/",
        ] {
            assert_eq!(check(&policy, url), Ok(()), "{url}");
        }
        for url in ["http://10.2.0.1/", "http://127.0.0.2/", "http://x.minio.internal/"] {
            assert!(check(&policy, url).is_err(), "{url}");
        }
        assert_eq!(policy.permit("minio.internal", IpAddr::from([192, 168, 0, 7])), Ok(()));
        assert!(policy.permit("other.internal", IpAddr::from([192, 168, 0, 7])).is_err());
        for wrong in ["", "*.internal", "http://x", "x:9000", "a b", "x/y", "u@x", "10.0.0.0/40"] {
            assert_eq!(AllowedAddress::parse(wrong), None, "{wrong}");
        }
    }
}
