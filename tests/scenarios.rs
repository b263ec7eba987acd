//! What `model/` plays in simulated worlds, shorter and on the real parts: a spec that changes while the
//! controller is killed, policy servers start anew, the API server and BIND are away, the MX breaks, the
//! record is lost and the object is deleted and made again. An observer looks at the domain from outside all
//! the time. Once the faults stop, what is asked for is published.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr
)]

mod support;

use std::net::SocketAddr;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::DeleteParams;
use kube::{Api, ResourceExt};
use mta_sts_operator::protocol::Mode;
use serde_json::{Value, json};
use support::api_proxy::ApiProxy;
use support::bind::Zone;
use support::chronicle::Chronicle;
use support::ports::{free_port, loopback};
use support::process::Process;
use support::smtp::{Mail, MailServer};
use support::wait::{ensure, eventually};
use support::world::{MAIL, SOON, SYSTEM, World, name, ready};

const DOMAIN: &str = "example.org";
const MOVES: usize = 32;

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_with_a_good_mx() {
    let seen = play(1, Mail::Good).await;
    assert!(seen.announced.len() >= 4, "little happened: {seen:?}");
    assert!(seen.enforced, "mode enforce was never reached");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_whose_mx_never_does() {
    let seen = play(2, Mail::OtherName).await;
    assert!(seen.announced.len() >= 4, "little happened: {seen:?}");
    assert!(!seen.enforced, "mode enforce was entered");
}

/// What was seen in a world.
#[derive(Debug)]
struct Outcome {
    announced: Vec<String>,
    /// Whether any version of the record was in mode enforce.
    enforced: bool,
}

/// Plays the world of a seed.
async fn play(seed: u64, mail: Mail) -> Outcome {
    let mut scene = Scene::start(seed, mail).await;
    let observer = scene.world.observe(DOMAIN, &scene.endpoints);
    let chronicle = Chronicle::keep(&scene.world).await;
    for number in 0..MOVES {
        let what = scene.act().await;
        eprintln!("world {seed}, move {number}: {what}");
        let pause = 200 + scene.chance(1200);
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
    let mode = match mail {
        Mail::Good => "enforce",
        _ => "testing",
    };
    let id = scene.heal(mode).await;
    observer.sees(&id).await;
    let seen = observer.finish();
    let versions = chronicle.of(DOMAIN);
    let ids: Vec<String> = versions
        .iter()
        .map(|it| it.current.id.to_string())
        .collect();
    assert!(ids.is_sorted(), "world {seed}: ids went backwards: {ids:?}");
    Outcome {
        announced: seen.announced,
        enforced: versions.iter().any(|it| it.current.mode == Mode::Enforce),
    }
}

struct Scene {
    world: World,
    mx: MailServer,
    mail: Mail,
    api: ApiProxy,
    servers: Vec<(Process, SocketAddr, SocketAddr)>,
    endpoints: Vec<SocketAddr>,
    controller: Option<Process>,
    starts: usize,
    spec: Value,
    random: u64,
    api_is_away: bool,
    dns_is_away: bool,
    is_broken: bool,
}

impl Scene {
    async fn start(seed: u64, mail: Mail) -> Self {
        let records = "@ 1 MX 10 mail\nmail A 192.0.2.25\n";
        let world = World::with_zones(vec![Zone::dynamic(DOMAIN, records)]).await;
        let mut servers = Vec::new();
        for name in ["serve-1", "serve-2"] {
            let (address, admin) = (loopback(free_port()), loopback(free_port()));
            let process = world.serve_on(name, &world.api.kubeconfig(), address, admin);
            ready(&process, admin).await;
            servers.push((process, address, admin));
        }
        let endpoints: Vec<SocketAddr> = servers.iter().map(|(_, address, _)| *address).collect();
        world.route(&[DOMAIN], endpoints[0]).await;
        world.provider(world.dns()).await;
        let api = ApiProxy::start(&world.api).await;
        let mx = MailServer::start(&world.front, "mail.example.org", mail).await;
        let mut scene = Self {
            world,
            mx,
            mail,
            api,
            servers,
            endpoints,
            controller: None,
            starts: 0,
            spec: json!({"mode": "testing", "deletionPolicy": "Graceful"}),
            random: seed,
            api_is_away: false,
            dns_is_away: false,
            is_broken: false,
        };
        scene.revive();
        scene.apply().await;
        scene.world.ready(DOMAIN).await;
        scene
    }

    /// A number below `bound`, the same in each run of a seed (splitmix64).
    fn chance(&mut self, bound: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }

    async fn act(&mut self) -> String {
        self.revive();
        match self.chance(16) {
            0..=5 => self.change_the_spec().await,
            6 | 7 => {
                self.controller.iter().for_each(Process::kill);
                "the controller is killed".to_owned()
            }
            8 | 9 => self.restart_a_server().await,
            10 => self.turn_the_api().await,
            11 => self.turn_the_dns(),
            12 if self.mail == Mail::Good => {
                self.is_broken = !self.is_broken;
                self.mx.show(if self.is_broken {
                    Mail::Plain
                } else {
                    Mail::Good
                });
                format!("the MX is broken: {}", self.is_broken)
            }
            13 => self.lose_the_record().await,
            14 => self.delete_and_make_anew().await,
            _ => "nothing".to_owned(),
        }
    }

    /// Starts the controller if it has ended: what a kubelet does.
    fn revive(&mut self) {
        if self
            .controller
            .as_ref()
            .is_some_and(|it| it.ended().is_none())
        {
            return;
        }
        self.starts += 1;
        let mut settings = self
            .world
            .settings(&format!("controller-{}", self.starts), &self.endpoints);
        let token = self.world.api.admin_token();
        settings.kubeconfig = self.api.kubeconfig(&self.world.api, token);
        settings.smtp = true;
        settings.connect_to.insert(0, self.mx.connect_to());
        settings.flags = vec![
            // A killed leader writes no more, so there is no need to wait until its lease has run out.
            format!("--lease-name=start-{}", self.starts),
            "--retirement-delay=0".to_owned(),
        ];
        self.controller = Some(self.world.controller(&settings));
    }

    async fn apply(&self) {
        self.world.policy(DOMAIN, self.spec.clone()).await;
    }

    async fn change_the_spec(&mut self) -> String {
        match self.chance(3) {
            0 => self.spec["maxAgeSeconds"] = json!(604_800 + self.chance(100_000)),
            1 => {
                self.spec["mode"] =
                    json!(["testing", "enforce", "enforce"][self.chance(3) as usize])
            }
            _ => {
                let more = format!("mx{}.example.net", self.chance(100));
                self.spec["mx"] = json!(["mail.example.org", more]);
            }
        }
        self.apply().await;
        format!("the spec is {}", self.spec)
    }

    async fn restart_a_server(&mut self) -> String {
        let at = self.chance(2) as usize;
        let (process, address, admin) = &mut self.servers[at];
        process.kill();
        process.exit(SOON).await;
        let kubeconfig = self.world.api.kubeconfig();
        *process = self
            .world
            .serve_on(&format!("serve-again-{at}"), &kubeconfig, *address, *admin);
        ready(process, *admin).await;
        format!("policy server {at} has started anew")
    }

    async fn turn_the_api(&mut self) -> String {
        self.api_is_away = !self.api_is_away;
        match self.api_is_away {
            true => self.api.link.cut().await,
            false => self.api.link.mend().await,
        }
        format!("the API server is away: {}", self.api_is_away)
    }

    fn turn_the_dns(&mut self) -> String {
        self.dns_is_away = !self.dns_is_away;
        let mut bind = self.world.bind.lock().unwrap();
        match self.dns_is_away {
            true => bind.stop(),
            false => bind.restart(),
        }
        format!("BIND is away: {}", self.dns_is_away)
    }

    async fn lose_the_record(&mut self) -> String {
        let Some(record) = self.world.record(DOMAIN).await else {
            return "there is no record".to_owned();
        };
        let api = Api::<ConfigMap>::namespaced(self.world.client.clone(), SYSTEM);
        let (name, params) = (record.name_any(), DeleteParams::default());
        api.delete(&name, &params).await.unwrap();
        "the record is lost".to_owned()
    }

    async fn delete_and_make_anew(&mut self) -> String {
        let policies = self.world.policies(MAIL);
        let params = DeleteParams::default();
        policies.delete(&name(DOMAIN), &params).await.unwrap();
        if self.api_is_away {
            // Nobody takes the finalizer away.
            self.turn_the_api().await;
        }
        eventually("the object goes", SOON, async || {
            self.revive();
            let object = policies.get_opt(&name(DOMAIN)).await;
            ensure(object.is_ok_and(|it| it.is_none()), "it is there")
        })
        .await;
        let pause = self.chance(3000);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        self.apply().await;
        format!("the object was deleted, and is made anew {pause} ms later")
    }

    /// The faults stop; gives the id of what is published then.
    async fn heal(&mut self, mode: &str) -> String {
        if self.api_is_away {
            self.turn_the_api().await;
        }
        if self.dns_is_away {
            self.turn_the_dns();
        }
        self.mx.show(self.mail);
        self.spec["mode"] = json!(mode);
        self.spec["maxAgeSeconds"] = json!(777_777);
        self.apply().await;
        let policies = self.world.policies(MAIL);
        let id = eventually("all is as it is asked for", SOON * 2, async || {
            self.revive();
            let object = policies.get(&name(DOMAIN)).await.unwrap();
            let status = object.status.unwrap_or_default();
            let ready = support::world::find(&status, "Ready");
            let is_ready = ready.is_some_and(|it| {
                it.status.to_string() == "True"
                    && it.observed_generation == object.metadata.generation
            });
            let policy = status.policy.clone().ok_or("no policy")?;
            let asked = policy.max_age_seconds == 777_777 && policy.mode.as_str() == mode;
            ensure(is_ready && asked, support::world::shown(&status))?;
            Ok::<_, String>(policy.id.to_string())
        })
        .await;
        let body = self.world.body(DOMAIN).await.unwrap();
        assert!(body.contains(&format!("mode: {mode}\r\n")), "{body}");
        assert_eq!(self.world.txt_id(DOMAIN), Some(id.clone()));
        id
    }
}
