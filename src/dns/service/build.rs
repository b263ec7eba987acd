//! From settings and credentials to the crate's client of a service.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use dns_update::providers::azuredns::{AzureDnsConfig, AzureEnvironment};
use dns_update::providers::bluecatv2::BluecatV2Config;
use dns_update::providers::edgedns::EdgeDnsConfig;
use dns_update::providers::google_cloud_dns::GoogleCloudDnsConfig;
use dns_update::providers::infoblox::InfobloxConfig;
use dns_update::providers::joker::JokerAuth;
use dns_update::providers::lightsail::LightsailConfig;
use dns_update::providers::oraclecloud::OracleCloudConfig;
use dns_update::providers::route53::Route53Config;
use dns_update::providers::volcengine::VolcengineConfig;
use dns_update::providers::yandexcloud::YandexCloudConfig;
use dns_update::{DnsUpdater, Error};
use zeroize::Zeroizing;

use crate::dns_services::Service;
use crate::limits;

/// A credential. It is wiped when it goes, and never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// A credential with this text.
    pub fn new(text: &str) -> Self {
        Self(Zeroizing::new(text.to_owned()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The settings and the credentials of a service, by the names of its [`Key`]s.
///
/// [`Key`]: crate::dns_services::Key
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Values {
    config: BTreeMap<String, String>,
    credentials: BTreeMap<String, Secret>,
}

impl Values {
    /// Sets a setting.
    pub fn put(&mut self, name: &str, value: &str) {
        self.config.insert(name.to_owned(), value.to_owned());
    }

    /// Sets a credential.
    pub fn put_secret(&mut self, name: &str, value: Secret) {
        self.credentials.insert(name.to_owned(), value);
    }

    /// All credentials.
    pub(super) fn secrets(&self) -> impl Iterator<Item = &str> {
        self.credentials.values().map(|secret| secret.0.as_str())
    }

    fn may(&self, name: &str) -> Option<&str> {
        let secret = self.credentials.get(name).map(|secret| secret.0.as_str());
        secret.or_else(|| self.config.get(name).map(String::as_str))
    }

    fn need(&self, name: &str) -> Result<&str, Error> {
        self.may(name)
            .ok_or_else(|| Error::Client(format!("{name} is missing")))
    }

    fn owned(&self, name: &str) -> Result<String, Error> {
        self.need(name).map(str::to_owned)
    }

    fn may_owned(&self, name: &str) -> Option<String> {
        self.may(name).map(str::to_owned)
    }

    fn switch(&self, name: &str) -> Result<bool, Error> {
        match self.may(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(Error::Client(format!("{name} must be true or false"))),
        }
    }
}

/// The client of a service.
#[rustfmt::skip] // One line a service, so that one that is missing or wrong is seen.
pub(super) fn updater(service: &Service, v: &Values) -> Result<DnsUpdater, Error> {
    use DnsUpdater as U;
    // A request of the crate; the call as a whole ends with its deadline in any case.
    let t: Option<Duration> = Some(limits::PROVIDER_CALL_TIME);
    match service.name {
        "alidns" => U::new_alidns(v.need("accessKey")?, v.need("secretKey")?, v.may("region"), v.may("securityToken"), v.may("line"), t),
        "arvancloud" => U::new_arvancloud(v.need("apiKey")?, t),
        "autodns" => U::new_autodns(v.need("username")?, v.need("password")?, number(v, "context")?, t),
        "azure-dns" => azure(v, t),
        "baiducloud" => U::new_baiducloud(v.need("accessKey")?, v.need("secretKey")?, t),
        "bluecat" => bluecat(v, t),
        "bunny" => U::new_bunny(v.need("apiKey")?, t),
        "cloudflare" => U::new_cloudflare(v.need("apiToken")?, t),
        "cloudns" => U::new_cloudns(v.may("authId"), v.may("subAuthId"), v.need("authPassword")?, t),
        "constellix" => U::new_constellix(v.need("apiKey")?, v.need("secretKey")?, t),
        "cpanel" => U::new_cpanel(v.need("url")?, v.need("username")?, v.need("apiToken")?, t),
        "desec" => U::new_desec(v.need("apiToken")?, t),
        "digitalocean" => U::new_digitalocean(v.need("apiToken")?, t),
        "dnsimple" => U::new_dnsimple(v.need("apiToken")?, v.need("accountId")?, t),
        "dnsmadeeasy" => U::new_dnsmadeeasy(v.need("apiKey")?, v.need("apiSecret")?, t),
        "domeneshop" => U::new_domeneshop(v.need("apiToken")?, v.need("apiSecret")?, t),
        "dreamhost" => U::new_dreamhost(v.need("apiKey")?, t),
        "dynu" => U::new_dynu(v.need("apiKey")?, t),
        "easydns" => U::new_easydns(v.need("token")?, v.need("key")?, t),
        "edgedns" => edge(v, t),
        "exoscale" => U::new_exoscale(v.need("apiKey")?, v.need("apiSecret")?, t),
        "gandi" => U::new_gandiv5(v.need("personalAccessToken")?, t),
        "gcore" => U::new_gcore(v.need("apiToken")?, t),
        "glesys" => U::new_glesys(v.need("apiUser")?, v.need("apiKey")?, t),
        "godaddy" => U::new_godaddy(v.need("apiKey")?, v.need("apiSecret")?, t),
        "google-cloud-dns" => google(v, t),
        "hetzner" => U::new_hetzner(v.need("apiToken")?, t),
        "hostingde" => U::new_hostingde(v.need("apiKey")?, t),
        "hostinger" => U::new_hostinger(v.need("apiToken")?, t),
        "huaweicloud" => U::new_huaweicloud(v.need("accessKey")?, v.need("secretKey")?, v.need("region")?, t),
        "ibmcloud" => U::new_ibmcloud(v.need("username")?, v.need("apiKey")?, t),
        "infoblox" => infoblox(v, t),
        "infomaniak" => U::new_infomaniak(v.need("accessToken")?, t),
        "inwx" => U::new_inwx(v.need("username")?, v.need("password")?, v.switch("sandbox")?, t),
        "ionos" => U::new_ionos(v.need("apiKey")?, t),
        "ipv64" => U::new_ipv64(v.need("apiKey")?, t),
        "joker" => U::new_joker(joker(v)?, t),
        "lightsail" => lightsail(v, t),
        "linode" => U::new_linode(v.need("apiToken")?, t),
        "luadns" => U::new_luadns(v.need("username")?, v.need("apiToken")?, t),
        "mythicbeasts" => U::new_mythicbeasts(v.need("username")?, v.need("password")?, t),
        "namecheap" => U::new_namecheap(v.need("apiUser")?, v.need("apiKey")?, v.need("clientIp")?, v.may("username"), t),
        "namedotcom" => U::new_namedotcom(v.need("username")?, v.need("apiToken")?, t),
        "namesilo" => U::new_namesilo(v.need("apiKey")?, t),
        "netcup" => U::new_netcup(v.need("customerNumber")?, v.need("apiKey")?, v.need("apiPassword")?, t),
        "netlify" => U::new_netlify(v.need("accessToken")?, t),
        "nifcloud" => U::new_nifcloud(v.need("accessKey")?, v.need("secretKey")?, t),
        "ns1" => U::new_ns1(v.need("apiKey")?, t),
        "oraclecloud" => oracle(v, t),
        "ovh" => U::new_ovh(v.need("applicationKey")?, v.need("applicationSecret")?, v.need("consumerKey")?, v.need("endpoint")?.parse()?, t),
        "plesk" => U::new_plesk(v.need("url")?, v.need("apiKey")?, t),
        "porkbun" => U::new_porkbun(v.need("apiKey")?, v.need("secretApiKey")?, t),
        "powerdns" => U::new_pdns(v.need("apiKey")?, Some(v.need("url")?), v.may("serverId"), t),
        "route53" => route53(v),
        "safedns" => U::new_safedns(v.need("apiToken")?, t),
        "scaleway" => U::new_scaleway(v.need("apiToken")?, t),
        "selectel" => U::new_selectel(v.need("username")?, v.need("password")?, v.need("accountId")?, v.need("projectId")?, t),
        "simplycom" => U::new_simplycom(v.need("accountName")?, v.need("apiKey")?, t),
        "spaceship" => U::new_spaceship(v.need("apiKey")?, v.need("apiSecret")?, t),
        "tencentcloud" => U::new_tencentcloud(v.need("secretId")?, v.need("secretKey")?, v.may("region"), v.may("sessionToken"), t),
        "transip" => U::new_transip(v.need("login")?, v.need("privateKey")?, v.switch("globalKey")?, t),
        "ultradns" => U::new_ultradns(v.need("username")?, v.need("password")?, v.may_owned("endpoint"), t),
        "vercel" => U::new_vercel(v.need("apiToken")?, v.may("teamId"), t),
        "volcengine" => volcengine(v, t),
        "vultr" => U::new_vultr(v.need("apiKey")?, t),
        "websupport" => U::new_websupport(v.need("apiKey")?, v.need("secret")?, t),
        "yandexcloud" => yandex(v, t),
        "zoneeu" => U::new_zoneeu(v.need("username")?, v.need("apiKey")?, t),
        other => Err(Error::Client(format!("there is no service {other}"))),
    }
}

fn number(v: &Values, name: &str) -> Result<Option<u32>, Error> {
    let number = v.may(name).map(str::parse).transpose();
    number.map_err(|_| Error::Client(format!("{name} must be a number")))
}

fn azure(v: &Values, request_timeout: Option<Duration>) -> Result<DnsUpdater, Error> {
    let environment = match v.may("environment") {
        None | Some("public") => AzureEnvironment::Public,
        Some("china") => AzureEnvironment::China,
        Some("usgovernment") => AzureEnvironment::UsGovernment,
        Some(_) => {
            let why = "environment must be public, china or usgovernment";
            return Err(Error::Client(why.to_owned()));
        }
    };
    DnsUpdater::new_azuredns(AzureDnsConfig {
        tenant_id: v.owned("tenantId")?,
        client_id: v.owned("clientId")?,
        client_secret: v.owned("clientSecret")?,
        subscription_id: v.owned("subscriptionId")?,
        resource_group: v.owned("resourceGroup")?,
        environment,
        request_timeout,
    })
}

fn bluecat(v: &Values, request_timeout: Option<Duration>) -> Result<DnsUpdater, Error> {
    DnsUpdater::new_bluecatv2(BluecatV2Config {
        server_url: v.owned("url")?,
        username: v.owned("username")?,
        password: v.owned("password")?,
        config_name: v.owned("configuration")?,
        view_name: v.owned("view")?,
        skip_deploy: v.switch("skipDeploy")?,
        request_timeout,
    })
}

fn edge(v: &Values, request_timeout: Option<Duration>) -> Result<DnsUpdater, Error> {
    DnsUpdater::new_edgedns(EdgeDnsConfig {
        host: v.owned("host")?,
        client_token: v.owned("clientToken")?,
        client_secret: v.owned("clientSecret")?,
        access_token: v.owned("accessToken")?,
        account_switch_key: v.may_owned("accountSwitchKey"),
        request_timeout,
    })
}

fn google(v: &Values, request_timeout: Option<Duration>) -> Result<DnsUpdater, Error> {
    DnsUpdater::new_google_cloud_dns(GoogleCloudDnsConfig {
        service_account_json: v.owned("serviceAccount")?,
        project_id: v.owned("projectId")?,
        managed_zone: v.may_owned("managedZone"),
        private_zone: false,
        impersonate_service_account: v.may_owned("impersonateServiceAccount"),
        request_timeout,
    })
}

fn infoblox(v: &Values, request_timeout: Option<Duration>) -> Result<DnsUpdater, Error> {
    DnsUpdater::new_infoblox(InfobloxConfig {
        host: v.owned("host")?,
        port: v.may_owned("port"),
        username: v.owned("username")?,
        password: v.owned("password")?,
        wapi_version: v.may_owned("wapiVersion"),
        dns_view: v.may_owned("dnsView"),
        request_timeout,
    })
}

fn joker(v: &Values) -> Result<JokerAuth, Error> {
    match v.may("apiKey") {
        Some(key) => Ok(JokerAuth::api_key(key)),
        None => Ok(JokerAuth::username_password(
            v.need("username")?,
            v.need("password")?,
        )),
    }
}

fn lightsail(v: &Values, request_timeout: Option<Duration>) -> Result<DnsUpdater, Error> {
    DnsUpdater::new_lightsail(LightsailConfig {
        access_key_id: v.owned("accessKeyId")?,
        secret_access_key: v.owned("secretAccessKey")?,
        session_token: v.may_owned("sessionToken"),
        region: v.may_owned("region"),
        domain: v.may_owned("domain"),
        request_timeout,
    })
}

fn oracle(v: &Values, request_timeout: Option<Duration>) -> Result<DnsUpdater, Error> {
    DnsUpdater::new_oraclecloud(OracleCloudConfig {
        tenancy_ocid: v.owned("tenancyOcid")?,
        user_ocid: v.owned("userOcid")?,
        fingerprint: v.owned("fingerprint")?,
        private_key_pem: v.owned("privateKey")?,
        private_key_password: v.may_owned("privateKeyPassword"),
        region: v.owned("region")?,
        compartment_ocid: v.owned("compartmentOcid")?,
        request_timeout,
    })
}

fn route53(v: &Values) -> Result<DnsUpdater, Error> {
    DnsUpdater::new_route53(Route53Config {
        access_key_id: v.owned("accessKeyId")?,
        secret_access_key: v.owned("secretAccessKey")?,
        session_token: v.may_owned("sessionToken"),
        region: v.may_owned("region"),
        hosted_zone_id: v.may_owned("hostedZoneId"),
        private_zone_only: None,
        endpoint: v.may_owned("endpoint"),
    })
}

fn volcengine(v: &Values, request_timeout: Option<Duration>) -> Result<DnsUpdater, Error> {
    DnsUpdater::new_volcengine(VolcengineConfig {
        access_key: v.owned("accessKey")?,
        secret_key: v.owned("secretKey")?,
        region: v.may_owned("region"),
        host: None,
        scheme: None,
        request_timeout,
    })
}

fn yandex(v: &Values, request_timeout: Option<Duration>) -> Result<DnsUpdater, Error> {
    DnsUpdater::new_yandexcloud(YandexCloudConfig {
        iam_token_b64: v.owned("iamToken")?,
        folder_id: v.owned("folderId")?,
        request_timeout,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns_services::SERVICES;

    /// Values of the right form for every key that has one.
    fn value(service: &str, key: &str) -> &'static str {
        match (service, key) {
            ("ovh", "endpoint") => "ovh-eu",
            ("hetzner" | "bluecat" | "plesk" | "cpanel" | "powerdns", "url") => {
                "https://dns.example.org"
            }
            (_, "endpoint") => "https://dns.example.org",
            ("netcup", "customerNumber") => "12345",
            ("cloudns", "authId") => "1",
            (_, "apiKey") if service == "ionos" => "prefix.secret",
            (_, "accountId") => "1",
            _ => "text",
        }
    }

    fn filled(service: &Service, without: Option<&str>) -> Values {
        let mut values = Values::default();
        if service.name == "joker" {
            // One of two ways to sign in, so none of its keys is needed by itself.
            values.put_secret("apiKey", Secret::new("text"));
        }
        for key in service.config.iter().filter(|key| key.required) {
            if Some(key.name) != without {
                values.put(key.name, value(service.name, key.name));
            }
        }
        for key in service.credentials.iter().filter(|key| key.required) {
            if Some(key.name) != without {
                values.put_secret(key.name, Secret::new(value(service.name, key.name)));
            }
        }
        values
    }

    #[test]
    fn every_service_has_a_client_and_every_key_that_it_needs_is_needed() {
        for service in SERVICES {
            let result = updater(service, &filled(service, None)).err();
            // A key file of this form is none; that it was read at all is what is asked here.
            let told = format!("{result:?}");
            assert!(!told.contains("there is no service"), "{}", service.name);
            assert!(!told.contains("is missing"), "{}: {told}", service.name);
            let keys = service.config.iter().chain(service.credentials);
            for key in keys.filter(|key| key.required) {
                let result = updater(service, &filled(service, Some(key.name))).err();
                let expected = format!("{} is missing", key.name);
                let told = format!("{result:?}");
                assert!(told.contains(&expected), "{}: {told}", service.name);
            }
        }
    }

    #[test]
    fn a_secret_is_not_shown() {
        let mut values = Values::default();
        values.put_secret("apiKey", Secret::new("canary"));
        assert!(!format!("{values:?}").contains("canary"));
    }
}
