//! The DNS services that are reached through their own API, and what each needs. Pure data: the
//! rules of a spec, its schema, the documentation and the calls all go by it.

/// A setting or a credential of a service.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Key {
    /// Its name: a key of `service.config`, or of the Secret.
    pub name: &'static str,
    /// Whether the service cannot be used without it.
    pub required: bool,
    /// What to write, for a person.
    pub meaning: &'static str,
}

/// A DNS service with an API.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Service {
    /// What `service.name` says.
    pub name: &'static str,
    /// What it is called in a sentence.
    pub title: &'static str,
    /// The field of the spec that is its own, where it has one.
    pub block: Option<&'static str>,
    /// Seconds: a smaller TTL is refused, or made this. 0 where nothing is known.
    pub smallest_ttl: u32,
    /// What may stand in `service.config`, or in its own block.
    pub config: &'static [Key],
    /// What its Secret holds.
    pub credentials: &'static [Key],
}

/// The APIs of OVHcloud.
pub const OVH_ENDPOINTS: &[&str] = &[
    "ovh-eu",
    "ovh-us",
    "ovh-ca",
    "kimsufi-eu",
    "kimsufi-ca",
    "soyoustart-eu",
    "soyoustart-ca",
];

/// The clouds of Azure.
pub const AZURE_ENVIRONMENTS: &[&str] = &["public", "china", "usgovernment"];

const fn need(name: &'static str, meaning: &'static str) -> Key {
    Key {
        name,
        required: true,
        meaning,
    }
}

const fn may(name: &'static str, meaning: &'static str) -> Key {
    Key {
        name,
        required: false,
        meaning,
    }
}

const fn service(
    name: &'static str,
    title: &'static str,
    block: Option<&'static str>,
    smallest_ttl: u32,
    config: &'static [Key],
    credentials: &'static [Key],
) -> Service {
    Service {
        name,
        title,
        block,
        smallest_ttl,
        config,
        credentials,
    }
}

/// All of them, by name.
#[rustfmt::skip]
pub const SERVICES: &[Service] = &[
    service("alidns", "Alibaba Cloud DNS", None, 0,
        &[may("region", "region of the account"), may("line", "resolution line (default: default)")],
        &[need("accessKey", "AccessKey ID"), need("secretKey", "AccessKey secret"), may("securityToken", "token of temporary credentials")]),
    service("arvancloud", "ArvanCloud", None, 0,
        &[],
        &[need("apiKey", "API key")]),
    service("autodns", "InterNetX AutoDNS", None, 0,
        &[may("context", "number of the context (default 4)")],
        &[need("username", "name of the API user"), need("password", "its password")]),
    service("azure-dns", "Azure DNS", Some("azureDns"), 0,
        &[need("tenantId", "directory (tenant) id"), need("clientId", "application (client) id"), need("subscriptionId", "subscription of the zones"), need("resourceGroup", "resource group of the zones"), may("environment", "public (default), china or usgovernment")],
        &[need("clientSecret", "secret of the application")]),
    service("baiducloud", "Baidu Cloud DNS", None, 0,
        &[],
        &[need("accessKey", "access key"), need("secretKey", "secret key")]),
    service("bluecat", "BlueCat Address Manager v2", None, 0,
        &[need("url", "https URL of the Address Manager"), need("configuration", "name of the configuration"), need("view", "name of the view"), may("skipDeploy", "true leaves the deployment to somebody else")],
        &[need("username", "user"), need("password", "its password")]),
    service("bunny", "bunny.net", None, 0,
        &[],
        &[need("apiKey", "account API key")]),
    service("cloudflare", "Cloudflare", Some("cloudflare"), 60,
        &[],
        &[need("apiToken", "API token with Zone:Read and DNS:Edit")]),
    service("cloudns", "ClouDNS", None, 0,
        &[may("authId", "API user id; this or subAuthId"), may("subAuthId", "API sub-user id")],
        &[need("authPassword", "its password")]),
    service("constellix", "Constellix", None, 0,
        &[],
        &[need("apiKey", "API key"), need("secretKey", "secret key")]),
    service("cpanel", "cPanel", None, 0,
        &[need("url", "https URL of the cPanel, with its port"), need("username", "account")],
        &[need("apiToken", "API token")]),
    service("desec", "deSEC", Some("deSec"), 3600,
        &[],
        &[need("apiToken", "token")]),
    service("digitalocean", "DigitalOcean", Some("digitalOcean"), 30,
        &[],
        &[need("apiToken", "personal access token with the scopes domain:read, domain:create, domain:update and domain:delete")]),
    service("dnsimple", "DNSimple", None, 0,
        &[need("accountId", "number of the account")],
        &[need("apiToken", "API access token")]),
    service("dnsmadeeasy", "DNS Made Easy", None, 0,
        &[],
        &[need("apiKey", "API key"), need("apiSecret", "secret key")]),
    service("domeneshop", "Domeneshop", None, 0,
        &[],
        &[need("apiToken", "token"), need("apiSecret", "secret")]),
    service("dreamhost", "DreamHost", None, 0,
        &[],
        &[need("apiKey", "API key with dns-*")]),
    service("dynu", "Dynu", None, 0,
        &[],
        &[need("apiKey", "API key")]),
    service("easydns", "easyDNS", None, 0,
        &[],
        &[need("token", "API token"), need("key", "API key")]),
    service("edgedns", "Akamai Edge DNS", None, 0,
        &[need("host", "host of the API client, akab-….luna.akamaiapis.net"), may("accountSwitchKey", "key of another account")],
        &[need("clientToken", "client token"), need("clientSecret", "client secret"), need("accessToken", "access token")]),
    service("exoscale", "Exoscale", None, 0,
        &[],
        &[need("apiKey", "API key"), need("apiSecret", "API secret")]),
    service("gandi", "Gandi LiveDNS", Some("gandi"), 300,
        &[],
        &[need("personalAccessToken", "token with the right to manage domain name technical configurations")]),
    service("gcore", "Gcore", None, 0,
        &[],
        &[need("apiToken", "permanent API token")]),
    service("glesys", "GleSYS", None, 0,
        &[need("apiUser", "project")],
        &[need("apiKey", "API key")]),
    service("godaddy", "GoDaddy", None, 600,
        &[],
        &[need("apiKey", "key"), need("apiSecret", "secret")]),
    service("google-cloud-dns", "Google Cloud DNS", Some("googleCloudDns"), 0,
        &[need("projectId", "project of the managed zones"), may("managedZone", "name of the only managed zone"), may("impersonateServiceAccount", "e-mail of the service account to act as")],
        &[need("serviceAccount", "key file of a service account, JSON")]),
    service("hetzner", "Hetzner", Some("hetzner"), 60,
        &[],
        &[need("apiToken", "API token of the project, read and write")]),
    service("hostingde", "hosting.de", None, 0,
        &[],
        &[need("apiKey", "API key")]),
    service("hostinger", "Hostinger", None, 0,
        &[],
        &[need("apiToken", "API token")]),
    service("huaweicloud", "Huawei Cloud DNS", None, 0,
        &[need("region", "region")],
        &[need("accessKey", "access key"), need("secretKey", "secret key")]),
    service("ibmcloud", "IBM Cloud (SoftLayer)", None, 0,
        &[need("username", "user")],
        &[need("apiKey", "classic infrastructure API key")]),
    service("infoblox", "Infoblox NIOS", None, 0,
        &[need("host", "host of the grid master"), may("port", "port (default 443)"), may("wapiVersion", "version of the WAPI"), may("dnsView", "DNS view")],
        &[need("username", "user"), need("password", "its password")]),
    service("infomaniak", "Infomaniak", None, 0,
        &[],
        &[need("accessToken", "API token with the scope domain")]),
    service("inwx", "INWX", None, 0,
        &[may("sandbox", "true talks to the test system")],
        &[need("username", "user"), need("password", "its password")]),
    service("ionos", "IONOS", None, 60,
        &[],
        &[need("apiKey", "prefix.secret")]),
    service("ipv64", "IPv64", None, 0,
        &[],
        &[need("apiKey", "API key")]),
    service("joker", "Joker.com", None, 300,
        &[],
        &[may("apiKey", "API key; this, or username and password"), may("username", "user"), may("password", "its password")]),
    service("lightsail", "Amazon Lightsail", None, 0,
        &[may("region", "region (default us-east-1)"), may("domain", "the only domain")],
        &[need("accessKeyId", "access key id"), need("secretAccessKey", "secret access key"), may("sessionToken", "token of temporary credentials")]),
    service("linode", "Linode (Akamai Connected Cloud)", None, 0,
        &[],
        &[need("apiToken", "personal access token with Domains read and write")]),
    service("luadns", "LuaDNS", None, 0,
        &[need("username", "e-mail address of the account")],
        &[need("apiToken", "API token")]),
    service("mythicbeasts", "Mythic Beasts", None, 0,
        &[],
        &[need("username", "id of the API key"), need("password", "its secret")]),
    service("namecheap", "Namecheap", None, 60,
        &[need("apiUser", "API user"), need("clientIp", "address that the API was opened for"), may("username", "account, if it is not the API user")],
        &[need("apiKey", "API key")]),
    service("namedotcom", "Name.com", None, 0,
        &[need("username", "user")],
        &[need("apiToken", "API token")]),
    service("namesilo", "NameSilo", None, 3600,
        &[],
        &[need("apiKey", "API key")]),
    service("netcup", "netcup", None, 0,
        &[need("customerNumber", "number of the customer")],
        &[need("apiKey", "API key"), need("apiPassword", "API password")]),
    service("netlify", "Netlify", None, 0,
        &[],
        &[need("accessToken", "personal access token")]),
    service("nifcloud", "NIFCLOUD", None, 0,
        &[],
        &[need("accessKey", "access key"), need("secretKey", "secret key")]),
    service("ns1", "NS1", None, 0,
        &[],
        &[need("apiKey", "API key that may view zones and manage records")]),
    service("oraclecloud", "Oracle Cloud", None, 0,
        &[need("tenancyOcid", "OCID of the tenancy"), need("userOcid", "OCID of the user"), need("fingerprint", "fingerprint of its API key"), need("region", "region"), need("compartmentOcid", "OCID of the zones' compartment")],
        &[need("privateKey", "API signing key, PEM"), may("privateKeyPassword", "its passphrase")]),
    service("ovh", "OVHcloud", Some("ovh"), 60,
        &[need("endpoint", "ovh-eu, ovh-us, ovh-ca, kimsufi-eu, kimsufi-ca, soyoustart-eu or soyoustart-ca")],
        &[need("applicationKey", "application key"), need("applicationSecret", "application secret"), need("consumerKey", "consumer key")]),
    service("plesk", "Plesk", None, 0,
        &[need("url", "https URL of the Plesk, with its port")],
        &[need("apiKey", "secret key of the API")]),
    service("porkbun", "Porkbun", None, 600,
        &[],
        &[need("apiKey", "API key"), need("secretApiKey", "secret API key")]),
    service("powerdns", "PowerDNS Authoritative (HTTP API)", Some("powerdns"), 0,
        &[need("url", "URL of the API server: https://pdns.example.org:8081"), may("serverId", "server (default localhost)")],
        &[need("apiKey", "api-key of pdns.conf")]),
    service("route53", "Amazon Route 53", Some("route53"), 0,
        &[may("region", "region that requests are signed for (default us-east-1)"), may("hostedZoneId", "id of the only hosted zone"), may("endpoint", "another URL of the API")],
        &[need("accessKeyId", "access key id"), need("secretAccessKey", "secret access key"), may("sessionToken", "token of temporary credentials")]),
    service("safedns", "ANS SafeDNS", None, 0,
        &[],
        &[need("apiToken", "API key")]),
    service("scaleway", "Scaleway", None, 0,
        &[],
        &[need("apiToken", "secret key of an API key")]),
    service("selectel", "Selectel", None, 60,
        &[need("username", "service user"), need("accountId", "number of the account"), need("projectId", "id of the project")],
        &[need("password", "its password")]),
    service("simplycom", "Simply.com", None, 0,
        &[need("accountName", "account")],
        &[need("apiKey", "API key")]),
    service("spaceship", "Spaceship", None, 0,
        &[],
        &[need("apiKey", "API key"), need("apiSecret", "API secret")]),
    service("tencentcloud", "Tencent Cloud DNSPod", None, 0,
        &[may("region", "region")],
        &[need("secretId", "SecretId"), need("secretKey", "SecretKey"), may("sessionToken", "token of temporary credentials")]),
    service("transip", "TransIP", None, 0,
        &[need("login", "account"), may("globalKey", "true lets the key be used from any address")],
        &[need("privateKey", "private key, PEM")]),
    service("ultradns", "UltraDNS", None, 0,
        &[may("endpoint", "another URL of the API")],
        &[need("username", "user"), need("password", "its password")]),
    service("vercel", "Vercel", None, 0,
        &[may("teamId", "team that owns the domain")],
        &[need("apiToken", "access token")]),
    service("volcengine", "Volcano Engine", None, 0,
        &[may("region", "region")],
        &[need("accessKey", "access key"), need("secretKey", "secret key")]),
    service("vultr", "Vultr", None, 0,
        &[],
        &[need("apiKey", "API key")]),
    service("websupport", "Websupport", None, 0,
        &[],
        &[need("apiKey", "API key"), need("secret", "secret")]),
    service("yandexcloud", "Yandex Cloud DNS", None, 0,
        &[need("folderId", "folder of the zones")],
        &[need("iamToken", "base64 of the authorized key file")]),
    service("zoneeu", "Zone.eu", None, 0,
        &[need("username", "account")],
        &[need("apiKey", "API key")]),
];

impl Service {
    /// The service that is called so.
    pub fn named(name: &str) -> Option<&'static Self> {
        SERVICES.iter().find(|service| service.name == name)
    }

    /// The service whose own field of the spec this is.
    pub fn of_block(block: &str) -> Option<&'static Self> {
        SERVICES.iter().find(|service| service.block == Some(block))
    }

    /// The words that a setting may be, where it is no free text.
    pub fn choices(&self, setting: &str) -> Option<&'static [&'static str]> {
        match (self.name, setting) {
            ("ovh", "endpoint") => Some(OVH_ENDPOINTS),
            ("azure-dns", "environment") => Some(AZURE_ENVIRONMENTS),
            (_, "skipDeploy" | "sandbox" | "globalKey") => Some(&["true", "false"]),
            _ => None,
        }
    }

    /// Whether its settings say which host is spoken to. A tenant may then send what he likes to
    /// hosts of his choice.
    pub fn has_own_host(&self) -> bool {
        self.host_keys().next().is_some()
    }

    /// The settings that say which host is spoken to.
    pub fn host_keys(&self) -> impl Iterator<Item = &'static Key> {
        let is_host = |key: &&Key| matches!(key.name, "url" | "host" | "endpoint");
        // OVHcloud's endpoint is one of seven names.
        let chosen = self.name != "ovh";
        self.config.iter().filter(is_host).filter(move |_| chosen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_stand_in_order_and_once() {
        let names: Vec<&str> = SERVICES.iter().map(|service| service.name).collect();
        assert!(names.is_sorted_by(|a, b| a < b), "{names:?}");
        for service in SERVICES {
            let mut keys: Vec<&str> = service
                .config
                .iter()
                .chain(service.credentials)
                .map(|key| key.name)
                .collect();
            let count = keys.len();
            keys.sort_unstable();
            keys.dedup();
            assert_eq!(keys.len(), count, "{}", service.name);
            assert!(!service.credentials.is_empty(), "{}", service.name);
        }
    }

    #[test]
    fn a_service_whose_host_can_be_chosen_is_known() {
        for (name, own) in [
            ("powerdns", true),
            ("infoblox", true),
            ("route53", true),
            ("ovh", false),
            ("cloudflare", false),
        ] {
            assert_eq!(
                Service::named(name).map(Service::has_own_host),
                Some(own),
                "{name}"
            );
        }
    }
}
